from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.configs.hq import HQTransformerConfig
from models.errors import ConfigError
from models.presets.register import get_preset
from models.stage2.hq_transformer import HQTransformer
from models.stage2.transformer import Transformer
from models.tokenizer import Tokenizer
from models.train.data import tokens
from models.train.data.data_set import Meaning
from models.train.data.more_tokens import lengthen
from models.train.loop.engine import Engine
from models.train.loop.schedule import Schedule
from models.train.recipes import words
from models.train.start import initialise
from tests.models.mindalle import shape

ENGLISH = ("a cat", "red heart", "kick scooter", "bag")
DICTIONARY = (
    Meaning("katze", "cat"),
    Meaning("roller", "kick scooter"),
    Meaning("maleta", "bag"),
    Meaning("maleta", "cat"),
    *(Meaning("rotes", text) for text in ("bag", "cat", "heart")),
    Meaning("red", "cat"),
)
KEPT = (0, 3, 4, 5, 6, 7, 8, 9, 10, 11)  # of the 40 ids that the tiny models read
LEARNT = frozenset(range(40)) - set(KEPT)


@pytest.fixture
def tokenizers(tmp_path: Path) -> tuple[Tokenizer, Tokenizer]:
    """One that knows English, and the same with four words more."""
    texts = [*ENGLISH * 5, *[" ".join("katzeherzrollermaleta")] * 5]
    tokens.learn(iter(texts), tmp_path / "old", 100)
    old = Tokenizer.load(tmp_path / "old", 6)
    lengthen(tmp_path / "old", ("katze", "rotes", "roller", "maleta"), ENGLISH, tmp_path / "new")
    return old, Tokenizer.load(tmp_path / "new", 6)


def own(tokenizer: Tokenizer, text: str) -> list[int]:
    return [number for number in tokenizer.encode(text)[0] if number]


def test_a_new_token_begins_as_the_mean_of_its_pieces(
    tokenizers: tuple[Tokenizer, Tokenizer],
) -> None:
    old, new = tokenizers
    rows = torch.randn(len(old.vocabulary()), 3)
    longer = words.lengthened(rows, old, new)
    assert len(longer) == len(new.vocabulary())
    assert torch.equal(longer[: len(rows)], rows)
    (katze,) = own(new, "katze")
    torch.testing.assert_close(longer[katze], rows[own(old, "katze")].mean(0))


def test_spare_rows_are_used_before_new_ones(tokenizers: tuple[Tokenizer, Tokenizer]) -> None:
    old, new = tokenizers
    rows = torch.zeros(len(new.vocabulary()) + 9, 3)
    assert words.lengthened(rows, old, new).shape == rows.shape


def test_a_word_begins_as_its_english(tokenizers: tuple[Tokenizer, Tokenizer]) -> None:
    old, new = tokenizers
    rows = torch.randn(len(new.vocabulary()), 3)
    put = words.translated(rows, DICTIONARY, old, new)
    for word, english in (("katze", "cat"), ("roller", "kick scooter"), ("maleta", "bag cat")):
        (number,) = own(new, word)
        torch.testing.assert_close(put[number], rows[own(new, english)].mean(0))
    for untouched in ("rotes", "red"):  # of three meanings; no new token
        assert torch.equal(put[own(new, untouched)], rows[own(new, untouched)])


def test_a_word_that_does_what_one_english_token_does_has_nothing_to_learn(
    tokenizers: tuple[Tokenizer, Tokenizer],
) -> None:
    learnt = set(own(tokenizers[1], "rotes roller maleta"))
    assert words.to_learn(DICTIONARY, *tokenizers) == learnt
    elsewhere = (*DICTIONARY, Meaning("katze", "cat", is_in_place=False))
    assert words.to_learn(elsewhere, *tokenizers) == {*learnt, *own(tokenizers[1], "katze")}


def test_a_tokenizer_of_other_tokens_is_refused(tokenizers: tuple[Tokenizer, Tokenizer]) -> None:
    old, new = tokenizers
    words.check_goes_on(old, new)
    with pytest.raises(ConfigError, match="--tokenizer"):
        words.check_goes_on(new, old)


def hq() -> HQTransformer:
    config = get_preset("tiny-hq").stage2
    assert isinstance(config, HQTransformerConfig)
    return HQTransformer(config)


def flat() -> Transformer:
    return Transformer(shape("tiny"))


