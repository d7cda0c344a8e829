from __future__ import annotations

from pathlib import Path

import torch

from models.measure.drawings import MANIFEST, Ask, Drawings, asks_for


def test_what_was_added_is_found_again_in_the_order_of_the_candidates(tmp_path: Path) -> None:
    pixels = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    ask = Ask("000001", "ein Bär", 7)
    Drawings(tmp_path).add(ask, pixels, [(3, 0.9), (0, None)])
    (drawn,) = Drawings(tmp_path).of([ask])
    assert drawn.scores == (None, 0.9)
    assert (drawn.pixels() - pixels.flip(0)).abs().max() < 1 / 255
    for other in (Ask("000001", "ein Bär", 8), Ask("000001", "Bär", 7), Ask("2", "ein Bär", 7)):
        assert Drawings(tmp_path).missing([ask, other]) == [other]


def test_a_line_that_a_killed_run_left_is_none_and_the_next_one_is_whole(tmp_path: Path) -> None:
    drawings, asks = Drawings(tmp_path), asks_for(["a", "b", "c"], 0)
    drawings.add(asks[0], torch.zeros(1, 3, 8, 8), [(0, None)])
    with (tmp_path / MANIFEST).open("a") as file:
        file.write('{"name": "000002", "status": "succ')
    again = Drawings(tmp_path)
    assert again.missing(asks) == asks[1:]
    again.add(asks[2], torch.zeros(1, 3, 8, 8), [(0, None)])
    assert again.missing(asks) == Drawings(tmp_path).missing(asks) == [asks[1]]
    (tmp_path / "000001-0.png").unlink()
    assert again.missing(asks) == asks[:2]


def test_a_prompt_that_comes_again_gets_another_seed() -> None:
    seeds = [ask.seed for ask in asks_for(["a", "b", "a", None, None], 5)]
    assert seeds[0] == seeds[1] == seeds[3] == 5
    assert len(set(seeds)) == 2
    assert seeds[2] == seeds[4]
