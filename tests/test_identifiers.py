"""GS1 keys: check digits, the forms of one thing, and every way of being no key. Oracles: biip, epcpy, the clauses."""

import json
import string
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from biip.checksums import gs1_standard_check_digit
from biip.gs1_digital_link_uris import GS1DigitalLinkURI
from epcpy import epc_pure_identity_to_gs1_element_string
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger import identifiers
from ledger.documents import read_document
from ledger.errors import UnreadableCode
from ledger.gs1 import (
    Lgtin,
    Sgln,
    Sgtin,
    check_digit,
    is_digits,
    parse_gln,
    parse_gtin,
    parse_lgtin,
    parse_pgln,
    parse_sgln,
    parse_sgtin,
    parse_sscc,
)
from ledger.identifiers import canonical_key, identifies_goods_closely, parse_element_string
from ledger.index import Role, mentions
from tests.conftest import VECTORS

SET_82 = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
SET_39 = "#-/" + string.digits + string.ascii_uppercase
EPCPY_SERIAL = frozenset(SET_82) - frozenset('"%&/<>?')
"""epcpy 0.1.8 reads the escape that follows an escape as part of it, so it judges only what needs none."""
FOLDER = VECTORS / "identifiers"
SAME = json.loads((FOLDER / "same-thing.json").read_text(encoding="utf-8"))
REFUSED = json.loads((FOLDER / "refused.json").read_text(encoding="utf-8"))

digits = st.text(string.digits, min_size=1, max_size=17)
serials = st.text(SET_82, min_size=1, max_size=20)


def numbers(length: int) -> st.SearchStrategy[str]:
    return st.text(string.digits, min_size=length, max_size=length)


@st.composite
def split_numbers(draw: st.DrawFn, length: int) -> tuple[str, str]:
    """Digits cut into a company prefix of 6 to 12 and a reference."""
    body = draw(numbers(length))
    cut = draw(st.integers(6, min(12, length)))
    return body[:cut], body[cut:]


def escape(text: str) -> str:
    """The escapes of TDS 2.0, table A-1, for a component of an EPC URN; # and / by 6.3.10 too."""
    return "".join(f"%{ord(c):02X}" if c in '"%&/<>?#' else c for c in text)


def slow_check_digit(body: str) -> str:
    """General Specifications 7.9.1, as it stands there: weights 3 and 1 from the right, up to the next ten."""
    total = sum(int(digit) * (3 if i % 2 == 0 else 1) for i, digit in enumerate(reversed(body)))
    return str((10 - total % 10) % 10)


def test_the_vector_files_are_there() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == ["README.md", "refused.json", "same-thing.json"]
    assert (len(SAME), sum(len(row["forms"]) for row in SAME), len(REFUSED)) == (34, 69, 41)


@pytest.mark.parametrize("row", SAME, ids=lambda row: row["key"])
def test_every_form_of_one_thing_has_one_key(row: dict) -> None:
    assert {canonical_key(form) for form in row["forms"]} == {row["key"]}


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["why"])
def test_a_broken_identifier_is_refused_at_the_character_that_is_wrong(row: dict) -> None:
    with pytest.raises(UnreadableCode) as refused:
        canonical_key(row["code"])
    assert refused.value.position == row["position"]


@given(digits)
def test_the_check_digit_is_that_of_the_general_specifications_and_of_biip(body: str) -> None:
    assert check_digit(body) == slow_check_digit(body) == str(gs1_standard_check_digit(body))


@pytest.mark.parametrize(("parse", "length"), [(parse_gtin, 14), (parse_gln, 13), (parse_sscc, 18)])
@given(data=st.data())
def test_one_wrong_digit_is_always_caught(parse: Callable[[str], str], length: int, data: st.DataObject) -> None:
    body = data.draw(numbers(length - 1))
    good = body + slow_check_digit(body)
    assert parse(good) == good
    place, other = data.draw(st.integers(0, length - 1)), data.draw(st.sampled_from(string.digits))
    assume(good[place] != other)
    with pytest.raises(UnreadableCode) as refused:
        parse(good[:place] + other + good[place + 1 :])
    assert refused.value.position == length - 1


