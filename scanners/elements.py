"""GS1 element strings: the table of application identifiers, and the reading that notices a lost separator.

GS1 General Specifications (3 application identifiers, 7.8 element strings, 7.11 character sets, 7.12 dates) and the
GS1 Barcode Syntax Dictionary (lengths and components). The table is our own: biip cuts a value at its greatest length
and reads on where a separator was lost, which is the error that must not pass here; the tests hold it against biip's.

Pure: today's date, from which two-digit years get their century, is an argument.
"""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from ledger.gs1 import check_digit, is_digits


class Fault(StrEnum):
    """Why a scan is no code, as far as a person can mend it."""

    LOSES_FNC1 = "loses_fnc1"
    CAPS_LOCK = "caps_lock"
    LAYOUT = "layout"
    IME = "ime"
    TWO_SYMBOLS = "two_symbols"
    CHECK_DIGIT = "check_digit"
    BAD_DATE = "bad_date"
    CHARACTER = "character"
    INCOMPLETE = "incomplete"
    AMBIGUOUS = "ambiguous"
    NOT_GS1 = "not_gs1"
    UNKNOWN = "unknown"

    @property
    def chinese(self) -> str:
        return _SENTENCES[self][0]

    @property
    def english(self) -> str:
        return _SENTENCES[self][1]


_SENTENCES = {
    Fault.LOSES_FNC1: (
        "扫码枪丢失分隔符(FNC1)，请校准或更换扫码枪后重扫。",
        "The scanner loses the separator (FNC1): calibrate it or take another one, and scan again.",
    ),
    Fault.CAPS_LOCK: ("大写锁定已打开，请关闭后重扫。", "Caps Lock is on: switch it off and scan again."),
    Fault.LAYOUT: ("键盘布局不对，请改为英语(美国)后重扫。", "Set the keyboard layout to English (US) and scan again."),
    Fault.IME: (
        "中文输入法已打开，请切换到英文后重扫。",
        "The Chinese input method is on: switch to English, scan again.",
    ),
    Fault.TWO_SYMBOLS: (
        "一次扫到了两个码，请只对准一个码重扫。",
        "Two symbols came as one: aim at one and scan again.",
    ),
    Fault.CHECK_DIGIT: (
        "校验位不对，请重扫；手工输入的请核对。",
        "The check digit is wrong: scan again, or check what was typed.",
    ),
    Fault.BAD_DATE: (
        "码中的日期不存在，请联系供货商。",
        "The code holds a date that does not exist: ask the supplier.",
    ),
    Fault.CHARACTER: ("码中有不允许的字符，请重扫。", "The code holds a character that is not allowed: scan again."),
    Fault.INCOMPLETE: ("码不完整，请重扫整个码。", "The code is not complete: scan the whole symbol again."),
    Fault.AMBIGUOUS: (
        "这个码有两种读法，请扫包装上的另一个码。",
        "This can be read in two ways: scan another symbol of the pack.",
    ),
    Fault.NOT_GS1: (
        "标签印制有误：内容是GS1，条码却不是，请联系供货商。",
        "The label is made wrongly, GS1 data in a symbol that is not GS1: ask the supplier.",
    ),
    Fault.UNKNOWN: ("这不是本系统认识的码。", "This is no code that is known here."),
}


class Wrong(Exception):
    """Becomes `Unreadable` where the scanned text is known; `position` counts in what the raiser was given."""

    def __init__(self, fault: Fault, reason: str, position: int | None = None) -> None:
        super().__init__(reason)
        self.fault, self.reason, self.position = fault, reason, position

    def after(self, start: int) -> "Wrong":
        return Wrong(self.fault, self.reason, None if self.position is None else self.position + start)


# --- The application identifiers ------------------------------------------------------------------------

