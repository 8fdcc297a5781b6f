"""A client over newline-delimited JSON on TCP, for asyncio: what `nc` could do by hand, with replies matched to requests."""
import asyncio
import json


class Refused(Exception):
    """An error reply."""

    def __init__(self, error):
        super().__init__(f"{error['name']}: {error['message']}")
        self.name = error["name"]
        self.error = error


class LineClient:
    def __init__(self, on_push=None):
        self.on_push = on_push or (lambda packet: None)
        self.waiting = {}
        self.next_id = 0
        self.closed = asyncio.Event()
        self.connected = None

    async def open(self, address):
        self.reader, self.writer = await asyncio.open_connection(*address, limit=1 << 20)
        self.task = asyncio.create_task(self._read())
        return self

    async def login(self, address, token, device="d1", **fields):
        await self.open(address)
        self.connected = await self.call("connect", token=token, device=device, **fields)
        return self

    async def _read(self):
        try:
            while line := await self.reader.readline():
                packet = json.loads(line)
                future = self.waiting.pop(packet.get("id"), None) if "id" in packet else None
                if future is None:
                    self.on_push(packet)
                elif not future.done():
                    if "error" in packet:
                        future.set_exception(Refused(packet["error"]))
                    else:
                        future.set_result(next(v for k, v in packet.items() if k != "id"))
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            self.closed.set()
            for future in self.waiting.values():
                if not future.done():
                    future.set_exception(ConnectionError("connection closed"))
                    future.exception()  # whoever awaits it still sees it; nobody else has to
            self.waiting.clear()

    def write(self, packet):
        self.writer.write(json.dumps(packet).encode() + b"\n")

    def request(self, command, **fields):
        """Sends a request; the returned future has its result."""
        self.next_id += 1
        future = asyncio.get_running_loop().create_future()
        if self.closed.is_set():
            future.set_exception(ConnectionError("connection closed"))
            return future
        self.waiting[self.next_id] = future
        self.write({"id": self.next_id, command: fields})
        return future

    async def call(self, command, timeout=30, **fields):
        return await asyncio.wait_for(self.request(command, **fields), timeout)

    def ack(self, conversation, seq):
        self.write({"ack": {"positions": [{"conversation": conversation, "seq": seq}]}})

    async def close(self):
        self.writer.close()
        await self.closed.wait()
        self.task.cancel()

    async def history(self, conversation, after_seq=0):
        """Every message of the conversation after a seq."""
        messages = []
        while True:
            page = await self.call("history", conversation=conversation, after_seq=after_seq, limit=500)
            messages += page["messages"]
            if not page.get("more"):
                return messages
            after_seq = page["messages"][-1]["seq"]
