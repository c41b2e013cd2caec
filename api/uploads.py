"""Official records for a higher platform: exported to standard output, or uploaded through an outbox.

What is new in the chains goes into the outbox of the folder under ids made of node, record and place, in that order;
only then does the cursor move. So a kill at any moment loses nothing, and what is sent again has the same id and the
same bytes. How the platform checks a document (VerifyCode) is not public: who knows gives a function, or a transport.
"""

import fcntl
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Protocol
from uuid import UUID, uuid5

import httpx
import typer

from api.ledger import Ledger, now, open_ledger
from api.official import Page, moment, page
from api.screen import say, warn
from ledger.codes import NodeCode, parse_node
from ledger.entries import time_text
from ledger.errors import Busy, Misconfigured
from ledger.exchange import Document, write_document
from ledger.official import BY_RECORD, RECORDS, OfficialRecord, halves
from ledger.settings import Settings
from scanners.terminal.outbox import Json, Message, Outbox, State
from scanners.terminal.settings import sync_folder, write_private
from scanners.terminal.sync import wait_s

official_app = typer.Typer(
    no_args_is_help=True, help="Official records 官方追溯记录: export, upload to a higher platform."
)
_UPLOADS = UUID("8a0f3a5e-0c2d-5f8e-9a41-2f1d5b7c9e10")
"""The name space of the ids of uploads; it never changes."""
LOOK_EVERY_S, SEND_S = 5.0, 30.0


class Outcome(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a document that was sent, and why."""

    outcome: Outcome
    reason: str = ""


class Transport(Protocol):
    """The way to a platform. It may be given the same id again, and has to bear that."""

    def send(self, id: str, document: Document) -> Sent: ...


class FolderTransport:
    """Each document as a file of its id: there whole, or not at all."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def send(self, id: str, document: Document) -> Sent:
        try:
            new = self._folder / f".{id}.new"
            with new.open("wb") as file:
                file.write(write_document(document, xml=True))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._folder / f"{id}.xml")
            sync_folder(self._folder)
        except OSError as error:
            return Sent(Outcome.UNREACHABLE, str(error))
        return Sent(Outcome.ACCEPTED)


