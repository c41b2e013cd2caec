"""What a person typed or scanned, and what to do about it: one line in, one thing to do out. Pure.

The grammar stands in HELP, which `suyuan terminal run --help` shows. Nothing is guessed: a line that could mean two
things is refused with a sentence in Chinese and English. ✓ stands for kept, ✗ for not done, ? for a question.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ledger.gs1 import GS1_DOMAIN
from ledger.registers.supervision import VoucherKind
from ledger.steps import How, Step
from scanners.symbols import IN_STORE_URN, Code, Fault, Reading, Unreadable, parse_symbol
from scanners.terminal.calibration import Profile
from scanners.terminal.weighed import InStore, Label, UnfitLabel, agrees, unit_price

HELP = """\
扫码，再称重或输入数量 scan, then weigh or type how much. Each line ends with ENTER:
  CODE              扫码：按秤上的重量记一笔，没有重量就问 record it with the scale's weight, or ask for one
  CODE 1.25         1.25 公斤 kilograms
  CODE 1.25 @25.80  单价，元/公斤或元/件 price in yuan a kilogram or a piece
  1.25  或  1.250kg 秤的重量：给等着的码，或给下一个码（60 秒内） a weight, for the code that waits or the next one
  500g 2.5jin 3pc   克、斤(500克)、件 grams, jin (500 g), pieces
  2…                店内秤码：一扫就记 a shop's own weighed code, if its layout is set up: one scan records it
  to=3302120020001  对方 the other party; also goods=211 made=12kg result=合格 voucher=animal:NUMBER lot=URI
  .                 是 yes, it is so (after a question); empty ENTER does nothing
  no                否 no (after a question), or forget the code that waits
  void              撤销上一笔 undo the last one; `void wrong`: its data were wrong
  slip              再打印上一张小票 print the last slip again
  status            还有几笔没上传 what waits to be sent
  resume            立即重新上传 try to send again at once
  ?                 帮助 this help
One scan and one key make a sale: press the scale's key, then scan; or scan, then press the scale's key."""

WEIGHT_KEPT = timedelta(seconds=60)
PENDING_KEPT = timedelta(minutes=10)
TWICE_WITHIN = timedelta(seconds=10)
LINE_CHARACTERS_MAX = 2000


@dataclass(frozen=True, slots=True)
class Quantity:
    value: Decimal
    unit: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be recorded: `code` is what was read of `scanned`; `words` are further fields by their names."""

    scanned: str
    code: Code | None = None
    quantity: Quantity | None = None
    price: Decimal | None = None
    words: tuple[tuple[str, str], ...] = ()
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    entry: Entry


@dataclass(frozen=True, slots=True)
class Say:
    """Nothing to do but to show a line."""

    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """yes, no, void, slip, status or resume; `argument` is void's reason."""

    name: str
    argument: str = ""


Deed = Record | Say | Command


