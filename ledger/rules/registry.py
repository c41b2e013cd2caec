"""What the registry says, as rules need it: changes of its rows, learned in the order of the log. Pure."""

from datetime import datetime
from typing import Any

from ledger.codes import node_text
from ledger.entries import time_text
from ledger.errors import LedgerError
from ledger.identifiers import canonical_key
from ledger.rules.book import Book

Json = dict[str, Any]


def learn(book: Book, table: str, row: Json, at: datetime) -> None:
    """A row of the registry has a new state, recorded at `at`."""
    match table:
        case "node":
            book.put(
                "node", node_text(row["node"]), {name: row.get(name) for name in ("kind", "region", "name", "open")}
            )
        case "goods":
            book.put("goods", row["goods"], row)
        case "product":
            for code in {row["product"], row["gtin"]} - {None}:
                book.put("product", code, row)
        case "party":
            book.put("party", row["party"], {"kinds": row["kinds"], "status": row["status"], "nodes": row["nodes"]})
        case "licence":
            page = book.get("licences", row["party"]) or {}
            kept = {name: row[name] for name in ("kind", "valid_from", "valid_to", "status")}
            book.put("licences", row["party"], {**page, row["licence"]: kept})
        case "certificate":
            book.put("certificate", row["certificate"], row)
        case "hold":
            _hold(book, row, at)
        case "recall":
            _recall(book, row)
        case "silence":
            page = book.get("silence", "") or {}
            kept = {name: row[name] for name in ("rule", "subject", "until")}
            book.put("silence", "", {**page, row["silence"]: {**kept, "active": row["status"] == "active"}})
        case "rule_set":
            page = book.get("rule_sets", "") or {}
            book.put("rule_set", row["rule_set"], {"rules": row["rules"], "live": row["status"] == "live"})
            book.put("rule_sets", "", {**page, row["rule_set"]: row["version"]})


def _hold(book: Book, row: Json, at: datetime) -> None:
    target = key_of(row["target"]) if row["scope"] == "lot" else row["target"]
    name = f"{row['scope']} {target}"
    page = book.get("hold", name) or {}
    since = page.get(row["hold"], {}).get("since", time_text(at))
    kept = {"since": since, "until": row["until"], "active": row["status"] == "active"}
    book.put("hold", name, {**page, row["hold"]: kept})


def _recall(book: Book, row: Json) -> None:
    """What is recalled stays so: ending a recall says that the work is done."""
    kept = {"at": row["decided_at"], "real": row["nature"] == "real", "batches": row["batches"]}
    for key in map(key_of, row["lots"]) if row.get("lots") else [row["product"]]:
        book.put("recall", key, {**(book.get("recall", key) or {}), row["recall"]: kept})


def key_of(code: str) -> str:
    """The canonical key of a code; the code itself where it is none."""
    try:
        return canonical_key(code)
    except LedgerError:
        return code
