"""Shapes of the models that draw pixels' own bytes: PixelCNN, PixelCNN++, Image Transformer.

Knows no torch, and no model by name: `presets` has those. Fields are named as in the authors'
files; what the numbers mean is in the model files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.configs.numbers import Count, Share, Size
from models.configs.prior import PrefixKind
from models.configs.raw_pixels import NUM_BYTES, RawPixelsConfig

Head = Literal["categorical", "mixture"]
Attention = Literal["global", "local_1d", "local_2d"]


_OF_LOGITS = "the values of each channel, given those drawn before"
_OF_MIXTURE = (
    "the 256 bytes of each channel, given those drawn before (their exact probabilities under the"
    " mixture; its components and scales stay as they are)"
)


class PicturePriorConfig:
    """What priors over pictures share: a step for each pixel, and classes or no prompt at all."""

    __slots__ = ()
    height: int
    width: int

    @property
    def num_classes(self) -> int:
        """0 for a model without a prompt."""
        return int(getattr(self, "n_classes", 0))  # which not every shape has

    @property
    def prompt_kind(self) -> PrefixKind:
        """See PriorConfig."""
        return "class" if self.num_classes else "none"

    @property
    def prompt_len(self) -> int:
        """See PriorConfig."""
        return 1

    @property
    def prompt_vocab_size(self) -> int:
        """See PriorConfig."""
        return max(self.num_classes, 1)

    @property
    def num_steps(self) -> int:
        """See PriorConfig."""
        return self.height * self.width

    @property
    def draws(self) -> str:
        """What a filter is applied to."""
        return _OF_LOGITS


@dataclass(frozen=True, slots=True)
class PixelCNNConfig(PicturePriorConfig):
    """van den Oord et al. 2016, "Pixel recurrent neural networks": masked convolutions.

    `filters` is the narrow width inside a block, twice that runs between the blocks.
    """

    height: Size = 32
    width: Size = 32
    channels: Literal[1, 3] = 3
    levels: Size = NUM_BYTES
    filters: Size = 128
    num_blocks: Count = 15
    output_filters: Size = 1024
    kernel_size_in: Size = 7
    kernel_size: Size = 3

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """See PriorConfig."""
        return (self.levels,) * self.channels

    @property
    def summary(self) -> str:
        """See PriorConfig."""
        return f"PixelCNN, {self.num_blocks} blocks of {self.filters}"

    def row_bytes(self, number_bytes: int) -> int:
        """See PriorConfig: the lines that a kernel sees of the picture and in each block."""
        first, other = self.kernel_size_in // 2, self.kernel_size // 2
        image = (first + 1) * (self.width + 2 * first) * self.channels
        block = (other + 1) * (self.width + 2 * other) * self.filters
        sums = 2 * (2 + self.num_blocks) * self.filters
        return (image + self.num_blocks * block + 2 * sums) * number_bytes


@dataclass(frozen=True, slots=True)
class GatedPixelCNNConfig(PicturePriorConfig):
    """van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders".

    A vertical stack without a blind spot beside a horizontal one, gated; `hidden_fmaps` must be a
    multiple of the channels, so that both halves of a gate have the same channel groups.
    """

    height: Size = 32
    width: Size = 32
    channels: Literal[1, 3] = 3
    color_levels: Size = NUM_BYTES
    hidden_fmaps: Size = 120
    causal_ksize: Size = 7
    hidden_ksize: Size = 7
    hidden_layers: Count = 6
    out_hidden_fmaps: Size = 60
    n_classes: Size = 10

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """See PriorConfig."""
        return (self.color_levels,) * self.channels

    @property
    def summary(self) -> str:
        """See PriorConfig."""
        return f"gated PixelCNN, {self.hidden_layers} layers of {self.hidden_fmaps}"

    def row_bytes(self, number_bytes: int) -> int:
        """See PriorConfig: lines of the vertical stack, one line of the horizontal one."""
        radius = max(self.causal_ksize, self.hidden_ksize) // 2
        line = self.width + 2 * radius
        image = (radius + 2) * line * self.channels
        layers = self.hidden_layers * (radius + 2) * line * self.hidden_fmaps
        shared = 2 * (1 + self.hidden_layers) * self.hidden_fmaps * (self.width + 2)
        return (2 * image + layers + shared) * number_bytes


@dataclass(frozen=True, slots=True)
class PixelCNNPPConfig(PicturePriorConfig):
    """Salimans et al. 2017, "PixelCNN++": `scales` resolutions, a mixture of logistics.

    Height and width must be divisible by 2 ** (scales - 1). `n_classes` 0 is a model without a
    prompt.
    """

    height: Size = 32
    width: Size = 32
    input_channels: Literal[1, 3] = 3
    nr_resnet: Size = 5
    nr_filters: Size = 160
    nr_logistic_mix: Size = 10
    scales: Size = 3
    n_classes: Count = 0
    dropout: Share = 0.0

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """See PriorConfig."""
        return (NUM_BYTES,) * self.input_channels

    @property
    def draws(self) -> str:
        """What a filter is applied to."""
        return _OF_MIXTURE

    @property
    def num_parameters_per_pixel(self) -> int:
        """Numbers that the head gives for a pixel's mixture."""
        return mixture_width(self.input_channels, self.nr_logistic_mix)

    @property
    def summary(self) -> str:
        """See PriorConfig."""
        return f"PixelCNN++, {self.scales} scales of {self.nr_resnet} blocks of {self.nr_filters}"

    def row_bytes(self, number_bytes: int) -> int:
        """See PriorConfig: of every map the last three lines."""
        numbers = 3 * (self.width + 2) * (self.input_channels + 1)  # the picture's own
        for scale in range(self.scales):
            ups, downs = self.nr_resnet, self.nr_resnet + (scale < self.scales - 1)
            # Two streams; what goes on to another scale is of one sign, so half a map each way.
            maps = 2 * (2 * (ups + downs) + 3)
            numbers += maps * 3 * (self.width // 2**scale + 2) * 2 * self.nr_filters
        return numbers * number_bytes


@dataclass(frozen=True, slots=True)
class ImageTransformerConfig(PicturePriorConfig):
    """Parmar et al. 2018, "Image Transformer": attention in blocks of the picture.

    Its sequence is channels (`distr` categorical) or pixels (mixture). `block_length` is that of
    1-D attention; `query_shape` and `memory_flange` are rows and columns of the 2-D one.
    `total_key_depth` and `total_value_depth` 0 are the width. `n_classes` 0 is without a prompt.
    """

    height: Size = 32
    width: Size = 32
    channels: Literal[1, 3] = 3
    distr: Head = "categorical"
    attn_type: Attention = "local_1d"
    block_length: Count = 256
    query_shape: tuple[Size, Size] = (16, 16)
    memory_flange: tuple[Count, Count] = (16, 32)
    hidden_size: Size = 512
    nlayers: Size = 12
    num_heads: Size = 4
    filter_size: Size = 2048
    total_key_depth: Count = 0
    total_value_depth: Count = 0
    num_mixtures: Size = 10
    mixture_layout: Literal["channels_first", "channels_last"] = "channels_first"
    n_classes: Count = 0
    dropout: Share = 0.0

    @property
    def key_depth(self) -> int:
        """Width of all heads' keys together."""
        return self.total_key_depth or self.hidden_size

    @property
    def value_depth(self) -> int:
        """Width of all heads' values together."""
        return self.total_value_depth or self.hidden_size

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of positions."""
        return self.height, self.width * (self.channels if self.distr == "categorical" else 1)

    @property
    def num_steps(self) -> int:
        """See PriorConfig."""
        return self.grid[0] * self.grid[1]

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """See PriorConfig."""
        return (NUM_BYTES,) * (1 if self.distr == "categorical" else self.channels)

    @property
    def draws(self) -> str:
        """What a filter is applied to."""
        return _OF_MIXTURE if self.distr == "mixture" else _OF_LOGITS

    @property
    def drawing_block(self) -> tuple[int, int] | None:
        """Of positions, where one block is drawn after another."""
        return self.query_shape if self.attn_type == "local_2d" else None

    @property
    def summary(self) -> str:
        """See PriorConfig."""
        seen = self.attn_type.replace("_", " ")
        return (
            f"Image Transformer, {self.nlayers} layers of {self.hidden_size}, {self.distr}, {seen}"
        )

    def row_bytes(self, number_bytes: int) -> int:
        """See PriorConfig: keys and values of the positions that can still be seen."""
        is_ring = self.attn_type == "local_1d" and 2 * self.block_length < self.num_steps
        slots = 2 * self.block_length if is_ring else self.num_steps
        return self.nlayers * slots * (self.key_depth + self.value_depth) * number_bytes


PixelPriorConfig = PixelCNNConfig | GatedPixelCNNConfig | PixelCNNPPConfig | ImageTransformerConfig


def codec_for(config: PixelPriorConfig) -> RawPixelsConfig:
    """The only codec whose codes such a prior draws."""
    size = config.height, config.width
    if isinstance(config, PixelCNNPPConfig):
        return RawPixelsConfig(*size, config.input_channels)
    if isinstance(config, ImageTransformerConfig):
        by_channel = config.distr == "categorical"
        return RawPixelsConfig(
            *size, config.channels, by_channel=by_channel, block=config.drawing_block
        )
    return RawPixelsConfig(*size, config.channels, max(config.vocab_sizes))


def mixture_width(channels: int, num_mixtures: int) -> int:
    """Numbers that describe one pixel: weights, and of each channel means, scales, coefficients.

    A single channel has no coefficients.
    """
    return num_mixtures * (10 if channels == 3 else 3)
