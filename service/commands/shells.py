"""The commands and their flags, as the shells' own languages of completion say them.

Reads the parsers; knows nothing of what a command does.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from models.presets.register import PRESETS
from service import cli


@dataclass(frozen=True, slots=True)
class Word:
    """A flag, or an operand (then without names): what may stand behind it or in its place."""

    names: tuple[str, ...]
    about: str
    values: tuple[str, ...]
    has_value: bool
    is_folder: bool
    is_file: bool


@dataclass(frozen=True, slots=True)
class Command:
    """One line of `mindalle --help`, with all its flags and operands."""

    name: str
    about: str
    words: tuple[Word, ...]

    @property
    def flags(self) -> Iterator[tuple[str, Word]]:
        """Every spelling of every flag."""
        return ((name, word) for word in self.words for name in word.names)

    @property
    def operands(self) -> tuple[str, ...]:
        """What may stand without a flag, where it is one of a few words."""
        return tuple(value for word in self.words if not word.names for value in word.values)


def commands() -> tuple[Command, ...]:
    """All of them; one whose packages are not installed has its name alone.

    Those of two words are operands of the first, with their flags.
    """
    found = {name: _command(name, about) for name, (_, about) in cli.COMMANDS.items()}
    for name, inner in list(found.items()):
        first, _, second = name.partition(" ")
        if second:
            word = Word((), inner.about, (second,), has_value=True, is_folder=False, is_file=False)
            outer = found[first]
            found[first] = replace(outer, words=(*outer.words, word, *inner.words[1:]))
            del found[name]
    return tuple(found.values())


def _command(name: str, about: str) -> Command:
    try:
        parser = cli.parser_of(name)
    except ModuleNotFoundError:
        return Command(name, about, ())
    return Command(name, about, tuple(_words(parser)))


def _words(parser: argparse.ArgumentParser) -> Iterator[Word]:
    """The parser's, then those of its own subcommands."""
    for action in parser._actions:
        yield _word(action)
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from (word for word in _words(inner) if word.names[:1] != ("-h",))


def _word(action: argparse.Action) -> Word:
    values = tuple(map(str, action.choices or ()))
    if action.metavar == "PRESET":
        values = tuple(PRESETS)
    about = " ".join((action.help or "").replace("%(default)s", str(action.default)).split())
    has_value = action.nargs != 0
    return Word(
        names=tuple(action.option_strings),
        about=about.replace("%%", "%"),
        values=values if has_value else (),
        has_value=has_value,
        is_folder=action.metavar == "DIR",
        is_file=action.type is Path and action.metavar != "DIR",
    )


_FIRST_FLAGS = ("--help", "--version")

_BASH = """# bash completion for mindalle
_mindalle() {
    local current=${COMP_WORDS[COMP_CWORD]} words=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W %(first)s -- "$current"))
        return
    fi
    case "${COMP_WORDS[1]} ${COMP_WORDS[COMP_CWORD-1]}" in
%(values)s
    esac
    case "${COMP_WORDS[1]}" in
%(flags)s
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _mindalle mindalle
"""


def bash(all_commands: tuple[Command, ...]) -> str:
    """For bash: the word before the cursor decides."""
    first = " ".join([*(command.name for command in all_commands), *_FIRST_FLAGS])
    values, flags = [], []
    for command in all_commands:
        for name, word in command.flags:
            if word.has_value:
                values.append(
                    f"        {shlex.quote(f'{command.name} {name}')}) {_bash_value(word)};;"
                )
        words = " ".join([*command.operands, *(name for name, _ in command.flags)])
        flags.append(f"        {command.name}) words={shlex.quote(words)};;")
    parts = {"first": shlex.quote(first), "values": "\n".join(values), "flags": "\n".join(flags)}
    return _BASH % parts


def _bash_value(word: Word) -> str:
    if word.values:
        what = f"-W {shlex.quote(' '.join(word.values))}"
    elif word.is_folder:
        what = "-d"
    elif word.is_file:
        what = "-f"
    else:
        return "return"
    names = "local IFS=$'\\n'; compopt -o filenames; " if word.is_folder or word.is_file else ""
    return f'{names}COMPREPLY=($(compgen {what} -- "$current")); return'


_ZSH = """#compdef mindalle
_mindalle() {
    local -a commands
    commands=(
%(commands)s
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        _arguments '--help[say more]' '--version[print the version]'
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT -= 1 ))
    case $command in
%(cases)s
    esac
}
if [[ $funcstack[1] == _mindalle ]]; then  # found in a folder of $fpath, at the first use
    _mindalle "$@"
else
    compdef _mindalle mindalle
fi
"""


def zsh(all_commands: tuple[Command, ...]) -> str:
    """For zsh: each flag with what it means."""
    lines = [
        f"        {shlex.quote(f'{command.name}:{_zsh_text(command.about)}')}"
        for command in all_commands
    ]
    cases = [
        f"        {one.name}) _arguments {' '.join(_zsh_words(one))};;" for one in all_commands
    ]
    return _ZSH % {"commands": "\n".join(lines), "cases": "\n".join(cases)}


def _zsh_words(command: Command) -> Iterator[str]:
    for name, word in command.flags:
        value = f":{name.lstrip('-')}:{_zsh_value(word)}" if word.has_value else ""
        yield shlex.quote(f"{name}[{_zsh_text(word.about)}]{value}")
    operands = command.operands
    yield shlex.quote(f"*: :({' '.join(operands)})" if operands else "*:file:_files")


def _zsh_value(word: Word) -> str:
    if word.values:
        return f"({' '.join(word.values)})"
    if word.is_folder:
        return "_files -/"
    return "_files" if word.is_file else " "


def _zsh_text(text: str) -> str:
    """In brackets, and before colons, these letters would end it."""
    for letter in "\\:[]":
        text = text.replace(letter, f"\\{letter}")
    return text


def fish(all_commands: tuple[Command, ...]) -> str:
    """For fish: one line per flag."""
    lines = ["# fish completion for mindalle", "complete -c mindalle -f"]
    for flag in _FIRST_FLAGS:
        lines.append(f"complete -c mindalle -n __fish_use_subcommand -l {flag.lstrip('-')}")
    for command in all_commands:
        about = _fish_quoted(command.about)
        lines.append(f"complete -c mindalle -n __fish_use_subcommand -a {command.name} -d {about}")
        here = f'complete -c mindalle -n "__fish_seen_subcommand_from {command.name}"'
        lines += (f"{here} {_fish_word(word)}" for word in command.words if word.names)
        if command.operands:
            lines.append(f"{here} -a {_fish_quoted(' '.join(command.operands))}")
    return "\n".join(lines) + "\n"


def _fish_word(word: Word) -> str:
    parts = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in word.names]
    if word.values:
        parts.append(f"-x -a {_fish_quoted(' '.join(word.values))}")
    elif word.is_folder:
        parts.append("-x -a '(__fish_complete_directories)'")
    elif word.has_value:
        parts.append("-r -F" if word.is_file else "-x")
    return " ".join([*parts, "-d", _fish_quoted(word.about)])


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


SCRIPTS: MappingProxyType[str, Callable[[tuple[Command, ...]], str]] = MappingProxyType(
    {"bash": bash, "zsh": zsh, "fish": fish}
)
