"""The ledger over real HTTP: uvicorn on a free port, httpx as client, every answer looked at from outside."""

import base64
import hashlib
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import uvicorn
from fastapi.openapi.models import OpenAPI
from fastapi.routing import APIRoute, iter_route_contexts
from psycopg.types.json import Jsonb

from api import command
from api.app import create_app
from api.auth import Rule
from api.examples import BARE_EVENT, DOCUMENT
from api.ledger import Ledger, now
from api.problems import STATUS
from ledger import lanes as lanes_module
from ledger.access import Action, Role
from ledger.append import CHAIN_LOCKS
from ledger.codes import IMPORT, TraceScheme, parse_node
from ledger.credentials import issue
from ledger.documents import BODY_BYTES_MAX, EVENTS_MAX, write_json
from ledger.erase import erase
from ledger.errors import LedgerError
from ledger.merkle import TILE_WIDTH, ProofInvalid, leaf_hash, root, verify_consistency, verify_inclusion
from ledger.nodes import add_node
from ledger.notes import open_checkpoint, open_receipt, verify_proof
from ledger.registers import REGISTERS
from scanners.city import document
from scanners.labels import code128
from tests.conftest import Own, sign
from tests.test_append import day, request_of, rows

NODE, OTHER = "330212001", "330212002"
LOT = "https://id.gs1.org/01/06901234500103/10/P20261122A"
JSON_BODY = {"Content-Type": "application/json"}
PROBLEM = "application/problem+json"


@dataclass
class Server:
    """A served ledger. `client` signs in; whoever is not signed in uses `stranger`."""

    ledger: Ledger
    url: str
    clients: list[httpx.Client] = field(default_factory=list)

    def with_key(self, key: str | None) -> httpx.Client:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.clients.append(httpx.Client(base_url=self.url, timeout=60, headers=headers))
        return self.clients[-1]

    def client(self, role: Role = Role.ADMIN, *nodes: str) -> httpx.Client:
        return self.with_key(credential(self.ledger, role, *nodes)[1])


def credential(ledger: Ledger, role: Role, *nodes: str) -> tuple[str, str]:
    """A new credential: its code and its key."""
    with ledger.database.read() as connection:
        request, made, key = issue(connection, role, "test", nodes, 1, "operator", now())
    ledger.record(request)
    return made.credential, key


@contextmanager
def serving(ledger: Ledger) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(create_app(ledger), log_level="critical", access_log=False)
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        server = Server(ledger, f"http://127.0.0.1:{listening.getsockname()[1]}")
        try:
            yield server
        finally:
            for client in server.clients:
                client.close()
            running.should_exit = True
            thread.join()


@pytest.fixture
def server(ledger: Ledger) -> Iterator[Server]:
    """The ledger served, with two nodes registered."""
    for code in (NODE, OTHER):
        ledger.record(add_node(parse_node(code), f"市场 {code}", TraceScheme.OPERATOR_SERIAL, [], "operator"))
    with serving(ledger) as found:
        yield found


def at(node: str, event: dict, **changes: object) -> dict:
    """The event as it happened at a node."""
    return {**event, "readPoint": {"id": f"urn:suyuan:node:{node}"}, **changes}


def events_at(node: str, count: int, seed: int = 1) -> list[dict]:
    return [at(node, event) for event in day(count, seed)]


def capture(client: httpx.Client, events: list[dict], **headers: str) -> httpx.Response:
    return client.post("/capture", content=write_json(document(events, now())), headers={**JSON_BODY, **headers})


def problem_of(answer: httpx.Response, status: int, name: str) -> dict:
    """The problem document of an answer, as RFC 9457 and EPCIS 2.0 have it."""
    assert answer.status_code == status, (str(answer.url), answer.text)
    assert answer.headers["content-type"] == PROBLEM, str(answer.url)
    found = answer.json()
    assert found["type"] == f"epcisException:{name}" and found["status"] == status and found["title"]
    return found


# --- capture --------------------------------------------------------------------------------------


def test_a_capture_is_answered_with_its_ended_job_and_a_signed_receipt(server: Server) -> None:
    client = server.client(Role.TERMINAL, NODE)
    answer = capture(client, events_at(NODE, 30))
    assert answer.status_code == 202 and answer.headers["gs1-epcis-version"] == "2.0.0"
    job = client.get(answer.headers["location"])
    assert job.status_code == 200 and job.json() == answer.json()
    assert job.json()["running"] is False and job.json()["success"] is True and job.json()["errors"] == []
    vouched = open_receipt(job.json()["suyuan:receipt"], server.ledger.keys.verifiers())
    assert [(one.node, one.seq) for one in vouched] == [(int(NODE), seq) for seq in range(1, 31)]


def test_a_job_has_the_form_that_the_standard_gives_it(server: Server, shared_data: Path) -> None:
    schema = json.loads((shared_data / "epcis/gs1/schema/openapi.json").read_text())["components"]["schemas"]
    wanted = schema["CaptureJob"]["allOf"][0]["properties"]
    job = capture(server.client(), events_at(NODE, 1)).json()
    assert set(job) - set(wanted) == {"errors", "suyuan:receipt"}
    kinds = {"string": str, "boolean": bool}
    assert all(isinstance(job[name], kinds[about["type"]]) for name, about in wanted.items())


def test_every_breach_is_in_the_answer_and_nothing_is_stored(server: Server) -> None:
    good, one, two = events_at(NODE, 3)
    del one["eventTime"]
    two |= {"action": "PERHAPS", "foo": 1}
    found = problem_of(capture(server.client(), [good, one, two]), 400, "ValidationException")
    assert {breach["event"] for breach in found["errors"]} == {1, 2}
    assert {breach["path"].rpartition(".")[2] for breach in found["errors"]} == {"eventTime", "action", "foo"}
    assert all(breach["reason"] for breach in found["errors"]) and rows(server.ledger, "event") == 0


