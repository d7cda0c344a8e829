"""BPE dropout (Provilkov et al. 2020): a word is split in another way each time it is seen.

Merges are left out at random while a text is read, so that rare pieces are learnt, too. The
library's own draws from a generator that can't be seeded, so words are merged here. Knows no data.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

from models.errors import ConfigError
from models.tokenizer import UNK, WORD_END, Tokenizer
from models.train.data.tokens import bpe_model


class BpeDropout:
    """Reads texts as a tokenizer does, but for a `share` of its merges."""

    def __init__(self, tokenizer: Tokenizer, share: float) -> None:
        """ConfigError where it's not of the official checkpoints' kind, or has added words."""
        refusal = "--bpe-dropout: not with this tokenizer's files"
        model = bpe_model(tokenizer, refusal)
        if tokenizer.added_words():
            raise ConfigError(f"{refusal}: it has added words, which are never split")
        self.tokenizer, self.share = tokenizer, share
        self._ranks = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
        self._ids = tokenizer.vocabulary()

    def encode(self, text: str, rng: Random) -> list[int]:
        """A text's ids, as many as the tokenizer's."""
        pieces = [piece for word in self.tokenizer.words(text) for piece in self._merged(word, rng)]
        ids = [self._ids.get(piece, self._ids[UNK]) for piece in pieces]
        return self.tokenizer.fitted(ids)[0]

    def _merged(self, word: str, rng: Random) -> list[str]:
        """The merge that was learnt first comes first, of those not left out this time."""
        pieces = [*word[:-1], word[-1] + WORD_END]
        while True:
            known = [
                (rank, place)
                for place, pair in enumerate(pairwise(pieces))
                if (rank := self._ranks.get(pair)) is not None and rng.random() >= self.share
            ]
            if not known:
                return pieces
            _, place = min(known)
            pieces[place : place + 2] = ["".join(pieces[place : place + 2])]
