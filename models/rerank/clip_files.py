"""Build the CLIP that a checkpoint names: architecture and tokenizer by open_clip, own weights.

Weights may be OpenAI's TorchScript files, open_clip's state dicts or safetensors; none is unpickled
beyond tensors. A JSON file in the folder may describe a model that open_clip has no name for, in
open_clip's own terms; `"tokenizer": "checkpoint"` in it means the text ids of the image model.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models import lookalikes
from models.configs.rankers import ClipConfig
from models.errors import (
    ConfigError,
    CorruptFileError,
    KeyMismatchError,
    KeyReport,
)
from models.files.checkpoint import TOKENIZER_FOLDER
from models.files.documents import json_in
from models.files.pickles import read_state_dict
from models.files.torchscript import is_torchscript, read_tensors
from models.files.weights import shapes
from models.rerank.clip import ClipScorer
from models.rerank.preprocess import Preprocess
from models.tokenizer import Tokenizer, well_formed

# A text of more bytes than this holds more than the 77 tokens that a CLIP reads; open_clip's
# tokenizer takes quadratic time in the length of a word, so nothing longer is given to it.
_MAX_PROMPT_BYTES = 2048
_RANKER = "the ranker"
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
# Scalars in OpenAI's files that are no weights, and a mask that open_clip makes itself.
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")


def load(clip: ClipConfig, folder: Path, device: torch.device | str = "cpu") -> ClipScorer:
    """Load the scorer of a checkpoint folder, in float32.

    Raises:
        CheckpointError: a file is missing or damaged, the model is unknown, or they do not fit.
    """
    path = folder / clip.weights
    state, is_openai = read_weights(path)
    description = _described(clip, folder)
    model = _build(clip.model_name, description.get("model_cfg"), is_openai)
    _load_state(model, state, path)
    return ClipScorer(
        model.eval().requires_grad_(False).to(device),
        _tokenize(clip.model_name, description, folder, model),
        _preprocess(model, description.get("preprocess_cfg", {})),
        device,
    )


def own_description(clip: ClipConfig, folder: Path) -> dict[str, Any]:
    """In open_clip's terms, of a model that reads the image model's text ids.

    Raises:
        CheckpointError: missing or damaged; a ConfigError also where it reads other text ids.
    """
    description = _described(clip, folder)
    if description.get("tokenizer") != "checkpoint":
        raise ConfigError(f"{folder}: its ranker reads other text ids than the image model's")
    return description


def load_weights(model: nn.Module, clip: ClipConfig, folder: Path) -> None:
    """Give an open_clip model the weights of a checkpoint's folder; raises as `load`."""
    path = folder / clip.weights
    _load_state(model, read_weights(path)[0], path)


def read_weights(path: Path, unread: str = "") -> tuple[dict[str, Tensor], bool]:
    """A weights file's tensors, and whether it is OpenAI's form of CLIP (which means QuickGELU).

    `unread` is a pattern of the whole names of tensors that need be no weights.

    Raises:
        CheckpointError: missing, damaged, or a pickle that asks for more than tensors.
    """
    if not path.is_file():
        raise lookalikes.missing(path)
    if path.suffix == ".safetensors":
        path.open("rb").close()  # the library says of what may not be read that it is not there
        try:
            return load_file(path), False
        except SafetensorError as error:
            what = lookalikes.content(path) or f"can't be read: {error}"
            raise CorruptFileError(f"{path} {what}") from error
    is_openai = is_torchscript(path)
    state = read_tensors(path) if is_openai else read_state_dict(path, unread=unread)
    is_openai = is_openai or "input_resolution" in state
    kept = {
        name.removeprefix("module."): tensor
        for name, tensor in state.items()
        if name.rpartition(".")[2] not in _NO_WEIGHTS
    }
    return kept, is_openai


def tokenize_with(tokenizer: Callable[[str], Tensor]) -> Callable[[str], Tensor]:
    """Guard open_clip's tokenizer against lone surrogates and against prompts without an end."""

    def tokenize(prompt: str) -> Tensor:
        text = " ".join(well_formed(prompt).split())
        return tokenizer(text.encode()[:_MAX_PROMPT_BYTES].decode(errors="ignore"))

    return tokenize


