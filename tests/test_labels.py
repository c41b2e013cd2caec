"""Symbols: what goes in comes out again, from PNG, SVG and PDF; what must not be printed is refused with its place."""

import re
import string
from collections import Counter
from io import BytesIO

import barcode
import pypdfium2
import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from ledger.errors import LimitExceeded, UnreadableCode
from ledger.gs1 import check_digit
from scanners.labels import (
    Label,
    Symbol,
    code128,
    datamatrix,
    digital_link,
    ean,
    elements,
    gs1_128,
    label_sheet,
    qr,
)

PACK = "(01)06901234567892(17)261231(10)LOT1(21)AB/c9"
PACK_SENT = "01069012345678921726123110LOT1\x1d21AB/c9"
LINK = "https://suyuan.example/t/35010200100000012345"
TRACE, DRUG = "35010200100000012345", "81234567890123456789"
SET_82 = "!\"%&'()*+,-./:;<=>?_" + string.ascii_letters + string.digits
SYMBOLS: dict[str, tuple[Symbol, str, str]] = {
    "datamatrix": (datamatrix(PACK), "]d2", PACK_SENT),
    "gs1_128": (gs1_128("(01)06901234567892(10)LOT1"), "]C1", "010690123456789210LOT1"),
    "qr link": (qr(LINK), "]Q1", LINK),
    "qr digits": (qr(TRACE), "]Q1", TRACE),
    "code128": (code128(DRUG), "]C0", DRUG),
    "ean13": (ean("6901234567892"), "]E0", "6901234567892"),
    "ean8": (ean("69012341"), "]E4", "69012341"),
    "upc": (ean("036000291452"), "]E0", "0036000291452"),
}


def read(picture: Image.Image) -> list[tuple[str, str]]:
    found = zxingcpp.read_barcodes(picture, text_mode=zxingcpp.TextMode.Plain)
    return [(one.symbology_identifier, one.text) for one in found]


def drawn(svg: str, pixels: int = 4) -> Image.Image:
    """The SVG's path, read by a reader of its own: whatever draws it has to find these rectangles."""
    found = re.search(r'viewBox="0 0 (\d+) ([\d.]+)"', svg)
    assert found
    picture = Image.new("L", (int(found[1]) * pixels, round(float(found[2]) * pixels)), 255)
    for run in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-(\d+)z", svg):
        x, y, w, h, back = map(int, run)
        assert w == back
        box = (x * pixels, y * pixels, (x + w) * pixels - 1, (y + h) * pixels - 1)
        ImageDraw.Draw(picture).rectangle(box, fill=0)
    return picture


@pytest.mark.parametrize("name", SYMBOLS)
@pytest.mark.parametrize("caption", [True, False])
@pytest.mark.parametrize("module_px", [2, 3, 7])
def test_a_png_is_read_as_what_went_in(name: str, caption: bool, module_px: int) -> None:
    symbol, identifier, sent = SYMBOLS[name]
    assert (symbol.identifier, symbol.content) == (identifier, sent)
    picture = Image.open(BytesIO(symbol.png(module_px=module_px, caption=caption)))
    assert read(picture) == [(identifier, sent)]


@pytest.mark.parametrize("name", SYMBOLS)
def test_an_svg_is_read_as_what_went_in(name: str) -> None:
    symbol, identifier, sent = SYMBOLS[name]
    assert read(drawn(symbol.svg())) == [(identifier, sent)]
    assert "<text" not in symbol.svg(caption=False)
    assert f'width="{symbol.size[0] * 0.5:.3f}mm"' in symbol.svg(module_mm=0.5)


def test_an_svg_shows_its_text_whatever_is_in_it() -> None:
    svg = datamatrix([("01", "06901234567892"), ("21", "<&>\"'")]).svg()
    assert "(21)&lt;&amp;&gt;" in svg and "(01)06901234567892" in svg


@given(
    st.text(string.digits, min_size=13, max_size=13),
    st.text(SET_82, min_size=1, max_size=20),
    st.text(SET_82, min_size=1, max_size=20),
)
@settings(max_examples=60, deadline=None)
def test_every_legal_pack_comes_back_exactly(body: str, serial: str, lot: str) -> None:
    """GS1's set 82 whole, brackets too; the separator stands only behind the variable field that something follows."""
    gtin = body + check_digit(body)
    symbol = datamatrix([("01", gtin), ("21", serial), ("10", lot), ("17", "271200")])
    assert symbol.content == f"01{gtin}21{serial}\x1d10{lot}\x1d17271200"
    assert read(Image.open(BytesIO(symbol.png(caption=False)))) == [("]d2", symbol.content)]
    linear = gs1_128([("01", gtin), ("21", serial)])
    assert read(Image.open(BytesIO(linear.png(module_px=2)))) == [("]C1", f"01{gtin}21{serial}")]


