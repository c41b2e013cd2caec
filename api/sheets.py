"""Sheets: records from CSV and XLSX files, and records as such files.

A sheet's first line heads its columns with the fields' names, in English or Chinese, or those of the official record
formats. Spreadsheets lie in known ways: a long number that has lost its digits is named, a text in GB 18030 is read.
What is written cannot become a formula.
"""

import codecs
import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from enum import StrEnum
from functools import partial
from typing import BinaryIO

from openpyxl import Workbook, load_workbook

from ledger.errors import Breach, LedgerError, LimitExceeded, UnacceptableRecord
from ledger.filing import Line
from ledger.registers import Field, Register
from ledger.registry import Record
from reports.document import could_be_formula, safe

UNPACKED_BYTES_MAX = 128 << 20
ROWS_MAX, COLUMNS_MAX = 300_000, 1_000
EXACT_DIGITS = 15
"""A spreadsheet's number holds no more."""


"""What a spreadsheet takes for the beginning of a formula."""


class Format(StrEnum):
    """What a sheet is written as."""

    CSV = "csv"
    XLSX = "xlsx"


def read_sheet(file: BinaryIO, register: Register) -> tuple[Iterator[Line], list[str]]:
    """The lines of a sheet of `register`'s records, as a stream, and the columns that are not used.

    `UnacceptableRecord` if it is no such sheet.
    """
    rows = _xlsx_rows(file) if file.read(4) == b"PK\x03\x04" else _csv_rows(file)
    _, head = next(rows, (1, []))
    columns, unused = _columns(register, [_text(cell) for cell in head])
    return _lines(rows, columns), unused


def _columns(register: Register, head: list[str]) -> tuple[list[tuple[int, str]], list[str]]:
    known = {name.casefold(): field for field in register.fields for name in _names(field)}
    columns: list[tuple[int, str]] = []
    unused: list[str] = []
    for index, name in enumerate(head):
        field = known.get(name.strip().casefold())
        if field is None:
            unused += [name[:80]] if name.strip() not in ("", register.status) else []
        elif field.name in (taken for _, taken in columns):
            raise UnacceptableRecord([Breach("line 1", f"two columns are {field.name} {field.chinese}; keep one")])
        else:
            columns.append((index, field.name))
    there = {name for _, name in columns}
    if missing := [field for field in register.naming if field.name not in there]:
        names = ", ".join(f"{field.name} {field.chinese}" for field in missing)
        reason = f"a sheet of {register.plural} needs the column {names}; the first line heads the columns"
        raise UnacceptableRecord([Breach("line 1", reason)])
    return columns, unused


def _names(field: Field) -> tuple[str, ...]:
    return tuple(filter(None, (field.name, field.chinese, field.option, *field.aliases)))


def _lines(rows: Iterator[tuple[int, Sequence[object]]], columns: list[tuple[int, str]]) -> Iterator[Line]:
    for number, row in rows:
        cells = {name: row[index] if index < len(row) else None for index, name in columns}
        if any(_text(cell) for cell in cells.values()):
            yield Line(number, {name: _cell(cell) for name, cell in cells.items()})


def _cell(cell: object) -> object:
    """What a field is read from; of a number that a spreadsheet could not hold whole, the number, which is refused."""
    if isinstance(cell, int | float) and not isinstance(cell, bool) and abs(cell) >= 10**EXACT_DIGITS:
        return float(cell)
    return _text(cell)


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, datetime | date):
        return cell.isoformat()[:10]
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    text = str(cell).strip()
    return text[1:] if text[:1] == "'" and could_be_formula(text) else text


def _csv_rows(file: BinaryIO) -> Iterator[tuple[int, Sequence[object]]]:
    """The rows of a text file, UTF-8 or else GB 18030, with the line that each begins on."""
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=_encoding(file), errors="strict", newline="")
    reader, number = csv.reader(text, strict=True), 1
    try:
        for row in reader:
            yield number, row
            number = reader.line_num + 1
    except UnicodeDecodeError:
        line = _undecodable(file)
        raise UnacceptableRecord([Breach(f"line {line}", "the text is neither UTF-8 nor GB 18030")]) from None
    except csv.Error as error:
        raise UnacceptableRecord([Breach(f"line {number}", f"this is no CSV: {error}")]) from None


def _undecodable(file: BinaryIO) -> int:
    """The first line that is no GB 18030: what is decoded comes in larger parts than a line."""
    file.seek(0)
    for number, line in enumerate(file, 1):
        try:
            line.decode("gb18030")
        except UnicodeDecodeError:
            return number
    return 1


def _encoding(file: BinaryIO) -> str:
    """Whether the whole file is UTF-8; what spreadsheets in China save besides is GB 18030."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while part := file.read(1 << 20):
            decoder.decode(part)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "gb18030"
    finally:
        file.seek(0)
    return "utf-8-sig"


def _xlsx_rows(file: BinaryIO) -> Iterator[tuple[int, Sequence[object]]]:
    """The rows of the first sheet, one after the other."""
    file.seek(0)
    number = 0
    try:
        with zipfile.ZipFile(file) as packed:
            if sum(part.file_size for part in packed.infolist()) > UNPACKED_BYTES_MAX:
                raise LimitExceeded(f"unpacked, the workbook has more than {UNPACKED_BYTES_MAX >> 20} MiB; split it")
        workbook = load_workbook(file, read_only=True, data_only=True)
        rows = workbook.worksheets[0].iter_rows(max_row=ROWS_MAX + 1, max_col=COLUMNS_MAX, values_only=True)
        for number, row in enumerate(rows, 1):
            if number > ROWS_MAX:
                raise LimitExceeded(f"the sheet has more than {ROWS_MAX} rows; split it")
            yield number, row
    except LedgerError:
        raise
    except Exception as error:  # a damaged workbook makes openpyxl raise whatever its parsers raise
        where = f"line {number + 1}" if number else "file"
        raise UnacceptableRecord([Breach(where, f"this is no whole XLSX workbook: {error}")]) from None


# --- writing --------------------------------------------------------------------------------------


def write_sheet(file: BinaryIO, form: Format, register: Register, records: Iterable[Record], *, private: bool) -> int:
    """Write the records, private values masked unless `private`; how many there were."""
    head = [field.name for field in register.fields] + ([register.status] if register.status else [])
    if form is Format.CSV:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="", write_through=True)
        write: Callable[[list[str]], object] = csv.writer(text).writerow
        finish: Callable[[], object] = text.detach
    else:
        workbook = Workbook(write_only=True)
        write = workbook.create_sheet(register.plural).append
        finish = partial(workbook.save, file)
    write(head)
    count = 0
    for one in records:
        shown = one.shown(private=private)
        write([_safe(shown.get(name)) for name in head])
        count += 1
    finish()
    return count


def _safe(value: object) -> str:
    """A cell's text. One that a spreadsheet would take for a formula gets an apostrophe before it."""
    if isinstance(value, list):
        text = " ".join(map(str, value))
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    else:
        text = "" if value is None else str(value)
    return safe(text)