@dataclass(frozen=True, slots=True)
class Counter:
    """What the counter remembers between two lines: a code that waits for its weight, a weight that waits for its code,
    what was said for the last entry and when, and an entry that the person was asked about.

    `unsure`: the terminal has just been started, and whoever scans the last entry again may not have seen it kept.
    """

    step: Step
    profile: Profile = field(default_factory=Profile)
    in_store: InStore = field(default_factory=InStore)
    pending: Entry | None = None
    pending_at: datetime | None = None
    weight: Quantity | None = None
    weight_at: datetime | None = None
    last: Mapping[str, object] | None = None
    last_at: datetime | None = None
    unsure: bool = False
    question: Entry | None = None

    def take(self, line: str, now: datetime, *, symbol: bool = False) -> tuple["Counter", Deed]:
        """The counter after a line, and what to do. A `symbol` is known to be one, whole: nobody typed in it."""
        if self.pending_at is not None and not timedelta(0) <= now - self.pending_at <= PENDING_KEPT:
            return replace(self, pending=None, pending_at=None).take(line, now, symbol=symbol)
        if len(line) > LINE_CHARACTERS_MAX:
            return self, Say("✗ 太长 the line is too long")
        if symbol:
            return replace(self, question=None)._scanned(Entry(line), now)
        text = line.strip(" \t\r\n\x00")
        command = _command(text)
        if command is not None:
            return self._command(command)
        if refusal := _refusal(text):
            return self, Say(refusal)
        asked = self.question is not None
        this = replace(self, question=None)
        if scale := _SCALE.fullmatch(text):
            return this._weighed(scale, now)
        if not text:
            return (self, Say(f"? {_TWICE}")) if asked else (self, Say(self._waits()))
        return this._read(text, now)

    def _command(self, command: Command) -> tuple["Counter", Deed]:
        if command.name == "help":
            return self, Say(HELP)
        if command.name == "yes" and self.question is not None:
            return replace(self, question=None), Record(replace(self.question, confirmed=True))
        if command.name == "no" and (self.question is not None or self.pending is not None):
            return replace(self, question=None, pending=None, pending_at=None), Say("✓ 不记 not recorded")
        if command.name == "void" and self.pending is not None:
            return replace(self, pending=None, pending_at=None), Say(_FORGOTTEN)
        return replace(self, question=None), command

    def _waits(self) -> str:
        return (
            f"? {_needs(self.step, self.pending)}" if self.pending is not None else "请扫码 scan a code (? 帮助 help)"
        )

    def _weighed(self, scale: re.Match[str], now: datetime) -> tuple["Counter", Deed]:
        """A scale's own line, or a bare number: for the code that waits, or for the next one."""
        if (scale["state"] or "ST").upper() != "ST":
            return self, Say("✗ 秤还没稳 the scale has not settled: weigh again")
        quantity = _quantity(scale["number"], scale["unit"] or "")
        if scale["sign"] == "-" or quantity.value <= 0:
            return self, Say("✗ 重量要大于零 the weight has to be more than 0")
        if self.pending is not None:
            return self._complete(replace(self.pending, quantity=quantity), now)
        shown = f"{quantity.value:f} {_UNIT_NAMES[quantity.unit]}"
        return replace(self, weight=quantity, weight_at=now), Say(f"{shown}，请扫码 scan the code")

    def _read(self, text: str, now: datetime) -> tuple["Counter", Deed]:
        try:
            entry = parse_line(text)
        except ValueError as error:
            return self, Say(f"✗ {error}")
        if not entry.scanned:
            if self.pending is None and not any(name in ("lot", "goods") for name, _ in entry.words):
                return self, Say("✗ 请先扫码 scan the code first")
            return self._complete(_joined(self.pending, entry), now)
        return self._scanned(entry, now)

    def _scanned(self, entry: Entry, now: datetime) -> tuple["Counter", Deed]:
        try:
            scanned, code = self.profile.read(entry.scanned, now.date())
        except Unreadable as unreadable:
            return self, Say(f"✗ {unreadable.fault.chinese} {unreadable.fault.english}")
        if not _reads_alone(scanned, now) and not any(name == "lot" for name, _ in entry.words):
            entry = replace(entry, words=(*entry.words, ("lot", _uri(code.key))))
        return self._complete(replace(entry, scanned=scanned, code=code), now, fresh=True)

    def _complete(self, entry: Entry, now: datetime, *, fresh: bool = False) -> tuple["Counter", Deed]:
        """Record it if nothing is missing and it is not the last one over again; otherwise ask."""
        try:
            return self._completed(entry, now, fresh)
        except UnfitLabel as unfit:
            return replace(self, weight=None, weight_at=None), Say(f"✗ {unfit}")

    def _completed(self, entry: Entry, now: datetime, fresh: bool) -> tuple["Counter", Deed]:
        this, weight = self, self._fresh_weight(now)
        label = _label_of(self.in_store, entry)
        if label is not None:
            entry = _labelled(self.in_store, label, self.step, entry, weight)
            this = this if label.weight is None else replace(this, weight=None, weight_at=None)
        if entry.quantity is None and "quantity" in self.step.needs:
            if entry.code is not None and entry.code.kind in (Reading.PACK, Reading.DRUG):
                entry = replace(entry, quantity=Quantity(Decimal(1), "H87"))  # a code of its own names one pack
            elif weight is not None:
                entry = replace(entry, quantity=weight)
                this = replace(this, weight=None, weight_at=None)
        missing = _needs(self.step, entry)
        if missing:
            left = (
                ""
                if not fresh or self.pending is None or self.pending.scanned == entry.scanned
                else ("✗ 前一个码没有记 the code before was not recorded; ")
            )
            return replace(this, pending=entry, pending_at=now), Say(f"{left}? {missing}")
        if label is not None and self.step.how is How.SELL:
            entry = _priced(label, entry)
        this = replace(this, pending=None, pending_at=None)
        if this.last is not None and this.last_at is not None and said(fields_of(entry)) == this.last:
            again = this.unsure or timedelta(0) <= now - this.last_at <= TWICE_WITHIN
            if again and not entry.confirmed:
                return replace(this, question=entry, unsure=False), Say(f"? {_TWICE}")
        return this, Record(entry)

    def _fresh_weight(self, now: datetime) -> Quantity | None:
        """The scale's weight that waits for its code, if it is not too old."""
        fresh = self.weight_at is not None and timedelta(0) <= now - self.weight_at <= WEIGHT_KEPT
        return self.weight if fresh else None

    def recorded(self, entry: Entry, now: datetime) -> "Counter":
        """The counter after the entry was kept on disk."""
        return replace(self, last=said(fields_of(entry)), last_at=now, unsure=False)


