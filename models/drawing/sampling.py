"""Logits → codes, each row by its own temperature, top_k and top_p.

Semantics are minDALL-E's (dalle/utils/sampling.py): divide by the temperature, keep what is not
below the k-th largest (so ties with it stay), softmax, cut the nucleus (the entry that crosses
top_p stays), renormalise, draw. Probabilities are then summed as 48-bit integers: integer sums
have no order, so a row's code cannot depend on the batch, the vector width or the device's scan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from models.drawing.streams import MAX_SEED

_T = TypeVar("_T")
_ONE = 2**48  # probability 1 as an integer
# Divided by less, float32 logits run over; by more, they all come out equal.
_MIN_TEMPERATURE, _MAX_TEMPERATURE = 1e-30, 1e30
_TEMPERATURES = f"in {_MIN_TEMPERATURE:g}..{_MAX_TEMPERATURE:g}"
_NO_NUCLEUS = 2.0  # above every cumulative probability: nothing is cut
# Most nuclei end within this many entries; sorting a whole vocabulary costs a CPU ten times more.
_NUCLEUS_HEAD = 1024


class InvalidSamplingError(ValueError):
    """A sampling parameter has no meaning; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


@dataclass(frozen=True, slots=True)
class RowParams:
    """How one candidate is drawn. `None` switches a filter off.

    A filter is one value for all depths of a step, or a tuple of one per depth. A `top_k` above a
    depth's vocabulary is off there.
    """

    seed: int
    candidate: int = 0
    temperature: float | tuple[float, ...] = 1.0
    top_k: int | tuple[int | None, ...] | None = None
    top_p: float | tuple[float | None, ...] | None = None

    def spread(self, levels: Sequence[int]) -> RowParams:
        """With what was given for each level of so many codes given to each of these codes."""
        return replace(
            self,
            temperature=_spread(self.temperature, levels),
            top_k=_spread(self.top_k, levels),
            top_p=_spread(self.top_p, levels),
        )

    def validate(self, vocab_sizes: Sequence[int]) -> None:
        """Refuse what has no meaning for codes of these vocabularies, one per depth.

        Raises:
            InvalidSamplingError: naming the field.
        """
        if not 0 <= self.seed <= MAX_SEED:
            raise InvalidSamplingError("seed", f"must be in 0..{MAX_SEED}, not {self.seed}")
        if not 0 <= self.candidate < 2**32:
            raise InvalidSamplingError("candidate", f"must be in 0..2**32-1, not {self.candidate}")
        depth, most = len(vocab_sizes), max(vocab_sizes)
        _check("temperature", self.temperature, depth, _is_temperature, _TEMPERATURES)
        _check("top_k", self.top_k, depth, lambda k: k is None or 1 <= k <= most, f"in 1..{most}")
        _check("top_p", self.top_p, depth, lambda p: p is None or 0 <= p <= 1, "in 0..1")


def _spread(value: _T | tuple[_T, ...], levels: Sequence[int]) -> _T | tuple[_T, ...]:
    if not isinstance(value, tuple) or len(value) != len(levels):
        return value
    return tuple(v for v, count in zip(value, levels, strict=True) for _ in range(count))


def _is_temperature(value: float) -> bool:
    return _MIN_TEMPERATURE <= value <= _MAX_TEMPERATURE


def _check(
    field: str, given: _T | tuple[_T, ...], depth: int, is_legal: Callable[[_T], bool], wanted: str
) -> None:
    if isinstance(given, tuple) and len(given) != depth:
        raise InvalidSamplingError(field, f"must be one value or {depth} of them, not {len(given)}")
    for value in given if isinstance(given, tuple) else (given,):
        if not is_legal(value):
            raise InvalidSamplingError(field, f"must be {wanted}, not {value}")


def _at(value: _T | tuple[_T, ...], depth: int) -> _T:
    return value[depth] if isinstance(value, tuple) else value