NO_DOCUMENTS = [b"", b"{", b"null", b"[]", b"\xff\xfe", b"{}" * 2, b'{"type": "EPCISDocument"}', b"[" * 5000, b"1e999"]


def test_what_is_no_document_is_a_problem(server: Server) -> None:
    for body in NO_DOCUMENTS:
        answer = server.client().post("/capture", content=body, headers=JSON_BODY)
        assert problem_of(answer, 400, "ValidationException")["errors"]


def test_a_conflict_rolls_the_whole_document_back(server: Server) -> None:
    client, events = server.client(), events_at(NODE, 5)
    capture(client, events[:1])
    answer = capture(client, [*events[1:], {**events[0], "disposition": "damaged"}])
    assert answer.status_code == 202 and answer.json()["success"] is False
    assert answer.json()["errors"][0]["type"] == "epcisException:ResourceAlreadyExistsException"
    assert answer.json()["suyuan:receipt"] == "" and rows(server.ledger, "event") == 1


def test_proceed_records_all_but_the_conflict(server: Server) -> None:
    client, events = server.client(), events_at(NODE, 5)
    capture(client, events[:1])
    behaviour = {"GS1-Capture-Error-Behaviour": "proceed"}
    answer = capture(client, [{**events[0], "disposition": "damaged"}, *events[1:]], **behaviour)
    job = answer.json()
    assert job["success"] is False and len(job["errors"]) == 1 and job["captureErrorBehaviour"] == "proceed"
    assert len(open_receipt(job["suyuan:receipt"], server.ledger.keys.verifiers())) == 4
    assert rows(server.ledger, "event") == 5


def test_the_same_capture_again_is_recorded_once(server: Server) -> None:
    client, events = server.client(), events_at(NODE, 20)
    first, second = capture(client, events).json(), capture(client, events).json()
    places = [open_receipt(job["suyuan:receipt"], server.ledger.keys.verifiers()) for job in (first, second)]
    assert [one[:4] for one in places[0]] == [one[:4] for one in places[1]]
    assert first["captureID"] != second["captureID"] and rows(server.ledger, "event") == 20


def test_an_unknown_error_behaviour_is_refused(server: Server) -> None:
    answer = capture(server.client(), events_at(NODE, 1), **{"GS1-Capture-Error-Behaviour": "perhaps"})
    problem_of(answer, 400, "QueryParameterException")
    assert rows(server.ledger, "event") == 0


def test_a_body_beyond_the_limit_is_refused_by_its_length(server: Server) -> None:
    answer = server.client().post("/capture", content=bytes(BODY_BYTES_MAX + 1), headers=JSON_BODY)
    problem_of(answer, 413, "CaptureLimitExceededException")
    assert answer.headers["gs1-epcis-capture-file-size-limit"] == str(BODY_BYTES_MAX)
    assert answer.headers["gs1-epcis-capture-limit"] == str(EVENTS_MAX)


