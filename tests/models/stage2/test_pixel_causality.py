"""No pixel sees what is drawn later, and each sees all that it is to see: by gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.configs.pixels import (
    GatedPixelCNNConfig,
    ImageTransformerConfig,
    PixelCNNConfig,
    PixelCNNPPConfig,
    PixelPriorConfig,
)
from models.stage2.gated_pixel_cnn import GatedPixelCNN
from models.stage2.image_transformer import ImageTransformer
from models.stage2.local_attention import plan_of
from models.stage2.masked_conv import cells_before, conv_mask
from models.stage2.pixel_cnn import PixelCNN
from models.stage2.pixel_cnn_pp import PixelCNNPP
from tests.models.pixel_models import (
    built,
    classes_of,
    codec_of,
    pictures,
    transformer,
)


def _moved(config: PixelPriorConfig, of: Callable[[Tensor], Tensor]) -> Tensor:
    """Whether an output depends on each channel of each pixel, [C, H, W] bool.

    By its gradient, of a few networks: in a single one a unit may happen to be silent.
    """
    moved = torch.zeros(pictures(config, 1)[0].shape, dtype=torch.bool)
    for seed in range(3):
        x = (pictures(config, 1).double() / 128 - 0.9).requires_grad_(True)
        (gradient,) = torch.autograd.grad(of(_head(built(config, seed), config, x)), x)
        moved |= gradient[0] != 0
    return moved


def _head(module: nn.Module, config: PixelPriorConfig, x: Tensor) -> Tensor:
    """[C or 1, H, W, numbers] of a picture in real numbers: by channel where each has its own."""
    classes = classes_of(config, 1)
    match module:
        case PixelCNN():
            return module.logits(x)[0]
        case GatedPixelCNN():
            return cast(Tensor, module(x, classes))[0]
        case PixelCNNPP():
            return cast(Tensor, module(x, classes)).permute(0, 2, 3, 1)
        case _:
            return cast(Tensor, module(x * 127.5 + 127.5, classes))


def _plain(size: tuple[int, int], channels: Literal[1, 3], kernel: int) -> PixelPriorConfig:
    return PixelCNNConfig(*size, channels, 3, 24, 2, 24, kernel, 3)


def _gated(size: tuple[int, int], channels: Literal[1, 3], kernel: int) -> PixelPriorConfig:
    return GatedPixelCNNConfig(*size, channels, 3, 18, kernel, 5, 2, 18, 2)


def _pp(size: tuple[int, int], channels: Literal[1, 3], scales: int) -> PixelPriorConfig:
    whole = 2 ** (scales - 1)
    height, width = (-(-side // whole) * whole for side in size)
    return PixelCNNPPConfig(height, width, channels, 2, 4, 2, scales)


_SIZES = st.tuples(st.integers(2, 6), st.integers(2, 6))
_CHANNELS = st.sampled_from([1, 3])
_SHAPES = st.one_of(
    st.builds(_plain, _SIZES, _CHANNELS, st.sampled_from([3, 5, 7])),
    st.builds(_gated, _SIZES, _CHANNELS, st.sampled_from([3, 5, 7])),
    st.builds(_pp, _SIZES, _CHANNELS, st.integers(1, 3)),
    st.builds(
        lambda attn, size: transformer(attn, "mixture", size),
        st.sampled_from(["global", "local_1d", "local_2d"]),
        _SIZES,
    ),
)


@settings(max_examples=15)
@given(config=_SHAPES, place=st.integers(0, 10**6))
def test_a_pixel_moves_with_its_whole_context_and_nothing_else(
    config: PixelPriorConfig, place: int
) -> None:
    """The gradient is exactly zero at and after it, and not zero at all that it is to see."""
    step = place % (config.height * config.width)
    i, j = divmod(codec_of(config).order.tolist()[step], config.width)
    has_channels = isinstance(config, PixelCNNConfig | GatedPixelCNNConfig)
    for channel in range(len(config.vocab_sizes) if has_channels else 1):
        moved = _moved(config, lambda out, c=channel: out[c, i, j].sum())  # type: ignore[misc]  # a default is no argument of it
        assert torch.equal(moved, _context(config, step, channel).expand_as(moved))


@settings(max_examples=10)
@given(attn=st.sampled_from(["global", "local_1d", "local_2d"]), size=_SIZES)
def test_a_channel_of_a_transformer_sees_what_its_plan_says(
    attn: str, size: tuple[int, int]
) -> None:
    """Whose input is an embedding: no gradient, but another value changes what follows."""
    config = transformer(attn, "categorical", size)
    assert isinstance(config, ImageTransformerConfig)
    module, codes = built(config), codec_of(config).codes(pictures(config, 1))
    assert isinstance(module, ImageTransformer)
    classes, plan = classes_of(config, 1), module.tables.plan
    for fed in (0, len(plan.block) // 2, len(plan.block) - 2):
        other = codes.clone()
        other[0, fed] = (other[0, fed] + 1) % 256
        apart = module.features(other, classes) - module.features(codes, classes)
        seen = _reached(plan.support, config)[:, fed + 1] & plan.is_fed[fed + 1]
        assert torch.equal(apart[0].abs().amax(-1) > 0, seen)


def _context(config: PixelPriorConfig, step: int, channel: int) -> Tensor:
    """What a pixel's channel is to see, [C or 1, H, W]."""
    grid = (config.height, config.width)
    seen = torch.zeros(config.height * config.width, dtype=torch.bool)
    if isinstance(config, ImageTransformerConfig):
        plan = plan_of(config)
        inputs = _reached(plan.support, config)[step] & plan.is_fed
        seen[codec_of(config).order[:-1][inputs[1:]]] = True
        return seen.view(1, *grid)
    seen[:step] = True
    if isinstance(config, PixelCNNPPConfig):
        return seen.view(1, *grid)
    if isinstance(config, GatedPixelCNNConfig):
        return _of_gated(config, step, channel)
    cone = (seen.view(1, *grid) & _cone(config, step)).repeat(config.channels, 1, 1)
    cone[:channel, step // config.width, step % config.width] = True
    return cone


def _of_gated(config: GatedPixelCNNConfig, step: int, channel: int) -> Tensor:
    """The authors' first block ends in a mask of type A: no group sees itself there.

    So the last channel that a group of it sees is two before its own; what that costs to the left
    the next blocks see again, but for the pixel beside. A single channel sees nothing to the left.
    """
    i, j = divmod(step, config.width)
    seen = torch.zeros(config.channels, config.height, config.width, dtype=torch.bool)
    seen[:, :i] = True
    if config.channels == 3:
        seen[:, i, : j if channel else max(j - 1, 0)] = True
        seen[:1, i, max(j - 1, 0) : j] = True
        seen[: max(channel - 1, 0), i, j] = True
    return seen


def _reached(support: Tensor, config: ImageTransformerConfig) -> Tensor:
    """What each position sees through all layers, [T, T]."""
    through: Tensor = torch.linalg.matrix_power(support.double(), config.nlayers)
    return through > 0


def _cone(config: PixelPriorConfig, step: int) -> Tensor:
    """What plain PixelCNN's stack reaches: it has a blind spot above on the right."""
    assert isinstance(config, PixelCNNConfig)
    reached = {divmod(step, config.width)}
    for side in (*[config.kernel_size] * config.num_blocks, config.kernel_size_in):
        offsets = [*map(tuple, cells_before((side, side), torch.device("cpu")).tolist()), (0, 0)]
        reached |= {(i + a, j + b) for i, j in reached for a, b in offsets}
    cone = torch.zeros(config.height, config.width, dtype=torch.bool)
    for i, j in reached:
        if i >= 0 and 0 <= j < config.width:
            cone[i, j] = True
    return cone


@settings(max_examples=20)
@given(
    kind=st.sampled_from(["A", "B"]),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 5])),
    channels=st.sampled_from([1, 3]),
)
def test_a_mask_lets_earlier_groups_through(
    kind: str, sizes: tuple[int, int, int], channels: int
) -> None:
    num_out, num_in, side = sizes
    mask = conv_mask(kind, (num_out, num_in, side, side), channels)  # type: ignore[arg-type]  # a literal's value
    centre = side // 2
    assert mask[:, :, :centre].all()
    assert not mask[:, :, centre + 1 :].any()
    assert not mask[:, :, centre, centre + 1 :].any()
    for out in range(num_out):
        for into in range(num_in):
            apart = out % channels - into % channels
            assert mask[out, into, centre, centre] == (apart > 0 if kind == "A" else apart >= 0)
