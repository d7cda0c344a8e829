"""How a finished model learns other languages' words: they are to do what their English does.

Only rows of text embeddings learn, and of these only new tokens'; so whatever is asked for without
any of these words, in English above all, stays as it was, to the bit. The teacher is the model
itself, which reads the English of the same caption. Knows no data.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import ConfigError
from models.stage2.hq_transformer import HQTransformer
from models.stage2.transformer import Transformer
from models.tokenizer import WORD_END, Tokenizer
from models.train.data.data_set import Meaning
from models.train.data.tokens import ids_of
from models.train.loop.engine import Engine
from models.train.loop.learner import Learner
from models.train.loop.precision import autocast
from models.train.loop.schedule import Schedule
from models.train.recipes.clip import hits

Taught = Transformer | HQTransformer  # the priors whose words are rows of `tok_emb_txt`
_RATE = 0.02
_AVERAGE = 0.99


def check_goes_on(old: Tokenizer, new: Tokenizer) -> None:
    """ConfigError where a token of the old one is not the same in the new one."""
    if not old.vocabulary().items() <= new.vocabulary().items():
        raise ConfigError("--tokenizer: not that of --init with more tokens; make it by bpe --init")


def lengthened(rows: Tensor, old: Tokenizer, new: Tokenizer) -> Tensor:
    """Rows of an embedding [V, E] with those of new tokens, each the mean of its old pieces'."""
    names = {number: token.removesuffix(WORD_END) for token, number in new.spellings().items()}
    more = rows.new_zeros(max(0, 1 + max(names) - len(rows)), rows.shape[1])
    longer = torch.cat((rows, more))
    for number in names.keys() - set(old.vocabulary().values()):
        longer[number] = rows[old.pieces(names[number])].mean(0)
    return longer


def translated(
    rows: Tensor, dictionary: Iterable[Meaning], old: Tokenizer, new: Tokenizer
) -> Tensor:
    """Rows in which each word that is a new token begins as the mean of its English.

    But for words that stand for more than two things.
    """
    put = rows.clone()
    for number, meanings in _meanings(dictionary, old, new).items():
        texts = sorted({meaning.english for meaning in meanings})
        if len(texts) <= 2:
            means = [rows[new.pieces(text)].mean(0) for text in texts]
            put[number] = torch.stack(means).mean(0)
    return put


def to_learn(dictionary: Iterable[Meaning], old: Tokenizer, new: Tokenizer) -> frozenset[int]:
    """The new tokens that words are and that begin with less than all.

    Those of one meaning, of one token, in place have all from `translated`: a sentence of such
    words does what the English one does.
    """
    return frozenset(
        number
        for number, meanings in _meanings(dictionary, old, new).items()
        if not _is_exact(meanings, new)
    )


def _is_exact(meanings: Sequence[Meaning], tokenizer: Tokenizer) -> bool:
    texts = {meaning.english for meaning in meanings}
    is_in_place = all(meaning.is_in_place for meaning in meanings)
    return is_in_place and len(texts) == 1 and len(tokenizer.pieces(texts.pop())) == 1


def _meanings(
    dictionary: Iterable[Meaning], old: Tokenizer, new: Tokenizer
) -> dict[int, list[Meaning]]:
    """Of each word that is a new token, by its id."""
    known = set(old.vocabulary().values())
    found: dict[int, list[Meaning]] = {}
    for meaning in dictionary:
        ids = new.pieces(meaning.word)
        if len(ids) == 1 and ids[0] not in known:
            found.setdefault(ids[0], []).append(meaning)
    return found


def prior_loss(
    cells: int | None, model: Taught, foreign: Tensor, english: Tensor, codes: Tensor
) -> Tensor:
    """How far a prior is from what it says to the English [B, N] of a text [B, N]: nats a picture.

    Kullback-Leibler divergence of each cell's coarsest code, after the true codes [B, T] or
    [B, T, D]; of the first `cells` cells alone, where that is given.
    """
    first = codes[:, :cells]
    with torch.no_grad():
        wanted = model.coarsest_logits(english, first).float().softmax(-1)
    found = model.coarsest_logits(foreign, first).float().log_softmax(-1)
    return F.kl_div(found, wanted, reduction="sum") / len(codes)


def ranker_loss(model: Any, foreign: Tensor, english: Tensor) -> Tensor:
    """How far a ranker's text features are from those of the English, both [B, N]: 1 - cosine."""
    with torch.no_grad():
        wanted = model.encode_text(english, normalize=True).float()
    found = model.encode_text(foreign, normalize=True).float()
    distance: Tensor = (1 - (found * wanted).sum(1)).mean()
    return distance


@torch.no_grad()
def share_known(model: Any, names: Sequence[Meaning], tokenizer: Tokenizer) -> float:
    """Of names in other languages those whose text features are next to their English, of all."""
    english = sorted({name.english for name in names})
    wanted = model.encode_text(ids_of(tokenizer, english), normalize=True)
    found = model.encode_text(ids_of(tokenizer, (name.word for name in names)), normalize=True)
    truth = torch.tensor([english.index(name.english) for name in names])
    return hits(found @ wanted.T, truth)[0]


@dataclass(frozen=True, slots=True)
class WordPlan:
    """How fast it is learnt: `rate` times this recipe's learning rate, along a schedule."""

    schedule: Schedule
    rate: float = 1.0


class WordTrainer:
    """The update of a run: of these rows of a model's text embedding."""

    def __init__(
        self,
        model: nn.Module,
        embedding: nn.Embedding,
        learnt: Collection[int],
        loss: Callable[..., Tensor],
        plan: WordPlan,
        engine: Engine,
    ) -> None:
        self.loss, self.engine = loss, engine
        model.eval().requires_grad_(False).to(engine.device)
        rows = embedding.weight.requires_grad_(True)
        share = torch.zeros(len(rows), 1, device=engine.device)
        share[sorted(learnt)] = 1
        rows.register_hook(lambda gradient: gradient * share)  # type: ignore[no-untyped-call]  # torch's
        # Adam goes on for steps after a row was met, which most are seldom: Adagrad only then.
        self.learner = Learner(
            model,
            self._loss,
            lambda _: [torch.optim.Adagrad([rows], lr=_RATE * plan.rate)],
            plan.schedule,
            decay=_AVERAGE,
            engine=engine,
        )

    def step(self, step: int, *batch: Tensor) -> dict[str, float]:
        """One update on what the loss takes besides the model."""
        given = [value.to(self.engine.device) for value in batch]
        return {"loss": self.learner.update(step, [lambda: self.learner.compute(*given)])}

    def _loss(self, *batch: Tensor) -> Tensor:
        with autocast(self.engine.precision, self.engine.device.type):
            return self.loss(self.learner.model, *batch)
