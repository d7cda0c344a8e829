import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.errors import (
    CheckpointError,
    ConfigError,
    CorruptFileError,
    KeyMismatchError,
    MissingFileError,
)
from models.files.checkpoint import load_stage1, load_stage2, load_tokenizer, open_checkpoint
from tests.models.golden import GOLDEN, SETS, arrays

State = dict[str, Tensor]
Edit = Callable[[State], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the text model's folder that a test may damage."""
    return Path(shutil.copytree(GOLDEN / "mindalle_text", tmp_path / "model"))


def _edit(path: Path, edit: Edit) -> None:
    content = torch.load(path, weights_only=True)
    edit(content["state_dict"])
    torch.save(content, path)


@pytest.mark.parametrize(
    ("name", "layout"),
    [("mindalle_text", "official"), ("igpt_cls", "lightning"), ("igpt_uncond", "official")],
)
def test_layouts_are_told_apart(name: str, layout: str) -> None:
    assert open_checkpoint(GOLDEN / name).layout == layout


@pytest.mark.parametrize("name", SETS)
def test_no_parameter_stays_without_a_value(name: str) -> None:
    checkpoint = open_checkpoint(GOLDEN / name)
    for model in (load_stage1(checkpoint), load_stage2(checkpoint)):
        assert not model.training
        tensors = [*model.parameters(), *model.buffers()]
        assert all(t.device.type == "cpu" and not t.requires_grad for t in tensors)


def test_split_and_lightning_files_give_the_same_model(tmp_path: Path) -> None:
    source = GOLDEN / "igpt_cls"
    content = torch.load(source / "last.ckpt", weights_only=True)
    for stage in ("stage1", "stage2"):
        state = {
            key.removeprefix(f"{stage}."): tensor
            for key, tensor in content["state_dict"].items()
            if key.startswith(f"{stage}.")
        }
        torch.save({"state_dict": state}, tmp_path / f"{stage}_last.ckpt")
    shutil.copy(source / "config.yaml", tmp_path)
    split, single = open_checkpoint(tmp_path), open_checkpoint(source)
    assert (split.layout, single.layout) == ("official", "lightning")
    for load in (load_stage1, load_stage2):
        a, b = load(split).state_dict(), load(single).state_dict()
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_query_key_and_value_are_fused_in_this_order() -> None:
    state = torch.load(GOLDEN / "mindalle_text/stage2_last.ckpt", weights_only=True)["state_dict"]
    fused = load_stage2(open_checkpoint(GOLDEN / "mindalle_text")).state_dict()
    parts = [state[f"blocks.1.attn.{part}.bias"] for part in ("query", "key", "value")]
    assert torch.equal(fused["blocks.1.attn.qkv.bias"], torch.cat(parts))
    assert torch.equal(fused["head.weight"], state["head_img.weight"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_take_the_type_asked_for(dtype: torch.dtype) -> None:
    checkpoint = open_checkpoint(GOLDEN / "igpt_uncond")
    exact = load_stage2(checkpoint).state_dict()
    for name, tensor in load_stage2(checkpoint, dtype=dtype).state_dict().items():
        assert tensor.dtype == dtype
        assert torch.equal(tensor, exact[name].to(dtype))


def test_tokenizer_comes_with_text_models_alone() -> None:
    tokenizer = load_tokenizer(open_checkpoint(GOLDEN / "mindalle_text"))
    assert tokenizer is not None
    assert tokenizer.encode("A painting of a tree on the ocean")[0] == list(
        arrays("mindalle_text")["token_ids"][0]
    )
    assert load_tokenizer(open_checkpoint(GOLDEN / "igpt_cls")) is None


def test_every_wrong_key_is_listed_at_once_by_its_upstream_name(folder: Path) -> None:
    def edit(state: State) -> None:
        del state["blocks.0.attn.query.weight"], state["head_img.weight"]
        state["blocks.0.attn.extra"] = torch.zeros(1)
        state["blocks.1.mlp.0.bias"] = torch.zeros(7)
        state["tok_emb_txt.weight"] = torch.zeros(319, 64)

    _edit(folder / "stage2_last.ckpt", edit)
    with pytest.raises(KeyMismatchError) as caught:
        load_stage2(open_checkpoint(folder))
    report = caught.value.report
    assert report.missing == ("blocks.0.attn.query.weight", "head_img.weight")
    assert report.unexpected == ("blocks.0.attn.extra",)
    assert report.wrong_shape == (
        ("blocks.1.mlp.0.bias", (256,), (7,)),
        ("tok_emb_txt.weight", (320, 64), (319, 64)),
    )
    message = str(caught.value)
    assert "stage2_last.ckpt" in message
    assert "2 missing, 1 unexpected, 2 of wrong shape" in message
    assert "319×64 in the file, 320×64 by the config" in message


def test_stage_1_is_just_as_strict(folder: Path) -> None:
    _edit(folder / "stage1_last.ckpt", lambda state: state.__delitem__("decoder.conv_out.bias"))
    with pytest.raises(KeyMismatchError, match=r"missing +decoder\.conv_out\.bias"):
        load_stage1(open_checkpoint(folder))


def test_a_lightning_key_of_neither_stage_is_unexpected(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "igpt_cls", tmp_path / "model"))
    _edit(folder / "last.ckpt", lambda state: state.update({"stage3.x": torch.zeros(1)}))
    with pytest.raises(KeyMismatchError, match=r"last\.ckpt[^\n]*\n +unexpected +stage3\.x"):
        load_stage1(open_checkpoint(folder))


def test_a_config_of_another_shape_is_a_mismatch(folder: Path) -> None:
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("mlp_bias: true", "mlp_bias: false"))
    with pytest.raises(KeyMismatchError, match=r"unexpected +blocks\.0\.mlp\.0\.bias"):
        load_stage2(open_checkpoint(folder))


def test_missing_files_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere"):
        open_checkpoint(tmp_path / "nowhere")
    (folder / "stage2_last.ckpt").unlink()
    with pytest.raises(MissingFileError, match=r"stage2_last\.ckpt"):
        open_checkpoint(folder)
    (folder / "config.yaml").unlink()
    with pytest.raises(MissingFileError, match=r"config\.yaml"):
        open_checkpoint(folder)


def test_a_missing_or_wrong_tokenizer_is_named(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    vocab = next((folder / "tokenizer").glob("*vocab.json"))
    vocab.write_text(vocab.read_text().rstrip().removesuffix("}") + ', "zzzz": 999}')
    with pytest.raises(ConfigError, match="999"):
        load_tokenizer(checkpoint)
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(MissingFileError, match="tokenizer"):
        load_tokenizer(checkpoint)


def test_a_cut_file_is_one_error_of_the_family(folder: Path) -> None:
    path = folder / "stage1_last.ckpt"
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(CorruptFileError, match=r"stage1_last\.ckpt") as caught:
        load_stage1(open_checkpoint(folder))
    assert isinstance(caught.value, CheckpointError)
