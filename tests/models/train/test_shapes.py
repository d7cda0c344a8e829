from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import ConfigError
from models.train.loop.checkpoints import Checkpoints
from models.train.recipes.register import CODEC_RECIPES
from models.train.shapes import changed, load_codec, save


@pytest.mark.parametrize(
    ("text", "said"), [('{"family": "vqgan", ', "is not JSON"), ("[1]", "is of '', not")]
)
def test_a_note_of_a_shape_that_is_damaged_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"shape\.json {said}"):
        load_codec(tmp_path)


def test_a_run_keeps_its_shape_when_another_model_is_begun_in_its_folder(tmp_path: Path) -> None:
    """Else nothing could read its weights any more, though the other may never save its own."""
    own, other = (CODEC_RECIPES[name].shape for name in ("vqgan", "rq-vae"))
    save(tmp_path, other)
    save(tmp_path, own)  # nothing lies there yet
    Checkpoints(tmp_path, 1).save({"step": 1})
    save(tmp_path, own)
    for shape in (other, changed(own, ["ch=8"])):
        with pytest.raises(ConfigError, match="holds the run of another model"):
            save(tmp_path, shape)
    assert load_codec(tmp_path) == own
