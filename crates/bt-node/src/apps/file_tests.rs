//! What a guest can do with files, and what it cannot.

use std::collections::BTreeMap;
use std::sync::Arc;

use bt_app::protocol::{FileError, FileId, FileKind, FileReply, FileRequest, OpenFlags};
use bt_base::PrincipalId;
use bt_crypto::{KeyStore, SoftwareKeyStore};
use bt_tree::Rights;
use proptest::collection::vec;
use proptest::prelude::*;

use super::authority::Authority;
use super::files::{CallFiles, GrantedRoot};
use crate::zones::tests::{Bed, ROOT};

const TOP: FileId = FileId(0);
const READ: OpenFlags =
    OpenFlags { read: true, write: false, create: false, exclusive: false, truncate: false, directory: false };
const WRITE: OpenFlags = OpenFlags { write: true, ..READ };
const CREATE: OpenFlags = OpenFlags { create: true, ..WRITE };

fn principal(seed: u8) -> SoftwareKeyStore {
    SoftwareKeyStore::from_seed(&[seed; 32])
}

fn id(store: &SoftwareKeyStore) -> PrincipalId {
    store.credential().id()
}

/// The files of a call whose one grant is the directory at `path`.
fn call(bed: &Bed, path: &str, authority: Authority) -> CallFiles {
    let root = GrantedRoot::find(&bed.zones, &path.parse().unwrap(), authority).unwrap().unwrap();
    CallFiles::new(bed.zones.clone(), vec![root])
}

/// Everything that the root may do.
fn as_root(bed: &Bed) -> Authority {
    Authority { owner: id(&bed.root), caller: None, as_app: true, write: true }
}

