"""`mindalle generate PROMPT`: pictures into a file, drawn here or by a running service."""

from __future__ import annotations

import io
import math
import sys
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from tqdm import tqdm

from models.configs.preset import Preset
from models.configs.prior import PrefixKind
from models.presets.register import get_preset
from service.answers.preset_cards import preset_card
from service.answers.schemas import is_blank
from service.cli import CommandError
from service.client import ApiError, Client
from service.client.problems import problem
from service.client.protocol import Generated
from service.commands import flags
from service.commands.picture_file import format_of
from service.commands.source_files import SourceFiles
from service.jobs import MAX_CANDIDATES, MAX_SEED, OutputFormat, Recipe, new_seed
from service.settings import Settings
from service.worker import offline
from service.worker.model_host import load_model
from service.worker.pictures import png

_MOST_SHOWN = 16
_OR_LIST = "; K,K,... is one for each level of codes, and so for P and T"
_Number = TypeVar("_Number", int, float)
_OTHERS = ("model", "prompt", "source")  # of a recipe's fields, that no flag of this command sets
_KNOBS = tuple(field.name for field in fields(Recipe) if field.name not in _OTHERS)


def add_arguments(parser: ArgumentParser) -> None:
    """The prompt, how to draw it, with what and to where."""
    parser.add_argument("prompt", nargs="?", help="a text or a class id, as the model takes it")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("picture.png"),
        metavar="FILE",
        help=".png, .jpg or .webp (default: picture.png)",
    )
    parser.add_argument(
        "-n",
        type=int,
        help="keep the best N, several as one sheet (default: all, at most 16; with --url 1)",
    )
    for name, accepts, metavar, about in (
        ("--num-candidates", int, "N", "draw so many"),
        ("--top-k", _integers, "K", f"draw among the K likeliest codes, at least 1{_OR_LIST}"),
        ("--top-p", _numbers, "P", "draw among the likeliest codes that sum up to P, at most 1"),
        ("--temperature", _numbers, "T", "above 0; lower is safer, higher is wilder"),
    ):
        parser.add_argument(
            name, type=accepts, metavar=metavar, help=f"{about} (default: the preset's)"
        )
    parser.add_argument(
        "--seed", type=_seed, help="the same makes the same (default: a new one, which is printed)"
    )
    parser.add_argument(
        "--enhance",
        action=BooleanOptionalAction,
        help="finer codes over those of the pictures that are kept (default: the preset's)",
    )
    parser.add_argument(
        "--preset", "--model", metavar="PRESET", help="to draw with (default: MINDALLE_MODEL)"
    )
    flags.add_checkpoint(parser)
    parser.add_argument("--url", help="let the service there draw (default: draw here)")
    parser.add_argument("--api-key", metavar="KEY", help="sent to --url (default: none)")


def _integers(text: str) -> int | tuple[int, ...]:
    return _one_or_more(text, int)


def _numbers(text: str) -> float | tuple[float, ...]:
    return _one_or_more(text, _finite)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ArgumentTypeError(f"must be finite, not {text!r}")  # and JSON has no word for it
    return number


def _one_or_more(text: str, read: Callable[[str], _Number]) -> _Number | tuple[_Number, ...]:
    """One number, or one for each level of codes, with commas between them."""
    try:
        numbers = tuple(map(read, text.split(",")))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is neither a number nor a list such as 8,4,2") from None
    return numbers if "," in text else numbers[0]


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= MAX_SEED:
        raise ArgumentTypeError(f"must be in 0..{MAX_SEED - 1}")
    return int(text)


def run(args: Namespace) -> None:
    """Draw, write the file, print the scores."""
    draw(args)


def draw(args: Namespace, files: SourceFiles | None = None) -> None:
    """The same, perhaps from a picture."""
    output_format = format_of(args.output)
    if args.url is not None:
        _draw_there(args, files, output_format)
    else:
        _draw_here(args, files, output_format)


def _draw_here(args: Namespace, files: SourceFiles | None, output_format: OutputFormat) -> None:
    if args.api_key is not None:
        raise CommandError("--api-key is for the service that --url names; give that, too", 2)
    loaded = flags.load_with_checkpoint(args)
    name = args.preset or loaded.model
    preset = _preset(name, loaded)
    recipe, source = _recipe(args, name, preset, has_source=files is not None), None
    if files is not None:
        told, source = files.prepared(preset.size)
        recipe = replace(recipe, source=told)
    offline.check(recipe, preset)
    model = load_model(name, loaded.worker)
    total = recipe.num_candidates * preset.codes_per_image
    # No bar where nobody watches: a file, or what is gone.
    with tqdm(total=total, unit="code", file=sys.stderr, leave=False, disable=None) as bar:
        pictures = offline.draw(
            model.pipeline,
            recipe,
            range(recipe.num_candidates),
            num_rows=model.num_rows,
            on_step=lambda num_codes: _advance(bar, num_codes),
            source=source,
        )
    best = pictures[: recipe.n]
    data = offline.encode(recipe, best, output_format, has_prompt=loaded.prompt_in_png)
    _deliver(args.output, data, recipe.seed, [(p.candidate, p.score) for p in pictures])