# AIs, then components: N digits, X set 82, Y set 39, Z base 64; ? optional. Their checks: c check digit, d date that
# may have day 00, D date, t hhmm, h hour, m minutes and seconds, k a hyphen, z zero, s a slash, g groups of three.
_TABLE = """
00,8017,8018 N18c; 01-03 N14c; 10,21,22,243,254,420,4318,7020-7022,710-717,7240,8002,8012 X..20; 11-13,15-17 N6d; 20 N2
235 X..28; 240,241,250,251,400,401,403,4308,4319,7002,7023,8004,90 X..30; 242 N..6; 253 N13c ?X..17; 255 N13c ?N..12
30,37 N..8; 3100-3105,3110-3115,3120-3125,3130-3135,3140-3145,3150-3155,3160-3165,3200-3205,3210-3215 N6
3220-3225,3230-3235,3240-3245,3250-3255,3260-3265,3270-3275,3280-3285,3290-3295,3300-3305,3310-3315,3320-3325 N6
3330-3335,3340-3345,3350-3355,3360-3365,3370-3375,3400-3405,3410-3415,3420-3425,3430-3435,3440-3445,3450-3455 N6
3460-3465,3470-3475,3480-3485,3490-3495,3500-3505,3510-3515,3520-3525,3530-3535,3540-3545,3550-3555,3560-3565 N6
3570-3575,3600-3605,3610-3615,3620-3625,3630-3635,3640-3645,3650-3655,3660-3665,3670-3675,3680-3685,3690-3695 N6
3900-3909,3920-3929 N..15; 3910-3919,3930-3939 N3 N..15; 3940-3943,8111 N4; 3950-3955,8005 N6; 402 N17c; 410-417 N13c
421 N3 X..9; 422,424,426 N3; 423,425 N..15g; 427,7008 X..3; 4300,4301,4310,4311,4320 X..35; 4302-4306,4312-4316 X..70
4307,4317 X2; 4309 N20; 4321-4323,7252 N1; 4324,4325 N6d N4t; 4326,7006 N6D; 4330-4333 N6 ?X1k; 7001 N13; 7003 N6D N4t
7004 N..4; 7005 X..12; 7007 N6D ?N6D; 7009,7255 X..10; 7010 X..2; 7011 N6D ?N4t; 7030-7039 N3 X..27; 7040 N1 X3
7041 X..4; 7230-7239 X2 X..28; 7241 N2; 7242,8013,8014,8020 X..25; 7250 N8; 7251 N12; 7253,7254,7259 X..40
7256,91-99 X..90; 7257,8110,8112,8200 X..70; 7258 N1 X1s N1; 8001 N14; 8003 N1z N13c ?X..16; 8006,8026 N14c N4
8007 X..34; 8008 N6D N2h ?N..4m; 8009 X..50; 8010 Y..30; 8011 N..12; 8019 N..10; 8030 Z..90; 8040,8041 N15
8042 N32; 8043 N18 ?N..2
"""
_SETS = {"N": "0-9", "X": '!-"%-?A-Z_a-z', "Y": "#\\-/0-9A-Z", "Z": "\\-0-9A-Z_a-z"}
_NAMES = {"N": "a digit", "X": "in GS1's set 82", "Y": "in GS1's set 39 (capitals only)", "Z": "in base 64"}
_PREDEFINED = {"00", "01", "02", "03", "20", *map(str, range(11, 20)), *map(str, range(31, 37)), "41"}
"""First two digits of the AIs whose length needs no separator (General Specifications 7.8.5)."""


