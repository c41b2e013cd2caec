"""Sends what the outbox holds, in order, until the ledger has it; and leases trace codes ahead of need.

A message is ended only by an answer that can be none but the ledger's: everything else (no connection, a time-out,
5xx, a page of the shop's router) means that it is sent again, under the same id. What cannot be recorded as it is goes
aside with the reason, and those behind it go on. How answers are judged, and how long to wait, are pure functions.
"""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum

import httpx

from ledger.errors import LedgerError
from scanners.terminal.outbox import Json, Message, Outbox, State, days_before
from scanners.terminal.settings import Settings

CONNECT_S, READ_S, WHOLE_S, ANSWER_BYTES_MAX = 3.0, 10.0, 30.0, 1 << 20
WAIT_MIN_S, WAIT_MAX_S, RETRY_AFTER_MAX_S = 1.0, 60.0, 3600.0
PRUNE_EVERY_S, LEASE_AGAIN_S, IDLE_S = 600.0, 60.0, 15.0
ASKED_HERE = timedelta(seconds=10)
"""What is sent later than so long after it was scanned was looked at by the counter already."""
Clock = Callable[[], datetime]


# --- Answers, judged ------------------------------------------------------------------------------------


class Verdict(StrEnum):
    RECORDED = "recorded"
    ASK = "ask"
    ASIDE = "aside"
    STOP = "stop"
    """The key is not, or no longer, good: a person has to see to it."""
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, if anything: `status` 0 is no answer, and `trouble` says why."""

    status: int
    document: Json | None = None
    retry_after_s: float = 0.0
    trouble: str = ""

    @property
    def reason(self) -> str:
        """One sentence for a person."""
        found = self.document or {}
        errors = [
            f"{one.get('path')}: {one.get('reason')}" for one in found.get("errors") or () if isinstance(one, dict)
        ]  # fmt: skip
        detail = str(found.get("detail") or found.get("title") or self.trouble)
        return "; ".join(errors[:3]) or detail or f"HTTP {self.status}"


def judge(message: Message, answer: Answer) -> Verdict:
    """What an answer means for a message. Only an answer of the ledger's own form ends it."""
    found = answer.document
    if found is None:
        return Verdict.AGAIN
    if answer.status in (200, 201):
        named = found.get("scan") == (message.target or message.id)
        return Verdict.RECORDED if named and (found.get("event") or found.get("entries")) else Verdict.AGAIN
    if not isinstance(found.get("type"), str):
        return Verdict.AGAIN
    if answer.status in (401, 403):
        return Verdict.STOP
    if answer.status == 409 and found.get("again") is True:
        return Verdict.ASK
    if answer.status == 409 and message.target is not None:
        return Verdict.RECORDED  # taken back already: by this message, whose answer was lost, or by the office
    final = 400 <= answer.status < 500 and answer.status not in (408, 421, 425, 426, 429)
    return Verdict.ASIDE if final else Verdict.AGAIN


def wait_s(failures: int, retry_after_s: float, chance: float) -> float:
    """How long to wait after so many failures in a row; `chance` from 0 to 1 spreads terminals that failed together.

    At least a second and at most sixty, but never less than what the server asked for (up to an hour).
    """
    most = min(WAIT_MAX_S, 2.0 * 2.0 ** min(failures, 10))
    return max(WAIT_MIN_S + (most - WAIT_MIN_S) * chance, min(retry_after_s, RETRY_AFTER_MAX_S))


def retry_after(value: str | None, now: datetime) -> float:
    """The seconds that a Retry-After header asks for, as a number or a date; 0 for none and for nonsense."""
    if value is None:
        return 0.0
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0


# --- Over the network -----------------------------------------------------------------------------------


