"""The rules of requests that do not depend on the encoding: required fields, ids, sizes, exactly one target."""

import cpp


def files(schema):
    return {"wire/packet_checks.h": header(schema), "wire/packet_checks.cc": source(schema)}


def header(schema):
    body = cpp.comment("What is wrong with the request, if anything: the error names the field as JSON does. A content type of \"application/json\" becomes "
                       "empty.")
    body += [f"std::optional<Error> check({p.struct}& r, const DecoderLimits& limits);" for p in schema.commands] + [""]
    body += cpp.comment("What is wrong with a body that came in Protobuf, whose text nobody has looked at yet.")
    body += ["std::optional<Error> check_json_bodies(const Command& command, const DecoderLimits& limits);", ""]
    return cpp.file([["<optional>"], ['"base/error.h"', '"wire/commands.h"', '"wire/decoder_limits.h"']], body, header=True)


def source(schema):
    body = ["using Problem = std::optional<Error>;", ""]
    for packet in schema.commands:
        body += function(packet.struct, checks(packet.message, "r.", packet.name + "."))
    body += json_bodies(schema)
    return cpp.file([['"wire/packet_checks.h"'], ['"wire/field_checks.h"']], body)


def function(struct, statements):
    uses = " r" if any("r." in line for line in statements) else ""
    limits = " limits" if any("limits" in line for line in statements) else ""
    return cpp.function(f"Problem check({struct}&{uses}, const DecoderLimits&{limits})", statements + ["return std::nullopt;"])


def stop_if(check):
    return f"if (auto problem = {check}) return problem;"


def json_bodies(schema):
    statements = []
    for packet in schema.commands:
        for field in [f for f in packet.message.fields if f.kind == "BODY"]:
            content_type = next(f.name for f in packet.message.fields if f.kind == "CONTENT_TYPE")
            check = f'check_json_body("{packet.name}.{field.name}", r->{field.name}, r->{content_type}, limits)'
            statements += [f"if (const auto* r = std::get_if<{packet.struct}>(&command)) {{", f"  return {check};", "}"]
    return cpp.function("Problem check_json_bodies(const Command& command, const DecoderLimits& limits)", statements + ["return std::nullopt;"])


def checks(message, place, path, zero=False):
    """Statements for the fields that stand at `place` ("r.", "each.") and are called `path` + name in errors."""
    lines, targeted = [], False
    for field in message.fields:
        if field.rule.target:
            user = next(f.name for f in message.fields if f.rule.target and f.kind == "USER")
            lines += [] if targeted else [stop_if(f'check_target("{path}", "{user}", {place}target)')]
            targeted = True
            continue
        lines += together(message, field, place, path)
        if field.repeated:
            lines += elements(field, place, path)
        elif field.is_message:
            value = place + field.name
            inside = checks(field.type, f"{value}->" if field.presence else f"{value}.", f"{path}{field.name}.", field.rule.zero)
            lines += under(value, inside) if field.presence else inside
        else:
            lines += scalar(field, place + field.name, path + field.name, zero)
    return lines


def under(condition, lines):
    return [f"if ({condition}) {{", *("  " + line for line in lines), "}"] if lines else []


def together(message, field, place, path):
    value, name = place + field.name, path + field.name
    lines = []
    if field.rule.excludes:
        lines.append(f'if ({value} && {place}{field.rule.excludes}) return bad("{name}", "and {path}{field.rule.excludes} exclude each other");')
    if field.rule.alone:
        others = [f for f in message.fields if f is not field]
        any_other = " || ".join(cpp.present(f, place + cpp.place(f)) for f in others)
        text = "stands alone, without " + cpp.words([f.name for f in others])
        lines += under(f"{cpp.present(field, value)} && ({any_other})", [f'return bad("{name}", "{text}");'])
    return lines


def elements(field, place, path):
    value, name = place + field.name, path + field.name
    lines = [stop_if(f'check_count("{name}", {value}.size(), limits.{field.rule.limit})')]
    if field.is_message:
        type_, inside = f"const {field.type.struct}&", checks(field.type, "each.", name + ".", field.rule.zero)
    else:
        type_, inside = "std::string_view", scalar(field, "each", name, False)
    if inside:
        lines += [f"for ({type_} each : {value}) {{", *("  " + line for line in inside), "}"]
    return lines


def scalar(field, value, name, zero):
    kind = field.kind
    if field.is_enum:
        return enumeration(field, value, name)
    if kind in ("USER", "DEVICE", "ID", "CONVERSATION"):
        check = stop_if(f'{"check_conversation" if kind == "CONVERSATION" else "check_id"}("{name}", {value})')
        return under(f"!{value}.empty()", [check]) if field.optional and not field.repeated else [check]
    if kind == "BODY":
        return [stop_if(f'check_body_size("{name}", {value}, limits.{field.rule.limit})')]
    if kind == "CONTENT_TYPE":
        return [stop_if(f'check_content_type("{name}", {value})')]
    if field.is_text:
        return [stop_if(f'check_size("{name}", {value}.size(), limits.{field.rule.limit})')] if field.rule.limit else []
    if field.scalar == "uint64":
        check = "check_seq" if kind == "SEQ" and not (field.rule.zero or zero) else "check_integer"
        if field.presence:
            return under(value, [stop_if(f'{check}("{name}", *{value})')])
        return [stop_if(f'{check}("{name}", {value})')]
    return []


def enumeration(field, value, name):
    allowed = field.type.in_requests()
    values = ([cpp.default(field)] if field.optional else []) + [f"{field.type.cpp}::{v.cpp}" for v in allowed]
    text = "must be " + cpp.choice([v.name for v in allowed])
    return under(f'!is_one_of({value}, {{{", ".join(values)}}})', [f'return bad("{name}", "{text}");'])
