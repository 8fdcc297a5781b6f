"""The benchmarks run, check themselves and print what scripts rely on; no number is asserted beyond being there and possible."""

import json
import subprocess

import pytest

NAMES = {
    "echo": ["round_trips_per_s", "ratio"],
    "direct": [
        "delivered_per_s",
        "ratio",
        "server_cpu_us_per_message",
        "lost",
        "duplicated",
        "reordered",
        "half_ack_p50_ms",
        "half_ack_p99_ms",
        "half_ack_p999_ms",
        "half_delivered_p50_ms",
        "half_delivered_p99_ms",
        "half_delivered_p999_ms",
    ],
    "idle": ["connections", "bytes_per_connection"],
    "login": ["logins_per_s", "logins_per_cpu_s", "raw_logins_per_cpu_s", "ratio"],
    "slow-readers": ["rss_growth_bytes", "bound_bytes", "p99_change", "delivered_per_s", "ratio"],
    "soak": [
        "messages",
        "rss_bytes_first",
        "rss_bytes_last",
        "descriptors_max",
        "disk_bytes_per_message",
        "delivered_p99_ms_first",
        "delivered_p99_ms_last",
        "part10_rss_bytes",
    ],
    "store": ["raw_log_cpu_us", "full_cpu_us", "cold_full_cpu_us", "ratio"],
}


def bench(binary, *arguments, scale="0.02"):
    command = [str(binary), "bench", *arguments, "--json", "--allow-debug", "--scale", scale]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("scenario", sorted(NAMES))
def test_scenario_checks_itself_and_prints_one_line_of_json_last(binary, scenario):
    done = bench(binary, scenario)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["passed"] is True
    for name in NAMES[scenario]:
        assert isinstance(result[name], (int, float)), name
    assert "bench " + scenario in done.stderr  # progress


def test_limits_measures_the_machine(binary):
    done = bench(binary, "limits")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    for name in ("raw_echo_per_s", "raw_write_per_s", "raw_logins_per_cpu_s", "log_appends_per_s", "fsync_ms"):
        assert result[name] > 0, name


def test_direct_loses_nothing_with_random_ids(binary):
    done = bench(binary, "direct", "--ids", "random")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["lost"], result["duplicated"], result["reordered"]) == (0, 0, 0)
    assert result["delivered_per_s"] > 0


def test_direct_keeps_to_the_rate_that_it_is_given(binary):
    done = bench(binary, "direct", "--rate", "1500")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["half_per_s"] == 1500
    assert 0 < result["half_ack_p50_ms"] <= result["half_ack_p999_ms"]


def test_soak_ends_with_its_messages_or_its_time(binary):
    done = bench(binary, "soak", "--messages", "1500000", "--seconds", "600")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["messages"] >= 30000 and (result["lost"], result["duplicated"], result["reordered"]) == (0, 0, 0)
    assert result["descriptors_max"] > 1000 and result["disk_bytes_per_message"] > 100
    assert result["rss_bytes_max"] >= result["rss_bytes_last"] > 0


def test_running_server_is_used_with_url(binary, server_factory):
    server = server_factory({"auth": {"keys": [{"id": "main", "alg": "HS256", "secret": "0123456789abcdef0123456789abcdef"}]}})
    key = server.folder / "bench.key"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    done = bench(binary, "echo", "--url", server.ws_url, "--token-key", str(key))
    assert done.returncode == 0, done.stderr
    assert server.process.poll() is None


def test_wrong_token_key_fails_the_run(binary, server):
    key = server.folder / "other.key"
    key.write_text("not the key of this server at all")
    done = bench(binary, "echo", "--url", server.ws_url, "--token-key", str(key))
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["passed"] is False
    assert "unauthorized" in done.stderr


@pytest.mark.parametrize("arguments", [["nothing"], ["direct", "--ids", "odd"], ["echo", "--url", "http://x"]])
def test_wrong_use_ends_with_2(binary, arguments):
    assert bench(binary, *arguments).returncode == 2
