"""GS1 identification keys: parsing, check digits, and one canonical key for each thing.

An EPC pure-identity URN (GS1 EPC Tag Data Standard 2.0, 6) and a GS1 Digital Link URI (GS1 Digital Link
1.2) can name the same thing. `canonical_key` gives both the same text: the Digital Link path without its
domain, with only the keys that identify (`01/09506000134352/21/ABC`), never the batch beside a serial.
A URN is never derived from a Digital Link, since that needs the length of the company prefix, and we do
not guess. URIs that are no GS1 keys are their own canonical key.

Pure: no clock, no tables, no network.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NewType
from urllib.parse import quote, unquote

from ledger.errors import UnreadableCode

Gtin = NewType("Gtin", str)
"""A GTIN as 14 digits with a right check digit; made only by `parse_gtin`."""
Gln = NewType("Gln", str)
"""A Global Location Number, 13 digits; made only by `parse_gln`."""
Sscc = NewType("Sscc", str)
"""A Serial Shipping Container Code, 18 digits; made only by `parse_sscc`."""
Key = NewType("Key", str)
"""The canonical key of an identified thing; made only by `canonical_key` and the classes below."""

URI_LENGTH_MAX = 1000
"""Items are part of a B-tree key, which takes at most 2704 bytes."""


def is_digits(text: str) -> bool:
    """Whether `text` is ASCII digits and nothing else; `str.isdigit` also takes other scripts' digits."""
    return text.isascii() and text.isdigit()


def check_digit(digits: str) -> str:
    """The GS1 mod-10 check digit that follows `digits` (GS1 General Specifications 7.9).

    >>> check_digit("629104150021")
    '3'
    """
    odd, even = digits[::-2].encode(), digits[-2::-2].encode()
    total = (sum(odd) - 48 * len(odd)) * 3 + sum(even) - 48 * len(even)
    return str(-total % 10)


def _require_digits(kind: str, code: str) -> None:
    if is_digits(code):
        return
    for position, character in enumerate(code):
        if character not in "0123456789":
            raise UnreadableCode(kind, code, f"{character!r} is not a digit", position)


def _require_check_digit(kind: str, code: str) -> None:
    expected = check_digit(code[:-1])
    if code[-1] != expected:
        raise UnreadableCode(kind, code, f"the check digit is {code[-1]}, it should be {expected}", len(code) - 1)


def _parse_numeric(kind: str, code: str, lengths: tuple[int, ...]) -> str:
    _require_digits(kind, code)
    if len(code) not in lengths:
        allowed = " or ".join(map(str, lengths))
        raise UnreadableCode(kind, code, f"it has {len(code)} digits, not {allowed}")
    _require_check_digit(kind, code)
    return code


def parse_gtin(code: str) -> Gtin:
    """The GTIN-8, -12, -13 or -14 in `code` as 14 digits; `UnreadableCode` otherwise.

    >>> parse_gtin("6901234567892")
    '06901234567892'
    """
    return Gtin(_parse_numeric("GTIN", code, (8, 12, 13, 14)).zfill(14))


def parse_gln(code: str) -> Gln:
    """A 13-digit Global Location Number; `UnreadableCode` otherwise."""
    return Gln(_parse_numeric("GLN", code, (13,)))


def parse_sscc(code: str) -> Sscc:
    """An 18-digit Serial Shipping Container Code; `UnreadableCode` otherwise."""
    return Sscc(_parse_numeric("SSCC", code, (18,)))


_AI82 = re.compile(r"[!\"%&'()*+,\-./0-9:;<=>?A-Z_a-z]*")
_AI39 = re.compile(r"[#\-/0-9A-Z]*")
_DIGITS = re.compile(r"[0-9]*")


def _parse_text(kind: str, text: str, longest: int, allowed: re.Pattern[str] = _AI82) -> str:
    """`text` if it is 1 to `longest` characters of the GS1 set (General Specifications 7.11)."""
    if not text:
        raise UnreadableCode(kind, text, "it is empty")
    good = allowed.match(text)
    if good is None or good.end() < len(text):
        position = good.end() if good else 0
        raise UnreadableCode(kind, text, f"{text[position]!r} is not in the GS1 character set", position)
    if len(text) > longest:
        raise UnreadableCode(kind, text, f"it has {len(text)} characters, at most {longest} are allowed", longest)
    return text


