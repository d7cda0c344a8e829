from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import torch

from models.train.data import code_table
from models.train.data.code_table import CodeTable
from models.train.data.data_set import Variant
from models.train.data.emoji.captions import Look
from models.train.data.emoji.emoji_set import EmojiSet

MADE = tuple(Variant(i, look) for look in (Look(), Look(colour="red")) for i in range(4))


def test_the_table_draws_plain_pictures_most(emoji_set: EmojiSet) -> None:
    grouped = CodeTable.of(emoji_set, MADE, torch.zeros(8, 16, dtype=torch.long))
    rng = Random(0)
    drawn = [grouped.draw(rng, emoji_set.shares) for _ in range(2000)]
    plain = sum(row < 4 for row in drawn) / len(drawn)
    assert 0.66 < plain < 0.81


def test_what_is_saved_is_loaded(emoji_set: EmojiSet, tmp_path: Path) -> None:
    codes = np.arange(8 * 16, dtype=np.int32).reshape(8, 16)
    code_table.save(tmp_path / "codes", MADE, codes)
    table = CodeTable.load(tmp_path / "codes", emoji_set)
    assert table.variants == MADE
    assert table.by_kind == {"plain": (0, 1, 2, 3), "colour": (4, 5, 6, 7)}
    assert torch.equal(table.codes, torch.from_numpy(codes).long())
