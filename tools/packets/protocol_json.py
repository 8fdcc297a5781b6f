"""proto/protocol.json: the schema with everything that the options and comments say, for those who make SDKs of it."""

import json
import pathlib

FILE = pathlib.Path(__file__).resolve().parents[2] / "proto" / "protocol.json"


def text(schema):
    form = {
        "about": "Made by tools/packets of proto/dunlin/v1/; do not edit. docs/protocol/ explains it.",
        "version": 1,
        "enums": [enum(e) for e in schema.enums],
        "types": [message(m) for m in schema.messages],
        "commands": [command(schema, p) for p in schema.commands],
        "errors": [answer(p) for p in schema.replies if p.name not in [c.name for c in schema.commands]],
        "pushes": [answer(p) for p in schema.pushes],
    }
    return json.dumps(form, indent=1, ensure_ascii=False) + "\n"


# "unknown": what a client takes a value for that it does not know; "" is a value that says nothing.
def enum(e):
    values = [{"name": v.name, "number": v.number, "in_requests": not v.reply_only, "text": v.comment} for v in e.values]
    return {"name": e.cpp, "text": e.comment, "unknown": e.value(e.unknown).name, "values": values}


def message(m):
    return {"name": m.name, "text": m.comment, "fields": [field(f) for f in m.fields]}


def field(f):
    made = {"name": f.name, "number": f.number, "type": f.type.cpp if f.is_enum else f.type.name if f.is_message else f.scalar, "list": f.repeated,
            "optional": f.optional, "text": f.comment}
    if f.kind != "PLAIN":
        made["kind"] = f.kind.lower()
    if f.presence:
        made["presence"] = True
    for rule in ("limit", "zero", "absent", "target", "excludes", "alone"):
        if getattr(f.rule, rule):
            made[rule] = getattr(f.rule, rule)
    return made


def answer(packet):
    return {"name": packet.name, "number": packet.number, "type": packet.message.name}


def command(schema, packet):
    reply = next(p for p in schema.replies if p.name == packet.name)
    return {"name": packet.name, "number": packet.number, "request": packet.message.name, "reply": reply.message.name,
            "always_answered": packet.message.always_answered}
