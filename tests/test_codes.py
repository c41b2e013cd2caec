"""Chinese codes: structure, check characters, and errors that name the character and never a person's number."""

import string
from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.codes import (
    CITY,
    IMPORT,
    TraceScheme,
    drug_product_part,
    key_of_code,
    node_text,
    parse_credit_code,
    parse_drug_code,
    parse_ear_tag,
    parse_food_licence,
    parse_goods_code,
    parse_identity_number,
    parse_national_drug_code,
    parse_node,
    parse_party,
    parse_trace_code,
)
from ledger.errors import UnreadableCode

TODAY = date(2026, 11, 23)
CREDIT = "0123456789ABCDEFGHJKLMNPQRTUWXY"
PROVINCES = (
    "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82"
).split()


def parse_identity(code: str) -> str:
    return parse_identity_number(code, today=TODAY)


def parse_a(code: str) -> object:
    return parse_trace_code(code, TraceScheme.OPERATOR_SERIAL)


def parse_b(code: str) -> object:
    return parse_trace_code(code, TraceScheme.NODE_DAY_SERIAL)


GOOD: dict[str, tuple[Callable[[str], object], str]] = {
    "node": (parse_node, "330212333"),
    "party": (parse_party, "3302123330001"),
    "trace A": (parse_a, "33021233300010000001"),
    "trace B": (parse_b, "44090000118011900001"),
    "drug": (parse_drug_code, "81234567890123456789"),
    "national drug": (parse_national_drug_code, "86900001000019"),
    "credit": (parse_credit_code, "91350100M000100Y43"),
    "identity": (parse_identity, "11010519491231002X"),
    "food licence": (parse_food_licence, "SC11011500101054"),
    "ear tag": (parse_ear_tag, "133010612345678"),
    "goods": (parse_goods_code, "21113011"),
}
kinds = pytest.mark.parametrize("kind", GOOD)


def numbers(length: int) -> st.SearchStrategy[str]:
    return st.text(string.digits, min_size=length, max_size=length)


def with_credit_check(body: str) -> str:
    """GB 32100-2015, 4.3: weights 3^(i-1) mod 31, check 31 minus the sum mod 31; 31 counts as 0."""
    weights = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28]
    total = sum(CREDIT.index(c) * w for c, w in zip(body, weights, strict=True))
    return body + CREDIT[(31 - total % 31) % 31]


def with_identity_check(body: str) -> str:
    """GB 11643-1999, 4: the weights as they stand in its table 1, and the check characters of its table 2."""
    weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]
    return body + "10X98765432"[sum(int(d) * w for d, w in zip(body, weights, strict=True)) % 11]


def with_licence_check(body: str) -> str:
    """ISO 7064, MOD 11,10, tried out: the digit that brings the whole to 1."""
    for last in string.digits:
        product = 10
        for digit in body:
            product = ((product + int(digit)) % 10 or 10) * 2 % 11
        if (product + int(last)) % 10 == 1:
            return "SC" + body + last
    raise AssertionError


credit_codes = st.builds(
    lambda head, region, rest: with_credit_check(head + region + rest),
    st.tuples(st.sampled_from("123456789ANY"), st.sampled_from(CREDIT)).map("".join),
    numbers(6),
    st.text(CREDIT, min_size=9, max_size=9),
)
identity_numbers = st.builds(
    lambda province, county, born, order: with_identity_check(f"{province}{county}{born:%Y%m%d}{order}"),
    st.sampled_from([*PROVINCES, "83"]),
    numbers(4),
    st.dates(date(1850, 1, 1), TODAY),
    numbers(3),
)
licences = numbers(13).map(with_licence_check)


@kinds
def test_a_good_code_is_read(kind: str) -> None:
    parse, code = GOOD[kind]
    assert parse(code)


@kinds
@pytest.mark.parametrize("spoil", [" {}", "{}\n", "{}\x00", "\ufeff{}", "{}\ud800", "{}" + "9" * 100_000])
def test_nothing_may_stand_around_a_code(kind: str, spoil: str) -> None:
    parse, code = GOOD[kind]
    with pytest.raises(UnreadableCode):
        parse(spoil.format(code))


@kinds
def test_full_width_digits_are_no_digits(kind: str) -> None:
    parse, code = GOOD[kind]
    place = next(i for i, c in enumerate(code) if c.isdigit())
    with pytest.raises(UnreadableCode) as refused:
        parse(code[:place] + chr(ord(code[place]) + 0xFEE0) + code[place + 1 :])
    assert refused.value.position == place


