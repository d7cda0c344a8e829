"""Tensors from somewhere → the parameters of a module built on the meta device.

Knows neither file formats nor key translations: those are a `WeightSource`'s. One tensor at a time
is converted and put in place, so a second copy of the model never exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from models.errors import Shape

Module = TypeVar("Module", bound=nn.Module)


class WeightSource(Protocol):
    """Where a module's tensors come from."""

    def check(self, needed: dict[str, Shape]) -> None:
        """Raise KeyMismatchError, in the file's own names, unless it holds exactly `needed`."""

    def tensors(
        self, needed: dict[str, Shape], device: torch.device, dtype: torch.dtype | None
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield each needed tensor once by the module's name, on the device, in the type.

        A type of None keeps the file's. What fits already may be a view of the mapped file.
        """


class JoinedWeights:
    """A `WeightSource` for a module of parts, by their names with a dot: each from its own."""

    def __init__(self, parts: Mapping[str, WeightSource]) -> None:
        self._parts = parts

    def check(self, needed: dict[str, Shape]) -> None:
        """See WeightSource."""
        for name, source in self._parts.items():
            source.check(_below(name, needed))

    def tensors(
        self, needed: dict[str, Shape], device: torch.device, dtype: torch.dtype | None
    ) -> Iterator[tuple[str, Tensor]]:
        """See WeightSource."""
        for name, source in self._parts.items():
            for leaf, tensor in source.tensors(_below(name, needed), device, dtype):
                yield name + leaf, tensor


def _below(part: str, needed: dict[str, Shape]) -> dict[str, Shape]:
    return {name.removeprefix(part): s for name, s in needed.items() if name.startswith(part)}


def shapes(module: nn.Module) -> dict[str, Shape]:
    """Name → shape of everything in the module's state dict."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def on_meta(make: Callable[[], Module]) -> Module:
    """Build a module that has shapes and no memory, ready for `fill`."""
    with torch.device("meta"), _WithoutInit():
        return make()


def fill(
    module: nn.Module, source: WeightSource, device: torch.device | str, dtype: torch.dtype
) -> None:
    """Give a meta-device module its parameters, frozen and in evaluation mode.

    A tensor that already has this device and type is taken as it is: for a mapped file that means
    no copy at all.

    Raises:
        CheckpointError: the source's tensors are not exactly the module's.
    """
    needed = shapes(module)
    source.check(needed)
    for name, tensor in source.tensors(needed, torch.device(device), dtype):
        place(module, name, tensor)
    module.eval()


class _WithoutInit(TorchFunctionMode):
    """Leaves out normal_, for which the meta device would import 150 MB of torch's compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") == "normal_":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def place(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put one parameter in, whatever the device of the one before."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    setattr(owner, leaf, nn.Parameter(tensor, requires_grad=False))
