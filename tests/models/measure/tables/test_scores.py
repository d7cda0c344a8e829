from __future__ import annotations

import pytest
import torch

from models.measure.tables.scores import best_of, best_of_figures


def test_best_of_takes_the_rankers_pick_and_the_judges_score() -> None:
    ranked, judged = [torch.tensor([0.1, 0.9, 0.5])], [torch.tensor([0.7, 0.2, 0.3])]
    assert best_of(ranked, judged, 1) == pytest.approx(0.7)
    assert best_of(ranked, judged, 3) == pytest.approx(0.2)
    assert best_of(ranked, ranked, 3) == pytest.approx(0.9)


def test_only_what_every_prompt_has_is_told() -> None:
    ranked = [torch.rand(16), torch.rand(5)]
    found = best_of_figures(ranked, ranked)
    assert [n for n, value in found.items() if value is not None] == ["1", "4"]
    assert not any(best_of_figures(ranked, []).values())
