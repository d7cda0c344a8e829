"""Every pixel prior: what is kept between pixels changes no number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.configs.pixels import PixelPriorConfig
from models.configs.raw_pixels import RawPixelsConfig
from models.drawing.candidates import draw_all
from models.drawing.generate import Batch
from models.drawing.sampling import Filters, RowParams, draw
from models.drawing.streams import uniforms
from models.stage1.raw_pixels import RawPixels
from tests.models.pixel_models import (
    CONFIGS,
    PixelPrior,
    built,
    classes_of,
    codec_of,
    pictures,
    prior_of,
)

_EVERY = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def _ids(config: PixelPriorConfig, row: int) -> Tensor:
    return torch.tensor([[row % max(config.num_classes, 1)]])


class Forced:
    """Steps rows through the state with given codes [B, T, D]; row r begins 3 r steps late."""

    def __init__(self, config: PixelPriorConfig, prior: PixelPrior, codes: Tensor) -> None:
        self.prior, self.config, self.codes, self.lag = prior, config, codes, 3
        self.state = prior.new_state(len(codes))
        self.likelihood = torch.zeros(codes.shape, dtype=torch.float64)

    def run(self) -> Tensor:
        """Log-likelihood of each code."""
        rows, num_steps = range(len(self.codes)), self.prior.num_steps
        for step in range(num_steps + self.lag * (len(rows) - 1)):
            places = [min(max(step - self.lag * row, 0), num_steps - 1) for row in rows]
            for row in rows:
                if step == self.lag * row:
                    self.begin(row)
            if step:
                self.step(torch.tensor(places))
        return self.likelihood

    def begin(self, row: int) -> None:
        prefix = self.prior.prefill(_ids(self.config, row))
        self.state.put(prefix, torch.tensor([row]))
        self.look(prefix.hidden, torch.tensor([row]), torch.tensor([0]))

    def step(self, places: Tensor) -> None:
        rows, fed = torch.arange(len(places)), (places - 1).clamp(min=0)
        for _ in range(2):  # doing it twice changes nothing
            codes = self.codes[rows, fed]
            hidden = self.prior.decode(codes, fed, self.state, self.prior.reaches[-1])
        is_moving = places > 0
        self.look(hidden[is_moving], rows[is_moving], places[is_moving])

    def look(self, hidden: Tensor, rows: Tensor, places: Tensor) -> None:
        def keep(logits: Tensor, depth: int) -> Tensor:
            code = self.codes[rows, places, depth]
            found = logits.double().log_softmax(-1).gather(-1, code[:, None])[:, 0]
            self.likelihood[rows, places, depth] = found
            return code

        self.prior.sample(hidden, self.state, keep)


@_EVERY
def test_what_is_kept_is_what_would_be_computed_again(config: PixelPriorConfig) -> None:
    """Three rows at places of their own, against the network over whole pictures."""
    prior, values = prior_of(built(config)), pictures(config, 3)
    codec = codec_of(config)
    found = Forced(config, prior, codec.codes(values)).run()
    wanted = prior.log_likelihood(values, classes_of(config, 3))
    if wanted.dim() == values.dim():  # of sub-pixels
        assert torch.allclose(_raster(found, codec.config), wanted, atol=1e-9)
    else:  # of pixels, up to the training formula's own approximation in far tails
        sums = _raster(found.sum(-1, keepdim=True).expand_as(found), codec.config)[:, 0]
        assert torch.allclose(sums, wanted, atol=2e-3, rtol=1e-3)


def _raster(numbers: Tensor, config: RawPixelsConfig) -> Tensor:
    """Numbers [B, T, D] of codes → [B, C, H, W]."""
    return RawPixels(config).values(numbers)


def _drawn_again(config: PixelPriorConfig, prior: PixelPrior, params: list[RowParams]) -> Tensor:
    """Codes [B, T, D], everything computed again for each step."""
    drawn = torch.zeros(len(params), prior.num_steps, prior.depth, dtype=torch.int64)
    seeds, candidates = zip(*((row.seed, row.candidate) for row in params), strict=True)
    stream = uniforms(torch.tensor(seeds), torch.tensor(candidates), drawn[0].numel())
    stream = stream.view(drawn.shape)
    filters = [Filters.of(params, size, prior.device) for size in prior.vocab_sizes]
    for step in range(prior.num_steps):

        def choose(logits: Tensor, depth: int, step: int = step) -> Tensor:
            return draw(logits, filters[depth], stream[:, step, depth])

        drawn[:, step] = prior.redraw(drawn, classes_of(config, 1), step, choose)
    return drawn


@_EVERY
def test_codes_are_those_of_computing_everything_again(config: PixelPriorConfig) -> None:
    prior = prior_of(built(config))
    params = [RowParams(5, 0), RowParams(5, 1, temperature=0.7), RowParams(6, 2, top_p=0.8)]
    batch = Batch(prior, 4)
    found = draw_all(batch, prior.prefill(_ids(config, 0)), params).codes
    wanted = [_drawn_again(config, prior, [row])[0] for row in params]
    assert torch.equal(found, torch.stack(wanted))


@_EVERY
def test_a_row_that_joins_late_draws_what_it_draws_alone(config: PixelPriorConfig) -> None:
    prior = prior_of(built(config))
    params = [RowParams(7, candidate) for candidate in range(3)]
    prefixes = [prior.prefill(_ids(config, row)) for row in range(3)]
    alone = [draw_all(Batch(prior, 3), prefixes[row], [params[row]]).codes[0] for row in range(3)]
    batch, found = Batch(prior, 3), dict[int, Tensor]()
    (thrown,) = batch.admit(prefixes[2], [RowParams(1)])
    for _ in range(5):
        batch.step()
    batch.evict([thrown])  # what it leaves behind must not be seen
    rows: dict[int, int] = {}
    for row in range(3):
        rows[batch.admit(prefixes[row], [params[row]])[0]] = row
        for _ in range(4):
            batch.step()
    while len(found) < 3:
        for done in batch.step():
            found[rows[done]] = batch.take([done])[0]
    for row in range(3):
        assert torch.equal(found[row], alone[row])


def test_state_is_allocated_once() -> None:
    """Whatever steps there are, its tensors stay where they are."""
    for config in CONFIGS.values():
        prior = prior_of(built(config))
        state = prior.new_state(2)
        before = _tensors(state)
        codes, places = torch.zeros(2, prior.depth, dtype=torch.int64), torch.tensor([0, 1])
        for step in range(4):
            prior.decode(codes, places + step, state, prior.reaches[-1])
        assert _tensors(state) == before


def _tensors(thing: object) -> list[tuple[int, int]]:
    """Address and size of every tensor below a state's attributes."""
    if isinstance(thing, Tensor):
        return [(thing.data_ptr(), thing.numel())]
    if isinstance(thing, list | tuple):
        return [found for part in thing for found in _tensors(part)]
    return [found for part in getattr(thing, "__dict__", {}).values() for found in _tensors(part)]
