"""What a lane has while its model is loaded: the stations that need the model itself.

sources → drawing → pictures. The threads that work there, the hands, are those of the worker. Knows
no queue, and not when a model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from service.worker.drawing.station import Drawing, Seat
from service.worker.handover import Glimpse
from service.worker.model_host import Machinery
from service.worker.pictures.picture_makers import PictureMakers
from service.worker.pictures.station import Pictures
from service.worker.run import Run
from service.worker.signs.journal import Journal
from service.worker.sources.station import Sources
from service.worker.threads import Hand


@dataclass(frozen=True, slots=True)
class Hands:
    """Who works for all models: one thread each for sources, steps and pictures."""

    sources: Hand
    drawing: Drawing
    pictures: Hand


@dataclass(frozen=True, slots=True, eq=False)
class Studio:
    """The stations of one model, each with the inbox of the next one."""

    machinery: Machinery
    hands: Hands
    sources: Sources
    pictures: Pictures
    seat: Seat

    @classmethod
    def set_up(
        cls,
        machinery: Machinery,
        hands: Hands,
        journal: Journal,
        *,
        delivery: Callable[[Run | Glimpse], None],
        ring: Callable[[], None],
    ) -> Self:
        """Behind it comes `delivery`; from pictures a run whose scores don't suffice goes back to
        drawing. `ring` says that rows are free.
        """
        model, share, meter = machinery.model, machinery.share, journal.meter

        def draw(run: Run) -> None:
            hands.drawing.put(seat, run)

        makers = PictureMakers(model.pipeline, share)
        pictures = Pictures(makers, meter, hands.pictures, delivery, draw, model.views)
        sources = Sources(model.pipeline, meter, hands.sources, drawing=draw, delivery=delivery)
        seat = Seat(machinery.engine, share, journal, pictures.put, delivery, ring)
        hands.drawing.join(seat)
        return cls(machinery, hands, sources, pictures, seat)

    def put(self, run: Run) -> None:
        """Take a run."""
        self.sources.put(run)

    @property
    def num_rows(self) -> int:
        """Rows of the batch."""
        return self.machinery.engine.num_rows

    @property
    def num_busy(self) -> int:
        """Rows in use."""
        return self.machinery.engine.num_busy

    @property
    def is_empty(self) -> bool:
        """Whether nothing is drawn or made, though what is gone may still be in a row."""
        return self.machinery.engine.is_idle and self.pictures.num_waiting == 0

    @property
    def moves(self) -> tuple[int, int]:
        """Signs of progress of drawing, and what comes before it, and of pictures."""
        num_drawing = self.machinery.engine.num_moves + self.sources.num_moves
        return num_drawing, self.pictures.num_moves

    def close(self) -> None:
        """Let the threads go that pictures had help from."""
        self.pictures.close()

    async def clear(self) -> None:
        """Give the seat back and leave nothing of the model with the hands; no run is here."""
        await self.hands.sources.settled()
        await self.hands.drawing.leave(self.seat)
        await self.hands.pictures.settled()
        self.close()
