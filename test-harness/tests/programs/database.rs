//! SQLite with synchronisation: what it committed is there after the node was killed, and the file is whole.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use test_harness::subject::Mounted;

use super::program;

/// Kills per journal mode.
const ROUNDS: usize = 4;
/// Rows of a transaction.
const ROWS: usize = 5;

#[test]
fn sqlite_with_a_write_ahead_log_survives_kills() -> Result<()> {
    survive("WAL", "FULL")
}

#[test]
fn sqlite_with_a_rollback_journal_survives_kills() -> Result<()> {
    // With FULL, the removal of the journal, which is the commit, need not be durable; with EXTRA it is.
    survive("DELETE", "EXTRA")
}

fn survive(mode: &str, synchronous: &str) -> Result<()> {
    let mut mounted = Mounted::new(&format!("sqlite-{mode}"))?;
    let database = mounted.directory().join("data.db");
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let transactions = 20 + fastrand::usize(..60);
        acknowledged = insert(&mounted, &database, (mode, synchronous), acknowledged, transactions)?;
        mounted.mount_after_kill()?;
        let found = rows(&database).with_context(|| format!("round {round}"))?;
        ensure!(found >= acknowledged, "round {round}: {acknowledged} rows were committed, {found} are there");
        ensure!(found % ROWS == 0, "round {round}: {found} rows are no whole number of transactions");
        acknowledged = found;
    }
    mounted.finish()
}

/// Inserts until `transactions` are acknowledged, kills the node there, and returns the rows acknowledged in all.
fn insert(
    mounted: &Mounted,
    database: &Path,
    (mode, synchronous): (&str, &str),
    from: usize,
    transactions: usize,
) -> Result<usize> {
    let mut sqlite = start(database)?;
    let mut input = sqlite.stdin.take().context("stdin is piped")?;
    let mut output = BufReader::new(sqlite.stdout.take().context("stdout is piped")?);
    let mut line = String::new();
    writeln!(input, "PRAGMA journal_mode={mode}; PRAGMA synchronous={synchronous};")?;
    writeln!(input, "CREATE TABLE IF NOT EXISTS t(n, text);")?;
    output.read_line(&mut line)?;
    ensure!(line.trim().eq_ignore_ascii_case(mode), "the journal mode is {line:?}");
    let mut committed = from;
    for transaction in 0..transactions {
        let rows: Vec<String> =
            (committed..committed + ROWS).map(|row| format!("({row}, hex(randomblob({})))", row % 900)).collect();
        writeln!(input, "BEGIN; INSERT INTO t VALUES {}; COMMIT; SELECT 'committed';", rows.join(","))?;
        if transaction + 1 == transactions {
            // The last one is killed at some moment of its way.
            break;
        }
        line.clear();
        output.read_line(&mut line)?;
        ensure!(line.trim() == "committed", "transaction {transaction} gave {line:?}");
        committed += ROWS;
    }
    mounted.kill_now();
    drop(input);
    // Errors of the dead mount are what is expected now.
    sqlite.kill()?;
    sqlite.wait()?;
    Ok(committed)
}

fn start(database: &Path) -> Result<Child> {
    let mut command = Command::new("sqlite3");
    command.arg(database).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().context("sqlite3 is not installed")
}

/// The number of rows, when the file is whole and they are 0, 1, 2 and so on.
fn rows(database: &Path) -> Result<usize> {
    let directory = database.parent().context("a file has a directory")?;
    let ask = |query: &str| -> Result<String> {
        Ok(program(directory, "sqlite3", ["data.db", query])?.stdout.trim().to_owned())
    };
    let integrity = ask("PRAGMA integrity_check;")?;
    ensure!(integrity == "ok", "integrity_check says {integrity}");
    let counts = ask("SELECT count(*), coalesce(max(n) + 1, 0), count(DISTINCT n) FROM t;")?;
    let numbers: Vec<usize> = counts.split('|').map(str::parse).collect::<Result<_, _>>()?;
    ensure!(numbers.iter().all(|number| *number == numbers[0]), "rows are missing or double: {counts}");
    Ok(numbers[0])
}