fn open(files: &CallFiles, at: FileId, path: &str, flags: OpenFlags) -> Result<FileId, FileError> {
    match files.answer(FileRequest::Open { at, path: path.into(), follow: true, flags }) {
        FileReply::Opened { file, .. } => Ok(file),
        FileReply::Failed(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn write(files: &CallFiles, file: FileId, offset: Option<u64>, data: &'static [u8]) -> Result<u64, FileError> {
    match files.answer(FileRequest::Write { file, offset, data: data.into() }) {
        FileReply::Written { end } => Ok(end),
        FileReply::Failed(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn read(files: &CallFiles, path: &str) -> Result<Vec<u8>, FileError> {
    let file = open(files, TOP, path, READ)?;
    match files.answer(FileRequest::Read { file, offset: 0, length: 1000 }) {
        FileReply::Data(data) => Ok(data.to_vec()),
        FileReply::Failed(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn ask(files: &CallFiles, request: FileRequest) -> Result<(), FileError> {
    match files.answer(request) {
        FileReply::Failed(error) => Err(error),
        _ => Ok(()),
    }
}

fn names(files: &CallFiles, directory: FileId) -> Result<Vec<String>, FileError> {
    match files.answer(FileRequest::ReadDirectory { directory, after: 0 }) {
        FileReply::Entries { entries, end: true } => Ok(entries.into_iter().map(|entry| entry.name).collect()),
        FileReply::Failed(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn at(path: &str) -> (FileId, String) {
    (TOP, path.into())
}

fn rename(files: &CallFiles, from: &str, to: &str) -> Result<(), FileError> {
    let ((from, from_path), (to, to_path)) = (at(from), at(to));
    ask(files, FileRequest::Rename { from, from_path, to, to_path })
}

fn symlink(files: &CallFiles, target: &str, path: &str) -> Result<(), FileError> {
    ask(files, FileRequest::Symlink { target: target.into(), at: TOP, path: path.into() })
}

#[test]
fn files_are_made_written_and_read_as_posix_says() {
    let bed = Bed::new();
    bed.directory(ROOT, "notes");
    let files = call(&bed, "notes", as_root(&bed));
    assert_eq!(open(&files, TOP, "a", READ), Err(FileError::NoEntry));
    let file = open(&files, TOP, "a", CREATE).unwrap();
    assert_eq!(write(&files, file, Some(0), b"hello"), Ok(5));
    assert_eq!(write(&files, file, None, b" world"), Ok(11));
    assert_eq!(read(&files, "a").unwrap(), b"hello world");
    assert_eq!(open(&files, TOP, "a", OpenFlags { exclusive: true, ..CREATE }), Err(FileError::Exists));
    ask(&files, FileRequest::SetSize { file, size: 4 }).unwrap();
    ask(&files, FileRequest::Sync { file, data_only: true }).unwrap();
    ask(&files, FileRequest::Close { file }).unwrap();
    assert_eq!(write(&files, file, None, b"x"), Err(FileError::BadDescriptor));
    assert_eq!(bed.content(bed.node("notes/a")), b"hell");
    let only_read = open(&files, TOP, "a", READ).unwrap();
    assert_eq!(write(&files, only_read, None, b"x"), Err(FileError::BadDescriptor));
    open(&files, TOP, "a", OpenFlags { truncate: true, ..WRITE }).unwrap();
    assert_eq!(read(&files, "a").unwrap(), b"");
    assert_eq!(open(&files, TOP, "a/", READ), Err(FileError::NotDirectory));
    ask(&files, FileRequest::CreateDirectory { at: TOP, path: "d/".into() }).unwrap();
    assert_eq!(open(&files, TOP, "d", CREATE), Err(FileError::IsDirectory));
    let directory = open(&files, TOP, "d", OpenFlags { directory: true, ..READ }).unwrap();
    open(&files, directory, "inner", CREATE).unwrap();
    assert_eq!(names(&files, TOP).unwrap(), ["a", "d"]);
    let remove = |path: &str| ask(&files, FileRequest::RemoveDirectory { at: TOP, path: path.into() });
    assert_eq!(remove("d"), Err(FileError::NotEmpty));
    assert_eq!(remove("a"), Err(FileError::NotDirectory));
    rename(&files, "d/inner", "b").unwrap();
    let (from, from_path) = at("b");
    ask(&files, FileRequest::Link { from, from_path, to: TOP, to_path: "c".into() }).unwrap();
    ask(&files, FileRequest::Unlink { at: TOP, path: "b".into() }).unwrap();
    remove("d").unwrap();
    assert_eq!(names(&files, TOP).unwrap(), ["a", "c"]);
    drop(files);
    bed.expect_clean();
}

#[test]
fn an_unlinked_file_lives_until_it_is_closed() {
    let bed = Bed::new();
    let files = call(&bed, "", as_root(&bed));
    let file = open(&files, TOP, "a", CREATE).unwrap();
    ask(&files, FileRequest::Unlink { at: TOP, path: "a".into() }).unwrap();
    assert_eq!(write(&files, file, Some(0), b"still"), Ok(5));
    assert!(bed.zones.top().has_orphans());
    drop(files);
    assert!(!bed.zones.top().has_orphans(), "a call that ends leaves nothing open");
}

#[test]
fn no_path_leads_out_of_what_is_granted() {
    let bed = Bed::new();
    let notes = bed.directory(ROOT, "notes");
    bed.file(ROOT, "secret", b"secret");
    bed.file(notes, "own", b"own");
    let files = call(&bed, "notes", as_root(&bed));
    symlink(&files, "../secret", "out").unwrap();
    symlink(&files, "own", "in").unwrap();
    symlink(&files, "loop", "loop").unwrap();
    ask(&files, FileRequest::CreateDirectory { at: TOP, path: "d".into() }).unwrap();
    assert_eq!(read(&files, "d/../own").unwrap(), b"own");
    assert_eq!(read(&files, "in").unwrap(), b"own");
    for path in ["../secret", "d/../../secret", "out", "d/../../notes/own", "..", "/secret", "/"] {
        assert_eq!(read(&files, path), Err(FileError::NotPermitted), "{path}");
    }
    assert_eq!(read(&files, "loop"), Err(FileError::Loop));
    assert_eq!(read(&files, ""), Err(FileError::NoEntry));
    assert_eq!(read(&files, "own\0"), Err(FileError::Invalid));
    assert_eq!(read(&files, "OWN"), Err(FileError::NoEntry));
    assert_eq!(symlink(&files, "/secret", "absolute"), Err(FileError::NotPermitted));
    assert_eq!(rename(&files, "own", "../own"), Err(FileError::NotPermitted));
    // A directory handle is a border of its own.
    let directory = open(&files, TOP, "d", READ).unwrap();
    assert_eq!(open(&files, directory, "../own", READ), Err(FileError::NotPermitted));
    // A link that somebody made elsewhere leads out no more than one of the guest's.
    let target = bed.zones.top().make(bed.node("notes"), b"absolute", 0o120777, 0, b"/secret", (0, 0, 0));
    target.unwrap();
    assert_eq!(read(&files, "absolute"), Err(FileError::NotPermitted));
    assert_eq!(open(&files, FileId(99), "own", READ), Err(FileError::BadDescriptor));
}

#[test]
fn the_directory_of_the_apps_is_out_of_reach() {
    let bed = Bed::new();
    let apps = bed.directory(ROOT, ".apps");
    bed.file(apps, "packages", b"x");
    let top = call(&bed, "", as_root(&bed));
    assert_eq!(read(&top, ".apps/packages"), Err(FileError::Access));
    assert_eq!(rename(&top, ".apps", "mine"), Err(FileError::Access));
    assert_eq!(open(&top, TOP, ".apps", CREATE), Err(FileError::Access));
    symlink(&top, ".apps/packages", "link").unwrap();
    assert_eq!(read(&top, "link"), Err(FileError::Access));
    assert_eq!(names(&top, TOP).unwrap(), ["link"]);
    let authority = as_root(&bed);
    assert!(GrantedRoot::find(&bed.zones, &".apps".parse().unwrap(), authority).unwrap().is_none());
}

#[test]
fn as_caller_takes_both_and_as_app_the_owner_only() {
    let bed = Bed::new();
    let (reader, stranger) = (principal(7), principal(8));
    bed.directory(ROOT, "notes");
    bed.share("notes", Some((&reader, Rights::Read))).unwrap();
    let root = id(&bed.root);
    let may = |owner, caller, as_app, write| {
        let files = call(&bed, "notes", Authority { owner, caller, as_app, write });
        let made = open(&files, TOP, "file", CREATE).map(drop);
        (names(&files, TOP).map(drop), made)
    };
    let (no, read_only) = (FileError::Access, FileError::ReadOnly);
    assert_eq!(may(root, None, false, true), (Err(no), Err(no)), "an anonymous caller has no rights of its own");
    assert_eq!(may(root, Some(id(&stranger)), false, true), (Err(no), Err(no)));
    assert_eq!(may(root, Some(id(&reader)), false, true), (Ok(()), Err(no)));
    assert_eq!(may(root, Some(root), false, false), (Ok(()), Err(read_only)), "it was granted to be read");
    assert_eq!(may(root, Some(root), false, true), (Ok(()), Ok(())));
    assert_eq!(may(root, None, true, true), (Ok(()), Ok(())));
    assert_eq!(may(id(&reader), None, true, true), (Ok(()), Err(no)), "a grant gives no more than its owner has");
    assert_eq!(may(id(&stranger), Some(root), true, true), (Err(no), Err(no)));
}

#[test]
fn a_zone_below_is_entered_only_by_who_may() {
    let bed = Bed::new();
    let admin = principal(7);
    let shared = bed.directory(ROOT, "shared");
    let closed = bed.directory(shared, "closed");
    bed.file(closed, "file", b"inner");
    bed.share("shared/closed", None).unwrap();
    let root = id(&bed.root);
    let as_app = |owner| Authority { owner, caller: None, as_app: true, write: true };
    let files = call(&bed, "shared", as_app(root));
    assert_eq!(read(&files, "closed/file").unwrap(), b"inner");
    assert_eq!(names(&files, TOP).unwrap(), ["closed"]);
    assert_eq!(rename(&files, "closed/file", "file"), Err(FileError::CrossZone));
    assert_eq!(rename(&files, "closed", "open"), Err(FileError::CrossZone));
    let remove = FileRequest::RemoveDirectory { at: TOP, path: "closed".into() };
    assert_eq!(ask(&files, remove), Err(FileError::Busy));
    // Who is no reader of the inner zone does not get in through an app of his.
    bed.share("shared", Some((&admin, Rights::Admin))).unwrap_err();
    let files = call(&bed, "shared", as_app(id(&admin)));
    assert_eq!(read(&files, "closed/file"), Err(FileError::Access));
}

#[test]
fn what_is_open_is_found_again_when_its_directory_becomes_a_zone() {
    let bed = Bed::new();
    bed.directory(ROOT, "notes");
    let files = call(&bed, "notes", as_root(&bed));
    let file = open(&files, TOP, "a", CREATE).unwrap();
    write(&files, file, Some(0), b"one").unwrap();
    bed.share("notes", None).unwrap();
    write(&files, file, None, b" two").unwrap();
    assert_eq!(read(&files, "a").unwrap(), b"one two");
    drop(files);
    assert_eq!(bed.content(bed.node("notes/a")), b"one two");
    bed.expect_clean();
}

#[test]
fn a_call_has_so_many_files_open_and_no_more() {
    let bed = Bed::new();
    let files = call(&bed, "", as_root(&bed));
    open(&files, TOP, "a", CREATE).unwrap();
    while open(&files, TOP, "a", READ).is_ok() {}
    assert_eq!(open(&files, TOP, "a", READ), Err(FileError::TooManyOpen));
    ask(&files, FileRequest::Close { file: FileId(5) }).unwrap();
    open(&files, TOP, "a", READ).unwrap();
    assert_eq!(ask(&files, FileRequest::Close { file: TOP }), Err(FileError::Invalid));
}

/// What is at a path of the model.
#[derive(Clone, Debug)]
enum Thing {
    Directory,
    File,
    Link(String),
}

/// A small tree as paths, and the rules of walking in it.
type Model = BTreeMap<Vec<String>, Thing>;

/// Where a path leads from the directory `base`: the place of what is found, or that of a name that is free.
fn walk(model: &Model, base: &[String], path: &str, links: usize) -> Result<Vec<String>, FileError> {
    let mut here = base.to_vec();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    for (number, part) in parts.iter().enumerate() {
        if *part == ".." {
            if here.len() == base.len() {
                return Err(FileError::NotPermitted);
            }
            here.pop();
            continue;
        }
        let mut next = here.clone();
        next.push((*part).to_owned());
        let is_last = number + 1 == parts.len();
        match model.get(&next) {
            None if is_last => return Ok(next),
            None => return Err(FileError::NoEntry),
            Some(Thing::Link(_)) if links == 40 => return Err(FileError::Loop),
            Some(Thing::Link(target)) => {
                // The rest of the path is walked from where the link is, through its target.
                let below = here[base.len()..].iter().map(String::as_str);
                let whole: Vec<&str> =
                    below.chain([target.as_str()]).chain(parts[number + 1..].iter().copied()).collect();
                return walk(model, base, &whole.join("/"), links + 1);
            }
            Some(Thing::File) if !is_last => return Err(FileError::NotDirectory),
            Some(Thing::File | Thing::Directory) => here = next,
        }
    }
    Ok(here)
}

fn paths() -> impl Strategy<Value = String> {
    let part = prop_oneof![4 => "[abc]", 2 => Just("..".to_owned()), 1 => Just(".".to_owned())];
    vec(part, 1..6).prop_map(|parts| parts.join("/"))
}

fn things() -> impl Strategy<Value = Vec<(Vec<String>, Thing)>> {
    let kind = prop_oneof![
        3 => Just(Thing::Directory),
        1 => Just(Thing::File),
        2 => paths().prop_map(Thing::Link),
    ];
    vec((vec("[abc]", 1..4), kind), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn paths_lead_where_the_model_says(things in things(), asked in vec(paths(), 1..12)) {
        let bed = Bed::new();
        let granted = bed.directory(ROOT, "granted");
        bed.file(ROOT, "a", b"outside");
        let mut model = Model::new();
        let mut nodes = BTreeMap::from([(vec![], granted)]);
        for (path, thing) in things {
            let Some(parent) = nodes.get(&path[..path.len() - 1]).copied() else { continue };
            if model.contains_key(&path) {
                continue;
            }
            let name = path.last().unwrap();
            match &thing {
                Thing::Directory => drop(nodes.insert(path.clone(), bed.directory(parent, name))),
                Thing::File => drop(bed.file(parent, name, path.join("/").as_bytes().to_vec().leak())),
                Thing::Link(target) => {
                    bed.zones.top().make(parent, name.as_bytes(), 0o120777, 0, target.as_bytes(), (0, 0, 0)).unwrap();
                }
            }
            model.insert(path, thing);
        }
        let files = call(&bed, "granted", as_root(&bed));
        for path in asked {
            let expected = walk(&model, &[], &path, 0).and_then(|place| match model.get(&place) {
                None if place.is_empty() => Ok((FileKind::Directory, String::new())),
                None => Err(FileError::NoEntry),
                Some(Thing::Directory) => Ok((FileKind::Directory, String::new())),
                Some(_) => Ok((FileKind::File, place.join("/"))),
            });
            let request = FileRequest::Open { at: TOP, path: path.clone(), follow: true, flags: READ };
            let found = match files.answer(request) {
                FileReply::Failed(error) => Err(error),
                FileReply::Opened { kind: FileKind::Directory, file } => {
                    files.answer(FileRequest::Close { file });
                    Ok((FileKind::Directory, String::new()))
                }
                FileReply::Opened { kind, file } => {
                    files.answer(FileRequest::Close { file });
                    Ok((kind, String::from_utf8(read(&files, &path).unwrap()).unwrap()))
                }
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(found, expected, "{} in {:?}", path, model);
        }
        drop(files);
    }
}

#[test]
fn two_calls_that_append_lose_nothing() {
    let bed = Bed::new();
    let zones = bed.zones.clone();
    let files: Vec<Arc<CallFiles>> = (0..2).map(|_| Arc::new(call(&bed, "", as_root(&bed)))).collect();
    std::thread::scope(|scope| {
        for files in &files {
            scope.spawn(move || {
                let file = open(files, TOP, "inbox", CREATE).unwrap();
                (0..200).for_each(|_| assert!(write(files, file, None, b"line\n").is_ok()));
            });
        }
    });
    assert_eq!(bed.content(bed.node("inbox")).len(), 2 * 200 * 5);
    drop((files, zones));
}
