"""Who may do what over HTTP, and what each sees: every role against every route, markers in all that is sealed."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import quote

import httpx
import pytest

from api.examples import BARE_EVENT
from api.ledger import now
from ledger.access import ALLOWED, Action, Role
from ledger.credentials import Credential, issue, revoke
from ledger.documents import write_json
from ledger.erase import erase
from tests.conftest import sign
from tests.test_http import JSON_BODY, NODE, OTHER, Server, at, credential, problem_of, routes_of, rules_of, server

__all__ = ["server"]

WRITERS = {Role.TERMINAL, Role.PHARMACY, Role.MANUFACTURER, Role.WHOLESALER, Role.MARKET, Role.ADMIN}
READERS = WRITERS | {Role.REGULATOR}
EVERYBODY = {*Role, None}
MARKER, FAR_MARKER = "near-secret-7f3a", "far-secret-91bc"
LOT = "https://id.gs1.org/01/06901234500103/10/L1"
OWNERS = {Role.SUBSCRIBER, Role.MARKET, Role.REGULATOR, Role.ADMIN}
KEEPERS = {Role.MARKET, Role.REGULATOR, Role.ADMIN}
PARTY_BODY = {"party": f"{NODE}0001", "kinds": ["farm"], "legal_name": "x", "credit_code": "91350100M000100Y43"}
SCAN_BODY = {"scan": "6a1c1e0e-6b1f-4b55-8d5d-0a8a4f1f2c01", "node": NODE, "step": "opening_stock", "goods": "21113011",
             "quantity": "1", "at": "2026-11-25T08:00:00+08:00"}  # fmt: skip
VOID_BODY = {"reason": "did_not_occur", "at": "2026-11-25T08:00:00+08:00"}
TRADE = {Role.PHARMACY, Role.MANUFACTURER, Role.WHOLESALER, Role.REGULATOR}
DRUG = "81234560000000010001"
PACK_BODY = {"scan": "6a1c1e0e-6b1f-4b55-8d5d-0a8a4f1f2c02", "node": NODE, "at": "2026-11-25T08:00:00+08:00"}
BILL_BODY = {"party": f"{NODE}0000", "bill": "X1", "type": "206", "at": PACK_BODY["at"], "codes": [DRUG]}
RECEIVING_BODY = {**PACK_BODY, "event": "urn:x:y", "codes": [DRUG]}
CHECK_BODY = {"check": "6a1c1e0e-6b1f-4b55-8d5d-0a8a4f1f2c03", "node": NODE, "party": f"{NODE}0001",
              "at": PACK_BODY["at"], "goods": [{"goods": "21113011", "quantity": "1"}]}  # fmt: skip
WARNING = f"{NODE}-{'0a' * 12}"
CREDENTIAL_BODY = {"role": "regulator", "label": "x"}

# method, path, body, who may. Written by hand from the issue and DESIGN.md, not from ledger/access.py.
ROUTES: list[tuple[str, str, object, set]] = [
    ("GET", "/", None, EVERYBODY),
    ("POST", "/capture", {}, WRITERS),
    ("GET", "/capture", None, WRITERS),
    ("GET", "/capture/6a1c1e0e-6b1f-4b55-8d5d-0a8a4f1f2c01", None, WRITERS),
    ("OPTIONS", "/capture", None, EVERYBODY),
    ("OPTIONS", "/capture/x", None, EVERYBODY),
    ("POST", "/events", {}, WRITERS),
    ("OPTIONS", "/events", None, EVERYBODY),
    ("GET", "/events/urn:x:y", None, READERS),
    ("OPTIONS", "/events/urn:x:y", None, EVERYBODY),
    ("GET", "/trace/urn:x:y", None, READERS),
    ("GET", f"/entries/{NODE}/1", None, READERS),
    ("GET", "/steps", None, WRITERS),
    ("GET", "/terminal/slips?code=33021200110000000001", None, WRITERS),
    ("POST", "/symbols/look", None, WRITERS),
    ("POST", "/scans", SCAN_BODY, WRITERS),
    ("POST", "/scans/6a1c1e0e-6b1f-4b55-8d5d-0a8a4f1f2c01/void", VOID_BODY, WRITERS),
    ("POST", "/leases", {"node": NODE}, WRITERS),
    ("GET", "/balances/urn:x:y", None, READERS),
    ("POST", "/official", {}, WRITERS),
    ("GET", f"/official/retail_market_tran_info_summ?node={NODE}", None, READERS),
    ("GET", f"/packs/{DRUG}", None, READERS),
    ("POST", f"/packs/{DRUG}/lock", PACK_BODY, TRADE),
    ("POST", "/packs/bulk", {**PACK_BODY, "job": PACK_BODY["scan"], "command": "lock", "codes": [DRUG]}, TRADE),
    ("GET", f"/packs/bulk/{PACK_BODY['scan']}", None, READERS),
    ("GET", f"/packs/bulk/{PACK_BODY['scan']}/results", None, READERS),
    ("GET", "/bills/types", None, READERS),
    ("POST", "/bills", BILL_BODY, TRADE),
    ("GET", f"/bills/{NODE}0000/X1", None, READERS),
    ("POST", "/receiving", RECEIVING_BODY, TRADE),
    ("GET", "/recalls/ZH-1", None, READERS),
    ("POST", "/access-checks", CHECK_BODY, READERS),
    ("GET", f"/access-checks/{CHECK_BODY['check']}", None, READERS),
    ("GET", "/warnings", None, set(Role)),
    ("GET", f"/warnings/{WARNING}", None, set(Role)),
    ("GET", f"/warnings/{WARNING}/explanation", None, set(Role)),
    ("POST", f"/warnings/{WARNING}/steps", {"step": "assign", "reason": "x"}, KEEPERS),
    ("POST", f"/warnings/{WARNING}/hold", {"reason": "x"}, KEEPERS),
    ("GET", "/rules", None, set(Role)),
    ("GET", "/rules/facts", None, set(Role)),
    ("POST", "/rules/check", {"rules": "rules: []"}, KEEPERS),
    ("GET", "/notices", None, set(Role)),
    ("GET", "/notices/stream?after=x", None, set(Role)),  # a stream that begins does not end
    ("GET", f"/subscriptions/{NODE}-erp", None, OWNERS),
    ("GET", f"/subscriptions/{NODE}-erp/deliveries", None, OWNERS),
    ("POST", f"/subscriptions/{NODE}-erp/replay", {"from": 1, "to": 2}, OWNERS),
    ("POST", f"/subscriptions/{NODE}-erp/rotate", {}, OWNERS),
    ("GET", "/verify/gtin/06901234500301/lot/B/ser/S?exp=280630", None, READERS),
    ("GET", "/verify/checkConnectivity?gtin=06901234500301", None, READERS),
    ("GET", f"/public/packs/{DRUG}", None, EVERYBODY),
    ("GET", f"/t?code={DRUG}", None, EVERYBODY),
    ("GET", f"/t/{DRUG}", None, EVERYBODY),
    ("GET", "/01/06901234500103/10/L1", None, EVERYBODY),
    ("GET", "/00/069012345000000019", None, EVERYBODY),
    ("GET", "/reports", None, READERS),
    ("POST", "/reports/fsma204", {}, READERS),  # each report has its own action besides
    ("GET", f"/reports/jobs/{PACK_BODY['scan']}", None, READERS),
    ("GET", f"/reports/jobs/{PACK_BODY['scan']}/result", None, READERS),
    ("GET", f"/reports/published/{NODE}-morning-2026-11-25", None, READERS),
    ("GET", f"/reports/schedules/{NODE}-morning", None, READERS),
    ("GET", "/login", None, EVERYBODY),
    ("POST", "/login", None, EVERYBODY),
    ("POST", "/logout", None, EVERYBODY),
    ("GET", "/static/app.js", None, EVERYBODY),
    ("GET", "/console", None, KEEPERS),
    ("GET", "/console/completeness", None, KEEPERS),
    ("GET", "/console/warnings", None, set(Role)),
    ("GET", f"/console/warnings/{WARNING}", None, set(Role)),
    ("GET", "/console/trace", None, READERS),
    ("GET", "/console/recalls", None, READERS),
    ("GET", "/console/recalls/ZH-1", None, READERS),
    ("GET", "/console/log", None, {Role.ADMIN, Role.REGULATOR}),
    ("GET", "/console/entries", None, READERS),
    ("GET", f"/console/entries/{NODE}/1", None, READERS),
    ("POST", "/search", {"text": NODE}, READERS),
    ("GET", "/console/registry", None, READERS),
    ("GET", "/console/registry/nodes", None, READERS),
    ("GET", "/console/registry/nodes/sheet.csv", None, READERS),
    ("GET", "/console/registry/parties/new", None, KEEPERS),
    ("GET", f"/console/registry/nodes/{NODE}", None, READERS),
    ("GET", "/console/market", None, READERS),
    ("GET", "/console/labels", None, WRITERS),
    ("GET", "/console/labels/label.png?code=urn:x:y", None, WRITERS),
    ("GET", "/terminal", None, WRITERS),
    ("GET", "/terminal/worker.js", None, EVERYBODY),
    ("GET", "/console/reports", None, READERS),
    ("GET", "/console/reports/fsma204", None, READERS),
    ("GET", f"/console/reports/jobs/{PACK_BODY['scan']}", None, READERS),
    ("GET", "/console/assessment", None, KEEPERS),
    ("GET", "/checkpoint", None, EVERYBODY),
    ("GET", "/key", None, EVERYBODY),
    ("GET", "/tile/entries/000.p/1", None, EVERYBODY),
    ("GET", "/tile/0/000.p/1", None, EVERYBODY),
    ("GET", f"/proof/inclusion?node={NODE}&seq=1", None, EVERYBODY),
    ("GET", f"/proof/file?node={NODE}&seq=1", None, EVERYBODY),
    ("GET", "/proof/consistency?from=1", None, EVERYBODY),
    ("GET", "/registry", None, READERS),
    ("GET", "/registry/parties", None, READERS),
    ("POST", "/registry/parties", PARTY_BODY, KEEPERS),
    ("POST", "/registry/parties/import", {}, KEEPERS),
    ("POST", "/registry/parties/search", {"any": "x"}, READERS),
    ("POST", "/registry/parties/export", {}, READERS),
    ("GET", "/registry/regions/330212/path", None, READERS),
    ("GET", f"/registry/parties/{NODE}0001", None, READERS),
    ("PATCH", f"/registry/parties/{NODE}0001", {"contact": "y"}, KEEPERS),
    ("POST", f"/registry/parties/{NODE}0001/steps", {"step": "suspend", "reason": "x"}, KEEPERS),
    ("GET", f"/registry/parties/{NODE}0001/versions", None, READERS),
    ("POST", f"/registry/parties/{NODE}0001/private", {"purpose": "inspection"}, KEEPERS),
    ("GET", f"/registry/parties/{NODE}0001/readings", None, {Role.ADMIN, Role.REGULATOR}),
    ("GET", "/credentials", None, {Role.ADMIN}),
    ("POST", "/credentials", CREDENTIAL_BODY, {Role.ADMIN}),
    ("DELETE", "/credentials/aaaaaaaaaa", None, {Role.ADMIN}),
    ("GET", "/health/live", None, EVERYBODY),
    ("GET", "/health/ready", None, EVERYBODY),
]


def ask(client: httpx.Client, method: str, path: str, body: object) -> httpx.Response:
    return client.request(method, path) if body is None else client.request(method, path, json=body)


def client_of(server: Server, role: Role | None) -> httpx.Client:
    if role is None:
        return server.with_key(None)
    bound = [] if role in (Role.ADMIN, Role.REGULATOR, Role.SUBSCRIBER) else [NODE]
    return server.client(role, *bound)


@pytest.mark.parametrize("role", [*Role, None])
def test_each_role_may_do_what_the_table_says_and_nothing_else(server: Server, role: Role | None) -> None:
    client = client_of(server, role)
    for method, path, body, allowed in ROUTES:
        answer = ask(client, method, path, body)
        if role in allowed:
            wrong_key = (method, path) == ("POST", "/login")  # anybody may try
            assert answer.status_code not in (401, 403) or wrong_key, (role, method, path, answer.text)
        else:
            problem_of(answer, 401 if role is None else 403, "SecurityException")
            if role is None:
                assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_table_names_every_route() -> None:
    """A route without a row is a route that nobody has thought about."""
    templates = {(method, route.path) for route in routes_of(None) for method in route.methods}
    matched = {
        (method, route.path)
        for method, path, _, _ in ROUTES
        for route in routes_of(None)
        if method in route.methods and route.path_regex.fullmatch(path.partition("?")[0])
    }
    assert templates - matched == set()


def test_the_rules_agree_with_the_table() -> None:
    for method, path, _, allowed in ROUTES:
        found = (r for r in routes_of(None) if method in r.methods and r.path_regex.fullmatch(path.partition("?")[0]))
        (rule,) = rules_of(next(found))
        roles = ALLOWED[rule.action]
        assert (EVERYBODY if roles is None else set(roles)) == allowed, (method, path)


def test_every_action_has_a_rule() -> None:
    assert set(ALLOWED) == set(Action)


# --- keys -----------------------------------------------------------------------------------------

BAD_KEYS = [
    "x", "sy_", "sy_aaaaaaaaaa_" + "A" * 43, "sy_aaaaaaaaaa_" + "A" * 44, "SY_aaaaaaaaaa_" + "A" * 43, "a b",
    "x" * 9000,
]  # fmt: skip


def test_an_unknown_key_opens_nothing_and_is_not_repeated(server: Server) -> None:
    for key in BAD_KEYS:
        answer = server.with_key(None).get("/capture", headers={"Authorization": f"Bearer {key}"})
        problem_of(answer, 401, "SecurityException")
        assert len(key) < 4 or key not in answer.text
    for header in ("Basic YTpi", "Bearer", "sy_x", "Digest x"):
        answer = server.with_key(None).get("/capture", headers={"Authorization": header})
        problem_of(answer, 401, "SecurityException")


def test_a_secret_of_another_credential_does_not_fit(server: Server) -> None:
    (one, _), (_, key) = (credential(server.ledger, Role.TERMINAL, NODE) for _ in range(2))
    mixed = f"sy_{one}_{key.split('_', 2)[2]}"
    problem_of(server.with_key(mixed).get("/capture"), 401, "SecurityException")


def test_an_expired_key_opens_nothing(server: Server) -> None:
    ledger, earlier = server.ledger, now() - timedelta(days=2)
    with ledger.database.read() as connection:
        request, _, key = issue(connection, Role.TERMINAL, "test", [NODE], 1, "operator", earlier)
    ledger.record(request)
    answer = server.with_key(key).get("/capture")
    assert "expired" in problem_of(answer, 401, "SecurityException")["detail"]


def test_a_revocation_counts_at_once(server: Server) -> None:
    ledger = server.ledger
    with ledger.database.read() as connection:
        request, made, key = issue(connection, Role.TERMINAL, "test", [NODE], 1, "operator", now())
    ledger.record(request)
    client = server.with_key(key)
    assert client.get("/capture").status_code == 200
    assert isinstance(made, Credential)
    ledger.record(revoke(made, "operator", now()))
    assert "revoked" in problem_of(client.get("/capture"), 401, "SecurityException")["detail"]


# --- what is seen ---------------------------------------------------------------------------------


def secret_event(node: str, name: str, lot: str) -> dict:
    """An event with a marker in everything that is sealed: one for the near node, one for the far."""
    marker = MARKER if node == NODE else FAR_MARKER
    fields = {
        "@context": [*BARE_EVENT["@context"], {"ex": "https://example.org/ns/"}],
        "eventID": name,
        "action": "ADD",
        "bizTransactionList": [{"type": "inv", "bizTransaction": f"urn:x:{marker}:invoice"}],
        "sourceList": [{"type": "possessing_party", "source": f"urn:x:{marker}:seller"}],
        "destinationList": [{"type": "owning_party", "destination": f"urn:x:{marker}:buyer"}],
        "ex:price": f"{marker} 12.50",
        "ilmd": {"ex:farmer": f"{marker} Zhang"},
        "quantityList": [{"epcClass": lot, "quantity": 10, "uom": "KGM"}],
    }
    return at(node, BARE_EVENT, **fields)


@pytest.fixture
def traded(server: Server) -> Server:
    """A lot that went from one node to another, with secrets on both sides, and a third of nobody's concern."""
    writers = {node: server.client(Role.TERMINAL, node) for node in (NODE, OTHER)}
    for node, name, lot in (
        (OTHER, "urn:x:event:far", LOT), (NODE, "urn:x:event:near", LOT), (OTHER, "urn:x:event:alien", LOT + "-other"),
    ):  # fmt: skip
        answer = writers[node].post("/events", content=write_json(secret_event(node, name, lot)), headers=JSON_BODY)
        assert answer.status_code == 201, answer.text
    capture = {
        "@context": BARE_EVENT["@context"], "type": "EPCISDocument", "schemaVersion": "2.0",
        "creationDate": "2026-11-23T05:12:00+08:00", "sender": f"urn:x:{FAR_MARKER}:sender",
        "epcisBody": {"eventList": []},
    }  # fmt: skip
    assert writers[OTHER].post("/capture", json=capture).status_code == 202
    sign(server.ledger)
    return server


