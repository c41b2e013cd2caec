"""A story in words: for machines as JSON, and as the parts that the public page is made of."""

import base64
from datetime import datetime
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup

from api.console.pages import local
from api.console.texts import TEXTS, plain
from ledger.documents import Json
from ledger.entries import time_text
from ledger.identifiers import uri_of
from ledger.registers.form import Word
from ledger.registers.places import NodeKind
from ledger.registers.supervision import VoucherKind
from ledger.story import Alert, Name, Place, Story, Told
from reports.waymap import Spot, way_map

_BEGINS = {"step_harvested": "date_harvested", "step_killing": "date_killing", "step_commissioning": "date_made",
           "step_retail_selling": "date_sold"}  # fmt: skip
_VOUCHERS = {str(kind): kind for kind in VoucherKind}


def words(key: str) -> dict[str, str]:
    """A text of the catalogue in both languages, for JSON."""
    zh, en = TEXTS[key]
    return {"chinese": zh, "english": en}


def step_text(one: Told, place: Place) -> str:
    """Which text of the catalogue says what happened."""
    if one.step == "inspecting":
        return {True: "step_passed", False: "step_failed", None: "step_inspecting"}[one.passed]
    if one.step == "commissioning" and place.kind is NodeKind.FARM:
        return "step_harvested"
    return f"step_{one.step}" if f"step_{one.step}" in TEXTS else "step_other"


def kind_text(kind: Word | None) -> str:
    """Which text names a kind of place."""
    return "kind_unknown" if kind is None else f"kind_{kind}"


def sales_text(story: Story) -> str:
    """Which text says how often it was sold, as `GET /public/packs/{code}` does."""
    return "not_a_pack" if story.sales is None else f"sold_{min(len(story.sales), 2)}"


# --- for machines ---------------------------------------------------------------------------------


def document(story: Story, names: dict[str, Name]) -> Json:
    """The same as the page tells, and of each entry its bytes, whose SHA-256 is its hash."""
    found: Json = {
        "code": uri_of(story.code), "kind": "drug" if story.drug else "food",
        "names": [_name(one) for one in story.names], "alerts": [_alert(one) for one in story.alerts],
    }  # fmt: skip
    if story.drug:
        sales = story.sales or ()
        return {**found, **words(sales_text(story)), "sales": len(sales), "times": [time_text(at) for at in sales]}
    return found | {
        "originKnown": story.origin_known, "more": story.cut,
        "steps": [_step(one, story.places[one.site], names) for one in story.steps],
        "places": [_place(story.places[site]) for site in sorted(story.places)],
        "ways": [{"from": a, "to": b, "time": time_text(at)} for (a, b), at in story.links.items()],
        "dates": dict(story.dates),
    }  # fmt: skip


def _name(one: Name) -> Json:
    return {"code": one.code, "chinese": one.chinese, "english": one.english}


def _alert(one: Alert) -> Json:
    return {
        "kind": "recall" if one.recall else "hold", "number": one.number, "active": one.active, "since": one.since,
        "until": one.until, "grade": one.grade, **words(alert_text(one)),
    }  # fmt: skip


def _place(one: Place) -> Json:
    return {"place": one.site, "name": one.name, "kind": one.kind and str(one.kind), **words(kind_text(one.kind))}


def _step(one: Told, place: Place, names: dict[str, Name]) -> Json:
    data = one.read.entry.data
    found: Json = {
        "entry": one.entry, "hash": one.read.entry.hash.hex(), "time": time_text(one.at), "step": one.step,
        **words(step_text(one, place)), "place": one.site, "goods": [_name(names[code]) for code in one.goods],
        "certificates": [{"kind": kind, "number": number} for kind, number in one.certificates],
        "bytes": base64.b64encode(data).decode(),
    }  # fmt: skip
    if one.step == "inspecting":
        found |= {"passed": one.passed, "value": one.value, "unit": one.unit}
    return found


def alert_text(one: Alert) -> str:
    """Which text says what is wrong with it."""
    if not one.recall:
        return "alert_hold"
    return "alert_recall" if one.active else "alert_recalled"


# --- for the page ---------------------------------------------------------------------------------


def parts(story: Story, names: dict[str, Name], zone: ZoneInfo, at: datetime) -> dict[str, Any]:
    """What the page's template shows beside the story itself."""
    told = [_row(one, story.places[one.site], names) for one in story.steps]
    day = ""
    for row in told:  # a day is written once
        shown = local(row["one"].at, zone)
        row["clock"], day = shown[11:] if shown[:10] == day else shown, shown[:10]
    return {
        "at": at, "told": told, "alert_text": alert_text, "sales_text": sales_text(story),
        "picture": _picture(story, zone), "days": _days(story, told, zone),
        "first": told[0]["place"] if told else None, "last": told[-1]["place"] if told else None,
        "tests": [row for row in told if row["one"].step == "inspecting"],
        "papers": _papers(story), "kind_text": kind_text,
        "stops": [(place, list(rows)) for place, rows in groupby(told, key=lambda row: row["place"])],
    }  # fmt: skip


def _row(one: Told, place: Place, names: dict[str, Name]) -> dict[str, Any]:
    return {
        "one": one, "text": step_text(one, place), "place": place, "goods": [names[code] for code in one.goods],
        "iso": time_text(one.at), "hash": one.read.entry.hash.hex(), "bad": one.passed is False,
    }  # fmt: skip


def _days(story: Story, told: list[dict[str, Any]], zone: ZoneInfo) -> list[tuple[str, str]]:
    """Days by the name of their text: when it began, what its label says, when it was sold."""
    begun = {_BEGINS[row["text"]]: local(row["one"].at, zone)[:10] for row in told if row["text"] in _BEGINS}
    given = {f"date_{name}": day for name, day in story.dates}
    sold = begun.pop("date_sold", None)
    return [*begun.items(), *given.items(), *([("date_sold", sold)] if sold else [])]


def _papers(story: Story) -> list[tuple[str, str, str]]:
    """Certificates, each once: its kind in Chinese and English, and its number."""
    found = dict.fromkeys(paper for one in story.steps for paper in one.certificates)
    return [
        (_VOUCHERS[kind].chinese, TEXTS[f"voucher_{kind}"][1], number) for kind, number in found if kind in _VOUCHERS
    ]


def _picture(story: Story, zone: ZoneInfo) -> Markup:
    """The map: escaped where it is made."""
    order = list(dict.fromkeys(one.site for one in story.steps))
    if len(order) < 2:
        return Markup("")
    spots = [_spot(story.places[site], last=site == story.steps[-1].site) for site in order]
    links = {way: local(at, zone)[5:] for way, at in story.links.items()}
    return Markup(way_map(spots, links, plain("pub_map")))  # noqa: S704 - its texts are escaped in reports/waymap.py


def _spot(place: Place, *, last: bool) -> Spot:
    zh, en = TEXTS[kind_text(place.kind)]
    return Spot(place.site, zh[0], f"{zh} {en}", place.name or plain("place_unknown"), last)
