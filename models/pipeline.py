"""A model ready to make pictures: prompt → prefix → (the loop) → codes → pixels → scores → kept.

`load` finds the weights and gives a `Pipeline`, in the form that is fast on the device. The service
steps its batch continuously; `generate` runs one prompt to the end. Knows no jobs, no HTTP, no
image files and no model by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from models.configs.preset import Preset
from models.configs.prior import Prompt
from models.drawing.candidates import Candidates, draw_all
from models.drawing.cuda_graphs import Graphs
from models.drawing.forced import Forced, prefill
from models.drawing.generate import Batch, run_now
from models.drawing.sampling import InvalidSamplingError, RowParams
from models.drawing.shapes import Shapes, exact_shapes, keeps_bits
from models.enhancer import Enhancer, random_upsampler
from models.errors import UnsoundWeightsError
from models.families import as_codec, as_prior, build_codec, build_prior, prior_family
from models.files import checkpoint as checkpoints
from models.files.checkpoint import open_checkpoint
from models.files.digest import weights_digest
from models.load_options import DTYPES, LoadOptions
from models.pictures import to_bytes
from models.pixel_chunks import PixelChunks, exact_chunks
from models.presets.register import WEIGHTS_FOLDER, get_preset, weights_folder
from models.rerank import rankers
from models.rerank.perplexity import own_ranker
from models.rerank.preprocess import CHUNK
from models.rerank.ranker import Ranker, Scores, ranking, weighed
from models.stage1.codec import Codec
from models.stage2 import packing
from models.stage2.prior import Prefix, Prior
from models.stage2.quantize import QuantizationReport, quantize
from models.tokenizer import Tokenizer

# Parts below that the service needs as well, beside what is defined here: it imports none of them.
__all__ = [
    "CHUNK",
    "DTYPES",
    "WEIGHTS_FOLDER",
    "LoadOptions",
    "Prefix",
    "Prompt",
    "open_checkpoint",
    "ranking",
    "to_bytes",
    "weights_digest",
]

_RANDOM_SEED = 20211115


class InvalidPromptError(ValueError):
    """The model can't be conditioned on this prompt."""


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """Prefix ids [1, N] on the device, and whether the text was cut to fit."""

    ids: Tensor
    is_truncated: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """One candidate's result; `score` is None where the model has no ranker."""

    candidate: int
    pixels: Tensor  # [3, H, W] in 0..1, CPU
    score: float | None
    codes: Tensor  # [T, D] that it was made of


class Makers(Protocol):
    """Makes and scores pictures. A `Pipeline` is one; the worker's makers divide the work."""

    def pixels(self, codes: Tensor) -> Tensor: ...
    def text_features(self, prompt: Prompt) -> Tensor | None: ...
    def scores(
        self, text: Tensor | None, pixels: Tensor, codes: Tensor | None = None
    ) -> Scores: ...
    def enhanced(self, codes: Tensor, rows: Sequence[RowParams]) -> Tensor: ...


