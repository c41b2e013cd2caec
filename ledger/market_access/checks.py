"""Checks at the gate: what a decision needs to know, read on one snapshot, and the entry with the certificates' rows.

Whoever is admitted uses its certificates in the same request, each only at the version that the decision saw: of two
rivals with one certificate one gets it, and the other is to be decided anew.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from sqlalchemy import Connection, select

from ledger.access import Actor
from ledger.append import Request
from ledger.codes import node_text
from ledger.documents import Json, read_json
from ledger.drafts import check_name, draft_check
from ledger.entries import Entry, Kind, decode, time_text
from ledger.errors import Conflict, Stop
from ledger.fields import parse_time
from ledger.gs1 import Key
from ledger.holds import held
from ledger.identifiers import uri_of
from ledger.index import Role
from ledger.market_access.decision import (
    Assay,
    Check,
    Decision,
    Described,
    Goods,
    Kept,
    Paper,
    Seller,
    Standing,
)
from ledger.market_access.needs import GoodsClass, class_of
from ledger.reads import ReadEntry, entries_of_ids
from ledger.registers import CERTIFICATE
from ledger.registers.drugs import Nature
from ledger.registers.goods import ProductKind, in_base_unit
from ledger.registers.parties import licence_gap
from ledger.registers.supervision import Scope, VoucherKind
from ledger.registry import Record, change_request, records
from ledger.tables import entry, item_entry, licence, pack, party, product, recall
from ledger.tables import goods as goods_table
from ledger.vault import Vault

EARLIER_MAX = 500
"""Earlier checks of the same lots that are looked at, the latest first."""
_DRUGS = (GoodsClass.DRUG, GoodsClass.VACCINE)


@dataclass(frozen=True, slots=True)
class Known:
    """What was read for a check: for the decision, and the certificates' records for their next versions."""

    standing: Standing
    certificates: Mapping[str, Record]


def recorded_check(connection: Connection, check: str, asked: Json | None = None) -> ReadEntry | None:
    """The check of that id, if it is recorded; `Conflict` where it was another one than is `asked`."""
    for one in entries_of_ids(connection, [check_name(check)]):
        if asked is not None and one.sealed is not None and asked_of(one) != asked:
            raise Conflict(f"the check {check} is recorded already, and was another one")
        return one
    return None


def asked_of(one: ReadEntry) -> Json | None:
    """What was sent for a check that is recorded; None where that is erased."""
    if one.sealed is None:
        return None
    found: Json = read_json(one.sealed)["asked"]
    return found


# --- reads ------------------------------------------------------------------------------------------


def read_known(
    connection: Connection, vault: Vault, check: Check, node_kind: str | None, now: datetime, today: date
) -> Known:
    """What there is to know for a check: the same number of questions, however many goods and papers it has."""
    keys = [(paper.key,) for paper in check.papers if paper.kind is not VoucherKind.TRANSACTION]
    kept = {key[0]: one for key, one in records(connection, vault, CERTIFICATE, keys).items()} if keys else {}
    described, names = _described(connection, check.goods)
    earlier, waited = _earlier(connection, check.goods, now)
    drugs = [goods for goods in check.goods if _class(goods, described) in _DRUGS]
    batches = _batches(connection, drugs) if drugs else {}
    recalled, unknown = _recalled(connection, drugs, names, batches) if drugs else ([], frozenset())
    codes = [goods.goods for goods in check.goods]
    lots = [goods.lot for goods in check.goods if goods.lot is not None]
    of_packs = [f"{goods.goods}/{batches[goods.name]}" for goods in drugs if goods.name in batches]
    stops = held(connection, check.node, check.party, lots, codes, now, batches=of_packs)
    certificates = {key: _kept(one) for key, one in kept.items()}
    seller = _seller(connection, check.party, today)
    standing = Standing(
        now, today, node_kind, seller, described, certificates, earlier, waited,
        [*dict.fromkeys([*stops, *recalled])], unknown,
    )  # fmt: skip
    return Known(standing, kept)


def _class(goods: Goods, described: Mapping[str, Described]) -> GoodsClass:
    found = described.get(goods.goods)
    return found.kind if found is not None else class_of(goods.goods, None)


def _kept(one: Record) -> Kept:
    row = one.row
    quantity, expires, used = row["quantity"], row["expires"], row["used"]
    return Kept(
        row["status"], date.fromisoformat(row["issued"]), row["issuer"],
        None if expires is None else date.fromisoformat(expires), None if quantity is None else Decimal(quantity),
        row["unit"], row["goods"], row["node"], Decimal(used or 0),
    )  # fmt: skip


