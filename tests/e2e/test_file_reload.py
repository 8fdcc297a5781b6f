"""Certificate and key files that change are taken up by themselves, without a signal and without dropping anybody."""

import asyncio
import os
import secrets
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

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


MAKERS = {
    "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}


def replace_pem(file, key):
    new = file.with_name(file.name + ".new")
    new.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    os.replace(new, file)


@pytest.mark.parametrize("by_signal", [True, False])
async def test_replaced_pem_file_swaps_that_key_and_no_other(server_factory, tmp_path, by_signal):
    keys, files = {alg: make() for alg, make in MAKERS.items()}, {alg: tmp_path / f"{alg}.pem" for alg in MAKERS}
    for alg, file in files.items():
        replace_pem(file, keys[alg])
    server = server_factory({"auth": {"keys": [{"id": alg, "alg": alg, "public-key-file": str(file)} for alg, file in files.items()]}})

    async def let_in(alg, key, device):
        token = jwt.encode({"sub": "alice", "exp": int(time.time()) + 600}, key, alg, headers={"kid": alg})
        client = await WsClient.open(server)
        try:
            await client.connect(token, device)
            return client
        except Refused as refused:
            assert refused.name == "unauthorized"
            return None

    connected = await let_in("RS256", keys["RS256"], "stays")
    for round_, alg in enumerate(MAKERS, 1):
        old, keys[alg] = keys[alg], MAKERS[alg]()
        replace_pem(files[alg], keys[alg])
        if by_signal:
            server.reload()
            await until(lambda: server.log.count("configuration reloaded") == round_, "the signal was not obeyed")
        else:
            await until(lambda: server.metric("dunlin_config_reloads_total") == round_, "the new key was never taken up")
        assert await let_in(alg, old, "old") is None, f"{alg}: the old key still opens"
        for other, key in keys.items():
            assert await let_in(other, key, other), f"{other} is refused after a change of {alg}"
        assert await connected.ping() is not None
