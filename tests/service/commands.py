"""Commands called in this process, as a terminal calls them."""

from __future__ import annotations

import pytest

from service import cli


def call(*arguments: str) -> int:
    """The exit status, argparse's included."""
    try:
        return cli.main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """What came on stderr, which must be one line."""
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line
