"""A tokenizer with more tokens: words and phrases that were split become one, all else stays.

They are read whatever the merges say, so that a text changes only where it has one of them. Knows
no model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from models.tokenizer import ADDED_FILE, Tokenizer
from models.train.data.tokens import bpe_model


def lengthen(folder: Path, words: Iterable[str], kept: Sequence[str], out: Path) -> int:
    """Write the tokenizer in `folder` with more words into `out`; how many.

    Those that a kept text has are left out, so that its ids stay. ConfigError where it is of
    another kind than the official checkpoints'.
    """
    old = _loaded(folder)
    bpe_model(old, "no words can be added to a tokenizer of these files")
    added, known = old.added_words(), old.vocabulary()
    first = 1 + max(known.values())
    unread = (word for word in dict.fromkeys(words) if not _is_one_of(added, old, word))
    more = [spelt for word in unread if (spelt := _spelt(word, known)) not in known]
    with TemporaryDirectory() as draft:
        while True:  # a phrase hides words that it has
            _write(folder, added | {word: n for n, word in enumerate(more, first)}, Path(draft))
            new = _loaded(Path(draft))
            clashing = {number for text in kept for number in new.pieces(text) if number >= first}
            if not clashing:
                break
            more = [word for number, word in enumerate(more, first) if number not in clashing]
        shutil.copytree(draft, out, dirs_exist_ok=True)
    return len(more)


def _loaded(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder, context_length=1)


def _is_one_of(added: dict[str, int], tokenizer: Tokenizer, word: str) -> bool:
    ids = tokenizer.pieces(word)
    return len(ids) == 1 and ids[0] in added.values()


def _spelt(word: str, known: dict[str, int]) -> str:
    """With a capital, which is read the same, where a piece of words has its spelling."""
    return word[0].upper() + word[1:] if word in known else word


def _write(folder: Path, words: dict[str, int], out: Path) -> None:
    """The tokenizer in `folder` with these added words and no others."""
    for path in Tokenizer.files(folder):
        shutil.copyfile(path, out / path.name)
    (out / ADDED_FILE).write_text(json.dumps(words, ensure_ascii=False), "utf-8")
