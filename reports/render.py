"""Drawing a document: HTML, PDF, XLSX, CSV and JSON. Pure: the only file read is the font, which comes with a package.

All formats show the same cells. HTML stands alone: no script, nothing loaded from elsewhere. What the document rests
on stands at its end, with the hash of its content.
"""

import csv
import io
from collections.abc import Iterator
from html import escape
from itertools import pairwise
from typing import Any

import orjson
from fpdf import FPDF
from fpdf.enums import TableBordersLayout, WrapMode
from fpdf.fonts import FontFace
from openpyxl import Workbook
from openpyxl.styles import Font
from pylopdf_fonts_zh_cn import sans_path

from reports.charts import svg_chart
from reports.document import Cell, Chart, Document, Facts, Grid, Kind, Language, Note, Phrase, Section, safe, shown

FORMATS = ("html", "pdf", "xlsx", "csv", "json")
MEDIA = {
    "html": "text/html; charset=utf-8", "pdf": "application/pdf", "json": "application/json",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "csv": "text/csv; charset=utf-8",
}  # fmt: skip
_BASIS = {
    "asOf": Phrase("截至", "as of"), "checkpoint": Phrase("检查点", "checkpoint"), "root": Phrase("根哈希", "root"),
    "origin": Phrase("账本", "ledger"), "by": Phrase("生成者", "made by"), "at": Phrase("生成时间", "made at"),
    "hash": Phrase("内容哈希", "hash of the content"),
}  # fmt: skip
_STYLE = (
    "body{font:15px/1.5 'Noto Sans SC','Microsoft YaHei',sans-serif;margin:2em auto;max-width:70em;padding:0 1em;"
    "color:#1a1a1a}h1{font-size:1.6em}h2{font-size:1.2em;margin-top:2em}table{border-collapse:collapse;width:100%}"
    "th,td{border-bottom:1px solid #ccc;padding:.3em .5em;text-align:left;vertical-align:top}"
    ".number{text-align:right}.code{font-family:monospace;word-break:break-all}.marked{background:#fde8e8}"
    ".alert{background:#b00020;color:#fff;padding:.6em 1em}svg{max-width:100%}dt{font-weight:600}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.2em 1em}dd{margin:0;word-break:break-all}"
)


def render(document: Document, form: str, language: Language) -> bytes:
    """The document in one of `FORMATS`."""
    match form:
        case "html":
            return html(document, language).encode()
        case "pdf":
            return pdf(document, language)
        case "xlsx":
            return xlsx(document, language)
        case "csv":
            return csv_(document, language)
    return json_(document, language)


def basis_pairs(document: Document, language: Language) -> list[tuple[str, str]]:
    """What the document rests on, in words."""
    basis = document.basis
    values = {
        "asOf": shown(basis.as_of), "checkpoint": str(basis.size), "root": basis.root, "origin": basis.origin,
        "by": basis.made_by, "at": shown(basis.made_at), "hash": document.hash,
    }  # fmt: skip
    return [(_BASIS[name].in_(language), value) for name, value in values.items()]


# --- HTML -------------------------------------------------------------------------------------------


def html(document: Document, language: Language) -> str:
    """A page that stands alone."""
    title = escape(f"{document.title.in_(language)} {document.subject}")
    return (
        f'<!DOCTYPE html><html lang="{"zh-CN" if language is Language.CHINESE else "en"}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body>{html_body(document, language)}</body></html>"
    )


def html_body(document: Document, language: Language) -> str:
    """The document inside a page of somebody else's."""
    parts = [f"<h1>{escape(document.title.in_(language))}</h1><p>{escape(document.subject)}</p>"]
    parts += [_html_section(section, language) for section in document.sections]
    pairs = "".join(
        f'<dt>{escape(name)}</dt><dd class="code">{escape(value)}</dd>'
        for name, value in basis_pairs(document, language)
    )
    head = Phrase("依据", "What it rests on").in_(language)
    return "".join(parts) + f"<footer><h2>{head}</h2><dl>{pairs}</dl></footer>"


