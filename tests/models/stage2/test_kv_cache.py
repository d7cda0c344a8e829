import pytest
import torch

from models.configs import TransformerConfig
from models.stage2.kv_cache import KVCache

CONFIG = TransformerConfig(embed_dim=6, n_layers=2, n_heads=3, ctx_len_img=5, ctx_len_txt=4)
NUM_ROWS = 4


@pytest.fixture
def cache() -> KVCache:
    return KVCache(CONFIG, NUM_ROWS, torch.device("cpu"), torch.float32)


def test_it_starts_finite_and_holds_every_position(cache: KVCache) -> None:
    assert cache.data.shape == (2, 2, NUM_ROWS, 3, 4 + 5 - 1, 2)
    assert not cache.data.any()


def test_write_touches_one_position_of_each_row(cache: KVCache) -> None:
    positions = torch.tensor([0, 7, 3])
    written = torch.arange(1.0, 2 * 3 * 3 * 2 + 1).view(2, 3, 3, 2)
    cache.write(1, written, positions)
    for row, position in enumerate(positions.tolist()):
        assert torch.equal(cache.data[1, :, row, :, position], written[:, row])
    assert int((cache.data != 0).sum()) == written.numel()


def test_read_gives_what_was_written(cache: KVCache) -> None:
    for position in range(3):
        cache.write(0, torch.full((2, 2, 3, 2), position + 1.0), torch.full((2,), position))
    keys, values = cache.read(0, 2, 3)
    assert keys.shape == values.shape == (2, 3, 3, 2)
    assert torch.equal(keys[..., 0], torch.tensor([1.0, 2, 3]).expand(2, 3, 3))
    assert torch.equal(keys, values)


def test_a_prefix_reaches_its_rows_only_and_clears_what_was_there(cache: KVCache) -> None:
    cache.data.fill_(torch.nan)
    prefix = torch.randn(2, 2, 1, 3, 4, 2)
    cache.copy_prefix(prefix, torch.tensor([2, 0]))
    for row in (0, 2):
        assert torch.equal(cache.data[:, :, row, :, :4], prefix[:, :, 0])
        assert not cache.data[:, :, row, :, 4:].any()
    for row in (1, 3):
        assert cache.data[:, :, row].isnan().all()
