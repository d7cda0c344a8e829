"""Addresses where something else answers or nobody does, or that another program has to itself; and
keys that no request can carry there.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.service.mistakes.conftest import as_process

OTHERS = {
    "a page": (200, "text/html", b"<!doctype html><h1>It works!</h1>"),
    "OpenAI's own form": (200, "application/json", b'{"data": [{"url": "https://elsewhere"}]}'),
    "a list": (200, "application/json", b"[]"),
    "no text": (200, "application/json", b'{"\xff'),
    "a page for what is missing": (404, "text/html", b"<h1>Not Found</h1>"),
    "another framework": (404, "application/json", b'{"detail": "Not Found"}'),
    "an error that is a text": (400, "application/json", b'{"error": "no"}'),
    "a redirection": (308, "text/html", b""),
}


class _Other(BaseHTTPRequestHandler):
    answer = OTHERS["a page"]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def do_GET(self) -> None:
        status, kind, body = self.answer
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if status == 308:
            self.send_header("location", "https://elsewhere/")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def other_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """An address where a server of another kind answers."""
    kind = type("Handler", (_Other,), {"answer": OTHERS[request.param]})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("other_server", OTHERS, indirect=True)
@pytest.mark.parametrize("command", [("generate", "a cat"), ("loadtest", "--duration", "1")])
def test_a_server_of_another_kind(
    other_server: str, command: tuple[str, ...], refusal: Callable[..., str]
) -> None:
    line = refusal(*command, "--url", other_server)
    assert f"{other_server}: HTTP " in line
    assert "another server's, or a proxy's" in line


@pytest.mark.parametrize("command", [("generate", "a cat"), ("loadtest", "--duration", "1")])
@pytest.mark.parametrize(
    "url", ["", "ftp://pics.example", "http://[::1", "http://127.0.0.1:99999", "127.0.0.1:9"]
)
def test_an_address_where_no_service_is(
    url: str, command: tuple[str, ...], refusal: Callable[..., str]
) -> None:
    line = refusal(*command, "--url", url)
    assert "127.0.0.1:8000" in line or "is it the right address and port" in line


def test_a_server_that_speaks_no_http(refusal: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(b"-ERR unknown command 'POST'\r\n")

        thread = Thread(target=answer)
        thread.start()
        line = refusal("generate", "a cat", "--url", f"127.0.0.1:{port}")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert "is it the right address and port" in line


@pytest.mark.parametrize("key", ["schlüssel-0123", "two\nlines", "secret "])
@pytest.mark.parametrize("command", [("generate", "a"), ("loadtest",)])
def test_a_key_that_no_header_can_carry(
    key: str, command: tuple[str, ...], refusal: Callable[..., str]
) -> None:
    line = refusal(*command, "--url", "127.0.0.1:9", "--api-key", key)
    assert "API key" in line
    assert "secret" not in line


@pytest.mark.parametrize("command", ["serve", "api", "worker"])
@pytest.mark.parametrize("style", ["text", "json"])
def test_an_address_that_another_program_has(tmp_path: Path, command: str, style: str) -> None:
    environment = {"MINDALLE_LOG_FORMAT": style, "MINDALLE_DATA_DIR": str(tmp_path)}
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = as_process(command, "--port", port, **environment)
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2
    assert line.startswith(f"mindalle {command}: MINDALLE_")
    assert f"can't listen on 127.0.0.1:{port}" in line
    assert "Traceback" not in done.stderr
