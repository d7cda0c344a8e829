"""The text tokenizer learnt from a data set's own captions, in the official checkpoints' files.

Words outside the captions still split into characters.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers.implementations.char_level_bpe import CharBPETokenizer
from torch import Tensor

from models.errors import ConfigError
from models.lookalikes import visible
from models.tokenizer import PAD, UNK, Tokenizer
from models.train.data.data_set import DataSet

CONTEXT_LENGTH = 16
VOCAB_SIZE = 2560
NAME = "bpe-16k"  # the official files' name, whatever the size
_DRAWS = 40_000


def learn(texts: Iterator[str], folder: Path, vocab_size: int = VOCAB_SIZE) -> None:
    """Write vocabulary and merges learnt from `texts` into `folder`."""
    bpe = CharBPETokenizer(unk_token=UNK, lowercase=True)
    alphabet = list(string.ascii_lowercase + string.digits + string.punctuation)
    bpe.train_from_iterator(
        texts,
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[PAD, UNK],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    folder.mkdir(parents=True, exist_ok=True)
    bpe.save_model(str(folder), NAME)


def texts(data: DataSet, seed: int = 0) -> Iterator[str]:
    """Captions as training draws them, every name, and single characters as words."""
    rng = Random(seed)
    for _ in range(_DRAWS):
        yield data.caption(data.draw(rng), rng)
    yield from data.names() * 30  # so that each word of a name is a token
    yield from data.vocabulary() * 20
    yield from (" ".join(string.ascii_lowercase + string.digits + string.punctuation),) * 3


def bpe_model(tokenizer: Tokenizer, refusal: str) -> dict[str, Any]:
    """A tokenizer's merges, and how a word's end is marked, as its library writes them down.

    ConfigError, with `refusal`, where it is of another kind than the official checkpoints'.
    """
    document = tokenizer.document()
    model: dict[str, Any] = document["model"]
    splits = document["normalizer"] and document["pre_tokenizer"]
    if not splits or not model["end_of_word_suffix"]:
        raise ConfigError(refusal)
    return model


def ids_of(tokenizer: Tokenizer, texts: Iterable[str]) -> Tensor:
    """Ids of texts [B, N]."""
    return torch.tensor([tokenizer.encode(text)[0] for text in texts])


def is_learnt(folder: Path) -> bool:
    """Whether a tokenizer lies there, so that none is learnt."""
    return bool(visible(folder.glob("*vocab.json"), folder))


def load_or_learn(
    data: DataSet,
    folder: Path,
    vocab_size: int = VOCAB_SIZE,
    context_length: int = CONTEXT_LENGTH,
) -> Tokenizer:
    """The run's tokenizer, learnt at the first call."""
    if not is_learnt(folder):
        learn(texts(data), folder, vocab_size)
    return Tokenizer.load(folder, context_length)


def vocab_size(folder: Path) -> int:
    """How many tokens the tokenizer in `folder` has."""
    return len(Tokenizer.load(folder, CONTEXT_LENGTH).vocabulary())
