"""A tokenizer with more tokens: words that were split become one, and all else stays as it is.

Merges are added behind those that were learnt, so that a text changes only where it has one of the
new words. Knows no model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

from models.tokenizer import UNK, Tokenizer
from models.train.data.tokens import NAME, bpe_model

Pair = tuple[str, str]


class MoreTokens:
    """Adds words to a tokenizer; `kept` are texts whose ids must not change."""

    def __init__(self, tokenizer: Tokenizer, kept: Iterable[str]) -> None:
        """ConfigError where the tokenizer is of another kind than the official checkpoints'."""
        model = bpe_model(tokenizer, "no words can be added to a tokenizer of these files")
        self.tokenizer = tokenizer
        self.vocabulary = tokenizer.vocabulary()
        self.merges: dict[Pair, None] = {tuple(pair): None for pair in model["merges"]}
        self._known = self._words(kept)
        self._kept = {pair for word in self._known for pair in pairwise(self._pieces(word))}

    def add(self, texts: Iterable[str]) -> int:
        """Make one token of each of the texts' words, where kept texts allow it; how many are new.

        Words of few pieces come first: longer ones are often made of them.
        """
        words = self._words(texts) - self._known
        before = len(self.vocabulary)
        for pieces in sorted(map(self._pieces, sorted(words)), key=len):
            if UNK not in pieces:
                self._merge(pieces)
        return len(self.vocabulary) - before

    def save(self, folder: Path) -> None:
        """Write vocabulary and merges as the official checkpoints have them."""
        folder.mkdir(parents=True, exist_ok=True)
        by_id = sorted(self.vocabulary.items(), key=itemgetter(1))  # the library has no order
        vocabulary = json.dumps(dict(by_id), ensure_ascii=False)
        (folder / f"{NAME}-vocab.json").write_text(vocabulary, "utf-8")
        lines = ["#version: 0.2", *map(" ".join, self.merges)]
        (folder / f"{NAME}-merges.txt").write_text("\n".join(lines) + "\n", "utf-8")

    def _words(self, texts: Iterable[str]) -> set[str]:
        return {word for text in texts for word in self.tokenizer.words(text)}

    def _pieces(self, word: str) -> list[str]:
        """The tokens that the tokenizer splits a word into."""
        return self.tokenizer.tokens(self.tokenizer.pieces(word))

    def _merge(self, pieces: list[str]) -> None:
        """From the word's end or else from its beginning, whichever splits no kept word anew."""
        for chain in (_from_the_end(pieces), _from_the_beginning(pieces)):
            if not self._kept.isdisjoint(chain):
                continue
            for pair in chain:
                self.merges.setdefault(pair)
                self.vocabulary.setdefault("".join(pair), len(self.vocabulary))
            return


def _from_the_end(pieces: list[str]) -> list[Pair]:
    """Merges that join pieces, the last two first."""
    return [
        (pieces[place], "".join(pieces[place + 1 :])) for place in reversed(range(len(pieces) - 1))
    ]


def _from_the_beginning(pieces: list[str]) -> list[Pair]:
    """Merges that join pieces, the first two first."""
    return [("".join(pieces[:place]), pieces[place]) for place in range(1, len(pieces))]
