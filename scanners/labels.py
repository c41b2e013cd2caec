"""From a code to a symbol (GS1 DataMatrix, GS1-128, Code 128, QR, EAN and UPC) as PNG and SVG, and to label sheets.

What goes in is checked first (check digits, dates, the GS1 character set, lengths), since the encoders take nearly
anything. Symbols are encoded by zint, through zxing-cpp; drawing is ours, from one grid of modules, so that screen and
paper cannot differ. Structures and sizes: GS1 General Specifications 5.

Pure: no clock, no database. The only file read is the font, which comes with a package and not from the system.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from io import BytesIO
from urllib.parse import quote
from xml.sax.saxutils import escape

import zxingcpp
from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont
from pylopdf_fonts_zh_cn import sans_path

from ledger.errors import LimitExceeded, UnreadableCode
from ledger.gs1 import GS1_DOMAIN, PRIMARY, QUALIFIERS, check_digit, is_digits, parse_gtin

LINK_CHARACTERS_MAX, LABELS_MAX, TEXT_CHARACTERS_MAX, MODULE_PX_MAX = 600, 5000, 200, 40
DOT_MM = 25.4 / 300
"""Modules on paper are whole dots of a 300 dpi printer: an uneven module is what scanners stumble over first."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """One symbology: its name, encoder, quiet zone and bar height in modules, and the smallest module in mm."""

    name: str
    encoder: zxingcpp.BarcodeFormat
    quiet: int
    height: int
    module_mm: float


_DATAMATRIX = _Kind("GS1 DataMatrix", zxingcpp.BarcodeFormat.DataMatrix, 2, 1, 0.254)
_GS1_128 = _Kind("GS1-128", zxingcpp.BarcodeFormat.Code128, 10, 50, 0.25)
_CODE_128 = _Kind("Code 128", zxingcpp.BarcodeFormat.Code128, 10, 40, 0.25)
_QR = _Kind("QR Code", zxingcpp.BarcodeFormat.QRCode, 4, 1, 0.33)
_EAN = {
    8: _Kind("EAN-8", zxingcpp.BarcodeFormat.EAN8, 7, 55, 0.264),
    12: _Kind("UPC-A", zxingcpp.BarcodeFormat.UPCA, 11, 69, 0.264),
    13: _Kind("EAN-13", zxingcpp.BarcodeFormat.EAN13, 11, 69, 0.264),
}


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol ready to be drawn.

    `content` is what a reader sends for it after `identifier`, the AIM symbology identifier; separators are real GS
    (0x1D). `modules` are its rows, a 1 for each dark module; a linear symbol is one row, drawn `height` modules high.
    `quiet` modules stay white around it. `module_mm` is the least module width that scanners are made for.
    """

    name: str
    content: str
    identifier: str
    caption: tuple[str, ...]
    modules: tuple[bytes, ...]
    quiet: int
    height: int
    module_mm: float

    @property
    def linear(self) -> bool:
        return self.height > 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in modules, quiet zone included; above and below bars two modules are enough."""
        return len(self.modules[0]) + 2 * self.quiet, len(self.modules) * self.height + 2 * self._above

    @property
    def _above(self) -> int:
        return 2 if self.linear else self.quiet

    def bars(self) -> Iterator[tuple[int, int, int, int]]:
        """Every dark run as x, y, width and height in modules from the top left of the quiet zone."""
        for y, row in enumerate(self.modules):
            for run in re.finditer(rb"\x01+", row):
                yield (
                    self.quiet + run.start(),
                    self._above + y * self.height,
                    run.end() - run.start(),
                    self.height,
                )

    def png(self, *, module_px: int = 4, caption: bool = True) -> bytes:
        """The symbol as a grey PNG, `module_px` pixels a module, with its text below.

        `LimitExceeded` for a module of no pixels, or of more than 40.
        """
        if not 1 <= module_px <= MODULE_PX_MAX:
            raise LimitExceeded(f"a module of {module_px} pixels: 1 to {MODULE_PX_MAX} are possible")
        width, height = (side * module_px for side in self.size)
        lines = self.caption if caption else ()
        font = _fitting(lines, width - 2 * module_px, 6 * module_px)
        line_px = round(font.size * 1.25)
        picture = Image.new("L", (width, height + len(lines) * line_px + bool(lines) * module_px), 255)
        draw = ImageDraw.Draw(picture)
        for x, y, w, h in self.bars():
            draw.rectangle(
                (x * module_px, y * module_px, (x + w) * module_px - 1, (y + h) * module_px - 1),
                fill=0,
            )
        for number, line in enumerate(lines):
            draw.text((width // 2, height + number * line_px), line, fill=0, font=font, anchor="ma")
        return png_bytes(picture)

    def svg(self, *, module_mm: float | None = None, caption: bool = True) -> str:
        """The symbol as SVG text in real size, `module_mm` a module (default: twice the least that can be read)."""
        mm = module_mm or 2 * self.module_mm
        width, height = self.size
        lines = self.caption if caption else ()
        size = min(6.0, width / (0.62 * max(map(len, lines), default=1)))
        full = height + len(lines) * size * 1.25 + bool(lines)
        path = "".join(f"M{x} {y}h{w}v{h}h-{w}z" for x, y, w, h in self.bars())
        texts = "".join(
            f'<text x="{width / 2:g}" y="{height + size * (1 + 1.25 * number):.2f}">{escape(line)}</text>'
            for number, line in enumerate(lines)
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * mm:.3f}mm" height="{full * mm:.3f}mm"'
            f' viewBox="0 0 {width} {full:.2f}"><rect width="100%" height="100%" fill="#fff"/>'
            f'<path shape-rendering="crispEdges" d="{path}"/>'
            f'<g font-family="sans-serif" font-size="{size:.2f}" text-anchor="middle">{texts}</g></svg>\n'
        )


# --- What may be encoded -------------------------------------------------------------------------------

Elements = Sequence[tuple[str, str]]
"""Application identifiers and their values, in the order in which they are to stand."""
_BRACKETED = re.compile(r"\((\d{2,4})\)([^()]+)")
_SET_82 = re.compile(r"[!\"%&'()*+,\-./0-9:;<=>?A-Z_a-z]+")
_DATES = frozenset({"11", "12", "13", "15", "16", "17"})
_GS1_128_CHARACTERS_MAX = 48


def elements(text: str) -> Elements:
    """The pairs of a bracketed element string. Values with brackets in them cannot be told apart: give pairs for those.

    >>> elements("(01)06901234567892(10)LOT1")
    [('01', '06901234567892'), ('10', 'LOT1')]
    """
    pairs = _BRACKETED.findall(text)
    shown = "".join(f"({ai}){value}" for ai, value in pairs)
    if not pairs or shown != text:
        wrong = next((i for i, (a, b) in enumerate(zip(shown, text, strict=False)) if a != b), len(shown))
        raise UnreadableCode("GS1 element string", text, "it is not made of (AI)value pairs", wrong)
    return [(ai, value) for ai, value in pairs]


def _check_date(ai: str, value: str) -> None:
    kind = f"date of AI ({ai})"
    if not is_digits(value) or len(value) != 6:
        raise UnreadableCode(kind, value, "it is not 6 digits, YYMMDD")
    try:
        date(2000 + int(value[:2]), int(value[2:4]), int(value[4:]) or 1)  # day 00: the whole month
    except ValueError:
        raise UnreadableCode(kind, value, "there is no such day", 2) from None


def _checked(code: str | Elements) -> Elements:
    """The pairs, each checked as far as the standard's text of its AI is known here; lengths zint checks too."""
    pairs = elements(code) if isinstance(code, str) else [*code]
    for number, (ai, value) in enumerate(pairs):
        if not is_digits(ai) or ai in (other for other, _ in pairs[:number]):
            reason = "it stands there twice" if is_digits(ai) else "it is not digits"
            raise UnreadableCode("application identifier", ai, reason, 0)
        good = _SET_82.match(value)
        if good is None or good.end() < len(value):
            at = good.end() if good else 0
            reason = f"{value[at]!r} is not in the GS1 character set" if value else "it is empty"
            raise UnreadableCode(f"value of AI ({ai})", value, reason, at)
        if ai in _DATES:
            _check_date(ai, value)
        elif ai == "01" and len(value) != 14:
            raise UnreadableCode("GTIN in an element string", value, f"it has {len(value)} digits, not 14")
        elif ai == "02":
            parse_gtin(value)
        elif ai in PRIMARY:
            PRIMARY[ai][1](PRIMARY[ai][0], value)
        elif ai in QUALIFIERS:
            QUALIFIERS[ai][1](QUALIFIERS[ai][0], value)
        if ai == "01":
            parse_gtin(value)
    return pairs


