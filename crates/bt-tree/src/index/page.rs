//! One sorted page of cells, the body of every node.
//!
//! In memory a page is an arena of cells in any order, with garbage between them, and a sorted array of slots
//! that hold enough of the keys to find one: a search reads the slots alone and then one cell. On disk it is the
//! header and the cells in key order, nothing else.
//!
//! Invariants: keys rise strictly; every key but an empty first one begins with `prefix`; `used` is the encoded
//! size and never above [`PAGE_SIZE`].

use std::ops::Range;

use bt_base::limits::BLOCK_SIZE;

use super::slot::{Prefix, Slot};

/// The most encoded bytes of a node.
pub const PAGE_SIZE: usize = BLOCK_SIZE;
/// The longest key, in bytes.
pub const KEY_SIZE: usize = 512;
/// The longest value, in bytes.
pub const VALUE_SIZE: usize = 8 * 1024 + 512;
/// The newest format of a node that this program reads, and the one it writes.
pub const NODE_VERSION: u8 = 2;

/// Version, level, and the number of cells as u16.
pub(super) const HEADER: usize = 4;
/// Lengths of key and value, each u16, before the bytes of both.
pub(super) const CELL_HEADER: usize = 4;
/// The arena is compacted before it grows past this; what it exceeds a page by is room for garbage.
const ARENA_SIZE: usize = PAGE_SIZE + 4096;
/// `last_insert` of a page that nothing was inserted into.
const NOWHERE: u16 = u16::MAX;

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
    pub(super) slots: Vec<Slot>,
    pub(super) arena: Vec<u8>,
    pub(super) used: u16,
    /// The slot of the last insert, and how many before it were each one slot lower: keys that arrive in order.
    last_insert: u16,
    run: u16,
    pub(super) prefix: Prefix,
    /// The heads of the first and of the last slot.
    pub(super) ends: (u128, u128),
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

    /// A page over encoded bytes and the places of the cells in them, the order of which is still to be checked.
    pub(super) fn over(bytes: Vec<u8>, slots: Vec<Slot>) -> Self {
        let used = bytes.len() as u16;
        let mut page = Self { slots, arena: bytes, used, ..Self::new() };
        page.find_prefix();
        page.rebuild_heads();
        page
    }

    /// The same cells with little garbage, and with room to grow.
    pub fn copy(&self) -> Self {
        let mut slots = Vec::with_capacity(self.len() + 16);
        slots.extend_from_slice(&self.slots);
        let is_clean = self.arena.len() <= self.used() + 1024;
        let arena =
            Vec::with_capacity((self.used() + 2048).clamp(self.arena.len() * usize::from(is_clean), ARENA_SIZE));
        let mut page = Self { slots, arena, ..*self };
        if is_clean {
            page.arena.extend_from_slice(&self.arena);
        } else {
            page.collect_cells(&self.arena);
        }
        page
    }

    /// Fills the empty arena with the cells that the slots name in another.
    fn collect_cells(&mut self, from: &[u8]) {
        for slot in &mut self.slots {
            let place = self.arena.len();
            self.arena.extend_from_slice(cell(from, *slot));
            *slot = Slot::new(slot.head(), place);
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
        split(&self.arena, slot)
    }

    pub(super) fn key_of(&self, slot: Slot) -> &[u8] {
        let (key_len, _, rest) = self.split(slot);
        &rest[..key_len]
    }

    pub(super) fn cell(&self, slot: Slot) -> &[u8] {
        cell(&self.arena, slot)
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

    pub(super) fn rebuild_heads(&mut self) {
        for at in 0..self.slots.len() {
            let slot = self.slots[at];
            self.slots[at] = Slot::new(self.prefix.head(self.key_of(slot)), slot.offset());
        }
        self.note_ends();
    }

    /// Finds the prefix of the cells that are here now.
    pub(super) fn find_prefix(&mut self) {
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
        let old = std::mem::replace(&mut self.arena, Vec::with_capacity(ARENA_SIZE));
        self.collect_cells(&old);
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

    fn append(&mut self, from: &Self, range: Range<usize>, first: Option<&[u8]>) {
        for at in range.clone() {
            let key = if at == range.start { first.unwrap_or(from.key(at)) } else { from.key(at) };
            let offset = self.write_cell(key, from.value(at));
            self.slots.push(Slot::new(0, offset));
        }
        self.find_prefix();
        self.rebuild_heads();
    }
}

/// The lengths of a cell's key and value, and what follows them.
fn split(arena: &[u8], slot: Slot) -> (usize, usize, &[u8]) {
    let (lengths, rest) = arena[slot.offset()..].split_at(CELL_HEADER);
    let length = |at: usize| u16::from_le_bytes([lengths[at], lengths[at + 1]]) as usize;
    (length(0), length(2), rest)
}

fn cell(arena: &[u8], slot: Slot) -> &[u8] {
    let (key_len, value_len, _) = split(arena, slot);
    &arena[slot.offset()..][..CELL_HEADER + key_len + value_len]
}
