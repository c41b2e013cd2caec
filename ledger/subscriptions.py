"""Who is told of which notices: filters, pages of notices, how long they are kept, and how they look outside.

Notices have one gapless sequence. Its numbers are the ids of events in streams, the cursors of those who poll, and what
web hooks carry, so that a subscriber can go from one to another. A cursor that lies before the oldest notice kept, or
after the newest, is told so: nothing is skipped in silence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    Select,
    Text,
    and_,
    any_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY

from ledger.codes import CITY, node_text
from ledger.documents import write_json
from ledger.entries import time_text
from ledger.tables import notice, subscription

Json = dict[str, Any]

CITY_WIDE = ("recall.", "hold.")
"""Types of notice that concern everybody where they name no node of their own."""
LEVELS = ("red", "orange", "yellow", "blue")
LEVEL_NAMES = ("红色", "橙色", "黄色", "蓝色")
PAGE_MAX = 1_000
SCAN_MAX = 50_000
"""Numbers that one page looks at, so that a filter that nothing passes takes no long question."""
EVENT_BYTES_MAX = 20_000
TYPE_PREFIX = "city.suyuan."
RESET = f"{TYPE_PREFIX}reset"


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice. `level` is 1 red to 4 blue, or None where it has none."""

    number: int
    at: datetime
    type: str
    level: int | None
    rule: str | None
    node: int
    region: int
    goods: str | None
    subject: str
    body: Json

    @classmethod
    def of(cls, row: Row[Any]) -> "Notice":
        """The notice in a row of its table."""
        return cls(**{one.name: row._mapping[one.name] for one in fields(cls)})


@dataclass(frozen=True, slots=True)
class Filter:
    """Which notices are wanted; what is empty asks for nothing. Goods, regions and kinds: by how they begin."""

    levels: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    goods: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    reach: frozenset[int] | None = None
    """The nodes that the reader may see at all; None for all."""

    @property
    def condition(self) -> ColumnElement[bool]:
        """The same as a condition on a row of `notice`."""
        wanted = {
            one.name: literal(list(getattr(self, one.name)), ARRAY(Text))
            for one in fields(self)
            if one.name != "reach" and getattr(self, one.name)
        }
        reach = literal(True) if self.reach is None else or_(notice.c.node.in_(self.reach), _for_all())
        return and_(reach, _passes(wanted))

    def passes(self, one: Notice) -> bool:
        """Whether a notice is wanted: for streams, which all read the same notices."""
        for_all = one.node == CITY and one.type.startswith(CITY_WIDE)
        return (self.reach is None or one.node in self.reach or for_all) and all((
            not self.levels or (one.level is not None and LEVELS[one.level - 1] in self.levels),
            not self.rules or one.rule in self.rules,
            not self.goods or (one.goods is not None and one.goods.startswith(self.goods)),
            not self.nodes or node_text(one.node) in self.nodes,
            not self.regions or f"{one.region:06d}".startswith(self.regions),
            not self.subjects or one.subject in self.subjects,
            not self.kinds or one.type.startswith(self.kinds),
        ))  # fmt: skip


def _for_all() -> ColumnElement[bool]:
    """What the whole city is told: recalls, and holds that concern all nodes."""
    return and_(notice.c.node == CITY, or_(*(notice.c.type.startswith(kind) for kind in CITY_WIDE)))


def _passes(wanted: dict[str, Any]) -> ColumnElement[bool]:
    """Whether a row of `notice` is among what arrays ask for; those arrays are values, or a subscription's columns."""
    level = case(*((notice.c.level == at, word) for at, word in enumerate(LEVELS, 1)))
    node = func.lpad(cast(notice.c.node, Text), 9, "0")
    region = func.lpad(cast(notice.c.region, Text), 6, "0")
    conditions: dict[str, Callable[[Any], ColumnElement[bool]]] = {
        "levels": lambda words: level == any_(words),
        "rules": lambda words: notice.c.rule == any_(words),
        "goods": lambda words: _begins(notice.c.goods, words),
        "nodes": lambda words: node == any_(words),
        "regions": lambda words: _begins(region, words),
        "subjects": lambda words: notice.c.subject == any_(words),
        "kinds": lambda words: _begins(notice.c.type, words),
    }
    return and_(literal(True), *(or_(words.is_(None), conditions[name](words)) for name, words in wanted.items()))


def _begins(text: Any, wanted: Any) -> ColumnElement[bool]:
    one = func.unnest(wanted, type_=Text).column_valued("one")
    return select(one).where(func.starts_with(text, one)).correlate(notice, subscription).exists()


def wanted_by_subscription() -> ColumnElement[bool]:
    """Whether a row of `notice` is for a row of `subscription`: of its node, and what its lists ask for."""
    columns = subscription.c
    own = cast(func.left(columns.subscription, 9), Integer)
    reach = or_(own == 0, notice.c.node == own, _for_all())
    return and_(reach, _passes({one.name: columns[one.name] for one in fields(Filter) if one.name != "reach"}))


def filter_of(row: Row[Any]) -> Filter:
    """What a row of `subscription` asks for: of the node that its code begins with, 000000000 being all."""
    node = int(row.subscription[:9])
    lists = {one.name: tuple(row._mapping[one.name] or ()) for one in fields(Filter) if one.name != "reach"}
    return Filter(**lists, reach=None if node == 0 else frozenset([node]))


# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """The numbers of the notices that there are: first and last, 0 where there is none."""

    oldest: int
    newest: int

    @classmethod
    def now(cls, connection: Connection) -> "Kept":
        """What is kept in this snapshot."""
        number = notice.c.number
        oldest, newest = connection.execute(select(func.min(number), func.max(number))).one()
        return cls(oldest or 0, newest or 0)

    def misses(self, after: int) -> bool:
        """Whether somebody who has seen all up to `after` would miss something, or has seen what there never was."""
        return after > self.newest or after + 1 < self.oldest


@dataclass(frozen=True, slots=True)
class Page:
    """Notices in their order. `next` is the cursor of the page after; `reset`: what came before is not kept."""

    notices: list[Notice]
    next: int
    reset: bool
    kept: Kept


def page(connection: Connection, wanted: Filter, after: int, limit: int) -> Page:
    """The wanted notices after a cursor; from the oldest kept, and with `reset`, where the cursor does not hold."""
    kept = Kept.now(connection)
    reset = kept.misses(after)
    after = kept.oldest - 1 if reset and kept.newest else kept.newest if reset else after
    until = min(kept.newest, after + SCAN_MAX)
    question = _between(after, until).where(wanted.condition).order_by(notice.c.number).limit(min(limit, PAGE_MAX))
    found = [Notice.of(row) for row in connection.execute(question)]
    following = found[-1].number if len(found) == min(limit, PAGE_MAX) else max(until, after)
    return Page(found, following, reset, kept)


def _between(after: int, until: int) -> Select[Any]:
    return select(notice).where(notice.c.number > after, notice.c.number <= until)


def numbered(connection: Connection, numbers: Sequence[int]) -> dict[int, Notice]:
    """The notices of these numbers, as far as they are kept."""
    rows = connection.execute(select(notice).where(notice.c.number.in_(numbers)))
    return {row.number: Notice.of(row) for row in rows}


def forget(connection: Connection, before: datetime) -> int:
    """Delete the notices from before a moment, and how many: all before the first that stays.

    The newest stays whatever its age, since it alone says where the sequence stands.
    """
    number = notice.c.number
    first = connection.execute(select(func.min(number)).where(notice.c.at >= before)).scalar()
    newest = connection.execute(select(func.max(number))).scalar()
    kept = newest if first is None else first
    return connection.execute(notice.delete().where(number < kept)).rowcount if kept is not None else 0


# --- how a notice looks outside --------------------------------------------------------------------


def cloud_event(one: Notice, origin: str) -> Json:
    """The notice as a CloudEvent (1.0, JSON), of less than `EVENT_BYTES_MAX` bytes: long lists are cut, and it says so.

    `sequence` compares as text (CloudEvents' own extension), so it has leading zeros; `id` has none.
    """
    about: Json = {
        "number": one.number, "level": None if one.level is None else LEVELS[one.level - 1], "rule": one.rule,
        "node": node_text(one.node), "region": f"{one.region:06d}", "goods": one.goods,
    }  # fmt: skip
    made: Json = {
        **_envelope(one.number, origin, TYPE_PREFIX + one.type), "subject": one.subject, "time": time_text(one.at),
        "data": {**one.body, **about},
    }  # fmt: skip
    if len(write_json(made)) < EVENT_BYTES_MAX:
        return made
    shell = len(write_json({**made, "data": {}}))
    data = {"truncated": True, **about, **_cut(one.body, EVENT_BYTES_MAX - shell - len(write_json(about)) - 40)}
    return {**made, "data": {**data, **about}}


def reset_event(kept: Kept, after: int, origin: str) -> Json:
    """What is told instead of notices that are not kept any more."""
    data = {"after": after, "oldest": kept.oldest, "newest": kept.newest}
    return {**_envelope(after, origin, RESET), "data": data}


def _envelope(number: int, origin: str, kind: str) -> Json:
    return {
        "specversion": "1.0", "id": f"{number}", "source": f"https://{origin}", "type": kind,
        "datacontenttype": "application/json", "sequence": f"{max(number, 0):020d}",
    }  # fmt: skip


def _cut(body: Json, most: int) -> Json:
    """The body in at most so many bytes: the longest lists and texts are halved until it fits."""
    cut = dict(body)
    while cut and len(write_json(cut)) > most:
        name, value = max(cut.items(), key=lambda pair: len(write_json(pair[1])))
        cut[name] = shorter = _shorter(value)
        if shorter is None:
            del cut[name]
    return cut


def _shorter(value: Any) -> Any:
    """About half of a value; None where there is no half."""
    if isinstance(value, list | str) and len(value) > 1:
        return value[: len(value) // 2]
    if isinstance(value, list) and value and isinstance(value[0], list | dict | str):
        inner = _shorter(value[0])
        return None if inner is None else [inner]
    if isinstance(value, dict) and value:
        name = max(value, key=lambda key: len(write_json(value[key])))
        inner = _shorter(value[name])
        rest = {key: one for key, one in value.items() if key != name}
        return (rest or None) if inner is None else {**rest, name: inner}
    return None