def check_reads(clip: ClipConfig, folder: Path, tokenizer: Tokenizer) -> None:
    """ConfigError where it reads the image model's text ids, and not all that `tokenizer` makes."""
    description = _described(clip, folder)
    if description.get("tokenizer") == "checkpoint":
        tokenizer.check_fits(description["model_cfg"]["text_cfg"]["vocab_size"], _RANKER)


def _described(clip: ClipConfig, folder: Path) -> dict[str, Any]:
    """Empty of a model that open_clip knows by name."""
    return _description(folder / clip.config) if clip.config else {}


def _description(path: Path) -> dict[str, Any]:
    """Accepts open_clip's folder form (model_cfg, preprocess_cfg) and the bare model config."""
    document = json_in(path)
    if not isinstance(document, dict):
        raise ConfigError(f"{path} must hold an object")
    for key in ("model_cfg", "preprocess_cfg"):
        if not isinstance(document.get(key, {}), dict):
            raise ConfigError(f"{path}: {key}: must be an object")
    if "model_cfg" in document:
        return document
    outer = {key: document.pop(key) for key in ("tokenizer", "preprocess_cfg") if key in document}
    return {"model_cfg": document, **outer}


def _build(name: str, model_cfg: dict[str, Any] | None, is_openai: bool) -> Any:
    import open_clip  # noqa: PLC0415 - takes seconds, and only a worker that re-ranks needs it

    # A name with a scheme would make open_clip look on the network.
    known = open_clip.get_model_config(name) if ":" not in name else None
    shape = model_cfg or known
    if shape is None:
        raise ConfigError(f"open_clip knows no model {name!r}")
    has_own_text = shape.pop("custom_text", False)
    if is_openai:
        shape["quick_gelu"] = True
    try:
        return (open_clip.CustomTextCLIP if has_own_text else open_clip.CLIP)(**shape)
    except Exception as error:  # a description may raise whatever its values lead to
        raise ConfigError(f"open_clip can't build {name!r}: {error!r}") from error


def _load_state(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    import open_clip.model  # noqa: PLC0415 - see _build

    if isinstance(model, open_clip.CustomTextCLIP):
        state = open_clip.model.convert_to_custom_text_state_dict(state)
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    report = KeyReport.compare(shapes(model), found)
    if not report.is_clean:
        raise KeyMismatchError(str(path), report)
    model.load_state_dict(state)


def _tokenize(
    name: str, description: dict[str, Any], folder: Path, model: Any
) -> Callable[[str], Tensor]:
    import open_clip  # noqa: PLC0415 - see _build

    if description.get("tokenizer") == "checkpoint":
        bpe = Tokenizer.load(folder / TOKENIZER_FOLDER, model.context_length)
        bpe.check_fits(model.vocab_size, _RANKER)
        return lambda prompt: torch.tensor([bpe.encode(prompt)[0]])
    if description:
        return tokenize_with(open_clip.SimpleTokenizer(context_length=model.context_length))
    try:
        return tokenize_with(open_clip.get_tokenizer(name))
    except (OSError, ValueError, ImportError) as error:  # it would fetch some from the network
        raise ConfigError(f"open_clip has no tokenizer for {name!r} here: {error}") from error


def _preprocess(model: Any, preprocess_cfg: dict[str, Any]) -> Preprocess:
    size = model.visual.image_size
    known = getattr(model.visual, "preprocess_cfg", None) or {}
    mean = preprocess_cfg.get("mean") or known.get("mean") or OPENAI_MEAN
    std = preprocess_cfg.get("std") or known.get("std") or OPENAI_STD
    side = size[0] if isinstance(size, tuple | list) else size
    return Preprocess(side, _of_channels(mean, "mean"), _of_channels(std, "std"))


def _of_channels(values: Any, name: str) -> tuple[float, float, float]:
    try:
        red, green, blue = map(float, values)
    except (TypeError, ValueError):
        raise ConfigError(f"preprocess_cfg.{name}: must be three numbers, not {values!r}") from None
    return red, green, blue
