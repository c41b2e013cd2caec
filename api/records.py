"""The registers on the command line: `suyuan party …`, `suyuan licence …`, one group for each, made from its table."""

import inspect
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.table import Table
from rich.text import Text

from api import subscriptions
from api.ledger import Ledger, now, open_ledger
from api.screen import progress, say, show, table, warn
from api.sheets import Format, read_sheet, write_sheet
from ledger.access import ALLOWED
from ledger.append import subject_of
from ledger.documents import write_json
from ledger.entries import time_text
from ledger.erase import erase_party
from ledger.errors import UnreadableCode
from ledger.filing import REFUSALS_KEPT, Filed, file_lines, file_one, require_references
from ledger.finding import search
from ledger.nodes import OPERATOR
from ledger.registers import LICENCE, NODE, PARTY, REGION, SUBSCRIPTION, Field, Register
from ledger.registers.fields import day_of, parse_region
from ledger.registers.places import Openness
from ledger.registrar import Registrar
from ledger.registry import (
    PAGE_MAX,
    Key,
    Purpose,
    Record,
    Wanted,
    known_at,
    pages,
    reading_request,
    readings,
    record,
    region_path,
    versions,
)
from ledger.settings import Settings

Reveal = Annotated[
    Purpose | None, typer.Option(help="show personal data, for this purpose; that you looked is an entry")
]


class Shape(StrEnum):
    """How records are printed."""

    TABLE = "table"
    JSON = "json"
    CARD = "card"
    """One field a line, for a single record."""


Named = Annotated[
    list[str],
    typer.Argument(
        metavar="KEY", help="what names it: its code; of a licence party and number, of a yield source and goods"
    ),
]
As = Annotated[Shape, typer.Option("--format", help="how to print")]


def add_registers(app: typer.Typer, registers: Iterable[Register]) -> None:
    """Give `app` a group of commands for each register."""
    for register in registers:
        app.add_typer(_group(register), name=register.name)


def _group(register: Register) -> typer.Typer:
    words = register.plural.capitalize()
    filing = ("file, change, ", ", import") if ALLOWED[register.keep] else ("", "")
    about = f"{words} {register.chinese}: {filing[0]}find{filing[1]}, export."
    group = typer.Typer(no_args_is_help=True, help=about)
    commands = _Commands(register)
    name, example = register.name, _example(register)
    named = " ".join(field.example for field in register.naming)
    for command, help_, call in (
        ("add", f"File a new {name}. Example: `suyuan {name} add {example}`", commands.add()),
        ("change", "Change what is filed; what is left out stays, an empty text clears. Example: "
                   f"`suyuan {name} change {named} …`", commands.change()),
        ("show", f"Show a {name}, as it stands or as it was known on a day. Example: `suyuan {name} show {named} "
                 "--on 2026-11-01`", commands.show),
        ("list", f"List {register.plural}. Example: `suyuan {name} list`", commands.listing()),
        ("search", f"Find {register.plural} by any field. Example: `suyuan {name} search {named.split()[-1]}`",
         commands.search),
        ("history", f"All versions of a {name}: when, who, why. Example: `suyuan {name} history {named}`",
         commands.history),
        ("import", f"File {register.plural} from a CSV or XLSX sheet; the good lines are taken, the bad ones named. "
                   f"Example: `suyuan {name} import {register.plural}.csv --dry-run`", commands.import_),
        ("export", f"Write {register.plural} to a CSV or XLSX sheet. Example: `suyuan {name} export "
                   f"{register.plural}.xlsx`", commands.export),
    ):  # fmt: skip
        if command not in _FILING or ALLOWED[register.keep]:
            group.command(command, help=help_)(call)
    for step in register.steps:
        text = f'{step.chinese}: {step.help}. Example: `suyuan {name} {step.name} {named} --reason "…"`'
        group.command(step.name, help=text)(commands.step(step.name))
    if register.private_fields:
        text = f"Who was shown a {name}'s personal data, and what for. Example: `suyuan {name} readings {named}`"
        group.command("readings", help=text)(commands.readings)
    if register is REGION:
        group.command("path", help=f"What a region code became. Example: `suyuan region path {named}`")(commands.path)
    if register is PARTY:
        group.command("erase", help=_ERASE)(commands.erase)
    if register is SUBSCRIPTION:
        subscriptions.add_commands(group)
    return group


