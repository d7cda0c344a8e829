"""Each training command on a folder of drawn pictures, for a few steps and with `--resume`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models import pipeline
from models.drawing.sampling import RowParams
from models.errors import ConfigError, MissingFileError
from models.presets.register import get_preset
from models.train import __main__ as commands
from models.train import bpe, clip, codes, ship, stage1, stage2
from models.train.data.code_table import CodeTable
from models.train.data.sources import open_data
from models.train.loop.checkpoints import averaged
from models.train.shapes import load_codec, load_prior
from tests.models.random_rq_checkpoint import tiny_text, write_random_rq_checkpoint

SHAPES = {
    "vqgan": ["resolution=32", "ch=16", "n_embed=64"],
    "rq-vae": ["resolution=32", "ch=16", "ch_mult=[1,1,1]", "n_embed=[64,64,64,64]"],
    "hq-vae": ["resolution=32", "ch=8", "n_embed=[16,16]"],
}
PRIORS = {
    "vqgan": ["embed_dim=32", "n_layers=1", "n_heads=2"],
    "rq-vae": ["embed_dim=32", "body.embed_dim=32", "body.n_layers=1", "head.embed_dim=32"],
    "hq-vae": ["body.embed_dim=32", "body.n_layers=1", "head.embed_dim=32", "head.n_layers=1"],
}


def losses(run: Path) -> dict[int, float]:
    """Step → loss, as logged."""
    rows = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def last_state(run: Path) -> dict[str, torch.Tensor]:
    return averaged(run)[1]


def common(pictures: Path, run: Path) -> list[str]:
    return ["--data", str(pictures), "--run", str(run), "--threads", "1", "--save-every", "2"]


def codec_options(family: str) -> list[str]:
    return ["--family", family, "--shape", *SHAPES[family], "--batch", "2", "--judged", "2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """Tokenizer, a short stage-1 run of each family and its codes, made by the commands."""
    folder = tmp_path_factory.mktemp("runs")
    bpe.main(["--data", str(pictures), "--out", str(folder / "tokenizer")])
    for family in SHAPES:
        run = folder / family
        stage1.main([*common(pictures, run), *codec_options(family), "--steps", "2"])
        arguments = ["--stage1", str(run), "--out", str(folder / f"{family}-codes")]
        codes.main(["--data", str(pictures), *arguments, "--workers", "1"])
    return folder


@pytest.mark.parametrize("family", SHAPES)
def test_stage1_leaves_a_grid_a_curve_and_its_figures(family: str, runs: Path) -> None:
    folder = runs / family
    assert {"grid.png", "curve.png", "log.jsonl", "checkpoints"} <= {
        p.name for p in folder.iterdir()
    }
    figures = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    assert figures["val_psnr"] > 0
    assert ("val_psnr_coarse" in figures) == (family != "vqgan")


@pytest.mark.parametrize("family", SHAPES)
def test_codes_cover_the_training_pictures(
    family: str, runs: Path, pictures: Path, tmp_path: Path
) -> None:
    shape = load_codec(runs / f"{family}-codes")
    assert shape is not None
    table = CodeTable.load(runs / f"{family}-codes", open_data(pictures, tmp_path, shape.size[0]))
    assert table.codes[..., None].shape[1:3] == shape.code_shape
    assert len(table.codes) == 23
    assert int(table.codes.max()) < max(shape.vocab_sizes)
    assert (table.features is not None) == (family == "rq-vae")


@pytest.mark.parametrize("family", SHAPES)
def test_a_resumed_stage1_is_the_uninterrupted_one(
    family: str, runs: Path, pictures: Path, tmp_path: Path
) -> None:
    options = ["--start", str(runs / family), "--batch", "2", "--judged", "2", "--steps", "4"]
    options += ["--gan", "0.5", "--gan-from", "1"]
    assert_resumes(stage1.main, pictures, tmp_path, options)


@pytest.mark.parametrize("family", PRIORS)
def test_a_resumed_stage2_is_the_uninterrupted_one(
    family: str, runs: Path, pictures: Path, tmp_path: Path
) -> None:
    options = [*prior_options(family, runs), "--steps", "4"]
    assert_resumes(stage2.main, pictures, tmp_path, options)


def test_a_resumed_ranker_is_the_uninterrupted_one(
    runs: Path, pictures: Path, tmp_path: Path
) -> None:
    options = ["--tokenizer", str(runs / "tokenizer"), "--steps", "4", "--batch", "4"]
    assert_resumes(clip.main, pictures, tmp_path, options)


def test_a_ranker_has_the_shape_it_was_asked_for(
    runs: Path, pictures: Path, tmp_path: Path
) -> None:
    options = [*common(pictures, tmp_path), "--tokenizer", str(runs / "tokenizer"), "--batch", "4"]
    clip.main([*options, "--steps", "1", "--size", "32", "--shape", "vision_cfg.layers=2"])
    told = json.loads((tmp_path / "clip" / "open_clip_config.json").read_text())["model_cfg"]
    assert (told["vision_cfg"]["patch_size"], told["vision_cfg"]["layers"]) == (4, 2)
    with pytest.raises(ConfigError, match="wide"):
        clip.main([*options, "--steps", "1", "--shape", "vision_cfg.wide=2"])
    with pytest.raises(SystemExit):
        clip.main([*options, "--size", "7"])


def prior_options(family: str, runs: Path) -> list[str]:
    more = ["--tokenizer", str(runs / "tokenizer"), "--batch", "4", "--shape", *PRIORS[family]]
    more += ["--codes", str(runs / f"{family}-codes"), "--shown", "1"]
    own = {"rq-vae": ["--stage1", str(runs / family)], "hq-vae": ["--own-codes", "0.5"]}
    return [*more, *own.get(family, [])]


def assert_resumes(
    command: Callable[[list[str]], None], pictures: Path, folder: Path, options: list[str]
) -> None:
    whole, parted = folder / "whole", folder / "parted"
    command([*common(pictures, whole), *options])
    command([*common(pictures, parted), *options, "--until", "2"])
    command([*common(pictures, parted), *options, "--resume"])
    assert losses(whole)[3] == losses(parted)[3]
    one, other = last_state(whole), last_state(parted)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("family", PRIORS)
def test_what_is_shipped_draws(family: str, runs: Path, pictures: Path, tmp_path: Path) -> None:
    run, folder = tmp_path / "stage2", tmp_path / "model"
    stage1 = ["--stage1", str(runs / family), "--bpe-dropout", "0.1"]
    stage2.main([*common(pictures, run), *prior_options(family, runs), *stage1, "--steps", "1"])
    assert json.loads((run / "log.jsonl").read_text().splitlines()[-1])["val_loss"] > 1
    stages = ["--runs", str(runs), "--stage1", str(runs / family), "--stage2", str(run)]
    ship.main([str(folder), *stages, "--temperature", "0.5", "--shown", "1"])
    shipped = pipeline.load("emoji", folder)
    assert (shipped.preset.stage1, shipped.preset.stage2) == (
        load_codec(runs / family),
        load_prior(run),
    )
    assert shipped.preset.sampling.temperature == 0.5
    picture = shipped.generate("a circle", [RowParams(0)])[0]
    assert picture.pixels.shape[1:] == shipped.preset.size
    assert (runs / "sheet.png").is_file()


def test_a_rankers_run_is_shipped_with_the_others(
    runs: Path, pictures: Path, tmp_path: Path
) -> None:
    folder, run, ranker = tmp_path / "model", tmp_path / "stage2", tmp_path / "ranker"
    stage2.main([*common(pictures, run), *prior_options("vqgan", runs), "--steps", "1"])
    words = ["--tokenizer", str(runs / "tokenizer"), "--batch", "4", "--steps", "1"]
    clip.main([*common(pictures, ranker), *words])
    stages = ["--runs", str(runs), "--stage1", str(runs / "vqgan"), "--stage2", str(run)]
    with pytest.raises(MissingFileError, match="no ranker"):
        ship.main([str(folder), *stages, "--clip", str(run)])
    ship.main([str(folder), *stages, "--clip", str(ranker), "--shown", "1"])
    shipped = pipeline.load("emoji", folder)
    assert shipped.ranker is not None
    assert shipped.generate("a circle", [RowParams(0)])[0].score is not None
    assert shipped.preset.likelihood_weight == 0.15
    weighed = ["--likelihood-weight", "0.5"]
    ship.main([str(folder), *stages, "--clip", str(ranker), "--shown", "1", *weighed])
    assert pipeline.load("emoji", folder).preset.likelihood_weight == 0.5


@pytest.mark.parametrize("prefix", ["class", "none"])
def test_stage2_goes_on_from_a_text_checkpoint_without_text(
    prefix: str, pictures: Path, tmp_path: Path
) -> None:
    golden = Path(__file__).parents[2] / "golden" / "mindalle_text"
    numbered = tmp_path / "numbered"
    numbered.mkdir()
    for path in sorted(pictures.glob("0*.png")):
        (numbered / path.name).write_bytes(path.read_bytes())
        (numbered / f"{path.stem}.txt").write_text(f"{int(path.stem) % 3}\n")
    start = ["--data", str(numbered), "--checkpoint", str(golden)]
    codes.main([*start, "--out", str(tmp_path / "codes"), "--workers", "1"])
    more = ["--codes", str(tmp_path / "codes"), "--prefix", prefix, "--classes", "3"]
    short = ["--threads", "1", "--steps", "2", "--batch", "2"]
    for run in ("run", "again"):
        stage2.main([*start, *more, *short, "--run", str(tmp_path / run)])
    state, again = last_state(tmp_path / "run"), last_state(tmp_path / "again")
    assert all(torch.equal(state[name], again[name]) for name in state)  # fresh parts, too
    assert state["sos.weight"].shape[0] == (3 if prefix == "class" else 1)
    assert not any("txt" in name for name in state)


def test_both_stages_go_on_from_an_official_rq_folder(pictures: Path, tmp_path: Path) -> None:
    official, data = tmp_path / "official", ["--data", str(pictures)]
    write_random_rq_checkpoint(official, tiny_text())
    start = [*data, "--init", str(official), "--threads", "1", "--batch", "2", "--steps", "2"]
    stage1.main([*start, "--run", str(tmp_path / "stage1"), "--judged", "1"])
    encoding = ["--init", str(official), "--out", str(tmp_path / "codes"), "--workers", "1"]
    codes.main([*data, *encoding])
    more = ["--codes", str(tmp_path / "codes"), "--shown", "0"]
    stage2.main([*start, *more, "--run", str(tmp_path / "stage2")])
    shape = load_prior(tmp_path / "stage2")
    assert shape == tiny_text().stage2
    target = tmp_path / "tuned"
    ship.main([str(target), "--runs", str(tmp_path), "--init", str(official), "--shown", "1"])
    tuned = pipeline.load("emoji", target)
    assert tuned.tokenizer is not None
    before = torch.load(official / "stage2" / "model.pt", weights_only=True)["state_dict"]
    moved = last_state(tmp_path / "stage2")["cond_emb.weight"] - before["cond_emb.weight"]
    assert 0 < float(moved.abs().max()) < 0.01
    (tmp_path / "no-runs").mkdir()
    again = [str(tmp_path / "again"), "--runs", str(tmp_path / "no-runs"), "--init", str(target)]
    ship.main([*again, "--shown", "1"])
    told = [json.loads((tmp_path / at / "manifest.json").read_text()) for at in ("tuned", "again")]
    assert told[0]["source"]["steps"]["stage2"] == 2
    assert told[1] == told[0]


def test_options_that_contradict_the_run_are_one_error(
    runs: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ["stage1", *common(pictures, runs / "hq-vae"), "--resume", "--family", "rq-vae"]
    assert commands.main(wrong) == 1
    assert "hq-vae" in capsys.readouterr().err
    adversary = ["stage1", *common(pictures, runs / "hq-vae"), "--resume", "--gan"]
    assert commands.main(adversary) == 1
    assert "differ in: critic" in capsys.readouterr().err
    unread = ["--family", "transformer", "--codes", str(runs / "rq-vae-codes")]
    with pytest.raises(ConfigError, match="a stage 1 that makes 4×4 of 4 each"):
        stage2.main([*common(pictures, runs / "none"), *prior_options("vqgan", runs), *unread])
    blind = [*prior_options("vqgan", runs), "--own-codes", "0.5"]
    with pytest.raises(ConfigError, match="--own-codes: only where a step draws"):
        stage2.main([*common(pictures, runs / "none"), *blind])
    (tmp_path / "unsaid").mkdir()
    (tmp_path / "unsaid" / "checkpoints").symlink_to(runs / "hq-vae" / "checkpoints")
    with pytest.raises(ConfigError, match="don't fit"):
        stage1.main([*common(pictures, runs / "none"), "--start", str(tmp_path / "unsaid")])
    for shape, said in (
        ("wide=3", r"unknown key: --shape\.wide"),
        ("ch=33", "multiples of 16"),
        ("ch=[1", r"--shape: ch: '\[1' is no value"),
    ):
        with pytest.raises(ConfigError, match=said):
            stage1.main([*common(pictures, runs / "none"), "--shape", shape])


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_pictures(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*codec_options("hq-vae"), "--steps", "3", "--rate", "1e30"]
    assert commands.main(["stage1", *common(pictures, tmp_path), *options]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        r"stage1: the loss is (nan|inf) at step 1; its pictures: \d+\.png, \d+\.png", said
    )
    assert not (tmp_path / "checkpoints").exists()


def test_a_started_run_goes_on_with_the_others_codes(
    runs: Path, pictures: Path, tmp_path: Path
) -> None:
    small = ["--batch", "2", "--judged", "1", "--steps", "1", "--rate", "0.01"]
    for family in ("rq-vae", "hq-vae"):
        run = tmp_path / family
        stage1.main([*common(pictures, run), "--start", str(runs / family), *small])
        assert load_codec(run) == load_codec(runs / family)
        first, second = (last_state(folder) for folder in (runs / family, run))
        books = [name for name in first if "codebooks" in name or "quantizers" in name]
        assert books
        for name in books:
            is_kept = torch.isclose(second[name], first[name], atol=0.1, rtol=0)
            assert float(is_kept.float().mean()) > 0.9


def test_a_run_of_before_there_were_shapes_is_the_emoji_models(
    pictures: Path, tmp_path: Path
) -> None:
    old, few = tmp_path / "old", ["--batch", "1", "--judged", "1"]
    stage1.main([*common(pictures, old), "--steps", "1", *few])
    (old / "shape.json").unlink()
    stage1.main([*common(pictures, old), "--steps", "2", *few, "--resume"])
    assert load_codec(old) == get_preset("emoji").stage1
    assert list(losses(old)) == [0, 1]
