#!/usr/bin/env python3
"""Format, layers, coroutines, generated docs, headers that compile alone, and clang-tidy with -Wthread-safety on what changed (`all`: on
everything, and each lock of guarded shards is taken away once).

What changed: against the commit in DUNLIN_LINT_BASE, else against the parent of HEAD, and what is not committed yet.
"""
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "release"
GENERATED = BUILD / "generated"
DEBIAN_PYTHON = "/usr/bin/python3"  # has Protobuf, which another one in the path often lacks
JOBS = int(os.environ.get("DUNLIN_JOBS", os.cpu_count() or 2))


def git(*args):
    result = subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True)
    return result.stdout.split("\n")[:-1] if result.returncode == 0 else []


def sources():
    return [f for f in git("ls-files", "--cached", "--others", "--exclude-standard", "src")
            if f.endswith((".h", ".cc")) and (ROOT / f).exists()]


def changed(files):
    base = os.environ.get("DUNLIN_LINT_BASE", "HEAD~1")
    names = set(git("diff", "--name-only", base)) | set(git("ls-files", "--others", "--exclude-standard"))
    return [f for f in files if f in names]


def run(*command):
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return result.returncode, (result.stdout + result.stderr).strip()


def check_format(files):
    code, output = run("clang-format-19", "--dry-run", "-Werror", *files)
    return [] if code == 0 else [output[:4000], "format: run ./x fmt"]


def check_scripts(everything):
    commands = [["tools/check_layers.py"], ["tools/check_docs.py"], ["tools/check_coroutines.py"], ["tools/check_coroutines_test.py"],
                ["tools/gen_error_docs.py", "--check"], ["tools/packets", "--check"], ["tools/packets_test.py"]]
    if everything:
        commands.append(["tools/check_locks.py"])
    problems = []
    for command in commands:
        if (ROOT / command[0]).exists():
            code, output = run(DEBIAN_PYTHON, *command)
            if code:
                problems.append(f"{' '.join(command)}:\n{output}")
    return problems


def check_generated():
    """What tools/packets makes is as well formed as what is written."""
    with tempfile.TemporaryDirectory(prefix="dunlin-lint-") as out:
        code, output = run(DEBIAN_PYTHON, "tools/packets", "--out", out)
        if code:
            return [f"tools/packets --out:\n{output}"]
        made = [str(file) for file in sorted(pathlib.Path(out).rglob("*")) if file.is_file()]
        code, output = run("clang-format-19", f"--style=file:{ROOT / '.clang-format'}", "--dry-run", "-Werror", *made)
        return [] if code == 0 else [output[:4000], "format: tools/packets makes badly formatted code"]


def configure():
    if not (BUILD / "compile_commands.json").exists():
        subprocess.run(["cmake", "--preset", "release"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", str(BUILD), "dunlin_packets", "dunlin_proto"], check=True, stdout=subprocess.DEVNULL)


def tidy(files):
    def one(file):
        code, output = run("clang-tidy-19", "-p", str(BUILD), "--quiet", "--warnings-as-errors=*", "--extra-arg=-Wthread-safety", file)
        lines = [line for line in output.splitlines() if "warnings generated" not in line and "Suppressed" not in line]
        return (file, "\n".join(lines)) if code else None

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        return [f"clang-tidy {found[0]}:\n{found[1]}" for found in pool.map(one, files) if found]


def headers_alone(headers):
    def one(header):
        code, output = run("g++", "-std=c++20", "-fsyntax-only", "-x", "c++", "-Isrc", f"-I{GENERATED}", "-DBOOST_ASIO_SEPARATE_COMPILATION", header)
        return f"{header} does not compile alone:\n{output}" if code else None

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        return [problem for problem in pool.map(one, headers) if problem]


def main():
    everything = sys.argv[1:] == ["all"]
    files = sources()
    picked = files if everything else changed(files)
    if picked:
        configure()
    problems = check_format(files) + check_scripts(everything) + check_generated()
    units = [f for f in picked if f.endswith(".cc") and not f.endswith("_fuzz.cc")]
    problems += headers_alone([f for f in picked if f.endswith(".h")])
    problems += tidy(units)
    for problem in problems:
        print(problem)
    print(f"lint: {len(files)} files, clang-tidy on {len(units)}, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
