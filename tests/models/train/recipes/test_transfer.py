"""Against numbers recorded from the reference's own fine-tuning code."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.configs.prior import PrefixKind
from models.families import upstream_shapes
from models.files import checkpoint as checkpoints
from models.train.recipes.transfer import transfer
from tests.models.golden import GOLDEN, arrays, facts
from tests.models.mindalle import load_transformer, load_vqgan

SETS: list[tuple[str, PrefixKind, int]] = [("igpt_cls", "class", 10), ("igpt_uncond", "none", 0)]


def labels(name: str, key: str, count: int) -> Tensor:
    """Prefix ids [count, 1]."""
    recorded = arrays(name)
    ids = torch.from_numpy(recorded[key]).long() if key in recorded else torch.zeros(count).long()
    return ids[:count, None]


@pytest.mark.parametrize(("name", "prefix", "classes"), SETS)
def test_fine_tuning_loss_and_gradients_are_the_references(
    name: str, prefix: PrefixKind, classes: int
) -> None:
    stage1, stage2 = load_vqgan(GOLDEN / name), load_transformer(GOLDEN / name)
    images = torch.from_numpy(arrays(name)["enc_images"])
    with torch.no_grad():
        codes = stage1.encode_images(images).flatten(1)
    stage2.requires_grad_(True)
    loss = stage2.loss(labels(name, "train_labels", len(codes)), codes)
    torch.autograd.backward(loss)
    expected = facts(name)
    assert float(loss.detach()) == pytest.approx(expected["train_loss"], abs=1e-3)
    norms: dict[str, float] = {}
    for key, weight in stage2.named_parameters():
        assert weight.grad is not None
        parts = upstream_shapes(stage2.config, {key: tuple(weight.shape)})
        norms |= {
            part: float(grad.norm())
            for part, grad in zip(parts, weight.grad.chunk(len(parts)), strict=True)
        }
    assert norms.keys() == expected["train_grad_norm"].keys()
    assert norms == pytest.approx(expected["train_grad_norm"], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(("name", "prefix", "classes"), SETS)
def test_transfer_takes_what_the_reference_takes(
    name: str, prefix: PrefixKind, classes: int
) -> None:
    source = checkpoints.open_checkpoint(GOLDEN / "mindalle_text")
    model, report = transfer(source, prefix, classes)
    expected, recorded = facts(name)["transfer"], arrays(name)
    assert set(report.missing) == set(expected["missing"])
    assert set(report.unexpected) == set(expected["unexpected"])
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(recorded["transfer_head_weight"]))
        model.sos.weight.copy_(torch.from_numpy(recorded["transfer_sos"]).view_as(model.sos.weight))
        codes = torch.from_numpy(recorded["tf_codes"])[:1].long()
        logits, text = model.eval()(labels(name, "tf_labels", 1), codes)
    assert text is None
    torch.testing.assert_close(
        logits[:, :64], torch.from_numpy(recorded["transfer_logits"]), atol=2e-4, rtol=0
    )
