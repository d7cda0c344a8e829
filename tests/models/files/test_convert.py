import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from models.configs.rankers import ClipConfig
from models.errors import (
    ConfigError,
    CorruptFileError,
    HashMismatchError,
    KeyMismatchError,
    MissingFileError,
)
from models.files.checkpoint import load_stage1, load_stage2, load_tokenizer, open_checkpoint
from models.files.convert import FolderInUseError, convert, save
from models.files.shards import read_manifest, verify
from models.presets.register import get_preset
from models.stage1.vqgan import VQGAN
from models.stage2.transformer import Transformer
from tests.models.golden import GOLDEN, SETS
from tests.models.mindalle import codec_shape, load_transformer, load_vqgan, shape


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    convert(GOLDEN / "mindalle_text", tmp_path / "converted")
    return tmp_path / "converted"


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_converted_folder_is_the_same_model(
    name: str, dtype: torch.dtype | None, tmp_path: Path
) -> None:
    source = open_checkpoint(GOLDEN / name)
    target = convert(GOLDEN / name, tmp_path / "out", dtype)
    assert target.layout == "converted"
    assert target.preset == source.preset
    stored = str(dtype or torch.float32).removeprefix("torch.")
    assert read_manifest(target.folder)["dtype"] == {"stage1": "float32", "stage2": stored}
    for load, kept in ((load_stage1, torch.float32), (load_stage2, dtype or torch.float32)):
        wanted, found = load(source).state_dict(), load(target, dtype=torch.float32).state_dict()
        assert found.keys() == wanted.keys()
        for key, tensor in found.items():
            assert torch.equal(tensor, wanted[key].to(kept).float())
    assert (load_tokenizer(target) is None) == (source.preset.prompt_kind != "text")


def test_large_weights_of_the_asked_type_are_used_where_they_are_mapped(
    converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.files.shards._MAPPED_BYTES", 20_000)
    stage2 = load_transformer(converted)
    path = str(converted / "stage2-00000.safetensors")
    assert path in Path("/proc/self/maps").read_text()
    assert stage2.head.weight.isfinite().all()
    small = {k: v for k, v in stage2.state_dict().items() if v.nbytes < 20_000}
    assert small
    del stage2
    assert path not in Path("/proc/self/maps").read_text()


def test_weights_of_another_type_leave_no_mapping(converted: Path) -> None:
    stage2 = load_transformer(converted, torch.bfloat16)
    assert stage2.dtype == torch.bfloat16
    assert str(converted) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("piece_bytes", [8, 4096, 10**6])
def test_conversion_at_load_does_not_depend_on_its_pieces(
    converted: Path, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.files.shards._PIECE_BYTES", piece_bytes)
    monkeypatch.setattr("models.files.shards._MAPPED_BYTES", 0)
    exact = load_stage2(open_checkpoint(converted)).state_dict()
    for name, tensor in (
        load_stage2(open_checkpoint(converted), dtype=torch.float16).state_dict().items()
    ):
        assert torch.equal(tensor, exact[name].half())


def test_shards_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.files.shards.SHARD_BYTES", 200_000)
    target = convert(GOLDEN / "mindalle_text", tmp_path / "out")
    names = read_manifest(tmp_path / "out")["stages"]["stage2"]
    assert len(names) > 3
    assert all((tmp_path / "out" / name).stat().st_size < 210_000 for name in names)
    wanted = load_stage2(open_checkpoint(GOLDEN / "mindalle_text")).state_dict()
    found = load_stage2(target).state_dict()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_the_manifest_says_what_and_from_where(converted: Path) -> None:
    manifest = read_manifest(converted)
    assert manifest["source"]["layout"] == "official"
    assert manifest["source"]["sha256"].keys() == {"stage1_last.ckpt", "stage2_last.ckpt"}
    assert manifest["versions"]["torch"] == torch.__version__
    on_disk = {str(p.relative_to(converted)) for p in converted.rglob("*") if p.is_file()}
    assert manifest["sha256"].keys() == on_disk - {"manifest.json"}
    assert verify(converted) == len(on_disk) - 1


def test_a_changed_file_is_found_by_its_sha256(converted: Path) -> None:
    path = converted / "stage2-00000.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    open_checkpoint(converted)  # checked on demand alone: 5 GB take their time
    with pytest.raises(HashMismatchError, match=r"stage2-00000\.safetensors"):
        open_checkpoint(converted, verify_sha256=True)


def test_a_cut_shard_is_called_damaged(converted: Path) -> None:
    path = converted / "stage2-00000.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptFileError, match=r"stage2-00000\.safetensors"):
        load_stage2(open_checkpoint(converted))
    path.write_bytes(b"")
    with pytest.raises(CorruptFileError, match=r"stage2-00000\.safetensors"):
        load_stage2(open_checkpoint(converted))
    path.unlink()
    with pytest.raises(MissingFileError, match=r"stage2-00000\.safetensors"):
        load_stage2(open_checkpoint(converted))


def test_shards_that_do_not_fit_the_config_are_listed(converted: Path) -> None:
    text = (converted / "config.yaml").read_text().replace("attn_bias: true", "attn_bias: false")
    (converted / "config.yaml").write_text(text)
    with pytest.raises(KeyMismatchError, match=r"unexpected +blocks\.0\.attn\.proj\.bias"):
        load_stage2(open_checkpoint(converted))


@pytest.mark.parametrize(
    "edit",
    [
        {"format": 9},
        {"sha256": {"../../etc/passwd": "0"}},
        {"stages": {"stage1": ["/etc/passwd"]}},
        {"sha256": {"a\0b": "0"}},
        {"stages": 3},
        {"stages": {"stage1": [1]}},
        {"sha256": ["config.yaml"]},
    ],
)
def test_a_foreign_manifest_is_refused(converted: Path, edit: dict[str, object]) -> None:
    path = converted / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    with pytest.raises(CorruptFileError, match=r"manifest\.json"):
        load_stage2(open_checkpoint(converted))


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.float8_e4m3fn])
def test_shards_of_other_numbers_are_refused(converted: Path, dtype: torch.dtype) -> None:
    path = converted / "stage2-00000.safetensors"
    tensors = load_file(path)
    tensors["head.weight"] = tensors["head.weight"].to(dtype)
    save_file(tensors, path)
    with pytest.raises(CorruptFileError, match=r"safetensors: head\.weight is stored as"):
        load_stage2(open_checkpoint(converted))


