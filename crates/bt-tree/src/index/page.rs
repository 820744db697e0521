//! One sorted page of cells, the body of every node.
//!
//! In memory a page is an arena of cells in any order, with garbage between them, and a sorted array of slots. A
//! slot is one word: the next six bytes of the key after what all keys share, above the cell's place in the
//! arena. A search so reads the slots alone, one dense array, and then one cell. The idea is the "poor man's
//! normalized keys" of Graefe and Larson, "B-Tree Indexes and CPU Caches" (ICDE 2001).
//!
//! On disk it is the header and the cells in key order, nothing else: `doc/format/index-node.md`.
//!
//! Invariants: keys rise strictly; every key but an empty first one begins with `prefix`; `used` is the encoded
//! size and never above [`PAGE_SIZE`].

use std::cmp::Ordering;

use bt_base::codec::DecodeError;
use bt_base::limits::BLOCK_SIZE;

/// The most encoded bytes of a node.
pub const PAGE_SIZE: usize = BLOCK_SIZE;
/// The longest key, in bytes.
pub const KEY_SIZE: usize = 512;
/// The longest value, in bytes.
pub const VALUE_SIZE: usize = 8 * 1024 + 512;
/// The newest format of a node that this program reads, and the one it writes.
pub const NODE_VERSION: u8 = 1;

/// Version, level, and the number of cells as u16.
pub(super) const HEADER: usize = 4;
/// Lengths of key and value, each u16, before the bytes of both.
const CELL_HEADER: usize = 4;
/// The arena is compacted before it grows past this; what it exceeds a page by is room for garbage.
const ARENA_SIZE: usize = PAGE_SIZE + 4096;
/// The part of the keys' common beginning that is made use of; longer ones still work.
const PREFIX_SIZE: usize = 39;
/// `last_insert` of a page that nothing was inserted into.
const NOWHERE: u16 = u16::MAX;
const WHAT: &str = "index node";

/// The bytes that a cell takes in a page.
pub(super) fn cell_size(key: &[u8], value: &[u8]) -> usize {
    CELL_HEADER + key.len() + value.len()
}

/// The bytes that `a` and `b` share at their beginning.
pub(super) fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Sorted cells that fit in one node.
pub(super) struct Page {
    slots: Vec<Slot>,
    arena: Vec<u8>,
    used: u16,
    /// The slot of the last insert, and how many before it were each one slot lower: keys that arrive in order.
    last_insert: u16,
    run: u16,
    prefix: Prefix,
    /// The six bytes of the first and of the last slot.
    ends: (u64, u64),
}

/// Six bytes of key above the cell's offset in the arena.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot(u64);

impl Slot {
    fn new(head: u64, offset: usize) -> Self {
        Self(head << 16 | offset as u64)
    }

    fn head(self) -> u64 {
        self.0 >> 16
    }

    fn offset(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

/// What all keys begin with, beside the slots so that checking it costs no further cache line.
#[derive(Clone, Copy)]
struct Prefix {
    len: u8,
    bytes: [u8; PREFIX_SIZE],
}

impl Prefix {
    const EMPTY: Self = Self { len: 0, bytes: [0; PREFIX_SIZE] };

    fn of(key: &[u8]) -> Self {
        let len = key.len().min(PREFIX_SIZE);
        let mut prefix = Self { len: len as u8, ..Self::EMPTY };
        prefix.bytes[..len].copy_from_slice(&key[..len]);
        prefix
    }

    fn len(&self) -> usize {
        self.len as usize
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }

    /// The six bytes of `key` after the prefix, zeros where it is shorter; keeps the order of keys that share it.
    fn head(&self, key: &[u8]) -> u64 {
        match key.get(self.len()..) {
            Some([a, b, c, d, e, f, ..]) => u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]),
            Some(rest) => {
                let mut bytes = [0; 8];
                bytes[2..2 + rest.len()].copy_from_slice(rest);
                u64::from_be_bytes(bytes)
            }
            None => 0,
        }
    }
}

