"""`mindalle eval`: what models are worth, in numbers: Markdown, JSON and plots.

Which models, which prompts, which tables; what a table says is in `tables` and `metrics`. What is
drawn stays in the report's folder and is not drawn again. Knows how to measure, not what is good
enough.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from itertools import product
from pathlib import Path

import torch

from models.drawing.sampling import InvalidSamplingError
from models.errors import ConfigError
from models.files.checkpoint import open_checkpoint
from models.flags import count, count_or_none, positive, seed, share, share_or_none
from models.measure import blind
from models.measure.artists import Artist, OwnArtist
from models.measure.captions import read_prompts, sample
from models.measure.devices import device
from models.measure.drawer import Setting
from models.measure.drawings import asks_for
from models.measure.drawn_figures import DrawnFigures, Plan
from models.measure.entrants import Entrant, find
from models.measure.model_figures import ModelFigures
from models.measure.networks import Network, open_network
from models.measure.reference import Reference
from models.measure.report import Report
from models.pipeline import LoadOptions
from models.rerank import rankers
from models.rerank.ranker import Ranker
from models.train.data import sources

# Those of drawn pictures, then those of a model that must be here.
OF_PICTURES = ("fidelity", "rejection", "best-of", "grid", "blind")
OF_MODELS = ("reconstruction", "retrieval", "bits", "speed")
_DEFAULT = ("reconstruction", "retrieval", "bits", "best-of", "fidelity", "speed")
_RATES = (1.0, 0.5, 0.25, 0.125, 0.0625)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which models, on which prompts, judged by whom, in which tables."""
    parser.add_argument(
        "models", nargs="*", metavar="MODEL",
        help="presets or checkpoint folders (default: emoji)",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR",
        help="the folder of the only model, which is called as it unless MODEL says otherwise"
        " (default: the preset's own)",
    )  # fmt: skip
    parser.add_argument(
        "--tables", nargs="+", choices=(*OF_PICTURES, *OF_MODELS), metavar="TABLE",
        help=f"of {', '.join((*OF_MODELS, *OF_PICTURES))} (default: {', '.join(_DEFAULT)}, and grid"
        " where a list for it is given)",
    )  # fmt: skip
    _add_drawing(parser.add_argument_group("what is drawn"))
    _add_judging(parser.add_argument_group("how it is judged"))
    sources.add_place(parser)
    parser.add_argument(
        "--device", type=device, default=torch.device("cpu"),
        help="cpu, cuda, cuda:1 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("runs/eval"), metavar="DIR",
        help="for the report and all that is drawn for it (default: %(default)s)",
    )  # fmt: skip


def _add_drawing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--prompts", type=Path, metavar="FILE",
        help="one a line, a JSON list, or COCO's captions; a class is its number (default: none,"
        " so nothing of drawn pictures)",
    )  # fmt: skip
    for flag, default, about in (
        ("--num-prompts", None, "of the file, at random, the same each time (default: all)"),
        ("--candidates", 16, "per prompt (default: 16)"),
        ("--keep", None, "of these the best by the model's own ranker (default: all)"),
        ("--rows", 32, "drawn at a time (default: 32)"),
    ):
        group.add_argument(flag, type=count, default=default, metavar="N", help=about)
    group.add_argument("--seed", type=seed, default=0, help="of the pictures (default: 0)")
    group.add_argument(
        "--seeds", type=seed, nargs="+", metavar="SEED",
        help="several: figures get deviations (default: --seed alone)",
    )  # fmt: skip
    for flag, kind, metavar in (
        ("--temperatures", positive, "T"),
        ("--top-ks", count_or_none, "K"),
        ("--top-ps", share_or_none, "P"),
    ):
        group.add_argument(
            flag, type=kind, nargs="+", metavar=metavar,
            help="of the grid; 0 is no filter (default: the model's own)",
        )  # fmt: skip


def _add_judging(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--judge", type=Path, metavar="DIR",
        help="a checkpoint folder whose ranker judges (default: nobody but the model's own)",
    )  # fmt: skip
    group.add_argument(
        "--features", metavar="NETWORK",
        help="in whose eyes sets are compared: inception=FILE, an open_clip model as NAME=FILE, or"
        " a folder with a CLIP (default: the judge's CLIP, or the model's own)",
    )  # fmt: skip
    group.add_argument(
        "--real", type=Path, metavar="DIR|FILE",
        help="pictures to compare with, all of a folder, or their mu and sigma as .npz (default:"
        " the data set's)",
    )  # fmt: skip
    group.add_argument(
        "--acceptance", type=share, nargs="+", default=[*_RATES], metavar="RATE",
        help="shares of the candidates that rejection keeps (default: 1 to 1/16)",
    )  # fmt: skip
    group.add_argument(
        "--batch", type=count, nargs="+", default=[1, 4, 16, 32], metavar="N",
        help="pictures at once whose speed is taken (default: 1 4 16 32)",
    )  # fmt: skip


