"""The book: what rules know of things besides the entry before them. Pure: what is not loaded is asked for beforehand.

It holds the registry as the log has told it so far, and what events have told of lots, stocks and places. All of it
comes from entries in the order of the log, so that following the log anew gives the same book. Values are JSON.
"""

from collections.abc import Callable, Iterable
from typing import Any

Json = dict[str, Any]
Key = tuple[str, str]
"""A topic, and the key within it."""
KEPT_MAX = 200_000


class Book:
    """Pages by topic and key. `read` gives the pages of keys; what was changed is in `changed` until it is written."""

    def __init__(self, read: Callable[[list[Key]], dict[Key, Json]]) -> None:
        self._read = read
        self._pages: dict[Key, Json | None] = {}
        self.changed: dict[Key, Json] = {}

    def load(self, keys: Iterable[Key]) -> None:
        """Read those of these pages that are not known yet, in one question."""
        wanted = [key for key in dict.fromkeys(keys) if key not in self._pages]
        if wanted:
            found = self._read(wanted)
            for key in wanted:
                self._pages[key] = found.get(key)

    def get(self, topic: str, key: str) -> Json | None:
        """A page, which was loaded or written before; None where there is none."""
        page = (topic, key)
        if page not in self._pages:
            self.load([page])
        return self._pages[page]

    def put(self, topic: str, key: str, value: Json) -> None:
        """Write a page; it counts at once."""
        self._pages[topic, key] = self.changed[topic, key] = value

    def written(self) -> None:
        """What was changed is kept elsewhere now; of the rest no more than `KEPT_MAX` pages stay in memory."""
        self.changed = {}
        if len(self._pages) > KEPT_MAX:
            self._pages = {}