@kinds
@given(text=st.text(st.sampled_from(string.digits + "SCX9八٣ \x00"), max_size=22))
def test_whatever_text_comes_is_read_or_refused_with_a_position(kind: str, text: str) -> None:
    parse, _ = GOOD[kind]
    try:
        parse(text)
    except UnreadableCode as refused:
        assert refused.position is None or 0 <= refused.position <= len(text)


@kinds
def test_an_empty_code_is_refused(kind: str) -> None:
    with pytest.raises(UnreadableCode):
        GOOD[kind][0]("")


@given(credit_codes)
def test_credit_codes_that_follow_the_standard_are_read(code: str) -> None:
    assert parse_credit_code(code) == code


@given(credit_codes, st.integers(0, 17), st.sampled_from(CREDIT))
def test_one_wrong_character_of_a_credit_code_is_always_caught(code: str, place: int, other: str) -> None:
    """31 is prime and no weight is 0 mod 31."""
    assume(code[place] != other)
    with pytest.raises(UnreadableCode):
        parse_credit_code(code[:place] + other + code[place + 1 :])


@given(credit_codes, st.integers(0, 16))
def test_neighbours_of_a_credit_code_that_change_places_are_always_caught(code: str, place: int) -> None:
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    assume(swapped != code)
    with pytest.raises(UnreadableCode):
        parse_credit_code(swapped)


@pytest.mark.parametrize("letter", "IOSVZ")
def test_the_five_letters_that_look_like_digits_are_refused(letter: str) -> None:
    with pytest.raises(UnreadableCode) as refused:
        parse_credit_code("91350100M00010" + letter + "Y43")
    assert refused.value.position == 14


@pytest.mark.parametrize(
    ("code", "position"),
    [
        (with_credit_check("B1350100M000100Y4"), 0),
        (with_credit_check("913A0100M000100Y4"), 3),
        ("91350100m000100Y43", 8),
        ("91350100M000100Y44", 17),
        ("91350100M000100Y4", None),
    ],
)
def test_a_broken_credit_code_is_refused_at_its_character(code: str, position: int | None) -> None:
    with pytest.raises(UnreadableCode) as refused:
        parse_credit_code(code)
    assert refused.value.position == position


@given(identity_numbers)
def test_identity_numbers_that_follow_the_standard_are_read(code: str) -> None:
    assert parse_identity(code) == code


@given(identity_numbers, st.integers(0, 17), st.sampled_from(string.digits + "X"))
def test_one_wrong_character_of_an_identity_number_is_caught_and_never_repeated(
    code: str, place: int, other: str
) -> None:
    """Errors are logged; a person's number must not be in them."""
    assume(code[place] != other)
    wrong = code[:place] + other + code[place + 1 :]
    with pytest.raises(UnreadableCode) as refused:
        parse_identity(wrong)
    assert code[6:14] not in str(refused.value) and wrong not in repr(refused.value.__dict__)


@given(identity_numbers, st.integers(0, 16))
def test_neighbours_of_an_identity_number_that_change_places_are_caught(code: str, place: int) -> None:
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    assume(swapped != code)
    with pytest.raises(UnreadableCode):
        parse_identity(swapped)


@pytest.mark.parametrize(
    ("body", "position"),
    [
        ("99010519491231002", 0),
        ("11010519490230002", 6),
        ("11010518491231002", 6),
        ("11010520261124002", 6),
        ("11010500000101002", 6),
    ],
)
def test_an_identity_number_of_no_province_or_no_day_is_refused(body: str, position: int) -> None:
    with pytest.raises(UnreadableCode) as refused:
        parse_identity(with_identity_check(body))
    assert refused.value.position == position


def test_a_child_born_today_has_an_identity_number_and_one_of_tomorrow_has_none() -> None:
    assert parse_identity(with_identity_check("11010520261123002"))
    with pytest.raises(UnreadableCode):
        parse_identity_number(with_identity_check("11010520261123002"), today=date(2026, 11, 22))


@pytest.mark.parametrize("code", ["11010519491231002x", "110105491231002", "X1010519491231002X"])
def test_a_small_x_and_the_old_fifteen_digits_are_refused(code: str) -> None:
    with pytest.raises(UnreadableCode):
        parse_identity(code)


@given(licences)
def test_food_licences_that_follow_the_standard_are_read(code: str) -> None:
    assert parse_food_licence(code) == code


@given(licences, st.integers(2, 15), st.sampled_from(string.digits))
def test_one_wrong_digit_of_a_food_licence_is_always_caught(code: str, place: int, other: str) -> None:
    assume(code[place] != other)
    with pytest.raises(UnreadableCode) as refused:
        parse_food_licence(code[:place] + other + code[place + 1 :])
    assert refused.value.position == 15


