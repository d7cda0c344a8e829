import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models.configs.rankers import ClipConfig
from models.errors import (
    ConfigError,
    CorruptFileError,
    KeyMismatchError,
    MissingFileError,
    UnsafePickleError,
)
from models.rerank.clip import ClipScorer
from models.rerank.clip_files import load, read_weights, tokenize_with
from tests.models.golden import GOLDEN, arrays, facts

# Importing open_clip takes seconds; it also meets deprecations of its own dependencies.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SMALL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
CLIP = ClipConfig("small", "clip/weights.safetensors", "clip/config.json")


def _model(config: dict[str, Any]) -> torch.nn.Module:
    import open_clip  # noqa: PLC0415 - slow, and only these tests need it

    torch.manual_seed(0)
    model: torch.nn.Module = open_clip.CLIP(**config).eval()
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint folder with a small CLIP of our own."""
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text(json.dumps(SMALL))
    save_file(_model(SMALL).state_dict(), tmp_path / CLIP.weights)
    return tmp_path


def _pixels() -> torch.Tensor:
    return torch.rand((3, 3, 48, 48), generator=torch.Generator().manual_seed(1))


def _scores(scorer: ClipScorer) -> torch.Tensor:
    return scorer.scores(scorer.text_features("a red heart"), _pixels())


def test_a_small_clip_of_the_folder_scores(folder: Path) -> None:
    scores = _scores(load(CLIP, folder))
    assert scores.shape == (3,)
    assert scores.abs().max() <= 1
    assert len(set(scores.tolist())) == 3


@pytest.mark.parametrize("suffix", ["pt", "torchscript.pt"])
def test_all_weight_formats_give_the_same_scores(folder: Path, suffix: str) -> None:
    config = SMALL | {"quick_gelu": True}
    (folder / "clip" / "config.json").write_text(json.dumps(config))
    model = _model(config)
    save_file(model.state_dict(), folder / CLIP.weights)
    wanted = _scores(load(CLIP, folder))
    path = folder / f"weights.{suffix}"
    if suffix == "pt":
        torch.save({"state_dict": model.state_dict()}, path)
    else:
        torch.jit.save(torch.jit.script(model), path)
    assert torch.equal(_scores(load(ClipConfig("small", path.name, CLIP.config), folder)), wanted)


def test_openai_files_mean_quick_gelu(folder: Path) -> None:
    model = _model(SMALL | {"quick_gelu": True})
    scalars = {"input_resolution": torch.tensor(32.0), "vocab_size": torch.tensor(49408.0)}
    torch.save(model.state_dict() | scalars, folder / "openai.pt")
    state, is_openai = read_weights(folder / "openai.pt")
    assert is_openai
    assert state.keys() == model.state_dict().keys()
    scorer = load(ClipConfig("small", "openai.pt", CLIP.config), folder)
    exact_gelu = load(CLIP, folder)
    assert not torch.equal(_scores(scorer), _scores(exact_gelu))


def test_the_checkpoints_own_tokenizer_can_serve_clip(folder: Path) -> None:
    config = SMALL | {"text_cfg": SMALL["text_cfg"] | {"vocab_size": 320, "pool_type": "last"}}
    described = {"model_cfg": config, "tokenizer": "checkpoint"}
    (folder / "clip" / "config.json").write_text(json.dumps(described))
    save_file(_model(config).state_dict(), folder / CLIP.weights)
    shutil.copytree(GOLDEN / "mindalle_text" / "tokenizer", folder / "tokenizer")
    scorer = load(CLIP, folder)
    assert not torch.equal(scorer.text_features("a tree"), scorer.text_features("a tower"))
    assert torch.equal(scorer.text_features("A TREE"), scorer.text_features("a tree"))
    assert scorer.text_features("a" * 100_000).isfinite().all()


def test_a_models_own_mean_and_std_are_used(folder: Path) -> None:
    plain = _scores(load(CLIP, folder))
    described = {"model_cfg": SMALL, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "clip" / "config.json").write_text(json.dumps(described))
    assert not torch.equal(_scores(load(CLIP, folder)), plain)


def test_recorded_clip_tokens_also_of_prompts_that_are_too_long() -> None:
    import open_clip  # noqa: PLC0415 - slow, and only these tests need it

    tokenize = tokenize_with(open_clip.get_tokenizer("ViT-B-32-quickgelu"))
    recorded = arrays("clip_rank")
    assert recorded["clip_too_long"].any()
    for prompt, wanted in zip(facts("clip_rank")["prompts"], recorded["clip_tokens"], strict=True):
        assert tokenize(prompt)[0].tolist() == wanted.tolist()


@pytest.mark.parametrize("prompt", ["", "\ud800", "a" * 100_000, "😀" * 30_000, "&amp;" * 20_000])
def test_no_prompt_is_an_exception(folder: Path, prompt: str) -> None:
    features = load(CLIP, folder).text_features(prompt)
    assert features.shape == (16,)
    assert features.norm().sub(1).abs() < 1e-5


def test_wrong_tensors_are_listed(folder: Path) -> None:
    state = _model(SMALL).state_dict()
    del state["ln_final.bias"]
    save_file(state | {"extra": torch.zeros(1)}, folder / CLIP.weights)
    with pytest.raises(KeyMismatchError) as caught:
        load(CLIP, folder)
    assert caught.value.report.missing == ("ln_final.bias",)
    assert caught.value.report.unexpected == ("extra",)


def test_unknown_models_and_missing_files_are_named(folder: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere"):
        load(ClipConfig("small", "nowhere.pt"), folder)
    for name in ("ViT-Z-99", "hf-hub:somebody/something"):
        with pytest.raises(ConfigError, match=name):
            load(ClipConfig(name, CLIP.weights), folder)
    with pytest.raises(MissingFileError, match=r"no\.json"):
        load(ClipConfig("small", CLIP.weights, "no.json"), folder)
    (folder / "clip" / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        load(CLIP, folder)
    (folder / "clip" / "config.json").write_text('{"embed_dim": 3, "vision": {}}')
    with pytest.raises(ConfigError, match="can't build"):
        load(CLIP, folder)


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ({"model_cfg": [1]}, r"config\.json: model_cfg: must be an object"),
        ({"model_cfg": SMALL, "preprocess_cfg": None}, "preprocess_cfg: must be an object"),
        ({"model_cfg": SMALL, "preprocess_cfg": {"mean": [0.5]}}, "mean: must be three numbers"),
        ({"model_cfg": SMALL | {"vision_cfg": 7}}, "open_clip can't build 'small'"),
        (
            {"model_cfg": SMALL | {"text_cfg": SMALL["text_cfg"] | {"heads": 0}}},
            "open_clip can't build 'small'",
        ),
    ],
)
def test_a_description_that_can_not_be_is_refused(
    folder: Path, description: dict[str, object], said: str
) -> None:
    (folder / "clip" / "config.json").write_text(json.dumps(description))
    with pytest.raises(ConfigError, match=said):
        load(CLIP, folder)


def test_damaged_weights_are_called_so(folder: Path) -> None:
    path = folder / CLIP.weights
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptFileError, match=r"weights\.safetensors"):
        load(CLIP, folder)


class _Bomb(torch.nn.Module):
    def __init__(self, target: Path) -> None:
        super().__init__()
        self._target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self._target}",)


def test_a_pickle_that_would_run_code_is_refused(folder: Path) -> None:
    torch.save({"state_dict": {"a": _Bomb(folder / "made")}}, folder / "bomb.pt")
    with pytest.raises(UnsafePickleError, match=r"posix\.system"):
        load(ClipConfig("small", "bomb.pt", CLIP.config), folder)
    assert not (folder / "made").exists()
