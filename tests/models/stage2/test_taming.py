"""VQ-GAN's own transformer: one table and one row of positions for the condition and the codes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.drawing.candidates import draw_all
from models.drawing.sampling import RowParams
from models.families import as_prior
from models.files.config import read
from models.files.official import OfficialWeights
from models.files.taming_folder import unread_keys
from models.files.weights import fill, on_meta
from models.pipeline import load
from models.presets.register import get_preset
from models.presets.taming import coordinate_tokens
from models.stage2.transformer import Transformer
from models.verify.walk import through_the_state
from tests.models.golden import GOLDEN, arrays
from tests.models.mindalle import shape

_FOLDER = GOLDEN / "taming_coord"


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    loaded = {name: torch.from_numpy(array) for name, array in arrays("taming_coord").items()}
    return {name: t if t.is_floating_point() else t.long() for name, t in loaded.items()}


@pytest.fixture(scope="module")
def model() -> Transformer:
    """Of the recorded set; its stage 1 is left out."""
    config, prefix = shape(read(_FOLDER)), "transformer."
    prior = on_meta(lambda: Transformer(config))
    path = _FOLDER / "checkpoints/last.ckpt"
    fill(
        prior,
        OfficialWeights(path, prefix, config, unread=unread_keys(prefix)),
        "cpu",
        torch.float32,
    )
    return prior


@torch.inference_mode()
def test_logits_are_the_recorded_ones(model: Transformer, recorded: dict[str, Tensor]) -> None:
    logits, _ = model(recorded["cond_codes"], recorded["tf_codes"])
    torch.testing.assert_close(logits, recorded["tf_logits"], atol=2e-4, rtol=0)
    ids, codes = recorded["cond_codes"][0], recorded["tf_codes"][0, :, None]
    cached = torch.cat(through_the_state(as_prior(model), ids, codes))
    torch.testing.assert_close(cached, recorded["cached_logits"][0], atol=2e-4, rtol=0)
    permuted = recorded["permuted_enc_codes"]
    loss = model.loss(recorded["cond_codes"], permuted)
    torch.testing.assert_close(loss, recorded["train_loss"], atol=1e-3, rtol=0)


@torch.inference_mode()
def test_a_whole_picture_needs_no_coordinates(
    model: Transformer, recorded: dict[str, Tensor]
) -> None:
    assert recorded["cond_codes"][0].tolist() == [*model.config.start]
    nothing = torch.zeros(1, 1, dtype=torch.int64)
    logits, _ = model(nothing, recorded["tf_codes"][:1])
    torch.testing.assert_close(logits, recorded["tf_logits"][:1], atol=2e-4, rtol=0)


def test_coordinates_of_the_released_model() -> None:
    expected = [64 * i + 30 + round(0.25 * j + 0.117) for i in range(16) for j in range(16)]
    assert [*coordinate_tokens(256, 16, 1024)] == expected


def test_a_class_is_the_row_of_the_code_of_its_number() -> None:
    stage2 = Transformer(shape("tiny-taming-class"))
    tokens, positions = stage2.tok_emb_img.weight, stage2.pos_emb_img.weight
    embedded = stage2.embed_prefix(torch.tensor([[3]]))
    assert torch.equal(embedded[0, 0], tokens[3] + positions[0])
    placed = stage2.embed_codes(torch.tensor([3]), torch.tensor([0]))[0]
    assert torch.equal(placed, tokens[3] + positions[1])


def test_tokens_without_a_picture_are_never_drawn() -> None:
    pipeline = load("tiny-taming-class")
    stage2 = pipeline.stage2
    assert isinstance(stage2, Transformer)
    biased = Transformer(stage2.config).eval().requires_grad_(False)
    biased.head.weight[64:] *= 1000
    batch = replace(pipeline, stage2=biased, _shapes={}).batch(4)
    codes = draw_all(
        batch, biased.prefill(torch.tensor([[1]])), [RowParams(s) for s in range(4)]
    ).codes
    assert int(codes.max()) < 64


@torch.inference_mode()
def test_unmasked_positions_see_each_other_and_no_code() -> None:
    config = shape("tiny-taming-uncond")
    torch.manual_seed(0)
    stage2 = Transformer(config).eval().double().requires_grad_(False)
    ids, codes = torch.tensor([config.start]), torch.zeros(1, 15, dtype=torch.int64)
    before = stage2.hidden(ids, codes)
    for place, first in ((0, 0), (3, 0), (4, 0), (5, 5), (9, 9)):
        changed = ids.clone()
        changed[0, place] = 63
        moved = (stage2.hidden(changed, codes) != before).any(-1)[0]
        assert moved.tolist() == [at >= first for at in range(len(moved))], place


def test_presets_of_one_family_share_one_type() -> None:
    assert {get_preset(name).prompt_kind for name in ("vqgan-ffhq", "vqgan-faceshq")} == {"none"}
    assert get_preset("vqgan-faceshq").prompt_len == 256
    assert get_preset("vqgan-imagenet").num_classes == 1000