def _path(text: str) -> str:
    return text if text.isalnum() and text.isascii() else quote(text, safe="-._~")


@dataclass(frozen=True, slots=True)
class Sgtin:
    """One trade item by serial number: AI (01) and (21)."""

    gtin: Gtin
    serial: str

    @property
    def key(self) -> Key:
        return Key(f"01/{self.gtin}/21/{_path(self.serial)}")


@dataclass(frozen=True, slots=True)
class Lgtin:
    """One batch or lot of a trade item: AI (01) and (10)."""

    gtin: Gtin
    lot: str

    @property
    def key(self) -> Key:
        return Key(f"01/{self.gtin}/10/{_path(self.lot)}")


@dataclass(frozen=True, slots=True)
class Sgln:
    """One location: AI (414), with extension (254) where it is not the whole site."""

    gln: Gln
    extension: str = ""

    @property
    def key(self) -> Key:
        return Key(f"414/{self.gln}/254/{_path(self.extension)}" if self.extension else f"414/{self.gln}")


@dataclass(frozen=True, slots=True)
class Pgln:
    """One party: AI (417)."""

    gln: Gln

    @property
    def key(self) -> Key:
        return Key(f"417/{self.gln}")


def parse_sgtin(gtin: str, serial: str) -> Sgtin:
    """A serialised trade item; the serial has 1 to 20 characters of GS1's set 82."""
    return Sgtin(parse_gtin(gtin), _parse_text("serial number", serial, 20))


def parse_lgtin(gtin: str, lot: str) -> Lgtin:
    """A batch of a trade item; the lot has 1 to 20 characters of GS1's set 82."""
    return Lgtin(parse_gtin(gtin), _parse_text("lot", lot, 20))


def parse_sgln(gln: str, extension: str = "") -> Sgln:
    """A location; the extension, where there is one, has 1 to 20 characters, and "0" means none."""
    if extension in ("", "0"):
        return Sgln(parse_gln(gln))
    return Sgln(parse_gln(gln), _parse_text("GLN extension", extension, 20))


def parse_pgln(gln: str) -> Pgln:
    """A party by its GLN."""
    return Pgln(parse_gln(gln))


# --- Digital Link: from AI values to a key -----------------------------------------------------------


def _check_grai(kind: str, value: str) -> str:
    if len(value) < 14 or value[0] != "0":
        raise UnreadableCode(kind, value, "it is 0, 13 digits and at most 16 characters", 0)
    _parse_numeric(kind, value[1:14], (13,))
    return value if len(value) == 14 else value[:14] + _parse_text(kind, value[14:], 16)


def _check_gdti(kind: str, value: str) -> str:
    _parse_numeric(kind, value[:13], (13,))
    return value if len(value) == 13 else value[:13] + _parse_text(kind, value[13:], 17)


def _check_gcn(kind: str, value: str) -> str:
    _parse_numeric(kind, value[:13], (13,))
    return value if len(value) == 13 else value[:13] + _parse_text(kind, value[13:], 12, _DIGITS)


_GMN_VALUES = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_GMN_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83)
_GMN_CHECKS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


def _check_gmn(kind: str, value: str) -> str:
    """A Global Model Number ends in a check character pair (General Specifications 7.9.5, modulo 1021)."""
    body, pair = _parse_text(kind, value, 25)[:-2], value[-2:]
    total = sum(_GMN_VALUES.index(c) * prime for c, prime in zip(body[::-1], _GMN_PRIMES, strict=False)) % 1021
    expected = _GMN_CHECKS[total >> 5] + _GMN_CHECKS[total & 31]
    if not body or pair != expected:
        raise UnreadableCode(kind, value, f"the check characters are {pair}, they should be {expected}", len(body))
    return value


def _check_itip(kind: str, value: str) -> str:
    _require_digits(kind, value)
    if len(value) != 18:
        raise UnreadableCode(kind, value, f"it has {len(value)} digits, not 18")
    _require_check_digit(kind, value[:14])
    return value


def _numeric(*lengths: int) -> Callable[[str, str], str]:
    return lambda kind, value: _parse_numeric(kind, value, lengths)


