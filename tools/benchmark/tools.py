"""What all subjects share: the scratch directory, compiled helpers, the corpus of files."""

import os
import random
import shutil
import subprocess
import tarfile
import zipfile

from machine import Failed, run

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


class Tools:
    """`directory` holds everything; what is `cached` stays for the next run."""

    def __init__(self, directory, bt):
        self.directory, self.bt = directory, bt
        os.makedirs(directory, exist_ok=True)
        # The server of a database runs as another user and must get through.
        os.chmod(directory, 0o755)

    def scratch(self, name):
        """A path that does not exist yet."""
        path = os.path.join(self.directory, name)
        if os.path.lexists(path):
            shutil.rmtree(path)
        return path

    def mountpoint(self, name):
        """An empty directory to mount at."""
        path = os.path.join(self.directory, f"mnt-{name}")
        os.makedirs(path, exist_ok=True)
        return path

    def file(self, name, content):
        """A private file with this content."""
        path = os.path.join(self.directory, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
        return path

    def cached(self, name, make):
        """The path of something that `make(path)` makes once."""
        path = os.path.join(self.directory, "cache", name)
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            make(path)
            if not os.path.exists(path):
                raise Failed(f"{name} was not made")
        return path

    def ops(self):
        """The compiled small-file operations."""
        source = os.path.join(HERE, "ops.rs")
        name = f"ops-{int(os.stat(source).st_mtime)}"
        return self.cached(name, lambda path: run(["rustc", "-O", "--edition", "2024", "-o", path, source]))

    def corpus(self):
        """A directory with source.tar (about 4,500 files), source.git (the same, bare) and source.zip (10,000)."""
        return self.cached("corpus", make_corpus)


def make_corpus(path):
    """Made from a seed, so that every machine has the same: sizes as in real source trees, text as in code."""
    partial = path + ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    os.makedirs(partial)
    seeded = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyz_"
    words = ["".join(seeded.choice(letters) for _ in range(seeded.randint(3, 9))) for _ in range(4000)]

    def files(count, per_dir):
        for number in range(count):
            size = min(400_000, int(seeded.lognormvariate(8.3, 1.3)) + 64)
            lines = (" ".join(seeded.choices(words, k=9)) for _ in range(size // 55 + 1))
            yield f"source/d{number // per_dir:03}/f{number}.c", "\n".join(lines).encode()[:size]

    tree = os.path.join(partial, "source")
    for name, content in files(4400, 40):
        file = os.path.join(partial, name)
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "wb") as out:
            out.write(content)
    with tarfile.open(f"{partial}/source.tar", "w") as archive:
        archive.add(tree, "source")
    with zipfile.ZipFile(f"{partial}/source.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files(10_000, 100):
            archive.writestr(name, content)
    git = ["git", "-c", "user.name=b", "-c", "user.email=b@localhost", "-c", "init.defaultBranch=main", "-C", tree]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run(["git", "clone", "-q", "--bare", tree, f"{partial}/source.git"], check=True)
    subprocess.run(["git", "-C", f"{partial}/source.git", "gc", "-q"], check=True)
    shutil.rmtree(tree)
    os.rename(partial, path)