impl Page {
    /// A page without cells.
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            arena: Vec::new(),
            used: HEADER as u16,
            last_insert: NOWHERE,
            run: 0,
            prefix: Prefix::EMPTY,
            ends: (0, 0),
        }
    }

    /// The same cells, without garbage and with room to grow.
    pub fn copy(&self) -> Self {
        let mut slots = Vec::with_capacity(self.len() + 16);
        let mut arena = Vec::with_capacity((self.used() + 2048).min(ARENA_SIZE));
        self.copy_cells(0..self.len(), |slot, bytes| {
            slots.push(Slot::new(slot.head(), arena.len()));
            arena.extend_from_slice(bytes);
        });
        Self { slots, arena, ..*self }
    }

    fn copy_cells(&self, range: std::ops::Range<usize>, mut each: impl FnMut(Slot, &[u8])) {
        for &slot in &self.slots[range] {
            each(slot, self.cell(slot));
        }
    }

    /// The number of cells.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of the encoded page.
    pub fn used(&self) -> usize {
        self.used as usize
    }

    /// Bytes that the page takes in memory.
    pub fn memory(&self) -> usize {
        self.arena.capacity() + self.slots.capacity() * size_of::<Slot>()
    }

    /// Whether a cell of `size` bytes fits.
    pub fn has_room(&self, size: usize) -> bool {
        self.used() + size <= PAGE_SIZE
    }

    /// The key of a cell.
    pub fn key(&self, index: usize) -> &[u8] {
        self.key_of(self.slots[index])
    }

    /// The value of a cell.
    pub fn value(&self, index: usize) -> &[u8] {
        let (key_len, value_len, rest) = self.split(self.slots[index]);
        &rest[key_len..key_len + value_len]
    }

    /// The value of a cell, to change in place.
    pub fn value_mut(&mut self, index: usize) -> &mut [u8] {
        let slot = self.slots[index];
        let (key_len, value_len, _) = self.split(slot);
        let start = slot.offset() + CELL_HEADER + key_len;
        &mut self.arena[start..start + value_len]
    }

    /// Bytes of a cell, as counted in [`Page::used`].
    pub fn size_at(&self, index: usize) -> usize {
        self.cell(self.slots[index]).len()
    }

    fn split(&self, slot: Slot) -> (usize, usize, &[u8]) {
        let (lengths, rest) = self.arena[slot.offset()..].split_at(CELL_HEADER);
        let length = |at: usize| u16::from_le_bytes([lengths[at], lengths[at + 1]]) as usize;
        (length(0), length(2), rest)
    }

    fn key_of(&self, slot: Slot) -> &[u8] {
        let (key_len, _, rest) = self.split(slot);
        &rest[..key_len]
    }

    fn cell(&self, slot: Slot) -> &[u8] {
        let (key_len, value_len, _) = self.split(slot);
        &self.arena[slot.offset()..slot.offset() + CELL_HEADER + key_len + value_len]
    }

    /// Where `key` is, or else where it would be inserted.
    pub fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix.as_bytes();
        if !key.starts_with(prefix) {
            return self.search_outside(key, key < prefix);
        }
        let head = self.prefix.head(key);
        let low = self.lower_bound(head);
        match self.slots.get(low) {
            Some(slot) if slot.head() == head => {}
            _ => return Err(low),
        }
        match self.slots.get(low + 1) {
            Some(slot) if slot.head() == head => self.search_equal_heads(key, head, low),
            _ => match self.key(low).cmp(key) {
                Ordering::Equal => Ok(low),
                Ordering::Less => Err(low + 1),
                Ordering::Greater => Err(low),
            },
        }
    }

    /// The first slot whose six bytes are not below `head`.
    ///
    /// Looks first where the slot would be if keys were spread evenly, as numbers and hashes are, and then in
    /// steps that double: mostly one cache line where bisection takes five. Never more than twice as many steps.
    fn lower_bound(&self, head: u64) -> usize {
        let (first, last) = self.ends;
        if head <= first {
            return 0;
        }
        if head > last {
            return self.len();
        }
        let guess = ((head - first) * (self.len() as u64 - 1) / (last - first)) as usize;
        let is_below = |at: usize| self.slots[at].head() < head;
        let (mut low, mut high, mut step) = (0, self.len(), 1);
        if is_below(guess) {
            low = guess + 1;
            while low + step < high {
                if !is_below(low + step) {
                    high = low + step;
                    break;
                }
                low += step + 1;
                step *= 2;
            }
        } else {
            high = guess;
            while low + step < high {
                if is_below(high - step) {
                    low = high - step + 1;
                    break;
                }
                high -= step;
                step *= 2;
            }
        }
        low + self.slots[low..high].partition_point(|slot| slot.head() < head)
    }

    /// The search for a key that does not share what all others do.
    #[cold]
    fn search_outside(&self, key: &[u8], is_below: bool) -> Result<usize, usize> {
        let has_empty = self.len() > 0 && self.key(0).is_empty();
        match (has_empty, is_below) {
            (true, _) if key.is_empty() => Ok(0),
            (_, true) => Err(usize::from(has_empty)),
            (_, false) => Err(self.len()),
        }
    }

    /// The search among the slots from `low` whose six bytes are the same, by whole keys.
    fn search_equal_heads(&self, key: &[u8], head: u64, low: usize) -> Result<usize, usize> {
        let high = low + self.slots[low..].partition_point(|slot| slot.head() <= head);
        match self.slots[low..high].binary_search_by(|slot| self.key_of(*slot).cmp(key)) {
            Ok(at) => Ok(low + at),
            Err(at) => Err(low + at),
        }
    }

    /// Inserts a cell that has room at the place that [`Page::search`] gave.
    pub fn insert(&mut self, index: usize, key: &[u8], value: &[u8]) {
        self.run = if self.continues_run(index) { self.run.saturating_add(1) } else { 0 };
        self.last_insert = index as u16;
        self.place(index, key, value);
    }

    /// Whether an insert at `index` comes right after the last one.
    fn continues_run(&self, index: usize) -> bool {
        self.last_insert != NOWHERE && index == self.last_insert as usize + 1
    }

    /// Whether keys have been arriving in order, and `index` is where the next one would go.
    pub fn is_run(&self, index: usize) -> bool {
        self.run > 0 && self.continues_run(index)
    }

    /// Takes over the knowledge of a run whose last insert is now here at `index`.
    pub fn adopt_run(&mut self, index: usize) {
        (self.last_insert, self.run) = (index as u16, 1);
    }

    /// Forgets a run that goes on in another page.
    pub fn end_run(&mut self) {
        (self.last_insert, self.run) = (NOWHERE, 0);
    }

    fn place(&mut self, index: usize, key: &[u8], value: &[u8]) {
        self.share_prefix(key);
        let offset = self.write_cell(key, value);
        self.slots.insert(index, Slot::new(self.prefix.head(key), offset));
        self.note_ends();
    }

    fn note_ends(&mut self) {
        let head = |slot: Option<&Slot>| slot.map_or(0, |slot| slot.head());
        self.ends = (head(self.slots.first()), head(self.slots.last()));
    }

    /// Shortens the prefix to what `key` shares too.
    fn share_prefix(&mut self, key: &[u8]) {
        if key.is_empty() || key.starts_with(self.prefix.as_bytes()) && self.prefix.len > 0 {
            return;
        }
        if self.len() == 0 || self.len() == 1 && self.key(0).is_empty() {
            self.prefix = Prefix::of(key);
        } else if self.prefix.len > 0 {
            self.prefix.len = common(self.prefix.as_bytes(), key) as u8;
            self.rebuild_heads();
        }
    }

    fn rebuild_heads(&mut self) {
        for at in 0..self.slots.len() {
            let slot = self.slots[at];
            self.slots[at] = Slot::new(self.prefix.head(self.key_of(slot)), slot.offset());
        }
        self.note_ends();
    }

    /// Finds the prefix of the cells that are here now.
    fn find_prefix(&mut self) {
        let first = usize::from(self.len() > 1 && self.key(0).is_empty());
        if let (Some(&first), Some(&last)) = (self.slots.get(first), self.slots.last()) {
            let shared = common(self.key_of(first), self.key_of(last));
            self.prefix = Prefix::of(&self.key_of(last)[..shared]);
        }
    }

    fn write_cell(&mut self, key: &[u8], value: &[u8]) -> usize {
        let size = cell_size(key, value);
        assert!(key.len() <= KEY_SIZE && value.len() <= VALUE_SIZE, "a cell of {} + {}", key.len(), value.len());
        assert!(self.has_room(size), "a cell of {size} bytes in a page with {}", self.used);
        self.make_room(size);
        let offset = self.arena.len();
        self.arena.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.arena.extend_from_slice(&(value.len() as u16).to_le_bytes());
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(value);
        self.used += size as u16;
        offset
    }

    fn make_room(&mut self, size: usize) {
        let needed = self.arena.len() + size;
        if needed > ARENA_SIZE {
            self.compact();
        } else if needed > self.arena.capacity() {
            let capacity = (2 * needed).clamp(1024, ARENA_SIZE);
            self.arena.reserve_exact(capacity - self.arena.len());
        }
    }

    fn compact(&mut self) {
        let mut arena = Vec::with_capacity(ARENA_SIZE);
        for at in 0..self.slots.len() {
            let slot = self.slots[at];
            self.slots[at] = Slot::new(slot.head(), arena.len());
            arena.extend_from_slice(self.cell(slot));
        }
        self.arena = arena;
    }

    /// Removes a cell.
    pub fn remove(&mut self, index: usize) {
        self.used -= self.size_at(index) as u16;
        let slot = self.slots.remove(index);
        if slot.offset() + self.cell(slot).len() == self.arena.len() {
            self.arena.truncate(slot.offset());
        }
        self.note_ends();
        if self.last_insert != NOWHERE && index <= self.last_insert as usize {
            self.last_insert = self.last_insert.checked_sub(1).unwrap_or(NOWHERE);
        }
    }

    /// Gives a cell another value, which has room once the old one is gone.
    pub fn replace(&mut self, index: usize, value: &[u8]) {
        if self.value(index).len() == value.len() {
            return self.value_mut(index).copy_from_slice(value);
        }
        let mut key = [0; KEY_SIZE];
        let key_len = self.key(index).len();
        key[..key_len].copy_from_slice(self.key(index));
        self.used -= self.size_at(index) as u16;
        let head = self.slots.remove(index).head();
        let offset = self.write_cell(&key[..key_len], value);
        self.slots.insert(index, Slot::new(head, offset));
    }

    /// Gives the first cell another key, which keeps the order and has room.
    pub fn rename_first(&mut self, key: &[u8]) {
        let value = self.value(0).to_vec();
        self.remove(0);
        self.place(0, key, &value);
    }

    /// Moves the cells from `at` on to a new page.
    pub fn split_off(&mut self, at: usize) -> Self {
        let mut right = Self::new();
        right.arena.reserve_exact(PAGE_SIZE);
        right.slots.reserve(self.len());
        right.append(self, at..self.len(), None);
        self.slots.truncate(at);
        self.used -= right.used - HEADER as u16;
        self.end_run();
        if at > 0 && right.len() > 0 {
            self.find_prefix();
            self.rebuild_heads();
        }
        right
    }

    /// Appends all cells of `right`, whose first key becomes `first` if given; they have room and come after ours.
    pub fn append_all(&mut self, right: &Self, first: Option<&[u8]>) {
        self.append(right, 0..right.len(), first);
    }

    fn append(&mut self, from: &Self, range: std::ops::Range<usize>, first: Option<&[u8]>) {
        for at in range.clone() {
            let key = if at == range.start { first.unwrap_or(from.key(at)) } else { from.key(at) };
            let offset = self.write_cell(key, from.value(at));
            self.slots.push(Slot::new(0, offset));
        }
        self.find_prefix();
        self.rebuild_heads();
    }

    /// Appends the encoded page to `out`.
    pub fn encode(&self, level: u8, out: &mut Vec<u8>) {
        out.reserve(self.used());
        out.extend_from_slice(&[NODE_VERSION, level]);
        out.extend_from_slice(&(self.len() as u16).to_le_bytes());
        self.copy_cells(0..self.len(), |_, bytes| out.extend_from_slice(bytes));
    }

    /// Reads a page and its level; whatever the bytes are, a page that is given out keeps every invariant.
    pub fn decode(bytes: Vec<u8>) -> Result<(u8, Self), DecodeError> {
        let (level, count) = read_header(&bytes)?;
        let slots = read_slots(&bytes, count)?;
        let used = bytes.len() as u16;
        let mut page = Self { slots, arena: bytes, used, ..Self::new() };
        page.find_prefix();
        page.rebuild_heads();
        page.check_order()?;
        Ok((level, page))
    }

    fn check_order(&self) -> Result<(), DecodeError> {
        let prefix = self.prefix.as_bytes();
        let shares = |at: usize| self.key(at).starts_with(prefix) || at == 0 && self.key(0).is_empty();
        let rises = |at: usize| match self.slots[at - 1].head().cmp(&self.slots[at].head()) {
            Ordering::Less => true,
            Ordering::Equal => self.key(at - 1) < self.key(at),
            Ordering::Greater => false,
        };
        match (0..self.len()).find(|&at| !shares(at) || at > 0 && !rises(at)) {
            Some(at) => Err(DecodeError::malformed(WHAT, format!("cell {at} is not above the one before"))),
            None => Ok(()),
        }
    }
}

