"""What a graft needs: pictures in the codes of both models, words in the tokens of both.

See `recipes.graft`, which puts them to use.
"""

from __future__ import annotations

from argparse import Namespace
from random import Random

from torch import nn

from models.errors import ConfigError
from models.files import checkpoint as checkpoints
from models.stage2.hq_transformer import HQTransformer
from models.stage2.transformer import Transformer
from models.tokenizer import Tokenizer
from models.train.codes import encode_all
from models.train.data.code_table import CodeTable
from models.train.data.sources import opened
from models.train.recipes.graft import check_fits, graft, shares

_NUM_PICTURES = 4096


def put_grafted(args: Namespace, model: nn.Module, table: CodeTable, tokenizer: Tokenizer) -> None:
    """Give a fresh prior what the checkpoint `args.graft` knows.

    Raises:
        ConfigError: the two don't fit each other.
    """
    source = checkpoints.open_checkpoint(args.graft)
    old, codec = checkpoints.load_stage2(source), checkpoints.load_stage1(source)
    known = checkpoints.load_tokenizer(source)
    if not isinstance(old, Transformer) or not isinstance(model, HQTransformer) or known is None:
        raise ConfigError("--graft: from a text-to-image transformer to an HQ-Transformer only")
    check_fits(old.config, model.config)
    rows = _rows(table)
    data = opened(args, source.preset.stage1.size[0])
    old_codes, _ = encode_all(codec, data, [table.variants[row] for row in rows], is_soft=False)
    sizes = (model.config.sizes[0], old.config.vocab_size_img)
    shared = shares(table.codes_of(rows)[..., 0].flatten(), old_codes.flatten(), sizes)
    names = known.spellings()
    tokens = {id_: names[token] for token, id_ in tokenizer.spellings().items() if token in names}
    graft(old, model, tokens, shared)


def _rows(table: CodeTable) -> list[int]:
    """Pictures of the table, drawn at random but always the same."""
    count = len(table.variants)
    return Random("graft").sample(range(count), min(_NUM_PICTURES, count))