_FORGOTTEN = "✓ 已取消等着的码，没有撤销任何记录 the code that waited is forgotten; nothing was undone"
_TWICE = "刚记过同样的一笔，真的有两笔吗？ the same was just recorded; really twice? .=是 yes  no=否"


# --- Reading a line -------------------------------------------------------------------------------------

_NUMBER = r"[0-9]{1,6}(?:\.[0-9]{1,3})?"
_UNITS = {
    "": (Decimal(1), "KGM"), "kg": (Decimal(1), "KGM"), "公斤": (Decimal(1), "KGM"), "千克": (Decimal(1), "KGM"),
    "g": (Decimal("0.001"), "KGM"), "克": (Decimal("0.001"), "KGM"),
    "jin": (Decimal("0.5"), "KGM"), "斤": (Decimal("0.5"), "KGM"),
    "pc": (Decimal(1), "H87"), "pcs": (Decimal(1), "H87"), "件": (Decimal(1), "H87"), "个": (Decimal(1), "H87"),
}  # fmt: skip
_UNIT_NAMES = {"KGM": "公斤 kg", "H87": "件 pc"}
_UNIT = "kg|g|jin|pcs?|公斤|千克|克|斤|件|个"
_SCALE = re.compile(
    rf"(?:(?P<state>ST|US|OL),(?:(?:GS|NT|TR),)?)?\s*(?P<sign>[+-]?)\s*"
    rf"(?P<number>{_NUMBER}(?=\s*[^0-9.\s])|[0-9]{{1,4}}(?:\.[0-9]{{1,3}})?)\s*(?P<unit>{_UNIT})?",
    re.IGNORECASE,
)
_QUANTITY = re.compile(rf"({_NUMBER})({_UNIT})?", re.IGNORECASE)
_PRICE = re.compile(r"@([0-9]{1,7}(?:\.[0-9]{1,2})?)")
_WORDS = ("to", "goods", "made", "result", "voucher", "lot")
_WORD = re.compile(rf"({'|'.join(_WORDS)})=(\S{{1,200}})")
_VALUES = {
    "to": r"[0-9]{13}",
    "goods": r"[0-9A-Za-z]{1,20}",
    "made": rf"{_NUMBER}(?:{_UNIT})?",
    "lot": r"[A-Za-z][A-Za-z0-9+.\-]*:[!-~]+",
    "result": r"\S{1,20}",
    "voucher": rf"(?:{'|'.join(VoucherKind)}):[A-Za-z0-9\u4e00-\u9fff-]{{1,40}}",
}
_COMMANDS = {
    ".": "yes", "no": "no", "slip": "slip", "status": "status", "resume": "resume", "?": "help", "void": "void",
}  # fmt: skip


def _command(text: str) -> Command | None:
    if text == "void wrong":
        return Command("void", "incorrect_data")
    name = _COMMANDS.get(text)
    return None if name is None else Command(name, "did_not_occur" if name == "void" else "")


