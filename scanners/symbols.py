"""From what a scanner sent to a code, or to the reason why it is none: never a guess, never a wrong code.

ISO/IEC 15424 (AIM symbology identifiers), GS1 General Specifications (1.4 prefixes, 5 symbols, 7.8 elements), GS1
Digital Link 1.2, and the 20-digit Chinese codes of `ledger/codes.py`. The elements are read in `scanners/elements.py`.

Pure: no clock, no settings, no database.
"""

import re
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from urllib.parse import unquote

from ledger.codes import DRUG_URN, NODE_URN, TRACE_URN, key_of_code, parse_drug_code, parse_identity_number, parse_node
from ledger.errors import UnreadableCode
from ledger.gs1 import (
    DIGITAL_LINK,
    GS1_DOMAIN,
    PRIMARY,
    QUALIFIERS,
    Gtin,
    Key,
    check_digit,
    digital_link_key,
    digital_link_pairs,
    is_digits,
    parse_gtin,
)
from ledger.identifiers import canonical_key
from scanners.elements import (
    FOLDED_SEPARATOR,
    LEAD,
    ROWS,
    TRAIL,
    Fault,
    Wrong,
    has_separator,
    read_bracketed,
    read_date,
    read_elements,
)

__all__ = ["IN_STORE_URN", "Code", "Fault", "Reading", "Unreadable", "parse_symbol"]

SCANNED_LENGTH_MAX = 1000
IN_STORE_URN = "urn:suyuan:in-store:"
"""Numbers that shops give out themselves (GS1 prefixes 02, 04, 20 to 29): no GTIN, and the same in every shop."""


class Reading(StrEnum):
    """What kind of thing a code names."""

    DRUG = "drug"
    TRACE = "trace"
    PACK = "pack"  # GTIN and serial
    LOT = "lot"  # GTIN and batch, no serial
    PRODUCT = "product"  # GTIN alone
    CONTAINER = "container"  # SSCC
    LOCATION = "location"
    PARTY = "party"
    ASSET = "asset"  # GRAI, GIAI
    OTHER = "other"  # any further GS1 key
    LINK = "link"  # a URI that is no GS1 key


class Unreadable(UnreadableCode):
    """`position` is the 0-based character of `code`, which is what was scanned; a person's number is not repeated."""

    def __init__(self, scanned: str, position: int | None, reason: str, fault: Fault) -> None:
        super().__init__("code that can be read", scanned, reason, position)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Code:
    """What a symbol says. `key` is what the ledger looks up; `others` are the further (AI, value), in their order.

    `in_store` numbers are unique in their shop only; bare ones get a key of their own, and no GTIN.
    """

    kind: Reading
    key: Key
    scanned: str
    symbology: str | None = None
    gtin: Gtin | None = None
    serial: str | None = None
    lot: str | None = None
    expires: date | None = None
    others: tuple[tuple[str, str], ...] = ()
    in_store: bool = False


@dataclass(frozen=True, slots=True)
class _Scan:
    """A scan without its AIM identifier and without what surrounds it; `start` is where `text` begins in `scanned`."""

    scanned: str
    text: str
    start: int
    symbology: str | None
    marked: bool  # FNC1 stood in front, as a separator or in the AIM identifier: the symbol is GS1's
    today: date
    sends_fnc1: bool

    def at(self, position: int) -> int:
        return self.start + position


def parse_symbol(scanned: str, *, today: date, sends_fnc1: bool = False) -> Code:
    """The code in what a device sent for one symbol; `Unreadable` where that is doubtful, with what to mend.

    A separator that got lost leaves a text that is itself well formed, so a last value of variable length that could
    hold further elements is refused as LOSES_FNC1 unless a separator elsewhere shows that the scanner sends them, or
    `sends_fnc1` says so: the caller has seen it (calibration, an earlier scan, a camera's own decoder).

    >>> parse_symbol("]d2010690123456789221AbC9zY\\x1d17281231", today=date(2026, 11, 25)).key
    '01/06901234567892/21/AbC9zY'
    """
    try:
        return _parse(scanned, today, sends_fnc1)
    except Wrong as wrong:
        shown = "…" if _is_identity_number(scanned, today) else scanned
        raise Unreadable(shown, wrong.position, wrong.reason, wrong.fault) from None


