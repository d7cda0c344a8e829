"""Learn the text tokenizer from the data set's own captions, in the official checkpoints' files.

`python -m models.train.bpe` writes it. Words outside the captions still split into characters.
"""

from __future__ import annotations

import argparse
import json
import string
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tokenizers.implementations.char_level_bpe import CharBPETokenizer

from models.tokenizer import PAD, UNK, Tokenizer
from models.train.data.captions import vocabulary
from models.train.data.emoji import DataSet, open_data

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
    yield from data.names() * 3
    yield from vocabulary() * 20
    yield from (" ".join(string.ascii_lowercase + string.digits + string.punctuation),) * 3


def load_or_learn(data: DataSet, folder: Path) -> Tokenizer:
    """The run's tokenizer, learnt at the first call."""
    if not (folder / f"{NAME}-vocab.json").exists():
        learn(texts(data), folder)
    return Tokenizer.load(folder, CONTEXT_LENGTH)


def vocab_size(folder: Path) -> int:
    """How many tokens the vocabulary in `folder` has."""
    return len(json.loads((folder / f"{NAME}-vocab.json").read_text()))


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Learn the text tokenizer from captions.")
    parser.add_argument("--art", type=Path, default=Path("runs/emoji-art"))
    parser.add_argument("--data", type=Path, help="a folder of pictures and captions instead")
    parser.add_argument("--out", type=Path, default=Path("runs/tokenizer"))
    args = parser.parse_args(argv)
    data = open_data(args.data, args.art)
    tokenizer = load_or_learn(data, args.out)
    rng = Random(1)
    drawn = [data.caption(data.draw(rng), rng) for _ in range(2000)]
    cut = sum(tokenizer.encode(text)[1] for text in drawn)
    print(f"{cut} of {len(drawn)} captions are cut at {CONTEXT_LENGTH} tokens")


if __name__ == "__main__":
    main()
