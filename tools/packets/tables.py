"""The field tables of docs/protocol/, between `<!-- packet: NAME -->` or `<!-- values: NAME -->` and `<!-- end -->`."""

import pathlib
import re

import cpp
from schema import SchemaError

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs" / "protocol"
SMALL = 3  # fields
PART = re.compile(r"(<!-- (packet|values): (\w+) -->\n).*?(<!-- end -->)", re.S)


def pages(schema):
    """Each page with its tables as they should be."""
    made, shown = {}, set()
    for path in sorted(FOLDER.glob("*.md")):
        made[path] = PART.sub(lambda part: part[1] + "\n".join(part_lines(schema, part[2], part[3], shown)) + "\n" + part[4], path.read_text())
    missing = [m.name for m in schema.messages if m.fields and m.name not in shown and not shown_inline(schema, m)]
    if missing:
        raise SchemaError(f"docs/protocol has no table of {', '.join(missing)}: put <!-- packet: NAME --> and <!-- end --> where it belongs")
    return made


def shown_inline(schema, message):
    """Small ones stand in the table of the list that they are elements of."""
    return len(message.fields) <= SMALL and any(f.type is message and f.repeated for m in schema.messages for f in m.fields)


def part_lines(schema, what, name, shown):
    shown.add(name)
    if what == "values":
        return values(next((e for e in schema.enums if e.cpp == name), None), name)
    message = next((m for m in schema.messages if m.name == name), None)
    if message is None:
        raise SchemaError(f"docs/protocol shows {name}, which is no message of the schema")
    rows = [row for field in message.fields for row in field_rows(message, field)]
    return ["", "| field | type | |", "|---|---|---|", *rows, ""]


def values(enum, name):
    if enum is None:
        raise SchemaError(f"docs/protocol shows {name}, which is no enum of the schema")
    return ["", "| value | |", "|---|---|", *(f"| `{v.name}` | {v.comment} |" for v in enum.named), ""]


def field_rows(message, field):
    if field.kind != "BODY":
        return [f"| `{field.name}` | {type_text(message, field)} |{' ' + field.comment if field.comment else ''} |"]
    return [f"| `{field.name}` | any JSON | {field.comment}; or |",
            "| `body_base64` | string | bytes that are not JSON, at least one, with their `content_type`. Protobuf has both in `body` |"]


def type_text(message, field):
    return plain_type(message, field) + (", optional" if field.optional else "")


def plain_type(message, field):
    if field.is_message:
        names = [f"`{f.name}`" for f in field.type.fields]
        if not field.repeated:
            return "object"
        return "array of {" + ", ".join(names) + "}" if len(names) <= SMALL else "array of objects"
    if field.is_enum:
        return cpp.choice([f"`{v.name}`" for v in (field.type.in_requests() if message.from_client else field.type.named)])
    if field.repeated:
        return "array of ids" if field.kind in ("USER", "DEVICE", "CONVERSATION") else "array of strings"
    if field.is_text:
        return {"USER": "user id", "DEVICE": "id", "ID": "id"}.get(field.kind, "string")
    if field.scalar == "bool":
        return "bool"
    least = message.from_client and field.kind == "SEQ" and not field.rule.zero
    return "integer ≥ 1" if least else "integer"