def _advance(bar: tqdm[NoReturn], num_codes: int) -> None:
    bar.update(num_codes)


def _preset(name: str, loaded: Settings) -> Preset:
    """The preset, or the one that the checkpoint's folder describes."""
    folder = loaded.worker.checkpoint
    if folder is None:
        return get_preset(name)
    from models.pipeline import open_checkpoint  # noqa: PLC0415  # torch is not needed above

    return open_checkpoint(folder).preset


def _given(args: Namespace) -> dict[str, Any]:
    """What the command line says of a recipe, besides its prompt and model."""
    return {name: value for name in _KNOBS if (value := getattr(args, name)) is not None}


def _recipe(args: Namespace, name: str, preset: Preset, *, has_source: bool) -> Recipe:
    usual = asdict(preset.sampling)
    usual["num_candidates"] = min(max(usual["num_candidates"], args.n or 1), MAX_CANDIDATES)
    chosen = {"seed": new_seed()} | usual | _given(args)
    chosen["enhance"] = preset_card(preset).enhance(args.enhance)
    most = min(chosen["num_candidates"], _MOST_SHOWN)
    needs_none = has_source and preset.prompt_kind == "text"  # a picture says much itself
    given = "" if needs_none and args.prompt is None else args.prompt
    prompt = _prompt(given, preset.prompt_kind)
    return Recipe(model=name, prompt=prompt, **{"n": most} | chosen)


def _prompt(text: str | None, kind: PrefixKind) -> str | int | None:
    if kind == "none" and is_blank(text or ""):
        return None
    if kind == "class" and text is not None and text.isdecimal():
        return int(text)
    if kind == "text" and text is not None:  # an empty one is legal: the padding alone
        return text
    wanted = {
        "text": 'a text, such as "a red heart"',
        "class": "a class id, such as 207",
        "none": "no prompt",
    }[kind]
    raise CommandError(f"this model takes {wanted}", 2)


def _draw_there(args: Namespace, files: SourceFiles | None, output_format: OutputFormat) -> None:
    if args.checkpoint is not None:
        raise CommandError("--checkpoint is for drawing here; a service draws with its own", 2)
    given = _given(args) | (dict(files.parameters()) if files else {})
    if args.preset:
        given["model"] = args.preset
    # A sheet is put together of pixels that no compression has touched.
    asked: OutputFormat = output_format if args.n in (None, 1) else "png"
    try:
        with Client(args.url, args.api_key) as client:
            made = client.generate(args.prompt, output_format=asked, **given)
    except (ApiError, httpx.HTTPError, ValueError) as error:
        raise problem(error, args.url) from None
    data = made.images[0].data
    if len(made.images) > 1:
        data = _sheet(made, output_format)
    _deliver(args.output, data, made.seed, [(i.candidate, i.score) for i in made.images])


def _sheet(made: Generated, output_format: OutputFormat) -> bytes:
    """A service's pictures in one file, which says of itself what they say, if anything."""
    first = made.images[0].data
    try:
        record = replace(png.record_of(first, "a picture"), candidate=None, score=None)
    except png.NoRecordError:
        record = None
    return offline.sheet([_decoded(image.data) for image in made.images], output_format, record)


def _decoded(data: bytes) -> NDArray[np.uint8]:
    with Pillow.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _deliver(path: Path, data: bytes, seed: int, pictures: list[tuple[int, float | None]]) -> None:
    """Write the file, then tell of it: a reader who is gone costs no picture.

    Raises:
        CommandError: it can't be written; with the seed, which is lost otherwise.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise CommandError(
            f"{path}: {error.strerror}; --seed {seed} draws the same again"
        ) from None
    sys.stdout.write(f"seed {seed}\nrank  candidate  score\n")
    for rank, (candidate, score) in enumerate(pictures):
        shown = "-" if score is None else f"{score:.4f}"
        sys.stdout.write(f"{rank:>4}  {candidate:>9}  {shown}\n")
    sys.stdout.write(f"{path}\n")
