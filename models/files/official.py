"""The official checkpoint files, as a `WeightSource`.

A file is a pickle of tensors, read with `weights_only=True` and mapped into memory, never unpickled
any other way; what Lightning keeps beside them becomes objects that do nothing. Which of its keys
make up one of our tensors is told by the family.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from models.configs.codec import CodecConfig
from models.configs.prior import PriorConfig
from models.errors import KeyMismatchError, KeyReport, Shape
from models.families import unread_keys, upstream_rows, upstream_shapes
from models.files.pickles import OF_TRAINING, read_state_dict

_LIGHTNING_STAGES = ("stage1.", "stage2.")
_WRAPPERS = ("module.", "_orig_mod.", "_forward_module.")  # of DataParallel, compile, Fabric

_GENERATOR, _DISCRIMINATOR = "generator.", "discriminator."  # of a codec's training run

_log = logging.getLogger(__name__)


class OfficialWeights:
    """The tensors of one official file.

    `key_prefix` selects a stage in a Lightning checkpoint, `state_name` one of several state dicts.
    `unread` is a pattern of the file's own keys that are left out, beside the family's.
    """

    def __init__(
        self,
        path: Path,
        key_prefix: str,
        config: CodecConfig | PriorConfig,
        state_name: str = "state_dict",
        unread: str = "",
    ) -> None:
        of_family = unread_keys(config)
        patterns = (unread, f"{re.escape(key_prefix)}(?:{of_family})" if of_family else "")
        left_out = "|".join(pattern for pattern in patterns if pattern)
        state = _unwrapped(read_state_dict(path, state_name, left_out, inert=OF_TRAINING), path)
        self._where = f"{path} ({key_prefix}*)" if key_prefix else str(path)
        self._config = config
        others = tuple(stage for stage in _LIGHTNING_STAGES if key_prefix and stage != key_prefix)
        own = {
            name.removeprefix(key_prefix): tensor
            for name, tensor in state.items()
            if not (others and name.startswith(others))
        }
        self._state = _generator(own)

    def check(self, needed: dict[str, Shape]) -> None:
        """See WeightSource."""
        found = {name: tuple(tensor.shape) for name, tensor in self._state.items()}
        report = KeyReport.compare(upstream_shapes(self._config, needed), found)
        if not report.is_clean:
            raise KeyMismatchError(self._where, report)

    def tensors(
        self, needed: dict[str, Shape], device: torch.device, dtype: torch.dtype | None
    ) -> Iterator[tuple[str, Tensor]]:
        """See WeightSource."""
        for name, shape in needed.items():
            keys = upstream_shapes(self._config, {name: shape})
            parts = [self._state[key] for key in keys]
            joined = torch.cat(parts) if len(parts) > 1 else parts[0]
            tensor = joined[upstream_rows(self._config, name)] if shape else joined
            yield name, tensor.view(shape).to(device=device, dtype=dtype)


def _unwrapped(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The state of the model itself, where it was saved from inside a wrapper."""
    for wrapper in _WRAPPERS:
        if state and all(name.startswith(wrapper) for name in state):
            _log.warning(
                "%s was saved from inside a wrapper: the %r before every key is taken off;"
                " `mindalle convert` writes a folder without it",
                path,
                wrapper,
            )
            inner = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
            return _unwrapped(inner, path)
    return state


def _generator(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The codec itself, where its training's second network stands in the file, too."""
    if not all(name.startswith((_GENERATOR, _DISCRIMINATOR)) for name in state):
        return state
    return {
        name.removeprefix(_GENERATOR): tensor
        for name, tensor in state.items()
        if name.startswith(_GENERATOR)
    }