def _made(kind: _Kind, content: str, caption: Iterable[str], **options: object) -> Symbol:
    """The symbol for `content`; `UnreadableCode` with the encoder's reason if it has none."""
    try:
        barcode = zxingcpp.create_barcode(content, kind.encoder, **options)
    except ValueError as error:
        raise UnreadableCode(kind.name, content, str(error)) from None
    picture = Image.fromarray(barcode.to_image(scale=1, add_quiet_zones=False))
    pixels, width = picture.tobytes(), picture.width
    rows = [bytes(pixel < 128 for pixel in pixels[i : i + width]) for i in range(0, len(pixels), width)]
    return Symbol(
        kind.name,
        barcode.bytes.decode(),
        barcode.symbology_identifier,
        tuple(caption),
        tuple(rows[:1] if kind.height > 1 else rows),
        kind.quiet,
        kind.height,
        kind.module_mm,
    )


def _gs1(kind: _Kind, code: str | Elements, **options: object) -> Symbol:
    pairs = _checked(code)
    shown = [f"({ai}){value}" for ai, value in pairs]
    # Square brackets are in no value; with round ones the encoder misreads a value that holds some.
    content = "".join(f"[{ai}]{value}" for ai, value in pairs)
    return _made(kind, content, ["".join(shown)] if kind.height > 1 else shown, gs1=True, **options)


