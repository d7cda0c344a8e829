"""Smoke runs of an enhancement's training on a folder of drawn pictures, over a tiny codec."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.configs.preset import Preset
from models.drawing.sampling import RowParams
from models.enhance.cell_upsampler import CellUpsampler
from models.errors import ConfigError
from models.families import build_upsampler
from models.files import fingerprint
from models.files.checkpoint import load_stage1, open_checkpoint
from models.files.new_folder import FolderInUseError
from models.files.shards import verify
from models.pipeline import load
from models.presets.register import get_preset
from models.train import enhance as command
from models.train import ship
from models.train.loop.checkpoints import averaged
from models.train.loop.run import Run
from models.train.recipes import enhance
from tests.models.random_checkpoint import tiny_with_words, write_random_checkpoint

_SHAPE = (
    *("n_embed=16", "embed_dim=4", "codec.ch=32", "codec.z_channels=8"),
    *("body.embed_dim=32", "body.n_layers=1", "head.embed_dim=32", "head.n_layers=1"),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of tiny's shapes, in the official layout."""
    folder = tmp_path_factory.mktemp("base")
    write_random_checkpoint(folder, tiny_with_words())
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same shapes with other weights."""
    folder = tmp_path_factory.mktemp("other")
    write_random_checkpoint(folder, tiny_with_words(), seed=1)
    return folder


def _options(base: Path, pictures: Path, run: Path, *more: str) -> list[str]:
    sizes = ["--batch", "2", "--threads", "1", "--save-every", "2", "--judged", "2"]
    return [f"--checkpoint={base}", f"--data={pictures}", f"--run={run}", *sizes, *more]


@pytest.fixture(scope="module")
def codec_run(base: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("codec")
    command.main(_options(base, pictures, run, "--steps=20", "--shape", *_SHAPE))
    return run


def _weights(run: Path) -> dict[str, Tensor]:
    return averaged(run)[1]


def test_the_codec_learns_what_the_coarse_pictures_lack(codec_run: Path) -> None:
    history = Run(codec_run, 0).history()
    assert history[-1]["val_psnr_true"] > history[-1]["val_psnr_coarse"]
    assert [row["perplexity"] for row in history if "perplexity" in row][-1] > 1
    assert {"grid.png", "curve.png"} <= {path.name for path in codec_run.iterdir()}


def test_the_prior_learns_over_it_and_what_is_shipped_draws(
    base: Path, other: Path, codec_run: Path, pictures: Path, tmp_path: Path
) -> None:
    run, finer, target = (tmp_path / name for name in ("prior", "finer", "model"))
    more = ["--part=prior", f"--start={codec_run}", "--steps=20", f"--ship={finer}"]
    how = ["--temperature=0.5", "--top-k=9", "--mean"]
    command.main(_options(base, pictures, run, *more, "--off", *how))
    history = Run(run, 0).history()
    losses = [row["loss"] for row in history if "loss" in row]
    assert losses[-1] < losses[0]
    assert history[-1]["val_entropy"] <= math.log(16)
    before, after = _weights(codec_run), _weights(run)
    changed = {name for name, tensor in after.items() if not torch.equal(before[name], tensor)}
    assert changed
    assert all(name.startswith("prior.") for name in changed)
    sheet = ["--shown=1", f"--runs={tmp_path}", f"--init={base}", f"--enhance={finer}"]
    ship.main([str(target), *sheet])
    assert verify(target) > 4
    pipeline = load("tiny", target)
    own = pipeline.preset.enhancement
    assert own is not None
    assert (own.is_default, own.temperature, own.top_k, own.is_mean) == (False, 0.5, 9, True)
    codes = torch.zeros(1, 16, 1, dtype=torch.int64)
    assert not torch.equal(pipeline.enhanced(codes, [RowParams(1)]), pipeline.pixels(codes))
    weights = load_stage1(open_checkpoint(base)).state_dict()
    assert own.codec_sha256 == fingerprint.of(weights.items())
    sheet = [f"--runs={tmp_path}", f"--init={other}", f"--enhance={finer}"]
    with pytest.raises(ConfigError, match="codec_sha256: it was trained over another codec"):
        ship.main([str(tmp_path / "mixed"), *sheet])


def test_what_is_judged_by_no_picture_has_its_curve_all_the_same(
    base: Path, pictures: Path, tmp_path: Path
) -> None:
    """As of a folder of fewer than twenty, of which none is held out."""
    command.main(_options(base, pictures, tmp_path, "--judged=0", "--steps=1", "--shape", *_SHAPE))
    assert (tmp_path / "curve.png").is_file()
    assert not any("val_psnr_coarse" in row for row in Run(tmp_path, 0).history())


@pytest.mark.parametrize("part", ["codec", "prior"])
def test_a_resumed_run_is_the_uninterrupted_one(
    part: str, base: Path, codec_run: Path, pictures: Path, tmp_path: Path
) -> None:
    more = [f"--part={part}", f"--start={codec_run}", "--steps=4"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command.main(_options(base, pictures, whole, *more))
    for until in ("2", "4"):
        command.main(_options(base, pictures, parts, *more, "--resume", "--until", until))
    expected, found = _weights(whole), _weights(parts)
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


def test_options_that_contradict_each_other(
    base: Path, other: Path, codec_run: Path, pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="give the codec's run as --start"):
        command.main(_options(base, pictures, tmp_path, "--part=prior", "--shape", *_SHAPE))
    with pytest.raises(FolderInUseError, match="is not empty"):
        command.main(_options(base, pictures, tmp_path / "in use", f"--ship={pictures}"))
    assert not (tmp_path / "in use").exists()
    larger = [f"--start={codec_run}", "--shape", "n_embed=32"]
    with pytest.raises(ConfigError, match="are another's"):
        command.main(_options(base, pictures, tmp_path / "larger", *larger))
    with pytest.raises(ConfigError, match=r"--checkpoint: .*config.yaml: codec_sha256"):
        command.main(_options(other, pictures, tmp_path / "over", f"--start={codec_run}"))
    wrong = ["--shape", "ratio=3"]
    with pytest.raises(ConfigError, match=r"--shape\.codec: makes 8 positions a side of 12"):
        command.main(_options(base, pictures, tmp_path / "wrong", *wrong))


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("emoji", (8, 16)),
        ("mindalle-1.3b", (16, 32)),
        ("rq-ffhq", (8, 16)),
        ("tiny-rq", (4, 8)),
        ("tiny-hq", (4, 16)),
    ],
)
def test_what_is_trained_is_twice_as_fine_as_the_codec(name: str, sides: tuple[int, int]) -> None:
    preset: Preset = get_preset(name)
    shape = enhance.shape_for(preset.stage1)
    assert (shape.side, shape.finer_side) == sides
    assert shape.codec.grid_size == shape.finer_side
    assert (shape.coarse_shape, shape.coarse_sizes) == (
        preset.stage1.code_shape,
        preset.stage1.vocab_sizes,
    )


@pytest.mark.parametrize("name", ["tiny-hq-scales", "tiny-pixelcnn"])
def test_a_codec_that_can_not_be_made_finer(name: str) -> None:
    with pytest.raises(ConfigError, match="an upsampler is trained over"):
        enhance.shape_for(get_preset(name).stage1)


def test_noise_replaces_some_codes_by_others_of_their_depth() -> None:
    codes = torch.zeros(50, 64, 2, dtype=torch.int64)
    found = enhance.noisy(codes, (1000, 3), torch.Generator().manual_seed(0))
    share = float((found[..., 0] != 0).double().mean())
    assert share == pytest.approx(enhance.NOISE, rel=0.2)
    assert found[..., 0].max() > 900
    assert torch.unique(found[..., 1]).tolist() == [0, 1, 2]


def test_a_fresh_upsampler_leaves_pictures_as_they_are(base: Path) -> None:
    shape = replace(enhance.shape_for(get_preset("tiny").stage1), n_embed=16)
    model = build_upsampler(shape).eval()
    assert isinstance(model, CellUpsampler)
    enhance.begin_at_the_coarse_picture(model)
    codec = enhance.Coarse(load_stage1(open_checkpoint(base)))  # type: ignore[arg-type]  # a module that is a codec
    coarse = codec.images(torch.zeros(1, 16, 1, dtype=torch.int64))
    finer = torch.zeros(1, 16, 4, dtype=torch.int64)
    torch.testing.assert_close(model.pixels(finer, coarse * 0.5 + 0.5), coarse * 0.5 + 0.5)
