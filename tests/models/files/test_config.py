from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.configs.preset import SamplingDefaults
from models.configs.rankers import ClipConfig
from models.configs.transformer import TransformerConfig
from models.configs.vqgan import VQGANConfig
from models.errors import ConfigError, MissingFileError
from models.files import config, enhance_folder
from models.presets.register import PRESETS
from tests.models.golden import GOLDEN, SETS
from tests.models.mindalle import shape


def _document(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((GOLDEN / name / "config.yaml").read_text())
    return loaded


def test_official_text_config_is_read_in_full() -> None:
    preset = config.read(GOLDEN / "mindalle_text")
    assert preset.stage1 == VQGANConfig(
        embed_dim=32,
        n_embed=256,
        z_channels=48,
        resolution=64,
        ch=32,
        ch_mult=(1, 2, 1),
        num_res_blocks=2,
        attn_resolutions=(16,),
    )
    assert preset.stage2 == TransformerConfig(
        prefix="text",
        embed_dim=64,
        n_layers=3,
        n_heads=4,
        vocab_size_img=256,
        vocab_size_txt=320,
        ctx_len_txt=32,
    )


def test_imagegpt_configs_differ_in_their_prefix() -> None:
    by_class, alone = (shape(config.read(GOLDEN / name)) for name in ("igpt_cls", "igpt_uncond"))
    assert (by_class.prefix, by_class.n_classes, by_class.ctx_len_txt) == ("class", 10, 0)
    assert (alone.prefix, alone.n_classes) == ("none", 0)


def test_an_empty_config_is_the_official_model() -> None:
    preset = config.parse({}, Path("anywhere"))
    official = PRESETS["mindalle-1.3b"]
    assert preset == replace(official, clip=None)


def test_the_official_clip_is_used_where_its_file_lies(tmp_path: Path) -> None:
    clip = PRESETS["mindalle-1.3b"].clip
    assert clip is not None
    (tmp_path / "clip").mkdir()
    (tmp_path / clip.weights).touch()
    assert config.parse({}, tmp_path).clip == clip


@pytest.mark.parametrize("name", SETS)
def test_written_golden_configs_read_the_same(name: str, tmp_path: Path) -> None:
    preset = config.read(GOLDEN / name)
    config.write(tmp_path, preset)
    assert config.read(tmp_path) == preset


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_written_presets_read_the_same(name: str, tmp_path: Path) -> None:
    preset = replace(
        PRESETS[name],
        weights=None,
        description="déjà vu",
        clip=ClipConfig("small", "clip/weights.safetensors", "clip/config.json", 0.25),
        sampling=SamplingDefaults(0.7, None, 0.9, 3),
    )
    if own := preset.enhancement:
        preset = replace(preset, enhancement=replace(own, folder="finer"))
        enhance_folder.note(tmp_path / "finer", own)
    config.write(tmp_path, preset)
    assert config.read(tmp_path) == preset


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ((), "stage3"),
        (("dataset",), "path"),
        (("stage1",), "hparam"),
        (("stage1", "hparams"), "chmult"),
        (("stage2", "hparams"), "n_layer"),
    ],
)
def test_an_unknown_key_is_named_with_its_file(
    section: tuple[str, ...], key: str, tmp_path: Path
) -> None:
    document = _document("mindalle_text")
    inner = document
    for name in section:
        inner = inner[name]
    inner[key] = 1
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(document))
    path = ".".join((*section, key)).replace(".", r"\.")
    with pytest.raises(ConfigError, match=rf"config\.yaml.*unknown key: {path}$"):
        config.read(tmp_path)


