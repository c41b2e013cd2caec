"""The command `suyuan`: the ledger for whoever runs the machine.

Whoever may run it on the machine is the operator: these commands need no credential, and their entries name `operator`.
A user's mistake ends with one sentence and exit status 2, trouble with the installation with 1; never with a traceback.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from api import demo as demonstration
from api.city import city_app
from api.files import Captured, capture_file
from api.ledger import now, open_ledger
from api.problems import exit_code
from api.records import add_registers
from api.reporting import report as make_report
from api.rules import rules_app, warning_app
from api.screen import err, out, progress, say, show, table, warn
from api.serve import serve_http
from api.symbols import symbol_app
from api.terminal import terminal_app
from api.uploads import official_app
from ledger.access import Role
from ledger.audit import audit as run_audit
from ledger.capture import ErrorBehaviour
from ledger.codes import NodeCode, key_of_code, node_text, parse_node
from ledger.credentials import credentials, get_credential, issue, revoke
from ledger.database import open_database
from ledger.documents import write_json
from ledger.entries import time_text
from ledger.erase import erase as erase_sealed
from ledger.errors import LedgerError, NotRecorded, UnreadableCode
from ledger.log import proof_file
from ledger.merkle import ProofInvalid
from ledger.nodes import OPERATOR
from ledger.notes import NoteInvalid, Recorded, Verifier, open_receipt, verify_proof
from ledger.reads import get_entry
from ledger.registers import REGISTERS
from ledger.reseal import replace_registry_key
from ledger.rights import migrate as migrate_database
from ledger.settings import Settings
from ledger.trace import Direction
from ledger.trace import trace as trace_code
from ledger.worker import integrate_now
from ledger.worker import replace_key as replace_signing_key
from reports.trace import to_json, to_tree

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown",
    help="Suyuan 溯源: a city's traceability ledger, append-only and provable. Start with: suyuan demo",
)  # fmt: skip
credential_app = typer.Typer(no_args_is_help=True, help="Credentials: who may write and read over HTTP.")
key_app = typer.Typer(no_args_is_help=True, help="The key that signs the log.")
app.add_typer(credential_app, name="credential")
app.add_typer(key_app, name="key")
add_registers(app, REGISTERS)
app.add_typer(rules_app, name="rules")
app.add_typer(warning_app, name="warning")
app.add_typer(city_app, name="city")
app.add_typer(symbol_app, name="symbol")
app.add_typer(official_app, name="official")
app.add_typer(terminal_app, name="terminal")
app.command("report")(make_report)


# --- running --------------------------------------------------------------------------------------


@app.command()
def demo(
    events: Annotated[int, typer.Option(min=100, max=1_000_000, help="how many events the generated day has")] = 20_000,
) -> None:
    """Show everything once on a scratch database: capture, trace, tamper, audit.

    Example: `suyuan demo`
    """
    demonstration.run(out, events)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 8000,
    processes: Annotated[int, typer.Option(min=1, max=64, help="how many processes answer")] = 1,
    worker: Annotated[bool, typer.Option(help="also integrate and sign the log in here")] = True,
) -> None:
    """Serve the HTTP API, and follow the chains.

    Example: `suyuan serve --port 8000`
    """
    serve_http(Settings.from_environment(), host, port, processes, worker=worker)


@app.command()
def worker() -> None:
    """Follow the chains as a process of its own: sign, watch, tell (with `suyuan serve --no-worker`).

    Example: `suyuan worker`
    """
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with open_ledger(Settings.from_environment(), worker=True):
        err.print("following the chains; Ctrl-C ends it")
        stopped.wait()


@app.command()
def migrate() -> None:
    """Bring the database to this release's schema and set the rights. Doing it again changes nothing.

    Example: `suyuan migrate`
    """
    with open_database(Settings.from_environment()) as database:
        migrate_database(database)
    out.print("the database has this release's schema")


# --- writing --------------------------------------------------------------------------------------


@app.command()
def capture(
    files: Annotated[list[str], typer.Argument(help="EPCIS JSON documents or JSON lines; - is standard input")],
    proceed: Annotated[
        bool, typer.Option(help="record good events of a document although others are rejected")
    ] = False,
    receipts: Annotated[Path | None, typer.Option(help="append the signed receipts to this file")] = None,
) -> None:
    """Record EPCIS 2.0 events from files. Each document is recorded whole or not at all.

    Example: `suyuan capture day.jsonl` · `suyuan capture --proceed *.jsonld`
    """
    behaviour = ErrorBehaviour.PROCEED if proceed else ErrorBehaviour.ROLLBACK
    total = Captured()
    with (
        (receipts or Path(os.devnull)).open("a") as kept,
        open_ledger(Settings.from_environment()) as ledger,
        progress("captured", "events") as (bar, task),
    ):
        for name in files:
            bar.update(task, description=name[-40:])
            try:
                for part in capture_file(ledger, name, behaviour):
                    total += part
                    bar.update(task, completed=total.new + total.known)
                    if part.receipt:
                        kept.write(part.receipt + "\n")
                        kept.flush()
            except OSError as error:
                if str(error.filename) != name:
                    raise  # the disk or the file of receipts: then nothing more is recorded
                total += Captured(refusals=[f"{name}: {error.strerror}"])
        integrate_now(ledger.database, ledger.keys, ledger.signer)
    for refusal in total.refusals:
        warn(refusal)
    out.print(f"recorded {total.new} new entries; {total.known} were recorded before; {len(total.refusals)} refused")
    if total.refusals:
        raise typer.Exit(2)


@app.command()
def erase(
    entry: Annotated[str, typer.Argument(help="the entry, NODE/SEQ")],
    reason: Annotated[str, typer.Option(help="why; it is recorded and stays")],
) -> None:
    """Erase the sealed part of an entry for good. Its bytes, its hash and every proof stay; the erasure is an entry.

    Example: `suyuan erase 330212001/17 --reason "court order 2026-118"`
    """
    node, seq = _entry(entry)
    with open_database(Settings.from_environment()) as database:
        erase_sealed(database, node, seq, reason, OPERATOR.name, now)
    out.print(f"the sealed part of {entry} is erased")


# --- reading and proving --------------------------------------------------------------------------


@app.command()
def trace(
    code: Annotated[str, typer.Argument(help="URI, (01)… with lot or serial, 20-digit code, SSCC or GTIN")],
    direction: Annotated[Direction, typer.Option(help="which way to follow")] = Direction.BOTH,
    format: Annotated[str, typer.Option(help="tree or json")] = "tree",
) -> None:
    """Show where a code came from and where everything made of it went.

    Example: `suyuan trace "(01)06901234500103(10)P20261122A" --direction backward`
    """
    if format not in ("tree", "json"):
        raise UnreadableCode("format", format, "it is tree or json")
    with open_ledger(Settings.from_environment()) as ledger, ledger.database.read() as connection:
        graph = trace_code(connection, key_of_code(code), direction, OPERATOR)
    if format == "json":
        typer.echo(write_json(to_json(graph)))
    else:
        show(to_tree(graph))


@app.command()
def audit(
    receipt: Annotated[
        list[Path] | None, typer.Option(help="file of signed receipts that the ledger must hold")
    ] = None,
) -> None:
    """Compute everything again from the stored bytes and name every disagreement. Exit status 1 if there is any.

    Example: `suyuan audit --receipt receipts.txt`
    """
    with open_ledger(Settings.from_environment()) as ledger:
        vouched = [one for path in receipt or () for one in _receipts(path, ledger.keys.verifiers())]
        with progress("audit", "entries") as (bar, task):
            report = run_audit(
                ledger.database, ledger.keys.verifiers(), ledger.keys.last_checkpoint(), vouched,
                lambda step, done, total: bar.update(task, description=step, completed=done, total=total), ledger.vault,
            )  # fmt: skip
    for disagreement in report.disagreements:
        out.print(str(disagreement), markup=False, highlight=False, soft_wrap=True, style="red")
    out.print(
        f"{report.entries} entries in {report.chains} chains, {report.log_size} in the log, {report.checkpoints} "
        f"checkpoints, {report.receipts} receipts: "
        + ("everything agrees" if report.clean else f"{report.count} disagreements"),
        soft_wrap=True,
    )
    if not report.clean:
        raise typer.Exit(1)


def _receipts(path: Path, verifiers: list[Verifier]) -> Iterator[Recorded]:
    """The entries that a file of receipts vouches for; receipts follow each other, an empty line after each."""
    try:
        before, *notes = path.read_text().split("suyuan receipt v1\n")
        if before.strip() or not notes:
            raise NoteInvalid("it does not begin with a receipt")
        for note in notes:
            yield from open_receipt(f"suyuan receipt v1\n{note.rstrip()}\n", verifiers)
    except OSError as error:
        raise NotRecorded(f"{path}: {error.strerror}") from error
    except (NoteInvalid, UnicodeDecodeError) as error:
        raise UnreadableCode("file of receipts", str(path), str(error)) from error


def _entry(name: str) -> tuple[NodeCode, int]:
    node, slash, seq = name.partition("/")
    if not slash or not seq.isascii() or not seq.isdigit() or len(seq) > 18 or int(seq) < 1:
        raise UnreadableCode("entry", name, "give it as NODE/SEQ, such as 330212001/17")
    return parse_node(node), int(seq)


@app.command()
def proof(
    entry: Annotated[str, typer.Argument(help="the entry, NODE/SEQ")],
    output: Annotated[
        Path | None, typer.Option(help="write the proof here, and the entry's bytes to FILE.entry")
    ] = None,
) -> None:
    """Prove an entry: a C2SP tlog-proof file, to be checked offline with the entry's bytes and the public key.

    Example: `suyuan proof 330212001/17 --output sale.tlog-proof`
    """
    node, seq = _entry(entry)
    with open_ledger(Settings.from_environment()) as ledger:
        integrate_now(ledger.database, ledger.keys, ledger.signer)
        with ledger.database.read() as connection:
            text = proof_file(connection, node, seq)
            data = get_entry(connection, node, seq, OPERATOR).entry.data
    if output is None:
        typer.echo(text, nl=False)
        return
    output.write_text(text)
    output.with_name(f"{output.name}.entry").write_bytes(data)
    say(f"wrote {output} and {output}.entry")


@app.command()
def verify(
    proof: Annotated[Path, typer.Argument(help="a .tlog-proof file")],
    entry: Annotated[Path, typer.Argument(help="the entry's bytes")],
    key: Annotated[str, typer.Option(help="the log's public key, as `suyuan key show` prints it")],
) -> None:
    """Check a proof offline: nothing but the two files and the public key is used.

    Example: `suyuan verify sale.tlog-proof sale.tlog-proof.entry --key "city.example/log+…"`
    """
    try:
        index, checkpoint = verify_proof(proof.read_text(), entry.read_bytes(), [Verifier.parse(key)])
    except OSError as error:
        raise NotRecorded(f"{error.filename}: {error.strerror}") from error
    except (NoteInvalid, ProofInvalid, UnicodeDecodeError) as error:
        warn(f"not proved: {error}")
        raise typer.Exit(1) from error
    out.print(f"proved: entry {index} of the {checkpoint.size} that {checkpoint.origin} signed for")


# --- administration -------------------------------------------------------------------------------


@key_app.command("show")
def keyshow() -> None:
    """Print the public key to give to verifiers, the present one first.

    Example: `suyuan key show`
    """
    settings = Settings.from_environment()
    with open_ledger(settings) as ledger:
        for verifier in ledger.keys.verifiers():
            typer.echo(str(verifier))


@key_app.command("replace-registry")
def key_replace_registry() -> None:
    """Seal the registry's personal data with a new key, while the ledger goes on. The old key goes at the next time.

    Example: `suyuan key replace-registry`
    """
    with open_ledger(Settings.from_environment()) as ledger, progress("sealing again", "versions") as (bar, task):
        count = replace_registry_key(
            ledger.database, ledger.keys, lambda done, total: bar.update(task, completed=done, total=total)
        )
    out.print(f"the private values of {count} versions are sealed with a new key")


@key_app.command("replace")
def key_replace(reason: Annotated[str, typer.Option(help="why; it is recorded and stays")]) -> None:
    """Retire the signing key and go on with a new one: when it leaked, or the log had to be rolled back.

    The decision is an entry; the old key, kept with its last checkpoint, never signs again.

    Example: `suyuan key replace --reason "disk failed on 3 May, back-up of 2 May restored"`
    """
    with open_ledger(Settings.from_environment()) as ledger:
        successor = replace_signing_key(ledger.database, ledger.keys, ledger.signer, reason, OPERATOR.name, now)
    out.print("the log is signed from now on with:", soft_wrap=True)
    typer.echo(str(successor.verifier))


@credential_app.command("add")
def credential_add(
    role: Role,
    label: Annotated[str, typer.Argument(help="what it is for; no personal data")],
    node: Annotated[list[str] | None, typer.Option(help="a node it is bound to; the first is its home")] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="how long it is in force")] = 365,
) -> None:
    """Issue a credential and print its API key, this once: only its hash is kept.

    Example: `suyuan credential add terminal "stall 12" --node 330212001`
    """
    with open_ledger(Settings.from_environment()) as ledger:
        with ledger.database.read() as connection:
            request, made, key = issue(connection, role, label, node or [], days, OPERATOR.name, now())
        ledger.record(request)
    err.print(
        f"credential {made.credential}, in force until {time_text(made.expires_at)}; keep this key, it is shown once:"
    )
    typer.echo(key)


@credential_app.command("list")
def credential_list() -> None:
    """List all credentials, revoked ones too.

    Example: `suyuan credential list`
    """
    shown = table("credential", "role", "label", "nodes", "until", "revoked")
    with open_ledger(Settings.from_environment()) as ledger, ledger.database.read() as connection:
        after = ""
        while part := credentials(connection, after):
            after = part[-1].credential
            for one in part:
                revoked = time_text(one.revoked_at) if one.revoked_at else ""
                bound = " ".join(node_text(code) for code in one.nodes)
                row = (one.credential, one.role, one.label, bound, f"{one.expires_at:%Y-%m-%d}", revoked)
                shown.add_row(*map(Text, row))
    show(shown)


@credential_app.command("revoke")
def credential_revoke(credential: str) -> None:
    """End a credential at once and for good.

    Example: `suyuan credential revoke k2m4x7q3aa`
    """
    with open_ledger(Settings.from_environment()) as ledger:
        with ledger.database.read() as connection:
            present = get_credential(connection, credential)
        ledger.record(revoke(present, OPERATOR.name, now()))
    out.print(f"credential {credential} is revoked")


def main() -> None:
    """The entry point: every refusal becomes one sentence and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold anything
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except LedgerError as error:
        warn(str(error))
        sys.exit(exit_code(error))
    except UnicodeEncodeError:
        err.print("a name or text that was given holds bytes that are no UTF-8")
        sys.exit(2)
    except BrokenPipeError:
        _let_go_of_output()
        sys.exit(141)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        warn(f"{where}{error.strerror or error}")
        _let_go_of_output()
        sys.exit(1)
    except (psycopg.Error, DBAPIError) as error:
        err.print(f"the database refuses this: {str(error).strip().splitlines()[0]}", markup=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _let_go_of_output() -> None:
    """What could not be written will not be tried again when the interpreter ends, which would end in a traceback."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
