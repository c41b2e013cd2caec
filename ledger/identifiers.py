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
from functools import lru_cache
from urllib.parse import unquote

from ledger.errors import UnreadableCode
from ledger.gs1 import (
    DIGITAL_LINK,
    GS1_DOMAIN,
    PRIMARY,
    QUALIFIERS,
    URI_LENGTH_MAX,
    Gtin,
    Key,
    check_digit,
    digital_link_key,
    digital_link_pairs,
    finest_key,
    is_digits,
)

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
        value = PRIMARY[ai][1](PRIMARY[ai][0], value)
    return finest_key(ai, value, qualifiers)


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
    return digital_link_key([(ai, value)])


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
    link = DIGITAL_LINK.match(uri)
    if link is None:
        return Key(uri)
    ours = link[1].lower() == GS1_DOMAIN
    try:
        if wrong := _BAD_PERCENT.search(link[2]):
            reason = "% is not followed by two hexadecimal digits"
            raise UnreadableCode("GS1 Digital Link", uri, reason, link.start(2) + wrong.start())
        pairs = digital_link_pairs(link[2])
        if pairs is not None:
            return digital_link_key(pairs)
        reason = "its path does not end in a primary key such as /01/, /00/ or /414/ and qualifiers of that key"
        raise UnreadableCode("GS1 Digital Link", uri, reason)
    except UnreadableCode:
        if ours:
            raise
        return Key(uri)


GS1_URI = f"https://{GS1_DOMAIN}/"


def uri_of(key: str) -> str:
    """A canonical key as the URI that an event names it by."""
    return key if key.startswith("urn:") or "://" in key else GS1_URI + key


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
    primary = [pair for pair in pairs if pair[0] in PRIMARY]
    if len(primary) != 1:
        raise UnreadableCode("GS1 element string", text, f"it holds {len(primary)} primary keys, not one")
    return digital_link_key(primary + [pair for pair in pairs if pair[0] in QUALIFIERS])


def identifies_goods_closely(key: str) -> bool:
    """Whether `key` names one lot, pack or container, and not a whole class of goods.

    A GTIN without lot or serial says what a thing is, not which: following it would join unrelated goods.
    """
    ai = key.partition("/")[0]
    if ai in ("01", "8006", "8010"):
        return key.count("/") > 1
    return not (key.startswith("urn:epc:idpat:") or ai == "8013" or (ai == "8003" and len(key) == 19))
