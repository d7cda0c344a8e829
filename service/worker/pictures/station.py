"""The pictures station of one model: from drawn codes to image files, by a hand of its own.

Pixels, scores, the best n, encoding: so that stepping never waits for a picture. Takes what drawing
hands on, in its order; what is ready or broken goes to delivery. A worker's models share the hand.
Knows no Redis.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

import torch

from models.configs.views import View
from models.drawing.candidates import Candidates
from models.drawing.sampling import RowParams
from models.pipeline import ranking, to_bytes
from service.jobs import CODES_FILE, Image, Phase, Succeeded, query
from service.worker.cpu_share import use_threads
from service.worker.device_memory import Failure, is_lost, retried
from service.worker.handover import Drawn, Glimpse
from service.worker.pictures import png
from service.worker.pictures.picture_makers import PictureMakers
from service.worker.run import Made, Run, TakenOut
from service.worker.signs.meter import Meter
from service.worker.threads import Hand

_log = logging.getLogger(__name__)


class Pictures:
    """`again` takes a run back to drawing. `num_moves` grows with every few candidates.

    Each picture that is kept is made by all but the last of `views`, too.
    """

    def __init__(
        self,
        makers: PictureMakers,
        meter: Meter,
        hand: Hand,
        delivery: Callable[[Run | Glimpse], None],
        again: Callable[[Run], None],
        views: Sequence[View],
    ) -> None:
        self.num_moves = 0
        self._num_put = self._num_done = 0  # each written by one thread only
        self._pipeline = makers.pipeline
        self._makers = makers
        makers.on_move = self._count_move
        self._meter = meter
        self._delivery = delivery
        self._again = again
        self._views = views
        self._hand = hand

    @property
    def num_waiting(self) -> int:
        """Candidates whose codes are drawn and whose picture is not made yet."""
        return self._num_put - self._num_done

    def put(self, item: Drawn | Glimpse) -> None:
        """Take codes. From one thread."""
        if isinstance(item, Drawn):
            self._num_put += len(item.candidates)
        self._hand.put(partial(self._handle, item))

    def close(self) -> None:
        """End the threads that its hand has help from."""
        self._makers.close()

    def _count_move(self) -> None:
        self.num_moves += 1

    def _handle(self, item: Drawn | Glimpse) -> None:
        if not item.run.is_gone:
            with self._makers.at_work():
                self._guarded(item)
        if isinstance(item, Drawn):
            self._num_done += len(item.candidates)

    def _guarded(self, item: Drawn | Glimpse) -> None:
        try:
            if isinstance(item, Drawn):
                self._finish(item)
            else:
                self._retried(partial(self._preview, item))
        except Exception as error:  # costs this run only
            _log.exception("a picture could not be made")
            failure = Failure.of(error)
            if failure.is_out_of_memory:
                self._meter.out_of_memory()
            if item.run.close(TakenOut("crashed", failure.text)):
                self._delivery(item.run)
            if is_lost(self._pipeline.options.device):
                raise

    def _retried(self, make: Callable[[], None]) -> None:
        retried(make, self._meter.out_of_memory)

    @contextmanager
    def _timed(self, run: Run, phase: Phase) -> Iterator[None]:
        if run.num_undrawn == 0:  # else drawing still has it
            run.enter(phase)
        began = time.monotonic()
        yield
        run.stamp(phase, began, time.monotonic())

    def _finish(self, drawn: Drawn) -> None:
        run, at_once = drawn.run, self._makers.at_once
        places = self._worth_making(drawn)
        for start in range(0, len(places), at_once):
            if run.is_gone:
                return
            self._retried(partial(self._picture, drawn, places[start : start + at_once]))
        if not drawn.is_last or run.is_gone:
            return
        if not run.is_enough:
            run.grow()
            self._again(run)
            return
        best = _best(run)
        self._retried(partial(self._add_coarser, run, best))
        if run.job.recipe.enhance:
            self._retried(partial(self._enhance, run, best))
        if run.close(self._outcome(run, best)):
            self._delivery(run)

    def _worth_making(self, drawn: Drawn) -> Sequence[int]:
        """Where they are in it: all, to be ranked; the first n where nothing ranks pictures."""
        if self._pipeline.ranker is not None:
            return range(len(drawn.candidates))
        kept = drawn.run.candidates[: drawn.run.job.recipe.n]
        return [place for place, each in enumerate(drawn.candidates) if each in kept]

    def _picture(self, drawn: Drawn, places: Sequence[int]) -> None:
        """Of the candidates at these places."""
        run, codes = drawn.run, drawn.codes[list(places)]
        with self._timed(run, "pixels"):
            pixels = self._pixels(run, codes)
            rows = to_bytes(pixels)
        with self._timed(run, "ranking"):
            if run.text is None:
                run.text = self._makers.text_features(run.job.recipe.prompt)
            own = Candidates(codes, [drawn.log_likelihoods[place] for place in places])
            scores = self._pipeline.judged(self._makers, run.text, pixels, own)
        for place, row, score, kept in zip(places, rows, scores, codes, strict=True):
            run.pictures[drawn.candidates[place]] = Made(row, score, kept)

    def _pixels(self, run: Run, codes: torch.Tensor) -> torch.Tensor:
        """Of codes [n, T, d], with the pixels that the run's own picture gives back."""
        pixels = self._makers.pixels(codes)
        return pixels if run.known is None else run.known.finish(pixels)

    def _add_coarser(self, run: Run, best: Sequence[int]) -> None:
        """Of each picture that is kept, what its first depths make alone; most models have one."""
        coarser = self._views_of(run)[:-1]
        if not coarser:
            return
        with self._timed(run, "pixels"):
            codes = _codes(run, best)
            for view in coarser:
                rows = [run.pictures[candidate].pixels for candidate in best]
                if view.depth < codes.shape[-1]:  # else that is what will be enhanced
                    rows = [*to_bytes(self._pixels(run, codes[..., : view.depth]))]
                for candidate, row in zip(best, rows, strict=True):
                    run.pictures[candidate].coarser[query(view.parameter, view.value)] = row

    def _views_of(self, run: Run) -> list[View]:
        """By which views its pictures are made; the finest only where they are enhanced."""
        own = self._pipeline.preset.views_of(is_enhanced=bool(run.job.recipe.enhance))
        return [view for view in self._views if view in own]

    def _enhance(self, run: Run, best: Sequence[int]) -> None:
        """Make the pictures that are kept finer. Which they are was told by what they were."""
        seed = run.job.recipe.seed
        with self._timed(run, "enhancing"):
            rows = [RowParams(seed, candidate) for candidate in best]
            pixels = self._makers.enhanced(_codes(run, best), rows)
            pixels = pixels if run.known is None else run.known.finish(pixels)
            for candidate, row in zip(best, to_bytes(pixels), strict=True):
                run.pictures[candidate] = replace(run.pictures[candidate], pixels=row)

    def _outcome(self, run: Run, best: Sequence[int]) -> Succeeded:
        with self._timed(run, "encoding"):
            images = tuple(self._image(run, rank, kept) for rank, kept in enumerate(best))
        pixels = run.pictures[best[0]].pixels
        native = png.native_size(pixels)
        size = png.resampled_size(run.job.size, pixels) or native
        views = tuple((view.parameter, view.value) for view in self._views_of(run))
        return Succeeded(
            images, size, run.timings_s(), run.is_truncated, native, views, run.num_drawn
        )

    def _image(self, run: Run, rank: int, candidate: int) -> Image:
        """The file, and the coarser ones, which say the same and which view they are."""
        job, made = run.job, run.pictures[candidate]
        size = png.resampled_size(job.size, made.pixels)
        record = png.Record.of(
            job.recipe, candidate, made.score, has_prompt=job.embed_prompt, size=size
        )
        data = png.encode(made.pixels, job.output_format, record, size)
        coarser = {
            name: png.encode(pixels, job.output_format, replace(record, view=name), size)
            for name, pixels in made.coarser.items()
        }
        if run.known is not None and run.known.is_whole:
            told = {"codes": made.codes.tolist(), "psnr_db": run.known.psnr_db(made.pixels)}
            coarser[CODES_FILE] = json.dumps(told).encode()
        return Image(rank, candidate, made.score, data, coarser)

    def _preview(self, glimpse: Glimpse) -> None:
        codes = glimpse.codes.to(self._pipeline.options.device)
        job, known = glimpse.run.job, glimpse.run.known
        if known is None:
            (pixels,) = to_bytes(self._pipeline.preview(codes, [glimpse.num_drawn]))
        else:
            (pixels,) = to_bytes(known.preview(self._pipeline, codes, glimpse.num_drawn))
        size = png.resampled_size(job.size, pixels)
        data = png.encode(pixels, job.output_format, size=size)
        self.num_moves += 1
        self._delivery(replace(glimpse, data=data))


def _best(run: Run) -> list[int]:
    """The candidates that are kept, best first."""
    candidates = sorted(run.pictures)
    order = ranking([run.pictures[candidate].score for candidate in candidates])
    return [candidates[index] for index in order[: run.job.recipe.n]]


def _codes(run: Run, candidates: Sequence[int]) -> torch.Tensor:
    """[n, T, D] of pictures that are made."""
    return torch.stack([run.pictures[candidate].codes for candidate in candidates])


@contextmanager
def beside_steps(device: torch.device) -> Iterator[None]:
    """What the station's hand works inside: on CUDA beside the steps instead of between them."""
    if device.type == "cpu":
        use_threads(1)
    with _own_stream(device):
        yield


def _own_stream(device: torch.device) -> torch.cuda.StreamContext | nullcontext[None]:
    if device.type == "cuda":
        return torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]  # untyped upstream
    return nullcontext()
