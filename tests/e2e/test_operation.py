"""Running it: ready line, ports, lock, health, metrics, reload, graceful stop, command line."""

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import time
import ssl

import pytest
import websockets
import yaml

from im_client import Refused, TcpClient, WsClient
from under_test import ENGINE


async def login(server, user, device="d1", cls=WsClient, auto_ack=True):
    client = await cls.open(server)
    client.auto_ack = auto_ack
    await client.connect(server.token(user), device)
    return client


async def ready_turns(server, status, check=None, within_s=15):
    """Waits until /readyz answers `status`, and names `check` as failed."""
    deadline = time.monotonic() + within_s
    while True:
        code, text = await asyncio.to_thread(server.get, "/readyz")
        if code == status and (check is None or check in json.loads(text)["failed"]):
            return json.loads(text)
        assert time.monotonic() < deadline, f"/readyz is {code}: {text}"
        await asyncio.sleep(0.1)


# -- start and stop


async def test_ready_line_names_what_was_bound(server):
    assert server.get("/livez")[0] == 200 and server.get("/readyz")[0] == 200
    info = json.loads(server.get("/info")[1])
    assert "fsync" in json.dumps(info)
    assert len(server.stdout) == 1


@pytest.mark.deadline(200)
async def test_fifty_restarts_leave_a_bounded_number_of_files(server_factory):
    """By kill -9 under way and by SIGTERM; nothing that a start makes may stay for ever."""
    server = server_factory({"store": {"log": {"segment-bytes": 256 * 1024}}, "shutdown": {"reconnect-delay-ms": 1}})
    counts = []
    for life in range(50):
        alice, bob = await login(server, "alice"), await login(server, "bob")
        for i in range(5):
            await alice.send("bob", "m", f"{life}-{i}")
        await bob.messages(5)
        if life % 2 == 0:
            late = [await alice.raw("send", {"to": "bob", "client_msg_id": f"{life}-late-{i}", "body": "m"}) for i in range(5)]
            await asyncio.to_thread(server.kill)
            await asyncio.gather(*late, return_exceptions=True)
        else:
            await asyncio.to_thread(server.stop)
        counts.append({folder: len(list((server.data / folder).iterdir())) for folder in (".", "history", "state", "log")})
        await asyncio.to_thread(server.start)
    # History merges the files of a family when 32 of them wait (48 of its dedup entries), and each start has brought it a segment.
    # The folder itself holds the files that are kept to be given up on a full disk, 33 at most.
    for folder, bound in {".": 8 + 33, "state": 30, "log": 12, "history": 5 * 48}.items():
        assert max(count[folder] for count in counts) <= bound, (folder, [count[folder] for count in counts])


