"""Encoders: each struct as JSON and as Protobuf, and how many bytes that takes."""

import cpp
from schema import snake


def files(schema):
    return {
        "wire/json_writing.h": json_header(schema),
        "wire/json_writing.cc": json_source(schema),
        "wire/protobuf_writing.h": protobuf_header(schema),
        "wire/protobuf_writing.cc": protobuf_source(schema),
    }


def structs(schema):
    """Everything that is written: messages, and the pushes that wrap one."""
    return [m.struct for m in schema.messages] + [p.struct for p in schema.pushes if p.wraps]


def listed(schema):
    """Messages in lists of replies: what is cut by its size."""
    elements = [f.type for m in schema.messages if m.from_server for f in m.lists if f.is_message]
    return [m for m in schema.messages if m in elements or any(m in [f.type for f in e.fields] for e in elements)]


def declarations(schema, writer):
    return [f"void write({writer}& w, const {struct}& r);" for struct in structs(schema)]


PACKETS = [['"wire/commands.h"', '"wire/pushes.h"', '"wire/replies.h"']]


def json_header(schema):
    body = cpp.comment("Each as a JSON object.") + declarations(schema, "JsonWriter") + [""]
    body += cpp.comment("How many bytes that takes at most as an element of a list, its comma included.")
    body += [f"std::size_t json_bytes_at_most(const {m.struct}& r);" for m in listed(schema)] + [""]
    return cpp.file([["<cstddef>"], sorted(PACKETS[0] + ['"wire/json_writer.h"'])], body, header=True)


def json_source(schema):
    body = []
    for message in schema.messages:
        statements = [line for field in message.fields for line in json_field(message, field)]
        signature = f"void write(JsonWriter& w, const {message.struct}&{' r' if statements else ''})"
        body += cpp.function(signature, ["w.begin_object();", *statements, "w.end_object();"])
    for packet in schema.pushes:
        if packet.wraps:
            body += cpp.function(f"void write(JsonWriter& w, const {packet.struct}& r)", [f"write(w, r.{packet.name});"])
    for message in listed(schema):
        body += json_size(message)
    return cpp.file([['"wire/json_writing.h"'], ['"wire/body_fields.h"', '"wire/json_values.h"']], body)


def json_field(message, field):
    value = "r." + cpp.place(field)
    if field.kind == "BODY":
        content_type = next(f.name for f in message.fields if f.kind == "CONTENT_TYPE")
        return [f"write_body(w, {value}, r.{content_type});"]
    given = f"*{value}" if field.presence and not field.rule.absent else value
    if field.repeated:
        write = [f'write_list(w, "{field.name}", {value});']
    elif field.is_message:
        write = [f'w.key("{field.name}");', f"write(w, {given});"]
    elif field.is_enum:
        write = [f'w.field("{field.name}", {snake(field.type.cpp)}_name({value}));']
    else:
        write = [f'w.field("{field.name}", {given});']
    return under(cpp.present(field, value), write) if field.optional or field.rule.target else write


def under(condition, statements):
    if len(statements) == 1:
        return [f"if ({condition}) {statements[0]}"]
    return [f"if ({condition}) {{", *("  " + line for line in statements), "}"]


def json_size(message):
    statements = ["std::size_t size = json_object_bytes();"]
    for field in message.fields:
        value = "r." + cpp.place(field)
        if field.kind == "BODY":
            content_type = next(f.name for f in message.fields if f.kind == "CONTENT_TYPE")
            statements.append(f"size += body_bytes_at_most({value}, r.{content_type});")
        elif field.is_message:
            given = f"*{value}" if field.presence else value
            add = f'size += json_key_bytes("{field.name}") + json_bytes_at_most({given});'
            statements += under(value, [add]) if field.presence else [add]
        else:
            number = f"{snake(field.type.cpp)}_name({value})" if field.is_enum else value
            statements.append(f'size += json_key_bytes("{field.name}") + json_value_bytes_at_most({number});')
    return cpp.function(f"std::size_t json_bytes_at_most(const {message.struct}& r)", statements + ["return size;"])


def protobuf_header(schema):
    body = cpp.comment("The fields of each, without a length before them.") + declarations(schema, "ProtobufWriter") + [""]
    body += cpp.comment("How many bytes that takes.")
    body += [f"std::size_t protobuf_bytes(const {struct}& r);" for struct in structs(schema)] + [""]
    return cpp.file([["<cstddef>"], sorted(PACKETS[0] + ['"wire/protobuf_writer.h"'])], body, header=True)


def protobuf_source(schema):
    body = ["using W = ProtobufWriter;", ""]
    for message in schema.messages:
        named = " r" if message.fields else ""
        sizes = [line for field in message.fields for line in protobuf_size(field)]
        if sizes:
            body += cpp.function(f"std::size_t protobuf_bytes(const {message.struct}& r)", ["std::size_t size = 0;", *sizes, "return size;"])
        else:
            body += cpp.function(f"std::size_t protobuf_bytes(const {message.struct}&)", ["return 0;"])
        writes = [line for field in message.fields for line in protobuf_field(field)]
        if writes:
            body += cpp.function(f"void write(ProtobufWriter& w, const {message.struct}&{named})", writes)
        else:
            body += [f"void write(ProtobufWriter&, const {message.struct}&) {{}}", ""]
    for packet in schema.pushes:
        if packet.wraps:
            body += cpp.function(f"std::size_t protobuf_bytes(const {packet.struct}& r)", [f"return protobuf_bytes(r.{packet.name});"])
            body += cpp.function(f"void write(ProtobufWriter& w, const {packet.struct}& r)", [f"write(w, r.{packet.name});"])
    return cpp.file([['"wire/protobuf_writing.h"']], body)


def protobuf_size(field):
    value, n = "r." + cpp.place(field), field.number
    if field.repeated and field.is_message:
        return [f"for (const {field.type.struct}& each : {value}) size += W::nested_bytes({n}, protobuf_bytes(each));"]
    if field.repeated:
        return [f"for (std::string_view each : {value}) size += W::nested_bytes({n}, each.size());"]
    if field.is_message:
        given = f"*{value}" if field.presence else value
        add = f"size += W::nested_bytes({n}, protobuf_bytes({given}));"
        return under(value, [add]) if field.presence else [add]
    if field.is_text:
        return [f"size += W::text_bytes({n}, {value});"]
    if field.presence:
        given = value if field.rule.absent else f"*{value}"
        return under(cpp.present(field, value), [f"size += W::present_bytes({n}, {number(field, given)});"])
    return [f"size += W::number_bytes({n}, {number(field, value)});"]


def protobuf_field(field):
    value, n = "r." + cpp.place(field), field.number
    if field.repeated and field.is_message:
        return [f"for (const {field.type.struct}& each : {value}) {{", f"  w.nested({n}, protobuf_bytes(each));", "  write(w, each);", "}"]
    if field.repeated:
        return [f"for (std::string_view each : {value}) w.element({n}, each);"]
    if field.is_message:
        given = f"*{value}" if field.presence else value
        write = [f"w.nested({n}, protobuf_bytes({given}));", f"write(w, {given});"]
        return under(value, write) if field.presence else write
    if field.is_text:
        return [f"w.text({n}, {value});"]
    if field.presence:
        given = value if field.rule.absent else f"*{value}"
        return under(cpp.present(field, value), [f"w.present({n}, {number(field, given)});"])
    return [f"w.number({n}, {number(field, value)});"]


def number(field, value):
    return f"static_cast<std::uint64_t>({value})" if field.is_enum else value