def lesson(model: words.Taught) -> tuple[Tensor, Tensor, Tensor]:
    """A foreign text, an English one, and codes."""
    rng = torch.Generator().manual_seed(1)
    config = model.config
    foreign, english = torch.randint(
        12, min(40, config.vocab_size_txt), (2, 3, config.ctx_len_txt), generator=rng
    )
    size = (3, model.num_steps) if model.depth == 1 else (3, model.num_steps, model.depth)
    codes = torch.randint(0, min(model.vocab_sizes), size, generator=rng)
    return foreign, torch.tensor(KEPT)[english % len(KEPT)], codes


@pytest.mark.parametrize("make", [hq, flat])
def test_a_prior_learns_a_text_by_its_english_and_keeps_what_it_was(
    make: Callable[[], words.Taught],
) -> None:
    model = make()
    initialise(model, 0)
    torch.nn.init.normal_(model.tok_emb_txt.weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    foreign, english, codes = lesson(model)
    loss = partial(words.prior_loss, 4)
    plan = words.WordPlan(Schedule(200, warm_up=1), rate=10.0)
    trainer = words.WordTrainer(model, model.tok_emb_txt, LEARNT, loss, plan, Engine())
    losses = [trainer.step(step, foreign, english, codes)["loss"] for step in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    now = model.state_dict()
    changed = [name for name, old in before.items() if not torch.equal(old, now[name])]
    assert changed == ["tok_emb_txt.weight"]
    kept = list(KEPT)
    assert torch.equal(model.tok_emb_txt.weight[kept], before["tok_emb_txt.weight"][kept])
    average = trainer.learner.average.weights["tok_emb_txt.weight"]
    assert torch.equal(average[kept], before["tok_emb_txt.weight"][kept])


@pytest.mark.parametrize("make", [hq, flat])
def test_the_loss_is_the_divergence_of_the_first_cells(make: Callable[[], words.Taught]) -> None:
    model = make().eval()
    initialise(model, 0)
    torch.nn.init.normal_(model.tok_emb_txt.weight)
    foreign, english, codes = lesson(model)
    found = words.prior_loss(4, model, foreign, english, codes)
    said = [
        model(ids, codes)[0][:, :4].reshape(3, 4, model.depth, -1)[:, :, 0].log_softmax(-1)
        for ids in (english, foreign)
    ]
    wanted = (said[0].exp() * (said[0] - said[1])).nan_to_num(0.0).sum() / 3
    torch.testing.assert_close(found, wanted)
    same = words.prior_loss(4, model, english, english, codes)
    assert same.item() == pytest.approx(0, abs=1e-5)


def test_a_ranker_learns_a_text_by_its_english_and_keeps_what_it_was() -> None:
    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = torch.nn.Embedding(40, 6)

        def encode_text(self, ids: Tensor, normalize: bool) -> Tensor:
            return torch.nn.functional.normalize(self.rows(ids).mean(1), dim=int(normalize))

    torch.manual_seed(0)
    model = Reader()
    before = model.rows.weight.detach().clone()
    foreign, english = torch.randint(12, 40, (8, 3)), torch.randint(3, 12, (8, 3))
    plan = words.WordPlan(Schedule(200, warm_up=1), rate=10.0)
    trainer = words.WordTrainer(model, model.rows, LEARNT, words.ranker_loss, plan, Engine())
    losses = [trainer.step(step, foreign, english)["loss"] for step in range(60)]
    assert losses[-1] < 0.1 * losses[0]
    kept = list(KEPT)
    assert torch.equal(model.rows.weight[kept], before[kept])


def test_names_are_known_whose_features_are_next_to_their_english() -> None:
    class Reader(torch.nn.Module):
        def encode_text(self, ids: Tensor, normalize: bool) -> Tensor:
            assert normalize
            return torch.nn.functional.one_hot(ids[:, 0] % 2, 2).float()

    letters = Tokenizer.of_letters(4)
    first = {letter: letters.encode(letter)[0][0] % 2 for letter in "abcd"}
    odd, even = [[x for x in "abcd" if first[x] == parity] for parity in (1, 0)]
    pairs = ((odd[0], odd[1]), (even[0], even[1]), (odd[0], even[1]))
    names = [Meaning(*pair) for pair in pairs]
    assert words.share_known(Reader(), names, letters) == pytest.approx(2 / 3)
