"""Projects of taming-transformers as they lie on disk: read, refused in one line, converted."""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from models.configs.preset import Preset
from models.configs.rankers import IMAGENET_CLASSIFIER
from models.errors import ConfigError, KeyMismatchError, UnsafePickleError
from models.families import build_codec, build_prior, upstream_shapes
from models.files import config
from models.files.checkpoint import load_stage1, load_stage2, open_checkpoint
from models.files.convert import convert
from models.files.weights import on_meta, shapes
from models.presets.register import PRESETS, get_preset
from tests.models.mindalle import codec_shape, shape
from tests.models.refusals import refusal
from tests.models.taming_folders import STAMP, WEIGHTS, edit, write_codec, write_project

_NAMES = ("tiny-taming-class", "tiny-taming-uncond")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_project(tmp_path / "mine", get_preset("tiny-taming-class"))
    return tmp_path / "mine"


# Tensors of the transformer and of stage 1, as the authors' formula and the reference have them.
_RELEASED = {
    "vqgan-imagenet": (1_410_640_896, 76_073_859),
    "vqgan-ffhq": (801_798_400, 72_141_699),
    "vqgan-celebahq": (801_798_400, 72_141_699),
    "vqgan-faceshq": (304_932_864, 72_141_699),
}


@pytest.mark.parametrize("name", _RELEASED)
def test_released_models_have_their_official_tensors(name: str) -> None:
    preset = PRESETS[name]
    codec = on_meta(lambda: build_codec(preset.stage1))
    prior = on_meta(lambda: build_prior(preset.stage2, codec))
    stage1 = upstream_shapes(preset.stage1, shapes(codec))
    stage2 = upstream_shapes(preset.stage2, shapes(prior))
    assert (sum(map(prod, stage2.values())), sum(map(prod, stage1.values()))) == _RELEASED[name]
    block = shape(preset).block_size
    assert stage2["pos_emb"] == (1, block, shape(preset).embed_dim)
    assert "sos.weight" not in stage2
    assert preset.licence == "unknown"


@pytest.mark.parametrize("name", _NAMES)
def test_a_project_is_read_as_what_it_describes(name: str, tmp_path: Path) -> None:
    write_project(tmp_path / "p", get_preset(name))
    checkpoint = open_checkpoint(tmp_path / "p", verify_sha256=True)
    assert checkpoint.layout == "taming"
    assert checkpoint.preset.stage1 == get_preset(name).stage1
    assert checkpoint.preset.stage2 == get_preset(name).stage2
    assert (checkpoint.preset.name, checkpoint.preset.licence) == ("p", "unknown")
    state = torch.load(tmp_path / "p" / WEIGHTS, weights_only=True)["state_dict"]
    stage1, stage2 = load_stage1(checkpoint), load_stage2(checkpoint)
    table = state["transformer.pos_emb"][0]
    assert torch.equal(stage2.state_dict()["pos_emb_img.weight"], table)
    key = f"first_stage_model.quantize.embed{'ding' * ('uncond' in name)}.weight"
    assert torch.equal(stage1.state_dict()["quantize.embedding.weight"], state[key])


@pytest.mark.parametrize("name", _NAMES)
def test_a_converted_folder_holds_the_same_model(name: str, tmp_path: Path) -> None:
    write_project(tmp_path / "p", get_preset(name))
    source, target = open_checkpoint(tmp_path / "p"), convert(tmp_path / "p", tmp_path / "ours")
    assert target.layout == "converted"
    assert target.preset == source.preset
    for load in (load_stage1, load_stage2):
        before, after = load(source).state_dict(), load(target).state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize(
    ("folder_name", "name"),
    [
        ("2021-04-03T19-39-50_cin_transformer", "vqgan-imagenet"),
        ("2021-04-23T18-19-01_ffhq_transformer", "vqgan-ffhq"),
        ("2021-04-23T18-11-19_celebahq_transformer", "vqgan-celebahq"),
        ("2020-11-13T21-41-45_faceshq_transformer", "vqgan-faceshq"),
        ("mine", None),
    ],
)
def test_a_released_folder_has_its_name(tmp_path: Path, folder_name: str, name: str | None) -> None:
    preset = get_preset(name or "vqgan-ffhq")
    _describe(tmp_path / folder_name, preset)
    found = config.read(tmp_path / folder_name)
    if name:
        assert replace(found, stage2=preset.stage2) == replace(preset, classifier=None)
        assert shape(found).resid_pdrop == 0.1
    else:
        assert (found.name, found.sampling.top_k, found.sampling.top_p) == ("mine", 250, 1.0)


