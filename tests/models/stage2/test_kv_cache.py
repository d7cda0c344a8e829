import pytest
import torch

from models.stage2.kv_cache import CachedPrefix, KVCache

NUM_ROWS = 4
SHAPE = (2, 3, 8, 2)  # layers, heads, positions, width of a head


@pytest.fixture
def cache() -> KVCache:
    return KVCache(NUM_ROWS, SHAPE, torch.device("cpu"), torch.float32)


def test_it_starts_finite_and_holds_every_position(cache: KVCache) -> None:
    assert cache.data.shape == (2, 2, NUM_ROWS, 3, 8, 2)
    assert not cache.data.any()


def test_write_touches_one_position_of_each_row(cache: KVCache) -> None:
    positions = torch.tensor([0, 7, 3])
    written = torch.arange(1.0, 3 * 2 * 3 * 2 + 1).view(3, 2, 3, 2)
    cache.write(1, written, cache.step(positions, 8))
    for row, position in enumerate(positions.tolist()):
        assert torch.equal(cache.data[1, :, row, :, position], written[row])
    assert int((cache.data != 0).sum()) == written.numel()


def test_read_gives_what_was_written(cache: KVCache) -> None:
    for position in range(3):
        step = cache.step(torch.full((2,), position), position + 1)
        cache.write(0, torch.full((2, 2, 3, 2), position + 1.0), step)
        keys, values = cache.read(0, 2, 3)  # the same views each time
    assert keys.shape == values.shape == (2, 3, 3, 2)
    assert torch.equal(keys[..., 0], torch.tensor([1.0, 2, 3]).expand(2, 3, 3))
    assert torch.equal(keys, values)


def test_a_prefix_reaches_its_rows_only_and_clears_what_was_there(cache: KVCache) -> None:
    cache.data.fill_(torch.nan)
    prefix = torch.randn(2, 2, 1, 3, 4, 2)
    cache.put(CachedPrefix(prefix, torch.zeros(1, 6)), torch.tensor([2, 0]))
    for row in (0, 2):
        assert torch.equal(cache.data[:, :, row, :, :4], prefix[:, :, 0])
        assert not cache.data[:, :, row, :, 4:].any()
    for row in (1, 3):
        assert cache.data[:, :, row].isnan().all()


@pytest.mark.parametrize("span", [1, 3, 8])
def test_a_step_sees_up_to_its_own_position(cache: KVCache, span: int) -> None:
    positions = torch.arange(NUM_ROWS) % span
    step = cache.step(positions, span)
    assert step.mask.shape == (NUM_ROWS, 3, 1, span)
    seen = torch.arange(span) <= positions[:, None]
    assert torch.equal(step.mask[:, :, 0] == 0, seen[:, None].expand(-1, 3, -1))
    assert set(step.mask.flatten().tolist()) <= {0.0, -torch.inf}


def test_a_step_sees_what_it_is_told_to(cache: KVCache) -> None:
    hidden = torch.tensor([[0.0, -torch.inf, 0.0], [-torch.inf, 0.0, 0.0]])
    step = cache.at(torch.tensor([2, 1]), hidden)
    assert step.span == 3
    assert torch.equal(step.mask[:, :, 0], hidden[:, None].expand(-1, 3, -1))


def test_the_first_rows_of_a_step_are_written_alone(cache: KVCache) -> None:
    step = cache.step(torch.tensor([5, 2, 7]), 8)
    first = step.first(2)
    assert torch.equal(first.mask, step.mask[:2])
    cache.write(0, torch.ones(2, 2, 3, 2), first)
    assert cache.data[0, 0, :, 0, :, 0].nonzero().tolist() == [[0, 5], [1, 2]]


def test_scrambled_rows_are_random_and_equal(cache: KVCache) -> None:
    cache.scramble(torch.Generator().manual_seed(0))
    assert torch.equal(cache.data, cache.data[:, :, :1].expand_as(cache.data))
    assert len(set(cache.data[:, :, 0].flatten().tolist())) == cache.data[:, :, 0].numel()