def _html_section(section: Section, language: Language) -> str:
    match section:
        case Note():
            kind = ' class="alert"' if section.alert else ""
            return f"<p{kind}>{escape(section.text.in_(language))}</p>"
        case Facts():
            pairs = "".join(f"<dt>{escape(n.in_(language))}</dt><dd>{escape(shown(c))}</dd>" for n, c in section.pairs)
            return f"<h2>{escape(section.title.in_(language))}</h2><dl>{pairs}</dl>"
        case Chart():
            return f"<h2>{escape(section.title.in_(language))}</h2>{svg_chart(section, language)}"
        case Grid():
            return _html_grid(section, language)


def _html_grid(grid: Grid, language: Language) -> str:
    head = "".join(f'<th scope="col">{escape(column.head.in_(language))}</th>' for column in grid.columns)
    rows = []
    for number, row in enumerate(grid.rows):
        cells = "".join(
            f'<td class="{_class(column.kind)}">{escape(shown(cell))}</td>'
            for column, cell in zip(grid.columns, row, strict=True)
        )
        rows.append(f"<tr{' class=marked' if number in grid.marked else ''}>{cells}</tr>")
    note = f"<p>{escape(grid.note.in_(language))}</p>" if grid.note else ""
    title = escape(grid.title.in_(language))
    return f"<h2>{title}</h2><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{note}"


def _class(kind: Kind) -> str:
    return {Kind.NUMBER: "number", Kind.CODE: "code", Kind.ENTRIES: "code"}.get(kind, "text")


# --- sheets -----------------------------------------------------------------------------------------


def _lines(document: Document, language: Language) -> Iterator[list[str]]:
    yield [document.title.in_(language), document.subject]
    for section in document.sections:
        yield []
        yield from _section_lines(section, language)
    yield []
    yield from ([name, value] for name, value in basis_pairs(document, language))


def _section_lines(section: Section, language: Language) -> Iterator[list[str]]:
    match section:
        case Note():
            yield [section.text.in_(language)]
        case Facts():
            yield [section.title.in_(language)]
            yield from ([name.in_(language), shown(cell)] for name, cell in section.pairs)
        case Chart():
            yield [section.title.in_(language), *section.labels]
            yield from ([one.name.in_(language), *(shown(value) for value in one.values)] for one in section.series)
        case Grid():
            yield [section.title.in_(language)]
            yield [column.head.in_(language) for column in section.columns]
            yield from ([shown(cell) for cell in row] for row in section.rows)


def csv_(document: Document, language: Language) -> bytes:
    """One table alone where the document is one; else all sections, one below the other."""
    text = io.StringIO(newline="")
    write = csv.writer(text).writerow
    grids = [section for section in document.sections if isinstance(section, Grid)]
    if len(document.sections) == 1 and grids:
        write([safe(column.head.in_(language)) for column in grids[0].columns])
        for row in grids[0].rows:
            write([safe(shown(cell)) for cell in row])
    else:
        for line in _lines(document, language):
            write([safe(cell) for cell in line])
    return b"\xef\xbb\xbf" + text.getvalue().encode()


CELL_MAX = 32_767
"""What a cell of a workbook holds; more goes into the next one below."""


def xlsx(document: Document, language: Language) -> bytes:
    """A workbook: a sheet for each table, and one for all else."""
    workbook = Workbook()
    for sheet in workbook.worksheets:
        workbook.remove(sheet)
    first = workbook.create_sheet("报告 report")
    for line in _lines_without_grids(document, language):
        first.append([safe(cell)[:CELL_MAX] for cell in line])
    for number, grid in enumerate((one for one in document.sections if isinstance(one, Grid)), 1):
        sheet = workbook.create_sheet(_sheet_name(f"{number} {grid.title.in_(language)}"))
        sheet.append([safe(column.head.in_(language)) for column in grid.columns])
        for cell in sheet[1]:
            cell.font = Font(bold=True)
        for row in grid.rows:
            sheet.append([_xlsx_cell(cell, column.kind) for column, cell in zip(grid.columns, row, strict=True)])
        sheet.freeze_panes = "A2"
        sheet.auto_filter.ref = sheet.dimensions
    made = io.BytesIO()
    workbook.save(made)
    return made.getvalue()


def _lines_without_grids(document: Document, language: Language) -> Iterator[list[str]]:
    yield [document.title.in_(language), document.subject]
    for section in document.sections:
        if not isinstance(section, Grid):
            yield from _section_lines(section, language)
    yield from ([name, value] for name, value in basis_pairs(document, language))