@given(st.text(string.digits, min_size=20, max_size=20), st.text(string.digits, min_size=12, max_size=12))
@settings(max_examples=60, deadline=None)
def test_every_number_comes_back_exactly(twenty: str, body: str) -> None:
    for symbol in (code128(twenty), qr(twenty), ean(body + check_digit(body)), qr(f"https://a.example/01/{twenty}")):
        found = read(Image.open(BytesIO(symbol.png(module_px=2, caption=False))))
        assert found == [(symbol.identifier, symbol.content)] and symbol.content in (
            twenty,
            body + check_digit(body),
            f"https://a.example/01/{twenty}",
        )


@pytest.mark.parametrize("code", ["6901234567892", "4006381333931", "9780201379624"])
def test_another_encoder_draws_the_same_bars(code: str) -> None:
    """python-barcode knows nothing of zint: EAN-13 has one right drawing."""
    (bars,) = barcode.get("ean13", code).build()
    assert bytes(bar != "0" for bar in bars) == ean(code).modules[0]


def test_a_drug_code_is_ten_pairs_of_set_c() -> None:
    """11 modules for start, each pair and check, 13 for stop: what stands on Chinese packs."""
    assert len(code128(DRUG).modules[0]) == 11 * 12 + 13


REFUSED = [
    (datamatrix, "(01)06901234567893(10)L", "check digit", 13),
    (datamatrix, "(01)6901234567892(10)L", "13 digits", None),
    (datamatrix, "(01)06901234567892(17)261331", "no such day", 2),
    (datamatrix, "(01)06901234567892(17)260230", "no such day", 2),
    (datamatrix, "(01)06901234567892(17)26123", "not 6 digits", None),
    (datamatrix, "(01)06901234567892(10)批次", "character set", 0),
    (datamatrix, "(01)06901234567892(10)A#B", "character set", 1),
    (datamatrix, "(01)06901234567892(10)A B", "character set", 1),
    (datamatrix, "(01)06901234567892(10)A\x1dB", "character set", 1),
    (datamatrix, "(01)06901234567892(10)A\n", "character set", 1),
    (datamatrix, "(01)06901234567892(21)" + "1" * 21, "at most 20", 20),
    (datamatrix, "(01)06901234567892(21)A(21)B", "twice", 0),
    (datamatrix, "(00)106141412345678909", "check digit", 17),
    (datamatrix, "(02)06901234567893(37)12", "check digit", 13),
    (datamatrix, "(05)12", "Invalid AI", None),
    (datamatrix, "(01)06901234567892(10)A(1)", "AI", 23),
    (datamatrix, "06901234567892", "AI", 0),
    (datamatrix, "", "AI", 0),
    (datamatrix, [("01", "06901234567892"), ("10", "")], "empty", 0),
    (datamatrix, [("1x", "06901234567892")], "not digits", 0),
    (gs1_128, "(01)06901234567893(10)L", "check digit", 13),
    (code128, "8123456789012345678", "20 digits", None),
    (code128, "8123456789012345678x", "20 digits", 19),
    (code128, "８1234567890123456789", "20 digits", 0),
    (qr, "https://a.example/溯", "percent", 18),
    (qr, "https://a.example/a b", "percent", 19),
    (qr, "", "empty", None),
    (ean, "6901234567893", "check digit", 12),
    (ean, "690123456789", "check digit", 11),
    (ean, "06901234567892", "GS1-128", None),
    (ean, "69012345678９2", "digit", 11),
]


@pytest.mark.parametrize(("make", "code", "reason", "position"), REFUSED)
def test_what_must_not_be_printed_is_refused_with_its_place(make, code, reason, position) -> None:
    with pytest.raises(UnreadableCode, match=re.escape(reason)) as refusal:
        make(code)
    assert refusal.value.position == position


def test_sizes_beyond_what_scanners_read_are_refused() -> None:
    long = [("01", "06901234567892"), ("10", "1" * 20), ("21", "A" * 20)]
    with pytest.raises(LimitExceeded, match="at most 48"):
        gs1_128(long)
    assert datamatrix(long).content.count("\x1d") == 1
    with pytest.raises(LimitExceeded, match="600"):
        qr("https://a.example/" + "a" * 600)
    assert qr("https://a.example/" + "a" * 582).size[0] > 80
    for pixels in (0, -1, 41, 10**9):
        with pytest.raises(LimitExceeded, match="pixels"):
            datamatrix(PACK).png(module_px=pixels)


def test_pairs_and_brackets_are_the_same() -> None:
    assert elements(PACK) == [("01", "06901234567892"), ("17", "261231"), ("10", "LOT1"), ("21", "AB/c9")]
    assert datamatrix(elements(PACK)) == datamatrix(PACK)