def _seller(connection: Connection, code: str, today: date) -> Seller | None:
    """The party, unless nothing is filed of it, or it is erased."""
    row = connection.execute(select(party).where(party.c.party == code)).one_or_none()
    if row is None or row.erased:
        return None
    found = connection.execute(select(licence).where(licence.c.party == code)).all()
    licences = [
        {
            "kind": one.kind, "status": one.status, "valid_from": one.valid_from.isoformat(),
            "valid_to": None if one.valid_to is None else one.valid_to.isoformat(),
        }
        for one in found
    ]  # fmt: skip
    gap = licence_gap(row.kinds, licences, today.isoformat())
    return Seller(row.status, frozenset(row.nodes), frozenset(row.kinds), gap)


def _described(
    connection: Connection, wanted: Sequence[Goods]
) -> tuple[dict[str, Described], dict[str, frozenset[str]]]:
    """By goods code, what the registers say of goods; and of products all their names."""
    codes = list(dict.fromkeys(one.goods for one in wanted))
    rows = connection.execute(select(product).where(product.c.product.in_(codes) | product.c.gtin.in_(codes))).all()
    groups = {code: code for code in codes} | {
        code: row.goods for row in rows for code in codes if code in (row.product, row.gtin) and row.goods is not None
    }
    prefixes = {group[:digits] for group in groups.values() for digits in range(3, len(group) + 1)}
    kinds = {
        row.goods: row.kind
        for row in connection.execute(
            select(goods_table.c.goods, goods_table.c.kind).where(goods_table.c.goods.in_(prefixes))
        )
    }
    found: dict[str, Described] = {}
    names: dict[str, frozenset[str]] = {}
    for code in codes:
        row = next((one for one in rows if code in (one.product, one.gtin)), None)
        if row is not None:
            names[code] = frozenset({row.product, row.gtin} - {None})
        group = groups[code]
        above = (group[:digits] for digits in range(len(group), 2, -1))
        kind = next((kinds[one] for one in above if one in kinds), None)
        drug = row is not None and row.kind in (ProductKind.DRUG, ProductKind.VACCINE)
        if row is not None and drug:
            found[code] = _described_drug(code, row)
        elif kind is not None or row is not None:
            found[code] = Described(class_of(group, kind))
    return found, names


def _described_drug(code: str, row: Any) -> Described:
    usual = Described(class_of(code, row.kind))
    low, high = row.storage_min_c, row.storage_max_c
    return Described(usual.kind, usual.low if low is None else low, usual.high if high is None else high)


def _earlier(
    connection: Connection, wanted: Iterable[Goods], now: datetime
) -> tuple[dict[Key, list[Assay]], frozenset[Key]]:
    """What earlier checks were told of tests of these lots, and lots whose time to be tested is over."""
    lots = [goods.lot for goods in wanted if goods.lot is not None]
    tests: dict[Key, list[Assay]] = {}
    waited: set[Key] = set()
    for found in _checks_of(connection, lots) if lots else ():
        check = found.body["check"]
        for goods in check["goods"]:
            lot = next((lot for lot in lots if goods["item"] == uri_of(lot)), None)
            if lot is None:
                continue
            told = (_test(one) for one in check["tests"])
            tests.setdefault(lot, []).extend(one for one in told if one.goods in (None, goods["goods"]))
            if check["holdUntil"] is not None and parse_time(check["holdUntil"]) < now:
                waited.add(lot)
    return tests, frozenset(waited)


def _checks_of(connection: Connection, items: Sequence[str]) -> Iterator[Entry]:
    question = (
        select(entry.c.data)
        .join_from(item_entry, entry, (item_entry.c.node == entry.c.node) & (item_entry.c.seq == entry.c.seq))
        .where(item_entry.c.item.in_(items), item_entry.c.role == Role.CHECKED, entry.c.kind == Kind.CHECK)
        .order_by(entry.c.record_time.desc())
        .limit(EARLIER_MAX)
    )
    return (decode(bytes(data)) for data in connection.execute(question).scalars())


def _test(said: Json) -> Assay:
    again = said["retestOf"]
    return Assay(
        said["kind"] == "rapid", said["result"], parse_time(said["at"]), None if again is None else parse_time(again),
        said["goods"],
    )  # fmt: skip


def _batches(connection: Connection, drugs: Sequence[Goods]) -> dict[str, str]:
    """By name, the batches of drugs, as far as their codes say them or their packs are recorded with them."""
    codes = [one.lot for one in drugs if one.lot is not None]
    rows = connection.execute(select(pack.c.code, pack.c.batch).where(pack.c.code.in_(codes)))
    found = {row.code: row.batch for row in rows}
    for one in drugs:
        parts = one.name.split("/")
        if parts[0] == "01" and "10" in parts[2::2]:
            found[one.name] = unquote(parts[parts.index("10", 2) + 1])
    return {name: batch for name, batch in found.items() if batch is not None}