@dataclass(slots=True)
class Pipeline:
    """Everything between a prompt and ranked pixels. Build it with `load`."""

    preset: Preset
    options: LoadOptions
    stage1: Codec
    stage2: Prior
    chunks: PixelChunks = field(default_factory=lambda: PixelChunks((1,)))
    tokenizer: Tokenizer | None = None
    ranker: Ranker | None = None
    quantization: QuantizationReport | None = None
    closed_nucleus: bool = False  # how its family cuts, see `Filters`
    enhancer: Enhancer | None = None
    _shapes: dict[int, Shapes] = field(default_factory=dict)

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        """Turn a prompt into prefix ids.

        Raises:
            InvalidPromptError: not what this model is conditioned on.
        """
        ids, is_truncated = self._ids(prompt)
        return EncodedPrompt(torch.tensor([ids], device=self.options.device), is_truncated)

    def _ids(self, prompt: Prompt) -> tuple[list[int], bool]:
        kind, classes = self.preset.prompt_kind, self.preset.num_classes or 0
        if kind == "text" and isinstance(prompt, str) and self.tokenizer:
            return self.tokenizer.encode(prompt)
        if kind == "class" and isinstance(prompt, int) and 0 <= prompt < classes:
            return [prompt], False
        if kind == "none" and prompt in (None, ""):
            return [0], False
        wanted = {"text": "a text", "class": f"a class in 0..{classes - 1}", "none": "nothing"}
        raise InvalidPromptError(f"{self.preset.name} takes {wanted[kind]} as prompt")

    @torch.inference_mode()
    def prefix(self, encoded: EncodedPrompt, forced: Forced | None = None) -> Prefix:
        """Run the prompt, and known codes, through stage 2 once, for all its candidates."""
        return prefill(self.stage2, encoded.ids, forced)

    def batch(self, capacity: int) -> Batch:
        """An empty batch; the shapes it may step at are found once per capacity."""
        if capacity not in self._shapes:
            self._shapes[capacity] = exact_shapes(self.stage2, capacity)
        options, shapes = self.options, self._shapes[capacity]
        is_captured = options.graphs and options.device.type == "cuda"
        run = Graphs(options.device).run if is_captured else run_now
        return Batch(
            self.stage2,
            capacity,
            shapes,
            run,
            closed_nucleus=self.closed_nucleus,
            keeps_likelihoods=self.preset.likelihood_weight > 0,
        )

    def keeps_bits(self, shapes: Shapes, num_threads: int) -> bool:
        """Whether a CPU may step on `num_threads` at times, at these shapes."""
        return keeps_bits(self.stage2, shapes, num_threads)

    @torch.inference_mode()
    def pixels(self, codes: Tensor) -> Tensor:
        """Codes [n, T, D] → pixels in 0..1 [n, 3, H, W] float32, on the device.

        UnsoundWeightsError when they are not finite.
        """
        chunks = self.chunks.here()
        pixels = torch.cat([chunks.pixels(self.stage1, part) for part in chunks.split(codes)])
        if not pixels.isfinite().all():
            raise UnsoundWeightsError("the pixels of stage 1")
        return pixels

    def enhanced(self, codes: Tensor, rows: Sequence[RowParams]) -> Tensor:
        """Codes [n, T, D] and how they were drawn → finer pixels, as `pixels`.

        ValueError of a model that has no enhancement.
        """
        if self.enhancer is None:
            raise ValueError(f"{self.preset.name} has no enhancement")
        return self.enhancer.pixels(codes, rows)

    def preview(self, codes: Tensor, counts: list[int]) -> Tensor:
        """Pictures [n, 3, H, W] of unfinished rows: what is not drawn yet repeats the last codes.

        `codes` are [n, T, D], as `Batch.peek` gives them with the steps drawn per row, at least 1.
        """
        filled = codes.clone()
        for row, count in enumerate(counts):
            filled[row, count:] = filled[row, count - 1]
        return self.pixels(filled)

    def text_features(self, prompt: Prompt) -> Tensor | None:
        """What the ranker compares pictures with, None where nothing can be scored."""
        return self.ranker.features(prompt) if self.ranker else None

    def scores(self, text: Tensor | None, pixels: Tensor, codes: Tensor | None = None) -> Scores:
        """How well each picture fits; all None where nothing can be scored. Raises as `pixels`.

        Some models judge a picture by its codes, and need them here.
        """
        if self.ranker is None or text is None:
            return [None] * len(pixels)
        scores = self.ranker.scores(text, pixels, codes)
        if not scores.isfinite().all():
            raise UnsoundWeightsError("the ranker's scores")
        return [float(score) for score in scores]

    def judged(self, by: Makers, text: Tensor | None, pixels: Tensor, drawn: Candidates) -> Scores:
        """What pictures are ranked by: the makers' scores, and in them what the prior thinks."""
        scores = by.scores(text, pixels, drawn.codes)
        return weighed(scores, drawn.log_likelihoods, self.preset.likelihood_weight)

    def generate(
        self,
        prompt: Prompt,
        params: list[RowParams],
        *,
        batch: Batch | None = None,
        on_step: Callable[[int], None] | None = None,
        makers: Makers | None = None,
        forced: Forced | None = None,
    ) -> list[Picture]:
        """Make one prompt's candidates, one for each of `params`, and rank them, best first.

        On an empty batch, by default one as large as they need. For `on_step` see `draw_all`;
        `makers` make the pictures of the codes. `forced` codes are taken. None is enhanced: that is
        for those that are kept.

        Raises:
            InvalidPromptError, InvalidSamplingError: nothing was generated.
        """
        if not params:
            raise InvalidSamplingError("params", "must hold one RowParams or more, not none")
        prefix, batch = self.prefix(self.encode(prompt), forced), batch or self.batch(len(params))
        drawn, makers = draw_all(batch, prefix, params, on_step, forced), makers or self
        codes, pixels = drawn.codes, makers.pixels(drawn.codes)
        order = ranking(scores := self.judged(makers, makers.text_features(prompt), pixels, drawn))
        return [Picture(params[i].candidate, pixels[i].cpu(), scores[i], codes[i]) for i in order]


