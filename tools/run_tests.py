#!/usr/bin/env python3
"""Runs unit test programs and end-to-end tests of one build, and closes with `N passed, N failed`.

  run_tests.py --build DIR [--sanitizer asan|tsan] [unit | e2e | crash N | driver N | NAME]

Unit test programs are DIR/*_test (GoogleTest); end-to-end tests are pytest files below tests/ that drive DIR/dunlin. A program that
crashes, hangs or reports a leak counts as one failure besides the cases it reported. Skipped cases count as failures: nothing is skipped here.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNIT_TIMEOUT_S = 900
E2E_TIMEOUT_S = 3000
CRASH_RUN_TIMEOUT_S = 20  # two to three on a quiet machine of two cores
DRIVER_SEED_TIMEOUT_S = 100  # some ten
# Debian's RocksDB is not instrumented: ThreadSanitizer sees its memcpy but not the atomics that order it. What it does itself is passed over where it
# is used by several threads; our own accesses are judged as everywhere.
TSAN_OVER_ROCKSDB = f":ignore_noninstrumented_modules=1:die_after_fork=0:suppressions={ROOT}/tools/tsan-rocksdb.supp"
TSAN_ROCKSDB_TESTS = {"storage_embedded_test"}
TSAN_E2E = ["tests/e2e/test_smoke.py", "tests/e2e/test_messaging.py", "tests/e2e/test_resume.py", "tests/e2e/test_read_state.py", "tests/e2e/test_load.py"]


class Tally:
    def __init__(self):
        self.passed = 0
        self.failures = []

    def fail(self, name, text=""):
        self.failures.append((name, text))


def environment(arguments):
    env = dict(os.environ)
    env["DUNLIN_BINARY"] = str((arguments.build / "dunlin").resolve())
    env["DUNLIN_ECHO"] = str((arguments.build / "dunlin-echo").resolve())
    env["DUNLIN_SANITIZER"] = arguments.sanitizer or ""
    env["ASAN_OPTIONS"] = "abort_on_error=0:exitcode=99:detect_leaks=1:detect_stack_use_after_return=0"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1:exitcode=99"
    env["TSAN_OPTIONS"] = f"exitcode=66:halt_on_error=0:second_deadlock_stack=1:suppressions={ROOT}/tools/tsan.supp"
    return env


def run_unit(program, arguments, env):
    with tempfile.TemporaryDirectory(prefix="dunlin-unit-") as folder:
        report = pathlib.Path(folder) / "report.json"
        command = [str(program), f"--gtest_output=json:{report}", "--gtest_brief=1"]
        if arguments.sanitizer == "tsan" and program.name in TSAN_ROCKSDB_TESTS:
            env = {**env, "TSAN_OPTIONS": env["TSAN_OPTIONS"] + TSAN_OVER_ROCKSDB}
        started = time.monotonic()
        try:
            done = subprocess.run(command, env={**env, "TMPDIR": folder}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=UNIT_TIMEOUT_S, cwd=folder)
            code, output = done.returncode, done.stdout.decode(errors="replace")
        except subprocess.TimeoutExpired as late:
            code, output = -1, (late.stdout or b"").decode(errors="replace") + "\ntimed out"
        cases = json.loads(report.read_text()) if report.exists() else {"testsuites": []}
        return program.name, cases, code, output, time.monotonic() - started


def tally_unit(tally, name, report, code, output):
    failed = 0
    for suite in report["testsuites"]:
        for case in suite["testsuite"]:
            if case.get("status") == "NOTRUN":
                continue
            title = f"{name}: {suite['name']}.{case['name']}"
            if case.get("failures") or case.get("result") == "SKIPPED":
                failed += 1
                tally.fail(title, "\n".join(f["failure"] for f in case.get("failures", [])) or "skipped")
            else:
                tally.passed += 1
    if code != 0 and failed == 0:
        tally.fail(f"{name}: exit status {code}", output[-6000:])


def unit_tests(tally, arguments, env, names):
    programs = sorted(p for p in arguments.build.glob("*_test") if os.access(p, os.X_OK))
    if names:
        programs = [p for p in programs if any(n == p.name.removesuffix("_test") or n == p.name for n in names)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for name, report, code, output, seconds in pool.map(lambda p: run_unit(p, arguments, env), programs):
            tally_unit(tally, name, report, code, output)
            print(f"  {name}: {seconds:.1f} s", flush=True)
    return len(programs)


def pytest_run(tally, env, paths, extra, workers, timeout=E2E_TIMEOUT_S):
    with tempfile.TemporaryDirectory(prefix="dunlin-e2e-") as folder:
        report = pathlib.Path(folder) / "report.xml"
        command = ["/usr/bin/python3", "-m", "pytest", "-q", "-x" if extra.get("first") else "-q", f"--junitxml={report}", "-p", "no:cacheprovider",
                   "--durations=8", *(["-n", str(workers), "--dist=loadfile"] if workers > 1 else []), *extra.get("args", []), *paths]
        try:
            done = subprocess.run(command, env=env, cwd=ROOT, timeout=timeout)
            code = done.returncode
        except subprocess.TimeoutExpired:
            code = f"none within {timeout} s"
        failed = 0
        if report.exists():
            for case in xml.etree.ElementTree.parse(report).iter("testcase"):
                bad = [child for child in case if child.tag in ("failure", "error", "skipped")]
                if bad:
                    failed += 1
                    tally.fail(f"{case.get('classname')}: {case.get('name')}", (bad[0].get("message") or "")[:2000])
                else:
                    tally.passed += 1
        if code not in (0, 5) and failed == 0:
            tally.fail(f"pytest {' '.join(paths)}: exit status {code}")
        return code != 5


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--sanitizer", choices=["asan", "tsan"])
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    arguments.build = arguments.build.resolve()
    env = environment(arguments)
    tally = Tally()
    words = arguments.words
    workers = 3 if shutil.which("python3") else 1
    if words[:1] == ["crash"]:
        runs = int(words[1]) if len(words) > 1 else 30
        env["DUNLIN_CRASH_RUNS"] = str(runs)
        pytest_run(tally, env, ["tests/crash"], {"args": ["-s"]}, 1, max(E2E_TIMEOUT_S, runs * CRASH_RUN_TIMEOUT_S))
    elif words[:1] == ["driver"]:
        seeds = int(words[1]) if len(words) > 1 else 30
        env["DUNLIN_DRIVER_SEEDS"] = str(seeds)
        args = ["-rP", "--dist=load", "--maxfail=3"]  # what each seed has reached is printed at the end
        pytest_run(tally, env, ["tests/e2e/test_driver.py"], {"args": args}, workers, max(E2E_TIMEOUT_S, seeds * DRIVER_SEED_TIMEOUT_S))
    elif words == ["unit"]:
        unit_tests(tally, arguments, env, [])
    elif words == ["e2e"]:
        pytest_run(tally, env, ["tests/e2e"], {}, workers)
    elif words:
        if unit_tests(tally, arguments, env, words) == 0:
            if not pytest_run(tally, env, ["tests"], {"args": ["-k", " or ".join(words)]}, 1):
                tally.fail(f"no test is called {' '.join(words)}")
    else:
        unit_tests(tally, arguments, env, [])
        if arguments.sanitizer == "tsan":
            env["DUNLIN_TEST_ENGINE"] = "memory"
            pytest_run(tally, env, ["tests/e2e/test_smoke.py"], {}, 1)
            env["DUNLIN_TEST_ENGINE"] = "embedded"
            env["TSAN_OPTIONS"] += TSAN_OVER_ROCKSDB
            pytest_run(tally, env, TSAN_E2E, {}, workers)
        else:
            pytest_run(tally, env, ["tests/e2e"], {}, workers)
            if (ROOT / "tests/crash").exists():
                pytest_run(tally, env, ["tests/crash"], {"args": ["-s"]}, 1)
    for name, text in tally.failures:
        print(f"FAILED {name}\n{text}\n")
    print(f"{tally.passed} passed, {len(tally.failures)} failed")
    return 1 if tally.failures or tally.passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
