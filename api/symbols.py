"""`suyuan symbol`: read what a scanner sent, read pictures, and print labels."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from api.ledger import now
from api.screen import say, show, table, warn
from ledger.documents import write_json
from ledger.errors import NotRecorded, UnreadableCode
from ledger.settings import Settings
from scanners.camera import Seen, decode_folder, decode_image
from scanners.labels import Label, Symbol, code128, datamatrix, label_sheet, qr
from scanners.symbols import Code, Unreadable, parse_symbol

symbol_app = typer.Typer(no_args_is_help=True, help="Symbols 条码: read scans and pictures, print labels.")


def _today() -> date:
    return now().astimezone(Settings.from_environment().zone).date()


def _json(code: Code) -> dict[str, object]:
    said = {
        "kind": str(code.kind), "key": code.key, "symbology": code.symbology, "gtin": code.gtin, "serial": code.serial,
        "lot": code.lot, "expires": code.expires and code.expires.isoformat(), "others": dict(code.others) or None,
    }  # fmt: skip
    return {name: value for name, value in said.items() if value is not None}


@symbol_app.command("read")
def read(
    scanned: Annotated[str, typer.Argument(help="what the device sent; \\x1d or {GS} for a separator")],
    sends_fnc1: Annotated[bool, typer.Option(help="the scanner is known to send separators")] = False,
) -> None:
    """Say which code a scan is, or why it cannot be read and what to mend.

    Example: `suyuan symbol read "]d2010690123456789221AbC9zY\\x1d17281231"`
    """
    try:
        code = parse_symbol(scanned.replace("\\x1d", "\x1d"), today=_today(), sends_fnc1=sends_fnc1)
    except Unreadable as error:
        warn(f"{error.fault.chinese} {error.fault.english}: {error.reason}")
        raise typer.Exit(2) from None
    typer.echo(write_json(_json(code)))


@symbol_app.command("look")
def look(image: Annotated[Path, typer.Argument(help="a picture, or a folder of pictures")]) -> None:
    """Read the symbols in pictures: which code stands where.

    Example: `suyuan symbol look stall-12.jpg`
    """
    if not image.exists():
        raise NotRecorded(f"{image}: there is no such file")
    found = decode_folder(image) if image.is_dir() else [(image, decode_image(image.read_bytes()))]
    shown, count = table("file", "symbol", "code", "where"), 0
    for path, seen in found:
        if isinstance(seen, str):
            shown.add_row(path.name, "", seen, "")
            continue
        for one in seen:
            count += 1
            shown.add_row(path.name, one.format, _named(one), " ".join(f"{x},{y}" for x, y in one.corners))
    show(shown)
    if not count:
        raise typer.Exit(1)


def _named(seen: Seen) -> str:
    try:
        return str(seen.code(today=_today()).key)
    except Unreadable as error:
        return f"{error.fault.chinese} {error.fault.english}"


@symbol_app.command("label")
def label(
    codes: Annotated[list[str], typer.Argument(help="(01)…(21)…, 20 digits, or a link; each becomes a label")],
    output: Annotated[Path, typer.Option(help="a name that ends in .pdf, or for one label .png or .svg")],
    columns: Annotated[int, typer.Option(min=1, max=20, help="labels side by side on a page")] = 3,
    rows: Annotated[int, typer.Option(min=1, max=50, help="labels one below the other")] = 8,
) -> None:
    """Print labels: GS1 DataMatrix for GS1 codes, Code 128 for 20 digits, QR for links.

    Example: `suyuan symbol label "(01)06901234567892(21)A1" --output label.pdf`
    """
    symbols = [_symbol(code) for code in codes]
    match output.suffix, len(symbols):
        case ".pdf", _:
            sheet = label_sheet([Label(one, one.caption) for one in symbols], columns=columns, rows=rows)
            output.write_bytes(sheet)
        case ".png", 1:
            output.write_bytes(symbols[0].png())
        case ".svg", 1:
            output.write_text(symbols[0].svg())
        case _:
            raise UnreadableCode("file name", output.name, "it ends in .pdf, or for one label in .png or .svg")
    say(f"wrote {len(symbols)} labels to {output}")


def _symbol(code: str) -> Symbol:
    if code.startswith("("):
        return datamatrix(code)
    return code128(code) if code.isdigit() and len(code) == 20 else qr(code)
