"""A real browser (Chromium, headless) on pages that a test serves from a loopback port; scripts tell the test what they saw by `tell(value)`."""

import asyncio
import http.server
import json
import os
import queue
import subprocess
import threading

PROGRAM = "chromium"
QUIET = [
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing leaves the machine
]
# One after the other, so that the test hears them in order.
TELL = """
let told = Promise.resolve();
const tell = value => told = told.then(() => fetch("/tell", {method: "POST", body: JSON.stringify(value)}));
"""


class Browser:
    """Use: `browser.page("/", script)`, `browser.open("/")`, `await browser.told()`. What a page stores it finds again on the next one."""

    def __init__(self, folder):
        self.folder = folder
        self.pages = {}
        self.values = queue.Queue()
        self.process = None
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _handler(self):
        browser = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                script = browser.pages.get(self.path)
                self.send_response(200 if script else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                if script:
                    self.wfile.write(f"<!doctype html><title>t</title><script>{TELL}{script}</script>".encode())

            def do_POST(self):
                browser.values.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        return Handler

    def page(self, path, script):
        self.pages[path] = script

    def open(self, path):
        command = [PROGRAM, *QUIET, f"--user-data-dir={self.folder / 'profile'}", self.origin + path]
        with open(self.folder / "browser.log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, "HOME": str(self.folder)})

    async def told(self, seconds=40):
        try:
            return await asyncio.to_thread(self.values.get, timeout=seconds)
        except queue.Empty:
            raise AssertionError("the page told nothing:\n" + (self.folder / "browser.log").read_text()[-3000:]) from None

    def close(self):
        if self.process:
            self.process.terminate()
            self.process.wait(20)
        self.server.shutdown()
        self.server.server_close()
