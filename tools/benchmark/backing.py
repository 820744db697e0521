"""Where the compared file systems keep their data: each subject starts on a fresh one in every round."""

import os
import shutil

from machine import is_mounted, run, unmount


class Directory:
    """A new directory on the disk of the scratch directory, whatever its file system."""

    def __init__(self, tools):
        self.path = tools.scratch("backing")

    def open(self):
        os.makedirs(self.path)
        return self.path

    def close(self):
        shutil.rmtree(self.path)


class Tmpfs(Directory):
    """Memory: no noise of a disk; for rows about names and attributes."""

    def open(self):
        os.makedirs(self.path)
        run(["mount", "-t", "tmpfs", "-o", "size=80%", "bt-bench", self.path])
        return self.path

    def close(self):
        if is_mounted(self.path):
            unmount(self.path, ["umount", self.path])
        os.rmdir(self.path)


class Image(Directory):
    """A freshly made ext4 in a sparse file: free of the history that makes creates on an old ext4 slow."""

    SIZE = "24G"

    def open(self):
        os.makedirs(self.path)
        image = self.path + ".ext4"
        run(["truncate", "-s", self.SIZE, image])
        # Without lazy initialisation no kernel thread works beside the measurement.
        run(["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image])
        run(["mount", "-o", "loop", image, self.path])
        return self.path

    def close(self):
        if is_mounted(self.path):
            unmount(self.path, ["umount", self.path])
        os.rmdir(self.path)
        os.unlink(self.path + ".ext4")


ALL = {"disk": Directory, "tmpfs": Tmpfs, "image": Image}
