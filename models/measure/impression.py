"""What a network and a judge make of many drawn pictures, gathered in one pass over their files.

Of each prompt's candidates so many are accepted, the best by the model's own ranker; for each such
number figures are gathered side by side. In memory stay some thousand features, of which precision
and recall are computed, and no pictures. Draws nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.measure.drawings import Drawn
from models.measure.metrics.gaussian import Gaussian
from models.measure.metrics.inception_score import InceptionScore
from models.measure.metrics.manifold import NEIGHBOUR, precision_recall
from models.measure.networks import Looked, Network
from models.rerank.ranker import Ranker, ranking

MAX_MANIFOLD = 10_000  # features of a set; at 2,048 numbers 80 MB
_AT_ONCE = 32  # pictures that go through a network together
_TOGETHER = 512  # features that are computed with together


@dataclass(slots=True)
class Crowd:
    """A set of pictures in a network's eyes."""

    score: InceptionScore
    gaussian: Gaussian = field(default_factory=Gaussian)
    num: int = 0
    has_classes: bool = False
    _waiting: list[Looked] = field(default_factory=list)
    _num_waiting: int = 0
    _rows: list[Tensor] = field(default_factory=list)
    _num_rows: int = 0

    def add(self, num: int, looked: Looked | None) -> None:
        """Take so many pictures in; where no network looks, they are counted."""
        self.num += num
        if looked is None:
            return
        self._waiting.append(looked)
        self._num_waiting += len(looked.features)
        if self._num_waiting >= _TOGETHER:
            self._settle()

    def _settle(self) -> None:
        """Compute with what has come: a picture at a time would be slow, and scatter memory."""
        if not self._waiting:
            return
        features = torch.cat([looked.features.cpu() for looked in self._waiting])
        logits = [looked.logits for looked in self._waiting if looked.logits is not None]
        self._waiting, self._num_waiting = [], 0
        self.gaussian.add(features)
        kept = features[: MAX_MANIFOLD - self._num_rows]
        if len(kept):
            self._rows.append(kept.clone())
            self._num_rows += len(kept)
        if logits:
            self.has_classes = True
            self.score.add(torch.cat(logits))

    def figures(self, real: Crowd | Gaussian | None) -> dict[str, float | None]:
        """Of this set, and against the real one."""
        self._settle()
        if isinstance(real, Crowd):
            real._settle()
        gaussian = real.gaussian if isinstance(real, Crowd) else real
        precision, recall = self._precision_recall(real)
        is_known = gaussian is not None and self.gaussian.num > 1
        return {
            "pictures": float(self.num),
            "Fréchet distance": self.gaussian.distance(gaussian) if gaussian and is_known else None,
            "Inception score": self.score.value if self.has_classes else None,
            "precision": precision,
            "recall": recall,
        }

    def _precision_recall(
        self, real: Crowd | Gaussian | None
    ) -> tuple[float, float] | tuple[None, None]:
        if not isinstance(real, Crowd) or min(self._num_rows, real._num_rows) <= NEIGHBOUR:
            return None, None
        return precision_recall(torch.cat(self._rows), torch.cat(real._rows))


def crowd_of(network: Network, pixels: Iterable[Tensor], total: int) -> Crowd:
    """Batches of pictures [n, 3, H, W] as one set."""
    crowd = Crowd(InceptionScore(total))
    for batch in pixels:
        crowd.add(len(batch), network.look(batch))
    return crowd


@dataclass(slots=True)
class Impression:
    """Of one drawing: a set for each number accepted, and all scores, [n] of each prompt."""

    crowds: dict[int, Crowd]
    own: dict[int, list[float]]  # the ranker's scores of what was accepted
    picked: dict[int, list[float]]  # the judge's
    ranked: list[Tensor] = field(default_factory=list)
    judged: list[Tensor] = field(default_factory=list)

    def take(self, drawn: Drawn, looked: Looked | None, judged: Tensor | None) -> None:
        """One prompt's candidates."""
        order, scores = ranking(drawn.scores), [s for s in drawn.scores if s is not None]
        has_scores = len(scores) == len(drawn.scores)
        for number, crowd in self.crowds.items():
            best = order[:number]
            crowd.add(len(best), _part(looked, best))
            if has_scores:
                self.own[number] += [scores[place] for place in best]
            if judged is not None:
                self.picked[number] += judged[best].tolist()
        if has_scores:
            self.ranked.append(torch.tensor(scores))
        if judged is not None:
            self.judged.append(judged)

    def figures(self, number: int, real: Crowd | Gaussian | None) -> dict[str, float | None]:
        """Of what was accepted."""
        crowd = self.crowds[number].figures(real)
        scores = {"ranker's score": self.own[number], "judge's score": self.picked[number]}
        return {who: statistics.fmean(s) if s else None for who, s in scores.items()} | crowd


def _part(looked: Looked | None, places: list[int] | slice) -> Looked | None:
    if looked is None:
        return None
    logits = None if looked.logits is None else looked.logits[places]
    return Looked(looked.features[places], logits)


def num_accepted(share: float, num: int) -> int:
    """How many of so many candidates; at least one."""
    return max(1, round(share * num))


def impression(
    drawn: Iterable[Drawn],
    num_prompts: int,
    network: Network | None,
    judge: Ranker | None,
    accepted: Sequence[int],
) -> Impression:
    """Look at what was drawn for so many prompts, and accept so many of each."""
    made = Impression(
        {number: Crowd(InceptionScore(num_prompts * number)) for number in accepted},
        {number: [] for number in accepted},
        {number: [] for number in accepted},
    )
    for group in _groups(drawn):
        pixels = [one.pixels() for one in group]
        parts = _looks(network, pixels)
        for one, pictures, looked in zip(group, pixels, parts, strict=True):
            made.take(one, looked, _judged(judge, one, pictures))
    return made


def _groups(drawn: Iterable[Drawn]) -> Iterator[list[Drawn]]:
    """Prompts together, so that a network has enough pictures at a time."""
    group: list[Drawn] = []
    for one in drawn:
        group.append(one)
        if sum(len(each.files) for each in group) >= _AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def _looks(network: Network | None, pixels: Sequence[Tensor]) -> Iterator[Looked | None]:
    if network is None:
        yield from (None for _ in pixels)
        return
    looked = network.look(torch.cat(list(pixels)))
    begin = 0
    for part in pixels:
        yield _part(looked, slice(begin, begin := begin + len(part)))


def _judged(judge: Ranker | None, drawn: Drawn, pixels: Tensor) -> Tensor | None:
    features = judge.features(drawn.ask.prompt) if judge else None
    return None if judge is None or features is None else judge.scores(features, pixels)
