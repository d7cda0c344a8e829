"""Options that the recorded RQ sets leave alone, against a second, plain implementation.

The reference below works from the official files' own keys, one position and depth after another,
without caching, fusing or torch's modules.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.configs.preset import Preset
from models.configs.rq import RQTransformerConfig, RQVAEConfig
from models.configs.transformer import StackConfig
from models.drawing.candidates import draw_all
from models.drawing.sampling import RowParams
from models.files.checkpoint import load_stage1, load_stage2, open_checkpoint
from models.files.convert import convert
from models.pipeline import load
from tests.models.random_rq_checkpoint import rq_shapes, tiny_text, write_random_rq_checkpoint

State = dict[str, Tensor]

_STAGE1, _TEXT = rq_shapes(tiny_text())
_DEEP = replace(_STAGE1, grid=(4, 4, 6), n_embed=(40,) * 6, decay=(0.9,) * 6)
_UNEVEN = replace(_STAGE1, shared_codebook=False, n_embed=(64, 40, 24, 8))
_FOLDED = replace(_STAGE1, grid=(2, 4, 4), n_embed=(64,) * 4)
_PLAIN = replace(_TEXT, prefix="none", vocab_size_cond=1, block_size_cond=1)
_OPTIONS: dict[str, tuple[RQVAEConfig, RQTransformerConfig]] = {
    "six-depths": (_DEEP, replace(_PLAIN, block_size=(4, 4, 6), vocab_sizes=(40,) * 6)),
    "one-depth-no-head": (
        replace(_STAGE1, grid=(4, 4, 1), n_embed=(64,), decay=(0.9,)),
        replace(_TEXT, block_size=(4, 4, 1), vocab_sizes=(64,), head=StackConfig(32, 0, 2)),
    ),
    "uneven-vocabularies": (
        _UNEVEN,
        replace(_TEXT, vocab_sizes=_UNEVEN.n_embed, shared_tok_emb=False, shared_cls_emb=False),
    ),
    "own-tables": (
        _UNEVEN,
        replace(
            _PLAIN,
            vocab_sizes=_UNEVEN.n_embed,
            shared_tok_emb=False,
            shared_cls_emb=False,
            input_emb_vqvae=False,
            head_emb_vqvae=False,
        ),
    ),
    "own-table-in-the-head": (
        _STAGE1,
        replace(_PLAIN, prefix="class", vocab_size_cond=9, head_emb_vqvae=False),
    ),
    "folded-and-no-biases": (
        _FOLDED,
        replace(
            _PLAIN,
            block_size=(2, 4, 4),
            input_embed_dim=16,
            cumsum_depth_ctx=False,
            body=StackConfig(32, 1, 4, attn_bias=False, mlp_bias=False, gelu_use_approx=True),
        ),
    ),
}


@pytest.fixture(params=_OPTIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    stage1, stage2 = _OPTIONS[request.param]
    preset = Preset("random", "", "none", stage1, stage2)
    write_random_rq_checkpoint(tmp_path / "model", preset)
    return tmp_path / "model"


def _norm(x: Tensor, state: State, name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    return centred * scale * state[f"{name}.weight"] + state[f"{name}.bias"]


def _linear(x: Tensor, state: State, name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", torch.zeros(1))


def _gelu(x: Tensor, is_approximate: bool) -> Tensor:
    if is_approximate:
        return x / (1 + torch.exp(-1.702 * x))
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def _stack(x: Tensor, state: State, name: str, config: StackConfig) -> Tensor:
    """A whole sequence [T, E]."""
    length, width = x.shape
    causal = torch.ones(length, length).tril().bool()
    for layer in range(config.n_layers):
        block = f"{name}.blocks.{layer}"
        normed = _norm(x, state, f"{block}.ln1")
        q, k, v = (
            _linear(normed, state, f"{block}.attn.{part}").view(length, config.n_heads, -1).mT.mT
            for part in ("query", "key", "value")
        )
        scores = torch.einsum("thd,shd->hts", q, k) / (width // config.n_heads) ** 0.5
        share = scores.masked_fill(~causal, -torch.inf).softmax(-1)
        mixed = torch.einsum("hts,shd->thd", share, v).reshape(length, width)
        x = x + _linear(mixed, state, f"{block}.attn.proj")
        inner = _linear(_norm(x, state, f"{block}.ln2"), state, f"{block}.mlp.0")
        x = x + _linear(_gelu(inner, config.gelu_use_approx), state, f"{block}.mlp.2")
    return x


def _stage1_vector(books: State, depth: int, code: Tensor) -> Tensor:
    return books[f"quantizer.codebooks.{depth}.weight"][code]


def _own_vector(state: State, config: RQTransformerConfig, depth: int, code: Tensor) -> Tensor:
    begin = 0 if config.shared_tok_emb else sum(config.vocab_sizes[:depth])
    return state["tok_emb.weight"][begin + code]


def _body(state: State, books: State, config: RQTransformerConfig, codes: Tensor) -> Tensor:
    """The sum over the depths at one position [D]."""
    parts = []
    for depth, code in enumerate(codes):
        if config.input_emb_vqvae:
            parts.append(_linear(_stage1_vector(books, depth, code), state, "input_mlp"))
        else:
            parts.append(_own_vector(state, config, depth, code))
    return torch.stack(parts).sum(0)


def _depths(state: State, books: State, config: RQTransformerConfig, codes: Tensor) -> list[Tensor]:
    """What the head reads behind each depth but the last."""
    read: list[Tensor] = []
    so_far = torch.zeros(1)
    for depth, code in enumerate(codes[:-1]):
        if not config.head_emb_vqvae:
            read.append(_own_vector(state, config, depth, code))
            continue
        vector = _stage1_vector(books, depth, code)
        so_far = so_far + vector if config.cumsum_depth_ctx else vector
        read.append(_linear(so_far, state, "head_mlp"))
    return read


def reference_logits(
    folder: Path, config: RQTransformerConfig, prefix: Tensor, codes: Tensor
) -> list[list[Tensor]]:
    """Logits [V] of every position and depth of one row, from the official files' own keys."""
    books: State = torch.load(folder / "stage1/model.pt", weights_only=True)["state_dict"]
    state: State = torch.load(folder / "stage2/model.pt", weights_only=True)["state_dict"]
    start = state["cond_emb.weight"][prefix] + state["pos_emb_cond"][0]
    tokens = [_body(state, books, config, row) for row in codes[:-1]]
    fed = torch.stack(tokens) + state["pos_emb_hw"][0, : len(tokens)]
    body = _stack(torch.cat((start, fed)), state, "body_transformer", config.body)
    out = []
    for context, row in zip(body[len(prefix) - 1 :], codes, strict=True):
        read = torch.stack([context, *_depths(state, books, config, row)])
        x = _stack(read + state["pos_emb_d"][0], state, "head_transformer", config.head)
        normed = _norm(x, state, "classifier.layer_norm")
        out.append([_classified(state, config, normed[d], d) for d in range(config.depth)])
    return out


