"""The slip a buyer takes along, with the trace code as a QR code and as digits: for a printer, as text, as a picture.

One layout, three renderers: ESC/POS bytes (Epson's command names; text in GB 18030, which Chinese printers expect),
plain text, and a PNG preview of the same dots. Where there is a link, the QR code holds it, for telephones, and a
Code 128 holds the bare 20 digits, for the next node's scanner; without a link the QR code holds the digits.

Pure: no clock; the time on the slip is an argument.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from typing import assert_never

from PIL import Image, ImageDraw

from ledger.errors import LimitExceeded, UnreadableCode
from scanners.labels import Symbol, code128, font_of, png_bytes, qr, require_printable, wrapped

COLUMNS = {32: 384, 48: 576}
"""Characters and dots a line: paper of 58 and of 80 mm, 8 dots a mm. ASCII takes one column, all else two."""
_LINK_CHARACTERS_MAX, _TEXT_CHARACTERS_MAX, _NOTES_MAX = 250, 100, 12
_CHINA = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Slip:
    """What is printed for one sale: `weight` in `unit`, `price` in 元 a unit, `total` in 元, `time` aware.

    `notes` are further lines, such as the origin or the number of a certificate. Made only of what can be printed:
    `UnreadableCode` for a trace code that is not 20 digits, a character that a printer would obey, and a link that does
    not hold the trace code, so that the two never name different sales; `ValueError` for a time without a zone and
    for numbers that are not finite; `LimitExceeded` for texts over 100 characters, 12 notes or a link of 250.
    """

    shop: str
    stall: str
    goods: str
    weight: Decimal
    price: Decimal
    total: Decimal
    time: datetime
    trace_code: str
    link: str = ""
    unit: str = "kg"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        code128(self.trace_code)
        if self.link:
            qr(self.link)
        if self.link and self.trace_code not in self.link:
            raise UnreadableCode("link of a slip", self.link, f"it does not hold the trace code {self.trace_code}")
        if self.time.tzinfo is None:
            raise ValueError("the time of a slip needs a time zone")
        if not all(number.is_finite() for number in (self.weight, self.price, self.total)):
            raise ValueError("weight, price and total of a slip are finite numbers")
        if len(self.notes) > _NOTES_MAX:
            raise LimitExceeded(f"a slip with {len(self.notes)} notes; at most {_NOTES_MAX} are printed")
        if len(self.link) > _LINK_CHARACTERS_MAX:
            raise LimitExceeded(f"a link of {len(self.link)} characters; at most {_LINK_CHARACTERS_MAX} fit a slip")
        for text in (self.shop, self.stall, self.goods, self.unit, *self.notes):
            require_printable("text of a slip", text)
            if len(text) > _TEXT_CHARACTERS_MAX:
                raise LimitExceeded(f"a text of {len(text)} characters; at most {_TEXT_CHARACTERS_MAX} fit a slip")


# --- The layout ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Text:
    """One printed line, not wider than the paper; `large` is twice as wide and high."""

    text: str
    centred: bool = False
    large: bool = False


@dataclass(frozen=True, slots=True)
class _Picture:
    """A symbol, and how many dots wide a module of it is."""

    symbol: Symbol
    module_dots: int


_BAR_DOTS = 64
_LINE_DOTS, _GLYPH_DOTS = 30, 24


def width_columns(text: str) -> int:
    """How many columns the printer takes for `text`: GB 18030's double bytes are twice as wide as ASCII."""
    return sum(1 if character.isascii() else 2 for character in text)


def _pair(left: str, right: str, columns: int) -> Iterator[_Text]:
    """`left` and `right` at the two ends of a line, or of two lines if they do not fit one."""
    room = columns - width_columns(left) - width_columns(right)
    if room >= 1:
        yield _Text(left + " " * room + right)
    else:
        yield from _lines(left, columns)
        yield from (
            _Text(" " * (columns - width_columns(part)) + part) for part in wrapped(right, columns, width_columns)
        )


def _lines(text: str, columns: int, *, centred: bool = False) -> Iterator[_Text]:
    yield from (_Text(part, centred) for part in wrapped(text, columns, width_columns) if part)


def _amount(number: Decimal) -> str:
    """The number as it is, without exponent: 1E+1 is 10, and 2.350 stays 2.350."""
    return f"{number:f}"


