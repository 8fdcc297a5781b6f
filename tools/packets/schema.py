"""The schema as the generator sees it: messages, enums and the packets that the envelopes name, read from proto/ through protoc."""

import dataclasses
import importlib
import pathlib
import re
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"
TYPES = descriptor_pb2.FieldDescriptorProto
SCALARS = {TYPES.TYPE_STRING: "string", TYPES.TYPE_BYTES: "bytes", TYPES.TYPE_UINT64: "uint64", TYPES.TYPE_UINT32: "uint32", TYPES.TYPE_BOOL: "bool"}


class SchemaError(Exception):
    """The schema asks for something that the generator does not make."""


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


@dataclasses.dataclass
class EnumValue:
    name: str  # on the wire in JSON; "" for the value that stands for nothing said
    cpp: str
    number: int
    reply_only: bool
    comment: str


@dataclasses.dataclass
class Enum:
    name: str  # in the schema, within its message
    cpp: str
    file: str
    shared: bool
    unknown: int  # the number that stands for all that a reader does not know
    values: list  # those that occur
    comment: str

    def value(self, number):
        return next(v for v in self.values if v.number == number)

    @property
    def named(self):
        """The values that somebody can say in JSON; zero means nothing said."""
        return [v for v in self.values if v.number != 0]

    def in_requests(self):
        return [v for v in self.named if not v.reply_only]


@dataclasses.dataclass
class Field:
    name: str
    number: int
    scalar: str  # "" for enums and messages
    type: object  # Enum or Message, else None
    repeated: bool
    presence: bool  # `optional` of the schema language
    rule: object  # FieldRule
    comment: str
    path: str  # for messages of the generator

    @property
    def kind(self):
        return self.rule.Kind.Name(self.rule.kind)

    @property
    def optional(self):
        return self.rule.optional or self.presence

    @property
    def is_enum(self):
        return isinstance(self.type, Enum)

    @property
    def is_message(self):
        return isinstance(self.type, Message)

    @property
    def is_text(self):
        return self.scalar in ("string", "bytes")


@dataclasses.dataclass
class Message:
    name: str
    struct: str
    file: str
    always_answered: bool
    comment: str
    fields: list = dataclasses.field(default_factory=list)
    from_client: bool = False
    from_server: bool = False

    def field(self, name):
        return next(f for f in self.fields if f.name == name)

    @property
    def lists(self):
        return [f for f in self.fields if f.repeated]

    def any_inside(self, test):
        """Whether the test holds for a field here or in a message inside."""
        return any(test(f) or f.is_message and f.type.any_inside(test) for f in self.fields)


@dataclasses.dataclass
class Packet:
    """One alternative of an envelope: its name there, its number, and what it holds."""

    name: str
    number: int
    message: Message
    struct: str  # of the variant's alternative; not message.struct when a push is a message that others use too

    @property
    def wraps(self):
        return self.struct != self.message.struct


@dataclasses.dataclass
class Schema:
    files: list  # names without folder and suffix, those that others need first
    enums: list
    messages: list  # what is inside another one before it
    commands: list
    replies: list
    pushes: list

    def of_file(self, items, file):
        return [item for item in items if item.file == file]


def load(folder=PROTO):
    return Reader(*compile_schema(folder)).schema()


def compile_schema(folder):
    """The files with their comments, and the module that knows our options."""
    names = [str(f.relative_to(folder)) for f in sorted(folder.glob("dunlin/v1/*.proto"))]
    with tempfile.TemporaryDirectory(prefix="dunlin-packets-") as out:
        subprocess.run(
            ["protoc", "-I.", f"--python_out={out}", f"--descriptor_set_out={out}/set", "--include_source_info", "--include_imports", *names],
            cwd=folder, check=True)
        sys.path.insert(0, out)
        options = importlib.import_module("dunlin.v1.options_pb2")
        sys.path.remove(out)
        files = descriptor_pb2.FileDescriptorSet.FromString((pathlib.Path(out) / "set").read_bytes()).file
    return [f for f in files if f.package == "dunlin.v1" and not f.name.endswith("/options.proto")], options


