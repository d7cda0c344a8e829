"""Teach a finished model other languages' words: `python -m models.train words --init DIR`.

First the prior, then, with `--part ranker`, the CLIP that re-ranks. Both read by the tokenizer that
`bpe --init` makes, and what they do with an English prompt stays as it was.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn

from models.errors import ConfigError
from models.families import build_prior
from models.files import checkpoint as checkpoints
from models.flags import count
from models.rerank.clip_files import load_weights
from models.tokenizer import Tokenizer
from models.train import options, shapes, steps
from models.train.data.data_set import Bilingual, Meaning, Variant
from models.train.data.sources import opened
from models.train.loop import processes
from models.train.loop.checkpoints import averaged
from models.train.loop.engine import Engine
from models.train.loop.learner import Weights, with_weights
from models.train.loop.loaders import Loaders
from models.train.loop.precision import PRECISIONS
from models.train.loop.run import Chore, Run
from models.train.loop.schedule import Schedule
from models.train.recipes import clip, words
from models.train.start import own_tokenizer, ranker_of

_TRIES = 1000  # variants in a row that teach nothing
_PLAIN = 0.5  # of what the ranker reads about: things alone
_STEPS = 2000


@dataclass(frozen=True, slots=True)
class Lesson:
    """What both parts learn: captions in two languages, as a tokenizer has them."""

    data: Bilingual
    dictionary: tuple[Meaning, ...]
    old: Tokenizer
    tokenizer: Tokenizer
    learnt: frozenset[int]  # whose rows have something to learn

    def lengthened(self, rows: Tensor) -> Tensor:
        """An embedding's rows with those of all new tokens, known words as their English."""
        longer = words.lengthened(rows, self.old, self.tokenizer)
        return words.translated(longer, self.dictionary, self.old, self.tokenizer)

    def draw(
        self, number: int, rng: Random, pick: Callable[[Random], Variant]
    ) -> tuple[tuple[Variant, ...], Tensor, Tensor]:
        """Variants, and ids [number, N] of their captions in another language and in English.

        Only captions that have something to learn. ConfigError where nothing that is picked can be
        said so.
        """
        variants, *ids = zip(*islice(self._captions(rng, pick), number), strict=True)
        foreign, english = map(torch.tensor, ids)
        return variants, foreign, english

    def _captions(
        self, rng: Random, pick: Callable[[Random], Variant]
    ) -> Iterator[tuple[Variant, list[int], list[int]]]:
        misses = 0
        while misses <= _TRIES:
            variant = pick(rng)
            said = self.data.translated(variant, rng)
            misses += 1
            if said and not self.learnt.isdisjoint(foreign := self.tokenizer.encode(said[0])[0]):
                misses = 0
                yield variant, foreign, self.tokenizer.encode(said[1])[0]
        raise ConfigError("none of these pictures has words in another language")

    def names(self) -> list[Meaning]:
        """Of the dictionary what has a name of a thing for its English."""
        known = set(self.data.names())
        return [meaning for meaning in self.dictionary if meaning.english in known]


def lesson_of(args: Namespace, size: int) -> Lesson:
    """As the options say it; ConfigError where they don't fit each other."""
    data = opened(args, size)
    if not isinstance(data, Bilingual):
        raise ConfigError("words are of other languages, which --data scenes alone has")
    old = own_tokenizer(args.checkpoint)
    tokenizer = Tokenizer.load(args.tokenizer, old.context_length)
    words.check_goes_on(old, tokenizer)
    dictionary = data.dictionary()
    learnt = words.to_learn(dictionary, old, tokenizer)
    return Lesson(data, dictionary, old, tokenizer, learnt)


@processes.alone_in("run")
def _work(args: Namespace) -> None:
    options.prepare(args)
    (_ranker_part if args.part == "ranker" else _prior_part)(args)


def _prior_part(args: Namespace) -> None:
    source = checkpoints.open_checkpoint(args.checkpoint)
    lesson = lesson_of(args, source.preset.stage1.size[0])
    codec = checkpoints.load_stage1(source)
    begun = checkpoints.load_stage2(source, codec=codec)
    if not isinstance(begun, words.Taught):
        raise ConfigError("--init: words are taught to a transformer or an HQ-Transformer")
    weights = begun.state_dict()
    for name in ("tok_emb_txt.weight", "head_txt.weight"):
        weights[name] = lesson.lengthened(weights[name].float())
    shape = replace(begun.config, vocab_size_txt=len(weights["tok_emb_txt.weight"]))
    shapes.save(args.run, shape)
    model = build_prior(shape, codec)
    model.load_state_dict(weights)
    table, shares = options.table_of(args, lesson.data, source.preset.stage1)
    rows = {variant: row for row, variant in enumerate(table.variants)}

    def made(step: int) -> tuple[Tensor, ...]:
        variants, foreign, english = lesson.draw(
            args.batch, run.rng(step), lambda rng: table.variants[table.draw(rng, shares)]
        )
        return foreign, english, table.codes_of([rows[variant] for variant in variants])

    run = Run(args.run, args.seed)
    trainer = _trainer(args, model, "tok_emb_txt", lesson, partial(words.prior_loss, args.cells))
    _train(args, run, trainer, made)


