"""Databases: SQLite through Python's module, PostgreSQL through pgbench."""

import glob
import os
import shutil
import sqlite3
import time

from machine import Failed, run


def sqlite(bench):
    """Transactions of one inserted row, in both journal modes, always with synchronous=FULL."""
    for mode, name in (("wal", "sqlite_wal_tps"), ("delete", "sqlite_rollback_tps")):
        bench.row(name, lambda mode=mode: inserts(bench, mode))


def inserts(bench, mode):
    path = bench.path(f"{mode}.sqlite")
    count = bench.scaled(3000 if mode == "wal" else 1000, 100)
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"pragma journal_mode={mode}")
        connection.execute("pragma synchronous=FULL")
        connection.execute("create table t (id integer primary key, content blob)")
        row = os.urandom(100)
        begin = time.monotonic()
        for _ in range(count):
            connection.execute("insert into t (content) values (?)", (row,))
        seconds = time.monotonic() - begin
        if connection.execute("pragma integrity_check").fetchone() != ("ok",):
            raise Failed("the integrity check of SQLite failed")
    except sqlite3.Error as error:
        raise Failed(str(error)) from error
    finally:
        connection.close()
        for file in glob.glob(path + "*"):
            os.unlink(file)
    return count / seconds


def pgbench(bench):
    """pgbench's own transactions with two clients on a fresh cluster with default settings."""
    bench.row("pgbench_tps", lambda: transactions(bench))


def transactions(bench):
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not found or not os.path.exists(found[-1] + "/pgbench"):
        raise Failed("PostgreSQL is not installed: apt-get install postgresql")
    programs, data, socket = found[-1], bench.path("pg"), bench.tools.scratch("pg-socket")
    os.makedirs(data, mode=0o700, exist_ok=True)
    os.makedirs(socket, exist_ok=True)
    # The server refuses to run as root: everything is done as the user that Debian's package makes.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(data, "postgres", "postgres")
        shutil.chown(socket, "postgres", "postgres")
    control = [*as_user, f"{programs}/pg_ctl", "-D", data, "-l", f"{socket}/log", "-w"]
    try:
        run([*as_user, f"{programs}/initdb", "-D", data, "-A", "trust", "--no-sync"], cwd=socket)
        # pg_ctl's server would keep our pipes open: its output goes to the log, the command's nowhere.
        run(f"{' '.join(control)} -o '-k {socket} -c listen_addresses=' start >/dev/null 2>&1", shell=True, cwd=socket)
        client = [*as_user, f"{programs}/pgbench", "-h", socket]
        run([*client, "-q", "-i", "-s", "10", "postgres"], cwd=socket)
        seconds = str(bench.scaled(15, 3))
        out = run([*client, "-c", "2", "-j", "2", "-T", seconds, "postgres"], cwd=socket)
        return float(next(line for line in out.split("\n") if line.startswith("tps")).split()[2])
    finally:
        if os.path.exists(f"{data}/postmaster.pid"):
            run([*control, "-m", "immediate", "stop"], fine=(0, 1), cwd=socket)
        shutil.rmtree(data, ignore_errors=True)
        shutil.rmtree(socket, ignore_errors=True)
