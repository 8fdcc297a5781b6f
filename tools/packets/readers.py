"""Decoders: each struct from the tree of a JSON packet and from Protobuf's bytes. Requests read their lists into the decoder's memory."""

import cpp
from schema import SchemaError, snake


def files(schema):
    return {
        "wire/json_reading.h": json_header(schema),
        "wire/json_reading.cc": json_source(schema),
        "wire/protobuf_reading.h": protobuf_header(schema),
        "wire/protobuf_reading.cc": protobuf_source(schema),
    }


def commands(schema):
    return [p.message for p in schema.commands]


def answers(schema):
    return [p.message for p in schema.replies + schema.pushes if not p.wraps]


def json_memory(schema, message):
    """The memory that a message's reader is given: one of "", "RequestMemory&", "DecodedBodies&"."""
    if message.from_client and (message in commands(schema) or message.any_inside(lambda f: f.repeated or f.kind == "BODY")):
        return "RequestMemory&"
    if message.from_server and (message in answers(schema) or message.any_inside(lambda f: f.kind == "BODY")):
        return "DecodedBodies&"
    return ""


def protobuf_memory(schema, message):
    if message.from_client and (message in commands(schema) or message.any_inside(lambda f: f.repeated)):
        return "RequestMemory&"
    return ""


def signature(source, memory, struct, uses=True, uses_memory=True):
    first = f"{source}{' in' if uses else ''}"
    second = f", {memory}{' memory' if uses_memory else ''}" if memory else ""
    return f"void read({first}{second}, {struct}&{' to' if uses else ''})"


def call(source, memory, target):
    return f"read({source}, {'memory, ' if memory else ''}{target});"


PACKETS = ['"wire/commands.h"', '"wire/pushes.h"', '"wire/replies.h"', '"wire/request_memory.h"']


def json_header(schema):
    body = cpp.comment("Each from the fields of its JSON object. A field of a wrong type sets the packet's error.")
    body += [signature("const JsonFields&", json_memory(schema, m), m.struct) + ";" for m in schema.messages]
    body += [signature("const JsonFields&", "DecodedBodies&", p.struct) + ";" for p in schema.pushes if p.wraps] + [""]
    return cpp.file([sorted(PACKETS + ['"wire/body_fields.h"', '"wire/json_fields.h"'])], body, header=True)


def json_source(schema):
    body = []
    for message in schema.messages:
        memory = json_memory(schema, message)
        statements = [line for field in ordered(message) for line in json_field(schema, message, field)]
        uses_memory = any("memory" in line for line in statements)
        head = signature("const JsonFields&", memory, message.struct, bool(statements), uses_memory)
        body += cpp.function(head, statements) if statements else [head + " {}", ""]
    for packet in schema.pushes:
        if packet.wraps:
            memory = json_memory(schema, packet.message)
            head = signature("const JsonFields&", "DecodedBodies&", packet.struct, True, bool(memory))
            body += cpp.function(head, [call("in", memory, f"to.{packet.name}")])
    return cpp.file([['"wire/json_reading.h"'], ['"wire/json_values.h"']], body)


def ordered(message):
    """A body behind its content type."""
    return [f for f in message.fields if f.kind != "BODY"] + [f for f in message.fields if f.kind == "BODY"]


def json_field(schema, message, field):
    target = "to." + cpp.place(field)
    if field.kind == "BODY":
        content_type = next(f.name for f in message.fields if f.kind == "CONTENT_TYPE")
        return [f"read_body(in, memory, to.{content_type}, {target});"]
    if field.repeated:
        return json_list(schema, message, field, target)
    if field.is_message:
        inner = json_memory(schema, field.type)
        value = f"{target}.emplace()" if field.presence else target
        return [f'if (const JsonNode* node = in.find("{field.name}")) ' + call(f'in.inside(*node, "{inside_path(schema, message, field)}")', inner, value)]
    if field.is_enum:
        unknown = f"kNoSuchValue<{field.type.cpp}>" if message.from_client else cpp.default(field)
        return [f'in.read("{field.name}", {target}, parse_{snake(field.type.cpp)}, {unknown});']
    return [f'in.read("{field.name}", {target});']


def inside_path(schema, message, field):
    """How errors name what is inside: with the command, as far as that is known."""
    packet = next((p for p in schema.commands if p.message is message), None)
    return f"{packet.name}.{field.name}" if packet else field.name


