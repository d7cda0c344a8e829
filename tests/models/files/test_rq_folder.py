from __future__ import annotations

import shutil
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from models.configs.rq import RQTransformerConfig
from models.errors import CheckpointError, ConfigError, CorruptFileError, KeyMismatchError
from models.families import build_codec, build_prior, upstream_shapes
from models.files import config
from models.files.checkpoint import load_stage1, load_stage2, load_tokenizer, open_checkpoint
from models.files.convert import convert
from models.files.rq_config import write_rq_transformer, write_rq_vae
from models.files.weights import on_meta, shapes
from models.presets.register import PRESETS, get_preset
from models.presets.rq import RQ_PRESETS
from tests.models.golden import GOLDEN
from tests.models.random_rq_checkpoint import rq_shapes, tiny_text, write_random_rq_checkpoint

GOLDEN_SET = GOLDEN / "rq_uncond_variants"


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny text model as upstream would ship it."""
    folder = tmp_path_factory.mktemp("rq") / "cc3m"
    write_random_rq_checkpoint(folder, tiny_text(), averaged=True)
    return folder


@pytest.fixture
def folder(official: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(official, tmp_path / "cc3m"))


def _edit(folder: Path, stage: str, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / stage / "config.yaml"
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))


@pytest.mark.parametrize("preset", RQ_PRESETS, ids=lambda preset: preset.name)
def test_a_written_config_reads_the_same(preset: Any, tmp_path: Path) -> None:
    config.write(tmp_path, preset)
    read = config.read(tmp_path)
    assert (read.stage1, read.stage2, read.sampling) == (
        preset.stage1,
        preset.stage2,
        preset.sampling,
    )
    assert (read.name, read.licence) == (preset.name, preset.licence)


_RELEASED = {
    "rq-cc3m-650m": (496, 654_061_568),
    "rq-imagenet-480m": (268, 480_921_088),
    "rq-imagenet-821m": (460, 820_899_328),
    "rq-imagenet-1.4b": (780, 1_387_529_728),
    "rq-imagenet-3.8b": (780, 3_822_488_064),
    "rq-ffhq": (460, 355_393_536),
    "rq-church": (460, 370_087_936),
    "rq-cat": (492, 612_061_184),
    "rq-bedroom": (492, 612_061_184),
}


@pytest.mark.parametrize("name", _RELEASED)
def test_released_models_have_their_official_tensors(name: str) -> None:
    preset = PRESETS[name]
    codec = on_meta(lambda: build_codec(preset.stage1))
    prior = on_meta(lambda: build_prior(preset.stage2, codec))
    upstream = upstream_shapes(preset.stage2, shapes(prior))
    assert (len(upstream), sum(map(prod, upstream.values()))) == _RELEASED[name]
    books = 100_732_035 if name == "rq-ffhq" else 104_402_051
    assert sum(map(prod, upstream_shapes(preset.stage1, shapes(codec)).values())) == books


@pytest.mark.parametrize("name", ["rq-cat", "rq-bedroom", "rq-cc3m-650m"])
def test_an_official_folder_of_a_released_shape_has_its_name(name: str, tmp_path: Path) -> None:
    stage1, stage2 = rq_shapes(get_preset(name))
    trained_on = {"rq-cat": "LSUN-cat", "rq-bedroom": "LSUN-bedroom"}.get(name, "cc3m")
    documents = {
        "stage1": {"arch": write_rq_vae(stage1)},
        "stage2": {"arch": write_rq_transformer(stage2), "dataset": {"type": trained_on}},
    }
    for stage, document in documents.items():
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "config.yaml").write_text(yaml.safe_dump(document))
    assert config.read(tmp_path) == get_preset(name)


def test_the_authors_sampling_is_the_default(folder: Path) -> None:
    def sampling(**block: Any) -> Any:
        _edit(folder, "stage2", lambda document: document.update(sampling=block))
        defaults = config.read(folder).sampling
        return defaults.temperature, defaults.top_k, defaults.top_p

    assert sampling(temp=0.9, top_k=16, top_p=0.5) == (0.9, 16, 0.5)
    assert sampling(temp=1.0, top_k=None, top_p=None) == (1.0, None, 1.0)
    assert sampling(top_k=[63, 32, 16, 8], top_p=[0.5]) == (1.0, (63, 32, 16, 8), 0.5)
    assert sampling(top_k=[99, 32, 16, 8]) == (1.0, (64, 32, 16, 8), 1.0)
    assert sampling(top_k=[99, 64, 64, 64], top_p=[0.9] * 4) == (1.0, None, 0.9)
    with pytest.raises(ConfigError, match=r"sampling\.top_k: 3 values for 4 depths"):
        sampling(top_k=[1, 2, 3])


def test_a_converted_folder_holds_the_same_model(official: Path, tmp_path: Path) -> None:
    source, target = open_checkpoint(official), convert(official, tmp_path / "ours")
    assert (source.layout, target.layout) == ("rq", "converted")
    assert target.preset == source.preset
    for load in (load_stage1, load_stage2):
        before, after = load(source).state_dict(), load(target).state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    tokenizer = load_tokenizer(target)
    assert tokenizer is not None
    assert tokenizer.context_length == 8


def test_the_moving_average_is_read_where_it_is_asked_for(official: Path, tmp_path: Path) -> None:
    plain = load_stage2(open_checkpoint(official))
    averaged = load_stage2(open_checkpoint(official, averaged=True))
    assert all(
        torch.equal(2 * a, b)
        for a, b in zip(plain.parameters(), averaged.parameters(), strict=True)
    )
    with pytest.raises(ConfigError, match="no moving average"):
        open_checkpoint(GOLDEN / "mindalle_text", averaged=True)
    with pytest.raises(CorruptFileError, match="holds no state_dict_ema"):
        load_stage2(open_checkpoint(GOLDEN_SET, averaged=True))


def test_padding_is_never_a_code(official: Path) -> None:
    stage1 = load_stage1(open_checkpoint(official))
    book: torch.Tensor = stage1.quantizer.book(0)  # type: ignore[union-attr, operator]  # nn.Module's attributes have no types
    assert len(book) == 64
    assert not (book == 0).all(1).any()


_WRONG: dict[str, tuple[str, Callable[[dict[str, Any]], None], str]] = {
    "unknown key": (
        "stage2",
        lambda d: d["arch"].update(moon=1),
        r"unknown key: stage2\.moon",
    ),
    "unknown block key": (
        "stage2",
        lambda d: d["arch"]["body"]["block"].update(moon=1),
        r"unknown key: stage2\.body\.block\.moon",
    ),
    "other grid": (
        "stage2",
        lambda d: d["arch"].update(block_size=[2, 4, 4]),
        r"block_size: \[2, 4, 4\] for a stage 1 that makes \[4, 4, 4\]",
    ),
    "other depth": (
        "stage2",
        lambda d: d["arch"].update(block_size=[4, 4, 2], vocab_size=64),
        r"block_size: \[4, 4, 2\]",
    ),
    "other codebook": (
        "stage1",
        lambda d: d["arch"]["hparams"].update(n_embed=32),
        "vocab_size: .* for codebooks of",
    ),
    "other width": (
        "stage2",
        lambda d: d["arch"].update(input_embed_dim=16),
        "input_embed_dim: 16 for codes of width 8",
    ),
    "uneven vocabularies": (
        "stage2",
        lambda d: d["arch"].update(vocab_size=[64, 64, 64, 9]),
        "vocab_size: one size where shared",
    ),
    "heads": (
        "stage2",
        lambda d: d["arch"]["head"]["block"].update(n_head=5),
        r"head\.block\.n_head: must divide",
    ),
    "text length": (
        "stage2",
        lambda d: d["dataset"].update(context_length=9),
        "context_length: 9 is not block_size_cond 8",
    ),
    "data set": (
        "stage2",
        lambda d: d.update(dataset="cc3m"),
        "stage2: dataset: must be a mapping",
    ),
    "experiment": (
        "stage2",
        lambda d: d.update(experiment=["sample"], sampling=None),
        "stage2: experiment: must be a mapping",
    ),
    "tokenizer": (
        "stage2",
        lambda d: d["dataset"].update(txt_tok_name="gpt2_huggingface"),
        "txt_tok_name: 'gpt2_huggingface' is not supported",
    ),
    "latent shape": (
        "stage1",
        lambda d: d["arch"]["hparams"].update(latent_shape=[8, 8, 8]),
        "latent_shape: 8×8 for an encoder that makes 4×4",
    ),
    "no levels": (
        "stage1",
        lambda d: d["arch"]["ddconfig"].update(ch_mult=[]),
        r"ddconfig\.ch_mult: must name at least one",
    ),
    "gray": (
        "stage1",
        lambda d: d["arch"]["ddconfig"].update(out_ch=1),
        r"ddconfig\.out_ch: 1, pictures have 3",
    ),
    "no body": (
        "stage2",
        lambda d: d["arch"]["body"].update(n_layer=0),
        r"body\.n_layer: must be at least 1",
    ),
    "no architecture": ("stage1", lambda d: d.pop("arch"), "stage1: must be a mapping"),
    "bottleneck": (
        "stage1",
        lambda d: d["arch"]["hparams"].update(bottleneck_type="vq"),
        r"stage1\.hparams\.bottleneck_type",
    ),
}


@pytest.mark.parametrize("case", _WRONG)
def test_a_wrong_config_is_one_clear_error(case: str, folder: Path) -> None:
    stage, change, message = _WRONG[case]
    _edit(folder, stage, change)
    with pytest.raises(ConfigError, match=message) as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_listed(folder: Path) -> None:
    _edit(folder, "stage2", lambda d: d["arch"]["body"].update(n_layer=3))
    with pytest.raises(KeyMismatchError, match=r"missing +body_transformer\.blocks\.2\.attn\.key"):
        load_stage2(open_checkpoint(folder))


def test_a_model_without_its_tokenizer_says_where_it_belongs(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(CheckpointError, match=r"tokenizer holds no \*vocab\.json"):
        load_tokenizer(open_checkpoint(folder))


def test_the_tokenizer_may_come_from_another_folder(
    folder: Path, official: Path, tmp_path: Path
) -> None:
    shutil.rmtree(folder / "tokenizer")
    target = convert(folder, tmp_path / "ours", tokenizer=official / "tokenizer")
    assert load_tokenizer(target) is not None


def test_the_prefix_follows_from_the_condition(tmp_path: Path) -> None:
    kinds = [PRESETS[name].prompt_kind for name in ("tiny-rq", "tiny-rq-class", "tiny-rq-uncond")]
    assert kinds == ["text", "class", "none"]
    for name in ("tiny-rq", "tiny-rq-class", "tiny-rq-uncond"):
        config.write(tmp_path, PRESETS[name])
        stage2 = config.read(tmp_path).stage2
        assert isinstance(stage2, RQTransformerConfig)
        assert stage2.prefix == PRESETS[name].prompt_kind
