"""Paths as people write them, and users who have no home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import certifi
import pytest
from pydantic import BaseModel

from models.presets.register import WEIGHTS_FOLDER
from service import cli
from service.broker.redis_connection import connect, disconnect
from service.config.paths import expanded
from service.errors import StartRefused
from service.settings import Settings, load, show
from tests.service.embedded import embedded

ROOT = Path(__file__).parents[2]
ODD = "a \"b\" 'c' \\d %s $HOME {x} né 鍵 #e,f;g&h"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MINDALLE_MODEL", "tiny")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    folder = tmp_path / ODD
    folder.mkdir()
    return folder


def path_settings(group: type[BaseModel] = Settings, prefix: str = "MINDALLE_") -> Iterator[str]:
    """Every variable that holds a path, whichever there are."""
    for name, field in group.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from path_settings(kind, f"{prefix}{name.upper()}__")
        elif "Path" in repr(kind) or kind is Path:
            yield f"{prefix}{name.upper()}"


PATHS = sorted(path_settings())


def test_the_settings_with_paths_are_found() -> None:
    assert {"MINDALLE_DATA_DIR", "MINDALLE_WORKER__CHECKPOINT", "MINDALLE_REDIS__CA_FILE",
            "MINDALLE_API_KEYS_FILE"} <= set(PATHS)  # fmt: skip


@pytest.mark.parametrize("name", PATHS)
def test_every_path_setting_expands_alike(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_text("a-key-of-its-own\n")
    monkeypatch.setenv(name, "~/x")
    assert show(load())[name] == str(tmp_path / "x")
    monkeypatch.setenv(name, "~nobody-at-all/x")
    with pytest.raises(StartRefused, match=f"^{name}: .*no such home folder"):
        load()


def test_a_path_of_bytes_that_are_no_utf_8_is_told_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PATHS:
        with monkeypatch.context() as environment:
            environment.setenv(name, os.fsdecode(b"~nobody-\xff/x"))
            with pytest.raises(StartRefused, match=rf"^{name}: ~nobody-\\udcff/x: .*no such home"):
                load()
    monkeypatch.setenv("MINDALLE_API_KEYS_FILE", os.fsdecode(bytes(tmp_path) + b"/\xff"))
    refusal = r"^MINDALLE_API_KEYS_FILE: .*/\\udcff can't be read: No such file"
    with pytest.raises(StartRefused, match=refusal):
        load()


def test_a_name_may_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~weights").mkdir()
    assert expanded(Path("~weights")) == Path("~weights")


def test_flags_expand_as_settings_do(tmp_path: Path) -> None:
    assert cli.main(["generate", "a", "--num-candidates", "1", "-o", "~/made.png"]) == 0
    assert (tmp_path / "made.png").is_file()
    assert cli.main(["replay", "~/made.png"]) == 0
    assert (tmp_path / "made-replay.png").is_file()


def test_odd_names_hold_weights_keys_and_pictures(
    odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Path(shutil.copytree(WEIGHTS_FOLDER / "emoji", odd / "weights"))
    keys = odd / "keys.txt"
    keys.write_text("bob:a-key-of-its-own\n")
    monkeypatch.setenv("MINDALLE_API_KEYS_FILE", str(keys))
    monkeypatch.setenv("MINDALLE_WORKER__CHECKPOINT", str(checkpoint))
    assert [key.name for key in load().keys()] == ["bob"]  # noqa: SIM118 - no mapping
    picture = odd / "made.png"
    assert cli.main(["generate", "a", "--num-candidates", "1", "-o", str(picture)]) == 0
    assert picture.is_file()


async def test_odd_names_hold_certificates(odd: Path) -> None:
    ca_file = odd / "ca.pem"
    shutil.copyfile(certifi.where(), ca_file)
    redis = connect(Settings.model_validate(
        {"redis": {"url": "rediss://127.0.0.1:9", "ca_file": ca_file}}
    ).redis)  # fmt: skip
    assert redis.connection_pool.connection_kwargs["ssl_ca_certs"] == str(ca_file)
    await disconnect(redis)


async def test_odd_names_hold_the_data_of_valkey(odd: Path) -> None:
    for name in ("plain", 'q"\\', b"caf\xe9\n".decode("utf-8", "surrogateescape")):
        folder = odd / name
        async with embedded(folder) as redis:
            await redis.set("kept", 1)
        assert any((folder / "valkey/appendonlydir").iterdir())


HOMELESS = """
import os, pwd, sys
def nobody(*_):
    raise KeyError("no such user")
pwd.getpwuid = pwd.getpwnam = nobody  # as for a number that a container was given
os.environ.pop("HOME", None)
from service.cli import main
sys.exit(main(sys.argv[1:]))
"""


def homeless(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command called by a user without a name and a home."""
    return subprocess.run(
        [sys.executable, "-c", HOMELESS, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_user_without_a_home_needs_none(tmp_path: Path) -> None:
    made = homeless(tmp_path, "generate", "a", "--num-candidates", "1", "-o", "made.png")
    assert (made.returncode, made.stderr) == (0, "")
    shown = homeless(tmp_path, "config", "show", MINDALLE_DATA_DIR=str(tmp_path / "data"))
    assert f"MINDALLE_DATA_DIR={tmp_path / 'data'}\n" in shown.stdout
    shown = homeless(tmp_path, "config", "show")
    assert "MINDALLE_DATA_DIR=~/.local/share/mindalle\n" in shown.stdout


def test_a_user_without_a_home_is_told_what_to_set(tmp_path: Path) -> None:
    refused = homeless(tmp_path, "serve", "--port", "0", MINDALLE_LOG_LEVEL="error")
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("mindalle serve: MINDALLE_DATA_DIR: ")


def test_a_folder_that_was_removed(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"import os; os.rmdir({str(gone)!r})\n{HOMELESS}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, "generate", "a"],  # as a script: not from this folder
        cwd=gone,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(
        "mindalle generate: the folder that this is called in was removed"
    )
