"""`suyuan city`: a simulated city, to try everything on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from api.files import Captured, capture_file
from api.ledger import Ledger, open_ledger
from api.screen import progress, say, warn
from api.sheets import read_sheet
from ledger.capture import ErrorBehaviour
from ledger.errors import LedgerError, NotRecorded, UnreadableCode
from ledger.filing import Filed, file_lines
from ledger.nodes import OPERATOR
from ledger.registers import REGISTERS
from ledger.registers.fields import day_of
from ledger.rulesets import first_rules
from ledger.settings import Settings
from ledger.worker import integrate_now
from scanners.city import TABLES, City, write

FIRST_DAY = "2026-11-01"
REFUSALS_SHOWN = 100
Report = Callable[[str, int, int | None], None]
"""`report(file, lines or events done, how many there are)`."""
city_app = typer.Typer(
    no_args_is_help=True, help="A simulated city 模拟城市, to try everything on. All of it is invented."
)


@city_app.command("make")
def make(
    folder: Annotated[Path, typer.Argument(help="where to write it; nothing else should lie there")],
    seed: Annotated[int, typer.Option(help="the same seed gives the same bytes")] = 1,
    nodes: Annotated[int, typer.Option(help="how many nodes")] = 40,
    parties: Annotated[int | None, typer.Option(help="how many parties; five a node if left out")] = None,
    events: Annotated[int, typer.Option(help="how many events at least, in all")] = 20_000,
    days: Annotated[int, typer.Option(help="over how many days")] = 1,
    day: Annotated[str, typer.Option(help="the first day")] = FIRST_DAY,
    plant_every: Annotated[int, typer.Option(help="every so many stories one is wrong, or nearly; 0: none")] = 8,
) -> None:
    """Write a city's registers, its events and what is wrong in them, from a seed.

    Example: `suyuan city make tinytown --nodes 40 --events 20000`
    """
    try:
        city = City(
            seed, day_of(day), nodes=nodes, parties=parties, events=events, days=days, plant_every=plant_every
        )  # fmt: skip
    except ValueError as error:
        raise UnreadableCode("city", f"seed {seed}", str(error)) from None
    with progress("city", "rows") as (bar, task):
        write(city, folder, lambda name, done, total: bar.update(task, description=name, completed=done, total=total))
    say(f"wrote {folder}; load it with: suyuan city load {folder}")


@city_app.command("load")
def load(folder: Annotated[Path, typer.Argument(help="what `suyuan city make` wrote")]) -> None:
    """File a city's registers and record its events, by the same ways as everything else. Doing it again is safe.

    Example: `suyuan city load tinytown`
    """
    with open_ledger(Settings.from_environment()) as ledger:
        with progress("city", "rows") as (bar, task):
            filed, captured = load_city(
                ledger,
                folder,
                lambda name, done, total: bar.update(task, description=name, completed=done, total=total),
            )
        integrate_now(ledger.database, ledger.keys, ledger.signer)
    for refusal in captured.refusals[:REFUSALS_SHOWN]:
        warn(refusal)
    say(
        f"{filed.new} records filed, {filed.same} as filed before; {captured.new} entries recorded, "
        f"{captured.known} recorded before; {len(captured.refusals)} refused"
    )
    if captured.refusals:
        raise typer.Exit(2)


def load_city(ledger: Ledger, folder: Path, report: Report) -> tuple[Filed, Captured]:
    """File all registers that lie in `folder`, then record its events; what was refused stands with the latter."""
    if not (folder / "events.jsonl").is_file():
        raise NotRecorded(f"{folder} holds no events.jsonl; make a city with: suyuan city make {folder}")
    filed, captured, name = Filed(), Captured(), folder / "events.jsonl"
    with ledger.database.read() as connection:
        rules = first_rules(connection, ledger.registrar(OPERATOR))
    for outcome in ledger.lanes.record(rules):
        if isinstance(outcome, LedgerError):
            raise outcome
    for path, part in file_tables(ledger, folder, report):
        filed.add(part)
        captured.refusals += [f"{path.name}, {refusal}" for refusal in part.refusals]
    with name.open("rb") as file:
        total = sum(line.count(b'"eventID"') for line in file)
    for some in capture_file(ledger, str(name), ErrorBehaviour.ROLLBACK):
        captured += some
        report(name.name, captured.new + captured.known, total)
    return filed, captured


def file_tables(ledger: Ledger, folder: Path, report: Report) -> Iterator[tuple[Path, Filed]]:
    """File the sheets of the registers that a city has, those first that others refer to."""
    for register in (register for register in REGISTERS if f"{register.plural}.csv" in TABLES):
        path = folder / f"{register.plural}.csv"
        done = 0
        with path.open("rb") as file:
            lines, _ = read_sheet(file, register)
            for part in file_lines(ledger.database, ledger.lanes.record, ledger.registrar(OPERATOR), register, lines):
                done += part.lines
                report(path.name, done, None)
                yield path, part
