"""The independent checker of a simulated city: from its files alone, what is broken and what is anomalous.

Written from the specification of the files, not from the generator: it shares no code with `scanners/city/` nor with
the ledger, and the check digits are computed here. `check` tells three things apart:

* faults: what no plant excuses, such as a negative balance, a voucher whose two ends differ, a wrong check digit;
* found: what the reference rules, one for each kind of plant, call anomalous;
* tolerated: what would be a fault but for the exceptions the specification makes for near-misses, such as a shipping
  recorded after its receipt. Each of these must belong to a plant of a kind that `EXCUSES` names.

Standard library only. It keeps the facts of every event, some 1 KB each: it is for cities that fit into memory.
"""

import csv
import json
import re
import uuid
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

KINDS = tuple(
    """
    residue_failed quarantine_failed certificate_expired certificate_reused certificate_overused missing_upstream
    synthetic_link received_before_shipped sold_more_than_bought trace_code_twice drug_code_twice sale_after_recall
    recalled_still_moving sale_of_expired near_expiry temperature_excursion dwell_time node_silent unlicensed_party
    price_outlier weight_outlier failure_cluster shipped_not_received received_not_shipped impossible_travel
    """.split()
)
COLUMNS = {
    "regions": "region,name,successor,since,until",
    "nodes": "node,name,kind,trace_scheme,region,locations",
    "goods": "goods,name,english,kind,unit,tolerance_percent,shelf_life_h,storage_min_c,storage_max_c",
    "yields": "source,goods,least,most",
    "products": (
        "product,name,english,kind,goods,gtin,national_code,approval,dosage_form,specification,holder,"
        "units_per_pack,unit,storage_min_c,storage_max_c"
    ),
    "parties": (
        "party,kinds,nodes,legal_name,credit_code,identity_number,legal_representative,contact,phone,address,position"
    ),
    "licences": "party,number,kind,scope,issuer,valid_from,valid_to,scan",
}
EXCUSES = {
    "late_shipping": {"missing_upstream", "received_not_shipped"},
    "sent_again": {"trace_code_twice"},
    "second_look": {"quarantine_failed"},
    "within_tolerance": {"sold_more_than_bought"},
    "stray_pack": {"impossible_travel", "drug_code_twice"},
    "returned_pack": {"drug_code_twice"},
}
"""Which kinds of plant excuse what is tolerated."""
CLUSTERED = ("residue_failed", "failure_cluster")
"""A cluster is made of residue failures: the first kind is also found on plants of the second."""

LATE_MAX = timedelta(minutes=10)
TRANSIT_MAX = timedelta(hours=24)
DWELL_MAX = timedelta(hours=12)
SILENCE_MAX = timedelta(hours=4)
CLUSTER_WITHIN, CLUSTER_LEAST = timedelta(days=1), 3
HOT_C, HOT_MAX = Decimal(8), timedelta(minutes=30)
INHIBITION_LIMIT = Decimal(50)
NEAR_EXPIRY_DAYS = 30
TRAVEL_LEAST = timedelta(hours=1)
PRICE_TIMES, WEIGHT_TIMES, USUAL_LEAST = 4, 10, 8
DOCUMENT_EVENTS_MAX = 500
UNIT_COUNT, UNIT_KG = "H87", "KGM"


class Found(NamedTuple):
    """One thing found: of what kind, in which events, and in words."""

    kind: str
    events: tuple[str, ...]
    says: str = ""


class Plant(NamedTuple):
    """One line of anomalies.jsonl."""

    kind: str
    anomaly: bool
    events: tuple[str, ...]
    at: str
    node: str
    subject: str
    says: str


@dataclass
class Findings:
    """What the checker found, and the comparison with what was planted."""

    events: int = 0
    faults: list[Found] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    tolerated: list[Found] = field(default_factory=list)
    planted: list[Plant] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)

    def by_kind(self) -> dict[str, int]:
        """How often each kind was found, faults included."""
        return dict(Counter(one.kind for one in self.found + self.faults))

    def missed(self) -> list[Plant]:
        """Planted anomalies whose own rule did not find exactly one thing in their events."""
        return [plant for plant in self.planted if plant.anomaly and len(self._of(plant)) != 1]

    def _of(self, plant: Plant) -> list[Found]:
        return [one for one in self.found if one.kind == plant.kind and set(one.events) & set(plant.events)]

    def unplanted(self) -> list[Found]:
        """What the rules found where no anomaly of that kind was planted: near-misses included."""
        return [one for one in self.found if not any(_explains(plant, one) for plant in self._touching(one))]

    def alarms_on_near_misses(self) -> list[Found]:
        """What any rule found in the events of a near-miss."""
        return [one for one in self.unplanted() if any(not plant.anomaly for plant in self._touching(one))]

    def unexcused(self) -> list[Found]:
        """What was tolerated without a plant of a kind that excuses it."""
        return [
            one for one in self.tolerated if not any(plant.kind in EXCUSES[one.kind] for plant in self._touching(one))
        ]

    def _touching(self, one: Found) -> list[Plant]:
        return [plant for plant in self.planted if set(plant.events) & set(one.events)]

    def clean(self) -> bool:
        """Whether exactly what was planted was found, and nothing is broken."""
        return not (self.faults or self.missed() or self.unplanted() or self.unexcused())


def _explains(plant: Plant, one: Found) -> bool:
    return (plant.anomaly and plant.kind == one.kind) or (one.kind, plant.kind) == CLUSTERED


# --- codes, by their standards --------------------------------------------------------------------


def gs1_digit(body: str) -> str:
    """GS1 General Specifications 7.9: weights 3 and 1 from the right, to the next ten. Also 本位码."""
    total = sum(int(digit) * (3 if index % 2 == 0 else 1) for index, digit in enumerate(reversed(body)))
    return str((10 - total % 10) % 10)


def good_gs1(code: str, length: int) -> bool:
    """Whether `code` has `length` digits and the right last one."""
    return re.fullmatch(rf"[0-9]{{{length}}}", code) is not None and gs1_digit(code[:-1]) == code[-1]


def good_national_code(code: str) -> bool:
    """本位码: 86, 9, ten digits and a check digit."""
    return code.startswith("869") and good_gs1(code, 14)


CREDIT_CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
CREDIT_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
IDENTITY_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def good_credit_code(code: str) -> bool:
    """GB 32100-2015: 17 characters weighted with the table of the standard, 31 minus the remainder."""
    if len(code) != 18 or any(one not in CREDIT_CHARACTERS for one in code) or not code[2:8].isdigit():
        return False
    total = sum(CREDIT_CHARACTERS.index(one) * weight for one, weight in zip(code[:17], CREDIT_WEIGHTS, strict=True))
    return CREDIT_CHARACTERS[(31 - total % 31) % 31] == code[17]


def good_identity_number(code: str) -> bool:
    """GB 11643-1999: a birth date and the check character of the standard's table."""
    if not re.fullmatch(r"[0-9]{17}[0-9X]", code):
        return False
    try:
        date(int(code[6:10]), int(code[10:12]), int(code[12:14]))
    except ValueError:
        return False
    total = sum(int(one) * weight for one, weight in zip(code[:17], IDENTITY_WEIGHTS, strict=True))
    return "10X98765432"[total % 11] == code[17]


