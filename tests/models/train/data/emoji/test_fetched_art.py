"""Fetching the art goes wrong in words, and is tried again by the next call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.train import __main__ as commands
from models.train.data.emoji import art
from models.train.data.emoji.concepts import Concept


@pytest.mark.parametrize(
    "script", [None, "#!/bin/sh\nexit 7\n"], ids=["npm is not there", "npm fails"]
)
def test_art_that_can_not_be_fetched_is_one_line(
    script: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    if script:
        (programs / "npm").write_text(script)
        (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    assert commands.main(["bpe", "--art", str(tmp_path / "art"), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("bpe: npm can't fetch the emoji art into")


def test_a_kill_while_pictures_are_kept_leaves_no_half_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in art.ART_SETS:
        assets = tmp_path / package.package / "assets"
        assets.mkdir(parents=True)
        Image.new("RGBA", (8, 8), "red").save(assets / "thing.webp")
    things, kept = (Concept("thing", "1F600", "things", (), ()),), tmp_path / "art-4.npz"

    def half(path: Path, **_: object) -> None:
        path.write_bytes(b"PK half")
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(np, "savez_compressed", half)
        with pytest.raises(KeyboardInterrupt):
            art._rasterise_all(tmp_path, things, art.ART_SETS, 4, kept)
    assert not kept.exists()
    art._rasterise_all(tmp_path, things, art.ART_SETS, 4, kept)
    with np.load(kept) as file:
        assert file["rgba"].shape == (len(art.ART_SETS), 4, 4, 4)