@given(numbers(13), st.integers(0, 12))
def test_neighbours_that_change_places_are_caught_unless_they_differ_by_five(body: str, place: int) -> None:
    """Weights 3 and 1 cannot see a difference of 5: 3a + b = 3b + a (mod 10) where a - b = 5."""
    good = body + slow_check_digit(body)
    a, b = good[place], good[place + 1]
    assume(a != b)
    swapped = good[:place] + b + a + good[place + 2 :]
    if abs(int(a) - int(b)) == 5:
        assert parse_gtin(swapped) == swapped
    else:
        with pytest.raises(UnreadableCode):
            parse_gtin(swapped)


@pytest.mark.parametrize("length", [8, 12, 13, 14])
@given(data=st.data())
def test_a_gtin_of_every_length_is_fourteen_digits(length: int, data: st.DataObject) -> None:
    body = data.draw(numbers(length - 1))
    assert parse_gtin(body + slow_check_digit(body)) == (body + slow_check_digit(body)).zfill(14)


@pytest.mark.parametrize("length", [*range(8), 9, 10, 11, *range(15, 20)])
def test_no_other_length_is_a_gtin(length: int) -> None:
    with pytest.raises(UnreadableCode) as refused:
        parse_gtin("0" * length)
    assert refused.value.position is None


@pytest.mark.parametrize("parse", [parse_gtin, parse_gln, parse_sscc, parse_pgln, parse_sgln])
@pytest.mark.parametrize(
    ("code", "position"),
    [("٠٠٠٠٠٠٠٠٠٠٠٠٠", 0), ("000000000000０", 12), ("0000000000 00", 10), ("0000000000000\n", 13), ("²" * 13, 0)],
)
def test_digits_of_other_scripts_and_spaces_are_no_digits(
    parse: Callable[[str], object], code: str, position: int
) -> None:
    with pytest.raises(UnreadableCode) as refused:
        parse(code)
    assert refused.value.position == position


@given(st.text(max_size=30))
def test_only_ascii_digits_are_digits(text: str) -> None:
    assert is_digits(text) == (bool(text) and set(text) <= set(string.digits))


@given(split_numbers(13), serials)
def test_an_sgtin_urn_and_its_link_are_one_thing_by_epcpy_too(parts: tuple[str, str], serial: str) -> None:
    prefix, reference = parts
    urn = f"urn:epc:id:sgtin:{prefix}.{reference}.{escape(serial)}"
    body = reference[0] + prefix + reference[1:]
    item = parse_sgtin(body + slow_check_digit(body), serial)
    assert canonical_key(urn) == item.key == canonical_key(f"https://id.gs1.org/{item.key}")
    if EPCPY_SERIAL.issuperset(serial):
        assert epc_pure_identity_to_gs1_element_string(urn) == f"(01){item.gtin}(21){serial}"


@given(split_numbers(13), serials)
def test_a_lot_urn_and_its_link_are_one_thing_by_epcpy_too(parts: tuple[str, str], lot: str) -> None:
    prefix, reference = parts
    urn = f"urn:epc:class:lgtin:{prefix}.{reference}.{escape(lot)}"
    body = reference[0] + prefix + reference[1:]
    item = parse_lgtin(body + slow_check_digit(body), lot)
    assert canonical_key(urn) == item.key == canonical_key(f"https://id.gs1.org/{item.key}")
    if EPCPY_SERIAL.issuperset(lot):
        assert epc_pure_identity_to_gs1_element_string(urn) == f"(01){item.gtin}(10){lot}"