def test_a_chunked_body_beyond_the_limit_is_refused_on_the_way(server: Server) -> None:
    """Its length is not announced, and it never ends: kept whole it would fill the memory."""
    host, port = server.url.removeprefix("http://").split(":")
    key = credential(server.ledger, Role.TERMINAL, NODE)[1]
    head = f"POST /capture HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    part = b"100000\r\n" + b" " * (1 << 20) + b"\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(BODY_BYTES_MAX // (1 << 20)):
            connection.sendall(part)
        connection.sendall(b"1\r\n \r\n")
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413") and b"gs1-epcis-capture-file-size-limit" in answer


def test_too_many_events_are_refused_with_the_limit(server: Server) -> None:
    event = {"type": "ObjectEvent"}
    answer = capture(server.client(), [event] * (EVENTS_MAX + 1))
    assert str(EVENTS_MAX) in problem_of(answer, 413, "CaptureLimitExceededException")["detail"]
    assert answer.headers["gs1-epcis-capture-limit"] == str(EVENTS_MAX)


WITH_BODY = ["/capture", "/events", "/registry/nodes", "/credentials"]
NO_JSON = ["text/xml", "application/x-www-form-urlencoded", None]


def test_a_body_that_is_not_json_is_refused_by_its_type(server: Server) -> None:
    for path in WITH_BODY:
        for kind in NO_JSON:
            headers = {} if kind is None else {"Content-Type": kind}
            answer = server.client().post(path, content=b"a=b", headers=headers)
            problem_of(answer, 415, "UnsupportedMediaTypeException")


def test_a_strangers_body_is_never_read(server: Server) -> None:
    """Read before the caller is known, it would be an open door to the memory of the process."""
    for path in ("/capture", "/events", "/registry/nodes", "/credentials"):
        answer = server.with_key(None).post(path, content=b"{", headers=JSON_BODY)
        problem_of(answer, 401, "SecurityException")


def test_a_caller_that_hangs_up_is_no_fault_of_ours(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Terminals lose their network all day: a traceback each time would hide the faults that matter."""
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.ERROR)
    host, port = server.url.removeprefix("http://").split(":")
    key = credential(server.ledger, Role.TERMINAL, NODE)[1]
    head = f"POST /capture HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f'{head}Content-Length: 1000\r\n\r\n{{"type":'.encode())
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1000):  # until the server has let go, too
            pass
    assert capture(server.client(Role.TERMINAL, NODE), events_at(NODE, 1)).status_code == 202
    logger.removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"] == []


def test_jobs_come_in_pages_newest_first(server: Server) -> None:
    client = server.client()
    jobs = [capture(client, events_at(NODE, 1, seed)).json()["captureID"] for seed in range(5)]
    path, seen = "/capture?perPage=2", []
    while path:
        answer = client.get(path)
        assert len(answer.json()) <= 2
        seen += [job["captureID"] for job in answer.json()]
        path = answer.links["next"]["url"] if answer.links else None
    assert seen == jobs[::-1]


BAD_PAGES = ["perPage=0", "perPage=x", "perPage=101", "nextPageToken=x"]


def test_a_bad_page_is_refused(server: Server) -> None:
    for query in BAD_PAGES:
        problem_of(server.client().get(f"/capture?{query}"), 400, "QueryParameterException")


def test_nobody_sees_the_job_of_another(server: Server) -> None:
    answer = capture(server.client(Role.TERMINAL, NODE), events_at(NODE, 1))
    another = server.client(Role.TERMINAL, NODE)
    problem_of(another.get(answer.headers["location"]), 404, "NoSuchNameException")
    token = answer.json()["captureID"]
    problem_of(another.get(f"/capture?nextPageToken={token}"), 404, "NoSuchNameException")
    assert another.get("/capture").json() == []


OTHER_VERSIONS = [
    {"GS1-EPCIS-Version": "1.2"},
    {"GS1-EPCIS-Min": "2.1"},
    {"GS1-EPCIS-Max": "1.2.0"},
    {"GS1-CBV-Version": "x"},
]


def test_another_version_of_the_standard_is_not_acceptable(server: Server) -> None:
    for headers in OTHER_VERSIONS:
        problem_of(capture(server.client(), events_at(NODE, 1), **headers), 406, "NotAcceptableException")
        assert rows(server.ledger, "event") == 0


@pytest.mark.parametrize("headers", [{"GS1-EPCIS-Version": "2.0"}, {"GS1-EPCIS-Min": "1.0.0", "GS1-CBV-Max": "3"}])
def test_a_range_with_our_version_in_it_is_fine(server: Server, headers: dict[str, str]) -> None:
    assert capture(server.client(), events_at(NODE, 1), **headers).status_code == 202


METHODS = [
    ("/capture", "GET, POST, OPTIONS"),
    ("/capture/x", "GET, OPTIONS"),
    ("/events", "POST, OPTIONS"),
    ("/events/urn%3Ax", "GET, OPTIONS"),
]


def test_options_tell_what_is_taken(server: Server) -> None:
    for path, allow in METHODS:
        answer = server.with_key(None).options(path)
        assert answer.status_code == 204 and answer.content == b"" and answer.headers["allow"] == allow
        assert answer.headers["gs1-epcis-min"] <= answer.headers["gs1-epcis-version"] <= answer.headers["gs1-epcis-max"]
        assert answer.headers["gs1-capture-error-behaviour"] == "all"


def test_a_full_ledger_says_when_to_come_again(server: Server, own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "WAITING_ENTRIES_MAX", 5)
    client = server.client()
    with own.database.connect() as blocker, ThreadPoolExecutor(8) as pool:
        blocker.execute("SELECT pg_advisory_xact_lock(%s, %s)", [CHAIN_LOCKS, int(NODE)])
        answers = [pool.submit(capture, client, events_at(NODE, 4, seed)) for seed in range(8)]
        done = next(iter_done(answers))
        found = problem_of(done, 503, "ImplementationException")
        assert done.headers["retry-after"] == "1" and "again" in found["detail"]
        blocker.rollback()
        statuses = {answer.result().status_code for answer in answers}
    assert statuses == {202, 503}


def iter_done(answers: list) -> Iterator[httpx.Response]:
    """The first answers that come."""
    yield from (answer.result() for answer in as_completed(answers, timeout=60))


def test_who_gave_up_waiting_does_not_stop_the_others(own: Own, ledger: Ledger) -> None:
    """A lane that an abandoned answer kills would keep everybody after it waiting for ever."""
    requests = [request_of(ledger, day(3, seed))[0] for seed in (1, 2, 3)]
    with own.database.connect() as blocker:
        blocker.execute("SELECT pg_advisory_xact_lock(%s, %s)", [CHAIN_LOCKS, int(IMPORT)])
        first, abandoned, last = map(ledger.lanes.submit, requests)
        abandoned.cancel()
        blocker.rollback()
    assert len(first.result(timeout=30)) == 3 and len(last.result(timeout=30)) == 3


# --- events by id ---------------------------------------------------------------------------------

IDS = [
    "urn:uuid:6a1c1e0e-6b1f-4b55-8d5d-0a8a4f1f2c01",
    "https://example.org/events/2026/11/23/1",
    "https://example.org/e/a%2Fb",
    "https://example.org/e?id=1&x=%20y#z",
    "ni:///sha-256;df7bb3c352fef055578554f09f5e2aa41782150ced7bd0b8af24dd3ccb30ba69?ver=CBV2.0",
    "https://id.gs1.org/01/06901234500103/21/7%2F8",
    "urn:example:a:b;c@d+e,f",
]


@pytest.mark.parametrize("name", IDS)
def test_one_event_is_found_again_where_its_location_says(server: Server, name: str) -> None:
    client = server.client(Role.TERMINAL, NODE)
    event = at(NODE, BARE_EVENT, eventID=name)
    answer = client.post("/events", content=write_json(event), headers=JSON_BODY)
    assert answer.status_code == 201 and answer.json()["eventID"] == name, answer.text
    assert answer.headers["location"] == f"/events/{quote(name, safe='')}"
    found = client.get(answer.headers["location"])
    assert found.status_code == 200 and found.json()["type"] == "EPCISQueryDocument"
    (one,) = found.json()["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
    assert one.pop("recordTime") and one == {key: value for key, value in event.items() if key != "@context"}
    vouched = open_receipt(base64.b64decode(answer.headers["suyuan-receipt"]).decode(), server.ledger.keys.verifiers())
    assert answer.headers["suyuan-entry"] == f"{vouched[0].node:09d}/{vouched[0].seq}"


@pytest.mark.parametrize("name", [name for name in IDS if "?" not in name])
def test_an_event_is_found_by_its_id_as_it_is(server: Server, name: str) -> None:
    """A person types the URI; only a question mark cannot be told from our own URL's."""
    client = server.client()
    client.post("/events", content=write_json(at(NODE, BARE_EVENT, eventID=name)), headers=JSON_BODY)
    assert client.get(f"/events/{name}").status_code == 200


def test_an_event_without_an_id_gets_the_same_one_again(server: Server) -> None:
    client = server.client()
    event = write_json({name: value for name, value in at(NODE, BARE_EVENT).items() if name != "eventID"})
    first, second = (client.post("/events", content=event, headers=JSON_BODY) for _ in range(2))
    assert first.status_code == second.status_code == 201 and first.headers["location"] == second.headers["location"]
    assert client.get(first.headers["location"]).status_code == 200 and rows(server.ledger, "event") == 1


def test_an_id_with_other_content_conflicts(server: Server) -> None:
    client = server.client()
    assert client.post("/events", content=write_json(at(NODE, BARE_EVENT)), headers=JSON_BODY).status_code == 201
    other = client.post("/events", content=write_json(at(NODE, BARE_EVENT, disposition="damaged")), headers=JSON_BODY)
    problem_of(other, 409, "ResourceAlreadyExistsException")
    assert rows(server.ledger, "event") == 1


def test_an_error_declaration_stands_beside_its_event(server: Server) -> None:
    client, event = server.client(), at(NODE, BARE_EVENT)
    declared = event | {"errorDeclaration": {"declarationTime": "2026-11-24T00:00:00Z", "reason": "did_not_occur"}}
    for one in (event, declared):
        assert client.post("/events", content=write_json(one), headers=JSON_BODY).status_code == 201
    found = client.get(f"/events/{quote(event['eventID'], safe='')}").json()
    both = found["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
    assert ["errorDeclaration" in one for one in both] == [False, True]


NO_SINGLE_EVENTS = [DOCUMENT | {"sender": "urn:x:y"}, DOCUMENT | {"epcisBody": {"eventList": []}}]


def test_one_event_is_not_a_document_with_more_in_it(server: Server) -> None:
    for body in NO_SINGLE_EVENTS:
        answer = server.client().post("/events", content=write_json(body), headers=JSON_BODY)
        problem_of(answer, 400, "ValidationException")
        assert rows(server.ledger, "event") == 0


UNKNOWN_EVENTS = ["urn:x:nobody", "", "%00", "%FF", "tick%202026", "a" * 3000]


def test_an_unknown_event_is_not_found(server: Server) -> None:
    for name in UNKNOWN_EVENTS:
        problem_of(server.client().get(f"/events/{name}"), 404, "NoSuchNameException")


def test_entries_with_names_that_are_no_events_are_not_found_as_such(server: Server) -> None:
    """Erasures, ticks and envelopes are kept once under names of their own, in the same table as event ids."""
    client = server.client()
    envelope = DOCUMENT | {
        "epcisBody": {"eventList": [at(NODE, DOCUMENT["epcisBody"]["eventList"][0])]},
        "id": "urn:x:document",
    }
    assert client.post("/capture", content=write_json(envelope), headers=JSON_BODY).json()["success"]
    erase(server.ledger.database, parse_node(NODE), 1, "a test", "operator", now)
    problem_of(client.get(f"/events/{quote(f'erasure {NODE}/1', safe='')}"), 404, "NoSuchNameException")


# --- trace and entries ----------------------------------------------------------------------------


def lot_event(**fields: object) -> dict:
    """An event about nothing but what is given."""
    event = {name: value for name, value in at(NODE, BARE_EVENT).items() if name not in ("quantityList", "eventID")}
    return event | fields


CODES = {
    LOT: [LOT, quote(LOT, safe=""), "(01)06901234500103(10)P20261122A", "01/06901234500103/10/P20261122A"][:3],
    "urn:suyuan:trace:33021200100010000001": ["33021200100010000001", "urn:suyuan:trace:33021200100010000001"],
    "urn:suyuan:drug:81234567890123456789": ["81234567890123456789"],
    "https://id.gs1.org/00/069012345000000011": ["069012345000000011", "(00)069012345000000011"],
    "urn:epc:id:sgtin:6901234.050010.7%2F8": [
        "https://id.gs1.org/01/06901234500103/21/7%2F8",
        quote("https://id.gs1.org/01/06901234500103/21/7%2F8", safe=""),
        "%2801%2906901234500103%2821%297%2F8",
        quote("urn:epc:id:sgtin:6901234.050010.7%2F8", safe=""),
        "https://id.gs1.org/01/06901234500103/10/X/21/7%2F8?17=261231",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("uri", "forms"), CODES.items())
def test_a_code_is_traced_in_every_form_in_which_it_is_written(server: Server, uri: str, forms: list[str]) -> None:
    client = server.client()
    goods = {"quantityList": [{"epcClass": uri, "quantity": 1}]} if "/10/" in uri else {"epcList": [uri]}
    event = lot_event(action="OBSERVE", **goods)
    assert client.post("/events", content=write_json(event), headers=JSON_BODY).status_code == 201
    for form in forms:
        answer = client.get(f"/trace/{form}")
        assert answer.status_code == 200, (form, answer.text)
        assert [step["entry"] for step in answer.json()["events"]] == [f"{NODE}/1"]


UNTRACEABLE = [
    ("x", 400),
    ("", 400),
    ("%00", 400),
    ("a:%00b", 400),
    ("(01)1", 400),
    ("123", 400),
    ("urn:epc:id:sgtin:1", 400),
    ("069012345000000019", 400),
    ("urn:x:nobody", 404),
    ("a:%FF", 404),
    ("33021200100010000009", 404),
]


def test_what_cannot_be_traced_is_told(server: Server) -> None:
    for code, status in UNTRACEABLE:
        name = {400: "QueryParameterException", 404: "NoSuchNameException"}[status]
        assert problem_of(server.client().get(f"/trace/{code}"), status, name)["detail"]


def test_an_unknown_direction_is_refused(server: Server) -> None:
    problem_of(server.client().get("/trace/a:b?direction=sideways"), 400, "QueryParameterException")


def test_the_bytes_of_an_entry_hash_to_its_hash(server: Server) -> None:
    client = server.client()
    (recorded,) = open_receipt(
        capture(client, events_at(NODE, 1)).json()["suyuan:receipt"], server.ledger.keys.verifiers()
    )
    shown = client.get(f"/entries/{NODE}/1").json()
    data = client.get(f"/entries/{NODE}/1", headers={"Accept": "application/octet-stream"})
    assert data.headers["content-type"] == "application/octet-stream"
    assert hashlib.sha256(data.content).hexdigest() == shown["hash"] == recorded.hash.hex()
    assert base64.b64decode(shown["data"]) == data.content and json.loads(data.content)["body"] == shown["body"]


NO_ENTRIES = [(f"{NODE}/0", 400), (f"{NODE}/x", 400), (f"{NODE}/9", 404), ("1/1", 400), (f"{OTHER}/1", 404)]


def test_an_entry_that_is_not_there_is_told(server: Server) -> None:
    for path, status in NO_ENTRIES:
        name = {400: "QueryParameterException", 404: "NoSuchNameException"}[status]
        problem_of(server.client().get(f"/entries/{path}"), status, name)


# --- the log --------------------------------------------------------------------------------------


@pytest.fixture
def signed(server: Server) -> Server:
    """A log of more than a tile, with two checkpoints."""
    capture(server.client(), events_at(NODE, 200))
    sign(server.ledger)
    capture(server.client(), events_at(OTHER, 120, 2))
    sign(server.ledger)
    return server


def checkpoint_of(server: Server) -> tuple[int, bytes]:
    answer = server.with_key(None).get("/checkpoint")
    assert answer.headers["content-type"].startswith("text/plain")
    found = open_checkpoint(answer.text, server.ledger.keys.verifiers())
    return found.size, found.root


def tile_path(level: str, n: int, width: int) -> str:
    """C2SP tlog-tiles: groups of three digits, all but the last with an x; .p/W where the tile is not full."""
    groups = [f"{n:03d}"] if n < 1000 else [f"x{n // 1000:03d}", f"{n % 1000:03d}"]
    return f"/tile/{level}/{'/'.join(groups)}" + (f".p/{width}" if width < TILE_WIDTH else "")


def test_the_tiles_give_the_root_that_was_signed(signed: Server) -> None:
    """Computed anew from nothing but what is served: entry bundles, leaf tiles, root."""
    client = signed.with_key(None)
    size, wanted = checkpoint_of(signed)
    leaves = b""
    for n in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - n * TILE_WIDTH)
        bundle = client.get(tile_path("entries", n, width))
        hashes = [bundle.content[i + 2 : i + 34] for i in range(0, len(bundle.content), 34)]
        assert len(hashes) == width and all(bundle.content[i : i + 2] == b"\0\x20" for i in range(0, 34 * width, 34))
        row = client.get(tile_path("0", n, width))
        assert row.content == b"".join(map(leaf_hash, hashes)) and "immutable" in row.headers["cache-control"]
        leaves += row.content
    assert size > TILE_WIDTH
    tiles = {(0, n): leaves[n * 8192 : (n + 1) * 8192] for n in range(2)}
    tiles[1, 0] = client.get(tile_path("1", 0, 1)).content
    assert root(size, lambda level, n: tiles[level, n]) == wanted


NO_TILES = [
    "0/000.p/0",
    "0/000.p/256",
    "0/000.p/01",
    "0/000.p/-1",
    "0/0",
    "0/00",
    "0/0000",
    "0/x000/000",
    "0/x001/000",
    "0/000/000",
    "00/000",
    "+0/000",
    "0_0/000",
    "0.0/000",
    "64/000.p/1",
    "x/000",
    "-1/000",
    "0/001",
    "0/001.p/255",
    "2/000.p/1",
    "0/" + "x001/" * 1500 + "001",
    "entries/x000/000",
    "entries/002.p/1",
    "entries/000.p/256",
    "0/000.p/",
    "0/000.p/1/2",
    "0/%00",
    "data/000",
    "0/٠٠٠",
]


def test_a_tile_that_does_not_exist_or_is_named_otherwise_is_not_found(signed: Server) -> None:
    """Two names for one tile would split caches and hide what a log shows to whom."""
    for path in NO_TILES:
        problem_of(signed.with_key(None).get(f"/tile/{path}"), 404, "NoSuchNameException")


def test_an_entry_is_proved_under_every_checkpoint(signed: Server) -> None:
    client = signed.with_key(None)
    data = signed.client().get(f"/entries/{NODE}/77", headers={"Accept": "application/octet-stream"}).content
    for size in (None, checkpoint_of(signed)[0]):
        params = {"node": NODE, "seq": 77} | ({} if size is None else {"size": size})
        found = client.get("/proof/inclusion", params=params).json()
        under = open_checkpoint(found["checkpoint"], signed.ledger.keys.verifiers())
        path = [base64.b64decode(one) for one in found["path"]]
        leaf = leaf_hash(hashlib.sha256(data).digest())
        assert base64.b64decode(found["leafHash"]) == leaf and found["size"] == under.size
        verify_inclusion(found["index"], under.size, leaf, path, under.root)


def test_the_proof_file_is_good_for_the_entry_and_for_nothing_else(signed: Server) -> None:
    client, verifiers = signed.with_key(None), signed.ledger.keys.verifiers()
    data = signed.client().get(f"/entries/{OTHER}/5", headers={"Accept": "application/octet-stream"}).content
    text = client.get("/proof/file", params={"node": OTHER, "seq": 5}).text
    _, under = verify_proof(text, data, verifiers)
    assert under.size == checkpoint_of(signed)[0]
    with pytest.raises(ProofInvalid):
        verify_proof(text, data[:-1] + b" ", verifiers)


def test_an_older_tree_is_proved_to_be_the_beginning(signed: Server) -> None:
    with signed.ledger.database.connect() as connection:
        (old, old_root), (new, new_root) = connection.execute(
            "SELECT size, root FROM checkpoint ORDER BY size"
        ).fetchall()
    found = signed.with_key(None).get("/proof/consistency", params={"from": old}).json()
    proof = [base64.b64decode(one) for one in found["proof"]]
    assert found["to"] == new
    verify_consistency(old, new, old_root, new_root, proof)
    with pytest.raises(ProofInvalid):
        verify_consistency(old, new, new_root, old_root, proof)


NO_PROOFS = [
    ("inclusion", 400),
    (f"inclusion?node={NODE}", 400),
    (f"inclusion?node={NODE}&seq=0", 400),
    (f"inclusion?node={NODE}&seq=999999", 404),
    ("inclusion?node=1&seq=1", 400),
    (f"inclusion?node={NODE}&seq=1&size=3", 404),
    (f"inclusion?node={NODE}&seq=1&size=x", 400),
    (f"file?node={NODE}&seq=99999", 404),
    ("consistency", 400),
    ("consistency?from=0", 400),
    ("consistency?from=9&to=3", 404),
    ("consistency?from=1&to=999999", 404),
    ("consistency?from=99999999999999999999", 400),
]


def test_a_proof_that_cannot_be_given_is_a_problem(signed: Server) -> None:
    for query, status in NO_PROOFS:
        name = {400: "QueryParameterException", 404: "NoSuchNameException"}[status]
        problem_of(signed.with_key(None).get(f"/proof/{query}"), status, name)


def test_before_anything_is_signed_there_is_no_checkpoint(server: Server) -> None:
    problem_of(server.with_key(None).get("/checkpoint"), 404, "NoSuchNameException")
    problem_of(server.with_key(None).get("/tile/0/000.p/1"), 404, "NoSuchNameException")


def test_the_public_key_is_served(server: Server) -> None:
    assert server.with_key(None).get("/key").text.splitlines() == [str(server.ledger.signer.verifier)]


# --- administration -------------------------------------------------------------------------------


def test_a_node_is_registered_changed_and_listed(server: Server) -> None:
    client = server.client()
    new = {
        "node": "330212009",
        "name": "城东",
        "trace_scheme": "B",
        "locations": ["https://id.gs1.org/414/6901234500011"],
    }
    made = client.post("/registry/nodes", json=new)
    assert made.status_code == 201 and made.json()["version"] == 1 and made.json()["open"] is True
    problem_of(client.post("/registry/nodes", json=new), 409, "ResourceAlreadyExistsException")
    client.patch("/registry/nodes/330212009", json={"kind": "market", "locations": made.json()["locations"]})
    step = {"step": "close", "reason": "moved"}
    changed = client.post("/registry/nodes/330212009/steps", json=step).json()
    assert (
        changed
        == made.json() | {"open": False, "version": 3, "kind": "market"}
        == client.get("/registry/nodes/330212009").json()
    )
    listed = client.get("/registry/nodes", params={"after": OTHER, "limit": 1}).json()
    assert listed == [changed]


def test_a_closed_node_takes_no_entries(server: Server) -> None:
    client, terminal = server.client(), server.client(Role.TERMINAL, NODE)
    client.post(f"/registry/nodes/{NODE}/steps", json={"step": "close", "reason": "moved"})
    problem_of(capture(terminal, events_at(NODE, 1)), 403, "SecurityException")
    unplaced = {name: value for name, value in BARE_EVENT.items() if name != "readPoint"}
    problem_of(terminal.post("/events", json=unplaced), 403, "SecurityException")
    envelope = DOCUMENT | {"epcisBody": {"eventList": []}, "id": "urn:x:document"}
    problem_of(terminal.post("/capture", json=envelope), 403, "SecurityException")
    assert rows(server.ledger, "event") == 0


def test_a_registered_read_point_leads_to_its_node(server: Server) -> None:
    link = "https://id.gs1.org/414/6901234500011"
    server.client().patch(f"/registry/nodes/{NODE}", json={"locations": [link]})
    terminal = server.client(Role.TERMINAL, OTHER, NODE)
    event = BARE_EVENT | {"readPoint": {"id": link}}
    assert terminal.post("/events", json=event).headers["suyuan-entry"] == f"{NODE}/1"


GOOD_NODE = {"node": "330212009", "name": "x", "trace_scheme": "A"}


BAD_NODES = [
    {"node": "33021200"},
    {"node": 330212009},
    {"name": ""},
    {"name": "a\nb"},
    {"name": "\x9b31m"},
    {"name": "\ud800"},
    {"trace_scheme": "C"},
    {"locations": ["a b"]},
    {"locations": ["urn:x:\0"]},
    {"name": "x" * 201},
    {"locations": ["x"]},
    {"locations": [f"urn:suyuan:node:{NODE}"]},
    {"locations": [["urn:x:y"]]},
    {"locations": {"urn:x:y": 1}},
    {"foo": 1},
    {"open": True},
]


def test_a_node_that_makes_no_sense_is_refused(server: Server) -> None:
    for change in BAD_NODES:
        body = json.dumps(GOOD_NODE | change)
        answer = server.client().post("/registry/nodes", content=body, headers=JSON_BODY)
        assert answer.status_code == 400 and answer.headers["content-type"] == PROBLEM and answer.json()["detail"]
        problem_of(server.client().get("/registry/nodes/330212009"), 404, "NoSuchNameException")


def test_a_key_is_shown_once_and_nowhere_else(server: Server) -> None:
    client = server.client()
    made = client.post("/credentials", json={"role": "terminal", "label": "stall 12", "nodes": [NODE]})
    assert made.status_code == 201
    secret = made.json()["key"].rpartition("_")[2]
    assert server.with_key(made.json()["key"]).get("/capture").status_code == 200
    listed = client.get("/credentials").text
    assert made.json()["credential"] in listed and secret not in listed and "hash" not in listed
    with server.ledger.database.connect() as connection:
        data = connection.execute("SELECT string_agg(data, '') FROM entry").fetchone()[0]
    assert secret.encode() not in data


def test_a_credential_is_revoked_once(server: Server) -> None:
    client = server.client()
    code, key = credential(server.ledger, Role.TERMINAL, NODE)
    assert client.delete(f"/credentials/{code}").json()["revoked_at"]
    problem_of(server.with_key(key).get("/capture"), 401, "SecurityException")
    problem_of(client.delete(f"/credentials/{code}"), 409, "ResourceAlreadyExistsException")
    problem_of(client.delete("/credentials/aaaaaaaaaa"), 404, "NoSuchNameException")
    problem_of(client.delete("/credentials/%00"), 404, "NoSuchNameException")
    shown = {one["credential"]: one["revoked_at"] for one in client.get("/credentials").json()}
    assert shown[code] and sum(at is None for at in shown.values()) == len(shown) - 1


def test_credentials_come_in_pages(server: Server) -> None:
    client = server.client()
    made = sorted([credential(server.ledger, Role.REGULATOR)[0] for _ in range(3)])
    every = [one["credential"] for one in client.get("/credentials").json()]
    paged, after = [], ""
    while part := client.get("/credentials", params={"after": after, "limit": 2}).json():
        paged += [one["credential"] for one in part]
        after = paged[-1]
    assert paged == every == sorted(every) and set(made) < set(every)
    for bad in ("after=%00", "after=A", "limit=0", "limit=x"):
        problem_of(client.get(f"/credentials?{bad}"), 400, "QueryParameterException")


BAD_CREDENTIALS = [
    ({"role": "boss"}, 400),
    ({"nodes": []}, 409),
    ({"nodes": ["330212077"]}, 404),
    ({"nodes": ["x"]}, 400),
    ({"nodes": ["000000000"]}, 409),
    ({"days": 0}, 400),
    ({"days": 3651}, 400),
    ({"days": "1"}, 400),
    ({"label": ""}, 400),
    ({"label": "a\0"}, 400),
    ({"key": "x"}, 400),
]


def test_a_credential_that_makes_no_sense_is_refused(server: Server) -> None:
    for change, status in BAD_CREDENTIALS:
        client = server.client()
        before = client.get("/credentials").json()
        answer = client.post("/credentials", json={"role": "terminal", "label": "x", "nodes": [NODE]} | change)
        assert answer.status_code == status and answer.headers["content-type"] == PROBLEM, answer.text
        assert client.get("/credentials").json() == before


# --- the whole ------------------------------------------------------------------------------------


ERRORS = [
    ("GET", "/nope", 404),
    ("GET", "/nope/%00/%FF", 404),
    ("PUT", "/capture", 405),
    ("DELETE", "/checkpoint", 405),
    ("GET", "/capture/xyz", 400),
    ("GET", "/events", 405),
    ("PATCH", "/credentials/x", 405),
]


def test_every_error_is_a_problem_document(server: Server) -> None:
    for method, path, status in ERRORS:
        answer = server.client().request(method, path)
        assert answer.status_code == status and answer.headers["content-type"] == PROBLEM
        assert answer.json()["status"] == status and answer.json()["type"].startswith("epcisException:")


@contextmanager
def broken(own: Own, table: str, column: str) -> Iterator[None]:
    """A database that is not as the program believes: the column has another name."""
    with own.superuser() as superuser:
        superuser.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO secret_name")
        try:
            yield
        finally:
            superuser.execute(f"ALTER TABLE {table} RENAME COLUMN secret_name TO {column}")


def test_a_fault_of_our_own_is_a_problem_that_shows_nothing(server: Server, own: Own) -> None:
    client = server.client()
    with broken(own, "capture_job", "success"):
        answer = client.get("/capture")
        found = problem_of(answer, 500, "ImplementationException")
        assert "secret_name" not in answer.text and "SELECT" not in answer.text and found["detail"]
    assert client.get("/capture").status_code == 200


def test_a_fault_where_keys_are_asked_for_shows_nothing_either(server: Server, own: Own) -> None:
    """Keys are asked for by a thread of their own, for many at once: nobody gets in, and the next round works again."""
    client = server.client()
    with broken(own, "credential", "role"):
        answer = client.get("/capture")
        found = problem_of(answer, 503, "ImplementationException")
        assert "secret_name" not in answer.text and "SELECT" not in answer.text and found["detail"]
        assert answer.headers["retry-after"] == "1"
    assert client.get("/capture").status_code == 200


def test_the_process_says_that_it_lives_while_all_its_threads_wait(server: Server, own: Own) -> None:
    """Were the answer queued behind the database, a supervisor would kill a process that only waits.

    What waits: every thread of the pool for entries, then the one that asks for keys as well, for one not seen before.
    """
    key, new_key = (credential(server.ledger, Role.REGULATOR)[1] for _ in range(2))
    with own.superuser() as blocker, ThreadPoolExecutor(61) as pool:
        with blocker.transaction():
            blocker.execute("LOCK TABLE entry IN ACCESS EXCLUSIVE MODE")
            asking = [pool.submit(server.with_key(key).get, "/entries/000000000/1") for _ in range(60)]
            deadline = time.monotonic() + 60
            while sum("AnyIO worker" in thread.name for thread in threading.enumerate()) < 40:
                assert time.monotonic() < deadline, "the threads are never all taken"
                time.sleep(0.01)
            blocker.execute("LOCK TABLE credential IN ACCESS EXCLUSIVE MODE")
            asking.append(pool.submit(server.with_key(new_key).get, "/entries/000000000/1"))
            while not waits_for(own, "credential"):
                assert time.monotonic() < deadline, "the gate never waits"
                time.sleep(0.01)
            assert server.with_key(None).get("/health/live", timeout=15).json() == {"status": "live"}
        assert {answer.result().status_code for answer in asking} <= {200, 503}


def waits_for(own: Own, table: str) -> bool:
    """Whether somebody waits for a lock of the table."""
    with own.superuser() as connection:
        question = "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND NOT granted"
        return connection.execute(question, [table]).fetchone() != (0,)


def test_health_tells_what_the_process_can_do(server: Server) -> None:
    client = server.with_key(None)
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready", "trouble": None}


def test_the_top_level_resources_exist(server: Server) -> None:
    top = server.with_key(None).get("/").json()
    assert top["type"] == "Collection"
    paths = {route.path.split("/")[1] for route in routes_of(server.ledger)}
    assert set(top["member"]) <= paths


def routes_of(ledger: Ledger | None) -> list[APIRoute]:
    """Every route of the application, those of its routers included."""
    app = create_app(ledger)
    return [one.route for one in iter_route_contexts(app.routes) if isinstance(one.route, APIRoute)]


def rules_of(route: APIRoute) -> list[Rule]:
    return [part.call for part in route.dependant.dependencies if isinstance(part.call, Rule)]


def test_every_route_has_exactly_one_rule() -> None:
    routes = routes_of(None)
    assert len(routes) > 20
    assert {route.path: len(rules_of(route)) for route in routes if len(rules_of(route)) != 1} == {}


def test_every_action_is_some_routes_or_commands() -> None:
    used = {rule.action for route in routes_of(None) for rule in rules_of(route)}
    used |= {register.keep for register in REGISTERS}
    used |= {Action.GIVE_COMMANDS}  # asked for by the route of commands, of which one only asks
    assert used == set(Action)
    assert "no credential" in (command.__doc__ or ""), "the command's rule is the operating system's"


def test_every_error_has_its_status() -> None:
    def under(error: type[LedgerError]) -> Iterator[type[LedgerError]]:
        for one in error.__subclasses__():
            yield one
            yield from under(one)

    assert set(under(LedgerError)) == set(STATUS)


def operations() -> Iterator[tuple[str, dict]]:
    for path, item in create_app(None).openapi()["paths"].items():
        for method, operation in item.items():
            yield f"{method} {path}", operation


def test_the_openapi_document_is_valid_and_its_references_lead_somewhere() -> None:
    found = create_app(None).openapi()
    OpenAPI.model_validate(found)

    def references(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            yield from (one for key, one in value.items() if key == "$ref")
            for inner in value.values():
                yield from references(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from references(inner)

    for reference in references(found):
        target: object = found
        for part in reference.removeprefix("#/").split("/"):
            assert isinstance(target, dict)
            target = target[part]
    names = [operation["operationId"] for _, operation in operations()]
    assert len(names) == len(set(names))


def test_every_operation_is_described_and_every_body_has_an_example() -> None:
    missing = []
    for name, operation in operations():
        if not operation.get("description"):
            missing.append(f"{name}: description")
        for kind in operation.get("requestBody", {"content": {}})["content"].values():
            if not (kind.get("example") or kind.get("examples")):
                missing.append(f"{name}: example")
        path = name.partition(" ")[2]
        declared = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
        for part in path.split("/"):
            if part.startswith("{") and part.strip("{}").partition(":")[0] not in declared:
                missing.append(f"{name}: {part}")
        if "422" in operation["responses"]:
            missing.append(f"{name}: promises 422, which is never given")
    assert missing == []


DRUG = "81234560000000010001"
SCAN = "0d3c5a52-8f0e-4c77-9f7e-0b7f6f1f3a01"


WARNED = f"{NODE}-0f1e2d3c4b5a69788796a5b4"


def warn(server: Server) -> None:
    """A warning as the watcher writes one, of a lot."""
    body = {"values": {"item": "urn:suyuan:lot:21113011:33021200126112500001"}, "evidence": [], "message": {}}
    with server.ledger.database.connection() as connection:
        connection.execute(
            "INSERT INTO warning VALUES (%s, 1, 'r', 'v', 'f', 1, %s, 330212, NULL, 's', now(), now(), 0, 'open', NULL,"
            " NULL, 1, %s, '{}')", [WARNED, int(NODE), Jsonb(body)],
        )  # fmt: skip


def test_the_examples_of_the_openapi_document_work(server: Server) -> None:
    warn(server)
    client, pharmacy = server.client(), server.client(Role.PHARMACY, NODE)
    client.post("/registry/nodes", json={"node": "330212003", "name": "x", "trace_scheme": "A"})
    client.post("/registry/products", json={"product": "8123456", "name": "x", "kind": "drug"})
    hook = {"subscription": f"{NODE}-erp", "channel": "webhook", "destination": "https://erp.example/hook"}
    assert client.post("/registry/subscriptions", json=hook).status_code == 201
    tried = 0
    for name, operation in operations():
        method, _, path = name.partition(" ")
        for kind, content in operation.get("requestBody", {"content": {}})["content"].items():
            body = content["example"]
            sent = body.encode() if kind == "text/csv" else write_json(body)
            if kind.startswith("image/"):
                sent = code128(DRUG).png()
            code = DRUG if "/packs" in path else f"{NODE}-erp" if "/subscriptions" in path else f"{NODE}0001"
            place = path.replace("{register}", "parties").replace("{code}", code).replace("{scan}", SCAN)
            place = place.replace("{command}", "supply").replace("{report}", "monthly").replace("{warning}", WARNED)
            asks = pharmacy if {"packs"} & {*operation["tags"]} else client
            answer = asks.request(method, place, content=sent, headers={"Content-Type": kind})
            assert answer.status_code in (200, 201, 202), (name, answer.text)
            tried += 1
    assert tried == 31
