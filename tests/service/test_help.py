"""What `mindalle COMMAND --help` prints, read as a person reads it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import pytest

from service import cli
from service.settings import describe

COMMANDS = sorted(cli.COMMANDS)
# A flag without a value, as `--json`, has no default to speak of; nor has one that must be given.
_NEEDS_NONE = (argparse._HelpAction, argparse._StoreTrueAction)


def parsers(name: str) -> Iterator[tuple[list[str], argparse.ArgumentParser]]:
    """The command, and its own subcommands, each with what to type for it."""
    parser = cli.parser_of(name)
    yield [name], parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from (([name, verb], inner) for verb, inner in action.choices.items())


def printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What `mindalle WORDS --help` prints."""
    with pytest.raises(SystemExit) as end:
        cli.main([*words, "--help"])
    assert end.value.code == 0
    return capsys.readouterr().out


def entries(text: str) -> dict[str, str]:
    """What stands behind each flag, or below it."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        head = re.match(r"  (-{1,2}[\w-]+)", line)
        if head:
            lines = found.setdefault(head[1], [])
            lines.append(re.split(r"\s{2,}", line.strip(), maxsplit=1)[-1])
        elif line.startswith("       "):
            lines.append(line.strip())
        else:
            lines = []
    return {flag: " ".join(lines) for flag, lines in found.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_flag_is_without_a_description_and_every_default_is_said(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, parser in parsers(name):
        shown = entries(printed(words, capsys))
        for action in parser._actions:
            if not action.option_strings:
                assert action.help, (name, action.dest)
                continue
            about = shown[action.option_strings[0]]
            assert re.search(r"[a-z]{3}", about.replace(action.option_strings[-1], "")), (
                name,
                about,
            )
            if not (action.required or isinstance(action, _NEEDS_NONE)):
                assert "default" in about, (name, action.option_strings, about)


@pytest.mark.parametrize("name", ["serve", "api", "worker"])
def test_flags_of_settings_are_grouped_and_name_their_variable(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed([name], capsys)
    known = dict(describe())
    own = {flag: about for flag, about in entries(text).items() if flag != "-h"}
    assert {"--host", "--port", "--model", "--redis"} <= own.keys()
    for flag, about in own.items():
        found = re.search(r"\((MINDALLE_\w+); default: [^)]+\)", about)
        assert found, (flag, about)
        assert found[1] in known
    for heading in ("where it listens:", "what it draws with:", "where jobs wait:"):
        assert f"\n{heading}\n" in text
    assert "mindalle config show" in text


def test_help_with_a_command_is_that_commands_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["help", "serve"])
    assert capsys.readouterr().out == cli.parser_of("serve").format_help()


def test_the_first_page_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)
