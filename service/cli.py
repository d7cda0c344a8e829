"""`mindalle`: finds the subcommand, and turns errors into one line on stderr.

Imports a subcommand's file only when it is called, so that `mindalle api` never loads torch. What
a subcommand does is in its file.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Protocol, cast

import service
from models.errors import CheckpointError
from models.presets import UnknownPresetError
from service.errors import DomainError, InvalidRequest, StartRefused

# name → module, one line of help
COMMANDS = MappingProxyType(
    {
        "serve": ("service.commands.serve", "everything on this machine: queue, API, one worker"),
        "api": ("service.commands.api", "the HTTP server alone"),
        "worker": ("service.commands.worker", "a worker alone"),
        "generate": ("service.commands.generate", "pictures for a prompt, into a file"),
        "replay": ("service.commands.replay", "make a picture again from its file"),
        "convert": ("service.commands.convert", "an official checkpoint to safetensors"),
        "verify": ("service.commands.verify", "a checkpoint against recorded numbers"),
        "bench": ("models.measure.bench", "how fast the engine is on this machine"),
        "eval": ("models.measure.eval", "how good the shipped model's pictures are"),
        "loadtest": ("service.client.loadtest", "how the service behaves under load"),
        "dlq": ("service.commands.dlq", "jobs that were given up: list, retry, drop"),
        "doctor": ("service.commands.doctor", "what is missing here, and what to do about it"),
        "config": ("service.commands.config", "every setting: with its value, or as a page"),
        "openapi": ("service.commands.openapi", "print the OpenAPI document"),
    }
)


class Command(Protocol):
    """What the file of a subcommand holds."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]


class CommandError(Exception):
    """A command can't do what it was asked; one line for the person who asked."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 for a failure, 2 for a wrong call."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help(), end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(service.__version__)
        return 0
    return _guarded(arguments)


def _guarded(arguments: list[str]) -> int:
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `mindalle config show | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (CommandError, StartRefused, UnknownPresetError, CheckpointError, DomainError) as error:
        print(f"mindalle {arguments[0]}: {error}", file=sys.stderr)
        return _status(error)
    except (OSError, ModuleNotFoundError) as error:
        print(f"mindalle {arguments[0]}: {_explain(error)}", file=sys.stderr)
        return 1


def _status(error: Exception) -> int:
    if isinstance(error, CommandError):
        return error.status
    return 2 if isinstance(error, StartRefused | UnknownPresetError | InvalidRequest) else 1


def _explain(error: OSError | ModuleNotFoundError) -> str:
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return (
        f"{error.name} is not installed; this command needs the worker's packages: "
        "pip install 'mindalle-serve[worker]'"
    )


def _run(arguments: list[str]) -> int:
    name = arguments[0]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; see mindalle --help"
        raise CommandError(f"there is no such command{hint}", 2)
    module, about = COMMANDS[name]
    command = cast(Command, importlib.import_module(module))
    parser = argparse.ArgumentParser(prog=f"mindalle {name}", description=_sentence(about))
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments[1:])) or 0


def _sentence(about: str) -> str:
    return f"{about[0].upper()}{about[1:]}."


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items()]
    return "usage: mindalle COMMAND [...]\n\n" + "\n".join(lines) + "\n\n" + _FOOT


_FOOT = (
    "mindalle COMMAND --help says more. Settings are MINDALLE_* variables: mindalle config show.\n"
)