def _refusal(text: str) -> str | None:
    """A sentence if an input method or Caps Lock is at work, which would spoil the next scan, too."""
    outside = _WORD.sub("", text)
    plain = re.sub(rf"(?<=[0-9]){'|'.join(unit for unit in _UNITS if unit and not unit.isascii())}", "", outside)
    if any(unicodedata.east_asian_width(c) in "WF" or c in "“”‘’…—·￥" for c in plain):
        return f"✗ {Fault.IME.chinese} {Fault.IME.english}"
    if (text.isascii() and text.swapcase() in _COMMANDS) or text == "VOID WRONG":
        return f"✗ {Fault.CAPS_LOCK.chinese} {Fault.CAPS_LOCK.english}"
    return None


def parse_line(text: str) -> Entry:
    """A code and what follows it, from the right: price, quantity and words, each once. `ValueError` with a sentence.

    >>> parse_line("6901234567892 1.25 @25.80").quantity
    Quantity(value=Decimal('1.25'), unit='KGM')
    """
    parts = text.split()
    quantity: Quantity | None = None
    price: Decimal | None = None
    words: list[tuple[str, str]] = []
    while parts:
        part = parts[-1]
        if found := _QUANTITY.fullmatch(part):
            if quantity is not None:
                raise ValueError("有两个数量 two quantities stand there")
            quantity = _quantity(found[1], found[2] or "")
        elif found := _PRICE.fullmatch(part):
            if price is not None:
                raise ValueError("有两个单价 two prices stand there")
            price = Decimal(found[1])
        elif found := _WORD.fullmatch(part):
            words.append(_word(found[1], found[2], words))
        elif part.startswith("@"):
            raise ValueError(f"单价不对，例如 @25.80 {part[:20]!r} is no price; write @25.80")
        else:
            break
        parts.pop()
    if len(parts) > 1 and not parts[0].startswith(("(", "]")):
        raise ValueError(
            f"看不懂 {parts[-1][:20]!r}：码后面是数量、@单价 after the code comes a quantity or @price (? 帮助 help)"
        )
    if quantity is not None and quantity.value <= 0:
        raise ValueError("数量要大于零 the quantity has to be more than 0")
    return Entry(" ".join(parts), None, quantity, price, tuple(sorted(words)))


def _quantity(number: str, unit: str) -> Quantity:
    factor, code = _UNITS[unit.lower()]
    return Quantity(Decimal(number) * factor, code)


def _word(name: str, value: str, words: list[tuple[str, str]]) -> tuple[str, str]:
    if name != "voucher" and any(name == other for other, _ in words):
        raise ValueError(f"{name}= 有两次 {name}= stands there twice")
    if name in _VALUES and not re.fullmatch(_VALUES[name], value):
        raise ValueError(f"{name}= 的内容不对 {value[:20]!r} cannot stand behind {name}=")
    return name, value


def _joined(pending: Entry | None, entry: Entry) -> Entry:
    """What was typed after the code was scanned, added to it; what is typed later counts."""
    if pending is None:
        return entry
    again = {name for name, _ in entry.words if name != "voucher"}
    words = {*(word for word in pending.words if word[0] not in again), *entry.words}
    return replace(
        pending, quantity=entry.quantity or pending.quantity,
        price=pending.price if entry.price is None else entry.price, words=tuple(sorted(words)),
    )  # fmt: skip


def _needs(step: Step, entry: Entry | None) -> str:
    """The question for what the step needs and the entry has not, if anything."""
    names = {name for name, _ in entry.words} if entry is not None else set()
    if "quantity" in step.needs and (entry is None or entry.quantity is None) and not _on_slip(step, entry):
        return "重量 weight kg?" if step.how is How.SELL else "数量 how much, kg?"
    for need, word, question in (
        ("counterparty", "to", "对方 to whom? to=13 位编码 digits"),
        ("goods", "goods", "商品 which goods? goods=编码 code"),
        ("made", "made", "得到多少 how much was made? made=12kg"),
        ("result", "result", "结果 result? result=合格"),
    ):
        if need in step.needs and word not in names:
            return question
    return ""


def _on_slip(step: Step, entry: Entry | None) -> bool:
    """Whether the slip that came with the goods says how much comes in."""
    return step.how is How.ENTER and entry is not None and entry.code is not None and entry.code.kind is Reading.TRACE