def _parse(scanned: str, today: date, sends_fnc1: bool) -> Code:
    if len(scanned) > SCANNED_LENGTH_MAX:
        raise Wrong(Fault.UNKNOWN, f"it is longer than {SCANNED_LENGTH_MAX} characters", SCANNED_LENGTH_MAX)
    lead = LEAD.match(scanned)
    start = lead.end() if lead else 0
    trail = TRAIL.search(scanned, start)
    end = trail.start() if trail else len(scanned)
    if start == end:
        raise Wrong(Fault.INCOMPLETE, "nothing was scanned")
    _refuse_other_characters(scanned, start, end)
    symbology = None
    marked = lead is not None and has_separator(lead[0])
    if scanned[start] == "]":
        symbology = _aim_identifier(scanned, start, end)
        start += 3
        if again := LEAD.match(scanned, start, end):
            start = again.end()
        if start >= end:
            raise Wrong(Fault.INCOMPLETE, f"nothing follows {symbology}", start)
        marked = symbology in _GS1
    if second := re.compile(r"\][A-Za-z]\d").search(scanned, start, end):
        raise Wrong(Fault.TWO_SYMBOLS, f"a second AIM identifier {second[0]} stands in it", second.start())
    return _read(_Scan(scanned, scanned[start:end], start, symbology, marked, today, sends_fnc1))


def _read(scan: _Scan) -> Code:
    text, symbology = scan.text, scan.symbology
    if _URI.match(text):
        return _uri(scan)
    if symbology is not None and not scan.marked:
        return _plain(scan)
    if text[0] == "(":
        return _code(scan, read_bracketed(text, scan.start, scan.today))
    if symbology is None and is_digits(text) and len(text) in _DIGITS and not scan.marked:
        return _digits(scan)
    try:
        return _element_string(scan)
    except Wrong as wrong:
        _refuse_for_a_better_reason(scan, wrong)
        raise


# --- What the keyboard did ------------------------------------------------------------------------------

_NOT_PLAIN = re.compile(r"[^\x20-\x7e\x1d␝]")
_IME = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef\u2014\u2018\u2019\u201c\u201d\u2026\xb7￥]")
_SHIFTED_BRACKETS = re.compile(r"[)*=]\d{2,4}[=(]")
_SHIFTED_URI = re.compile(r"(https?(?!://)|urn(?!:))[^A-Za-z0-9]", re.IGNORECASE)
_SHIFTED_AIM = re.compile(r"[+$*^~`'=]?[CdeEIJQ]\d(?=[(\d])")


def _refuse_other_characters(scanned: str, start: int, end: int) -> None:
    """Line ends inside, an input method, a layout that is not US; all of these are seen before anything is read."""
    other = _NOT_PLAIN.search(scanned, start, end)
    if other is None:
        return
    found, position = other[0], other.start()
    if found in "\r\n\t":
        raise Wrong(Fault.TWO_SYMBOLS, "a line ends inside", position)
    if ime := _IME.search(scanned, start, end):
        raise Wrong(Fault.IME, f"{ime[0]!r} comes from an input method", ime.start())
    if found.isprintable() and (found.isalpha() or found in "§°´¨`^¿¡£¤µ²³«»¬¦~€"):
        raise Wrong(Fault.LAYOUT, f"{found!r} comes from another keyboard layout", position)
    raise Wrong(Fault.CHARACTER, f"{found!r} stands in no code", position)


def _refuse_for_a_better_reason(scan: _Scan, wrong: Wrong) -> None:
    """What was refused as no element string, and shows what the device did to it."""
    text, start = scan.text, scan.start
    if folded := FOLDED_SEPARATOR.search(text):
        raise Wrong(Fault.CAPS_LOCK, f"{folded[0]!r} has its letters inverted", scan.at(folded.start())) from None
    if scan.symbology is None and (shifted := _SHIFTED_URI.match(text) or _SHIFTED_BRACKETS.match(text)):
        raise Wrong(Fault.LAYOUT, f"{shifted[0]!r} is made by another keyboard layout", start) from None
    if scan.symbology is None and (aim := _SHIFTED_AIM.match(text)) and _reads(scan, aim.end(), gs1=True):
        raise Wrong(Fault.LAYOUT, f"{aim[0]!r} stands where ] and two characters belong", start) from None
    drug_like = scan.symbology is None and is_digits(text) and len(text) in (19, 21) and text[0] == "8"
    if drug_like and not any(_reads(scan, at, gs1=True) for at in (0, *range(5, len(text)))):
        raise Wrong(Fault.INCOMPLETE, f"a drug trace code has 20 digits, not {len(text)}", start) from None
    half, odd = divmod(len(text), 2)
    if not odd and half > 7 and text[:half] == text[half:]:
        raise Wrong(Fault.TWO_SYMBOLS, "the same stands in it twice", scan.at(half)) from None
    doubtful = (Fault.UNKNOWN, Fault.INCOMPLETE, Fault.CHARACTER)
    for length in _DIGITS:
        head, tail = text[:length], text[length:].lstrip(" ")
        if wrong.fault in doubtful and tail and is_digits(head) and _reads(scan, 0, length):
            after = len(text) - len(tail)
            if _reads(scan, after) or _reads(scan, after, gs1=True):
                raise Wrong(Fault.TWO_SYMBOLS, f"{head} is a code by itself", scan.at(length)) from None


