#!/usr/bin/env python3
"""Check a trace dossier of a Suyuan (溯源) ledger offline, without trusting whoever handed it over.

    python verifier.py dossier.json --key 'suyuan.example/log+1a2b3c4d+Ab…'

This one file needs Python 3.11 and the package `cryptography`, and nothing of the ledger. The key is the log's public
key: take it from where the ledger publishes it, or from a receipt of your own; never from the dossier, since whoever
forged a dossier would have put a key of their own into it.

What is checked, in this order (the numbers stand at the code too):

 1. The checkpoint, a signed note (c2sp.org/signed-note), is signed with Ed25519 by the key given.
 2. The checkpoint (c2sp.org/tlog-checkpoint) is of that key's log, and the dossier names the same size and root.
 3. Every entry: its bytes are an entry, its SHA-256 is a leaf of the log, and the path given leads from that leaf to
    the signed root (RFC 6962, 2.1.1, verified as in RFC 9162, 2.1.3.2). So the ledger held exactly these bytes when it
    signed, and has held itself to them since.
 4. Every sealed part that is there: SHA-256 of its salt and its bytes is what the entry's bytes say.
 5. Chains: where two entries that follow each other in a node's chain are both there, the later one holds the hash of
    the earlier one; and entries of one chain lie in the log in their own order.
 6. Every line of the dossier that names entries names only proven ones; its times are those of its entries, its
    quantities and its codes of lots, slips, packs and cases stand in them, and so do its documents, unless a sealed
    part of its entries is not there.

What it proves: these records were in the ledger when the checkpoint was signed, and no byte of them was changed since.
What it does not prove: that what was recorded is true; that nothing else was recorded (a dossier may leave entries
out; ask the ledger for the trace again); that the names, sums and judgements of the dossier follow from its
entries (print them with --show and read them); that the log showed everybody the same checkpoint (compare it with one
that somebody else keeps); what is in sealed parts that are not there, since the reader was not entitled to them or
they were erased.

Exit code: 0 everything holds, 1 something does not, 2 nothing could be checked.
"""

import argparse
import base64
import binascii
import hashlib
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORM = "suyuan dossier proofs v1"
ENTRY = re.compile(r"[0-9]{9}/[1-9][0-9]{0,18}")
SIGNATURE = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
FIELDS = ["v", "node", "seq", "prev", "recordTime", "actor", "kind", "salt", "body", "sealed"]
EVIDENCE = {"证据条目", "evidence"}
"""Heads of the column that names a line's entries."""
HELD = {
    **dict.fromkeys(("发生时间", "event time", "发货时间", "shipped at", "收货时间", "received at"), "happened"),
    **dict.fromkeys(("记录时间", "recorded at", "发货记录", "shipment recorded"), "recorded"),
    **dict.fromkeys(("收货记录", "receipt recorded"), "recorded"),
    **dict.fromkeys(("数量", "quantity", "发货数量", "quantity shipped", "收货数量", "quantity received"), "quantity"),
    **dict.fromkeys(("单据", "document"), "document"),
    **dict.fromkeys(("货品", "goods", "从", "from", "到", "to"), "item"),
}
"""Heads of columns that are held against a line's entries."""
ITEM = re.compile(r"(?:0[01]/[0-9]+|urn:suyuan:(?:lot|trace|drug):)[^\s,]*")
"""How a dossier writes the codes of lots, slips, packs and cases that are checked; others it may name are not."""
LINK = re.compile(r"https?://[^?#]*?/(0[01]/[^?#]*)")
URN = re.compile(r"urn:epc:(?:id|class):(sgtin|lgtin|sscc):([0-9]+)\.([0-9]+)(?:\.(.*))?")

Json = dict[str, Any]


class Wrong(ValueError):
    """Something does not hold; the text says what."""


@dataclass(frozen=True)
class Key:
    """A log's public key: name, the first four bytes of a hash, and the Ed25519 key itself."""

    name: str
    id: bytes
    public: bytes


@dataclass
class Proven:
    """An entry that is proven: what its bytes say, where it lies in the log, and its sealed part where that is there.

    `sealed` is None where nothing is sealed or the sealed part is not there; `withheld` tells the two apart.
    """

    name: str
    data: bytes
    says: Json
    index: int
    sealed: Json | None = None
    withheld: bool = False

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(self.data).digest()


@dataclass
class Result:
    """What was checked, how often, and every failure."""

    checked: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def did(self, what: str, count: int = 1) -> None:
        """Count something that was checked and holds."""
        self.checked[what] = self.checked.get(what, 0) + count

    def wrong(self, what: str) -> None:
        """Note a failure."""
        self.failures.append(what)


# --- forms ------------------------------------------------------------------------------------------