def everything(client: httpx.Client, node: str) -> Iterator[httpx.Response]:
    """Every answer that says something about a node's trade."""
    for seq in range(1, 6):
        yield client.get(f"/entries/{node}/{seq}")
        yield client.get(f"/entries/{node}/{seq}", headers={"Accept": "application/octet-stream"})
        yield client.get(f"/proof/inclusion?node={node}&seq={seq}")
        yield client.get(f"/proof/file?node={node}&seq={seq}")
    for name in ("urn:x:event:far", "urn:x:event:alien"):
        yield client.get(f"/events/{quote(name, safe='')}")
    for code in (LOT, LOT + "-other", "urn:x:event:far", "urn:x:event:alien"):
        for direction in ("backward", "forward", "both"):
            yield client.get(f"/trace/{quote(code, safe='')}", params={"direction": direction})
    for path in ("/checkpoint", "/key", "/capture", "/tile/entries/000.p/3", "/tile/0/000.p/3", "/openapi.json"):
        yield client.get(path)
    for path in ("/health/ready", "/registry/nodes", "/credentials", f"/registry/nodes/{node}"):
        yield client.get(path)


def test_a_terminal_sees_nothing_sealed_of_another_node_by_any_route(traded: Server) -> None:
    client = traded.client(Role.TERMINAL, NODE)
    answers = list(everything(client, OTHER))
    assert len(answers) > 30 and any(answer.status_code == 200 and "trace" in str(answer.url) for answer in answers)
    encoded = {base64.b64encode(FAR_MARKER[i : i + 12].encode()).decode() for i in range(3)}  # at every alignment
    for answer in answers:
        assert not [one for one in (FAR_MARKER, *encoded) if one in answer.text], str(answer.url)
    regulator = traded.client(Role.REGULATOR)
    assert any(FAR_MARKER in answer.text for answer in everything(regulator, OTHER)), "the search would find it"
    assert any(one in regulator.get(f"/entries/{OTHER}/1").text for one in encoded), "in base64 too"