def _reads_alone(scanned: str, now: datetime) -> bool:
    """Whether it is a code also for who does not know what calibration proved of the scanner."""
    try:
        parse_symbol(scanned, today=now.date())
    except Unreadable:
        return False
    return True


def _uri(key: str) -> str:
    return key if ":" in key else f"https://{GS1_DOMAIN}/{key}"


# --- A shop's own labels --------------------------------------------------------------------------------


def _label_of(in_store: InStore, entry: Entry) -> Label | None:
    """What an in-store code says; None for other codes, and for one of another layout whose goods the person names."""
    if not in_store.layout or entry.code is None or not entry.code.key.startswith(IN_STORE_URN):
        return None
    digits = entry.code.key.removeprefix(IN_STORE_URN)
    if not in_store.fits(digits) and any(name in ("goods", "lot") for name, _ in entry.words):
        return None
    return in_store.read(digits)


def _labelled(in_store: InStore, label: Label, step: Step, entry: Entry, weight: Quantity | None) -> Entry:
    """The entry with its label's goods and weight; `UnfitLabel` where the person or the scale says something else."""
    if step.how in (How.MAKE, How.COUNT):
        raise UnfitLabel("这一步不用店内秤码，请扫批次 a shop's label is no lot: scan or name the lot")
    typed = dict(entry.words).get("goods")
    known = in_store.plus.get(label.number)
    if typed is not None and known is not None and typed != known:
        raise UnfitLabel(f"码里的商品是 {known}，不是 {typed} the code is of the goods {known}, not {typed}")
    if typed is None:
        entry = replace(entry, words=tuple(sorted([*entry.words, ("goods", in_store.goods(label))])))
    if label.weight is None:
        return entry
    told = Quantity(label.weight, "KGM")
    for other, who in ((entry.quantity, "输入的 typed"), (weight, "秤上的 on the scale")):
        if other is not None and other != told:
            shown = f"{other.value:f} {_UNIT_NAMES[other.unit]}"
            raise UnfitLabel(
                f"码里是 {told.value:f} 公斤，{who}是 {shown}：没有记，请再扫或重新称 "
                f"the code says {told.value:f} kg: nothing recorded; scan again, or weigh it again"
            )
    return replace(entry, quantity=told)


def _priced(label: Label, entry: Entry) -> Entry:
    """The entry with the unit price that its label's total comes to; `UnfitLabel` where another one was typed."""
    if label.total is None or entry.quantity is None:
        return entry
    if entry.price is None:
        return replace(entry, price=unit_price(label.total, entry.quantity.value))
    if not agrees(label.total, entry.quantity.value, entry.price):
        raise UnfitLabel(
            f"码里的金额是 {label.total:f} 元，{entry.quantity.value:f} × {entry.price:f} 不是 "
            f"the code says {label.total:f} yuan, which the price and quantity typed do not make"
        )
    return entry


# --- What is sent ---------------------------------------------------------------------------------------


def fields_of(entry: Entry) -> dict[str, object]:
    """The entry's part of the request."""
    body: dict[str, object] = {}
    if entry.scanned:
        body["scanned"] = entry.scanned
    if entry.quantity is not None:
        body |= {"quantity": f"{entry.quantity.value:f}", "unit": entry.quantity.unit}
    if entry.price is not None:
        body["price"] = f"{entry.price:f}"
    if entry.confirmed:
        body["confirm"] = True
    vouchers = []
    for name, value in entry.words:
        match name:
            case "to":
                body["counterparty"] = value
            case "made":
                made = _QUANTITY.fullmatch(value)
                quantity = _quantity(made[1], made[2] or "") if made else Quantity(Decimal(value), "KGM")
                body |= {"made": f"{quantity.value:f}", "madeUnit": quantity.unit}
            case "voucher":
                kind, _, number = value.partition(":")
                vouchers.append({"kind": kind, "number": number})
            case _:
                body[name] = value
    return body | ({"vouchers": vouchers} if vouchers else {})


_SAID = (
    "scanned",
    "quantity",
    "unit",
    "price",
    "counterparty",
    "goods",
    "made",
    "madeUnit",
    "result",
    "lot",
    "vouchers",
)


def said(body: Mapping[str, object]) -> dict[str, object]:
    """What a person said, of a request: two that agree in this may be one."""
    return {name: body[name] for name in _SAID if name in body}
