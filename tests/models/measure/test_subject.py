from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from models.files.places import STAGE_FILES
from models.measure.subject import chosen
from tests.models.random_checkpoint import tiny_with_words, write_random_checkpoint


def test_what_is_measured_is_told_before_any_weights_are_read(tmp_path: Path) -> None:
    preset = tiny_with_words()
    write_random_checkpoint(tmp_path, preset)
    (tmp_path / STAGE_FILES["stage2"]).write_bytes(b"no weights")
    subject = chosen(Namespace(checkpoint=tmp_path))
    assert subject.preset.stage2 == preset.stage2
    assert subject.checkpoint == tmp_path