@dataclass(frozen=True, slots=True)
class Filters:
    """The parameters of B rows at one depth on the device, and what the host knows of them.

    Or at n depths of one vocabulary that are drawn at once, [B, n]. The host's knowledge only saves
    work: it never changes what a row draws.
    """

    temperature: Tensor  # [B] float32
    top_k: Tensor  # [B] int64, the vocabulary size where off
    top_p: Tensor  # [B] float32, _NO_NUCLEUS where off
    max_top_k: int | None  # no top_k that is on is larger; None where all are off
    has_top_p: bool

    @classmethod
    def of(
        cls,
        params: Sequence[RowParams],
        vocab_size: int,
        device: torch.device,
        depth: int = 0,
        *,
        closed_nucleus: bool = False,
    ) -> Filters:
        """Put the parameters of some rows on the device.

        A closed nucleus is taming-transformers': where the codes before one make up top_p exactly,
        that one is kept, too.
        """
        limits = [min(_at(p.top_k, depth) or vocab_size, vocab_size) for p in params]
        nuclei = [_at(p.top_p, depth) for p in params]
        temperatures = [_at(p.temperature, depth) for p in params]
        on = [limit for limit in limits if limit < vocab_size]
        cuts = [_NO_NUCLEUS if p is None else p for p in nuclei]
        top_p = torch.tensor(cuts, dtype=torch.float32)  # whole numbers may be ints
        if closed_nucleus:  # what is below the next number is not above this one
            top_p = top_p.nextafter(torch.tensor(torch.inf))
        return cls(
            temperature=torch.tensor(temperatures, dtype=torch.float32).to(device),
            top_k=torch.tensor(limits).to(device),
            top_p=top_p.to(device),
            max_top_k=_rounded(max(on), vocab_size) if on else None,
            has_top_p=any(p is not None for p in nuclei),
        )

    @property
    def work(self) -> tuple[int | None, bool]:
        """What a draw has to do; equal for equal kernels."""
        return self.max_top_k, self.has_top_p


def _rounded(limit: int, vocab_size: int) -> int:
    """Up to a power of two, so that few kinds of steps are captured."""
    return min(1 << (limit - 1).bit_length(), vocab_size)


def weights(logits: Tensor, filters: Filters) -> Tensor:
    """Logits [B, V] of any float type → filtered probabilities as integers [B, V] int64.

    Weight / sum of the row's weights is the probability, 0 where filtered out; computed in float32.
    Several depths at once are [B, n, V] in and out.
    """
    scaled = logits.float() / filters.temperature[..., None]
    if filters.max_top_k is not None:
        scaled = _keep_top_k(scaled, filters)
    fixed = (scaled.softmax(-1) * _ONE).long()  # exact, _ONE being a power of two
    return _keep_nucleus(fixed, filters.top_p) if filters.has_top_p else fixed


def draw(logits: Tensor, filters: Filters, uniform: Tensor) -> Tensor:
    """Logits [B, V] → one code per row, [B] int64; several depths at once are [B, n, V] → [B, n].

    `uniform` are the rows' random numbers for this position, float64 in [0, 1), one for each code.
    """
    cumulative = weights(logits, filters).cumsum(-1)  # [..., V]
    total = cumulative[..., -1:]
    target = torch.minimum((uniform[..., None] * total.double()).long(), total - 1)
    codes = torch.searchsorted(cumulative, target, right=True).squeeze(-1)
    return codes.clamp(max=logits.shape[-1] - 1)  # NaN logits must not index out of the vocabulary


def probabilities(logits: Tensor, filters: Filters) -> Tensor:
    """What `draw` draws from: [B, V] float64, each row sums to 1."""
    kept = weights(logits, filters)
    return kept.double() / kept.sum(-1, keepdim=True)


def _keep_top_k(scaled: Tensor, filters: Filters) -> Tensor:
    assert filters.max_top_k is not None
    leaders = scaled.topk(filters.max_top_k, dim=-1).values  # [B, K] descending
    place = (filters.top_k - 1).clamp(max=filters.max_top_k - 1)
    smallest = leaders.gather(-1, place[..., None])
    is_off = filters.top_k[..., None] >= scaled.shape[-1]
    return scaled.masked_fill((scaled < smallest) & ~is_off, -torch.inf)


def _keep_nucleus(fixed: Tensor, top_p: Tensor) -> Tensor:
    """Keep entry i of the descending order iff the sum of those before it is below top_p.

    Equal entries count in the order of their codes, as a stable sort has them.
    """
    ordered, sums = _descending(fixed, top_p)
    num_kept = (sums < top_p[..., None]).sum(-1, keepdim=True) + 1  # [..., 1]
    last = (num_kept - 1).clamp(max=ordered.shape[-1] - 1)
    smallest = ordered.gather(-1, last)
    above = fixed > smallest
    level = fixed == smallest
    room = num_kept - above.sum(-1, keepdim=True)
    kept = fixed.masked_fill(~(above | (level & (level.cumsum(-1) <= room))), 0)
    return fixed.where(top_p[..., None] >= _NO_NUCLEUS, kept)


def _descending(fixed: Tensor, top_p: Tensor) -> tuple[Tensor, Tensor]:
    """Entries in descending order and their running sums (float32, as the reference compares)."""
    if fixed.device.type == "cpu" and fixed.shape[-1] > 4 * _NUCLEUS_HEAD:
        ordered = fixed.topk(_NUCLEUS_HEAD, dim=-1).values
        sums = _running_sum(ordered)
        if bool(((sums[..., -1] >= top_p) | (top_p >= _NO_NUCLEUS)).all()):
            return ordered, sums
    ordered = fixed.sort(dim=-1, descending=True).values
    return ordered, _running_sum(ordered)


def _running_sum(ordered: Tensor) -> Tensor:
    return (ordered.cumsum(-1).double() / _ONE).float()
