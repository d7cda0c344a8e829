"""What `ship` does to the folder that it is to write."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from models.errors import ConfigError, MissingFileError
from models.files.checkpoint import load_stage2, open_checkpoint
from models.files.new_folder import FolderInUseError
from models.files.shards import verify
from models.presets.register import WEIGHTS_FOLDER
from models.tokenizer import ADDED_FILE
from models.train import shapes, ship
from models.train.loop.checkpoints import Checkpoints

EMOJI = WEIGHTS_FOLDER / "emoji"


def options(folder: Path, runs: Path) -> list[str]:
    return [str(folder), "--init", str(EMOJI), "--runs", str(runs), "--shown", "1"]


def test_a_shipped_folder_is_replaced_and_what_people_wrote_stays(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    ship.main(options(folder, tmp_path))
    for name in ("README.md", "NOTICE", "LICENSE"):
        (folder / name).write_text(f"our {name}")
    ship.main([*options(folder, tmp_path), "--temperature", "0.5"])
    assert (folder / "LICENSE").read_text() == "our LICENSE"
    assert "temperature: 0.5" in (folder / "config.yaml").read_text()
    assert verify(folder)


def test_what_was_not_shipped_there_is_not_deleted(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(pictures, folder)
    with pytest.raises(FolderInUseError, match=r"00\.txt was not shipped there"):
        ship.main(options(folder, tmp_path))
    assert len(list(folder.iterdir())) == 48
    with pytest.raises(FolderInUseError, match=r"00\.png was not shipped there"):
        ship.main(options(folder / "00.png", tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_nor_is_what_is_hidden_there(tmp_path: Path) -> None:
    history = tmp_path / "clone" / ".git" / "config"
    history.parent.mkdir(parents=True)
    history.touch()
    with pytest.raises(FolderInUseError, match=r"config was not shipped there"):
        ship.main(options(tmp_path / "clone", tmp_path))
    assert history.exists()


def test_the_folder_in_which_one_stands_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FolderInUseError, match="you stand in it"):
        ship.main(options(Path(), tmp_path))
    assert tmp_path.is_dir()


def test_a_model_that_could_not_read_its_words_is_not_shipped(tmp_path: Path) -> None:
    folder, words = tmp_path / "model", tmp_path / "words"
    words.mkdir()
    with pytest.raises(MissingFileError, match=r"holds no \*vocab\.json"):
        ship.main([*options(folder, tmp_path), "--tokenizer", str(words)])
    shutil.copytree(EMOJI / "tokenizer", words, dirs_exist_ok=True)
    added = words / ADDED_FILE
    known = json.loads(added.read_text("utf-8"))
    added.write_text(json.dumps(known | {"newer": 1 + max(known.values())}))
    with pytest.raises(ConfigError, match="the tokenizer makes ids up to"):
        ship.main([*options(folder, tmp_path), "--tokenizer", str(words)])
    assert not folder.exists()


def test_nor_one_whose_ranker_could_not(tmp_path: Path) -> None:
    """Which `words` teaches a longer tokenizer, as it does stage 2."""
    ranker = tmp_path / "ranker"
    shutil.copytree(EMOJI / "clip", ranker / "clip")
    told = ranker / "clip" / "open_clip_config.json"
    described = json.loads(told.read_text())
    described["model_cfg"]["text_cfg"]["vocab_size"] = 100
    told.write_text(json.dumps(described))
    with pytest.raises(ConfigError, match="ids up to 5300, the ranker has 100 text tokens"):
        ship.main([*options(tmp_path / "model", tmp_path), "--clip", str(ranker)])
    assert not (tmp_path / "model").exists()


def test_a_run_that_is_named_must_be_there(tmp_path: Path) -> None:
    """Else a slip of the pen would ship what was not trained."""
    for stage in ("stage1", "stage2"):
        with pytest.raises(MissingFileError, match=f"--{stage}: .*typo holds no run"):
            ship.main(
                [*options(tmp_path / "model", tmp_path), f"--{stage}", str(tmp_path / "typo")]
            )
    assert not (tmp_path / "model").exists()


def test_between_a_run_and_what_it_began_with(tmp_path: Path) -> None:
    source = open_checkpoint(EMOJI)
    before = load_stage2(source).state_dict()
    shapes.save(tmp_path / "stage2", source.preset.stage2)
    run = Checkpoints(tmp_path / "stage2", 1)
    run.save({"step": 9, "average": {name: old + 1 for name, old in before.items()}})
    ship.main([*options(tmp_path / "model", tmp_path), "--share", "0.25"])
    shipped = load_stage2(open_checkpoint(tmp_path / "model")).state_dict()
    for name, old in before.items():
        torch.testing.assert_close(shipped[name], old + 0.25, rtol=1e-3, atol=1e-3)


def test_there_is_none_without_both_or_of_two_shapes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--share: of a run's weights, and the rest --init's"):
        ship.main([*options(tmp_path / "model", tmp_path), "--share", "0.5"])
    source = open_checkpoint(EMOJI)
    weights = load_stage2(source).state_dict()
    shapes.save(tmp_path / "stage2", source.preset.stage2)
    Checkpoints(tmp_path / "stage2", 1).save({"step": 9, "average": dict([weights.popitem()])})
    with pytest.raises(ConfigError, match=r"--share: .*stage2 is of another shape than"):
        ship.main([*options(tmp_path / "model", tmp_path), "--share", "0.5"])
    assert not (tmp_path / "model").exists()