def from_base64(text: object) -> bytes:
    """RFC 4648, 4, and only the one spelling of a value."""
    try:
        data = base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        raise Wrong(f"{str(text)[:40]!r} is not base64") from None
    if base64.b64encode(data).decode() != text:
        raise Wrong(f"{str(text)[:40]!r} is not the one base64 spelling of its bytes")
    return data


def from_hex(text: object) -> bytes:
    """Lower-case hexadecimal."""
    try:
        data = bytes.fromhex(str(text))
    except ValueError:
        raise Wrong(f"{str(text)[:40]!r} is not hexadecimal") from None
    if data.hex() != text:
        raise Wrong(f"{str(text)[:40]!r} is not how the ledger writes bytes")
    return data


def _once(pairs: list[tuple[str, Any]]) -> Json:
    """An object whose keys stand in it once: else two programs could read two things in one file."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Wrong("an object of the file has one key twice")
    return found


def read_json(data: str | bytes, *, strict: bool = True) -> Any:
    """The JSON value, numbers exact."""
    try:
        return json.loads(data, parse_float=Decimal, object_pairs_hook=_once if strict else None)
    except (ValueError, RecursionError) as error:
        raise Wrong(f"it is no JSON: {error}") from None


def parse_key(vkey: str) -> Key:
    """A public key as the ledger publishes it: name+hash+base64."""
    name, _, rest = vkey.strip().partition("+")
    id_, _, encoded = rest.partition("+")
    data = from_base64(encoded)
    if not name or len(data) != 33 or data[:1] != b"\x01":
        raise Wrong("a key is name+hash+base64, with an Ed25519 key")
    expected = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
    if expected.hex() != id_:
        raise Wrong(f"the hash in the key is {id_}, it should be {expected.hex()}: was it copied whole?")
    return Key(name, expected, data[1:])


# --- 1 and 2: the checkpoint ------------------------------------------------------------------------


def open_note(note: str, keys: Iterable[Key]) -> tuple[str, Key]:
    """1. The text of a signed note, and which of the keys signed it. A known key's bad signature spoils the note."""
    text, separator, tail = note.rpartition("\n\n")
    text += "\n"
    if not separator or not tail.endswith("\n"):
        raise Wrong("the checkpoint is no signed note: text, an empty line, signatures")
    known, signer = {(key.name, key.id): key for key in keys}, None
    for line in tail[:-1].split("\n"):
        match = SIGNATURE.fullmatch(line)
        if match is None:
            raise Wrong(f"{line[:60]!r} is no signature line")
        data = from_base64(match[2])
        key = known.get((match[1], data[:4]))
        if key is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(data[4:], text.encode())
        except InvalidSignature:
            raise Wrong(f"the signature of {key.name} under the checkpoint is not good") from None
        signer = signer or key
    if signer is None:
        raise Wrong("the checkpoint is not signed by the key given")
    return text, signer


