"""`mindalle replay FILE`: makes the same picture again from what the file says of itself."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from models.configs.preset import Preset
from models.configs.views import View
from service.cli import CommandError
from service.commands import flags
from service.commands.picture_file import check_place, format_of
from service.commands.source_files import prepared_again
from service.jobs import OutputFormat, Recipe, query
from service.worker import offline
from service.worker.model_host import load_model
from service.worker.pictures import png
from service.worker.pictures.png import Record

_FORMATS: dict[str, OutputFormat] = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}


def add_arguments(parser: ArgumentParser) -> None:
    """The file, and what it may lack."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a picture that mindalle made")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="where to write it (default: FILE-replay beside it)",
    )
    for name in ("image", "mask"):
        parser.add_argument(
            f"--{name}",
            type=Path,
            metavar="FILE",
            help=f"the {name} that it was drawn from (default: none was)",
        )
    parser.add_argument("--prompt", help="for a file that does not hold it (default: the file's)")
    flags.add_checkpoint(parser)


def run(args: Namespace) -> int:
    """Write the picture; 0 when it is the same, 1 when it differs.

    CommandError where the file does not say how it was made, or can't be made again so.
    """
    try:
        record = png.read(args.file)
    except png.NoRecordError as error:
        raise CommandError(str(error), 2) from None
    output_format = _format(args.file)
    output = _output(args, output_format)
    output.write_bytes(_made_again(args, record, output_format))
    verdict = _compare(args.file, output)
    sys.stdout.write(f"{output}: {verdict}\n")
    return 1 if verdict == "differs" else 0


def _format(path: Path) -> OutputFormat:
    with Pillow.open(path) as image:
        found = _FORMATS.get(image.format or "")
    if found is None:  # other programs take the record along into formats of theirs
        kinds = ", ".join(_FORMATS)
        raise CommandError(f"{path} is none of {kinds}; give the file that mindalle wrote", 2)
    return found


def _made_again(args: Namespace, record: Record, output_format: OutputFormat) -> bytes:
    """A file of the same picture, drawn by what the first one says of itself."""
    recipe = _recipe(record, args.prompt)
    model = load_model(recipe.model, flags.load_with_checkpoint(args).worker)
    offline.check(recipe, model.pipeline.preset)
    view = _view(record, model.pipeline.preset)
    one = record.candidate  # None for a sheet
    candidates = range(recipe.num_candidates) if one is None else [one]
    source = prepared_again(recipe.source, args.image, args.mask, model.pipeline.preset.size)
    pictures = offline.draw(
        model.pipeline, recipe, candidates, num_rows=model.num_rows, source=source, view=view
    )
    return offline.encode(
        recipe,
        pictures[: recipe.n],
        output_format,
        has_prompt=record.has_prompt,
        size=record.size,
        view=record.view,
    )


def _output(args: Namespace, output_format: OutputFormat) -> Path:
    if args.output is None:
        beside: Path = args.file.with_stem(f"{args.file.stem}-replay")
        check_place(beside)
        return beside
    path: Path = args.output
    if format_of(path) != output_format:
        raise CommandError(f"{path}: it is made again as what it is, {output_format}", 2)
    if path.exists() and path.samefile(args.file):
        raise CommandError(f"{path}: the two are compared; give another name with -o", 2)
    return path


def _recipe(record: Record, prompt: str | None) -> Recipe:
    if prompt is not None:
        return replace(record.recipe, prompt=prompt)
    if not record.has_prompt:
        raise CommandError("the file does not hold its prompt: give it with --prompt", 2)
    return record.recipe


def _view(record: Record, preset: Preset) -> View | None:
    """By which a file shows its picture coarser than that is; None where it does not."""
    if record.view is None:
        return None
    for view in preset.views_of(is_enhanced=bool(record.recipe.enhance)):
        if query(view.parameter, view.value) == record.view:
            return view
    raise CommandError(f"it shows {record.view} of a picture, which {preset.name} has not", 2)


def _compare(first: Path, second: Path) -> str:
    if first.read_bytes() == second.read_bytes():
        return "the same bytes"
    with Pillow.open(first) as one, Pillow.open(second) as other:
        is_same = np.array_equal(np.asarray(one.convert("RGB")), np.asarray(other.convert("RGB")))
    return "the same pixels" if is_same else "differs"
