from __future__ import annotations

import subprocess
import sys

import pytest

from models.configs.filter_words import filter_words
from models.presets.register import PRESETS


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("tiny", "the codes at each place"),
        ("tiny-rq", "the codes at each place"),
        ("tiny-pixelcnn", "the values of each channel, given those drawn before"),
        ("tiny-gated-pixelcnn", "the values of each channel, given those drawn before"),
        ("tiny-image-transformer", "the values of each channel, given those drawn before"),
        ("tiny-pixelcnn++", "its components and scales stay as they are"),
        ("tiny-image-transformer-2d", "its components and scales stay as they are"),
    ],
)
def test_each_filter_says_what_it_is_applied_to(name: str, what: str) -> None:
    words = dict(filter_words(PRESETS[name]))
    assert words.keys() == {"temperature", "top_k", "top_p"}
    assert all(what in meaning for meaning in words.values())


def test_the_api_can_read_them_without_torch() -> None:
    check = "import sys, models.configs.filter_words; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=50).returncode == 0
