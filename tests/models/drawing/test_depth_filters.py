import torch

from models.drawing.depth_filters import DepthFilters
from models.drawing.sampling import Filters, RowParams, draw

_CPU = torch.device("cpu")


def test_depths_drawn_at_once_are_drawn_as_each_alone() -> None:
    params = [
        RowParams(seed=0, temperature=temperature, top_k=(top_k, None, 3), top_p=(None, 0.7, 0.2))
        for temperature, top_k in ((1.0, None), (0.7, 1), (1.3, 20), (1.0, 64))
    ]
    logits, numbers = torch.randn(len(params), 3, 64), torch.rand(len(params), 3).double()
    depths = [Filters.of(params, 64, _CPU, depth) for depth in range(3)]
    alone = [draw(logits[:, d], own, numbers[:, d]) for d, own in enumerate(depths)]
    every = DepthFilters.of(params, (64, 64, 64), _CPU)
    assert torch.equal(draw(logits, every.at(0, 3), numbers), torch.stack(alone, 1))
    assert torch.equal(
        draw(logits[:, 1:], every.at(1, 2), numbers[:, 1:]), torch.stack(alone[1:], 1)
    )
    for depth, own in enumerate(depths):
        assert every.at(depth).work == own.work
        assert torch.equal(draw(logits[:, depth], every.at(depth), numbers[:, depth]), alone[depth])


def test_depths_that_filter_nothing_do_nothing_together_either() -> None:
    params = [RowParams(seed=0)]
    off = Filters.of(params, 64, _CPU).work
    assert DepthFilters.of(params, (64, 64), _CPU).at(0, 2).work == off == (None, False)


def test_a_top_k_is_measured_by_each_depths_own_vocabulary() -> None:
    every = DepthFilters.of([RowParams(seed=0, top_k=20)], (64, 16), _CPU)
    assert [most for most, _ in every.works] == [32, None]
    assert every.top_k.tolist() == [[20, 16]]


def test_the_first_rows_are_in_the_same_memory() -> None:
    params = [RowParams(seed=0, temperature=temperature) for temperature in (0.5, 0.6, 0.7)]
    every = DepthFilters.of(params, (9, 9), _CPU)
    first = every.first(2)
    assert torch.equal(first.temperature, every.temperature[:2])
    every.temperature[0, 1] = 3.0
    assert first.at(1).temperature[0] == 3.0


def test_filters_are_renewed_in_their_place() -> None:
    old = DepthFilters.of([RowParams(seed=0, top_k=3)] * 2, (9,), _CPU)
    row = RowParams(seed=0, temperature=2.0, top_p=0.5)
    new = DepthFilters.of([row, RowParams(seed=0)], (9,), _CPU)
    renewed = old.overwritten_by(new)
    assert renewed.works == new.works == ((None, True),)
    for name in ("temperature", "top_k", "top_p"):
        assert getattr(renewed, name).data_ptr() == getattr(old, name).data_ptr()
        assert torch.equal(getattr(renewed, name), getattr(new, name))