@dataclass(frozen=True, slots=True)
class _Row:
    ai: str
    pattern: re.Pattern[str]
    sets: str  # one letter a character
    predefined: int  # the length that needs no separator, or 0
    checks: tuple[tuple[int, int, str], ...]

    def check(self, value: str, today: date) -> None:
        if not self.pattern.fullmatch(value):
            self._blame(value)
        for start, end, kind in self.checks:
            if part := value[start:end]:
                _check(kind, part, start, today)

    def accepts(self, value: str, today: date) -> bool:
        try:
            self.check(value, today)
        except Wrong:
            return False
        return True

    def _blame(self, value: str) -> None:
        if not value:
            raise Wrong(Fault.INCOMPLETE, f"nothing follows ({self.ai})", 0)
        for position, (character, name) in enumerate(zip(value, self.sets, strict=False)):
            if not re.match(f"[{_SETS[name]}]", character):
                folded = name == "Y" and character.islower()
                fault = Fault.CAPS_LOCK if folded else Fault.CHARACTER
                raise Wrong(fault, f"{character!r} in ({self.ai}) is not {_NAMES[name]}", position)
        if len(value) > len(self.sets):
            reason = f"({self.ai}) has at most {len(self.sets)} characters, here are {len(value)} without a separator"
            raise Wrong(Fault.LOSES_FNC1, reason, len(self.sets))
        raise Wrong(Fault.INCOMPLETE, f"the value of ({self.ai}) is too short", len(value))


def _rows() -> dict[str, _Row]:
    rows = {}
    for entry in re.split(r"[;\n]", _TABLE.strip()):
        names, *components = entry.split()
        pattern, sets, checks = "", "", []
        for component in components:
            optional, name, upto, count, kind = re.fullmatch(r"(\??)([NXYZ])(\.\.)?(\d+)(\w?)", component).groups()  # type: ignore[union-attr]
            piece = f"[{_SETS[name]}]{{{'1,' if upto else ''}{count}}}"
            pattern += f"(?:{piece})?" if optional else piece
            if kind:
                checks.append((len(sets), len(sets) + int(count), kind))
            sets += name * int(count)
        for name in names.split(","):
            first, _, last = name.partition("-")
            for number in range(int(first), int(last or first) + 1):
                ai = str(number).zfill(len(first))
                rows[ai] = _Row(ai, re.compile(pattern), sets, len(sets) * (ai[:2] in _PREDEFINED), tuple(checks))
    return rows


ROWS = _rows()
_AI_LENGTH = {ai[:2]: len(ai) for ai in ROWS}


def _check(kind: str, part: str, start: int, today: date) -> None:
    if kind == "c":
        if part[-1] != check_digit(part[:-1]):
            reason = f"the check digit is {part[-1]}, it should be {check_digit(part[:-1])}"
            raise Wrong(Fault.CHECK_DIGIT, reason, start + len(part) - 1)
    elif kind in "dD":
        read_date(part, start, today, zero_day=kind == "d")
    elif kind in "thm":
        limits = {"t": (23, 59), "h": (23,), "m": (59, 59)}[kind]
        numbers = [int(part[i : i + 2]) for i in range(0, len(part), 2)]
        late = any(number > limit for number, limit in zip(numbers, limits, strict=False))
        if (late and part != "9999") or len(part) % 2:
            raise Wrong(Fault.BAD_DATE, f"{part} is no time", start)
    elif kind == "g":
        if len(part) % 3:
            raise Wrong(Fault.INCOMPLETE, "country codes have 3 digits each", len(part))
    elif part != {"k": "-", "z": "0", "s": "/"}[kind]:
        raise Wrong(Fault.CHARACTER, f"{part!r} may not stand here", start)


def read_date(part: str, start: int, today: date, *, zero_day: bool = True) -> date:
    """YYMMDD; the year lies between 49 years before and 50 after today's; day 00 is the last of the month (7.12)."""
    year, month, day = int(part[:2]), int(part[2:4]), int(part[4:6])
    apart = year - today.year % 100
    year += today.year - today.year % 100 + (-100 if apart > 50 else 100 if apart < -49 else 0)
    if not 1 <= month <= 12:
        raise Wrong(Fault.BAD_DATE, f"{part[2:4]} is no month", start + 2)
    last = monthrange(year, month)[1]
    if day > last or (day == 0 and not zero_day):
        raise Wrong(Fault.BAD_DATE, f"{part[4:6]} is no day of {year:04d}-{month:02d}", start + 4)
    return date(year, month, day or last)


