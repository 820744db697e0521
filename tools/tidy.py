#!/usr/bin/env python3
"""The rules that no compiler knows: layers, purity, licences, top level, links between documents.

Prints one line a violation and exits with 1 if there is any. Reads only.
"""

import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The layers of doc/architecture.md: a crate imports only from lower ones.
LAYERS = {
    "bt-base": 0,
    "bt-crypto": 1, "bt-erasure": 1,
    "bt-tree": 2, "bt-vfs": 2,
    "bt-store": 3, "bt-tpm": 3, "bt-net": 3, "bt-fuse": 3, "bt-app": 3,
    "bt-cluster": 4,
    "bt-node": 5,
    "bt-cli": 6,
    "bt-fuzz": 7,
    "harness": 7,
    "test-harness": 8,
}
# The one step inside a layer.
WITHIN_LAYER = {("bt-vfs", "bt-tree")}
# The harness works from outside: through the command line and the mount.
OUTSIDE = {"harness": set(), "test-harness": {"harness"}}

# No files, sockets, clock, threads or randomness of the system; in bt-store only the file backend and the lock touch files.
PURE = {"bt-base", "bt-crypto", "bt-erasure", "bt-tree", "bt-vfs", "bt-store"}
IMPURE_FILES = {"bt-store": re.compile(r"(^|/)(file|lock)(_[a-z]+)?(\.rs|/)")}
IMPURE = re.compile(
    r"\bstd::(fs|net|thread|process|env)\b|\bstd::time::(SystemTime|Instant)\b|\b(SystemTime|Instant)::now\b"
    r"|\btokio::|\brand::|\bgetrandom::|\bopenssl::rand\b|\brustix::"
)
IMPURE_DEPENDENCIES = {"tokio", "rand", "getrandom", "fuser", "io-uring", "libc", "nix"}

LICENCES = {
    "MIT", "MIT-0", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib",
    "0BSD", "BSL-1.0", "CC0-1.0", "Unlicense", "Unicode-3.0", "Unicode-DFS-2016",
}

TOP_LEVEL = {"crates", "doc", "tools", "harness", "test-harness", "Cargo.toml", "Cargo.lock", "TODO.txt", "README.md"}


def run(*command):
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def allowed(expression):
    """Whether an SPDX expression can be met with LICENCES. "/" is an old way to write OR."""
    tokens = re.findall(r"\(|\)|\bOR\b|\bAND\b|[A-Za-z0-9.+-]+(?: WITH [A-Za-z0-9.+-]+)?", expression.replace("/", " OR "))

    def either():
        value = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            value = both() or value
        return value

    def both():
        value = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            value = one() and value
        return value

    def one():
        token = tokens.pop(0)
        if token != "(":
            return token in LICENCES
        value = either()
        tokens.pop(0)
        return value

    return either()


def layers(metadata, members):
    for package in members:
        name = package["name"]
        if name not in LAYERS:
            yield f"{name}: is in no layer; add it to the table of doc/architecture.md and to tools/tidy.py"
            continue
        for dependency in package["dependencies"]:
            other = dependency["name"]
            if other not in LAYERS:
                if name in PURE and other in IMPURE_DEPENDENCIES and dependency["kind"] is None:
                    yield f"{name}: is pure and must not depend on {other}"
                continue
            if name in OUTSIDE:
                fine = other in OUTSIDE[name]
            else:
                fine = LAYERS[other] < LAYERS[name] or (name, other) in WITHIN_LAYER
            # Tests may use what lies beside or above.
            if not fine and dependency["kind"] != "dev":
                yield f"{name}: must not import {other}, which is not in a lower layer"


def purity(members):
    for package in members:
        if package["name"] not in PURE:
            continue
        source = os.path.join(os.path.dirname(package["manifest_path"]), "src")
        for folder, _, files in os.walk(source):
            for file in files:
                path = os.path.join(folder, file)
                inside = os.path.relpath(path, source)
                exempt = IMPURE_FILES.get(package["name"])
                if not file.endswith(".rs") or re.search(r"(^|[/_])(tests?|testing|conformance)(\.rs|/)", inside):
                    continue
                if exempt and exempt.search(inside):
                    continue
                with open(path, encoding="utf-8") as text:
                    lines = text.read().split("\n")
                for number, line in enumerate(lines, 1):
                    if line.startswith("#[cfg(test)]"):
                        break
                    if IMPURE.search(line) and not line.lstrip().startswith("//"):
                        yield f"{os.path.relpath(path, ROOT)}:{number}: a pure crate must not use this: {line.strip()}"


def licences(metadata):
    for package in metadata["packages"]:
        expression = package["license"]
        if expression is None:
            yield f"{package['name']} {package['version']}: says no licence; look at it and decide"
        elif not allowed(expression):
            yield f"{package['name']} {package['version']}: its licence {expression} is not in the list of tools/tidy.py"


def top_level():
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    names = {file.split("/")[0] for file in files if file and os.path.lexists(os.path.join(ROOT, file))}
    for name in sorted(names):
        if name not in TOP_LEVEL and not name.startswith("."):
            yield f"{name}: does not belong to the top level"
    for name in sorted(TOP_LEVEL - names):
        yield f"{name}: is missing at the top level"


def links():
    for file in run("git", "ls-files", "*.md").split("\n"):
        path = os.path.join(ROOT, file)
        if not file or not os.path.exists(path):
            continue
        with open(path, encoding="utf-8") as text:
            content = re.sub(r"```.*?```", "", text.read(), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", content):
            target = target.split("#")[0]
            if target and "://" not in target and not target.startswith("mailto:"):
                if not os.path.exists(os.path.join(os.path.dirname(path), target)):
                    yield f"{file}: links to {target}, which does not exist"


def main():
    metadata = json.loads(run("cargo", "metadata", "--format-version", "1", "--locked"))
    members = [package for package in metadata["packages"] if package["id"] in set(metadata["workspace_members"])]
    found = [*layers(metadata, members), *purity(members), *licences(metadata), *top_level(), *links()]
    for violation in found:
        print(violation, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
