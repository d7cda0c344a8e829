"""No traceback for a user's mistake, in any command: one line on what to do, exit status 2."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file, save_file

from models.presets import WEIGHTS_FOLDER
from service import cli
from tests.models.golden import GOLDEN
from tests.servers import RedisServer

PROMPTS = Path(__file__).parents[1] / "data/prompts.json"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINDALLE_MODEL", "tiny")
    monkeypatch.setenv("MINDALLE_REDIS__URL", "redis://127.0.0.1:9/0")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command says, which must be one line, with exit status 2."""

    def called(*arguments: str) -> str:
        capsys.readouterr()
        assert cli.main(arguments) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith(f"mindalle {arguments[0]}: ")
        return str(line)

    return called


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


@pytest.mark.parametrize("key", ["schlüssel-0123", "two\nlines"])
def test_a_key_that_no_header_can_carry(key: str, refusal: Callable[..., str]) -> None:
    assert "API key" in refusal("generate", "a", "--url", "127.0.0.1:9", "--api-key", key)


@pytest.mark.parametrize("there", [(), ("--url", "127.0.0.1:9")])
def test_a_prompt_that_is_no_text(there: tuple[str, ...], refusal: Callable[..., str]) -> None:
    broken = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert "prompt: holds bytes that are not UTF-8" in refusal("generate", broken, *there)


def test_a_path_need_not_be_unicode(tmp_path: Path) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    assert cli.main(["generate", "a", "--num-candidates", "1", "-o", name]) == 0
    assert (tmp_path / name).exists()


RECORDS = {
    "no record": None,
    "no JSON": "{",
    "a list": "[]",
    "wrong kinds": json.dumps({"model": 5, "seed": "x", "prompt": "a"}),
    "a model that nobody knows": json.dumps({"model": "nope", "prompt": "a", "seed": 1}),
}


@pytest.mark.parametrize("text", RECORDS.values(), ids=RECORDS.keys())
def test_a_picture_that_can_not_be_made_again(
    text: str | None, refusal: Callable[..., str]
) -> None:
    info = PngInfo()
    if text is not None:
        info.add_text("mindalle", text)
    Pillow.fromarray(np.zeros((4, 4, 3), np.uint8)).save("some.png", pnginfo=info)
    refusal("replay", "some.png")


def test_a_picture_that_is_none(tmp_path: Path, refusal: Callable[..., str]) -> None:
    (tmp_path / "page.png").write_text("<!doctype html>")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "huge.png").write_bytes(_huge_png())
    for name in ("page.png", "folder.png", "huge.png", "none.png"):
        assert name in refusal("replay", name)


