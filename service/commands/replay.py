"""`mindalle replay FILE`: makes the same picture again from what the file says of itself."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from service import settings
from service.cli import CommandError
from service.jobs import Job, OutputFormat
from service.worker import offline
from service.worker.model_host import HostedModel, load_model
from service.worker.pictures import png
from service.worker.pictures.png import Record

_FORMATS: dict[str | None, OutputFormat] = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}


def add_arguments(parser: ArgumentParser) -> None:
    """The file, and what it may lack."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a picture that mindalle made")
    parser.add_argument("-o", "--output", type=Path, help="default: FILE-replay beside it")
    parser.add_argument("--prompt", help="where the file does not hold it")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="folder with the weights")


def run(args: Namespace) -> int:
    """Write the picture; 0 when it is the same, 1 when it differs."""
    try:
        record = png.read(args.file)
    except png.NoRecordError as error:
        raise CommandError(str(error)) from None
    with Pillow.open(args.file) as image:
        output_format = _FORMATS[image.format]
    job = _job(record, args.prompt, output_format)
    given = {} if args.checkpoint is None else {"worker": {"checkpoint": args.checkpoint}}
    model = load_model(record.model, settings.load(**given).worker)
    data = _make(job, record, model)
    output: Path = args.output or args.file.with_stem(f"{args.file.stem}-replay")
    output.write_bytes(data)
    verdict = _compare(args.file, output)
    sys.stdout.write(f"{output}: {verdict}\n")
    return 1 if verdict == "differs" else 0


def _job(record: Record, prompt: str | None, output_format: OutputFormat) -> Job:
    if not record.has_prompt and prompt is None:
        raise CommandError("the file does not hold its prompt: give it with --prompt", 2)
    return Job(
        id="replay",
        model=record.model,
        prompt=record.prompt if prompt is None else prompt,
        seed=record.seed,
        n=record.n,
        num_candidates=record.num_candidates,
        top_k=record.top_k,
        top_p=record.top_p,
        temperature=record.temperature,
        output_format=output_format,
        embed_prompt=record.has_prompt,
    )


def _make(job: Job, record: Record, model: HostedModel) -> bytes:
    offline.check(job, model.pipeline.preset)
    if record.candidate is not None:
        (picture,) = offline.draw(model.pipeline, job, [record.candidate], num_rows=model.num_rows)
        return offline.one_picture(job, picture, job.output_format)
    candidates = range(job.num_candidates)
    pictures = offline.draw(model.pipeline, job, candidates, num_rows=model.num_rows)
    best = [offline.pixels_of(picture) for picture in pictures[: job.n]]
    return offline.sheet(job, best, job.output_format)


def _compare(first: Path, second: Path) -> str:
    if first.read_bytes() == second.read_bytes():
        return "the same bytes"
    with Pillow.open(first) as one, Pillow.open(second) as other:
        is_same = np.array_equal(np.asarray(one.convert("RGB")), np.asarray(other.convert("RGB")))
    return "the same pixels" if is_same else "differs"
