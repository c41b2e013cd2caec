"""Personal values are where they may be and nowhere else: planted, then looked for in everything that comes out.

What is planted is unmistakable, and looked for in every form that it could hide in.
"""

import base64
import csv
import hashlib
import io
import json
import logging
import os
import re
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

import httpx
import psycopg
import pytest
from openpyxl import Workbook, load_workbook
from psycopg import sql

from api.ledger import now
from ledger.access import Actor, Role
from ledger.documents import BODY_BYTES_MAX
from ledger.embedded import APPLICATION, OWNER, SUPERUSER
from ledger.erase import erase_party
from ledger.filing import Filed, Line, file_lines, file_one
from ledger.nodes import OPERATOR
from ledger.registers import LICENCE, PARTY, REGISTERS, SUBSCRIPTION, Register
from ledger.registry import record
from tests.conftest import Own, look, sign
from tests.test_access import client_of
from tests.test_http import JSON_BODY, NODE, OTHER, Server, problem_of, server

__all__ = ["server"]

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
CSV_BODY, XLSX_BODY = {"Content-Type": "text/csv"}, {"Content-Type": XLSX}
OURS, TRADER, FAR, VISITOR, ABSENT = f"{NODE}0001", f"{NODE}0002", f"{OTHER}0001", f"{OTHER}0002", f"{OTHER}0009"
SHOWN_TO_READERS = ("position", "scan")
"""Private fields whose mask hides nothing."""


def identity(number: int) -> str:
    """An identity number with the right check character; each number has its own."""
    body = f"3302121987{number % 12 + 1:02d}17{number % 1000:03d}"
    return body + "10X98765432"[sum(int(c) * pow(2, 17 - i, 11) for i, c in enumerate(body)) % 11]


def trader_code(number: int) -> str:
    """A credit code of a sole trader, with the right check character."""
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    body = f"92330212MA{number:07d}"
    return body + alphabet[-sum(alphabet.index(c) * 3**i % 31 for i, c in enumerate(body)) % 31]


def person(number: int, trader: bool = False) -> dict[str, str]:
    """Values for every private field of a party: characters and digits that nothing else here has."""
    name = "貔貅饕餮囹圄耄耋魑魅魍魉"[number]
    return {
        "legal_name": f"{name}犇骉{number}", "legal_representative": f"{name}淼焱{number}",
        "contact": f"{name}猋驫{number}", "phone": f"1997654{number:02d}83", "address": f"{name}垚弄{number}号龘室",
        "position": f"Q-{number}{name}",
        **({"credit_code": trader_code(9137 + number)} if trader else {"identity_number": identity(531 + number)}),
    }  # fmt: skip


def paper(number: int) -> dict[str, str]:
    """Values for every private field of a licence."""
    return {
        "number": f"JY9{number:02d}76543210987", "scope": f"鱻类{number}羴羊", "issuer": f"麤局{number}",
        "scan": hashlib.sha256(b"scan %d" % number).hexdigest(),
    }  # fmt: skip


def outlet(number: int) -> dict[str, str]:
    """Values for every private field of a subscription."""
    return {
        "destination": f"https://qxzvkj{number}.example/wvkqz{number}", "secret": secret(2 * number),
        "secret_before": secret(2 * number + 1),
    }  # fmt: skip


def secret(number: int) -> str:
    return f"whsec_{base64.b64encode(hashlib.sha256(b'secret %d' % number).digest()[:24]).decode()}"


def reason(number: int) -> str:
    """Why: people write names into it."""
    return f"蠱毐{number}告发"


REASONS = iter(range(1, 10_000))


