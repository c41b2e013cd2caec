"""GS1 identification keys: check digits, the types that only a parse makes, and the application identifiers.

The table of application identifiers says of each key how its value is checked and which qualifier identifies further
(GS1 General Specifications; GS1 Digital Link 1.2). How the forms of one thing get one key: `ledger/identifiers.py`.

Pure: no clock, no tables, no network.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
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
PRIMARY: dict[str, tuple[str, Callable[[str, str], str], tuple[str, ...]]] = {
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
QUALIFIERS: dict[str, tuple[str, Callable[[str, str], str]]] = {
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
DIGITAL_LINK = re.compile(r"https?://([^/?#]+)([^?#]*)", re.IGNORECASE)
GS1_DOMAIN = "id.gs1.org"


def digital_link_pairs(path: str) -> list[tuple[str, str]] | None:
    """The AI and value pairs at the end of a Digital Link path, or None where there are none."""
    parts = path.strip("/").split("/")
    start = len(parts) - 2
    while start >= 0:
        ai = _ALPHA.get(parts[start], parts[start])
        if ai in PRIMARY:
            pairs = [
                (_ALPHA.get(a, a), unquote(v)) for a, v in zip(parts[start::2], parts[start + 1 :: 2], strict=True)
            ]
            qualifiers = [a for a, _ in pairs[1:]]
            allowed = {*PRIMARY[ai][2], *_ALSO_BESIDE.get(ai, ())}
            return pairs if allowed.issuperset(qualifiers) and len({*qualifiers}) == len(qualifiers) else None
        start -= 2
    return None


def digital_link_key(pairs: list[tuple[str, str]]) -> Key:
    ai, value = pairs[0]
    name, check, _ = PRIMARY[ai]
    return finest_key(ai, check(name, value), pairs[1:])


def finest_key(ai: str, value: str, qualifiers: list[tuple[str, str]]) -> Key:
    """The key of a primary `value` that is already checked, with the one qualifier that identifies furthest."""
    for qualifier, text in qualifiers:
        name, check = QUALIFIERS[qualifier]
        check(name, text)
    for finest in PRIMARY[ai][2]:
        for qualifier, text in qualifiers:
            if qualifier == finest and not (qualifier == "254" and text == "0"):
                return Key(f"{ai}/{_path(value)}/{qualifier}/{_path(text)}")
    return Key(f"{ai}/{_path(value)}")
