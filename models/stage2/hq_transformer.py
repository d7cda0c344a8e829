"""Stage 2 of the HQ family: HQ-Transformer, whose step is a cell of codes (You et al. 2022).

A body runs over the prefix and the cells, one token each; at every cell a small head draws the
coarsest code from the body's output, then each level's finer codes at once, independent of each
other. Knows no sampling and no checkpoint names. Facts that are easy to get wrong: `ln_f` stands
between body and head, a norm of its own before each level's logits; the finer codes' positions see
each other though none of them knows what the others draw.

Beyond the reference, which no checkpoint forbids: batches of one, three levels without a prompt, a
text before every way of drawing, sampling with every embedding; and rows and columns of "2d"
positions are those of the grid, where its sampler takes the table's.
"""

from __future__ import annotations

import re
from itertools import accumulate, groupby, islice

import torch
from torch import Tensor, nn

from models.configs.hq import HQTransformerConfig
from models.stage2.blocks import EndsInNorm
from models.stage2.code_loss import (
    hard_cross_entropy,
    side_by_side,
    soft_cross_entropy,
    text_cross_entropy,
)
from models.stage2.hq_cells import CellEmbedding, HeadInputs, level_slices
from models.stage2.kv_cache import CachedPrefix, KVCache, reaches
from models.stage2.prior import Draw
from models.stage2.stack import Stack


