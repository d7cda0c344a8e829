from __future__ import annotations

import shutil
from pathlib import Path

from PIL import Image

from models.measure.reference import Reference


def test_ones_own_pictures_have_no_classes_in_a_folder_or_in_shards(tmp_path: Path) -> None:
    """Each has a caption of its own: as classes they would say nothing, and take hours."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"picture {name}\n")
    shard = Path(shutil.make_archive(str(tmp_path / "0000"), "tar", folder))
    for data in (folder, shard):
        assert Reference(data, tmp_path).labels() == ()
