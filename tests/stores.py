"""Stores of results for tests: a folder, and a bucket of a real S3 server (moto's) over real HTTP.

The server can be made slow or refuse: its callers go through a relay that the test steers. Knows
nothing of what is stored.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from service.config.results import ResultsSettings
from tests.servers import free_port

KINDS = ("redis", "file", "s3")
BUCKET = "results"
# moto asks for some; it does not look at them.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}

_START_S = 60.0


class S3Server:
    """moto's server as a process of its own, with one bucket."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "s3.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it has its bucket."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        give_up = time.monotonic() + _START_S
        while not self._has_bucket():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < give_up, "the S3 server does not answer"
            time.sleep(0.05)

    def _has_bucket(self) -> bool:
        try:
            return httpx.put(f"{self.url}/{BUCKET}", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)

    def names(self, prefix: str) -> list[str]:
        """What the bucket holds below a prefix, by the server's own listing."""
        answer = httpx.get(f"{self.url}/{BUCKET}?list-type=2&prefix={prefix}", trust_env=False)
        parts = answer.raise_for_status().text.split("<Key>")[1:]
        return sorted(part.partition("</Key>")[0].removeprefix(f"{prefix}/") for part in parts)


def new_prefix() -> str:
    """For one test's files in the bucket that all share."""
    return f"test-{uuid.uuid4().hex}"


def s3_settings(endpoint: str, prefix: str | None = None, **changes: object) -> ResultsSettings:
    """A prefix of its own in the bucket."""
    place = {"url": f"s3://{BUCKET}/{prefix or new_prefix()}", "endpoint": endpoint}
    return ResultsSettings.model_validate(place | changes)


def file_settings(folder: Path, **changes: object) -> ResultsSettings:
    """A folder, which need not exist."""
    return ResultsSettings.model_validate({"url": f"file://{folder}"} | changes)


class Relay:
    """Between callers and the S3 server, with faults to inject; use it in a `with`.

    `delay_s`: each answer waits so long. `refusals`: so many requests to come get a 503.
    `cut`: the next body breaks off in the middle. `num_requests` have come so far, of which
    `num_running` have no answer yet.
    """

    def __init__(self, server: S3Server) -> None:
        self.delay_s = 0.0
        self.refusals = 0
        self.cut = False
        self.num_requests = self.num_running = 0
        self._counting = threading.Lock()
        self._target = server.port
        self._listener = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._listener.daemon_threads = True
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._listener.server_address[1]}"

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        relay = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the caller gave up
                    self.close_connection = True

            def relay(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                relay.count(1)
                try:
                    status, headers, answer = relay.answer(self, body)
                finally:
                    relay.count(-1)
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                half, relay.cut = (len(answer) // 2 if relay.cut else None), False
                self.wfile.write(answer[:half])

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = relay

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def count(self, change: int) -> None:
        """A request has come, or has its answer."""
        with self._counting:
            self.num_requests += max(change, 0)
            self.num_running += change

    def answer(
        self, asked: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """The server's answer to a request, or a 503."""
        time.sleep(self.delay_s)
        if self.refusals > 0:
            self.refusals -= 1
            return 503, [("content-length", "8")], b"SlowDown"
        connection = http.client.HTTPConnection("127.0.0.1", self._target, timeout=20)
        try:
            connection.request(asked.command, asked.path, body, dict(asked.headers))
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        kept = [
            (name, value)
            for name, value in answer.getheaders()
            if name.lower() not in ("connection", "transfer-encoding", "content-length")
        ]
        length = answer.getheader("content-length") if asked.command == "HEAD" else len(data)
        return answer.status, [*kept, ("content-length", str(length))], data
