"""In-store codes: what a shop's scale printed, by the shop's layout, at the counter and in the ledger."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from api.ledger import Ledger
from api.terminal import terminal_app
from ledger.access import Role
from ledger.errors import Misconfigured, UnreadableCode
from ledger.gs1 import check_digit
from ledger.registers import NODE as NODE_REGISTER
from ledger.steps import BY_NAME
from scanners.terminal.counter import Counter, Say
from scanners.terminal.settings import FILE, read_settings, write_settings
from scanners.terminal.weighed import InStore, Label, UnfitLabel, agrees, layout_fault, plus_fault, unit_price
from tests.test_counter import EAN, records, says
from tests.test_http import credential, serving
from tests.test_registry import filed
from tests.test_terminal import NODE, PARTY, made, run, till

WEIGHT, TOTAL, BOTH, FIXED = "2#GGGGGWWWWWC", "2#GGGGGPPPPPC", "2GGGWWWWPPPPC", "28GGGGG#WWWWC"
PORK, GREENS = "21113011", "01211"
PLUS = {"00123": PORK, "00124": GREENS}
NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
SALE = BY_NAME["supermarket_sale"]


def code(digits: str) -> str:
    """The 13 digits of a label, by their first 12."""
    assert len(digits) == 12, digits
    return digits + check_digit(digits)


MEAT = code("210012301250")
"""Number 00123, 1.250 kg; where the last five are a price, 12.50 yuan."""


def counter(layout: str = WEIGHT, step: str = "supermarket_sale") -> Counter:
    return Counter(BY_NAME[step], in_store=InStore(layout, PLUS))


# --- Layouts and tables ---------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [WEIGHT, TOTAL, BOTH, FIXED, "2###GGGGWWWWC", "2GWWWWWPPPPPC"])
def test_a_layout_that_can_be_read_is_one(layout: str) -> None:
    assert layout_fault(layout) == ""
    assert made(in_store=layout).labels == InStore(layout, {})


@pytest.mark.parametrize(
    ("layout", "says_"),
    [
        ("2#GGGGGWWWWC", "has 12"), ("2#GGGGGWWWWWWC", "has 14"), (" 2#GGGGWWWWWC", "' '"), ("2#GGGGGXXXXXC", "'X'"),
        ("2#gggggwwwwwc", "'g'"), ("1#GGGGGWWWWWC", "begins with 2"), ("#2GGGGGWWWWWC", "begins with 2"),
        ("GGGGGGGWWWWWC", "begins with 2"), ("2#GGGGGWWWWW#", "ends with C"), ("2CGGGGGWWWWWC", "ends with C"),
        ("2#GGGGGWWWWWW", "ends with C"), ("2GWGGGGWWWWWC", "one piece"), ("2PGGGGWWWWWPC", "one piece"),
        ("2GGGWWWGWWWWC", "its G"), ("2#######WWWWC", "goods number"), ("2#GGGGG#####C", "weight"),
        ("2#GGGGGWWWWW０", "'０'"), ("2#GGGGGWWWWWC\n", "has 14"),
    ],
)  # fmt: skip
def test_a_layout_that_could_be_read_in_two_ways_or_none_is_refused_at_the_start(layout: str, says_: str) -> None:
    """Found out at the counter, each label of a day would be sold as other goods, or as grams instead of fen."""
    assert says_ in layout_fault(layout)
    with pytest.raises(Misconfigured, match="the terminal's in_store"):
        made(in_store=layout)


@pytest.mark.parametrize(
    "plus",
    [
        {"123": PORK}, {"000123": PORK}, {"0012x": PORK}, {"０0123": PORK}, {"00123": ""}, {"00123": "pork"},
        {"00123": "999"}, {"00123": "6901234567893"}, {"00123": "81234567890123456789"}, {"00123": 21113011},
        {"00123": PORK, "": GREENS},
    ],
)  # fmt: skip
def test_a_table_that_fits_no_label_or_names_no_goods_is_refused(plus: dict) -> None:
    with pytest.raises(Misconfigured, match="the terminal's plus"):
        made(in_store=WEIGHT, plus=plus)


def test_a_table_without_a_layout_is_refused_and_goods_may_be_codes_animals_or_gtins() -> None:
    with pytest.raises(Misconfigured, match="need a layout"):
        made(plus=PLUS)
    assert plus_fault(WEIGHT, {"00001": PORK, "00002": "pig", "00003": "6901234567892", "00004": "211"}) == ""
    assert made(in_store=WEIGHT, plus={}).plus == {} and made().labels == InStore()


def test_the_settings_come_back_from_their_file_and_a_wrong_file_is_refused(tmp_path: Path) -> None:
    settings = made(in_store=WEIGHT, plus=PLUS)
    write_settings(tmp_path, settings)
    assert read_settings(tmp_path) == settings
    good = (tmp_path / FILE).read_text()
    for old, new in ((f'"{WEIGHT}"', "5"), ('"00123"', '"123"'), ('"plus": {', '"plus": [], "x": {'), (PORK, "pork")):
        (tmp_path / FILE).write_text(good.replace(old, new))
        with pytest.raises(Misconfigured):
            read_settings(tmp_path)


# --- Reading a label ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "digits", "label"),
    [
        (WEIGHT, "210012301250", Label("00123", Decimal("1.250"))),
        (WEIGHT, "290012300001", Label("00123", Decimal("0.001"))),
        (WEIGHT, "209999999999", Label("99999", Decimal("99.999"))),
        (TOTAL, "210012301250", Label("00123", None, Decimal("12.50"))),
        (BOTH, "212312500999", Label("123", Decimal("1.250"), Decimal("9.99"))),
        (BOTH, "212312500000", Label("123", Decimal("1.250"))),
        (FIXED, "280012371250", Label("00123", Decimal("1.250"))),
    ],
)
def test_a_label_is_read_by_its_layout(layout: str, digits: str, label: Label) -> None:
    assert InStore(layout).read(code(digits)) == label


@pytest.mark.parametrize(
    ("layout", "digits", "says_"),
    [
        (WEIGHT, code("210012300000"), "weight in the code is 0"), (BOTH, code("212300000999"), "weight in the code"),
        (TOTAL, code("210012300000"), "price in the code is 0"), (FIXED, code("290012371250"), "layout"),
        (WEIGHT, "2100123012501", "layout"), (WEIGHT, EAN, "layout"), (WEIGHT, MEAT[:-1], "layout"),
        (WEIGHT, MEAT + "0", "layout"), (WEIGHT, "２" + MEAT[1:], "layout"), (WEIGHT, "", "layout"),
        ("", MEAT, "layout"),
    ],
)  # fmt: skip
def test_a_label_that_does_not_fit_or_says_nothing_is_refused_in_both_languages(
    layout: str, digits: str, says_: str
) -> None:
    """Read nevertheless, a piece of another kind would be sold at a weight that is its price."""
    with pytest.raises(UnfitLabel, match=says_) as refused:
        InStore(layout).read(digits)
    assert any("\u4e00" <= character <= "\u9fff" for character in str(refused.value))
    assert "\n" not in str(refused.value)


DIGIT = st.sampled_from("0123456789")


@given(st.permutations("GW#"), st.integers(1, 9), st.text("0123456789", min_size=11, max_size=11))
def test_each_digit_of_a_label_is_where_its_layout_has_it(order: list[str], first: int, digits: str) -> None:
    """Against the definition: the digits that stand under the letters, in their order, whatever the layout is."""
    parts = {order[0]: first, order[1]: 10 - first, order[2]: 1}
    layout = "2" + "".join(letter * parts[letter] for letter in order) + "C"
    assert layout_fault(layout) == ""
    whole = code("2" + digits)
    under = {letter: "".join(d for d, at in zip(whole, layout, strict=True) if at == letter) for letter in "GW"}
    if int(under["W"]) == 0:
        with pytest.raises(UnfitLabel):
            InStore(layout).read(whole)
        return
    assert InStore(layout).read(whole) == Label(under["G"], Decimal(int(under["W"])) / 1000)
    for wrong in range(13):
        changed = whole[:wrong] + str((int(whole[wrong]) + 1) % 10) + whole[wrong + 1 :]
        with pytest.raises(UnfitLabel):
            InStore(layout).read(changed)


@given(st.integers(1, 99_999), st.integers(1, 99_999))
def test_quantity_times_unit_price_is_the_total_that_was_paid(fen: int, grams: int) -> None:
    """A slip that showed another total than the label would be a complaint; the price of the scale itself agrees."""
    total, weight = Decimal(fen) / 100, Decimal(grams) / 1000
    price = unit_price(total, weight)
    assert (price * weight).quantize(Decimal("0.01")) == total
    for cents in (int(total / weight * 100), int(total / weight * 100) + 1):
        scale = Decimal(cents) / 100
        assert agrees((scale * weight).quantize(Decimal("0.01")), weight, scale)
    assert not agrees(total, weight, price + Decimal("0.02") / weight)


# --- At the counter -------------------------------------------------------------------------------


def test_one_scan_of_a_weighed_code_is_the_whole_sale() -> None:
    """No word typed: goods by the table, quantity by the code, in any form in which a scanner sends it."""
    wanted = {"scanned": MEAT, "quantity": "1.250", "unit": "KGM", "goods": PORK}
    assert records(counter(), MEAT)[1] == wanted
    assert records(counter(), f"]E0{MEAT}")[1] == {**wanted, "scanned": f"]E0{MEAT}"}
    assert records(counter(), f"{MEAT} @25.80")[1] == {**wanted, "price": "25.80"}
    assert records(counter(step="loss"), MEAT)[1] == wanted
    assert records(counter(), code("290012400500"))[1]["goods"] == GREENS
    _, deed = counter().take(f"]E0{MEAT}", NOW, symbol=True)
    assert not isinstance(deed, Say), "an image of the label, too"


def test_the_same_weight_told_again_is_no_contradiction_and_is_used_once() -> None:
    for line in (f"{MEAT} 1.25", f"{MEAT} 1250g", f"{MEAT} 2.5jin", f"{MEAT} goods={PORK}"):
        assert records(counter(), line)[1]["quantity"] == "1.250"
    weighed, _ = says(counter(), "1.250kg")
    after, body = records(weighed, MEAT)
    assert body["quantity"] == "1.250" and after.weight is None
    assert "weight kg?" in says(after, EAN)[1], "the scale's weight is not left for the next code"


@pytest.mark.parametrize(
    ("line", "says_"),
    [
        (f"{MEAT} 1.251", "the code says 1.250 kg"), (f"{MEAT} 125g", "the code says 1.250 kg"),
        (f"{MEAT} 1pc", "the code says 1.250 kg"), (f"{MEAT} goods={GREENS}", f"goods {PORK}, not {GREENS}"),
        (f"{MEAT} goods=2111", f"goods {PORK}, not 2111"), (code("210012300000"), "weight in the code is 0"),
        (f"{code('210012300000')} 1.25", "weight in the code is 0"), (code("210099901250"), "00999 is in no table"),
        (f"{code('210099901250')} 1.25", "00999 is in no table"),
        (f"{code('210099901250')} 1.26 goods={PORK}", "the code says 1.250 kg"),
    ],
)  # fmt: skip
def test_what_contradicts_the_code_or_is_in_no_table_is_refused_and_forgotten(line: str, says_: str) -> None:
    """Guessed, either the customer pays for what is not in the bag, or the stock is short. Nothing waits afterwards."""
    after, answer = says(counter(), line)
    assert answer.startswith("✗ ") and says_ in answer and any("\u4e00" <= one <= "\u9fff" for one in answer)
    assert after.pending is None and after.question is None
    assert records(after, MEAT)[1]["quantity"] == "1.250"


def test_a_weight_of_the_scale_that_contradicts_the_code_is_refused_and_dropped() -> None:
    weighed, _ = says(counter(), "ST,GS,+  1.300kg")
    after, answer = says(weighed, MEAT)
    assert "the code says 1.250 kg" in answer and "1.300" in answer and after.weight is None
    assert records(after, MEAT)[1]["quantity"] == "1.250", "the second scan is not held up by the old weight"
    weighed, _ = says(counter(), "1.300kg")
    assert records(weighed, MEAT, NOW + timedelta(seconds=61))[1]["quantity"] == "1.250", "a weight that is too old"


def test_a_number_in_no_table_is_sold_by_the_goods_that_are_typed() -> None:
    unknown = code("210099901250")
    assert records(counter(), f"{unknown} goods={PORK}")[1] == {
        "scanned": unknown, "quantity": "1.250", "unit": "KGM", "goods": PORK,
    }  # fmt: skip


def test_a_code_of_another_layout_is_refused_until_goods_and_quantity_are_typed() -> None:
    """A shop has also piece goods under 2…; what their digits mean is not this layout's to say."""
    other, short = code("290012371250"), "2000002" + check_digit("2000002")
    for one in (other, short):
        assert "does not fit this shop's layout" in says(counter(FIXED), one)[1]
        assert "does not fit" in says(counter(FIXED), f"{one} 1.25")[1], "the goods are still unknown"
        after, answer = says(counter(FIXED), f"{one} goods={PORK}")
        assert answer == "? 重量 weight kg?"
        assert records(after, "2pc")[1] == {"scanned": one, "quantity": "2", "unit": "H87", "goods": PORK}


