"""Chance, whole numbers and times of day: what every story draws and writes with, the same on every machine.

Only `getrandbits` is used of Python's random numbers: it is the same in every version, which the algorithms built
on it are not. Pure.
"""

from collections.abc import Callable, Sequence
from datetime import date, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from random import Random
from typing import TypeVar

Thing = TypeVar("Thing")
OFFSET = timezone(timedelta(hours=8))
SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
"""Times are whole milliseconds since the first day's midnight."""

_VERSION_4 = 0x4000 << 64 | 0x8000 << 48
_RANDOM_PART = (1 << 128) - 1 ^ (0xF000 << 64 | 0xC000 << 48)


class Dice:
    """The draws of one story, or of one row: nobody else's draws change them."""

    __slots__ = ("bits",)

    def __init__(self, *seed: str | int) -> None:
        digest = sha256("/".join(map(str, seed)).encode()).digest()
        self.bits: Callable[[int], int] = Random(int.from_bytes(digest, "big")).getrandbits

    def below(self, count: int) -> int:
        """One of 0 … count - 1, for counts far below 2 to the power of 32."""
        return self.bits(32) * count >> 32

    def between(self, least: int, most: int) -> int:
        """One of least … most, both included."""
        return least + (self.bits(32) * (most - least + 1) >> 32)

    def one(self, things: Sequence[Thing]) -> Thing:
        """One of `things`, which are not empty."""
        return things[self.bits(32) * len(things) >> 32]

    def digits(self, count: int) -> str:
        """So many digits, at most 9."""
        return f"{self.below(10**count):0{count}d}"

    def uuid(self) -> str:
        """A version 4 UUID as a URN (RFC 9562)."""
        text = f"{self.bits(128) & _RANDOM_PART | _VERSION_4:032x}"
        return f"urn:uuid:{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def hundredths(count: int) -> Decimal:
    """So many hundredths, without zeros at the end: 10 g of a kilogram, 分 of a yuan.

    >>> hundredths(1250), hundredths(300)
    (Decimal('12.5'), Decimal('3'))
    """
    if count % 100 == 0:
        return Decimal(count // 100)
    return Decimal(count // 10).scaleb(-1) if count % 10 == 0 else Decimal(count).scaleb(-2)


class Calendar:
    """Times as text, for a city that begins at midnight of `first`."""

    def __init__(self, first: date) -> None:
        self.first = first
        self._minute = lru_cache(1 << 8)(self._minute_text)

    def time(self, at: int) -> str:
        """RFC 3339 with milliseconds and +08:00."""
        minute, rest = divmod(at, MINUTE)
        return f"{self._minute(minute)}{rest // 1000:02d}.{rest % 1000:03d}+08:00"

    def day(self, at: int, later: int = 0) -> date:
        """The day of a time, or the one so many days later."""
        return self.first + timedelta(days=at // DAY + later)

    def _minute_text(self, minute: int) -> str:
        day, minute = divmod(minute, 24 * 60)
        return f"{self.first + timedelta(days=day)}T{minute // 60:02d}:{minute % 60:02d}:"
