"""What a scanner does wrong, found from one scan of a test sheet; and the profile that undoes only what was proved.

The sheet's symbols hold letters of both cases, y and z, punctuation and FNC1. What a scanner made of one of them is
compared with what it should have sent, through each change that keyboards and scanners are known to make. Pure.
"""

import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

from scanners.labels import Label, Symbol, datamatrix, gs1_128, label_sheet, qr
from scanners.symbols import Code, Fault, Unreadable, parse_symbol

_ELEMENTS = [("01", "06901234567892"), ("10", "aYzB-/(+"), ("17", "291231"), ("21", "Zy:%&*Q=1")]
LINK = "https://suyuan.example/cal/aYzB-_.~?q=Zy&k=(1)*"
_EDGE_CHARACTERS_MAX = 20


def sheet_symbols() -> tuple[Symbol, ...]:
    """The symbols of the test sheet."""
    return datamatrix(_ELEMENTS), gs1_128(_ELEMENTS), qr(LINK)


def sheet_pdf() -> bytes:
    """The test sheet, a PDF page."""
    lines = ("扫描枪校准 scanner calibration", "扫这一个码 scan this symbol")
    return label_sheet([Label(symbol, (*lines, symbol.name)) for symbol in sheet_symbols()], columns=1, rows=3)


@dataclass(frozen=True, slots=True)
class Profile:
    """What calibration proved: fixed text that the scanner puts before and behind every code, whether it sends AIM
    identifiers, and whether FNC1 comes through in a form that can be read."""

    prefix: str = ""
    suffix: str = ""
    aim: bool = False
    sends_fnc1: bool = False

    def read(self, scanned: str, today: date) -> tuple[str, Code]:
        """What the scanner read, and the code. `Unreadable` if it is none, or can be one in two ways.

        A code may also be typed, without prefix and suffix; and then it may happen to begin or end as these do.
        """
        ways = [scanned]
        inner = len(scanned) - len(self.suffix)
        around = self.prefix + self.suffix
        if around and inner > len(self.prefix) and scanned.startswith(self.prefix) and scanned.endswith(self.suffix):
            ways.insert(0, scanned[len(self.prefix) : inner])
        found: list[tuple[str, Code]] = []
        trouble: Unreadable | None = None
        for way in ways:
            try:
                found.append((way, parse_symbol(way, today=today, sends_fnc1=self.sends_fnc1)))
            except Unreadable as unreadable:
                trouble = trouble or unreadable
        if len({code.key for _, code in found}) > 1:
            raise Unreadable(scanned, None, "it is a code with and without the scanner's prefix", Fault.AMBIGUOUS)
        if not found:
            assert trouble is not None
            raise trouble
        return found[0]


@dataclass(frozen=True, slots=True)
class Finding:
    """`faults` are what a person has to mend; the profile counts only if there are none but a lost FNC1."""

    symbol: str
    profile: Profile
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]

    @property
    def usable(self) -> bool:
        return set(self.faults) <= {Fault.LOSES_FNC1}

    @property
    def doubts(self) -> tuple[int, int, bool]:
        """What explains a scan with the fewest faults and the least around it is what happened."""
        return len(self.faults), len(self.profile.prefix + self.profile.suffix), not self.profile.aim


# --- What keyboards do ----------------------------------------------------------------------------------


def _layout(swapped: str, to: str) -> Callable[[str], str]:
    table = str.maketrans(swapped, to)
    return lambda text: text.translate(table)


_QWERTZ = _layout("yzYZ-=[]\\;'/`&*()_+{}:\"<>?@#^~|", "zyZYß´ü+#öä-^/()=?`Ü*ÖÄ;:_\"§&°'")
_AZERTY = _layout("qwazQWAZm;,./:?", "azqwAZQW,m;:!M§")
_FULL_WIDTH = {ord(c): ord(c) + 0xFEE0 for c in string.ascii_letters + string.digits + string.punctuation}

CHANGES: tuple[tuple[tuple[Fault, ...], Callable[[str], str]], ...] = (
    ((), lambda text: text),
    ((Fault.CAPS_LOCK,), str.swapcase),
    ((Fault.CAPS_LOCK,), str.upper),
    ((Fault.CAPS_LOCK,), str.lower),
    ((Fault.LAYOUT,), _layout("yzYZ", "zyZY")),
    ((Fault.LAYOUT,), _QWERTZ),
    ((Fault.LAYOUT,), _AZERTY),
    ((Fault.CAPS_LOCK, Fault.LAYOUT), lambda text: text.translate(str.maketrans("yzYZ", "zyZY")).swapcase()),
    ((Fault.IME,), lambda text: text.translate(_FULL_WIDTH)),
)
_READABLE = re.compile(r"\x1d|␝|\{(?:GS|FNC1)\}|\[(?:GS|FNC1)\]|\^\]|\\x1[dD]|\\u001[dD]|\|")


def find(scanned: str) -> Finding | None:
    """What the scanner did to one of the sheet's symbols; None if it is none of them, or changed beyond knowing."""
    line = scanned.rstrip("\r\n")
    best: Finding | None = None
    for faults, change in CHANGES:
        for symbol in sheet_symbols():
            for found in _matches(line, symbol, faults, change):
                if best is None or found.doubts < best.doubts:
                    best = found
    if best is None and re.search(r"[\u3000-\u9fff\uff00-\uffef]", line):
        return Finding("", Profile(), (Fault.IME,), ())
    return best


def _matches(line: str, symbol: Symbol, faults: tuple[Fault, ...], change: Callable[[str], str]) -> Iterator[Finding]:
    parts = [re.escape(change(part)) for part in symbol.content.split("\x1d")]
    pattern = "(.{0,8}?)".join(parts)
    match = re.search(pattern, line, re.DOTALL)
    if match is None or match.start() > _EDGE_CHARACTERS_MAX or len(line) - match.end() > _EDGE_CHARACTERS_MAX:
        return
    prefix, suffix = line[: match.start()], line[match.end() :]
    notes: list[str] = []
    lead = _READABLE.match(prefix, 0)
    identifier = change(symbol.identifier)
    aim = identifier in prefix
    prefix = prefix.partition(identifier)[0] if aim else _READABLE.sub("", prefix) if lead else prefix
    separator = match[1] if match.groups() else None
    sends = separator is not None and _READABLE.fullmatch(separator) is not None
    found = list(faults)
    if separator is not None and not sends:
        found.append(Fault.LOSES_FNC1)
        if separator:
            notes.append(f"FNC1 变成了 FNC1 comes as {separator!r}")
    if separator is None:
        notes.append("这个码里没有 FNC1，请再扫 DataMatrix this symbol holds no FNC1: scan the DataMatrix, too")
    if prefix:
        notes.append(f"前缀 prefix {prefix!r}")
    if suffix:
        notes.append(f"后缀 suffix {suffix!r}")
    if not aim:
        notes.append("没有发送 AIM 标识，建议打开 no AIM identifier is sent: better switch it on")
    suffix = suffix.strip(" \t\r\n")  # the counter passes over these anyhow
    yield Finding(symbol.name, Profile(prefix, suffix, aim, sends), tuple(dict.fromkeys(found)), tuple(notes))
