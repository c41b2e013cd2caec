"""Reports: what they say of the vectors, that every form is safe, and that strangers can check a dossier."""

import ast
import base64
import csv
import io
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import hypothesis
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import strategies as st
from openpyxl import load_workbook
from pypdfium2 import PdfDocument

from api.ledger import Ledger, now
from ledger.access import Actor, Role
from ledger.capture import ErrorBehaviour, requests_of
from ledger.codes import IMPORT, TraceScheme, parse_node
from ledger.documents import read_document
from ledger.entries import hash_of
from ledger.erase import erase
from ledger.errors import LedgerError, NotAllowed, NotRecorded, UnacceptableRecord
from ledger.gs1 import check_digit
from ledger.identifiers import canonical_key
from ledger.log import latest
from ledger.nodes import OPERATOR, add_node, places_of
from ledger.notes import Signer, open_checkpoint, sign_note
from ledger.reads import entries_at
from ledger.registers import PRODUCT, RECALL, RECALL_ANSWER
from ledger.reporting import extends
from reports import integrity, verifier
from reports.all import REPORTS, report_of
from reports.catalogue import Source
from reports.document import FORMULAS, Basis, Document, Facts, Grid, Language, Note
from reports.integrity import Audited
from reports.render import FORMATS, render
from tests.conftest import VECTORS, Own, look, sign
from tests.test_registry import filed
from tests.test_trace import event, lot, record

ABATTOIR, MARKET, PLANT, PHARMACY = "330212001", "330212002", "330212003", "330212004"
GLN = "https://id.gs1.org/414/69012345000"
PLACES = {ABATTOIR: f"{GLN}11", MARKET: f"{GLN}35", PLANT: f"{GLN}59", PHARMACY: f"{GLN}66"}
HOSTILE = '=HYPERLINK("http://evil.example","药")<script src=//evil.example/x></script>'
PORK, PACK = "(01)06901234500202(10)P1", "(01)06901234500400(21)B2611000101"
REGULATOR = Actor("regulator-1", Role.REGULATOR, frozenset(), IMPORT)
MARKETS = Actor("market-1", Role.MARKET, frozenset({int(MARKET)}), int(MARKET))
GREENS, CRATE = "(01)06901234500301(10)V1123-3", "https://id.gs1.org/01/06901234500301/10/V1121-1"
PIGS = "https://id.gs1.org/01/06901234500103/10/F1122-07"
Mutation = Callable[[dict[str, Any]], Any]
VERIFIER = Path(__file__).parents[1] / "reports" / "verifier.py"


def nodes(ledger: Ledger, more: str = "") -> None:
    """Nodes with hostile names; with `more`, another one."""
    for code, place in {f"33021200{more}": f"{GLN}97"}.items() if more else PLACES.items():
        ledger.record(add_node(parse_node(code), f"{HOSTILE} {code}", TraceScheme.OPERATOR_SERIAL, [place], "operator"))


def capture(ledger: Ledger, *names: str) -> None:
    """Example documents, at nodes whose places they happened at."""
    nodes(ledger)
    with ledger.database.read() as connection:
        places = places_of(connection, OPERATOR)
    for name in names:
        document = read_document((VECTORS / "epcis" / f"{name}.jsonld").read_bytes())
        for outcome in ledger.lanes.record(
            requests_of(document, OPERATOR, places, ErrorBehaviour.ROLLBACK, ledger.secret)
        ):
            assert not isinstance(outcome, LedgerError), outcome


@contextmanager
def source(ledger: Ledger, actor: Actor = REGULATOR) -> Iterator[Source]:
    with ledger.database.read() as connection:
        found = latest(connection)
        basis = Basis(ledger.settings.origin, now(), found.size, found.root.hex(), actor.name, now())
        yield Source(connection, actor, ledger.vault, ledger.settings.zone, basis)


def made(ledger: Ledger, name: str, actor: Actor = REGULATOR, **given: str) -> Document:
    with source(ledger, actor) as found:
        return report_of(name).made(found, given)


def text_of(document: Document, form: str = "json") -> str:
    return render(document, form, Language.CHINESE).decode()


def grid(document: Document, english: str) -> list[dict[str, Any]]:
    """The rows of a table, by English heads."""
    (found,) = [one for one in document.sections if isinstance(one, Grid) and one.title.en == english]
    heads = [column.head.en for column in found.columns]
    return [dict(zip(heads, row, strict=True)) for row in found.rows]


def facts(document: Document, english: str) -> dict[str, Any]:
    (found,) = [one for one in document.sections if isinstance(one, Facts) and one.title.en == english]
    return {name.en: cell for name, cell in found.pairs}


MOVED, HAPPENED = "Movements: who shipped to whom", "Made of what, packed, tested, sold"


@pytest.fixture
def city(ledger: Ledger) -> Ledger:
    """Everything of the example documents, signed."""
    capture(ledger, "pork", "drug-case", "vegetables", "reused-crate")
    sign(ledger)
    return ledger


# --- the catalogue --------------------------------------------------------------------------------


