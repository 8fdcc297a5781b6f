"""Retention by bytes: the data folder is bounded under load, and what was dropped is named."""

import asyncio
import os
import time

import pytest

from im_client import TcpClient


@pytest.mark.deadline(120)
async def test_retention_by_bytes_bounds_the_data_folder(server_factory):
    """Volumes of 1 MiB, 4 MiB kept: after 24 MiB of messages the folder is a fraction of that, and says where it begins."""
    server = server_factory({
        "store": {"log": {"segment-bytes": 1 << 20}, "volume": {"max-bytes": 1 << 20}},
        "message": {"history": {"retention-bytes": 4 << 20}},
        "limits": {"user": {"mode": "off"}},
    })
    alice = await TcpClient.open(server)
    await alice.connect(server.token("alice"), "d1")
    count, deadline = 0, time.monotonic() + 100
    while True:
        body = os.urandom(10000).hex()  # does not compress well
        replies = await asyncio.gather(*[
            await alice.raw("send", {"to": "bob", "client_msg_id": f"m{count + i}", "body": body}) for i in range(100)
        ])
        assert all("send" in reply for reply in replies)
        count += 100
        if count < 1200:
            continue
        kept = sum(file.stat().st_size for file in (server.data / "history").rglob("*") if file.is_file())
        page = await alice.request("history", {"with": "bob", "after_seq": 0, "limit": 1})
        if kept < 12 << 20 and page.get("gaps") and page["gaps"][0]["from_seq"] == 1:
            break
        assert time.monotonic() < deadline, f"{kept} bytes of history after {count} messages"
        await asyncio.sleep(0.5)
    assert page["gaps"][0]["reason"] == "truncated" and page["messages"][0]["seq"] == page["gaps"][0]["to_seq"] + 1
