from __future__ import annotations

import torch

from models.train.recipes.clip import hits


def test_a_hit_is_the_true_name_first_or_among_five() -> None:
    scores = torch.tensor([[9.0, 8, 7, 6, 5, 4]]).repeat(4, 1)
    assert hits(scores, torch.tensor([0, 1, 4, 5])) == (0.25, 0.75)


def test_fewer_than_five_names_are_all_among_the_first() -> None:
    """As a folder of four classes has them."""
    assert hits(torch.eye(4), torch.tensor([0, 1, 0, 0])) == (0.5, 1.0)