def test_the_catalogue_has_the_reports_and_asks_for_what_they_need(city: Ledger) -> None:
    assert {"dossier", "recall", "integrity"} <= REPORTS.keys()
    for given in ({}, {"code": ""}, {"code": PORK, "more": "x"}):
        with pytest.raises(UnacceptableRecord):
            made(city, "dossier", **given)
    with pytest.raises(NotRecorded):
        report_of("nothing")
    with pytest.raises(NotRecorded):
        made(city, "recall", recall="ZH-1")
    for name, given in (("dossier", {"code": PORK}), ("integrity", {})):
        with pytest.raises(NotAllowed):
            made(city, name, Actor("x", Role.SUBSCRIBER, frozenset(), IMPORT), **given)
    with pytest.raises(NotAllowed):
        made(city, "integrity", MARKETS)


# --- what a dossier says --------------------------------------------------------------------------


def test_the_dossier_of_pork(city: Ledger) -> None:
    found = made(city, "dossier", code=PORK)
    summary = facts(found, "Summary")
    assert (summary["coverage %"], summary["breaks"], summary["events"]) == (100, 0, 5)
    assert summary["in stock"] == "985.65 KGM" and summary["sold"] == "0.85 KGM"
    outside, shipped = grid(found, MOVED)
    assert outside["finding"].endswith("from outside the ledger") and outside["step"] == -1
    assert shipped["finding"].endswith("complete") and shipped["document"] == "urn:suyuan:voucher:20261123000117"
    assert (shipped["quantity shipped"], shipped["quantity received"], shipped["unit"]) == (120, 120, "KGM")
    assert shipped["from"].startswith(ABATTOIR) and shipped["to"].startswith(MARKET)
    assert len(shipped["evidence"].split()) == 2
    assert {row["holder"][:9]: row["left"] for row in grid(found, "Who has it now")} == {
        ABATTOIR: Decimal("866.5"), MARKET: Decimal("119.15"),
    }  # fmt: skip
    assert grid(found, "Breaks") == []
    assert [row["step"] for row in grid(found, HAPPENED)] == [-1, 0, 0, 1]


def test_a_pack_is_followed_in_its_case_and_is_where_it_was_last(city: Ledger) -> None:
    found = made(city, "dossier", code=PACK)
    (moved,) = grid(found, MOVED)
    assert moved["goods"].startswith("00/") and moved["finding"].endswith("complete")
    (holder,) = grid(found, "Who has it now")
    assert holder["holder"].startswith(PHARMACY)
    assert facts(found, "Summary")["in stock"] == "1" and facts(found, "Summary")["coverage %"] == 100


def test_what_was_shipped_and_not_received_is_a_break(city: Ledger) -> None:
    found = made(city, "dossier", code=GREENS)
    (broken,) = grid(found, "Breaks")
    (shipped,) = [row for row in grid(found, MOVED) if row["shipped at"]]
    assert broken["break"].endswith("shipped, not received") and broken["missing"] == shipped["quantity shipped"]
    assert shipped["received at"] is None and shipped["finding"].endswith("shipped, not received")
    assert facts(found, "Summary")["coverage %"] == 0


def test_what_was_declared_in_error_is_shown_and_counts_for_nothing(ledger: Ledger, court: "Court") -> None:
    capture(ledger, "correction")
    sign(ledger)
    found = made(ledger, "dossier", code=PORK)
    assert sum("declared in error" in row["what happened"] for row in grid(found, HAPPENED)) == 2
    assert len(grid(found, MOVED)) == 1 == len(grid(found, "Breaks"))
    assert court.checks(render(found, "json", Language.CHINESE))[0] == 0


def shipped(minute: int, name: str, quantity: object, step: str, place: str, **more: Any) -> dict[str, Any]:
    goods = [{"epcClass": lot(name), "quantity": quantity, "uom": "KGM"}]
    action = more.pop("action", "OBSERVE")
    return event("ObjectEvent", minute, action=action, bizStep=step, quantityList=goods,
                 readPoint={"id": f"urn:suyuan:node:{place}"}, **more)  # fmt: skip


def paper(name: str) -> dict[str, Any]:
    return {"bizTransactionList": [{"type": "desadv", "bizTransaction": f"urn:x:paper:{name}"}]}


