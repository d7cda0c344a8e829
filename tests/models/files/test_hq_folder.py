from __future__ import annotations

import shutil
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from models.configs.preset import Preset
from models.errors import CheckpointError, ConfigError, KeyMismatchError
from models.families import build_codec, build_prior, upstream_shapes
from models.files import config
from models.files.checkpoint import load_stage1, load_stage2, load_tokenizer, open_checkpoint
from models.files.convert import convert
from models.files.hq_codecs import write_hq_vae
from models.files.hq_prior import write_hq_transformer
from models.files.weights import on_meta, shapes
from models.presets.hq import HQ_PRESETS
from models.presets.register import PRESETS, get_preset, without_missing_ranker
from tests.models.random_hq_checkpoint import (
    hq_shapes,
    official_state,
    tiny_text,
    write_random_hq_checkpoint,
)

_TINY = ("tiny-hq", "tiny-hq-class", "tiny-hq-uncond")


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny text model as upstream would ship it."""
    folder = tmp_path_factory.mktemp("hq") / "cc15m"
    write_random_hq_checkpoint(folder, tiny_text())
    return folder


@pytest.fixture
def folder(official: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(official, tmp_path / "cc15m"))


def _edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "config.yaml"
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))


@pytest.mark.parametrize("preset", HQ_PRESETS, ids=lambda preset: preset.name)
def test_a_written_config_reads_the_same(preset: Preset, tmp_path: Path) -> None:
    config.write(tmp_path, preset)
    read = config.read(tmp_path)
    assert (read.stage1, read.stage2, read.sampling, read.name, read.licence) == (
        preset.stage1,
        preset.stage2,
        preset.sampling,
        preset.name,
        preset.licence,
    )


_RELEASED = {
    "hq-imagenet-12": (273, 530_757_120),
    "hq-imagenet-24": (465, 870_735_360),
    "hq-imagenet-42": (785, 1_437_365_760),
    "hq-cc15m": (277, 579_359_232),
    "hq-ffhq": (464, 397_009_920),
}


@pytest.mark.parametrize("name", _RELEASED)
def test_released_models_have_their_official_tensors(name: str) -> None:
    preset = PRESETS[name]
    stage1, stage2 = hq_shapes(preset)
    codec = on_meta(lambda: build_codec(stage1))
    prior = on_meta(lambda: build_prior(stage2, codec))
    upstream = upstream_shapes(stage2, shapes(prior))
    unread = stage2.sizes[1] * stage2.embed_dim  # the table of finer codes, which nothing reads
    assert (len(upstream) + 1, sum(map(prod, upstream.values())) + unread) == _RELEASED[name]
    books = upstream_shapes(stage1, shapes(codec))
    averages = {key for key in books if key.endswith(".embedding")}
    assert len(books) + 2 * len(averages) == 286
    numbers = sum(map(prod, books.values())) + sum(
        prod(books[key]) + books[key][0] for key in averages
    )
    assert numbers == 110_448_259


@pytest.mark.parametrize("name", _RELEASED)
def test_an_official_folder_of_a_released_shape_has_its_name(name: str, tmp_path: Path) -> None:
    """With the authors' sampling, which their file doesn't hold."""
    stage1, stage2 = hq_shapes(get_preset(name))
    document = {"stage1": write_hq_vae(stage1), "stage2": write_hq_transformer(stage2)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(document))
    assert config.read(tmp_path) == without_missing_ranker(get_preset(name), tmp_path)


@pytest.mark.parametrize("name", _TINY)
def test_a_converted_folder_holds_the_same_model(name: str, tmp_path: Path) -> None:
    preset = tiny_text() if name == "tiny-hq" else get_preset(name)
    write_random_hq_checkpoint(tmp_path / "official", preset)
    source = open_checkpoint(tmp_path / "official")
    target = convert(tmp_path / "official", tmp_path / "ours")
    assert (source.layout, target.layout) == ("hq", "converted")
    assert (target.preset.stage1, target.preset.stage2) == (preset.stage1, preset.stage2)
    for load in (load_stage1, load_stage2):
        before, after = load(source).state_dict(), load(target).state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
    assert (load_tokenizer(target) is None) == (preset.prompt_kind != "text")


def test_of_two_files_the_plain_one_is_read_as_the_authors_do(folder: Path) -> None:
    assert open_checkpoint(folder).weight_files == ("ckpt/last.ckpt",)
    other = official_state(tiny_text(), seed=1)
    torch.save(other, folder / "ckpt" / "state_dict.ckpt")
    checkpoint = open_checkpoint(folder)
    assert checkpoint.weight_files == ("ckpt/state_dict.ckpt",)
    head = load_stage2(checkpoint).state_dict()["head_levels.1.weight"]
    assert torch.equal(head, other["stage2.head_bot.weight"])


def test_a_codec_as_its_training_run_wrote_it_is_read(folder: Path) -> None:
    """Beside the network that judged it; and what else such a file holds is still refused."""
    mapped = load_stage1(open_checkpoint(folder)).state_dict()
    plain = {key: value.clone() for key, value in mapped.items()}  # the file is written again
    path = folder / "ckpt" / "last.ckpt"
    state = official_state(tiny_text())
    renamed = {key.replace("stage1.", "stage1.generator."): value for key, value in state.items()}
    renamed["stage1.discriminator.main.0.weight"] = torch.ones(1)
    torch.save({"state_dict": renamed}, path)
    found = load_stage1(open_checkpoint(folder)).state_dict()
    assert all(torch.equal(found[key], plain[key]) for key in plain)
    torch.save({"state_dict": state | {"stage1.moon": torch.ones(1)}}, path)
    with pytest.raises(KeyMismatchError, match=r"unexpected +moon"):
        load_stage1(open_checkpoint(folder))


def test_the_moving_average_of_stage_2_is_not_among_its_weights(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no moving average"):
        open_checkpoint(folder, averaged=True)


def test_the_tokenizer_may_come_from_another_folder(
    folder: Path, official: Path, tmp_path: Path
) -> None:
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(CheckpointError, match=r"tokenizer holds no \*vocab\.json"):
        load_tokenizer(open_checkpoint(folder))
    target = convert(folder, tmp_path / "ours", tokenizer=official / "tokenizer")
    assert load_tokenizer(target) is not None


_STAGE1, _STAGE2 = "stage1", "stage2"
_WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown key": (_STAGE2, {"moon": 1}, r"unknown key: stage2\.moon"),
    "unknown stack key": (
        _STAGE2,
        {"hparams_dec.moon": 1},
        r"unknown key: stage2\.hparams_dec\.moon",
    ),
    "unknown codec key": (_STAGE1, {"hparams_aux.moon": 1}, r"stage1\.hparams_aux\.moon"),
    "no way of resizing": (
        _STAGE1,
        {"hparams_aux.upsample": None},
        "upsample: None is not supported",
    ),
    "conv without a number": (_STAGE1, {"hparams_aux.upsample": "conv"}, "'conv' is not supported"),
    "levels that don't divide": (
        _STAGE1,
        {"hparams_aux.upsample": "pixelshuffle3"},
        "2 levels don't divide 8 positions",
    ),
    "one codebook for unlike levels": (
        _STAGE1,
        {"hparams_aux.shared_codebook": True},
        "shared_codebook: the levels' codes differ",
    ),
    "resolution": (_STAGE1, {"hparams.resolution": 33}, "resolution: no multiple of 4"),
    "widths": (_STAGE1, {"hparams.ch": 24}, "widths must be multiples of 32"),
    "three sizes for two levels": (_STAGE1, {"n_embed": [9, 9, 9]}, "n_embed: 3 sizes for two"),
    "no embedding": (_STAGE2, {"hparams.embedding_type": None}, "embedding_type: None is not"),
    "an embedding that nobody knows": (
        _STAGE2,
        {"hparams.embedding_type": "transformer0"},
        "'transformer0'",
    ),
    "head of another width": (
        _STAGE2,
        {"hparams_dec.embed_dim": 64},
        r"hparams_dec\.embed_dim: must be",
    ),
    "heads": (_STAGE2, {"hparams.n_heads": 5}, r"stage2\.hparams\.n_heads: must divide"),
    "no body": (_STAGE2, {"hparams.n_layers": 0}, r"hparams\.n_layers: must be at least 1"),
    "no text": (_STAGE2, {"hparams.ctx_len_txt": 0}, r"hparams\.ctx_len_txt: must be at least 1"),
    "positions": (_STAGE2, {"hparams.ctx_len_img": 15}, "15 positions for 16 cells"),
    "codebook": (_STAGE2, {"vocab_size_img": 65}, r"\[65, 65\] for codebooks of \[64, 40\]"),
    "codes below one": (_STAGE2, {"ratio_bot2top": 16}, "16 for a stage 1 with 4 codes below"),
    "codes at once": (
        _STAGE2,
        {"type": "hq-transformer/parallel16"},
        "16 codes at once, 4 lie below",
    ),
    "levels": (_STAGE2, {"type": "multilevel-hq"}, r"vocab_sizes_img: \[8192, 8192, 8192\]"),
    "type": (_STAGE2, {"type": "hq-transformer/serial"}, r"stage2\.type: 'hq-transformer/serial'"),
    "decoding": (_STAGE2, {"decoding_type": "top2mid2bot"}, "decoding_type: 'top2mid2bot' is not"),
    "other family": (_STAGE1, {"type": "vqgan"}, "unknown key|draws the codes of an HQ-VAE"),
    "classes": (_STAGE2, {"use_txt_cond": False, "use_cls_cond": True}, "n_classes: needed where"),
}


@pytest.mark.parametrize("case", _WRONG)
def test_a_wrong_config_is_one_clear_error(case: str, folder: Path) -> None:
    stage, changes, message = _WRONG[case]

    def change(document: dict[str, Any]) -> None:
        for path, value in changes.items():
            *outer, key = path.split(".")
            section = document[stage]
            for name in outer:
                section = section[name]
            section[key] = value

    _edit(folder, change)
    with pytest.raises(ConfigError, match=message) as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_a_text_of_another_length_is_refused(folder: Path) -> None:
    _edit(folder, lambda document: document["dataset"].update(context_length=9))
    with pytest.raises(ConfigError, match="context_length: 9, but stage 2 takes 8"):
        open_checkpoint(folder)


def test_weights_of_another_shape_are_listed_by_their_official_names(folder: Path) -> None:
    _edit(folder, lambda document: document["stage2"]["hparams_dec"].update(n_layers=2))
    with pytest.raises(KeyMismatchError, match=r"missing +depths\.1\.attn\.key"):
        load_stage2(open_checkpoint(folder))


def test_what_is_missing_is_the_references_default(folder: Path) -> None:
    """A head of four layers; and the finer codes' weight."""

    def change(document: dict[str, Any]) -> None:
        del document["stage2"]["hparams_dec"], document["stage2"]["weight_bottom"]

    _edit(folder, change)
    _, stage2 = hq_shapes(open_checkpoint(folder).preset)
    assert (stage2.head.n_layers, stage2.head.n_heads, stage2.weight_bottom) == (4, 2, 4.0)


def test_defaults_may_be_given_per_level(folder: Path) -> None:
    def sampling(**section: Any) -> Any:
        _edit(folder, lambda document: document.update(sampling=section))
        return config.read(folder).sampling

    found = sampling(top_k=[30, 5], temperature=0.9)
    assert (found.top_k, found.temperature) == ((30, 5), 0.9)
    with pytest.raises(
        ConfigError, match=r"sampling\.top_k: must be one value or 5 of them, not 3"
    ):
        sampling(top_k=[3, 3, 3])
