"""The images built for real, and the service run from them: `pytest -m images -s tests/deploy`.

Takes minutes, gigabytes for the worker's torch, and root on Debian with buildah and debootstrap.
`IMAGES_BUILD_OPTIONS` goes to `buildah build`, such as `--build-arg TORCH_INDEX=…`; what is built
already is built no second time.
"""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image as Pillow

from tests.deploy.containers import Container, Image, Pod, mounted, output
from tests.servers import binary

pytestmark = [pytest.mark.images, pytest.mark.timeout(3600)]
ROOT = Path(__file__).parents[2]
_SETTINGS = {
    "MINDALLE_REDIS__URL": "redis://127.0.0.1:6379/0",
    "MINDALLE_AUTH": "off",
    "MINDALLE_WORKER__DEVICE": "cpu",
    "MINDALLE_WORKER__THREADS": "1",
}
_READY = """
import time, urllib.request
for _ in range(600):
    try:
        urllib.request.urlopen("http://127.0.0.1:8000/readyz", timeout=5)
        break
    except OSError:
        time.sleep(0.5)
else:
    raise SystemExit("never ready")
"""
_DRAW = """
import json, sys, urllib.request
body = json.dumps({"prompt": "red heart", "num_candidates": 4, "n": 1, "seed": 1}).encode()
headers = {"content-type": "application/json", "accept": "image/png"}
url = "http://127.0.0.1:8000/v1/images/generations"
answer = urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=280)
sys.stdout.buffer.write(answer.read())
"""


@pytest.fixture(scope="module")
def images() -> Iterator[dict[str, Image]]:
    options = shlex.split(os.environ.get("IMAGES_BUILD_OPTIONS", ""))
    build = [str(ROOT / "deploy/build-images"), "api", "worker", *options]
    subprocess.run(build, check=True, timeout=3000)
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(mounted(f"localhost/mindalle-{name}"))
            for name in ("api", "worker")
        }


@pytest.fixture
def pod() -> Iterator[Pod]:
    made = Pod()
    yield made
    made.close()


@pytest.fixture
def containers(
    images: dict[str, Image], pod: Pod, tmp_path: Path
) -> Iterator[dict[str, Container]]:
    """An API and a worker with the shipped model, on a Valkey of this machine."""
    valkey = pod.inside(binary("valkey"), "--save", "", "--dir", str(tmp_path))
    with subprocess.Popen(valkey, stdout=subprocess.DEVNULL) as redis:
        started = {
            name: Container(image, pod, _SETTINGS, tmp_path / f"{name}.log")
            for name, image in images.items()
        }
        yield started
        for container in started.values():
            container.kill()
        redis.terminate()


def test_a_picture_is_drawn_by_what_the_images_hold(
    containers: dict[str, Container], images: dict[str, Image], capsys: pytest.CaptureFixture[str]
) -> None:
    api = containers["api"]
    ready = api.run("python", "-c", _READY)
    logs = [container.log.read_text()[-2000:] for container in containers.values()]
    assert ready.returncode == 0, (ready.stderr, *logs)
    drawn = api.run("python", "-c", _DRAW)
    assert drawn.returncode == 0, (drawn.stderr, *logs)
    with Pillow.open(io.BytesIO(drawn.stdout)) as picture:
        assert picture.size == (64, 64)
        assert len(picture.getcolors(64 * 64) or ()) > 16
    for name, container in containers.items():
        assert container.run(*images[name].health_check).returncode == 0, name
        _check_is_bound(container)
        assert container.stop() == 0, container.log.read_text()[-2000:]
    sizes = output("buildah", "images", "--format", "{{.Name}} {{.Size}}")
    with capsys.disabled():
        sys.stdout.write("".join(f"\n{x}" for x in sizes.splitlines() if "/mindalle-" in x) + "\n")


def _check_is_bound(container: Container) -> None:
    """It is nobody in particular, may do nothing, and can write to nothing but /tmp."""
    status = container.status
    assert status["Uid"].split() == status["Gid"].split() == ["10001"] * 4
    assert (status["NoNewPrivs"], int(status["CapEff"], 16), int(status["CapBnd"], 16)) == (
        "1",
        0,
        0,
    )
    for path, is_writable in (("/", False), ("/opt/mindalle", False), ("/tmp", True)):
        tried = container.run("touch", f"{path}/here")
        assert (tried.returncode == 0) == is_writable, path
        assert is_writable or b"Read-only file system" in tried.stderr


def test_the_api_image_has_no_torch(
    containers: dict[str, Container],
) -> None:
    for name, has_torch in (("api", False), ("worker", True)):
        tried = containers[name].run("python", "-c", "import torch")
        assert (tried.returncode == 0) == has_torch, tried.stderr