def _sheet_name(text: str) -> str:
    return "".join(" " if character in "[]:*?/\\'" else character for character in text)[:31]


def _xlsx_cell(cell: Cell, kind: Kind) -> Any:
    if kind is Kind.NUMBER and isinstance(cell, int | float) and not isinstance(cell, bool):
        return cell
    return safe(shown(cell))[:CELL_MAX]


# --- PDF --------------------------------------------------------------------------------------------

_FONT = "sans"
_BLUE, _GREY, _RED = (0, 83, 156), (120, 120, 120), (176, 0, 32)
_COLOURS = (_BLUE, (200, 90, 0), (0, 120, 90), (120, 60, 140))
_CHART_MM = 45.0


class _Paper(FPDF):
    """A4 with the font and page numbers."""

    foot = ""

    def footer(self) -> None:
        self.set_y(-12)
        self.set_font(_FONT, size=7)
        self.set_text_color(*_GREY)
        self.cell(0, 5, f"{self.foot}  {self.page_no()}/{{nb}}", align="C")
        self.set_text_color(0)


def pdf(document: Document, language: Language) -> bytes:
    """An A4 document, with Chinese on machines without fonts."""
    paper = _Paper(orientation="landscape" if _is_wide(document) else "portrait", format="A4")
    paper.set_creation_date(document.basis.made_at)
    paper.add_font(_FONT, "", str(sans_path()))
    paper.set_title(f"{document.title.in_(language)} {document.subject}")
    paper.foot = f"{document.basis.origin}  {document.hash[:32]}"
    paper.set_auto_page_break(True, 16)
    paper.add_page()
    paper.set_font(_FONT, size=18)
    paper.multi_cell(0, 9, document.title.in_(language), new_x="LMARGIN", new_y="NEXT")
    paper.set_font(_FONT, size=10)
    paper.multi_cell(0, 6, document.subject, new_x="LMARGIN", new_y="NEXT")
    for section in document.sections:
        _pdf_section(paper, section, language)
    _pdf_head(paper, Phrase("依据", "What it rests on").in_(language))
    for name, value in basis_pairs(document, language):
        _pdf_pair(paper, name, value)
    return bytes(paper.output())


def _is_wide(document: Document) -> bool:
    return any(isinstance(section, Grid) and len(section.columns) > 7 for section in document.sections)


def _pdf_head(paper: FPDF, text: str) -> None:
    paper.ln(4)
    paper.set_font(_FONT, size=13)
    paper.set_text_color(*_BLUE)
    paper.multi_cell(0, 8, text, new_x="LMARGIN", new_y="NEXT")
    paper.set_text_color(0)
    paper.set_font(_FONT, size=8)


def _pdf_pair(paper: FPDF, name: str, value: str) -> None:
    paper.set_font(_FONT, size=8)
    paper.set_text_color(*_GREY)
    paper.cell(42, 5, name)
    paper.set_text_color(0)
    paper.multi_cell(0, 5, value or "—", new_x="LMARGIN", new_y="NEXT", wrapmode=WrapMode.CHAR)


def _pdf_section(paper: FPDF, section: Section, language: Language) -> None:
    match section:
        case Note():
            paper.ln(2)
            paper.set_font(_FONT, size=10)
            paper.set_text_color(*(_RED if section.alert else (0, 0, 0)))
            paper.multi_cell(0, 6, section.text.in_(language), new_x="LMARGIN", new_y="NEXT")
            paper.set_text_color(0)
        case Facts():
            _pdf_head(paper, section.title.in_(language))
            for name, cell in section.pairs:
                _pdf_pair(paper, name.in_(language), shown(cell))
        case Chart():
            if paper.get_y() + _CHART_MM + 30 > paper.h - 16:
                paper.add_page()  # the head stays with its picture
            _pdf_head(paper, section.title.in_(language))
            _pdf_chart(paper, section, language)
        case Grid():
            _pdf_head(paper, section.title.in_(language))
            _pdf_grid(paper, section, language)


PDF_COLUMNS_MAX = 12
"""How many columns stand side by side on paper; the rest stands below them, each part with all rows."""
_COLUMN_MM_MIN = 8
"""A column without room for one character would never end."""


