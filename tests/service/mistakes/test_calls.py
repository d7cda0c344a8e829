"""Options, prompts and settings that can't be: the one that is wrong is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.mistakes.conftest import PROMPTS

CALLS = {
    "a device that is not there": (
        ("bench", "--device", "cuda:99"),
        "there is no device 'cuda:99'",
    ),
    "a device that is none": (("bench", "--device", "foo"), "there is no device 'foo'"),
    "no thread": (("bench", "--threads", "0"), "at least 1"),
    "more threads than there can be": (("bench", "--threads", "1000000"), "at most 1024"),
    "no row": (("bench", "--batch", "0"), "at least 1"),
    "no layer": (("bench", "--layers", "0"), "at least 1"),
    "fewer positions than none": (("bench", "--text", "-1"), "at least 1"),
    "one position": (("bench", "--image", "1"), "at least 2"),
    "heads that don't divide": (("bench", "--heads", "7"), "7 must divide --width 512"),
    "heads that don't divide in any grid": (
        ("bench", "--compare", "--width", "33", "--heads", "2"),
        "2 must divide --width 33",
    ),
    "a temperature that is no number": (
        ("eval", "emoji", "--temperatures", "0.5", "nan"),
        "--temperatures: must be a number above 0, not 'nan'",
    ),
    "a share that is no number": (("eval", "--top-ps", "inf"), "--top-ps: must be a number from 0"),
    "codes fewer than none": (("eval", "--top-ks", "-1"), "--top-ks: must be a whole number"),
    "no letters": (("dlq", "list", "--limit", "-1"), "at least 1"),
    "no verb": (("dlq",), "see mindalle dlq --help"),
    "a verb that is none": (("dlq", "read"), "choose from"),
    "a number that is none": (("generate", "a", "--top-k", "many"), "neither a number nor a list"),
    "a picture of no format": (("encode", "a.png", "-o", "again.gif"), "must end in .png, .jpg"),
    "a key for nobody": (("eval", "emoji", "--api-key", "secret"), "--api-key is for the service"),
    "a ranker without a ranker": (("pull", "clip", "--no-ranker"), "clip is what ranks"),
    "two prompts": (("generate", "a", "b"), "unrecognized arguments: b"),
    "a file for a folder": (("convert", str(PROMPTS)), "prompts.json"),
    "a folder for a file": (("verify", ".", "--expected", "."), "expected.npz"),
    "a home of nobody": (("convert", "~nobody-at-all/x"), "there is no such home folder"),
}


@pytest.mark.parametrize(("call", "named"), CALLS.values(), ids=CALLS.keys())
def test_a_wrong_call(call: tuple[str, ...], named: str, refusal: Callable[..., str]) -> None:
    assert named in refusal(*call)


SETTINGS = {
    "no address": ("MINDALLE_REDIS__URL", "redis://[::1", "MINDALLE_REDIS__URL: "),
    "an option that is none": ("MINDALLE_REDIS__URL", "redis://h?foo=1", "MINDALLE_REDIS__URL: "),
    "a device": ("MINDALLE_WORKER__DEVICE", "gpu", "MINDALLE_WORKER__DEVICE"),
    "a folder": ("MINDALLE_WORKER__CHECKPOINT", "~nobody-at-all/x", "MINDALLE_WORKER__CHECKPOINT"),
}


@pytest.mark.parametrize(("name", "value", "named"), SETTINGS.values(), ids=SETTINGS.keys())
def test_a_wrong_setting(
    name: str,
    value: str,
    named: str,
    refusal: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, value)
    assert named in refusal(*(("generate", "a") if "WORKER" in name else ("dlq", "list")))


def test_certificates_that_are_none(
    tmp_path: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINDALLE_REDIS__URL", "rediss://127.0.0.1:9/0")
    monkeypatch.setenv("MINDALLE_REDIS__CA_FILE", str(tmp_path / "none.pem"))
    assert "MINDALLE_REDIS__CA_FILE" in refusal("dlq", "list")
    (tmp_path / "none.pem").write_text("nothing")
    assert "holds no certificate" in refusal("dlq", "list")


@pytest.mark.parametrize("there", [(), ("--url", "127.0.0.1:9")])
def test_a_prompt_that_is_no_text(there: tuple[str, ...], refusal: Callable[..., str]) -> None:
    broken = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert "prompt: holds bytes that are not UTF-8" in refusal("generate", broken, *there)