class HQTransformer(EndsInNorm):
    """A `Prior` over cells of codes."""

    def __init__(self, config: HQTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.num_steps, self.vocab_sizes = config.num_steps, config.vocab_sizes
        self.depth = len(config.vocab_sizes)
        width = config.embed_dim
        if config.prefix == "text":
            self.tok_emb_txt = nn.Embedding(config.vocab_size_txt, width)
            self.pos_emb_txt = nn.Embedding(config.ctx_len_txt, width)
            self.ln_txt = nn.LayerNorm(width)
            self.head_txt = nn.Linear(width, config.vocab_size_txt, bias=False)
        else:
            self.sos = nn.Embedding(config.prompt_vocab_size, width)
        self.cell = CellEmbedding(config)
        self.embd_drop = nn.Dropout(config.embd_pdrop)
        self.body = Stack(config.body)
        self.ln_f = nn.LayerNorm(width)
        self.inputs = HeadInputs(config)
        self.head = Stack(config.head)
        self.ln_levels = nn.ModuleList(nn.LayerNorm(width) for _ in config.sizes)
        self.head_levels = nn.ModuleList(
            nn.Linear(width, size, bias=False) for size in config.sizes
        )
        counts = enumerate(config.codes_per_level)
        self._level_of = [level for level, count in counts for _ in range(count)]
        levels = iter(self._level_of)
        # How many codes of each level a window has: those of one are drawn at once.
        self._parts = [
            [len([*same]) for _, same in groupby(islice(levels, size))] for size in config.windows
        ]

    @property
    def reaches(self) -> tuple[int, ...]:
        """See Prior."""
        return reaches(self.config.prompt_len, self.num_steps, self.device, self.dtype)

    def embed_prefix(self, prefix: Tensor) -> Tensor:
        """Text ids [B, N], class ids [B, 1], or zeros [B, 1] for the empty prefix → [B, N, E]."""
        if self.config.prefix == "text":
            tokens: Tensor = self.tok_emb_txt(prefix) + self.pos_emb_txt.weight[: prefix.shape[1]]
            return tokens
        sos: Tensor = self.sos(prefix)
        return sos

    def forward(
        self, prefix: Tensor, codes: Tensor, seen: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Teacher-forced logits.

        Args:
            prefix: ids [B, N], see `embed_prefix`.
            codes: [B, T, D].
            seen: what the body is shown of earlier cells in their place [B, T, D].

        Returns:
            Logits [B, T, D, V] of each code, -inf beyond the vocabulary of a level that has fewer
            codes than others; and for text prefixes the text logits [B, N - 1, Vt], position j
            predicts token j + 1, else None.
        """
        x, num_prefix = self._outputs(prefix, codes if seen is None else seen), prefix.shape[1]
        logits = self._head_logits(x[:, num_prefix - 1 :], codes)
        if self.config.prefix != "text":
            return logits, None
        return logits, self.head_txt(self.ln_txt(x[:, : num_prefix - 1]))

    def coarsest_logits(self, prefix: Tensor, codes: Tensor) -> Tensor:
        """Of `forward`'s logits those of each cell's coarsest code [B, T, V], without the rest."""
        contexts = self._outputs(prefix, codes)[:, prefix.shape[1] - 1 :]
        tokens = self.inputs(contexts, codes[..., :0], 0)  # [B, T, codes of the first window, E]
        mask = tokens.new_zeros(tokens.shape[2], tokens.shape[2])
        x = self.head(tokens.flatten(0, 1), mask)[0].view(tokens.shape)
        return self._logits(x[:, :, 0], 0)

    def _outputs(self, prefix: Tensor, codes: Tensor) -> Tensor:
        """The body's outputs of prefix and codes, which never sees the last of them."""
        places = torch.arange(codes.shape[1] - 1, device=codes.device)
        cells = self.cell(codes[:, :-1], places.expand(len(codes), -1))
        x = torch.cat((self.embed_prefix(prefix), cells), 1)
        outputs: Tensor = self.ln_f(self.body(self.embd_drop(x))[0])
        return outputs

    def level_losses(self, logits: Tensor, codes: Tensor, targets: list[Tensor] | None) -> Tensor:
        """Mean cross-entropy of each level's codes [B, T, D], by logits [B, T, D, V]; in nats.

        Against soft `targets` where given, per depth the probabilities [B, T, V_d].
        """
        parts = hard_cross_entropy(logits, codes)
        if targets is not None:
            parts = soft_cross_entropy(logits, targets)
        return torch.stack([parts[..., where].mean() for where in level_slices(self.config)])

    def loss(
        self,
        prefix: Tensor,
        codes: Tensor,
        targets: list[Tensor] | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        """The training loss of codes [B, T, D] after prefix ids [B, N], with the config's weights.

        The levels' cross-entropies, each weighed by `weight_bottom` or, under the names of three
        levels, by how many codes it has in a cell; and the text's, weighed by 1 + `weight_bottom`
        besides its own weight, as the reference does. For `targets` see `level_losses`, for `seen`
        `forward`.
        """
        config = self.config
        logits, text = self(prefix, codes, seen)
        counts = (
            config.codes_per_level if config.drawing == "multilevel" else (1, config.weight_bottom)
        )
        weights = torch.tensor(counts, dtype=logits.dtype, device=logits.device)
        image: Tensor = (self.level_losses(logits, codes, targets) * weights).sum()
        if text is None:
            return image
        share = config.weight_txt * (1 + config.weight_bottom)
        return config.weight_img * image + share * text_cross_entropy(text, prefix)

    def prefill(self, ids: Tensor) -> CachedPrefix:
        """See Prior."""
        return self._prefilled(self.embed_prefix(ids))

    def prefill_with(self, ids: Tensor, codes: Tensor) -> CachedPrefix:
        """A prompt's ids [1, N] and the codes [1, t, D] of its first t cells at once."""
        places = torch.arange(codes.shape[1], device=codes.device)
        cells = self.cell(codes, places[None])
        return self._prefilled(torch.cat((self.embed_prefix(ids), cells), 1))

    def _prefilled(self, tokens: Tensor) -> CachedPrefix:
        x, cached = self.body(tokens)
        return CachedPrefix(torch.stack(cached), self.ln_f(x[:, -1]))

    def new_state(self, num_rows: int) -> KVCache:
        """See Prior; the head keeps nothing."""
        return self.body.new_cache(num_rows, self.config.num_positions, self.ln_f.weight)

    def decode(self, codes: Tensor, places: Tensor, state: KVCache, reach: int) -> Tensor:
        """See Prior: codes [b, D] → what the head starts from [b, E]."""
        start = self.config.prompt_len
        step = state.step(start + places, start + reach)
        out: Tensor = self.ln_f(self.body.decode(self.cell(codes, places), state, step))
        return out

    def sample(self, hidden: Tensor, state: KVCache, draw: Draw) -> Tensor:
        """See Prior: [b, E] → [b, D]; one pass of the head a window."""
        codes = torch.empty(len(hidden), 0, dtype=torch.int64, device=hidden.device)
        past: list[Tensor] | None = None
        for window, size in enumerate(self.config.windows):
            tokens = self.inputs(hidden, codes, window)  # [b, size, E]
            # Only the first window has no past; a mask of zeros lets it see all of itself.
            mask = tokens.new_zeros(size, size) if past is None else None
            x, past = self.head(tokens, mask, past)
            for part in x.split(self._parts[window], 1):
                depth = codes.shape[1]
                codes = torch.cat((codes, draw(self._logits(part, depth), depth)), -1)
        return codes

    def _head_logits(self, contexts: Tensor, codes: Tensor) -> Tensor:
        """The body's outputs [B, T, E] and the codes → logits [B, T, D, V]."""
        starts = accumulate(self.config.windows[:-1], initial=0)
        tokens = [
            self.inputs(contexts, codes[..., :start], window) for window, start in enumerate(starts)
        ]
        x = torch.cat(tokens, -2)  # [B, T, D, E]
        x = self.head(x.flatten(0, 1), self._mask(x))[0].view(x.shape)
        return side_by_side([self._logits(x[:, :, depth], depth) for depth in range(self.depth)])

    def _mask(self, x: Tensor) -> Tensor:
        """[D, D], 0 where a code sees another, -inf elsewhere; see `windows`."""
        counts = enumerate(self.config.windows)
        window = torch.tensor([w for w, count in counts for _ in range(count)], device=x.device)
        return x.new_zeros(self.depth, self.depth).masked_fill(window[:, None] < window, -torch.inf)

    def _logits(self, x: Tensor, depth: int) -> Tensor:
        """The head's outputs [..., E] at a depth → logits [..., V] of its level."""
        level = self._level_of[depth]
        logits: Tensor = self.head_levels[level](self.ln_levels[level](x))
        return logits


def official_name(name: str, config: HQTransformerConfig) -> str:
    """A tensor's name in the released files, query, key and value still in one."""
    name = re.sub(r"^(cell|inputs)\.", "", name).replace("emb.blocks.", "emb_blocks.")
    name = re.sub(r"^body\.blocks\.", "blocks.", re.sub(r"^head\.blocks\.", "depths.", name))
    if config.drawing == "multilevel":
        return name
    levels = ("top", "bot")
    name = re.sub(r"^(tok_emb|ln|head)_levels\.(\d)", lambda m: f"{m[1]}_{levels[int(m[2])]}", name)
    name = re.sub(
        r"^tok_emb_depth_levels\.(\d)", lambda m: f"tok_emb_{levels[int(m[1])]}_depth", name
    )
    return name.replace("pos_emb_depths.0.", "pos_emb_depth.")


def unread_names(config: HQTransformerConfig) -> str:
    """A pattern of the tables that the released files hold besides, which nothing reads."""
    names = {
        "parallel": r"tok_emb_bot_depth\.weight",
        "bidirectional": r"tok_emb_(top|bot)_depth\.weight",
        "multilevel": rf"tok_emb_depth_levels\.{len(config.sizes) - 1}\.weight",
        "causal": "",
    }
    return rf"{names[config.drawing]}|pred_emb_top\..*"
