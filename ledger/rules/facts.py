"""From an entry of the log to facts: what it says, and what the book knows of the things that it names. Pure.

The book is written on the way: an event's own goods have come or gone when its facts are told. Prices and partners lie
in the sealed part of an event; where that was erased they are not known.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from statistics import median

from ledger.balances import EXACT, goods_of, holder_of, moves_of
from ledger.codes import TRACE_URN, node_text
from ledger.entries import time_text
from ledger.fields import parse_time
from ledger.identifiers import identifies_goods_closely
from ledger.index import Mention, Role
from ledger.packs.effects import is_pack, outcomes_of
from ledger.registers.parties import licence_gap
from ledger.rules.book import Book, Json, Key
from ledger.rules.schema import Value, Watch
from ledger.rules.told import (
    Told,
    batch_of,
    day_of_text,
    documents_of,
    groups_of,
    number_of,
    parties_of,
    product_code,
    stock_key,
    ties,
)

Facts = dict[str, Value]
USUAL = 100
"""Of so many last values the median is what is usual."""
USUAL_LEAST = 8
ANCESTORS_MAX = 50
GATE_DAYS = 30
_ROLES = {Role.OBJECT: "object", Role.INPUT: "input", Role.OUTPUT: "output", Role.PARENT: "parent", Role.CHILD: "child"}
_ENDS = ("cbvmda:sellByDate", "cbvmda:bestBeforeDate", "cbvmda:itemExpirationDate")
_SELLING = frozenset({"retail_selling", "dispensing"})


class Teller:
    """Tells entries, one after the other, in the order of the log."""

    def __init__(self, book: Book, zone: tzinfo) -> None:
        self._book, self._zone = book, zone

    # --- what has to be loaded ------------------------------------------------------------------------

    def pages(self, told: Told) -> Iterator[Key]:
        """The pages that telling this entry asks for, as far as the entry says it."""
        node = node_text(told.entry.node)
        yield from (("node", node), ("gate", node), ("hold", f"node {node}"))
        body = told.entry.body
        if (event := told.event) is not None:
            yield from self._event_pages(event, told, node)
        elif "refusal" in body:
            keys = [one["code"] for one in body["refusal"].get("packs", ())]
            yield from self._item_pages(keys or [str(body["refusal"].get("item", ""))])
        elif "check" in body:
            goods = body["check"].get("goods", ())
            yield from self._item_pages([one["item"] for one in goods if one.get("item")])
            yield from (("goods", str(one.get("goods"))) for one in goods)

    def _event_pages(self, event: Json, told: Told, node: str) -> Iterator[Key]:
        holder = holder_of(event, told.entry.node)
        yield "declared", _id_of(told)
        party, partner = parties_of(event, told.sealed, holder)
        for one in filter(None, (party, partner)):
            yield from (("party", one), ("licences", one), ("hold", f"party {one}"))
        found = told.mentions
        yield from self._item_pages([one.key for one in found if one.role in _ROLES], node)
        yield from (("stock", stock_key(one.key, holder, one.uom)) for one in found if one.quantity is not None)
        yield from (("certificate", str(one["number"])) for one in documents_of(event, told.sealed))

    def _item_pages(self, keys: Iterable[str], node: str = "") -> Iterator[Key]:
        for key in keys:
            product = product_code(key)
            yield from (("lot", key), ("box", key), ("product", product), ("goods", goods_of(key)))
            yield from (("hold", f"lot {key}"), ("hold", f"goods {product}"), ("hold", f"batch {batch_of(key)}"))
            yield from (("recall", key), ("recall", product))
            if node:
                yield "check", f"{key} {node}"

    def more_pages(self, told: Told) -> Iterator[Key]:
        """Those that the pages loaded so far lead to: a product's goods, what a lot was made of, what is usual."""
        for key in (one.key for one in told.mentions if one.role in _ROLES):
            product = self._book.get("product", product_code(key))
            goods = str((product or {}).get("goods") or goods_of(key))
            if goods:
                yield from (("goods", goods), ("usual", f"price {goods}"), ("usual", f"weight {goods}"))
                yield from (("hold", f"goods {group}") for group in groups_of(goods))
            for source in (self._book.get("lot", key) or {}).get("made_of", ()):
                yield from (("lot", source), ("recall", source))

    # --- telling --------------------------------------------------------------------------------------

    def tell(self, told: Told) -> Iterator[tuple[Watch, Facts]]:
        """Everything that can be watched in this entry, in its order."""
        body = told.entry.body
        if (event := told.event) is not None:
            if "errorDeclaration" in event:
                self._undo(told)
            elif self._book.get("declared", _id_of(told)) is None:
                yield from self._tell_event(event, told)
        elif "refusal" in body:
            yield from self._tell_refusal(body["refusal"], told)
        elif "check" in body:
            yield from self._tell_check(body["check"], told)

    def place(self, told: Told, at: datetime) -> Facts:
        """Where and when."""
        entry = told.entry
        node = node_text(entry.node)
        facts: Facts = {
            "node": node, "region": self.region(node), "time": at, "recorded": entry.record_time, "actor": entry.actor,
            "delay_h": (entry.record_time - at).total_seconds() / 3600,
        }  # fmt: skip
        if (kind := (self._book.get("node", node) or {}).get("kind")) is not None:
            facts["node_kind"] = kind
        return facts

    def region(self, node: str) -> str:
        """The region that a node lies in now."""
        region = (self._book.get("node", node) or {}).get("region")
        return node[:6] if region is None else f"{region:06d}"

    def _tell_event(self, event: Json, told: Told) -> Iterator[tuple[Watch, Facts]]:
        at = parse_time(event["eventTime"])
        holder = holder_of(event, told.entry.node)
        facts = self.place(told, at) | self._event_facts(event, told, at, holder)
        self._learn(event, told, at)
        before = self._move(event, told.entry.node)
        expires = {one.code: one.after.expires for one in outcomes_of(told.entry.body)}
        items = [one for one in told.mentions if one.role in _ROLES]
        usual = self._usual(facts, items)
        yield Watch.EVENT, facts
        for item in items:
            last = expires.get(item.key)
            yield Watch.ITEM, facts | self._item_facts(item, facts, at, before, usual, last)
        for document in documents_of(event, told.sealed):
            yield Watch.DOCUMENT, facts | self._document_facts(document, items, at)
        yield from self._tell_readings(event, facts, items)
        notes = told.sealed.get("/suyuan:notes")
        yield from self._tell_packs(told, facts, at, notes if isinstance(notes, dict) else {})

    def _event_facts(self, event: Json, told: Told, at: datetime, holder: str) -> Facts:
        facts: Facts = {
            "step": event.get("bizStep", ""), "disposition": event.get("disposition", ""),
            "action": event.get("action", ""), "type": event["type"], "holder": holder,
        }  # fmt: skip
        party, partner = parties_of(event, told.sealed, holder)
        if party is not None:
            facts["party"] = party
            row = self._book.get("party", party)
            facts["registered"] = row is not None
            if row is not None:
                licences = (self._book.get("licences", party) or {}).values()
                gap = licence_gap(row["kinds"], licences, self.day(at).isoformat())
                facts["licence"] = "ok" if gap is None else str(gap[0])
        if partner is not None:
            facts |= {"partner": partner, "partner_known": self._book.get("party", partner) is not None}
        papers = [one.key for one in told.mentions if one.role is Role.CERTIFICATE]
        deals = [one.get("bizTransaction") for one in told.sealed.get("/bizTransactionList", ())]
        link = next((one for one in (*deals, *papers) if isinstance(one, str) and ties(one, deals)), None)
        if link is not None:
            facts["link"] = link
        if isinstance(price := told.sealed.get("/suyuan:price"), int | Decimal):
            facts["price"] = float(price)
        facts["documents"] = len([one for one in papers if not one.startswith(TRACE_URN)]) + len(deals)
        facts["sources"] = len(told.sealed.get("/sourceList", ()))
        gate = self._book.get("gate", node_text(told.entry.node))
        facts["gate"] = gate is not None and at - parse_time(gate["at"]) <= timedelta(days=GATE_DAYS)
        return facts

    def day(self, at: datetime) -> date:
        """The city's day."""
        return at.astimezone(self._zone).date()

    # --- what the book learns from an event -----------------------------------------------------------

    def _learn(self, event: Json, told: Told, at: datetime) -> None:
        """What is said of lots and containers for good."""
        by_role: dict[Role, list[str]] = {}
        for mention in told.mentions:
            by_role.setdefault(mention.role, []).append(mention.key)
        made = by_role.get(Role.OUTPUT, []) if event["type"] == "TransformationEvent" else []
        born = by_role.get(Role.OBJECT, []) if event.get("action") == "ADD" else []
        last = min((str(day)[:10] for name in _ENDS if (day := event.get("ilmd", {}).get(name))), default=None)
        for key in (*made, *born):
            if not is_pack(key) and not key.startswith(TRACE_URN):
                self._describe(key, event, told, last, by_role.get(Role.INPUT, []))
        if event.get("disposition") == "returned" and event.get("bizStep") == "receiving":
            for key in filter(is_pack, by_role.get(Role.OBJECT, [])):
                self._book.put("lot", key, {**(self._book.get("lot", key) or {}), "returned": True})
        if event.get("disposition") == "recalled":
            for key in by_role.get(Role.OBJECT, []):
                lot = self._book.get("lot", key) or {}
                self._book.put("lot", key, {**lot, "recalled": min(lot.get("recalled", "9"), time_text(at))})
        if event["type"] == "AggregationEvent" and event["action"] == "ADD" and by_role.get(Role.PARENT):
            self._pack_into(by_role[Role.PARENT][0], by_role.get(Role.CHILD, []), told)

    def _describe(self, key: str, event: Json, told: Told, last: str | None, sources: list[str]) -> None:
        lot = dict(self._book.get("lot", key) or {})
        if last is not None:
            lot["expires"] = last
        if sources:
            known = [self._book.get("lot", source) or {} for source in sources]
            older = [one for page in known for one in page.get("made_of", ())]
            lot["made_of"] = list(dict.fromkeys([*sources, *older]))[:ANCESTORS_MAX]
            if origin := next((page["origin"] for page in known if "origin" in page), None):
                lot["origin"] = origin
        elif event.get("bizStep") == "commissioning":
            lot["origin"] = self.region(node_text(told.entry.node))
        self._book.put("lot", key, lot)

    def _pack_into(self, container: str, children: list[str], told: Told) -> None:
        child = children[0] if children else ""
        page = self._book.get("box", child) if not is_pack(child) else None
        if is_pack(child):
            page = {"drug": True} | ({"expires": told.births[child]} if child in told.births else {})
        if page is not None:
            self._book.put("box", container, page)

    def _undo(self, told: Told) -> None:
        """The first declaration takes back what its event moved; if it comes before it, that is never told."""
        if self._book.get("declared", _id_of(told)) is None:
            self._book.put("declared", _id_of(told), {})
            if told.meant is not None:
                self._move(told.meant.body["event"], told.meant.node, back=True)

    def _move(self, event: Json, node: int, *, back: bool = False) -> dict[str, Json]:
        """What an event adds to stocks, or takes from them; what the book said of each stock before."""
        before: dict[str, Json] = {}
        for move in moves_of(event, node):
            key = stock_key(move.holding.item, move.holding.holder, move.holding.uom or None)
            page = self._book.get("stock", key) or {"in": "0", "out": "0"}
            before.setdefault(key, page)
            side, amount = ("in", move.quantity) if move.quantity > 0 else ("out", -move.quantity)
            total = EXACT.add(Decimal(page[side]), -amount if back else amount)
            page = {**page, side: f"{total:f}"}
            if side == "in" and not back:
                page["first"] = min(page.get("first", "9"), time_text(parse_time(event["eventTime"])))
            if event.get("bizStep") in _SELLING and not back:
                page["sold"] = True
            self._book.put("stock", key, page)
        return before

    def _usual(self, facts: Facts, items: list[Mention]) -> dict[str, float]:
        """How the price and weight compare with what is usual, by goods; they join it."""
        found: dict[str, float] = {}
        for item in items:
            goods = self._goods_code(item.key)
            sold = facts["step"] in _SELLING and item.role is not Role.OUTPUT
            if not goods or is_pack(item.key):
                continue
            values = {"price": facts.get("price")}
            if sold and item.quantity is not None:
                values["weight"] = float(item.quantity)
            for name, value in values.items():
                if isinstance(value, float) and value > 0 and f"{name} {goods}" not in found:
                    page = self._book.get("usual", f"{name} {goods}") or {"last": []}
                    if len(page["last"]) >= USUAL_LEAST:
                        found[f"{name} {goods}"] = value / median(page["last"])
                    self._book.put("usual", f"{name} {goods}", {"last": [*page["last"], value][-USUAL:]})
        return found

    # --- items, documents, readings, packs ------------------------------------------------------------

    def _goods_code(self, key: str) -> str:
        product = self._book.get("product", product_code(key)) or {}
        code = goods_of(key)
        return str(product.get("goods") or (code if len(code) != 14 else ""))

    def _goods_facts(self, key: str) -> Facts:
        facts: Facts = {"item": key}
        product, code = self._book.get("product", product_code(key)), self._goods_code(key)
        goods = self._book.get("goods", code) if code else None
        if name := product_code(key):
            facts["product"] = name
        if code:
            facts["goods"] = code
        if goods is not None:
            facts |= {"goods_kind": goods["kind"], "goods_name": goods["name"]}
        if product is not None:
            facts.setdefault("goods_name", product["name"])
        facts["drug"] = (product or {}).get("kind") in ("drug", "vaccine") or bool(
            (self._book.get("box", key) or {}).get("drug")
        )  # fmt: skip
        for name, column in (("storage_min", "storage_min_c"), ("storage_max", "storage_max_c")):
            value = (product or {}).get(column) or (goods or {}).get(column)
            if value is not None:
                facts[name] = float(value)
        return facts

    def _item_facts(
        self, item: Mention, event: Facts, at: datetime, before: dict[str, Json], usual: dict[str, float],
        last: date | None,
    ) -> Facts:  # fmt: skip
        key = item.key
        facts = self._goods_facts(key) | {
            "role": _ROLES[item.role], "is_pack": is_pack(key), "is_slip": key.startswith(TRACE_URN),
        }  # fmt: skip
        goods = str(facts.get("goods", ""))
        if item.quantity is not None:
            facts |= {"quantity": float(item.quantity), "unit": item.uom or ""}
        tolerance = (self._book.get("goods", goods) or {}).get("tolerance_percent") if goods else None
        facts["tolerance"] = float(tolerance or 0)
        if item.quantity is not None and identifies_goods_closely(key) and not facts["is_slip"]:
            facts |= self._stock_facts(stock_key(key, str(event["holder"]), item.uom), at, before)
        lot = self._book.get("lot", key) or {}
        if "origin" in lot:
            facts["origin"] = lot["origin"]
        end = last or day_of_text(lot.get("expires")) or day_of_text((self._book.get("box", key) or {}).get("expires"))
        if end is not None:
            facts["days_left"] = (end - self.day(at)).days
        facts |= {
            f"{name}_ratio": usual[f"{name} {goods}"] for name in ("price", "weight") if f"{name} {goods}" in usual
        }
        facts |= self._stopped(key, goods, event, lot, at)
        check = self._book.get("check", f"{key} {event['node']}")
        facts["checked"] = "" if check is None else check["decision"]
        return facts

    def _stock_facts(self, key: str, at: datetime, before: dict[str, Json]) -> Facts:
        page = self._book.get("stock", key) or {"in": "0", "out": "0"}
        facts: Facts = {
            "received": float(page["in"]), "issued": float(page["out"]),
            "first_sale": not before.get(key, page).get("sold", False),
        }  # fmt: skip
        if "first" in page:
            facts["held_h"] = (at - parse_time(page["first"])).total_seconds() / 3600
        return facts

    def _stopped(self, key: str, goods: str, event: Facts, lot: Json, at: datetime) -> Facts:
        """How long ago it was recalled, or a hold on it was placed."""
        facts: Facts = {}
        if (recalled := self._recalled(key, lot)) is not None:
            facts["recalled_h"] = (at - parse_time(recalled)).total_seconds() / 3600
        names = [f"lot {key}", f"node {event['node']}", f"party {event.get('party', '')}"]
        names += [f"batch {batch_of(key)}", *(f"goods {group}" for group in groups_of(goods))]
        names += [f"goods {code}"] if (code := product_code(key)) else []
        since = [
            hold["since"] for name in names for code, hold in (self._book.get("hold", name) or {}).items()
            if hold["active"] and code[:9] in ("000000000", event["node"])
            and (hold["until"] is None or at < parse_time(hold["until"]))
        ]  # fmt: skip
        if since:
            facts["stopped_h"] = (at - parse_time(min(since))).total_seconds() / 3600
        return facts

    def _recalled(self, key: str, lot: Json) -> str | None:
        """Since when it is recalled, or what it was made of."""
        found = [page["recalled"] for one in lot.get("made_of", ()) if "recalled" in (page := self._book.get("lot", one)
                 or {})]  # fmt: skip
        found += [lot["recalled"]] if "recalled" in lot else []
        for name in (key, *lot.get("made_of", ())):
            found += [one["at"] for one in (self._book.get("recall", name) or {}).values() if one["real"]]
        batch = batch_of(key).partition("/")[2]
        for one in (self._book.get("recall", product_code(key)) or {}).values():
            if one["real"] and (one["batches"] is None or batch in one["batches"]):
                found.append(one["at"])
        return min(found, default=None)

    def _document_facts(self, document: Json, items: list[Mention], at: datetime) -> Facts:
        number = str(document["number"])
        row = self._book.get("certificate", number) or {}
        facts: Facts = {"document": number, "document_kind": number.partition(":")[0]}
        if row:
            facts["document_status"] = row["status"]
        day = self.day(at)
        if (end := day_of_text(document.get("expires") or row.get("expires"))) is not None:
            facts["valid_days"] = (end - day).days
        if (issued := day_of_text(document.get("issued") or row.get("issued"))) is not None:
            facts["issued_days"] = (day - issued).days
        unit = document.get("unit") or row.get("unit")
        if (quantity := number_of(document.get("quantity", row.get("quantity")))) is not None:
            facts["document_quantity"] = quantity
        used = [one.quantity for one in items if one.quantity is not None and (one.uom or "H87") == (unit or "KGM")]
        if used:
            facts["used"] = float(sum(used))
        if items and (goods := self._goods_code(items[0].key)):
            facts["goods"] = goods
        return facts

    def _tell_readings(self, event: Json, facts: Facts, items: list[Mention]) -> Iterator[tuple[Watch, Facts]]:
        goods = self._goods_facts(items[0].key) if items else {}
        for element in event.get("sensorElementList", ()):
            meta = element.get("sensorMetadata", {})
            begin, end = meta.get("startTime"), meta.get("endTime")
            minutes = (parse_time(end) - parse_time(begin)).total_seconds() / 60 if begin and end else 0.0
            for report in element.get("sensorReport", ()):
                values = [report[name] for name in ("minValue", "maxValue", "value", "meanValue") if name in report]
                if values and all(isinstance(value, int | Decimal) for value in values):
                    yield Watch.READING, facts | goods | {
                        "reading": report.get("type", ""), "minimum": float(min(values)),
                        "maximum": float(max(values)), "minutes": minutes,
                    }  # fmt: skip

    def _tell_packs(self, told: Told, facts: Facts, at: datetime, notes: Json) -> Iterator[tuple[Watch, Facts]]:
        for one in outcomes_of(told.entry.body):
            before, now = one.before, one.after
            was = before and (before.since, before.node, before.done)
            stays = now != before and was == (now.since, now.node, now.done)
            pack: Facts = {
                "before": "" if before is None else before.state.word, "after": now.state.word,
                "done": "" if stays else now.done.partition(" ")[0],
                "alert": bool(notes.get(one.code, {}).get("alert", False)),
            }  # fmt: skip
            page = self._book.get("lot", one.code) or {}
            pack["returned"] = page.get("returned", False)
            if pack["returned"] and pack["done"] == "supply":
                self._book.put("lot", one.code, {**page, "returned": False})
            if before is not None:
                pack["before_node"] = node_text(before.node)
            if now.batch is not None:
                pack["batch"] = now.batch
            if now.expires is not None:
                pack["days_left"] = (now.expires - self.day(at)).days
            yield Watch.PACK, facts | self._goods_facts(one.code) | pack

    # --- what is no event -----------------------------------------------------------------------------

    def _tell_refusal(self, refusal: Json, told: Told) -> Iterator[tuple[Watch, Facts]]:
        at = parse_time(refusal["at"]) if "at" in refusal else told.entry.record_time
        place = self.place(told, at)
        for one in refusal.get("packs", ()):
            yield Watch.REFUSAL, place | self._goods_facts(one["code"]) | {
                "reason": " ".join(one["reasons"]), "alert": one["alert"], "late": refusal["mode"] == "offline",
            }  # fmt: skip
        if "item" in refusal and isinstance(refusal["item"], str):
            reason = "held" if "hold" in refusal else "not_enough"
            yield Watch.REFUSAL, place | self._goods_facts(refusal["item"]) | {
                "reason": reason, "alert": False, "late": False,
            }  # fmt: skip

    def _tell_check(self, check: Json, told: Told) -> Iterator[tuple[Watch, Facts]]:
        at = parse_time(check["at"])
        place, node = self.place(told, at), node_text(told.entry.node)
        self._book.put("gate", node, {"at": time_text(at)})
        for one in check.get("goods", ()):
            key = one.get("item")
            facts = self._goods_facts(key) if key else {}
            if key:
                self._book.put("check", f"{key} {node}", {"decision": check["decision"], "at": time_text(at)})
            goods = self._book.get("goods", str(one.get("goods"))) or {}
            facts |= {"goods": str(one.get("goods", "")), "decision": check["decision"], "party": check["party"]}
            facts |= {"reasons": " ".join(reason["reason"] for reason in check.get("reasons", ()))}
            if goods:
                facts |= {"goods_kind": goods["kind"], "goods_name": goods["name"]}
            for name in ("quantity", "origin"):
                if one.get(name) is not None:
                    facts[name] = float(one[name]) if name == "quantity" else str(one[name])
            yield Watch.CHECK, place | facts


def _id_of(told: Told) -> str:
    return (told.event_id or b"").hex()
