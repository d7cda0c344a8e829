"""`mindalle`: finds the subcommand, and turns errors into one line on stderr.

Imports a subcommand's file only when it is called, so that `mindalle api` never loads torch. What
a subcommand does is in its file.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import io
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import NoReturn, Protocol, cast

import service
from models.errors import CheckpointError, is_out_of_memory
from models.presets.register import UnknownPresetError
from service import outlet
from service.config.paths import expanded
from service.errors import DomainError, StartRefused

# name → module, one line of help
COMMANDS = MappingProxyType(
    {
        "serve": ("service.commands.serve", "everything on this machine: queue, API, one worker"),
        "api": ("service.commands.api", "the HTTP server alone"),
        "worker": ("service.commands.worker", "a worker alone"),
        "generate": ("service.commands.generate", "pictures for a prompt, into a file"),
        "edit": ("service.commands.edit", "a part of a picture drawn anew, where a mask is clear"),
        "vary": ("service.commands.vary", "a part of a picture kept, the rest drawn"),
        "encode": ("service.commands.encode", "a picture's codes, and what they make again"),
        "bulk": ("service.commands.bulk", "a file of prompts through a service, into a folder"),
        "replay": ("service.commands.replay", "make a picture again from its file"),
        "pull": ("service.commands.pull", "a released model's weights, fetched and converted"),
        "convert": ("service.commands.convert", "an official checkpoint to safetensors"),
        "verify": ("service.commands.verify", "a checkpoint against recorded numbers"),
        "bench": ("models.measure.bench", "how fast the engine is on this machine"),
        "bench queue": ("service.commands.bench_queue", "what a job costs the API and Redis"),
        "eval": ("service.commands.eval", "how good models' pictures are, in tables and plots"),
        "loadtest": ("service.client.loadtest", "how the service behaves under load"),
        "dlq": ("service.commands.dlq", "jobs that were given up: list, retry, drop"),
        "doctor": ("service.commands.doctor", "what is missing here, and what to do about it"),
        "config": ("service.commands.config", "every setting: with its value, or as a page"),
        "openapi": ("service.commands.openapi", "print the OpenAPI document"),
        "completion": (
            "service.commands.completion",
            "a script that completes words in your shell",
        ),
    }
)


# What the person who calls can put right by calling differently; the rest may pass by itself.
_MISTAKES = (
    StartRefused,
    UnknownPresetError,
    CheckpointError,
    ModuleNotFoundError,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


# What brings a package that the worker's own extra does not.
_EXTRAS = {"matplotlib": "eval", "torch_fidelity": "eval", "resvg_py": "train"}
_MOST_TOLD = 4  # lines of a longer report
_LONGEST_REASON = 200  # characters of an allocator's


class Command(Protocol):
    """What the file of a subcommand holds."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a call."""

    def error(self, message: str) -> NoReturn:
        """See ArgumentParser. CommandError, with status 2."""
        raise CommandError(f"{message}; see {self.prog} --help", 2)


class CommandError(Exception):
    """A command can't do what it was asked; one line for the person who asked."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 for a failure, 2 for a wrong call."""
    outlet.fill_standard_descriptors()
    if argv is None:
        _hear_the_end()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a path, an arrow: what it can't say is escaped
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    prog = " ".join(["mindalle", *arguments[:1]])
    return _with_output_written(prog, _guarded(prog, arguments))


def _hear_the_end() -> None:
    """Let SIGTERM end what has no handler of its own (yet), such as a worker that loads.

    The first process of a container hears only signals that it handles.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _guarded(prog: str, arguments: list[str]) -> int:
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `mindalle config show | head`
        return 1
    except (CommandError, StartRefused, UnknownPresetError, CheckpointError, DomainError) as error:
        _complain(f"{prog}: {_one_line(str(error))}")
        return _status(error)
    except (OSError, ModuleNotFoundError) as error:
        _complain(f"{prog}: {_explain(error)}")
        return _status(error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        told = textwrap.shorten(str(error), _LONGEST_REASON, placeholder=" …")
        _complain(f"{prog}: memory ran out{': ' * bool(told)}{told}")
        return _status(error)


def _with_output_written(prog: str, status: int) -> int:
    """Write what was printed while a full disk can still be told; the exit status after that."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        outlet.discard(sys.stdout)
        return status or 1
    except OSError as error:
        outlet.discard(sys.stdout)
        if not status:
            _complain(f"{prog}: standard output: {error.strerror}")
        return status or 1
    return status


