"""Slips: every command of the printer's bytes by name, the text, and the preview, whose symbols are read again."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO

import pytest
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ledger.errors import LimitExceeded, UnreadableCode
from scanners.camera import decode_image
from scanners.slips import Slip, slip, slip_png, slip_text, width_columns

TRACE = "35010200100000012345"
LINK = f"https://suyuan.example/t/{TRACE}"
SALE = Slip(
    shop="鼓楼农贸市场",
    stall="A12 林记鲜肉",
    goods="冷鲜猪五花肉（去皮）",
    weight=Decimal("2.350"),
    price=Decimal("28.80"),
    total=Decimal("67.68"),
    time=datetime(2026, 11, 25, 1, 2, 3, tzinfo=UTC),
    trace_code=TRACE,
    link=LINK,
    notes=("产地 福建龙岩新罗", "检疫证 3500123456"),
)

Command = tuple[str, bytes]
_FIXED = {b"\x1b@": ("ESC @", 0), b"\x1c&": ("FS &", 0), b"\x1ba": ("ESC a", 1), b"\x1bd": ("ESC d", 1),
          b"\x1d!": ("GS !", 1), b"\x1dh": ("GS h", 1), b"\x1dw": ("GS w", 1), b"\x1dH": ("GS H", 1),
          b"\x1dV": ("GS V", 2)}  # fmt: skip


def commands(data: bytes) -> Iterator[Command]:
    """What a printer understands, by the ESC/POS reference: commands with their arguments, and text to each LF."""
    at = 0
    while at < len(data):
        head = data[at : at + 2]
        if head in _FIXED:
            name, length = _FIXED[head]
            yield name, data[at + 2 : at + 2 + length]
            at += 2 + length
        elif data[at : at + 3] == b"\x1d(k":
            length = int.from_bytes(data[at + 3 : at + 5], "little")
            yield "GS ( k", data[at + 5 : at + 5 + length]
            at += 5 + length
        elif head == b"\x1dk":
            assert data[at + 2] == 73, "Code 128 with its length"
            yield "GS k", data[at + 4 : at + 4 + data[at + 3]]
            at += 4 + data[at + 3]
        else:
            end = data.index(b"\n", at)
            text = data[at:end]
            assert not [byte for byte in text if byte < 0x20 or byte == 0x7F], "no control byte in text"
            yield "text", text
            at = end + 1


def texts(data: bytes) -> list[str]:
    return [argument.decode("gb18030") for name, argument in commands(data) if name == "text"]


def test_every_command_in_its_place() -> None:
    """The whole slip, command by command."""
    found = [(name, argument) for name, argument in commands(slip(SALE)) if name != "text"]
    left, centred = ("ESC a", b"\x00"), ("ESC a", b"\x01")
    assert found == [
        ("ESC @", b""),
        ("FS &", b""),
        centred,
        ("GS !", b"\x11"),
        ("GS !", b"\x00"),
        *[left] * 10,
        centred,
        ("GS ( k", b"1A2\x00"),
        ("GS ( k", b"1C\x07"),
        ("GS ( k", b"1E1"),
        ("GS ( k", b"1P0" + LINK.encode()),
        ("GS ( k", b"1Q0"),
        centred,
        ("GS h", bytes([64])),
        ("GS w", b"\x02"),
        ("GS H", b"\x00"),
        ("GS k", b"{C" + bytes([35, 1, 2, 0, 10, 0, 0, 1, 23, 45])),
        *[centred] * 3,
        left,
        ("ESC d", b"\x03"),
        ("GS V", b"B\x00"),
    ]
    assert slip(SALE).endswith(b"\x1dVB\x00")


def test_the_text_is_gb_18030_and_says_it_all() -> None:
    lines = [line.strip() for line in texts(slip(SALE))]
    assert lines == [
        "鼓楼农贸市场",
        "-" * 32,
        "摊位                A12 林记鲜肉",
        "时间         2026-11-25 09:02:03",
        "品名        冷鲜猪五花肉（去皮）",
        "数量                    2.350 kg",
        "单价                 28.80 元/kg",
        "合计                    67.68 元",
        "产地 福建龙岩新罗",
        "检疫证 3500123456",
        "-" * 32,
        "",
        "",
        "",
        "追溯码",
        TRACE,
        "扫码查询来源 Scan to trace",
    ]


def test_without_a_link_the_qr_code_holds_the_digits_and_there_are_no_bars() -> None:
    found = dict(commands(slip(replace(SALE, link=""))))
    stored = [argument for name, argument in commands(slip(replace(SALE, link=""))) if argument.startswith(b"1P0")]
    assert stored == [b"1P0" + TRACE.encode()] and "GS k" not in found


def test_text_and_bytes_hold_the_same_lines() -> None:
    shown = [line.strip() for line in slip_text(SALE).splitlines()]
    assert shown == [line.strip() for line in texts(slip(SALE)) if line.strip()] + [LINK]


@pytest.mark.parametrize("columns", [32, 48])
@pytest.mark.parametrize("link", [LINK, "", LINK + "?" + "a" * 150])
def test_the_preview_is_read_again(columns: int, link: str) -> None:
    png = slip_png(replace(SALE, link=link), columns=columns)
    assert Image.open(BytesIO(png)).width == {32: 384, 48: 576}[columns]
    seen = decode_image(png)
    assert [(one.identifier, one.text) for one in seen] == [("]Q1", link or TRACE), *([("]C0", TRACE)] if link else [])]
    if link:
        assert seen[1].code(today=date(2026, 11, 25)).key == f"urn:suyuan:trace:{TRACE}"


def test_the_preview_shows_chinese_characters_and_not_boxes() -> None:
    """Different characters have different dots; a missing glyph would look the same for all."""
    pictures = {slip_png(replace(SALE, shop=character)) for character in "猪肉鸡鸭鱼菜溯源码"}
    assert len(pictures) == 9


printable = st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp", "Cn"))


@given(st.text(printable, max_size=40), st.text(printable, max_size=100), st.sampled_from([32, 48]))
@settings(max_examples=150, deadline=None)
def test_no_line_is_wider_than_the_paper_and_nothing_is_lost(stall: str, goods: str, columns: int) -> None:
    sale = replace(SALE, stall=stall, goods=goods)
    lines = texts(slip(sale, columns=columns))
    assert all(width_columns(line) <= columns for line in lines)
    kept = re.sub(r"\s", "", "".join(lines))
    assert re.sub(r"\s", "", stall) in kept and re.sub(r"\s", "", goods) in kept


def test_numbers_stand_as_they_are() -> None:
    sale = replace(SALE, weight=Decimal("1E+1"), price=Decimal("0.10"), total=Decimal("-1.00"), unit="只")
    text = slip_text(sale)
    assert "10 只" in text and "0.10 元/只" in text and "-1.00 元" in text and "E+" not in text


def test_a_long_shop_name_is_not_cut() -> None:
    text = "".join(texts(slip(replace(SALE, shop="福州市鼓楼区第一农贸批发交易市场有限责任公司"))))
    assert text.startswith("福州市鼓楼区第一农贸批发交易市场有限责任公司-")


@pytest.mark.parametrize("field", ["shop", "stall", "goods", "unit"])
@pytest.mark.parametrize(
    "text", ["肉\x1b@", "肉\x1dV\x00", "肉\n", "肉\x10\x14", "肉\u202e", "肉\x7f", "肉\ud800", "肉\x85"]
)
def test_a_text_cannot_give_commands_to_the_printer(field: str, text: str) -> None:
    with pytest.raises(UnreadableCode, match="cannot be printed") as refusal:
        replace(SALE, **{field: text})
    assert refusal.value.position == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"trace_code": "3501020010000001234"}, UnreadableCode, "20 digits"),
        ({"trace_code": TRACE[:-1] + "x"}, UnreadableCode, "20 digits"),
        ({"trace_code": "35010200100000012346"}, UnreadableCode, "does not hold the trace code"),
        ({"link": "https://suyuan.example/"}, UnreadableCode, "does not hold the trace code"),
        ({"link": LINK + "溯"}, UnreadableCode, "percent"),
        ({"link": LINK + "\x1dV\x00"}, UnreadableCode, "percent"),
        ({"link": LINK + "a" * 250}, LimitExceeded, "at most 250"),
        ({"notes": ("产地\x1b",)}, UnreadableCode, "cannot be printed"),
        ({"notes": ("产地",) * 13}, LimitExceeded, "12"),
        ({"goods": "肉" * 101}, LimitExceeded, "100"),
        ({"time": datetime(2026, 11, 25)}, ValueError, "zone"),
        ({"weight": Decimal("NaN")}, ValueError, "finite"),
        ({"total": Decimal("Infinity")}, ValueError, "finite"),
    ],
)
def test_a_slip_that_would_mislead_is_refused(change, error, message) -> None:
    with pytest.raises(error, match=message):
        replace(SALE, **change)


@pytest.mark.parametrize("columns", [0, 31, 80])
def test_paper_is_58_or_80_mm_wide(columns: int) -> None:
    for render in (slip, slip_text, slip_png):
        with pytest.raises(LimitExceeded, match="32 or 48"):
            render(SALE, columns=columns)


def test_the_symbols_of_the_preview_are_what_the_printer_draws() -> None:
    """The bar code's bytes, decoded as set C, and the stored QR text are the preview's contents."""
    found = dict(commands(slip(SALE)))
    digits = "".join(f"{byte:02d}" for byte in found["GS k"][2:])
    read = zxingcpp.read_barcodes(Image.open(BytesIO(slip_png(SALE))), text_mode=zxingcpp.TextMode.Plain)
    assert sorted(one.text for one in read) == sorted([digits, LINK]) and digits == TRACE