def _recalled(
    connection: Connection, drugs: Sequence[Goods], names: Mapping[str, frozenset[str]], batches: Mapping[str, str]
) -> tuple[list[Stop], frozenset[str]]:
    """Recalls of these drugs' products and batches; and drugs whose batch is not known while some are recalled.

    They stay recalled when the work is done (`ledger/registers/drugs.py`).
    """
    wanted = {name for one in drugs for name in (*names.get(one.goods, ()), one.goods)}
    question = select(recall).where(recall.c.product.in_(wanted), recall.c.nature == str(Nature.REAL))
    stops: list[Stop] = []
    unknown: set[str] = set()
    for row in connection.execute(question.order_by(recall.c.recall)):
        for one in drugs:
            if row.product not in (*names.get(one.goods, ()), one.goods):
                continue
            if row.batches and one.name not in batches:
                unknown.add(one.name)
            elif not row.batches or batches[one.name] in row.batches:
                name = one.goods if one.lot is None else uri_of(one.lot)
                stops.append(Stop(str(Scope.PRODUCT_BATCH), name, row.recall, recall=True))
    return stops, frozenset(unknown)


# --- what is recorded -------------------------------------------------------------------------------


def check_request(check: Check, asked: Json, decision: Decision, known: Known, actor: Actor) -> Request:
    """The entry of a decision, with the next versions of its certificates; `asked` is what was sent, and sealed."""
    body: Json = {
        "check": check.check, "at": time_text(check.at), "party": check.party, "decision": str(decision.outcome),
        "goods": [_goods_json(one, known.standing) for one in check.goods],
        "certificates": [*dict.fromkeys(paper.key for paper in check.papers)],
        "tests": [_test_json(one) for one in check.tests], "reasons": reasons_json(decision),
        "holdUntil": None if decision.hold_until is None else time_text(decision.hold_until),
    }  # fmt: skip
    requests = [
        change_request(CERTIFICATE.table, row, actor.name) for row in _certificates(check, decision, known)
    ]  # fmt: skip
    made = draft_check(check.node, body, {"asked": asked}, secrets.token_bytes)
    return Request(
        [made, *(draft for one in requests for draft in one.drafts)], actor.name,
        [change for one in requests for change in one.changes],
    )  # fmt: skip


def reasons_json(decision: Decision) -> list[Json]:
    """Every reason, with what to bring and the row of the law."""
    return [
        {
            "reason": str(one.ground), "chinese": one.chinese, "english": one.english, "about": one.about,
            "bring": one.bring, "source": str(one.law).strip(), "since": one.law.since.isoformat(),
        }
        for one in decision.reasons
    ]  # fmt: skip


def _goods_json(goods: Goods, standing: Standing) -> Json:
    return {
        "item": None if goods.lot is None else uri_of(goods.lot), "goods": goods.goods,
        "kind": str(standing.kind_of(goods)), "quantity": _text(goods.quantity), "unit": goods.unit,
        "origin": goods.origin, "imported": goods.imported,
    }  # fmt: skip


def _test_json(test: Assay) -> Json:
    again = test.retest_of
    return {
        "kind": "rapid" if test.rapid else "laboratory", "result": test.result, "at": time_text(test.at),
        "retestOf": None if again is None else time_text(again), "goods": test.goods,
    }  # fmt: skip


def _certificates(check: Check, decision: Decision, known: Known) -> Iterator[Json]:
    """The next versions of the certificates' rows: of those not registered the first, of those used one more."""
    papers = {paper.key: paper for paper in check.papers if paper.kind is not VoucherKind.TRANSACTION}
    for key, paper in papers.items():
        present, used = known.certificates.get(key), decision.used.get(key)
        if present is None:
            yield _with_use(_first(paper, known.standing.today), check, used)
        elif used is not None:
            yield _with_use({**present.row, "version": present.version + 1, "digest": None}, check, used)


def _first(paper: Paper, today: date) -> Json:
    """A certificate as its paper says."""
    return {
        **dict.fromkeys(field.name for field in CERTIFICATE.open_fields), "certificate": paper.key,
        "issuer": paper.issuer, "issued": paper.issued.isoformat(),
        "expires": None if paper.expires is None else paper.expires.isoformat(),
        "quantity": None if paper.quantity is None else _text(paper.quantity), "unit": paper.unit,
        "version": 1, "status": str(next(iter(CERTIFICATE.statuses or ()))), "status_since": today.isoformat(),
        "digest": None,
    }  # fmt: skip


def _with_use(row: Json, check: Check, used: tuple[Decimal, str] | None) -> Json:
    """The row with what comes in under it, in its own unit."""
    if used is None:
        return row
    quantity, unit = used
    one, _ = in_base_unit(Decimal(1), row["unit"] or unit)
    total = Decimal(row["used"] or 0) + quantity / one
    return {**row, "used": _text(total), "node": row["node"] if row["node"] is not None else check.node}


def _text(quantity: Decimal) -> str:
    return f"{quantity.normalize() + 0:f}"


# --- answers ----------------------------------------------------------------------------------------


def answer_of(found: Entry) -> Json:
    """A check as it was decided, for people and programs."""
    check: Json = found.body["check"]
    return {**check, "node": node_text(found.node), "entry": found.name}
