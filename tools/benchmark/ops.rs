//! Small-file operations for tools/bench, timed around the system calls alone. Built with `rustc -O`, no crates.
//!
//! usage: ops OPERATION DIR FILES DIRS SIZE; prints the seconds it took.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A tree of `files` files of `size` bytes, spread evenly over `dirs` directories below `base`.
struct Tree {
    base: PathBuf,
    files: usize,
    dirs: usize,
    size: usize,
}

impl Tree {
    fn dir(&self, number: usize) -> PathBuf {
        self.base.join(format!("d{number:03}"))
    }

    fn paths(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let per_dir = self.files.div_ceil(self.dirs);
        (0..self.files).map(move |file| self.dir(file / per_dir).join(format!("f{file:07}")))
    }

    fn make_dirs(&self) {
        fs::create_dir_all(&self.base).unwrap();
        (0..self.dirs).for_each(|number| fs::create_dir_all(self.dir(number)).unwrap());
    }

    fn create(&self, sync: bool) {
        let mut noise = Noise(88_172_645_463_325_252);
        let mut content = vec![0; self.size];
        for path in self.paths() {
            noise.fill(&mut content);
            let mut file = File::create_new(&path).unwrap_or_else(|error| fail(&path, error));
            file.write_all(&content).unwrap_or_else(|error| fail(&path, error));
            if sync {
                file.sync_all().unwrap_or_else(|error| fail(&path, error));
            }
        }
    }

    fn stat(&self) {
        for path in self.paths() {
            let found = fs::metadata(&path).unwrap_or_else(|error| fail(&path, error)).len();
            assert_eq!(found, self.size as u64, "the size of {}", path.display());
        }
    }

    fn read(&self) {
        let mut content = vec![0; self.size];
        for path in self.paths() {
            File::open(&path).and_then(|mut file| file.read_exact(&mut content)).unwrap_or_else(|error| fail(&path, error));
        }
    }

    fn unlink(&self) {
        self.paths().for_each(|path| fs::remove_file(&path).unwrap_or_else(|error| fail(&path, error)));
        (0..self.dirs).for_each(|number| fs::remove_dir(self.dir(number)).unwrap());
    }

    /// Lists every directory and asks for the attributes of every entry, as `ls -l` does.
    fn list(&self) {
        let mut seen = 0;
        for number in 0..self.dirs {
            for entry in fs::read_dir(self.dir(number)).unwrap() {
                let entry = entry.unwrap();
                entry.metadata().unwrap_or_else(|error| fail(&entry.path(), error));
                seen += 1;
            }
        }
        assert_eq!(seen, self.files, "entries listed");
    }
}

fn fail(path: &Path, error: std::io::Error) -> ! {
    eprintln!("{}: {error}", path.display());
    std::process::exit(1)
}

/// xorshift64 by Marsaglia: content that does not compress.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, operation, base, files, dirs, size] = &arguments[..] else {
        eprintln!("usage: ops create|createsync|stat|read|unlink|list DIR FILES DIRS SIZE");
        std::process::exit(2)
    };
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let tree = Tree { base: base.into(), files: number(files), dirs: number(dirs), size: number(size) };
    if operation.starts_with("create") {
        tree.make_dirs();
    }
    let begin = Instant::now();
    match operation.as_str() {
        "create" => tree.create(false),
        "createsync" => tree.create(true),
        "stat" => tree.stat(),
        "read" => tree.read(),
        "unlink" => tree.unlink(),
        "list" => tree.list(),
        other => panic!("no such operation: {other}"),
    }
    println!("{:.6}", begin.elapsed().as_secs_f64());
}
