"""Shapes of the models as dataclasses, and the neutral questions that others ask of them.

Knows no torch, so that the API process can read it, and no model by name: `presets` has those. What
the numbers mean is in the model files; fields are named as in the official config.yaml.
"""

from __future__ import annotations

from dataclasses import Field, dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

from annotated_types import Ge, Gt, Le

from models.configs.backbone import BackboneConfig
from models.configs.enhancement import Enhancement
from models.configs.rankers import ClassifierConfig, ClipConfig
from models.configs.views import View

PrefixKind = Literal["text", "class", "none"]
# What a number may be is said to whoever checks a document; nothing is checked here.
Size = Annotated[int, Gt(0)]
Count = Annotated[int, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Amount = Annotated[float, Ge(0)]
CodeOrder = Literal[
    "raster", "subsample", "zcurve", "spiral-out", "spiral-in", "random", "alternate"
]
Prompt = str | int | None  # text, a class, or nothing: as the model's `prompt_kind` says


class CodecConfig(Protocol):
    """What every stage 1's shape answers, whatever its own fields are."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # Any: as dataclasses declare it

    @property
    def size(self) -> tuple[int, int]: ...  # width and height of its pictures, pixels
    @property
    def code_shape(self) -> tuple[int, int]: ...  # codes of one picture: steps T, depth D
    @property
    def vocab_sizes(self) -> tuple[int, ...]: ...  # how many codes it has at each depth
    @property
    def views(self) -> tuple[View, ...]: ...  # coarse to fine; none of a codec without coarse ones


class PriorConfig(Protocol):
    """What every stage 2's shape answers, whatever its own fields are."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # Any: as dataclasses declare it

    @property
    def prompt_kind(self) -> PrefixKind: ...  # what it is conditioned on
    @property
    def prompt_len(self) -> int: ...  # ids that make a prompt, padding included
    @property
    def prompt_vocab_size(self) -> int: ...  # different ids: text tokens, classes, or 1
    @property
    def num_steps(self) -> int: ...  # that make one image
    @property
    def vocab_sizes(self) -> tuple[int, ...]: ...  # codes to draw from, at each depth of a step
    @property
    def summary(self) -> str: ...  # its size in a few words, for people

    def row_bytes(self, number_bytes: int) -> int:
        """Memory that one row's state takes, with numbers of so many bytes."""


@runtime_checkable
class Levelled(Protocol):
    """What a shape answers besides whose steps have several codes a level."""

    @property
    def codes_per_level(self) -> tuple[int, ...]: ...  # in a step, the coarsest first


@dataclass(frozen=True, slots=True)
class VQGANConfig(BackboneConfig):
    """Shape of a VQGAN: pixels ↔ a grid of codes.

    Its `quantizer` takes the nearest of the codebook's vectors, or, as in models that were trained
    with the Gumbel-softmax relaxation, the code with the largest logit. Codes are drawn in
    `order`, for which see `orders`.
    """

    embed_dim: Size = 256
    n_embed: Size = 16384
    quantizer: Literal["nearest", "gumbel"] = "nearest"
    order: CodeOrder = "raster"

    @property
    def code_shape(self) -> tuple[int, int]:
        return self.grid_size**2, 1

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        return (self.n_embed,)


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """Shape of the transformer over codes; `prefix` says what stands before the first code.

    With `vocab_size` it is the minGPT of taming-transformers: one table of so many tokens for
    prompt and codes, and one of `block_size` positions that run through both. Where there is no
    prompt it begins with the tokens `start`; the first `n_unmasked` positions see each other.
    """

    prefix: PrefixKind = "text"
    embed_dim: Size = 1536
    n_layers: Size = 42
    n_heads: Size = 24
    vocab_size_img: Size = 16384
    ctx_len_img: Size = 256
    vocab_size_txt: Count = 16384
    ctx_len_txt: Count = 64
    n_classes: Count = 0
    vocab_size: Count = 0
    block_size: Count = 0
    start: tuple[Count, ...] = (0,)
    n_unmasked: Count = 0
    mlp_bias: bool = True
    attn_bias: bool = True
    gelu_use_approx: bool = False
    embd_pdrop: Share = 0.0
    resid_pdrop: Share = 0.0
    attn_pdrop: Share = 0.0

    @property
    def prompt_kind(self) -> PrefixKind:
        return self.prefix

    @property
    def prompt_len(self) -> int:
        if self.prefix == "text":
            return self.ctx_len_txt
        return len(self.start) if self.prefix == "none" else 1

    @property
    def prompt_vocab_size(self) -> int:
        return self.vocab_size_txt if self.prefix == "text" else max(self.n_classes, 1)

    @property
    def num_steps(self) -> int:
        return self.ctx_len_img

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        return (self.vocab_size_img,)

    @property
    def summary(self) -> str:
        return f"{self.n_layers} layers of {self.embed_dim}, {self.n_heads} heads"

    def row_bytes(self, number_bytes: int) -> int:
        return 2 * self.n_layers * self.embed_dim * self.num_positions * number_bytes

    @property
    def num_positions(self) -> int:
        """Cache positions a row needs; the last code is drawn but never fed back."""
        return self.prompt_len + self.ctx_len_img - 1

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.embed_dim // self.n_heads


@dataclass(frozen=True, slots=True)
class StackConfig:
    """Shape of one stack of transformer blocks: a body over steps, or a head over their codes."""

    embed_dim: Size
    n_layers: Count
    n_heads: Size
    mlp_bias: bool = True
    attn_bias: bool = True
    gelu_use_approx: bool = False
    attn_pdrop: Share = 0.0
    resid_pdrop: Share = 0.1


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What a request gets when it names nothing else: of a filter one value, or one per level."""

    temperature: float | tuple[float, ...] = 1.0
    top_k: Size | tuple[Size, ...] | None = 256
    top_p: float | tuple[float, ...] | None = None
    num_candidates: Size = 16


@dataclass(frozen=True, slots=True)
class Preset:
    """A model by name: shapes, how it is sampled, where its weights lie and under which licence.

    `weights` is a folder below models/weights, `None` for a checkpoint that the operator brings, or
    "random" for seeded random weights built in memory.
    """

    name: str
    description: str
    licence: str
    stage1: CodecConfig
    stage2: PriorConfig
    clip: ClipConfig | None = None
    sampling: SamplingDefaults = SamplingDefaults()
    weights: str | None = None
    classifier: ClassifierConfig | None = None
    enhancement: Enhancement | None = None

    @property
    def has_scores(self) -> bool:
        """Whether something ranks its pictures."""
        return (self.clip or self.classifier) is not None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its pictures, pixels."""
        return self.stage1.size

    @property
    def prompt_kind(self) -> PrefixKind:
        """What it is conditioned on."""
        return self.stage2.prompt_kind

    @property
    def prompt_len(self) -> int:
        """Positions that hold the prompt, padding included."""
        return self.stage2.prompt_len

    @property
    def num_classes(self) -> int | None:
        """Classes to choose from; None where the prompt is no class."""
        return self.stage2.prompt_vocab_size if self.prompt_kind == "class" else None

    @property
    def num_steps(self) -> int:
        """Steps that make one image."""
        return self.stage2.num_steps

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """How many codes there are to draw from, at each depth of a step."""
        return self.stage2.vocab_sizes

    @property
    def depth(self) -> int:
        """Codes that one step draws."""
        return len(self.vocab_sizes)

    @property
    def views(self) -> tuple[View, ...]:
        """How its pictures can be looked at, coarse to fine; empty where there is one way only."""
        return self.views_of(is_enhanced=self.enhancement is not None)

    def views_of(self, *, is_enhanced: bool) -> tuple[View, ...]:
        """The same of pictures that were enhanced, or were not."""
        plain, depth = self.stage1.views, self.depth
        if not is_enhanced:
            return plain
        return (*(plain or (View("level", "top", depth),)), View("level", "finer", depth))

    @property
    def codes_per_level(self) -> tuple[int, ...]:
        """See `levels_of`."""
        return levels_of(self.stage1)

    @property
    def codes_per_image(self) -> int:
        """Codes that make one image: what users see as progress."""
        return self.num_steps * self.depth

    def row_bytes(self, number_bytes: int) -> int:
        """Device memory of one row in flight, with numbers of so many bytes."""
        return self.stage2.row_bytes(number_bytes)


def levels_of(codec: CodecConfig) -> tuple[int, ...]:
    """How many of a step's codes each level has, the coarsest first; mostly one."""
    return codec.codes_per_level if isinstance(codec, Levelled) else (1,) * codec.code_shape[1]
