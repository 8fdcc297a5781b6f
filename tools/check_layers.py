#!/usr/bin/env python3
"""Compares the include graph of src/ with src/layers.txt. Prints every edge that the table does not allow; exit 1 if there is one.

Also checks that the table has no cycle, that every folder with sources is in it, that third-party headers stay in the .cc files of
the layers that own them, and that tests do not leak into products.
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
    "spdlog/": {"base"},
    "yaml-cpp/": {"config"},
    "CLI/": {"cli"},
    "google/protobuf/": {"wire"},
    "dunlin/v1/": {"wire"},
    "openssl/": {"net", "codec", "session", "cli", "bench", "client", "base", "messaging"},
}


def read_table():
    table = {}
    for line in (SRC / "layers.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        layer, _, rest = line.partition(":")
        table[layer] = set(rest.split())
    return table


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


def main():
    table = read_table()
    problems = []
    found = cycle_in(table)
    if found:
        problems.append("src/layers.txt: cycle " + " -> ".join(found))
    for layer, below in table.items():
        problems += [f"src/layers.txt: {layer} names unknown layer {name}" for name in below if name not in table]
    for file in sorted(SRC.rglob("*")):
        if file.suffix not in (".h", ".cc"):
            continue
        name = file.relative_to(SRC).as_posix()
        layer = layer_of(name, table)
        if layer is None:
            problems.append(f"src/{name}: its folder is not in src/layers.txt")
            continue
        allowed = table[layer] | {layer} | (EVERYWHERE if layer not in EVERYWHERE else {"base"} if layer == "metrics" else set())
        for number, line in enumerate(file.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            kind, header = match.groups()
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
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