def _reads(scan: _Scan, begin: int, end: int | None = None, *, gs1: bool = False) -> bool:
    """Whether a part of the text reads by itself, as bare digits or as an element string."""
    part = replace(scan, text=scan.text[begin:end], start=scan.at(begin), symbology=None, sends_fnc1=True)
    try:
        if gs1:
            _element_string(part)
        elif is_digits(part.text) and len(part.text) in _DIGITS:
            _digits(part)
        else:
            return False
    except Wrong:
        return False
    return True


# --- AIM identifiers ------------------------------------------------------------------------------------

_GS1 = {"]C1", "]e0", "]d2", "]d5", "]Q3", "]Q4", "]J1", "]J4"}
"""FNC1 in first position. ]e1 to ]e3 are the parts of a composite that are not GS1 data (ISO/IEC 24723)."""
_OTHER_FNC1 = {"]C2", "]d3", "]d6", "]Q5", "]Q6", "]J2", "]J5", "]z1", "]z2", "]z4", "]z5", "]e1", "]e2", "]e3"}
_KNOWN = set("ABCEFGHIJKLMNOPQRSTUVXZdehopsz")
"""Code letters of ISO/IEC 15424; D (Code One) and c (Channel Code) are left to be d and C with Caps Lock on."""
_DIGITS = (8, 12, 13, 14, 18, 20)
_PLAIN_DIGITS = {"]E0": (12, 13), "]E4": (8,), "]I0": (14, 20), "]I1": (14, 20)}
_TEXT_SYMBOLOGIES = set("ACJLQXZdhz")


def _aim_identifier(scanned: str, start: int, end: int) -> str:
    identifier = scanned[start : min(start + 3, end)]
    if not re.fullmatch(r"\][A-Za-z][0-9A-F]", identifier):
        raise Wrong(Fault.UNKNOWN, f"{identifier!r} is no AIM symbology identifier", start)
    letter = identifier[1]
    if letter not in _KNOWN:
        if letter.swapcase() in _KNOWN:
            raise Wrong(Fault.CAPS_LOCK, f"{identifier} is {identifier.swapcase()} with its letter inverted", start + 1)
        raise Wrong(Fault.UNKNOWN, f"{identifier} is no symbology of ISO/IEC 15424", start + 1)
    if identifier in _OTHER_FNC1:
        raise Wrong(Fault.UNKNOWN, f"{identifier} holds another industry's data", start)
    return identifier


def _plain(scan: _Scan) -> Code:
    """Symbols without FNC1 in front: digits by their length, never element strings."""
    text, symbology = scan.text, scan.symbology or ""
    if symbology == "]E0" and len(text) > 13 and _reads(scan, 0, gs1=True):
        raise Wrong(Fault.CAPS_LOCK, "]E0 with elements is ]e0 with its letter inverted", scan.start)
    if not is_digits(text):
        if text[0] == "(" or _reads(scan, 0, gs1=True):
            raise Wrong(Fault.NOT_GS1, f"{symbology} is no GS1 symbol, though GS1 data stand in it", scan.start)
        raise Wrong(Fault.UNKNOWN, f"{symbology} holds no digits and no link", scan.start)
    if symbology == "]E0" and len(text) == 8:
        raise Wrong(Fault.INCOMPLETE, "a UPC-E that is not expanded: set the scanner to send 13 digits", scan.start)
    if symbology == "]E3" and len(text) in (15, 18):
        return _digits(replace(scan, text=text[:13]))  # the add-on is an issue or a price, and identifies nothing
    weak = symbology[1] not in _TEXT_SYMBOLOGIES
    allowed = _PLAIN_DIGITS.get(symbology) or ((20,) if weak else (8, 12, 13, 14, 20))
    if symbology in ("]E1", "]E2", "]E3", "]I2") or (symbology[1] == "E" and symbology not in _PLAIN_DIGITS):
        raise Wrong(Fault.INCOMPLETE, f"{symbology} without its main digits or its check digit", scan.start)
    if len(text) not in allowed:
        if _reads(scan, 0, gs1=True):
            raise Wrong(Fault.NOT_GS1, f"{symbology} is no GS1 symbol, though GS1 data stand in it", scan.start)
        raise _wrong_length(scan, f"{symbology} with {len(text)} digits names nothing here")
    return _digits(scan)


