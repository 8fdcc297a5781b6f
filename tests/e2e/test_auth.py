"""Who gets in, for how long, and what a refused or ended session is told."""

import asyncio
import base64
import hashlib
import hmac
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from im_client import Refused, TcpClient, WsClient


def segment(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hs256(header, claims, secret):
    signed = f"{segment(header)}.{segment(claims)}"
    return f"{signed}.{segment(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def pairs():
    return {
        "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }


@pytest.fixture
def two_of_each(server_factory, pairs, tmp_path):
    """A server with two keys of each algorithm, and (id, algorithm, what signs) of all eight."""
    signers = [("HS256-1", "HS256", "first-secret-first-secret-first-secret"), ("HS256-2", "HS256", "second-secret-second-secret-second")]
    keys = [{"id": name, "alg": alg, "secret": secret} for name, alg, secret in signers]
    others = {
        "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }
    for number, private in enumerate((pairs, others), 1):
        for alg, key in private.items():
            name = f"{alg}-{number}"
            (tmp_path / f"{name}.pem").write_bytes(pem(key))
            keys.append({"id": name, "alg": alg, "public-key-file": str(tmp_path / f"{name}.pem")})
            signers.append((name, alg, key))
    return server_factory({"auth": {"keys": keys}}), signers


@pytest.fixture
def keyed(server_factory, pairs, tmp_path):
    """A server with two HMAC keys and one key of each other algorithm."""
    keys = [{"id": "main", "alg": "HS256", "secret": "first secret, with: odd # characters \"'\\ äß"}, {"id": "next", "alg": "HS256", "secret": "second-secret-second-secret-second"}]
    for alg, key in pairs.items():
        file = tmp_path / f"{alg}.pem"
        file.write_bytes(pem(key))
        keys.append({"id": alg.lower(), "alg": alg, "public-key-file": str(file)})
    return server_factory({"auth": {"keys": keys}})


def claims(**more):
    return {"sub": "alice", "exp": int(time.time()) + 600, **more}


async def outcome(server, token, device="d1"):
    """The user the token logs in, or the name of the error and the close code."""
    client = await WsClient.open(server)
    try:
        return (await client.connect(token, device))["user"]
    except Refused as refused:
        if refused.name in ("bad_request", "too_large"):
            return refused.name, None  # not even a token: the connection may try again
        await asyncio.wait_for(client.closed.wait(), 10)
        return refused.name, client.close_code
    finally:
        client.cut()


async def test_every_algorithm_and_several_keys_are_accepted(keyed, pairs):
    secret = keyed.config["auth"]["keys"][0]["secret"]
    for token in (
        jwt.encode(claims(), secret, "HS256"),
        jwt.encode(claims(), secret, "HS256", headers={"kid": "main"}),
        jwt.encode(claims(), "second-secret-second-secret-second", "HS256", headers={"kid": "next"}),
        jwt.encode(claims(), "second-secret-second-secret-second", "HS256"),
        *(jwt.encode(claims(), key, alg, headers={"kid": alg.lower()}) for alg, key in pairs.items()),
        *(jwt.encode(claims(), key, alg) for alg, key in pairs.items()),
    ):
        assert await outcome(keyed, token) == "alice"


async def test_two_keys_of_each_algorithm_are_active_at_once(two_of_each):
    server, signers = two_of_each
    assert len(signers) == 8
    for name, alg, key in signers:
        assert await outcome(server, jwt.encode(claims(), key, alg, headers={"kid": name})) == "alice", name
        assert await outcome(server, jwt.encode(claims(), key, alg)) == "alice", f"{name}, not named"
        twin = name[:-1] + ("2" if name.endswith("1") else "1")
        assert await outcome(server, jwt.encode(claims(), key, alg, headers={"kid": twin})) == ("unauthorized", 4500), f"{name} as {twin}"


async def test_tricks_are_refused_and_never_anonymous(keyed, pairs):
    secret = keyed.config["auth"]["keys"][0]["secret"].encode()
    public = pem(pairs["RS256"])
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = {"kty": "oct", "k": segment(b"attacker")}
    tricks = {
        "none": f'{segment({"alg": "none", "typ": "JWT"})}.{segment(claims())}.',
        "None, signed": hs256({"alg": "None"}, claims(), secret),
        "HMAC with the RSA public key": hs256({"alg": "HS256"}, claims(), public),
        "HMAC with the RSA public key, kid": hs256({"alg": "HS256", "kid": "rs256"}, claims(), public),
        "RS256 header over an HMAC signature": hs256({"alg": "RS256", "kid": "main"}, claims(), secret),
        "jwk in the header": hs256({"alg": "HS256", "jwk": jwk}, claims(), b"attacker"),
        "jku": jwt.encode(claims(), other, "RS256", headers={"jku": "http://127.0.0.1:1/keys"}),
        "x5u": jwt.encode(claims(), other, "RS256", headers={"x5u": "http://127.0.0.1:1/cert"}),
        "kid as a path": hs256({"alg": "HS256", "kid": "../../../../dev/null"}, claims(), b""),
        "kid unknown": hs256({"alg": "HS256", "kid": "nosuch"}, claims(), secret),
        "empty secret": hs256({"alg": "HS256"}, claims(), b""),
        "crit": hs256({"alg": "HS256", "crit": ["exp"]}, claims(), secret),
        "signature cut": hs256({"alg": "HS256"}, claims(), secret)[:-1],
        "signature gone": hs256({"alg": "HS256"}, claims(), secret).rsplit(".", 1)[0] + ".",
        "claims changed": (lambda t: ".".join([t[0], segment(claims(sub="root")), t[2]]))(hs256({"alg": "HS256"}, claims(), secret).split(".")),
        "no sub": hs256({"alg": "HS256"}, {"exp": int(time.time()) + 60}, secret),
        "sub not a string": hs256({"alg": "HS256"}, claims(sub=7), secret),
        "sub empty": hs256({"alg": "HS256"}, claims(sub=""), secret),
        "sub too long": hs256({"alg": "HS256"}, claims(sub="x" * 65), secret),
        "sub with a line break": hs256({"alg": "HS256"}, claims(sub="a\nb"), secret),
        "exp as text": hs256({"alg": "HS256"}, claims(exp="9999999999"), secret),
        "nbf in the future": hs256({"alg": "HS256"}, claims(nbf=int(time.time()) + 3600), secret),
        "four parts": hs256({"alg": "HS256"}, claims(), secret) + ".x",
        "text": "not a token",
        "empty": "",
        "huge": "a" * 20000,
        "nested": segment(b"[" * 5000) + "." + segment(claims()) + ".",
    }
    for name, token in tricks.items():
        result = await outcome(keyed, token)
        assert isinstance(result, tuple) and result[0] in ("unauthorized", "bad_request", "too_large"), (name, result)
        assert result[0] != "unauthorized" or result[1] == 4500, (name, result)
    assert await outcome(keyed, hs256({"alg": "HS256"}, claims(), secret)) == "alice"


async def test_keys_that_a_token_points_to_are_neither_fetched_nor_believed(keyed, pairs):
    secret = keyed.config["auth"]["keys"][0]["secret"].encode()
    visits = []

    def visit(_reader, writer):
        visits.append(writer.get_extra_info("peername"))
        writer.close()

    lure = await asyncio.start_server(visit, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{lure.sockets[0].getsockname()[1]}/keys"
    pointers = [{"jku": url}, {"x5u": url}, {"x5c": [base64.b64encode(b"certificate").decode()]}, {"jku": url, "x5u": url, "x5t": "AA", "kid": "main"}]
    for more in pointers:
        assert await outcome(keyed, hs256({"alg": "HS256", **more}, claims(), secret)) == "alice", more
        assert await outcome(keyed, hs256({"alg": "HS256", **more}, claims(), b"a stranger's secret")) == ("unauthorized", 4500), more
    await asyncio.sleep(0.5)
    assert visits == []
    lure.close()


async def test_what_a_token_holds_beside_what_is_needed_breaks_nothing(keyed, pairs):
    secret = keyed.config["auth"]["keys"][0]["secret"].encode()

    def raw(more):
        text = json.dumps(claims())[:-1] + "," + more + "}"
        signed = f'{segment({"alg": "HS256"})}.{segment(text.encode())}'
        return f"{signed}.{segment(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"

    for more in ('"uid":18446744073709551616', '"n":1.5e400', '"name":"\\ud83d"', '"deep":' + "[" * 17 + "]" * 17, '"x":1,"x":2', '"iss":7,"aud":{}'):
        assert await outcome(keyed, raw(more)) == "alice", more
    for more in ('"sub":"mallory"', '"\\u0073ub":"mallory"', '"exp":1', '"nbf":1.5e400', '"x":[1 2]', '"x":'):
        assert await outcome(keyed, raw(more)) == ("unauthorized", 4500), more
    signed = f'{segment({"alg": "Ed25519"})}.{segment(claims())}'
    assert await outcome(keyed, f'{signed}.{segment(pairs["EdDSA"].sign(signed.encode()))}') == "alice"


async def test_expired_token_has_a_code_of_its_own(server):
    assert await outcome(server, server.token("alice", ttl=-3600)) == ("token_expired", 4400)


@pytest.mark.parametrize("cls", [WsClient, TcpClient])
async def test_session_ends_with_token_expired_unless_refreshed_in_band(server_factory, cls):
    server = server_factory({"auth": {"leeway-seconds": 0}})
    kept, ended = await cls.open(server), await cls.open(server)
    await kept.connect(server.token("alice", ttl=2), "kept")
    await ended.connect(server.token("alice", ttl=2), "ended")
    with pytest.raises(Refused) as refused:
        await kept.request("refresh", {"token": server.token("bob")})
    assert refused.value.name in ("forbidden", "unauthorized")
    await kept.request("refresh", {"token": server.token("alice", ttl=600)})
    await asyncio.wait_for(ended.closed.wait(), 15)
    assert ended.kick == {"code": 4400, "name": "token_expired", "reconnect": "after_refresh"}
    if cls is WsClient:
        assert ended.close_code == 4400
    await asyncio.sleep(0.5)
    await kept.ping()


async def test_same_device_replaces_its_own_session_and_nobody_elses(server):
    phone = await WsClient.open(server)
    await phone.connect(server.token("alice"), "phone")
    laptop = await WsClient.open(server)
    await laptop.connect(server.token("alice"), "laptop")
    other = await WsClient.open(server)
    await other.connect(server.token("bob"), "phone")
    again = await WsClient.open(server)
    await again.connect(server.token("alice"), "phone")
    await asyncio.wait_for(phone.closed.wait(), 10)
    assert phone.kick["name"] == "replaced" and phone.kick["reconnect"] == "never" and phone.close_code == 4501
    for client in (laptop, other, again):
        await client.ping()


@pytest.mark.deadline(120)
async def test_reconnecting_device_never_kicks_itself_and_loses_nothing(server):
    sender = await WsClient.open(server)
    await sender.connect(server.token("alice"), "d")
    seen, old = set(), []
    for i in range(100):
        bob = await WsClient.open(server)
        await bob.connect(server.token("bob"), "phone")
        await sender.send("bob", f"m{i}", f"x{i}")
        message = await bob.push("message")
        while message["seq"] != i + 1:
            message = await bob.push("message")
        seen.add(message["seq"])
        await bob.ack(message["conversation"], message["seq"])
        old.append(bob)  # left half open
    assert seen == set(range(1, 101))
    await old[-1].ping()
    for client in old:
        client.cut()


async def test_pipelined_packets_behind_connect_are_answered_in_order(server):
    client = await TcpClient.open(server)
    connect = await client.raw("connect", {"token": server.token("alice"), "device": "d"})
    send = await client.raw("send", {"to": "bob", "client_msg_id": "x", "body": 1})
    assert "connect" in await connect and (await send)["send"]["seq"] == 1


async def test_sighup_swaps_keys_without_dropping_connections(server_factory):
    server = server_factory()
    client = await WsClient.open(server)
    await client.connect(server.token("alice"), "d")
    old_token = server.token("bob")
    server.config["auth"]["keys"] = [{"id": "new", "alg": "HS256", "secret": "another-secret-another-secret-another"}]
    server.reload()
    fresh = jwt.encode(claims(sub="carol"), "another-secret-another-secret-another", "HS256")
    deadline = time.monotonic() + 10
    while await outcome(server, fresh) != "carol":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert await outcome(server, old_token) == ("unauthorized", 4500)
    await client.ping()