def json_list(schema, message, field, target):
    inner = json_memory(schema, field.type) if field.is_message else ""
    path = inside_path(schema, message, field)
    if message.from_client:
        vector, limit = f"memory.{field.name}", f"memory.limits.{field.rule.limit}"
        if not field.rule.limit:
            raise SchemaError(f"{field.path}: a list in a request needs a limit")
        if field.is_message:
            read = f'read_list(in, "{field.name}", "{path}", {limit}, {vector});'
        else:
            read = f'read_strings(in, "{field.name}", {limit}, {vector});'
        return [read, f"{target} = {vector};"]
    if field.is_message:
        return [f'read_list(in, "{field.name}", "{path}", kNoLimit, {target}{", memory" if inner else ""});']
    return [f'read_strings(in, "{field.name}", kNoLimit, {target});']


def protobuf_header(schema):
    body = cpp.comment("Each from the bytes of its message; fields that were read before stay unless they come again, as Protobuf's merging has it. What is "
                       "wrong leaves `in` broken.")
    body += [signature("ProtobufReader&", protobuf_memory(schema, m), m.struct) + ";" for m in schema.messages]
    body += [signature("ProtobufReader&", "", p.struct) + ";" for p in schema.pushes if p.wraps] + [""]
    body += cpp.comment("A command that is read for the first time begins with empty lists.")
    body += [f"void clear_lists(RequestMemory&{' memory' if m.lists else ''}, const {m.struct}&);" for m in commands(schema)] + [""]
    return cpp.file([sorted(PACKETS + ['"wire/protobuf_reader.h"'])], body, header=True)


def protobuf_source(schema):
    body = []
    for message in schema.messages:
        memory = protobuf_memory(schema, message)
        cases = [line for field in message.fields for line in protobuf_field(schema, message, field)]
        uses_memory = any("memory" in line for line in cases)
        if cases:
            loop = ["while (in.next()) {", "  switch (in.tag()) {", *("    " + line for line in cases), "    default: in.skip();", "  }", "}"]
            loop += [f"to.{f.name} = memory.{f.name};" for f in message.lists if message.from_client]
        else:
            loop = ["while (in.next()) in.skip();"]
        first = f", {memory}{' memory' if uses_memory else ''}" if memory else ""
        body += cpp.function(f"void read(ProtobufReader& in{first}, {message.struct}&{' to' if cases else ''})", loop)
    for packet in schema.pushes:
        if packet.wraps:
            body += cpp.function(f"void read(ProtobufReader& in, {packet.struct}& to)", [f"read(in, to.{packet.name});"])
    for message in commands(schema):
        clears = [f"memory.{f.name}.clear();" for f in all_lists(message)]
        head = f"void clear_lists(RequestMemory&{' memory' if clears else ''}, const {message.struct}&)"
        body += cpp.function(head, clears) if clears else [head + " {}", ""]
    return cpp.file([['"wire/protobuf_reading.h"']], body)


def all_lists(message):
    return message.lists + [f for inner in message.fields if inner.is_message and not inner.repeated for f in all_lists(inner.type)]


def protobuf_field(schema, message, field):
    target = "to." + cpp.place(field)
    tag = f"case bytes_tag({field.number}):" if field.is_text or field.is_message else f"case number_tag({field.number}):"
    if field.repeated:
        lines = protobuf_element(schema, message, field)
        return [f"{tag} {lines[0]} break;"] if len(lines) == 1 else [tag, *("  " + line for line in lines), "  break;"]
    if field.is_message:
        inner = protobuf_memory(schema, field.type)
        value = f"{target} ? *{target} : {target}.emplace()" if field.presence else target
        if inner:
            return [f"{tag} read_inside(in, memory, {value}); break;"]
        return [f"{tag} read_inside(in, {value}); break;"]
    if field.scalar == "string":
        value = "in.text()"
    elif field.scalar == "bytes":
        value = "in.bytes()"
    elif field.is_enum:
        unknown = f"kNoSuchValue<{field.type.cpp}>" if message.from_client else cpp.default(field)
        value = f"{snake(field.type.cpp)}_of(in.int32()).value_or({unknown})"
    else:
        value = {"uint64": "in.number()", "uint32": "in.uint32()", "bool": "in.boolean()"}[field.scalar]
    return [f"{tag} {target} = {value}; break;"]


def protobuf_element(schema, message, field):
    inner = protobuf_memory(schema, field.type) if field.is_message else ""
    vector = f"memory.{field.name}" if message.from_client else f"to.{field.name}"
    if field.is_message:
        read = f"read_inside(in, {'memory, ' if inner else ''}{vector}.emplace_back());"
    else:
        read = f"{vector}.push_back(in.text());"
    if not message.from_client:
        return [read]
    return [f"if ({vector}.size() > memory.limits.{field.rule.limit}) {{", "  in.skip();", "} else {", f"  {read}", "}"]
