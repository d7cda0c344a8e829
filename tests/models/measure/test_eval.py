from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.errors import ConfigError
from models.measure import eval as evaluation
from models.measure.eval import (
    Made,
    best_of,
    figures_of_pictures,
    frechet_distance,
    make,
    markdown,
    prompts_for,
)
from models.pipeline import Pipeline
from models.presets import get_preset
from models.rerank.clip import ClipScorer
from models.rerank.preprocess import Preprocess


class Brightness:
    """An encoder whose one feature pair is a picture's brightness, and every text is bright."""

    def encode_image(self, images: Tensor) -> Tensor:
        light = images.mean((1, 2, 3))
        return torch.stack([light, 1 - light], dim=1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).expand(len(tokens), 2)


def scorer() -> ClipScorer:
    return ClipScorer(
        Brightness(), lambda text: torch.tensor([[len(text)]]), Preprocess(8, (0, 0, 0), (1, 1, 1))
    )


def test_frechet_distance_of_gaussians_with_known_moments() -> None:
    torch.manual_seed(0)
    x = torch.randn(20_000, 3)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(x, x + torch.tensor([2.0, 0.0, 0.0])) == pytest.approx(4.0, rel=1e-4)
    # Same mean, standard deviations 1 and 3 in each of three directions: 3 · (3 - 1)².
    assert frechet_distance(x, 3 * x) == pytest.approx(12.0, rel=0.03)


def test_best_of_takes_the_rankers_pick_and_the_judges_score() -> None:
    made = [Made("a", torch.zeros(3, 3, 1, 1), torch.tensor([0.1, 0.9, 0.5]), 1.0)]
    judged = [torch.tensor([0.7, 0.2, 0.3])]
    assert best_of(made, judged, 1) == pytest.approx(0.7)
    assert best_of(made, judged, 3) == pytest.approx(0.2)
    assert best_of(made, [made[0].scores], 3) == pytest.approx(0.9)


def test_retrieval_finds_the_bright_ones() -> None:
    pixels = torch.stack([torch.full((3, 8, 8), value) for value in (1.0, 0.9)])
    shares = evaluation.retrieval(scorer(), pixels, ["any"], torch.tensor([0, 0]))
    assert shares.tolist() == [1.0, 1.0]


def test_figures_of_a_small_model(tiny: Pipeline) -> None:
    made = make(tiny, ["one", "two"], count=4, seed=1)
    assert [len(m.pixels) for m in made] == [4, 4]
    again = make(tiny, ["one"], count=4, seed=1)
    assert torch.equal(again[0].pixels, made[0].pixels)
    judge = Pipeline(tiny.preset, tiny.options, tiny.stage1, tiny.stage2, tiny.tokenizer, scorer())
    figures = figures_of_pictures(tiny, judge, made, torch.rand(9, 3, 32, 32))
    assert {"best of 1, judge", "best of 4, ranker", "images/s"} <= figures.keys()
    assert "best of 16, judge" not in figures
    assert figures["Fréchet distance in CLIP features"] > 0
    assert markdown(figures).count("\n") == len(figures) + 2


def test_prompts_are_as_the_model_takes_them() -> None:
    assert prompts_for(get_preset("tiny"), ["3", "cat"]) == ["3", "cat"]
    assert prompts_for(get_preset("tiny-class"), ["3", "09"]) == [3, 9]
    for wrong in ("10", "-1", "cat"):
        with pytest.raises(ConfigError, match=f"'{wrong}' is no class in 0..9"):
            prompts_for(get_preset("tiny-class"), ["3", wrong])


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    evaluation.plot({"best of 1, ranker": 0.2, "best of 4, ranker": 0.3}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_prompts_are_read_from_json_and_from_lines(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"prompts": [{"prompt": "cat"}, {"prompt": "dog"}]}')
    (tmp_path / "a.txt").write_text("cat\n\ndog\n")
    assert evaluation.read_prompts(tmp_path / "a.json") == ["cat", "dog"]
    assert evaluation.read_prompts(tmp_path / "a.txt") == ["cat", "dog"]
