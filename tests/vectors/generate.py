#!/usr/bin/env python3
"""Protobuf bytes of the test vectors, made by an encoder that is not ours (Debian's python3-protobuf).

requests.json, replies.json and pushes.json hold `json`, the canonical text, written by hand; this script fills `protobuf`
(hexadecimal, with its length before it) from it. With --check it only compares. Needs protoc; run it with /usr/bin/python3.
"""
import base64
import importlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto"


def compile_schema():
    files = [str(f.relative_to(PROTO)) for f in sorted(PROTO.glob("dunlin/v1/*.proto"))]
    with tempfile.TemporaryDirectory(prefix="dunlin-vectors-") as out:
        subprocess.run(["protoc", "-I.", f"--python_out={out}", *files], cwd=PROTO, check=True)
        sys.path.insert(0, out)
        return importlib.import_module("dunlin.v1.packets_pb2")


class Raw(str):
    """A body: its JSON text as written."""


def body_texts(text):
    """The texts of all "body" values of a packet, in order: a body is kept verbatim, so the parsed value is not enough."""
    decoder = json.JSONDecoder()
    texts, at = [], 0
    for match in re.finditer(r'"body":', text):
        if match.end() < at:
            continue
        _, at = decoder.raw_decode(text, match.end())
        texts.append(text[match.end():at])
    return texts


def fill(message, value, bodies):
    message.SetInParent()
    for name, item in value.items():
        if name == "body":
            message.body = bodies.pop(0).encode()
            continue
        if name == "body_base64":
            message.body = base64.b64decode(item)
            continue
        field = message.DESCRIPTOR.fields_by_name[name]
        if field.label == field.LABEL_REPEATED:
            for each in item:
                if field.message_type:
                    fill(getattr(message, name).add(), each, bodies)
                else:
                    getattr(message, name).append(each)
        elif field.message_type:
            fill(getattr(message, name), item, bodies)
        elif field.enum_type:
            prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", field.enum_type.name).upper()
            setattr(message, name, field.enum_type.values_by_name[f"{prefix}_{item}".upper()].number)
        else:
            setattr(message, name, item)


def encode(schema, kind, text):
    value, bodies = json.loads(text), body_texts(text)
    if kind == "requests":
        packet = schema.Request()
        fill(packet, value, bodies)
    else:
        packet = schema.ServerPacket()
        fill(packet.reply if kind == "replies" else packet.push, value, bodies)
    data = packet.SerializeToString()
    length = bytearray()
    size = len(data)
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return (bytes(length) + data).hex()


def main():
    schema = compile_schema()
    stale = []
    for kind in ("requests", "replies", "pushes"):
        path = HERE / f"{kind}.json"
        vectors = json.loads(path.read_text())
        for vector in vectors:
            hexadecimal = encode(schema, kind, vector["json"])
            if vector.get("protobuf") != hexadecimal:
                stale.append(f"{path.name}: {vector['name']}")
            vector["protobuf"] = hexadecimal
        if "--check" not in sys.argv:
            path.write_text(json.dumps(vectors, indent=2, ensure_ascii=False) + "\n")
    if "--check" in sys.argv and stale:
        sys.exit("stale vectors (run tests/vectors/generate.py):\n" + "\n".join(stale))


main()