def datamatrix(code: str | Elements) -> Symbol:
    """A square GS1 DataMatrix (]d2) of a bracketed element string or of AI and value pairs.

    `UnreadableCode` names the AI and the character: a wrong check digit, a day that is none, a character outside
    GS1's set 82, an AI twice.
    """
    return _gs1(_DATAMATRIX, code, force_square=True)


def gs1_128(code: str | Elements) -> Symbol:
    """A GS1-128 bar code (]C1); besides the errors of `datamatrix`, `LimitExceeded` over 48 characters."""
    symbol = _gs1(_GS1_128, code)
    if len(symbol.content) > _GS1_128_CHARACTERS_MAX:
        most = f"at most {_GS1_128_CHARACTERS_MAX} are allowed: use a DataMatrix"
        raise LimitExceeded(f"a GS1-128 bar code of {len(symbol.content)} characters; {most}")
    return symbol


def code128(digits: str) -> Symbol:
    """A plain Code 128 (]C0) of a 20-digit trace or drug code, in set C: what stands on Chinese drug packs."""
    _twenty(digits)
    return _made(_CODE_128, digits, [digits])


def _twenty(digits: str) -> None:
    if not is_digits(digits) or len(digits) != 20:
        wrong = next((i for i, c in enumerate(digits) if c not in "0123456789"), None)
        raise UnreadableCode("20-digit code", digits, "it is not 20 digits", wrong)


def qr(link: str) -> Symbol:
    """A QR code (]Q1) of error correction M or better: a link, or bare digits. No caption for a link.

    `UnreadableCode` for what is not ASCII without spaces: readers guess the encoding of anything else, and guess
    differently; percent-encode it. `LimitExceeded` over 600 characters.
    """
    if len(link) > LINK_CHARACTERS_MAX:
        raise LimitExceeded(f"a link of {len(link)} characters; at most {LINK_CHARACTERS_MAX} fit a readable QR code")
    for position, character in enumerate(link):
        if not "!" <= character <= "~":
            raise UnreadableCode("link", link, f"{character!r} has to be percent-encoded", position)
    if not link:
        raise UnreadableCode("link", link, "it is empty")
    return _made(_QR, link, [link] if is_digits(link) else [], ec_level="M")


def ean(code: str) -> Symbol:
    """An EAN-13 or UPC-A (]E0) or EAN-8 (]E4) bar code of 13, 12 or 8 digits with the right check digit.

    A reader sends a UPC-A as 13 digits with a 0 before it, and so says `content`. GTIN-14 have no EAN: `gs1_128`.
    """
    parse_gtin(code)
    if len(code) not in _EAN:
        raise UnreadableCode("EAN or UPC", code, "a GTIN-14 is printed as a GS1-128, with (01) before it")
    return _made(_EAN[len(code)], code[:-1] + check_digit(code[:-1]), [code])


