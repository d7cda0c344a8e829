"""Learn the text tokenizer from captions: `python -m models.train.bpe`."""

from __future__ import annotations

from pathlib import Path
from random import Random

from models.flags import count
from models.train.data import sources
from models.train.data.tokens import CONTEXT_LENGTH, VOCAB_SIZE, is_learnt, load_or_learn
from models.train.options import parser_of

_NUM_TRIED = 2000


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = parser_of("bpe", "Learn the text tokenizer from captions.")
    sources.add_arguments(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/tokenizer"))
    parser.add_argument("--size", type=count, default=VOCAB_SIZE, help="tokens (%(default)s)")
    args = parser.parse_args(argv)
    data = sources.opened(args)
    if is_learnt(args.out):
        print(
            f"kept: {args.out} holds a tokenizer; remove it, or give another --out, for a new one"
        )
    tokenizer = load_or_learn(data, args.out, args.size)
    rng = Random(1)
    drawn = [data.caption(data.draw(rng), rng) for _ in range(_NUM_TRIED)]
    cut = sum(tokenizer.encode(text)[1] for text in drawn)
    print(f"{cut} of {len(drawn)} captions are cut at {CONTEXT_LENGTH} tokens")


if __name__ == "__main__":
    main()
