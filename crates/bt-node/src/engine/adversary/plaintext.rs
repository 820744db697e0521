//! The directory is searched for anything that was in the tree.

use bt_store::Storage;

use super::*;
use crate::engine::testing::ROOT;

/// Every file of the directory that holds `text`.
fn holding(storage: &MemoryStorage, text: &[u8]) -> Vec<String> {
    let zone = String::from_utf8(crate::identity::read(storage, "zones/root").unwrap()).unwrap();
    let directories = ["", "containers", "zones", &format!("zones/{}", zone.trim())].map(str::to_owned);
    let names = directories.iter().flat_map(|directory| storage.list(directory).unwrap());
    let holds = |name: &String| {
        let file = storage.open(name, false).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes.windows(text.len()).any(|window| window == text)
    };
    let mut found: Vec<String> = names.filter(holds).collect();
    found.dedup();
    found
}

#[test]
fn no_name_and_no_content_lies_in_the_directory() {
    let zone = TestZone::new();
    let secrets: [&[u8]; 6] = [
        b"name-of-a-secret-file",
        b"small secret content in the index",
        b"large secret content, repeated. ",
        b"user.secret-attribute",
        b"value of the secret attribute",
        b"secret-snapshot-name",
    ];
    let [name, small, large, attribute, value, snapshot] = secrets;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let inode = zone.file(ROOT, &text(name), small);
    let other = zone.file(ROOT, "other", &large.repeat(3000));
    zone.engine.set_attribute(inode, attribute, value, Default::default(), false).unwrap();
    zone.engine.sync_file(Some(inode)).unwrap();
    zone.engine.sync_file(Some(other)).unwrap();
    zone.engine.create_snapshot(snapshot).unwrap();
    zone.file(ROOT, &text(name), small);
    zone.engine.sync_file(Some(inode)).unwrap();
    for secret in secrets {
        assert_eq!(holding(&zone.storage, secret), Vec::<String>::new(), "{}", secret.escape_ascii());
    }
    // The search finds what is there: a file as a careless program would leave it, and what is not secret.
    let careless = zone.storage.deep_copy();
    crate::identity::replace(&careless, "containers/00000099", &[&[0; 100][..], large].concat()).unwrap();
    assert_eq!(holding(&careless, large), ["containers/00000099"]);
    assert_eq!(holding(&zone.storage, b"blocktree node directory"), ["format"]);
}
