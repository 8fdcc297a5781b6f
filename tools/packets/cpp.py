"""What all generated C++ has in common: banner, comments, names of types."""

import textwrap

BANNER = "// Made by tools/packets of proto/dunlin/v1/; do not edit."
WIDTH = 140


def comment(text, indent=""):
    return [indent + line for line in textwrap.wrap(text, WIDTH - len(indent), initial_indent="// ", subsequent_indent="// ", break_long_words=False, break_on_hyphens=False)]


def filled(head, items, tail):
    """`head`, then the items with commas, in lines that are as full as they may be, under the first item."""
    lines, line = [], head
    for i, item in enumerate(items):
        piece = item + (tail if i + 1 == len(items) else ",")
        if len(line) + len(piece) > WIDTH:
            lines.append(line.rstrip())
            line = " " * len(head)
        line += piece + " "
    return lines + [line.rstrip()]


def file(includes, body, namespace="dunlin::wire", header=False):
    """A whole source file. `includes` are groups of header names with their brackets."""
    lines = [BANNER]
    if header:
        lines += ["#pragma once"]
    for group in includes:
        lines += ["", *(f"#include {name}" for name in group)]
    lines += ["", f"namespace {namespace} {{", "", *body, f"}}  // namespace {namespace}"]
    return "\n".join(lines) + "\n"


def function(signature, statements):
    return [signature + " {", *("  " + line for line in statements), "}", ""]


def place(field):
    """Where the field stands in its struct."""
    if field.rule.target:
        return "target.user" if field.kind == "USER" else "target.conversation"
    return field.name


def absent(field, value):
    """The condition under which the field is not there."""
    if field.presence and not field.rule.absent:
        return f"!{value}"
    if field.repeated or field.is_text:
        return f"{value}.empty()"
    if field.is_enum:
        return f"{value} == {default(field)}"
    if field.scalar == "bool":
        return value if field.rule.absent else f"!{value}"
    return f"{value} == 0"


def present(field, value):
    condition = absent(field, value)
    if condition.startswith("!"):
        return condition[1:]
    return condition.replace("==", "!=") if "==" in condition else "!" + condition


def default(field):
    """What the struct begins with: what an absent field means. Nothing for types that begin empty by themselves."""
    if field.repeated or field.is_text or field.is_message or field.presence and not field.rule.absent:
        return ""
    if field.is_enum:
        return f"{field.type.cpp}::{field.type.value(field.type.unknown).cpp}"
    if field.scalar == "bool":
        return "true" if field.rule.absent else "false"
    return "0"


def cpp_type(field, from_client):
    if field.is_enum or field.is_message:
        single = field.type.cpp if field.is_enum else field.type.struct
    else:
        single = {"string": "std::string_view", "bytes": "std::string_view", "uint64": "std::uint64_t", "uint32": "std::uint32_t", "bool": "bool"}[field.scalar]
    if field.repeated:
        return f"std::span<const {single}>" if from_client else f"std::vector<{single}>"
    if field.presence and not field.rule.absent:
        return f"std::optional<{single}>"
    return "std::string" if field.rule.owned else single


def words(items):
    """a, b and c"""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def choice(items):
    """a, b or c"""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " or " + items[-1]