_PATH_ORDER = ("22", "10", "21", "235", "254", "7040", "8011", "8019", "8020")


def digital_link(code: str | Elements, *, resolver: str = f"https://{GS1_DOMAIN}") -> str:
    """The GS1 Digital Link URI (1.2) of one primary key, its qualifiers in the path and all else in the query.

    >>> digital_link("(01)06901234567892(17)261231(21)A/1", resolver="https://suyuan.example")
    'https://suyuan.example/01/06901234567892/21/A%2F1?17=261231'
    """
    pairs = _checked(code)
    primary = [pair for pair in pairs if pair[0] in PRIMARY]
    if len(primary) != 1:
        text = "".join(f"({ai}){value}" for ai, value in pairs)
        raise UnreadableCode("GS1 Digital Link", text, f"it holds {len(primary)} primary keys, not one")
    path = primary + sorted(
        (pair for pair in pairs if pair[0] in _PATH_ORDER),
        key=lambda pair: _PATH_ORDER.index(pair[0]),
    )
    query = [f"{ai}={quote(value, safe='')}" for ai, value in pairs if (ai, value) not in path]
    uri = resolver.rstrip("/") + "".join(f"/{ai}/{quote(value, safe='')}" for ai, value in path)
    return uri + ("?" + "&".join(query) if query else "")


# --- Text ----------------------------------------------------------------------------------------------


def require_printable(kind: str, text: str) -> None:
    """`UnreadableCode` for a character that is no text: what a printer would obey, or what hides or turns the rest."""
    for position, character in enumerate(text):
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            raise UnreadableCode(kind, text, f"{character!r} cannot be printed", position)


@lru_cache(maxsize=32)
def font_of(size_px: int) -> ImageFont.FreeTypeFont:
    """Noto Sans SC, which the package `pylopdf-fonts-zh-cn` brings under the SIL Open Font License 1.1."""
    return ImageFont.truetype(str(sans_path()), size_px)


def _fitting(lines: Sequence[str], width_px: int, most_px: int) -> ImageFont.FreeTypeFont:
    widest = max((font_of(100).getlength(line) for line in lines), default=1) or 1
    return font_of(max(1, min(most_px, int(100 * width_px / widest))))


def png_bytes(picture: Image.Image) -> bytes:
    """`picture` as a PNG file."""
    file = BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def wrapped(text: str, width: float, measure: Callable[[str], float]) -> list[str]:
    """`text` in lines of at most `width` by `measure`; Chinese breaks anywhere, so words are not kept together."""
    lines = [""]
    for character in text:
        if lines[-1] and measure(lines[-1] + character) > width:
            lines.append("")
        lines[-1] += character
    return lines


# --- Sheets --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Label:
    """A symbol and the lines that a person reads beside it, the first of them larger."""

    symbol: Symbol
    lines: tuple[str, ...] = ()


_FONT, _PADDING_MM, _POINT_MM, _MODULE_MM_MAX = "sc", 2.0, 25.4 / 72, 0.85


@dataclass(frozen=True, slots=True)
class _Box:
    """A part of the page, in mm from its top left."""

    x: float
    y: float
    width: float
    height: float


def label_sheet(
    labels: Sequence[Label],
    *,
    columns: int,
    rows: int,
    page_mm: tuple[float, float] = (210.0, 297.0),
    margin_mm: float = 8.0,
) -> bytes:
    """A PDF of `labels`, row by row on as many pages of `columns` x `rows` as they need; A4 unless said otherwise.

    A label printer's roll is `columns=1, rows=1` and its own page. Symbols are drawn as large as their cell lets them,
    in whole printer dots; the same labels give the same bytes. `LimitExceeded` where a symbol would become too small
    to scan, where text does not fit, and for over 5,000 labels: nothing is ever cut off.
    """
    if not labels or len(labels) > LABELS_MAX:
        raise LimitExceeded(f"{len(labels)} labels: a sheet takes 1 to {LABELS_MAX}")
    if not (1 <= columns <= 20 and 1 <= rows <= 50):
        raise LimitExceeded(f"{columns} x {rows} labels a page: 1 to 20 columns and 1 to 50 rows are possible")
    page = FPDF(unit="mm", format=page_mm)
    page.set_creation_date(datetime(2000, 1, 1, tzinfo=UTC))
    page.set_auto_page_break(False)
    page.add_font(_FONT, "", str(sans_path()))
    width, height = (page_mm[0] - 2 * margin_mm) / columns, (page_mm[1] - 2 * margin_mm) / rows
    for number, label in enumerate(labels):
        place = number % (columns * rows)
        if place == 0:
            page.add_page()
        cell = _Box(
            margin_mm + place % columns * width + _PADDING_MM,
            margin_mm + place // columns * height + _PADDING_MM,
            width - 2 * _PADDING_MM,
            height - 2 * _PADDING_MM,
        )
        _draw_label(page, label, cell, number + 1)
    return bytes(page.output())


