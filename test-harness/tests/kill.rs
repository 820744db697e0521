//! Random work, SIGKILL of the node at a random moment, and what is found afterwards.
//!
//! `KILL_ROUNDS=N` says how often (20 by default; hundreds make a long run), `KILL_SEED=N` runs the same work again
//! (the moment of the kill is the machine's).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::{env, fs, thread};

use anyhow::{Context, Result, ensure};
use harness::{MountOptions, Node, Scratch, Tree};
use test_harness::model::{compare_trees, tree};
use test_harness::oracle::{Acknowledge, FileId, History, Mark, Worker, verify};
use test_harness::subject::Mounted;
use test_harness::sys;

/// Workers at the same time, each in a directory of its own.
const WORKERS: usize = 3;

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    let rounds = number("KILL_ROUNDS", 20);
    let seed = number("KILL_SEED", fastrand::u64(..1 << 40));
    println!("seed {seed}, {rounds} rounds");
    if let Err(error) = survive(rounds, seed) {
        panic!(
            "seed {seed}: {error:#}\nto run it again: \
             KILL_SEED={seed} KILL_ROUNDS={rounds} cargo test -p test-harness --test kill"
        );
    }
}

/// Writes to files and mappings that it keeps open, says so, and waits. A process of its own: when this one starts
/// `bt sync`, the new process closes its copies of all open files, and a close writes their pages out.
const HOLDER: &str = "
import mmap, os, sys
for number in range(20):
    file = os.open(str(number), os.O_RDWR | os.O_CREAT)
    content = bytes([number + 1]) * 5000
    if number % 2 == 0:
        os.pwrite(file, content, 0)
    else:
        os.ftruncate(file, len(content))
        globals()[f'map{number}'] = mapped = mmap.mmap(file, len(content))
        mapped[:] = content
print('written', flush=True)
sys.stdin.read()
";