def _layout(slip: Slip, columns: int) -> Iterator[_Text | _Picture]:
    if columns not in COLUMNS:
        raise LimitExceeded(f"a slip of {columns} columns; paper has {' or '.join(map(str, COLUMNS))}")
    large = 2 * width_columns(slip.shop) <= columns
    yield from [_Text(slip.shop, True, True)] if large and slip.shop else _lines(slip.shop, columns, centred=True)
    yield _Text("-" * columns)
    if slip.stall:
        yield from _pair("摊位", slip.stall, columns)
    yield from _pair("时间", f"{slip.time.astimezone(_CHINA):%Y-%m-%d %H:%M:%S}", columns)
    yield from _pair("品名", slip.goods, columns)
    yield from _pair("数量", f"{_amount(slip.weight)} {slip.unit}", columns)
    yield from _pair("单价", f"{_amount(slip.price)} 元/{slip.unit}", columns)
    yield from _pair("合计", f"{_amount(slip.total)} 元", columns)
    for note in slip.notes:
        yield from _lines(note, columns)
    yield _Text("-" * columns)
    square = qr(slip.link or slip.trace_code)
    yield _Picture(square, min(8, COLUMNS[columns] * 3 // 4 // square.size[0]))
    if slip.link:
        yield _Picture(code128(slip.trace_code), 2)
    yield _Text("追溯码", True)
    yield _Text(slip.trace_code, True)
    yield _Text("扫码查询来源 Scan to trace", True)


# --- ESC/POS ---------------------------------------------------------------------------------------------

_START = b"\x1b@" + b"\x1c&"  # ESC @: as after power-on; FS &: double bytes are Chinese characters
_LEFT, _CENTRED = b"\x1ba\x00", b"\x1ba\x01"  # ESC a
_NORMAL, _LARGE = b"\x1d!\x00", b"\x1d!\x11"  # GS !: once, and twice as wide and high
_END = b"\x1bd\x03" + b"\x1dVB\x00"  # ESC d: three lines further; GS V 66: feed to the knife, and cut


def slip(slip: Slip, *, columns: int = 32) -> bytes:
    """The slip as ESC/POS bytes for a printer of 32 (58 mm) or 48 (80 mm) columns, from its reset to the cut."""
    out = [_START]
    for part in _layout(slip, columns):
        if isinstance(part, _Text):
            out.append(_CENTRED if part.centred else _LEFT)
            text = part.text.encode("gb18030")
            out.append(_LARGE + text + b"\n" + _NORMAL if part.large else text + b"\n")
        elif isinstance(part, _Picture):
            out.append(_CENTRED + (_bar_code(part) if part.symbol.linear else _qr_code(part)))
        else:
            assert_never(part)
    return b"".join((*out, _LEFT, _END))


def _qr_code(part: _Picture) -> bytes:
    """GS ( k of the QR code: model 2, dots a module, error correction M, the data, print."""
    functions = (
        b"1A2\x00",
        b"1C" + bytes([part.module_dots]),
        b"1E1",
        b"1P0" + part.symbol.content.encode("ascii"),
        b"1Q0",
    )
    commands = (b"\x1d(k" + len(function).to_bytes(2, "little") + function for function in functions)
    return b"\n" + b"".join(commands) + b"\n"  # the empty lines are the quiet zone, which printers leave to us


def _bar_code(part: _Picture) -> bytes:
    """GS h, w, H: height, dots a module, no digits below; GS k 73: Code 128 in set C, two digits a byte."""
    content = part.symbol.content
    data = b"{C" + bytes(int(content[i : i + 2]) for i in range(0, len(content), 2))
    return (
        b"\x1dh" + bytes([_BAR_DOTS])
        + b"\x1dw" + bytes([part.module_dots])
        + b"\x1dH\x00"
        + b"\x1dkI" + bytes([len(data)]) + data + b"\n"
    )  # fmt: skip


# --- For the screen --------------------------------------------------------------------------------------


def slip_text(slip: Slip, *, columns: int = 32) -> str:
    """The slip as lines of plain text; in place of the QR code stands the link, if there is one."""
    lines = []
    for part in _layout(slip, columns):
        if isinstance(part, _Text):
            room = columns - width_columns(part.text)
            lines.append(" " * (room // 2) + part.text if part.centred else part.text)
    return "\n".join([*lines, *([slip.link] if slip.link else [])]) + "\n"


def slip_png(slip: Slip, *, columns: int = 32) -> bytes:
    """The slip as a grey PNG, one pixel a dot of the printer: what will come out, symbols included."""
    width = COLUMNS.get(columns, 0)
    drawn = [_drawn(part, width) for part in _layout(slip, columns)]
    picture = Image.new("L", (width, sum(part.height for part in drawn) + 2 * _LINE_DOTS), 255)
    y = _LINE_DOTS
    for part in drawn:
        picture.paste(part, (0, y))
        y += part.height
    return png_bytes(picture)


def _drawn(part: _Text | _Picture, width: int) -> Image.Image:
    """One line or symbol across the paper."""
    if isinstance(part, _Picture):
        module = part.module_dots
        row = _BAR_DOTS if part.symbol.linear else module
        strip = Image.new("L", (width, part.symbol.size[1] // part.symbol.height * row), 255)
        left = (width - part.symbol.size[0] * module) // 2
        draw = ImageDraw.Draw(strip)
        for x, y, w, h in part.symbol.bars():
            top = 0 if part.symbol.linear else y * row
            box = (left + x * module, top, left + (x + w) * module - 1, top + h // part.symbol.height * row - 1)
            draw.rectangle(box, fill=0)
        return strip
    size = 2 if part.large else 1
    strip = Image.new("L", (width, _LINE_DOTS * size), 255)
    x = (width - width_columns(part.text) * 12 * size) // 2 if part.centred else 0
    for character in part.text:
        glyph = _glyph(character, size)
        strip.paste(glyph, (x, 0))
        x += glyph.width
    return strip


@lru_cache(maxsize=2048)
def _glyph(character: str, size: int) -> Image.Image:
    """One character in its cell of 12 or 24 by 30 dots, squeezed if it is wider: printers' fonts have fixed widths."""
    cell = _GLYPH_DOTS * size // (2 if character.isascii() else 1)
    font = font_of((20 if character.isascii() else 24) * size)
    natural = max(cell, round(font.getlength(character)))
    glyph = Image.new("L", (natural, _LINE_DOTS * size), 255)
    ImageDraw.Draw(glyph).text((natural / 2, 25 * size), character, fill=0, font=font, anchor="ms")
    return glyph if natural == cell else glyph.resize((cell, glyph.height))