_FILING = ("add", "change", "import")
"""What a register has no commands for whose records the ledger alone files."""
_ERASE = (
    "Erase the personal data of a party that left, and of its licences, for good, when the law does not ask for it any "
    'longer. No entry and no proof changes. Example: `suyuan party erase 3302120010001 --reason "asked for it"`'
)


def _example(register: Register) -> str:
    parts = [field.example for field in register.fields if field.names or field.positional]
    parts += [
        f"{_option(field)} {field.example}" for field in register.fields
        if field.required and not field.names and not field.positional
    ]  # fmt: skip
    if register is PARTY:  # one of the two that say who it is by real name
        parts += ["--identity-number", register.field("identity_number").example]
    return " ".join(parts)


def _option(field: Field) -> str:
    return f"--{(field.option or field.name).replace('_', '-')}"


def _parameter(field: Field, *, needed: bool) -> inspect.Parameter:
    several = "; repeat the option for several" if field.many else ""
    help_ = f"{field.chinese}: {field.help}{several}, such as {field.example}"
    kind: Any = list[str] if field.many else str
    positional = field.names or (field.positional and needed)
    info: Any = (
        typer.Argument(help=help_, metavar=field.name.upper())
        if positional
        else typer.Option(_option(field), help=help_)
    )
    must = positional or (needed and field.required)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[kind if must else kind | None, info],
        default=inspect.Parameter.empty if must else None,
    )  # fmt: skip


_REASON = inspect.Parameter(
    "reason", inspect.Parameter.KEYWORD_ONLY, default=None,
    annotation=Annotated[str | None, typer.Option(help="why; it is kept, sealed")],
)  # fmt: skip


def _filters(register: Register) -> dict[str, Any]:
    """In which ways the register can be listed."""
    found: dict[str, Any] = {}
    names = {name for field in register.open_fields for name in (field.name, field.option)}
    if register.node_of is not None:
        found["node"] = typer.Option(help="only those of this node")
    if register in (NODE, PARTY, LICENCE):
        found["region"] = typer.Option(help="only those that lie there now")
    if "party" in names:
        found["party"] = typer.Option(help="only those of this party")
    if "kind" in names:
        found["kind"] = typer.Option(help="only of this kind")
    if register.status:
        words = register.statuses or Openness
        found["status"] = typer.Option(help=f"only those that are {', '.join(words)}")
    if "valid_to" in names:
        found["expiring"] = typer.Option(min=0, max=36_500, help="only those that have ended, or will in so many days")
    return found


def _filter(name: str, info: Any) -> inspect.Parameter:
    """An option of `list`; without `info` the one that says how to print."""
    kind: Any = int | None if name == "expiring" else str | None
    annotation: Any = As if info is None else Annotated[kind, info]
    default = Shape.TABLE if info is None else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


