"""Finding: records by what their fields hold, and whatever a text could be, by code or by name, in one question."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from sqlalchemy import ColumnElement, Connection, Integer, Text, and_, any_, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from ledger.access import Actor
from ledger.codes import key_of_code, node_text
from ledger.drafts import id_key
from ledger.errors import Breach, LimitExceeded, NotRecorded, UnacceptableRecord, UnreadableCode
from ledger.gs1 import Key
from ledger.identifiers import uri_of
from ledger.registers import CERTIFICATE, LICENCE, NODE, PARTY, REGISTERS, Field, Register
from ledger.registers.form import Find
from ledger.registers.goods import GOODS, PRODUCT
from ledger.registers.supervision import VoucherKind
from ledger.registry import Record, is_within, key_columns, of_nodes, opened, records
from ledger.steps import CERTIFICATE_URN
from ledger.tables import entry, event_id, item_entry, metadata, pack, registry_search, warning
from ledger.tables import party as party_table
from ledger.vault import Vault, folded, matches
from ledger.warnings import Asked, list_warnings

CANDIDATES_MAX = 10_000
"""Records that a search opens at most, to see whether they really match."""
TEXT_MAX = 400
EACH_MAX = 20
_NUMBER = r"[A-Za-z0-9\u4e00-\u9fff:-]{1,60}"
"""What the number of a certificate can be, alone or after its kind."""
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def search(
    connection: Connection, vault: Vault, register: Register, asked: Mapping[str, str], nodes: frozenset[int] | None,
    limit: int, *, private: bool,
) -> list[Record]:  # fmt: skip
    """Records whose fields hold what is asked: by field name, or under "any" in any field.

    Private fields are looked into only where `private`: who may ask whether a name is there may know that it is.
    Names and addresses are found by any part, all else by the whole value.
    """
    by_name = {f.name: [f] for f in register.fields if f.find is not Find.NOT and (private or not f.private)}
    if asked.keys() - {"any", *by_name}:
        more = "" if private or not register.private_fields else "; personal data only for a purpose"
        raise NotRecorded(f"a {register.name} can be searched by any, {', '.join(by_name)}{more}")
    fields = {**by_name, "any": [one for (one,) in by_name.values()]}
    asked = {name: text.strip() for name, text in asked.items()}
    if not asked or any(not text or len(text) > 200 for text in asked.values()):
        raise UnacceptableRecord([Breach("any", "say what to search for, in 1 to 200 characters")])
    if register.private_fields:
        found = _by_tokens(connection, vault, register, fields, asked, nodes)
    else:
        found = _by_columns(connection, vault, register, fields, asked)
    return [
        one
        for one in found
        if all(any(matches(f, one.values, asked[name]) for f in fields[name]) for name in asked)
        and is_within(one, nodes)
    ][:limit]


def _by_columns(
    connection: Connection, vault: Vault, register: Register, fields: Mapping[str, list[Field]],
    asked: Mapping[str, str],
) -> list[Record]:  # fmt: skip
    """Records whose columns hold the texts, whatever their case and spaces; more than asked for may be among them."""
    table = metadata.tables[register.table]

    def holds(one: Field, text: str) -> ColumnElement[bool]:
        column = func.array_to_string(table.c[one.name], "") if one.many else cast(table.c[one.name], Text)
        squeezed = func.lower(func.regexp_replace(column, r"\s", "", "g"))
        return squeezed.like(f"%{''.join(map(_alike, folded(text)))}%", escape="\\")

    conditions = [or_(*(holds(one, text) for one in fields[name])) for name, text in asked.items()]
    question = select(table).where(and_(*conditions)).order_by(*key_columns(register)).limit(CANDIDATES_MAX)
    return opened(connection, vault, register, connection.execute(question).all())


def _alike(character: str) -> str:
    """What a folded character is looked for as: itself, or anything where the database may not know its capital."""
    if character in "%_\\":
        return f"\\{character}"
    if not character.isprintable():  # the database may not even take it
        return "%"
    return character if character.isascii() or character.upper() == character else "%"


def _by_tokens(
    connection: Connection, vault: Vault, register: Register, fields: Mapping[str, list[Field]],
    asked: Mapping[str, str], nodes: frozenset[int] | None,
) -> list[Record]:  # fmt: skip
    tokens, subject = registry_search.c.tokens, registry_search.c.subject
    conditions = [
        or_(*(tokens.contains(cast(all_of, ARRAY(Integer))) for f in fields[name] for all_of in vault.wanted(f, text)))
        for name, text in asked.items()
    ]
    question = (
        select(subject)
        .where(and_(*conditions), subject.startswith(f"{register.table} ", autoescape=True))
        .order_by(subject)
        .limit(CANDIDATES_MAX + 1)
    )
    if nodes is not None:
        key = func.split_part(subject, " ", 2)
        of_parties = select(party_table.c.party).where(of_nodes(PARTY, nodes))
        within = key.in_(of_parties) if register in (PARTY, LICENCE) else func.left(key, 9).in_(map(node_text, nodes))
        question = question.where(within)
    keys = [tuple(found.split(" ")[1:]) for found in connection.execute(question).scalars()]
    if len(keys) > CANDIDATES_MAX:
        raise LimitExceeded(f"more than {CANDIDATES_MAX} records could match: say more of what to search for")
    return sorted(records(connection, vault, register, keys).values(), key=lambda one: one.key)


# --- whatever it is -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """Something that a text names. `kind` is "item", "entry", "warning" or a register's name.

    `exact`: the text is its code; else it is among the words that are said of it.
    """

    kind: str
    code: str
    name: str
    exact: bool
    record: Record | None = None


def find(connection: Connection, vault: Vault, text: str, actor: Actor, today: date, *, private: bool) -> list[Found]:
    """All that a text names, as far as the actor may see it: by code first, then by words, `EACH_MAX` of a kind.

    Each kind is asked after only where the text could be one. Personal data are looked into only where `private`.
    """
    text = text.strip()
    if not text or len(text) > TEXT_MAX or _UNSEEN.search(text):
        reason = f"say what to look for, in 1 to {TEXT_MAX} characters without control characters"
        raise UnacceptableRecord([Breach("text", reason)])
    found = [
        *_items(connection, text, actor), *_entries(connection, text, actor),
        *_by_key(connection, vault, text, actor, today), *_warnings(connection, text, actor),
    ]  # fmt: skip
    known = {(one.kind, one.code) for one in found}
    for register in (NODE, GOODS, PRODUCT, PARTY, LICENCE):
        if len(text) <= 200:
            for one in search(connection, vault, register, {"any": text}, actor.reach, EACH_MAX, private=private):
                made = _of(one, exact=False, private=private)
                if (made.kind, made.code) not in known:
                    found.append(made)
    return found


def _of(one: Record, *, exact: bool, private: bool) -> Found:
    """A record as it is found. Its name: the first of its texts that are found by words."""
    shown = one.shown(private=private)
    names = [
        str(shown[field.name]) for field in one.register.fields if field.find is Find.TEXT and shown.get(field.name)
    ]
    return Found(one.register.name, one.code, names[0] if names else "", exact, one)


def _items(connection: Connection, text: str, actor: Actor) -> Iterator[Found]:
    """A lot, pack, case, slip or certificate that entries speak of. A certificate also by its number alone.

    It is there for whom it can be traced: who does not see all, for entries of their own nodes (`ledger/trace.py`).
    """
    numbers = [text] if ":" in text else [f"{kind}:{text}" for kind in VoucherKind]
    keys: list[str] = [f"{CERTIFICATE_URN}{number}" for number in numbers] if re.fullmatch(_NUMBER, text) else []
    with contextlib.suppress(UnreadableCode, ValueError):
        keys.append(key_of_code(text))
    spoken = select(item_entry.c.item).where(item_entry.c.item == any_(literal(keys, ARRAY(Text)))).distinct()
    made = select(pack.c.code).where(pack.c.code == any_(literal(keys, ARRAY(Text))))
    if actor.reach is not None:
        spoken = spoken.where(item_entry.c.node.in_(sorted(actor.reach)))
        made = made.where(pack.c.node.in_(sorted(actor.reach)))
    for key in sorted(connection.execute(spoken.union(made)).scalars()) if keys else ():
        yield Found("item", uri_of(Key(key)), "", exact=True)


def _entries(connection: Connection, text: str, actor: Actor) -> Iterator[Found]:
    """An entry by its place, or an event by its id."""
    place = re.fullmatch(r"([0-9]{9})/([0-9]{1,18})", text)
    if place:
        question = select(entry.c.node, entry.c.seq).where(entry.c.node == int(place[1]), entry.c.seq == int(place[2]))
    elif re.match("(urn|ni|https?):", text):
        question = select(event_id.c.node, event_id.c.seq).where(event_id.c.id == id_key(text))
    else:
        return
    for row in connection.execute(question.limit(EACH_MAX)):
        if actor.may_see(row.node):
            yield Found("entry", f"{node_text(row.node)}/{row.seq}", "", exact=True)


def _by_key(connection: Connection, vault: Vault, text: str, actor: Actor, today: date) -> Iterator[Found]:
    """Records of whichever register that are named so; a certificate also by its number alone."""
    for register in REGISTERS:
        if len(register.naming) != 1 or register.key != (register.naming[0].name,):
            continue
        tries = [text]
        if register is CERTIFICATE and ":" not in text:
            tries = [f"{kind}:{text}" for kind in VoucherKind]
        keys = []
        for given in tries:
            with contextlib.suppress(UnreadableCode):
                keys.append((str(register.naming[0].read(given, today)),))
        for one in records(connection, vault, register, keys).values() if keys else ():
            if is_within(one, actor.reach):
                yield _of(one, exact=True, private=False)


def _warnings(connection: Connection, text: str, actor: Actor) -> Iterator[Found]:
    """A warning by its id, or those that speak of it."""
    named = select(warning.c.warning, warning.c.node).where(warning.c.warning == text)
    for row in connection.execute(named):
        if actor.may_see(row.node):
            yield Found("warning", row.warning, "", exact=True)
    with contextlib.suppress(UnreadableCode):  # it has no words
        for one in list_warnings(connection, Asked(text=text[:200], limit=EACH_MAX), actor.reach):
            if one.id != text:
                yield Found("warning", one.id, one.body["message"]["zh"], exact=False)
