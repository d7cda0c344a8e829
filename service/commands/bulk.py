"""`mindalle bulk FILE`: a file of prompts through a running service, into a folder.

At the lowest priority. Called again it goes on: what is done stays, what failed is tried anew.
"""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import ArgumentParser, Namespace, _ActionsContainer
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import httpx

from models.flags import count
from service.cli import CommandError
from service.client import ApiError, AsyncClient
from service.client.async_client import LOCAL
from service.client.bulk import Bulk, Counts, Gate
from service.client.manifest import MANIFEST_NAME, Entry, Manifest, read_entries
from service.client.problems import problem
from service.client.protocol import Parameters

_BETWEEN_LINES_S = 5.0
_MOST = 100_000  # of jobs, or of seconds


def add_arguments(parser: ArgumentParser) -> None:
    """Which prompts, where to, and through what."""
    parser.add_argument(
        "prompts",
        type=Path,
        metavar="FILE",
        help="JSON lines: a text, a class, or an object with prompt, name and a request's fields",
    )
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="DIR", help="for files and manifest"
    )
    parser.add_argument("--url", default=LOCAL, help=f"of the service (default: {LOCAL})")
    parser.add_argument("--model", metavar="PRESET", help="to draw with (default: the server's)")
    add_ways(parser)


def add_ways(parser: _ActionsContainer) -> None:
    """How the service is asked, in every run through it."""
    parser.add_argument("--api-key", metavar="KEY", help="sent with each request (default: none)")
    for name, default, about in (
        ("--concurrency", 16, "jobs in the service at a time"),
        ("--deadline", 900, "seconds that a job may take, waiting included"),
        ("--patience", 600, "seconds without any answer that helps, after which this gives up"),
    ):
        parser.add_argument(
            name,
            type=partial(count, most=_MOST),
            default=default,
            metavar="N",
            help=f"{about} (default: {default})",
        )


def run(args: Namespace) -> int:
    """Bring all of it in; 1 where some prompt has no picture."""
    defaults: Parameters = {"priority": "low", "deadline_s": args.deadline}
    if args.model:
        defaults["model"] = args.model
    try:
        entries = read_entries(args.prompts, defaults)
    except ValueError as error:
        raise CommandError(str(error), 2) from None
    counts = bring_in(args, args.out, entries)
    kept, where = len(entries) - counts.total, args.out / MANIFEST_NAME
    sys.stdout.write(f"{counts.done} done, {counts.failed} failed, {kept} were there: {where}\n")
    return 1 if counts.failed else 0


def bring_in(args: Namespace, folder: Path, entries: Sequence[Entry]) -> Counts:
    """Draw what is not in the folder yet. CommandError where the service can't be asked."""
    try:
        with Manifest(folder) as manifest:
            return asyncio.run(_run(args, manifest, entries))
    except (ApiError, httpx.HTTPError) as error:
        raise problem(error, args.url) from None
    except ValueError as error:
        raise CommandError(str(error), 2) from None


async def _run(args: Namespace, manifest: Manifest, entries: Sequence[Entry]) -> Counts:
    async with AsyncClient(args.url, args.api_key, max_retries=0) as client:
        bulk = Bulk(client, manifest, Gate(args.patience), _Progress())
        return await bulk.run(entries, args.concurrency)


class _Progress:
    """Says on stderr, every few seconds, how far it is and how long the rest may take."""

    def __init__(self) -> None:
        self._began = self._told = time.monotonic()

    def __call__(self, counts: Counts) -> None:
        now = time.monotonic()
        if now - self._told < _BETWEEN_LINES_S and counts.left:
            return
        self._told = now
        ended = counts.done + counts.failed
        left_s = (now - self._began) / ended * counts.left
        sys.stderr.write(
            f"{ended} of {counts.total}, {counts.failed} failed, about {left_s / 60:.1f} min left\n"
        )