def test_a_released_class_model_is_ranked_where_a_classifier_lies(tmp_path: Path) -> None:
    _describe(tmp_path / "cin", get_preset("vqgan-imagenet"))
    (tmp_path / "cin/classifier").mkdir()
    (tmp_path / "cin/classifier/resnet101-63fe2227.pth").touch()
    assert config.read(tmp_path / "cin").classifier == IMAGENET_CLASSIFIER


def _describe(folder: Path, preset: Preset) -> None:
    """The config alone, with a dropout that presets don't have."""
    tiny = get_preset("tiny-taming-class")
    write_project(folder, tiny)
    full, stage1 = shape(preset), codec_shape(preset)

    def change(params: dict[str, Any]) -> None:
        gpt = params["transformer_config"]["params"]
        gpt |= {"vocab_size": full.vocab_size, "block_size": full.block_size, "resid_pdrop": 0.1}
        gpt |= {"n_layer": full.n_layers, "n_head": full.n_heads, "n_embd": full.embed_dim}
        codec = params["first_stage_config"]
        codec["target"] = "taming.models.vqgan.VQModel"
        codec["params"] |= {"n_embed": stage1.n_embed, "embed_dim": 256}
        names = ("z_channels", "resolution", "ch", "num_res_blocks")
        codec["params"]["ddconfig"] |= {name: getattr(stage1, name) for name in names}
        codec["params"]["ddconfig"] |= {"ch_mult": [*stage1.ch_mult], "attn_resolutions": [16]}
        if preset.num_classes:
            params["cond_stage_config"]["params"]["n_classes"] = preset.num_classes
        elif len(full.start) > 1:
            coordinates = {"n_embed": 1024, "down_factor": 16}
            params["cond_stage_config"] = {"target": "x.CoordStage", "params": coordinates}
        else:
            params["unconditional"] = True  # whatever stands there then, it is not looked at

    edit(folder, change)


def test_later_configs_win(folder: Path) -> None:
    later = {"model": {"params": {"transformer_config": {"params": {"n_head": 4}}}}}
    (folder / "configs/2022-project.yaml").write_text(yaml.safe_dump(later))
    assert shape(open_checkpoint(folder).preset).n_heads == 4


def test_the_start_token_may_be_another_one(tmp_path: Path) -> None:
    write_project(tmp_path / "p", get_preset("tiny-taming-class"))
    edit(tmp_path / "p", lambda p: p.update(cond_stage_config="__is_unconditional__", sos_token=5))
    checkpoint = open_checkpoint(tmp_path / "p")
    assert shape(checkpoint.preset).start == (5,)
    stage2 = load_stage2(checkpoint)
    state = stage2.state_dict()
    wanted = state["tok_emb_img.weight"][5] + state["pos_emb_img.weight"][0]
    embedded = stage2.embed_prefix(torch.tensor([[0]]))  # type: ignore[operator]  # nn.Module's attributes have no types
    assert torch.equal(embedded[0, 0], wanted)


def test_a_codec_alone_draws_nothing(tmp_path: Path) -> None:
    write_codec(tmp_path / "codec", get_preset("tiny-taming-class"))
    assert "holds stage 1 alone, the codec" in refusal(lambda: open_checkpoint(tmp_path / "codec"))
    source = open_checkpoint(tmp_path / "codec", codec_alone=True)
    target = convert(tmp_path / "codec", tmp_path / "ours")
    shapes_of = [(c.preset.stage1, c.preset.stage2) for c in (source, target)]
    assert shapes_of[0] == shapes_of[1]
    before, after = load_stage1(source).state_dict(), load_stage1(target).state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert "holds stage 1 alone" in refusal(lambda: open_checkpoint(tmp_path / "ours"))
    assert "no stage 2" in refusal(lambda: load_stage2(source))