def test_a_terminal_reads_no_entry_event_or_job_of_another_node(traded: Server) -> None:
    client = traded.client(Role.TERMINAL, NODE)
    for path in (f"/entries/{OTHER}/1", "/events/urn:x:event:far", "/events/urn:x:event:alien", "/entries/000000000/1"):
        problem_of(client.get(path), 404, "NoSuchNameException")
    for code in (LOT + "-other", "urn:x:event:alien"):
        problem_of(client.get(f"/trace/{code}"), 404, "NoSuchNameException")
    assert client.get("/capture").json() == []


def test_what_is_not_there_and_what_may_not_be_seen_look_alike(traded: Server) -> None:
    """A difference would tell a rival how much another sells."""
    client = traded.client(Role.TERMINAL, NODE)
    for one, other in (
        (f"/entries/{OTHER}/1", f"/entries/{OTHER}/9"), ("/events/urn:x:event:alien", "/events/urn:x:event:allen"),
        (f"/trace/{LOT}-other", f"/trace/{LOT}-othor"),
    ):  # fmt: skip
        seen, absent = client.get(one), client.get(other)
        assert seen.status_code == absent.status_code == 404 and len(seen.text) == len(absent.text)


def test_a_terminal_sees_its_own_trade_whole_and_the_rest_of_the_lots_way_open(traded: Server) -> None:
    client = traded.client(Role.TERMINAL, NODE)
    found = client.get(f"/trace/{quote(LOT, safe='')}").json()
    by_node = {step["entry"][:9]: step for step in found["events"]}
    assert by_node[NODE]["visible"] == "whole" and len(by_node[NODE]["parties"]) == 2
    assert by_node[OTHER]["visible"] == "open" and not {"parties", "bizTransactionList"} & by_node[OTHER].keys()
    (event,) = client.get("/events/urn:x:event:near").json()["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
    assert event["ex:price"] == f"{MARKER} 12.50" and event["ilmd"] == {"ex:farmer": f"{MARKER} Zhang"}
    assert client.get(f"/entries/{NODE}/1").json()["sealed"]["salt"]


@pytest.mark.parametrize("role", [Role.REGULATOR, Role.ADMIN])
def test_who_oversees_sees_everything(traded: Server, role: Role) -> None:
    client = traded.client(role)
    found = client.get(f"/trace/{quote(LOT, safe='')}").json()
    assert [step["visible"] for step in found["events"]] == ["whole", "whole"]
    assert {marker in json.dumps(found["events"]) for marker in (MARKER, FAR_MARKER)} == {True}
    for name, marker in (("far", FAR_MARKER), ("near", MARKER), ("alien", FAR_MARKER)):
        assert marker in client.get(f"/events/urn:x:event:{name}").text


def test_a_whole_class_of_goods_shows_a_terminal_its_own_entries_only(traded: Server) -> None:
    """Everybody knows the GTIN of a bag of rice: tracing it must not show who else sells it."""
    gtin = "https://id.gs1.org/01/06901234500103"
    goods = [{"epcClass": gtin, "quantity": 3}]
    for node, name in ((OTHER, "urn:x:class:far"), (NODE, "urn:x:class:near")):
        event = at(node, BARE_EVENT, eventID=name, quantityList=goods)
        assert traded.client(Role.TERMINAL, node).post("/events", json=event).status_code == 201
    seen = traded.client(Role.TERMINAL, NODE).get(f"/trace/{quote(gtin, safe='')}").json()
    assert [step["eventID"] for step in seen["events"]] == ["urn:x:class:near"]
    assert len(traded.client(Role.REGULATOR).get(f"/trace/{quote(gtin, safe='')}").json()["events"]) == 2
    stranger = traded.client(Role.TERMINAL, "000000001")
    problem_of(stranger.get(f"/trace/{quote(gtin, safe='')}"), 404, "NoSuchNameException")


def test_a_terminal_writes_only_at_its_own_nodes(server: Server) -> None:
    client = server.client(Role.TERMINAL, NODE)
    for place in ("readPoint", "bizLocation"):
        for node in (OTHER, "000000000", "330212099"):
            event = {**BARE_EVENT, "readPoint": {"id": "urn:x:somewhere"}, place: {"id": f"urn:suyuan:node:{node}"}}
            problem_of(client.post("/events", json=event), 403, "SecurityException")
    elsewhere = {**BARE_EVENT, "readPoint": {"id": "urn:x:somewhere"}}
    assert client.post("/events", json=elsewhere).headers["suyuan-entry"] == f"{NODE}/1"
    own = {**BARE_EVENT, "eventID": "urn:x:own", "readPoint": {"id": f"urn:suyuan:node:{NODE}"}}
    assert client.post("/events", json=own).headers["suyuan-entry"] == f"{NODE}/2"


def test_every_write_names_its_actor(server: Server) -> None:
    code, key = credential(server.ledger, Role.TERMINAL, NODE)
    server.with_key(key).post("/events", json=at(NODE, BARE_EVENT))
    data = server.client(Role.REGULATOR).get(f"/entries/{NODE}/1", headers={"Accept": "application/octet-stream"})
    assert json.loads(data.content)["actor"] == code


def test_an_erased_part_is_shown_to_nobody(traded: Server) -> None:
    erase(traded.ledger.database, int(NODE), 1, "court order", "operator", now)
    for client in (traded.client(Role.REGULATOR), traded.client(Role.TERMINAL, NODE)):
        shown = client.get(f"/entries/{NODE}/1")
        assert shown.status_code == 200 and "sealed" not in shown.json()
        assert MARKER not in client.get("/events/urn:x:event:near").text
        found = client.get(f"/trace/{quote(LOT, safe='')}").json()
        (step,) = [step for step in found["events"] if step["entry"] == f"{NODE}/1"]
        assert step["visible"] == "open" and MARKER not in json.dumps(step)


def test_a_partner_sees_who_dealt_with_it_and_nobody_else_s_deals(server: Server) -> None:
    """One step back and one forward by party: of a step between two others only what is open."""
    steps = [(NODE, OTHER, "with"), (OTHER, "330212077", "away")]
    for seller, buyer, name in steps:
        event = {
            "type": "ObjectEvent", "action": "OBSERVE", "bizStep": "shipping", "eventTime": "2026-11-23T10:00:00+08:00",
            "eventTimeZoneOffset": "+08:00", "readPoint": {"id": f"urn:suyuan:node:{seller}"},
            "quantityList": [{"epcClass": LOT_URI, "quantity": 5, "uom": "KGM"}],
            "bizTransactionList": [{"type": "desadv", "bizTransaction": f"urn:suyuan:voucher:{name}"}],
            "sourceList": [{"type": "owning_party", "source": f"urn:suyuan:party:{seller}0000"}],
            "destinationList": [{"type": "owning_party", "destination": f"urn:suyuan:party:{buyer}0000"}],
            "suyuan:price": 7, "@context": [*BARE_EVENT["@context"], {"suyuan": "https://suyuan.example/ns/"}],
        }  # fmt: skip
        assert server.client(Role.WHOLESALER, seller).post("/events", json=event).status_code == 201
    # OTHER bought from NODE and sold on; NODE sees its own sale, and nothing of what OTHER did afterwards.
    client = server.client(Role.WHOLESALER, OTHER)
    seen = {step["bizTransactionList"][0]["bizTransaction"][-4:] for step in events_of(client, LOT_URI)}
    assert seen == {"with", "away"}
    by_node = {step["entry"][:9]: step for step in events_of(server.client(Role.WHOLESALER, NODE), LOT_URI)}
    assert by_node[NODE]["visible"] == "whole" and "parties" in by_node[NODE]
    assert by_node[OTHER]["visible"] == "open" and not {"parties", "bizTransactionList"} & by_node[OTHER].keys()
    bought = {step["entry"][:9]: step for step in events_of(client, LOT_URI)}[NODE]
    assert bought["visible"] == "open" and bought["parties"][0]["party"] == f"urn:suyuan:party:{NODE}0000"
    assert "suyuan:price" not in json.dumps(bought)


LOT_URI = "https://id.gs1.org/01/06901234500103/10/L9"


def events_of(client: httpx.Client, code: str) -> list[dict]:
    return client.get(f"/trace/{code}").json()["events"]
