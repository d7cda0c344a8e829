"""What stage 2 learns from, by its options; that it learns is tested with the commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from models.configs.vqgan import VQGANConfig
from models.errors import ConfigError
from models.presets.register import get_preset
from models.train import shapes
from models.train.data import code_table
from models.train.data.folder import FolderFiles, FolderSet
from models.train.loop.run import Run
from models.train.recipes.prior import PromptShape
from models.train.recipes.transformer import large_plan_of, shape_of
from models.train.stage2 import Batches, batches_of, make_parser, num_steps

_CODEC = get_preset("tiny").stage1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of the classes 3, 2 and 2, and room for their codes."""
    for number in range(3):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("2" if number else "3")
    variants = FolderSet(FolderFiles(tmp_path), 32).variants()
    code_table.reserve(tmp_path / "codes", variants, _CODEC.code_shape)
    code_table.note_broken(tmp_path / "codes", ())
    return tmp_path


def _batches(folder: Path, *options: str) -> Batches:
    args = make_parser().parse_args(["--codes", str(folder / "codes"), "--batch", "64", *options])
    return batches_of(args, FolderSet(FolderFiles(folder), 32), _CODEC)


def test_a_class_is_never_left_out_and_must_be_one(folder: Path) -> None:
    """A text may be left out: then the model learns to draw without one."""
    run = Run(folder / "run", 0)
    ids = _batches(folder, "--prefix", "class", "--classes", "4").draw(run, 0).prefix
    assert set(ids.flatten().tolist()) == {2, 3}
    with pytest.raises(ConfigError, match="'3' is no class's number"):
        _batches(folder, "--prefix", "class", "--classes", "3").draw(run, 0)


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ([], 3000),
        (["--steps", "7", "--epochs", "2"], 7),
        (["--epochs", "5"], 15),
        (["--epochs", "5", "--batch", "2"], 7),
        (["--epochs", "5", "--batch", "64"], 1),
        (["--init", "1.3B", "--prefix", "none"], 24),
        (["--init", "1.3B"], 3000),
    ],
)
def test_a_transfer_takes_eight_epochs(options: list[str], number: int, folder: Path) -> None:
    args = make_parser().parse_args(["--batch", "1", *options])
    assert num_steps(args, _batches(folder, "--prefix", "none").table) == number


def test_a_large_one_has_the_released_models_shape() -> None:
    released = get_preset("mindalle-1.3b")
    prompt = PromptShape("text", released.stage2.prompt_vocab_size, released.prompt_len)
    assert shape_of(released.stage1, prompt, "1.3B") == released.stage2
    plan = large_plan_of(1000)
    assert (plan.muon_lr, plan.adam_lr, plan.clip_norm) == (None, 1e-4, 4.0)


def test_merges_are_left_out_of_texts_alone(folder: Path) -> None:
    with pytest.raises(ConfigError, match="--bpe-dropout: only with --prefix text"):
        _batches(folder, "--prefix", "none", "--bpe-dropout", "0.1")


def test_codes_of_other_codebooks_are_refused(folder: Path) -> None:
    assert isinstance(_CODEC, VQGANConfig)
    shapes.save(folder / "codes", replace(_CODEC, n_embed=_CODEC.vocab_sizes[0] * 2))
    with pytest.raises(ConfigError, match="--codes: of codebooks of"):
        _batches(folder, "--prefix", "none")


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ("plain", "'plain' is no kind and its share"),
        ("plain=-1", "'plain=-1': must be 0 or more"),
        ("colour=1", "has only plain"),
    ],
)
def test_shares_that_name_nothing_are_refused(folder: Path, shares: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        _batches(folder, "--prefix", "none", "--shares", shares)