def test_a_digital_link_has_its_qualifiers_in_order_and_the_rest_in_the_query() -> None:
    assert digital_link("(01)06901234567892(17)261231(21)A/1(10)L?&") == (
        "https://id.gs1.org/01/06901234567892/10/L%3F%26/21/A%2F1?17=261231"
    )
    assert digital_link("(00)106141412345678908") == "https://id.gs1.org/00/106141412345678908"
    with pytest.raises(UnreadableCode, match="primary"):
        digital_link("(10)LOT")


# --- Sheets ----------------------------------------------------------------------------------------------

LINES = ("福州市第一农贸市场", "货品：猪五花肉 2.350 kg", "产地：福建省龙岩市新罗区")


def pages(pdf: bytes, dots: int = 300) -> list[Image.Image]:
    with pypdfium2.PdfDocument(pdf) as document:
        return [page.render(scale=dots / 72).to_pil() for page in document]


def text_of(pdf: bytes) -> str:
    with pypdfium2.PdfDocument(pdf) as document:
        return "".join("".join(page.get_textpage().get_text_range() for page in document).split())


def test_every_label_of_a_printed_sheet_is_read_again() -> None:
    made = [symbol for symbol, _, _ in SYMBOLS.values()]
    pdf = label_sheet([Label(symbol, LINES) for symbol in made], columns=2, rows=3)
    sheets = pages(pdf)
    assert len(sheets) == 2
    found = [one for sheet in sheets for one in read(sheet)]
    assert sorted(found) == sorted((symbol.identifier, symbol.content) for symbol in made)


def test_a_sheet_holds_its_chinese_text_and_only_the_glyphs_it_needs() -> None:
    pdf = label_sheet([Label(qr(TRACE), LINES)] * 3, columns=3, rows=8)
    assert text_of(pdf).count("福州市第一农贸市场") == 3 and text_of(pdf).count(TRACE) == 3
    assert len(pdf) < 40_000 and pdf == label_sheet([Label(qr(TRACE), LINES)] * 3, columns=3, rows=8)


def test_a_roll_of_single_labels_has_a_page_each() -> None:
    labels = [Label(code128(DRUG), ("阿莫西林胶囊",)), Label(datamatrix(PACK), ("阿莫西林胶囊",))]
    sheets = pages(label_sheet(labels, columns=1, rows=1, page_mm=(60, 40), margin_mm=1))
    assert [read(sheet) for sheet in sheets] == [[("]C0", DRUG)], [("]d2", PACK_SENT)]]


def test_modules_are_whole_dots_of_a_300_dpi_printer() -> None:
    """No grey between black and white: every edge of every bar lies on a dot."""
    pdf = label_sheet([Label(code128(DRUG)), Label(datamatrix(PACK))], columns=1, rows=2, page_mm=(203.2, 254.0))
    (sheet,) = pages(pdf)
    assert sheet.size == (2400, 3000)
    pixels = sheet.convert("L").tobytes()
    lines = [pixels[2400 * y : 2400 * (y + 1)] for y in range(3000)]
    for half in (lines[:1500], lines[1500:]):
        (line, _), *_ = Counter(line for line in half if min(line) < 128).most_common(1)
        runs = [len(run) for run in re.findall(rb"[\x00-\x7f]+", line)]
        assert len(runs) >= 4 and not [pixel for pixel in line if 30 < pixel < 225]
        assert not [run for run in runs if run % min(runs)], runs


@pytest.mark.parametrize(
    ("labels", "columns", "rows", "message"),
    [
        ([], 2, 2, "0 labels"),
        ([Label(qr(TRACE))] * 5001, 2, 2, "5001 labels"),
        ([Label(qr(TRACE))], 0, 2, "columns"),
        ([Label(qr(TRACE))], 21, 2, "columns"),
        ([Label(qr(TRACE))], 2, 51, "rows"),
        ([Label(qr(TRACE)), Label(gs1_128("(01)06901234567892(21)ABCDEFGHIJKLMNOP"))], 3, 3, "label 2"),
        ([Label(qr(LINK))], 3, 25, "label 1"),
        ([Label(qr(TRACE), ("长" * 200,) * 20)], 3, 8, "text does not fit"),
        ([Label(qr(TRACE), ("长" * 201,))], 1, 1, "200 characters"),
    ],
)
def test_a_sheet_that_could_not_be_read_is_refused(labels, columns, rows, message) -> None:
    with pytest.raises(LimitExceeded, match=message):
        label_sheet(labels, columns=columns, rows=rows)


@pytest.mark.parametrize("character", ["\n", "\x1b", "\u202e", "\u2028", "\u200b", "\x7f"])
def test_hidden_characters_do_not_reach_a_label(character: str) -> None:
    with pytest.raises(UnreadableCode, match="cannot be printed") as refusal:
        label_sheet([Label(qr(TRACE), (f"猪肉{character}",))], columns=1, rows=1)
    assert refusal.value.position == 2
