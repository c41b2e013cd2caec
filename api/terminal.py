"""`suyuan terminal`: the counter's side. It speaks HTTP only, and needs neither a database nor the server's files."""

import json
import re
import sys
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from api.screen import say, warn
from ledger.errors import Misconfigured, NotRecorded, UnreadableCode
from scanners.terminal.calibration import Finding, Profile, find, sheet_pdf, sheet_symbols
from scanners.terminal.counter import HELP
from scanners.terminal.devices import Lines, move_away
from scanners.terminal.outbox import Outbox, Summary, only_one
from scanners.terminal.settings import (
    OUTBOX_FILE,
    PROFILE_FILE,
    Settings,
    read_private,
    read_settings,
    write_private,
    write_settings,
)
from scanners.terminal.sync import Sender, local_now
from scanners.terminal.till import Till

terminal_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown",
    help="A terminal at a counter 终端: scans are kept on disk and sent until the ledger has them.",
)  # fmt: skip
Folder = Annotated[Path, typer.Argument(help="the terminal's folder")]
DRAIN_S = 5.0
_OTHERS: dict[str, type] = {
    "shop": str, "stall": str, "link": str, "columns": int, "lease_count": int, "lease_days": int, "keep_days": int,
}  # fmt: skip
_printing = threading.Lock()


def _show(text: str) -> None:
    """A line for the person, at once, whole: two threads print."""
    with _printing:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


