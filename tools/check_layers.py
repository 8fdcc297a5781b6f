#!/usr/bin/env python3
"""Compares the include graph of src/ with src/layers.txt. Prints every edge that the table does not allow; exit 1 if there is one.

Also checks that the table has no cycle, that every folder with sources is in it, that third-party headers stay in the .cc files of
the layers that own them, that nothing but tests includes a test helper, and that what tests alone include is a test helper: it lives in a
folder called testing/.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
EVERYWHERE = {"base", "metrics"}
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
# Header prefix -> layers that may include it, and only in .cc files.
OWNED = {
    "boost/": {"runtime", "net", "admin", "client", "clients", "echo"},
    "rocksdb/": {"storage/embedded"},
    "simdjson": {"wire", "session", "client", "bench", "cli"},
    "yaml-cpp/": {"config"},
    "CLI/": {"cli"},
    "google/protobuf/": {"wire"},
    "dunlin/v1/": {"wire"},
    "openssl/": {"net", "codec", "session", "cli", "bench", "client", "base", "messaging"},
}


def read_tables():
    """What each layer may include, and what its tests may include beside that."""
    table, tests = {}, {}
    for line in (SRC / "layers.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        layer, _, rest = line.partition(":")
        (tests if layer.endswith(" tests") else table)[layer.removesuffix(" tests")] = set(rest.split())
    return table, tests


def is_test(name):
    return "/testing/" in name or re.search(r"_(test|fuzz)\.(cc|h)$", name) is not None


def layer_of(path, table):
    """The layer whose folder holds `path` (relative to src), longest name first."""
    for layer in sorted(table, key=len, reverse=True):
        if path.startswith(layer + "/"):
            return layer
    return None


def cycle_in(table):
    done, active = set(), []

    def visit(layer):
        if layer in active:
            return active[active.index(layer):] + [layer]
        if layer in done:
            return None
        active.append(layer)
        for below in table.get(layer, ()):
            found = visit(below)
            if found:
                return found
        active.pop()
        done.add(layer)
        return None

    for layer in table:
        found = visit(layer)
        if found:
            return found
    return None


def helpers_without_their_folder(included_by):
    """Headers that tests alone include."""
    for header in sorted(SRC.rglob("*.h")):
        name = header.relative_to(SRC).as_posix()
        users = included_by.get(name, set()) - {name.removesuffix(".h") + ".cc"}
        if not is_test(name) and all(is_test(user) for user in users):
            yield f"src/{name}: only tests include it, so it belongs into a testing/ folder" if users else f"src/{name}: nothing includes it"


def main():
    table, tests = read_tables()
    problems = [f"src/layers.txt: tests of unknown layer {layer}" for layer in tests if layer not in table]
    included_by = {}
    found = cycle_in(table)
    if found:
        problems.append("src/layers.txt: cycle " + " -> ".join(found))
    for layer, below in [*table.items(), *tests.items()]:
        problems += [f"src/layers.txt: {layer} names unknown layer {name}" for name in below if name not in table]
    for file in sorted(SRC.rglob("*")):
        if file.suffix not in (".h", ".cc", ".inc"):
            continue
        name = file.relative_to(SRC).as_posix()
        layer = layer_of(name, table)
        if layer is None:
            problems.append(f"src/{name}: its folder is not in src/layers.txt")
            continue
        allowed = table[layer] | {layer} | (EVERYWHERE if layer not in EVERYWHERE else {"base"} if layer == "metrics" else set())
        if is_test(name):
            allowed |= tests.get(layer, set())
        for number, line in enumerate(file.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            kind, header = match.groups()
            included_by.setdefault(header, set()).add(name)
            if is_test(header) and not is_test(name):
                problems.append(f"src/{name}:{number}: {header} is for tests")
            for prefix, owners in OWNED.items():
                if header.startswith(prefix):
                    if not any(layer == owner or layer.startswith(owner + "/") for owner in owners):
                        problems.append(f"src/{name}:{number}: {header} belongs to {', '.join(sorted(owners))}")
                    elif file.suffix == ".h" and prefix != "openssl/":
                        problems.append(f"src/{name}:{number}: {header} may be included by .cc files only")
            if kind == '"' and not any(header.startswith(prefix) for prefix in OWNED):
                target = layer_of(header, table)
                if target is None:
                    if header != "base/error_codes.inc":
                        problems.append(f'src/{name}:{number}: "{header}" is not a path from src/')
                elif target not in allowed:
                    problems.append(f"src/{name}:{number}: {layer} may not include {target} ({header})")
    problems += helpers_without_their_folder(included_by)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