def _text(longest: int, allowed: re.Pattern[str] = _AI82) -> Callable[[str, str], str]:
    return lambda kind, value: _parse_text(kind, value, longest, allowed)


_SERIAL = _text(20)
_PRIMARY: dict[str, tuple[str, Callable[[str, str], str], tuple[str, ...]]] = {
    # AI: (name, check, the one qualifier that identifies further: the first of these that is there)
    "00": ("SSCC", _numeric(18), ()),
    "01": ("GTIN", lambda _, value: parse_gtin(value), ("21", "235", "10")),
    "253": ("GDTI", _check_gdti, ()),
    "255": ("GCN", _check_gcn, ()),
    "401": ("GINC", _text(30), ()),
    "402": ("GSIN", _numeric(17), ()),
    "414": ("GLN", _numeric(13), ("254",)),
    "415": ("GLN of the invoicing party", _numeric(13), ("8020",)),
    "417": ("party GLN", _numeric(13), ()),
    "8003": ("GRAI", _check_grai, ()),
    "8004": ("GIAI", _text(30), ()),
    "8006": ("ITIP", _check_itip, ("21", "10")),
    "8010": ("CPID", _text(30, _AI39), ("8011",)),
    "8013": ("GMN", _check_gmn, ()),
    "8017": ("GSRN of a provider", _numeric(18), ("8019",)),
    "8018": ("GSRN of a recipient", _numeric(18), ("8019",)),
}
_QUALIFIERS: dict[str, tuple[str, Callable[[str, str], str]]] = {
    "10": ("lot", _SERIAL),
    "21": ("serial number", _SERIAL),
    "22": ("consumer product variant", _SERIAL),
    "235": ("third-party serial number", _text(28)),
    "254": ("GLN extension", _SERIAL),
    "7040": ("unique identification", _text(4)),
    "8011": ("CPID serial", _text(12, _DIGITS)),
    "8019": ("service relation instance", _text(10, _DIGITS)),
    "8020": ("payment slip reference", _text(25)),
}
_ALSO_BESIDE = {"01": ("22",), "8006": ("22",), "414": ("7040",), "417": ("7040",), "8004": ("7040",)}
"""Qualifiers that a Digital Link path may hold but that do not identify further (Digital Link 1.2, 4.8)."""
_ALPHA = {
    "gtin": "01", "sscc": "00", "gln": "414", "party": "417", "gdti": "253", "gcn": "255", "ginc": "401",
    "gsin": "402", "grai": "8003", "giai": "8004", "itip": "8006", "cpid": "8010", "gmn": "8013",
    "gsrnp": "8017", "gsrn": "8018", "lot": "10", "ser": "21", "cpv": "22", "glnx": "254", "cpsn": "8011",
    "payto": "415", "srin": "8019", "refno": "8020", "tpx": "235",
}  # fmt: skip
_DIGITAL_LINK = re.compile(r"https?://([^/?#]+)([^?#]*)", re.IGNORECASE)
_GS1_DOMAIN = "id.gs1.org"


def _digital_link_pairs(path: str) -> list[tuple[str, str]] | None:
    """The AI and value pairs at the end of a Digital Link path, or None where there are none."""
    parts = path.strip("/").split("/")
    start = len(parts) - 2
    while start >= 0:
        ai = _ALPHA.get(parts[start], parts[start])
        if ai in _PRIMARY:
            pairs = [
                (_ALPHA.get(a, a), unquote(v)) for a, v in zip(parts[start::2], parts[start + 1 :: 2], strict=True)
            ]
            qualifiers = [a for a, _ in pairs[1:]]
            allowed = {*_PRIMARY[ai][2], *_ALSO_BESIDE.get(ai, ())}
            return pairs if allowed.issuperset(qualifiers) and len({*qualifiers}) == len(qualifiers) else None
        start -= 2
    return None


def _digital_link_key(pairs: list[tuple[str, str]]) -> Key:
    ai, value = pairs[0]
    name, check, _ = _PRIMARY[ai]
    return _finest_key(ai, check(name, value), pairs[1:])


