"""`mindalle encode IMAGE`: a picture's codes as JSON, and what stage 1 makes of them again."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from models.pipeline import to_bytes
from service.commands import flags, source_files
from service.commands.picture_file import format_of
from service.commands.source_files import SourceFiles
from service.jobs import Recipe
from service.worker.model_host import load_model
from service.worker.pictures import png
from service.worker.sources.encoding import known_alone


def add_arguments(parser: ArgumentParser) -> None:
    """The picture, the model, and where its reconstruction goes."""
    source_files.add_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the reconstruction: .png, .jpg or .webp (default: none)",
    )
    parser.add_argument(
        "--preset", "--model", metavar="PRESET", help="whose codes (default: MINDALLE_MODEL)"
    )
    flags.add_checkpoint(parser)


def run(args: Namespace) -> None:
    """Write the picture that the codes make; print them. CommandError where it can't be written."""
    output_format = None if args.output is None else format_of(args.output)
    files = SourceFiles.of(args, default_keep=1.0)
    loaded = flags.load_with_checkpoint(args)
    name = args.preset or loaded.model
    pipeline = load_model(name, loaded.worker).pipeline
    source, data = files.prepared(pipeline.preset.size)
    known = known_alone(pipeline, Recipe(name, None, seed=0, source=source), data)
    (levels,) = to_bytes(pipeline.pixels(known.forced.codes[None]))
    told = {
        "model": name,
        "psnr_db": known.psnr_db(levels),
        "codes": known.forced.codes.tolist(),
    }
    if output_format is not None:  # before anything is said to a reader who may be gone
        args.output.write_bytes(png.encode(levels, output_format))
    sys.stdout.write(json.dumps(told) + "\n")
