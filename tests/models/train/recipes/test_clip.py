from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from models.errors import ConfigError
from models.tokenizer import Tokenizer
from models.train.data.folder import FolderFiles, FolderSet
from models.train.recipes.clip import build, description, hits, retrieval
from models.train.shapes import with_values


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("x=abc", "unknown key: --shape.x"),
        ("text_cfg.x=1", "unknown key: --shape.text_cfg.x"),
        ("embed_dim=abc", "--shape.embed_dim: should be a valid integer, not 'abc'"),
        ("vision_cfg=3", "--shape.vision_cfg: must be a mapping"),
        ("vision_cfg.width=100", "--shape: open_clip can't build this: embed_dim must be"),
        ("vision_cfg.head_width=0", "--shape: open_clip can't build this: integer division"),
        ("text_cfg.pool_type=x", "--shape: open_clip can't build this: it knows no such value"),
    ],
)
def test_a_shape_that_can_not_be_is_told_by_its_key(pair: str, said: str) -> None:
    document = description(16)
    with_values(document["model_cfg"], [pair])
    with pytest.raises(ConfigError) as refused:
        build(document)
    assert str(refused.value).startswith(said)


def test_nothing_is_said_of_a_data_set_that_holds_out_no_picture(tmp_path: Path) -> None:
    """As a folder of fewer than twenty."""
    Image.new("RGB", (32, 32)).save(tmp_path / "0.png")
    data = FolderSet(FolderFiles(tmp_path), 32)
    tokenizer = Tokenizer.of_letters(16)
    assert retrieval(build(description(len(tokenizer.vocabulary()))), data, tokenizer) == {}


def test_a_hit_is_the_true_name_first_or_among_five() -> None:
    scores = torch.tensor([[9.0, 8, 7, 6, 5, 4]]).repeat(4, 1)
    assert hits(scores, torch.tensor([0, 1, 4, 5])) == (0.25, 0.75)


def test_fewer_than_five_names_are_all_among_the_first() -> None:
    """As a folder of four classes has them."""
    assert hits(torch.eye(4), torch.tensor([0, 1, 0, 0])) == (0.5, 1.0)