@terminal_app.command("setup")
def setup(  # noqa: PLR0913 - a terminal's settings, each with a name of its own
    folder: Folder,
    url: Annotated[str, typer.Option(help="the ledger's address, http(s)://host:port")],
    key: Annotated[str, typer.Option(help="the API key of `suyuan credential add`; - reads it from standard input")],
    node: Annotated[str, typer.Option(help="the node, 9 digits")],
    *,
    step: Annotated[str, typer.Option(help="what is recorded here, such as retail_sale")],
    party: Annotated[str, typer.Option(help="the stall, 13 digits; the node's own operator if left out")] = "",
    scheme: Annotated[str, typer.Option(help="how the node numbers its slips: A or B")] = "A",
    printer: Annotated[str, typer.Option(help="where slips go: a device, - for text here, nothing for none")] = "",
    other: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE: " + ", ".join(_OTHERS) + ", goods.CODE (a name for the slip)"),
    ] = None,
    in_store: Annotated[
        str,
        typer.Option(
            help="layout of the shop's own weighed codes: 2#GGGGGWWWWWC; # any, G goods, W grams, P fen, C check"
        ),
    ] = "",
    plu: Annotated[
        list[str] | None, typer.Option("--plu", help="NUMBER=GOODS: what the shop's number in such a code is of")
    ] = None,
) -> None:
    """Make or change a terminal's folder. What waits in it stays.

    Example: `suyuan terminal setup stall12 --url http://10.0.0.5:8000 --key - --node 330212001
    --party 3302120010012 --step retail_sale --in-store 2#GGGGGWWWWWC --plu 00123=21113011`
    """
    settings = Settings(
        url=url, key=sys.stdin.readline().strip() if key == "-" else key, node=node, step=step, party=party,
        scheme=scheme, printer=printer, in_store=in_store, plus=_plus(plu or []), **_others(other or []),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_settings(folder, settings)
    Outbox(folder / OUTBOX_FILE).close()
    say(f"wrote {folder}; start it with: suyuan terminal run {folder}")


def _others(given: list[str]) -> dict[str, Any]:
    """The settings that have no option of their own."""
    found: dict[str, Any] = {}
    goods: dict[str, str] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if equals and name.startswith("goods.") and name != "goods.":
            goods[name.removeprefix("goods.")] = value
        elif not equals or name not in _OTHERS:
            raise UnreadableCode("setting of a terminal", one, f"give NAME=VALUE; there are {', '.join(_OTHERS)}")
        elif _OTHERS[name] is int:
            if not re.fullmatch(r"[0-9]{1,6}", value):
                raise UnreadableCode("setting of a terminal", one, "it takes a whole number")
            found[name] = int(value)
        else:
            found[name] = value
    return {**found, "goods": goods}


def _plus(given: list[str]) -> dict[str, str]:
    """The shop's numbers, each with the goods that it is of."""
    found: dict[str, str] = {}
    for one in given:
        number, equals, goods = one.partition("=")
        if not equals or not number or not goods:
            raise UnreadableCode("shop's number", one, "give NUMBER=GOODS, such as 00123=21113011")
        if found.setdefault(number, goods) != goods:
            raise UnreadableCode("shop's number", one, f"it is given twice, once as {found[number]}")
    return found


@terminal_app.command(
    "run", help=f"Record what is scanned. Example: `suyuan terminal run till`. The lines:\n\n```\n{HELP}\n```"
)
def run(
    folder: Folder,
    device: Annotated[Path | None, typer.Option(help="also read a serial or other text device")] = None,
    images: Annotated[Path | None, typer.Option(help="also read the symbols of images put into this folder")] = None,
) -> None:
    """Record what is scanned on standard input, a device or in images, until standard input ends."""
    settings, profile = read_settings(folder), read_profile(folder)
    with only_one(folder):
        outbox = Outbox(folder / OUTBOX_FILE)
        till = Till(settings, outbox, local_now, _show, profile=profile)
        lines = Lines()
        lines.add_stream(sys.stdin.buffer, last=True)
        if device is not None:
            lines.add_device(device)
        if images is not None:
            lines.add_images(images)
        _show(till.greeting())
        till.sender.start()
        try:
            for line in lines:
                answer = line.trouble or till.take(line.text, origin=line.origin)
                if line.done is not None:
                    move_away(line.done, "read")
                _show(answer)
            _drain(till.sender, outbox)
        finally:
            lines.end()
            till.sender.stop()
            outbox.close()


def _drain(sender: Sender, outbox: Outbox) -> None:
    """A moment to send the rest, if it can be sent; whatever stays is sent at the next run."""
    deadline, pause = time.monotonic() + DRAIN_S, threading.Event()
    while outbox.waiting() and not sender.stopped_because and not sender.failing and time.monotonic() < deadline:
        pause.wait(0.05)


@terminal_app.command("status")
def status(folder: Folder) -> None:
    """Say what waits and since when, what was set aside and why, and how many trace codes are left.

    Exit status 1 if something is set aside. Example: `suyuan terminal status stall12`
    """
    outbox = _outbox(folder)
    found = outbox.summary()
    outbox.close()
    _say_summary(found)
    if found.aside:
        raise typer.Exit(1)


def _say_summary(found: Summary) -> None:
    since = f", the oldest since {found.since.astimezone().isoformat(timespec='seconds')}" if found.since else ""
    say(f"{found.waiting} 笔待传 waiting{since}")
    say(f"{found.acknowledged} 笔已记录 recorded")
    for series, left in found.codes.items():
        say(f"{left} 个追溯码 trace codes left of {series}")
    for message in found.aside:
        what = f"{message.body.get('scanned', '')} {message.body.get('quantity', '')}".strip()
        kept = message.put_at.astimezone().isoformat(timespec="seconds")
        say(f"✗ {message.id} {what} {kept} {message.state} ({message.status}): {message.reason}")


@terminal_app.command("retry")
def retry(
    folder: Folder, scan: Annotated[str | None, typer.Argument(help="only this scan; all if left out")] = None
) -> None:
    """Send again what was set aside, under the same ids and in the same order.

    Example: `suyuan terminal retry stall12`
    """
    outbox = _outbox(folder)
    try:
        say(f"{outbox.retry(scan)} 笔再传 will be sent again")
    finally:
        outbox.close()


@terminal_app.command("drop")
def drop(
    folder: Folder,
    scan: Annotated[str, typer.Argument(help="the scan's id, as status shows it")],
    reason: Annotated[str, typer.Option(help="why it is not to be recorded")],
) -> None:
    """Give up a scan that was set aside; it stays in the folder with the reason until it is pruned.

    Example: `suyuan terminal drop stall12 0f9c… --reason "entered by hand at the office"`
    """
    outbox = _outbox(folder)
    try:
        outbox.drop(scan, reason, datetime.now(UTC))
    finally:
        outbox.close()
    say(f"{scan} 不再上传 will not be sent")


@terminal_app.command("calibrate")
def calibrate(
    folder: Folder,
    sheet: Annotated[Path | None, typer.Option(help="write the test sheet: a .pdf, or .png for one symbol")] = None,
    scan: Annotated[bool, typer.Option(help="read one scan from standard input")] = True,
) -> None:
    """Write a test sheet, read one scan of it, say what the scanner does wrong, and keep what was proved.

    Example: `suyuan terminal calibrate stall12 --sheet sheet.pdf`
    """
    if sheet is not None:
        if sheet.suffix not in (".pdf", ".png"):
            raise Misconfigured(f"the sheet {sheet} has to end in .pdf or .png")
        sheet.write_bytes(sheet_pdf() if sheet.suffix == ".pdf" else sheet_symbols()[0].png(module_px=6))
        say(f"wrote {sheet}: print it, or show it on a screen")
    if not scan:
        return
    say("请扫测试页上的 DataMatrix scan the sheet's DataMatrix:")
    finding = find(sys.stdin.buffer.readline().decode("utf-8", "replace"))
    if finding is None:
        warn("✗ 认不出这是测试页上的码 this is no symbol of the sheet, or changed beyond knowing; nothing is kept")
        raise typer.Exit(1)
    _say_finding(finding)
    if finding.usable:
        folder.mkdir(parents=True, exist_ok=True)
        write_private(folder / PROFILE_FILE, _profile_text(finding.profile))
        say(f"wrote {folder / PROFILE_FILE}")
    if finding.faults:
        raise typer.Exit(1)


def _say_finding(finding: Finding) -> None:
    for fault in finding.faults:
        say(f"✗ {fault.chinese} {fault.english}")
    for note in finding.notes:
        say(f"· {note}")
    if not finding.faults:
        say(f"✓ 扫描枪没有问题 the scanner reads {finding.symbol} rightly")


def _profile_text(profile: Profile) -> str:
    return json.dumps(asdict(profile), ensure_ascii=False) + "\n"


def read_profile(folder: Path) -> Profile:
    """What calibration proved of this terminal's scanner; nothing, if there was none."""
    path = folder / PROFILE_FILE
    if not path.exists():
        return Profile()
    found = read_private(path, "")
    kinds = {"prefix": str, "suffix": str, "aim": bool, "sends_fnc1": bool}
    if set(found) != set(kinds) or any(type(found[name]) is not kind for name, kind in kinds.items()):
        raise Misconfigured(f"{path} is no profile of a scanner: calibrate again")
    return Profile(**found)


def _outbox(folder: Path) -> Outbox:
    if not (folder / OUTBOX_FILE).is_file():
        raise NotRecorded(f"{folder} is no terminal's folder; make it with: suyuan terminal setup {folder}")
    return Outbox(folder / OUTBOX_FILE)
