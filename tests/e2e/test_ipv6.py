"""IPv6: both transports, both families on one port, and limits that count a /64 network as one address."""

import asyncio
import json
import socket

import websockets

import own_network
from im_client import TcpClient, WsClient


def ipv6_missing():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        return f"this machine has no IPv6: {error}"
    return None


MISSING = ipv6_missing()


def over_ipv6(test):
    """Where there is no IPv6, all that is left of a test is that it says so: a skipped one would count as failed."""
    if not MISSING:
        return test

    def says_why():
        print(f"{test.__name__} was not run: {MISSING}")

    return says_why


LOOPBACK = {"websocket": {"listen": "::1"}, "tcpsocket": {"listen": "::1"}, "admin": {"listen": "[::1]:0"}}
SAME_NETWORK = [f"2001:db8:0:1:{i:x}::{i + 1:x}" for i in range(40)]
OTHER_NETWORK = "2001:db8:0:2::1"


def behind_proxy(**limits):
    """Loopback is exempt: so the tests speak as a proxy that is trusted, over IPv6, for clients that have IPv6 addresses."""
    limits = {"trusted-proxies": ["::1"], "ip": {"connections": 1000, "handshakes-per-s": 1000, **limits}}
    return {**LOOPBACK, "limits": limits, "tcpsocket": {"listen": "::1", "proxy-protocol": True}}


async def open_for(server, client):
    """A WebSocket on behalf of this address, or None when it is refused."""
    try:
        return await WsClient.open(server, extra_headers={"X-Forwarded-For": client})
    except websockets.InvalidStatusCode as refused:
        assert refused.status_code in (429, 503) and int(refused.headers["Retry-After"]) >= 1
        return None


async def login_for(server, client):
    """The first line that a TCP client of this address gets to its login, empty when it is refused; and its connection."""
    reader, writer = await asyncio.open_connection(*server.tcp_address)
    writer.write(f"PROXY TCP6 {client} ::1 999 1\r\n".encode())
    writer.write(json.dumps({"id": 1, "connect": {"token": server.token("alice"), "device": client[-20:]}}).encode() + b"\n")
    try:
        return await reader.readline(), writer
    except ConnectionError:
        return b"", writer


@over_ipv6
async def test_both_transports_carry_messages_over_ipv6(server_factory):
    server = server_factory(LOOPBACK)
    assert server.ws.startswith("[::1]:") and server.tcp.startswith("[::1]:") and server.admin.startswith("[::1]:")
    assert server.get("/readyz")[0] == 200
    alice, bob = await WsClient.open(server), await TcpClient.open(server)
    await alice.connect(server.token("alice"))
    await bob.connect(server.token("bob"))
    await alice.send("bob", "over WebSocket", "a1")
    assert (await bob.push("message"))["body"] == {"text": "over WebSocket"}
    await bob.send("alice", "over TCP", "b1")
    assert (await alice.push("message"))["body"] == {"text": "over TCP"}


@over_ipv6
async def test_unspecified_address_takes_both_families_on_one_port(server_factory):
    server = server_factory({"websocket": {"listen": "::"}, "tcpsocket": {"listen": "::"}})
    ports = {"ws": server.ws.rsplit(":", 1)[1], "tcp": server.tcp.rsplit(":", 1)[1]}
    for user, host in (("four", "127.0.0.1"), ("six", "[::1]")):
        server.ws, server.tcp = f"{host}:{ports['ws']}", f"{host}:{ports['tcp']}"
        for cls in (WsClient, TcpClient):
            client = await cls.open(server)
            assert (await client.connect(server.token(user), cls.__name__))["user"] == user
            await client.close()


@over_ipv6
async def test_connections_are_limited_by_network_on_both_transports(server_factory):
    server = server_factory(behind_proxy(connections=3))
    held = [await open_for(server, client) for client in SAME_NETWORK[:2]]
    assert all(held)
    answer, by_tcp = await login_for(server, SAME_NETWORK[2])
    assert b'"connect"' in answer
    assert await open_for(server, SAME_NETWORK[3]) is None
    assert (await login_for(server, SAME_NETWORK[4]))[0] == b""
    assert await open_for(server, OTHER_NETWORK)
    assert b'"connect"' in (await login_for(server, OTHER_NETWORK))[0]
    assert server.metric('dunlin_limited_total{limit="ip_connections",outcome="rejected"}') == 2
    by_tcp.close()
    deadline = asyncio.get_running_loop().time() + 10
    while not await open_for(server, SAME_NETWORK[5]):
        assert asyncio.get_running_loop().time() < deadline, "the place of one that left was not given back to its network"
        await asyncio.sleep(0.05)


@over_ipv6
async def test_handshakes_are_limited_by_network(server_factory):
    server = server_factory(behind_proxy(**{"handshakes-per-s": 1}))
    opened = [await open_for(server, client) for client in SAME_NETWORK]  # no address twice
    assert opened[0] and opened.count(None) >= 10
    assert await open_for(server, OTHER_NETWORK)


@over_ipv6
async def test_failed_logins_are_limited_by_network(server_factory):
    server = server_factory(behind_proxy(**{"auth-failures-per-minute": 5}))
    async def name_of_failure(address):
        client = await open_for(server, address)
        return (await (await client.raw("connect", {"token": "x", "device": "d"})))["error"]["name"]

    names = [await name_of_failure(address) for address in SAME_NETWORK]  # no address twice
    assert names[:5] == ["unauthorized"] * 5 and "rate_limited" in names
    assert await name_of_failure(OTHER_NETWORK) == "unauthorized"


LOOK = """
import socket, sys, urllib.request
with socket.create_connection(("127.0.0.1", sys.argv[2])) as tcp:
    tcp.sendall(b"GET")
    print(tcp.recv(8))
print(urllib.request.urlopen(f"http://{sys.argv[1]}/readyz", timeout=5).read().decode())
"""


def test_unspecified_address_is_ready_and_serves_ipv4_where_ipv6_is_switched_off(server_factory):
    if why := own_network.missing("without-ipv6"):
        print(f"was not run: {why}")
        return
    server = server_factory({"websocket": {"listen": "::"}, "tcpsocket": {"listen": "::"}}, prefix=own_network.prefix("without-ipv6"))
    said = own_network.run_beside(server, LOOK, server.admin, server.tcp.rsplit(":", 1)[1])
    assert "error" in said and '"ready":true' in said, said
