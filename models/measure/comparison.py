"""`mindalle bench --compare`: three ways to lay out a picture's codes, all else equal.

16×16 positions of one code, 8×8 of four (RQ-Transformers; the flat one has all its layers in the
body, as the paper's baseline has: Lee et al. 2022, figure 4 and its measuring script), and 8×8
cells of one and the four below it (HQ-Transformer). One width, one vocabulary, one number of
layers, random weights; if asked for, the flat one's pictures enhanced. Or a checkpoint's own
pictures, plain and enhanced. Times whole pictures, stage 1 included; prints a table and draws a
plot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from models.configs.enhancement import Enhancement
from models.configs.hq import HQTransformerConfig, HQVAEConfig
from models.configs.preset import Preset
from models.configs.rq import RQTransformerConfig, RQVAEConfig
from models.configs.transformer import StackConfig
from models.configs.upsamplers import CellUpsamplerConfig
from models.drawing.candidates import draw_all
from models.drawing.generate import Batch
from models.drawing.sampling import RowParams
from models.measure import machine
from models.measure.stopwatch import num_draws, some_prompt
from models.pipeline import Pipeline, Prefix
from models.train.loop.pictures import draw_curves

FLAT, DEEP, CELLS = "16×16×1", "8×8×4", "8×8×(1+4)"
_HEAD_WIDTH = 64  # of minDALL-E's
_ENHANCE_PASSES = "1 + 1"  # all cells at once, then all finer codes
_PROMPT = 16  # candidates
_HEAD_SHARE = 8  # the authors' 1.4B models have one of their 48 layers in 8 in the head
# Seconds a picture on an A100 at these batches, the paper's figure 4: 1.4B parameters.
PAPER = {FLAT: {100: 0.162, 200: 0.140}, DEEP: {100: 0.039, 200: 0.025, 500: 0.019}}


@dataclass(frozen=True, slots=True)
class Passes:
    """How often each stack runs for one picture, whatever is in it."""

    body: int
    head: int


@dataclass(frozen=True, slots=True)
class Timing:
    """One grid at one batch; seconds a picture. `enhance_s` is what enhancing it takes on top."""

    grid: str
    setting: str
    rows: int
    codes_s: float
    pixels_s: float
    enhance_s: float | None = None

    @property
    def picture_s(self) -> float:
        """All of the plain one."""
        return self.codes_s + self.pixels_s

    @property
    def added(self) -> float | None:
        """Share of the plain picture's time that enhancing it adds."""
        return None if self.enhance_s is None else self.enhance_s / self.picture_s


def presets(
    width: int, heads: int, layers: int, vocab: int, enhance_width: int | None = None
) -> tuple[Preset, ...]:
    """The flat model, the deep one and the one of cells.

    With `enhance_width` the flat one has an enhancement of minDALL-E's shape but for that width.
    """
    num_head = max(1, round(layers / _HEAD_SHARE))
    body, head = StackConfig(width, layers - num_head, heads), StackConfig(width, num_head, heads)
    deep = RQTransformerConfig(
        prefix="none",
        vocab_sizes=(vocab,) * 4,
        vocab_size_cond=1,
        block_size_cond=1,
        embed_dim=width,
        body=body,
        head=head,
    )
    flat = replace(
        deep,
        block_size=(16, 16, 1),
        vocab_sizes=(vocab,),
        body=replace(body, n_layers=layers),
        head=replace(head, n_layers=0),
    )
    deep_codec = RQVAEConfig(n_embed=(vocab,) * 4)
    flat_codec = replace(
        deep_codec,
        n_embed=(vocab,),
        latent_shape=(16, 16, 256),
        grid=(16, 16, 1),
        ch_mult=(1, 1, 2, 2, 4),
        attn_resolutions=(16,),
        decay=(0.99,),
    )
    sizes = (vocab, vocab)
    cells = HQTransformerConfig(prefix="none", sizes=sizes, ctx_len_img=64, body=body, head=head)
    cells_codec = HQVAEConfig(
        n_embed=sizes, ch_mult=(1, 2, 4, 4), attn_resolutions=(16,), use_init_downsample=True
    )
    about = "random weights, to compare grids"
    finer = _enhancement(enhance_width, vocab) if enhance_width else None
    return (
        Preset(FLAT, about, "none", flat_codec, flat, enhancement=finer),
        Preset(DEEP, about, "none", deep_codec, deep),
        Preset(CELLS, about, "none", cells_codec, cells),
    )


def _enhancement(width: int, vocab: int) -> Enhancement:
    """16×16 codes → 32×32."""
    usual = CellUpsamplerConfig()
    heads = 1 if width % _HEAD_WIDTH else width // _HEAD_WIDTH
    body, head = (replace(s, embed_dim=width, n_heads=heads) for s in (usual.body, usual.head))
    return Enhancement(replace(usual, coarse_sizes=(vocab,), body=body, head=head))


def passes(preset: Preset) -> Passes:
    """A head without layers never runs; one of cells runs once a window, others once a code."""
    windows = num_draws(preset) if preset.depth > 1 else 0
    return Passes(preset.num_steps, preset.num_steps * windows)