def _pdf_grid(paper: FPDF, grid: Grid, language: Language) -> None:
    for first in range(0, len(grid.columns), PDF_COLUMNS_MAX):
        part = slice(first, first + PDF_COLUMNS_MAX)
        rows, note = [row[part] for row in grid.rows], grid.note if part.stop >= len(grid.columns) else None
        _pdf_table(paper, Grid(grid.title, grid.columns[part], rows, note, grid.marked), language)


def _pdf_table(paper: FPDF, grid: Grid, language: Language) -> None:
    paper.set_font(_FONT, size=7)
    weights = [max([len(column.head.in_(language)) * 2, *(min(40, _width(shown(row[at]))) for row in grid.rows[:200])])
               for at, column in enumerate(grid.columns)]  # fmt: skip
    least = _COLUMN_MM_MIN * sum(max(6, weight) for weight in weights) / (paper.epw - _COLUMN_MM_MIN * len(weights))
    style = FontFace(fill_color=(235, 241, 247))
    with paper.table(
        borders_layout=TableBordersLayout.HORIZONTAL_LINES, col_widths=[max(6, weight) + least for weight in weights],
        headings_style=style, line_height=4, wrapmode=WrapMode.CHAR,
    ) as table:  # fmt: skip
        table.row([column.head.in_(language) for column in grid.columns])
        for number, row in enumerate(grid.rows):
            marked = FontFace(color=_RED) if number in grid.marked else None
            table.row([shown(cell) for cell in row], style=marked)
    if grid.note:
        paper.multi_cell(0, 5, grid.note.in_(language), new_x="LMARGIN", new_y="NEXT")


def _width(text: str) -> int:
    return sum(1 if character.isascii() else 2 for character in text)


def _pdf_chart(paper: FPDF, chart: Chart, language: Language) -> None:
    """Bars side by side, or lines, with their values' greatest on the axis."""
    height, width = _CHART_MM, paper.epw
    left, bottom = paper.l_margin, paper.get_y() + height
    most = max((value for one in chart.series for value in one.values), default=0) or 1
    slot = width / max(1, len(chart.labels))
    paper.set_draw_color(*_GREY)
    paper.line(left, bottom, left + width, bottom)
    for number, one in enumerate(chart.series):
        colour = _COLOURS[number % len(_COLOURS)]
        paper.set_fill_color(*colour)
        paper.set_draw_color(*colour)
        heights = [height * value / most for value in one.values]
        if chart.lines:
            points = [(left + slot * (at + 0.5), bottom - tall) for at, tall in enumerate(heights)]
            for begin, end in pairwise(points):
                paper.line(*begin, *end)
        else:
            bar = slot * 0.7 / len(chart.series)
            for at, tall in enumerate(heights):
                paper.rect(left + slot * at + slot * 0.15 + bar * number, bottom - tall, bar, tall, style="F")
    _pdf_labels(paper, chart, language, (left, bottom, slot, most))
    paper.set_fill_color(255)  # or the next table has the colour of the last bar
    paper.set_draw_color(0)


def _pdf_labels(paper: FPDF, chart: Chart, language: Language, box: tuple[float, float, float, float]) -> None:
    left, bottom, slot, most = box
    paper.set_font(_FONT, size=6)
    every = max(1, -(-len(chart.labels) // 16))
    for at, label in enumerate(chart.labels):
        if at % every == 0:
            paper.text(left + slot * at, bottom + 4, label)
    paper.text(left, bottom - 46, f"{shown(float(most))} {chart.unit.in_(language)}")
    x = left
    for number, one in enumerate(chart.series):
        name = one.name.in_(language)
        paper.set_fill_color(*_COLOURS[number % len(_COLOURS)])
        paper.rect(x, bottom + 6, 3, 3, style="F")
        paper.text(x + 4, bottom + 8.5, name)
        x += 8 + paper.get_string_width(name)
    paper.set_y(bottom + 12)


def json_(document: Document, language: Language) -> bytes:
    """The document for programs, with its attachments."""
    sections = [list(_section_lines(section, language)) for section in document.sections]
    return orjson.dumps({
        "report": document.name, "title": document.title.in_(language), "subject": document.subject,
        "basis": dict(zip(("asOf", "checkpoint", "root", "origin", "by", "at", "hash"),
                          (value for _, value in basis_pairs(document, language)), strict=True)),
        "sections": sections, **document.attachments,
    }, default=str)  # fmt: skip
