"""How long people wait for each page and report, and whether that grows with the ledger: `make bench-pages`.

On ledgers of the same city and weeks with more and more events (`loadtests/past.py`), each served by `suyuan serve`:
every page as whole HTML (median of several), and in real Chromium, from navigation on, the first contentful paint and
the moment when all was drawn and the frame after it shown. Every report as JSON, a job waited for. Beside it how large
the result is, and by how much time and result grew from the ledger before: nothing should grow faster than its result.
`python -m loadtests.pages SIZE …` takes numbers of events; `--keep FOLDER` keeps the ledgers there, and uses those that
are: a million events take a quarter of an hour to make, most of it the rules' following. The aims at a million entries:
300 ms to the first paint, a second for a trace of 2,000, 10 s for a month.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.table import Table

from ledger.errors import Misconfigured
from loadtests.past import Known, kept_past
from loadtests.serving import serving

SIZES = (10_000, 100_000, 1_000_000)
TIMES, PAINTS, REPORTS = 7, 3, 3
PAGE_MS, TRACE_MS, REPORT_MS = 300.0, 1_000.0, 10_000.0
QUICK_MS, FASTER = 20.0, 1.5
"""What takes less than this is not held against its result; nor what grew less than so much faster than it."""
WAIT_S, SEE_OTHER, TOO_MANY = 300.0, 303, 429
_PAINTED = """() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done([
    performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null, performance.now()]))))"""


@dataclass(frozen=True, slots=True)
class Asked:
    """A page or report, by whom (nobody: the public), and what it aims at."""

    name: str
    path: str
    role: str | None = None
    report: tuple[tuple[str, str], ...] | None = None
    aim_ms: float = PAGE_MS


@dataclass(frozen=True, slots=True)
class Measured:
    """How long it took, and what it is: bytes, and rows of its tables. Of reports there is no paint."""

    answer_ms: float
    paint_ms: float | None
    drawn_ms: float | None
    size: int
    rows: int

    @property
    def waited_ms(self) -> float:
        """What the aim is held against, but for the trace: until something is seen."""
        return self.answer_ms if self.paint_ms is None else self.paint_ms


def asked_of(known: Known) -> Iterator[Asked]:
    """Every page and report."""
    code = {name: quote(value, safe="") for name, value in known.codes.items()}
    yield Asked("portal", "/")
    yield Asked("public: slip", f"/t/{code['slip']}")
    yield Asked("public: pack", f"/t/{code['pack']}")
    yield Asked("public: lot", f"/t/{code['lot']}")
    for role in ("regulator", "market"):
        yield Asked(f"board, {role}", "/console", role)
        yield Asked(f"warnings, {role}", "/console/warnings", role)
        yield Asked(f"market, {role}", "/console/market", role)
    yield Asked("warnings: red", "/console/warnings?level=red", "regulator")
    yield Asked("warnings: words", "/console/warnings?text=%E6%A3%80%E6%B5%8B", "regulator")
    yield Asked("warnings: closed", "/console/warnings?status=closed", "regulator")
    yield Asked("a warning", f"/console/warnings/{code['warning']}", "regulator")
    yield Asked("trace: slip", f"/console/trace?code={code['slip']}", "regulator")
    yield Asked("trace: 2,000", f"/console/trace?code={code['large']}", "regulator", aim_ms=TRACE_MS)
    yield Asked("completeness", "/console/completeness", "regulator")
    for kind in ("parties", "licences", "certificates"):
        yield Asked(f"register: {kind}", f"/console/registry/{kind}", "regulator")
    yield Asked("licences, by end", "/console/registry/licences?sort=valid_to", "market")
    yield Asked("entries", "/console/entries", "market")
    yield Asked("recalls", "/console/recalls", "regulator")
    yield Asked("a recall", f"/console/recalls/{code['recall']}", "regulator")
    yield Asked("labels", "/console/labels", "market")
    yield Asked("reports", "/console/reports", "regulator")
    yield Asked("assessment, page", "/console/assessment", "regulator")
    yield Asked("work log", "/console/log", "regulator")
    yield Asked("terminal, market", "/terminal", "market")
    yield Asked("terminal, pharmacy", "/terminal", "pharmacy")
    yield from _reports(known)


def _reports(known: Known) -> Iterator[Asked]:
    day = date.fromisoformat(known.until[:10]) - timedelta(days=2)
    week = f"{day:%G-W%V}"
    for name, given in (
        ("daily", {"day": f"{day}"}), ("weekly", {"week": week}), ("monthly", {"month": known.month}),
        ("assessment", {"month": known.month}), ("integrity", {}), ("dossier", {"code": known.codes["slip"]}),
        ("dossier: 2,000", {"code": known.codes["large"]}), ("recall", {"recall": known.codes["recall"]}),
    ):  # fmt: skip
        path = f"/reports/{name.partition(':')[0]}"
        yield Asked(f"report {name}", path, "regulator", tuple(given.items()), REPORT_MS)


# --- measuring ------------------------------------------------------------------------------------


class Reader:
    """Somebody with a session, or nobody: as a program that reads HTML, and as a browser."""

    def __init__(self, url: str, key: str | None, browser: Browser) -> None:
        self._url, self._key = url, key
        self._client = httpx.Client(base_url=url, timeout=WAIT_S)
        context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="zh-CN")
        if key is not None:
            if self._client.post("/login", data={"key": key}).status_code != SEE_OTHER:
                raise Misconfigured("the ledger does not know this key: make it anew")
            context.add_cookies([{"name": name, "value": value, "url": url}
                                 for name, value in self._client.cookies.items()])  # fmt: skip
        context.set_default_timeout(WAIT_S * 1_000)
        self._context = context
        self._tab = context.new_page()

    def close(self) -> None:
        """Leave."""
        self._client.close()
        self._context.close()

    def page(self, asked: Asked) -> Measured:
        """A page: its HTML several times after a first, then looked at in a tab that is open already."""
        _, text = self._html(asked.path)
        answers = [self._html(asked.path)[0] for _ in range(TIMES)]
        painted = [self._painted(asked.path) for _ in range(PAINTS + 1)][1:]
        paint, drawn = (statistics.median(some) for some in zip(*painted, strict=True))
        return Measured(statistics.median(answers), paint, drawn, len(text.encode()), text.count("<tr"))

    def _html(self, path: str) -> tuple[float, str]:
        begin = time.perf_counter()
        answer = self._client.get(path, headers={"Accept": "text/html"})
        took_ms = (time.perf_counter() - begin) * 1_000
        if answer.status_code == TOO_MANY:  # the public looks so often a minute
            time.sleep(float(answer.headers["Retry-After"]))
            return self._html(path)
        return took_ms, answer.raise_for_status().text

    def _painted(self, path: str) -> tuple[float, float]:
        answer = self._tab.goto(self._url + path, wait_until="load")
        if answer is not None and answer.status == TOO_MANY:
            time.sleep(float(answer.headers["retry-after"]))
            return self._painted(path)
        paint, drawn = self._tab.evaluate(_PAINTED)
        return float(paint if paint is not None else drawn), float(drawn)

    def report(self, asked: Asked) -> Measured:
        """A report as JSON, waited for where it becomes a job."""
        some = [self._made(asked) for _ in range(REPORTS)]
        found = some[-1][1]
        rows = sum(len(lines) for lines in found.json()["sections"])
        return Measured(statistics.median(took for took, _ in some), None, None, len(found.content), rows)

    def _made(self, asked: Asked) -> tuple[float, httpx.Response]:
        headers = {"Authorization": f"Bearer {self._key}"}
        begin = time.perf_counter()
        given = {"parameters": dict(asked.report or ()), "format": "json"}
        answer = self._client.post(asked.path, json=given, headers=headers)
        answer.raise_for_status()
        if answer.status_code == 202:
            job = answer.headers["Location"]
            while self._client.get(job, headers=headers).json()["running"]:
                time.sleep(0.05)
            answer = self._client.get(f"{job}/result", headers=headers).raise_for_status()
        return (time.perf_counter() - begin) * 1_000, answer


def measured(folder: Path, events: int, told: Callable[[str], None]) -> tuple[int, dict[Asked, Measured]]:
    """How many entries the ledger of so many events has, and what was measured on it."""
    settings, known = kept_past(folder, events, told)
    found: dict[Asked, Measured] = {}
    with serving(settings, 1) as port, sync_playwright() as playwright, _browser(playwright) as browser:
        url = f"http://127.0.0.1:{port}"
        readers = {role: Reader(url, key, browser) for role, key in (*known.keys.items(), (None, None))}
        for asked in asked_of(known):
            told(f"{known.entries:,} entries: {asked.name}")
            reader = readers[asked.role]
            found[asked] = reader.page(asked) if asked.report is None else reader.report(asked)
        for reader in readers.values():
            reader.close()
    return known.entries, found


@contextmanager
def _browser(playwright: Any) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
    try:
        yield browser
    finally:
        browser.close()


# --- telling --------------------------------------------------------------------------------------


def table(found: dict[int, dict[Asked, Measured]]) -> Table:
    """Each page and report at each size; what missed its aim, or grew faster than its result, is marked."""
    shown = Table(title="ms: whole HTML / first paint / drawn; of reports until they are there; rows and KiB of it")
    shown.add_column("what")
    for entries in found:
        shown.add_column(f"{entries:,} entries")
    shown.add_column("time ×")
    shown.add_column("result ×")
    shown.add_column("")
    by_name = {size: {asked.name: one for asked, one in some.items()} for size, some in found.items()}
    for asked in [*found.values()][-1]:
        some = [one[asked.name] for one in by_name.values()]
        cells = [f"{_ms(one)}  [dim]{one.rows} rows, {one.size / 1024:,.0f} KiB[/dim]" for one in some]
        shown.add_row(asked.name, *cells, *_grown(some), _verdict(asked, some))
    return shown


def _ms(one: Measured) -> str:
    times = (one.answer_ms, one.paint_ms, one.drawn_ms)
    return " / ".join(f"{each:,.0f}" for each in times if each is not None)


def _grown(some: list[Measured]) -> tuple[str, str]:
    """By how much time and result grew from the ledger before the last."""
    if len(some) < 2:
        return "", ""
    return f"{some[-1].answer_ms / some[-2].answer_ms:.1f}", f"{some[-1].size / some[-2].size:.1f}"


def _verdict(asked: Asked, some: list[Measured]) -> str:
    last, said = some[-1], []
    waited = last.drawn_ms if asked.aim_ms == TRACE_MS and last.drawn_ms is not None else last.waited_ms
    if waited > asked.aim_ms:
        said.append(f"aim {asked.aim_ms:,.0f} ms")
    if len(some) > 1 and last.answer_ms > QUICK_MS:
        grown = last.answer_ms / max(some[-2].answer_ms, QUICK_MS)
        if grown > FASTER * max(1.0, last.size / some[-2].size):
            said.append("grows")
    return ", ".join(said)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="how long people wait for pages and reports")
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of events")
    parser.add_argument("--keep", type=Path, help="where the ledgers stay, and are taken from")
    given = parser.parse_args()
    console, found = Console(), dict[int, dict[Asked, Measured]]()
    with tempfile.TemporaryDirectory(prefix="suyuan-pages-") as name, console.status("…") as status:
        folder = Path(name if given.keep is None else given.keep).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
        for events in given.sizes:
            entries, some = measured(folder / f"{events}", events, status.update)
            found[entries] = some
    console.print(table(found))


if __name__ == "__main__":
    main()