def test_a_total_asks_for_the_weight_and_gives_the_price() -> None:
    """MEAT is 12.50 yuan here."""
    asked, answer = says(counter(TOTAL), MEAT)
    assert answer == "? 重量 weight kg?"
    wanted = {"scanned": MEAT, "quantity": "0.5", "unit": "KGM", "goods": PORK, "price": "25.00"}
    assert records(asked, "0.5")[1] == records(counter(TOTAL), f"{MEAT} 0.5")[1] == wanted
    weighed, _ = says(counter(TOTAL), "0.5kg")
    assert records(weighed, MEAT)[1] == wanted, "the scale's key first, then the scan"
    assert records(asked, "3pc")[1]["price"] == "4.166667"
    assert records(asked, "0.5 @25")[1]["price"] == "25"
    trade = says(counter(TOTAL, "wholesale_trade"), f"{MEAT} 0.5")[0]
    assert "price" not in records(trade, f"to={PARTY}")[1], "the shop's price is that of its sales"


@pytest.mark.parametrize("line", ["0.5 @25.02", "0.5 @24", "1 @25", "0.5 @0", "2pc @6"])
def test_a_price_that_does_not_make_the_total_is_refused_and_the_code_still_waits(line: str) -> None:
    asked, _ = says(counter(TOTAL), MEAT)
    after, answer = says(asked, line)
    assert answer.startswith("✗ ") and "the code says 12.50 yuan" in answer
    assert records(after, "0.5 @25")[1]["price"] == "25"