def _huge_png() -> bytes:
    """A picture that says it has ten thousand million pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    length, check = struct.pack(">I", len(header)), struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + length + chunk + check


PROMPT_FILES = {
    "UTF-16": ("p.txt", "a cat".encode("utf-16")),
    "no JSON": ("p.json", b"{"),
    "another JSON": ("p.json", b'{"a": 1}'),
    "nothing": ("p.txt", b"\n\n"),
}


@pytest.mark.parametrize(("name", "data"), PROMPT_FILES.values(), ids=PROMPT_FILES.keys())
def test_a_file_of_prompts_that_is_none(
    tmp_path: Path, name: str, data: bytes, refusal: Callable[..., str]
) -> None:
    (tmp_path / name).write_bytes(data)
    assert name in refusal("eval", "--prompts", name)


def test_a_file_of_prompts_or_a_model_that_is_not_there(refusal: Callable[..., str]) -> None:
    assert "none.json" in refusal("eval", "--prompts", "none.json")
    assert "unknown preset" in refusal("eval", "nope", "--prompts", str(PROMPTS))


def _with_nan(folder: Path, name: str, tensor: str) -> Path:
    path = folder / name
    content = torch.load(path, weights_only=True)
    content["state_dict"][tensor].fill_(float("nan"))
    torch.save(content, path)
    return folder


@pytest.mark.parametrize(
    ("name", "tensor", "what"),
    [
        ("stage1_last.ckpt", "decoder.conv_out.bias", "pixels of stage 1"),
        ("stage2_last.ckpt", "head_img.weight", "states of stage 2"),
    ],
)
def test_weights_that_are_no_numbers(
    tmp_path: Path, name: str, tensor: str, what: str, refusal: Callable[..., str]
) -> None:
    folder = Path(shutil.copytree(GOLDEN / "mindalle_text", tmp_path / "model"))
    _with_nan(folder, name, tensor)
    line = refusal("generate", "a", "--num-candidates", "1", "--checkpoint", str(folder))
    assert f"the {what} are not finite numbers: the weights are damaged" in line


def test_a_worker_with_such_weights_does_not_start(
    tmp_path: Path, valkey_server: RedisServer
) -> None:
    folder = Path(shutil.copytree(GOLDEN / "mindalle_text", tmp_path / "model"))
    _with_nan(folder, "stage2_last.ckpt", "head_img.weight")
    done = _process(
        "worker", "--checkpoint", str(folder), "--redis", valkey_server.url, "--port", "0"
    )
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("mindalle worker: the states of stage 2 are not finite numbers")
    assert "Traceback" not in done.stderr


def test_weights_that_do_not_fit_their_config(tmp_path: Path, refusal: Callable[..., str]) -> None:
    folder = Path(shutil.copytree(GOLDEN / "mindalle_text", tmp_path / "model"))
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("mlp_bias: true", "mlp_bias: false"))
    line = refusal("generate", "a", "--checkpoint", str(folder))
    assert "does not fit its config (0 missing, " in line
    assert "unexpected blocks.0.mlp.0.bias" in line
    assert len(line) < 1000


def test_a_ranker_whose_weights_are_no_numbers(tmp_path: Path, refusal: Callable[..., str]) -> None:
    folder = Path(shutil.copytree(WEIGHTS_FOLDER / "emoji", tmp_path / "emoji"))
    path = folder / "clip/clip.safetensors"
    save_file({name: tensor * float("nan") for name, tensor in load_file(path).items()}, path)
    line = refusal("generate", "a", "--num-candidates", "1", "--checkpoint", str(folder))
    assert "the ranker's scores are not finite numbers" in line


CALLS = {
    "a device that is not there": (
        ("bench", "--device", "cuda:99"),
        "there is no device 'cuda:99'",
    ),
    "a device that is none": (("bench", "--device", "foo"), "there is no device 'foo'"),
    "no thread": (("bench", "--threads", "0"), "at least 1"),
    "no row": (("bench", "--batch", "0"), "at least 1"),
    "no layer": (("bench", "--layers", "0"), "at least 1"),
    "fewer positions than none": (("bench", "--text", "-1"), "at least 1"),
    "one position": (("bench", "--image", "1"), "at least 2"),
    "heads that don't divide": (("bench", "--heads", "7"), "7 must divide --width 512"),
    "no letters": (("dlq", "list", "--limit", "-1"), "at least 1"),
    "no verb": (("dlq",), "see mindalle dlq --help"),
    "a verb that is none": (("dlq", "read"), "choose from"),
    "a number that is none": (("generate", "a", "--top-k", "many"), "neither a number nor a list"),
    "a picture of no format": (("encode", "a.png", "-o", "again.gif"), "must end in .png, .jpg"),
    "two prompts": (("generate", "a", "b"), "unrecognized arguments: b"),
    "a file for a folder": (("convert", str(PROMPTS)), "prompts.json"),
    "a folder for a file": (("verify", ".", "--expected", "."), "expected.npz"),
    "a home of nobody": (("convert", "~nobody-at-all/x"), "there is no such home folder"),
}


@pytest.mark.parametrize(("call", "named"), CALLS.values(), ids=CALLS.keys())
def test_a_wrong_call(call: tuple[str, ...], named: str, refusal: Callable[..., str]) -> None:
    assert named in refusal(*call)


SETTINGS = {
    "no address": ("MINDALLE_REDIS__URL", "redis://[::1", "MINDALLE_REDIS__URL: "),
    "an option that is none": ("MINDALLE_REDIS__URL", "redis://h?foo=1", "MINDALLE_REDIS__URL: "),
    "a device": ("MINDALLE_WORKER__DEVICE", "gpu", "MINDALLE_WORKER__DEVICE"),
    "a folder": ("MINDALLE_WORKER__CHECKPOINT", "~nobody-at-all/x", "MINDALLE_WORKER__CHECKPOINT"),
}


@pytest.mark.parametrize(("name", "value", "named"), SETTINGS.values(), ids=SETTINGS.keys())
def test_a_wrong_setting(
    name: str,
    value: str,
    named: str,
    refusal: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, value)
    assert named in refusal(*(("generate", "a") if "WORKER" in name else ("dlq", "list")))


def test_certificates_that_are_none(
    tmp_path: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINDALLE_REDIS__URL", "rediss://127.0.0.1:9/0")
    monkeypatch.setenv("MINDALLE_REDIS__CA_FILE", str(tmp_path / "none.pem"))
    assert "MINDALLE_REDIS__CA_FILE" in refusal("dlq", "list")
    (tmp_path / "none.pem").write_text("nothing")
    assert "holds no certificate" in refusal("dlq", "list")


def _process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own: those that serve take over standard error."""
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env=os.environ | {"MINDALLE_LOG_LEVEL": "error", "MINDALLE_AUTH": "off"} | environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


@pytest.mark.parametrize("command", ["serve", "api", "worker"])
@pytest.mark.parametrize("style", ["text", "json"])
def test_an_address_that_another_program_has(tmp_path: Path, command: str, style: str) -> None:
    environment = {"MINDALLE_LOG_FORMAT": style, "MINDALLE_DATA_DIR": str(tmp_path)}
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = _process(command, "--port", port, **environment)
    line = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2
    assert line.startswith(f"mindalle {command}: MINDALLE_")
    assert f"can't listen on 127.0.0.1:{port}" in line
    assert "Traceback" not in done.stderr
