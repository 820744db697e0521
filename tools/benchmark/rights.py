"""What rights cost: a directory that becomes a zone with all that is in it, showing, giving and taking rights."""

import os
import socket
import subprocess
import tempfile
import time

from machine import run, unmount
from rows import MIB
from subjects import SECRET


def rights(bench):
    """Seconds to share a directory of 10,000 files and 1 GiB, to share it again, to list, to revoke, and milliseconds to
    mount after that. Each that signs asks the root's passphrase, which alone takes two thirds of a second (Argon2id)."""
    if not bench.subject.name.startswith("bt-"):
        return
    tools, files = bench.tools, bench.scaled(10_000, 100)
    secret = tools.file("passphrase", SECRET + "\n")
    people = [os.path.join(tools.directory, name) for name in ("alice", "bob")]
    for person in people:
        if os.path.exists(person):
            os.remove(person)
        run([tools.bt, "principal", "create", person, "--passphrase-file", secret])
    shared = bench.path("shared")
    os.mkdir(shared)
    content = os.urandom(MIB * 1024 // 10_000)
    for number in range(files):
        if number % 100 == 0:
            os.mkdir(os.path.join(shared, str(number // 100)))
        with open(os.path.join(shared, str(number // 100), str(number)), "wb") as file:
            file.write(content)
    bench.sync()
    inside = "/" + os.path.relpath(shared, bench.subject.mountpoint)

    def command(name, *more):
        begin = time.monotonic()
        run([tools.bt, *name, bench.subject.store, inside, *more], limit=3600)
        return time.monotonic() - begin

    bench.row("share_s", lambda: command(["share"], "--with", people[0], "--read", "--passphrase-file", secret))
    bench.row("share_again_s", lambda: command(["share"], "--with", people[1], "--read", "--passphrase-file", secret))
    bench.row("access_list_s", lambda: command(["access", "list"]))
    bench.row("revoke_s", lambda: command(["revoke"], "--from", people[1], "--passphrase-file", secret))
    unmount(bench.subject.mountpoint, [tools.bt, "unmount", bench.subject.mountpoint])

    def mount():
        begin = time.monotonic()
        bench.subject.mount()
        os.stat(os.path.join(shared, "0", "0"))
        return (time.monotonic() - begin) * 1000

    bench.row("mount_shared_ms", mount)
    bench.subject.unmount()
    key_stores(bench, secret)
    bench.subject.mount()


def key_stores(bench, secret):
    """Milliseconds to mount a new tree whose node key is in a file, and one whose key is in a software TPM."""
    with tempfile.TemporaryDirectory(dir=bench.tools.directory) as scratch:
        for name, serve in (("file", lambda _: ([], None)), ("tpm", software_tpm)):
            options, process = serve(scratch)
            store, mountpoint = os.path.join(scratch, f"{name}-tree"), os.path.join(scratch, f"{name}-mount")
            os.mkdir(mountpoint)
            run([bench.tools.bt, "init", store, "--passphrase-file", secret, *options])

            def mount():
                begin = time.monotonic()
                run([bench.tools.bt, "mount", store, mountpoint, "-o", f"transport={bench.subject.transport}"])
                return (time.monotonic() - begin) * 1000

            try:
                bench.row(f"mount_key_in_{name}_ms", mount)
                unmount(mountpoint, [bench.tools.bt, "unmount", mountpoint])
            finally:
                if process:
                    process.kill()
                    process.wait()


def software_tpm(scratch):
    """Options of `bt init` for a TPM of its own, and the process that it is."""
    state = os.path.join(scratch, "tpm")
    os.mkdir(state)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = "type=tcp,bindaddr=127.0.0.1,port="
    process = subprocess.Popen(["swtpm", "socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate",
                                f"dir={state}", "--server", f"{here}{port}", "--ctrl", f"{here}{port + 1}"])
    for _ in range(200):
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.01)
    return ["--tpm", f"swtpm:host=127.0.0.1,port={port}"], process