def _finest_key(ai: str, value: str, qualifiers: list[tuple[str, str]]) -> Key:
    """The key of a primary `value` that is already checked, with the one qualifier that identifies furthest."""
    for qualifier, text in qualifiers:
        name, check = _QUALIFIERS[qualifier]
        check(name, text)
    for finest in _PRIMARY[ai][2]:
        for qualifier, text in qualifiers:
            if qualifier == finest and not (qualifier == "254" and text == "0"):
                return Key(f"{ai}/{_path(value)}/{qualifier}/{_path(text)}")
    return Key(f"{ai}/{_path(value)}")


# --- EPC URN: from company prefix and reference to the same keys --------------------------------------


def _joined(kind: str, urn: str, prefix: str, reference: str, length: int) -> str:
    """Company prefix and reference as digits without check digit; `length` is what both have together."""
    _require_prefix(kind, urn, prefix)
    start = _body_start(urn)
    if reference and not is_digits(reference):
        wrong = next(i for i, character in enumerate(reference) if character not in "0123456789")
        raise UnreadableCode(kind, urn, f"{reference!r} is not all digits", start + len(prefix) + 1 + wrong)
    if len(prefix) + len(reference) != length:
        reason = f"company prefix and reference have {len(prefix) + len(reference)} digits together, not {length}"
        raise UnreadableCode(kind, urn, reason, start)
    return prefix + reference


def _body_start(urn: str) -> int:
    """Where the company prefix begins: after the fourth colon."""
    return len(":".join(urn.split(":", 4)[:4])) + 1


def _require_prefix(kind: str, urn: str, prefix: str) -> None:
    """GS1 company prefixes have 6 to 12 digits in an EPC URN (TDS 2.0, 6)."""
    start = _body_start(urn)
    for position, character in enumerate(prefix):
        if character not in "0123456789":
            raise UnreadableCode(kind, urn, f"{character!r} is not a digit", start + position)
    if not 6 <= len(prefix) <= 12:
        raise UnreadableCode(kind, urn, f"the company prefix has {len(prefix)} digits, not 6 to 12", start)


def _urn_gtin(urn: str, prefix: str, reference: str) -> Gtin:
    both = _joined("GTIN in an EPC URN", urn, prefix, reference, 13)
    body = reference[:1] + both[: len(prefix)] + reference[1:]
    return Gtin(body + check_digit(body))


def _urn_13(urn: str, prefix: str, reference: str) -> str:
    body = _joined("EPC URN", urn, prefix, reference, 12)
    return body + check_digit(body)


def _urn_extended(urn: str, prefix: str, reference: str, length: int) -> str:
    """SSCC: the extension digit that opens the serial reference moves to the front."""
    _joined("SSCC in an EPC URN", urn, prefix, reference, length)
    body = reference[:1] + prefix + reference[1:]
    return body + check_digit(body)


def _urn_appended(urn: str, prefix: str, reference: str, length: int) -> str:
    body = _joined("EPC URN", urn, prefix, reference, length)
    return body + check_digit(body)


def _urn_asset(urn: str, prefix: str, reference: str) -> str:
    _require_prefix("EPC URN", urn, prefix)
    return prefix + reference


def _itip(urn: str, prefix: str, reference: str, piece: str, total: str) -> str:
    if len(piece) != 2 or len(total) != 2 or not is_digits(piece + total):
        raise UnreadableCode("ITIP in an EPC URN", urn, "piece and total are 2 digits each")
    return _urn_gtin(urn, prefix, reference) + piece + total


