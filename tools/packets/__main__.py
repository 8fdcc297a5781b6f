"""Makes the server's packets of the schema in proto/: python3 tools/packets --out DIR

Needs protoc and python3-protobuf. docs/design/packets.md tells what is made of what.
"""

import argparse
import pathlib
import sys

import schema
import structs


def write_if_changed(path, text):
    """A file that stays as it is keeps its time, so that nothing is compiled for it."""
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    for name, text in structs.files(schema.load()).items():
        write_if_changed(arguments.out / name, text)


try:
    main()
except schema.SchemaError as error:
    sys.exit(f"tools/packets: {error}")