def _wrong_length(scan: _Scan, reason: str) -> Wrong:
    for length in _DIGITS:
        if length in (8, 12, 13, 14, 20) and _reads(scan, 0, length) and _reads(scan, length):
            return Wrong(Fault.TWO_SYMBOLS, f"{scan.text[:length]} is a code by itself", scan.at(length))
    return Wrong(Fault.INCOMPLETE, reason, scan.start)


# --- Digits ---------------------------------------------------------------------------------------------


def _digits(scan: _Scan) -> Code:
    """20 digits first, never an element string; then GTINs and SSCCs by their check digit."""
    text, length = scan.text, len(scan.text)
    if length == 20:
        return _twenty(scan)
    if length == 18 and _is_identity_number(text, scan.today):
        raise Wrong(Fault.UNKNOWN, "it is a person's identity number", None)
    if text[-1] != (expected := check_digit(text[:-1])):
        if length == 8 and text[0] == "0" and _upc_e_holds(text):
            raise Wrong(Fault.INCOMPLETE, "a UPC-E that is not expanded: set the scanner to send 13 digits", scan.start)
        reason = f"the check digit is {text[-1]}, it should be {expected}"
        raise Wrong(Fault.CHECK_DIGIT, reason, scan.at(length - 1))
    if length == 18:
        if _reads(scan, 0, gs1=True):
            raise Wrong(Fault.AMBIGUOUS, "an SSCC or an element string", scan.start)
        return Code(Reading.CONTAINER, key_of_code(text), scan.scanned, scan.symbology)
    if length == 14 and text.startswith("869") and scan.symbology is None:
        raise Wrong(Fault.AMBIGUOUS, "a national drug code or the GTIN of a case", scan.start)
    if length == 8 and text[0] == "0" and scan.symbology is None and _upc_e_holds(text):
        raise Wrong(Fault.AMBIGUOUS, "a shop's own EAN-8 or a UPC-E that is not expanded", scan.start)
    gtin = parse_gtin(text)
    if gtin[0] == "0" and (gtin[1:3] in ("05", "99") or "980" <= gtin[1:4] <= "984"):
        raise Wrong(Fault.UNKNOWN, "it is a coupon or a refund receipt, no product", scan.start)
    if _is_in_store(gtin):
        return Code(Reading.PRODUCT, Key(IN_STORE_URN + text), scan.scanned, scan.symbology, in_store=True)
    return Code(Reading.PRODUCT, key_of_code(text), scan.scanned, scan.symbology, gtin)


def _twenty(scan: _Scan) -> Code:
    text = scan.text
    if text[0] == "8":
        return Code(Reading.DRUG, Key(DRUG_URN + parse_drug_code(text)), scan.scanned, scan.symbology)
    if text[:2] == "00":  # no region of GB/T 2260 begins so: AI (00) and an SSCC
        if scan.symbology is not None:
            raise Wrong(Fault.NOT_GS1, f"{scan.symbology} is no GS1 symbol, though an SSCC stands in it", scan.start)
        return _element_string(scan)
    if text[:2] in ("01", "02") and text[15] == check_digit(text[2:15]):
        raise Wrong(Fault.AMBIGUOUS, f"a trace code, or a GTIN behind ({text[:2]})", scan.start)
    return Code(Reading.TRACE, Key(TRACE_URN + text), scan.scanned, scan.symbology)


def _upc_e_holds(text: str) -> bool:
    """Whether 8 digits are a UPC-E with the check digit of its UPC-A (General Specifications 5.2.2.4)."""
    body, last = text[1:7], text[6]
    if last in "012":
        expanded = body[:2] + last + "0000" + body[2:5]
    elif last in "34":
        expanded = body[: int(last)] + "00000" + body[int(last) : 5]
    else:
        expanded = body[:5] + "0000" + last
    return text[7] == check_digit(text[0] + expanded)


