from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from service.errors import StartRefused
from service.worker.signs.metrics_server import MetricsServer


class Health:
    """What the probes ask."""

    def __init__(self) -> None:
        self.is_live = self.is_ready = True


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def server(health: Health) -> Iterator[MetricsServer]:
    registry = CollectorRegistry()
    Gauge("answer", "The answer.", registry=registry).set(42)
    server = MetricsServer(
        "127.0.0.1", 0, registry, is_live=lambda: health.is_live, is_ready=lambda: health.is_ready
    )
    server.start()
    yield server
    server.shutdown()
    server.server_close()


def get(server: MetricsServer, path: str) -> httpx.Response:
    port = server.server_address[1]
    return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)


def test_it_serves_the_registry(server: MetricsServer) -> None:
    answer = get(server, "/metrics")
    assert "answer 42.0" in answer.text
    assert answer.headers["content-type"].startswith("text/plain")


def test_probes_follow_the_health(server: MetricsServer, health: Health) -> None:
    assert [get(server, path).status_code for path in ("/livez", "/readyz")] == [200, 200]
    health.is_ready = False
    assert [get(server, path).status_code for path in ("/livez", "/readyz")] == [200, 503]
    health.is_live = False
    assert get(server, "/livez").status_code == 503


def test_other_addresses_are_not_found(server: MetricsServer) -> None:
    assert get(server, "/secrets").status_code == 404


def test_a_taken_port_stops_the_start(server: MetricsServer) -> None:
    port = int(server.server_address[1])
    with pytest.raises(StartRefused, match="METRICS_PORT"):
        MetricsServer("127.0.0.1", port, CollectorRegistry(), lambda: True, lambda: True)


@pytest.mark.parametrize("host", ["nowhere.invalid", "[::1]", "127.0.0..1", "192.0.2.1"])
def test_a_host_that_is_none_of_this_machine_names_its_setting(host: str) -> None:
    with pytest.raises(StartRefused, match="METRICS_HOST: can't listen on "):
        MetricsServer(host, 0, CollectorRegistry(), lambda: True, lambda: True)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize(("host", "caller"), [("::1", "[::1]"), ("::", "127.0.0.1")])
def test_it_listens_where_the_api_can(host: str, caller: str) -> None:
    server = MetricsServer(host, 0, CollectorRegistry(), lambda: True, lambda: True)
    server.start()
    url = f"http://{caller}:{server.server_address[1]}/livez"
    assert httpx.get(url, trust_env=False).status_code == 200
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["/livez", "/readyz/", "/metrics", "/nothing"])
def test_head_says_what_get_says_but_for_the_body(server: MetricsServer, path: str) -> None:
    got = get(server, path)
    headed = httpx.head(str(got.url), trust_env=False)
    assert headed.status_code == got.status_code
    assert headed.headers["content-length"] == got.headers["content-length"]
    assert headed.content == b""
