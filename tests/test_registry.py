"""The registry: filing, changing, steps, and finding again; what was known on a day; who looked, and who may."""

import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from api.ledger import Ledger, now
from ledger import vault as vault_module
from ledger.access import Actor, Role
from ledger.append import Request, append
from ledger.codes import CITY, IMPORT, TraceScheme
from ledger.entries import Kind, decode
from ledger.errors import Conflict, LedgerError, NotAllowed, NotRecorded, UnacceptableRecord, UnreadableCode
from ledger.filing import Line, file_lines
from ledger.finding import CANDIDATES_MAX, search
from ledger.nodes import OPERATOR, add_node
from ledger.publishing import OWN as PUBLISHER
from ledger.registers import (
    CERTIFICATE,
    DIFFERENCE,
    DRUG_MARKET,
    GOODS,
    HANDLING,
    HOLD,
    LICENCE,
    NODE,
    PARTY,
    PRODUCT,
    PUBLISHED_REPORT,
    RECALL,
    RECALL_ANSWER,
    REGION,
    REGISTERS,
    REPORT_SCHEDULE,
    RULE_SET,
    SILENCE,
    SUBSCRIPTION,
    YIELD,
    Register,
    Values,
)
from ledger.registers.form import Find
from ledger.registrar import Registrar
from ledger.registry import (
    PAGE_MAX,
    Purpose,
    Record,
    Wanted,
    change_request,
    known_at,
    listing,
    pages,
    reading_request,
    readings,
    record,
    records,
    region_path,
    register_columns,
    versions,
)
from tests.conftest import check_ledger
from tests.test_log import A, B

PERSON, FIRM = "11010519491231002X", "91350100M000100Y43"
MARKET = Actor("market", Role.MARKET, frozenset([A]), A)
REGULATOR = Actor("regulator", Role.REGULATOR, frozenset(), IMPORT)
TERMINAL = Actor("scale", Role.TERMINAL, frozenset([A]), A)
FIRST = {
    "party": f"{A}0001", "kinds": "retailer", "legal_name": "溯源老李蔬菜摊", "identity_number": PERSON,
    "phone": "19900000001", "contact": "王五", "address": "樟木区虚构路 1 号", "position": "A-12",
}  # fmt: skip
SECOND = {
    "party": f"{B}0001", "kinds": "wholesaler retailer", "legal_name": "虚构李氏食品有限公司", "credit_code": FIRM,
    "nodes": f"{A} {B}", "contact": "李四",
}  # fmt: skip
THIRD = {"party": f"{B}0002", "kinds": "farm", "legal_name": "甲乙丙", "identity_number": PERSON}
LICENCES = [
    {"party": f"{A}0001", "number": "JY13302030000001", "kind": "food_operation", "valid_from": "2026-01-01",
     "valid_to": "2026-12-31", "scope": "散装食品", "issuer": "樟木区局"},
    {"party": f"{B}0001", "number": "JY13302030000002", "kind": "other", "valid_from": "2026-01-01",
     "valid_to": "2027-01-01"},
    {"party": f"{B}0002", "number": "JY13302030000003", "kind": "other", "valid_from": "2026-01-01"},
]  # fmt: skip


LOT = "urn:suyuan:lot:21113011:33021200126112500001"
SUPERVISED: dict[Register, list[dict[str, str]]] = {
    CERTIFICATE: [
        {"certificate": "product:330212000117", "issued": "2026-11-24", "expires": "2026-11-28", "quantity": "500.50",
         "unit": "KGM", "goods": "21113011", "node": f"{A}", "used": "0.0"},
        {"certificate": "origin:1", "issued": "2026-11-25"},
    ],
    HOLD: [{"hold": f"{A}-1", "scope": "lot", "target": LOT, "until": "2026-11-28T08:00:00+08:00"}],
    SILENCE: [{"silence": f"{A}-1", "rule": "a_rule", "until": "2026-11-28T08:00:00.5Z", "cause": "x"}],
    HANDLING: [{"warning": f"{A}-{'0a' * 12}", "assignee": f"{A}0001", "due": "2026-11-28T08:00:00Z"}],
    RULE_SET: [{"rule_set": "meat", "rules": "# nothing\nrules: []"}],
    SUBSCRIPTION: [
        {"subscription": f"{A}-erp", "channel": "webhook", "destination": "https://erp.example/hook",
         "levels": "red blue", "nodes": f"{A}"},
    ],
    RECALL_ANSWER: [
        {"answer": f"{A}-ZH-2026-0001", "acknowledged_at": "2026-11-25T09:00:00+08:00", "found": "1.50", "sold": "0"},
    ],
    REPORT_SCHEDULE: [{"schedule": f"{A}-morning", "report": "daily", "format": "pdf"}],
}  # fmt: skip


def filed(
    ledger: Ledger, register: Register, given: Iterable[Mapping[str, object]], actor: Actor = OPERATOR
) -> None:  # fmt: skip
    lines = [Line(number, one) for number, one in enumerate(given, 2)]
    for done in file_lines(ledger.database, ledger.lanes.record, ledger.registrar(actor), register, lines):
        assert done.refusals == [] and done.new == len(lines), [*map(str, done.refusals)]


def kept(ledger: Ledger, register: Register, *key: str) -> Record:
    with ledger.database.read() as connection:
        return record(connection, ledger.vault, register, key)


def party(ledger: Ledger, code: str = f"{A}0001") -> Record:
    return kept(ledger, PARTY, code)


def licences(ledger: Ledger) -> list[Record]:
    with ledger.database.read() as connection:
        return listing(connection, ledger.vault, LICENCE, Wanted(), None, 10)


def sought(
    ledger: Ledger, asked: Mapping[str, str], register: Register = PARTY, nodes: frozenset[int] | None = None,
    limit: int = 100,
) -> list[tuple[str, ...]]:  # fmt: skip
    with ledger.database.read() as connection:
        return [one.key for one in search(connection, ledger.vault, register, asked, nodes, limit, private=True)]


