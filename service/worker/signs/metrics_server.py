"""The worker's own small HTTP server: /metrics for Prometheus, /livez and /readyz for probes.

Runs on a thread, so that it answers while the event loop is busy. Knows nothing of the API.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from service.config.listening import family, refusal
from service.errors import StartRefused

Check = Callable[[], bool]

_log = logging.getLogger(__name__)


class MetricsServer(ThreadingHTTPServer):
    """Serves one registry and two answers. Close it at the end."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, is_live: Check, is_ready: Check
    ) -> None:
        """Listen. StartRefused when the port is taken, or the host is none."""
        try:
            self.address_family = family(host or None)
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise StartRefused(refusal("MINDALLE_WORKER__METRICS_", host, port, error)) from None
        self.registry = registry
        self.is_live = is_live
        self.is_ready = is_ready

    def handle_error(self, request: object, client_address: object) -> None:
        """Log it; that a client left before its answer, only for those who look for it."""
        is_client_gone = isinstance(sys.exc_info()[1], OSError)
        level = logging.DEBUG if is_client_gone else logging.ERROR
        _log.log(level, "an answer could not be given", exc_info=True)

    def start(self) -> None:
        """Answer from now on."""
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    timeout = 10  # a client that says nothing keeps no thread

    def do_GET(self) -> None:
        """Answer one of the three addresses."""
        match self.path.partition("?")[0].rstrip("/"):
            case "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.server.registry))
            case "/livez":
                self._probe(self.server.is_live())
            case "/readyz":
                self._probe(self.server.is_ready())
            case _:
                self._answer(404, "text/plain", b"not found\n")

    def do_HEAD(self) -> None:
        """The same without its body."""
        self.do_GET()

    def _probe(self, is_well: bool) -> None:
        self._answer(200 if is_well else 503, "text/plain", b"ok\n" if is_well else b"no\n")

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are not worth a log line."""
