"""What a run of stage 2 begins with, as its options say it."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from models.errors import ConfigError
from models.families import build_codec
from models.files.weights import on_meta
from models.train import bpe
from models.train.recipes.register import CODEC_RECIPES
from models.train.stage2 import make_parser
from models.train.start import prior_to_train

_WORDS = {
    "vqgan": {"tok_emb_txt.weight", "pos_emb_txt.weight"},
    "rq-vae": {"cond_emb.weight", "pos_emb_cond"},
    "hq-vae": {"tok_emb_txt.weight", "pos_emb_txt.weight"},
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    folder = tmp_path_factory.mktemp("words") / "tokenizer"
    bpe.main(["--data", str(pictures), "--out", str(folder)])
    return folder


def _begun(family: str, *options: str) -> nn.Module:
    codec = CODEC_RECIPES[family].shape
    args = make_parser().parse_args(list(options))
    return prior_to_train(args, codec, on_meta(lambda: build_codec(codec)))[1]


@pytest.mark.parametrize("family", CODEC_RECIPES)
def test_words_can_be_kept_while_all_else_learns(
    family: str, tokenizer: Path, tmp_path: Path
) -> None:
    options = ["--run", str(tmp_path), "--tokenizer", str(tokenizer)]
    assert all(weight.requires_grad for weight in _begun(family, *options).parameters())
    begun = _begun(family, *options, "--keep-words")
    kept = {name for name, weight in begun.named_parameters() if not weight.requires_grad}
    assert kept == _WORDS[family]


def test_words_are_kept_where_there_are_some(tmp_path: Path) -> None:
    options = ["--run", str(tmp_path), "--prefix", "none", "--keep-words"]
    with pytest.raises(ConfigError, match="--keep-words: only with --prefix text"):
        _begun("vqgan", *options)
