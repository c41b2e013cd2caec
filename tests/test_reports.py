"""Reports: what they say of the vectors, that every form of them is safe, and that a dossier is checked by strangers."""

import base64
import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook
from pypdfium2 import PdfDocument

from api.ledger import Ledger, now
from ledger.access import Actor, Role
from ledger.capture import ErrorBehaviour, requests_of
from ledger.codes import IMPORT, TraceScheme, parse_node
from ledger.documents import read_document
from ledger.errors import LedgerError, NotAllowed, NotRecorded, UnacceptableRecord
from ledger.log import latest
from ledger.nodes import OPERATOR, add_node, places_of
from reports.all import REPORTS, report_of
from reports.catalogue import Source
from reports.document import FORMULAS, Basis, Document, Facts, Grid, Language
from reports.render import FORMATS, render
from tests.conftest import VECTORS, sign

ABATTOIR, MARKET, PLANT, PHARMACY = "330212001", "330212002", "330212003", "330212004"
GLN = "https://id.gs1.org/414/69012345000"
PLACES = {ABATTOIR: f"{GLN}11", MARKET: f"{GLN}35", PLANT: f"{GLN}59", PHARMACY: f"{GLN}66"}
HOSTILE = '=HYPERLINK("http://evil.example","药")<script src=//evil.example/x></script>'
PORK, PACK = "(01)06901234500202(10)P1", "(01)06901234500400(21)B2611000101"
REGULATOR = Actor("regulator-1", Role.REGULATOR, frozenset(), IMPORT)
MARKETS = Actor("market-1", Role.MARKET, frozenset({int(MARKET)}), int(MARKET))
VERIFIER = Path(__file__).parents[1] / "reports" / "verifier.py"


def capture(ledger: Ledger, *names: str) -> None:
    """Example documents, at nodes whose places they happened at."""
    for code, place in PLACES.items():
        ledger.record(add_node(parse_node(code), f"{HOSTILE} {code}", TraceScheme.OPERATOR_SERIAL, [place], "operator"))
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


def test_look(ledger):
    capture(ledger, "pork", "drug-case")
    sign(ledger)
    for code in (PORK, PACK):
        d = made(ledger, "dossier", code=code)
        print(render(d, "csv", Language.ENGLISH).decode())
    print(render(made(ledger, "integrity"), "csv", Language.CHINESE).decode())
    assert 0
