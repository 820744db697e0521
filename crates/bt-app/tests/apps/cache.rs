//! The cache of compiled code.

use std::fs;

use bt_app::{CodeCache, Entry, Limits};

use crate::fixture::{Cache, call, program, text};
use crate::guests;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_compiled_once_is_not_compiled_again() {
    let cache = Cache::new();
    cache.cache.compiled(&guests::hello(), false).await.unwrap();
    let file = only_file(&cache);
    let made = fs::metadata(&file).unwrap();
    cache.cache.compiled(&guests::hello(), false).await.unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(&file).unwrap()),
        std::os::unix::fs::MetadataExt::ino(&made)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_was_changed_is_never_run() {
    let cache = Cache::new();
    cache.cache.compiled(&guests::hello(), false).await.unwrap();
    let file = only_file(&cache);
    let whole = fs::read(&file).unwrap();
    for at in [0, 8, 40, whole.len() / 2, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&file, &changed).unwrap();
        let app = cache.app(&guests::hello(), Entry::Http, Limits::default()).await;
        assert_eq!(text(call(&app, "/").await).await.unwrap().1, "hello\n");
        assert_eq!(fs::read(&file).unwrap(), whole, "compiled anew after byte {at} was changed");
    }
    fs::write(&file, &whole[..20]).unwrap();
    cache.cache.compiled(&guests::hello(), false).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn code_of_another_component_or_another_node_is_never_run() {
    let cache = Cache::new();
    cache.cache.compiled(&guests::hello(), false).await.unwrap();
    let hello = only_file(&cache);
    let code = fs::read(&hello).unwrap();
    fs::remove_file(&hello).unwrap();
    let other = guests::http("(call $begin (local.get $out) (i32.const 204)) (call $end)", "");
    cache.cache.compiled(&other, false).await.unwrap();
    let file = only_file(&cache);
    fs::write(&file, &code).unwrap();
    let app = cache.app(&other, Entry::Http, Limits::default()).await;
    assert_eq!(text(call(&app, "/").await).await.unwrap().0, 204);

    let strange = CodeCache::open(cache.directory.path(), [8; 32].into(), program()).unwrap();
    let before = fs::read(&file).unwrap();
    strange.compiled(&other, false).await.unwrap();
    assert_ne!(fs::read(&file).unwrap(), before, "another node does not believe this one's code");
}

fn only_file(cache: &Cache) -> std::path::PathBuf {
    let files: Vec<_> = fs::read_dir(cache.directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}