def compare(pipeline: Pipeline, setting: str, batches: list[int]) -> Iterator[Timing]:
    """Time one batch of pictures of each size."""
    for rows in batches:
        yield timed(pipeline, setting, [RowParams(seed=1, candidate=i) for i in range(rows)])


def timed(pipeline: Pipeline, setting: str, params: list[RowParams]) -> Timing:
    """One batch of pictures of this model, a row each, after what warms up."""
    device, rows = pipeline.options.device, len(params)
    prefix = pipeline.prefix(pipeline.encode(some_prompt(pipeline.preset)))
    batch = pipeline.batch(rows)
    _warm_up(batch, prefix, params)
    done: list[Tensor] = []
    codes_s = machine.seconds(device, lambda: done.append(draw_all(batch, prefix, params).codes))
    chunk = done[0][:1].expand(pipeline.chunks.sizes[-1], -1, -1)
    pixels_s = machine.best_of(2, device, lambda: pipeline.pixels(chunk)) / len(chunk)
    enhance_s = None
    if pipeline.enhancer:
        own = params[:1] * len(chunk)
        enhance_s = machine.best_of(2, device, lambda: pipeline.enhanced(chunk, own)) / len(chunk)
    return Timing(pipeline.preset.name, setting, rows, codes_s / rows, pixels_s, enhance_s)


def _warm_up(batch: Batch, prefix: Prefix, params: Sequence[RowParams]) -> None:
    """A step; on a GPU whole pictures, for the first step at each shape is recorded there."""
    if batch.prior.device.type == "cuda":
        draw_all(batch, prefix, params)
        return
    batch.admit(prefix, params)
    batch.step()
    batch.evict(range(len(params)))


def table(timings: list[Timing], models: tuple[Preset, ...]) -> str:
    """A line per batch: seconds a picture of each grid, and how many times faster than the first.

    Last, of the first model, what enhancing a picture adds.
    """
    first = models[0]
    counts = [(preset.name, passes(preset)) for preset in models]
    lines = [f"{'passes a picture':<21}" + "".join(f"{_counted(n):>22}{'':>8}" for _, n in counts)]
    lines.append(f"{'setting':<16}{'rows':>5}" + "".join(f"{n:>22}{'ratio':>8}" for n, _ in counts))
    if first.enhancement:
        lines[0] += f"{_ENHANCE_PASSES:>22}{'':>8}"
        lines[1] += f"{'enhancement':>22}{'added':>8}"
    for own, *others in _together(timings, [preset.name for preset in models]):
        cells = "".join(
            f"{_parts(t):>22}{own.picture_s / t.picture_s:>7.2f}x" for t in (own, *others)
        )
        lines.append(f"{own.setting:<16}{own.rows:>5}{cells}{_added(own)}")
    lines.append("seconds a picture: codes + pixels.")
    if first.enhancement:
        lines[-1] += (
            " added: where every picture is enhanced; where one of a prompt's"
            f" {_PROMPT} candidates is kept, a {_PROMPT}th of it."
        )
    return "\n".join([*lines, *_of_paper()] if first.name == FLAT else lines)


def _of_paper() -> Iterator[str]:
    yield "The paper's, on an A100, codes and pixels:"
    for batch, seconds in PAPER[DEEP].items():
        flat_s = PAPER[FLAT].get(batch)
        known = f"{flat_s:>22.3f}{'':>8}" if flat_s else f"{'out of memory':>22}{'':>8}"
        ratio = f"{flat_s / seconds:>7.2f}x" if flat_s else ""
        yield f"{'paper':<16}{batch:>5}{known}{seconds:>22.3f}{ratio}"


def record(timings: list[Timing], models: tuple[Preset, ...]) -> dict[str, object]:
    """For everything that reads JSON."""
    counts = {preset.name: asdict(passes(preset)) for preset in models}
    rows = [{**asdict(t), "picture_s": t.picture_s, "added": t.added} for t in timings]
    return {"timings": rows, "passes": counts, "paper": PAPER}


def plot(timings: list[Timing], path: Path) -> None:
    """Seconds a picture by batch, this machine beside the paper's."""
    here: dict[str, list[tuple[float, float]]] = {}
    for timing in timings:
        curve = here.setdefault(f"{timing.grid} {timing.setting}", [])
        curve.append((timing.rows, timing.picture_s))
    paper = {
        name: [(float(rows), s) for rows, s in points.items()] for name, points in PAPER.items()
    }
    axes = {"xlabel": "pictures at once", "ylabel": "seconds a picture", "ylim": (0, None)}
    draw_curves(path, {"this machine": here, "paper, A100": paper}, **axes)


def _together(timings: list[Timing], grids: list[str]) -> Iterator[list[Timing]]:
    """All grids at each setting and batch."""
    by_key = {(t.grid, t.setting, t.rows): t for t in timings}
    for setting, rows in dict.fromkeys((t.setting, t.rows) for t in timings):
        yield [by_key[grid, setting, rows] for grid in grids]


def _parts(timing: Timing) -> str:
    return f"{timing.codes_s:.3f} + {timing.pixels_s:.3f}"


def _counted(count: Passes) -> str:
    return f"{count.body} + {count.head}"


def _added(timing: Timing) -> str:
    if timing.enhance_s is None or timing.added is None:
        return ""
    return f"{timing.enhance_s:>22.3f}{timing.added:>+8.1%}"
