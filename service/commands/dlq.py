"""`mindalle dlq list|retry|drop`: for the operator, jobs and messages that were given up."""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from models.flags import count
from service import settings
from service.broker.dead_letters import DeadLetter, DeadLetters
from service.broker.hook_letters import PREFIX, HookLetter, HookLetters
from service.broker.redis_connection import connect, disconnect
from service.broker.redis_faults import AWAY, FAULT_OF_CODE
from service.cli import CommandError
from service.errors import NotFound, QueueUnavailable
from service.settings import Settings

_OWN = "; a Valkey that `mindalle serve` brings is its own: give it another by --redis"


def add_arguments(parser: ArgumentParser) -> None:
    """One verb, and letters for those that act on some."""
    verbs = parser.add_subparsers(dest="verb", required=True, help="what to do with letters")
    listing = verbs.add_parser("list", help="the newest letters")
    listing.add_argument(
        "--limit", type=count, default=100, metavar="N", help="at most so many (default: 100)"
    )
    listing.add_argument("--json", action="store_true", help="one JSON object per line, with job")
    for verb, about in (
        ("retry", "queue jobs, send messages again"),
        ("drop", "throw letters away"),
    ):
        acting = verbs.add_parser(verb, help=about)
        acting.add_argument("letter", nargs="+", help="id from `dlq list`")


def run(args: Namespace) -> None:
    """Do it. CommandError says what is wrong with Redis."""
    try:
        asyncio.run(_run(args, settings.load()))
    except QueueUnavailable as error:
        fault = FAULT_OF_CODE[error.code]
        hint = _OWN if fault is AWAY else ""
        raise CommandError(f"Redis: {fault.found}; {fault.advice}{hint}") from None


async def _run(args: Namespace, loaded: Settings) -> None:
    redis = connect(loaded.redis)
    try:
        letters = DeadLetters(redis, result_ttl_s=loaded.queue.result_ttl_s)
        hooks = HookLetters(redis)
        if args.verb == "list":
            await _list(args, letters, hooks)
        else:
            act = _retry if args.verb == "retry" else _drop
            await _each(args.letter, lambda letter_id: act(letter_id, letters, hooks))
    finally:
        await disconnect(redis)


async def _list(args: Namespace, letters: DeadLetters, hooks: HookLetters) -> None:
    at_most = args.limit + 1  # one more tells that there are more
    found: list[DeadLetter | HookLetter] = [
        *await letters.list(at_most),
        *await hooks.list(at_most),
    ]
    found.sort(key=lambda letter: letter.died_ms, reverse=True)
    for letter in found[: args.limit]:
        _say(_as_json(letter) if args.json else _as_line(letter))
    if len(found) > args.limit:
        sys.stderr.write(f"the newest {args.limit}; there are older ones, see --limit\n")


async def _each(letter_ids: Sequence[str], act: Callable[[str], Awaitable[str]]) -> None:
    """Act on each and say so. CommandError, after all of them, says for which it could not be."""
    failed = []
    for letter_id in letter_ids:
        try:
            _say(await act(letter_id))
        except NotFound as error:
            failed.append(str(error))
    if failed:
        raise CommandError("; ".join(failed), 2)


async def _retry(letter_id: str, letters: DeadLetters, hooks: HookLetters) -> str:
    if letter_id.startswith(PREFIX):
        await hooks.retry(letter_id)
        return f"{letter_id} is sent again"
    return f"{letter_id} queued again as {await letters.retry(letter_id)}"


async def _drop(letter_id: str, letters: DeadLetters, hooks: HookLetters) -> str:
    await (hooks if letter_id.startswith(PREFIX) else letters).drop(letter_id)
    return f"{letter_id} dropped"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _as_line(letter: DeadLetter | HookLetter) -> str:
    """Without the prompt and a webhook's address: a terminal is no place for what callers wrote."""
    died = datetime.fromtimestamp(letter.died_ms / 1000, UTC).isoformat(timespec="seconds")
    about = (letter.id, died, letter.job.id, letter.job.recipe.model, f"attempts={letter.attempts}")
    told = (f"{letter.event} to {letter.host}",) if isinstance(letter, HookLetter) else ()
    return "  ".join((*about, *told, letter.error))


def _as_json(letter: DeadLetter | HookLetter) -> str:
    told = {"event": letter.event, "host": letter.host} if isinstance(letter, HookLetter) else {}
    return json.dumps(
        {
            "id": letter.id,
            "died_ms": letter.died_ms,
            "attempts": letter.attempts,
            "error": letter.error,
            **told,
            "job": json.loads(letter.job.to_json()),
        }
    )
