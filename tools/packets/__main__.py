"""Makes the server's codecs, the tables of docs/protocol/ and proto/protocol.json of the schema in proto/.

python3 tools/packets --out DIR   the C++, into DIR: what the build does
python3 tools/packets --write     the tables and protocol.json, in place
python3 tools/packets --check     says whether these are stale, and leaves them alone

Needs protoc and python3-protobuf. docs/design/packets.md tells what is made of what.
"""

import argparse
import pathlib
import sys

import checks
import protocol_json
import readers
import schema
import structs
import tables
import writers


def write_if_changed(path, text):
    """A file that stays as it is keeps its time, so that nothing is compiled for it."""
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def code(packets):
    return {name: text for part in (structs, writers, readers, checks) for name, text in part.files(packets).items()}


def checked_in(packets):
    return tables.pages(packets) | {protocol_json.FILE: protocol_json.text(packets)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    packets = schema.load()
    if arguments.out:
        for name, text in code(packets).items():
            write_if_changed(arguments.out / name, text)
    if arguments.write:
        for path, text in checked_in(packets).items():
            write_if_changed(path, text)
    if arguments.check:
        stale = [path.name for path, text in checked_in(packets).items() if not path.exists() or path.read_text() != text]
        if stale:
            sys.exit(f"stale: {', '.join(stale)}; run python3 tools/packets --write")


try:
    main()
except schema.SchemaError as error:
    sys.exit(f"tools/packets: {error}")
