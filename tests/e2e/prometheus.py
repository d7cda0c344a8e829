"""A real Prometheus as a child process, with the project's configuration and rules."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.servers import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"


class Prometheus:
    """Scrapes `targets` (job → port on this machine) every half second."""

    def __init__(self, folder: Path, targets: Mapping[str, int]) -> None:
        program = shutil.which("prometheus")
        assert program, "Prometheus is needed for these tests: apt-get install prometheus"
        port = free_port()
        self._folder = folder
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(_configuration(targets)))
        self._command = [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self.until(self._is_ready)

    def _is_ready(self) -> bool:
        try:
            return self._http.get("/-/ready").is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """End it."""
        self._http.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=20)

    def until(self, is_so: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until something is so."""
        give_up = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < give_up, (self._folder / "log").read_text()[-2000:]
            time.sleep(0.2)

    def query(self, expression: str) -> list[Any]:
        """The result of an expression, now; fails when it does not parse."""
        answer = self._http.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        result: list[Any] = answer["data"]["result"]
        return result

    def health(self) -> dict[str, str]:
        """Job → up, down or unknown."""
        targets = self._http.get("/api/v1/targets").json()["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in targets}

    def rules(self) -> dict[str, dict[str, Any]]:
        """Every rule by name, as evaluated: health, lastError, and alerts' state."""
        groups = self._http.get("/api/v1/rules").json()["data"]["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}


def _configuration(targets: Mapping[str, int]) -> dict[str, Any]:
    """deploy/prometheus.yml with addresses of this machine, looked at more often."""
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    loaded["global"] = {"scrape_interval": "500ms", "evaluation_interval": "1s"}
    loaded["rule_files"] = [str(DEPLOY / name) for name in loaded["rule_files"]]
    for scraped in loaded["scrape_configs"]:
        del scraped["dns_sd_configs"]
        port = targets[scraped["job_name"]]
        scraped["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    return loaded