# scheme: (number of dot-separated parts, the AI and value pairs they stand for). The last part may hold dots.
_URN: dict[str, tuple[int, Callable[..., list[tuple[str, str]]]]] = {
    "sgtin": (3, lambda u, c, r, s: [("01", _urn_gtin(u, c, r)), ("21", s)]),
    "lgtin": (3, lambda u, c, r, s: [("01", _urn_gtin(u, c, r)), ("10", s)]),
    "upui": (3, lambda u, c, r, s: [("01", _urn_gtin(u, c, r)), ("235", s)]),
    "itip": (5, lambda u, c, r, p, t, s: [("8006", _itip(u, c, r, p, t)), ("21", s)]),
    "sscc": (2, lambda u, c, r: [("00", _urn_extended(u, c, r, 17))]),
    "sgln": (3, lambda u, c, r, s: [("414", _urn_13(u, c, r)), ("254", s)]),
    "pgln": (2, lambda u, c, r: [("417", _urn_13(u, c, r))]),
    "grai": (3, lambda u, c, r, s: [("8003", "0" + _urn_13(u, c, r) + s)]),
    "giai": (2, lambda u, c, r: [("8004", _urn_asset(u, c, r))]),
    "gdti": (3, lambda u, c, r, s: [("253", _urn_13(u, c, r) + s)]),
    "sgcn": (3, lambda u, c, r, s: [("255", _urn_13(u, c, r) + s)]),
    "gsrn": (2, lambda u, c, r: [("8018", _urn_appended(u, c, r, 17))]),
    "gsrnp": (2, lambda u, c, r: [("8017", _urn_appended(u, c, r, 17))]),
    "ginc": (2, lambda u, c, r: [("401", _urn_asset(u, c, r))]),
    "gsin": (2, lambda u, c, r: [("402", _urn_appended(u, c, r, 16))]),
    "cpi": (3, lambda u, c, r, s: [("8010", _urn_asset(u, c, unquote(r))), ("8011", s)]),
}
_WHOLE_FROM_URN = frozenset({"00", "01", "402", "414", "417", "8006", "8017", "8018"})
"""Keys that are right by construction, check digit included; the others end in text that still is to be checked."""
_FOREIGN_SCHEMES = ("gid", "usdod", "adi", "bic", "imovn")
_EPC_URN = re.compile(r"urn:epc:(id|class|idpat):([a-z]+):(.+)")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def _urn_key(uri: str) -> Key:
    match = _EPC_URN.fullmatch(uri)
    if match is None:
        raise UnreadableCode("EPC URN", uri, "it is not urn:epc:id, urn:epc:class or urn:epc:idpat with a scheme")
    form, scheme, rest = match.groups()
    if scheme in _FOREIGN_SCHEMES:
        return Key(uri)
    if scheme not in _URN or (form == "class") != (scheme == "lgtin"):
        raise UnreadableCode("EPC URN", uri, f"there is no scheme {form}:{scheme}", match.start(2))
    count, pairs_of = _URN[scheme]
    parts = rest.split(".", count - 1)
    if len(parts) != count:
        raise UnreadableCode("EPC URN", uri, f"{scheme} has {count} parts separated by dots, here are {len(parts)}")
    if wrong := _BAD_PERCENT.search(uri):
        raise UnreadableCode("EPC URN", uri, "% is not followed by two hexadecimal digits", wrong.start())
    if form == "idpat":
        return _pattern_key(uri, parts, pairs_of)
    if not parts[-1] and scheme != "pgln":
        raise UnreadableCode("EPC URN", uri, "its last part is empty", len(uri) - 1)
    parts[-1] = unquote(parts[-1])
    (ai, value), *qualifiers = pairs_of(uri, *parts)
    if ai not in _WHOLE_FROM_URN:
        value = _PRIMARY[ai][1](_PRIMARY[ai][0], value)
    return _finest_key(ai, value, qualifiers)


def _pattern_key(uri: str, parts: list[str], pairs_of: Callable[..., list[tuple[str, str]]]) -> Key:
    """A pattern that leaves only the serial open names the class; any wider pattern stays as it is (TDS 2.0, 8)."""
    if parts[-1] != "*":
        raise UnreadableCode("EPC pattern URN", uri, "its last part is not *", uri.rfind(".") + 1)
    if parts[0] != "*":
        _require_prefix("EPC pattern URN", uri, parts[0])
    first = parts.index("*")
    if parts[first:] != ["*"] * (len(parts) - first):
        raise UnreadableCode("EPC pattern URN", uri, "after * every part is *", _body_start(uri))
    if first < len(parts) - 1 or len(parts) == 2:
        return Key(uri)
    ai, value = pairs_of(uri, *parts[:-1], "")[0]
    return _digital_link_key([(ai, value)])


# The forms that make up nearly all traffic, each in one match. A test holds them against the general way below.
_PLAIN_URN = re.compile(r"urn:epc:(?:id:s|class:l)gtin:(\d{6,12})\.(\d)(\d{0,6})\.([A-Za-z0-9\-]{1,20})", re.ASCII)
_PLAIN_LINK = re.compile(r"https://id\.gs1\.org/01/(\d{14})/(?:10|21)/[A-Za-z0-9\-]{1,20}", re.ASCII)