def _classified(state: State, config: RQTransformerConfig, x: Tensor, depth: int) -> Tensor:
    if config.shared_cls_emb:
        return _linear(x, state, "classifier.linear")
    size = config.vocab_sizes[depth]
    weight, bias = state["classifier.linear.weight"], state["classifier.linear.bias"]
    return (x @ weight[depth] + bias[depth])[:size]


def _inputs(config: RQTransformerConfig) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    prefix = torch.randint(config.vocab_size_cond, (config.prompt_len,), generator=generator)
    codes = [torch.randint(v, (config.num_steps,), generator=generator) for v in config.vocab_sizes]
    return prefix, torch.stack(codes, -1)


def test_logits_match_the_plain_reference(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    _, config = rq_shapes(checkpoint.preset)
    prefix, codes = _inputs(config)
    wanted = reference_logits(folder, config, prefix, codes)
    stage1 = load_stage1(checkpoint)
    with torch.inference_mode():
        found, _ = load_stage2(checkpoint, codec=stage1)(prefix[None], codes[None])
    for place, depths in enumerate(wanted):
        for depth, logits in enumerate(depths):
            assert logits.std() > 0.3
            difference = found[0, place, depth, : len(logits)] - logits
            assert difference.abs().max() < 2e-4


def test_greedy_codes_match_the_plain_reference(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "converted")
    pipeline = load("", tmp_path / "converted")
    _, config = rq_shapes(pipeline.preset)
    prefix, _ = _inputs(config)
    with torch.inference_mode():
        prefilled = pipeline.stage2.prefill(prefix[None])
    codes = draw_all(pipeline.batch(1), prefilled, [RowParams(seed=0, top_k=1)]).codes[0]
    wanted = reference_logits(folder, config, prefix, codes)
    for row, depths in zip(codes, wanted, strict=True):
        for code, logits in zip(row, depths, strict=True):
            assert logits.max() - logits[code] < 1e-3


def test_pictures_become_codes_and_back(folder: Path) -> None:
    stage1 = load("", folder).stage1
    pixels = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        codes = stage1.encode(pixels)
        made = stage1.pixels(codes)
    assert codes.shape == (2, *stage1.code_shape)
    assert made.shape == pixels.shape
    assert made.isfinite().all()