@pytest.mark.parametrize(
    ("scheme", "length", "ai"),
    [("sscc", 17, "00"), ("pgln", 12, "417"), ("gsrn", 17, "8018"), ("gsrnp", 17, "8017"), ("gsin", 16, "402")],
)
@given(data=st.data())
def test_numeric_urns_are_what_epcpy_says(scheme: str, length: int, ai: str, data: st.DataObject) -> None:
    prefix, reference = data.draw(split_numbers(length))
    urn = f"urn:epc:id:{scheme}:{prefix}.{reference}"
    key = canonical_key(urn)
    assert epc_pure_identity_to_gs1_element_string(urn) == f"({ai}){key.split('/')[1]}"
    assert key == canonical_key(f"https://id.gs1.org/{key}")


@pytest.mark.parametrize(
    ("scheme", "longest", "alphabet"),
    [("grai", 16, SET_82), ("gdti", 17, SET_82), ("sgcn", 12, string.digits), ("sgln", 20, SET_82)],
)
@given(data=st.data())
def test_urns_with_a_serial_are_what_epcpy_says(scheme: str, longest: int, alphabet: str, data: st.DataObject) -> None:
    prefix, reference = data.draw(split_numbers(12))
    serial = data.draw(st.text(alphabet, min_size=1, max_size=longest))
    urn = f"urn:epc:id:{scheme}:{prefix}.{reference}.{escape(serial)}"
    key = canonical_key(urn)
    if EPCPY_SERIAL.issuperset(serial):
        assert parse_element_key(epc_pure_identity_to_gs1_element_string(urn)) == key
    assert key == canonical_key(f"https://id.gs1.org/{key}")


def parse_element_key(text: str) -> str:
    """The key of an element string whose values may hold brackets; at most two application identifiers."""
    ai, _, rest = text[1:].partition(")")
    if ai != "414":
        return f"{ai}/{quote(rest, safe='-._~')}"
    gln, extension = rest[:13], rest[18:]
    return f"414/{gln}/254/{quote(extension, safe='-._~')}" if extension not in ("", "0") else f"414/{gln}"


@given(split_numbers(12), st.text(SET_39, min_size=1, max_size=18), numbers(4))
def test_a_part_identifier_may_hold_escaped_slashes(parts: tuple[str, str], part: str, serial: str) -> None:
    """TDS 2.0, 6.3.11: the component reference is the one middle part that may be escaped."""
    prefix = parts[0]
    key = canonical_key(f"urn:epc:id:cpi:{prefix}.{escape(part)}.{serial}")
    assert key == canonical_key(f"https://id.gs1.org/8010/{prefix}{escape(part)}/8011/{serial}")


@given(numbers(13), serials, serials)
def test_biip_reads_the_same_out_of_a_digital_link(body: str, lot: str, serial: str) -> None:
    item = parse_sgtin(body + slow_check_digit(body), serial)
    link = f"https://example.com/01/{item.gtin}/10/{quote(lot, safe='')}/21/{escape(serial)}?17=261231"
    theirs = GS1DigitalLinkURI.parse(link).as_canonical_uri()
    assert canonical_key(link) == canonical_key(theirs) == item.key


@given(st.builds(Sgtin, numbers(13).map(lambda b: b + slow_check_digit(b)), serials))
def test_the_key_of_an_item_is_parsed_back_into_the_item(item: Sgtin) -> None:
    _, gtin, _, serial = item.key.split("/")
    assert parse_sgtin(gtin, identifiers.unquote(serial)) == item


@given(st.builds(Lgtin, numbers(13).map(lambda b: b + slow_check_digit(b)), serials))
def test_different_lots_have_different_keys(item: Lgtin) -> None:
    """A key that forgot a character would join the recall of two lots."""
    assert Lgtin(item.gtin, item.lot + "x").key != item.key
    assert Lgtin(item.gtin, item.lot.swapcase()).key != item.key or not any(c.isalpha() for c in item.lot)


@given(st.text(SET_82, min_size=1, max_size=20).filter(lambda text: text != "0"))
def test_a_location_with_an_extension_is_another_location(extension: str) -> None:
    whole, part = parse_sgln("6901234567892"), parse_sgln("6901234567892", extension)
    assert (part.gln, part.extension) == (whole.gln, extension) and part.key != whole.key
    assert canonical_key(f"https://id.gs1.org/{part.key}") == part.key