def _is_in_store(gtin: Gtin) -> bool:
    """Restricted circulation (General Specifications 1.4): GTIN-8 with 0 or 2, GTIN-12 2 or 4, GTIN-13 2, 02, 04."""
    if gtin.startswith("000000"):
        return gtin[6] in "02"
    return gtin[0] == "0" and (gtin[1] == "2" or gtin[1:3] in ("02", "04"))


def _is_identity_number(scanned: str, today: date) -> bool:
    try:
        parse_identity_number(scanned.strip().lstrip("]")[-18:].upper(), today=today)
    except UnreadableCode:
        return False
    return True


# --- Element strings and links --------------------------------------------------------------------------

_UNSTRUCTURED = {"401", "8004", "8010"}
"""Keys without length or check digit: any text that begins with these digits would look so."""
_KINDS = {"00": Reading.CONTAINER, "414": Reading.LOCATION, "417": Reading.PARTY}
_KINDS |= {"8003": Reading.ASSET, "8004": Reading.ASSET}


def _element_string(scan: _Scan) -> Code:
    text = scan.text
    if scan.symbology == "]e0" and is_digits(text) and len(text) in (8, 12, 13) and text[-1] == check_digit(text[:-1]):
        raise Wrong(Fault.CAPS_LOCK, "]e0 with the digits of an EAN is ]E0 with its letter inverted", scan.start)
    elements = read_elements(scan.text, scan.start, scan.today, sure=scan.sends_fnc1)
    if not scan.marked and _UNSTRUCTURED & elements.keys() and "00" not in elements and not has_separator(scan.text):
        raise Wrong(Fault.AMBIGUOUS, "nothing says that this is GS1 data: let the scanner send AIM identifiers", None)
    return _code(scan, elements)


def _code(scan: _Scan, elements: dict[str, str]) -> Code:
    """The one thing that the elements name, by its primary key."""
    named = [ai for ai in elements if ai in PRIMARY]
    if "00" in elements:  # consignment and shipment are attributes of a logistic unit's label
        named = [ai for ai in named if ai not in ("401", "402")]
    if not named:
        raise Wrong(Fault.INCOMPLETE, "it names nothing: there is no GTIN, SSCC or other key in it", None)
    if len(named) > 1 or {"01", "02"} <= elements.keys() or {"21", "235"} <= elements.keys():
        raise Wrong(Fault.AMBIGUOUS, "it names more than one thing", None)
    primary = named[0]
    qualifiers = [(ai, value) for ai, value in elements.items() if ai in QUALIFIERS]
    try:
        key = digital_link_key([(primary, elements[primary]), *qualifiers])
    except UnreadableCode as error:
        raise Wrong(_fault_of(error), error.reason, None) from None
    if primary != "01":
        kind = _KINDS.get(primary, Reading.OTHER)
    elif "21" in elements or "235" in elements:
        kind = Reading.PACK
    else:
        kind = Reading.LOT if "10" in elements else Reading.PRODUCT
    gtin = parse_gtin(elements["01"]) if "01" in elements else None
    due = elements.get("17") or elements.get("7003")
    expires = read_date(due, 0, scan.today) if due else None
    others = tuple((ai, value) for ai, value in elements.items() if ai not in ("00", "01", "10", "17", "21"))
    serial, lot, in_store = elements.get("21"), elements.get("10"), gtin is not None and _is_in_store(gtin)
    return Code(kind, key, scan.scanned, scan.symbology, gtin, serial, lot, expires, others, in_store)


def _fault_of(error: UnreadableCode) -> Fault:
    if error.reason.startswith("the check"):
        return Fault.CHECK_DIGIT
    return Fault.INCOMPLETE if error.position is None else Fault.CHARACTER


_URI = re.compile(r"(?:https?://|urn:)\S", re.IGNORECASE)
_PAGE = re.compile(r"/t/([0-9]{20})(?:[?#]|$)")  # a slip's QR code holds the link of its public page