@pytest.mark.parametrize("key", ["optimizer", "experiment"])
def test_training_sections_belong_to_fine_tuning_alone(key: str) -> None:
    assert key in _document("igpt_cls")
    document = _document("mindalle_text")
    document[key] = {}
    with pytest.raises(ConfigError, match=key):
        config.parse(document, Path("x"))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("stage2.hparams.n_layers", "three", "n_layers"),
        ("stage2.hparams.n_layers", 0, "n_layers"),
        ("stage2.hparams.n_layers", True, "n_layers"),
        ("stage2.hparams.n_dense_layers", 2, "must equal n_layers"),
        ("stage2.hparams.n_heads", 5, "must divide embed_dim"),
        ("stage2.hparams.ctx_len_img", 64, "makes 16×16"),
        ("stage2.hparams.ctx_len_txt", 0, r"stage2\.hparams\.ctx_len_txt: must be at least 1"),
        ("stage2.hparams.mlp_bias", "yes", "mlp_bias"),
        ("stage2.vocab_size_img", 512, "codebook of 256"),
        ("stage2.type", "gpt9", "gpt9"),
        ("stage1.type", "dvae", "dvae"),
        ("stage1.hparams.double_z", True, "double_z"),
        ("stage1.hparams.ch_mult", 4, "ch_mult"),
        ("stage1.hparams.pdrop", 1.5, r"stage1\.hparams\.pdrop: .*less than or equal to 1"),
        ("stage2.hparams.embd_pdrop", 2, r"embd_pdrop: .*less than or equal to 1"),
        ("stage1.hparams.ch_mult", [], "ch_mult: must name at least one"),
        ("stage1.hparams.in_channels", 1, "in_channels: 1, pictures have 3"),
        ("stage1.hparams.out_ch", 4, "out_ch: 4, pictures have 3"),
        ("stage1.hparams.ch", 40, "multiples of 32"),
        ("stage1.hparams.resolution", 66, "multiple of 4"),
        ("dataset.context_length", 64, "context_length"),
        ("stage1", [1], "stage1"),
    ],
)
def test_impossible_values_are_named(path: str, value: object, message: str) -> None:
    document = _document("mindalle_text")
    *sections, key = path.split(".")
    inner = document
    for name in sections:
        inner = inner[name]
    inner[key] = value
    with pytest.raises(ConfigError, match=message):
        config.parse(document, Path("x"))


def test_a_class_model_needs_its_number_of_classes() -> None:
    document = _document("igpt_cls")
    del document["stage2"]["hparams"]["n_classes"]
    with pytest.raises(ConfigError, match="n_classes"):
        config.parse(document, Path("x"))


def test_a_number_that_yaml_reads_as_text_is_still_a_number() -> None:
    document = yaml.safe_load("stage2: {hparams: {resid_pdrop: 1e-1}}")
    assert shape(config.parse(document, Path("x"))).resid_pdrop == 0.1


def test_a_small_vocabulary_lowers_the_default_top_k() -> None:
    document = _document("mindalle_text")
    document["stage2"]["vocab_size_img"] = document["stage1"]["n_embed"] = 64
    assert config.parse(document, Path("x")).sampling.top_k == 64


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"config\.yaml"):
        config.read(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="not YAML"):
        config.read(tmp_path)
    (tmp_path / "config.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"not YAML: .*#x00e9"):
        config.read(tmp_path)
    (tmp_path / "config.yaml").write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match="mapping"):
        config.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("temperature", value) for value in (0.0, -1.0, float("nan"))),
        ("top_k", 257),
        *(("top_p", value) for value in (7.0, -0.1)),
    ],
)
def test_sampling_that_no_request_could_ask_for_is_refused(name: str, value: float) -> None:
    document = _document("mindalle_text") | {"sampling": {name: value}}
    with pytest.raises(ConfigError, match=rf"sampling\.{name}"):
        config.parse(document, Path("x"))


@pytest.mark.parametrize("weight", [-0.5, "much", True, float("nan"), float("inf")])
def test_a_weight_that_no_score_could_have_is_refused(weight: object) -> None:
    clip = {"model_name": "mine", "weights": "clip/weights", "likelihood_weight": weight}
    with pytest.raises(ConfigError, match=r"clip\.likelihood_weight"):
        config.parse(_document("mindalle_text") | {"clip": clip}, Path("x"))


def test_a_part_of_the_sampling_block_keeps_the_vocabularys_top_k() -> None:
    document = _document("mindalle_text")
    document["stage2"]["vocab_size_img"] = document["stage1"]["n_embed"] = 64
    sampling = config.parse(document | {"sampling": {"temperature": 0.5}}, Path("x")).sampling
    assert sampling == SamplingDefaults(0.5, 64, None, 16)
