"""`suyuan report`: any report on the command line, and the list of them."""

from pathlib import Path
from typing import Annotated

import typer

from api.ledger import open_ledger
from api.publishing import file_of
from api.reports import made
from api.screen import out, progress, say, show, table
from ledger.errors import Breach, LedgerError, UnacceptableRecord
from ledger.nodes import OPERATOR
from ledger.settings import Settings
from ledger.worker import integrate_now
from reports.all import REPORTS, report_of
from reports.document import Language
from reports.render import FORMATS, render


def report(
    name: Annotated[str | None, typer.Argument(help="which report; without one they are listed")] = None,
    parameters: Annotated[list[str] | None, typer.Argument(help="what it asks for, as NAME=VALUE")] = None,
    form: Annotated[str, typer.Option("--format", help=" ".join(FORMATS))] = "html",
    language: Annotated[Language, typer.Option(help="in which language")] = Language.CHINESE,
    output: Annotated[Path | None, typer.Option(help="write it here; else text goes to standard output")] = None,
    published: Annotated[
        str | None, typer.Option(help="the file of this published report, as it was published")
    ] = None,
) -> None:
    """Make a report: dossier, bulletins, assessment, FSMA 204, DSCSA and others; without a name: list them.

    Example: `suyuan report monthly month=2026-10 --format pdf --output october.pdf` · `suyuan report`
    """
    if published is not None:
        _fetch(published, output)
        return
    if name is None:
        _list()
        return
    wanted, given = report_of(name), dict(_pair(one) for one in parameters or ())
    if form not in FORMATS:
        raise UnacceptableRecord([Breach("format", f"{form[:20]!r} is none; it is one of {', '.join(FORMATS)}")])
    _say_where(form, output)
    with open_ledger(Settings.from_environment()) as ledger, progress("reading", "steps") as (bar, task):
        integrate_now(ledger.database, ledger.keys, ledger.signer)
        bar.update(task, total=3, completed=1)
        try:
            document = made(ledger, OPERATOR, wanted, given)
        except LedgerError:
            bar.update(task, visible=False)  # then one sentence is all there is to read
            raise
        bar.update(task, description="drawing", completed=2)
        data = b"" if document is None else render(document, form, language)
        bar.update(task, description="done", completed=3)
    _give(data, output)


def _fetch(code: str, output: Path | None) -> None:
    """A published file, byte for byte."""
    with open_ledger(Settings.from_environment()) as ledger, ledger.database.connection() as connection:
        found = file_of(connection, OPERATOR, code)
    _say_where(found.form, output)
    _give(found.data, output)


def _say_where(form: str, output: Path | None) -> None:
    if output is None and form in ("pdf", "xlsx"):
        raise UnacceptableRecord([Breach("output", f"{form} is no text: say with --output where to write it")])


def _give(data: bytes, output: Path | None) -> None:
    if output is None:
        typer.echo(data.decode(), nl=False)
        return
    output.write_bytes(data)
    say(f"wrote {output}: {len(data)} bytes")


def _pair(said: str) -> tuple[str, str]:
    name, mark, value = said.partition("=")
    if not mark:
        raise UnacceptableRecord([Breach(said[:40], "give parameters as NAME=VALUE, such as month=2026-10")])
    return name, value


def _list() -> None:
    shown = table("report", "报告", "title", "parameters")
    for one in REPORTS.values():
        asked = " ".join(
            f"{name}={parameter.example}" if parameter.required else f"[{name}={parameter.example}]"
            for name, parameter in one.parameters.items()
        )
        shown.add_row(one.name, one.title.zh, one.title.en, out.render_str(asked, markup=False, emoji=False))
    show(shown)
