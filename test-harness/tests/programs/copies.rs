//! tar and rsync carry a tree to the mount and back, with everything that belongs to its files.

use std::path::Path;

use anyhow::{Context, Result};
use test_harness::model::{compare_trees, tree};
use test_harness::subject::Mounted;

use super::script;

/// Files of all kinds, sizes, modes and owners, on the ordinary file system.
const SOURCE: &str = r#"
mkdir source; cd source
mkdir -p a/b/c 'with blank' empty; chmod 1777 empty; chmod 2750 a/b
for size in 0 1 100 4095 4096 4097 16384 65537 300000 5000000; do
  head -c $size < <(openssl enc -aes-128-ctr -nosalt -pass pass:$size -in /dev/zero 2>/dev/null) > a/size$size || true
done
for number in $(seq 1 300); do echo "file $number" > a/b/c/f$number; done
ln a/size4096 a/b/hard; ln -s ../size100 a/b/symbolic; ln -s /nowhere dangling
mkfifo pipe; mknod null c 1 3
truncate -s 40M sparse; printf island | dd of=sparse bs=1 seek=20000000 conv=notrunc status=none
chown 1000:1001 a/size100; chmod 4755 a/size1; chmod 0 a/size0
setfattr -n user.note -v hello a/size100; setfattr -n user.note -v dir a
setfacl -m u:1234:rw a/size300000; setfacl -d -m g:4321:rx empty
touch -d '2001-02-03 04:05:06.789' a/size4097
"#;

fn same(source: &Path, copy: &Path) -> Result<()> {
    compare_trees(&tree::describe(source)?, &tree::describe(copy)?)
}

fn mounted_with_source(name: &str) -> Result<(Mounted, std::path::PathBuf)> {
    let mounted = Mounted::new(name)?;
    let outside = mounted.scratch().directory("outside")?;
    script(&outside, SOURCE)?;
    Ok((mounted, outside.join("source")))
}

#[test]
fn tar_carries_a_tree_there_and_back() -> Result<()> {
    let (mut mounted, source) = mounted_with_source("tar")?;
    let outside = source.parent().context("the source has a parent")?;
    let flags = "--xattrs --xattrs-include='*' --acls --numeric-owner --sparse";
    script(outside, &format!("tar {flags} -C source -cf all.tar ."))?;
    let archive = outside.join("all.tar");
    let unpack = format!("mkdir copy; tar {flags} -C copy -xpf '{}'", archive.display());
    script(mounted.directory(), &unpack)?;
    same(&source, &mounted.directory().join("copy")).context("unpacked on the mount")?;
    mounted.remount()?;
    same(&source, &mounted.directory().join("copy")).context("mounted again")?;
    script(mounted.directory(), &format!("tar {flags} -d -C copy -f '{}'", archive.display()))?;
    script(
        mounted.directory(),
        &format!("tar {flags} -C copy -cf packed.tar .; mv packed.tar '{}'/", outside.display()),
    )?;
    script(outside, &format!("mkdir back; tar {flags} -C back -xpf packed.tar"))?;
    same(&source, &outside.join("back")).context("packed on the mount")?;
    script(mounted.directory(), "rm -r copy; test -z \"$(ls -A)\"")?;
    mounted.finish()
}

#[test]
fn rsync_carries_a_tree_there_and_back() -> Result<()> {
    let (mut mounted, source) = mounted_with_source("rsync")?;
    let outside = source.parent().context("the source has a parent")?;
    let copy = mounted.directory().join("copy");
    let flags = "-aHAXS --numeric-ids";
    script(&source, &format!("rsync {flags} ./ '{}'/", copy.display()))?;
    same(&source, &copy)?;
    mounted.remount()?;
    let changes = "--checksum --itemize-changes --dry-run --delete";
    let quiet = format!("test -z \"$(rsync {flags} {changes} ./ '{}'/)\"", copy.display());
    script(&source, &quiet).context("a second run finds nothing to do")?;
    script(&source, "echo more >> a/size5000000; rm a/b/c/f1; mv a/b/c a/moved; truncate -s 10 a/size300000")?;
    script(&source, &format!("rsync {flags} --inplace --no-whole-file --delete ./ '{}'/", copy.display()))?;
    same(&source, &copy).context("changed in place")?;
    script(&copy, &format!("rsync {flags} ./ '{}'/", outside.join("back").display()))?;
    same(&source, &outside.join("back")).context("copied back")?;
    mounted.finish()
}
