#!/usr/bin/env python3
"""Holds the documents to the tree: relative links lead somewhere, and every test that guarantees.md and requirements.md name exists.

A test is named in backticks: `Suite.Case` of GoogleTest, or `tests/….py::name` of pytest. Each table row of
guarantees.md must name one; each requirement names one or says that it is **open**.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
GTEST = re.compile(r"`([A-Z]\w+)\.([A-Z]\w+)`")
PYTEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PROMISES = ("docs/guarantees.md", "docs/requirements.md")  # elsewhere `A.B` may be anything
REQUIREMENT = re.compile(r"^\| ([RS][\d.]+) \|")
DEFINED = re.compile(r"^\s*(?:TEST|TEST_F|TEST_P|TYPED_TEST|TYPED_TEST_P)\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.M)


def documents():
    return sorted(p for p in ROOT.rglob("*.md") if "build" not in p.relative_to(ROOT).parts[:1] and ".pytest_cache" not in p.parts)


def gtest_cases():
    cases = set()
    for file in (ROOT / "src").rglob("*"):
        if file.suffix in (".cc", ".h", ".inc") and ("_test" in file.name or "_suite" in file.name):
            cases |= set(DEFINED.findall(file.read_text()))
    return cases


def main():
    problems = []
    cases = gtest_cases()
    for page in documents():
        name, text = page.relative_to(ROOT), page.read_text()
        for target in LINK.findall(text):
            if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
                problems.append(f"{name}: link to {target}, which does not exist")
        for suite, case in GTEST.findall(text) if str(name) in PROMISES else []:
            if (suite, case) not in cases:
                problems.append(f"{name}: no test {suite}.{case}")
        for file, test in PYTEST.findall(text):
            path = ROOT / file
            if not path.exists() or not re.search(rf"def {test}\b", path.read_text()):
                problems.append(f"{name}: no test {file}::{test}")
    guarantees = ROOT / "docs/guarantees.md"
    for line in guarantees.read_text().splitlines() if guarantees.exists() else []:
        if line.startswith("|") and not line.startswith(("| failure", "|---", "| what")) and not (GTEST.search(line) or PYTEST.search(line)):
            problems.append(f"docs/guarantees.md: a row without a test: {line[:80]}")
    requirements = ROOT / "docs/requirements.md"
    for line in requirements.read_text().splitlines() if requirements.exists() else []:
        if REQUIREMENT.match(line) and not (GTEST.search(line) or PYTEST.search(line) or "**open**" in line):
            problems.append(f"docs/requirements.md: neither a test nor open: {line[:80]}")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