def _uri(scan: _Scan) -> Code:
    text = scan.text
    if space := re.search(r"[\s\x1d␝\"<>\\^`{|}]", text):
        raise Wrong(Fault.CHARACTER, f"{space[0]!r} stands in no URI", scan.at(space.start()))
    _refuse_inverted(scan)
    if text[:4].lower() == "urn:":
        return _urn(scan)
    match = DIGITAL_LINK.match(text)
    if match is None:
        raise Wrong(Fault.INCOMPLETE, "the link has no domain", scan.start)
    pairs = digital_link_pairs(match[2])
    ours = match[1].lower() == GS1_DOMAIN
    if page := _PAGE.search(text):
        return _twenty(replace(scan, text=page[1], start=scan.at(page.start(1))))
    if pairs is None or not (ours or is_digits(pairs[0][1]) or pairs[0][0] not in ("00", "01", "414", "417")):
        try:
            return Code(Reading.LINK, canonical_key(text), scan.scanned, scan.symbology)
        except UnreadableCode as error:
            raise Wrong(_fault_of(error), error.reason, scan.start) from None
    if wrong := re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise Wrong(Fault.CHARACTER, "% is not followed by two hexadecimal digits", scan.at(wrong.start()))
    elements = dict(pairs)
    query = text[match.end() :].partition("#")[0].lstrip("?")
    for name, _, value in (part.partition("=") for part in re.split("[&;]", query)):
        if name in PRIMARY or (name in QUALIFIERS and elements.get(name) != unquote(value)):
            raise Wrong(Fault.AMBIGUOUS, f"({name}) stands behind the path of the link", scan.at(text.find("?")))
        if name in ROWS and elements.setdefault(name, unquote(value)) != unquote(value):
            raise Wrong(Fault.TWO_SYMBOLS, f"({name}) stands in it with two values", scan.at(text.find("?")))
    if is_digits(elements.get("01", "")) and len(elements["01"]) in (8, 12, 13):
        elements["01"] = elements["01"].zfill(14)
    for ai, value in elements.items():
        try:
            ROWS[ai].check(value, scan.today)
        except Wrong as error:
            fault = Fault.CHARACTER if error.fault is Fault.LOSES_FNC1 else error.fault
            begin = text.find(value, match.start(2)) if value else -1
            where = None if begin < 0 or error.position is None else scan.at(begin + error.position)
            raise Wrong(fault, error.reason, where) from None
    return _code(scan, elements)


def _refuse_inverted(scan: _Scan) -> None:
    """A scheme in capitals is right; where letters follow, only an AIM identifier tells it from Caps Lock."""
    letter = (scan.symbology or "]E0")[1]
    head, _, rest = scan.text.partition("://" if scan.text[:4].lower() == "http" else ":")
    vouched = letter.swapcase() not in _KNOWN
    if head.islower() or (vouched and head.isupper()):
        return
    if head == "URN":  # the namespace is the same in capitals, what follows it is not (RFC 8141, 3.1)
        space, _, rest = rest.partition(":")
        rest = "" if space.islower() or (space == "EPC" and rest.partition(":")[0].islower()) else rest
    else:
        rest = rest.lstrip("/").partition("/")[2]
    if not head.isupper() or any(character.isalpha() for character in rest):
        raise Wrong(Fault.CAPS_LOCK, f"{head} in capitals, and letters behind", scan.start)


def _urn(scan: _Scan) -> Code:
    text, scanned, symbology = scan.text, scan.scanned, scan.symbology
    if text.startswith("urn:suzuan:"):
        raise Wrong(Fault.LAYOUT, "y and z are swapped", scan.at(6))
    for prefix, digits in ((TRACE_URN, 20), (DRUG_URN, 20), (NODE_URN, 9)):
        if text.startswith(prefix):
            part = replace(scan, text=text.removeprefix(prefix), start=scan.at(len(prefix)))
            if not is_digits(part.text) or len(part.text) != digits:
                raise Wrong(Fault.INCOMPLETE, f"{digits} digits should follow {prefix}", part.start)
            if prefix == NODE_URN:
                try:
                    parse_node(part.text)
                except UnreadableCode as error:
                    raise Wrong(Fault.UNKNOWN, error.reason, part.start) from None
                return Code(Reading.LOCATION, canonical_key(text), scanned, symbology)
            kind = Reading.DRUG if prefix == DRUG_URN else Reading.TRACE
            if (part.text[0] == "8") != (kind is Reading.DRUG):
                raise Wrong(Fault.UNKNOWN, "drug codes begin with 8, and trace codes never", part.start)
            return Code(kind, Key(text), scanned, symbology)
    try:
        key = canonical_key(text)
    except UnreadableCode as error:
        raise Wrong(_fault_of(error), error.reason, scan.start) from None
    parts = key.split("/")
    if parts[0] not in PRIMARY:
        return Code(Reading.LINK, key, scanned, symbology)
    return _code(scan, {ai: unquote(value) for ai, value in zip(parts[::2], parts[1::2], strict=True)})
