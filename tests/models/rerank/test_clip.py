import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.pictures import to_bytes
from models.pipeline import ranking
from models.rerank.clip import ClipScorer
from models.rerank.preprocess import CHUNK, Preprocess
from tests.models.golden import arrays, facts

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
OFFICIAL = Preprocess(224, MEAN, STD)


class _Linear:
    """The stand-in encoders that the recorded scores were made with."""

    def __init__(self) -> None:
        recorded = arrays("clip_rank")
        self.image = torch.from_numpy(recorded["W_image"])
        self.text = torch.from_numpy(recorded["W_text"])

    def encode_image(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, 7).flatten(1) @ self.image

    def encode_text(self, tokens: Tensor) -> Tensor:
        return (tokens / 49408) @ self.text


def _images() -> Tensor:
    return torch.from_numpy(arrays("clip_rank")["images"]).permute(0, 3, 1, 2)


def _scorer() -> ClipScorer:
    recorded, prompts = arrays("clip_rank")["clip_tokens"], facts("clip_rank")["prompts"]
    ids = dict(zip(prompts, torch.from_numpy(recorded).long(), strict=True))
    return ClipScorer(_Linear(), lambda prompt: ids[prompt][None], OFFICIAL)


def test_bytes_are_truncated_not_rounded() -> None:
    assert (to_bytes(_images()) == arrays("clip_rank")["images_u8"]).all()
    assert to_bytes(torch.full((1, 3, 1, 1), 0.999)).max() == 254


def test_preprocessing_matches_the_recorded_pixels() -> None:
    recorded = arrays("clip_rank")
    found = OFFICIAL(_images())
    first = torch.from_numpy(recorded["preprocessed_first"])
    assert (found[:1] - first).abs().max() < 1e-3
    means = torch.from_numpy(recorded["preprocessed_mean"])
    assert (found.mean((2, 3)) - means).abs().max() < 1e-3


def test_a_wide_image_is_resized_on_its_shorter_side_and_cropped() -> None:
    recorded = arrays("clip_rank")
    wide = torch.from_numpy(recorded["rect_u8"]).permute(2, 0, 1)[None].double() / 255
    found = OFFICIAL((wide + 1e-5).float())
    wanted = torch.from_numpy(recorded["rect_preprocessed"]).float()
    assert (found - wanted).abs().max() < 2e-3  # recorded in float16
    tall = OFFICIAL((wide + 1e-5).float().transpose(2, 3))
    assert tall.shape == (1, 3, 224, 224)
    # PIL rounds to bytes between its two passes, so a transposed picture differs by few levels.
    assert (tall.transpose(2, 3) - wanted).abs().max() < 0.1


def test_scores_and_rank_match_the_recorded_ones() -> None:
    recorded, scorer = arrays("clip_rank"), _scorer()
    text = scorer.text_features(facts("clip_rank")["prompt"])
    scores = scorer.scores(text, _images())
    assert (scores - torch.from_numpy(recorded["scores"])).abs().max() < 1e-3
    assert ranking(scores.tolist()) == recorded["rank"].tolist()


def test_one_candidate_keeps_its_axis() -> None:
    scorer = _scorer()
    text = scorer.text_features(facts("clip_rank")["prompt"])
    scores = scorer.scores(text, _images()[:1])
    assert scores.shape == (1,)
    assert ranking(scores.tolist()) == [0]
    assert scorer.scores(text, _images()[:0]).shape == (0,)


@given(count=st.integers(1, 2 * CHUNK + 1), seed=st.integers(0, 1000))
@settings(max_examples=20)
def test_a_score_does_not_depend_on_what_follows(count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand((2 * CHUNK + 1, 3, 32, 32), generator=generator)
    scorer = _scorer()
    text = scorer.text_features("")
    assert torch.equal(scorer.scores(text, pixels[:count]), scorer.scores(text, pixels)[:count])


def test_equal_scores_keep_their_order_and_nan_comes_last() -> None:
    scores = torch.tensor([0.2, torch.nan, 0.5, 0.2, 0.5])
    assert ranking(scores.tolist()) == [2, 4, 0, 3, 1]
