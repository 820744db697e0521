"""tools/bench: compares file systems in interleaved rounds and makes the tables of doc/benchmarks.md.

Every round goes through all subjects, beginning with another one each time; each subject starts on a fresh
backing. Cold steps unmount, mount and drop the kernel's caches before. Needs root.

    tools/bench                                  the tables of doc/benchmarks.md, about an hour and a half
    tools/bench --quick                          one round at a tenth of the size: does everything still run?
    tools/bench -b tmpfs -r small -s native,passthrough,bt-uring -n 5
    tools/bench --report DIR                     the tables of an earlier run once more
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys

import apps
import backing
import report
import rights
import rows
import scale
import subjects
from machine import Failed
from tools import ROOT, Tools

GROUPS = {
    "seq": rows.seq, "rand": rows.rand, "small": rows.small, "tree": rows.tree,
    "sqlite": apps.sqlite, "pgbench": apps.pgbench, "dir": scale.directory, "mount": scale.mounting,
    "rights": rights.rights,
}
# What is measured on which backing unless -r says otherwise.
ON_BACKING = {
    "disk": ["seq", "rand", "small", "sqlite", "pgbench"],
    "tmpfs": ["small"],
    "image": ["tree", "dir", "mount", "rights"],
}
MARKS = ("<!-- tables of tools/bench: begin -->\n", "<!-- tables of tools/bench: end -->\n")


def arguments():
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda text: text.split(",")
    parser.add_argument("-n", "--rounds", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("-s", "--subjects", type=words, default=subjects.DEFAULT, metavar="A,B",
                        help=f"of {', '.join(subjects.ALL)} (default: all but encfs, cryfs and the null daemons)")
    parser.add_argument("-b", "--backings", type=words, default=list(backing.ALL), metavar="A,B",
                        help="of disk (a directory), tmpfs, image (a fresh ext4 in a file)")
    parser.add_argument("-r", "--rows", type=words, metavar="A,B", help=f"groups of rows, of {', '.join(GROUPS)}")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on sizes and counts")
    parser.add_argument("--entries", type=int, default=1_000_000, help="files in the large directory of the group dir")
    parser.add_argument("--blocks", type=int, default=500_000, help="blocks of 16 KiB stored for the group mount")
    parser.add_argument("--compression", choices=("zstd", "lz4"), help="of our own trees: with it, ten million blocks "
                        "of zeros (--blocks 10000000) need a gigabyte of disk and twenty minutes")
    parser.add_argument("--quick", action="store_true", help="one round, scale 0.1, 20,000 entries, 5,000 blocks")
    parser.add_argument("--bt", default=os.path.join(target_directory(), "release", "bt"), help="the bt to measure")
    parser.add_argument("--dir", default=os.path.join(os.environ.get("TMPDIR", "/tmp"), "bt-bench"),
                        help="scratch directory, on the disk to measure (default %(default)s)")
    parser.add_argument("--write", action="store_true", help="put the tables into doc/benchmarks.md")
    parser.add_argument("--report", metavar="DIR", help="only print the tables of an earlier run")
    chosen = parser.parse_args()
    for option, known in (("subjects", subjects.ALL), ("backings", backing.ALL), ("rows", GROUPS)):
        unknown = [name for name in getattr(chosen, option) or [] if name not in known]
        if unknown:
            parser.error(f"--{option}: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    if chosen.quick:
        chosen.rounds, chosen.scale, chosen.entries, chosen.blocks = 1, 0.1, 20_000, 5_000
    return chosen


def target_directory():
    return os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))


def measure(subject, tools, groups, chosen, place):
    """One subject on one fresh backing."""
    store = backing.ALL[place](tools)
    bench = rows.Bench(subject, tools, chosen.scale)
    try:
        subject.make(store.open())
        subject.mount()
        os.mkdir(bench.work)
        for group in groups:
            bench.row(group, lambda group=group: GROUPS[group](bench) or {})
            if group == "tree":
                rows.tree_cleanup(bench)
        bench.note_process()
        bench.figures["memory_peak_MiB"] = bench.memory_mib
        bench.figures["process_cpu_s"] = bench.cpu_s
    except (Failed, OSError) as error:
        bench.errors["mount"] = str(error)[:300]
    finally:
        end(subject, store, bench)
    return bench


def end(subject, store, bench):
    try:
        subject.unmount()
    except Failed as error:
        bench.errors["unmount"] = str(error)
        subprocess.run(["umount", "-l", subject.mountpoint], check=False)
    store.close()


def session(chosen, tools):
    present, skipped = [], []
    for name in chosen.subjects:
        subject = subjects.ALL[name](tools)
        why = subject.available()
        if why:
            skipped.append(f"{name} ({why})")
        else:
            present.append(subject)
    out = {"date": datetime.date.today().isoformat(), "command": "tools/bench " + " ".join(sys.argv[1:]),
           "rounds": chosen.rounds, "machine": machine(), "skipped": skipped, "results": []}
    print("not measured:", "; ".join(skipped) or "nothing")
    for place in chosen.backings:
        groups = chosen.rows or ON_BACKING[place]
        for turn in range(chosen.rounds):
            for step in range(len(present)):
                index = (turn + step) % len(present)
                subject = present[index]
                print(f"== {place}, round {turn + 1}: {subject.name} ({datetime.datetime.now():%H:%M:%S})", flush=True)
                bench = measure(subject, tools, groups, chosen, place)
                for row, error in bench.errors.items():
                    print(f"   {row}: {error}", flush=True)
                out["results"].append({"backing": place, "round": turn, "place": index, "subject": subject.name,
                                       "figures": bench.figures, "errors": bench.errors})
                with open(os.path.join(tools.directory, "results.json"), "w", encoding="utf-8") as file:
                    json.dump(out, file, indent=1)
    return out


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        model = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), model)
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}"


def write(text):
    """Replaces what lies between the two marks of doc/benchmarks.md."""
    path = os.path.join(ROOT, "doc", "benchmarks.md")
    with open(path, encoding="utf-8") as file:
        before, _, rest = file.read().partition(MARKS[0])
    _, found, after = rest.partition(MARKS[1])
    if not found:
        sys.exit(f"error: {path} has no place for tables\n  hint: put these lines there: {''.join(MARKS)}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(before + MARKS[0] + "\n" + text + "\n" + MARKS[1] + after)


def main():
    chosen = arguments()
    if chosen.report:
        with open(os.path.join(chosen.report, "results.json"), encoding="utf-8") as file:
            out = json.load(file)
    else:
        if os.geteuid() != 0:
            sys.exit("error: dropping caches and mounting images needs root\n  hint: run tools/bench as root")
        subprocess.run([os.path.join(ROOT, "tools", "packages"), "bench"], check=True)
        tools = Tools(os.path.realpath(chosen.dir), chosen.bt)
        tools.entries, tools.blocks, tools.compression = chosen.entries, chosen.blocks, chosen.compression
        out = session(chosen, tools)
    text = report.document(out)
    print(text)
    if chosen.write:
        write(text)


main()