class _Commands:
    """The commands of one register."""

    def __init__(self, register: Register) -> None:
        self._register = register

    def add(self) -> Any:
        """`add`, with an option for each field."""
        register = self._register

        def add(**given: Any) -> None:
            reason = given.pop("reason")
            with open_ledger(Settings.from_environment()) as ledger:
                with ledger.database.read() as connection:
                    request, key = file_one(connection, ledger.registrar(OPERATOR), register, _said(given), reason)
                ledger.record(request)
                _print(register, [self._record(ledger, key)])

        add.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*(_parameter(field, needed=True) for field in register.fields), _REASON]
        )
        return add

    def change(self) -> Any:
        """`change`, with an option for each field that can change."""
        register = self._register

        def change(**given: Any) -> None:
            reason = given.pop("reason")
            with open_ledger(Settings.from_environment()) as ledger:
                registrar = ledger.registrar(OPERATOR)
                key = self._key(registrar, [given[field.name] for field in register.naming])
                changes = registrar.read(register, _said(given))
                request = registrar.change(self._record(ledger, key), changes, reason)
                if request is not None:
                    with ledger.database.read() as connection:
                        require_references(connection, register, changes)
                    ledger.record(request)
                _print(register, [self._record(ledger, key)])

        fields = [field for field in register.fields if not field.fixed]
        change.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*(_parameter(field, needed=False) for field in fields), _REASON]
        )
        return change

    def step(self, name: str) -> Any:
        """The command of one step."""

        def step(
            key: Named,
            reason: Annotated[str, typer.Option(help="why; it is kept, sealed")],
        ) -> None:
            with open_ledger(Settings.from_environment()) as ledger:
                registrar = ledger.registrar(OPERATOR)
                present = self._record(ledger, self._key(registrar, key))
                ledger.record(registrar.step(present, name, reason))
                _print(self._register, [self._record(ledger, present.key)])

        return step

    def show(
        self, key: Named,
        on: Annotated[str | None, typer.Option(help="as it was known at the end of this day")] = None,
        reveal: Reveal = None, shape: As = Shape.CARD,
    ) -> None:  # fmt: skip
        """One record."""
        with open_ledger(Settings.from_environment()) as ledger:
            at = self._key(ledger.registrar(OPERATOR), key)
            with ledger.database.read() as connection:
                found = (
                    record(connection, ledger.vault, self._register, at)
                    if on is None
                    else known_at(connection, ledger.vault, self._register, at, ledger.end_of(day_of(on))).record
                )
            _reveal(ledger, [found], reveal)
            _print(self._register, [found], private=reveal is not None, shape=shape)

    def listing(self) -> Any:
        """`list`, with an option for each way in which this register can be listed."""
        register = self._register

        def list_(**given: Any) -> None:
            shape = given.pop("shape")
            with open_ledger(Settings.from_environment()) as ledger:
                wanted = Wanted.of(register, _said(given), ledger.today())
                _print(register, _all(ledger, register, wanted), shape=shape)

        list_.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*(_filter(name, info) for name, info in _filters(register).items()), _filter("shape", None)]
        )
        return list_

    def search(
        self,
        text: Annotated[str, typer.Argument(help="what a field holds; of names and addresses, a part")],
        field: Annotated[str, typer.Option(help="the field to look in: any, or a field's name as in a sheet")] = "any",
        limit: Annotated[int, typer.Option(min=1, max=PAGE_MAX, help="how many at most")] = 100,
        reveal: Reveal = None,
        shape: As = Shape.TABLE,
    ) -> None:
        """Records that hold a text."""
        with open_ledger(Settings.from_environment()) as ledger:
            with ledger.database.read() as connection:
                private = reveal is not None
                found = search(connection, ledger.vault, self._register, {field: text}, None, limit, private=private)
            _reveal(ledger, found, reveal)
            _print(self._register, found, private=private, shape=shape)
        if not found:
            more = "" if private or not self._register.private_fields else "; personal data are searched with --reveal"
            warn(f"nothing holds this{more}")
            raise typer.Exit(1)

    def history(self, key: Named, reveal: Reveal = None) -> None:
        """All versions of a record."""
        shown = table("version", "recorded", "by", "status", "why", "entry")
        with open_ledger(Settings.from_environment()) as ledger:
            at = self._key(ledger.registrar(OPERATOR), key)
            with ledger.database.read() as connection:
                found = versions(connection, ledger.vault, self._register, at)
            _reveal(ledger, [found[-1].record], reveal)
            for one in found:
                status = str(one.record.row.get(self._register.status or "", ""))
                why = (one.record.reason or "") if reveal else ("****" if one.record.reason else "")
                shown.add_row(
                    str(one.record.version), time_text(one.at), one.actor, status, Text(why), f"000000000/{one.seq}"
                )
        show(shown)

    def import_(
        self,
        file: Annotated[str, typer.Argument(help="CSV or XLSX; the first line names the columns; - is standard input")],
        dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything and record nothing")] = False,
    ) -> None:
        """File the records of a sheet."""
        total = Filed()
        with ExitStack() as stack:
            ledger = stack.enter_context(open_ledger(Settings.from_environment()))
            stream = BytesIO(sys.stdin.buffer.read()) if file == "-" else stack.enter_context(Path(file).open("rb"))
            lines, unused = read_sheet(stream, self._register)
            if unused:
                warn(f"columns that are not used: {', '.join(unused)}")
            bar, task = stack.enter_context(progress(f"{self._register.plural}", "lines"))
            for part in file_lines(
                ledger.database, ledger.lanes.record, ledger.registrar(OPERATOR), self._register, lines, dry_run=dry_run
            ):
                for refusal in part.refusals[: max(0, REFUSALS_KEPT - total.refused)]:
                    warn(str(refusal))
                total.add(part)
                bar.update(task, completed=total.lines)
        if total.refused > REFUSALS_KEPT:
            warn(f"and {total.refused - REFUSALS_KEPT} more lines were refused")
        would = "would be " if dry_run else ""
        say(
            f"{total.new} {would}new, {total.changed} {would}changed, {total.same} as filed before, "
            f"{total.refused} refused"
        )
        if total.refused:
            raise typer.Exit(2)

    def export(
        self,
        file: Annotated[Path, typer.Argument(help="a name that ends in .csv or .xlsx")],
        reveal: Reveal = None,
    ) -> None:
        """Write a sheet of all records."""
        if file.suffix not in (".csv", ".xlsx"):
            raise UnreadableCode("file name", file.name, "it ends in .csv or .xlsx")
        form = Format(file.suffix[1:])
        with open_ledger(Settings.from_environment()) as ledger, _private_file(file) as stream:
            every = _all(ledger, self._register, Wanted(), reveal)
            count = write_sheet(stream, form, self._register, every, private=reveal is not None)
        say(f"wrote {count} {self._register.plural} to {file}")

    def path(self, code: Annotated[str, typer.Argument(metavar="REGION")], shape: As = Shape.TABLE) -> None:
        """What a region became, step by step; the last is the present one."""
        with open_ledger(Settings.from_environment()) as ledger, ledger.database.read() as connection:
            _print(REGION, region_path(connection, ledger.vault, parse_region(code)), shape=shape)

    def readings(self, key: Named) -> None:
        """Who looked."""
        shown = table("when", "who", "what for", "entry")
        with open_ledger(Settings.from_environment()) as ledger:
            at = self._key(ledger.registrar(OPERATOR), key)
            self._record(ledger, at)
            with ledger.database.read() as connection:
                for one in readings(connection, subject_of(self._register.table, at)):
                    shown.add_row(one.at, one.actor, one.purpose, one.entry)
        show(shown)

    def erase(
        self, key: Named,
        reason: Annotated[str, typer.Option(help="why; it is kept, sealed")],
        order: Annotated[bool, typer.Option("--order", help="an authority has ordered it, whatever the time")] = False,
    ) -> None:  # fmt: skip
        """Erase a party's personal data."""
        with open_ledger(Settings.from_environment()) as ledger:
            registrar = ledger.registrar(OPERATOR)
            present = self._record(ledger, self._key(registrar, key))
            erase_party(ledger.database, registrar, present, reason, now, order=order)
        say(f"the personal data of the {present.name} are erased")

    @property
    def _metavar(self) -> str:
        return " ".join(field.name.upper() for field in self._register.naming)

    def _key(self, registrar: Registrar, key: list[str]) -> Key:
        naming = self._register.naming
        if len(key) != len(naming):
            raise UnreadableCode(self._register.name, " ".join(key), f"it is named by {self._metavar}")
        given = dict(zip((field.name for field in naming), key, strict=True))
        return registrar.key(self._register, registrar.read(self._register, given))

    def _record(self, ledger: Ledger, key: Key) -> Record:
        with ledger.database.read() as connection:
            return record(connection, ledger.vault, self._register, key)


