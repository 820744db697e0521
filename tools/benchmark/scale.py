"""What must not grow: time per entry in a huge directory, time to mount and to recover with much stored."""

import os
import signal
import time

from machine import drop_caches, fuse_processes, is_mounted, run, unmount


def directory(bench):
    """Microseconds per entry with 10,000 and with `entries` files in one directory, empty files."""
    for label, entries in (("10k", 10_000), ("large", bench.tools.entries)):
        measure(bench, label, entries)


def measure(bench, label, entries):
    name = f"dir-{label}"

    def each(operation):
        return bench.ops(operation, name, entries, size=0, limit=3600) * 1e6 / entries

    bench.row(f"dir_{label}_create_us", lambda: each("create"))
    bench.cold()
    bench.row(f"dir_{label}_list_us", lambda: each("list"))
    bench.cold()
    bench.row(f"dir_{label}_stat_us", lambda: each("stat"))
    bench.row(f"dir_{label}_remove_us", lambda: each("unlink"))


def mounting(bench):
    """Milliseconds to mount after an orderly unmount and after a kill, with little and with much stored.

    Before each kill the same small files are written and synced, so that the journal holds the same."""
    if not bench.subject.name.startswith("bt-"):
        return
    both(bench, "little")
    # Zeros compress on a tree with compression; there the blocks are many and the bytes are few.
    run(f"head -c {bench.tools.blocks * 16384} /dev/zero > {bench.path('ballast')}", shell=True, limit=7200)
    both(bench, "much")


def both(bench, label):
    bench.sync()
    bench.subject.unmount()
    drop_caches()
    bench.row(f"mount_{label}_ms", lambda: mount(bench))
    bench.ops("createsync", f"synced-{label}", 200)
    for pid in fuse_processes(bench.subject.mountpoint):
        os.kill(pid, signal.SIGKILL)
    unmount(bench.subject.mountpoint, ["umount", "-l", bench.subject.mountpoint])
    drop_caches()
    bench.row(f"recover_{label}_ms", lambda: mount(bench))
    if not is_mounted(bench.subject.mountpoint):
        bench.subject.mount()
    bench.ops("stat", f"synced-{label}", 200)


def mount(bench):
    begin = time.monotonic()
    bench.subject.mount()
    os.stat(bench.work)
    return (time.monotonic() - begin) * 1000
