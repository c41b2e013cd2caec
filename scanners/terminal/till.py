"""One line in, one line out: the counter, the outbox, the sender and the slip printer put together.

The order is what matters: an entry is on disk before anybody is told so, and a slip is printed only for what is on
disk. If the ledger can be reached, its answer is waited for, so that a refusal comes before the slip; if not, the sale
has happened, the slip is printed, and the scan is sent when it can be.
"""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

from ledger.errors import Conflict, LedgerError
from scanners.slips import Slip, slip, slip_text
from scanners.terminal.calibration import Profile
from scanners.terminal.counter import Command, Counter, Entry, Record, Say, fields_of, said
from scanners.terminal.outbox import Json, Message, Outbox, State
from scanners.terminal.settings import Settings
from scanners.terminal.sync import Clock, Sender, series_of

ANSWER_S = 3.0
"""How long a person waits for the ledger's answer before the scan is said to be kept here."""
SCANS = uuid.UUID("6a2f6c1e-6b0e-5d5c-9d0e-5a1f7c3b9e42")
"""Names the scans of images, whose ids come from their bytes: the same image again is the same scan."""


class Till:
    """What a person at the counter talks to. `show` prints a line: answers, and news of scans sent before."""

    def __init__(
        self, settings: Settings, outbox: Outbox, clock: Clock, show: Callable[[str], None], *,
        profile: Profile | None = None, answer_s: float = ANSWER_S,
    ) -> None:  # fmt: skip
        self._settings, self._outbox, self._clock, self._show, self._answer_s = settings, outbox, clock, show, answer_s
        self._counter = Counter(settings.rule, profile or Profile(), settings.labels)
        self.sender = Sender(settings, outbox, clock, self._news)
        self._awaited: str | None = None
        last = outbox.last()
        if last is not None:
            self._counter = replace(self._counter, last=said(last.body), last_at=last.put_at, unsure=True)

    def greeting(self) -> str:
        """What was kept last: whoever was scanning when the terminal went down sees whether it has to be done again."""
        last = self._outbox.last()
        waiting = self._outbox.waiting()
        shown = "还没有记录 nothing recorded yet"
        if last is not None:
            shown = f"上一笔 last: {self._about(last)} {last.put_at.astimezone():%m-%d %H:%M:%S} [{last.id}]"
        step = self._settings.rule
        return f"{step.chinese} {step.name} · {shown} · {waiting} 笔待传 waiting · ? 帮助 help"

    def take(self, line: str, *, origin: str = "") -> str:
        """The answer to a line; `origin` names the symbol in an image that it is, which may come again."""
        before = self._counter
        self._counter, deed = before.take(line, self._clock(), symbol=bool(origin))
        try:
            if isinstance(deed, Say):
                return deed.text
            if isinstance(deed, Record):
                return self._record(deed.entry, origin)
            return self._command(deed)
        except LedgerError as error:
            self._counter = before  # a code or weight that was given is still there for another try
            return f"✗ 没有记下！NOT recorded: {error}"

    # --- Recording --------------------------------------------------------------------------------------

    def _record(self, entry: Entry, origin: str) -> str:
        now = self._clock()
        id = str(uuid.uuid5(SCANS, origin) if origin else uuid.uuid4())
        body: Json = {"scan": id, "node": self._settings.node, "step": self._settings.step}
        if self._settings.party:
            body["party"] = self._settings.party
        body |= {"at": now.isoformat(timespec="milliseconds"), **fields_of(entry)}
        if self._unreachable():
            body["offline"] = True
        gives = self._settings.gives_slips
        message = self._outbox.put(id, body, now, series=series_of(self._settings, now) if gives else None)
        self._counter = self._counter.recorded(entry, now)
        if message.body.get("offline"):
            self.sender.wake()
        else:
            message = self._await(id)
            if message.state is State.WAITING:  # the slip is given now: whatever the ledger says later, it happened
                self._outbox.mark_offline(id)
                message = self._outbox.get(id)
        printed = self._print(message) if gives and message.state in (State.WAITING, State.ACKNOWLEDGED) else ""
        return self._answer(message) + printed

    def _unreachable(self) -> bool:
        return self.sender.failing or bool(self.sender.stopped_because)

    def _await(self, id: str) -> Message:
        """The message with the ledger's answer, if that comes while the person waits; later ones are news."""
        self._awaited = id
        self.sender.wake()
        self.sender.wait_for(id, self._answer_s)
        self._awaited = None
        return self._outbox.get(id)

    def _answer(self, message: Message) -> str:
        about = self._about(message)
        if message.state is State.ACKNOWLEDGED:
            return f"✓ {about} 已记录 recorded{_left(message.reply or {})}{_remarks(message.reply or {})}"
        if message.state is State.ASKED:
            return f"? {about} 刚记过同样的，真的有两笔吗？ really twice? .=是 yes  no=否 ({message.reason})"
        if message.state is State.ASIDE:
            return f"✗ {about} 没有通过，单独放着 not accepted, set aside: {message.reason}"
        if message.state is State.DROPPED:
            return f"✓ {about} 不记 not recorded"
        waiting = self._outbox.waiting()
        why = self.sender.stopped_because
        tail = f"；不能上传 cannot be sent: {why}" if why else ""
        return f"✓ {about} 已存本机，连上后自动上传 kept here, will be sent ({waiting} 笔待传 waiting){tail}"

    def _about(self, message: Message) -> str:
        body = message.body
        if message.target is not None:
            return f"撤销 undo {self._about(self._outbox.get(message.target))}"
        name = self._name(body)
        amount = f" {body['quantity']} {'件 pc' if body.get('unit') == 'H87' else 'kg'}" if "quantity" in body else ""
        return f"{name}{amount}"

    def _name(self, body: Json) -> str:
        """What a person calls it: the settings' name for it, or what was scanned."""
        told = [str(body[name]) for name in ("scanned", "goods", "lot") if name in body]
        names = [self._settings.goods[one] for one in told if one in self._settings.goods]
        shown = (names or told or ["?"])[0]
        return "".join(c if c.isprintable() else "␝" for c in shown)[:60]

    def _news(self, news: Message | str) -> None:
        """From the sender's thread: what became of scans that nobody waits for any more."""
        if isinstance(news, str):
            self._show(news)
        elif news.id != self._awaited and (
            news.state in (State.ASKED, State.ASIDE)
            or (news.state is State.ACKNOWLEDGED and _remarks(news.reply or {}))
        ):
            self._show(self._answer(news))

    # --- Commands ---------------------------------------------------------------------------------------

    def _command(self, command: Command) -> str:
        match command.name:
            case "yes" | "no":
                return self._decide(command.name == "yes")
            case "void":
                return self._void(command.argument)
            case "slip":
                last = self._outbox.last()
                return "✗ 还没有记录 nothing recorded yet" if last is None else self._again(last)
            case "resume":
                self.sender.resume()
                return "✓ 重新上传 trying again"
            case _:
                return status_text(self._outbox)

    def _decide(self, yes: bool) -> str:
        asked = self._outbox.asked()
        if asked is None:
            return "没有问题要回答 nothing was asked (? 帮助 help)"
        if not yes:
            self._outbox.drop(asked.id, "not twice, said the person", self._clock())
            return self._answer(self._outbox.get(asked.id))
        self._outbox.confirm(asked.id)
        message = self._await(asked.id)
        printed = self._print(message) if self._settings.gives_slips and message.state is not State.ASIDE else ""
        return self._answer(message) + printed

    def _void(self, reason: str) -> str:
        last = self._outbox.last()
        if last is None:
            return "✗ 还没有记录 nothing recorded yet"
        if self._outbox.undone(last.id):
            return f"✗ {self._about(last)} 已经撤销过 is undone already; 只能撤销上一笔 only the last one can be undone"
        now = self._clock()
        if last.state in (State.ASIDE, State.ASKED):
            self._outbox.drop(last.id, "taken back by the person", now)
            return f"✓ {self._about(last)} 没有上传，已取消 was not recorded, and is dropped"
        if last.state is State.DROPPED:
            raise Conflict("the last one is not recorded: there is nothing to undo")
        body = {"reason": reason, "at": now.isoformat(timespec="milliseconds")}
        message = self._outbox.put_void(str(uuid.uuid4()), last.id, body, now)
        self._counter = replace(self._counter, last=None, last_at=None)
        if self._unreachable():
            self.sender.wake()
        else:
            message = self._await(message.id)
        return self._answer(message)

    # --- Slips ------------------------------------------------------------------------------------------

    def _again(self, message: Message) -> str:
        if message.state not in (State.WAITING, State.ACKNOWLEDGED) or self._outbox.undone(message.id):
            return "✗ 上一笔没有记录或已撤销，不打印 the last one is not recorded or undone: no slip"
        return f"{self._about(message)}{self._print(message)}"

    def _print(self, message: Message) -> str:
        """Prints the slip; what is added to the answer."""
        body = message.body
        trace = body.get("trace") or (message.reply or {}).get("trace")
        if not trace:
            return "；✗ 没有追溯码了，连上后用 slip 打印 no trace code left: type slip when connected"
        if not self._settings.printer:
            return f" · 追溯码 trace code {trace}"
        try:
            self._send_to_printer(self._slip(body, str(trace), message.put_at))
        except (OSError, LedgerError, ValueError) as error:
            return f"；✗ 小票没打出来 the slip was not printed: {error}; slip 再打一次 again · {trace}"
        return f" · 追溯码 trace code {trace}"

    def _slip(self, body: Json, trace: str, at: datetime) -> Slip:
        weight, price = Decimal(str(body.get("quantity", 0))), Decimal(str(body.get("price", 0)))
        settings = self._settings
        total = (weight * price).quantize(Decimal("0.01"), ROUND_HALF_UP)
        return Slip(
            settings.shop or settings.node, settings.stall or settings.seller, self._name(body), weight, price,
            total, at.astimezone(), trace, settings.link.replace("{trace}", trace),
            "件" if body.get("unit") == "H87" else "kg",
        )  # fmt: skip

    def _send_to_printer(self, slip_: Slip) -> None:
        if self._settings.printer == "-":
            self._show(slip_text(slip_, columns=self._settings.columns).rstrip("\n"))
            return
        with Path(self._settings.printer).open("ab") as printer:
            printer.write(slip(slip_, columns=self._settings.columns))


