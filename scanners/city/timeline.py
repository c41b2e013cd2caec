"""Many stories told at once, in the order of their times. Pure."""

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Any

Json = dict[str, Any]
Moment = tuple[int, Json]
"""An event and its place in the order: its time, but where it is recorded late."""
Stream = Iterator[Moment]
WAIT: Json = {}
"""Instead of an event: the next moment is at this time, and is made only then, since most streams wait long."""


class Timeline:
    """Streams, each in order, merged. It holds one moment of each: what is under way."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, Json, Stream]] = []
        self._begun = 0

    def begin(self, stream: Stream) -> None:
        """Take a stream in; a stream may begin others, from now on."""
        self._begun += 1
        self._next(self._begun, stream)

    def until(self, end: int | None) -> Iterator[Json]:
        """All events before `end`. A stream goes on only after its event was taken."""
        waiting = self._waiting
        while waiting and (end is None or waiting[0][0] < end):
            _, number, event, stream = heappop(waiting)
            if event is WAIT:
                _, event = next(stream)
            yield event
            self._next(number, stream)

    def _next(self, number: int, stream: Stream) -> None:
        moment = next(stream, None)
        if moment is not None:
            heappush(self._waiting, (moment[0], number, moment[1], stream))
