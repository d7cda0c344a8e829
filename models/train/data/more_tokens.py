"""A tokenizer with more tokens: words and phrases that were split become one, all else stays.

They are read whatever the merges say, so that a text changes only where it has one of them. Knows
no model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from models.tokenizer import ADDED_FILE, UNK, Tokenizer
from models.train.data.tokens import bpe_model


def lengthen(folder: Path, words: Iterable[str], kept: Sequence[str], out: Path) -> int:
    """Write the tokenizer in `folder` with more words into `out`; how many.

    Those that are one token already are left out, and those that a kept text has. ConfigError
    where it is of another kind than the official checkpoints'.
    """
    old = _loaded(folder)
    bpe_model(old, "no words can be added to a tokenizer of these files")
    known = old.vocabulary()
    first = 1 + max(known.values())
    more = [_spelt(word, known) for word in dict.fromkeys(words) if not _is_token(old, word)]
    while True:  # a phrase hides words that it has
        _write(folder, more, first, out)
        new = _loaded(out)
        clashing = {number for text in kept for number in new.pieces(text) if number >= first}
        if not clashing:
            return len(more)
        more = [word for number, word in enumerate(more, first) if number not in clashing]


def _loaded(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder, context_length=1)


def _is_token(tokenizer: Tokenizer, word: str) -> bool:
    tokens = tokenizer.tokens(tokenizer.pieces(word))
    return len(tokens) == 1 and tokens != [UNK]


def _spelt(word: str, known: dict[str, int]) -> str:
    """With a capital, which is read the same, where a piece of words has its spelling."""
    return word[0].upper() + word[1:] if word in known else word


def _write(folder: Path, words: Sequence[str], first: int, out: Path) -> None:
    """The tokenizer in `folder` with these words behind all others."""
    out.mkdir(parents=True, exist_ok=True)
    for path in Tokenizer.files(folder):
        shutil.copyfile(path, out / path.name)
    ids = json.loads((folder / ADDED_FILE).read_text()) if (folder / ADDED_FILE).exists() else {}
    ids |= {word: number for number, word in enumerate(words, first)}
    (out / ADDED_FILE).write_text(json.dumps(ids, ensure_ascii=False), "utf-8")
