#!/usr/bin/env python3
"""Refuses braces and lambdas in expressions that have a co_await. usage: check_coroutines.py [FILE…] (default: all of src/)

gcc 12 keeps the temporaries of such an expression in the coroutine's frame by copying them bit by bit, and destroys them twice when they
are made by braces (aggregates, initializer lists) or by a lambda: `co_await read({user, "text"})` frees the text twice, or not at all. So
such a value is named before: `Query query{user, "text"}; co_await read(std::move(query));`. A call of a constructor, `Query(user)`, is fine.

It reads tokens, not C++: a statement, or the parentheses of if, while, switch and for, is one expression. check_coroutines_test.py has samples.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|^[ \t]*\#(?:\\\n|[^\n])*'  # left out: comments, the preprocessor's lines
    r'|R"(?P<raw>[^()\\\s]*)\(.*?\)(?P=raw)"|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\''
    r"|\d[\w'.]*|\w+|->|::|&&|\|\||[^\s\w]", re.DOTALL | re.MULTILINE)
CONTROL = {"if", "while", "for", "switch", "constexpr"}
TYPES = {"struct", "class", "union", "enum", "namespace", "extern"}
BLOCK_BEFORE = {")", ";", "{", "}", ":", "else", "do", "try", "const", "noexcept", "override", "final", "mutable"}
ADVICE = "beside a co_await: give it a name in a statement before, gcc 12 destroys such temporaries twice"


class Expression:
    """What is open now: a block, parentheses of a control statement, other brackets within an expression."""

    def __init__(self, kind):
        self.kind = kind  # block | control | inner
        self.reset()

    def reset(self):
        self.awaits = False
        self.found = []    # (line, what)
        self.tokens = []   # of the statement, at its own depth
        self.lambdas = 0   # whose bodies are still to come


def tokens(text):
    for match in TOKEN.finditer(text):
        token = match.group()
        if not token.startswith(("//", "/*")) and not token.lstrip(" \t").startswith("#"):
            yield text.count("\n", 0, match.start()) + 1, token


def problems_in(text):
    found = []
    open_ = [Expression("block")]

    def finish(expression):
        if expression.awaits:
            found.extend(expression.found)
        expression.reset()

    def begins_lambda(before):
        return not (re.fullmatch(r"[\w\"'].*", before or ";", re.DOTALL) and before not in ("return", "co_return", "co_await", "co_yield")) \
            and before not in (")", "]", ">")

    def begins_block(expression, before):
        if expression.lambdas:
            return True
        if expression.kind != "block":
            return False
        if before is None or before in BLOCK_BEFORE or "->" in expression.tokens:
            return True
        return bool(TYPES & set(expression.tokens[:3]))

    before = None
    stream = list(tokens(text))
    for i, (line, token) in enumerate(stream):
        now = open_[-1]
        following = stream[i + 1][1] if i + 1 < len(stream) else None
        # The statement that brackets within an expression belong to.
        whole = next(one for one in reversed(open_) if one.kind != "inner")
        if token == "co_await" and before != "operator":
            whole.awaits = True
        elif token == "[":
            attribute = following == "[" or before == "["
            binding = before == "auto" or (before in ("&", "&&") and "auto" in now.tokens[-3:])
            if begins_lambda(before) and not attribute and not binding:
                now.lambdas += 1
                whole.found.append((line, "a lambda"))
            open_.append(Expression("inner"))
        elif token == "(":
            open_.append(Expression("control" if before in CONTROL and now.kind == "block" else "inner"))
        elif token == "{":
            if begins_block(now, before):
                if now.lambdas:
                    now.lambdas -= 1
                else:
                    finish(now)
                open_.append(Expression("block"))
            else:
                whole.found.append((line, "braces"))
                open_.append(Expression("inner"))
        elif token in (")", "]", "}"):
            if len(open_) > 1:
                closed = open_.pop()
                if closed.kind != "inner":
                    finish(closed)
                if token == "}" and closed.kind == "block" and open_[-1].kind == "block" and not open_[-1].found:
                    finish(open_[-1])  # a statement ends here; a lambda's expression goes on
                elif closed.kind == "control":
                    finish(open_[-1])  # what follows is a statement of its own
        elif token == ";" and now.kind != "inner":
            finish(now)
        if open_[-1] is now and token != ";":
            now.tokens.append(token)
        before = token
    return sorted(set(found))


def main():
    files = [pathlib.Path(name) for name in sys.argv[1:]] or sorted(f for f in (ROOT / "src").rglob("*") if f.suffix in (".h", ".cc", ".inc"))
    count = 0
    for file in files:
        text = file.read_text()
        if "co_await" not in text:
            continue
        name = file.resolve().relative_to(ROOT) if file.resolve().is_relative_to(ROOT) else file
        for line, what in problems_in(text):
            print(f"{name}:{line}: {what} {ADVICE}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
