//! One random operation.

use fastrand::Rng;

use crate::sys::{FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE};

/// A path of one to three parts out of a few names.
pub type Name = String;

/// Open files kept by a [`super::World`].
pub(crate) const SLOTS: usize = 6;
/// Largest offset of a write.
const LARGEST_OFFSET: u64 = 3 << 20;

/// What is done; numbers are offsets, lengths, modes.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Operation {
    Create(Name, u32),
    Mkdir(Name, u32),
    Symlink(String, Name),
    Mkfifo(Name),
    Unlink(Name),
    Rmdir(Name),
    Rename(Name, Name, u32),
    Link(Name, Name),
    Chmod(Name, u32),
    Chown(Name, u32, u32),
    Truncate(Name, i64),
    SetXattr(Name, u8, u8),
    RemoveXattr(Name, u8),
    Utimens(Name, i64),
    Stat(Name),
    Read(Name),
    List(Name),
    Open { slot: usize, name: Name, flags: i32 },
    TemporaryFile { slot: usize, name: Name },
    LinkSlot { slot: usize, name: Name },
    Close { slot: usize },
    Write { slot: usize, offset: i64, length: usize, fill: u8 },
    Append { slot: usize, length: usize, fill: u8 },
    ReadAt { slot: usize, offset: i64, length: usize },
    TruncateSlot { slot: usize, size: i64 },
    Allocate { slot: usize, mode: i32, offset: i64, length: i64 },
    Copy { from: usize, from_offset: i64, to: usize, to_offset: i64, length: usize },
    Store { slot: usize, offset: usize, length: usize, fill: u8 },
    Fsync { slot: usize },
    DropCache { slot: usize },
    StatSlot { slot: usize },
}

impl Operation {
    /// Draws one.
    pub fn random(random: &mut Rng) -> Self {
        use Operation as Op;
        match random.u32(0..100) {
            0..6 => Op::Create(name(random), mode(random)),
            6..12 => Op::Mkdir(directory_name(random), mode(random)),
            12..14 => Op::Symlink(name(random), name(random)),
            14 => Op::Mkfifo(name(random)),
            15..19 => Op::Unlink(name(random)),
            19..21 => Op::Rmdir(directory_name(random)),
            21 => Op::Rename(directory_name(random), directory_name(random), rename_flags(random)),
            22..30 => Op::Rename(name(random), name(random), rename_flags(random)),
            30..33 => Op::Link(name(random), name(random)),
            33..35 => Op::Chmod(name(random), mode(random)),
            35..37 => Op::Chown(name(random), random.u32(0..3), random.u32(0..3)),
            37..39 => Op::Truncate(name(random), size(random)),
            39..42 => Op::SetXattr(name(random), random.u8(0..4), random.u8(..)),
            42 => Op::RemoveXattr(name(random), random.u8(0..4)),
            43 => Op::Utimens(name(random), random.i64(0..2_000_000_000)),
            44..47 => Op::Stat(name(random)),
            47..50 => Op::Read(name(random)),
            50..52 => Op::List(directory_name(random)),
            52..62 => Op::Open { slot: slot(random), name: name(random), flags: flags(random) },
            62 => Op::TemporaryFile { slot: slot(random), name: directory_name(random) },
            63 => Op::LinkSlot { slot: slot(random), name: name(random) },
            64 => Op::Close { slot: slot(random) },
            65..77 => Self::write(random),
            77..80 => Op::Append { slot: slot(random), length: length(random), fill: random.u8(1..) },
            80..84 => Op::ReadAt { slot: slot(random), offset: size(random), length: length(random) },
            84..86 => Op::TruncateSlot { slot: slot(random), size: size(random) },
            86..90 => Self::allocate(random),
            90..92 => Self::copy(random),
            92..95 => Self::store(random),
            95 => Op::Fsync { slot: slot(random) },
            96 => Op::DropCache { slot: slot(random) },
            _ => Op::StatSlot { slot: slot(random) },
        }
    }

    fn write(random: &mut Rng) -> Self {
        let offset = size(random);
        Self::Write { slot: slot(random), offset, length: length(random), fill: random.u8(1..) }
    }

    fn allocate(random: &mut Rng) -> Self {
        let modes = [
            0,
            FALLOC_FL_KEEP_SIZE,
            FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            FALLOC_FL_ZERO_RANGE,
            FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
        ];
        let mode = *random.choice(&modes).expect("not empty");
        Self::Allocate { slot: slot(random), mode, offset: size(random), length: length(random) as i64 + 1 }
    }

    fn copy(random: &mut Rng) -> Self {
        Self::Copy {
            from: slot(random),
            from_offset: size(random),
            to: slot(random),
            to_offset: size(random),
            length: length(random),
        }
    }

    fn store(random: &mut Rng) -> Self {
        let offset = size(random) as usize;
        Self::Store { slot: slot(random), offset, length: length(random).min(70_000), fill: random.u8(1..) }
    }
}

/// Mostly a file name in one of a few directories, sometimes the wrong way round: most operations then succeed, and
/// the errors are met, too.
fn name(random: &mut Rng) -> Name {
    let directories = ["", "", "d/", "e/", "d/sub/", "a rather longer directory/"];
    let files = ["a", "b", "c", "\u{fc}", "a rather longer name"];
    let directory = directories[random.usize(..directories.len())];
    match random.u32(0..20) {
        0 => format!("{directory}a/b"),
        1 => format!("{directory}d"),
        _ => format!("{directory}{}", files[random.usize(..files.len())]),
    }
}

fn directory_name(random: &mut Rng) -> Name {
    let directories = ["d", "e", "d/sub", "a rather longer directory", "d/a", "e/sub"];
    directories[random.usize(..directories.len())].to_owned()
}

fn rename_flags(random: &mut Rng) -> u32 {
    [0, 0, 0, 1, 2][random.usize(..5)]
}

fn mode(random: &mut Rng) -> u32 {
    *random.choice(&[0o644, 0o755, 0o600, 0o4755, 0o2775, 0o1777, 0o000]).expect("not empty")
}

fn slot(random: &mut Rng) -> usize {
    random.usize(0..SLOTS)
}

fn flags(random: &mut Rng) -> i32 {
    use libc::{O_APPEND, O_CREAT, O_EXCL, O_RDWR, O_TRUNC};
    O_RDWR | *random.choice(&[0, O_CREAT, O_CREAT, O_CREAT | O_EXCL, O_TRUNC, O_APPEND]).expect("not empty")
}

/// An offset or a size: near zero, at a boundary, or anywhere.
fn size(random: &mut Rng) -> i64 {
    let size = match random.u32(0..10) {
        0..3 => random.u64(0..5000),
        3..6 => random.u64(0..40) * 4096 + random.u64(0..3),
        6..8 => random.u64(0..12) * 16_384,
        8 => random.u64(0..6) * 262_144 + random.u64(0..2),
        _ => random.u64(0..LARGEST_OFFSET),
    };
    size as i64
}

fn length(random: &mut Rng) -> usize {
    match random.u32(0..10) {
        0..4 => random.usize(0..300),
        4..6 => random.usize(1..5) * 4096,
        6..8 => random.usize(0..40_000),
        8 => random.usize(1..5) * 65_536,
        _ => random.usize(0..700_000),
    }
}
