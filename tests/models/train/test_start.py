"""What a run of stage 2 begins with, as its options say it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from torch import nn

from models.errors import ConfigError, MissingFileError
from models.families import build_codec
from models.files.weights import on_meta
from models.train import bpe
from models.train.data.sources import open_data
from models.train.loop.checkpoints import Checkpoints
from models.train.recipes.register import CODEC_RECIPES
from models.train.shapes import load_prior
from models.train.stage2 import make_parser
from models.train.start import num_classes, prior_to_train, tokenizer_of

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


def _run_of(folder: Path, *options: str) -> list[str]:
    """The options that go on with a run which those begin."""
    model = _begun("vqgan", "--run", str(folder), *options)
    Checkpoints(folder, 1).save({"step": 1, "average": model.state_dict()})
    return ["--start", str(folder), "--run", str(folder / "next")]


def test_a_run_to_start_with_must_be_there(tmp_path: Path) -> None:
    """Also beside a checkpoint, which was taken in its place."""
    golden = Path(__file__).parents[2] / "golden" / "mindalle_text"
    options = ["--run", str(tmp_path), "--start", str(tmp_path / "typo")]
    for more in ([], ["--init", str(golden)]):
        with pytest.raises(MissingFileError, match=r"--start: .*typo holds no checkpoint"):
            _begun("vqgan", *options, *more)


def test_weights_to_go_on_from_are_drawn_after_what_prefix_says(
    tokenizer: Path, tmp_path: Path
) -> None:
    begun = _run_of(tmp_path, "--tokenizer", str(tokenizer))
    with pytest.raises(ConfigError, match="--prefix: the weights to go on from take text"):
        _begun("vqgan", *begun, "--prefix", "none")


def test_a_run_goes_on_by_its_own_tokenizer_alone(
    tokenizer: Path, pictures: Path, tmp_path: Path
) -> None:
    """None is learnt in its place where it is not found, and a longer one is refused."""
    begun = _run_of(tmp_path / "run", "--tokenizer", str(tokenizer))
    data = open_data(pictures, tmp_path)
    with pytest.raises(MissingFileError, match="holds no"):
        tokenizer_of(make_parser().parse_args([*begun, "--tokenizer", str(tmp_path)]), data)
    longer = tmp_path / "longer"
    shutil.copytree(tokenizer, longer)
    (path,) = longer.glob("*vocab.json")
    words = json.loads(path.read_text())
    path.write_text(json.dumps({**words, "one": len(words)}))
    with pytest.raises(ConfigError, match="the tokenizer makes ids up to"):
        tokenizer_of(make_parser().parse_args([*begun, "--tokenizer", str(longer)]), data)


@pytest.mark.parametrize("changed", ["ctx_len_txt=32", "vocab_size_txt=8", "prefix=none"])
def test_a_shape_does_not_say_what_is_drawn_after(
    changed: str, tokenizer: Path, tmp_path: Path
) -> None:
    options = ["--run", str(tmp_path), "--tokenizer", str(tokenizer), "--shape", changed]
    with pytest.raises(ConfigError, match="--shape: a picture is drawn after what --prefix"):
        _begun("vqgan", *options)


def test_how_many_classes_there_are_is_said_once(tmp_path: Path) -> None:
    by_class = ["--prefix", "class"]
    with pytest.raises(ConfigError, match="--prefix class: of how many"):
        _begun("vqgan", "--run", str(tmp_path), *by_class)
    begun = [*_run_of(tmp_path, *by_class, "--classes", "5"), *by_class]
    assert num_classes(make_parser().parse_args(begun)) == 5
    with pytest.raises(ConfigError, match="--classes: the weights to go on from have 5"):
        num_classes(make_parser().parse_args([*begun, "--classes", "3"]))
    shape = load_prior(tmp_path)
    assert shape is not None
    assert shape.prompt_vocab_size == 5
