"""Every way the ledger says no.

    LedgerError
    |-- Unacceptable        what was given breaks its rules; holds every breach; nothing was written
    |   |-- UnacceptableEvent     a document or event, the standard
    |   `-- UnacceptableRecord    a record of the registry, its register
    |-- UnreadableCode      a code is not what it claims to be; says which character and why
    |-- Conflict            this id, key or version is already recorded with other content
    |   |-- AskAgain             the same was recorded seconds ago: a person has to be asked
    |   `-- Outpaced             somebody else was faster with the same pack: it is to be decided again
    |-- NotEnough           more of a lot was to be taken than is left
    |-- Held                goods, party or node are held, or the lot is recalled: nothing of it may go out
    |-- NotRecorded         nothing answers to that name
    |-- NotSignedIn         no credential, or one that is unknown, expired or revoked
    |-- NotAllowed          the credential's role or nodes do not cover this
    |-- LimitExceeded       larger or deeper than this installation takes
    |-- TooOften            this address looked up too many codes; after a while it may again
    |-- Busy                too much waits already; the same request again later is safe
    |-- Unavailable         the database cannot be reached or used
    |-- LedgerDamaged       stored bytes and stored hashes disagree
    |   `-- LogRolledBack   the log is shorter or other than what was signed before
    `-- Misconfigured       a setting, folder or key is missing or wrong

Each carries facts; `str()` of it is one sentence for a person that says what was wrong, where, and
what to do. What HTTP status and exit code they become is decided in `api/problems.py`.
"""

from dataclasses import dataclass
from decimal import Decimal


class LedgerError(Exception):
    """The root: whatever the ledger refuses to do."""


@dataclass(frozen=True)
class Breach:
    """One thing that is wrong with a document: where (a JSON path) and why."""

    path: str
    reason: str
    event: int | None = None

    def __str__(self) -> str:
        where = self.path if self.event is None else f"event {self.event}, {self.path}"
        return f"{where}: {self.reason}"


class Unacceptable(LedgerError):
    """What was given breaks its rules. `breaches` holds all of them, not the first."""

    def __init__(self, breaches: list[Breach]) -> None:
        self.breaches = breaches
        shown = "; ".join(map(str, breaches[:3]))
        more = f"; and {len(breaches) - 3} more" if len(breaches) > 3 else ""
        super().__init__(f"nothing was written: {shown}{more}")


class UnacceptableEvent(Unacceptable):
    """The input breaks EPCIS 2.0 or CBV 2.0."""


class UnacceptableRecord(Unacceptable):
    """The fields of a record are not what its register asks for. No breach repeats a private value."""


class UnreadableCode(LedgerError, ValueError):
    """`code` is no such code: `position` is the 0-based character that is wrong, or None for the length."""

    def __init__(self, kind: str, code: str, reason: str, position: int | None = None) -> None:
        self.kind, self.code, self.reason, self.position = kind, code, reason, position
        shown = code if len(code) <= 80 else f"{code[:80]}…"
        where = "" if position is None else f" at character {position + 1}"
        super().__init__(f"{shown!r} is not a {kind}{where}: {reason}")


class Conflict(LedgerError):
    """Recorded already with other content, or changed by somebody else in between."""


class AskAgain(Conflict):
    """The same thing was recorded seconds ago: the person is asked, nothing is guessed."""


class Outpaced(Conflict):
    """A pack is no longer as it was when the command was decided."""


class NotEnough(LedgerError):
    """`missing` more of `item` was to be taken from `holder` than is left; `refusal` is the entry that says so."""

    refusal: str | None = None

    def __init__(self, item: str, holder: str, missing: Decimal, uom: str) -> None:
        self.item, self.holder, self.missing, self.uom = item, holder, missing, uom
        super().__init__(f"{missing.normalize():f} {uom} more of {item} than {holder} has left: look at its balance")


@dataclass(frozen=True)
class Stop:
    """What is stopped (lot, goods, product/batch, party or node), by which hold or recall, and until when, if it ends.

    `recall`: it is a recall, which ends when everything is back.
    """

    scope: str
    target: str
    order: str
    until: str | None = None
    recall: bool = False

    def __str__(self) -> str:
        what, word = ("召回", "recall") if self.recall else ("停售令", "hold")
        end = f",至 {self.until} until then" if self.until else ""
        return f"{self.target} {what} {word} {self.order}{end}"


class Held(LedgerError):
    """`stops` keep it from going out; `refusal` is the entry that says so."""

    refusal: str | None = None

    def __init__(self, stops: tuple[Stop, ...]) -> None:
        self.stops = stops
        shown = "; ".join(map(str, stops[:3]))
        super().__init__(
            f"已停售,不得售出或转移,请下架封存并联系监管部门 held: {shown}. "
            f"Keep it apart and ask the authority; it may be counted, tested, returned or destroyed"
        )


class NotRecorded(LedgerError):
    """Nothing is recorded under that name."""


class NotSignedIn(LedgerError):
    """The request carries no credential that is known and in force."""


class NotAllowed(LedgerError):
    """The credential is known, but may not do this."""


class LimitExceeded(LedgerError):
    """Larger, longer or deeper than the limit; the message names the limit."""


class TooOften(LedgerError):
    """One address asked too often. In `retry_after_s` seconds it may ask again."""

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"查询太频繁,请 {retry_after_s} 秒后再试 too many look-ups: try again in {retry_after_s} s")


class Busy(LedgerError):
    """More waits to be written than may wait. Nothing of this request was written."""

    retry_after_s = 1


class Unavailable(LedgerError):
    """The database is out of reach. The same request again, under the same ids, is safe."""


class LedgerDamaged(LedgerError):
    """What is stored disagrees with its own hashes."""


class LogRolledBack(LedgerDamaged):
    """The log does not extend the last checkpoint signed; nothing is signed until an operator decides."""


class Misconfigured(LedgerError):
    """The installation, not the request, is wrong."""
