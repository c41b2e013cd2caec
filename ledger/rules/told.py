"""Entries as rules are told them, and how what they say is read. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from math import isfinite
from typing import Any
from urllib.parse import unquote

from ledger.codes import DRUG_URN, PARTY_URN, TRACE_URN
from ledger.drafts import event_id_of
from ledger.entries import Entry
from ledger.index import Mention, Role, mentions
from ledger.packs.effects import is_pack, product_of
from ledger.rules.book import Json
from ledger.steps import CERTIFICATE_URN


@dataclass(frozen=True)
class Told:
    """An entry of the log, its sealed part (JSON Pointer to value), and what the engine read for it beforehand."""

    entry: Entry
    position: int
    sealed: Json
    births: Mapping[str, str]
    """Of packs that are put into a container now: the last day, as their maker said it."""
    meant: Entry | None = None
    """The entry of the event that this one declares in error, where it stands before it in the log."""

    @property
    def event(self) -> Json | None:
        found: Json | None = self.entry.body.get("event")
        return found

    @cached_property
    def event_id(self) -> bytes | None:
        """The id of its event, as it is kept."""
        return None if self.event is None else event_id_of(self.event).id

    @cached_property
    def mentions(self) -> tuple[Mention, ...]:
        """What its event names."""
        return () if self.event is None else tuple(mentions(self.event))


def first_children(entry: Entry) -> Iterator[str]:
    """The packs whose maker has to be asked when this event is told: the first of each container."""
    event = entry.body.get("event", {})
    if event.get("type") == "AggregationEvent" and event.get("action") == "ADD":
        for mention in mentions(event):
            if mention.role is Role.CHILD and is_pack(mention.key):
                yield mention.key
                return


_LOT = re.compile(r"01/([0-9]{14})/10/([^/]+)")
_NUMBER = re.compile("[^\x00-\x1f\x7f\ud800-\udfff]{1,300}")
"""A certificate's number: what somebody wrote that is longer, or cannot be stored, is none."""


def stock_key(item: str, holder: str, uom: str | None) -> str:
    """The page of a stock: what it is of, whose it is, in which unit."""
    return f"{item}|{holder}|{uom or ''}"


def product_code(key: str) -> str:
    """The code of the product that a key is one of; "" where it says none."""
    if key.startswith(DRUG_URN):
        return product_of(key)
    return key[3:17] if key.startswith("01/") else ""


def groups_of(goods: str) -> list[str]:
    """A goods code and the groups above it, each of which a hold may name (`ledger/holds.py`)."""
    above = range(3, len(goods)) if goods.isdecimal() and len(goods) <= 8 else ()
    return [goods, *(goods[:digits] for digits in above)]


def batch_of(key: str) -> str:
    """A GS1 lot as product and batch, as holds and recalls name it; "" for what is none."""
    match = _LOT.fullmatch(key)
    return f"{match[1]}/{unquote(match[2])}" if match else ""


def parties_of(event: Json, sealed: Json, holder: str) -> tuple[str | None, str | None]:
    """Who acts, and the other side: as the read point says, else as the owning parties that are sealed."""
    source, destination = _owner(sealed, "source"), _owner(sealed, "destination")
    here, there = (destination, source) if event.get("bizStep") == "receiving" else (source, destination)
    return (holder if len(holder) == 13 else here), there


def _owner(sealed: Json, side: str) -> str | None:
    for one in sealed.get(f"/{side}List", ()):
        party = str(one.get(side, ""))
        if party.startswith(PARTY_URN):
            return party.removeprefix(PARTY_URN)
    return None


def ties(name: str, deals: list[Any]) -> bool:
    """Whether a voucher, or a slip that goes with goods, ties a shipping to its receipt."""
    return name in deals or name.startswith(TRACE_URN)


def documents_of(event: Json, sealed: Json) -> list[Json]:
    """The certificates that goods are received under, with what is said of them; their numbers as `kind:number`."""
    if event.get("bizStep") != "receiving":
        return []
    said = sealed.get("/suyuan:documents")
    full = {
        str(one["number"]).removeprefix(CERTIFICATE_URN): one
        for one in (said if isinstance(said, list) else ()) if isinstance(one, dict) and _NUMBER.fullmatch(
            str(one.get("number", "")))
    }  # fmt: skip
    named = [
        one.key.removeprefix(CERTIFICATE_URN) for one in mentions(event)
        if one.role is Role.CERTIFICATE and one.key.startswith(CERTIFICATE_URN)
    ]  # fmt: skip
    return [{**full.get(number, {}), "number": number} for number in dict.fromkeys([*named, *full])]


def day_of_text(text: object) -> date | None:
    """The day that a text begins with, if it is one."""
    try:
        return date.fromisoformat(str(text)[:10]) if text else None
    except ValueError:
        return None


def number_of(said: object) -> float | None:
    """What was said of a quantity, if it is a number."""
    if isinstance(said, bool) or not isinstance(said, int | float | Decimal | str):
        return None
    try:
        found = float(said)
    except (ValueError, OverflowError):
        return None
    return found if isfinite(found) else None
