"""How likely the prior finds what was drawn: its own numbers, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.drawing.candidates import draw_all
from models.drawing.cuda_graphs import Graphs
from models.drawing.forced import FREE, Forced
from models.drawing.generate import Batch, Runner, run_now
from models.drawing.sampling import RowParams
from models.pipeline import LoadOptions, Pipeline, load
from tests.models.conftest import PROMPTS
from tests.models.drawing.test_cuda_graphs import Recorder, run_thrice

# Filters and temperatures change what is drawn, not what the prior thinks of it.
_PARAMS = [
    RowParams(seed=8, candidate=0, temperature=0.5),
    RowParams(seed=8, candidate=1, top_k=3),
    RowParams(seed=8, candidate=2, temperature=2.0, top_p=0.8),
    RowParams(seed=8, candidate=3),
    RowParams(seed=8, candidate=4, top_k=1),
]


def _batch(pipeline: Pipeline, capacity: int, run: Runner = run_now) -> Batch:
    shapes = pipeline.batch(capacity).shapes
    return Batch(pipeline.stage2, capacity, shapes, run, keeps_likelihoods=True)


def _ids(pipeline: Pipeline) -> Tensor:
    return pipeline.encode(PROMPTS[pipeline.preset.prompt_kind][0]).ids


def _wanted(pipeline: Pipeline, codes: Tensor) -> Tensor:
    """Log-probabilities [n, T, D] by the teacher-forced pass over whole pictures."""
    stage2, flat = pipeline.stage2, codes if codes.shape[-1] > 1 else codes[..., 0]
    assert isinstance(stage2, torch.nn.Module)
    with torch.inference_mode():
        logits, _ = stage2(_ids(pipeline).expand(len(codes), -1), flat)
    # A flat prior's table may have more tokens than there are codes.
    usable = logits[..., : max(pipeline.preset.vocab_sizes)].view(*codes.shape, -1)
    found: Tensor = usable.log_softmax(-1).gather(-1, codes[..., None]).squeeze(-1)
    return found


@pytest.mark.parametrize("name", ["tiny", "tiny-class", "tiny-taming-uncond", "tiny-rq", "tiny-hq"])
def test_it_is_the_mean_over_the_codes_before_temperature_and_filters(name: str) -> None:
    pipeline = load(name, options=LoadOptions(dtype=torch.float64, packed=False))
    prefix = pipeline.stage2.prefill(_ids(pipeline))
    drawn = draw_all(_batch(pipeline, 3), prefix, _PARAMS)  # in two parts
    wanted = _wanted(pipeline, drawn.codes).flatten(1).mean(1)
    assert float(wanted.std()) > 0.01
    torch.testing.assert_close(
        torch.tensor(drawn.log_likelihoods, dtype=torch.float64), wanted, rtol=1e-5, atol=1e-6
    )


def test_what_is_known_counts_nothing(tiny: Pipeline) -> None:
    steps = tiny.preset.num_steps
    codes = torch.full((steps, 1), FREE)
    codes[: steps // 4] = 3  # goes with the prompt
    codes[steps // 2 : -2] = 5  # is stepped through
    forced = Forced.of(tiny.stage2, codes)
    batch = _batch(tiny, 3)
    draw_all(batch, tiny.stage2.prefill(_ids(tiny)), _PARAMS)  # leaves numbers in every row
    drawn = draw_all(batch, forced.prefix(tiny.stage2, _ids(tiny)), _PARAMS[:2], forced=forced)
    wanted = _wanted(tiny, drawn.codes).where(codes == FREE, 0).flatten(1).mean(1)
    torch.testing.assert_close(torch.tensor(drawn.log_likelihoods), wanted, rtol=1e-4, atol=1e-5)


def test_neighbours_change_no_bit_of_it(every_prior: Pipeline) -> None:
    prefix = every_prior.prefix(every_prior.encode(PROMPTS[every_prior.preset.prompt_kind][0]))
    together = draw_all(_batch(every_prior, 8), prefix, _PARAMS).log_likelihoods
    batch = _batch(every_prior, 8)
    alone = [draw_all(batch, prefix, [params]).log_likelihoods[0] for params in _PARAMS]
    assert alone == together
    assert len(set(together)) > 1


@pytest.mark.parametrize(
    "make_runner", [lambda: Recorder().run, lambda: run_thrice], ids=["replayed", "warmed up"]
)
def test_steps_may_be_replayed_and_repeated(
    every_prior: Pipeline, make_runner: Callable[[], Runner]
) -> None:
    replayed, plain = _batch(every_prior, 4, make_runner()), _batch(every_prior, 4)
    for prompt in PROMPTS[every_prior.preset.prompt_kind]:
        prefix = every_prior.prefix(every_prior.encode(prompt))
        found, wanted = (draw_all(batch, prefix, _PARAMS) for batch in (replayed, plain))
        assert found.log_likelihoods == wanted.log_likelihoods


@pytest.mark.gpu
def test_graphs_keep_it_too() -> None:
    pipeline = load("tiny", options=LoadOptions(device=torch.device("cuda")))
    prefix = pipeline.prefix(pipeline.encode("a heart"))
    graphed = _batch(pipeline, 4, Graphs(pipeline.options.device).run)
    for params in (_PARAMS, _PARAMS[::-1]):
        found, wanted = (draw_all(b, prefix, params) for b in (graphed, _batch(pipeline, 4)))
        assert found.log_likelihoods == wanted.log_likelihoods


def test_a_batch_that_keeps_none_says_so(tiny: Pipeline) -> None:
    drawn = draw_all(tiny.batch(2), tiny.prefix(tiny.encode("a heart")), _PARAMS[:2])
    assert drawn.log_likelihoods == [None, None]