class Connection:
    """Requests with the terminal's key, each ended within a time and a size whatever the other side does."""

    def __init__(self, settings: Settings) -> None:
        limits = httpx.Timeout(READ_S, connect=CONNECT_S)
        headers = {"Authorization": f"Bearer {settings.key}", "Accept": "application/json"}
        self._client = httpx.Client(
            base_url=settings.url.rstrip("/"), timeout=limits, headers=headers, trust_env=False, follow_redirects=False
        )

    def close(self) -> None:
        self._client.close()

    def post(self, path: str, body: Json, now: datetime) -> Answer:
        """The answer, or what kept it away; it never raises for what a network can do."""
        deadline = time.monotonic() + WHOLE_S
        try:
            with self._client.stream("POST", path, json=body) as answer:
                data = bytearray()
                for part in answer.iter_bytes():
                    data += part
                    if len(data) > ANSWER_BYTES_MAX or time.monotonic() > deadline:
                        return Answer(0, trouble="the answer does not end")
                after = retry_after(answer.headers.get("retry-after"), now)
                return Answer(answer.status_code, _document(bytes(data)), after, f"HTTP {answer.status_code}")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, ValueError) as error:
            return Answer(0, trouble=f"{type(error).__name__}: {error}".rstrip(": "))


def _document(data: bytes) -> Json | None:
    try:
        found = json.loads(data, parse_float=str)  # quantities stay exact
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


# --- Leases ---------------------------------------------------------------------------------------------


def series_of(settings: Settings, at: datetime) -> str:
    """The name here of the codes that may be used at that time: a party's in scheme A, a node's day in scheme B."""
    return settings.seller if settings.scheme == "A" else f"{settings.node}/{at.date().isoformat()}"


def wanted_series(settings: Settings, at: datetime) -> Iterator[tuple[str, Json]]:
    """Every series that codes are kept of, the most urgent first, with the request that leases them."""
    request: Json = {"kind": "trace", "node": settings.node, "party": settings.seller}
    if settings.scheme == "A":
        yield series_of(settings, at), request
        return
    for days in range(settings.lease_days + 1):
        then = at + timedelta(days=days)
        yield series_of(settings, then), {**request, "day": then.date().isoformat()}


def leased_codes(answer: Answer) -> Sequence[str] | None:
    """The codes of an answer to a lease; None if it is none."""
    codes = (answer.document or {}).get("codes")
    if answer.status not in (200, 201) or not isinstance(codes, list):
        return None
    good = all(isinstance(code, str) and len(code) == 20 and code.isascii() and code.isdigit() for code in codes)
    return codes if good else None


# --- The sender -----------------------------------------------------------------------------------------


