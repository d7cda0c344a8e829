from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from models.configs.hq import HQTransformerConfig, HQVAEConfig
from models.errors import ConfigError
from models.presets.register import get_preset
from models.stage2.hq_transformer import HQTransformer
from models.stage2.transformer import Transformer
from models.train.recipes import hq_transformer
from models.train.recipes.graft import check_fits, graft, shares
from models.train.recipes.prior import PromptShape
from models.train.start import initialise
from tests.models.mindalle import shape

OLD = shape("tiny")


def new_shape() -> HQTransformerConfig:
    """An HQ-Transformer with a body as `OLD`'s, of its cells."""
    codec = get_preset("tiny-hq").stage1
    assert isinstance(codec, HQVAEConfig)
    made = hq_transformer.shape_of(codec, PromptShape("text", 40, OLD.ctx_len_txt))
    body = replace(made.body, embed_dim=OLD.embed_dim, n_layers=OLD.n_layers, n_heads=OLD.n_heads)
    head = replace(body, n_layers=1)
    return replace(made, body=body, head=head, num_steps=16, ctx_len_img=16)


def silence(model: HQTransformer) -> None:
    """Let nothing fresh be heard in the coarsest codes: finer codes, and the head's blocks."""
    for name, weight in model.named_parameters():
        if name.startswith(("cell.tok_emb_levels.1", "cell.pos_emb_emb")) or (
            name.startswith("head.") and (".proj." in name or ".mlp.2." in name)
        ):
            nn.init.zeros_(weight)


def test_a_grafted_model_says_what_the_old_one_says_in_its_own_codes() -> None:
    torch.manual_seed(0)
    old, new = Transformer(OLD), HQTransformer(new_shape())
    initialise(old, 1)
    initialise(new, 2)
    silence(new)
    for embedding in (old.tok_emb_img, old.tok_emb_txt):
        nn.init.normal_(embedding.weight)  # so large that no norm's epsilon counts
    order = torch.randperm(new.config.sizes[0])  # new code i is old code order[i]
    shared = torch.zeros(new.config.sizes[0], OLD.vocab_size_img)
    shared[torch.arange(len(order)), order] = 1.0
    graft(old, new, {token: 39 - token for token in range(40)}, shared)
    text = torch.randint(0, 40, (2, OLD.ctx_len_txt))
    cells = torch.randint(0, min(new.config.sizes), (2, 16, new.depth))
    with torch.no_grad():
        found, wanted = new(text, cells)[0][:, :, 0], old(39 - text, order[cells[..., 0]])[0]
    torch.testing.assert_close(found, wanted[..., order], atol=1e-4, rtol=1e-3)


def test_codes_share_what_stands_in_the_same_cells() -> None:
    new, old = torch.tensor([0, 0, 0, 2]), torch.tensor([1, 1, 0, 3])
    found = shares(new, old, (3, 4))
    torch.testing.assert_close(found.sum(1), torch.ones(3))
    assert found.argmax(1).tolist() == [1, 1, 3]  # the second was never met: the commonest
    assert found[1].tolist() == pytest.approx([0.25, 0.5, 0.0, 0.25])


def test_what_does_not_fit_is_refused() -> None:
    new = new_shape()
    with pytest.raises(ConfigError, match="blocks"):
        check_fits(replace(OLD, n_layers=OLD.n_layers + 1), new)
    with pytest.raises(ConfigError, match="cells"):
        check_fits(replace(OLD, prefix="none"), new)
    with pytest.raises(ConfigError, match="length"):
        check_fits(replace(OLD, ctx_len_txt=OLD.ctx_len_txt + 1), new)
