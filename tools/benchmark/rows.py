"""What is measured on one mounted directory. A function is a group of rows; each row is a name and a figure.

Names that end in `_s`, `_us` or `_MiB` are better small, all others better large.
"""

import json
import os
import shutil
import time

from machine import cpu_seconds, drop_caches, fuse_processes, peak_memory_mib, run, Failed

MIB = 1 << 20


class Bench:
    """One subject in one round: its directory, its figures and errors."""

    def __init__(self, subject, tools, scale):
        self.subject, self.tools, self.scale = subject, tools, scale
        self.figures, self.errors = {}, {}
        self.memory_mib, self.cpu_s = 0.0, 0.0

    @property
    def work(self):
        """The directory that everything happens in."""
        return os.path.join(self.subject.mountpoint, "bench.work")

    def path(self, name=""):
        return os.path.join(self.work, name)

    def scaled(self, number, least):
        return max(least, int(number * self.scale))

    def row(self, name, measure):
        """Notes what `measure` returns: a figure, or a dictionary of figures. A failure costs only this row."""
        try:
            figures = measure()
        except (Failed, OSError, ValueError, KeyError) as error:
            self.errors[name] = str(error)[:300]
            return
        self.figures.update(figures if isinstance(figures, dict) else {name: figures})

    def note_process(self):
        """Keeps what the serving processes have used; called before they end."""
        pids = fuse_processes(self.subject.mountpoint) if self.subject.name != "native" else []
        self.memory_mib = max(self.memory_mib, peak_memory_mib(pids))
        self.cpu_s += cpu_seconds(pids)

    def cold(self):
        """Nothing is cached any more, neither in the kernel nor in the serving process."""
        self.note_process()
        self.subject.remount()
        drop_caches()

    def ops(self, operation, name, files, dirs=1, size=4096, limit=900):
        """Seconds for one operation on `files` files below `name`."""
        out = run([self.tools.ops(), operation, self.path(name), str(files), str(dirs), str(size)], limit=limit)
        return float(out)

    def timed(self, command, fine=(0,), sync=False):
        """Seconds for a shell command, with the time to sync everything if `sync`."""
        begin = time.monotonic()
        run(command, shell=True, fine=fine)
        if sync:
            self.sync()
        return time.monotonic() - begin

    def sync(self):
        """Everything durable: FUSE does not always pass syncfs on, so all of the machine is synced."""
        run(["sync", "-f", self.work], fine=(0, 1))
        os.sync()

    def fio(self, name, **options):
        """Runs fio on one file of the work directory; returns its report on the job."""
        options = {"name": name, "ioengine": "psync", "fallocate": "none", "directory": self.work,
                   "output-format": "json", **options}
        out = run(["fio", "--group_reporting", "--eta=never", *(f"--{key}={value}" for key, value in options.items())])
        return json.loads(out[out.index("{"):])["jobs"][0]


def seq(bench):
    """One large file: written with a final fsync, read cold and warm; then in pieces of 4 KiB."""
    size = bench.scaled(1024, 16)
    file = {"filename": "seq", "size": f"{size}M", "bs": "1M"}

    def write(**options):
        report = bench.fio("write", rw="write", end_fsync=1, **{**file, **options})["write"]
        return report["io_bytes"] / MIB / (report["runtime"] / 1000)

    def read():
        return bench.fio("read", rw="read", invalidate=0, **file)["read"]["bw_bytes"] / MIB

    bench.row("seq_write_MiBs", write)
    bench.cold()
    bench.row("seq_read_cold_MiBs", read)
    bench.row("seq_read_warm_MiBs", read)
    os.unlink(bench.path("seq"))

    def small_writes():
        report = bench.fio("small", rw="write", filename="seq4k", size=f"{size // 4}M", bs="4k")["write"]
        return report["bw_bytes"] / MIB

    bench.row("seq_write_4k_buffered_MiBs", small_writes)
    os.unlink(bench.path("seq4k"))


