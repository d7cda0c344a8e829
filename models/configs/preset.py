"""A model by name, and how it is drawn from where a request says nothing. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass

from models.configs.codec import CodecConfig, levels_of
from models.configs.enhancement import Enhancement
from models.configs.numbers import Size
from models.configs.prior import PrefixKind, PriorConfig
from models.configs.rankers import ClassifierConfig, ClipConfig
from models.configs.views import View


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
    def likelihood_weight(self) -> float:
        """What a nat per code of a picture's log-likelihood counts in its score."""
        return self.clip.likelihood_weight if self.clip else 0.0

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
