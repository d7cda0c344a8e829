from __future__ import annotations

import os
from pathlib import Path

from models.files.digest import weights_digest
from models.files.places import STAGE_FILES
from models.measure.entrants import find
from tests.models.random_checkpoint import tiny_with_words, write_random_checkpoint


def test_a_model_that_was_trained_again_is_another_one(tmp_path: Path) -> None:
    """Its files keep their names and sizes; a service's copies of them are one model."""
    write_random_checkpoint(tmp_path, tiny_with_words(), seed=0)
    (before,) = find([str(tmp_path)])
    first, served = before.digest, weights_digest(before.preset, tmp_path)
    assert before.digest == first
    write_random_checkpoint(tmp_path, tiny_with_words(), seed=1)
    os.utime(tmp_path / STAGE_FILES["stage2"], ns=(0, 2**60))  # however coarse its clock is
    (after,) = find([str(tmp_path)])
    assert after.digest != first
    assert weights_digest(after.preset, tmp_path) == served


def test_a_checkpoint_without_another_name_is_called_as_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    write_random_checkpoint(folder, tiny_with_words())
    assert [entrant.name for entrant in find([], folder)] == ["mine"]
    assert [entrant.name for entrant in find(["ours"], folder)] == ["ours"]
