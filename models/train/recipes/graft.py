"""Start an HQ-Transformer from a transformer that draws the same pictures by other codes.

What the old one knows of words and places is in its blocks and does not depend on the codebook;
the codebook's own rows are carried over by how often a new code stands where an old one does. Both
grids must have as many cells. Knows no data: the pairs of codes come from outside.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.configs.hq import HQTransformerConfig
from models.configs.transformer import TransformerConfig
from models.errors import ConfigError
from models.stage2.hq_transformer import HQTransformer
from models.stage2.transformer import Transformer

_SMOOTHING = 0.1  # cells that every new code shares with the average old one


def check_fits(old: TransformerConfig, new: HQTransformerConfig) -> None:
    """ConfigError where the two have not the same blocks, cells and length of text."""
    body = (new.body.embed_dim, new.body.n_layers, new.body.n_heads)
    if (old.embed_dim, old.n_layers, old.n_heads) != body:
        raise ConfigError("--graft: its blocks are of another shape than the new body's")
    if old.num_steps != new.num_steps or old.prefix != "text" or new.prefix != "text":
        raise ConfigError("--graft: both must draw as many cells after a text")
    if old.ctx_len_txt != new.ctx_len_txt or new.embedding != "transformer":
        raise ConfigError("--graft: another length of text, or another embedding of cells")


def shares(new_codes: Tensor, old_codes: Tensor, sizes: tuple[int, int]) -> Tensor:
    """Codes of the same cells, both [N] → how old codes are shared out under each new one [V, Vo].

    Rows sum to 1. A new code that was never met has the frequencies of all.
    """
    counts = torch.zeros(sizes)
    counts.index_put_((new_codes, old_codes), torch.ones(len(new_codes)), accumulate=True)
    counts += _SMOOTHING * counts.sum(0) / counts.sum()
    return counts / counts.sum(1, keepdim=True)


@torch.no_grad()
def graft(old: Transformer, new: HQTransformer, tokens: Mapping[int, int], shared: Tensor) -> None:
    """Put the old one's knowledge into the new one, whose finer codes stay fresh.

    Args:
        old: a text-to-image transformer.
        new: one whose shape fits, see `check_fits`.
        tokens: of the new text tokens those that the old one has, and what they are there.
        shared: see `shares`, of the coarsest codes.
    """
    check_fits(old.config, new.config)
    new.body.blocks.load_state_dict(old.blocks.state_dict())
    new.ln_f.load_state_dict(old.ln_f.state_dict())
    new.pos_emb_txt.weight.copy_(old.pos_emb_txt.weight)
    there, here = list(tokens.values()), list(tokens)
    new.tok_emb_txt.weight[here] = old.tok_emb_txt.weight[there]
    num_codes = new.cell.pos_emb_emb.weight.shape[0]  # a cell's token is the mean of so many
    new.cell.tok_emb_levels[0].get_parameter("weight").copy_(
        num_codes * shared @ old.tok_emb_img.weight
    )
    new.cell.pos_emb_top.weight.copy_(num_codes * old.pos_emb_img.weight[: new.num_steps])
    new.head_levels[0].get_parameter("weight").copy_(shared @ old.head.weight)
    new.inputs.sos_depth.zero_()  # else it is as long as what the body says
