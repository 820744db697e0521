//! POSIX access control lists as extended attributes (the kernel's `posix_acl_xattr.h`: a u32 version, then entries
//! of u16 tag, u16 permissions, u32 id, little endian).

/// The attribute of the list that governs access.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute of the list that new entries of a directory inherit.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const ENTRY_SIZE: usize = 8;
const ENTRIES: usize = 1024;

const USER_OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OWNER: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// What a new inode inherits from its directory's default list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Inherited {
    /// Its mode.
    pub(crate) mode: u32,
    /// Its access list, when the mode alone cannot say it.
    pub(crate) access: Option<Vec<u8>>,
}

fn parse(bytes: &[u8]) -> Option<Vec<Entry>> {
    let (version, rest) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION || rest.len() % ENTRY_SIZE != 0 || rest.len() / ENTRY_SIZE > ENTRIES {
        return None;
    }
    let entry = |bytes: &[u8]| Entry {
        tag: u16::from_le_bytes([bytes[0], bytes[1]]),
        permissions: u16::from_le_bytes([bytes[2], bytes[3]]) & 7,
        id: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    let entries: Vec<Entry> = rest.chunks_exact(ENTRY_SIZE).map(entry).collect();
    is_valid(&entries).then_some(entries)
}

/// One of each owner, group and other; a mask when somebody is named.
fn is_valid(entries: &[Entry]) -> bool {
    let count = |tag| entries.iter().filter(|entry| entry.tag == tag).count();
    let known = [USER_OWNER, USER, GROUP_OWNER, GROUP, MASK, OTHER];
    entries.iter().all(|entry| known.contains(&entry.tag))
        && count(USER_OWNER) == 1
        && count(GROUP_OWNER) == 1
        && count(OTHER) == 1
        && count(MASK) <= 1
        && (count(USER) + count(GROUP) == 0 || count(MASK) == 1)
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut out = VERSION.to_le_bytes().to_vec();
    for entry in entries {
        out.extend_from_slice(&entry.tag.to_le_bytes());
        out.extend_from_slice(&entry.permissions.to_le_bytes());
        out.extend_from_slice(&entry.id.to_le_bytes());
    }
    out
}

/// Whether the list says no more than permission bits can.
fn is_plain(entries: &[Entry]) -> bool {
    entries.iter().all(|entry| matches!(entry.tag, USER_OWNER | GROUP_OWNER | OTHER))
}

/// The permission bits that a list implies; the group's are the mask's where there is one.
fn permission_bits(entries: &[Entry]) -> u32 {
    let of = |tag| entries.iter().find(|entry| entry.tag == tag).map(|entry| u32::from(entry.permissions));
    let group = of(MASK).or(of(GROUP_OWNER)).unwrap_or(0);
    of(USER_OWNER).unwrap_or(0) << 6 | group << 3 | of(OTHER).unwrap_or(0)
}

/// What setting an access list means: the permission bits, and the list to keep unless the bits say it all.
/// `None` when it is not a list.
pub(crate) fn access_of(list: &[u8]) -> Option<(u32, Option<Vec<u8>>)> {
    let entries = parse(list)?;
    Some((permission_bits(&entries), (!is_plain(&entries)).then(|| list.to_vec())))
}

/// Whether bytes are a list that a directory can have as default.
pub(crate) fn is_list(list: &[u8]) -> bool {
    parse(list).is_some()
}

/// The access list after chmod(2) to `mode`; `None` when the bytes are not a list.
pub(crate) fn with_mode(list: &[u8], mode: u32) -> Option<Vec<u8>> {
    let mut entries = parse(list)?;
    let has_mask = entries.iter().any(|entry| entry.tag == MASK);
    for entry in &mut entries {
        match entry.tag {
            USER_OWNER => entry.permissions = (mode >> 6 & 7) as u16,
            GROUP_OWNER if !has_mask => entry.permissions = (mode >> 3 & 7) as u16,
            MASK => entry.permissions = (mode >> 3 & 7) as u16,
            OTHER => entry.permissions = (mode & 7) as u16,
            _ => {}
        }
    }
    Some(encode(&entries))
}

/// What a new inode of `mode` inherits from a default list (acl(5), "object creation").
pub(crate) fn inherit(default: &[u8], mode: u32) -> Option<Inherited> {
    let mut entries = parse(default)?;
    let has_mask = entries.iter().any(|entry| entry.tag == MASK);
    for entry in &mut entries {
        let allowed = match entry.tag {
            USER_OWNER => mode >> 6,
            GROUP_OWNER if !has_mask => mode >> 3,
            MASK => mode >> 3,
            OTHER => mode,
            _ => 7,
        };
        entry.permissions &= (allowed & 7) as u16;
    }
    let mode = mode & !0o777 | permission_bits(&entries);
    Some(Inherited { mode, access: (!is_plain(&entries)).then(|| encode(&entries)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let entries: Vec<Entry> =
            entries.iter().map(|&(tag, permissions, id)| Entry { tag, permissions, id }).collect();
        encode(&entries)
    }

    const NOBODY: u32 = u32::MAX;

    #[test]
    fn a_plain_list_is_only_permission_bits() {
        let plain = list(&[(USER_OWNER, 6, NOBODY), (GROUP_OWNER, 4, NOBODY), (OTHER, 0, NOBODY)]);
        assert_eq!(access_of(&plain), Some((0o640, None)));
    }

    #[test]
    fn the_mask_stands_for_the_group() {
        let named = list(&[
            (USER_OWNER, 7, NOBODY),
            (USER, 7, 1000),
            (GROUP_OWNER, 5, NOBODY),
            (MASK, 6, NOBODY),
            (OTHER, 1, NOBODY),
        ]);
        assert_eq!(access_of(&named), Some((0o761, Some(named.clone()))));
        let narrowed = with_mode(&named, 0o640).unwrap();
        assert_eq!(access_of(&narrowed).unwrap().0, 0o640);
        assert_eq!(parse(&narrowed).unwrap()[2].permissions, 5, "the owning group keeps its entry");
    }

    #[test]
    fn a_new_file_gets_no_more_than_it_asked_for() {
        let default = list(&[
            (USER_OWNER, 7, NOBODY),
            (USER, 7, 1000),
            (GROUP_OWNER, 7, NOBODY),
            (MASK, 7, NOBODY),
            (OTHER, 5, NOBODY),
        ]);
        let inherited = inherit(&default, 0o100_644).unwrap();
        assert_eq!(inherited.mode, 0o100_644);
        assert_eq!(access_of(&inherited.access.unwrap()).unwrap().0, 0o644);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let no_mask = list(&[(USER_OWNER, 7, 0), (USER, 7, 1), (GROUP_OWNER, 7, 0), (OTHER, 7, 0)]);
        for bytes in [&b""[..], &[2, 0, 0, 0], &[1, 0, 0, 0], &no_mask, &no_mask[..9]] {
            assert_eq!(access_of(bytes), None, "{bytes:?}");
        }
    }
}
