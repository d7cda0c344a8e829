"""Our engine as servers need it that batch requests: some in, a picture of each out.

The same loop, weights and numbers as our worker's. What can't be had behind such a server is that
a request joins the ones that are being drawn: the next batch begins when this one has ended.
"""

from __future__ import annotations

import base64
import io
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from models.drawing.sampling import RowParams
from models.pipeline import Pipeline, load, ranking, to_bytes
from models.stage2.prior import Prefix

MAX_REQUESTS = 16  # of one batch; what does not fit its rows is drawn after them
BATCH_WAIT_S = 0.01

Answer = dict[str, str]


class BatchEngine:
    """A loaded model and its rows. Not thread-safe."""

    def __init__(self, pipeline: Pipeline, num_rows: int) -> None:
        self._pipeline = pipeline
        self._batch = pipeline.batch(num_rows)

    @classmethod
    def from_environment(cls) -> BatchEngine:
        """As RIVAL_MODEL, RIVAL_ROWS and RIVAL_THREADS say, which servers hand to their workers."""
        torch.set_num_threads(int(os.environ["RIVAL_THREADS"]))
        return cls(load(os.environ["RIVAL_MODEL"]), int(os.environ["RIVAL_ROWS"]))

    def draw(self, bodies: Sequence[Mapping[str, Any]]) -> list[Answer]:
        """The best picture of each request, as base64 of a PNG."""
        codes = self._codes(bodies)
        return [self._best(body, codes[number]) for number, body in enumerate(bodies)]

    def _codes(self, bodies: Sequence[Mapping[str, Any]]) -> dict[int, dict[int, Tensor]]:
        """Of each request's candidates; free rows go to whoever is next."""
        batch, prefixes = self._batch, [self._prefix(body) for body in bodies]
        waiting = [(n, c) for n, body in enumerate(bodies) for c in range(body["num_candidates"])]
        where: dict[int, tuple[int, int]] = {}
        codes: dict[int, dict[int, Tensor]] = defaultdict(dict)
        while waiting or where:
            joining, waiting = waiting[: batch.num_free], waiting[batch.num_free :]
            for number, group in groupby(joining, key=itemgetter(0)):
                of_request = list(group)
                params = [self._params(bodies[number], candidate) for _, candidate in of_request]
                rows = batch.admit(prefixes[number], params)
                where.update(zip(rows, of_request, strict=True))
            finished = batch.step()
            if finished:
                for row, drawn in zip(finished, batch.take(finished).cpu(), strict=True):
                    number, candidate = where.pop(row)
                    codes[number][candidate] = drawn
        return codes

    def _prefix(self, body: Mapping[str, Any]) -> Prefix:
        return self._pipeline.prefix(self._pipeline.encode(body["prompt"]))

    def _params(self, body: Mapping[str, Any], candidate: int) -> RowParams:
        own = self._pipeline.preset.sampling
        given = RowParams(
            body["seed"],
            candidate,
            body.get("temperature", own.temperature),
            body.get("top_k", own.top_k),
            body.get("top_p", own.top_p),
        )
        return given.spread(self._pipeline.preset.codes_per_level)

    def _best(self, body: Mapping[str, Any], codes: Mapping[int, Tensor]) -> Answer:
        of_candidates = torch.stack([codes[candidate] for candidate in sorted(codes)])
        pixels = self._pipeline.pixels(of_candidates)
        text = self._pipeline.text_features(body["prompt"])
        best = ranking(self._pipeline.scores(text, pixels, of_candidates))[0]
        file = io.BytesIO()
        Image.fromarray(to_bytes(pixels[best : best + 1])[0]).save(file, "png")
        return {"b64_json": base64.b64encode(file.getvalue()).decode()}
