from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import ConfigError
from models.train.data import code_table
from models.train.data.code_table import CodeTable
from models.train.data.data_set import Variant
from models.train.data.emoji.captions import Look
from models.train.data.emoji.emoji_set import EmojiSet
from models.train.data.sources import open_data
from tests.models.train.data.test_shards import opened, write_shards

MADE = tuple(Variant(i, look) for look in (Look(), Look(colour="red")) for i in range(4))


def test_the_table_draws_plain_pictures_most(emoji_set: EmojiSet) -> None:
    grouped = CodeTable.of(emoji_set, MADE, np.zeros((8, 16), np.int32))
    rng = Random(0)
    drawn = [grouped.draw(rng, emoji_set.shares) for _ in range(2000)]
    plain = sum(row < 4 for row in drawn) / len(drawn)
    assert 0.66 < plain < 0.81


def test_what_is_saved_is_loaded(emoji_set: EmojiSet, tmp_path: Path) -> None:
    codes = torch.arange(8 * 16).view(8, 16, 1)
    code_table.reserve(tmp_path, MADE, (16, 1))
    code_table.fill(tmp_path, 0, codes[:5])
    with pytest.raises(ConfigError, match="did not end"):
        CodeTable.load(tmp_path, emoji_set)
    code_table.fill(tmp_path, 5, codes[5:])
    code_table.note_broken(tmp_path, ())
    table = CodeTable.load(tmp_path, emoji_set)
    assert table.variants == MADE
    assert table.by_kind == {"plain": (0, 1, 2, 3), "colour": (4, 5, 6, 7)}
    assert torch.equal(table.codes_of(range(8)), codes[..., 0])
    assert table.features_of([0]) is None


def test_a_table_that_is_not_there_or_is_cut_is_told_by_its_option(
    emoji_set: EmojiSet, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"--codes: .* holds none: make them by the command"):
        CodeTable.load(tmp_path, emoji_set)
    code_table.reserve(tmp_path, MADE, (16, 1), (5, 2, 2))
    code_table.note_broken(tmp_path, ())
    for name in ("features.npy", "codes.npy"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(ConfigError, match=rf"--codes: .*{name} is damaged"):
            CodeTable.load(tmp_path, emoji_set)
    (tmp_path / "variants.json").write_text("[[0")
    with pytest.raises(ConfigError, match=r"variants\.json is not JSON"):
        CodeTable.load(tmp_path, emoji_set)


def test_the_disk_has_room_for_all_codes_before_the_first(tmp_path: Path) -> None:
    """A file with holes is filled through memory: a full disk would end the process by SIGBUS."""
    code_table.reserve(tmp_path, tuple(map(Variant, range(5000))), (64, 1), (4, 8, 8))
    for name in ("codes.npy", "features.npy"):
        found = (tmp_path / name).stat()
        assert found.st_blocks * 512 >= found.st_size


def test_several_codes_a_step_lie_beside_their_features(
    emoji_set: EmojiSet, tmp_path: Path
) -> None:
    codes, features = torch.arange(8 * 12).view(8, 4, 3), torch.randn(8, 5, 2, 2)
    code_table.reserve(tmp_path, MADE, (4, 3), (5, 2, 2))
    code_table.fill(tmp_path, 0, codes, features)
    code_table.note_broken(tmp_path, ())
    table = CodeTable.load(tmp_path, emoji_set)
    assert torch.equal(table.codes_of(range(8)), codes)
    found = table.features_of([6, 1])
    assert found is not None
    torch.testing.assert_close(found, features[[6, 1]], atol=2e-3, rtol=0)


def test_a_table_of_other_pictures_is_refused(pictures: Path, tmp_path: Path) -> None:
    """Numbers of pictures shift when one comes or goes, and each would get another's captions."""
    folder, table = tmp_path / "pictures", tmp_path / "codes"
    shutil.copytree(pictures, folder)
    variants = open_data(folder, Path("none"), 32).variants()
    code_table.reserve(table, variants, (16, 1))
    code_table.note_broken(table, ())
    assert CodeTable.load(table, open_data(folder, Path("none"), 32)).variants == variants
    (folder / "00.png").unlink()
    with pytest.raises(ConfigError, match="other pictures"):
        CodeTable.load(table, open_data(folder, Path("none"), 32))


def test_a_table_is_refused_where_one_picture_stands_for_another(
    pictures: Path, tmp_path: Path
) -> None:
    """Of the same number, and even of the same name; shards of the same pictures are no others."""
    folder, table = tmp_path / "pictures", tmp_path / "codes"
    shutil.copytree(pictures, folder)
    data = opened(folder)
    code_table.reserve(table, data.variants(), (16, 1), pictures=data.fingerprint())
    code_table.note_broken(table, ())
    for same in (folder, write_shards(folder, tmp_path)):
        assert CodeTable.load(table, opened(same)).variants == data.variants()
    Image.effect_noise((64, 64), 90).save(folder / "05.png")
    with pytest.raises(ConfigError, match="other pictures"):
        CodeTable.load(table, opened(folder))


def test_a_link_to_nowhere_is_a_picture_that_can_not_be_read(
    pictures: Path, tmp_path: Path
) -> None:
    folder, table = tmp_path / "pictures", tmp_path / "codes"
    shutil.copytree(pictures, folder)
    (folder / "05.png").unlink()
    (folder / "05.png").symlink_to(tmp_path / "nowhere.png")
    data = opened(folder)
    code_table.reserve(table, data.variants(), (16, 1), pictures=data.fingerprint())
    code_table.note_broken(table, {5})
    assert CodeTable.load(table, opened(folder)).variants == data.variants()


def test_a_table_is_refused_where_only_a_held_out_picture_came(
    pictures: Path, tmp_path: Path
) -> None:
    """Every twentieth is held out: 19 and 20 pictures are the same ones for training."""
    folder, table = tmp_path / "pictures", tmp_path / "codes"
    shutil.copytree(pictures, folder)
    for number in range(19, 24):
        (folder / f"{number}.png").unlink()
    data = opened(folder)
    code_table.reserve(table, data.variants(), (16, 1), pictures=data.fingerprint())
    code_table.note_broken(table, ())
    assert CodeTable.load(table, data).variants == data.variants()
    shutil.copy(folder / "00.png", folder / "000.png")
    shutil.copy(folder / "00.txt", folder / "000.txt")
    more = opened(folder)
    assert more.images == data.images
    with pytest.raises(ConfigError, match="other pictures"):
        CodeTable.load(table, more)