class HttpTransport:
    """POST of the XML, its id as `Idempotency-Key`. `verify` makes the VerifyCode of the bytes with an empty one."""

    def __init__(self, url: str, verify: Callable[[bytes], str] | None) -> None:
        self._url, self._verify = url, verify
        self._client = httpx.Client(timeout=SEND_S, trust_env=False, follow_redirects=False)

    def send(self, id: str, document: Document) -> Sent:
        data = write_document(document, xml=True)
        if self._verify is not None:
            data = write_document(replace(document, verify_code=self._verify(data)), xml=True)
        headers = {"Content-Type": "application/xml; charset=utf-8", "Idempotency-Key": id}
        try:
            answer = self._client.post(self._url, content=data, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Sent(Outcome.UNREACHABLE, f"{type(error).__name__}: {error}")
        reason = f"HTTP {answer.status_code} {answer.text[:200]}".strip()
        if answer.status_code in (401, 403, 404, 408, 421, 425, 429) or not 200 <= answer.status_code < 500:
            return Sent(Outcome.UNREACHABLE, reason)  # of the way or the sender, not of this document
        return Sent(Outcome.REFUSED if answer.status_code >= 300 or _says_no(answer) else Outcome.ACCEPTED, reason)


def _says_no(answer: httpx.Response) -> bool:
    """`{"success":false}`, as one deployed platform answers (china.md 1.5, F2)."""
    try:
        found = answer.json()
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("success") is False


def transport_of(text: str, verify: str | None) -> Transport:
    """`folder:PATH`, an address, or `module:Class` of the operator's own; `Misconfigured` for anything else."""
    if text.startswith("folder:"):
        return FolderTransport(Path(text.removeprefix("folder:")))
    if text.startswith(("http://", "https://")):
        return HttpTransport(text, None if verify is None else _named(verify))
    transport: Transport = _named(text)()
    return transport


def _named(text: str) -> Any:
    module, colon, name = text.partition(":")
    try:
        if not module or not colon:
            raise Misconfigured(f"{text!r} is none of folder:PATH, an http(s) address, or module:name")
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Misconfigured(f"{text!r} names nothing that can be imported: {error}") from error


# --- The state in the folder ----------------------------------------------------------------------------


class Upload:
    """One folder's outbox and cursors. One process at a time."""

    def __init__(self, folder: Path) -> None:
        self._state_file = folder / "state.json"
        self.outbox = Outbox(folder / "outbox.db")
        self.state: dict[str, Any] = {"cursors": {}, "lastReport": {}}
        if self._state_file.exists():
            try:
                self.state = json.loads(self._state_file.read_bytes())
            except ValueError as error:
                raise Misconfigured(f"{self._state_file} is damaged: {error}") from error

    def _save(self) -> None:
        write_private(self._state_file, json.dumps(self.state))

    def gather(self, ledger: Ledger, node: NodeCode) -> None:
        """What is new of a node goes into the outbox; the cursor moves when it is there."""
        for row in RECORDS:
            key = f"{node:09d}/{row.name}"
            for part in _pages(ledger, node, row, self.state["cursors"].get(key, 0)):
                for (name, fields), (seq, lot) in zip(part.records, part.places, strict=True):
                    id = str(uuid5(_UPLOADS, f"{key}/{seq}/{lot}"))
                    body = {"node": f"{node:09d}", "record": name, "fields": fields, "time": moment(ledger)}
                    self.outbox.put(id, body, now())
                if part.seen != self.state["cursors"].get(key, 0):
                    self.state["cursors"][key] = part.seen
                    self._save()

    def send_first(self, transport: Transport, index: str) -> Sent | None:
        """The oldest that waits is sent; None if there is none. A refusal sets it aside, with its reason."""
        message = self.outbox.first_waiting()
        if message is None:
            return None
        sent = transport.send(message.id, document_of(message, index))
        if sent.outcome is not Outcome.UNREACHABLE:
            accepted = sent.outcome is Outcome.ACCEPTED
            state = State.ACKNOWLEDGED if accepted else State.ASIDE
            reason = "" if accepted else sent.reason or "refused"
            self.outbox.end(message.id, state, now(), status=200 if accepted else 400, reply=None, reason=reason)
            if accepted:
                self.state["lastReport"][message.body["node"]] = time_text(now())
                self._save()
        return sent


def document_of(message: Message, index: str) -> Document:
    """The same document for the same message, however often it is sent."""
    body: Json = message.body
    return Document(
        body["node"], body["time"], body["time"][:8], list(halves([(body["record"], body["fields"])])), index
    )


def _pages(
    ledger: Ledger, node: NodeCode, row: OfficialRecord, after: int = 0, since: date | None = None,
    until: date | None = None,
) -> Iterator[Page]:  # fmt: skip
    more = True
    while more:
        with ledger.database.read() as connection:
            part = page(connection, ledger, node, row, since=since, until=until, after=after)
        yield part
        after, more = part.seen, part.more


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """This process only sends from the folder; the lock goes with it, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misconfigured(f"another process uploads from {folder} already") from None
        yield


# --- Commands -------------------------------------------------------------------------------------------


@official_app.command("export")
def export(
    node: str,
    since: Annotated[str, typer.Option("--from", help="first day")],
    until: Annotated[str, typer.Option("--to", help="last day")],
    record: Annotated[str | None, typer.Option(help="one record only")] = None,
    xml: Annotated[bool, typer.Option(help="XML instead of JSON")] = False,
) -> None:
    """Print a node's official records, a document each page and kind of record.

    Example: `suyuan official export 330212001 --from 2026-11-01 --to 2026-11-30 --xml`
    """
    if record is not None and record not in BY_RECORD:
        raise typer.BadParameter(f"the records are {', '.join(row.name for row in RECORDS)}")
    try:
        first, last = date.fromisoformat(since), date.fromisoformat(until)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    code = parse_node(node)
    with open_ledger(Settings.from_environment()) as ledger:
        for row in RECORDS if record is None else (BY_RECORD[record],):
            for part in _pages(ledger, code, row, 0, first, last):
                if part.records:
                    made = Document(node, moment(ledger), last.strftime("%Y%m%d"), list(halves(part.records)))
                    typer.echo(write_document(made, xml=xml))


@official_app.command("upload")
def upload(
    folder: Path,
    transport: Annotated[str, typer.Option(help="folder:PATH, an http(s) address, or module:Class")],
    node: Annotated[list[str], typer.Option(help="a node whose records are sent")],
    verify: Annotated[str | None, typer.Option(help="module:function that makes the VerifyCode")] = None,
    index: Annotated[str, typer.Option(help="the platform's index code")] = "",
    once: Annotated[bool, typer.Option(help="end when nothing waits, with 1 if the platform is not reached")] = False,
) -> None:
    """Send a platform what is new, in order and for good; what it refuses is set aside with the reason.

    Example: `suyuan official upload ./province --transport https://platform.example/in --node 330212001 --once`
    """
    way, codes, failures = transport_of(transport, verify), [parse_node(one) for one in node], 0
    with _alone(folder), open_ledger(Settings.from_environment()) as ledger:
        state = Upload(folder)
        while True:
            for code in codes:
                with suppress(Busy):  # so much waits that no more is taken: it is gathered when there is room
                    state.gather(ledger, code)
            while (sent := state.send_first(way, index)) is not None:
                if sent.outcome is Outcome.UNREACHABLE:
                    warn(f"连不上上级平台 the platform is not reached: {sent.reason}")
                    if once:
                        raise typer.Exit(1)
                    time.sleep(wait_s(failures, 0.0, random.random()))  # noqa: S311 - spreads, hides nothing
                    failures += 1
                    continue
                failures = 0
                if sent.outcome is Outcome.REFUSED:
                    warn(f"上级平台退回 refused and set aside: {sent.reason}")
            if once:
                break
            time.sleep(LOOK_EVERY_S)
    status(folder)


@official_app.command("status")
def status(folder: Path) -> None:
    """Show what waits, what was accepted, what stands aside and why, and each node's last report.

    Example: `suyuan official status ./province`
    """
    if not (folder / "outbox.db").exists():
        raise Misconfigured(f"{folder} holds no outbox of uploads")
    state = Upload(folder)
    found = state.outbox.summary()
    say(f"待传 waiting {found.waiting}, 已收 accepted {found.acknowledged}, 退回 aside {len(found.aside)}")
    for node, at in sorted(state.state["lastReport"].items()):
        say(f"{node} 最近上报 last report {at}")
    for message in found.aside:
        say(f"{message.id} {message.body['record']}: {message.reason}")