def _draw_label(page: FPDF, label: Label, cell: _Box, number: int) -> None:
    """Bars across the cell with the text above and the caption below; a square symbol at the left of its text."""
    symbol = label.symbol
    wide, high = symbol.size
    if symbol.linear:
        module = _module(symbol, cell.width, number)
        bars_mm = min(high * module, max(cell.height * 0.55, 8.0))
        caption_mm = 4.0
        text = _Box(cell.x, cell.y, cell.width, cell.height - bars_mm - caption_mm)
        place = _Box(cell.x + (cell.width - wide * module) / 2, cell.y + text.height, module, bars_mm / high)
        caption = _Box(cell.x, cell.y + text.height + bars_mm, cell.width, caption_mm)
        _write(page, symbol.caption, caption, number, centred=True)
        _write(page, label.lines, text, number)
    else:
        module = _module(symbol, min(cell.height, cell.width * 0.5), number)
        side = wide * module
        place = _Box(cell.x, cell.y, module, module)
        beside = _Box(cell.x + side + 1, cell.y, cell.width - side - 1, cell.height)
        _write(page, (*label.lines, *symbol.caption), beside, number)
    with page.new_path() as path:
        path.style.fill_color, path.style.stroke_color = "#000000", None
        left, top = round(place.x / DOT_MM) * DOT_MM, round(place.y / DOT_MM) * DOT_MM
        for x, y, w, h in symbol.bars():
            path.rectangle(left + x * place.width, top + y * place.height, w * place.width, h * place.height)


def _module(symbol: Symbol, room_mm: float, number: int) -> float:
    """The width of a module in mm, whole printer dots, so that the symbol takes at most `room_mm`."""
    most = min(room_mm / symbol.size[0], _MODULE_MM_MAX)
    module = int(most / DOT_MM + 1e-9) * DOT_MM
    if module < symbol.module_mm:
        need = symbol.size[0] * symbol.module_mm
        raise LimitExceeded(
            f"label {number}: its {symbol.name} needs {need:.1f} mm and has {room_mm:.1f}: use fewer columns or rows"
        )
    return module


def _write(page: FPDF, lines: Sequence[str], box: _Box, number: int, *, centred: bool = False) -> None:
    """All of `lines` in the largest type, 11 down to 4.5 points, that fits the box; the first line a fifth larger."""
    for line in lines:
        require_printable(f"line of label {number}", line)
        if len(line) > TEXT_CHARACTERS_MAX:
            raise LimitExceeded(f"label {number}: a line has more than {TEXT_CHARACTERS_MAX} characters")
    for half_points in range(22, 8, -1):
        points = half_points / 2
        sized = [(points if i or centred else points * 1.2, line) for i, line in enumerate(lines)]
        shown: list[tuple[float, str]] = []
        for size, line in sized:
            page.set_font(_FONT, size=size)
            parts = [line] if centred else wrapped(line, box.width, page.get_string_width)
            shown += [(size, part) for part in parts]
        page.set_font(_FONT, size=points)
        fits = not centred or all(page.get_string_width(line) <= box.width for line in lines)
        if fits and sum(size for size, _ in shown) * 1.25 * _POINT_MM <= box.height and box.width > points * _POINT_MM:
            break
    else:
        raise LimitExceeded(f"label {number}: its text does not fit into {box.width:.0f} x {box.height:.0f} mm")
    y = box.y
    for size, line in shown:
        page.set_font(_FONT, size=size)
        y += size * 1.25 * _POINT_MM
        x = box.x + (box.width - page.get_string_width(line)) / 2 if centred else box.x
        page.text(x, y - size * 0.3 * _POINT_MM, line)
