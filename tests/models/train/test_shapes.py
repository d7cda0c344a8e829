from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ConfigError
from models.train.shapes import load_codec


@pytest.mark.parametrize(
    ("text", "said"), [('{"family": "vqgan", ', "is not JSON"), ("[1]", "is of '', not")]
)
def test_a_note_of_a_shape_that_is_damaged_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"shape\.json {said}"):
        load_codec(tmp_path)