def test_the_extension_zero_is_the_whole_site() -> None:
    assert parse_sgln("6901234567892", "0") == parse_sgln("6901234567892") == Sgln(parse_gln("6901234567892"))
    assert parse_pgln("6901234567892").key == "417/6901234567892"


@given(
    st.sampled_from(["urn:epc:id:sgtin:", "urn:epc:class:lgtin:", "urn:epc:id:lgtin:", "URN:epc:id:sgtin:"]),
    st.text("0123456789", min_size=5, max_size=13),
    st.text("0123456789.", max_size=8),
    st.text(string.ascii_letters + "-._%/é", max_size=22),
)
def test_the_short_way_for_urns_agrees_with_the_general_way(form: str, prefix: str, middle: str, serial: str) -> None:
    agrees_with_the_general_way(f"{form}{prefix}.{middle}.{serial}")


@given(
    st.sampled_from(["https://id.gs1.org/01/", "http://id.gs1.org/01/", "https://ID.gs1.org/01/"]),
    numbers(13),
    st.booleans(),
    st.sampled_from(["/10/", "/21/", "/22/", "/10/A/21/", "//"]),
    st.text(string.ascii_letters + "-._%/é", max_size=22),
)
def test_the_short_way_for_links_agrees_with_the_general_way(
    form: str, body: str, right: bool, qualifier: str, serial: str
) -> None:
    last = slow_check_digit(body)
    agrees_with_the_general_way(f"{form}{body}{last if right else (int(last) + 1) % 10}{qualifier}{serial}")


def agrees_with_the_general_way(uri: str) -> None:
    short = identifiers._plain_key(uri)
    if short is None:
        return
    general = identifiers._urn_key(uri) if uri.startswith("urn") else None
    pairs = identifiers.digital_link_pairs(uri.removeprefix("https://id.gs1.org"))
    assert short == (general or identifiers.digital_link_key(pairs or []))


@pytest.mark.parametrize("prefix", range(6, 13))
def test_the_short_way_is_taken_for_every_length_of_company_prefix(prefix: int) -> None:
    number = "9506000134352"
    assert identifiers._plain_key(f"urn:epc:id:sgtin:{number[:prefix]}.{number[prefix:]}.A-1") is not None


@pytest.mark.parametrize(
    ("kind", "serial", "position"),
    [
        ("empty", "", None),
        ("too long", "x" * 21, 20),
        ("a space", "ab c", 2),
        ("a hash", "ab#", 2),
        ("Chinese", "批次", 0),
        ("a tab", "a\t", 1),
        ("NUL", "\x00", 0),
        ("a lone surrogate", "a\ud800", 1),
        ("very long", "x" * 100_000, 20),
    ],
)
def test_a_serial_that_is_not_of_set_82_is_refused(kind: str, serial: str, position: int | None) -> None:
    for parse in (parse_sgtin, parse_lgtin):
        with pytest.raises(UnreadableCode) as refused:
            parse("6901234567892", serial)
        assert refused.value.position == position


def test_set_82_has_82_characters_and_each_is_a_serial() -> None:
    assert len(SET_82) == 82
    for character in map(chr, range(256)):
        if character in SET_82:
            assert parse_sgtin("6901234567892", character).serial == character
        else:
            with pytest.raises(UnreadableCode):
                parse_sgtin("6901234567892", character)


@given(
    st.one_of(
        st.text(max_size=60),
        st.text(max_size=40).map(lambda text: "urn:epc:" + text),
        st.text("idclaspt:sgnrcume.0123456789%*/", max_size=60).map(lambda text: "urn:epc:" + text),
        st.text("/0123458%ABgtinser?#:@[]", max_size=60).map(lambda text: "https://id.gs1.org/" + text),
        st.text("/0123458%ABgtinser?#:@[]", max_size=60).map(lambda text: "http://" + text),
    )
)
def test_whatever_text_comes_is_a_key_or_refused_with_a_position_inside_it(text: str) -> None:
    try:
        key = canonical_key(text)
    except UnreadableCode as refused:
        assert refused.position is None or 0 <= refused.position <= len(refused.code)
    else:
        assert canonical_key(text) == key


