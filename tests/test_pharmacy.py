"""The counter of a pharmacy over HTTP, as it goes wrong: retries, scanners that lie, outages, rivals, hostile callers.

Where the product does otherwise than `drugs_and_warnings.md` 1 to 4 say, the case is an expected failure at the end.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from api.console.looks import BURST
from api.ledger import ledger_on, now
from ledger.access import Role
from ledger.database import Database
from ledger.embedded import APPLICATION, OWNER
from ledger.gs1 import check_digit
from ledger.lanes import Lanes
from ledger.packs.bills import BILL_TYPES
from ledger.registers import DRUG_MARKET, NODE, PRODUCT, RECALL
from tests.conftest import Own
from tests.test_access import server
from tests.test_http import NODE as STALL
from tests.test_http import Server, problem_of, serving
from tests.test_packs import BATCH, CORNER, DRUG, EXPIRES, GTIN, HIGH_STREET, HOUSE, PLANT, City, city, codes, eu, pack
from tests.test_registry import filed, kept, stepped

__all__ = ["city", "eu", "server"]

# fmt: off
# laid out by hand: tables, and one case a line
EAN, STRANGE = "6901234500301", "06901234500202"
CONTEXT = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"]

def link(serial: str) -> str:
    return f"https://id.gs1.org/01/{GTIN}/21/{quote(serial, safe='')}"

def case(number: int) -> str:
    return (body := f"06901234{number:09d}") + check_digit(body)

def captured(client: httpx.Client, step: str, epcs: Iterable[str] = (), **more: Any) -> dict[str, Any]:
    event = {"@context": CONTEXT, "type": "ObjectEvent", "action": "OBSERVE", "eventID": f"urn:uuid:{uuid.uuid4()}",
        "eventTime": now().isoformat(), "eventTimeZoneOffset": "+00:00", "bizStep": step,
        **({"epcList": [*epcs]} if epcs else {}), **more}
    assert (answer := client.post("/events", json=event)).status_code == 201, answer.text
    return event

def packed(client: httpx.Client, parent: str, children: Iterable[str], action: str = "ADD") -> dict[str, Any]:
    whole = f"https://id.gs1.org/00/{parent}"
    return captured(client, "packing", type="AggregationEvent", action=action, parentID=whole, childEPCs=[*children])

def in_error(client: httpx.Client, event: dict[str, Any]) -> None:
    declared = {"declarationTime": now().isoformat(), "reason": "did_not_occur"}
    assert client.post("/events", json={**event, "errorDeclaration": declared}).status_code == 201

def asked(city: City, code: str, node: str = CORNER, **query: Any) -> dict[str, Any]:
    answer = city.at[node].get(f"/packs/{quote(code, safe='')}", params=query)
    return answer.json()

def public(city: City, code: str) -> dict[str, Any]:
    return httpx.get(f"{city.server.url}/public/packs/{quote(code, safe='')}").json()

def sold(city: City, code: str, node: str = CORNER, **fields: Any) -> httpx.Response:
    answer = city.give(node, "supply", code, **fields)
    assert answer.status_code == 201, answer.text
    return answer

def refused(answer: httpx.Response, *reasons: str, alert: bool = False, status: int = 409) -> httpx.Response:
    assert (answer.status_code, codes(answer), answer.json()["alert"]) == (status, [*reasons], alert), answer.text
    return answer

def billed(city: City, kind: str, made: list[str], node: str = CORNER, who: httpx.Client | None = None,
    **more: Any) -> httpx.Response:
    bill = {"party": f"{node}0000", "bill": f"B-{uuid.uuid4()}", "type": kind, "at": now().isoformat(), "codes": made}
    return (who or city.at[node]).post("/bills", json={**bill, **more})

def recalled(city: City, number: str, product: str = DRUG, **more: Any) -> None:
    filed(city.server.ledger, RECALL, [{"recall": number, "product": product, "grade": "1", "origin": "ordered",
        "nature": "real", "range": "city", "regime": "cn_drug", "decided_at": now().isoformat(), **more}])

def rules(city: City, **more: str) -> None:
    filed(city.server.ledger, DRUG_MARKET, [{"market": "drugs", "rules": "china"} | more])

def entries(city: City) -> int:
    with city.server.ledger.database.connect() as connection:
        return connection.execute("SELECT count(*) FROM entry").fetchone()[0]

@pytest.fixture
def rival(city: City, own: Own) -> Iterator[Server]:
    first = city.server.ledger
    database = Database(own.cluster.url(APPLICATION, own.name), own.cluster.url(OWNER, own.name))
    lanes = Lanes(database, first.settings.lanes, now)
    with ledger_on(first.settings, database, lanes, first.keys, first.signer) as second, serving(second) as found:
        yield found
    lanes.close()
    database.close()

def test_a_scan_sent_again_is_answered_otherwise_or_recorded_twice(eu: City) -> None:
    code, other = eu.made("R1", "R2")
    told: dict[str, Any] = {"scan": str(uuid.uuid4()), "at": now().isoformat()}
    first, count = sold(eu, code, **told), entries(eu)
    later = eu.give(CORNER, "supply", code, till=eu.second_till, **told)
    assert later.status_code == 200 and later.content == first.content
    for command, text, more in (("supply", other, {}), ("sample", code, {}), ("supply", code, {"batch": "B9"}),
        ("supply", code, {"mode": "offline"}), ("supply", code, {"at": "2026-11-25T08:00:00Z"})):
        problem_of(eu.give(CORNER, command, text, **{**told, **more}), 409, "ResourceAlreadyExistsException")
    problem_of(eu.give(HIGH_STREET, "supply", code, **told), 409, "ResourceAlreadyExistsException")
    told = {"scan": str(uuid.uuid4()), "at": now().isoformat()}
    no = refused(eu.give(HIGH_STREET, "supply", code, **told), "already_elsewhere", alert=True)
    assert entries(eu) == count + 1
    assert eu.give(CORNER, "undo", code, undoes="supplied").status_code == 201
    again = eu.give(HIGH_STREET, "supply", code, **told)
    assert again.status_code == 409 and again.json()["alertId"] == no.json()["alertId"] and entries(eu) == count + 2
    refused(eu.give(CORNER, "supply", pack("FORGED")), "unknown_pack", alert=True, status=404)

def test_the_same_again_within_a_minute_records_something(city: City) -> None:
    (code,) = city.made("R1")
    for command in ("receive", "ship", "receive", "lock", "unlock", "supply", "return"):
        assert city.give(CORNER, command, code).status_code == 201
        count, again = entries(city), city.give(CORNER, command, code)
        assert again.status_code == 200 and again.json()["again"] and again.json()["taken"], again.text
        assert not again.json()["alert"] and entries(city) == count and again.json()["receipt"] == ""

def test_the_third_second_sale_here_alerts_and_the_first_one_elsewhere(city: City) -> None:
    rules(city, replay_s="0")
    (code,) = city.made("R1")
    sold(city, code)
    answers = [city.give(CORNER, "supply", code, till=till) for till in (None, city.second_till) * 2]
    for n, answer in enumerate(answers):
        refused(answer, "already_here", alert=n > 1)
        assert answer.json()["softLeft"] == max(0, 1 - n) and (answer.json()["alertId"] is None) == (n < 2)
        assert answer.json()["place"] == "here" and answer.json()["state"] == "supplied" and answer.json()["undoUntil"]
    away = refused(city.give(HIGH_STREET, "supply", code), "already_elsewhere", alert=True).json()
    assert away["place"] == "elsewhere" and CORNER not in str(away) and away["alertId"].startswith(HIGH_STREET)
    assert city.give(CORNER, "undo", code, undoes="supplied").status_code == 201
    sold(city, code)  # a new sale begins a new count
    refused(city.give(CORNER, "supply", code), "already_here")

def test_what_was_done_offline_keeps_both_times_and_never_alerts_for_its_own_duplicates(city: City) -> None:
    (code,) = city.made("R1")
    then, scan = now() - timedelta(hours=20), str(uuid.uuid4())
    sold(city, code, mode="offline", at=then.isoformat(), scan=scan)
    found = city.at[CORNER].get(f"/events/urn:uuid:{scan}").json()
    (event,) = found["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
    assert abs(datetime.fromisoformat(event["eventTime"]) - then) < timedelta(milliseconds=1)
    assert datetime.fromisoformat(event["recordTime"]) > then + timedelta(hours=19)
    for n in range(5):
        till = city.second_till if n % 2 else None
        refused(city.give(CORNER, "supply", code, mode="offline", till=till), "already_here")
    refused(city.give(HIGH_STREET, "supply", code, mode="offline"), "already_elsewhere", alert=True)

def _late(city: City, market: str) -> Iterator[httpx.Response]:
    code, unseen = pack("LATE1", batch="LATE"), market == "eu"
    for command in ("verify", "receive", "supply", "verify", "supply"):
        yield (answer := city.give(CORNER, command, code))
        assert codes(answer) in ([["no_data"]] if unseen else [[], ["not_in_state"]])
    yield city.give(PLANT, "commission", code)
    yield city.give(CORNER, "supply", code)

def _scanner(city: City, market: str) -> Iterator[httpx.Response]:
    (code,) = city.made("SCAN1")
    sent = f"]d201{GTIN}21SCAN1\x1d17280630" + f"10{BATCH}"
    lost = (f"01{GTIN}21SCAN117280630" + f"10{BATCH}", f"01{GTIN}17280630" + f"10{BATCH}21SCAN1")
    for text in (*lost, code + pack("TWO"), sent + "]E0" + EAN, EAN + sent, sent + "\r\n" + EAN, "8" * 40):
        yield (answer := city.give(CORNER, "supply", text))
        assert answer.status_code in (400, 404), answer.text
    for tail in (EAN, f"0{EAN}", "69012341"):
        yield refused(city.give(CORNER, "supply", pack("SCAN1", BATCH + tail)), "batch_glued")
    if market == "eu":
        yield refused(city.give(CORNER, "supply", pack("SCAN9", BATCH + EAN)), "no_data", status=404)
    yield sold(city, code, scanned=sent)

def _keyboard(city: City, market: str) -> Iterator[httpx.Response]:
    city.made("YaZ1", batch="Ky1")
    for serial, batch in (("ZaY1", "Kz1"), ("yAz1", "kY1"), ("zAy1", "kZ1"), ("ZaY1", None), ("YaZ1", "Kz1")):
        yield (answer := city.give(CORNER, "supply", pack(serial, batch)))
        assert codes(answer) == ["keyboard"], answer.text

def _typed(city: City, market: str) -> Iterator[httpx.Response]:
    code, *_ = city.made("TYPE1", "TYPE2")
    if market == "eu":
        yield refused(city.give(CORNER, "supply", pack("TYPE9"), mode="manual"), "mistyped", status=404)
        yield refused(city.give(CORNER, "supply", pack("TYPE9"), mode="offline", typed=True), "mistyped", status=404)
    yield refused(city.give(CORNER, "supply", pack("TYPE1", "B2062"), mode="manual"), "batch_mismatch")
    yield refused(city.give(CORNER, "supply", pack("TYPE1", expires="2028-07-30"), mode="manual"), "expiry_mismatch")
    yield sold(city, code.partition("(17)")[0], mode="manual", batch=BATCH, expires="2028-06-01")
    yield sold(city, pack("TYPE2", None, None), mode="manual", batch=BATCH, expires="280600")

def _hands(city: City, market: str) -> Iterator[httpx.Response]:
    sent_back, lent, opened, whole = city.made("BACK1", "LENT1", "SPLIT1", "SPLIT2")
    yield sold(city, sent_back)
    for _ in range(4):
        yield refused(city.give(HOUSE, "receive", sent_back), "not_in_state")
    for text in (f"(01){STRANGE}(21)X1(10)Z", "89999990000000010001"):
        yield refused(city.give(CORNER, "supply", text), "unknown_product", status=404)
    yield sold(city, lent, HIGH_STREET)
    yield sold(city, whole)
    for _ in range(4):
        yield city.give(CORNER, "split", opened, units=3)
        yield refused(city.give(CORNER, "supply", opened), "opened")
        yield refused(city.give(CORNER, "split", whole, units=1), "not_in_state")

def _outage(city: City, market: str) -> Iterator[httpx.Response]:
    at, made = (now() - timedelta(hours=2)).isoformat(), city.made(*map("Q{}".format, range(12)))
    queue = [(code, str(uuid.uuid4()), at) for code in made]
    for ids, status in ((True, 201), (True, 200), (False, 409), (False, 409), (False, 409)):
        for code, scan, at in queue:
            told = {"scan": scan if ids else str(uuid.uuid4()), "at": at, "mode": "offline"}
            yield (answer := city.give(CORNER, "supply", code, **told))
            assert answer.status_code == status

CAUSES = (_late, _scanner, _keyboard, _typed, _hands, _outage)

@pytest.mark.parametrize("market", ["china", "eu"])
@pytest.mark.parametrize("cause", CAUSES)
def test_a_cause_of_false_alerts_raises_one(city: City, market: str, cause: Callable[..., Any]) -> None:
    filed(city.server.ledger, DRUG_MARKET, [{"market": "drugs", "rules": market}])
    answers = [answer for answer in cause(city, market) if "alert" in answer.json()]
    assert [answer.text for answer in answers if answer.json()["alert"]] == []

def test_an_undo_is_taken_late_elsewhere_twice_or_of_another_state(city: City) -> None:
    code, opened = city.made("U1", "U2")
    undo = sold(city, code).json()["undoUntil"]
    assert datetime.fromisoformat(undo) - now() > timedelta(10) - timedelta(minutes=1)
    refused(city.give(HIGH_STREET, "undo", code, undoes="supplied"), "other_place")
    refused(city.give(CORNER, "undo", code, undoes="sampled"), "undo_other_state")
    assert city.give(CORNER, "undo", code).status_code == 400
    city.server.ledger.counter._clock = lambda: now() + timedelta(10)  # the time for it is over in the moment after
    refused(city.give(CORNER, "undo", code, undoes="supplied"), "too_late")
    city.server.ledger.counter._clock = lambda: now() + timedelta(10) - timedelta(minutes=1)
    assert city.give(CORNER, "undo", code, undoes="supplied").json()["state"] == "active"
    city.server.ledger.counter._clock = now
    refused(city.give(CORNER, "undo", code, undoes="supplied", till=city.second_till), "nothing_to_undo")
    for n, warned in ((20, False), (4, False), (3, True)):
        answer = city.give(CORNER, "split", opened, units=n)
        assert answer.status_code == 201 and ("over_units" in answer.text) == warned
    refused(city.give(CORNER, "supply", opened), "opened")
    refused(city.give(CORNER, "undo", opened, units=28), "nothing_to_undo")
    assert city.give(CORNER, "undo", opened, units=27).json()["unitsTaken"] == 0
    sold(city, opened)

def test_a_recall_is_passed_by_under_another_code_or_after_its_end(city: City) -> None:
    twenty, fine = "8123456000000001000", city.made("G2", batch="B9")[0]
    made, digits = city.made("G1", "G3", "G4"), twenty + "1"
    for node, command, code in ((HOUSE, "ship", made[0]), (CORNER, "lock", made[1]), (HOUSE, "destroy", made[2])):
        assert city.give(node, command, code).status_code == 201
    sold(city, digits, batch=BATCH, expires=EXPIRES)
    recalled(city, "ZH-1", batches=[BATCH], notified_at=now().isoformat())
    recalled(city, "ZH-2", nature="exercise")
    recalled(city, "ZH-3", batches=["OLD"], decided_at=(now() - timedelta(days=9)).isoformat())
    stepped(city.server.ledger, "end", kept(city.server.ledger, RECALL, "ZH-1"))
    refused(city.give(CORNER, "supply", made[0]), "recalled")
    refused(city.give(CORNER, "undo", digits, undoes="supplied"), "recalled")
    refused(city.give(CORNER, "supply", twenty + "2", batch=BATCH), "recalled")
    assert "exercise" in city.give(CORNER, "supply", fine).text and not asked(city, made[0])["maySell"]
    late = city.give(CORNER, "supply", made[0], mode="offline").json()
    assert late["taken"] and late["alert"] and late["recalls"] == ["ZH-1", "ZH-2"]
    seen = city.regulator.get("/recalls/ZH-1").json()
    assert seen["packs"] == {"recorded": 4, "safe": 2, "gone": 2, "outstanding": 0}
    assert {(one["node"], one["state"], one["count"]) for one in seen["holders"]} == {(CORNER, "supplied", 2),
        (CORNER, "locked", 1), (HOUSE, "destroyed", 1)}
    assert not any(one["late"] for one in seen["clocks"] if one["clock"] != "plan")
    assert all(one["late"] for one in city.regulator.get("/recalls/ZH-3").json()["clocks"])
    filed(city.server.ledger, PRODUCT, [{"product": GTIN, "name": "x", "kind": "drug"}])
    recalled(city, "ZH-4", GTIN)
    for code in (city.made("G9", batch="B10")[0], twenty + "3"):
        refused(city.give(CORNER, "supply", code, batch="B10"), "withdrawn")
    refused(city.give(CORNER, "supply", pack("OLD", "B8", "2020-01-31")), "expired", "withdrawn")

def test_a_command_is_taken_from_who_may_not_give_it(city: City) -> None:
    (code,) = city.made("A1")
    for role in (Role.TERMINAL, Role.MARKET, Role.SUBSCRIBER, Role.ADMIN):
        client = city.server.client(role, CORNER)
        for command in ("supply", "receive", "undo", "commission"):
            problem_of(city.give(CORNER, command, code, till=client), 403, "SecurityException")
        problem_of(billed(city, "321", [code], who=client), 403, "SecurityException")
        asks = city.give(CORNER, "verify", code, till=client)
        assert asks.status_code == (403 if role is Role.SUBSCRIBER else 200)
    for node, command in ((PLANT, "supply"), (CORNER, "commission"), (CORNER, "export")):
        problem_of(city.give(node, command, code), 403, "SecurityException")
    problem_of(city.give(HIGH_STREET, "supply", code, till=city.at[CORNER]), 403, "SecurityException")
    problem_of(city.give("330212999", "lock", code, till=city.regulator), 404, "NoSuchNameException")
    stepped(city.server.ledger, "close", kept(city.server.ledger, NODE, CORNER))
    for answer in (city.give(CORNER, "supply", code), billed(city, "102", [code])):
        problem_of(answer, 403, "SecurityException")

WHO = (PLANT, HOUSE, CORNER)
ONLY = dict.fromkeys(("101", "106", "208"), (PLANT,)) | {"212": (PLANT, HOUSE)}
ONLY |= dict.fromkeys(("116", "321", "322", "323"), (CORNER,))

def test_a_type_of_bill_is_refused_to_whom_it_is_for(city: City) -> None:
    listed = city.at[CORNER].get("/bills/types").json()
    assert [one["type"] for one in listed] == [one.number for one in BILL_TYPES] and len(listed) == 32
    for number in (one["type"] for one in listed):
        for node in WHO:
            code = pack(f"{number}{node[-1]}")
            if number != "101":
                assert city.give(PLANT, "commission", code).status_code == 201
            if number == "116" and node == CORNER:
                sold(city, code)
            answer = billed(city, number, [code], node, giver=f"{HOUSE}0000", taker=f"{CORNER}0000")
            if node not in ONLY.get(number, WHO):
                problem_of(answer, 403, "SecurityException")
            else:
                assert answer.status_code == 201 and answer.json()["taken"] == 1, (number, node, answer.text)

def test_a_bill_is_taken_that_cannot_be_read(city: City) -> None:
    (code,) = city.made("B1")
    assert billed(city, "999", [code]).status_code == billed(city, "321", []).status_code == 400
    assert billed(city, "102", [pack(f"N{n}") for n in range(3_501)]).status_code == 400
    assert billed(city, "102", ["8" * 40_000_000]).status_code in (400, 413)
    wrong = problem_of(billed(city, "102", [code, "x", code, f"(01){GTIN}", ""]), 400, "ValidationException")
    assert [one["path"] for one in wrong["errors"]] == ["codes[1]", "codes[3]", "codes[4]"]
    assert billed(city, "321", [code], node=CORNER, who=city.at[HIGH_STREET]).status_code == 403
    once = billed(city, "321", [code, link("B1"), code])
    assert once.json()["taken"] == 1 and len(once.json()["packs"]) == 1
    assert billed(city, "102", [f"8123456{n:013}" for n in range(3_500)]).json()["taken"] == 3_500

def test_a_case_is_other_than_what_is_in_it(city: City) -> None:
    made, plant = city.made("C1", "C2", "C3", "C4"), city.at[PLANT]
    packed(plant, case(1), [link("C1"), link("C2")])
    packed(plant, case(2), [link("C3"), link("C4")])
    packed(plant, case(9), [f"https://id.gs1.org/00/{case(n)}" for n in (1, 2)])
    packed(plant, case(1), [link("C1")], "DELETE")
    wrong = packed(plant, case(2), [link("C9")])
    in_error(plant, wrong)
    answer = billed(city, "102", [f"(00){case(9)}"])
    assert answer.status_code == 201 and [one["code"][-2:] for one in answer.json()["packs"]] == ["C2", "C3", "C4"]
    assert [asked(city, code)["place"] for code in made] == ["elsewhere", "here", "here", "here"]
    sold(city, made[1], HIGH_STREET)
    partly = city.give(CORNER, "supply", f"(00){case(9)}")
    assert partly.status_code == 207 and [one["taken"] for one in partly.json()["packs"]] == [False, True, True]
    packed(plant, case(3), map(link, map("M{}".format, range(4_000))))
    assert city.give(CORNER, "receive", f"(00){case(3)}").status_code == 413
    assert city.give(CORNER, "receive", f"(00){case(4)}").status_code == 404

def test_a_verification_says_other_words_than_the_standard(city: City) -> None:
    serials = ["+", "&", '"', "%", "%2F", "<;>", "?x=1"]
    city.made("V1", "V2", "V3", "V4", *serials)
    house = city.at[HOUSE]
    def said(serial: str, lot: str = BATCH, exp: str = "280630", gtin: str = GTIN, **more: str) -> httpx.Response:
        path = f"/verify/gtin/{gtin}/lot/{quote(lot, safe='')}/ser/{quote(serial, safe='')}"
        return house.get(path, params={"exp": exp, **more})
    for serial in ("V1", *serials):
        assert said(serial).json()["data"] == said(serial, exp="280600").json()["data"] == {"verified": True}, serial
    for args, word in ((("V9", "x"), ""), (("V1", "x"), "_Lot"), (("V1", BATCH, "280700"), "_Expiry"), (("V1", "x",
        "270630"), "_Lot_Expiry")):
        assert said(*args).json()["data"]["verificationFailureReason"] == f"No_match_GTIN_Serial{word}"
    assert city.give(HOUSE, "stolen", pack("V2")).status_code == 201 and sold(city, pack("V3"))
    no = {"verified": False, "verificationFailureReason": "Not_for_re-distribution"}
    assert said("V3").json()["data"] == no and said("V2").json()["data"] == {**no, "additionalInfo": "Illegitimate"}
    city.made("V5", expires="2020-01-31")
    assert said("V5", exp="200131").json()["data"]["additionalInfo"] == "Expired"
    recalled(city, "ZH-1", batches=[BATCH])
    assert said("V4").json()["data"]["additionalInfo"] == "Recalled"
    assert said("V1", corrUUID="c-1", reqGLN="6901234500004").json()["corrUUID"] == "c-1"
    problem_of(said("V1", gtin=STRANGE), 404, "NoSuchNameException")
    for more in ({"exp": "2806"}, {"reqGLN": "6901234500009"}, {"linkType": "x"}, {"context": "x"}, {"gtin": "0690"}):
        assert said(**{"serial": "V1", **more}).status_code == 400, more
    assert house.get(f"/verify/checkConnectivity?gtin={GTIN}").json() == {"gtin": GTIN}

def test_a_buyer_is_told_other_than_sales(city: City) -> None:
    (code,) = city.made("P1")
    for node, command, sales, more in ((HOUSE, "receive", 0, {}), (HOUSE, "ship", 0, {}), (CORNER, "receive", 0, {}),
        (CORNER, "supply", 1, {}), (HIGH_STREET, "supply", 1, {}), (CORNER, "undo", 0, {"undoes": "supplied"}),
        (CORNER, "supply", 1, {}), (CORNER, "return", 0, {}), (CORNER, "unlock", 0, {}), (CORNER, "split", 0,
        {"units": 2})):
        city.give(node, command, code, **more)
        found = public(city, code)
        assert (found["sales"], len(found["times"])) == (sales, sales), command
    event = captured(city.at[HIGH_STREET], "retail_selling", [link("P1")])
    captured(city.at[HIGH_STREET], "retail_selling", [link("P1")])
    told = public(city, code)
    assert told["sales"] == 2 and len(told) == 5 and "3302" not in str(told)
    in_error(city.at[HIGH_STREET], event)
    assert public(city, code)["sales"] == 1

def test_one_address_may_not_try_many_packs(city: City) -> None:
    """Codes can be guessed: whoever asks for all of them would learn what was sold when."""
    with httpx.Client(base_url=city.server.url) as anybody:
        answers = [anybody.get(f"/public/packs/8123456{number:013}") for number in range(BURST + 3)]
    assert [one.status_code for one in answers[: BURST]] == [200] * BURST and answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1

def test_a_captured_fact_does_not_move_the_pack_or_stays_after_it_was_declared_in_error(eu: City) -> None:
    made = {"action": "ADD", "ilmd": {"cbvmda:lotNumber": BATCH, "cbvmda:itemExpirationDate": EXPIRES}}
    captured(eu.at[PLANT], "commissioning", [link("F1"), link("F2")], disposition="active", **made)
    assert (asked(eu, pack("F1"))["batch"], asked(eu, pack("F1"))["expires"]) == (BATCH, EXPIRES)
    sale = captured(eu.at[CORNER], "retail_selling", [link("F1")])
    assert asked(eu, pack("F1"))["state"] == "supplied" and eu.give(HIGH_STREET, "supply", pack("F1")).json()["alert"]
    in_error(eu.at[CORNER], sale)
    sold(eu, pack("F1"), HIGH_STREET)
    lost = captured(eu.at[HOUSE], "destroying", [link("F2")], disposition="destroyed")
    refused(eu.give(CORNER, "supply", pack("F2")), "gone", alert=True)
    in_error(eu.at[HOUSE], lost)
    sold(eu, pack("F2"))

def test_of_a_hundred_rivals_in_two_processes_one_sells_the_pack(city: City, rival: Server) -> None:
    (code,) = city.made("X1")
    clients = [(CORNER, city.at[CORNER]), (CORNER, city.second_till), (HIGH_STREET, city.at[HIGH_STREET])]
    clients += [(node, rival.with_key(client.headers["authorization"][7:])) for node, client in clients]
    with ThreadPoolExecutor(100) as pool:
        tried = [*pool.map(lambda n: city.give(clients[n % 6][0], "supply", code, till=clients[n % 6][1]), range(100))]
    found = Counter(answer.status_code for answer in tried)
    assert found[201] == 1 and {*found} <= {200, 201, 409}, found
    assert all(one.json()["again"] for one in tried if one.status_code == 200) and public(city, code)["sales"] == 1

def test_bills_that_overlap_sell_no_pack_twice(city: City, rival: Server) -> None:
    made = [pack(f"O{n}") for n in range(300)]
    here = {node: city.at[node] for node in (CORNER, HIGH_STREET)}
    clients = {node: (one, rival.with_key(one.headers["authorization"][7:])) for node, one in here.items()}
    def race(n: int) -> httpx.Response:
        node, part = (CORNER, HIGH_STREET)[n % 2], made[n * 10 : n * 10 + 100]
        return billed(city, "321", part[:: 1 if n % 3 else -1], node, clients[node][n // 2 % 2])
    with ThreadPoolExecutor(20) as pool:
        answers = [*pool.map(race, range(20))]
    assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
    taken = Counter(one["code"] for answer in answers for one in answer.json()["packs"] if one["taken"])
    assert len(taken) == 290 and {*taken.values()} == {1}

def test_a_hostile_request_is_a_fault_of_the_server(city: City) -> None:
    (code,) = city.made("H1")
    for text in (f"(01){GTIN}", f"(01){GTIN}(10)B1", "33021202100000000001", "🧪", "\u202e81234560000000010001",
        "８１２３４５６", "'; DROP TABLE pack", f"(01){GTIN}(21){'x' * 21}", "\0", "a\0b", "x" * 5_000, "supply"):
        for answer in (city.at[CORNER].get(f"/packs/{quote(text, safe='')}"), city.give(CORNER, "supply", text)):
            assert answer.status_code == 400, (text, answer.text)
    for more in (*({"units": n} for n in (0, -1, 100_001, 10**30, 1.5, True, "1")), {"scan": "x"}, {"at": "now"},
        {"at": "2026-11-25T08:00:00"}, {"at": "2026-11-25T08:00:00+23:59"}, {"x": 1},
        {"at": "2026-11-25T08:00:00+08:00:30"}, {"undoes": "x"}, {"batch": "b" * 21}, {"scanned": "x" * 1_001},
        {"scanned": pack("H2")}, {"expires": "2028-02-30"}, {"typed": 1}):
        assert city.give(CORNER, "split", code, **{"units": 1, **more}).status_code == 400, more
    stall = city.server.client(Role.TERMINAL, STALL)
    goods = {"scan": str(uuid.uuid4()), "node": STALL, "step": "opening_stock", "goods": "21113011", "quantity": "1"}
    assert stall.post("/scans", json={**goods, "at": now().isoformat()}).status_code == 201
    assert city.give(CORNER, "supply", code, scan=goods["scan"]).status_code == 409

def emptied(c: City) -> str:
    packed(c.at[PLANT], case(1), [link("E1")])
    return packed(c.at[PLANT], case(1), [], "DELETE")["parentID"]

def second_sales(c: City, code: str) -> bool:
    return [c.give(CORNER, "supply", code).json()["alert"] for _ in range(4)][-1]

LATE, FORGED = "81234560000000010001", link("F1")
FAULTS: dict[str, Callable[[City], object]] = {
    "an emptied case answers 503, and so does all that waits with it":
        lambda c: c.give(CORNER, "receive", emptied(c)).status_code == 404,
    "an SSCC packed in itself answers 503, the same": lambda c: c.give(CORNER, "receive",
        packed(c.at[PLANT], case(1), ["https://id.gs1.org/00/" + case(1)])["parentID"]).status_code < 500,
    "a NUL in a typed batch answers 503, and so does all that waits with it":
        lambda c: c.give(CORNER, "supply", pack("S1", None), batch="\0").status_code == 400,
    "of a serial that ends in /supply another pack is sold": lambda c: [c.made("a", "a/supply"),
        c.give(CORNER, "supply", pack("a/supply", None, None)), asked(c, pack("a"))["state"] == "active"][-1],
    "a stall's captured commissioning makes a forgery known, and it is sold (EU)": lambda c: [rules(c, rules="eu"),
        captured(c.server.client(Role.TERMINAL, STALL), "commissioning", [FORGED], action="ADD", disposition="active"),
        c.give(CORNER, "supply", pack("F1")).status_code != 201][-1],
    "a commissioning declared in error leaves the pack for sale (EU)": lambda c: [rules(c, rules="eu"),
        event := captured(c.at[PLANT], "commissioning", [FORGED], action="ADD", disposition="active"),
        in_error(c.at[PLANT], event), c.give(CORNER, "supply", pack("F1")).status_code != 201][-1],
    "data that come after the sale are a second sale to the buyer": lambda c: [sold(c, LATE),
        c.give(PLANT, "commission", LATE, batch=BATCH), public(c, LATE)["sales"] == 1][-1],
    "a sold pack captured as destroyed was never sold": lambda c: [sold(c, c.made("F1")[0]),
        captured(c.at[HOUSE], "destroying", [FORGED]), public(c, pack("F1"))["sales"] == 1][-1],
    "what was checked out is outstanding in a recall for ever": lambda c: [c.give(HOUSE, "check_out", c.made("S1")[0]),
        recalled(c, "ZH-1"), c.regulator.get("/recalls/ZH-1").json()["packs"]["outstanding"] == 0][-1],
    "20 offline duplicates hide every later refusal": lambda c: [rules(c, replay_s="0"), sold(c, c.made("S1")[0]),
        [c.give(CORNER, "supply", pack("S1"), mode="offline") for _ in range(20)], second_sales(c, pack("S1"))][-1],
    "a bill of two batches forgets both, and a recall finds neither": lambda c: [recalled(c, "ZH-1", batches=["B1"]),
        billed(c, "102", [pack("S1", "B1"), pack("S2", "B2")]),
        c.regulator.get("/recalls/ZH-1").json()["packs"]["recorded"] == 1][-1],
    "a recalled pack may be sold, says the answer to its receipt": lambda c: [recalled(c, "ZH-1"),
        not c.give(CORNER, "receive", c.made("S1")[0]).json()["maySell"]][-1],
    "the GS lost in a bill makes another serial, and it is sold":
        lambda c: billed(c, "321", [f"01{GTIN}21S117280630"]).status_code == 400,
    "Caps Lock is not seen where a serial is percent-encoded: an alert (EU)": lambda c: [rules(c, rules="eu"),
        c.made("a/b", batch="17"), not c.give(CORNER, "supply", pack("A/B", "17")).json()["alert"]][-1],
    "DSCSA: a serial with / answers 404": lambda c: [c.made("a/b"),
        c.at[HOUSE].get(f"/verify/gtin/{GTIN}/lot/{BATCH}/ser/a%2Fb?exp=280630").status_code == 200][-1],
}

@pytest.mark.parametrize("why", FAULTS)
def test_a_fault_that_was_mended_is_back(city: City, why: str) -> None:
    assert FAULTS[why](city)
