"""Certificate and key files that change are taken up by themselves, without a signal and without dropping anybody."""

import asyncio
import os
import secrets
import time

import pytest

from im_client import Refused, TcpClient, WsClient
from test_operation import make_certificate, served_name

WITHIN_S = 15


async def until(condition, what):
    deadline = time.monotonic() + WITHIN_S
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.1)


def turn_link(link, target):
    """As certificate tools do: one atomic rename."""
    new = link.with_name(link.name + ".new")
    new.symlink_to(target)
    os.replace(new, link)


def archive(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    make_certificate(folder, name)
    return folder


async def test_certificate_links_turned_one_after_the_other_are_taken_up_as_a_pair(server_factory, tmp_path):
    first, second = archive(tmp_path, "first"), archive(tmp_path, "second")
    live = tmp_path / "live"
    live.mkdir()
    for name in ("tls.crt", "tls.key"):
        (live / name).symlink_to(first / name)
    server = server_factory({"tls": {"certificate-file": str(live / "tls.crt"), "key-file": str(live / "tls.key")}})
    host, port = server.ws.rsplit(":", 1)
    connected = await WsClient.open_tls(server)
    await connected.connect(server.token("alice"))

    turn_link(live / "tls.crt", second / "tls.crt")  # half of it: key and certificate do not belong together
    await until(lambda: "changed files cannot be used" in server.log, "the broken pair was never tried")
    await asyncio.sleep(2.5)
    assert server.log.count("changed files cannot be used") == 1, "said at every look"
    assert served_name(host, int(port)) == "first"

    turn_link(live / "tls.key", second / "tls.key")
    await until(lambda: served_name(host, int(port)) == "second", "the new pair was never taken up")
    assert await connected.ping() is not None
    assert server.metric("dunlin_config_reloads_total") == 1 and server.metric("dunlin_config_reload_failures_total") == 1


async def test_certificate_written_in_place_is_taken_up(server_factory, tmp_path):
    make_certificate(tmp_path, "first")
    server = server_factory({"tls": {"certificate-file": str(tmp_path / "tls.crt"), "key-file": str(tmp_path / "tls.key")}})
    host, port = server.tcp_address
    assert served_name(host, port) == "first"
    make_certificate(tmp_path, "second")
    await until(lambda: served_name(host, port) == "second", "the new certificate was never taken up")


async def test_changed_secret_file_swaps_the_key_and_a_bad_one_keeps_it(server):
    connected = await TcpClient.open(server)
    await connected.connect(server.token("alice"))
    old = server.token("bob")
    key_file = server.folder / "key.secret"

    key_file.write_text("")
    await until(lambda: server.metric("dunlin_config_reload_failures_total") == 1, "the bad file was never tried")
    assert await (await WsClient.open(server)).connect(old, "d1") is not None

    server.secret = secrets.token_hex(32)
    key_file.write_text(server.secret)
    await until(lambda: server.metric("dunlin_config_reloads_total") == 1, "the new secret was never taken up")
    assert await (await WsClient.open(server)).connect(server.token("bob"), "d2") is not None
    with pytest.raises(Refused) as refused:
        await (await WsClient.open(server)).connect(old, "d3")
    assert refused.value.name == "unauthorized"
    assert await connected.ping() is not None