def _day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _number(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def _among(words: str) -> Callable[[str], bool]:
    return set(words.split()).__contains__


def _all_among(words: str) -> Callable[[str], bool]:
    return lambda text: bool(text) and set(text.split()) <= set(words.split())


def _form(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text) is not None


def _or_empty(good: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda text: text == "" or good(text)


def _location(text: str) -> bool:
    match = re.fullmatch(r"https://id\.gs1\.org/414/([0-9]{13})(/254/\S+)?", text)
    return match is not None and good_gs1(match[1], 13)


_SAID = _form(r"\S(.*\S)?")
_TEMPERATURES = {"storage_min_c": _or_empty(_number), "storage_max_c": _or_empty(_number)}
FORMS: dict[str, dict[str, Callable[[str], bool]]] = {
    "regions": {
        "region": _form("[0-9]{6}"), "name": _SAID, "successor": _or_empty(_form("[0-9]{6}")),
        "since": _or_empty(_day), "until": _or_empty(_day),
    },
    "nodes": {
        "node": _form("[0-9]{9}"), "name": _SAID, "trace_scheme": _among("A B"), "region": _form("[0-9]{6}"),
        "kind": _among(
            "farm slaughterhouse wholesale_market market supermarket canteen "
            "pharmacy drug_wholesaler drug_plant hospital"
        ),
        "locations": lambda text: all(_location(one) for one in text.split()),
    },
    "goods": {
        "goods": _form("pig|(211|012)[0-9]{0,5}"), "name": _SAID, "english": _SAID,
        "kind": _among("live_animal meat vegetable"), "unit": _among("KGM H87"), "tolerance_percent": _number,
        "shelf_life_h": _form("[0-9]+"), **_TEMPERATURES,
    },
    "yields": {"least": _number, "most": _number},
    "products": {
        "product": lambda text: good_gs1(text, 14) or bool(re.fullmatch("8[0-9]{6}", text)), "name": _SAID,
        "kind": _among("food drug vaccine"), "gtin": _or_empty(lambda text: good_gs1(text, 14)),
        "national_code": _or_empty(good_national_code), "units_per_pack": _or_empty(_number), **_TEMPERATURES,
    },
    "parties": {
        "party": _form("[0-9]{13}"), "legal_name": _SAID, "phone": _form("19900[0-9]{6}"),
        "kinds": _all_among(
            "farm slaughterer wholesaler retailer supermarket canteen manufacturer drug_wholesaler pharmacy hospital "
            "market_opener regulator"
        ),
        "credit_code": _or_empty(lambda text: good_credit_code(text) and text[2:6] == "3399"),
        "identity_number": _or_empty(lambda text: good_identity_number(text) and text[:4] == "3399"),
    },
    "licences": {
        "number": _SAID, "valid_from": _day, "valid_to": _or_empty(_day), "scan": _or_empty(_form("[0-9a-f]{64}")),
        "kind": _among(
            "business_licence food_operation food_production slaughter animal_epidemic_prevention drug_production "
            "drug_operation medical_institution"
        ),
    },
}  # fmt: skip
"""What each column may hold, where the specification says it."""

LICENCE_FOR = {
    "slaughterer": "slaughter", "wholesaler": "food_operation", "retailer": "food_operation",
    "supermarket": "food_operation", "canteen": "food_operation", "manufacturer": "drug_production",
    "drug_wholesaler": "drug_operation", "pharmacy": "drug_operation", "hospital": "medical_institution",
}  # fmt: skip
"""The licence that a kind of party trades under."""


class Product(NamedTuple):
    """What the checker needs to know of a GTIN or a drug code's first 7 digits."""

    code: str
    kind: str
    goods: str
    storage_max_c: Decimal | None


class Registers:
    """The seven CSV files, checked, and looked up by their codes."""

    def __init__(self, folder: Path, fault: Callable[..., None]) -> None:
        self._fault = fault
        rows = {name: list(self._read(folder, name)) for name in COLUMNS}
        self.regions = {row["region"]: row["successor"] for row in rows["regions"]}
        self.nodes = {row["node"]: row for row in rows["nodes"]}
        self.goods = {row["goods"]: row for row in rows["goods"]}
        self.yields = {(row["source"], row["goods"]): (_decimal(row["least"]), _decimal(row["most"]))
                       for row in rows["yields"]}  # fmt: skip
        self.parties = {row["party"]: row for row in rows["parties"]}
        self.products: dict[str, Product] = {}
        for row in rows["products"]:
            warmest = _decimal(row["storage_max_c"]) if row["storage_max_c"] else None
            product = Product(row["product"], row["kind"], row["goods"], warmest)
            self.products |= {code: product for code in (row["product"], row["gtin"]) if code}
        self.licences: dict[str, list[dict[str, str]]] = defaultdict(list)
        for row in rows["licences"]:
            self.licences[row["party"]].append(row)
        self._references(rows)
        self._unique(rows)
        for row in rows["parties"]:
            self._party(row)

    def _read(self, folder: Path, name: str) -> Iterator[dict[str, str]]:
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if ",".join(reader.fieldnames or ()) != COLUMNS[name]:
                self._fault("csv_columns", f"{name}.csv has the columns {reader.fieldnames}")
            for number, row in enumerate(reader, 1):
                if None in row or None in row.values():
                    self._fault("csv_columns", f"{name}.csv row {number} has not as many fields as the header")
                    continue
                for column, good in FORMS[name].items():
                    if not good(row.get(column, "")):
                        self._fault("csv_code", f"{name}.csv row {number}: {column} is {row.get(column)!r}")
                yield {**dict.fromkeys(COLUMNS[name].split(","), ""), **row}

    def _references(self, rows: dict[str, list[dict[str, str]]]) -> None:
        def resolves(known: Iterable[str], table: str, column: str, part: slice | None = None) -> None:
            for row in rows[table]:
                for code in [row[column][part]] if part else row[column].split():
                    if code not in known:
                        self._fault("csv_reference", f"{table}.csv: {column} {code!r} is not registered")

        resolves(self.regions, "regions", "successor")
        resolves(self.regions, "nodes", "region")
        resolves(self.regions, "nodes", "node", slice(6))
        resolves(self.goods, "yields", "source")
        resolves(self.goods, "yields", "goods")
        resolves(self.goods, "products", "goods")
        resolves(self.nodes, "parties", "party", slice(9))
        resolves(self.nodes, "parties", "nodes")
        resolves(self.parties, "licences", "party")

    def _unique(self, rows: dict[str, list[dict[str, str]]]) -> None:
        keys = {
            "regions": "region", "nodes": "node", "goods": "goods", "yields": "source goods", "products": "product",
            "parties": "party", "licences": "kind number",
        }  # fmt: skip
        for table, columns in keys.items():
            counts = Counter(tuple(row[column] for column in columns.split()) for row in rows[table])
            for key in (key for key, count in counts.items() if count > 1):
                self._fault("csv_twice", f"{table}.csv has {key} twice")
        for source, goods in (key for key, (least, most) in self.yields.items() if not 0 <= least <= most):
            self._fault("csv_code", f"yields.csv: {source} to {goods} has no range")
        for row in rows["products"]:
            if (row["kind"] == "food") != bool(row["goods"]) or (row["kind"] != "food") != bool(row["national_code"]):
                self._fault("csv_code", f"products.csv: {row['product']} wants goods (food) or 本位码 (drugs)")
        for row in rows["licences"]:
            if row["valid_to"] and row["valid_from"] > row["valid_to"]:
                self._fault("csv_code", f"licences.csv: {row['number']} ends before it begins")

    def _party(self, row: dict[str, str]) -> None:
        if bool(row["credit_code"]) == bool(row["identity_number"]):
            self._fault("csv_code", f"parties.csv: {row['party']} wants a credit code or an identity number")
        if row["party"][:9] not in row["nodes"].split():
            self._fault("csv_reference", f"parties.csv: {row['party']} is not at its own node")
        held = {licence["kind"] for licence in self.licences[row["party"]]}
        for kind in {LICENCE_FOR[kind] for kind in row["kinds"].split() if kind in LICENCE_FOR} - held:
            self._fault("csv_reference", f"parties.csv: {row['party']} has no licence {kind}")

    def region(self, node: str) -> str:
        """The present region of a node's code: successors are followed."""
        region = self.nodes[node]["region"] if node in self.nodes else node[:6]
        return self.regions.get(region) or region

    def product(self, thing: str) -> Product | None:
        """What a lot or a pack is of, from its code."""
        code = (match := re.match(r"https://id\.gs1\.org/01/([0-9]{14})/", thing)) and match[1]
        code = code or ((match := re.match(r"urn:suyuan:drug:([0-9]{7})", thing)) and match[1])
        return self.products.get(code or "")

    def goods_of(self, lot: str) -> str:
        """The goods code of a lot, or nothing."""
        product = self.product(lot)
        return product.goods if product else ""

    def tolerance(self, lot: str) -> Decimal:
        """How much more than it came may be sold of a lot, as a fraction."""
        row = self.goods.get(self.goods_of(lot))
        return _decimal(row["tolerance_percent"]) / 100 if row else Decimal(0)

    def licensed(self, party: str, day: date) -> bool:
        """Whether each licence that the party trades under is valid on `day`."""
        needed = {LICENCE_FOR[kind] for kind in self.parties[party]["kinds"].split() if kind in LICENCE_FOR}
        valid = {
            row["kind"]
            for row in self.licences[party]
            if row["valid_from"] <= day.isoformat() <= (row["valid_to"] or "9999-12-31")
        }
        return needed <= valid


def _decimal(text: str) -> Decimal:
    return Decimal(text) if _number(text) else Decimal(0)


# --- events ---------------------------------------------------------------------------------------


class Amount(NamedTuple):
    """So much of a lot; a count where the event names no unit."""

    thing: str
    quantity: Decimal
    unit: str


class Reading(NamedTuple):
    """One sensor report with the time it covers."""

    kind: str
    unit: str
    value: Decimal | None
    hottest: Decimal | None
    since: datetime
    until: datetime


@dataclass(slots=True)
class Event:
    """The facts of one event that the checks need."""

    id: str
    at: datetime
    node: str
    kind: str
    action: str
    step: str
    disposition: str
    voucher: str = ""
    source: str = ""
    destination: str = ""
    amounts: tuple[Amount, ...] = ()
    epcs: tuple[str, ...] = ()
    outputs: tuple[Amount, ...] = ()
    made: tuple[str, ...] = ()
    parent: str = ""
    price: Decimal | None = None
    documents: tuple[dict[str, Any], ...] = ()
    readings: tuple[Reading, ...] = ()
    device: str = ""
    lot_data: dict[str, Any] = field(default_factory=dict)

    @property
    def day(self) -> date:
        return self.at.date()

    @property
    def what(self) -> tuple[str, str, str, str]:
        return (self.kind, self.action, self.step, self.disposition)

    @property
    def sells(self) -> bool:
        return self.step == "retail_selling"


class Malformed(Exception):
    """An event lacks what every event has, or has it in another form."""


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}\+08:00")
_NODE = re.compile(r"urn:suyuan:node:([0-9]{9})")
_PARTY = re.compile(r"urn:suyuan:party:([0-9]{13})")
_VOUCHER = re.compile(r"urn:suyuan:voucher:([0-9]{20})")
_CERTIFICATE = re.compile(r"urn:suyuan:certificate:(animal|product|inspection|promise):[0-9]+")
_LOT = re.compile(r"https://id\.gs1\.org/01/([0-9]{14})/10/[!-~]{1,20}")
_PACK = re.compile(r"https://id\.gs1\.org/01/([0-9]{14})/21/[!-~]{1,20}")
_CASE = re.compile(r"https://id\.gs1\.org/00/([0-9]{18})")
_DRUG = re.compile(r"urn:suyuan:drug:(8[0-9]{6})[0-9]{13}")
_SLIP = re.compile(r"urn:suyuan:trace:([0-9]{20})")


def _captured(pattern: re.Pattern[str], text: object, what: str) -> str:
    match = pattern.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise Malformed(f"{what} is {text!r}")
    return match[1]


def read_event(raw: dict[str, Any]) -> Event:
    """The facts of `raw`; `Malformed` where it breaks the conventions of form."""
    try:
        identity = raw["eventID"]
        if not identity.startswith("urn:uuid:") or uuid.UUID(identity[9:]).version != 4:
            raise Malformed(f"{identity} is no UUID of version 4")
        event = Event(
            identity, _time(raw["eventTime"]), _captured(_NODE, raw["readPoint"]["id"], "readPoint"), raw["type"],
            raw.get("action", ""), raw["bizStep"], raw["disposition"], _voucher(raw), _owner(raw, "source"),
            _owner(raw, "destination"),
        )  # fmt: skip
        event.amounts = _amounts(raw, "quantityList", "inputQuantityList", "childQuantityList")
        event.epcs = tuple(raw.get("epcList", []) + raw.get("childEPCs", []) + raw.get("inputEPCList", []))
        event.outputs, event.made = _amounts(raw, "outputQuantityList"), tuple(raw.get("outputEPCList", []))
        event.parent, event.lot_data = raw.get("parentID", ""), raw.get("ilmd", {})
        event.price = Decimal(str(raw["suyuan:price"])) if "suyuan:price" in raw else None
        event.documents = tuple(raw.get("suyuan:documents", []))
        event.readings = tuple(_readings(raw, event.at))
        metadata = [one.get("sensorMetadata", {}) for one in raw.get("sensorElementList", [])]
        event.device = metadata[0].get("deviceID", "") if metadata else ""
        if raw["eventTimeZoneOffset"] != "+08:00":
            raise Malformed("its offset is not +08:00")
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise Malformed(f"{raw.get('eventID')}: {type(error).__name__} {error}") from None
    return event


def _time(text: str) -> datetime:
    if not _TIME.fullmatch(text):
        raise Malformed(f"the time {text!r} has not milliseconds and +08:00")
    return datetime.fromisoformat(text)


def _voucher(raw: dict[str, Any]) -> str:
    named = [one["bizTransaction"] for one in raw.get("bizTransactionList", []) if one.get("type") == "desadv"]
    if len(named) > 1:
        raise Malformed("it names two vouchers")
    return _captured(_VOUCHER, named[0], "voucher") if named else ""


def _owner(raw: dict[str, Any], end: str) -> str:
    named = [one[end] for one in raw.get(f"{end}List", []) if one["type"] == "owning_party"]
    if len(named) > 1:
        raise Malformed(f"it names two parties as {end}")
    return _captured(_PARTY, named[0], end) if named else ""


def _amounts(raw: dict[str, Any], *fields: str) -> tuple[Amount, ...]:
    return tuple(
        Amount(one["epcClass"], Decimal(one.get("quantity", 0)), one.get("uom", UNIT_COUNT))
        for name in fields
        for one in raw.get(name, [])
    )


def _readings(raw: dict[str, Any], at: datetime) -> Iterator[Reading]:
    for element in raw.get("sensorElementList", []):
        metadata = element.get("sensorMetadata", {})
        since, until = (_time(metadata[name]) if name in metadata else at for name in ("startTime", "endTime"))
        for report in element["sensorReport"]:
            value = Decimal(report["value"]) if "value" in report else None
            hottest = Decimal(report["maxValue"]) if "maxValue" in report else value
            yield Reading(report["type"], report.get("uom", ""), value, hottest, since, until)


STEPS = {
    ("ObjectEvent", "ADD", "commissioning", "active"),
    ("ObjectEvent", "OBSERVE", "shipping", "in_transit"),
    ("ObjectEvent", "OBSERVE", "receiving", "in_progress"),
    ("ObjectEvent", "ADD", "receiving", "in_progress"),
    ("ObjectEvent", "OBSERVE", "receiving", "returned"),
    ("ObjectEvent", "OBSERVE", "inspecting", "conformant"),
    ("ObjectEvent", "OBSERVE", "inspecting", "non_conformant"),
    ("TransformationEvent", "", "killing", "active"),
    ("TransformationEvent", "", "commissioning", "active"),
    ("TransformationEvent", "", "retail_selling", "retail_sold"),
    ("ObjectEvent", "DELETE", "destroying", "destroyed"),
    ("ObjectEvent", "DELETE", "removing", "inactive"),
    ("ObjectEvent", "OBSERVE", "holding", "recalled"),
    ("ObjectEvent", "OBSERVE", "sensor_reporting", "in_progress"),
    ("ObjectEvent", "OBSERVE", "dispensing", "dispensed"),
}
"""What the specification's table allows. Packing and unpacking may have any disposition."""


# --- balances of lots -----------------------------------------------------------------------------


class Stock:
    """How much of each lot is at each node, as the events come; and what each stall received and sold of it."""

    def __init__(self, registers: Registers, findings: Findings, fault: Callable[..., None]) -> None:
        self._registers, self._findings, self._fault = registers, findings, fault
        self.balance: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self._came: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
        self._sold: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
        self._excess: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        self.missing: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        self.oversold: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        self.within: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        self._short: set[tuple[str, str]] = set()
        self.units: dict[str, str] = {}

    def see(self, event: Event) -> None:
        """Book `event`: what it takes first, then what it brings."""
        transforms = event.kind == "TransformationEvent"
        if transforms or event.step in ("shipping", "destroying", "removing"):
            for amount in event.amounts:
                self._take(event, amount)
        if transforms and not event.sells:
            self._yields(event)
        if event.step in ("commissioning", "receiving", "killing"):
            for amount in event.outputs if transforms else event.amounts:
                self._bring(event, amount)

    def _bring(self, event: Event, amount: Amount) -> None:
        self._unit(event, amount)
        key = (amount.thing, event.node)
        self.balance[key] += amount.quantity
        self._came[(*key, event.destination)] += amount.quantity

    def _take(self, event: Event, amount: Amount) -> None:
        self._unit(event, amount)
        key = (amount.thing, event.node)
        self.balance[key] -= amount.quantity
        if event.sells:
            self._sell(event, amount, key)
        elif self.balance[key] + self._excess[key] < 0 and key not in self._short:
            self._short.add(key)
            self._fault("balance", f"{amount.thing} at {event.node} is {self.balance[key]}", event)

    def _sell(self, event: Event, amount: Amount, key: tuple[str, str]) -> None:
        party = (*key, event.source)
        came = self._came[party] + (self._came[(*key, "")] if event.source else 0)
        before = max(Decimal(0), self._sold[party] - came)
        self._sold[party] += amount.quantity
        over = max(Decimal(0), self._sold[party] - came)
        self._excess[key] += over - before
        if self.balance[key] + self._excess[key] < 0:  # others took it, or it was lost: nobody's excess
            over, self._excess[key] = over - self.balance[key] - self._excess[key], -self.balance[key]
        if came == 0:
            self.missing[party].append(event.id)
        elif over > came * self._registers.tolerance(amount.thing):
            self.oversold[party].append(event.id)
        elif over > 0:
            self.within[party].append(event.id)

    def _unit(self, event: Event, amount: Amount) -> None:
        if amount.quantity <= 0:
            self._fault("quantity", f"{amount.quantity} of {amount.thing}", event)
        if self.units.setdefault(amount.thing, amount.unit) != amount.unit:
            self._fault("unit", f"{amount.thing} in {self.units[amount.thing]} and {amount.unit}", event)

    def _yields(self, event: Event) -> None:
        taken, made = self._by_goods(event.amounts), self._by_goods(event.outputs)
        if not taken or not made:
            self._fault("yield", "a transformation without inputs or outputs", event)
        for goods, quantity in made.items():
            rows = [(source, self._registers.yields[source, goods]) for source in taken
                    if (source, goods) in self._registers.yields]  # fmt: skip
            least = sum((taken[source] * bounds[0] for source, bounds in rows), Decimal(0))
            most = sum((taken[source] * bounds[1] for source, bounds in rows), Decimal(0))
            if not rows and goods in taken:
                most = taken[goods]
            if not least <= quantity <= most:
                self._fault("yield", f"{quantity} of {goods} from {dict(taken)}: {least} to {most}", event)
        weighed = {unit for lot, _, unit in event.amounts + event.outputs} == {UNIT_KG}
        if weighed and sum(made.values()) > sum(taken.values()):
            self._fault("yield", f"{sum(made.values())} kg from {sum(taken.values())} kg", event)

    def _by_goods(self, amounts: Iterable[Amount]) -> dict[str, Decimal]:
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for amount in amounts:
            sums[self._registers.goods_of(amount.thing)] += amount.quantity
        return sums


# --- packs, cases, pallets ------------------------------------------------------------------------


class Made(NamedTuple):
    """What the commissioning of a pack said."""

    product: str
    batch: str
    expires: date | None


class Packs:
    """Where each pack, case and pallet is, inside what, and whether it was sold."""

    def __init__(self, registers: Registers, findings: Findings, fault: Callable[..., None]) -> None:
        self._registers, self._findings, self._fault = registers, findings, fault
        self.made: dict[str, Made] = {}
        self._place: dict[str, str] = {}
        self._parent: dict[str, str] = {}
        self._children: dict[str, set[str]] = defaultdict(set)
        self._sold: dict[str, Event] = {}
        self._arrived: set[str] = set()
        self.twice: dict[str, list[Event]] = {}

    def see(self, event: Event) -> None:
        """Follow `event`, which names packs, cases or pallets."""
        if event.kind == "AggregationEvent":
            self._pack(event) if event.action == "ADD" else self._unpack(event)
            return
        follow = {
            "commissioning": self._commission, "shipping": self._ship, "receiving": self._receive,
            "dispensing": self._dispense, "destroying": self._destroy, "removing": self._destroy,
        }.get(event.step)  # fmt: skip
        for thing in event.epcs:
            if thing not in self._place and event.step != "commissioning":
                self._fault("pack_unknown", f"{thing} came from nowhere", event)
            elif follow:
                follow(event, thing)
            elif event.step not in ("sensor_reporting", "holding") and self._where(thing) != event.node:
                self._findings.tolerated.append(Found("stray_pack", (event.id,), f"{thing} is {self._where(thing)}"))

    def leaves(self, thing: str) -> Iterator[str]:
        """The packs in `thing`, or `thing` itself."""
        if not self._children.get(thing):
            yield thing
        for child in self._children.get(thing, ()):
            yield from self.leaves(child)

    def _where(self, thing: str) -> str:
        while thing in self._parent:
            thing = self._parent[thing]
        return self._place[thing]

    def _free(self, event: Event, thing: str) -> bool:
        """Whether `thing` stands by itself at the event's node; a fault otherwise."""
        if thing in self._parent:
            self._fault("pack_inside", f"{thing} is inside {self._parent[thing]}", event)
        elif thing in self._sold:
            self._fault("pack_sold", f"{thing} was sold", event)
        elif self._place[thing] != event.node:
            self._fault("pack_elsewhere", f"{thing} is {self._place[thing]}", event)
        else:
            return True
        return False

    def _commission(self, event: Event, thing: str) -> None:
        if thing in self._place:
            self._fault("pack_twice", f"{thing} was made before", event)
        expires = event.lot_data.get("cbvmda:itemExpirationDate")
        product = self._registers.product(thing)
        if product and not (expires and event.lot_data.get("cbvmda:lotNumber")):
            self._fault("pack_data", f"{thing} was made without lot number or expiry", event)
        self.made[thing] = Made(
            product.code if product else "", event.lot_data.get("cbvmda:lotNumber", ""), _expiry(expires)
        )
        self._place[thing] = event.node

    def _pack(self, event: Event) -> None:
        self._place.setdefault(event.parent, event.node)
        self._free(event, event.parent)
        for thing in event.epcs:
            if thing not in self._place:
                self._fault("pack_unknown", f"{thing} came from nowhere", event)
            elif self._free(event, thing):
                self._parent[thing] = event.parent
                self._children[event.parent].add(thing)

    def _unpack(self, event: Event) -> None:
        if event.parent not in self._place:
            self._fault("pack_unknown", f"{event.parent} came from nowhere", event)
            return
        self._free(event, event.parent)
        for thing in event.epcs or tuple(self._children[event.parent]):
            if self._parent.get(thing) != event.parent:
                self._fault("pack_inside", f"{thing} is not in {event.parent}", event)
            else:
                del self._parent[thing]
                self._children[event.parent].discard(thing)
                self._place[thing] = event.node

    def _ship(self, event: Event, thing: str) -> None:
        if event.voucher not in self._arrived and self._free(event, thing):
            self._place[thing] = f"under way, {event.voucher}"

    def _receive(self, event: Event, thing: str) -> None:
        if event.disposition == "returned":
            if self._sold.pop(thing, None) is None:
                self._fault("pack_returned", f"{thing} is returned and was not sold", event)
            self._findings.tolerated.append(Found("returned_pack", (event.id,), thing))
        elif thing in self._parent or thing in self._sold:
            self._free(event, thing)
        elif self._place[thing].startswith("under way") and self._place[thing] != f"under way, {event.voucher}":
            self._fault("pack_elsewhere", f"{thing} is {self._place[thing]}", event)
        self._place[thing] = event.node
        self._arrived.add(event.voucher)

    def _dispense(self, event: Event, thing: str) -> None:
        if thing in self._sold:
            self.twice.setdefault(thing, [self._sold[thing]]).append(event)
        elif self._free(event, thing):
            self._sold[thing] = event

    def _destroy(self, event: Event, thing: str) -> None:
        if self._free(event, thing):
            self._place[thing] = "destroyed"


def _expiry(text: str | None) -> date | None:
    return date.fromisoformat(text[:10]) if text and _day(text[:10]) else None


# --- the stream -----------------------------------------------------------------------------------


class Seen:
    """All that the rules may look at."""

    def __init__(self, registers: Registers, findings: Findings) -> None:
        self.registers, self.findings = registers, findings
        self.stock, self.packs = Stock(registers, findings, self.fault), Packs(registers, findings, self.fault)
        self.events: dict[str, Event] = {}
        self.shipped: dict[str, Event] = {}
        self.received: dict[str, Event] = {}
        self.sales: list[Event] = []
        self.dispensed: list[Event] = []
        self.inspections: dict[str, list[Event]] = defaultdict(list)
        self.destroyed: dict[str, list[Event]] = defaultdict(list)
        self.recalled: dict[str, Event] = {}
        self.reports: dict[tuple[str, str], list[Event]] = defaultdict(list)
        self.hot: dict[tuple[str, ...], list[tuple[Reading, str]]] = defaultdict(list)
        self.slips: dict[str, list[Event]] = defaultdict(list)
        self.certificates: dict[str, list[tuple[Event, dict[str, Any]]]] = defaultdict(list)
        self.origin: dict[str, str] = {}
        self.best_before: dict[str, date] = {}
        self.near: dict[Made, list[Event]] = defaultdict(list)
        self.sightings: dict[str, list[Event]] = defaultdict(list)
        self._latest: datetime | None = None

    def fault(self, kind: str, says: str, event: Event | None = None) -> None:
        """Note what no plant excuses."""
        self.findings.faults.append(Found(kind, (event.id,) if event else (), says))

    def see(self, event: Event) -> None:
        """Check `event` against all before it, and keep its facts."""
        self.findings.events += 1
        self.findings.steps[f"{event.step}/{event.disposition}"] += 1
        if event.id in self.events:
            self._again(event)
            return
        self._order(event)
        self.events[event.id] = event
        self._form(event)
        if event.step in ("shipping", "receiving") and event.kind == "ObjectEvent":
            self._voucher(event)
        self.stock.see(event)
        if event.epcs:
            self._sight(event)
            self.packs.see(event)
        self._index(event)

    def _again(self, event: Event) -> None:
        if event != self.events[event.id]:
            self.fault("event_id_twice", "the same eventID with other content", event)
        elif event.at != self._latest:
            self.fault("time_order", f"{event.at} after {self._latest}", event)
        self.findings.tolerated.append(Found("sent_again", (event.id,)))

    def _order(self, event: Event) -> None:
        if self._latest is None or event.at >= self._latest:
            self._latest = event.at
            return
        receipt = self.received.get(event.voucher)
        if event.step == "shipping" and receipt and event.at < receipt.at and self._latest - receipt.at <= LATE_MAX:
            self.findings.tolerated.append(Found("late_shipping", (event.id, receipt.id)))
        else:
            self.fault("time_order", f"{event.at} after {self._latest}", event)

    def _form(self, event: Event) -> None:
        """The step is one of the table's, places and parties are registered, codes are well-formed."""
        packing = (event.kind, event.action, event.step) in {
            ("AggregationEvent", "ADD", "packing"),
            ("AggregationEvent", "DELETE", "unpacking"),
        }
        sighting = event.kind == "ObjectEvent" and event.action == "OBSERVE" and event.epcs and not event.amounts
        if event.what not in STEPS and not packing and not sighting:
            self.fault("step", " ".join(event.what), event)
        if event.node not in self.registers.nodes:
            self.fault("place", f"node {event.node} is not registered", event)
        own = event.destination if event.step == "receiving" else event.source
        for party in filter(None, (event.source, event.destination)):
            if party not in self.registers.parties:
                self.fault("party", f"party {party} is not registered", event)
            elif party == own and event.node not in self.registers.parties[party]["nodes"].split():
                entry = event.step == "receiving" and party == event.source
                if not entry:
                    self.fault("party", f"party {party} acts at {event.node}, where it is not", event)
        for lot in (amount.thing for amount in event.amounts + (() if event.sells else event.outputs)):
            match = _LOT.fullmatch(lot)
            if not match or not good_gs1(match[1], 14) or self.registers.product(lot) is None:
                self.fault("lot_code", lot, event)
        for thing in filter(None, (*event.epcs, event.parent)):
            self._thing(event, thing)
        if event.sells:
            self._sale(event)

    def _thing(self, event: Event, thing: str) -> None:
        if match := _CASE.fullmatch(thing):
            good = good_gs1(match[1], 18)
        else:
            match = _PACK.fullmatch(thing)
            good = bool(match and good_gs1(match[1], 14)) or _DRUG.fullmatch(thing) is not None
            good = good and self.registers.product(thing) is not None
        if not good:
            self.fault("pack_code", thing, event)

    def _sale(self, event: Event) -> None:
        slips = [*event.made, *(amount.thing for amount in event.outputs)]
        if len(slips) != 1 or not event.source:
            self.fault("sale", f"it has the slips {slips} and the seller {event.source!r}", event)
            return
        if event.outputs and event.outputs[0].quantity != sum(amount.quantity for amount in event.amounts):
            self.fault("slip_weight", f"{event.outputs[0].quantity} is not what was taken", event)
        self.slips[slips[0]].append(event)
        match = _SLIP.fullmatch(slips[0])
        scheme = self.registers.nodes.get(event.node, {}).get("trace_scheme")
        wanted = event.source if scheme == "A" else f"{event.node}{event.at:%y%m%d}"
        if not match or not match[1].startswith(wanted):
            self.fault("trace_code", f"{slips[0]} by scheme {scheme} begins with {wanted}", event)

    def _voucher(self, event: Event) -> None:
        if event.disposition == "returned" or event.action == "ADD":
            return
        if not (event.voucher and event.source and event.destination):
            self.fault("voucher", "shipping and receiving name voucher, source and destination", event)
            return
        here, there = self.shipped, self.received
        if event.step == "receiving":
            here, there = there, here
        if event.voucher in here:
            self.fault("voucher_twice", f"{event.voucher} {event.step} twice", event)
        here[event.voucher] = event
        other = there.get(event.voucher)
        if other and _load(other) != _load(event):
            self.fault("conservation", f"{event.voucher}: {_load(other)} and {_load(event)}", event)

    def _sight(self, event: Event) -> None:
        if self.registers.nodes.get(event.node, {}).get("kind") in ("pharmacy", "hospital"):
            for thing in event.epcs:
                if not _CASE.fullmatch(thing):
                    self.sightings[thing].append(event)

    def _index(self, event: Event) -> None:
        """Keep the facts where the rules look for them."""
        match event.step:
            case "retail_selling":
                self.sales.append(event)
            case "dispensing":
                self.dispensed.append(event)
            case "inspecting":
                self._inspection(event)
            case "destroying":
                for amount in event.amounts:
                    self.destroyed[amount.thing].append(event)
            case "holding" if event.disposition == "recalled":
                for thing in (*event.epcs, *(amount.thing for amount in event.amounts)):
                    self.recalled.setdefault(thing, event)
            case "sensor_reporting":
                self._temperature(event)
            case "receiving":
                self._receipt(event)
        if event.action == "ADD" or event.kind == "TransformationEvent":
            self._birth(event)

    def _inspection(self, event: Event) -> None:
        for amount in event.amounts:
            self.inspections[amount.thing].append(event)
        failed = _inhibition(event) >= INHIBITION_LIMIT
        if _inhibition(event) >= 0 and failed != (event.disposition == "non_conformant"):
            self.fault("inspection", f"{_inhibition(event)} % and {event.disposition}", event)

    def _birth(self, event: Event) -> None:
        day = next((event.lot_data[name] for name in ("cbvmda:sellByDate", "cbvmda:itemExpirationDate",
                    "cbvmda:bestBeforeDate") if name in event.lot_data), None)  # fmt: skip
        for amount in event.outputs if event.kind == "TransformationEvent" else event.amounts:
            self.origin.setdefault(amount.thing, self.registers.region((event.source or event.node)[:9]))
            if expires := _expiry(day):
                self.best_before[amount.thing] = expires

    def _receipt(self, event: Event) -> None:
        for document in event.documents:
            self._document(event, document)
        if event.disposition == "in_progress":
            for leaf in (leaf for thing in event.epcs for leaf in self.packs.leaves(thing)):
                made = self.packs.made.get(leaf)
                near = made and made.expires and (made.expires - event.day).days < NEAR_EXPIRY_DAYS
                if made and near and event.id not in {known.id for known in self.near[made]}:
                    self.near[made].append(event)

    def _document(self, event: Event, document: dict[str, Any]) -> None:
        wanted = {"kind", "number", "issuer", "issued", "expires", "quantity", "unit"}
        if set(document) != wanted or not _CERTIFICATE.fullmatch(str(document.get("number"))):
            self.fault("certificate", f"{document} is no certificate", event)
            return
        known = self.certificates[document["number"]]
        if known and known[0][1] != document:
            self.fault("certificate", f"{document['number']} says different things", event)
        known.append((event, document))
        if document["issued"] > event.day.isoformat() or document["issued"] > document["expires"]:
            self.fault("certificate", f"{document['number']} is not valid yet", event)
        if not any(amount.unit == document["unit"] for amount in event.amounts):
            self.fault("certificate", f"{document['number']} counts {document['unit']}", event)

    def _temperature(self, event: Event) -> None:
        things = (*event.epcs, *(amount.thing for amount in event.amounts))
        if not things and not event.voucher:
            self.reports[event.node, event.device].append(event)
        leaves = (next(self.packs.leaves(thing)) for thing in things)
        products = [found for leaf in leaves if (found := self.registers.product(leaf))]
        limit = max((product.storage_max_c or HOT_C for product in products), default=HOT_C)
        for reading in event.readings:
            if (reading.kind, reading.unit) != ("Temperature", "CEL") or reading.hottest is None:
                self.fault("temperature", f"{reading} is no temperature", event)
            elif reading.hottest > max(limit, HOT_C):
                self.hot[things or (event.voucher or event.node, event.device)].append((reading, event.id))


def _load(event: Event) -> tuple[object, ...]:
    return (sorted(event.amounts), sorted(event.epcs), event.source, event.destination)


def _inhibition(event: Event) -> Decimal:
    """The residue test's inhibition in percent, or -1 where the inspection is no residue test."""
    return max(
        (
            one.value
            for one in event.readings
            if (one.kind, one.unit) == ("Dimensionless", "P1") and one.value is not None
        ),
        default=Decimal(-1),
    )


# --- the reference rules, one for each kind of plant ----------------------------------------------

Rule = Callable[[Seen], Iterator[Found]]
RULES: dict[str, Rule] = {}


def _rule(rule: Rule) -> Rule:
    RULES[rule.__name__] = rule
    return rule


def _one(kind: str, says: str, *events: Event) -> Found:
    return Found(kind, tuple(event.id for event in events), says)


@_rule
def residue_failed(seen: Seen) -> Iterator[Found]:
    """A residue test shows an inhibition of 50 % or more."""
    for event in {event.id: event for events in seen.inspections.values() for event in events}.values():
        if _inhibition(event) >= INHIBITION_LIMIT:
            yield _one("residue_failed", f"{_inhibition(event)} % inhibition", event)


@_rule
def quarantine_failed(seen: Seen) -> Iterator[Found]:
    """Animals or meat failed an inspection that is no residue test, and no second look freed them."""
    for lot, events in seen.inspections.items():
        looks = [event for event in events if _inhibition(event) < 0]
        failed = [event for event in looks if event.disposition == "non_conformant"]
        if not failed:
            continue
        freed = looks[-1].disposition == "conformant" and not seen.destroyed[lot]
        if freed:
            seen.findings.tolerated.append(Found("second_look", tuple(event.id for event in looks)))
        else:
            yield _one("quarantine_failed", lot, *failed)


@_rule
def certificate_expired(seen: Seen) -> Iterator[Found]:
    """Goods were received after the day on which their certificate expires."""
    for number, uses in seen.certificates.items():
        late = [event for event, document in uses if event.day.isoformat() > document["expires"]]
        if late:
            yield _one("certificate_expired", number, *late)


@_rule
def certificate_reused(seen: Seen) -> Iterator[Found]:
    """One certificate number covers receipts at two nodes."""
    for number, uses in seen.certificates.items():
        if len({event.node for event, _ in uses}) > 1:
            yield _one("certificate_reused", number, *(event for event, _ in uses))


@_rule
def certificate_overused(seen: Seen) -> Iterator[Found]:
    """More was received under a certificate than it is for."""
    for number, uses in seen.certificates.items():
        unit, limit = uses[0][1]["unit"], Decimal(str(uses[0][1]["quantity"]))
        total = sum(amount.quantity for event, _ in uses for amount in event.amounts if amount.unit == unit)
        if total > limit:
            yield _one("certificate_overused", f"{number}: {total} of {limit}", *(event for event, _ in uses))


@_rule
def missing_upstream(seen: Seen) -> Iterator[Found]:
    """A stall sells of a lot that never came to it."""
    for party, events in seen.stock.missing.items():
        yield Found("missing_upstream", tuple(events), " ".join(party))


@_rule
def synthetic_link(seen: Seen) -> Iterator[Found]:
    """An entry without party and document: an origin that somebody's software invented."""
    for event in seen.events.values():
        if event.what == ("ObjectEvent", "ADD", "receiving", "in_progress") and not (event.source and event.documents):
            if event.source or event.documents or event.voucher or event.price:
                seen.fault("entry", "an entry names its party and its certificate", event)
            else:
                yield _one("synthetic_link", f"{event.amounts}", event)


@_rule
def received_before_shipped(seen: Seen) -> Iterator[Found]:
    """A voucher's receiving has an earlier time than its shipping."""
    for voucher, receipt in seen.received.items():
        if voucher in seen.shipped and receipt.at < seen.shipped[voucher].at:
            yield _one("received_before_shipped", voucher, receipt, seen.shipped[voucher])


@_rule
def sold_more_than_bought(seen: Seen) -> Iterator[Found]:
    """A stall sells more of a lot than it received, beyond the goods' tolerance."""
    for party, events in seen.stock.oversold.items():
        yield Found("sold_more_than_bought", tuple(events), " ".join(party))
    for party in seen.stock.within.keys() - seen.stock.oversold.keys():
        seen.findings.tolerated.append(Found("within_tolerance", tuple(seen.stock.within[party]), " ".join(party)))


@_rule
def trace_code_twice(seen: Seen) -> Iterator[Found]:
    """Two sales gave the same slip code."""
    for slip, sales in seen.slips.items():
        if len(sales) > 1:
            yield _one("trace_code_twice", slip, *sales)


@_rule
def drug_code_twice(seen: Seen) -> Iterator[Found]:
    """A pack was sold again, and no customer returned it between."""
    for pack, sales in seen.packs.twice.items():
        yield _one("drug_code_twice", pack, *sales)


def _after_recall(seen: Seen, kind: str, events: Iterable[Event]) -> Iterator[Found]:
    late: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        for thing in (*event.epcs, *(amount.thing for amount in event.amounts)):
            if thing in seen.recalled and event.at > seen.recalled[thing].at:
                late[thing].append(event)
    for thing, them in late.items():
        yield _one(kind, thing, *them)


@_rule
def sale_after_recall(seen: Seen) -> Iterator[Found]:
    """A recalled lot is sold."""
    yield from _after_recall(seen, "sale_after_recall", seen.sales + seen.dispensed)


@_rule
def recalled_still_moving(seen: Seen) -> Iterator[Found]:
    """A recalled lot is shipped."""
    yield from _after_recall(seen, "recalled_still_moving", seen.shipped.values())


@_rule
def sale_of_expired(seen: Seen) -> Iterator[Found]:
    """A lot or pack is sold after the last day its maker allows."""
    late: dict[str, list[Event]] = defaultdict(list)
    for event in seen.sales:
        for amount in event.amounts:
            if event.day > seen.best_before.get(amount.thing, date.max):
                late[amount.thing].append(event)
    for event in seen.dispensed:
        for pack in event.epcs:
            made = seen.packs.made.get(pack)
            if made and made.expires and event.day > made.expires:
                late[pack].append(event)
    for thing, them in late.items():
        yield _one("sale_of_expired", thing, *them)


@_rule
def near_expiry(seen: Seen) -> Iterator[Found]:
    """Drugs are received with less than 30 days left."""
    for made, events in seen.near.items():
        yield _one("near_expiry", f"{made.product} {made.batch} {made.expires}", *events)


@_rule
def temperature_excursion(seen: Seen) -> Iterator[Found]:
    """Goods were above 8 C (or what their product bears) for more than 30 minutes without a pause."""
    for things, readings in seen.hot.items():
        spells: list[list[tuple[Reading, str]]] = []
        for one in sorted(readings, key=lambda one: one[0].since):
            if spells and one[0].since <= max(reading.until for reading, _ in spells[-1]) + timedelta(minutes=1):
                spells[-1].append(one)
            else:
                spells.append([one])
        for spell in spells:
            length = max(reading.until for reading, _ in spell) - spell[0][0].since
            if length > HOT_MAX:
                events = tuple(dict.fromkeys(event for _, event in spell))
                yield Found("temperature_excursion", events, f"{things[0]} for {length}")


@_rule
def dwell_time(seen: Seen) -> Iterator[Found]:
    """More than 12 hours lie between a stall's receipt of a lot and its first sale."""
    first: dict[tuple[str, str, str], Event] = {}
    for sale in seen.sales:
        for amount in sale.amounts:
            first.setdefault((amount.thing, sale.node, sale.source), sale)
    for receipt in seen.received.values():
        if seen.registers.nodes.get(receipt.node, {}).get("kind") == "market":
            for amount in receipt.amounts:
                sale = first.pop((amount.thing, receipt.node, receipt.destination), None)
                if sale and sale.at - receipt.at > DWELL_MAX:
                    yield _one("dwell_time", f"{amount.thing} lay {sale.at - receipt.at}", receipt, sale)


@_rule
def node_silent(seen: Seen) -> Iterator[Found]:
    """The reports of a cold store stop for more than 4 hours."""
    for (node, _), reports in seen.reports.items():
        for one, following in pairwise(reports):
            if following.at - one.at > SILENCE_MAX:
                yield _one("node_silent", f"{node} for {following.at - one.at}", one, following)


@_rule
def unlicensed_party(seen: Seen) -> Iterator[Found]:
    """A party sells or ships while a licence that it trades under is not valid."""
    late: dict[str, list[Event]] = defaultdict(list)
    for event in (*seen.sales, *seen.dispensed, *seen.shipped.values()):
        if event.source in seen.registers.parties and not seen.registers.licensed(event.source, event.day):
            late[event.source].append(event)
    for party, them in late.items():
        yield _one("unlicensed_party", party, *them)


class Usual:
    """The median of a product's numbers; of its goods' or its kind's where there are few."""

    def __init__(self, registers: Registers) -> None:
        self._registers = registers
        self._numbers: dict[str, list[Decimal]] = defaultdict(list)
        self._medians: dict[str, Decimal] = {}

    def _names(self, thing: str) -> list[str]:
        product = self._registers.product(thing)
        if product is None:
            return []
        kind = self._registers.goods.get(product.goods, {}).get("kind", product.kind)
        return [product.code, product.goods or product.kind, kind]

    def add(self, thing: str, number: Decimal) -> None:
        """Count `number` among those of the lot `thing`."""
        for name in set(self._names(thing)):
            self._numbers[name].append(number)

    def of(self, thing: str) -> Decimal:
        """What is usual; `USUAL_LEAST` numbers make a usual one."""
        for name in self._names(thing):
            if len(self._numbers[name]) >= USUAL_LEAST:
                if name not in self._medians:
                    self._medians[name] = sorted(self._numbers[name])[len(self._numbers[name]) // 2]
                return self._medians[name]
        return Decimal("Infinity")


@_rule
def price_outlier(seen: Seen) -> Iterator[Found]:
    """A price is more than 4 times what is usual for the product; both ends of a trade are one finding."""
    usual = Usual(seen.registers)
    priced = [event for event in seen.events.values() if event.price and event.amounts]
    for event in priced:
        usual.add(event.amounts[0].thing, event.price or Decimal(0))
    medians = {thing: usual.of(thing) for thing in {event.amounts[0].thing for event in priced}}
    trades: dict[str, list[Event]] = defaultdict(list)
    for event in priced:
        if (event.price or 0) > PRICE_TIMES * medians[event.amounts[0].thing]:
            trades[event.voucher or event.id].append(event)
    for events in trades.values():
        yield _one("price_outlier", f"{events[0].price} a unit", *events)


@_rule
def weight_outlier(seen: Seen) -> Iterator[Found]:
    """One sale weighs more than 10 times what is usual."""
    usual = Usual(seen.registers)
    weighed = [(sale, amount) for sale in seen.sales for amount in sale.amounts if amount.unit == UNIT_KG]
    for _, amount in weighed:
        usual.add(amount.thing, amount.quantity)
    medians = {thing: usual.of(thing) for thing in {amount.thing for _, amount in weighed}}
    for sale, amount in weighed:
        if amount.quantity > WEIGHT_TIMES * medians[amount.thing]:
            yield _one("weight_outlier", f"{amount.quantity} kg, usually {medians[amount.thing]}", sale)


@_rule
def failure_cluster(seen: Seen) -> Iterator[Found]:
    """Three lots of one goods from one region fail the residue test within a day."""
    failures: dict[tuple[str, str], dict[str, Event]] = defaultdict(dict)
    for lot, events in seen.inspections.items():
        failed = [event for event in events if _inhibition(event) >= INHIBITION_LIMIT]
        if failed:
            failures[seen.origin.get(lot, ""), seen.registers.goods_of(lot)][lot] = failed[0]
    for (region, goods), lots in failures.items():
        events = sorted(lots.values(), key=lambda event: event.at)
        times, index = [event.at for event in events], 0
        while index < len(events):
            end = bisect_right(times, times[index] + CLUSTER_WITHIN)
            if end - index >= CLUSTER_LEAST:
                yield _one("failure_cluster", f"{goods} from {region}", *events[index:end])
                index = end
            else:
                index += 1


@_rule
def shipped_not_received(seen: Seen) -> Iterator[Found]:
    """What was shipped is not received, or only after more than 24 hours."""
    for voucher, shipping in seen.shipped.items():
        receipt = seen.received.get(voucher)
        if receipt is None or receipt.at - shipping.at > TRANSIT_MAX:
            yield _one("shipped_not_received", voucher, shipping)


@_rule
def received_not_shipped(seen: Seen) -> Iterator[Found]:
    """What was received was never shipped."""
    for voucher, receipt in seen.received.items():
        if voucher not in seen.shipped:
            yield _one("received_not_shipped", voucher, receipt)


@_rule
def impossible_travel(seen: Seen) -> Iterator[Found]:
    """One pack is seen in pharmacies of two regions within less than an hour."""
    for pack, events in seen.sightings.items():
        for one, following in pairwise(events):
            regions = {seen.registers.region(event.node) for event in (one, following)}
            if len(regions) > 1 and following.at - one.at < TRAVEL_LEAST:
                yield _one("impossible_travel", f"{pack} after {following.at - one.at}", one, following)


# --- reading a city -------------------------------------------------------------------------------


def read_events(folder: Path, fault: Callable[..., None]) -> Iterator[dict[str, Any]]:
    """The raw events of events.jsonl, one document a line; numbers with their digits."""
    with (folder / "events.jsonl").open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            document = json.loads(line, parse_float=Decimal)
            events = document["epcisBody"]["eventList"]
            if document["type"] != "EPCISDocument" or not 1 <= len(events) <= DOCUMENT_EVENTS_MAX:
                fault("document", f"line {number} is no EPCISDocument of 1 to {DOCUMENT_EVENTS_MAX} events")
            yield from events


def read_plants(folder: Path) -> list[Plant]:
    """The lines of anomalies.jsonl, which have exactly the specified fields."""
    with (folder / "anomalies.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [Plant(**{**line, "events": tuple(line["events"])}) for line in lines]


def _check_plant(seen: Seen, plant: Plant) -> None:
    """A plant names what is there: its events, the last one's time, a node of theirs, a subject of theirs."""
    known = [seen.events[event] for event in plant.events if event in seen.events]
    if plant.kind not in KINDS or not plant.events or len(known) < len(plant.events):
        seen.fault("plant", f"{plant} has an unknown kind or event")
    elif datetime.fromisoformat(plant.at) != max(event.at for event in known):
        seen.fault("plant", f"{plant.kind}: {plant.at} is not the time of its last event {max(e.at for e in known)}")
    elif plant.node not in {event.node for event in known} or not plant.says or ":" not in plant.subject:
        seen.fault("plant", f"{plant.kind}: {plant.node} is not where its events are, or it says nothing")
    elif not any(_is_about(seen, event, plant.subject) for event in known) and plant.subject[-9:] != plant.node:
        seen.fault("plant", f"{plant.kind}: no event of it names {plant.subject}")


def _is_about(seen: Seen, event: Event, subject: str) -> bool:
    """Whether `event` names `subject`, or a case or pallet, in which a pack such as it may be."""
    things = {amount.thing for amount in event.amounts + event.outputs} | {*event.epcs, *event.made, event.parent}
    parties = {f"urn:suyuan:party:{party}" for party in (event.source, event.destination, f"{event.node}0000")}
    others = {document["number"] for document in event.documents if "number" in document}
    packed = subject in seen.packs.made and any(_CASE.fullmatch(thing) for thing in event.epcs)
    return packed or subject in things | parties | others | {f"urn:suyuan:voucher:{event.voucher}"}


def check(folder: Path) -> Findings:
    """Everything that is wrong, anomalous or tolerated in the city that `write` put into `folder`."""
    findings = Findings()

    def fault(kind: str, says: str) -> None:
        findings.faults.append(Found(kind, (), says))

    seen = Seen(Registers(folder, fault), findings)
    for raw in read_events(folder, fault):
        try:
            event = read_event(raw)
        except Malformed as error:
            findings.faults.append(Found("event", (str(raw.get("eventID")),), str(error)))
        else:
            seen.see(event)
    for rule in RULES.values():
        findings.found += rule(seen)
    _failed_goods(seen)
    findings.planted = read_plants(folder)
    for plant in findings.planted:
        _check_plant(seen, plant)
    return findings


def _failed_goods(seen: Seen) -> None:
    """What failed a residue test is destroyed to the last kilogram where it failed."""
    for lot, events in seen.inspections.items():
        for event in events:
            if _inhibition(event) >= INHIBITION_LIMIT and seen.stock.balance[lot, event.node] != 0:
                seen.fault("failed_goods", f"{lot} failed and is still at {event.node}", event)