def _complain(line: str) -> None:
    """The exit status must be right even where nobody can read why."""
    try:
        print(line, file=sys.stderr)
    except OSError:
        outlet.discard(sys.stderr)


def _one_line(message: str) -> str:
    """A report of many lines, such as of all keys that don't fit, by its first ones."""
    head, *rest = (" ".join(line.split()) for line in message.splitlines() or [""])
    if not rest:
        return head
    left = f"; and {len(rest) - _MOST_TOLD} more" if len(rest) > _MOST_TOLD else ""
    return f"{head} {'; '.join(rest[:_MOST_TOLD])}{left}"


def _status(error: Exception) -> int:
    if isinstance(error, CommandError):
        return error.status
    if isinstance(error, DomainError):
        return 2 if error.status < 500 else 1
    return 2 if isinstance(error, _MISTAKES) else 1


def _explain(error: OSError | ModuleNotFoundError) -> str:
    if isinstance(error, OSError):
        paths = (error.filename, error.filename2)  # of what is copied both: either may be at fault
        where = " → ".join(str(path) for path in paths if path)
        return ": ".join(filter(None, (where, error.strerror or str(error))))
    extra = _EXTRAS.get((error.name or "").partition(".")[0])
    needed = f"the packages for {extra}" if extra else "the worker's packages"
    extras = f"worker,{extra}" if extra else "worker"
    return (
        f"{error.name} is not installed; this command needs {needed}: "
        f"pip install 'mindalle-serve[{extras}]'"
    )


def _run(arguments: list[str]) -> int:
    name = arguments[0] if arguments else ""
    if name == "help" and arguments[1:]:
        return _run([*arguments[1:], "--help"])
    if name in ("", "-h", "--help", "help"):
        print(_help(), end="")
        return 0 if name else 2
    if name in ("--version", "-V"):
        print(service.__version__)
        return 0
    if (two_words := " ".join(arguments[:2])) in COMMANDS:
        return _run_command(two_words, arguments[2:])
    return _run_command(name, arguments[1:])


def _run_command(name: str, arguments: list[str]) -> int:
    try:
        Path.cwd()
    except FileNotFoundError:  # libraries of the worker end the process over it
        raise CommandError(
            "the folder that this is called in was removed; go to another", 2
        ) from None
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; see mindalle --help"
        raise CommandError(f"there is no such command{hint}", 2)
    args = parser_of(name).parse_args(arguments)
    for field, value in vars(args).items():
        setattr(args, field, _as_meant(field, value))
    return _command(name).run(args) or 0


def _command(name: str) -> Command:
    return cast(Command, importlib.import_module(COMMANDS[name][0]))


def parser_of(name: str) -> argparse.ArgumentParser:
    """What a command takes. ModuleNotFoundError where what it needs is not installed."""
    parser = _Parser(prog=f"mindalle {name}", description=_sentence(COMMANDS[name][1]))
    _command(name).add_arguments(parser)
    return parser


def _as_meant(field: str, value: object) -> object:
    """A path with its `~` expanded, as in the settings; a text that is one."""
    if isinstance(value, Path):
        try:
            return expanded(value)
        except ValueError as error:
            raise CommandError(str(error), 2) from None
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str) and not _is_unicode(text):
            raise CommandError(f"{field}: holds bytes that are not UTF-8; type it again", 2)
    return value


def _is_unicode(text: str) -> bool:
    """False where the terminal sent bytes that its encoding does not have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sentence(about: str) -> str:
    return f"{about[0].upper()}{about[1:]}."


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items()]
    return "usage: mindalle COMMAND [...]\n\n" + "\n".join(lines) + "\n\n" + _FOOT


_FOOT = (
    "mindalle COMMAND --help says more. Settings are MINDALLE_* variables: mindalle config show.\n"
)