def test_a_manifest_without_a_stage_names_it(converted: Path) -> None:
    path = converted / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stages": {}}))
    with pytest.raises(MissingFileError, match="stage2"):
        load_stage2(open_checkpoint(converted))


def test_nothing_is_overwritten_and_nothing_half_made_stays(tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "note").touch()
    with pytest.raises(FolderInUseError):
        convert(GOLDEN / "igpt_cls", tmp_path / "used")
    source = Path(shutil.copytree(GOLDEN / "mindalle_text", tmp_path / "source"))
    torch.save({"state_dict": {"a": torch.zeros(1)}}, source / "stage2_last.ckpt")
    with pytest.raises(KeyMismatchError):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_converted_folder_converts_again_after_its_check(converted: Path, tmp_path: Path) -> None:
    target = convert(converted, tmp_path / "again", torch.float16)
    assert load_transformer(target.folder, torch.float16).dtype == torch.float16
    (converted / "config.yaml").write_text((converted / "config.yaml").read_text() + "\n")
    with pytest.raises(HashMismatchError, match=r"config\.yaml"):
        convert(converted, tmp_path / "third")


def test_a_trained_model_is_saved_with_its_other_files(tmp_path: Path) -> None:
    clip = ClipConfig("mine", "clip/weights")
    preset = replace(get_preset("tiny-class"), name="mine", clip=clip, weights=None)
    extra = tmp_path / "weights"
    extra.write_bytes(b"clip")
    stage1, stage2 = VQGAN(codec_shape(preset)), Transformer(shape(preset))
    save(
        tmp_path / "out",
        preset,
        {"stage1": stage1.state_dict().items(), "stage2": stage2.state_dict().items()},
        torch.float16,
        extras={"clip/weights": extra},
        source={"trained": "here"},
    )
    checkpoint = open_checkpoint(tmp_path / "out", verify_sha256=True)
    assert checkpoint.preset == preset
    assert (tmp_path / "out" / "clip" / "weights").read_bytes() == b"clip"
    assert torch.equal(
        load_transformer(checkpoint.folder, torch.float16).head.weight, stage2.head.weight.half()
    )
    assert load_vqgan(checkpoint.folder).quantize.embedding.weight.dtype == torch.float32


def test_weights_that_are_no_numbers_or_too_large_are_not_converted(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "mindalle_text", tmp_path / "model"))
    path = folder / "stage2_last.ckpt"
    content = torch.load(path, weights_only=True)
    head = content["state_dict"]["head_img.weight"]
    for value, dtype in ((1e6, torch.float16), (float("nan"), None)):
        head[0, 0] = value
        torch.save(content, path)
        with pytest.raises(CorruptFileError, match=r"^head\.weight holds what is no finite number"):
            convert(folder, tmp_path / "new", dtype)
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "section",
    [
        {"clip": {"model_name": "mine", "weights": "clip/weights", "config": "../kept"}},
        {"clip": {"model_name": "mine", "weights": "../kept"}},
        {"classifier": {"weights": "../kept"}},
    ],
    ids=["clip.config", "clip.weights", "classifier.weights"],
)
def test_a_checkpoint_that_names_files_outside_itself_overwrites_none(
    section: dict[str, object], tmp_path: Path
) -> None:
    own = "igpt_cls" if "classifier" in section else "mindalle_text"
    source = Path(shutil.copytree(GOLDEN / own, tmp_path / "unpacked/source"))
    (source / "clip").mkdir()
    (source / "clip/weights").write_bytes(b"clip")
    document = yaml.safe_load((source / "config.yaml").read_text())
    (source / "config.yaml").write_text(yaml.safe_dump(document | section))
    (tmp_path / "unpacked/kept").write_text("theirs")
    (tmp_path / "kept").write_text("ours")
    with pytest.raises(ConfigError, match=r"\.\./kept is not inside the checkpoint's folder"):
        convert(source, tmp_path / "model")
    assert (tmp_path / "kept").read_text() == "ours"
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["../kept", "/kept", "clip/../../kept"])
def test_no_file_is_saved_outside_the_folder(name: str, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    extra.write_bytes(b"theirs")
    with pytest.raises(ConfigError, match="not inside the checkpoint's folder"):
        save(tmp_path / "out", get_preset("tiny-class"), {}, extras={name: extra})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["extra"]
