"""A DALL-E ranks its candidates itself, by the whole picture's codes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from models.drawing.candidates import draw_all
from models.drawing.sampling import RowParams
from models.pipeline import Pipeline, load
from models.rerank.perplexity import PerplexityRanker
from models.stage2.dalle import Dalle


@pytest.fixture(scope="module", params=["tiny-dalle", "tiny-dalle-v2"])
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    return load(request.param)


def _codes(pipeline: Pipeline) -> Tensor:
    rows = [RowParams(1, 0, temperature=t) for t in (0.2, 1.0, 5.0)]
    return draw_all(pipeline.batch(3), pipeline.prefix(pipeline.encode("a heart")), rows).codes


@torch.inference_mode()
def test_a_score_is_the_perplexity_of_all_codes_but_the_first(pipeline: Pipeline) -> None:
    codes, features = _codes(pipeline), pipeline.text_features("a heart")
    assert isinstance(pipeline.stage2, Dalle)
    assert features is not None
    logits, _ = pipeline.stage2(features.expand(3, -1), codes[..., 0])
    losses = nn.functional.cross_entropy(logits.mT, codes[..., 0], reduction="none")
    wanted = -losses[:, 1:].exp().mean(1)
    scores = pipeline.scores(features, torch.zeros(3, 3, 40, 40), codes)
    torch.testing.assert_close(torch.tensor(scores), wanted, rtol=1e-4, atol=0)
    assert scores == sorted(
        scores, key=lambda score: score or 0, reverse=True
    )  # colder is likelier


def test_one_pictures_score_depends_on_no_other(pipeline: Pipeline) -> None:
    codes, features = _codes(pipeline), pipeline.text_features("a heart")
    pixels = torch.zeros(3, 3, 40, 40)
    together = pipeline.scores(features, pixels, codes)
    assert [pipeline.scores(features, pixels[:1], row[None])[0] for row in codes] == together
    assert pipeline.scores(features, pixels[:0], codes[:0]) == []


def test_it_needs_a_text_and_codes(pipeline: Pipeline) -> None:
    assert isinstance(pipeline.ranker, PerplexityRanker)
    assert pipeline.text_features(None) is None
    with pytest.raises(ValueError, match="without their codes"):
        pipeline.scores(pipeline.text_features("a heart"), torch.zeros(2, 3, 40, 40))
