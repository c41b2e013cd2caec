"""The counter: what a person typed or scanned, and what is done about it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.steps import BY_NAME
from scanners.symbols import Fault
from scanners.terminal import calibration
from scanners.terminal.calibration import LINK, Profile, find, sheet_pdf, sheet_symbols
from scanners.terminal.counter import Command, Counter, Quantity, Record, Say, fields_of, parse_line

NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
EAN, OTHER, TRACE = "6901234567892", "6901234500103", "33021200200120000017"
DRUG = "81234567890123456789"
SALE = BY_NAME["retail_sale"]
KG = "KGM"


def kilograms(text: str) -> Quantity:
    return Quantity(Decimal(text), KG)


def says(counter: Counter, line: str, now: datetime = NOW) -> tuple[Counter, str]:
    counter, deed = counter.take(line, now)
    assert isinstance(deed, Say), deed
    return counter, deed.text


def records(counter: Counter, line: str, now: datetime = NOW) -> tuple[Counter, dict[str, object]]:
    counter, deed = counter.take(line, now)
    assert isinstance(deed, Record), deed
    return counter.recorded(deed.entry, now), fields_of(deed.entry)


@pytest.fixture
def counter() -> Counter:
    return Counter(SALE)


# --- One scan and one key -------------------------------------------------------------------------


def test_the_scales_key_and_then_a_scan_make_a_sale(counter: Counter) -> None:
    counter, answer = says(counter, "ST,GS,+  1.250kg")
    assert "1.250" in answer
    counter, body = records(counter, EAN)
    assert body == {"scanned": EAN, "quantity": "1.250", "unit": KG}
    counter, answer = says(counter, OTHER)
    assert "重量 weight kg?" in answer, "a weight is used once"


def test_a_scan_and_then_the_scales_key_make_a_sale(counter: Counter) -> None:
    counter, answer = says(counter, EAN)
    assert answer == "? 重量 weight kg?"
    counter, body = records(counter, "  1.250 kg")
    assert body == {"scanned": EAN, "quantity": "1.250", "unit": KG}


def test_a_weight_is_soon_too_old(counter: Counter) -> None:
    counter, _ = says(counter, "1.25")
    _, answer = says(counter, EAN, NOW + timedelta(seconds=61))
    assert "weight kg?" in answer
    _, answer = says(counter, EAN, NOW - timedelta(seconds=1))
    assert "weight kg?" in answer, "the clock was set back"


def test_a_pack_with_a_code_of_its_own_is_one_pack(counter: Counter) -> None:
    assert records(counter, DRUG)[1] == {"scanned": DRUG, "quantity": "1", "unit": "H87"}


# --- The grammar ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "quantity", "price"),
    [
        (f"{EAN} 1.25", "1.25", None),
        (f"  {EAN}\t1.25 @25.80 ", "1.25", "25.80"),
        (f"{EAN} @25.8 1.25kg", "1.25", "25.8"),
        (f"{EAN} 500g", "0.500", None),
        (f"{EAN} 2.5jin", "1.25", None),
        (f"{EAN} 2.5斤", "1.25", None),
        (f"{EAN} 1.25公斤", "1.25", None),
        (f"{EAN} 0.001", "0.001", None),
        (f"{TRACE} 999999", "999999", None),
        ("(01)06901234567892(10)A1 12 @3", "12", "3"),
    ],
)
def test_good_lines(counter: Counter, line: str, quantity: str, price: str | None) -> None:
    _, body = records(counter, line)
    assert Decimal(str(body["quantity"])) == Decimal(quantity) and body["unit"] == KG
    assert body.get("price") == price and str(body["scanned"]) == line.split(maxsplit=1)[0]


def test_pieces(counter: Counter) -> None:
    for line in (f"{EAN} 3pc", f"{EAN} 3PCS", f"{EAN} 3件"):
        assert records(counter, line)[1] == {"scanned": EAN, "quantity": "3", "unit": "H87"}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("6901234567893 1.25", Fault.CHECK_DIGIT.english),
        (f"{EAN} 1.2345", "after the code"),
        (f"{EAN} 1,25", "after the code"),
        (f"{EAN} 1e3", "after the code"),
        (f"{EAN} -1", "after the code"),
        (f"{EAN} 0", "more than 0"),
        (f"{EAN} 1 2", "two quantities"),
        (f"{EAN} 1 @2 @3", "two prices"),
        (f"{EAN} 1 @", "no price"),
        (f"{EAN} 1 @1.234", "no price"),
        (f"{EAN} 1 @-5", "no price"),
        (f"{EAN} 1 to=33", "cannot stand behind to="),
        (f"{EAN} 1 to={'3' * 13} to={'4' * 13}", "stands there twice"),
        (f"{EAN} {OTHER}", "after the code"),
        (f"{EAN}{OTHER} 1", Fault.TWO_SYMBOLS.english),
        ("@25.80", "scan the code first"),
        ("US,GS,+  1.250kg", "has not settled"),
        ("ST,GS,-  1.250kg", "more than 0"),
        ("0", "more than 0"),
        ("hello", Fault.UNKNOWN.english),
        ("12345", "scan the code first"),
        ("1234567", Fault.INCOMPLETE.english),
        ("x" * 3000, "too long"),
    ],
)
def test_bad_lines_are_refused_with_a_sentence_and_change_nothing(counter: Counter, line: str, sentence: str) -> None:
    after, answer = says(counter, line)
    assert answer.startswith("✗ ") and sentence in answer and after == counter


@pytest.mark.parametrize(
    "line",
    [
        "６９０１２３４５６７８９２",
        f"{EAN} １.２５",
        f"{EAN} 1。25",
        "。",
        "？",
        f"{EAN}，1.25",
        f"{EAN}　1.25",
        "吃了吗",
        f"{EAN} 1.25 ＠3",
    ],
)
def test_an_input_method_is_named_not_obeyed(counter: Counter, line: str) -> None:
    after, answer = says(counter, line)
    assert answer == f"✗ {Fault.IME.chinese} {Fault.IME.english}" and after == counter


@pytest.mark.parametrize("line", ["VOID", "NO", "STATUS", "SLIP"])
def test_caps_lock_is_named_not_obeyed(counter: Counter, line: str) -> None:
    assert Fault.CAPS_LOCK.english in says(counter, line)[1]


@given(st.text(max_size=60))
def test_any_text_gets_one_answer_and_nothing_is_recorded_without_a_code_and_a_quantity(line: str) -> None:
    _, deed = Counter(SALE).take(line, NOW)
    if isinstance(deed, Record):
        assert deed.entry.code is not None or deed.entry.words
        assert deed.entry.quantity is not None and deed.entry.quantity.value > 0
    if isinstance(deed, Say):
        assert "\n" not in deed.text or line.strip() == "?"


@given(st.decimals("0.001", "999999", places=3), st.decimals(0, "9999999", places=2), st.booleans())
def test_what_is_written_is_what_is_recorded(quantity: Decimal, price: Decimal, turned: bool) -> None:
    tail = [f"{quantity:f}", f"@{price:f}"]
    entry = parse_line(" ".join([EAN, *(reversed(tail) if turned else tail)]))
    assert entry.scanned == EAN and entry.price == price and entry.quantity == Quantity(quantity, KG)


# --- Questions and commands -----------------------------------------------------------------------


def test_the_same_within_seconds_is_asked_about(counter: Counter) -> None:
    counter, _ = records(counter, f"{EAN} 1.25")
    asked, answer = says(counter, f"{EAN} 1.25", NOW + timedelta(seconds=5))
    assert answer.startswith("? ") and "twice" in answer
    _, body = records(asked, ".")
    assert body == {"scanned": EAN, "quantity": "1.25", "unit": KG, "confirm": True}
    refused, answer = says(asked, "no")
    assert "not recorded" in answer and refused.question is None
    assert says(asked, "")[1] == says(counter, f"{EAN} 1.25")[1], "ENTER is no yes"
    records(asked, f"{EAN} 1.5")
    records(counter, f"{EAN} 1.25", NOW + timedelta(seconds=11))


def test_after_a_start_the_last_one_is_asked_about_whenever_it_comes() -> None:
    last = {"scanned": EAN, "quantity": "1.25", "unit": KG}
    started = Counter(SALE, last=last, last_at=NOW - timedelta(hours=2), unsure=True)
    assert "twice" in says(started, f"{EAN} 1.25")[1]
    after, _ = records(started, f"{OTHER} 1")
    assert not after.unsure


def test_commands(counter: Counter) -> None:
    for line, command in [
        ("void", Command("void", "did_not_occur")), ("void wrong", Command("void", "incorrect_data")),
        ("slip", Command("slip")), ("status", Command("status")), (".", Command("yes")), ("no", Command("no")),
    ]:  # fmt: skip
        assert counter.take(line, NOW)[1] == command
    assert "CODE 1.25 @25.80" in says(counter, "?")[1]
    assert "scan a code" in says(counter, "")[1]


def test_void_with_a_code_that_waits_forgets_that_code_only(counter: Counter) -> None:
    counter, _ = says(counter, EAN)
    counter, answer = says(counter, "void")
    assert "nothing was undone" in answer and counter.pending is None


def test_a_code_that_waits_is_replaced_aloud(counter: Counter) -> None:
    counter, _ = says(counter, EAN)
    counter, answer = says(counter, OTHER)
    assert "the code before was not recorded" in answer
    assert records(counter, "1")[1]["scanned"] == OTHER
    assert "scan the code" in says(counter, "1", NOW + timedelta(minutes=11))[1], "it is forgotten after a while"


def test_other_steps_ask_for_what_they_need() -> None:
    trade = Counter(BY_NAME["wholesale_trade"])
    trade, answer = says(trade, f"{EAN} 100")
    assert "to=" in answer
    assert records(trade, "to=3302120020001")[1] == {
        "scanned": EAN, "quantity": "100", "unit": KG, "counterparty": "3302120020001",
    }  # fmt: skip
    test = Counter(BY_NAME["wholesale_test"])
    test, answer = says(test, EAN)
    assert "result" in answer and records(test, "result=合格")[1] == {"scanned": EAN, "result": "合格"}
    harvest = Counter(BY_NAME["origin_harvest"])
    assert records(harvest, "goods=01211 50kg")[1] == {"goods": "01211", "quantity": "50", "unit": KG}
    entry = Counter(BY_NAME["retail_entry"])
    line = f"{EAN} 20 to=3302120020001 voucher=origin:A1 voucher=test:B2"
    assert records(entry, line)[1]["vouchers"] == [{"kind": "origin", "number": "A1"}, {"kind": "test", "number": "B2"}]


def test_a_symbol_is_taken_whole(counter: Counter) -> None:
    """Nobody typed into an image: what looks like a command or a quantity in it is part of the code."""
    for content in ("]Q1void", f"]Q1{EAN} 5", "]Q11.25", "."):
        _, deed = counter.take(content, NOW, symbol=True)
        assert isinstance(deed, Say) and deed.text.startswith("✗"), content
    _, deed = counter.take(f"]E0{EAN}", NOW, symbol=True)
    assert isinstance(deed, Say) and "weight" in deed.text


# --- Calibration ----------------------------------------------------------------------------------

MATRIX, LINEAR, SQUARE = sheet_symbols()


@pytest.mark.parametrize("symbol", [MATRIX, LINEAR])
@pytest.mark.parametrize("gs", ["\x1d", "{GS}", "^]", "␝"])
@pytest.mark.parametrize(("prefix", "suffix"), [("", ""), ("#", ""), ("", "$"), ("<<", ">>")])
def test_a_good_scanner_is_found_good(symbol: object, gs: str, prefix: str, suffix: str) -> None:
    assert isinstance(symbol, type(MATRIX))
    sent = prefix + symbol.identifier + symbol.content.replace("\x1d", gs) + suffix + "\r\n"
    found = find(sent)
    assert found is not None and found.faults == () and found.symbol == symbol.name
    assert found.profile == Profile(prefix, suffix, aim=True, sends_fnc1=True)
    scanned, code = found.profile.read(sent.rstrip("\r\n"), NOW.date())
    assert code.serial == "Zy:%&*Q=1" and code.lot == "aYzB-/(+" and prefix + scanned + suffix == sent.rstrip("\r\n")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda text: text.replace("\x1d", ""), Fault.LOSES_FNC1),
        (lambda text: text.replace("\x1d", "#"), Fault.LOSES_FNC1),
        (str.swapcase, Fault.CAPS_LOCK),
        (str.upper, Fault.CAPS_LOCK),
        (lambda text: text.translate(str.maketrans("yzYZ", "zyZY")), Fault.LAYOUT),
        (calibration._QWERTZ, Fault.LAYOUT),
        (lambda text: text.translate(calibration._FULL_WIDTH), Fault.IME),
    ],
)
@pytest.mark.parametrize("aim", [True, False])
def test_what_a_scanner_does_wrong_is_named(change: object, fault: Fault, aim: bool) -> None:
    assert callable(change)
    found = find(change((MATRIX.identifier if aim else "") + MATRIX.content))
    assert found is not None and found.faults == (fault,) and found.usable == (fault is Fault.LOSES_FNC1)
    assert not (found.usable and found.profile.sends_fnc1)


def test_without_fnc1_nothing_is_proved_about_it() -> None:
    found = find(SQUARE.identifier + LINK)
    assert found is not None and found.faults == () and not found.profile.sends_fnc1
    assert find("something else") is None and find("") is None


def test_a_profile_undoes_only_what_leads_to_one_code() -> None:
    profile = Profile(prefix="6", suffix="")
    scanned, code = profile.read("66901234567892", NOW.date())
    assert scanned == EAN and code.gtin == "06901234567892"
    assert profile.read(EAN, NOW.date())[0] == EAN, "typed, without the prefix"
    assert Profile("#", "$").read(TRACE, NOW.date())[0] == TRACE


def test_proved_fnc1_makes_a_tail_certain() -> None:
    """A last serial that might hold an expiry date is taken from a scanner that was seen to send FNC1, only."""
    tail = "0106901234567892" + "21AB1728123110X"
    sure = Counter(SALE, Profile(sends_fnc1=True))
    _, deed = sure.take(f"{tail} 1pc", NOW)
    assert isinstance(deed, Record) and deed.entry.code is not None and deed.entry.code.serial == "AB1728123110X"
    assert fields_of(deed.entry)["lot"] == "https://id.gs1.org/01/06901234567892/21/AB1728123110X", "the ledger is told"
    assert Fault.LOSES_FNC1.english in says(Counter(SALE), f"{tail} 1pc")[1]


def test_the_sheet_is_a_pdf() -> None:
    assert sheet_pdf().startswith(b"%PDF-")
