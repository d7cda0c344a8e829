import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.drawing.streams import CODES, FINER_CODES, MAX_SEED, philox, uniforms

_WORD = 2**32

# Known answers of Random123 (Salmon et al.), "philox4x32 10".
KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([_WORD - 1] * 4, [_WORD - 1] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter: list[int], key: list[int], answer: list[int]) -> None:
    assert philox(torch.tensor(counter), torch.tensor(key)).tolist() == answer


def _philox(counter: list[int], key: list[int]) -> list[int]:
    """The published round function in unbounded integers."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (second // _WORD) ^ c1 ^ k0,
            second % _WORD,
            (first // _WORD) ^ c3 ^ k1,
            first % _WORD,
        )
        k0, k1 = (k0 + 0x9E3779B9) % _WORD, (k1 + 0xBB67AE85) % _WORD
    return [c0, c1, c2, c3]


_words = st.integers(0, _WORD - 1)


@given(
    counter=st.lists(_words, min_size=4, max_size=4), key=st.lists(_words, min_size=2, max_size=2)
)
def test_words_equal_unbounded_arithmetic(counter: list[int], key: list[int]) -> None:
    assert philox(torch.tensor(counter), torch.tensor(key)).tolist() == _philox(counter, key)


@given(seed=st.integers(0, MAX_SEED), candidate=_words)
def test_a_number_is_the_top_bits_of_its_block(seed: int, candidate: int) -> None:
    drawn = uniforms(torch.tensor([seed]), torch.tensor([candidate]), 3)
    for position, number in enumerate(drawn[0].tolist()):
        words = _philox([position, candidate, 0, 0], [seed % _WORD, seed // _WORD])
        assert number == (words[0] * _WORD + words[1] >> 11) / 2**53


def test_a_shorter_stream_is_the_start_of_a_longer_one() -> None:
    seeds, candidates = torch.tensor([5, MAX_SEED]), torch.tensor([0, 9])
    long = uniforms(seeds, candidates, 300)
    assert torch.equal(uniforms(seeds, candidates, 7), long[:, :7])
    assert uniforms(seeds, candidates, 0).shape == (2, 0)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    seeds, candidates = torch.arange(40), torch.arange(40).flip(0)
    together = uniforms(seeds, candidates, 16)
    alone = [uniforms(seeds[i : i + 1], candidates[i : i + 1], 16) for i in range(40)]
    assert torch.equal(together, torch.cat(alone))


def _streams(stream: int = CODES) -> Tensor:
    """[seed, candidate, position], 20 × 20 × 256 numbers."""
    seeds = torch.tensor([*range(10), *(2**40 + i for i in range(10))])
    grid = uniforms(seeds.repeat_interleave(20), torch.arange(20).repeat(20), 256, stream)
    return grid.view(20, 20, 256)


def _chi_square(cells: Tensor, num_cells: int) -> float:
    counts = torch.bincount(cells.flatten(), minlength=num_cells).double()
    expected = counts.sum() / num_cells
    return float(((counts - expected) ** 2 / expected).sum())


def test_numbers_are_uniform() -> None:
    numbers = _streams()
    assert float(numbers.min()) >= 0
    assert float(numbers.max()) < 1
    # 99.9% quantile of chi-square with 255 degrees of freedom.
    assert _chi_square((numbers * 256).long(), 256) < 330.5
    # The low bits as well: 2**-20 times a cell is far below float32's resolution near 1.
    assert _chi_square((numbers * 2**28).long() % 256, 256) < 330.5


@pytest.mark.parametrize("axis", [0, 1, 2], ids=["seeds", "candidates", "positions"])
def test_neighbouring_streams_are_independent(axis: int) -> None:
    numbers = _streams()
    size = numbers.shape[axis]
    before, after = numbers.narrow(axis, 0, size - 1), numbers.narrow(axis, 1, size - 1)
    pairs = (before * 16).long() * 16 + (after * 16).long()
    assert _chi_square(pairs, 256) < 330.5
    correlation = torch.corrcoef(torch.stack((before.flatten(), after.flatten())))[0, 1]
    assert abs(float(correlation)) < 4 / math.sqrt(before.numel())


def test_no_two_streams_share_a_number() -> None:
    numbers = torch.cat((_streams(), _streams(FINER_CODES)))
    assert len(set(numbers.flatten().tolist())) == numbers.numel()