@pytest.fixture
def lightning(monkeypatch: pytest.MonkeyPatch) -> type:
    """A class as of a package that is not installed where the file is read."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    made = type("ModelCheckpoint", (), {"__module__": name})
    for end in (17, 27, len(name)):  # the package, the one in it, the module
        monkeypatch.setitem(sys.modules, name[:end], types.ModuleType(name[:end]))
    monkeypatch.setattr(sys.modules[name], "ModelCheckpoint", made, raising=False)
    return made


def test_what_lightning_saves_beside_the_weights_is_let_pass(
    tmp_path: Path, lightning: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = {
        "callbacks": {lightning: {"best_model_score": torch.tensor(1.0), "best": Path("x.ckpt")}},
        "hyper_parameters": argparse.Namespace(lr=1),
        "lr_schedulers": [lightning()],
    }
    write_project(tmp_path / "p", get_preset("tiny-taming-class"), beside)
    write_project(tmp_path / "q", get_preset("tiny-taming-class"), beside | {"x": print})
    monkeypatch.undo()
    assert load_stage2(open_checkpoint(tmp_path / "p")).state_dict()
    with pytest.raises(UnsafePickleError, match=r"asks for \w+\.print, which"):
        load_stage2(open_checkpoint(tmp_path / "q"))


_PICTURE = {"target": "taming.models.vqgan.VQModel", "params": {}}
_WRONG: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "unknown key": (lambda p: p.update(moon=1), r"unknown key: model\.params\.moon"),
    "unknown key of the transformer": (
        lambda p: p["transformer_config"]["params"].update(n_layers=2),
        r"unknown key: model\.params\.transformer_config\.params\.n_layers",
    ),
    "another class": (
        lambda p: p["transformer_config"].update(target="taming.x.CodeGPT"),
        r"transformer_config\.target: CodeGPT is not supported, only GPT",
    ),
    "no class": (lambda p: p.update(first_stage_config={}), r"target: must be the name"),
    "no object": (lambda p: p.update(first_stage_config=3), "must be a mapping with target"),
    "a depth map": (lambda p: p.update(cond_stage_config=_PICTURE), "a picture as the condition"),
    "its own codes": (
        lambda p: p.update(cond_stage_config="__is_first_stage__"),
        "a picture as the condition",
    ),
    "boxes": (
        lambda p: p.update(cond_stage_config={"target": "taming.DummyCondStage", "params": {}}),
        "boxes in a scene",
    ),
    "heads": (
        lambda p: p["transformer_config"]["params"].update(n_head=5),
        "n_head: must divide n_embd",
    ),
    "a window of a larger picture": (
        lambda p: p["transformer_config"]["params"].update(block_size=15),
        "block_size: 15 positions, but a whole picture takes 16",
    ),
    "more classes than tokens": (
        lambda p: p["cond_stage_config"]["params"].update(n_classes=81),
        "vocab_size: 80 tokens, but codes and conditions go up to 80",
    ),
    "codes that see what is not drawn yet": (
        lambda p: p["transformer_config"]["params"].update(n_unmasked=2),
        "n_unmasked: 2, of 1 before the codes",
    ),
    "two means": (
        lambda p: p["first_stage_config"]["params"]["ddconfig"].update(double_z=True),
        r"ddconfig\.double_z",
    ),
    "widths": (
        lambda p: p["first_stage_config"]["params"]["ddconfig"].update(z_channels=64),
        "z_channels: must equal embed_dim where the quantizer is gumbel",
    ),
    "used codes": (
        lambda p: p["first_stage_config"]["params"].update(remap="used.npy"),
        r"first_stage_config\.params\.remap",
    ),
    "an order of another shape": (
        lambda p: p.update(permuter_config={"target": "ZCurve", "params": {"H": 4, "W": 8}}),
        "4×8 is no square",
    ),
}


@pytest.mark.parametrize("case", _WRONG)
def test_a_wrong_config_is_one_clear_error(case: str, folder: Path) -> None:
    change, message = _WRONG[case]
    edit(folder, change)
    with pytest.raises(ConfigError, match=message) as caught:
        open_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_weights_of_another_shape_are_listed(folder: Path) -> None:
    edit(folder, lambda p: p["transformer_config"]["params"].update(n_layer=3))
    with pytest.raises(KeyMismatchError, match=r"missing +blocks\.2\.attn\.key"):
        load_stage2(open_checkpoint(folder))


def test_another_order_than_the_configs_is_refused(tmp_path: Path) -> None:
    write_project(tmp_path / "p", get_preset("tiny-taming-uncond"))
    edit(tmp_path / "p", lambda params: params["permuter_config"].update(target="SpiralOut"))
    message = refusal(lambda: load_stage1(open_checkpoint(tmp_path / "p")))
    assert "permuter.forward_shuffle_idx is no spiral-out order of 4×4 codes" in message


def test_a_place_near_the_folder_is_told_from_it(folder: Path) -> None:
    for low in (folder / "configs", folder / "checkpoints"):
        assert refusal(lambda low=low: open_checkpoint(low)).endswith(  # type: ignore[misc]  # a default
            f"one folder too low: the checkpoint is {folder}"
        )
    for file in (folder / WEIGHTS, folder / f"configs/{STAMP}-project.yaml"):
        assert refusal(lambda file=file: open_checkpoint(file)).endswith(  # type: ignore[misc]  # a default
            f"is a file: the checkpoint is {folder}"
        )
    high = refusal(lambda: open_checkpoint(folder.parent))
    assert f"one folder too high: the checkpoint is {folder}" in high
    (folder / "checkpoints").rename(folder / "ckpts")
    assert load_stage2(open_checkpoint(folder)).state_dict()
    (folder / "ckpts/last.ckpt").unlink()
    missing = refusal(lambda: load_stage2(open_checkpoint(folder)))
    assert f"{folder / WEIGHTS} does not exist" in missing
