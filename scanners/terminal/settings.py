"""The settings of one terminal: a JSON file in its folder, which only its owner may read, since the key is in it."""

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ledger.codes import TraceScheme, parse_node, parse_party
from ledger.errors import Misconfigured, UnreadableCode
from ledger.steps import BY_NAME, Step
from scanners.terminal.weighed import InStore, layout_fault, plus_fault

FILE, PROFILE_FILE, OUTBOX_FILE = "terminal.json", "scanner.json", "outbox.sqlite"
LEASE_COUNT_MAX, KEEP_DAYS_MAX, FILE_BYTES_MAX = 500, 3650, 1 << 20
_KEY = re.compile(r"[!-~]{1,500}")


@dataclass(frozen=True, slots=True)
class Settings:
    """One terminal's settings, checked when made.

    `party` is the stall; without one the node's own operator sells. `printer` is a device or file that takes ESC/POS,
    "-" for plain text on standard output, empty for none. `link` is what a slip's QR code holds, with {trace} in it.
    `goods` are names for the slip by what was scanned or by its code. `in_store` is the layout of the shop's own
    weighed codes, such as 2#GGGGGWWWWWC, and `plus` says of which goods its numbers are. `lease_count` trace codes are
    kept at hand, in scheme B for each of `lease_days` days ahead; acknowledged scans stay on disk for `keep_days`.
    """

    url: str
    key: str = field(repr=False)
    node: str
    step: str
    party: str = ""
    scheme: str = "A"
    printer: str = ""
    columns: int = 32
    shop: str = ""
    stall: str = ""
    link: str = ""
    goods: Mapping[str, str] = field(default_factory=dict)
    in_store: str = ""
    plus: Mapping[str, str] = field(default_factory=dict)
    lease_count: int = 100
    lease_days: int = 7
    keep_days: int = 30

    def __post_init__(self) -> None:
        for name, good, hint in self._rules():
            if not good:
                raise Misconfigured(f"the terminal's {name} {hint}")
        try:
            parse_node(self.node)
            if self.party and parse_party(self.party)[:9] != self.node:
                raise Misconfigured(f"the terminal's party {self.party} is not of its node {self.node}")
        except UnreadableCode as error:
            raise Misconfigured(f"the terminal's settings: {error}") from None

    def _rules(self) -> tuple[tuple[str, bool, str], ...]:
        layout, table = layout_fault(self.in_store) if self.in_store else "", plus_fault(self.in_store, self.plus)
        texts = all(isinstance(name, str) and isinstance(text, str) for name, text in self.goods.items())
        return (
            ("url", re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", self.url) is not None, "is http(s)://host:port"),
            ("key", _KEY.fullmatch(self.key) is not None, "is the API key that `suyuan credential add` printed"),
            ("step", self.step in BY_NAME, f"{self.step!r} is none; the steps are {', '.join(sorted(BY_NAME))}"),
            ("scheme", self.scheme in set(TraceScheme), "is A (the stall's serial) or B (the node's day)"),
            ("columns", self.columns in (32, 48), "are 32 (58 mm) or 48 (80 mm)"),
            ("link", not self.link or self.link.count("{trace}") == 1, "holds {trace} once, where the code belongs"),
            ("goods", texts, "are names for codes, all texts"),
            ("in_store", not layout, layout),
            ("plus", not table, f"are wrong: {table}"),
            ("lease_count", 1 <= self.lease_count <= LEASE_COUNT_MAX, f"is 1 to {LEASE_COUNT_MAX}"),
            ("lease_days", 0 <= self.lease_days <= 30, "is 0 to 30"),
            ("keep_days", 1 <= self.keep_days <= KEEP_DAYS_MAX, f"is 1 to {KEEP_DAYS_MAX}"),
        )

    @property
    def rule(self) -> Step:
        """What the terminal's step needs."""
        return BY_NAME[self.step]

    @property
    def seller(self) -> str:
        """The party whose trace codes are used: 13 digits."""
        return self.party or f"{self.node}0000"

    @property
    def labels(self) -> InStore:
        """How the shop numbers what it weighs."""
        return InStore(self.in_store, self.plus)

    @property
    def gives_slips(self) -> bool:
        """Whether what the terminal records goes out on a slip."""
        return self.rule.gives_slip


_TYPES: dict[str, type] = {
    "columns": int,
    "lease_count": int,
    "lease_days": int,
    "keep_days": int,
    "goods": dict,
    "plus": dict,
}


def write_settings(folder: Path, settings: Settings) -> None:
    """The file is there whole, or as it was before; nobody but its owner can read it at any moment."""
    write_private(folder / FILE, json.dumps(asdict(settings), ensure_ascii=False, indent=2) + "\n")


def read_settings(folder: Path) -> Settings:
    """The folder's settings; `Misconfigured` says what is wrong and what to do."""
    path = folder / FILE
    found = read_private(path, f"make it with: suyuan terminal setup {folder}")
    names = Settings.__dataclass_fields__
    if unknown := sorted(set(found) - set(names)):
        raise Misconfigured(f"{path}: {unknown[0]!r} is no setting; the settings are {', '.join(names)}")
    for name, value in found.items():
        if type(value) is not _TYPES.get(name, str):
            raise Misconfigured(f"{path}: {name} is of the wrong kind")
    if missing := [name for name in ("url", "key", "node", "step") if name not in found]:
        raise Misconfigured(f"{path}: {missing[0]} is missing; make the file again with: suyuan terminal setup")
    return Settings(**found)


def write_private(path: Path, text: str) -> None:
    """Replace a file by one with mode 0600, on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """What was made or renamed in `folder` is on disk when this returns."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private(path: Path, hint: str) -> dict[str, Any]:
    """A JSON object that only its owner may read."""
    try:
        about = path.stat()
        if stat.S_IMODE(about.st_mode) & 0o077:
            raise Misconfigured(f"{path} can be read by others: chmod 600 {path}")
        if about.st_size > FILE_BYTES_MAX:
            raise Misconfigured(f"{path} has {about.st_size} bytes; at most {FILE_BYTES_MAX} are read")
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Misconfigured(f"{path} is not there; {hint}") from None
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise Misconfigured(f"{path} holds no JSON object")
    return found
