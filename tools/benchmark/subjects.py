"""The file systems that are compared: how each is made on a fresh directory, mounted and unmounted."""

import os
import shutil
import subprocess

from machine import Failed, is_mounted, run, start, unmount

SECRET = "correct horse battery staple"
DEBIAN_SOURCES = "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] " \
    "http://deb.debian.org/debian bookworm main"


class Subject:
    """A plain directory: the native file system of the backing. Others are mounts over one."""

    name = "native"

    def __init__(self, tools):
        self.tools = tools

    def available(self):
        """None when it can run here, else why not."""
        return None

    def make(self, backing):
        """Prepares an empty backing directory."""
        self.backing, self.mountpoint = backing, os.path.join(backing, "plain")
        os.mkdir(self.mountpoint)

    def mount(self):
        """Returns when the mount is up."""

    def unmount(self):
        """Returns when the mount is gone and everything is on the backing."""

    def remount(self):
        """What a user-space daemon has in memory is gone afterwards."""
        self.unmount()
        self.mount()


class Mounted(Subject):
    """A FUSE file system; `store` is its data, `mountpoint` where it appears."""

    program = ""

    def available(self):
        return None if shutil.which(self.program) else f"{self.program} is not installed"

    def make(self, backing):
        self.store, self.mountpoint = os.path.join(backing, "store"), self.tools.mountpoint(self.name)
        os.mkdir(self.store)
        self.prepare()

    def prepare(self):
        """Makes an empty file system in `store`."""

    def command(self):
        """Mounts it."""
        raise NotImplementedError

    def mount(self):
        start(self.command(), lambda: is_mounted(self.mountpoint))

    def unmount(self):
        if is_mounted(self.mountpoint):
            unmount(self.mountpoint, ["fusermount3", "-u", self.mountpoint])


class Passthrough(Mounted):
    """libfuse's passthrough_hp: what a FUSE file system costs that does nothing."""

    name = "passthrough"

    def available(self):
        try:
            self.program = self.tools.cached("passthrough_hp", self.build)
            return None
        except Failed as error:
            return f"passthrough_hp could not be built: {error}"

    def build(self, target):
        """Fetches libfuse's source package from Debian and compiles the one example."""
        source = self.tools.scratch("fuse3-source")
        os.makedirs(f"{source}/lists/partial")
        with open(f"{source}/sources.list", "w", encoding="ascii") as file:
            file.write(DEBIAN_SOURCES + "\n")
        apt = ["apt-get", "-qq", "-o", f"Dir::Etc::sourcelist={source}/sources.list",
               "-o", "Dir::Etc::sourceparts=-", "-o", f"Dir::State::lists={source}/lists"]
        run([*apt, "update"])
        run([*apt, "source", "--download-only", "fuse3"], cwd=source)
        run(f"cd {source} && tar -xf fuse3_*.orig.tar.xz && cd fuse-*/example && g++ -O2 -std=c++17 -w "
            f"passthrough_hp.cc $(pkg-config fuse3 --cflags --libs) -o {target}", shell=True)
        shutil.rmtree(source)

    def command(self):
        return [self.program, self.store, self.mountpoint]


class Gocryptfs(Mounted):
    name = program = "gocryptfs"

    def prepare(self):
        run(["gocryptfs", "-q", "-init", "-scryptn", "10", "-extpass", f"echo {SECRET}", self.store])

    def command(self):
        return ["gocryptfs", "-q", "-allow_other", "-extpass", f"echo {SECRET}", self.store, self.mountpoint]


class Securefs(Mounted):
    name = program = "securefs"

    def prepare(self):
        run(["securefs", "create", "--rounds", "1", "--pass", SECRET, self.store])

    def command(self):
        return ["securefs", "mount", "-b", "--log", "/dev/null", "-o", "allow_other", "--pass", SECRET, self.store, self.mountpoint]


class Encfs(Mounted):
    name = program = "encfs"

    def prepare(self):
        self.mount()
        self.unmount()

    def command(self):
        return ["encfs", "--standard", "--extpass", f"echo {SECRET}", self.store, self.mountpoint, "--", "-o", "allow_other"]


class Cryfs(Mounted):
    name = program = "cryfs"

    def mount(self):
        environment = {**os.environ, "CRYFS_FRONTEND": "noninteractive", "CRYFS_NO_UPDATE_CHECK": "true"}
        process = subprocess.run(["cryfs", self.store, self.mountpoint, "--", "-o", "allow_other"], input=SECRET + "\n", text=True, check=False,
                                 env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if process.returncode or not is_mounted(self.mountpoint):
            raise Failed(f"cryfs: {process.stderr[-300:]}")


def no_uring():
    """None when the kernel allows FUSE over io_uring, else what to do."""
    switch = "/sys/module/fuse/parameters/enable_uring"
    try:
        with open(switch, encoding="ascii") as state:
            return None if state.read().startswith(("Y", "1")) else f"the kernel does not allow it: echo Y > {switch}"
    except OSError:
        return "the kernel has no FUSE over io_uring"


class Blocktree(Mounted):
    """Our own, once for each transport."""

    transport = ""

    def available(self):
        self.program = self.tools.bt
        return None if os.access(self.program, os.X_OK) else f"{self.program} is not there: cargo build --release"

    def prepare(self):
        secret = self.tools.file("passphrase", SECRET + "\n")
        os.rmdir(self.store)
        compression = ["--compression", self.tools.compression] if self.tools.compression else []
        run([self.program, "init", self.store, "--passphrase-file", secret, *compression])

    def mount(self):
        run([self.program, "mount", self.store, self.mountpoint, "--allow-other", "-o", f"transport={self.transport}"])

    def unmount(self):
        if is_mounted(self.mountpoint):
            unmount(self.mountpoint, [self.program, "unmount", self.mountpoint])


class BtFuser(Blocktree):
    name, transport = "bt-fuser", "fuser"


class BtUring(Blocktree):
    name, transport = "bt-uring", "uring"

    def available(self):
        return no_uring() or super().available()


class Null(Mounted):
    """bt-fuse's example that keeps everything in memory: what is left when storing costs nothing."""

    transport = ""

    def available(self):
        self.program = os.path.join(os.path.dirname(self.tools.bt), "examples", "null")
        built = "cargo build --release -p bt-fuse --example null"
        return None if os.access(self.program, os.X_OK) else f"{self.program} is not there: {built}"

    def command(self):
        return [self.program, self.mountpoint, self.transport]

    def remount(self):
        """Its process holds all there is: only the kernel's caches can go."""


class NullFuser(Null):
    name, transport = "null-fuser", "fuser"


class NullUring(Null):
    name, transport = "null-uring", "uring"

    def available(self):
        return no_uring() or super().available()


ALL = {subject.name: subject for subject in
       (Subject, Passthrough, Gocryptfs, Securefs, Encfs, Cryfs, NullFuser, NullUring, BtFuser, BtUring)}
DEFAULT = ["native", "passthrough", "gocryptfs", "securefs", "bt-fuser", "bt-uring"]
PEERS = ["gocryptfs", "securefs", "encfs", "cryfs"]
OURS = ["bt-fuser", "bt-uring"]
