"""Real reverse proxies before an API: nginx and Caddy with the configurations of deploy/proxies.

Names and ports in those are replaced by ones that a test can have; the rest runs as it is shipped.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import free_port

SHIPPED = Path(__file__).parents[2] / "deploy/proxies"
_START_S = 20.0
# Else its workers are nobody's, who may not write into a test's folder.
_USER = "user root;" if os.geteuid() == 0 else ""
_NGINX = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


def program(name: str) -> str:
    """Where it is; Debian puts some where only root's PATH leads."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert path, f"{name} is needed for this test: sh deploy/install-test-programs"
    return path


@contextmanager
def _running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """The program, from when it listens until the block ends."""
    environment = os.environ | {"HOME": str(folder)}
    log = folder / "proxy.log"
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        give_up = time.monotonic() + _START_S
        while not _listens(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def nginx(folder: Path, backend: int, site: str | None = None, listen: str = "") -> Iterator[int]:
    """nginx before the backend's port; gives its own. `site` is the shipped one unless given.

    `listen` is what a listen directive needs besides the address, and further directives.
    """
    folder.mkdir()
    port = free_port()
    text = (SHIPPED / "nginx.conf").read_text() if site is None else site
    assert "listen 80;" in text
    text = text.replace("listen 80;", f"listen 127.0.0.1:{port}{listen};")
    (folder / "site.conf").write_text(text.replace("127.0.0.1:8000", f"127.0.0.1:{backend}"))
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, user=_USER))
    with _running([program("nginx"), "-c", str(folder / "nginx.conf")], port, folder):
        yield port


@contextmanager
def caddy(folder: Path, backend: int) -> Iterator[int]:
    """Caddy with the shipped configuration before the backend's port; gives its own."""
    folder.mkdir()
    port = free_port()
    text = (SHIPPED / "Caddyfile").read_text()
    text = text.replace("pics.example {", f"http://127.0.0.1:{port} {{")
    text = "{\n\tadmin off\n}\n" + text.replace("127.0.0.1:8000", f"127.0.0.1:{backend}")
    config = folder / "Caddyfile"
    config.write_text(text)
    command = [program("caddy"), "run", "--config", str(config), "--adapter", "caddyfile"]
    with _running(command, port, folder):
        yield port
