#!/usr/bin/env python3
"""Takes the locks of guarded shards away, one after the other, and sees that clang's -Wthread-safety notices. Run by `./x lint all`.

So what is written in the comments of these classes is what the compiler checks: a new member without GUARDED_BY that a lock is taken for, or
a function that looks without a lock and does not say so, shows here or in the build.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOCK = re.compile(r"^ *(?:const )?(?:ConversationsLock|WindowUsersLock) \w+\(.*\);\n", re.MULTILINE)
CLANG = ["clang++-19", "-std=c++20", "-fsyntax-only", "-Isrc", "-Ibuild/release/generated", "-Wthread-safety", "-Werror=thread-safety"]


def compiles(text, folder):
    with tempfile.NamedTemporaryFile("w", suffix=".cc", dir=folder) as file:
        file.write(text)
        file.flush()
        result = subprocess.run([*CLANG, file.name], cwd=ROOT, capture_output=True, text=True)
    return result.returncode == 0 or "thread-safety" not in result.stderr, result


def main():
    cases = []
    for file in sorted((ROOT / "src").rglob("*.cc")):
        text = file.read_text()
        if file.name.endswith("_test.cc") or not LOCK.search(text):
            continue
        cases.append((file, text, 0))
        for lock in LOCK.finditer(text):
            cases.append((file, text[:lock.start()] + "\n" + text[lock.end():], text.count("\n", 0, lock.start()) + 1))

    def judge(case):
        file, text, line = case
        with tempfile.TemporaryDirectory() as folder:
            fine, result = compiles(text, folder)
        name = file.relative_to(ROOT)
        if line == 0:
            return [] if fine and result.returncode == 0 else [f"{name} does not compile, or not without warnings:\n{result.stderr[:2000]}"]
        return [f"{name}:{line}: without this lock -Wthread-safety finds nothing"] if fine else []

    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("DUNLIN_JOBS", os.cpu_count() or 2))) as pool:
        problems = [problem for found in pool.map(judge, cases) for problem in found]
    for problem in problems:
        print(problem)
    return 1 if problems or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