class Reader:
    """Makes a Schema of protoc's descriptors. protoc lists the files in the order of their imports."""

    def __init__(self, files, options):
        self.files, self.options = files, options
        self.types = {}
        self.enums, self.messages = [], []

    def schema(self):
        for file in self.files:
            self.read_file(file)
        envelope = {m.name: m for m in self.messages}
        for name in ("Request", "Reply", "Push", "ServerPacket"):
            self.messages.remove(envelope[name])
        commands = self.packets(envelope["Request"], "Request")
        replies = self.packets(envelope["Reply"], "Reply")
        pushes = self.packets(envelope["Push"], "Push")
        check_answers(commands, replies)
        self.mark([p.message for p in commands], "from_client")
        self.mark([p.message for p in replies + pushes], "from_server")
        return Schema([self.stem(f) for f in self.files if not f.name.endswith("/packets.proto")], self.enums, self.messages, commands, replies, pushes)

    @staticmethod
    def stem(file):
        return pathlib.PurePath(file.name).stem

    def read_file(self, file):
        comments = {tuple(l.path): clean(l.leading_comments or l.trailing_comments) for l in file.source_code_info.location}
        stem, prefix = self.stem(file), "." + file.package
        for i, enum in enumerate(file.enum_type):
            self.read_enum(enum, stem, prefix, (5, i), comments)
        for i, message in enumerate(file.message_type):
            self.read_message(message, stem, prefix, (4, i), comments)

    def read_enum(self, enum, file, prefix, path, comments):
        rule = enum.options.Extensions[self.options.enumeration]
        values = []
        for i, value in enumerate(enum.value):
            word = value.name.removeprefix(snake(enum.name).upper() + "_")
            if word == value.name:
                raise SchemaError(f"{enum.name}: the value {value.name} does not begin with the enum's name")
            reply_only = value.options.Extensions[self.options.value].reply_only
            name = "" if word == "UNSPECIFIED" else word.lower()
            if value.number or not rule.unknown:
                values.append(EnumValue(name, word.title().replace("_", ""), value.number, reply_only, comments.get(path + (2, i), "")))
        numbers = [v.number for v in values]
        if numbers != list(range(numbers[0], numbers[-1] + 1)):
            raise SchemaError(f"{enum.name}: the values must have numbers without holes, in order")
        made = Enum(enum.name, rule.cpp_name or enum.name, file, rule.shared, rule.unknown, values, comments.get(path, ""))
        self.enums.append(made)
        self.types[f"{prefix}.{enum.name}"] = made

    def read_message(self, message, file, prefix, path, comments):
        name = f"{prefix}.{message.name}"
        for i, enum in enumerate(message.enum_type):
            self.read_enum(enum, file, name, path + (4, i), comments)
        rule = message.options.Extensions[self.options.packet]
        made = Message(message.name, rule.struct_name or message.name, file, rule.always_answered, comments.get(path, ""))
        for i, field in enumerate(message.field):
            made.fields.append(self.read_field(message, field, comments.get(path + (2, i), "")))
        self.messages.append(made)
        self.types[name] = made

    def read_field(self, message, field, comment):
        path = f"{message.name}.{field.name}"
        scalar = SCALARS.get(field.type, "")
        type_ = self.types.get(field.type_name)
        if not scalar and type_ is None:
            raise SchemaError(f"{path}: no code is made for fields of this type, or the type stands behind its first use")
        rule = field.options.Extensions[self.options.field]
        made = Field(field.name, field.number, scalar, type_, field.label == TYPES.LABEL_REPEATED, field.proto3_optional, rule, comment, path)
        check_field(made)
        return made

    def packets(self, envelope, suffix):
        """The alternatives of the envelope's oneof, in order."""
        found = []
        for field in envelope.fields:
            if not field.is_message:
                continue
            struct = field.type.struct
            if not struct.endswith(suffix):
                struct = "".join(word.title() for word in field.name.split("_")) + suffix
            found.append(Packet(field.name, field.number, field.type, struct))
        return found

    def mark(self, messages, side):
        for message in messages:
            setattr(message, side, True)
            self.mark([f.type for f in message.fields if f.is_message], side)
            if message.from_client and message.from_server and message.lists:
                raise SchemaError(f"{message.name} has a list and goes both ways: give each direction a message of its own")


def check_answers(commands, replies):
    numbers = {p.name: p.number for p in replies}
    for command in commands:
        if numbers.get(command.name) != command.number:
            raise SchemaError(f"{command.name}: its reply must have the same name and number")


def check_field(field):
    if field.repeated and not (field.scalar == "string" or field.is_message):
        raise SchemaError(f"{field.path}: lists are of strings or messages")
    if field.kind == "BODY" and field.name != "body":
        raise SchemaError(f"{field.path}: a body is called body, since JSON readers keep that field verbatim")
    if field.rule.absent and not (field.presence and field.scalar == "bool" and field.rule.absent == "true"):
        raise SchemaError(f"{field.path}: `absent` is for `optional bool`, and \"true\"")
    if field.presence and not field.rule.absent and not (field.is_message or field.scalar == "uint64"):
        raise SchemaError(f"{field.path}: `optional` is for uint64 and messages; the others are absent when they are 0, false or empty")


def clean(comment):
    return " ".join(line.strip() for line in comment.strip().splitlines())