# --- Element strings ------------------------------------------------------------------------------------

_SURE = r"\x1d|␝|\{(?:GS|FNC1)\}|\[(?:GS|FNC1)\]|\^\]|\\x1[dD]|\\u001[dD]|\|"
_ALSO_TEXT = r"<(?:GS|FNC1|0x1D)>|%1[dD]|\(GS\)|&#(?:29|x1[dD]);"
_SEPARATOR = re.compile(_SURE)
_ANY_SEPARATOR = re.compile(f"{_SURE}|{_ALSO_TEXT}")
_EDGE = rf"(?:{_SURE}|{_ALSO_TEXT}|[ \t\r\n\x00])+"
LEAD, TRAIL = re.compile(_EDGE), re.compile(rf"{_EDGE}\Z")
"""What may stand before and behind a scan without being part of it: separators, line ends, spaces."""
FOLDED_SEPARATOR = re.compile(r"\{(?:gs|fnc1)\}|\[(?:gs|fnc1)\]|<(?:gs|fnc1|0X1[dD])>|\\X1[dD]|\\U001[dD]|\(gs\)")

_SPLITS_MAX = 2000
_PREFIXED = {"401", "8004", "8010", "8013"}
"""Primary keys that begin with a GS1 company prefix, 4 digits at least, and a reference."""


def _row_at(text: str, at: int) -> _Row | None:
    return ROWS.get(text[at : at + _AI_LENGTH.get(text[at : at + 2], 0)])


def _swallows(row: _Row, value: str, seen: set[str], today: date, *, shortest: int = 2) -> bool:
    """Whether `value` may be a shorter value and further elements whose separators were lost.

    Any two digits may be an AI, so a long number nearly always may: without a separator in the scan nobody can tell.
    What is swallowed is longer than `shortest`.
    """
    budget = _SPLITS_MAX

    def follows(at: int, seen: set[str]) -> bool:
        nonlocal budget
        next_row = _row_at(value, at)
        if next_row is None or next_row.ai in seen:
            return False
        budget -= 1
        start = at + len(next_row.ai)
        if budget < 0 or next_row.accepts(value[start:], today):
            return True
        ends = [start + next_row.predefined] if next_row.predefined else range(start + 1, len(value) - 2)
        seen = seen | {next_row.ai}
        return any(next_row.accepts(value[start:end], today) and follows(end, seen) for end in ends)

    return any(
        value[at : at + 2] in _AI_LENGTH and follows(at, seen) and row.accepts(value[:at], today)
        for at in range(5 if row.ai in _PREFIXED and is_digits(value[:4]) else 1, len(value) - shortest)
    )


def _read_piece(text: str, start: int, seen: dict[str, str], today: date, *, sure: bool) -> None:
    """Adds the elements of `text`, which holds no separator; `sure` that the scanner sends them."""
    at = 0
    while at < len(text):
        row = _row_at(text, at)
        if row is None:
            shown = re.match(r"\d{0,4}", text[at:])[0] or text[at : at + 4]  # type: ignore[index]
            raise Wrong(Fault.UNKNOWN, f"{shown!r} is no application identifier", start + at)
        begin = at + len(row.ai)
        at = begin + row.predefined if row.predefined else len(text)
        value = text[begin:at]
        try:
            row.check(value, today)
        except Wrong as wrong:
            if not row.predefined and wrong.fault is not Fault.LOSES_FNC1 and _swallows(row, value, {*seen}, today):
                raise _lost(row, start + begin) from None
            raise wrong.after(start + begin) from None
        if seen.setdefault(row.ai, value) != value:
            raise Wrong(Fault.TWO_SYMBOLS, f"({row.ai}) stands in it with two values", start + begin)
        glued = _ends_in_ean(row.ai, value, seen.get("01", ""))
        open_end = not sure and not row.predefined
        if open_end and _swallows(row, value, {*seen}, today, shortest=14 if glued else 2):
            raise _lost(row, start + begin)
        if glued:
            reason = f"the EAN {value[-13:]} hangs behind ({row.ai})"
            raise Wrong(Fault.TWO_SYMBOLS, reason, start + at - 13)


