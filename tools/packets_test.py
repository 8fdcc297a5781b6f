#!/usr/bin/env python3
"""What tools/packets refuses, and what it makes of a command that has everything. Lint runs it: /usr/bin/python3 tools/packets_test.py."""
import pathlib
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "packets"))
import checks
import readers
import schema
import structs
import writers

READ = "message ReadRequest {"
BAD = {
    "a list of numbers": (READ + "\n  repeated uint64 seqs = 9;", "lists are of strings or messages"),
    "a signed number": (READ + "\n  sint64 offset = 9;", "no code is made for fields of this type"),
    "a body by another name": (READ + "\n  bytes text = 9 [(field).kind = BODY];", "a body is called body"),
    "a list without limit": (READ + "\n  repeated string users = 9;", "ReadRequest.users: a list in a request needs a limit"),
    "a list in a list": ("message Row { repeated string users = 1 [(field).limit = \"max_positions\"]; }\n" + READ +
                         "\n  repeated Row rows = 9 [(field).limit = \"max_positions\"];", "its elements have lists"),
    "absent text": (READ + "\n  optional string text = 9 [(field).absent = \"x\"];", "`absent` is for `optional bool`"),
    "optional text": (READ + "\n  optional string text = 9;", "the others are absent when they are 0, false or empty"),
    "a value without the enum's name": ("enum Mode { OTHER = 0; }\n" + READ, "does not begin with the enum's name"),
    "values with a hole": ("enum Mode { MODE_UNSPECIFIED = 0; MODE_A = 2; }\n" + READ, "numbers without holes"),
}
MANY = """
enum Mode { MODE_UNSPECIFIED = 0; MODE_LOUD = 1; MODE_QUIET = 2 [(value).reply_only = true]; }
message Mentions {
  repeated string users = 1 [(field) = {kind: USER optional: true limit: "max_positions"}];
  bool all = 2 [(field).optional = true];
}
""" + READ + """
  Mentions mentions = 9;
  Mode mode = 10 [(field).optional = true];
  uint64 size = 11;
"""


def load(replaced, by):
    with tempfile.TemporaryDirectory(prefix="dunlin-packets-") as folder:
        shutil.copytree(schema.PROTO / "dunlin", pathlib.Path(folder) / "dunlin")
        commands = pathlib.Path(folder) / "dunlin" / "v1" / "commands.proto"
        commands.write_text(commands.read_text().replace(replaced, by))
        return schema.load(pathlib.Path(folder))


def code(packets):
    return {name: text for part in (structs, writers, readers, checks) for name, text in part.files(packets).items()}


class PacketsTest(unittest.TestCase):
    def test_refuses_what_it_cannot_make(self):
        for name, (text, problem) in BAD.items():
            with self.subTest(name), self.assertRaises(schema.SchemaError) as raised:
                code(load(READ, text))
            self.assertIn(problem, str(raised.exception), name)

    def test_a_field_with_fields_and_a_list_inside(self):
        made = code(load(READ, MANY))
        self.assertIn("  Mentions mentions;\n", made["wire/commands.h"])
        self.assertIn("  std::vector<std::string_view> users;\n", made["wire/request_memory.h"])
        self.assertIn('if (const JsonNode* node = in.find("mentions")) read(in.inside(*node, "read.mentions"), memory, to.mentions);', made["wire/json_reading.cc"])
        self.assertIn("case bytes_tag(9): read_inside(in, memory, to.mentions); break;", made["wire/protobuf_reading.cc"])
        self.assertIn("memory.users.clear();", made["wire/protobuf_reading.cc"])
        self.assertIn('check_id("read.mentions.users", each)', made["wire/packet_checks.cc"])
        self.assertIn("!is_one_of(r.mode, {Mode::Unspecified, Mode::Loud})", made["wire/packet_checks.cc"])
        self.assertIn('check_integer("read.size", r.size)', made["wire/packet_checks.cc"])


if __name__ == "__main__":
    unittest.main()
