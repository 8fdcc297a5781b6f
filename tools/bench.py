#!/usr/bin/env python3
"""Runs every benchmark of the release binary and writes the results into docs/benchmarks.md. `./x bench` calls it.

Only what stands between the two markers of that page is replaced. Ends with 1 when a scenario failed a self-check; its row says so.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- results: written by ./x bench -->"
END = "<!-- end of results -->"
SCENARIO_LIMIT_S = 240

RUNS = [
    ("limits", ["limits"]),
    ("store", ["store"]),
    ("idle", ["idle"]),
    ("echo", ["echo"]),
    ("direct", ["direct"]),
    ("direct --rate 40000", ["direct", "--rate", "40000"]),
    ("direct --ids random", ["direct", "--ids", "random"]),
    ("login", ["login"]),
    ("slow-readers", ["slow-readers"]),
]

# (run, name in the JSON, what it is, unit, budget as (comparison, number) or None)
ROWS = [
    ("idle", "bytes_per_connection", "server memory for an idle authenticated connection with 20 conversations", "B", ("<=", 1024)),
    ("echo", "round_trips_per_s", "ping round trips, 500 connections × 16 in flight", "/s", None),
    ("echo", "ratio", "the same, relative to raw epoll echo", "", (">=", 0.6)),
    ("direct", "delivered_per_s", "durable 1:1 messages delivered, 500 pairs × 16 in flight", "/s", (">=", 80_000)),
    ("direct", "server_cpu_us_per_message", "server CPU for each of them, all threads", "µs", ("<=", 12)),
    ("direct", "ratio", "delivered messages relative to the raw append log", "", (">=", 0.35)),
    ("direct", "half_ack_p50_ms", "at half that rate, open schedule: send → ack, p50", "ms", None),
    ("direct", "half_ack_p99_ms", "send → ack, p99", "ms", ("<=", 20)),
    ("direct", "half_ack_p999_ms", "send → ack, p99.9", "ms", ("<=", 50)),
    ("direct", "half_delivered_p50_ms", "send → delivered, p50", "ms", None),
    ("direct", "half_delivered_p99_ms", "send → delivered, p99", "ms", ("<=", 20)),
    ("direct", "half_delivered_p999_ms", "send → delivered, p99.9", "ms", ("<=", 50)),
    ("direct --rate 40000", "half_ack_p50_ms", "40,000/s, half of the budget, open schedule: send → ack, p50", "ms", None),
    ("direct --rate 40000", "half_ack_p99_ms", "send → ack, p99", "ms", ("<=", 20)),
    ("direct --rate 40000", "half_ack_p999_ms", "send → ack, p99.9", "ms", ("<=", 50)),
    ("direct --rate 40000", "half_delivered_p99_ms", "send → delivered, p99", "ms", ("<=", 20)),
    ("direct --rate 40000", "half_delivered_p999_ms", "send → delivered, p99.9", "ms", ("<=", 50)),
    ("direct --ids random", "delivered_per_s", "durable 1:1 with ids that the store has to look up", "/s", None),
    ("direct --ids random", "server_cpu_us_per_message", "server CPU for each of them", "µs", None),
    ("login", "logins_per_s", "logins: TCP, upgrade, connect, 20 missed messages, ack", "/s", None),
    ("login", "logins_per_cpu_s", "logins for a second of server CPU", "/s", (">=", 20_000)),
    ("login", "ratio", "the same, relative to the system calls of a login alone", "", None),
    ("slow-readers", "rss_growth_bytes", "memory growth through 1,000 clients that never read", "B", ("<=", "bound_bytes")),
    ("slow-readers", "p99_change", "change of the others' p99 (0.1 = +10 %)", "", ("<=", 0.1)),
    ("slow-readers", "ratio", "the others' delivered messages relative to the raw append log", "", None),
    ("store", "raw_log_cpu_us", "raw append log: CPU a record", "µs", None),
    ("store", "full_cpu_us", "the whole store, 4 M messages over 50,000 conversations: CPU a message", "µs", None),
    ("store", "ratio", "the same relative to the raw log (1 = as cheap)", "", None),
    ("store", "cold_full_cpu_us", "the whole store, 1 M conversations of which 90 % are cold: CPU a message", "µs", None),
    ("limits", "raw_echo_per_s", "limit: raw epoll echo of 64-byte WebSocket messages, 500 × 16", "/s", None),
    ("limits", "raw_logins_per_cpu_s", "limit: system calls of a login, for a second of CPU", "/s", None),
    ("limits", "raw_write_per_s", "limit: raw write loop over 5,000 sockets", "/s", None),
    ("limits", "log_appends_per_s", "limit: raw append log, 512 records for each write and fdatasync", "/s", None),
    ("limits", "fsync_ms", "limit: one small write and its fdatasync", "ms", None),
]


def run(binary, label, arguments):
    print(f"== bench {label}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run([str(binary), "bench", *arguments, "--json"], stdout=subprocess.PIPE, text=True, timeout=SCENARIO_LIMIT_S)
    except subprocess.TimeoutExpired:
        return {"passed": False, "failures": [f"not finished after {SCENARIO_LIMIT_S} s"]}
    lines = done.stdout.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        return {"passed": False, "failures": [f"exit code {done.returncode} and no result"]}


def number(value):
    if value is None:
        return "–"
    if isinstance(value, float) and abs(value) < 1000 and value != int(value):
        return f"{value:.3g}"
    return f"{value:,.0f}"


def row(results, label, name, what, unit, budget):
    result = results.get(label, {})
    value = result.get(name)
    target, verdict = "", ""
    if budget:
        comparison, wanted = budget
        wanted = result.get(wanted) if isinstance(wanted, str) else wanted
        target = f"{'≤' if comparison == '<=' else '≥'} {number(wanted)}"
        if value is not None and wanted is not None:
            met = value <= wanted if comparison == "<=" else value >= wanted
            verdict = "met" if met else f"**missed** (× {value / wanted:.2f})" if wanted else "**missed**"
    return f"| {label} | {what} | {number(value)}{' ' + unit if value is not None and unit else ''} | {target} | {verdict} |"


def first_line(command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT).stdout.strip().splitlines()[0]
    except (IndexError, OSError):
        return "unknown"


def machine():
    cpu = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory_kb = int(pathlib.Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0])
    file_system = first_line(["stat", "-f", "-c", "%T", "/tmp"])
    return (
        f"{os.cpu_count()} × {cpu}, {memory_kb / 2**20:.0f} GB, Linux {platform.release()}, {file_system}; "
        f"commit {first_line(['git', 'rev-parse', '--short', 'HEAD'])}, {datetime.date.today().isoformat()}."
    )


def table(results):
    lines = [BEGIN, "", f"Machine: {machine()}", "", "| scenario | what | result | budget | |", "|---|---|---|---|---|"]
    lines += [row(results, *entry) for entry in ROWS if entry[0] in results]
    failures = [(label, text) for label, result in results.items() for text in result.get("failures", [])]
    if failures:
        lines += ["", "Failed self-checks (numbers of these scenarios mean nothing):", ""]
        lines += [f"- {label}: {' '.join(text.split())[:300]}" for label, text in failures]
    return "\n".join([*lines, "", END])


def write_page(results):
    text = PAGE.read_text()
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    PAGE.write_text(before + table(results) + after)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build" / "release" / "dunlin")
    parser.add_argument("--only", action="append", help="a run by its label; the page is not written then")
    options = parser.parse_args()
    results = {label: run(options.binary, label, arguments) for label, arguments in RUNS if not options.only or label in options.only}
    if options.only:
        print(table(results))
    else:
        write_page(results)
        print(f"wrote {PAGE.relative_to(ROOT)}", file=sys.stderr)
    failed = [label for label, result in results.items() if not result.get("passed")]
    for label in failed:
        print(f"failed: {label}: {'; '.join(results[label].get('failures', []))}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
