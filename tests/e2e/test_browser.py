"""A real browser as the client: its own WebSocket, its numbers, its Origin."""

import json
import re

import pytest

from browser import Browser
from im_client import WsClient
from under_test import ROOT

# A client in the few lines that docs/protocol/ asks of one: requests by id, pushes by kind, the sync_token kept for the next time.
CLIENT = """
const open = (url, token) => new Promise((ready, failed) => {
  const ws = new WebSocket(url, "dunlin.v1.json"), waiting = new Map(), pushes = [];
  let last = 0, wake = () => {};
  ws.onmessage = event => {
    for (const line of event.data.split("\\n")) {
      const packet = JSON.parse(line);
      if ("id" in packet) waiting.get(packet.id)(packet); else { pushes.push(packet); wake(); }
    }
  };
  const client = {
    ws,
    request: body => new Promise(done => { waiting.set(++last, done); ws.send(JSON.stringify({id: last, ...body})); }),
    push: async kind => {
      for (;;) {
        const at = pushes.findIndex(packet => kind in packet);
        if (at >= 0) return pushes.splice(at, 1)[0][kind];
        await new Promise(done => { wake = done; });
      }
    },
  };
  ws.onopen = async () => ready([client, (await client.request({connect: {token, device: "browser", ...JSON.parse(localStorage.kept || "{}")}})).connect]);
  ws.onclose = event => failed(`closed with ${event.code}`);
});
"""


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path)
    yield browser
    browser.close()


async def login(server, user):
    client = await WsClient.open(server)
    await client.connect(server.token(user))
    return client


async def test_readme_tour_in_a_browser(server, browser):
    """The block of README as it stands, but for the address and the token; what it prints is what the page tells."""
    (code,) = re.findall(r"^```js\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert "ws://localhost:8080/im" in code and '"TOKEN"' in code
    alice = await login(server, "alice")
    browser.page("/", "console.log = tell;" + code.replace("ws://localhost:8080/im", server.ws_url).replace("TOKEN", server.token("dave")))
    browser.open("/")
    printed = []
    while len(printed) < 2:
        printed += [json.loads(line) for line in (await browser.told()).split("\n")]
    assert [list(packet)[1] for packet in printed] == ["connect", "send"], printed
    assert printed[1]["send"]["seq"] == 1
    assert (await alice.push("message"))["body"] == {"text": "hi from the browser"}


async def test_browser_that_leaves_and_comes_back_resumes_where_it_was(server_factory, browser):
    server = server_factory({"websocket": {"allowed-origins": [browser.origin]}})
    bob = await login(server, "bob")
    url, token = json.dumps(server.ws_url), json.dumps(server.token("ann"))
    first = f"""
      (async () => {{
        const [client, connected] = await open({url}, {token});
        const text = "grüße \\u{{1f986}}";
        const sent = await client.request({{send: {{to: "bob", client_msg_id: "b1", body: {{text, big: 9007199254740991}}}}}});
        tell([connected.resume, sent.send.seq]);
        const message = await client.push("message");
        const acked = await client.request({{ack: {{positions: [{{conversation: message.conversation, seq: message.seq}}]}}}});
        localStorage.kept = JSON.stringify({{sync_token: acked.ack.sync_token}});
        await tell(message.body);
        location = "/second";
      }})().catch(tell);"""
    second = f"""
      (async () => {{
        const [client, connected] = await open({url}, {token});
        tell([connected.resume, connected.changed.length]);
        const messages = [await client.push("message"), await client.push("message")];
        await tell(messages.map(m => [m.seq, m.body.text]));
        client.ws.onclose = event => tell(["closed", event.code, event.wasClean]);
        client.ws.close(1000);
      }})().catch(tell);"""
    browser.page("/", CLIENT + first)
    browser.open("/")
    told = await browser.told()
    assert told[1] == 1, told
    got = await bob.push("message")
    assert got["body"] == {"text": "grüße \U0001f986", "big": 9007199254740991}

    browser.page("/second", CLIENT + second)
    await bob.send("ann", "seen", "x1")
    assert await browser.told() == {"text": "seen"}
    assert (await bob.push("receipt", 20))["conversation"] == got["conversation"]
    # Sent while the page changes or after it has; either way both come, once, in order.
    await bob.send("ann", "missed", "x2")
    await bob.send("ann", "missed too", "x3")
    told = await browser.told()
    assert told[0] == "complete", told
    assert await browser.told() == [[3, "missed"], [4, "missed too"]]
    assert await browser.told() == ["closed", 1000, True]


async def test_page_of_a_foreign_origin_is_refused(server_factory, browser):
    server = server_factory({"websocket": {"allowed-origins": ["https://chat.example"]}})
    script = f"""
      const ws = new WebSocket({json.dumps(server.ws_url)}, "dunlin.v1.json");
      ws.onopen = () => tell("open");
      ws.onclose = event => tell(event.code);"""
    browser.page("/", script)
    browser.open("/")
    assert await browser.told() == 1006