fn read_header(bytes: &[u8]) -> Result<(u8, usize), DecodeError> {
    if bytes.len() > PAGE_SIZE {
        return Err(DecodeError::TooLong { what: WHAT, len: bytes.len(), limit: PAGE_SIZE });
    }
    match bytes {
        [version, ..] if *version > NODE_VERSION => {
            Err(DecodeError::Version { what: WHAT, found: (*version).into(), known: NODE_VERSION.into() })
        }
        [NODE_VERSION, level, low, high, ..] => match u16::from_le_bytes([*low, *high]) {
            0 => Err(DecodeError::malformed(WHAT, "it has no cells")),
            count => Ok((*level, count.into())),
        },
        _ => Err(DecodeError::malformed(WHAT, "its header is cut short or has no version")),
    }
}

/// The places of `count` cells that follow the header and end with the bytes.
fn read_slots(bytes: &[u8], count: usize) -> Result<Vec<Slot>, DecodeError> {
    let cut = || DecodeError::malformed(WHAT, "a cell reaches beyond its end");
    let mut slots = Vec::with_capacity(count.min(bytes.len() / CELL_HEADER));
    let mut at = HEADER;
    for _ in 0..count {
        let lengths: &[u8; CELL_HEADER] = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or_else(cut)?;
        let key_len = u16::from_le_bytes([lengths[0], lengths[1]]) as usize;
        let value_len = u16::from_le_bytes([lengths[2], lengths[3]]) as usize;
        if key_len > KEY_SIZE || value_len > VALUE_SIZE {
            return Err(DecodeError::malformed(WHAT, format!("a cell of {key_len} + {value_len} bytes")));
        }
        slots.push(Slot::new(0, at));
        at += CELL_HEADER + key_len + value_len;
    }
    match at.cmp(&bytes.len()) {
        Ordering::Equal => Ok(slots),
        Ordering::Greater => Err(cut()),
        Ordering::Less => Err(DecodeError::malformed(WHAT, format!("{} bytes follow it", bytes.len() - at))),
    }
}
