"""Structs, enums and variants: a header for each file of the schema, and one in base for the enums that the domain uses too."""

import cpp
from schema import SchemaError, snake

HEADS = {
    "common": "What several packets are made of.",
    "commands": "What a client may ask, independent of the encoding. All views point into the frame's buffer or into memory of the decoder that made "
                "them: they are valid until that decoder's next call of next() or start(). A handler that waits copies what it needs. The decoder has "
                "checked types, ranges, ids (base/escape.h is_valid_id) and that a JSON body is complete JSON.",
    "replies": "What the server answers. Views are borrowed: by an encoder for the time of its call, from a decoder until its next packet.",
    "pushes": "What the server says unasked. A push has no id. Views are borrowed as in wire/replies.h.",
}


def files(schema):
    made = {"base/protocol_terms.h": terms(schema)}
    for index, file in enumerate(schema.files):
        made[f"wire/{file}.h"] = header(schema, file, schema.files[:index])
    made["wire/request_memory.h"] = request_memory(schema)
    return made


def terms(schema):
    body = []
    for enum in schema.enums:
        if enum.shared:
            body += enumeration(enum)
    text = cpp.file([["<cstdint>", "<optional>", "<string_view>"]], body, "dunlin", header=True)
    return text.replace("\nnamespace", "\n// What the protocol and the domain mean alike. The numbers are those of the schema.\nnamespace", 1)


def enumeration(enum):
    lines = cpp.comment(enum.comment) if enum.comment else []
    lines.append(f"enum class {enum.cpp} : std::uint8_t {{")
    for value in enum.values:
        lines += cpp.comment(value.comment, "  ") if value.comment else []
        lines.append(f"  {value.cpp} = {value.number},")
    lines += ["};", ""]
    name, variable = snake(enum.cpp), snake(enum.cpp)
    cases = [f"  case {enum.cpp}::{v.cpp}: return \"{v.name}\";" for v in enum.values]
    lines += cpp.comment("As it stands in JSON.")
    lines += cpp.function(f"constexpr std::string_view {name}_name({enum.cpp} {variable})", [f"switch ({variable}) {{", *cases, "}", 'return "";'])
    lines += cpp.function(f"constexpr std::optional<{enum.cpp}> parse_{name}(std::string_view name)",
                          [f"if (name == \"{v.name}\") return {enum.cpp}::{v.cpp};" for v in enum.values if v.name] + ["return std::nullopt;"])
    first, last = enum.values[0].number, enum.values[-1].number
    lines += cpp.comment("As it stands in Protobuf.")
    lines += cpp.function(f"constexpr std::optional<{enum.cpp}> {name}_of(std::int32_t number)",
                          [f"if (number < {first} || number > {last}) return std::nullopt;", f"return static_cast<{enum.cpp}>(number);"])
    return lines


def header(schema, file, before):
    packets = {"commands": schema.commands, "replies": schema.replies, "pushes": schema.pushes}.get(file, [])
    body = []
    for enum in schema.of_file(schema.enums, file):
        if not enum.shared:
            body += enumeration(enum)
    for message in schema.of_file(schema.messages, file):
        body += struct(message, [p for p in schema.commands + schema.replies + schema.pushes if p.message is message and not p.wraps])
    body += [line for packet in packets if packet.wraps for line in wrapper(packet)]
    body += variant(file, packets)
    ours = ['"base/protocol_terms.h"', '"wire/envelope.h"'] + [f'"wire/{name}.h"' for name in before]
    standard = ["<cstdint>", "<optional>", "<span>", "<string>", "<string_view>", "<variant>", "<vector>"]
    text = cpp.file([standard, sorted(ours)], body, header=True)
    return text.replace("\nnamespace", "\n" + "\n".join(cpp.comment(HEADS.get(file, ""))) + "\nnamespace", 1)


def struct(message, packets):
    lines = cpp.comment(message.comment) if message.comment else []
    lines.append(f"struct {message.struct} {{")
    lines += [line for packet in packets for line in identity(packet)]
    targeted = False
    for field in message.fields:
        if field.rule.target and targeted:
            continue
        if field.rule.target:
            targeted = True
            lines += cpp.comment("in the schema: " + cpp.words([f.name for f in message.fields if f.rule.target]), "  ")
            lines.append("  Target target;")
            continue
        lines += cpp.comment(field.comment, "  ") if field.comment else []
        value = cpp.default(field)
        lines.append(f"  {cpp.cpp_type(field, message.from_client)} {field.name}{' = ' + value if value else ''};")
    if lines[-1].endswith("{"):
        return lines[:-1] + [f"struct {message.struct} {{}};", ""]
    return lines + ["};", ""]


def identity(packet):
    lines = [f'  static constexpr std::string_view kName = "{packet.name}";', f"  static constexpr std::uint32_t kNumber = {packet.number};"]
    return lines + (["  static constexpr bool kAlwaysAnswered = true;"] if packet.message.always_answered else [])


def wrapper(packet):
    return [f"struct {packet.struct} {{", *identity(packet), f"  {packet.message.struct} {packet.name};", "};", ""]


def variant(file, packets):
    name, first = {"commands": ("Command", ["MalformedRequest"]), "replies": ("ReplyBody", []), "pushes": ("Push", [])}.get(file, ("", []))
    if not name:
        return []
    return cpp.filled(f"using {name} = std::variant<", first + [p.struct for p in packets], ">;") + [""]


def request_memory(schema):
    """One vector for each list of a request; lists of different commands that have the same name and type share it."""
    lists = {}
    for packet in schema.commands:
        names = [field.name for field in lists_of(packet.message)]
        if len(names) != len(set(names)):
            raise SchemaError(f"{packet.message.name} has two lists of one name")
    for message in schema.messages:
        for field in message.lists if message.from_client else []:
            vector = cpp.cpp_type(field, from_client=False)
            if lists.setdefault(field.name, vector) != vector:
                raise SchemaError(f"{field.path}: another list of this name has another type")
    body = cpp.comment("The lists of the request that is being decoded, and other memory that a decoder keeps from packet to packet. Bounded by the "
                       "limits and the largest payload.")
    body += ["struct RequestMemory {", "  DecoderLimits limits;", "  // body_base64, decoded", "  std::string bytes;"]
    body += [f"  {vector} {name};" for name, vector in lists.items()] + ["};", ""]
    return cpp.file([["<string>", "<string_view>", "<vector>"], ['"wire/commands.h"', '"wire/decoder_limits.h"']], body, header=True)


def lists_of(message):
    """All lists of a request; those of a list's elements cannot be told apart, so there are none."""
    found = []
    for field in message.fields:
        inside = lists_of(field.type) if field.is_message else []
        if field.repeated and inside:
            raise SchemaError(f"{field.path}: its elements have lists, which no request may")
        found += ([field] if field.repeated else []) + inside
    return found
