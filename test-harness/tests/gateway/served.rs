//! A tree whose apps are served by `bt node run`, and a client as plain as curl.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use harness::{Finished, Scratch, Tree};
use rustix::process::{Pid, Signal, kill_process};

/// A client waits no longer than this.
const PATIENCE: Duration = Duration::from_secs(120);

/// A tree and its node while it runs.
pub struct Served {
    pub tree: Tree,
    pub scratch: Scratch,
    node: Option<Running>,
}

struct Running {
    child: Child,
    address: SocketAddr,
    log: JoinHandle<String>,
}

impl Served {
    /// Makes a tree and serves it.
    pub fn new(name: &str) -> Result<Self> {
        let scratch = Scratch::new(name)?;
        let tree = Tree::init(&scratch, &scratch.path().join("tree"))?;
        let mut served = Self { tree, scratch, node: None };
        served.start(&[])?;
        Ok(served)
    }

    /// Starts the node, with more arguments.
    pub fn start(&mut self, arguments: &[&str]) -> Result<()> {
        let mut command = self.tree.command(&["node", "run"])?;
        command.args(["--http", "127.0.0.1:0"]).args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("stderr is piped")?).lines();
        let mut before = String::new();
        let address = loop {
            let Some(line) = lines.next() else { bail!("bt node run ended: {before}") };
            let line = line?;
            if let Some((_, url)) = line.split_once("serving http://") {
                break url.trim_end_matches('/').parse()?;
            }
            before.push_str(&line);
        };
        let log = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>().join("\n"));
        self.node = Some(Running { child, address, log });
        Ok(())
    }

    /// Ends the node as a service manager would, and returns what it logged.
    pub fn stop(&mut self) -> Result<String> {
        self.end(Signal::TERM, true)
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) -> Result<String> {
        self.end(Signal::KILL, false)
    }

    fn end(&mut self, signal: Signal, well: bool) -> Result<String> {
        let Running { mut child, log, .. } = self.node.take().context("the node runs")?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child has an id")?;
        kill_process(pid, signal)?;
        let status = child.wait()?;
        let log = log.join().map_err(|_| anyhow::anyhow!("reading the log panicked"))?;
        ensure!(!well || status.success(), "bt node run ended with {status}: {log}");
        ensure!(!log.contains("panicked"), "bt node run panicked: {log}");
        Ok(log)
    }

    /// Runs `bt app WORD DIR ARGUMENTS`.
    pub fn app(&self, word: &str, arguments: &[&str]) -> Result<Finished> {
        self.tree.run(&["app", word], arguments)
    }

    /// The same, and it must succeed.
    pub fn app_done(&self, word: &str, arguments: &[&str]) -> Result<String> {
        let done = self.app(word, arguments)?;
        ensure!(done.code() == 0, "bt app {word} {arguments:?}: {}", done.stderr);
        Ok(done.stdout)
    }

    /// Asks with a method, for a path, with header fields, and gives the answer.
    pub fn ask(&self, method: &str, path: &str, fields: &[&str]) -> Result<Answer> {
        let address = self.node.as_ref().context("the node runs")?.address;
        let host = if fields.iter().any(|field| field.starts_with("Host:")) {
            String::new()
        } else {
            format!("Host: {address}\r\n")
        };
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n{fields}\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").context("an answer has a head")?;
        let status = head.split(' ').nth(1).context("an answer has a status")?.parse()?;
        Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
    }

    /// The status of GET.
    pub fn status(&self, path: &str) -> Result<u16> {
        Ok(self.ask("GET", path, &[])?.status)
    }

    /// A path below the test's scratch area.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(running) = &mut self.node {
            // It may be gone already.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// What was answered.
pub struct Answer {
    pub status: u16,
    /// Status line and header fields, in small letters.
    pub head: String,
    pub body: String,
}