def _plain_key(uri: str) -> Key | None:
    if match := _PLAIN_LINK.fullmatch(uri):
        gtin = match[1]
        return Key(uri[19:]) if gtin[13] == check_digit(gtin[:13]) else None
    if match := _PLAIN_URN.fullmatch(uri):
        prefix, indicator, reference, serial = match.groups()
        if len(prefix) + len(reference) == 12:
            body = indicator + prefix + reference
            return Key(f"01/{body}{check_digit(body)}/{'21' if uri[8] == 'i' else '10'}/{serial}")
    return None


@lru_cache(maxsize=1 << 16)
def canonical_key(uri: str) -> Key:
    """The one text under which whatever `uri` names is looked up.

    `UnreadableCode` for a malformed EPC URN or a malformed link at id.gs1.org. "urn" and "epc" are the same in
    capitals (RFC 8141, 3.1). A link at another domain is
    a Digital Link where its path parses as one, and otherwise just a URI.

    >>> canonical_key("urn:epc:id:sgtin:0614141.107346.2018")
    '01/10614141073464/21/2018'
    >>> canonical_key("https://example.com/01/10614141073464/10/A/21/2018?17=261231")
    '01/10614141073464/21/2018'
    >>> canonical_key("urn:epc:class:lgtin:4012345.012345.998877")
    '01/04012345123456/10/998877'
    """
    if (plain := _plain_key(uri)) is not None:
        return plain
    if len(uri) > URI_LENGTH_MAX:
        raise UnreadableCode("identifier", uri, f"it is longer than {URI_LENGTH_MAX} characters", URI_LENGTH_MAX)
    if uri[:8].lower() == "urn:epc:":
        return _urn_key(uri[:8].lower() + uri[8:])
    link = _DIGITAL_LINK.match(uri)
    if link is None:
        return Key(uri)
    ours = link[1].lower() == _GS1_DOMAIN
    try:
        if wrong := _BAD_PERCENT.search(link[2]):
            reason = "% is not followed by two hexadecimal digits"
            raise UnreadableCode("GS1 Digital Link", uri, reason, link.start(2) + wrong.start())
        pairs = _digital_link_pairs(link[2])
        if pairs is not None:
            return _digital_link_key(pairs)
        reason = "its path does not end in a primary key such as /01/, /00/ or /414/ and qualifiers of that key"
        raise UnreadableCode("GS1 Digital Link", uri, reason)
    except UnreadableCode:
        if ours:
            raise
        return Key(uri)


_BRACKETED = re.compile(r"\((\d{2,4})\)([^(]+)")


def parse_element_string(text: str) -> Key:
    """The key in a bracketed GS1 element string, the form printed under bar codes.

    >>> parse_element_string("(01)04012345123456(10)998877")
    '01/04012345123456/10/998877'
    """
    pairs = _BRACKETED.findall(text)
    if not pairs or "".join(f"({ai}){value}" for ai, value in pairs) != text:
        raise UnreadableCode("GS1 element string", text, "it is not made of (AI)value pairs", 0)
    pairs = [*dict.fromkeys(pairs)]
    twice = {ai for i, (ai, _) in enumerate(pairs) if ai in dict(pairs[:i])}
    if twice:
        raise UnreadableCode("GS1 element string", text, f"({min(twice)}) stands in it with two values")
    primary = [pair for pair in pairs if pair[0] in _PRIMARY]
    if len(primary) != 1:
        raise UnreadableCode("GS1 element string", text, f"it holds {len(primary)} primary keys, not one")
    return _digital_link_key(primary + [pair for pair in pairs if pair[0] in _QUALIFIERS])


def identifies_goods_closely(key: str) -> bool:
    """Whether `key` names one lot, pack or container, and not a whole class of goods.

    A GTIN without lot or serial says what a thing is, not which: following it would join unrelated goods.
    """
    ai = key.partition("/")[0]
    if ai in ("01", "8006", "8010"):
        return key.count("/") > 1
    return not (key.startswith("urn:epc:idpat:") or ai == "8013" or (ai == "8003" and len(key) == 19))