def test_weight_and_total_together_give_the_price_and_must_agree_with_one_that_is_typed() -> None:
    label, shop = code("212312340999"), replace(counter(), in_store=InStore(BOTH, {"123": PORK}))
    body = records(shop, label)[1]
    assert (body["quantity"], body["price"]) == ("1.234", "8.095624")
    assert records(shop, f"{label} @8.10")[1]["price"] == "8.10"
    assert "9.99 yuan" in says(shop, f"{label} @8.11")[1]


def test_what_waits_for_another_word_does_not_take_another_weight() -> None:
    """A trade asks to whom; meanwhile somebody presses the scale's key."""
    asked, answer = says(counter(step="wholesale_trade"), MEAT)
    assert "to=" in answer
    after, answer = says(asked, "1.300kg")
    assert "the code says 1.250 kg" in answer and after.pending == asked.pending
    assert "goods" in says(after, f"goods={GREENS}")[1]
    body = records(after, f"to={PARTY}")[1]
    assert (body["quantity"], body["goods"], body["counterparty"]) == ("1.250", PORK, PARTY)


@pytest.mark.parametrize("step", ["stock_take", "supermarket_packing", "slaughter"])
def test_a_label_is_no_lot_to_count_or_to_make_things_of(step: str) -> None:
    """Its goods would be what is made, and its weight what is taken, or all that there is: who knows?"""
    for line in (MEAT, f"{MEAT} lot=urn:suyuan:lot:21113011:33021200126112500001"):
        after, answer = says(counter(step=step), line)
        assert "label is no lot" in answer and after.pending is None


