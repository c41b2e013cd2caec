"""What is in a case or pallet now: the packs that aggregation events put in, and did not take out again.

A container in a container is opened too. Events declared in error are passed over (EPCIS 2.0, 7.4.3).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from ledger.drafts import id_key
from ledger.entries import Entry
from ledger.errors import LimitExceeded
from ledger.fields import parse_time
from ledger.gs1 import Key
from ledger.identifiers import canonical_key
from ledger.index import Role
from ledger.reads import read_entries

Json = dict[str, Any]
DEPTH_MAX = 5
_EVENTS = f"""
SELECT item, node, seq FROM item_entry WHERE item = ANY(%b) AND role = {int(Role.PARENT)}
"""  # noqa: S608 - a number
_IN_ERROR = "SELECT id FROM event_id WHERE id = ANY(%b) AND declaration <> 0"


def packs_in(connection: psycopg.Connection, container: Key, most: int) -> list[Key]:
    """The packs in a container, in the order of their codes; `LimitExceeded` if there are more than `most`."""
    packs: set[Key] = set()
    opened: set[Key] = set()
    layer = {container}
    for _ in range(DEPTH_MAX):
        content = _content(connection, layer - opened)
        opened |= content.keys()
        packs |= layer - content.keys()  # what holds nothing is a pack
        layer = set().union(*content.values())
        if len(packs) + len(layer) > most:
            raise LimitExceeded(f"more than {most} packs are in {container}; do it case by case")
        if not layer:
            break
    if layer:
        raise LimitExceeded(f"containers are packed more than {DEPTH_MAX} deep in {container}; do it case by case")
    return sorted(packs - {container})


def _content(connection: psycopg.Connection, containers: Iterable[Key]) -> dict[Key, set[Key]]:
    """What is directly in each of these that is a container."""
    places = connection.execute(_EVENTS, [sorted(containers)], binary=True).fetchall()
    if not places:
        return {}
    events = read_entries(connection, [(row[1], row[2]) for row in places])
    content: dict[Key, set[Key]] = {Key(row[0]): set() for row in places}
    for event in _in_order(connection, events):
        parent = canonical_key(event["parentID"])
        children = {canonical_key(epc) for epc in event.get("childEPCs", ())}
        if parent not in content:
            continue
        match event["action"]:
            case "ADD":
                content[parent] |= children
            case "DELETE":
                content[parent] -= children or content[parent]
            case "OBSERVE" if children:
                content[parent] = children
    return content


def _in_order(connection: psycopg.Connection, entries: Sequence[Entry]) -> list[Json]:
    """The aggregations among them that stand, as they happened."""
    events = {
        id_key(entry.body["event"]["eventID"]): entry
        for entry in entries
        if "errorDeclaration" not in entry.body.get("event", {"errorDeclaration": None})
    }
    wrong = {row[0] for row in connection.execute(_IN_ERROR, [[*events]], binary=True)}
    standing = [entry for id_, entry in events.items() if id_ not in wrong and "parentID" in entry.body["event"]]
    standing.sort(key=lambda entry: (parse_time(entry.body["event"]["eventTime"]), entry.record_time))
    return [entry.body["event"] for entry in standing]