def _lost(row: _Row, position: int) -> Wrong:
    reason = f"({row.ai}) may hold further elements, and no separator shows that the scanner sends them"
    return Wrong(Fault.LOSES_FNC1, reason, position)


def _ends_in_ean(ai: str, value: str, gtin: str) -> bool:
    """The EAN of the same pack, scanned in the same breath, ends up behind the batch or serial."""
    tail = value[-13:]
    if ai not in ("10", "21") or len(value) < 14 or not is_digits(tail) or tail[-1] != check_digit(tail[:-1]):
        return False
    return tail[:-1] == gtin[1:13] or (ai == "10" and tail.startswith("69"))


def read_elements(text: str, start: int, today: date, *, sure: bool) -> dict[str, str]:
    """The elements of an element string, each AI once; `sure` that separators would have been sent."""
    if _SEPARATOR.search(text) is None and _ANY_SEPARATOR.search(text):
        try:
            return _read_split(text, start, _ANY_SEPARATOR, today, sure=sure)
        except Wrong:  # <GS> and %1D are of set 82, too: a serial may hold them
            return _read_split(text, start, None, today, sure=sure)
    try:
        return _read_split(text, start, _SEPARATOR, today, sure=sure)
    except Wrong as wrong:
        if wrong.fault in (Fault.CHARACTER, Fault.UNKNOWN) and wrong.position is not None:
            foreign = text[wrong.position - start]
            if foreign in " #$@[\\]^`{}~":
                try:
                    _read_split(text, start, re.compile(re.escape(foreign)), today, sure=True)
                except Wrong:
                    raise wrong from None
                reason = f"the scanner sends {foreign!r} in place of FNC1"
                raise Wrong(Fault.LOSES_FNC1, reason, wrong.position) from None
        raise


def _read_split(text: str, start: int, separator: re.Pattern[str] | None, today: date, *, sure: bool) -> dict[str, str]:
    seen: dict[str, str] = {}
    cuts = [match.span() for match in separator.finditer(text)] if separator else []
    if not cuts:
        _read_piece(text, start, seen, today, sure=sure)
        return seen
    for (_, begin), (end, _) in zip([(0, 0), *cuts], [*cuts, (len(text), 0)], strict=True):
        _read_piece(text[begin:end], start + begin, seen, today, sure=True)
    return seen


_BRACKETED = re.compile(r"\((\d{2,4})\) *([^(]*)")


def read_bracketed(text: str, start: int, today: date) -> dict[str, str]:
    """(01)…(21)…, the form printed under bar codes. A value with a bracket of its own cannot be told apart."""
    seen: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _BRACKETED.match(text, at)
        if match is None or match[1] not in ROWS:
            raise Wrong(Fault.UNKNOWN, "an application identifier in brackets should stand here", start + at)
        ai, value = match[1], match[2].rstrip(" ")
        try:
            ROWS[ai].check(value, today)
        except Wrong as wrong:
            long = wrong.fault is Fault.LOSES_FNC1
            raise (Wrong(Fault.CHARACTER, wrong.reason, wrong.position) if long else wrong).after(
                start + match.start(2)
            ) from None
        if seen.setdefault(ai, value) != value:
            raise Wrong(Fault.TWO_SYMBOLS, f"({ai}) stands in it with two values", start + at)
        at = match.end()
    return seen


def has_separator(text: str) -> bool:
    """Whether FNC1 stands in `text` in a form that is no character of a value."""
    return _SEPARATOR.search(text) is not None