def run(args: argparse.Namespace, artists: Sequence[Artist] | None = None) -> int:
    """Measure, write the report, print it; 0.

    `artists` draw in place of models in this process, and are known by their pictures alone.
    """
    fill(args)
    given = sample(read_prompts(args.prompts), args.num_prompts) if args.prompts else []
    entrants = find(args.models, args.checkpoint) if artists is None else []
    wanted, options = _wanted(args), LoadOptions(device=args.device)
    _check_packages(args, wanted)
    if "grid" in wanted:
        _check_grid(args, entrants)
    drawing = [entrant for entrant in entrants if entrant.draws]
    if artists is None:
        artists = [OwnArtist(entrant, options, args.rows) for entrant in drawing]
    if wanted.intersection(OF_PICTURES):
        _check_seeds(args, artists, given)
    reference = Reference(args.data, args.art, args.real)
    report = Report(_told(args))
    own = ModelFigures(reference, options, args.features, args.batch)
    for entrant in entrants:
        own.add(entrant, wanted)
    report.tables.extend(own.tables())
    report.plots.extend(own.plots())
    if given:
        drawn = _drawn(args, wanted, given, reference)
        folders = {entrant.name: entrant.folder for entrant in drawing}
        for artist in artists:
            drawn.add(artist, folders.get(artist.name))
        report.tables.extend(drawn.tables())
        report.plots.extend(drawn.plots())
    report.write(args.out)
    sys.stdout.write(report.markdown())
    return 0


def fill(args: argparse.Namespace) -> None:
    """The default model, where no name and no folder says which."""
    if not args.models and args.checkpoint is None:
        args.models = ["emoji"]


def _told(args: argparse.Namespace) -> dict[str, object]:
    """Our own arguments; what else a command takes may be secret, as a key is."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    own = {action.dest: getattr(args, action.dest) for action in parser._actions}
    return {name: _plain(value) for name, value in own.items() if value is not None}


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | list) else str(value)


def _wanted(args: argparse.Namespace) -> set[str]:
    """The tables that were asked for. ConfigError for one that lacks what it is made of."""
    lists = args.temperatures, args.top_ks, args.top_ps
    wanted = set(args.tables or (*_DEFAULT, *(["grid"] if any(lists) else [])))
    lacking = sorted(wanted.intersection(OF_PICTURES)) if args.tables and not args.prompts else []
    if lacking:
        raise ConfigError(f"--tables {' '.join(lacking)}: needs --prompts FILE")
    if "grid" in wanted and not any(lists):
        raise ConfigError("--tables grid: needs --temperatures, --top-ks or --top-ps")
    if "blind" in wanted and args.num_prompts:
        raise ConfigError("--tables blind: goes over all prompts, without --num-prompts")
    return wanted


def _drawn(
    args: argparse.Namespace, wanted: set[str], given: list[str], reference: Reference
) -> DrawnFigures:
    setting = Setting(num_candidates=args.candidates, keep=args.keep or args.candidates)
    plan = Plan(
        given,
        setting,
        _grid(args, setting),
        _seeds(args),
        sorted({1.0, *args.acceptance} if "rejection" in wanted else {1.0}, reverse=True),
        wanted,
        blind.read_questions(args.prompts) if "blind" in wanted else [],
    )
    judge = _judge(args.judge, args.device) if args.judge else None

    def eyes(own_folder: Path | None) -> Network | None:
        return _eyes(args, own_folder, reference)

    return DrawnFigures(plan, args.out, reference, judge, eyes)


def _grid(args: argparse.Namespace, setting: Setting) -> list[Setting]:
    lists = (args.temperatures or [None], args.top_ks or [None], args.top_ps or [None])
    grid = (replace(setting, temperature=t, top_k=k, top_p=p) for t, k, p in product(*lists))
    return [one for one in grid if one != setting]


def _check_packages(args: argparse.Namespace, wanted: set[str]) -> None:
    """ModuleNotFoundError for what would be missed only when all is measured."""
    plotted = {"speed", *(("best-of", "rejection", "grid") if args.prompts else ())}
    if plotted.intersection(wanted):
        import_module("matplotlib")
    if (args.features or "").startswith("inception="):
        import_module("torch_fidelity")


def _check_grid(args: argparse.Namespace, entrants: Iterable[Entrant]) -> None:
    """ConfigError for what a model can't draw, before hours of measuring, not after them."""
    for preset in (entrant.preset for entrant in entrants if entrant.draws):
        for setting in _grid(args, Setting(num_candidates=1)):
            (row,) = setting.params(preset, seed=0)
            try:
                row.validate(preset.vocab_sizes)
            except InvalidSamplingError as error:
                raise ConfigError(f"--tables grid: {preset.name}: {error}") from None


def _seeds(args: argparse.Namespace) -> list[int]:
    return args.seeds or [args.seed]


def _check_seeds(args: argparse.Namespace, artists: Iterable[Artist], given: list[str]) -> None:
    """ConfigError where a prompt, or its repeats, would be drawn by a seed that can't be."""
    for artist in artists:
        asks = asks_for(artist.prompts(given), max(_seeds(args)))
        highest = max((ask.seed for ask in asks), default=0)
        if highest > artist.max_seed:
            raise ConfigError(
                f"--seed{'s' if args.seeds else ''}: {artist.name} can be drawn by seeds up to"
                f" {artist.max_seed}, and these prompts take one of {highest}"
            )


def _judge(folder: Path, device: torch.device) -> Ranker | None:
    return rankers.load(open_checkpoint(folder).preset, folder, device)


def _eyes(args: argparse.Namespace, own: Path | None, reference: Reference) -> Network | None:
    """What is asked for; else the judge's CLIP, else the model's own."""
    if not {"fidelity", "rejection", "grid"}.intersection(args.tables or OF_PICTURES):
        return None
    if args.features is not None:
        return open_network(args.features, reference.labels, args.device)
    for folder in filter(None, (args.judge, own)):
        if open_checkpoint(folder).preset.clip is not None:
            return open_network(str(folder), reference.labels, args.device)
    return None


def main(argv: list[str] | None = None) -> int:
    """The command by itself."""
    parser = argparse.ArgumentParser(description="Measure models.")
    add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