def forms(value: str) -> set[bytes]:
    """How a value could stand in bytes: encodings, escapes, and hashes without a key."""
    plain = value.encode()
    found = {plain, value.encode("utf-16-le"), value.encode("utf-16-be"), value.encode("gb18030")}
    for i in range(3):  # base64 at every alignment
        whole = plain[i : i + (len(plain) - i) // 3 * 3]
        found |= {base64.b64encode(whole), base64.urlsafe_b64encode(whole)}
    for one in (plain, value.encode("utf-16-le"), hashlib.sha256(plain).digest(), hashlib.md5(plain).digest()):
        found |= {one, one.hex().encode(), one.hex().upper().encode()}
    escaped = (quote(value, safe=""), quote(value, safe="").lower(), quote_plus(value), json.dumps(value)[1:-1])
    found |= {one.encode() for one in (*escaped, repr(value)[1:-1], ascii(value)[1:-1])}
    return {one for one in found if len(one) > 5}


@dataclass
class Planted:
    """A served ledger with personal values in it, and what they are."""

    server: Server
    values: dict[str, str] = field(default_factory=dict)
    """Every planted value, by where it was planted."""

    def plant(self, where: str, given: Mapping[str, str]) -> dict[str, str]:
        self.values |= {f"{where} {name}": value for name, value in given.items()}
        return dict(given)

    def why(self, where: str) -> str:
        return self.plant(where, {"reason": reason(next(REASONS))})["reason"]

    def found_in(self, data: bytes, *, masked: bool = False) -> list[str]:
        """What of it stands in some bytes. `masked`: but for what masks show."""
        return [
            where
            for where, value in self.values.items()
            if not (masked and where.endswith(SHOWN_TO_READERS)) and any(form in data for form in forms(value))
        ]


def party(code: str, values: Mapping[str, str], **more: object) -> dict[str, object]:
    return {"party": code, "kinds": ["retailer"], **values, **more}


def licence(code: str, values: Mapping[str, str], **more: object) -> dict[str, object]:
    return {"party": code, "kind": "food_operation", "valid_from": "2026-01-01", **values, **more}


def sheet_of(*rows: Mapping[str, object]) -> bytes:
    text = io.StringIO(newline="")
    written = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    written.writeheader()
    written.writerows(rows)
    return text.getvalue().encode()


@pytest.fixture
def planted(server: Server) -> Planted:
    """Values through every way in: the functions of the command line, and each route of the registry."""
    made, ledger = Planted(server), server.ledger
    registrar = ledger.registrar(OPERATOR)

    def file(register: Register, given: Mapping[str, object], why: str) -> tuple[str, ...]:
        with ledger.database.read() as connection:
            request, key = file_one(connection, registrar, register, given, why)
        ledger.record(request)
        return key

    # as the command line does
    key = file(PARTY, party(OURS, made.plant("ours", person(0))), made.why("ours filed"))
    file(LICENCE, licence(OURS, made.plant("our licence", paper(0))), made.why("our licence filed"))
    for number, place in enumerate((NODE, OTHER)):
        given = made.plant(f"subscription {number}", outlet(number)) | {"subscription": f"{place}-erp"}
        file(SUBSCRIPTION, {**given, "channel": "webhook"}, made.why(f"subscription {number} filed"))
    with ledger.database.read() as connection:
        present = record(connection, ledger.vault, PARTY, key)
    changed = registrar.change(present, made.plant("ours changed", {"contact": "卌犇七"}), made.why("ours changed"))
    assert changed is not None
    ledger.record(changed)
    with ledger.database.read() as connection:
        present = record(connection, ledger.vault, PARTY, key)
    ledger.record(registrar.step(present, "suspend", made.why("ours suspended")))
    line = {**made.plant("line", person(1)), "party": f"{NODE}0003", "kinds": "farm"}
    (part,) = file_lines(ledger.database, ledger.lanes.record, registrar, PARTY, [Line(2, line)])
    assert part.new == 1 and not part.refused
    # over HTTP
    near, far = server.client(Role.MARKET, NODE), server.client(Role.MARKET, OTHER)
    for client, code, number in ((near, TRADER, 2), (far, FAR, 3)):
        given = party(code, made.plant(code, person(number, trader=True)), reason=made.why(code))
        assert client.post("/registry/parties", json=given).status_code == 201
        given = licence(code, made.plant(f"{code} licence", paper(number)), reason=made.why(f"{code} licence"))
        assert client.post("/registry/licences", json=given).status_code == 201
        change = made.plant(f"{code} changed", {"address": f"麤麤巷{number}龘"})
        answer = client.patch(f"/registry/parties/{code}", json={**change, "reason": made.why(f"{code} changed")})
        assert answer.status_code == 200 and answer.json()["version"] == 2
        step = {"step": "suspend", "reason": made.why(f"{code} step")}
        assert client.post(f"/registry/parties/{code}/steps", json=step).status_code == 200
        rows = sheet_of(
            {**made.plant(f"{code} sheet", person(number + 2)), "party": f"{code[:9]}0005", "kinds": "farm"}
        )
        assert client.post("/registry/parties/import", content=rows, headers=CSV_BODY).json()["new"] == 1
    for text in (person(0)["legal_name"], person(2)["address"][:3], person(0)["phone"]):
        assert near.post("/registry/parties/search", json={"any": text}).status_code == 200
    sign(ledger)
    return made


# --- at rest --------------------------------------------------------------------------------------


def everything_stored(own: Own) -> Iterator[tuple[str, bytes]]:
    """Every column of every table of the database, as its bytes and as its text."""
    with own.superuser() as connection:
        tables = connection.execute(
            "SELECT c.oid::regclass::text, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'm', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for name, table in tables:
            whole = sql.SQL("SELECT t.*, t::text AS whole FROM {} t").format(sql.SQL(name))
            cursor = connection.execute(whole, binary=False)
            columns = [one.name for one in cursor.description or ()]
            for row in cursor:
                for column, value in zip(columns, row, strict=True):
                    if value is not None:
                        yield f"{table}.{column}", value if isinstance(value, bytes) else str(value).encode()


def test_the_database_holds_no_planted_value_in_any_column(planted: Planted, own: Own) -> None:
    stored: dict[str, list[bytes]] = {}
    for where, data in everything_stored(own):
        stored.setdefault(where, []).append(data)
    assert {"entry.data", "registry_version.private", "registry_search.tokens", "party.kinds"} <= stored.keys()
    found = {where: hits for where, parts in stored.items() if (hits := planted.found_in(b"\n".join(parts)))}
    assert not found


def test_the_search_would_find_what_is_planted(planted: Planted, own: Own) -> None:
    """Else the test above could not fail. A node's name is open."""
    value = planted.values["ours legal_name"]
    step = {"name": value}
    assert planted.server.client().patch(f"/registry/nodes/{NODE}", json=step).status_code == 200
    where = {where for where, data in everything_stored(own) if any(form in data for form in forms(value))}
    assert {"node.name", "entry.data", "node.whole"} <= where
    for form in (value.encode("utf-16-le"), base64.b64encode(b"x" + value.encode()), quote(value).encode()):
        assert "ours legal_name" in planted.found_in(b"before " + form + b" after")


def test_the_files_of_the_database_hold_no_planted_value(planted: Planted, own: Own) -> None:
    """Not the server's own log either, nor what lies there of rows that were replaced."""
    with psycopg.connect(own.cluster.url(SUPERUSER, own.name), autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        row = connection.execute(
            "SELECT current_setting('data_directory'), oid FROM pg_database WHERE datname = %s", [own.name]
        ).fetchone()
    assert row is not None
    folder = Path(row[0])
    files = [*(folder / "base" / str(row[1])).iterdir(), *folder.rglob("*log"), *folder.parent.glob("*log*")]
    needles = re.compile(b"|".join({re.escape(value.encode()) for value in planted.values.values()}))
    assert len(files) > 100
    assert not [file for file in files if file.is_file() and needles.search(file.read_bytes())]


def test_tiles_proofs_and_entries_hold_no_planted_value(planted: Planted) -> None:
    client = planted.server.client()
    sign(planted.server.ledger)
    size = int(client.get("/checkpoint").text.split("\n")[1])
    paths = ["/checkpoint", "/key", f"/tile/0/000.p/{size}", f"/tile/entries/000.p/{size}", "/proof/consistency?from=1"]
    last = 0
    while client.get(f"/entries/000000000/{last + 1}").status_code == 200:
        last += 1
        paths += [f"/entries/000000000/{last}", f"/proof/inclusion?node=000000000&seq={last}"]
        paths += [f"/proof/file?node=000000000&seq={last}"]
    assert last > 15
    for path in paths:
        for accept in ("application/json", "application/octet-stream"):
            answer = client.get(path, headers={"Accept": accept})
            assert answer.status_code == 200 and not planted.found_in(answer.content), path


# --- over HTTP, without the right -----------------------------------------------------------------

OPEN = ["/", "/openapi.json", "/registry", "/health/live", "/health/ready", "/metrics", "/checkpoint", "/key"]


def readings_of(client: httpx.Client) -> Iterator[httpx.Response]:
    """Every answer of the registry that is not for personal data."""
    for path in OPEN:
        yield client.get(path)
    for register in (*(register.plural for register in REGISTERS), "nothing"):
        yield client.get(f"/registry/{register}")
        yield client.get(f"/registry/{register}?limit=1")
        form = "xlsx" if register in ("parties", "products") else "csv"
        yield client.post(f"/registry/{register}/export", json={"format": form})
    for code in (OURS, TRADER, FAR, ABSENT, f"{NODE}0003", f"{NODE}0005", f"{OTHER}0005"):
        for path in ("", "?on=2099-12-31", "?on=2000-01-01", "/versions"):
            yield client.get(f"/registry/parties/{code}{path}")
        yield client.get(f"/registry/licences?party={code}")
        yield client.post("/registry/parties/search", json={"party": code})
        yield client.post("/registry/licences/search", json={"party": code})
    for code in (f"{NODE}-erp", f"{OTHER}-erp", f"{NODE}-absent"):
        for path in ("", "?on=2099-12-31", "?on=2000-01-01", "/versions"):
            yield client.get(f"/registry/subscriptions/{code}{path}")
        yield client.post("/registry/subscriptions/search", json={"subscription": code})
        yield client.post("/registry/subscriptions/search", json={"any": code})


def revealing(client: httpx.Client) -> Iterator[httpx.Response]:
    """Every attempt to see personal data."""
    for code in (OURS, TRADER, FAR, ABSENT):
        for look_ in ({"purpose": "inspection"}, {"purpose": "order", "on": "2099-12-31"}, {"purpose": "because"}, {}):
            yield client.post(f"/registry/parties/{code}/private", json=look_)
        yield client.get(f"/registry/parties/{code}/private")
        yield client.get(f"/registry/parties/{code}?purpose=inspection&private=true")
        yield client.get(f"/registry/parties/{code}/readings")
    yield client.post(f"/registry/subscriptions/{NODE}-erp/private", json={"purpose": "inspection"})
    yield client.get(f"/registry/subscriptions/{NODE}-erp/readings")
    for form in ("csv", "xlsx"):
        for register in ("parties", "licences", "subscriptions"):
            yield client.post(f"/registry/{register}/export", json={"format": form, "purpose": "inspection"})
    yield client.post("/registry/parties/search?purpose=inspection", json={"any": "貔"})


def text_of(answer: httpx.Response) -> bytes:
    """All that an answer says; of a workbook, its parts unpacked."""
    data = answer.content
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            data = b"\n".join(packed.read(name) for name in packed.namelist())
    return data + b"\n" + b"\n".join(b": ".join(pair) for pair in answer.headers.raw)


def test_no_role_is_shown_a_planted_value_unasked(planted: Planted) -> None:
    for role in (Role.TERMINAL, Role.MARKET, Role.REGULATOR, Role.SUBSCRIBER, None):
        client = client_of(planted.server, role)
        answers = list(readings_of(client))
        if role not in (Role.MARKET, Role.REGULATOR):
            answers += revealing(client)
        for answer in answers:
            assert answer.status_code < 500, (role, str(answer.url), answer.text)
            assert not planted.found_in(text_of(answer), masked=True), (role, str(answer.request.url))
        seen = [
            one for one in answers if one.status_code == 200 and OURS in one.text and one.url.path != "/openapi.json"
        ]
        assert bool(seen) is (role not in (Role.SUBSCRIBER, None)), [str(one.url) for one in seen]


def test_masked_answers_hide_every_private_field(planted: Planted) -> None:
    for answer in readings_of(planted.server.client(Role.TERMINAL, NODE)):
        assert not planted.found_in(text_of(answer)), str(answer.request.url)


def test_a_terminal_cannot_reveal(planted: Planted) -> None:
    for role in (Role.TERMINAL, Role.PHARMACY, Role.MANUFACTURER, Role.WHOLESALER, Role.SUBSCRIBER):
        require_no_reveal(client_of(planted.server, role))


def require_no_reveal(client: httpx.Client) -> None:
    for code in (OURS, FAR, ABSENT):
        answer = client.post(f"/registry/parties/{code}/private", json={"purpose": "inspection"})
        problem_of(answer, 403, "SecurityException")
        problem_of(client.get(f"/registry/parties/{code}/readings"), 403, "SecurityException")
    problem_of(client.post(f"/registry/subscriptions/{NODE}-erp/private", json={"purpose": "order"}), 403,
               "SecurityException")  # fmt: skip
    for register in ("parties", "licences", "subscriptions"):
        answer = client.post(f"/registry/{register}/export", json={"purpose": "inspection"})
        problem_of(answer, 403, "SecurityException")


def test_a_terminal_cannot_spell_out_an_address_by_searching(planted: Planted) -> None:
    """Character by character, each a search that leaves no trace."""
    client, known = planted.server.client(Role.TERMINAL, NODE), ""
    wanted = planted.values["ours address"]
    letters = [*dict.fromkeys(wanted), *"路街巷一二三"]
    while longer := next(
        (
            known + one
            for one in letters
            if known + one in wanted  # saves time; without it this tries all of Unicode, and finds the same
            and client.post("/registry/parties/search", json={"party": OURS, "address": known + one}).status_code == 200
        ),
        None,
    ):
        known = longer
    assert known == ""
    answer = client.post("/registry/parties/search", json={"party": OURS, "address": wanted, "purpose": "inspection"})
    problem_of(answer, 403, "SecurityException")
    assert client.post("/registry/parties/search", json={"any": wanted}).json() == [], "any is any open field"


# --- what refusals and messages say ---------------------------------------------------------------


def wrong(values: Mapping[str, str]) -> Iterator[dict[str, object]]:
    """A party's values, each time with one that is refused; every value is a person's."""
    for name, broken in (
        ("identity_number", values["identity_number"][:17] + ("0" if values["identity_number"][17] != "0" else "1")),
        ("identity_number", values["identity_number"] + "7"), ("identity_number", "龘" + values["identity_number"]),
        ("credit_code", trader_code(777)), ("credit_code", trader_code(777)[:17] + "I"),
        ("phone", "龘" + values["phone"]), ("legal_name", values["legal_name"] + "**"),
        ("address", "垚\n" + values["address"]), ("address", values["address"] * 60),
        ("contact", values["contact"] + "\x00"), ("kinds", ["nobody"]), ("nodes", ["330212099"]), ("nodes", ["x"]),
        ("surname", "x"), ("position", [values["position"]]), ("legal_name", {values["legal_name"]: 1}),
    ):  # fmt: skip
        yield {**values, name: broken}


def bad_requests(client: httpx.Client, planted: Planted) -> Iterator[httpx.Response]:
    values = planted.plant("refused", person(7))
    scrap = planted.plant("refused licence", paper(7))
    why = planted.why("refused")
    for number, given in enumerate(wrong(values)):
        body = party(f"{NODE}{number + 100:04d}", {}) | given | {"reason": why}
        yield client.post("/registry/parties", json=body)
        yield client.patch(f"/registry/parties/{OURS}", json=given | {"reason": why})
        row = {name: value if isinstance(value, str) else "x" for name, value in given.items()}
        content = sheet_of({**row, "party": f"{NODE}{number + 200:04d}", "surname": values["legal_name"]})
        yield client.post("/registry/parties/import?dry_run=true", content=content, headers=CSV_BODY)
    for broken in (
        {"valid_from": "2026-02-30"}, {"valid_to": "2020-01-01"}, {"kind": "licence"}, {"kind": "business_licence",
        "number": trader_code(778)[:17] + "0"}, {"number": "SC" + scrap["number"]}, {"number": scrap["number"] * 5},
        {"scan": scrap["scan"].upper()}, {"party": ABSENT}, {"scope": scrap["scope"] + "\x07"},
    ):  # fmt: skip
        yield client.post("/registry/licences", json=licence(OURS, scrap, reason=why) | broken)
    for taken in (OURS, TRADER, FAR):
        yield client.post("/registry/parties", json=party(taken, values, reason=why))
    yield client.post("/registry/licences", json=licence(OURS, paper(0), reason=why))
    for about in (
        {"reason": [why]},
        {"contact": values["contact"], "reason": why * 90},
    ):
        yield client.patch(f"/registry/parties/{OURS}", json=about)
    for step in (
        {"step": "suspend", "reason": why * 100}, {"step": "suspend", "reason": why}, {"step": "fly", "reason": why},
        {"step": "suspend", "reason": [why]}, {"step": ["suspend"], "reason": why}, {"step": "suspend", "why": why},
    ):  # fmt: skip
        yield client.post(f"/registry/parties/{OURS}/steps", json=step)
    whole = json.dumps(party(OURS, values, reason=why), ensure_ascii=False).encode()
    for body in (
        whole[:-1],
        whole[:-4],
        whole + b"}",
        whole.replace(b'"', b"'"),
        b"[" + whole,
        whole + b"\xff",
        b'"' + whole,
    ):
        for path in (
            "/registry/parties",
            "/registry/parties/search",
            f"/registry/parties/{OURS}/steps",
            "/credentials",
        ):
            yield client.post(path, content=body, headers=JSON_BODY)
        yield client.post(f"/registry/parties/{OURS}/private", content=body, headers=JSON_BODY)
        yield client.post("/registry/parties/export", content=body, headers=JSON_BODY)
        yield client.post("/registry/parties", content=body, headers={"Content-Type": "text/plain"})
        yield client.post("/registry/parties/import", content=body, headers=CSV_BODY)
        yield client.post("/capture", content=body, headers=JSON_BODY)
    for search_ in (
        {"address": values["address"] * 30},
        {"any": [values["phone"]]},
        {"any": values["phone"], "x": "y"},
    ):
        yield client.post("/registry/parties/search", json=search_)
    for content in (b"x" + whole, b"party\n\xff" + whole, b'party,legal_name\n1,"' + values["legal_name"].encode()):
        yield client.post("/registry/parties/import", content=content, headers=CSV_BODY)
    book = io.BytesIO()
    (made := Workbook()).active.append(["party", "kinds", "legal_name", "identity_number", "phone"])
    made.active.append(
        [int(OURS), "x", values["legal_name"], int(values["identity_number"][:17]) * 10, values["phone"] + "!"]
    )
    made.save(book)
    yield client.post("/registry/parties/import", content=book.getvalue(), headers=XLSX_BODY)


def test_refusals_repeat_no_private_value(planted: Planted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for role in (Role.MARKET, Role.TERMINAL):
        for answer in bad_requests(client_of(planted.server, role), planted):
            asked = (str(answer.request.url), answer.request.content[:300], answer.text)
            assert 400 <= answer.status_code < 500 or answer.json().get("refused") == 1, asked
            assert not planted.found_in(text_of(answer)), asked
    assert not planted.found_in(messages(caplog))


def messages(caplog: pytest.LogCaptureFixture) -> bytes:
    """All that was logged, tracebacks and arguments too; not what the tests' own client says."""
    lines = [
        f"{logging.Formatter().format(one)} {one.args!r}"
        for one in caplog.records
        if not one.name.startswith(("httpx", "httpcore"))
    ]
    return "\n".join(lines).encode()


def test_what_is_done_rightly_is_not_logged_either(server: Server, request: pytest.FixtureRequest) -> None:
    caplog: pytest.LogCaptureFixture = request.getfixturevalue("caplog")
    caplog.set_level(logging.DEBUG)
    made: Planted = request.getfixturevalue("planted")
    for role in (Role.MARKET, Role.REGULATOR):
        for answer in (*readings_of(client_of(server, role)), *revealing(client_of(server, role))):
            assert answer.status_code < 500
    assert made.found_in(messages(caplog)) == []


def test_a_value_that_slipped_into_an_open_field_is_not_repeated(planted: Planted) -> None:
    """Sheets lose columns: what stands under the party's code is then somebody's name or number."""
    values = planted.plant("slipped", person(8))
    client = planted.server.client(Role.MARKET, NODE)
    repeated = []
    for name in ("party", "kinds", "nodes"):
        row = {"party": f"{NODE}0300", "kinds": "farm", "nodes": NODE, **values, name: values["identity_number"]}
        answer = client.post("/registry/parties/import", content=sheet_of(row), headers=CSV_BODY)
        assert answer.json()["refused"] == 1
        repeated += planted.found_in(text_of(answer))
    assert not repeated


def test_a_value_in_the_place_of_a_fields_name_is_not_repeated(planted: Planted) -> None:
    client, value = planted.server.client(Role.MARKET, NODE), planted.values["ours legal_name"]
    for answer in (
        client.patch(f"/registry/parties/{OURS}", json={value: "x"}),
        client.post("/registry/parties/search", json={value: "x"}),
        client.post(f"/registry/parties/{OURS}/steps", json={"step": value, "reason": "x"}),
        client.get("/registry/parties", params={"kind": value}),
        client.get(f"/registry/parties/{value}"),
    ):
        assert 400 <= answer.status_code < 500 and not planted.found_in(text_of(answer)), answer.text


def environment_of(own: Own, planted: Planted) -> dict[str, str]:
    return os.environ | {
        "SUYUAN_DATABASE_URL": own.cluster.url(APPLICATION, own.name),
        "SUYUAN_KEYS": str(planted.server.ledger.settings.keys),
        "SUYUAN_OWNER_DATABASE_URL": own.cluster.url(OWNER, own.name), "COLUMNS": "200", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


MAIN = [sys.executable, "-c", "from api.command import main; main()"]


def test_the_messages_of_a_server_process_hold_no_planted_value(planted: Planted, own: Own, tmp_path: Path) -> None:
    """A real `suyuan serve`, its streams in a file, asked everything that is bad."""
    said = tmp_path / "said"
    port = next(iter(re.findall(r":(\d+)$", planted.server.url)))
    mine = str(int(port) - 1 if int(port) > 60_000 else int(port) + 1)
    client = client_of(planted.server, Role.MARKET)
    with said.open("wb") as stream:
        running = subprocess.Popen(
            [*MAIN, "serve", "--port", mine, "--no-worker"], env=environment_of(own, planted), stdout=stream,
            stderr=subprocess.STDOUT, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        try:
            key = {"Authorization": client.headers["Authorization"]}
            with httpx.Client(base_url=f"http://127.0.0.1:{mine}", headers=key, timeout=30) as other:
                wait_until_ready(other, running)
                for answer in (*bad_requests(other, planted), *readings_of(other), *revealing(other)):
                    assert answer.status_code < 500, answer.text
        finally:
            running.terminate()
            running.wait(30)
    assert b"Started server process" in said.read_bytes() and not planted.found_in(said.read_bytes())


def wait_until_ready(client: httpx.Client, running: subprocess.Popen) -> None:
    deadline = time.monotonic() + 30
    while running.poll() is None and time.monotonic() < deadline:
        try:
            if client.get("/health/live").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail("the server did not start")


def test_the_refusals_of_the_command_line_repeat_nothing(planted: Planted, own: Own, tmp_path: Path) -> None:
    values = planted.plant("command", person(9))
    bad = {**values, "party": OURS, "kinds": "x", "phone": values["phone"] + "!"}
    (tmp_path / "bad.csv").write_bytes(sheet_of(bad))
    command = [*MAIN, "party", "import", str(tmp_path / "bad.csv")]
    done = subprocess.run(command, env=environment_of(own, planted), capture_output=True, check=False)
    assert done.returncode == 2 and b"line 2" in done.stderr, done.stderr
    assert not planted.found_in(done.stdout + done.stderr)


# --- with the right -------------------------------------------------------------------------------


def test_with_the_right_and_a_purpose_all_is_shown_and_the_look_is_an_entry(planted: Planted) -> None:
    overseer = planted.server.client(Role.REGULATOR)
    for role in (Role.MARKET, Role.REGULATOR, Role.ADMIN):
        client, looks = client_of(planted.server, role), overseer.get(f"/registry/parties/{OURS}/readings").json()
        shown = client.post(f"/registry/parties/{OURS}/private", json={"purpose": "complaint"}).json()
        wanted = {name: planted.values[f"ours {name}"] for name in person(0)} | {"contact": "卌犇七"}
        assert {name: shown[name] for name in wanted} == wanted
        assert shown["reason"] == planted.values["ours suspended reason"]
        later = overseer.get(f"/registry/parties/{OURS}/readings").json()
        assert later[1:] == looks and later[0]["purpose"] == "complaint"
        read = overseer.get(f"/entries/{later[0]['entry']}", headers={"Accept": "application/octet-stream"})
        assert read.json()["actor"] == later[0]["actor"] and read.json()["body"]["reading"]["purpose"] == "complaint"
        assert not planted.found_in(read.content)


def test_a_sheet_with_a_purpose_shows_all_and_names_all_that_it_showed(planted: Planted) -> None:
    client, overseer = planted.server.client(Role.MARKET, NODE), planted.server.client(Role.REGULATOR)
    answer = client.post("/registry/parties/export", json={"purpose": "inspection"})
    assert {f"ours {name}" for name in person(0) if name != "contact"} <= set(planted.found_in(answer.content))
    for code in (OURS, TRADER, f"{NODE}0003", f"{NODE}0005"):
        (look_,) = overseer.get(f"/registry/parties/{code}/readings").json()
        assert look_["purpose"] == "inspection"
    assert overseer.get(f"/registry/parties/{FAR}/readings").json() == []
    book = client.post("/registry/licences/export", json={"purpose": "inspection", "format": "xlsx"}).content
    cells = [cell for row in load_workbook(io.BytesIO(book)).active.iter_rows(values_only=True) for cell in row]
    assert planted.values["our licence number"] in cells and planted.values[f"{FAR} licence number"] not in cells


def test_a_look_without_a_known_purpose_shows_nothing(planted: Planted) -> None:
    client = planted.server.client()
    for body in (
        {},
        {"purpose": ""},
        {"purpose": None},
        {"purpose": "x"},
        {"purpose": ["order"]},
        {"purpose": "Order"},
    ):
        answer = client.post(f"/registry/parties/{OURS}/private", json=body)
        assert answer.status_code == 400 and not planted.found_in(answer.content), body
    assert planted.server.client().get(f"/registry/parties/{OURS}/readings").json() == []


# --- a market and another's parties ---------------------------------------------------------------


def far_answers(client: httpx.Client, code: str) -> Iterator[httpx.Response]:
    """Every route that names a party, for one that is none of the client's."""
    at = f"/registry/parties/{code}"
    yield client.get(at)
    yield client.get(f"{at}/versions")
    yield client.post(f"{at}/private", json={"purpose": "inspection"})
    yield client.patch(at, json={"contact": "x"})
    yield client.patch(at, json={"contact": "x", "reason": "y"})
    yield client.post(f"{at}/steps", json={"step": "resume", "reason": "x"})
    yield client.post(f"{at}/steps", json={"step": "leave", "reason": "x"})
    yield client.get(f"/registry/licences/{code}+0123456789abcdef")


def test_what_another_market_has_and_what_nobody_has_look_alike(planted: Planted) -> None:
    client = planted.server.client(Role.MARKET, NODE)
    for seen, absent in zip(far_answers(client, FAR), far_answers(client, ABSENT), strict=True):
        problem_of(seen, 404, "NoSuchNameException")
        assert seen.text.replace(FAR, ABSENT) == absent.text, (str(seen.url), seen.text, absent.text)
    for path, body in (
        ("/registry/parties", party("", person(10))), ("/registry/licences", licence("", paper(10))),
    ):  # fmt: skip
        one, other = (client.post(path, json={**body, "party": code}) for code in (FAR, ABSENT))
        assert one.status_code == other.status_code == 403 and one.text == other.text
    rows = sheet_of(*({**person(10), "party": code, "kinds": "farm"} for code in (FAR, ABSENT)))
    for dry in ("", "?dry_run=true"):
        first, second = client.post(f"/registry/parties/import{dry}", content=rows, headers=CSV_BODY).json()["lines"]
        assert first["errors"] == second["errors"]


def test_what_another_market_has_and_what_nobody_has_look_alike_on_a_day_too(planted: Planted) -> None:
    client = planted.server.client(Role.MARKET, NODE)
    for on in ("2099-12-31", "2000-01-01"):
        seen, absent = (client.get(f"/registry/parties/{code}", params={"on": on}) for code in (FAR, ABSENT))
        assert seen.status_code == absent.status_code == 404
        assert seen.text.replace(FAR, ABSENT) == absent.text, (seen.text, absent.text)
        look_ = {"purpose": "inspection", "on": on}
        seen, absent = (client.post(f"/registry/parties/{code}/private", json=look_) for code in (FAR, ABSENT))
        assert seen.text.replace(FAR, ABSENT) == absent.text, (seen.text, absent.text)


def test_a_market_sees_only_parties_of_its_own_nodes(planted: Planted) -> None:
    client = planted.server.client(Role.MARKET, NODE)
    for register in ("parties", "licences"):
        for query in (
            "",
            f"?node={OTHER}",
            f"?party={FAR}",
            "?status=suspended",
            f"?after={OTHER}0000" + "%2B0" * (register == "licences"),
        ):
            listed = client.get(f"/registry/{register}{query}")
            assert listed.status_code == 200 and not [one for one in listed.json() if one["party"][:9] != NODE], query
        assert client.get(f"/registry/{register}?node={OTHER}").json() == []
        for purpose in ({}, {"purpose": "inspection"}):
            sheet = client.post(f"/registry/{register}/export", json=purpose)
            assert sheet.status_code == 200 and OTHER not in sheet.text and OURS in sheet.text
        for text in (FAR, *(value for where, value in planted.values.items() if where.startswith(FAR))):
            assert client.post(f"/registry/{register}/search", json={"any": text}).json() == []
    before = planted.server.client().get(f"/registry/parties/{FAR}").json()
    assert before["version"] == 3, "nothing that the market tried was done"


def test_a_party_that_acts_at_two_nodes_is_seen_masked_at_both_and_kept_by_one(planted: Planted) -> None:
    near, far = (planted.server.client(Role.MARKET, node) for node in (NODE, OTHER))
    values = planted.plant("visitor", person(11))
    assert far.post("/registry/parties", json=party(VISITOR, values, nodes=[OTHER, NODE])).status_code == 201
    assert near.get(f"/registry/parties/{VISITOR}").json()["phone"] == "199****" + values["phone"][-4:]
    for answer in (
        near.patch(f"/registry/parties/{VISITOR}", json={"contact": "x"}),
        near.post(f"/registry/parties/{VISITOR}/steps", json={"step": "suspend", "reason": "x"}),
    ):
        problem_of(answer, 403, "SecurityException")
    # An opener keeps a file of whoever sells in its market: it may look, and that is recorded.
    assert near.post(f"/registry/parties/{VISITOR}/private", json={"purpose": "inspection"}).status_code == 200
    assert far.patch(f"/registry/parties/{VISITOR}", json={"nodes": [OTHER]}).status_code == 200
    problem_of(near.get(f"/registry/parties/{VISITOR}"), 404, "NoSuchNameException")


def test_a_market_exports_its_own_with_a_purpose_though_a_party_visits_it(planted: Planted) -> None:
    near, far = (planted.server.client(Role.MARKET, node) for node in (NODE, OTHER))
    far.post("/registry/parties", json=party(VISITOR, planted.plant("visitor", person(11)), nodes=[OTHER, NODE]))
    answer = near.post("/registry/parties/export", json={"purpose": "inspection"})
    assert answer.status_code == 200 and planted.values["ours phone"] in answer.text
    assert planted.values["visitor phone"] in answer.text


# --- attacks --------------------------------------------------------------------------------------

HOSTILE = [
    "'",
    "' OR 1=1 --",
    "\\",
    "%",
    "_",
    "*",
    "%25",
    "{}",
    "$1",
    "%s",
    "\u202e",
    "a" * 5000,
    "１２３",
    "+",
    "null",
    "-1",
    "\n",
]


def test_hostile_filters_and_keys_find_nothing_and_break_nothing(planted: Planted) -> None:
    client = planted.server.client()
    for text in HOSTILE:
        for register in ("parties", "licences", "nodes", "yields"):
            for name in ("node", "region", "party", "kind", "expiring", "after"):
                answer = client.get(f"/registry/{register}", params={name: text})
                assert answer.status_code < 500, (register, name, text[:20])
                assert answer.status_code >= 400 or answer.json() == [] or name == "after", (register, name, text[:20])
            for path in ("", "/versions"):
                answer = client.get(f"/registry/{register}/{quote(text, safe='')}{path}")
                assert 400 <= answer.status_code < 500, (register, text[:20], path)
            answer = client.post(f"/registry/{register}/search", json={"any": text})
            assert answer.status_code < 500, (register, text[:20])


def test_wildcards_are_no_wildcards(planted: Planted) -> None:
    client = planted.server.client()
    for text in ("%", "_", "*", "?", "貔%", "貔_骉", ".*", "貔**", "1997654____"):
        for register in ("parties", "licences", "nodes"):
            assert client.post(f"/registry/{register}/search", json={"any": text}).json() == [], (register, text)


FAULTS = [
    ("GET", "/registry/parties/%00", None), ("GET", f"/registry/licences/{OURS}+%00", None),
    ("GET", "/registry/parties?status=%00", None), ("GET", "/registry/parties?after=%00", None),
    ("GET", "/registry/nodes?after=2147483648", None), ("GET", "/registry/regions?after=99999999999999999999", None),
    ("GET", f"/registry/parties/{OURS}?on=9999-12-31", None), ("POST", "/registry/nodes/search", {"any": "\x00"}),
]  # fmt: skip


def test_no_request_is_a_fault_of_the_ledger(server: Server) -> None:
    client = server.client()
    client.post("/registry/parties", json=party(OURS, person(0)))
    client.headers["Connection"] = "close"  # after a fault the server hangs up
    answers = [(path, client.request(method, path, json=body).status_code) for method, path, body in FAULTS]
    assert not [path for path, status in answers if status >= 500]


FIXED = {
    "digest": "0" * 64,
    "version": "9",
    "status": "left",
    "status_since": "2020-01-01",
    "erased": "true",
    "licence": "0" * 16,
    "node": OTHER,
}


def test_what_is_no_field_cannot_be_changed(planted: Planted) -> None:
    client = planted.server.client()
    (held,) = client.get(f"/registry/licences?party={OURS}").json()
    for path in (f"/registry/parties/{OURS}", f"/registry/licences/{OURS}+{held['licence']}"):
        before = client.get(path).json()
        for name, value in FIXED.items():
            for given in (value, 1, True, None):
                problem_of(client.patch(path, json={name: given}), 400, "ValidationException")
        problem_of(client.patch(path, json={"party": FAR}), 409, "ResourceAlreadyExistsException")
        assert client.get(path).json() == before
    answer = client.patch(f"/registry/licences/{OURS}+{held['licence']}", json={"number": paper(9)["number"]})
    problem_of(answer, 409, "ResourceAlreadyExistsException")
    for name in FIXED.keys() - {"node"}:
        problem_of(
            client.post("/registry/parties", json=party(f"{NODE}0400", person(9)) | {name: FIXED[name]}),
            400,
            "ValidationException",
        )


def test_racing_changes_lose_nothing(planted: Planted) -> None:
    client, path = planted.server.client(), f"/registry/parties/{OURS}"
    before = client.get(path).json()["version"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: client.patch(path, json={"contact": f"鑫{n}"}), range(16)))
    won = [answer for answer in answers if answer.status_code == 200]
    assert won and {answer.status_code for answer in answers} <= {200, 409}
    assert client.get(path).json()["version"] == before + len(won)
    assert len(client.get(f"{path}/versions").json()) == before + len(won)


def test_a_step_taken_twice_is_taken_once(planted: Planted) -> None:
    client, path = planted.server.client(), f"/registry/parties/{OURS}"
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda _: client.post(f"{path}/steps", json={"step": "resume", "reason": "x"}), range(8))
        )
    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 7]
    problem_of(
        client.post(f"{path}/steps", json={"step": "resume", "reason": "x"}), 409, "ResourceAlreadyExistsException"
    )


def test_a_market_takes_no_step_that_is_a_supervisors(planted: Planted) -> None:
    client = planted.server.client(Role.MARKET, NODE)
    answer = client.post(f"/registry/parties/{OURS}/steps", json={"step": "revoke", "reason": "x"})
    problem_of(answer, 403, "SecurityException")


def test_a_body_beyond_the_limit_is_refused(server: Server) -> None:
    client = server.client()
    for path in ("", "/import", "/search", f"/{OURS}/steps", f"/{OURS}/private"):
        headers = CSV_BODY if path == "/import" else JSON_BODY
        answer = client.post(f"/registry/parties{path}", content=bytes(BODY_BYTES_MAX + 1), headers=headers)
        problem_of(answer, 413, "CaptureLimitExceededException")


def test_a_sheet_with_a_million_columns_is_read_or_refused_soon(server: Server) -> None:
    began = time.monotonic()
    head = b"party,kinds," + b",".join(b"c%d" % number for number in range(1_000_000))
    answer = server.client().post("/registry/parties/import", content=head + b"\n" + b"," * 1_000_000, headers=CSV_BODY)
    assert answer.status_code in (200, 400, 413) and time.monotonic() - began < 10


def workbook(edit: Mapping[str, bytes] | None = None, row: int = 2) -> bytes:
    """A workbook of one party, its second row numbered `row`, with some of its parts replaced."""
    made, plain = Workbook(), io.BytesIO()
    made.active.append(["party", "kinds"])
    made.active.append([OURS, "farm"])
    made.save(plain)
    out = io.BytesIO()
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            data = source.read(name)
            if "sheet1" in name:
                data = re.sub(rb'(r="[AB]?|A1:B)2"', rb'\g<1>%d"' % row, data)
            target.writestr(name, (edit or {}).get(name, data))
    return out.getvalue()


BROKEN = {
    "sheet cut off": {"xl/worksheets/sheet1.xml": b"<worksheet><sheetData><row"},
    "sheet no XML": {"xl/worksheets/sheet1.xml": b"garbage"},
    "workbook no XML": {"xl/workbook.xml": b"garbage"},
    "row no number": {"xl/worksheets/sheet1.xml": b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
                      b'<sheetData><row r="x"><c r="A1" t="str"><v>party</v></c></row></sheetData></worksheet>'},
}  # fmt: skip


def test_a_broken_workbook_is_refused(server: Server) -> None:
    client = server.client()
    client.headers["Connection"] = "close"
    books = {**{what: workbook(parts) for what, parts in BROKEN.items()}, "encrypted": encrypted(workbook())}
    answers = {
        what: client.post("/registry/parties/import", content=content, headers=XLSX_BODY).status_code
        for what, content in books.items()
    }
    assert answers == dict.fromkeys(books, 400)


def encrypted(book: bytes) -> bytes:
    """The same, said to be encrypted."""
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        book = b"".join(
            part if not number else mark + part[: offset - 4] + bytes([part[offset - 4] | 1]) + part[offset - 3 :]
            for number, part in enumerate(book.split(mark))
        )
    return book


def test_a_workbook_whose_rows_are_far_apart_costs_no_time(server: Server) -> None:
    began = time.monotonic()
    content = workbook(row=2_000_000)
    assert server.client().post("/registry/parties/import", content=content, headers=XLSX_BODY).status_code < 500
    assert time.monotonic() - began < 0.5


def test_a_column_without_a_head_is_not_used(server: Server) -> None:
    """Somebody's note beside the table became the stall's number, which is shown to every reader."""
    note = "卌三说他电话是19976549999"
    head, line = "party,kinds,legal_name,identity_number", f"{NODE}0001,farm,{person(0)['legal_name']},{identity(1)}"
    client = server.client()
    answer = client.post("/registry/parties/import", content=f"{head},\n{line},{note}\n".encode(), headers=CSV_BODY)
    assert answer.status_code == 200 and note not in client.get(f"/registry/parties/{NODE}0001").text
    two = f"{head},,\n{line},,\n".encode()
    assert client.post("/registry/parties/import", content=two, headers=CSV_BODY).status_code == 200


# --- erasure --------------------------------------------------------------------------------------


def erase_ours(planted: Planted, actor: Actor = OPERATOR) -> None:
    ledger = planted.server.ledger
    with ledger.database.read() as connection:
        present = record(connection, ledger.vault, PARTY, (OURS,))
    erase_party(ledger.database, ledger.registrar(actor), present, "asked for it", now, order=True)


def test_after_an_erasure_nobody_is_shown_anything(planted: Planted, own: Own) -> None:
    erase_ours(planted)
    client = planted.server.client()
    mine = [where for where in planted.values if where.startswith("our")]
    answers = [
        client.post(f"/registry/parties/{OURS}/private", json={"purpose": "order", "on": day})
        for day in ("2099-12-31", None)
    ]
    answers += [client.post("/registry/parties/export", json={"purpose": "order"}), *readings_of(client)]
    answers += [client.post("/registry/licences/export", json={"purpose": "order"})]
    for answer in answers:
        assert not set(planted.found_in(text_of(answer))) & set(mine), str(answer.url)
    for where in mine:
        for register in ("parties", "licences"):
            assert client.post(f"/registry/{register}/search", json={"any": planted.values[where]}).json() == []
    with own.superuser() as connection:
        left = connection.execute(
            "SELECT count(*) FROM registry_version WHERE private IS NOT NULL AND (subject = %s OR subject LIKE %s)",
            [f"party {OURS}", f"licence {OURS} %"],
        ).fetchone()
    assert left == (1,), "the reason of the erasure"


@pytest.mark.damages
def test_a_party_erased_twice_with_a_licence_filed_in_between_passes_the_audit(planted: Planted) -> None:
    erase_ours(planted)
    answer = planted.server.client().post("/registry/licences", json=licence(OURS, paper(8)))
    if answer.status_code == 201:  # or it is refused, which is as good
        erase_ours(planted)
    sign(planted.server.ledger)
    report = look(planted.server.ledger)
    assert report.clean, [str(one) for one in report.disagreements]


def test_after_an_erasure_a_guessed_licence_number_is_not_confirmed(planted: Planted) -> None:
    erase_ours(planted)
    client = planted.server.client(Role.MARKET, NODE)
    answers = [client.post("/registry/licences", json=licence(OURS, paper(number))) for number in (0, 8)]
    assert answers[0].status_code == answers[1].status_code, [answer.text for answer in answers]


def test_lines_that_are_refused_are_not_all_kept(planted: Planted) -> None:
    ledger = planted.server.ledger
    lines = (Line(number, {"party": "1"}) for number in range(20_000))
    tracemalloc.start()
    total = Filed()
    for part in file_lines(
        ledger.database, ledger.lanes.record, ledger.registrar(OPERATOR), PARTY, lines, dry_run=True
    ):
        total.add(part)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total.lines == 20_000 and most < 4 << 20
