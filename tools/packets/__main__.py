"""Makes the server's packets and their codecs of the schema in proto/: python3 tools/packets --out DIR

Needs protoc and python3-protobuf. docs/design/packets.md tells what is made of what.
"""

import argparse
import pathlib
import sys

import checks
import readers
import schema
import structs
import writers


def write_if_changed(path, text):
    """A file that stays as it is keeps its time, so that nothing is compiled for it."""
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def code(packets):
    return {name: text for part in (structs, writers, readers, checks) for name, text in part.files(packets).items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    for name, text in code(schema.load()).items():
        write_if_changed(arguments.out / name, text)


try:
    main()
except schema.SchemaError as error:
    sys.exit(f"tools/packets: {error}")