def listed(ledger: Ledger, register: Register = PARTY, **asked: object) -> list[str]:
    """The keys of all that is listed, in one question and page by page."""
    wanted = Wanted.of(register, asked, date(2026, 11, 25))
    with ledger.database.read() as connection:
        found = listing(connection, ledger.vault, register, wanted, None, PAGE_MAX)
        paged, after = [], None
        while page := listing(connection, ledger.vault, register, wanted, after, 1):
            paged += page
            after = page[-1].key
    assert [one.key for one in paged] == [one.key for one in found]
    return [" ".join(one.key) for one in found]


@pytest.fixture
def market(ledger: Ledger) -> Ledger:
    """Two nodes, three parties, three licences."""
    for code, name in ((A, "批发市场"), (B, "农贸市场")):
        ledger.record(add_node(code, name, TraceScheme.OPERATOR_SERIAL, [], "operator"))
    filed(ledger, PARTY, [FIRST, SECOND, THIRD])
    filed(ledger, LICENCE, LICENCES)
    return ledger


def entries(ledger: Ledger) -> int:
    with ledger.database.connect() as connection:
        return connection.execute("SELECT count(*) FROM entry").fetchone()[0]


def changed(ledger: Ledger, changes: Values, reason: str | None = None, actor: Actor = OPERATOR) -> Record:
    request = ledger.registrar(actor).change(party(ledger), changes, reason)
    assert request is not None
    ledger.record(request)
    return party(ledger)


def stepped(ledger: Ledger, name: str, present: Record, actor: Actor = OPERATOR) -> Record:
    ledger.record(ledger.registrar(actor).step(present, name, "for a test"))
    return kept(ledger, present.register, *present.key)


# --- filing and changing --------------------------------------------------------------------------


def test_what_is_filed_is_there(market: Ledger) -> None:
    found = party(market)
    assert found.version == 1 and found.name == f"party {A}0001" and found.subject == f"party {A}0001"
    assert {name: value for name, value in found.values.items() if value is not None} == {
        **FIRST, "kinds": ["retailer"], "nodes": [A],
    }  # fmt: skip
    assert found.row["status"] == "active" and found.row["status_since"] == market.today().isoformat()
    shown = found.shown()
    assert shown["nodes"] == [str(A)] and shown["legal_name"] == "溯**" and "digest" not in shown
    assert found.shown(private=True)["legal_name"] == FIRST["legal_name"]


def test_no_entry_and_no_column_holds_a_private_value(market: Ledger) -> None:
    """Entries stay for ever: names, numbers, addresses and reasons must never get into one, nor into a back-up."""
    changed(market, {"phone": "19900000002"}, "a reason that names 老李")
    stepped(market, "suspend", party(market))
    values = [
        FIRST["legal_name"],
        PERSON,
        "1990000000",
        "王五",
        "虚构路",
        "A-12",
        "JY1330203",
        "散装",
        "a reason",
        "老李",
    ]
    with market.database.connect() as connection:
        tables = [row[0] for row in connection.execute("SELECT relname FROM pg_class WHERE relkind = 'r'"
                                                       " AND relnamespace = 'public'::regnamespace")]  # fmt: skip
        assert len(tables) > 15
        for table in tables:
            for (row,) in connection.execute(f"SELECT t::text FROM {table} t"):
                for value in values:
                    for form in (value, value.encode().hex(), value.encode("unicode_escape").decode()):
                        assert form not in row, (table, value)


def test_a_change_is_a_version_with_an_entry(market: Ledger) -> None:
    before = entries(market)
    found = changed(market, {"contact": "赵六", "address": None}, "moved")
    assert (found.version, found.values["contact"], found.values["address"], found.reason) == (2, "赵六", None, "moved")
    assert found.values["legal_name"] == FIRST["legal_name"], "what was left out stays"
    assert entries(market) == before + 1
    with market.database.connect() as connection:
        (data,) = connection.execute(
            "SELECT data FROM entry WHERE node = %s AND kind = %s ORDER BY seq DESC LIMIT 1", [CITY, Kind.CHANGE]
        ).fetchone()
    row = decode(data).body["change"]["row"]
    assert row["version"] == 2 and row["digest"] and not {"contact", "address"} & row.keys()


def test_what_is_no_change_is_none(market: Ledger) -> None:
    """An entry for nothing would say that somebody did something."""
    keeper = market.registrar(OPERATOR)
    present = party(market)
    for same in ({}, {"contact": "王五"}, {"nodes": [A]}, {"legal_representative": None}, {"party": f"{A}0001"}):
        assert keeper.change(present, same, "a reason") is None


def test_what_is_refused_in_a_change(market: Ledger) -> None:
    keeper, present, before = market.registrar(OPERATOR), party(market), entries(market)
    market_node = kept(market, NODE, str(A))
    with pytest.raises(Conflict, match="party of a party stays as it was filed"):
        keeper.change(present, {"party": f"{A}0002"})
    with pytest.raises(Conflict, match="number of a licence stays"):
        keeper.change(licences(market)[0], {"number": "JY9"})
    with pytest.raises(Conflict, match="trace_scheme of a node stays"):
        keeper.change(market_node, {"trace_scheme": "B"})
    for name in ("legal_name", "kinds"):
        with pytest.raises(UnacceptableRecord, match=name):
            keeper.change(present, {name: None})
    with pytest.raises(UnacceptableRecord, match="exactly one"):
        keeper.change(present, {"credit_code": FIRM})
    assert keeper.change(present, {"credit_code": FIRM, "identity_number": None}) is not None
    for reason in (" ", "x" * 501, "two\nlines", "half a pair \udcff"):
        with pytest.raises(UnacceptableRecord, match="reason"):
            keeper.change(present, {"contact": "赵六"}, reason)
    for actor in (TERMINAL, Actor("x", Role.PHARMACY, frozenset([A]), A)):
        with pytest.raises(NotAllowed, match="may not keep the register"):
            market.registrar(actor).change(present, {"contact": "赵六"})
    with pytest.raises(NotAllowed, match="none of those"):
        market.registrar(MARKET).change(party(market, f"{B}0001"), {"contact": "赵六"})
    for actor in (MARKET, REGULATOR):
        with pytest.raises(NotAllowed, match="administer"):
            market.registrar(actor).change(market_node, {"name": "x"})
    assert entries(market) == before