def _all(ledger: Ledger, register: Register, wanted: Wanted, reveal: Purpose | None = None) -> Iterator[Record]:
    for page in pages(ledger.database, ledger.vault, register, wanted):
        _reveal(ledger, page, reveal)
        yield from page


def _private_file(path: Path) -> BinaryIO:
    """A file that nobody else can read, since personal data may go into it."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _reveal(ledger: Ledger, found: list[Record], purpose: Purpose | None) -> None:
    """Record that personal data are about to be shown: first the entry, then the data."""
    if purpose is not None and found:
        ledger.record(reading_request(OPERATOR, found, purpose, now()))


def _print(register: Register, found: Iterable[Record], *, private: bool = False, shape: Shape = Shape.CARD) -> None:
    head = {field.name: field.chinese for field in register.fields}
    if register.status:
        head[register.status] = f"{register.chinese}状态"
    if shape is Shape.TABLE:
        shown = table(*(f"{chinese}\n{name}" for name, chinese in head.items()))
        for one in found:
            cells = one.shown(private=private)
            shown.add_row(*(Text(_cell(cells.get(name))) for name in head))
        show(shown)
        return
    for one in found:
        cells = one.shown(private=private)
        if shape is Shape.JSON:
            typer.echo(write_json(cells))
            continue
        card = Table.grid(padding=(0, 2))
        for name, chinese in {**head, "status_since": "自", "version": "版本"}.items():
            if cells.get(name) is not None:
                card.add_row(f"{chinese} {name}", Text(_cell(cells[name])))
        show(card)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _said(given: dict[str, Any]) -> dict[str, Any]:
    """What was said on the command line: an empty text clears a field, an option left out says nothing."""
    return {name: value for name, value in given.items() if value is not None}