CASES: dict[str, tuple[list[dict[str, Any]], list[str], object, list[Decimal | None]]] = {
    # events, findings in order, coverage, missing in breaks
    "less came than was sent": (
        [shipped(1, "L", 50, "shipping", ABATTOIR), shipped(2, "L", 40, "receiving", MARKET)],
        ["quantities differ"], 100, [Decimal(10)],
    ),
    "in two parts under one paper": (
        [shipped(1, "L", 50, "shipping", ABATTOIR, **paper("a")),
         shipped(2, "L", 20, "receiving", MARKET, **paper("a")),
         shipped(3, "L", 30, "receiving", MARKET, **paper("a"))],
        ["complete", "complete"], 100, [],
    ),
    "in two parts, and some is missing": (
        [shipped(1, "L", 50, "shipping", ABATTOIR, **paper("a")),
         shipped(2, "L", 20, "receiving", MARKET, **paper("a")),
         shipped(3, "L", 20, "receiving", MARKET, **paper("a"))],
        ["quantities differ", "quantities differ"], 100, [Decimal(10)],
    ),
    "received, never shipped": ([shipped(2, "L", 5, "receiving", MARKET)], ["received, not shipped"], 0, [Decimal(-5)]),
    "received before it was shipped": (
        [shipped(1, "L", 5, "receiving", MARKET), shipped(2, "L", 5, "shipping", ABATTOIR)],
        ["received, not shipped", "shipped, not received"], 0, [Decimal(-5), Decimal(5)],
    ),
    "voided": (
        [shipped(1, "L", 5, "shipping", ABATTOIR), shipped(2, "L", 5, "void_shipping", ABATTOIR)],
        ["shipment voided"], None, [],
    ),
    "two shipments, by quantity": (
        [shipped(1, "L", 5, "shipping", ABATTOIR), shipped(2, "L", 7, "shipping", ABATTOIR),
         shipped(3, "L", 5, "receiving", MARKET)],
        ["complete", "shipped, not received"], 50, [Decimal(7)],
    ),
    "two shipments, by paper": (
        [shipped(1, "L", 5, "shipping", ABATTOIR, **paper("a")), shipped(2, "L", 5, "shipping", ABATTOIR, **paper("b")),
         shipped(3, "L", 5, "receiving", MARKET, **paper("a"))],
        ["complete", "shipped, not received"], 50, [Decimal(5)],
    ),
    "another paper of the same type": (
        [shipped(1, "L", 5, "shipping", ABATTOIR, **paper("a")), shipped(2, "L", 5, "receiving", MARKET, **paper("b"))],
        ["shipped, not received", "received, not shipped"], 0, [Decimal(5), Decimal(-5)],
    ),
    "to somebody else": (
        [shipped(1, "L", 5, "shipping", ABATTOIR, destinationList=[
            {"type": "owning_party", "destination": f"urn:suyuan:party:{PHARMACY}0000"}]),
         shipped(2, "L", 5, "receiving", MARKET)],
        ["shipped, not received", "received, not shipped"], 0, [Decimal(5), Decimal(-5)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_shipments_and_receipts_are_put_together(ledger: Ledger, name: str) -> None:
    events, findings, covered, missing = CASES[name]
    nodes(ledger)
    record(ledger, shipped(0, "L", 100, "commissioning", ABATTOIR, action="ADD"), *events)
    sign(ledger)
    found = made(ledger, "dossier", code=lot("L"))
    assert [row["finding"].split(" ", 1)[1] for row in grid(found, MOVED)] == findings
    broken = [row["missing"] for row in grid(found, "Breaks") if "went out" not in row["break"]]
    assert sorted(broken) == sorted(missing) and facts(found, "Summary")["coverage %"] == covered


def test_more_out_than_in_is_a_break(ledger: Ledger) -> None:
    nodes(ledger)
    made_of = {"readPoint": {"id": f"urn:suyuan:node:{ABATTOIR}"}}
    inputs = [{"epcClass": lot("L"), "quantity": 10, "uom": "KGM"}]
    outputs = [{"epcClass": lot("M"), "quantity": 12, "uom": "KGM"}]
    record(
        ledger, shipped(0, "L", 10, "commissioning", ABATTOIR, action="ADD"),
        event("TransformationEvent", 1, inputQuantityList=inputs, outputQuantityList=outputs, **made_of),
        shipped(2, "M", 20, "retail_selling", ABATTOIR, action="DELETE"),
    )  # fmt: skip
    sign(ledger)
    broken = grid(made(ledger, "dossier", code=lot("M")), "Breaks")
    assert [(row["break"].split(" ", 1)[1], row["missing"]) for row in broken] == [
        ("more came out than went in", -2), ("more went out than came in", -8),
    ]  # fmt: skip


# --- every form of them ---------------------------------------------------------------------------


@pytest.fixture
def documents(city: Ledger) -> list[Document]:
    filed(city, RECALL, [{
        "recall": "SP-1", "lots": "https://id.gs1.org/01/06901234500202/10/P1", "grade": "1", "origin": "ordered",
        "nature": "real", "range": "city", "regime": "cn_food", "decided_at": (now() - timedelta(3)).isoformat(),
    }])  # fmt: skip
    sign(city)
    return [made(city, "dossier", code=PORK), made(city, "recall", recall="SP-1"), made(city, "integrity")]


def test_html_has_no_script_and_loads_nothing(documents: list[Document]) -> None:
    for document, language in itertools.product(documents, Language):
        page = render(document, "html", language).decode()
        parsed = _Page()
        parsed.feed(page)
        assert not parsed.tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a"}
        assert not parsed.attributes & {"src", "href", "action", "srcset", "style", "onload", "onerror", "onclick"}
        assert "url(" not in page and "@import" not in page
        assert ("<script" not in page) and (document.name == "recall" or "&lt;script" in page)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.attributes = set[str](), set[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_cells_of_sheets_are_no_formulas(documents: list[Document]) -> None:
    for document, language in itertools.product(documents, Language):
        cells = [cell for row in csv.reader(io.StringIO(render(document, "csv", language).decode("utf-8-sig")))
                 for cell in row]  # fmt: skip
        book = load_workbook(io.BytesIO(render(document, "xlsx", language)))
        assert all(cell.data_type != "f" for sheet in book for row in sheet.iter_rows() for cell in row)
        cells += [str(cell.value) for sheet in book for row in sheet.iter_rows() for cell in row if cell.value]
        assert [cell for cell in cells if cell.startswith(FORMULAS) and not re.fullmatch(r"-[0-9.]+", cell)] == []
        assert any("HYPERLINK" in cell for cell in cells), "the hostile name is there, as text"


def test_a_hostile_name_alone_in_a_cell_is_no_formula(city: Ledger) -> None:
    """Codes stand before names; so the same with a name that stands first."""
    document = made(city, "dossier", code=PORK)
    first = next(i for i, one in enumerate(document.sections) if isinstance(one, Grid) and one.rows)
    section = document.sections[first]
    assert isinstance(section, Grid)
    rows = [[HOSTILE, *row[1:]] for row in section.rows]
    hostile = replace(document, sections=[replace(section, rows=rows)])
    (cell, *_), *_ = list(csv.reader(io.StringIO(render(hostile, "csv", Language.ENGLISH).decode("utf-8-sig"))))[1:]
    assert cell == f"'{HOSTILE}"
    sheet = load_workbook(io.BytesIO(render(hostile, "xlsx", Language.ENGLISH))).worksheets[1]
    assert (sheet["A2"].data_type, sheet["A2"].value) == ("s", f"'{HOSTILE}")


def test_pdf_has_chinese_that_can_be_read(documents: list[Document]) -> None:
    for document in documents:
        paper = PdfDocument(render(document, "pdf", Language.CHINESE))
        text = "".join(page.get_textpage().get_text_range() for page in paper)
        assert document.title.zh in text and "依据" in text and document.basis.root[:16] in re.sub(r"\s", "", text)


def test_every_form_renders_in_both_languages(documents: list[Document]) -> None:
    for document, form, language in itertools.product(documents, FORMATS, Language):
        assert len(render(document, form, language)) > 500


def test_the_hash_is_of_what_is_said_and_not_of_who_asked(city: Ledger, documents: list[Document]) -> None:
    for document in documents:
        again = replace(document, basis=replace(document.basis, made_by="another", made_at=now()))
        assert again.hash == document.hash
        for at, section in enumerate(document.sections):
            if isinstance(section, Grid) and section.rows:
                fewer = replace(section, rows=section.rows[1:])
                row = list(section.rows[0])
                row[0] = f"{row[0]}x"
                for other in (fewer, replace(section, rows=[row, *section.rows[1:]])):
                    sections = [*document.sections[:at], other, *document.sections[at + 1 :]]
                    assert replace(document, sections=sections).hash != document.hash
    two = Actor("regulator-2", Role.REGULATOR, frozenset(), IMPORT)
    with source(city) as one:
        report, given = report_of("dossier"), {"code": PORK}
        other = replace(one, actor=two, basis=replace(one.basis, made_by=two.name, made_at=now()))
        assert report.made(one, given).hash == report.made(other, given).hash


# --- the standalone verifier ----------------------------------------------------------------------


@dataclass
class Court:
    """An expert's own folder: the verifier and nothing of ours."""

    folder: Path
    key: str

    def checks(self, dossier: bytes, *more: str, key: str | None = None) -> tuple[int, str]:
        (self.folder / "dossier.json").write_bytes(dossier)
        done = subprocess.run(
            [sys.executable, "-I", "verifier.py", "dossier.json", "--key", key or self.key, *more],
            cwd=self.folder, capture_output=True, text=True, check=False, env={"LANG": "C"},
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def court(ledger: Ledger, tmp_path: Path) -> Court:
    folder = tmp_path / "court"
    folder.mkdir()
    shutil.copy(VERIFIER, folder / "verifier.py")
    return Court(folder, str(ledger.signer.verifier))


def test_the_verifier_stands_alone() -> None:
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(VERIFIER.read_text()))
        for name in ([one.name for one in node.names] if isinstance(node, ast.Import)
                     else [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
    }  # fmt: skip
    assert imported - sys.stdlib_module_names == {"cryptography"}


@pytest.mark.parametrize("code", [PORK, PACK, GREENS, CRATE])
@pytest.mark.parametrize("language", Language)
def test_a_real_dossier_passes_offline(city: Ledger, court: Court, code: str, language: Language) -> None:
    document = made(city, "dossier", code=code)
    status, said = court.checks(render(document, "json", language), "--show")
    assert status == 0 and "everything holds" in said and "FAILS" not in said, said
    entries = document.attachments["proofs"]["entries"]
    assert f"{len(entries):6}  entries in the log" in said and said.count("SHA-256") == len(entries)
    cited = {word for section in document.sections if isinstance(section, Grid) for row in section.rows
             for word in str(row[-1]).split()}  # fmt: skip
    assert cited == {one["entry"] for one in entries}, "each entry proves a line, each line has its entries"


def test_proofs_hold_in_a_log_of_several_tiles(ledger: Ledger, court: Court) -> None:
    """Full and partial tiles, and a checkpoint that was signed before the log grew on."""
    nodes(ledger)
    record(ledger, *(shipped(n, f"F{n}", 1, "commissioning", ABATTOIR, action="ADD") for n in range(300)))
    record(ledger, shipped(1, "L", 5, "commissioning", MARKET, action="ADD"))
    sign(ledger)
    record(ledger, *(shipped(n, f"G{n}", 1, "commissioning", MARKET, action="ADD") for n in range(300)))
    record(ledger, shipped(2, "L", 5, "holding", MARKET))
    sign(ledger)
    for code in (lot("L"), lot("F0"), lot("F299"), lot("G299")):
        status, said = court.checks(render(made(ledger, "dossier", code=code), "json", Language.ENGLISH))
        assert status == 0, said
    record(ledger, shipped(3, "L", 5, "holding", MARKET))
    document = made(ledger, "dossier", code=lot("L"))
    assert any("under no signed checkpoint" in one.text.en for one in document.sections if isinstance(one, Note))
    status, said = court.checks(render(document, "json", Language.ENGLISH))
    assert status == 1 and "not under the checkpoint when the dossier was made" in said, "pending is not proven"


def _entry(dossier: dict[str, Any], sealed: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in dossier["proofs"]["entries"] if "sealed" in one or not sealed)
    return found


def _flipped(text: str) -> str:
    data = bytearray(base64.b64decode(text))
    data[len(data) // 2] ^= 1
    return base64.b64encode(data).decode()


def _changed(where: Callable[[dict[str, Any]], dict[str, Any]], name: str, value: Callable[[Any], Any]) -> Mutation:
    def change(dossier: dict[str, Any]) -> None:
        found = where(dossier)
        found[name] = value(found[name])

    return change


def _row(dossier: dict[str, Any]) -> list[str]:
    """The line of the shipment that was received."""
    (found,) = [row for section in dossier["sections"] for row in section if "两端齐全 complete" in row]
    row: list[str] = found
    return row


def _in_row(old: str, new: str) -> Mutation:
    def change(dossier: dict[str, Any]) -> None:
        row = _row(dossier)
        row[row.index(old)] = new

    return change


def _drop_entry(dossier: dict[str, Any]) -> None:
    del dossier["proofs"]["entries"][0]


def _twice(dossier: dict[str, Any]) -> None:
    dossier["proofs"]["entries"].append(dossier["proofs"]["entries"][0])


def _swap_places(dossier: dict[str, Any]) -> None:
    one, two = dossier["proofs"]["entries"][:2]
    one["index"], two["index"] = two["index"], one["index"]


def _swap_sealed(dossier: dict[str, Any]) -> None:
    one, two = [entry for entry in dossier["proofs"]["entries"] if "sealed" in entry][:2]
    one["sealed"], two["sealed"] = two["sealed"], one["sealed"]


def _forge_sealed(dossier: dict[str, Any]) -> None:
    """A sealed part made up for an entry, with a salt of one's own."""
    _entry(dossier, sealed=True)["sealed"] = {"salt": "00" * 16, "data": base64.b64encode(b"{}").decode()}


def _rename(dossier: dict[str, Any]) -> None:
    _entry(dossier)["entry"] = "330212001/999"


def _longer(dossier: dict[str, Any]) -> None:
    _entry(dossier)["path"].append(base64.b64encode(bytes(32)).decode())


def _uncite(dossier: dict[str, Any]) -> None:
    _row(dossier)[-1] = ""


def _path(at: int) -> Mutation:
    def change(dossier: dict[str, Any]) -> None:
        path = _entry(dossier)["path"]
        path[at] = _flipped(path[at])

    return change


def _respell(dossier: dict[str, Any]) -> None:
    """The same hash in another spelling of base64: the two last bits before = say nothing."""
    path = _entry(dossier)["path"]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    before = path[0]
    path[0] = f"{before[:-2]}{letters[letters.index(before[-2]) ^ 1]}="
    assert base64.b64decode(path[0]) == base64.b64decode(before)


def _recode(dossier: dict[str, Any]) -> None:
    """Another lot where a line says what went from where to where."""
    row = _row(dossier)
    (at,) = [at for at, cell in enumerate(row) if str(cell).startswith("01/")]
    row[at] = row[at][:-1] + ("X" if row[at][-1] != "X" else "Y")


MUTATIONS: dict[str, Mutation] = {
    "another spelling of a hash": _respell,
    "a byte of an entry": _changed(_entry, "data", _flipped),
    "a character of an entry's base64 that changes no byte": _changed(_entry, "data", lambda text: text + "\n"),
    "the first hash of a path": _path(0),
    "the last hash of a path": _path(-1),
    "a path too short": lambda dossier: _entry(dossier)["path"].pop(),
    "a path too long": _longer,
    "a place in the log": _changed(_entry, "index", lambda index: index + 1),
    "a place below nothing": _changed(_entry, "index", lambda _: -1),
    "places swapped": _swap_places,
    "the text of the note": _changed(
        lambda dossier: dossier["proofs"], "checkpoint", lambda note: note.replace("\n", "\n9", 1)
    ),
    "the signature of the note": _changed(
        lambda dossier: dossier["proofs"], "checkpoint",
        lambda note: note[:-40] + ("A" if note[-40] != "A" else "B") + note[-39:],
    ),
    "the note of nobody": _changed(
        lambda dossier: dossier["proofs"], "checkpoint", lambda note: note.rpartition("\n\n")[0] + "\n"
    ),
    "a salt": _changed(
        lambda dossier: _entry(dossier, True)["sealed"], "salt", lambda salt: salt[:-1] + "0f"[salt[-1] == "0"]
    ),
    "a byte of a sealed part": _changed(lambda dossier: _entry(dossier, True)["sealed"], "data", _flipped),
    "sealed parts swapped": _swap_sealed,
    "a sealed part made up": _forge_sealed,
    "an entry removed": _drop_entry,
    "all entries removed": lambda dossier: dossier["proofs"]["entries"].clear(),
    "an entry twice": _twice,
    "an entry under another name": _rename,
    "a quantity in a line": _in_row("120", "1200"),
    "a time in a line": _in_row("2026-11-23T03:15:00+08:00", "2026-11-23T03:16:00+08:00"),
    "a document in a line": _in_row("urn:suyuan:voucher:20261123000117", "urn:suyuan:voucher:20261123000118"),
    "a lot in a line": _recode,
    "a line without evidence": _uncite,
    "a line with evidence that is not there": lambda dossier: _row(dossier).__setitem__(-1, "330212001/77"),
    "the root that it claims to rest on": _changed(lambda dossier: dossier["basis"], "root", lambda root: root[::-1]),
    "the size that it claims to rest on": _changed(
        lambda dossier: dossier["basis"], "checkpoint", lambda size: size + "0"
    ),
}  # fmt: skip


@pytest.fixture
def genuine(ledger: Ledger) -> bytes:
    capture(ledger, "pork", "drug-case")
    sign(ledger)
    return render(made(ledger, "dossier", code=PORK), "json", Language.CHINESE)


def test_every_tampering_is_noticed(genuine: bytes, court: Court) -> None:
    assert court.checks(genuine)[0] == 0
    assert len(MUTATIONS) >= 12
    unnoticed = []
    for name, change in MUTATIONS.items():
        dossier = json.loads(genuine)
        change(dossier)
        changed = json.dumps(dossier, ensure_ascii=False).encode()
        assert json.loads(changed) != json.loads(genuine), name
        status, said = court.checks(changed)
        if status != 1 or "FAILS" not in said:
            unnoticed.append((name, status, said))
    assert unnoticed == []


_gtin = st.integers(0, 10**13 - 1).map(lambda number: f"{number:013}").map(lambda body: body + check_digit(body))
_part = st.text("ABCxyz019-_.!", min_size=1, max_size=20)


@hypothesis.given(_gtin, _part, st.integers(6, 12), st.sampled_from(["lot", "serial", "both", "class"]), st.booleans())
def test_the_verifier_names_items_as_the_ledger_does(gtin: str, part: str, prefix: int, kind: str, urn: bool) -> None:
    """It has none of the ledger's code: a difference would call a true dossier false, or let another lot pass."""
    body = f"{gtin[1 : 1 + prefix]}.{gtin[0]}{gtin[1 + prefix : 13]}"
    if urn and kind in ("lot", "serial"):
        uri = f"urn:epc:{'class:lgtin' if kind == 'lot' else 'id:sgtin'}:{body}.{part}"
    elif urn:
        sscc = f"{gtin}{gtin[:4]}"[:17]
        uri = f"urn:epc:id:sscc:{sscc[1 : 1 + prefix]}.{sscc[0]}{sscc[1 + prefix : 17]}"
    else:
        part = quote(part, safe="")
        ends = {"lot": f"/10/{part}", "serial": f"/21/{part}", "both": f"/10/A/21/{part}", "class": ""}
        uri = f"https://id.gs1.org/01/{gtin}{ends[kind]}"
    assert verifier.key_of(uri) == unquote(canonical_key(uri))


@pytest.mark.parametrize(
    ("second", "places", "wrong"),
    [(b"one", (0, 1), 0), (b"other", (0, 1), 1), (b"one", (1, 0), 1), (b"other", (1, 0), 2)],
)
def test_links_of_a_chain_are_checked(second: bytes, places: tuple[int, int], wrong: int) -> None:
    """Entries that are each proven, and do not follow each other: only whoever holds the key could sign such a log."""
    result = verifier.Result()
    one = verifier.Proven("330212001/1", b"one", {"node": "330212001", "seq": 1, "prev": "0" * 64}, places[0])
    after = {"node": "330212001", "seq": 2, "prev": hash_of(second).hex()}
    two = verifier.Proven("330212001/2", b"two", after, places[1])
    verifier.check_chains({found.name: found for found in (two, one)}, result)
    assert len(result.failures) == wrong


def test_another_key_proves_nothing(genuine: bytes, court: Court) -> None:
    other = str(Signer(court.key.partition("+")[0], Ed25519PrivateKey.generate()).verifier)
    assert court.checks(genuine, key=other)[0] == 1
    dossier = json.loads(genuine)
    dossier["proofs"]["keys"] = [other]
    assert court.checks(json.dumps(dossier).encode(), key=other)[0] == 1, "a key in the dossier convinces nobody"
    assert court.checks(json.dumps(dossier).encode())[0] == 0, "nor is it looked at"


def test_a_log_signed_by_somebody_else_proves_nothing(genuine: bytes, court: Court) -> None:
    """The same name, the same entries, another key under it."""
    forger = Signer(court.key.partition("+")[0], Ed25519PrivateKey.generate())
    dossier = json.loads(genuine)
    text = dossier["proofs"]["checkpoint"].rpartition("\n\n")[0] + "\n"
    dossier["proofs"]["checkpoint"] = sign_note(text, forger)
    assert court.checks(json.dumps(dossier).encode())[0] == 1
    assert court.checks(json.dumps(dossier).encode(), key=str(forger.verifier))[0] == 0, "whom one trusts is one's own"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b"\xff", b'{"a":1,"a":2}', b'{"proofs":{"form":"x"}}', b"[" * 100_000]
)
def test_what_is_no_dossier_cannot_be_checked(court: Court, data: bytes) -> None:
    assert court.checks(data)[0] == 2


def test_a_key_that_is_none_is_said_so(genuine: bytes, court: Court) -> None:
    for key in ("x", court.key[:-1], court.key.replace("+", "-"), ""):
        assert court.checks(genuine, key=key or " ")[0] == 2


@pytest.mark.parametrize("seed", range(3))
def test_no_changed_character_of_the_proofs_is_taken_for_good(genuine: bytes, seed: int) -> None:
    """In this process, since they are many: what is changed in entries, note or evidence never passes as it was."""
    keys = [verifier.parse_key(json.loads(genuine)["proofs"]["keys"][0])]
    dice = random.Random(seed)
    whole = json.loads(genuine)
    for _ in range(150):
        dossier = json.loads(genuine)
        entry = dice.choice(dossier["proofs"]["entries"])
        name = dice.choice(["entry", "data", "path"])
        value = entry[name] if name != "path" else dice.choice(entry["path"])
        at = dice.randrange(len(value))
        changed = value[:at] + dice.choice([chr(ord(value[at]) ^ 1), "", "A" + value[at]]) + value[at + 1 :]
        if name == "path":
            entry["path"][entry["path"].index(value)] = changed
        else:
            entry[name] = changed
        assert dossier != whole
        assert verifier.verify(dossier, keys)[0].failures, (name, value, changed)


# --- who sees what --------------------------------------------------------------------------------


def test_a_reader_of_one_node_gets_no_sealed_parts_of_others(city: Ledger, court: Court) -> None:
    whole, own = (made(city, "dossier", actor, code=PORK) for actor in (REGULATOR, MARKETS))
    sealed = {one["entry"] for one in whole.attachments["proofs"]["entries"] if "sealed" in one}
    assert {name[:9] for name in sealed} == {ABATTOIR, MARKET}
    got = {one["entry"] for one in own.attachments["proofs"]["entries"] if "sealed" in one}
    assert got == {name for name in sealed if name.startswith(MARKET)} != set()
    text, secret = text_of(own), "6901234500905"
    assert secret in text_of(whole) and secret not in text, "whom the abattoir bought from"
    hidden = [base64.b64decode(one["sealed"]["data"]) for one in whole.attachments["proofs"]["entries"]
              if one["entry"] in sealed - got]  # fmt: skip
    salts = [one["sealed"]["salt"] for one in whole.attachments["proofs"]["entries"] if one["entry"] in sealed - got]
    mine = {base64.b64decode(one["sealed"]["data"]) for one in own.attachments["proofs"]["entries"] if "sealed" in one}
    assert set(hidden) - mine, "else nothing is tested"
    assert not any(base64.b64encode(part).decode() in text for part in hidden if part not in mine)
    assert not any(salt in text for salt in salts)
    assert {row["holder"][:9] for row in grid(own, "Who has it now")} == {MARKET}
    status, said = court.checks(render(own, "json", Language.ENGLISH))
    assert status == 0 and "sealed parts that are not in the dossier" in said, said
    with pytest.raises(NotRecorded):
        made(city, "dossier", MARKETS, code=PACK)


def test_an_erased_part_is_not_there_and_the_rest_still_holds(city: Ledger, court: Court) -> None:
    entry = next(one["entry"] for one in made(city, "dossier", code=PORK).attachments["proofs"]["entries"]
                 if "sealed" in one)  # fmt: skip
    erase(city.database, parse_node(entry[:9]), int(entry[10:]), "order", "operator", now)
    sign(city)
    document = made(city, "dossier", code=PORK)
    (found,) = [one for one in document.attachments["proofs"]["entries"] if one["entry"] == entry]
    assert "sealed" not in found
    assert court.checks(render(document, "json", Language.ENGLISH))[0] == 0


# --- recalls --------------------------------------------------------------------------------------


def test_the_report_of_a_recall_of_food(city: Ledger) -> None:
    decided = now() - timedelta(days=3)
    filed(city, RECALL, [{
        "recall": "SP-1", "lots": PIGS, "grade": "1", "origin": "ordered",
        "nature": "real", "range": "city", "regime": "cn_food", "decided_at": decided.isoformat(),
    }])  # fmt: skip
    filed(city, RECALL_ANSWER, [{
        "answer": f"{MARKET}-SP-1", "acknowledged_at": (decided + timedelta(hours=6)).isoformat(), "unit": "KGM",
        "found": "100", "sold": "0.85", "destroyed": "30", "returned": "10",
    }])  # fmt: skip
    sign(city)
    found = made(city, "recall", recall="SP-1")
    assert {row["clock"].split()[-1]: row["late"] for row in grid(found, "Clocks")} == {"notify": True, "finish": False}
    rows = {(row["node"][:9], row["unit"]): row for row in grid(found, "Who had it, and what is left")}
    assert rows.keys() == {(ABATTOIR, "KGM"), (ABATTOIR, "H87"), (MARKET, "KGM")}
    market, abattoir = rows[MARKET, "KGM"], rows[ABATTOIR, "KGM"]
    assert (market["received"], market["sold"], market["left"]) == (120, Decimal("0.85"), Decimal("119.15"))
    assert market["answered"] and not abattoir["answered"] and abattoir["made"] == Decimal("986.5")
    assert all(row["evidence"].startswith(node) and row["entries"] == len(row["evidence"].split())
               for (node, _), row in rows.items())  # fmt: skip
    (answer,) = grid(found, "Answers")
    assert (answer["found"], answer["returned"], answer["destroyed"]) == (100, 10, 30)
    effect = facts(found, "Effectiveness")
    assert effect["answered %"] == 50 and effect["fastest answer, hours"] == 6
    assert effect["accounted for % (KGM)"] == Decimal("11.2")
    totals = facts(found, "Quantities: out against found")
    assert (totals["out (KGM)"], totals["accounted for (KGM)"]) == (Decimal("986.5"), Decimal("110.85"))
    evidence = {word for section in found.sections if isinstance(section, Grid) for row in section.rows
                for word in str(row[-1]).split()}  # fmt: skip
    assert_recorded(city, evidence)
    seen = made(city, "recall", MARKETS, recall="SP-1")
    assert {row["node"][:9] for row in grid(seen, "Who had it, and what is left")} == {MARKET}
    assert ABATTOIR not in text_of(seen)


def test_the_report_of_a_recall_of_a_drug(city: Ledger) -> None:
    filed(city, PRODUCT, [{"product": "8123456", "name": HOSTILE, "kind": "drug", "gtin": "06901234500400"}])
    filed(city, RECALL, [{
        "recall": "ZH-1", "product": "8123456", "batches": "B261100", "grade": "2", "origin": "ordered",
        "nature": "real", "range": "city", "regime": "cn_drug", "decided_at": now().isoformat(),
    }])  # fmt: skip
    sign(city)
    found = made(city, "recall", recall="ZH-1")
    rows = grid(found, "Who holds it")
    assert sum(row["packs"] for row in rows) == facts(found, PACKS)["packs recorded"] == 5
    assert facts(found, PACKS)["sold, or out of the supervised chain"] == 1
    assert facts(found, PACKS)["outstanding"] == 4
    assert all(row["evidence"].startswith(row["node"][:9]) for row in rows), rows
    assert_recorded(city, {word for row in rows for word in row["evidence"].split()})
    assert {row["clock"].split()[-1] for row in grid(found, "Clocks")} == {"notify", "plan", "progress"}
    other = made(city, "recall", MARKETS, recall="ZH-1")
    assert grid(other, "Who holds it") == []


PACKS = "Packs: found, destroyed, outstanding"


def assert_recorded(ledger: Ledger, names: set[str]) -> None:
    """All these entries exist."""
    assert names
    with ledger.database.read() as connection:
        places = [(int(name[:9]), int(name[10:])) for name in names]
        assert {one.entry.name for one in entries_at(connection, places)} == names


# --- integrity ------------------------------------------------------------------------------------


def test_the_integrity_statement_says_what_was_checked(city: Ledger) -> None:
    found = made(city, "integrity")
    assert facts(found, "The latest checkpoint")["signed by the key"] == str(city.signer.verifier)
    assert facts(found, "The latest checkpoint")["agrees with the stored tiles"] is True
    assert "consistent" in facts(found, "The checkpoint outside the database")["finding"]
    assert len(facts(found, "What is proven")) == 2 and "Without" not in str(facts(found, "What is proven"))
    chains = grid(found, "Chains")
    assert sum(row["entries"] for row in chains) == facts(found, "How much there is")["entries"]
    audited = Audited(now(), look(city))
    with source(city) as one:
        stated = integrity.make(one, {}, audited)
    assert facts(stated, "The audit")["clean"] is True and len(facts(stated, "What is proven")) == 3
    assert facts(stated, "The audit")["entries read"] == sum(row["entries"] for row in chains)
    assert len(facts(stated, "What is not proven")) == len(facts(found, "What is not proven")) - 1


def test_a_grown_log_agrees_with_an_old_checkpoint_outside(city: Ledger) -> None:
    note = city.keys.last_note()
    assert note is not None
    nodes(city, more="9")
    sign(city)
    with source(city) as one:
        outside = open_checkpoint(note, [city.signer.verifier])
        assert outside.size < one.basis.size
        assert extends(one.connection, latest(one.connection), outside) is True
        other = replace(outside, root=bytes(32))
        assert extends(one.connection, latest(one.connection), other) is False
        ahead = replace(outside, size=one.basis.size + 1)
        assert extends(one.connection, latest(one.connection), ahead) is None


@pytest.mark.damages
def test_the_statement_tells_a_changed_log(city: Ledger, own: Own) -> None:
    with own.superuser() as connection:
        connection.execute("UPDATE edge SET hashes = set_byte(hashes, 3, 255 - get_byte(hashes, 3)) WHERE level = 0")
    found = made(city, "integrity")
    assert facts(found, "The latest checkpoint")["agrees with the stored tiles"] is False
    assert facts(found, "What is proven").values() and all("signed" not in str(one) for one in
                                                           facts(found, "What is proven").values())  # fmt: skip
    audited = Audited(now(), look(city))
    with source(city) as one:
        stated = integrity.make(one, {}, audited)
    assert facts(stated, "The audit")["clean"] is False and grid(stated, "Disagreements")


@pytest.mark.damages
def test_a_dossier_of_a_changed_entry_does_not_pass(city: Ledger, own: Own, court: Court) -> None:
    """The database's superuser changes a byte that stays readable: the ledger hands it out, the expert sees it."""
    with own.superuser() as connection:
        changed = connection.execute(
            "UPDATE entry SET data = replace(convert_from(data, 'UTF8'), '986.5', '987.5')::bytea"
            " WHERE convert_from(data, 'UTF8') LIKE '%986.5%' AND kind = 1"
        )
        assert changed.rowcount == 1
    status, said = court.checks(render(made(city, "dossier", code=PORK), "json", Language.ENGLISH))
    assert status == 1 and "not what the log holds" in said
