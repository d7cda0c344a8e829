from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from service.errors import StartRefused
from service.local import ports
from tests.servers import free_port


def test_a_free_port_is_ours_and_a_taken_one_names_the_setting() -> None:
    port = free_port()
    assert ports.claim("MINDALLE_API__", "127.0.0.1", port) == port
    refused = pytest.raises(StartRefused, match=rf"^MINDALLE_API__PORT: can't listen on .*:{port}")
    with socket.create_server(("127.0.0.1", port)), refused:
        ports.claim("MINDALLE_API__", "127.0.0.1", port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_port_of_0_is_any_free_one(host: str) -> None:
    assert ports.probe(host, 0) > 0


@pytest.mark.parametrize("host", ["nowhere.invalid", "[::1]", "127.0.0..1", "192.0.2.1"])
def test_a_host_that_is_none_of_this_machine_names_its_setting(host: str) -> None:
    with pytest.raises(StartRefused) as refused:
        ports.claim("MINDALLE_API__", host, 0)
    assert str(refused.value).startswith(f"MINDALLE_API__HOST: can't listen on {host}:0: ")


def test_a_second_api_on_one_port_says_so_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "service", "api", "--port", port],
            env=os.environ | {"MINDALLE_LOG_LEVEL": "error"},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"mindalle api: MINDALLE_API__PORT: can't listen on 127.0.0.1:{port}: ")
