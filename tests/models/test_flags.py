from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from functools import partial

import pytest

from models import flags
from models.drawing.sampling import RowParams
from models.drawing.streams import MAX_SEED
from models.train import __main__ as commands

REFUSED: list[tuple[Callable[[str], object], tuple[str, ...]]] = [
    (flags.count, ("0", "-1", "1.5", "", "one", "1_0", " 1")),
    (partial(flags.count, most=8), ("0", "9")),
    (partial(flags.count, least=8), ("7", "x")),
    (flags.count_or_none, ("-1", "", "0.0", "x")),
    (flags.several, ("0", "1", "x")),
    (flags.threads, ("0", "1025", "1000000")),
    (flags.seed, ("-1", "1.5", "x", str(2**63), "9" * 30)),
    (flags.share, ("0", "1.1", "-0.5", "nan", "inf", "half")),
    (flags.amount, ("-0.5", "nan", "inf", "much")),
    (flags.share_or_none, ("1.1", "-0.5", "nan", "inf", "half")),
    (flags.positive, ("0", "-1", "nan", "inf", "")),
]


@pytest.mark.parametrize(("accepts", "values"), REFUSED)
def test_what_makes_no_sense_is_refused_by_its_own_words(
    accepts: Callable[[str], object], values: tuple[str, ...]
) -> None:
    for value in values:
        with pytest.raises(ArgumentTypeError, match="must be"):
            accepts(value)


def test_the_least_that_is_taken_is_said_whatever_came() -> None:
    for value in ("0", "1"):
        with pytest.raises(ArgumentTypeError, match=f"at least 2, not '{value}'"):
            flags.several(value)


def test_a_seed_that_is_taken_can_be_drawn_by() -> None:
    for text in ("0", str(MAX_SEED)):
        assert RowParams(flags.seed(text), 0).seed == int(text)


def test_what_makes_sense_is_taken() -> None:
    assert (flags.count("1"), flags.count("8", most=8), flags.several("2")) == (1, 8, 2)
    assert (flags.count_or_none("0"), flags.count_or_none("00"), flags.count_or_none("3")) == (
        0,
        0,
        3,
    )
    assert (flags.amount("0"), flags.amount("2.5")) == (0.0, 2.5)
    assert (flags.share_or_none("0"), flags.share_or_none("1")) == (0.0, 1.0)
    assert (flags.share("1"), flags.share("0.25"), flags.positive("1e3")) == (1.0, 0.25, 1000.0)


@pytest.mark.parametrize(
    ("command", "flag", "value"),
    [
        ("stage1", "--batch", "0"),
        ("stage1", "--gan", "-1"),
        ("stage2", "--look-every", "0"),
        ("stage2", "--steps", "-5"),
        ("stage2", "--rate", "nan"),
        ("stage2", "--text-weight", "2"),
        ("stage2", "--bpe-dropout", "nan"),
        ("clip", "--threads", "0"),
        ("stage2", "--threads", "1000000"),
        ("pixels", "--seed", "-1"),
        ("clip", "--size", "small"),
        ("codes", "--scenes", "-1"),
        ("pixels", "--samples", "-1"),
        ("ship", "--shown", "0"),
        ("ship", "--temperature", "nan"),
        ("ship", "--top-k", "0"),
        ("enhance", "--top-p", "1.5"),
    ],
)
def test_a_training_command_names_the_flag(
    command: str, flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        commands.main([command, flag, value])
    assert f"argument {flag}: must be" in capsys.readouterr().err