def _ranker_part(args: Namespace) -> None:
    begun = ranker_of(args.checkpoint)
    lesson = lesson_of(args, begun.size)
    old = clip.build(begun.document)
    load_weights(old, begun.config, begun.folder)
    weights = old.state_dict()
    rows = weights["token_embedding.weight"] = lesson.lengthened(weights["token_embedding.weight"])
    begun.document["model_cfg"]["text_cfg"]["vocab_size"] = len(rows)
    model = clip.build(begun.document)
    model.load_state_dict(weights)
    images = lesson.data.images

    def pick(rng: Random) -> Variant:
        is_plain = rng.random() < _PLAIN
        return Variant(rng.choice(images)) if is_plain else lesson.data.draw(rng)

    def made(step: int) -> tuple[Tensor, ...]:
        return lesson.draw(args.batch, run.rng(step), pick)[1:]

    def look(step: int, weights: Weights) -> None:
        judged = with_weights(clip.build(begun.document), weights)
        run.log(step, val_known=words.share_known(judged, lesson.names(), lesson.tokenizer))
        run.plot("loss", "val_known")
        clip.save(run.folder / "clip", weights, begun.document)

    run = Run(args.run, args.seed)
    trainer = _trainer(args, model, "token_embedding", lesson, words.ranker_loss)
    _train(args, run, trainer, made, (args.look_every, look))


def _trainer(
    args: Namespace, model: nn.Module, name: str, lesson: Lesson, loss: Callable[..., Tensor]
) -> words.WordTrainer:
    """Of the model's embedding of that name."""
    embedding = model.get_submodule(name)
    assert isinstance(embedding, nn.Embedding)
    if args.start:
        _put_learnt(embedding.weight, lesson.learnt, averaged(args.start)[1].get(f"{name}.weight"))
    engine = Engine(Engine.usual_device(), PRECISIONS[args.precision])
    plan = words.WordPlan(Schedule(args.steps, warm_up=20), args.rate)
    return words.WordTrainer(model, embedding, lesson.learnt, loss, plan, engine)


@torch.no_grad()
def _put_learnt(rows: Tensor, numbers: frozenset[int], other: Tensor | None) -> None:
    """Rows that have something to learn as another run has learnt them."""
    if other is None or other.shape != rows.shape:
        raise ConfigError("--start: a run of another --part, or by another tokenizer")
    rows[sorted(numbers)] = other[sorted(numbers)]


def _train(
    args: Namespace,
    run: Run,
    trainer: words.WordTrainer,
    made: Callable[[int], tuple[Tensor, ...]],
    *chores: Chore,
) -> None:
    """Take the run's steps on batches that `made` makes of their numbers."""
    loaders = Loaders(made, args.loaders)

    def step_once(step: int) -> dict[str, float]:
        return trainer.step(step, *loaders.batch(step))

    steps.train(args, run, trainer.learner, step_once, chores)


def _arguments() -> ArgumentParser:
    parser = options.arguments("words", "Teach a model other languages' words.", _STEPS)
    options.add_init(parser, "the model that is taught")
    parser.add_argument(
        "--part",
        choices=("prior", "ranker"),
        default="prior",
        help="what is taught: what draws, or what re-ranks (default: %(default)s)",
    )
    options.add_tokenizer(parser, "as bpe --init made it")
    options.add_codes(parser, "of the prior: codes of its stage 1")
    options.add_shares(parser)
    parser.add_argument(
        "--cells",
        type=count,
        help="of a picture, the first ones alone, which is faster (default: all)",
    )
    parser.add_argument("--start", type=Path, help="begin with what another run has learnt")
    options.add_precision(parser)
    options.add_rate(parser)
    options.add_looks(parser, 100)
    return parser


def main(argv: list[str] | None = None) -> None:
    """The command."""
    args = _arguments().parse_args(argv)
    if args.checkpoint is None:
        raise ConfigError("which model is to learn words? give --init")
    _work(args)


if __name__ == "__main__":
    main()