/// `bt sync` covers everything that was written, also what is only in the kernel because its file is still open.
#[test]
fn bt_sync_covers_open_files_and_mappings() -> Result<()> {
    let mut mounted = Mounted::new("sync")?;
    let mut holder = Command::new("python3");
    holder.args(["-c", HOLDER]).current_dir(mounted.directory()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = holder.spawn().context("python3 is not installed")?;
    let mut said = String::new();
    BufReader::new(holder.stdout.take().context("stdout is piped")?).read_line(&mut said)?;
    let synced = mounted.sync();
    mounted.kill_now();
    holder.kill()?;
    holder.wait()?;
    ensure!(said == "written\n", "the holder of open files said {said:?}");
    synced?;
    mounted.mount_after_kill()?;
    let content =
        |number: u8| sys::content(mounted.directory().join(number.to_string()).as_os_str().as_encoded_bytes());
    let lost: Vec<u8> = (0..20).filter(|number| content(*number) != Ok(vec![number + 1; 5000])).collect();
    ensure!(lost.is_empty(), "bt sync returned, the node was killed, and the data of files {lost:?} is not there");
    mounted.finish()
}

fn survive(rounds: u64, seed: u64) -> Result<()> {
    harness::require_root_and_fuse()?;
    let scratch = Scratch::new("kill")?;
    let tree = Tree::init(&scratch, &scratch.path().join("tree"))?;
    let mountpoint = scratch.directory("mount")?;
    let mut random = fastrand::Rng::with_seed(seed);
    // What earlier rounds left and a recovery has shown: it must never change again.
    let mut settled: Option<(PathBuf, tree::Description)> = None;
    for round in 0..rounds {
        let name = format!("round {round}");
        let node = tree.mount(&mountpoint, &MountOptions::for_tests())?;
        let work = Round::new(mountpoint.join(&name), random.usize(1..600), random.bool())?;
        work.run(&tree, &node, &mut random).with_context(|| name.clone())?;
        node.kill()?;
        tree.check_clean().with_context(|| format!("{name}: bt check after the kill"))?;
        let node = tree.mount(&mountpoint, &MountOptions::for_tests()).with_context(|| name.clone())?;
        let shown = work.verify().with_context(|| name.clone())?;
        println!("{name}: {shown:?} operations on names are there");
        if let Some((directory, before)) = &settled {
            let now = tree::describe(directory)?;
            compare_trees(before, &now).with_context(|| format!("{name}: what an earlier round had left"))?;
        }
        settled = Some((work.directory.clone(), tree::describe(&work.directory)?));
        drop(work);
        if random.bool() {
            node.unmount()?;
        } else {
            node.kill()?;
        }
    }
    tree.check_clean().context("bt check at the end")
}

/// The shared state of one round.
struct Round {
    directory: PathBuf,
    histories: Vec<Mutex<History>>,
    /// Steps made by all workers; the node is killed when it reaches `kill_at`.
    steps: AtomicUsize,
    kill_at: usize,
    /// Set just before the kill: errors after it are expected.
    killed: AtomicBool,
    kill_now: (Mutex<bool>, Condvar),
    /// Whether `bt sync` runs again and again beside the workers, so that the kill meets commits.
    syncing: bool,
}

impl Round {
    fn new(directory: PathBuf, kill_at: usize, syncing: bool) -> Result<Self> {
        fs::create_dir(&directory)?;
        for number in 0..WORKERS {
            fs::create_dir(directory.join(number.to_string()))?;
        }
        // The round's own directories must be there afterwards.
        fs::File::open(&directory)?.sync_all()?;
        Ok(Self {
            directory,
            histories: (0..WORKERS).map(|_| Mutex::default()).collect(),
            steps: AtomicUsize::new(0),
            kill_at,
            killed: AtomicBool::new(false),
            kill_now: (Mutex::new(false), Condvar::new()),
            syncing,
        })
    }

    /// Lets the workers work until the node is dead.
    fn run(&self, tree: &Tree, node: &Node, random: &mut fastrand::Rng) -> Result<()> {
        let seeds: Vec<u64> = (0..WORKERS).map(|_| random.u64(..)).collect();
        thread::scope(|scope| {
            let mut workers = Vec::new();
            for (number, seed) in seeds.into_iter().enumerate() {
                workers.push(scope.spawn(move || self.work(number, seed)));
            }
            if self.syncing {
                workers.push(scope.spawn(|| self.sync_again_and_again(tree)));
            }
            let (asked, changed) = &self.kill_now;
            drop(changed.wait_while(asked.lock().expect("not poisoned"), |asked| !*asked).expect("not poisoned"));
            self.killed.store(true, Ordering::SeqCst);
            node.kill_now();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().expect("a worker reports errors, it does not panic"))
        })
    }

    fn work(&self, number: usize, seed: u64) -> Result<()> {
        let directory = self.directory.join(number.to_string());
        let mut worker = Worker::new(number, &directory, &self.histories[number], seed);
        loop {
            let stepped = worker.step(self);
            if self.killed.load(Ordering::SeqCst) {
                return Ok(());
            }
            if let Err(errno) = stepped {
                self.ask_for_the_kill();
                return Err(anyhow::anyhow!("worker {number} got {errno} while the node lived"));
            }
            if self.steps.fetch_add(1, Ordering::SeqCst) + 1 >= self.kill_at {
                self.ask_for_the_kill();
            }
        }
    }

    fn ask_for_the_kill(&self) {
        *self.kill_now.0.lock().expect("not poisoned") = true;
        self.kill_now.1.notify_all();
    }

    fn sync_again_and_again(&self, tree: &Tree) -> Result<()> {
        while !self.killed.load(Ordering::SeqCst) {
            let marks: Vec<Mark> = self.histories.iter().map(|history| lock(history).mark_all()).collect();
            let synced = tree.sync();
            if self.killed.load(Ordering::SeqCst) {
                // On a tree that nobody serves any more, it speaks of what is there only.
                return Ok(());
            }
            if let Err(error) = synced {
                self.ask_for_the_kill();
                return Err(error.context("bt sync while the node lived"));
            }
            self.acknowledge(&marks, "bt sync");
        }
        Ok(())
    }

    /// How many operations on names each worker's directory shows.
    fn verify(&self) -> Result<Vec<usize>> {
        let directory = |number: usize| -> PathBuf { Path::new(&self.directory).join(number.to_string()) };
        let shown = |(number, history)| verify(&directory(number), &lock(history));
        self.histories.iter().enumerate().map(shown).collect()
    }
}

impl Acknowledge for Round {
    fn mark_names(&self, own: usize, file: FileId) -> Vec<Mark> {
        let mark = |(number, history): (usize, &Mutex<History>)| {
            lock(history).mark((number == own && file != FileId::MAX).then_some(file))
        };
        self.histories.iter().enumerate().map(mark).collect()
    }

    fn acknowledge(&self, marks: &[Mark], what: &'static str) {
        for (history, mark) in self.histories.iter().zip(marks) {
            lock(history).acknowledge(mark, what);
        }
    }
}

fn lock(history: &Mutex<History>) -> std::sync::MutexGuard<'_, History> {
    history.lock().expect("no worker panics while it holds its history")
}
