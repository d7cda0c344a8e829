"""Learn the text tokenizer from captions: `python -m models.train.bpe`.

With `--init` a checkpoint's gets a token for each name and word of other languages, but for those
that English has.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from models.errors import ConfigError
from models.files.checkpoint import tokenizer_folder
from models.flags import count
from models.train.data import sources
from models.train.data.data_set import Bilingual, DataSet
from models.train.data.more_tokens import lengthen
from models.train.data.tokens import CONTEXT_LENGTH, VOCAB_SIZE, is_learnt, load_or_learn
from models.train.options import add_init, parser_of
from models.train.start import own_tokenizer, preset_of

_NUM_TRIED = 2000


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = parser_of("bpe", "Learn the text tokenizer from captions.")
    sources.add_arguments(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/tokenizer"),
        help="the tokenizer's folder (default: %(default)s)",
    )
    about = f"tokens of a new one (default: {VOCAB_SIZE})"
    parser.add_argument("--size", type=count, help=about)
    add_init(parser, "add words of other languages to this checkpoint's tokenizer")
    args = parser.parse_args(argv)
    if args.checkpoint and args.size:
        raise ConfigError("--size: how many words --init adds is for the data to say")
    # Texts alone are read; of this size the art will be wanted anyway, once it is made.
    data = sources.opened(args, preset_of(args.checkpoint).stage1.size[0])
    if is_learnt(args.out):
        print(
            f"kept: {args.out} holds a tokenizer; remove it, or give another --out, for a new one"
        )
    elif args.checkpoint:
        _lengthen(args.checkpoint, data, args.out)
    tokenizer = load_or_learn(data, args.out, args.size or VOCAB_SIZE)
    rng = Random(1)
    drawn = [data.caption(data.draw(rng), rng) for _ in range(_NUM_TRIED)]
    cut = sum(tokenizer.encode(text)[1] for text in drawn)
    print(f"{cut} of {len(drawn)} captions are cut at {CONTEXT_LENGTH} tokens")


def _lengthen(checkpoint: Path, data: DataSet, out: Path) -> None:
    """Write the checkpoint's tokenizer with the words of a dictionary, English as it was."""
    if not isinstance(data, Bilingual):
        raise ConfigError("--init: adds other languages' words, which --data scenes alone has")
    before = len(own_tokenizer(checkpoint).vocabulary())
    words = (meaning.word for meaning in data.dictionary())
    added = lengthen(tokenizer_folder(checkpoint), words, tuple(data.english()), out)
    print(f"{added} tokens more than the {before} of {checkpoint}")


if __name__ == "__main__":
    main()