def test_the_same_label_twice_is_asked_about() -> None:
    """Two pieces never weigh the same to the gram, but one label is soon read twice."""
    after, _ = records(counter(), MEAT)
    asked, answer = says(after, MEAT, NOW + timedelta(seconds=2))
    assert "twice" in answer and records(asked, ".")[1]["confirm"] is True


def test_without_a_layout_and_for_all_other_codes_nothing_is_changed() -> None:
    assert says(Counter(SALE), MEAT)[1] == "? 重量 weight kg?"
    assert records(Counter(SALE), f"{MEAT} 1.3 goods={PORK}")[1]["quantity"] == "1.3"
    for other in (EAN, "33021200200120000017", "2" + "3" * 19, f"(01){MEAT.zfill(14)}(10)A1"):
        assert records(counter(), f"{other} 1.3")[1] == {"scanned": other, "quantity": "1.3", "unit": "KGM"}


# --- Commands, slips and the ledger ---------------------------------------------------------------

SETUP = ["setup", "--url", "http://127.0.0.1:9", "--key", "k", "--node", NODE, "--step", "retail_sale"]


def test_setup_takes_the_layout_and_the_table(tmp_path: Path) -> None:
    folder = tmp_path / "stall"
    options = ["--party", PARTY, "--in-store", WEIGHT, "--plu", f"00123={PORK}", "--plu", f"00124={GREENS}"]
    result = CliRunner().invoke(terminal_app, [*SETUP, str(folder), *options])
    assert result.exit_code == 0, result.output
    assert (read_settings(folder).in_store, read_settings(folder).plus) == (WEIGHT, PLUS)
    done = run(folder, "run", lines=f"{MEAT}\n{MEAT} 1.3\nstatus\n")
    lines = done.stdout.splitlines()
    assert any("1.250 kg" in line and line.startswith("✓") for line in lines), done.stdout
    assert any("the code says 1.250 kg" in line for line in lines) and any("1 笔待传" in line for line in lines)