@pytest.mark.parametrize(
    ("register", "name"), [(PARTY, "nodes"), (NODE, "locations")], ids=["a party's nodes", "a node's places"]
)
def test_a_list_can_be_emptied(market: Ledger, register: Register, name: str) -> None:
    """Over HTTP null or [] clears a field; the database refusing it would be an error of ours, and no answer."""
    if register is NODE:
        request = market.registrar(OPERATOR).change(kept(market, NODE, str(A)), {name: ["urn:example:a"]})
        assert request is not None
        market.record(request)
    present = party(market) if register is PARTY else kept(market, NODE, str(A))
    keeper = market.registrar(OPERATOR)
    try:
        request = keeper.change(present, keeper.read(register, {name: []}))
    except UnacceptableRecord:
        return
    if request is not None:
        market.record(request)
    assert kept(market, register, *present.key).values[name] in ([], [A])


def test_the_reason_may_be_written_in_chinese(market: Ledger) -> None:
    """Chinese texts have full-width spaces, too."""
    assert changed(market, {"contact": "赵六"}, "举报属实，暂停　待复查").reason == "举报属实，暂停　待复查"


def test_of_rivals_that_change_one_record_one_wins(market: Ledger) -> None:
    """Eight connections, one version: the others are told, and nothing of theirs is anywhere."""
    present, before = party(market), entries(market)
    requests = [market.registrar(OPERATOR).change(present, {"contact": f"第{number}人"}) for number in range(8)]
    outcomes: list[object] = []
    start = threading.Barrier(8)

    def write(request: Request) -> None:
        with market.database.connect() as connection:
            start.wait()
            outcomes.extend(append(connection, [request], now))

    threads = [threading.Thread(target=write, args=[request]) for request in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [outcome for outcome in outcomes if isinstance(outcome, LedgerError)]
    assert len(outcomes) == 8 and len(refused) == 7
    assert all(isinstance(one, Conflict) and "meanwhile" in str(one) for one in refused)
    found = party(market)
    assert found.version == 2 and entries(market) == before + 1
    assert sought(market, {"contact": str(found.values["contact"])}) == [(f"{A}0001",)]
    assert sought(market, {"contact": "人"}) == [(f"{A}0001",)], "of the losers not even the index knows"


def test_of_rivals_that_file_one_record_one_wins(market: Ledger) -> None:
    keeper = market.registrar(OPERATOR)
    rivals = [keeper.file(PARTY, keeper.read(PARTY, {**FIRST, "party": f"{A}0009", "contact": c})) for c in "甲乙丙"]
    outcomes = market.lanes.record(rivals)
    assert [isinstance(outcome, Conflict) for outcome in outcomes].count(False) == 1
    assert all("exists already" in str(outcome) for outcome in outcomes if isinstance(outcome, Conflict))


# --- steps ----------------------------------------------------------------------------------------


def test_the_steps_of_a_party_and_its_refusals(market: Ledger) -> None:
    """Every step from every status: those of the table are taken, all others refused and nothing written."""
    status, names = {"active"}, [step.name for step in PARTY.steps]
    for path in (
        ["suspend", "resume", "suspend", "revoke", "leave", "return", "leave", "return", "revoke", "reinstate"],
    ):
        for name in path:
            present = party(market)
            status.add(present.row["status"])
            for other in names:
                if present.row["status"] not in PARTY.step(other).before:
                    with pytest.raises(Conflict, match=f"{A}0001 is {present.row['status']}"):
                        market.registrar(OPERATOR).step(present, other, "x")
            found = stepped(market, name, present)
            assert (found.row["status"], found.version) == (PARTY.step(name).after, present.version + 1)
            assert found.values == present.values and found.reason == "for a test"
    assert status == {"active", "suspended", "revoked", "left"}


def test_the_steps_of_what_supervision_keeps_and_their_refusals(market: Ledger) -> None:
    """From every status every step: a warning that is closed without being looked at, or a forged paper made good."""
    paths = {
        CERTIFICATE: ["void", "forge"], HOLD: ["release"], SILENCE: ["end"], RULE_SET: ["retire", "revive"],
        HANDLING: ["assign", "assign", "start", "submit", "reject", "submit", "verify", "reject", "submit", "verify",
                   "close", "reopen", "close"],
        SUBSCRIPTION: ["pause", "resume", "pause", "end"], REPORT_SCHEDULE: ["end", "revive"],
    }  # fmt: skip
    for register, path in paths.items():
        filed(market, register, SUPERVISED[register])
        key = str(next(iter(SUPERVISED[register][0].values())))
        status = set()
        for name in [*path, ""]:
            present = kept(market, register, key)
            status.add(present.row["status"])
            for other in register.steps:
                if present.row["status"] not in other.before:
                    with pytest.raises(Conflict, match=f"is {present.row['status']}"):
                        market.registrar(OPERATOR).step(present, other.name, "x")
            if name:
                found = stepped(market, name, present)
                assert (found.row["status"], found.version) == (register.step(name).after, present.version + 1)
                assert found.values == present.values, "a step changes no field, and keeps what is private"
        assert register.statuses is not None and status == set(register.statuses)


def test_a_step_has_a_reason_and_a_day(market: Ledger) -> None:
    present, keeper = party(market), market.registrar(OPERATOR)
    for reason in ("", "  ", "x" * 501, "a\nb", "a\0b"):
        with pytest.raises(UnacceptableRecord, match="reason"):
            keeper.step(present, "suspend", reason)
    later = Registrar(market.vault, market.secret, OPERATOR, date(2027, 2, 3))
    market.record(later.step(present, "suspend", "x" * 500))
    assert party(market).row["status_since"] == "2027-02-03"
    with pytest.raises(UnreadableCode, match="is not a step"):
        keeper.step(party(market), "erase", "x")


def test_who_may_take_a_step(market: Ledger) -> None:
    present, licence = party(market), licences(market)[0]
    for one in (present, licence):
        with pytest.raises(NotAllowed, match="of the role market may not revoke"):
            market.registrar(MARKET).step(one, "revoke", "x")
        with pytest.raises(NotAllowed):
            market.registrar(TERMINAL).step(one, "suspend", "x")
    with pytest.raises(NotAllowed, match="none of those"):
        market.registrar(MARKET).step(party(market, f"{B}0001"), "suspend", "x")
    with pytest.raises(NotAllowed):
        market.registrar(REGULATOR).step(kept(market, NODE, str(A)), "close", "x")
    stepped(market, "suspend", present, MARKET)
    assert stepped(market, "revoke", party(market), REGULATOR).row["status"] == "revoked"


def test_the_steps_of_licences_and_nodes(market: Ledger) -> None:
    licence = stepped(market, "revoke", stepped(market, "suspend", licences(market)[0]))
    assert licence.row["status"] == "revoked" and licence.values["number"] == "JY13302030000001"
    for name in ("suspend", "resume", "revoke"):
        with pytest.raises(Conflict, match="revoked"):
            market.registrar(OPERATOR).step(licence, name, "x")
    node = stepped(market, "close", kept(market, NODE, str(A)))
    assert node.row["open"] is False and node.row["name"] == "批发市场"
    with pytest.raises(Conflict, match="is closed"):
        market.registrar(OPERATOR).step(node, "close", "x")
    assert stepped(market, "reopen", node).row["open"] is True
    with pytest.raises(UnreadableCode):
        market.registrar(OPERATOR).step(node, "suspend", "x")


def test_a_step_on_a_version_that_is_gone_is_refused(market: Ledger) -> None:
    present = party(market)
    stepped(market, "suspend", present)
    with pytest.raises(Conflict, match="meanwhile"):
        market.record(market.registrar(OPERATOR).step(present, "revoke", "x"))


# --- versions, and what was known on a day --------------------------------------------------------


def test_all_versions_are_kept_with_who_and_why(market: Ledger) -> None:
    changed(market, {"contact": "赵六"}, "moved", MARKET)
    stepped(market, "suspend", party(market), REGULATOR)
    with market.database.read() as connection:
        found = versions(connection, market.vault, PARTY, (f"{A}0001",))
        for missing in ((PARTY, f"{A}0009"), (NODE, "330203999"), (LICENCE, f"{A}0001", "0" * 16)):
            with pytest.raises(NotRecorded):
                versions(connection, market.vault, missing[0], missing[1:])
    assert [one.record.version for one in found] == [1, 2, 3]
    assert [one.actor for one in found] == ["operator", "market", "regulator"]
    assert [one.record.reason for one in found] == [None, "moved", "for a test"]
    assert [one.record.values["contact"] for one in found] == ["王五", "赵六", "赵六"]
    assert [one.record.row["status"] for one in found] == ["active", "active", "suspended"]
    assert found[0].at <= found[1].at <= found[2].at and found[-1].record == party(market)


def test_the_last_version_is_what_stands(market: Ledger) -> None:
    """The entry and the row say the same, dates and numbers too; otherwise a change would turn up that nobody made."""
    filed(market, GOODS, [{"goods": code, "name": "x", "kind": "meat", "unit": "KGM", "storage_min_c": "-18.50",
                           "shelf_life_h": "72"} for code in ("pig", "21113011")])  # fmt: skip
    filed(market, YIELD, [{"source": "pig", "goods": "21113011", "least": "70.10", "most": "100"}])
    filed(market, PRODUCT, [{"product": "8123456", "name": "x", "kind": "drug", "units_per_pack": "24"}])
    filed(market, REGION, [{"region": "330203", "name": "x", "since": "2016-01-01"}])
    recall = {"product": "8123456", "grade": "1", "origin": "ordered", "nature": "real", "range": "city",
              "regime": "cn_drug", "decided_at": "2026-11-25T08:00:00+08:00"}  # fmt: skip
    filed(market, RECALL, [
        {**recall, "recall": "ZH-2026-0001", "batches": "B1 B2", "notified_at": "2026-11-25T09:00:00.5+08:00"},
        {**recall, "recall": "ZH-2026-0002", "party": f"{A}0001"},
        {**recall, "recall": "ZH-2026-0003", "product": "", "lots": f"{LOT} urn:example:lot:2"},
    ])  # fmt: skip
    stepped(market, "end", kept(market, RECALL, "ZH-2026-0002"))
    till = Actor("till", Role.PHARMACY, frozenset([A]), A)
    filed(market, DIFFERENCE, [
        {"number": f"{A}-0d3c5a52-1", "kind": "overage", "shipment": "urn:x:1", "product": "8123456", "quantity": "1",
         "codes": "urn:x:2 urn:x:3", "request": "return"},
    ], till)  # fmt: skip
    stepped(market, "resolve", kept(market, DIFFERENCE, f"{A}-0d3c5a52-1"), till)
    filed(market, DRUG_MARKET, [{"market": "drugs", "rules": "eu", "soft": "0"}])
    for register, records_ in SUPERVISED.items():
        filed(market, register, records_)
        for step in register.steps[:1]:
            stepped(market, step.name, kept(market, register, str(next(iter(records_[-1].values())))))
    filed(market, PUBLISHED_REPORT, [
        {"published": f"{A}-morning-2026-11-25", "report": "daily", "period": "2026-11-25", "format": "pdf",
         "language": "zh", "as_of": "2026-11-26T00:05:12.5+08:00", "size": "5000000000", "hash": "0a" * 32,
         "sha256": "0b" * 32, "bytes": "48211"},
    ], PUBLISHER)  # fmt: skip
    with market.database.read() as connection:
        for register in REGISTERS:
            found = listing(connection, market.vault, register, Wanted(), None, 10)
            assert found, register.name
            for one in found:
                last = versions(connection, market.vault, register, one.key)[-1].record
                assert last.values == one.values and last.row == one.row


def test_a_recall_filed_before_food_was_recalled_reads_and_changes_as_any_other(market: Ledger) -> None:
    """Its entry has no lots: the audit must not find it changed, nor the next change one that nobody made."""
    filed(market, PRODUCT, [{"product": "8123456", "name": "x", "kind": "drug", "units_per_pack": "24"}])
    empty = dict.fromkeys(("party", "notified_at", "planned_at", "progress_at", "digest"))
    row = {
        **empty, "recall": "ZH-2025-0001", "product": "8123456", "batches": ["B1"], "grade": "1", "origin": "ordered",
        "nature": "real", "range": "city", "regime": "cn_drug", "decided_at": "2025-11-25T00:00:00Z",
        "status": "active", "status_since": "2025-11-25", "version": 1,
    }  # fmt: skip
    assert {*row, "lots"} == register_columns(RECALL)
    market.record(change_request("recall", row, "operator"))
    with market.database.read() as connection:
        (first,) = versions(connection, market.vault, RECALL, ("ZH-2025-0001",))
    found = kept(market, RECALL, "ZH-2025-0001")
    assert first.record.row == found.row == {**row, "lots": None} and first.record.values == found.values
    check_ledger(market)
    assert market.registrar(OPERATOR).change(found, {"lots": None}, "x") is None
    changed_ = market.registrar(OPERATOR).change(found, {"notified_at": "2025-11-26T00:00:00Z"}, "told")
    assert changed_ is not None
    market.record(changed_)
    for also in ({"lots": [LOT]}, {"lots": [LOT], "product": None}):
        with pytest.raises((Conflict, UnacceptableRecord)):
            market.registrar(OPERATOR).change(found, also, "x")
    assert stepped(market, "end", kept(market, RECALL, "ZH-2025-0001")).version == 3


SHANGHAI = ZoneInfo("Asia/Shanghai")


def test_what_was_known_at_the_end_of_a_day_of_the_city(market: Ledger) -> None:
    """The day ends at 16:00 UTC; a microsecond before is still that day, the moment itself the next."""
    end = datetime(2030, 6, 1, 16, tzinfo=UTC)
    assert market.end_of(date(2030, 6, 1)) == end
    for at, contact in ((end - timedelta(microseconds=1), "甲"), (end, "乙"), (end + timedelta(days=1), "丙")):
        request = market.registrar(OPERATOR).change(party(market), {"contact": contact})
        assert request is not None
        with market.database.connect() as connection:
            (outcome,) = append(connection, [request], lambda at=at: at)  # type: ignore[misc]
            assert isinstance(outcome, list)

    def known(day: date) -> object:
        with market.database.read() as connection:
            return known_at(connection, market.vault, PARTY, (f"{A}0001",), market.end_of(day)).record.values["contact"]

    assert [known(date(2030, 6, day)) for day in (1, 2, 3, 4)] == ["甲", "乙", "丙", "丙"]
    assert known(date(2030, 5, 31)) == "王五"
    with pytest.raises(NotRecorded, match="was registered then"):
        known(now().astimezone(SHANGHAI).date() - timedelta(days=2))


# --- searching ------------------------------------------------------------------------------------

PARTS = {
    "legal_name": ["溯源老李蔬菜摊", "老李", "李", "摊", " 老 李 "], "contact": ["王五", "王"],
    "address": ["虚构路1号", "樟木", "1", "路 1"], "identity_number": [PERSON, PERSON.lower()],
    "phone": ["19900000001", "199 0000 0001"], "position": ["A-12", "a-12"], "party": [f"{A}0001"],
}  # fmt: skip
NO_PARTS = {
    "legal_name": ["李老", "老李老李", "王五", "虚"], "identity_number": [PERSON[:-1], PERSON[1:], "1"],
    "phone": ["1990000000", "9"], "position": ["A-1", "12"], "party": [f"{A}000", str(A)], "contact": ["李"],
    "credit_code": [FIRM], "legal_representative": ["李"],
}  # fmt: skip


def test_a_party_is_found_by_every_field(market: Ledger) -> None:
    first = (f"{A}0001",)
    for name, texts in PARTS.items():
        for text in texts:
            assert first in sought(market, {name: text}), (name, text)
            assert first in sought(market, {"any": text}), text
    for name, texts in NO_PARTS.items():
        for text in texts:
            assert first not in sought(market, {name: text}), (name, text)
    assert sought(market, {"any": "獬豸"}) == [] and sought(market, {"any": "😀"}) == []


def test_what_is_asked_together_holds_together(market: Ledger) -> None:
    assert sought(market, {"legal_name": "李"}) == [(f"{A}0001",), (f"{B}0001",)]
    assert sought(market, {"legal_name": "李", "contact": "李"}) == [(f"{B}0001",)]
    assert sought(market, {"legal_name": "李", "contact": "甲"}) == []
    assert sought(market, {"any": "李", "credit_code": FIRM.lower()}) == [(f"{B}0001",)]
    assert sought(market, {"identity_number": PERSON}, limit=1) == [(f"{A}0001",)]
    assert len(sought(market, {"any": PERSON})) == 2


def test_what_cannot_be_asked_is_named(market: Ledger) -> None:
    for name in ("kinds", "nodes", "status", "", "legal"):
        with pytest.raises(NotRecorded, match="can be searched by"):
            sought(market, {name: "x"})
    with pytest.raises(NotRecorded, match="can be searched by"):
        sought(market, {"scan": "0" * 64}, LICENCE)
    for asked in ({}, {"any": ""}, {"any": "  "}, {"any": "x" * 201}, {"any": "李", "contact": ""}):
        with pytest.raises(UnacceptableRecord, match="1 to 200 characters"):
            sought(market, asked)


def test_what_is_found_by_chance_is_left_out(monkeypatch: pytest.MonkeyPatch, market: Ledger) -> None:
    """A token has 32 bits: with one value of them instead everything seems to hold everything."""
    monkeypatch.setattr(vault_module, "_token", lambda _key, _fragment: 0)
    filed(
        market,
        PARTY,
        [{**THIRD, "party": f"{A}00{number:02}", "legal_name": f"甲{number}"} for number in range(20, 40)],
    )
    with market.database.read() as connection:
        tokens = connection.exec_driver_sql("SELECT count(*) FROM registry_search WHERE tokens = '{0}'").scalar()
    assert tokens >= 20
    assert sought(market, {"legal_name": "甲2"}) == [(f"{A}00{number}",) for number in range(20, 30)]
    assert sought(market, {"legal_name": "甲21"}) == [(f"{A}0021",)] and sought(market, {"any": "獬豸"}) == []
    monkeypatch.undo()
    for number in range(20, 40):  # so that the audit finds the index as it must be
        keeper, present = market.registrar(OPERATOR), party(market, f"{A}00{number}")
        market.record(keeper.step(present, "suspend", "x"))


def test_a_search_finds_what_changed_and_not_what_was(market: Ledger) -> None:
    changed(market, {"contact": "赵六", "phone": None})
    assert sought(market, {"contact": "王"}) == [] == sought(market, {"phone": "19900000001"})
    assert sought(market, {"contact": "赵"}) == [(f"{A}0001",)]


def test_a_licence_is_found(market: Ledger) -> None:
    (first, *_) = licences(market)
    for asked in (
        {"number": "JY13302030000001"}, {"number": "jy13302030000001"}, {"scope": "散"}, {"issuer": "樟木区"},
        {"any": "食品"}, {"party": f"{A}0001"},
    ):  # fmt: skip
        assert sought(market, asked, LICENCE) == [first.key], asked
    assert sought(market, {"number": "JY1330203000000"}, LICENCE) == []
    assert sought(market, {"any": "老李"}, LICENCE) == [], "the name is the party's"


def test_open_registers_are_found_by_every_field(market: Ledger) -> None:
    filed(market, REGION, [{"region": "330203", "name": "樟木区"}])
    filed(
        market,
        GOODS,
        [
            {"goods": "pig", "name": "生猪", "english": "Live Pig", "kind": "live_animal", "unit": "H87"},
            {"goods": "21113011", "name": "猪 肉", "english": "Pork", "kind": "meat", "unit": "KGM"},
        ],
    )
    filed(market, YIELD, [{"source": "pig", "goods": "21113011", "least": "1", "most": "2"}])
    product = {field.name: field.example for field in PRODUCT.fields} | {"goods": None, "holder": f"{A}0001"}
    filed(market, PRODUCT, [product])
    found = {
        (REGION, "name", "樟"): ("330203",), (REGION, "region", "330203"): ("330203",),
        (NODE, "name", "农贸"): (str(B),), (NODE, "node", str(B)): (str(B),),
        (GOODS, "goods", "PIG"): ("pig",), (GOODS, "name", "生"): ("pig",),
        (GOODS, "english", "live p"): ("pig",), (GOODS, "any", "pork"): ("21113011",),
        (YIELD, "source", "pig"): ("pig", "21113011"), (YIELD, "any", "21113011"): ("pig", "21113011"),
        **{(PRODUCT, field.name, str(product[field.name])): ("8123456",) for field in PRODUCT.fields
           if field.find is not Find.NOT},
    }  # fmt: skip
    for (register, name, text), key in found.items():
        assert sought(market, {name: text}, register) == [key], (register.name, name, text)
    for register, name, text in (
        (GOODS, "goods", "2111301"), (GOODS, "name", "牛"), (NODE, "node", "33021200"),
        (PRODUCT, "gtin", "690123450030"),
        (GOODS, "any", "%"), (GOODS, "english", "L_ve"), (REGION, "region", "0"),
    ):  # fmt: skip
        assert sought(market, {name: text}, register) == [], (register.name, name, text)


def test_all_registers_are_searched_alike(market: Ledger) -> None:
    """Without case and spaces, whether a register has personal data or not."""
    text = "PURÉE, crème fraîche 猪 肉"
    filed(market, GOODS, [{"goods": "pig", "name": text, "kind": "meat", "unit": "KGM"}])
    changed(market, {"legal_name": text})
    every = ["purée", "PURÉE", "crème fraîche", "CRÈME", "crème  fraîche", "pur ée", "猪肉", "猪 肉"]
    assert [asked for asked in every if sought(market, {"legal_name": asked}) != [(f"{A}0001",)]] == []
    assert [asked for asked in every if sought(market, {"name": asked}, GOODS) != [("pig",)]] == []


# --- listing --------------------------------------------------------------------------------------


def test_listing_by_what_is_open(market: Ledger) -> None:
    stepped(market, "suspend", party(market))
    first, second, third = f"{A}0001", f"{B}0001", f"{B}0002"
    assert listed(market) == [first, second, third]
    for asked, found in (
        ({"node": str(A)}, [first, second]), ({"node": str(B)}, [second, third]), ({"node": "330203999"}, []),
        ({"kind": "retailer"}, [first, second]), ({"kind": "种养殖户"}, [third]), ({"kinds": "hospital"}, []),
        ({"status": "suspended"}, [first]), ({"status": "active"}, [second, third]), ({"party": second}, [second]),
        ({"node": str(A), "status": "active", "kind": "wholesaler"}, [second]),
    ):  # fmt: skip
        assert listed(market, **asked) == found, asked
    for asked in ({"legal_name": "李"}, {"phone": "1"}, {"expiring": 30}, {"open": "x"}, {"version": 1}):
        with pytest.raises(NotRecorded, match="cannot be listed by"):
            listed(market, **asked)
    for asked in ({"node": "33020300"}, {"kind": "x"}, {"region": "33020"}):
        with pytest.raises((UnreadableCode, UnacceptableRecord)):
            listed(market, **asked)


def test_listing_licences_that_end(market: Ledger) -> None:
    """On 2026-11-25: the last day of 36 more is 2026-12-31."""
    first, second, third = (" ".join(one.key) for one in licences(market))
    assert [listed(market, LICENCE, expiring=days) for days in (35, 36, 37)] == [[], [first], [first, second]]
    assert listed(market, LICENCE, party=f"{B}0002") == [third]
    assert listed(market, LICENCE, node=str(B)) == [second, third]
    assert listed(market, LICENCE, expiring=400, node=str(A)) == [first]
    assert listed(market, LICENCE, kind="other", status="active") == [second, third]


def test_listing_nodes(market: Ledger) -> None:
    stepped(market, "close", kept(market, NODE, str(A)))
    assert listed(market, NODE, status="closed") == [str(A)]
    assert listed(market, NODE, status="open") == [str(CITY), str(IMPORT), str(B)]
    assert listed(market, NODE, node=str(B)) == [str(B)] and listed(market, NODE, trace_scheme="A") == [str(A), str(B)]


def test_a_status_that_there_is_not_is_refused(market: Ledger) -> None:
    """`--status opened` must not list the nodes that are closed, nor a slip of the pen nobody."""
    for register, status in ((NODE, "opened"), (PARTY, "gone"), (LICENCE, "")):
        with pytest.raises(LedgerError):
            listed(market, register, status=status)


def test_listing_by_region_with_its_predecessors_and_nodes_that_moved(market: Ledger) -> None:
    """330212 became 330204, which became 330213; B moved to 330299 before; 330205 became 330213, too."""
    filed(market, REGION, [
        {"region": "330212", "name": "a", "successor": "330204", "until": "2010-01-01"},
        {"region": "330204", "name": "b", "successor": "330213", "until": "2020-01-01"},
        {"region": "330205", "name": "c", "successor": "330213", "until": "2020-01-01"},
        {"region": "330213", "name": "d"},
    ])  # fmt: skip
    node = {"name": "x", "trace_scheme": "A"}
    filed(market, NODE, [{**node, "node": "330205001"}, {**node, "node": "330213001"}, {**node, "node": "110101001"}])
    filed(market, PARTY, [{**THIRD, "party": "1101010010001"}])
    moved = market.registrar(OPERATOR).change(kept(market, NODE, str(B)), {"region": 330299})
    assert moved is not None
    market.record(moved)
    nodes = {
        "330213": [str(A), "330205001", "330213001"], "330204": [str(A)], "330212": [str(A)], "330299": [str(B)],
        "110101": ["110101001"], "330298": [],
    }  # fmt: skip
    for region, found in nodes.items():
        assert listed(market, NODE, region=region) == sorted(found), region
        parties = [code for code in listed(market) if code[:9] in found]
        assert listed(market, PARTY, region=region) == parties, region
        assert listed(market, LICENCE, region=region) == [
            " ".join(one.key) for one in licences(market) if one.key[0] in parties
        ]
    assert listed(market, PARTY, region="330299") == [f"{B}0001", f"{B}0002"]
    with market.database.read() as connection:
        path = [one.key for one in region_path(connection, market.vault, 330212)]
        assert path == [("330212",), ("330204",), ("330213",)]
        assert [one.key for one in region_path(connection, market.vault, 330213)] == [("330213",)]
        with pytest.raises(NotRecorded):
            region_path(connection, market.vault, 330299)


def test_regions_that_succeed_each_other_come_to_an_end(market: Ledger) -> None:
    """Somebody files a circle by mistake: neither path nor list may go round for ever."""
    filed(market, REGION, [
        {"region": "330212", "name": "a", "successor": "330204", "until": "2010-01-01"},
        {"region": "330204", "name": "b", "successor": "330212", "until": "2020-01-01"},
        {"region": "330205", "name": "c", "successor": "330298", "until": "2020-01-01"},
    ])  # fmt: skip
    assert listed(market, NODE, region="330204") == [str(A), str(B)]
    with market.database.read() as connection:
        assert len(region_path(connection, market.vault, 330212)) == 2
        assert [one.key for one in region_path(connection, market.vault, 330205)] == [("330205",)]


def test_pages_hold_everything_once(market: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.registry.PAGE_MAX", 2)
    for register in (PARTY, LICENCE, NODE):
        found = [one.key for page in pages(market.database, market.vault, register, Wanted()) for one in page]
        assert len(found) == len(set(found)) == {PARTY: 3, LICENCE: 3, NODE: 4}[register]
        with market.database.read() as connection:
            known = records(connection, market.vault, register, found)
        assert sorted(known, key=lambda key: (len(key[0]), key)) == found
    assert [len(page) for page in pages(market.database, market.vault, PARTY, Wanted())] == [2, 1]


def test_what_is_not_registered_is_named(market: Ledger) -> None:
    for register, *key in ((PARTY, f"{A}0009"), (NODE, "330203999"), (NODE, "x"), (GOODS, "pig"), (PARTY, "' OR 1=1")):
        with pytest.raises(NotRecorded, match="is registered"):
            kept(market, register, *key)
    with pytest.raises(NotRecorded) as refusal:
        kept(market, LICENCE, f"{A}0001", "0" * 16)
    assert f"no licence {A}0001 is registered" in str(refusal.value)
    with market.database.read() as connection:
        assert records(connection, market.vault, PARTY, []) == {}
        found = records(connection, market.vault, PARTY, [(f"{A}0001",), (f"{A}0009",)])
    assert [*found] == [(f"{A}0001",)] and CANDIDATES_MAX >= PAGE_MAX


# --- who may see what, and who looked -------------------------------------------------------------


def test_a_market_finds_its_own_parties(market: Ledger) -> None:
    """Its own, and those of others that act there; not the licences of others."""
    mine = MARKET.reach
    assert sought(market, {"identity_number": PERSON}, nodes=mine) == [(f"{A}0001",)]
    assert sought(market, {"legal_name": "李"}, nodes=mine) == [(f"{A}0001",), (f"{B}0001",)]
    assert sought(market, {"any": "甲"}, nodes=mine) == [] and sought(market, {"any": "甲"}) != []
    assert sought(market, {"any": "李"}, nodes=frozenset()) == []
    assert sought(market, {"party": f"{B}0001"}, LICENCE, mine) == []
    with market.database.read() as connection:
        for register, count in ((PARTY, 2), (LICENCE, 1), (NODE, 4)):
            assert len(listing(connection, market.vault, register, Wanted(nodes=mine), None, 10)) == count
        assert listing(connection, market.vault, PARTY, Wanted(nodes=frozenset()), None, 10) == []
    assert OPERATOR.reach is None and REGULATOR.reach is None


SUBSCRIBER = Actor("erp", Role.SUBSCRIBER, frozenset([A]), A)
NODE_BOUND = {
    HOLD: (MARKET, REGULATOR), SILENCE: (MARKET, REGULATOR), HANDLING: (MARKET, REGULATOR),
    SUBSCRIPTION: (MARKET, REGULATOR, SUBSCRIBER), RECALL_ANSWER: (MARKET, REGULATOR, TERMINAL),
    REPORT_SCHEDULE: (MARKET, REGULATOR),
}  # fmt: skip


@pytest.mark.parametrize("register", NODE_BOUND, ids=lambda register: register.name)
def test_who_keeps_what_begins_with_a_node_keeps_it_at_its_own(market: Ledger, register: Register) -> None:
    """A market that stops, silences or answers for another, or for all, would speak in others' names."""
    for actor in (MARKET, REGULATOR, TERMINAL, SUBSCRIBER):
        keeper = market.registrar(actor)
        for node in (f"{A}", f"{B}", "000000000"):
            given = SUPERVISED[register][0]
            key = f"{node}{given[register.key[0]][9:]}"
            values = keeper.read(register, {**given, register.key[0]: key})
            if actor in NODE_BOUND[register] and (node == f"{A}" or actor is REGULATOR):
                assert keeper.file(register, values).actor == actor.name
            else:
                with pytest.raises(NotAllowed):
                    keeper.file(register, values)
    filed(market, register, [SUPERVISED[register][0]])
    code = SUPERVISED[register][0][register.key[0]]
    filed(market, register, [{**SUPERVISED[register][0], register.key[0]: f"{B}{code[9:]}"}])
    other = kept(market, register, f"{B}{code[9:]}")
    for step in register.steps[:1]:
        with pytest.raises(NotAllowed, match="none of those"):
            market.registrar(MARKET).step(other, step.name, "x")
    with market.database.read() as connection:
        mine = listing(connection, market.vault, register, Wanted(nodes=MARKET.reach), None, 10)
    assert [one.key for one in mine] == [(code,)], "nor does it see another's"


def test_readings_are_entries_and_are_found(market: Ledger) -> None:
    first, second, licence = party(market), party(market, f"{B}0001"), licences(market)[0]
    at = (now() + timedelta(seconds=number) for number in itertools.count())
    for actor, found, purpose in (
        (OPERATOR, [first, second], Purpose.INSPECTION), (MARKET, [first, first, licence], Purpose.FILING),
        (REGULATOR, [second], Purpose.ORDER),
    ):  # fmt: skip
        market.record(reading_request(actor, found, purpose, next(at)))
    with market.database.read() as connection:
        of = {one.subject: readings(connection, one.subject) for one in (first, second, licence)}
        assert readings(connection, "party 9") == [] and len(readings(connection, first.subject, 1)) == 1
    said = {subject: [(one.actor, one.purpose) for one in found] for subject, found in of.items()}
    assert said == {
        first.subject: [("market", "filing"), ("operator", "inspection")],
        second.subject: [("regulator", "order"), ("operator", "inspection")],
        licence.subject: [("market", "filing")],
    }
    seq = int(of[first.subject][0].entry.split("/")[1])
    with market.database.connect() as connection:
        (data,) = connection.execute("SELECT data FROM entry WHERE node = %s AND seq = %s", [CITY, seq]).fetchone()
    entry = decode(data)
    assert entry.kind is Kind.READING and entry.body["reading"]["subjects"] == sorted([first.subject, licence.subject])


def test_who_may_not_look_is_refused_before_an_entry_is_made(market: Ledger) -> None:
    own, acting, foreign = (party(market, code) for code in (f"{A}0001", f"{B}0001", f"{B}0002"))
    for actor, found in (
        (TERMINAL, own), (Actor("x", Role.WHOLESALER, frozenset([A]), A), own), (MARKET, foreign),
    ):  # fmt: skip
        with pytest.raises(NotAllowed):
            reading_request(actor, [own, found], Purpose.INSPECTION, now())
    assert len(reading_request(MARKET, [own, acting], Purpose.INSPECTION, now()).drafts) == 1


def _all_records(market: Ledger) -> Iterator[Record]:
    for register in (PARTY, LICENCE):
        for page in pages(market.database, market.vault, register, Wanted()):
            yield from page


def test_no_name_of_a_record_holds_a_private_value(market: Ledger) -> None:
    """It stands in refusals and in reading entries."""
    for one in _all_records(market):
        said = f"{one.name} {one.subject}"
        assert not [v for v in one.values.values() if isinstance(v, str) and v in said and v != one.values["party"]]
