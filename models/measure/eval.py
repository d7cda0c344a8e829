"""`mindalle eval`: what a model is worth, in numbers, as a Markdown table and a plot.

Reconstruction and code use of stage 1, retrieval by CLIP, the gain of best-of-n by the ranker and
by a judge that is not the ranker, a Fréchet distance in CLIP features, and images per second.
Knows how to measure, not what is good enough.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.configs import Preset, Prompt, SamplingDefaults
from models.errors import ConfigError
from models.measure.arguments import count
from models.pipeline import Pipeline, load
from models.rerank.clip import ClipScorer
from models.rerank.perplexity import PerplexityRanker
from models.train.data import sources
from models.train.data.data_set import DataSet, Variant
from models.train.loop.pictures import draw_curves
from models.train.recipes.codec import evaluate
from models.train.sheet import candidates

BEST_OF = (1, 4, 16, 64)


@dataclass(frozen=True, slots=True)
class Made:
    """One prompt's candidates in the order they were drawn."""

    prompt: Prompt
    pixels: Tensor  # [n, 3, H, W]
    scores: Tensor  # [n], the ranker's
    seconds: float


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Between two sets of features [n, E] taken as Gaussians (Heusel et al. 2017)."""
    means, covariances = [], []
    for features in (one.double(), other.double()):
        means.append(features.mean(0))
        covariances.append(torch.cov(features.T))
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    spread = covariances[0].trace() + covariances[1].trace() - 2 * cross
    return float((means[0] - means[1]).square().sum() + spread)


def retrieval(scorer: ClipScorer, pixels: Tensor, names: Sequence[str], truth: Tensor) -> Tensor:
    """Share of pictures [n, 3, H, W] whose true name is first, and among the first five."""
    texts = torch.stack([scorer.text_features(name) for name in names])
    best = (scorer.image_features(pixels) @ texts.T).topk(min(5, len(names)), dim=1).indices
    hits = best == truth[:, None]
    return torch.stack([hits[:, 0].float().mean(), hits.any(1).float().mean()])


def best_of(made: Sequence[Made], judged: Sequence[Tensor], n: int) -> float:
    """Mean score by `judged` of the candidate that the ranker prefers among the first n."""
    picks = [one.scores[:n].argmax() for one in made]
    return float(torch.stack([s[pick] for s, pick in zip(judged, picks, strict=True)]).mean())


def make(pipeline: Pipeline, prompts: Iterable[Prompt], count: int, seed: int) -> list[Made]:
    """Draw `count` candidates of each prompt."""
    defaults = pipeline.preset.sampling
    sampling = SamplingDefaults(defaults.temperature, defaults.top_k, defaults.top_p, count)
    out = []
    for prompt in prompts:
        start = time.perf_counter()
        pictures = sorted(candidates(pipeline, prompt, sampling, seed), key=lambda p: p.candidate)
        seconds = time.perf_counter() - start
        pixels = torch.stack([picture.pixels for picture in pictures])
        scores = torch.tensor([picture.score or 0.0 for picture in pictures])
        out.append(Made(prompt, pixels, scores, seconds))
    return out


def figures_of_data(pipeline: Pipeline, data: DataSet) -> dict[str, float]:
    """Stage 1 and the ranker on pictures that training did not see."""
    images = torch.stack([data.render(Variant(image)) for image in data.held_out])
    with torch.inference_mode():
        values, _ = evaluate(pipeline.stage1, images)
    out = {
        "held-out pictures": float(len(images)),
        "reconstruction PSNR, dB": values["psnr"],
        "codes in use": values["codes"],
        "perplexity of codes": values["perplexity"],
    }
    if scorer := _clip(pipeline):
        truth = torch.tensor([data.name_of(image) for image in data.held_out])
        top = retrieval(scorer, images * 0.5 + 0.5, data.names(), truth)
        names = len(data.names())
        out[f"ranker, true name first of {names}"] = float(top[0])
        out[f"ranker, true name in first five of {names}"] = float(top[1])
    return out


def figures_of_pictures(
    pipeline: Pipeline, judge: Pipeline | None, made: Sequence[Made], real: Tensor
) -> dict[str, float]:
    """What best-of-n gains, the distance to `real` pixels [n, 3, H, W], and the speed."""
    counts = [n for n in BEST_OF if n <= len(made[0].pixels)]
    out = {f"best of {n}, ranker": best_of(made, [m.scores for m in made], n) for n in counts}
    if judged := _judged(judge, made):
        out |= {f"best of {n}, judge": best_of(made, judged, n) for n in counts}
    scorer = (_clip(judge) if judge else None) or _clip(pipeline)
    if scorer:
        pixels = torch.cat([m.pixels[:4] for m in made])
        distance = frechet_distance(scorer.image_features(pixels), scorer.image_features(real))
        out["Fréchet distance in CLIP features"] = distance
    seconds = [m.seconds for m in made]
    out[f"seconds for {len(made[0].pixels)} candidates, p50"] = statistics.median(seconds)
    out["images/s"] = sum(len(m.pixels) for m in made) / sum(seconds)
    return out


def _judged(judge: Pipeline | None, made: Sequence[Made]) -> list[Tensor]:
    """The judge's scores [n] of each prompt's pictures; none where it can't judge by prompts.

    One that judges by its own codes can't judge what others made of theirs.
    """
    if judge is None or judge.ranker is None or isinstance(judge.ranker, PerplexityRanker):
        return []
    ranker = judge.ranker
    pairs = [(ranker.features(m.prompt), m.pixels) for m in made]
    return [ranker.scores(features, pixels) for features, pixels in pairs if features is not None]


def _clip(pipeline: Pipeline) -> ClipScorer | None:
    return pipeline.ranker if isinstance(pipeline.ranker, ClipScorer) else None


def markdown(figures: Mapping[str, float]) -> str:
    """A table of two columns."""
    rows = [f"| {name} | {value:.4g} |" for name, value in figures.items()]
    return "\n".join(["| figure | value |", "|---|---|", *rows]) + "\n"


def plot(figures: Mapping[str, float], path: Path) -> None:
    """Mean score over n of best-of-n, one line a scorer."""
    lines = {
        who: [(n, figures[key]) for n in BEST_OF if (key := f"best of {n}, {who}") in figures]
        for who in ("ranker", "judge")
    }
    drawn = {who: points for who, points in lines.items() if points}
    axes = {"xscale": "log", "xlabel": "candidates", "ylabel": "mean score"}
    draw_curves(path, {"best of n": drawn}, **axes)


def read_prompts(path: Path) -> list[str]:
    """A JSON file with a list "prompts", or a text file with one prompt a line.

    Raises:
        ConfigError: it holds no prompts.
    """
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix == ".json":
            prompts = [str(entry["prompt"]) for entry in json.loads(text)["prompts"]]
        else:
            prompts = [line.strip() for line in text.splitlines() if line.strip()]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: prompts can't be read from it: {error!r}") from None
    if not prompts:
        raise ConfigError(f"{path}: it holds no prompt")
    return prompts


def prompts_for(preset: Preset, given: Sequence[str]) -> list[Prompt]:
    """The prompts as the model takes them: texts, or classes by their numbers.

    Raises:
        ConfigError: one is no class of this model.
    """
    if preset.num_classes is None:
        return [*given]
    for prompt in given:
        if not prompt.isdecimal() or int(prompt) >= preset.num_classes:
            raise ConfigError(f"{prompt!r} is no class in 0..{preset.num_classes - 1}")
    return [int(prompt) for prompt in given]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, on which prompts, judged by whom."""
    parser.add_argument("model", nargs="?", default="emoji", help="a preset (default: emoji)")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="DIR", help="its folder (default: the preset's own)"
    )
    parser.add_argument(
        "--judge",
        type=Path,
        metavar="DIR",
        help="a checkpoint folder whose ranker judges (default: nobody but the model's own)",
    )
    parser.add_argument(
        "--prompts",
        type=Path,
        required=True,
        metavar="FILE",
        help='a JSON list "prompts", or one prompt a line: a text or a class',
    )
    parser.add_argument(
        "--candidates", type=count, default=16, metavar="N", help="per prompt (default: 16)"
    )
    sources.add_arguments(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the pictures (default: 0)")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/eval"), metavar="DIR",
        help="for the report and its figure (default: runs/eval)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Measure, write the report, print it."""
    given = read_prompts(args.prompts)
    pipeline = load(args.model, args.checkpoint)
    prompts = prompts_for(pipeline.preset, given)
    judge = load(args.model, args.judge) if args.judge else None
    data = sources.open_data(args.data, args.art, pipeline.preset.size[0])
    made = make(pipeline, prompts, args.candidates, args.seed)
    real = torch.stack([data.render(Variant(image)) for image in data.images]) * 0.5 + 0.5
    figures = figures_of_data(pipeline, data)
    figures |= figures_of_pictures(pipeline, judge, made, real)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "eval.md").write_text(markdown(figures), encoding="utf-8")
    plot(figures, args.out / "best-of-n.png")
    sys.stdout.write(markdown(figures))


def main(argv: list[str] | None = None) -> None:
    """The command by itself."""
    parser = argparse.ArgumentParser(description="Measure a model.")
    add_arguments(parser)
    run(parser.parse_args(argv))


if __name__ == "__main__":
    main()