@pytest.mark.parametrize(
    "text", ["x" * 1001, "urn:epc:id:sgtin:" + "1" * 100_000, "https://id.gs1.org/01/" + "1" * 99_999]
)
def test_identifiers_beyond_the_limit_are_refused(text: str) -> None:
    with pytest.raises(UnreadableCode, match="longer than 1000"):
        canonical_key(text)


@given(st.lists(st.sampled_from(SAME), min_size=1, max_size=3))
def test_a_key_under_the_gs1_domain_is_its_own_key(rows: list[dict]) -> None:
    for row in rows:
        if row["key"][0].isdigit():
            assert canonical_key("https://id.gs1.org/" + row["key"]) == row["key"]


def test_a_link_at_another_domain_that_is_no_gs1_link_is_just_a_uri() -> None:
    for uri in ("https://example.com/01/1", "https://example.com/00/5/21/X", "https://example.com/a%zz/01/2"):
        assert canonical_key(uri) == uri


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("(01)04012345123456", "01/04012345123456"),
        ("(01)04012345123456(10)998877", "01/04012345123456/10/998877"),
        ("(01)04012345123456(17)261231(10)A(21)7", "01/04012345123456/21/7"),
        ("(01)04012345123456(10)A(10)A", "01/04012345123456/10/A"),
        ("(00)106141412345678908(02)04012345123456(37)5(10)X", "00/106141412345678908"),
        ("(414)4012345000054(254)7/8", "414/4012345000054/254/7%2F8"),
    ],
)
def test_an_element_string_is_the_key_of_its_primary_identifier(text: str, key: str) -> None:
    assert parse_element_string(text) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "01",
        "(01)",
        "(01)04012345123457",
        "(10)A",
        "(01)04012345123456(00)106141412345678908",
        "(01)04012345123456(10)A(10)B",
        "(01)04012345123456(10)A B",
        "(01)04012345123456(10)",
        "x(01)04012345123456",
        "(٠١)04012345123456",
        "(01)04012345123456\n",
        "(" * 10_000,
    ],
)
def test_what_is_no_element_string_is_refused(text: str) -> None:
    with pytest.raises(UnreadableCode):
        parse_element_string(text)


@pytest.mark.parametrize(
    ("key", "closely"),
    [
        ("01/04012345123456", False),
        ("01/04012345123456/10/A", True),
        ("01/04012345123456/21/A", True),
        ("00/106141412345678908", True),
        ("8003/00614141123452", False),
        ("8003/006141411234521", True),
        ("8006/040123451234560102", False),
        ("8006/040123451234560102/21/1", True),
        ("8010/0614141ABC", False),
        ("8010/0614141ABC/8011/1", True),
        ("8013/1987654Ad4X4bL5ttr2310c2K", False),
        ("urn:epc:idpat:sgtin:0614141.*.*", False),
        ("urn:suyuan:trace:33021233300010000001", True),
    ],
)
def test_a_class_of_goods_is_not_followed_as_if_it_were_goods(key: str, closely: bool) -> None:
    """Following a bare GTIN would join every pack of that product in the city."""
    assert identifies_goods_closely(key) is closely


def test_the_published_event_hashes_name_goods_by_the_same_links(shared_data: Path) -> None:
    """CBV 2.0, 8.9: the pre-hash string writes every EPC as its canonical GS1 Digital Link, whatever form it had."""
    found = 0
    for path in sorted((shared_data / "epcis/event-hash").glob("*.prehashes")):
        source = path.with_suffix(".jsonld")
        if not source.exists():
            continue
        prehash = path.read_text(encoding="utf-8")
        for event, _ in read_document(source.read_bytes()).events:
            for mention in mentions(event):
                if mention.key[0].isdigit() and mention.role is not Role.CERTIFICATE:
                    found += 1
                    assert f"=https://id.gs1.org/{mention.key}" in prehash, (path.name, mention.key)
    assert found > 30
