"""Options that the recorded sets leave at their defaults, against a second, plain implementation.

The reference below works from a checkpoint's own keys, without fusing, caching or torch's modules.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.configs.preset import Preset
from models.configs.transformer import TransformerConfig
from models.configs.vqgan import VQGANConfig
from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
from models.files.convert import convert
from models.presets.register import get_preset
from tests.models.mindalle import load_transformer, load_vqgan
from tests.models.random_checkpoint import write_random_checkpoint

_STAGE1 = VQGANConfig(
    embed_dim=24,
    n_embed=96,
    z_channels=32,
    resolution=32,
    ch=32,
    ch_mult=(1, 2, 1),
    num_res_blocks=1,
    attn_resolutions=(8,),
)
_TEXT = TransformerConfig(
    embed_dim=40,
    n_layers=2,
    n_heads=5,
    vocab_size_img=80,
    ctx_len_img=64,
    vocab_size_txt=333,
    ctx_len_txt=9,
    gelu_use_approx=True,
    mlp_bias=False,
)
_PLAIN = replace(_TEXT, vocab_size_txt=0, ctx_len_txt=0, gelu_use_approx=False, mlp_bias=True)
_OPTIONS = {
    "text-approx": _TEXT,
    "text-no-bias": replace(_TEXT, attn_bias=False, gelu_use_approx=False),
    "class": replace(_PLAIN, prefix="class", n_classes=7),
    "none-no-bias": replace(_PLAIN, prefix="none", attn_bias=False, mlp_bias=False),
}


@pytest.fixture(params=_OPTIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    preset = _preset(_OPTIONS[request.param])
    write_random_checkpoint(tmp_path / "model", preset)
    return tmp_path / "model"


def _preset(stage2: TransformerConfig) -> Preset:
    return replace(get_preset("tiny"), stage1=_STAGE1, stage2=stage2, weights=None)


def _norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    return centred * scale * state[f"{name}.weight"] + state[f"{name}.bias"]


def _linear(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", torch.zeros(1))


def _gelu(x: Tensor, is_approximate: bool) -> Tensor:
    if is_approximate:
        return x * (1 / (1 + torch.exp(-1.702 * x)))
    return x * 0.5 * (1 + torch.erf(x / 2**0.5))


def _attend(x: Tensor, state: dict[str, Tensor], name: str, n_heads: int) -> Tensor:
    length, width = x.shape
    dim = width // n_heads
    q, k, v = (
        _linear(x, state, f"{name}.{part}").view(length, n_heads, dim).transpose(0, 1)
        for part in ("query", "key", "value")
    )
    scores = (q @ k.mT) / dim**0.5
    causal = torch.ones(length, length).tril().bool()
    mixed = scores.masked_fill(~causal, -torch.inf).softmax(-1) @ v  # [H, T, dim]
    return _linear(mixed.transpose(0, 1).reshape(length, width), state, f"{name}.proj")


def reference_logits(
    folder: Path, shape: TransformerConfig, prefix: Tensor, codes: Tensor
) -> Tensor:
    """Image logits [T, V] of one row, from the official file's own keys."""
    state = torch.load(folder / "stage2_last.ckpt", weights_only=True)["state_dict"]
    if shape.prefix == "text":
        start = state["tok_emb_txt.weight"][prefix] + state["pos_emb_txt.weight"]
    else:
        start = state["sos"][0] if shape.prefix == "none" else state["sos.weight"][prefix]
    fed = state["tok_emb_img.weight"][codes[:-1]] + state["pos_emb_img.weight"][: len(codes) - 1]
    x = torch.cat((start, fed))
    for n in range(shape.n_layers):
        block = f"blocks.{n}"
        x = x + _attend(_norm(x, state, f"{block}.ln1"), state, f"{block}.attn", shape.n_heads)
        inner = _linear(_norm(x, state, f"{block}.ln2"), state, f"{block}.mlp.0")
        x = x + _linear(_gelu(inner, shape.gelu_use_approx), state, f"{block}.mlp.2")
    head = "head_img" if shape.prefix == "text" else "head"
    return _linear(_norm(x, state, "ln_f"), state, head)[len(start) - 1 :]


def _inputs(shape: TransformerConfig) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    prefix = torch.randint(shape.prompt_vocab_size, (shape.prompt_len,), generator=generator)
    return prefix, torch.randint(shape.vocab_size_img, (shape.ctx_len_img,), generator=generator)


def test_logits_match_the_plain_reference(folder: Path) -> None:
    stage2 = load_transformer(folder)
    prefix, codes = _inputs(stage2.config)
    wanted = reference_logits(folder, stage2.config, prefix, codes)
    with torch.inference_mode():
        found, _ = stage2(prefix[None], codes[None])
    assert wanted.std() > 0.5
    assert (found[0] - wanted).abs().max() < 2e-4


def test_greedy_codes_match_the_plain_reference(folder: Path, tmp_path: Path) -> None:
    stage2 = load_transformer(convert(folder, tmp_path / "converted").folder)
    prefix, _ = _inputs(stage2.config)
    batch = Batch(stage2, capacity=1)
    with torch.inference_mode():
        batch.admit(stage2.prefill(prefix[None]), [RowParams(seed=0, top_k=1)])
    while not batch.step():
        pass
    codes = batch.take([0])[0, :, 0]
    logits = reference_logits(folder, stage2.config, prefix, codes)
    best = logits.max(-1).values
    assert (best - logits[torch.arange(len(codes)), codes] < 1e-3).all()


def test_stage_1_fills_its_grid(folder: Path) -> None:
    stage1 = load_vqgan(folder)
    images = torch.rand((1, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        codes = stage1.encode(images)
        pixels = stage1.pixels(codes)
    assert codes.shape == (1, 64, 1)
    assert pixels.shape == images.shape
    assert pixels.isfinite().all()