@pytest.mark.parametrize(("code", "position"), [("QS11011500101058", 0), ("Sc11011500101058", 1), ("SC1101", None)])
def test_what_does_not_begin_with_sc_and_fourteen_digits_is_no_licence(code: str, position: int | None) -> None:
    with pytest.raises(UnreadableCode) as refused:
        parse_food_licence(code)
    assert refused.value.position == position


@given(numbers(10), st.integers(0, 12), st.sampled_from(string.digits))
def test_one_wrong_digit_of_a_national_drug_code_is_always_caught(body: str, place: int, other: str) -> None:
    body = "869" + body
    good = body + str(-sum(int(d) * (3 if i % 2 == 0 else 1) for i, d in enumerate(reversed(body))) % 10)
    assert parse_national_drug_code(good) == good
    assume(good[place] != other)
    with pytest.raises(UnreadableCode):
        parse_national_drug_code(good[:place] + other + good[place + 1 :])


@given(st.sampled_from(PROVINCES), numbers(7))
def test_a_node_is_written_as_it_was_read(province: str, rest: str) -> None:
    assert node_text(parse_node(province + rest)) == province + rest


def test_the_two_chains_of_the_ledger_are_nodes_and_no_others_are_outside_the_provinces() -> None:
    assert (parse_node("000000000"), parse_node("000000001")) == (CITY, IMPORT)
    for code in ("000000002", "010000001", "990000001", "830000001"):
        with pytest.raises(UnreadableCode) as refused:
            parse_node(code)
        assert refused.value.position == 0


def test_every_province_of_gb_t_2260_has_nodes_and_nothing_else_has() -> None:
    for first in range(100):
        try:
            parse_party(f"{first:02d}02123330001")
        except UnreadableCode:
            assert f"{first:02d}" not in PROVINCES
        else:
            assert f"{first:02d}" in PROVINCES


def test_a_slip_is_read_by_its_nodes_scheme_and_never_guessed() -> None:
    """3.6 % of slips of scheme A also parse as B: the digits cannot tell."""
    both = "33021233326010100042"
    a, b = parse_trace_code(both, TraceScheme.OPERATOR_SERIAL), parse_trace_code(both, TraceScheme.NODE_DAY_SERIAL)
    assert (a.node, a.party, a.serial, a.day) == (330212333, "3302123332601", 100042, None)
    assert (b.node, b.party, b.serial, b.day) == (330212333, None, 42, date(2026, 1, 1))


@pytest.mark.parametrize("day", ["261301", "260230", "250229", "260100", "000000"])
def test_a_slip_of_scheme_b_without_a_day_is_refused_where_the_day_stands(day: str) -> None:
    with pytest.raises(UnreadableCode) as refused:
        parse_b("330212333" + day + "00001")
    assert refused.value.position == 9


def test_a_drug_codes_package_level_is_not_read_from_it() -> None:
    assert drug_product_part(parse_drug_code("89234567890123456789")) == "8923456"


@pytest.mark.parametrize(
    ("parse", "code", "position"),
    [
        (parse_drug_code, "71234567890123456789", 0),
        (parse_drug_code, "8123456789012345678", None),
        (parse_ear_tag, "433010612345678", 0),
        (parse_ear_tag, "199010612345678", 1),
        (parse_goods_code, "311", 0),
        (parse_goods_code, "01", None),
        (parse_goods_code, "012345678", None),
        (parse_national_drug_code, "86800001000019", 2),
        (parse_party, "330212333000", None),
    ],
)
def test_a_code_of_another_structure_is_refused(
    parse: Callable[[str], object], code: str, position: int | None
) -> None:
    with pytest.raises(UnreadableCode) as refused:
        parse(code)
    assert refused.value.position == position


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("  6901234567892\n", "01/06901234567892"),
        ("106141412345678908", "00/106141412345678908"),
        ("81234567890123456789", "urn:suyuan:drug:81234567890123456789"),
        ("33021233300010000001", "urn:suyuan:trace:33021233300010000001"),
        ("(01)04012345123456(10)A", "01/04012345123456/10/A"),
        ("urn:epc:id:sgtin:0614141.107346.2018", "01/10614141073464/21/2018"),
        ("urn:suyuan:node:330212333", "urn:suyuan:node:330212333"),
    ],
)
def test_what_a_person_types_or_scans_has_a_key(text: str, key: str) -> None:
    assert key_of_code(text) == key


@pytest.mark.parametrize(
    "text", ["", " ", "猪肉", "6901234567893", "123", "0" * 21, "a b:c d", "http:", "(", "\x00", "९" * 20]
)
def test_what_is_no_code_is_not_looked_up(text: str) -> None:
    with pytest.raises(UnreadableCode):
        key_of_code(text)