def read_checkpoint(text: str) -> tuple[str, int, bytes]:
    """2. Origin, size and root of a checkpoint's text."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]) or not SIZE.fullmatch(lines[1]):
        raise Wrong("the signed text is no checkpoint: origin, size and root, a line each")
    root = from_base64(lines[2])
    if len(root) != 32:
        raise Wrong(f"the checkpoint's root has {len(root)} bytes, not 32")
    return lines[0], int(lines[1]), root


# --- 3: entries under the root ----------------------------------------------------------------------


def require_included(index: int, size: int, leaf: bytes, path: list[bytes], root: bytes) -> None:
    """3. The path leads from the leaf hash at `index` to the root of the tree of `size` (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        raise Wrong(f"there is no place {index} in a log of {size} entries")
    if any(len(one) != 32 for one in path):
        raise Wrong("a hash of the path has not 32 bytes")
    at, last, result = index, size - 1, leaf
    for one in path:
        if last == 0:
            raise Wrong("the path is too long")
        if at & 1 or at == last:
            result = hashlib.sha256(b"\x01" + one + result).digest()
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            result = hashlib.sha256(b"\x01" + result + one).digest()
        at, last = at >> 1, last >> 1
    if last != 0:
        raise Wrong("the path is too short")
    if result != root:
        raise Wrong("the path leads to another root: these bytes are not what the log holds")


def prove(given: Json, size: int, root: bytes) -> Proven:
    """3 and 4. One entry of the dossier, if it is proven."""
    data = from_base64(given["data"])
    says = read_json(data, strict=False)  # the bytes are proven as they are; of a key that stands twice the last counts
    if not isinstance(says, dict) or list(says) != FIELDS or not isinstance(says["body"], dict):
        raise Wrong("its bytes are no entry")
    name = f"{says['node']}/{says['seq']}"
    if name != given["entry"]:
        raise Wrong(f"its bytes are those of the entry {name}")
    if type(given.get("index")) is not int:
        raise Wrong("no place in the log is given: it was not under the checkpoint when the dossier was made")
    leaf = hashlib.sha256(b"\x00" + hashlib.sha256(data).digest()).digest()
    require_included(given["index"], size, leaf, [from_base64(one) for one in given["path"]], root)
    found = Proven(name, data, says, given["index"])
    sealed = given.get("sealed")
    if sealed is None:
        found.withheld = says["sealed"] is not None
    else:  # 4
        salt, hidden = from_hex(sealed["salt"]), from_base64(sealed["data"])
        if hashlib.sha256(salt + hidden).hexdigest() != says["sealed"]:
            raise Wrong("the sealed part is not what the entry's bytes commit to")
        found.sealed = read_json(hidden, strict=False)
    return found


# --- 5: chains --------------------------------------------------------------------------------------


def check_chains(entries: dict[str, Proven], result: Result) -> None:
    """5. Links between entries that follow each other, and the order of each chain in the log."""
    chains: dict[str, list[Proven]] = {}
    for one in entries.values():
        chains.setdefault(one.says["node"], []).append(one)
    for chain in chains.values():
        chain.sort(key=lambda one: int(one.says["seq"]))
        for before, after in pairwise(chain):
            if before.index >= after.index:
                result.wrong(f"entry {after.name}: it lies in the log before {before.name}")
            if after.says["seq"] == before.says["seq"] + 1:
                if after.says["prev"] == before.hash.hex():
                    result.did("chain links between consecutive entries")
                else:
                    result.wrong(f"entry {after.name}: it does not follow {before.name}: the hash before is another")


# --- 6: lines ---------------------------------------------------------------------------------------


def leaves(value: Any) -> Iterator[Any]:
    """Every value inside a JSON value."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def moment(text: object) -> datetime | None:
    """A time to the second, or None where there is none."""
    try:
        return datetime.fromisoformat(str(text)).replace(microsecond=0)
    except ValueError:
        return None


def number(text: object) -> Decimal | None:
    """A number, or None where there is none."""
    try:
        return Decimal(str(text))
    except InvalidOperation:
        return None


def key_of(text: str) -> str:
    """A lot, pack or case as a dossier writes it: of a GS1 Digital Link or an EPC URN (TDS 1.13, 6 and 7)."""
    if link := LINK.match(text):
        parts = link[1].split("/")
        named = dict(zip(parts[::2], parts[1::2], strict=False))
        if "01" not in named:
            return f"00/{named['00']}"
        number_ = f"01/{named['01'].zfill(14)}"
        finest = next((ai for ai in ("21", "10") if ai in named), None)
        return unquote(number_ if finest is None else f"{number_}/{finest}/{named[finest]}")
    if urn := URN.fullmatch(text):
        digits = urn[3][0] + urn[2] + urn[3][1:]
        weighted = sum(int(digit) * (3 if at % 2 == 0 else 1) for at, digit in enumerate(reversed(digits)))
        digits += str(-weighted % 10)
        ai = {"sgtin": "21", "lgtin": "10"}.get(urn[1])
        return f"00/{digits}" if ai is None else unquote(f"01/{digits}/{ai}/{urn[4]}")
    return unquote(text)


def check_line(heads: list[str], cells: list[str], entries: dict[str, Proven]) -> list[str]:
    """6. What is wrong with one line: entries not proven, times and quantities that stand in none of its entries."""
    at = next(i for i, head in enumerate(heads) if head in EVIDENCE)
    names = cells[at].split()
    if not names:
        return ["it names no entry"]
    if missing := [name for name in names if name not in entries]:
        return [f"the entry {name} that it names is not proven" for name in missing]
    proven = [entries[name] for name in names]
    values = [value for one in proven for value in (*leaves(one.says["body"]), *leaves(one.sealed))]
    said: dict[str, set[Any]] = {
        "happened": {moment(one.says["body"].get("event", {}).get("eventTime")) for one in proven},
        "recorded": {moment(one.says["recordTime"]) for one in proven},
        "quantity": {number(value) for value in values if isinstance(value, int | Decimal)},
        "document": {value for value in values if isinstance(value, str)},
        "item": {key_of(value) for value in values if isinstance(value, str)},
    }
    if any(one.withheld for one in proven):
        del said["document"]  # it may stand in a part that is not here
    return [
        f"{head} {cell!r} stands in none of its entries"
        for head, cell in zip(heads, cells, strict=True)
        if cell and HELD.get(head) in said and not read(HELD[head], cell) <= said[HELD[head]] - {None}
    ]


def read(kind: str, cell: str) -> set[Any]:
    """What a cell says: codes among other words, numbers or documents with spaces between, or a time."""
    if kind == "item":
        return {unquote(found) for found in ITEM.findall(cell)}
    if kind in ("quantity", "document"):
        return {number(word) if kind == "quantity" else word for word in cell.split()}
    return {moment(cell)}


def check_lines(sections: Any, entries: dict[str, Proven], result: Result) -> None:
    """6. Every line of every table whose lines name entries; and entries named anywhere else."""
    cited = set()
    for section in sections:
        title = section[0][0] if section and section[0] else "?"
        heads = section[1] if len(section) > 1 else []
        is_table = any(head in EVIDENCE for head in heads)
        for number_, cells in enumerate(section[2:] if is_table else section, 1):
            cited |= {word for cell in cells for word in str(cell).split() if ENTRY.fullmatch(word)}
            if not is_table:
                continue
            if len(cells) != len(heads):
                wrong = ["it has not as many cells as the table has columns"]
            else:
                wrong = check_line(heads, cells, entries)
            for reason in wrong:
                result.wrong(f"table {title!r}, line {number_}: {reason}")
            if not wrong:
                result.did("lines whose entries are proven")
    for name in sorted(cited - entries.keys()):
        result.wrong(f"entry {name}: the dossier names it, and does not prove it")


# --- all of it --------------------------------------------------------------------------------------


def verify(dossier: Json, keys: list[Key]) -> tuple[Result, dict[str, Proven]]:
    """Everything that the docstring above numbers; the failures, and the entries that are proven."""
    result, entries = Result(), dict[str, Proven]()
    proofs = dossier["proofs"]
    if proofs["form"] != FORM:
        raise Wrong(f"the proofs are of the form {proofs['form']!r}; this program reads {FORM!r}")
    try:
        text, signer = open_note(proofs["checkpoint"], keys)
        origin, size, root = read_checkpoint(text)
        if origin != signer.name:
            raise Wrong(f"the checkpoint is of the log {origin}, the key of {signer.name}")
    except Wrong as error:
        result.wrong(f"checkpoint: {error}")
        return result, entries  # nothing below means anything without it
    result.did(f"checkpoint of {size} entries, signed by {signer.name}")
    basis = dossier["basis"]
    roots = (root.hex(), base64.b64encode(root).decode())
    if (basis["checkpoint"], basis["origin"]) != (str(size), origin) or basis["root"] not in roots:
        result.wrong("the dossier says that it rests on another checkpoint than the one that comes with it")
    seen = set()
    for given in proofs["entries"]:
        name = str(given.get("entry"))
        if name in seen:
            result.wrong(f"entry {name}: it stands there twice")
            continue
        seen.add(name)
        try:
            found = prove(given, size, root)
        except (Wrong, KeyError, TypeError) as error:
            result.wrong(f"entry {name}: {error}" if isinstance(error, Wrong) else f"entry {name}: it is malformed")
            continue
        entries[name] = found
        result.did("entries in the log under the checkpoint")
        if found.sealed is not None:
            result.did("sealed parts that match their entries")
        elif found.withheld:
            result.did("sealed parts that are not in the dossier: nothing is proven of them")
    check_chains(entries, result)
    check_lines(dossier["sections"], entries, result)
    return result, entries


def show(one: Proven) -> None:
    """An entry as it stands in the ledger, with its sealed part."""
    print(f"\n{one.name}  place {one.index}  recorded {one.says['recordTime']} by {one.says['actor']}")
    print(f"  SHA-256 {one.hash.hex()}")
    for what, value in (("open", one.says["body"]), ("sealed", one.sealed)):
        if value is not None:
            print(f"  {what}: {json.dumps(value, ensure_ascii=False, default=str, indent=1)}")
    if one.withheld:
        print("  sealed: not in the dossier")


def main() -> int:
    """The command."""
    about = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=about, epilog="What is checked and what is proven: read the file.")
    parser.add_argument("dossier", type=Path, help="the dossier as JSON")
    parser.add_argument("--key", action="append", required=True, help="the log's public key; again for older keys")
    parser.add_argument("--show", action="store_true", help="print every proven entry as it stands in the ledger")
    given = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a console without Chinese shows the rest
    try:
        keys = [parse_key(key) for key in given.key]
        dossier = read_json(given.dossier.read_bytes())
        result, entries = verify(dossier, keys)
    except (Wrong, OSError) as error:
        print(f"nothing could be checked: {error}", file=sys.stderr)
        return 2
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        print(f"nothing could be checked: this is no dossier ({type(error).__name__}: {error})", file=sys.stderr)
        return 2
    if given.show:
        for one in entries.values():
            show(one)
        print()
    for what, count in result.checked.items():
        print(f"holds   {count:6}  {what}")
    for failure in result.failures:
        print(f"FAILS   {failure}")
    failed = len(result.failures)
    print(f"不通过 {failed} failures: do not rely on it" if failed else "通过 everything holds")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
