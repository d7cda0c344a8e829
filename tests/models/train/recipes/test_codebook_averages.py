from __future__ import annotations

import torch

from models.train.recipes.codebook_averages import k_means


def test_means_are_found_of_more_and_of_fewer_vectors_than_there_are_centres() -> None:
    """16,384 codes of 8×8 cells have more centres than the pictures they are found in have."""
    vectors = torch.tensor([[0.0, 1.0], [4.0, 4.0], [0.0, 3.0], [8.0, 8.0]])
    few = k_means(vectors, 1, torch.Generator().manual_seed(0))
    torch.testing.assert_close(few, vectors.mean(0, keepdim=True))
    many = k_means(vectors, 6, torch.Generator().manual_seed(0))
    assert many.shape == (6, 2)
    assert {tuple(centre) for centre in many.tolist()} == {tuple(own) for own in vectors.tolist()}
