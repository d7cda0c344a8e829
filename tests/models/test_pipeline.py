from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.drawing.sampling import InvalidSamplingError, RowParams
from models.errors import MissingFileError
from models.pipeline import (
    InvalidPromptError,
    LoadOptions,
    Pipeline,
    Prompt,
    load,
    ranking,
)
from models.presets.register import UnknownPresetError

_PARAMS = [RowParams(seed=8, candidate=i, top_k=32) for i in range(4)]
_PROMPTS: dict[str, Prompt] = {"text": "a red heart", "class": 3, "none": None}


def _codes(count: int) -> torch.Tensor:
    return torch.randint(64, (count, 16, 1), generator=torch.Generator().manual_seed(0))


def test_an_unknown_preset() -> None:
    with pytest.raises(UnknownPresetError, match="known presets: "):
        load("mini-dalle")


def test_a_preset_without_weights_asks_for_its_folder() -> None:
    with pytest.raises(MissingFileError, match="--checkpoint"):
        load("mindalle-1.3b")


def test_random_weights_are_the_same_each_time_and_leave_the_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, second = (load("tiny", options=LoadOptions(packed=False)) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    for stage in ("stage1", "stage2"):
        one, other = getattr(first, stage).state_dict(), getattr(second, stage).state_dict()
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("preset", "prompt"),
    [
        ("tiny", 3),
        ("tiny", None),
        ("tiny-class", "cat"),
        ("tiny-class", -1),
        ("tiny-class", 10),
        ("tiny-class", None),
        ("tiny-uncond", "a heart"),
        ("tiny-uncond", 0),
    ],
)
def test_a_prompt_of_the_wrong_kind_is_refused(preset: str, prompt: Prompt) -> None:
    pipeline = load(preset)
    with pytest.raises(InvalidPromptError, match=f"{preset} takes "):
        pipeline.encode(prompt)
    with pytest.raises(InvalidPromptError):
        pipeline.generate(prompt, _PARAMS)


def test_an_empty_prompt_is_legal_and_a_very_long_one_is_cut(tiny: Pipeline) -> None:
    empty = tiny.encode("")
    assert empty.ids.tolist() == [[0] * 8]
    assert not empty.is_truncated
    long = tiny.encode("heart " * 20_000)
    assert long.ids.shape == (1, 8)
    assert long.is_truncated
    assert len(tiny.generate("", _PARAMS[:1])) == 1


def test_the_same_seed_makes_the_same_pictures(every_tiny: Pipeline) -> None:
    prompt = _PROMPTS[every_tiny.preset.prompt_kind]
    first, second = every_tiny.generate(prompt, _PARAMS), every_tiny.generate(prompt, _PARAMS)
    assert [picture.candidate for picture in first] == [0, 1, 2, 3]
    assert all(picture.score is None for picture in first)
    for one, other in zip(first, second, strict=True):
        assert one.pixels.shape == (3, 32, 32)
        assert torch.equal(one.pixels, other.pixels)
    assert not torch.equal(first[0].pixels, first[1].pixels)


def test_bad_parameters_generate_nothing(tiny: Pipeline) -> None:
    with pytest.raises(InvalidSamplingError, match=r"^temperature"):
        tiny.generate("a heart", [replace(_PARAMS[0], temperature=0.0)])


def test_no_candidates_are_refused_by_the_argument_that_asks_for_none(tiny: Pipeline) -> None:
    with pytest.raises(InvalidSamplingError, match=r"^params: must hold one"):
        tiny.generate("a heart", [])
    with pytest.raises(InvalidSamplingError, match=r"^params: must hold one"):
        tiny.generate("a heart", [], batch=tiny.batch(2))


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_picture_does_not_depend_on_those_decoded_with_it(chunk: int) -> None:
    pipeline = load("tiny", options=LoadOptions(pixel_chunk=chunk))
    codes = _codes(7)
    together = pipeline.pixels(codes)
    assert together.shape == (7, 3, 32, 32)
    for index in range(7):
        assert torch.equal(pipeline.pixels(codes[index : index + 1])[0], together[index])
    shuffled = torch.tensor([4, 2, 6, 0, 1, 5, 3])
    assert torch.equal(pipeline.pixels(codes[shuffled]), together[shuffled])


def test_chunks_of_another_size_differ_by_rounding_only(tiny: Pipeline) -> None:
    wide = load("tiny", options=LoadOptions(pixel_chunk=4))
    torch.testing.assert_close(wide.pixels(_codes(5)), tiny.pixels(_codes(5)), atol=1e-4, rtol=0)


def test_no_codes_make_no_pictures(tiny: Pipeline) -> None:
    assert tiny.pixels(_codes(0)).shape == (0, 3, 32, 32)


def test_a_preview_repeats_the_last_code(tiny: Pipeline) -> None:
    codes = _codes(2)
    filled = codes.clone()
    filled[0, 5:] = codes[0, 4]
    assert torch.equal(tiny.preview(codes, [5, 16]), tiny.pixels(filled))


def test_ranking_puts_the_best_first_and_keeps_the_order_of_equals() -> None:
    assert ranking([0.1, 0.3, 0.2]) == [1, 2, 0]
    assert ranking([0.5]) == [0]
    assert ranking([None, None, None]) == [0, 1, 2]
    assert ranking([0.2, 0.4, 0.2, 0.4]) == [1, 3, 0, 2]


def test_without_clip_nothing_is_scored(tiny: Pipeline) -> None:
    assert tiny.text_features("a heart") is None
    assert tiny.scores(None, tiny.pixels(_codes(2))) == [None, None]


def test_int8_reports_what_it_cost_and_still_draws() -> None:
    pipeline = load("tiny", options=LoadOptions(quantization="int8", dtype=torch.bfloat16))
    assert pipeline.quantization is not None
    assert pipeline.quantization.num_layers == 8
    assert len(pipeline.generate("a heart", _PARAMS)) == 4


def test_a_cpu_decodes_pictures_one_by_one_unless_told() -> None:
    assert LoadOptions().chunk == 1
    assert LoadOptions(pixel_chunk=6).chunk == 6
    assert LoadOptions(device=torch.device("cuda")).chunk == 8