@pytest.mark.parametrize(
    "options",
    [
        ["--in-store", "2#GGGGGWWWWC"], ["--plu", f"00123={PORK}"], ["--in-store", WEIGHT, "--plu", f"123={PORK}"],
        ["--in-store", WEIGHT, "--plu", "00123"], ["--in-store", WEIGHT, "--plu", "00123="],
        ["--in-store", WEIGHT, "--plu", f"={PORK}"], ["--in-store", WEIGHT, "--plu", "00123=x"],
        ["--in-store", WEIGHT, "--plu", f"00123={PORK}", "--plu", f"00123={GREENS}"],
    ],
)  # fmt: skip
def test_setup_refuses_what_could_not_be_read_and_writes_nothing(tmp_path: Path, options: list[str]) -> None:
    result = CliRunner().invoke(terminal_app, [*SETUP, str(tmp_path / "stall"), *options])
    assert isinstance(result.exception, Misconfigured | UnreadableCode) and not (tmp_path / "stall").exists()


def test_the_slip_has_the_weight_and_the_total_of_the_label(tmp_path: Path) -> None:
    settings = {"in_store": "2GGGWWWWPPPPC", "plus": {"123": PORK}, "goods": {PORK: "猪肉"}, "printer": "-"}
    with till("http://127.0.0.1:9", tmp_path, **settings) as (counter_, outbox, shown):
        answer = counter_.take(code("212312340999"))
        assert answer.startswith("✓ 猪肉 1.234 kg"), answer
        body = outbox.last().body  # type: ignore[union-attr]
    assert (body["goods"], body["quantity"], body["price"]) == (PORK, "1.234", "8.095624")
    assert not [line for line in shown if "9.98" in line]


def test_one_scan_of_a_label_is_a_sale_in_the_ledger(ledger: Ledger, tmp_path: Path) -> None:
    """From the label to what is left of the lot: the ledger takes the shop's number, since the goods are named."""
    filed(ledger, NODE_REGISTER, [{"node": NODE, "name": "超市", "kind": "supermarket", "trace_scheme": "A"}])
    with serving(ledger) as server:
        key = credential(ledger, Role.TERMINAL, NODE)[1]
        client = server.with_key(key)
        stock = {"scan": "0d3c5a52-8f0e-4c77-9f7e-0b7f6f1f3a01", "node": NODE, "step": "opening_stock", "party": PARTY,
                 "at": "2026-11-25T08:00:00+08:00", "goods": PORK, "quantity": "5"}  # fmt: skip
        lot = client.post("/scans", json=stock).json()["made"]["lot"]
        settings = {"key": key, "step": "supermarket_sale", "in_store": WEIGHT, "plus": PLUS}
        with till(server.url, tmp_path, **settings) as (counter_, _, _shown):
            answer = counter_.take(MEAT)
            assert "已记录 recorded" in answer and "余 left 3.75 kg" in answer, answer
            assert "the code says" in counter_.take(f"{MEAT} 1.5")
        rows = client.get(f"/balances/{lot}").json(parse_float=Decimal)["balances"]
    assert [(row["holder"], row["quantity"]) for row in rows] == [(PARTY, Decimal("3.75"))]