async def test_port_in_use_is_named(server, server_factory, binary, tmp_path):
    port = int(server.ws.rsplit(":", 1)[1])
    config = tmp_path / "second.yaml"
    config.write_text(yaml.safe_dump({"websocket": {"listen": "127.0.0.1", "port": port}, "tcpsocket": {"port": 0}, "admin": {"listen": "127.0.0.1:0"}, "store": {"path": str(tmp_path / "d2")}}))
    done = subprocess.run([binary, "serve", "--config", str(config)], capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and str(port) in done.stderr


async def test_second_server_on_the_same_data_names_the_pid(server, binary, tmp_path):
    config = tmp_path / "second.yaml"
    config.write_text(yaml.safe_dump({"websocket": {"port": 0}, "tcpsocket": {"port": 0}, "admin": {"listen": "127.0.0.1:0"}, "store": {"path": str(server.data)}}))
    done = subprocess.run([binary, "serve", "--config", str(config)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and str(server.process.pid) in done.stderr


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("offset, kind", [(16, "read-only compatible"), (24, "incompatible")])
async def test_data_of_a_version_with_an_unknown_feature_is_refused_by_naming_it(server, binary, offset, kind):
    """The three words of feature bits and the checksum stand where docs/storage.md says."""
    await (await login(server, "alice")).send("bob", "before", "x1")
    assert await asyncio.to_thread(server.stop) == 0
    meta = server.data / "meta"
    known = meta.read_bytes()

    def with_bit(at, bit):
        changed = bytearray(known)
        changed[at + bit // 8] |= 1 << bit % 8
        return bytes(changed[:124]) + crc32c(changed[:124]).to_bytes(4, "little")

    assert crc32c(known[:124]) == int.from_bytes(known[124:], "little") and len(known) == 128
    meta.write_bytes(with_bit(offset, 37))
    done = subprocess.run([binary, "serve", "--config", server.folder / "dunlin.yaml"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and done.stdout == ""
    assert "newer version" in done.stderr and f"meta file has {kind} feature bit 37," in done.stderr
    assert meta.read_bytes() == with_bit(offset, 37)
    meta.write_bytes(with_bit(8, 37))  # a compatible one costs nothing, and is left where it is
    await asyncio.to_thread(server.start)
    bob = await login(server, "bob")
    assert (await bob.push("message"))["body"] == {"text": "before"}
    await bob.close()
    assert await asyncio.to_thread(server.stop) == 0
    assert meta.read_bytes()[8:32] == with_bit(8, 37)[8:32]


async def test_graceful_stop_in_phases(server_factory):
    server = server_factory({"shutdown": {"ready-delay-ms": 1500, "reconnect-delay-ms": 500, "clients-per-s": 20}})
    alice, bob = await login(server, "alice"), await login(server, "bob")
    crowd = [await login(server, f"user{i}") for i in range(30)]
    server.process.send_signal(signal.SIGTERM)
    await ready_turns(server, 503, within_s=1.4)
    assert server.get("/livez")[0] == 200
    assert server.metric("dunlin_stop_phase") == 1
    reply = await alice.send("bob", "during the delay", "x1")  # everything still works
    assert (await bob.push("message"))["seq"] == reply["seq"]
    drains = [asyncio.create_task(client.push("drain")) for client in [alice, bob, *crowd]]
    await asyncio.wait(drains, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    assert server.metric("dunlin_stop_phase") == 4
    assert 0 < server.metric("dunlin_sessions") < 32  # 20 a second
    with pytest.raises(OSError):
        await WsClient.open(server)
    delays = [drain["delay_ms"] for drain in await asyncio.gather(*drains)]
    assert all(500 <= delay <= 1000 for delay in delays) and len(set(delays)) > 5  # the delay and a random part of it
    await asyncio.wait_for(asyncio.gather(alice.closed.wait(), bob.closed.wait()), 20)
    assert alice.kick["name"] == "going_away" and alice.kick["reconnect"] == "yes" and alice.close_code == 4000
    assert await asyncio.to_thread(server.wait, 20) == 0
    phases = re.findall(r"stopping: ([a-z ]+?)(?: [a-z_]+=|$|\")", server.log, re.M)
    assert phases == ["not ready", "not accepting", "flushing", "closing clients"], phases
    server.start()
    bob = await login(server, "bob")
    assert (await bob.request("history", {"with": "alice"}))["messages"][-1]["client_msg_id"] == "x1"


async def test_second_signal_ends_at_once(server_factory):
    server = server_factory({"shutdown": {"ready-delay-ms": 30000, "timeout-ms": 60000}})
    server.clean = False
    server.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(server.wait, 5)


async def test_signal_before_ready_is_obeyed_and_no_failure(server_factory):
    codes = []
    for i in range(12):
        server = server_factory({"shutdown": {"ready-delay-ms": 0}}, wait_ready=False)
        await asyncio.sleep(0.02 * i)
        server.process.send_signal(signal.SIGTERM)
        codes.append(await asyncio.to_thread(server.process.wait, 20))
    # Until the program has taken its signals over, the kernel ends it.
    assert set(codes) <= {0, -signal.SIGTERM} and 0 in codes, codes


async def freeze_store(server):
    server.config["debug"]["unsafe-faults"]["store-delay-ms"] = 25000
    server.reload()
    deadline = time.monotonic() + 10
    while server.metric("dunlin_config_reloads_total") < 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_second_signal_ends_a_stop_that_waits_for_the_store(server_factory):
    server = server_factory({"debug": {"unsafe-faults": {"store-delay-ms": 0}}, "shutdown": {"timeout-ms": 60000, "flush-ms": 100}})
    server.clean = False
    alice = await login(server, "alice")
    await freeze_store(server)
    await alice.raw("send", {"to": "bob", "client_msg_id": "x1", "body": 1})
    await asyncio.sleep(0.2)
    server.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(4)
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.wait, 5) == 1


async def test_stop_is_bounded_when_the_store_does_not_answer(server_factory):
    server = server_factory({"debug": {"unsafe-faults": {"store-delay-ms": 0}}, "shutdown": {"timeout-ms": 3000, "flush-ms": 100}})
    server.clean = False
    alice = await login(server, "alice")
    await freeze_store(server)
    await alice.raw("send", {"to": "bob", "client_msg_id": "x1", "body": 1})
    await asyncio.sleep(0.2)
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.wait, 10) == 1
    assert "within shutdown.timeout-ms" in server.log


async def test_half_closed_tcp_peer_gets_its_answers(server):
    reader, writer = await asyncio.open_connection(*server.tcp_address)
    writer.write(json.dumps({"id": 1, "connect": {"token": server.token("alice"), "device": "d1"}}).encode() + b"\n"
                 + json.dumps({"id": 2, "send": {"to": "bob", "client_msg_id": "x1", "body": 1}}).encode() + b"\n")
    writer.write_eof()
    packets = [json.loads(line) for line in (await asyncio.wait_for(reader.read(), 10)).splitlines()]
    assert {packet.get("id") for packet in packets} >= {1, 2}, packets
    assert next(packet for packet in packets if packet.get("id") == 2)["send"]["seq"] == 1
    writer.close()


async def test_reload_leaves_keys_that_need_a_restart_alone(server_factory):
    server = server_factory({"session": {"heartbeat-interval-ms": 30000}})
    alice = await login(server, "alice")
    server.config["session"]["heartbeat-interval-ms"] = 50
    server.reload()
    deadline = time.monotonic() + 10
    while server.metric("dunlin_config_reloads_total") < 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert "session.heartbeat-interval-ms" in server.log
    assert (await alice.ping()) is not None
    await asyncio.sleep(0.5)
    bob = await login(server, "bob")
    assert bob.hello["heartbeat_interval_ms"] == 30000
    assert (await alice.ping()) is not None


async def test_reload_changes_limits_and_log_level_and_drops_nobody(server_factory):
    server = server_factory({"log": {"level": "error"}, "session": {"auth-deadline-ms": 600000}})
    alice, bob = await login(server, "alice"), await login(server, "bob", cls=TcpClient)
    waiting = await TcpClient.open(server)  # not logged in yet
    reloads = 0

    async def reload(**changes):
        nonlocal reloads
        for section, values in changes.items():
            server.config[section] = {**server.config.get(section, {}), **values}
        server.reload()
        reloads += 1
        deadline = time.monotonic() + 10
        while server.metric("dunlin_config_reloads_total") < reloads:
            assert time.monotonic() < deadline, server.log
            await asyncio.sleep(0.02)
        assert await alice.ping() is not None and await bob.ping() is not None and not waiting.closed.is_set()

    async def refused_of_ten(tag):
        replies = await asyncio.gather(*[await alice.raw("send", {"to": "bob", "client_msg_id": f"{tag}{i}", "body": i, "transient": True}) for i in range(10)])
        return sum(reply.get("error", {}).get("name") == "rate_limited" for reply in replies)

    assert await refused_of_ten("a") == 0
    assert server.log == ""
    await reload(
        limits={"user": {"sends-per-s": 1, "sends-burst": 1}, "ip": {"connections": 1}, "trusted-proxies": ["127.0.0.1"]},
        log={"level": "info"}, performance={"offload-threads": 7}, session={"max-devices": 9},
    )
    named = [line for line in server.log.splitlines() if "only at a restart" in line]
    assert len(named) == 2 and "performance.offload-threads" in server.log and "session.max-devices" in server.log, server.log
    assert "configuration reloaded" in server.log
    assert await refused_of_ten("b") > 0, "a session that was open before has its old limit"
    proxied = {"extra_headers": {"X-Forwarded-For": "203.0.113.7"}}
    held = await WsClient.open(server, **proxied)
    with pytest.raises(websockets.InvalidStatusCode):
        await WsClient.open(server, **proxied)

    server.get("/info")
    assert "path=/info" not in server.log
    await reload(limits={"user": {"mode": "off"}, "ip": {"mode": "off"}}, log={"level": "debug"})
    assert await refused_of_ten("c") == 0
    other = await WsClient.open(server, **proxied)
    server.get("/info")
    deadline = time.monotonic() + 10
    while "path=/info" not in server.log:  # the log is written behind the request
        assert time.monotonic() < deadline, server.log
        await asyncio.sleep(0.01)
    await reload(log={"level": "error"})
    server.forget_log()
    server.get("/info")
    assert server.log == ""
    for number, client in enumerate((waiting, held, other)):
        await client.connect(server.token(f"late{number}"))
    assert server.metric("dunlin_sessions") == 5


# -- health


async def test_frozen_store_turns_readyz_red_and_heals(server_factory):
    server = server_factory({"debug": {"unsafe-faults": {"store-delay-ms": 0}}})
    alice = await login(server, "alice")
    server.config["debug"]["unsafe-faults"]["store-delay-ms"] = 20000
    server.reload()
    red = await ready_turns(server, 503, "store", within_s=10)
    assert red["failed"] == ["store"], red
    assert server.get("/livez")[0] == 200 and server.get("/metrics")[0] == 200
    assert (await alice.ping()) is not None
    server.config["debug"]["unsafe-faults"]["store-delay-ms"] = 0
    server.reload()
    await ready_turns(server, 200, within_s=40)


async def test_stalled_worker_turns_readyz_red_and_heals(server_factory):
    server = server_factory({"debug": {"unsafe-faults": {"worker-stall-ms": 0}}})
    server.config["debug"]["unsafe-faults"]["worker-stall-ms"] = 14000
    server.reload()
    await ready_turns(server, 503, "accept", within_s=10)
    red = await ready_turns(server, 503, "deliver", within_s=10)
    assert set(red["failed"]) == {"accept", "deliver"}, red
    assert server.get("/livez")[0] == 200
    await ready_turns(server, 200, within_s=40)


async def test_store_that_cannot_be_read_turns_readyz_red_and_heals(server_factory):
    server = server_factory({"debug": {"unsafe-faults": {"io-error-at": ""}}})
    server.config["debug"]["unsafe-faults"]["io-error-at"] = "read"
    server.reload()
    red = await ready_turns(server, 503, "store", within_s=10)
    assert red["failed"] == ["store"], red
    server.config["debug"]["unsafe-faults"]["io-error-at"] = ""
    server.reload()
    await ready_turns(server, 200, within_s=10)


async def test_server_without_descriptors_turns_readyz_red_and_heals(server):
    limit = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    kept = http.client.HTTPConnection(server.admin, timeout=5)  # a new one could not be accepted

    def readyz():
        kept.request("GET", "/readyz")
        return json.loads(kept.getresponse().read())

    assert readyz()["ready"]
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (8, limit[1]))
    deadline = time.monotonic() + 10
    while "accept" not in readyz()["failed"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limit)
    while not readyz()["ready"]:
        assert time.monotonic() < deadline + 10
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("proxied", [False, True])
async def test_probes_leave_no_trace_in_the_counts_of_clients(server_factory, proxied):
    proxy = {"limits": {"trusted-proxies": ["127.0.0.0/8"]}, "websocket": {"proxy-protocol": True}, "tcpsocket": {"proxy-protocol": True}}
    server = server_factory(proxy if proxied else {})
    await asyncio.sleep(2)
    assert server.get("/readyz")[0] == 200
    for name in ("dunlin_connections", "dunlin_accepted_total", "dunlin_disconnects_total"):
        assert server.metric(name) == 0, name


@contextlib.contextmanager
def small_disk(folder):
    """A disk of 96 MiB at `folder`: what to put before the server's command, and where that disk is seen from here. Root mounts it for everybody (user
    namespaces are refused in some containers and in every chroot); anyone else in a mount namespace of the server's own."""
    options = ["-t", "tmpfs", "-o", "size=96m", "tmpfs"]
    if subprocess.run(["mount", *options, str(folder)], capture_output=True).returncode == 0:
        try:
            yield [], lambda server: folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'mount {" ".join(options)} "$0" && exec "$@"', str(folder)]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True)
    assert tried.returncode == 0, f"this test needs user namespaces (or root) for a small disk: {tried.stderr.strip()}"
    yield prefix, lambda server: pathlib.Path(f"/proc/{server.process.pid}/root{folder}")


@pytest.mark.deadline(150)
async def test_full_disk_refuses_sends_reads_go_on_and_it_heals(server_factory, tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    with small_disk(mount) as (prefix, seen_by):
        server = server_factory({"store": {"log": {"segment-bytes": 1 << 20}}, "limits": {"user": {"mode": "off"}}}, data=mount / "data", prefix=prefix)
        disk = seen_by(server)
        alice, bob = await login(server, "alice", cls=TcpClient), await login(server, "bob")
        before = await alice.send("bob", "before", "x0")
        conversation = before["conversation"]
        await bob.push("message")
        ballast = disk / "ballast"
        free = os.statvfs(disk)
        with open(ballast, "wb") as file:
            file.write(b"\0" * max(0, free.f_bavail * free.f_bsize - (1 << 20)))
        refused, acked = None, before["seq"]  # the reserve may be reached before the first
        for i in range(3000):
            try:
                acked = (await alice.send("bob", "x" * 20000, f"y{i}"))["seq"]
            except Refused as error:
                refused = error
                break
        assert refused and refused.name == "store_unavailable" and refused.error["temporary"]
        await ready_turns(server, 503, "store", within_s=10)
        assert (await bob.request("history", {"conversation": conversation, "limit": 1}))["messages"][0]["seq"] == acked
        assert server.process.poll() is None
        ballast.unlink()
        await ready_turns(server, 200, within_s=40)
        again = await alice.send("bob", "after", "z", abandon=True)
        assert again["seq"] == acked + 1  # refused sends have left no hole
        await asyncio.gather(alice.close(), bob.close())
        assert server.stop() == 0


async def test_io_error_refuses_sends_and_loses_nothing_acked(server_factory):
    server = server_factory()
    alice = await login(server, "alice")
    for i in range(10):
        await alice.send("bob", f"m{i}", f"x{i}")
    server.config["debug"] = {"unsafe-faults": {"io-error-at": "fdatasync"}}
    server.reload()
    await asyncio.sleep(0.5)
    with pytest.raises(Refused) as refused:
        for i in range(10, 15):
            await alice.send("bob", f"m{i}", f"x{i}")
    assert refused.value.name == "store_unavailable"
    await ready_turns(server, 503, "store")
    server.config["debug"] = {}
    server.reload()
    await ready_turns(server, 200, within_s=30)
    messages = (await alice.request("history", {"with": "bob", "limit": 100}))["messages"]
    assert [m["seq"] for m in messages] == list(range(1, len(messages) + 1)) and len(messages) >= 10
    last = await alice.send("bob", "after", "after", abandon=True)
    assert last["seq"] == len(messages) + 1


async def test_write_then_sync_then_ack_as_the_kernel_sees_it(server_factory, tmp_path):
    server = server_factory({"performance": {"worker-threads": 1}})
    trace = tmp_path / "trace"
    alice = await login(server, "alice", cls=TcpClient)
    await alice.send("bob", "warm up", "w")
    strace = subprocess.Popen(["strace", "-f", "-ttt", "-s", "400", "-e", "trace=write,writev,pwrite64,pwritev,pwritev2,fdatasync,sendto,sendmsg", "-o", str(trace), "-p", str(server.process.pid)], stderr=subprocess.PIPE)
    try:
        await asyncio.to_thread(strace.stderr.readline)
        await asyncio.sleep(0.5)
        await alice.send("bob", "MARKED", "marked-message")
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(10)
    lines = trace.read_text().splitlines()
    written = next(i for i, line in enumerate(lines) if "MARKED" in line and ("pwrite" in line or "write(" in line))
    synced = next(i for i, line in enumerate(lines) if i > written and "fdatasync" in line and ("= 0" in line))
    acked = next(i for i, line in enumerate(lines) if '"fsync\\"' in line or 'durability' in line)
    assert written < synced < acked, "\n".join(lines)


# -- metrics and logs


async def test_metrics_have_the_promised_names_and_bounded_labels(server):
    alice, bob = await login(server, "alice"), await login(server, "bob", cls=TcpClient)
    for i in range(20):
        await alice.send("bob", f"m{i}", f"x{i}")
    await bob.messages(20)
    with pytest.raises(Refused):
        await alice.request("history", {"conversation": "nope"})
    await bob.close()
    text = server.get("/metrics")[1]
    for name in ("dunlin_connections", "dunlin_send_ack_seconds", "dunlin_send_deliver_seconds", "dunlin_store_batch_messages", "dunlin_store_commit_seconds", "dunlin_store_rows_read_total",
                 "dunlin_write_queue_bytes", "dunlin_lagging_sessions", "dunlin_retransmissions_total", "dunlin_disconnects_total", "dunlin_errors_total", "dunlin_encodes_total"):
        assert re.search(rf"^{name}", text, re.M), name
    assert "alice" not in text and "bob" not in text
    assert server.metric("dunlin_send_ack_seconds_count") >= 20
    for name in ("dunlin_handshake_seconds", "dunlin_auth_seconds", "dunlin_connect_seconds"):
        assert server.metric(f"{name}_count") == 2, name
    assert server.metric("dunlin_store_clock_trusted") == 1
    assert len((await alice.request("sync", {}))["conversations"]) == 1
    assert server.metric("dunlin_sync_conversations_count") == 1 and server.metric("dunlin_sync_conversations_sum") == 1
    assert server.metric("dunlin_send_deliver_seconds_count") >= 20
    assert 'dunlin_connections{transport="websocket",encoding="json"} 1' in text or 'dunlin_connections{encoding="json",transport="websocket"} 1' in text
    assert server.metric("dunlin_encodes_total") <= 2 * 20 + 4
    if ENGINE == "embedded":
        for name in ("dunlin_store_batch_messages", "dunlin_store_commit_seconds", "dunlin_store_sync_seconds"):
            assert 0 < server.metric(f"{name}_count") <= 20, name
        assert server.metric("dunlin_store_batch_messages_sum") == 20


async def test_sends_are_counted_by_what_became_of_them(server_factory):
    server = server_factory({"limits": {"user": {"sends-per-s": 5, "sends-burst": 20}}})
    alice = await login(server, "alice")
    for i in range(10):
        await alice.send("bob", f"m{i}", f"x{i}")
    await alice.send("bob", "m3", "x3")  # a repeat
    with pytest.raises(Refused) as conflict:
        await alice.send("bob", "another text", "x4")
    assert conflict.value.name == "client_msg_id_conflict"
    await alice.send("bob", "hello", "t1", transient=True)
    replies = await asyncio.gather(*[await alice.raw("send", {"to": "bob", "client_msg_id": f"y{i}", "body": i}) for i in range(200)])
    stored = 10 + sum(1 for reply in replies if "send" in reply)
    assert stored < 210 and {reply["error"]["name"] for reply in replies if "error" in reply} == {"rate_limited", "retry_in_order"}
    assert server.metric("dunlin_sends_total") == stored
    assert server.metric("dunlin_duplicates_total") == 1
    assert server.metric('dunlin_errors_total{name="client_msg_id_conflict"}') == 1
    assert server.metric("dunlin_send_ack_seconds_count") == stored + 1
    assert server.metric("dunlin_auth_failures_total") == 0
    with pytest.raises(Refused):
        await alice.request("refresh", {"token": server.token("mallory")})
    assert server.metric("dunlin_auth_failures_total") == 1


async def test_what_is_refused_for_now_has_a_line_for_each_kind_and_its_count(server_factory):
    server = server_factory({"limits": {"user": {"sends-per-s": 1, "sends-burst": 1}}})
    alice = await login(server, "alice")

    def told():
        """kind -> counts, in the order of the lines"""
        found = {}
        for kind, count in re.findall(r"WARN server: requests were refused kind=(\w+) count=(\d+)$", server.log, re.M):
            found.setdefault(kind, []).append(int(count))
        return found

    async def refused_of(count, tag):
        replies = await asyncio.gather(*[await alice.raw("send", {"to": "bob", "client_msg_id": f"{tag}{i}", "body": i}) for i in range(count)])
        return [reply["error"]["name"] for reply in replies if "error" in reply]

    await alice.send("bob", "the only one", "x0")
    await asyncio.sleep(1.5)
    assert told() == {}, "nothing was refused"
    names = await refused_of(200, "a")
    deadline = asyncio.get_running_loop().time() + 5
    while len(told()) < 2:
        assert asyncio.get_running_loop().time() < deadline, server.log
        await asyncio.sleep(0.1)
    names += await refused_of(200, "b")
    await asyncio.sleep(2.5)
    assert all(len(counts) == 1 for counts in told().values()), "more than a line a minute"
    await alice.close()
    assert server.stop() == 0
    counts = told()
    assert set(counts) == {"rate_limited", "retry_in_order"}
    for kind, each in counts.items():
        assert sum(each) == names.count(kind) and len(each) <= 2, (kind, each, names.count(kind))


async def test_platforms_are_counted_under_known_names_only(server):
    for i, platform in enumerate(["web", "web", "toaster-9000", None]):
        client = await WsClient.open(server)
        await client.connect(server.token(f"u{i}"), "d", **({"platform": platform} if platform else {}))
    text = server.get("/metrics")[1]
    counted = dict(re.findall(r'^dunlin_connects_total\{platform="(\w+)"\} (\d+)', text, re.M))
    assert {name: int(n) for name, n in counted.items() if n != "0"} == {"web": 2, "other": 1, "none": 1}
    assert "toaster" not in text


async def test_message_is_encoded_once_for_many_recipients(server):
    devices = [await login(server, "bob", f"d{i}") for i in range(8)]
    alice = await login(server, "alice")
    before = server.metric("dunlin_encodes_total")
    for i in range(10):
        await alice.send("bob", f"m{i}", f"x{i}")
    for device in devices:
        await device.messages(10)
    workers = server.config["performance"]["worker-threads"]
    assert server.metric("dunlin_encodes_total") - before <= 10 * workers


async def test_disconnects_have_a_known_reason(server):
    clean, cut = await login(server, "a"), await login(server, "b")
    await clean.close()
    cut.cut()
    await asyncio.sleep(0.3)
    text = server.get("/metrics")[1]
    reasons = dict(re.findall(r'^dunlin_disconnects_total\{reason="(\w+)"\} (\d+)', text, re.M))
    assert sum(map(int, reasons.values())) == 2 and "unknown" not in reasons, reasons


async def test_connections_that_never_became_sessions_are_counted_once_too(server_factory):
    server = server_factory({"net": {"max-connections": 20}})
    address = ("127.0.0.1", int(server.ws.rsplit(":", 1)[1]))
    # Which of them are refused is the workers' affair: each accepts on its own. Twenty of them stay, in any case.
    opened = [await asyncio.open_connection(*address) for _ in range(35)]
    ends = [asyncio.create_task(reader.read()) for reader, _ in opened]
    try:
        for refused in itertools.islice(asyncio.as_completed(ends, timeout=10), 15):
            assert await refused == b""  # closed without a word
        await asyncio.sleep(0.3)
        assert sum(end.done() for end in ends) == 15
    finally:
        for end in ends:
            end.cancel()
    for _, writer in opened:
        writer.close()

    def reasons():
        found = re.findall(r'^dunlin_disconnects_total\{reason="(\w+)"\} (\d+)', server.get("/metrics")[1], re.M)
        return {name: int(count) for name, count in found if count != "0"}

    deadline = time.monotonic() + 10
    while reasons() != {"client_lost": 20, "too_many_connections": 15}:
        assert time.monotonic() < deadline, reasons()
        await asyncio.sleep(0.1)
    assert server.metric("dunlin_accepted_total") == 35


# -- TLS


def make_certificate(folder, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")], check=True, capture_output=True)


def served_name(host, port):
    context = ssl._create_unverified_context()
    with socket.create_connection((host, port)) as raw, context.wrap_socket(raw) as tls:
        der = tls.getpeercert(binary_form=True)
    text = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-subject"], input=der, capture_output=True, check=True).stdout.decode()
    return text.strip().rsplit("=", 1)[1].strip()


async def test_tls_on_both_ports_and_reload_without_dropping(server_factory, tmp_path):
    make_certificate(tmp_path, "first")
    server = server_factory({"tls": {"certificate-file": str(tmp_path / "tls.crt"), "key-file": str(tmp_path / "tls.key")}})
    context = ssl._create_unverified_context()
    ws = WsClient()
    ws.socket = await websockets.connect(server.ws_url.replace("ws://", "wss://"), ssl=context, subprotocols=["dunlin.v1.json"])
    ws.start()
    await ws.connect(server.token("alice"), "d")
    tcp = TcpClient()
    tcp.reader, tcp.writer = await asyncio.open_connection(*server.tcp_address, ssl=context)
    tcp.start()
    tcp.auto_ack = True
    await tcp.connect(server.token("bob"), "d")
    for i in range(3):
        await ws.send("bob", "x" * 40000, f"m{i}")
    assert [m["seq"] for m in await tcp.messages(3)] == [1, 2, 3]
    make_certificate(tmp_path, "second")
    server.reload()
    host, port = server.ws.rsplit(":", 1)
    deadline = time.monotonic() + 10
    while await asyncio.to_thread(served_name, host, int(port)) != "second":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    await ws.ping()
    await tcp.ping()


# -- command line


def run(binary, *words, **options):
    return subprocess.run([binary, *map(str, words)], capture_output=True, text=True, timeout=60, **options)


def test_unknown_key_is_refused_with_the_nearest_one(binary, tmp_path):
    (tmp_path / "dunlin.yaml").write_text("websocket:\n  prot: 8080\n")
    done = run(binary, "config", "check", "--config", tmp_path / "dunlin.yaml")
    assert done.returncode == 2 and "websocket.prot" in done.stderr and "websocket.port" in done.stderr
    (tmp_path / "dunlin.yaml").write_text("websocket:\n  port: 8080\n")
    assert run(binary, "config", "check", "--config", tmp_path / "dunlin.yaml").returncode == 0
    done = run(binary, "config", "check", "--config", tmp_path / "dunlin.yaml", env={**os.environ, "DUNLIN_WEBSOCKET_PROT": "1"})
    assert done.returncode == 2 and "DUNLIN_WEBSOCKET_PROT" in done.stderr and "DUNLIN_WEBSOCKET_PORT" in done.stderr


def test_config_print_shows_the_effective_values_and_masks_secrets(binary, tmp_path):
    (tmp_path / "dunlin.yaml").write_text("auth:\n  keys: [{id: main, alg: HS256, secret: very-secret-value-very-secret-value}]\nspring: {redis: {host: r1, password: hush-hush}}\n")
    done = run(binary, "config", "print", "--config", tmp_path / "dunlin.yaml", env={**os.environ, "DUNLIN_WEBSOCKET_PORT": "9999"})
    assert done.returncode == 0 and "9999" in done.stdout and "r1" in done.stdout
    assert "very-secret" not in done.stdout and "hush" not in done.stdout


def test_exit_codes_and_version(binary):
    assert run(binary, "version").returncode == 0
    assert run(binary, "fly").returncode == 2
    assert run(binary, "serve", "--config", "/nonexistent/dunlin.yaml").returncode == 2
    assert run(binary, "--help").returncode == 0


async def test_token_works_and_is_all_that_is_printed(server, binary):
    done = run(binary, "token", "zoe", "--ttl", "5m", "--config", server.folder / "dunlin.yaml")
    assert done.returncode == 0 and re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", done.stdout) and done.stderr == ""
    server.minted.append(done.stdout.strip())
    client = await WsClient.open(server)
    assert (await client.connect(done.stdout.strip(), "d"))["user"] == "zoe"


async def test_server_without_key_makes_one_that_token_finds(server_factory, binary):
    server = server_factory({"auth": {"keys": []}})
    done = run(binary, "token", "zoe", "--config", server.folder / "dunlin.yaml")
    client = await WsClient.open(server)
    assert (await client.connect(done.stdout.strip(), "d"))["user"] == "zoe"


async def test_verify_names_the_damaged_message_and_the_rest_is_served(server_factory, binary):
    server = server_factory({"store": {"log": {"segment-bytes": 1 << 20}}})
    alice = await login(server, "alice", cls=TcpClient)
    await alice.send("carol", "other chat", "c1")
    for i in range(60):
        await alice.send("bob", f"unique-body-{i:04d}-" + "x" * 200, f"x{i}")
    await alice.close()
    assert server.stop() == 0
    damaged = 0
    for file in sorted((server.data / "log").rglob("*")):
        raw = bytearray(file.read_bytes()) if file.is_file() else bytearray()
        at = raw.find(b"unique-body-0030")
        if at >= 0:
            raw[at + 3] ^= 1
            file.write_bytes(raw)
            damaged += 1
    assert damaged == 1
    done = run(binary, "verify", server.data, "--json")
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 1
    assert [(c["from_seq"], c["to_seq"]) for c in report["corrupt"]] == [(31, 31)], report
    server.start()
    alice = await login(server, "alice", cls=TcpClient)
    page = await alice.request("history", {"with": "bob", "after_seq": 0, "limit": 100})
    assert [m["seq"] for m in page["messages"]] == [*range(1, 31), *range(32, 61)]
    assert [(g["from_seq"], g["to_seq"], g["reason"]) for g in page["gaps"]] == [(31, 31, "corrupt")]
    assert (await alice.send("bob", "next", "next"))["seq"] == 61
    assert len((await alice.request("history", {"with": "carol"}))["messages"]) == 1


async def test_a_copy_into_what_is_copied_is_refused(server, binary, tmp_path):
    await (await login(server, "alice")).send("bob", "m", "x1")
    config = server.folder / "dunlin.yaml"
    assert run(binary, "backup", tmp_path / "backup", "--config", config).returncode == 0
    (tmp_path / "link").symlink_to(tmp_path / "backup")
    for inside in (tmp_path / "backup" / "x", tmp_path / "link" / "y", tmp_path / "backup" / "a" / ".." / "z"):
        done = run(binary, "restore", tmp_path / "backup", "--into", inside)
        assert done.returncode == 2 and "inside" in done.stderr, done.stderr
    done = run(binary, "backup", server.data / "copy", "--config", config)
    assert done.returncode == 2 and "inside" in done.stderr, done.stderr
    assert not (server.data / "copy").exists()
    assert run(binary, "restore", tmp_path / "backup", "--into", tmp_path / "backup-2").returncode == 0
    assert run(binary, "verify", tmp_path / "backup").returncode == 0


async def test_folder_of_a_running_server_is_neither_verified_nor_restored_from(server, binary, tmp_path):
    await (await login(server, "alice")).send("bob", "m", "x1")
    for done in (run(binary, "verify", server.data), run(binary, "restore", server.data, "--into", tmp_path / "copy")):
        assert done.returncode == 1 and "in use by process" in done.stderr, done.stderr
    assert not (tmp_path / "copy").exists()
    assert server.stop() == 0
    assert run(binary, "verify", server.data).returncode == 0
    assert run(binary, "restore", server.data, "--into", tmp_path / "copy").returncode == 0


async def test_backup_is_online_and_restores_everything(server, binary, tmp_path):
    alice = await login(server, "alice")
    for i in range(200):
        await alice.send("bob", f"m{i}", f"x{i}")
    done = run(binary, "backup", tmp_path / "backup", "--config", server.folder / "dunlin.yaml")
    assert done.returncode == 0, done.stderr
    await alice.send("bob", "after the backup", "late")
    assert run(binary, "restore", tmp_path / "backup", "--into", tmp_path / "restored").returncode == 0
    report = json.loads(run(binary, "verify", tmp_path / "restored", "--json").stdout.strip().splitlines()[-1])
    assert report["corrupt"] == [] and report["records"] == 200