class Sender:
    """Keeps the outbox going in a thread of its own. `tell` gets each message that ended, and each trouble once."""

    def __init__(self, settings: Settings, outbox: Outbox, clock: Clock, tell: Callable[[Message | str], None]) -> None:
        self._settings, self._outbox, self._clock, self._tell = settings, outbox, clock, tell
        self._connection = Connection(settings)
        self._failures, self._stopped_because = 0, ""
        self._lease_failures = 0
        self._lease_after: dict[str, float] = {}
        self._prune_after = 0.0
        self._changed = threading.Condition()
        self._woken, self._ending = False, False
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is under way is finished or given up; all that was not acknowledged stays in the outbox."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(WHOLE_S)
        self._connection.close()

    @property
    def failing(self) -> bool:
        """Whether the last that was tried failed."""
        return self._failures > 0

    @property
    def stopped_because(self) -> str:
        """Why nothing is sent any more, if so."""
        return self._stopped_because

    def wake(self) -> None:
        """There is something to send."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def resume(self) -> None:
        """Try again at once, also after the key was refused."""
        self._stopped_because, self._failures = "", 0
        self._lease_after.clear()
        self.wake()

    def wait_for(self, id: str, most_s: float) -> Message:
        """The message when it has ended, or as it is when the time is over or nothing can be sent."""
        deadline = time.monotonic() + most_s
        with self._changed:
            while True:
                message = self._outbox.get(id)
                left = deadline - time.monotonic()
                if message.state is not State.WAITING or left <= 0 or self._failures or self._stopped_because:
                    return message
                self._changed.wait(left)

    def _run(self) -> None:
        while not self._ending:
            try:
                pause = self._work()
            except LedgerError as error:  # the disk: nothing was sent that is not still kept
                self._tell(str(error))
                pause = WAIT_MAX_S
            with self._changed:
                self._changed.notify_all()
                failing = self._failures > 0 or pause == WAIT_MAX_S
                if self._woken and not failing:
                    pause = 0.0
                self._woken = False
                deadline = time.monotonic() + pause
                while not self._ending and (left := deadline - time.monotonic()) > 0:
                    self._changed.wait(left)
                    if self._woken and (not failing or (not self._failures and not self._stopped_because)):
                        break

    def _work(self) -> float:
        """One thing done; how long to wait before the next."""
        now = self._clock()
        if time.monotonic() >= self._prune_after:
            self._prune_after = time.monotonic() + PRUNE_EVERY_S
            self._outbox.prune(days_before(now, self._settings.keep_days))
        if self._stopped_because:
            return WAIT_MAX_S
        pause = self._lease(now)
        if pause is not None:
            return pause
        message = self._outbox.first_waiting()
        return self._idle_s() if message is None else self._send(message, now)

    def _idle_s(self) -> float:
        """Until something is to be done again: at most until codes may be asked for."""
        now = time.monotonic()
        return min([IDLE_S, *(after - now for after in self._lease_after.values() if after > now)])

    def _send(self, message: Message, now: datetime) -> float:
        path = "/scans" if message.target is None else f"/scans/{message.target}/void"
        answer = self._connection.post(path, message.body, now)
        verdict = judge(message, answer)
        if verdict is Verdict.AGAIN:
            return self._failed(answer)
        self._reached()
        if verdict is Verdict.STOP:
            return self._stop_because(answer)
        if verdict in (Verdict.ASK, Verdict.ASIDE) and self._outbox.get(message.id).body != message.body:
            return 0.0  # the person was told meanwhile that it counts: it is sent again as what happened offline
        if verdict is Verdict.ASK and now - message.put_at > ASKED_HERE and not message.body.get("confirm"):
            # The server counts from when it records; the counter asked about what was the same when it was scanned.
            self._outbox.confirm(message.id)
            return 0.0
        state = {Verdict.RECORDED: State.ACKNOWLEDGED, Verdict.ASK: State.ASKED}.get(verdict, State.ASIDE)
        reason = "" if state is State.ACKNOWLEDGED else answer.reason
        self._outbox.end(message.id, state, now, status=answer.status, reply=answer.document, reason=reason)
        with self._changed:
            self._changed.notify_all()
        self._tell(self._outbox.get(message.id))
        return 0.0

    def _failed(self, answer: Answer) -> float:
        if not self._failures:
            self._tell(f"✗ 连不上服务器，先存在本机 no connection, scans are kept here ({answer.reason})")
        self._failures += 1
        with self._changed:
            self._changed.notify_all()
        return wait_s(self._failures - 1, answer.retry_after_s, random.random())  # noqa: S311 - spreads, hides nothing

    def _reached(self) -> None:
        if self._failures:
            self._tell("✓ 服务器已连上 connected again")
            self._lease_after.clear()
        self._failures = 0

    def _stop_because(self, answer: Answer) -> float:
        self._stopped_because = answer.reason
        self._tell(
            f"✗ 服务器不认本机的密钥，暂停上传，扫码照常保存 the server refuses this terminal's key: nothing is sent, "
            f"scans are kept; ask the operator, then type: resume ({answer.reason})"
        )
        return WAIT_MAX_S

    def _lease(self, now: datetime) -> float | None:
        """Codes for each series that has fewer than half left; None when there is nothing to do."""
        if not self._settings.gives_slips:
            return None
        for series, request in wanted_series(self._settings, now):
            free = self._outbox.free_codes(series)
            if 2 * free >= self._settings.lease_count or time.monotonic() < self._lease_after.get(series, 0.0):
                continue
            answer = self._connection.post("/leases", {**request, "count": self._settings.lease_count - free}, now)
            codes = leased_codes(answer)
            if codes:
                self._reached()
                self._lease_failures = 0
                self._outbox.add_codes(series, codes, now)
                return 0.0
            self._lease_failures += 1
            busy = answer.document is None or answer.status >= 500 or answer.status in (408, 429)
            pause = wait_s(self._lease_failures - 1, answer.retry_after_s, random.random()) if busy else LEASE_AGAIN_S  # noqa: S311
            self._lease_after[series] = time.monotonic() + pause
            if answer.status == 0:
                return self._failed(answer)
            if busy:
                continue  # others lease, too: scans are sent meanwhile
            if answer.status in (401, 403) and isinstance((answer.document or {}).get("type"), str):
                return self._stop_because(answer)
            self._tell(f"✗ 领不到追溯码，还剩 {free} 个 no further trace codes, {free} left ({answer.reason})")
        return None


def local_now() -> datetime:
    """The terminal's clock, with its offset."""
    return datetime.now(UTC).astimezone()
