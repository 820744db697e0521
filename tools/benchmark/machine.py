"""Running commands, cold caches, processes and mounts of this machine."""

import glob
import os
import signal
import subprocess
import time


class Failed(Exception):
    """A step that gave no figure; the message says why."""


def run(command, limit=300, shell=False, fine=(0,), **options):
    """Runs a command to its end, at most `limit` seconds; returns its standard output."""
    options.setdefault("stdin", subprocess.DEVNULL)
    process = subprocess.Popen(
        ["bash", "-c", command] if shell else command,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True, **options)
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise Failed(f"not done after {limit} s: {command}") from None
    if process.returncode not in fine:
        raise Failed(f"exit code {process.returncode}: {command}: {(err + out)[-300:]}")
    return out


def start(command, ready, limit=30, **options):
    """Runs a command that puts itself in the background, or stays; returns when `ready()` is true.

    Its output goes nowhere, so that a process it leaves behind holds no pipe of ours."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, start_new_session=True, **options)
    end = time.monotonic() + limit
    while not ready():
        if process.poll() not in (None, 0):
            raise Failed(f"{command}: {process.stderr.read().decode(errors='replace')[-300:]}")
        if time.monotonic() > end:
            process.kill()
            raise Failed(f"not up after {limit} s: {command}")
        time.sleep(0.005)


def is_mounted(path):
    """Whether something is mounted at exactly `path`."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as table:
        return any(line.split(" ")[4] == path for line in table)


def unmount(path, command):
    """Unmounts and waits until the mount is gone; tries again while the kernel says busy."""
    for _ in range(20):
        try:
            run(command, limit=120)
            break
        except Failed as error:
            last = error
            time.sleep(0.5)
    else:
        raise last
    while is_mounted(path):
        time.sleep(0.02)


def drop_caches():
    """Writes everything back and makes the kernel forget what it can."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as control:
        control.write("3")


def fuse_processes(mountpoint):
    """The processes that serve the FUSE mount at `mountpoint`."""
    try:
        connection = os.minor(os.stat(mountpoint).st_dev)
    except OSError:
        return []
    found, any_fuse = set(), set()
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(link) != "/dev/fuse":
                continue
            pid = int(link.split("/")[2])
            any_fuse.add(pid)
            with open(link.replace("/fd/", "/fdinfo/"), encoding="ascii") as info:
                for line in info:
                    if line.startswith("fuse_connection:") and int(line.split()[1]) == connection:
                        found.add(pid)
        except (OSError, ValueError):
            continue
    return sorted(found or any_fuse)


def peak_memory_mib(pids):
    """The highest resident memory the processes ever had, in MiB; 0 when they are gone."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
                total += next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            continue
    return total / 1024


def cpu_seconds(pids):
    """Processor time of the processes so far."""
    ticks = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
                ticks += sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13]))
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")
