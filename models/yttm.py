"""The text files that YouTokenToMe saves its BPE in → a tokenizer of the `tokenizers` library.

The library that wrote them is no longer maintained. A file holds `characters rules`, then so many
lines `code-point id`, so many lines `id id id` (two tokens and what they join to, the first rule
first), then the ids of unknown, padding, start and end. Knows no prompt and no length.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from models.errors import CorruptFileError

_WORD = "▁"  # stands before every word
_LAST_ID = 2**32 - 1  # that the `tokenizers` library has
_SPACES = Regex(r"[\t-\r \x{2581}]+")  # what the library parts words at


@dataclass(frozen=True, slots=True)
class YttmBpe:
    """A file's tokenizer, and the ids that it doesn't make itself."""

    tokenizer: Tokenizer
    start_id: int
    end_id: int


def read(path: Path, *, pad: str, unknown: str) -> YttmBpe:
    """Read a file; padding and unknown tokens get these names.

    Raises:
        CorruptFileError: it is no such file.
    """
    try:
        numbers = (int(word) for word in path.read_text(encoding="ascii").split())
        return _built(numbers, pad, unknown)
    except (ValueError, KeyError, StopIteration) as error:
        raise CorruptFileError(f"{path} is no BPE file of YouTokenToMe: {error}") from error


def _built(numbers: Iterator[int], pad: str, unknown: str) -> YttmBpe:
    num_characters, num_rules = next(numbers), next(numbers)
    tokens: dict[int, str] = {}
    for _ in range(num_characters):
        character = _character(next(numbers))
        tokens[next(numbers)] = character
    merges = []
    for _ in range(num_rules):
        left, right = tokens[next(numbers)], tokens[next(numbers)]
        merges.append((left, right))
        tokens[next(numbers)] = left + right
    unknown_id, pad_id, start_id, end_id = numbers
    tokens |= {unknown_id: unknown, pad_id: pad}
    vocab = {token: index for index, token in tokens.items()}
    if min(tokens) < 0 or max(tokens) > _LAST_ID:
        raise ValueError(f"its ids are not from 0 to {_LAST_ID}")
    if len(vocab) < len(tokens) or min(start_id, end_id) < 0:
        raise ValueError("two of its tokens are the same, or start and end have none")
    return YttmBpe(_tokenizer(vocab, merges, unknown), start_id, end_id)


def _character(code_point: int) -> str:
    if not 0 <= code_point <= sys.maxunicode or 0xD800 <= code_point <= 0xDFFF:
        raise ValueError(f"{code_point} is no character")
    return chr(code_point)


def _tokenizer(vocab: dict[str, int], merges: list[tuple[str, str]], unknown: str) -> Tokenizer:
    bpe = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token=unknown, fuse_unk=True))
    bpe.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Strip()])
    words = pre_tokenizers.Split(_SPACES, "removed")
    marks = pre_tokenizers.Metaspace(_WORD, prepend_scheme="always", split=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([words, marks])
    return bpe