def _left(reply: Json) -> str:
    """What is left of the lots that it was taken from."""
    lots = [one for one in reply.get("lots") or () if isinstance(one, dict) and "left" in one]
    return "".join(
        f"，余 left {_short(one['left'])} {'件 pc' if one.get('unit') == 'H87' else 'kg'}" for one in lots[:2]
    )


def _short(number: object) -> str:
    """A number of an answer without zeros behind its last digit."""
    text = str(number)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text.lower() else text


def _remarks(reply: Json) -> str:
    """What the ledger's answer says besides yes: warnings, what is left, a clock that is off."""
    parts = [f"⚠ {one.get('chinese')} {one.get('english')}" for one in reply.get("warnings") or ()]
    off = reply.get("clockOffSeconds")
    if isinstance(off, int) and not isinstance(off, bool) and abs(off) >= 60:
        parts.append(f"⚠ 本机时钟差 {off} 秒 this terminal's clock is {off} s off")
    return "".join(f" {part}" for part in parts)


def status_text(outbox: Outbox) -> str:
    """One line for the counter."""
    found = outbox.summary()
    since = f" 最早 since {found.since.astimezone():%m-%d %H:%M}" if found.since else ""
    codes = sum(found.codes.values())
    aside = len(found.aside)
    return f"{found.waiting} 笔待传 waiting{since} · {aside} 笔单独放着 set aside · {codes} 个追溯码 trace codes left"
