"""The register, and what it promises to families that are not in it yet."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from models import families
from models.configs.vqgan import VQGANConfig
from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
from models.drawing.streams import uniforms
from models.pipeline import LoadOptions
from models.presets.register import get_preset
from tests.models.mosaic import Mosaic
from tests.models.priors import OTHERS, load_any, registered
from tests.models.ripple import Ripple
from tests.models.trio import Trio, TrioConfig


def test_both_official_types_are_one_class() -> None:
    assert families.PRIORS["transformer1d"] is families.PRIORS["igpt"]


@pytest.mark.parametrize("name", ["mindalle-1.3b", "mindalle-imagenet-uncond"])
def test_upstream_has_the_same_numbers_by_other_names(name: str) -> None:
    preset = get_preset(name)
    with torch.device("meta"):
        stage2 = families.build_prior(preset.stage2, families.build_codec(preset.stage1))
    ours = {key: tuple(tensor.shape) for key, tensor in stage2.state_dict().items()}
    theirs = families.upstream_shapes(preset.stage2, ours)
    assert len(theirs) == {"mindalle-1.3b": 680}.get(name, 678)
    assert sum(map(math.prod, theirs.values())) == sum(map(math.prod, ours.values()))


def test_what_is_no_family_is_named() -> None:
    with pytest.raises(TypeError, match="no family has a TrioConfig"):
        families.build_prior(TrioConfig(), nn.Identity())
    with registered():
        families.build_prior(TrioConfig(), Mosaic(get_preset("test-trio").stage1))  # type: ignore[arg-type]  # its own config
    with pytest.raises(TypeError, match="Identity is no codec"):
        families.as_codec(nn.Identity())
    with pytest.raises(TypeError, match="Identity is no prior"):
        families.as_prior(nn.Identity())
    assert isinstance(families.build_codec(VQGANConfig(ch=32, ch_mult=(1,))), nn.Module)


def test_a_prior_may_read_the_codec_without_owning_it() -> None:
    pipeline = load_any("test-trio")
    codec, prior = pipeline.stage1, pipeline.stage2
    assert isinstance(codec, Mosaic)
    assert isinstance(prior, Trio)
    assert not [name for name in prior.state_dict() if "book" in name]
    codes, places = torch.tensor([[1, 2, 0]]), torch.tensor([3])
    before = prior.decode(codes, places, prior.new_state(1), 15)
    codec.book.weight.mul_(2)
    assert not torch.equal(prior.decode(codes, places, prior.new_state(1), 15), before)


@pytest.mark.parametrize("name", OTHERS)
def test_step_t_and_depth_d_draw_by_number_t_times_depth_plus_d(name: str) -> None:
    prior = load_any(name, LoadOptions(packed=False)).stage2
    assert isinstance(prior, Trio | Ripple)
    for parameter in prior.logits.parameters():
        parameter.zero_()  # all codes are equally probable: the number alone says which is drawn
    batch = Batch(prior, 1)
    batch.admit(prior.prefill(torch.ones(1, 1, dtype=torch.int64)), [RowParams(9, candidate=2)])
    while not batch.step():
        pass
    numbers = uniforms(torch.tensor([9]), torch.tensor([2]), prior.num_steps * prior.depth)
    sizes = torch.tensor(prior.vocab_sizes)
    expected = (numbers.view(1, -1, prior.depth) * sizes).long()
    assert torch.equal(batch.take([0]), expected)


def test_codes_of_the_first_depths_make_a_coarse_picture() -> None:
    pipeline = load_any("test-trio")
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    codes = pipeline.stage1.encode(pixels)
    made = [pipeline.pixels(codes[..., :depth]) for depth in (1, 2, 3)]
    assert {tuple(picture.shape) for picture in made} == {tuple(pixels.shape)}
    assert not torch.equal(made[0], made[1])
    assert torch.equal(made[2], pipeline.stage1.pixels(codes))
