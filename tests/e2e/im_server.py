"""One server process: configuration, start, ready line, tokens, stop, and what its log must never hold."""

import json
import os
import pathlib
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import jwt

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from under_test import CLEAN_ENVIRONMENT, ENGINE, SANITIZER  # noqa: E402

READY = re.compile(r"^ready ws=(\S+) tcp=(\S+) admin=(\S+) data=(.*) pid=(\d+)$")
START_DEADLINE_S = 20
STOP_DEADLINE_S = 20


# The suites that run on both stores: ./x test tsan judges the memory store strictly and the embedded one but for what RocksDB does itself.
STORES = {"embedded": {}, "memory": {"engine": "memory", "durability": "memory", "unsafe-memory-acks": True}}

# The sanitizers slow start and stop down, and the machine may be busy.
if SANITIZER:
    START_DEADLINE_S = STOP_DEADLINE_S = 90


def merged(base, overrides):
    result = dict(base)
    for key, value in overrides.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


class Server:
    """`overrides` is merged into a configuration with free ports, a key of its own and the memory-free defaults.
    `prefix`: a command that ends by exec of what follows it, put before the server's."""

    def __init__(self, binary, folder, overrides, data=None, prefix=(), stderr=None):
        self.binary = binary
        self.stderr = stderr
        self.prefix = list(prefix)
        self.folder = pathlib.Path(folder)
        self.data = pathlib.Path(data) if data else self.folder / "data"
        self.secret = secrets.token_hex(32)
        (self.folder / "key.secret").write_text(self.secret)
        self.minted = []
        self.config = merged(
            {
                "websocket": {"listen": "127.0.0.1", "port": 0},
                "tcpsocket": {"listen": "127.0.0.1", "port": 0},
                "admin": {"listen": "127.0.0.1:0"},
                "auth": {"keys": [{"id": "test", "alg": "HS256", "secret-file": str(self.folder / "key.secret")}]},
                "store": {"path": str(self.data), **STORES[ENGINE]},
                "performance": {"worker-threads": 2},
                "shutdown": {"ready-delay-ms": 0, "reconnect-delay-ms": 50},
            },
            overrides,
        )
        self.process = None
        self.log_file = self.folder / "server.log"
        self.stdout = []
        self.ws = self.tcp = self.admin = None
        self.clean = True  # a graceful stop is expected at the end

    # -- life

    def start(self, wait_ready=True):
        config_file = self._write_config()
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, str(self.binary), "serve", "--config", str(config_file)],
                stdout=subprocess.PIPE,
                stderr=log if self.stderr is None else self.stderr,
                stdin=subprocess.DEVNULL,
                env=CLEAN_ENVIRONMENT,
                text=True,
                errors="replace",
            )
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read_stdout, args=(self.process,), daemon=True)
        self._reader.start()
        if wait_ready:
            deadline = time.monotonic() + START_DEADLINE_S
            while not self._ready.wait(0.02):
                if self.process.poll() is not None:
                    self._join()
                    raise AssertionError(f"the server ended with {self.process.returncode} before it was ready:\n{self.log}")
                assert time.monotonic() < deadline, f"not ready in {START_DEADLINE_S} s:\n{self.log}"
        return self

    def _write_config(self):
        """JSON is YAML, but for what YAML wants escaped."""
        text = json.dumps(self.config, indent=1, ensure_ascii=False)
        file = self.folder / "dunlin.yaml"
        file.write_text(re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda c: f"\\u{ord(c.group()):04x}", text))
        return file

    def _read_stdout(self, process):
        for line in process.stdout:
            self.stdout.append(line.rstrip("\n"))
            match = READY.match(line.rstrip("\n"))
            if match:
                self.ws, self.tcp, self.admin = match.group(1), match.group(2), match.group(3)
                self._ready.set()

    def _join(self):
        self._reader.join(5)

    def stop(self):
        """SIGTERM and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(STOP_DEADLINE_S)

    def kill(self):
        self.process.kill()
        self.wait(STOP_DEADLINE_S)

    def wait(self, timeout):
        code = self.process.wait(timeout)
        self._join()
        return code

    def reload(self):
        self._write_config()
        self.process.send_signal(signal.SIGHUP)

    def restart(self):
        self.stop()
        return self.start()

    def finish(self):
        """Stops what still runs; returns what was wrong."""
        problems = []
        if self.process.poll() is None:
            try:
                code = self.stop()
                if code != 0 and self.clean:
                    problems.append(f"SIGTERM ended with exit code {code}:\n{self.log[-4000:]}")
            except subprocess.TimeoutExpired:
                self.process.kill()
                problems.append(f"did not stop in {STOP_DEADLINE_S} s:\n{self.log[-4000:]}")
        everything = self.log + "\n".join(self.stdout)
        for secret in [self.secret, *self.minted]:
            if secret in everything:
                problems.append("a token or secret is in the log")
        for sign in ("AddressSanitizer", "runtime error:", "ThreadSanitizer", "bug: CHECK"):
            if sign in everything:
                problems.append(f"{sign} in the log:\n{everything[-6000:]}")
        return problems

    # -- access

    @property
    def log(self):
        """All that the server has logged by now, of all its starts. It writes behind what it does: so, as long as it lives, once the file has
        not grown for 50 ms."""
        text = None
        for _ in range(40):
            before, text = text, self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
            if text == before or self.process is None or self.process.poll() is not None:
                break
            time.sleep(0.05)
        return text

    def forget_log(self):
        os.truncate(self.log_file, 0)

    @property
    def ws_url(self):
        return f"ws://{self.ws}{self.config['websocket'].get('path', '/im')}"

    @property
    def tcp_address(self):
        host, port = self.tcp.rsplit(":", 1)
        return host.strip("[]"), int(port)

    def token(self, user, ttl=3600, **claims):
        now = int(time.time())
        payload = {"sub": user, "iat": now, "exp": now + ttl, **claims}
        token = jwt.encode(payload, self.secret, algorithm="HS256", headers={"kid": "test"})
        self.minted.append(token)
        return token

    def get(self, path, timeout=5):
        """(status, text) of the admin listener."""
        try:
            with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=timeout) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name, default=0.0):
        """Sum of all series of `name` whose label text contains nothing else to match; `name` may carry labels."""
        total, found = 0.0, False
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith(name) and line[len(name) : len(name) + 1] in (" ", "{"):
                total += float(line.rsplit(" ", 1)[1])
                found = True
        return total if found else default