def rand(bench):
    """4 KiB at random places of a file of 256 MiB."""
    size, seconds = bench.scaled(256, 16), bench.scaled(4, 1)
    file = {"filename": "rnd", "size": f"{size}M", "bs": "4k"}

    def latency(report, name):
        at = report.get("percentile", {})
        return {f"{name}_p50_us": at.get("50.000000", 0) / 1000, f"{name}_p99_us": at.get("99.000000", 0) / 1000}

    def read(name, jobs, **options):
        options = {**file, **options}
        report = bench.fio("read", rw="randread", numjobs=jobs, runtime=seconds, invalidate=0, **options)["read"]
        return {f"{name}_iops": report["iops"], **latency(report["clat_ns"], name)}

    def write_end():
        report = bench.fio("write", rw="randwrite", io_size=f"{max(4, size // 4)}M", runtime=15, end_fsync=1, **file)
        return report["write"]["total_ios"] / (report["write"]["runtime"] / 1000)

    def write_each():
        report = bench.fio("durable", rw="randwrite", fsync=1, runtime=seconds, time_based=1, **file)
        return {"rand_write_durable_iops": report["write"]["iops"],
                **latency(report.get("sync", {}).get("lat_ns", {}), "fsync")}

    bench.row("rnd_layout_s", lambda: bench.fio(
        "layout", rw="write", end_fsync=1, **{**file, "bs": "1M"})["write"]["runtime"] / 1000)
    bench.cold()
    bench.row("rand_read_cold_1j_iops", lambda: read("rand_read_cold_1j", 1))
    bench.cold()
    part = f"{size // 4}M"
    bench.row("rand_read_cold_4j_iops", lambda: read("rand_read_cold_4j", 4, size=part, offset_increment=part))
    run(f"cat {bench.path('rnd')} >/dev/null", shell=True)
    bench.row("rand_read_warm_1j_iops", lambda: read("rand_read_warm_1j", 1))
    bench.row("rand_write_endfsync_iops", write_end)
    bench.row("rand_write_durable_iops", write_each)
    os.unlink(bench.path("rnd"))


def small(bench):
    """10,000 files of 4 KiB in 100 directories."""
    files, dirs = bench.scaled(10_000, 200), bench.scaled(100, 2)

    def per_second(operation):
        return files / bench.ops(operation, "small", files, dirs)

    def create():
        seconds = bench.ops("create", "small", files, dirs)
        begin = time.monotonic()
        bench.sync()
        return {"create_4k_per_s": files / seconds,
                "create_4k_synced_per_s": files / (seconds + time.monotonic() - begin)}

    bench.row("create_4k_per_s", create)
    bench.cold()
    bench.row("stat_cold_per_s", lambda: per_second("stat"))
    bench.row("stat_warm_per_s", lambda: per_second("stat"))
    bench.cold()
    bench.row("list_cold_per_s", lambda: per_second("list"))
    bench.row("list_warm_per_s", lambda: per_second("list"))
    bench.cold()
    bench.row("read_4k_cold_per_s", lambda: per_second("read"))
    bench.row("read_4k_warm_per_s", lambda: per_second("read"))
    bench.row("unlink_per_s", lambda: per_second("unlink"))
    synced = bench.scaled(300, 20)
    bench.row("create_fsync_per_s", lambda: synced / bench.ops("createsync", "synced", synced))
    shutil.rmtree(bench.path("synced"), ignore_errors=True)


def tree(bench):
    """A source tree of about 4,500 files: unpacked, searched, cloned, removed; and one of 10,000 as a zip."""
    corpus = bench.tools.corpus()
    archive, repository, zipped = f"{corpus}/source.tar", f"{corpus}/source.git", f"{corpus}/source.zip"
    os.mkdir(bench.path("t"))
    run(f"cat {archive} {zipped} {repository}/objects/pack/* >/dev/null", shell=True)
    bench.row("untar_s", lambda: bench.timed(f"tar -xf {archive} -C {bench.path('t')}", sync=True))
    search = f"grep -r -c -F no-such-word-anywhere {bench.path('t')} >/dev/null"
    bench.cold()
    bench.row("grep_r_cold_s", lambda: bench.timed(search, fine=(0, 1)))
    bench.row("grep_r_warm_s", lambda: bench.timed(search, fine=(0, 1)))
    bench.cold()
    bench.row("du_cold_s", lambda: bench.timed(f"du -s {bench.path('t')}"))
    bench.row("find_warm_s", lambda: bench.timed(f"find {bench.path('t')} -type f -size +0 | wc -l"))
    bench.row("cp_r_s", lambda: bench.timed(f"cp -r {bench.path('t')} {bench.path('copy')}", sync=True))
    bench.row("diff_r_s", lambda: bench.timed(f"diff -r {bench.path('t')} {bench.path('copy')}"))
    bench.cold()
    run(f"cat {repository}/objects/pack/* >/dev/null", shell=True)
    bench.row("git_clone_s", lambda: bench.timed(f"git clone -q file://{repository} {bench.path('g')}", sync=True))
    status = f"git -c safe.directory='*' -c core.fsmonitor=false -C {bench.path('g')} status --porcelain"
    bench.cold()
    bench.row("git_status_cold_s", lambda: bench.timed(status))
    bench.row("git_status_warm_s", lambda: bench.timed(status))
    bench.row("unzip_10k_s", lambda: bench.timed(f"unzip -q {zipped} -d {bench.path('z')}", sync=True))
    bench.row("rm_rf_s", lambda: bench.timed(
        f"rm -rf {bench.path('t')} {bench.path('g')} {bench.path('copy')} {bench.path('z')}", sync=True))


def tree_cleanup(bench):
    for name in ("t", "g", "copy", "z"):
        shutil.rmtree(bench.path(name), ignore_errors=True)
