"""The shortest way through everything: log in, send, ack, deliver, reconnect. When this fails, look here first."""

import pytest

from im_client import TcpClient, WsClient


@pytest.mark.parametrize("transport", [WsClient, TcpClient])
async def test_two_users_chat_and_reconnect(server, transport):
    alice, bob = await transport.open(server), await transport.open(server)
    hello = await alice.connect(server.token("alice"))
    assert hello["user"] == "alice" and hello["heartbeat_interval_ms"] == 30000 and len(hello["epoch"]) == 16
    await bob.connect(server.token("bob"), "phone")
    sent = await alice.send("bob", "hi", "x1")
    assert sent["seq"] == 1 and not sent["duplicate"]
    got = await bob.push("message")
    assert (got["from"], got["seq"], got["client_msg_id"], got["body"]) == ("alice", 1, "x1", {"text": "hi"})
    assert got["conversation"] == sent["conversation"]
    await bob.ack(got["conversation"], got["seq"])
    assert (await bob.ping())["time_ms"] > 0
    await bob.close()

    assert (await alice.send("bob", "while away", "x2"))["seq"] == 2
    bob = await transport.open(server)
    assert (await bob.connect(server.token("bob"), "phone"))["resume"] == "complete"
    assert (await bob.push("message"))["seq"] == 2
    await alice.close()
    await bob.close()