def load(name: str, checkpoint: Path | None = None, options: LoadOptions | None = None) -> Pipeline:
    """Load a preset by name, or the checkpoint in a folder of any layout that `files` reads.

    It runs as `options` say, by default in float32 on the CPU.

    Raises:
        UnknownPresetError: no such preset.
        CheckpointError: the weights are missing, damaged or do not fit.
    """
    options = options or LoadOptions()
    folder = checkpoint or weights_folder(get_preset(name))
    if folder is None:
        return load_random(get_preset(name), options)
    opened = open_checkpoint(folder)
    # Stage 1 and rankers are small beside stage 2, and pictures show their rounding: float32.
    stage1 = checkpoints.load_stage1(opened, options.device, torch.float32)
    upsampler = checkpoints.load_upsampler(opened, stage1, options.device)
    stage2 = checkpoints.load_stage2(opened, options.device, options.dtype, codec=stage1)
    pipeline = _joined(opened.preset, options, stage1, stage2)
    pipeline.tokenizer = checkpoints.load_tokenizer(opened)
    ranker = rankers.load(opened.preset, folder, options.device)
    pipeline.ranker = ranker or own_ranker(stage2, pipeline.tokenizer, options.device)
    if upsampler:
        pipeline.enhancer = Enhancer.of(opened.preset, upsampler, pipeline.stage1, options.chunk)
    return pipeline


def load_random(preset: Preset, options: LoadOptions) -> Pipeline:
    """A model of these shapes with seeded random weights, to measure or to test."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_RANDOM_SEED)
        stage1 = build_codec(preset.stage1).to(options.device)
        stage2 = build_prior(preset.stage2, stage1)
        for parameter in stage2.parameters():
            # Wide enough that logits differ, as a trained model's do.
            nn.init.normal_(parameter, std=0.3)
    stage2 = stage2.to(options.device, options.dtype)
    pipeline = _joined(preset, options, stage1, stage2)
    if preset.prompt_kind == "text":
        pipeline.tokenizer = Tokenizer.of_letters(preset.prompt_len)
    pipeline.ranker = own_ranker(stage2, pipeline.tokenizer, options.device)
    if preset.enhancement:
        upsampler = random_upsampler(preset.enhancement, _RANDOM_SEED).to(options.device)
        pipeline.enhancer = Enhancer.of(preset, upsampler, pipeline.stage1, options.chunk)
    return pipeline


def _joined(preset: Preset, options: LoadOptions, stage1: nn.Module, stage2: nn.Module) -> Pipeline:
    """The modules in the form that serves best. Without tokenizer and ranker."""
    stage1.eval().requires_grad_(False)
    stage2.eval().requires_grad_(False)
    quantization = quantize(stage2) if options.quantization == "int8" else None
    family = prior_family(preset.stage2)
    if options.packed and packing.can_pack(options.device, options.dtype):
        packing.pack_linears(stage2, keep=family.training_only)
    # After packing, which holds two copies of a weight for a moment.
    codec = as_codec(stage1)
    codec.prepare()
    chunks = PixelChunks((options.chunk,))
    if options.device.type == "cpu" and options.pixel_chunk is None:
        chunks = exact_chunks(codec, preset.stage1)
    pipeline = Pipeline(preset, options, codec, as_prior(stage2), chunks, quantization=quantization)
    pipeline.closed_nucleus = family.closed_nucleus(preset.stage2)
    return pipeline
