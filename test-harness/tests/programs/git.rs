//! git: import, clone, gc, fsck, branches, worktrees.

use anyhow::{Result, ensure};
use test_harness::subject::Mounted;

use super::script;

/// A repository of 40 commits over 400 files in 20 directories, made on the ordinary file system.
const IMPORT: &str = r#"
git init -q --initial-branch=main origin
cd origin
for commit in $(seq 1 40); do
  printf 'commit refs/heads/main\ncommitter Test <test@example.org> %d +0000\ndata 10\ncommit %03d\n' \
    $((1700000000 + commit)) $commit
  for file in $(seq 1 10); do
    path="d$(( (commit * 7 + file) % 20 ))/f$(( (commit * 10 + file) % 400 ))"
    content="$(seq $commit $((commit * file + 50)))"
    printf 'M 100644 inline %s\ndata %d\n%s\n' "$path" ${#content} "$content"
  done
done | git fast-import --quiet
git update-ref refs/heads/other main~10
git symbolic-ref HEAD refs/heads/main
"#;

const WORK: &str = r#"
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=T GIT_AUTHOR_EMAIL=t@e GIT_COMMITTER_NAME=T GIT_COMMITTER_EMAIL=t@e
git clone -q "file://$ORIGIN" clone
cd clone
test -z "$(git status --porcelain)"
git fsck --full --strict
git checkout -q -b work origin/other
echo changed > d1/changed; mkdir deep; ln -s ../d1/changed deep/link; echo '#!/bin/sh' > deep/run; chmod +x deep/run
git add -A; git commit -q -m 'a change'
git merge -q -m merge main
git rebase -q HEAD~1 2>/dev/null || git rebase --abort || true
git stash list
git repack -q -a -d -f
git gc -q --aggressive --prune=now
git fsck --full --strict
git worktree add -q ../tree2 main
test -z "$(git -C ../tree2 status --porcelain)"
test -z "$(git status --porcelain)"
git clone -q --shared . ../shared
git push -q "file://$ORIGIN" work
"#;

#[test]
fn git_clones_collects_and_checks() -> Result<()> {
    let mut mounted = Mounted::new("git")?;
    let outside = mounted.scratch().directory("outside")?;
    script(&outside, IMPORT)?;
    let origin = outside.join("origin");
    script(mounted.directory(), &format!("ORIGIN='{}'\n{WORK}", origin.display()))?;
    mounted.remount()?;
    script(mounted.directory(), "cd clone; git fsck --full --strict; test -z \"$(git status --porcelain)\"")?;
    let tree = |directory: &std::path::Path| script(directory, "git rev-parse work^{tree}").map(|done| done.stdout);
    let (theirs, ours) = (tree(&origin)?, tree(&mounted.directory().join("clone"))?);
    ensure!(theirs == ours, "what was pushed is {theirs}, what is there is {ours}");
    mounted.finish()
}
