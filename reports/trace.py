"""A trace as a document: JSON for programs, a tree for people at a terminal.

Pure functions of `ledger.trace.Graph`. Each event names the entry that proves it.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.text import Text
from rich.tree import Tree

from ledger.codes import node_text
from ledger.entries import time_text
from ledger.gs1 import Key
from ledger.index import Action, Mention, Role
from ledger.trace import Direction, Graph, OpenEnd, Reason, Step

Json = dict[str, Any]

_ROLE_NAMES = {
    Role.OBJECT: "objects", Role.PARENT: "parents", Role.CHILD: "children", Role.INPUT: "inputs",
    Role.OUTPUT: "outputs", Role.TRANSFORMATION: "transformations", Role.CERTIFICATE: "certificates",
}  # fmt: skip
_PARTY_FIELDS = (("sourceList", "source"), ("destinationList", "destination"))
REASON_TEXT = {
    Reason.NO_ORIGIN: "来源未记录 nothing recorded says where this came from",
    Reason.NOT_RECEIVED: "已发未收 shipped, and nobody has received it",
    Reason.HELD: "在库 not sold, consumed or destroyed: where it was seen last",
    Reason.LIMIT: "未展开 the trace was cut here: ask from this item on",
}


def _name(place: tuple[int, int]) -> str:
    return f"{node_text(place[0])}/{place[1]}"


def to_json(graph: Graph) -> Json:
    """The graph: items (by steps from the code asked for), events (the hubs between them), and open ends."""
    return {
        "code": graph.start,
        "cut": graph.cut,
        "items": [
            {"item": item.key, "level": item.level, "events": [_name(place) for place in item.steps]}
            for item in sorted(graph.items.values(), key=lambda item: (item.level, item.key))
        ],
        "events": [_step_json(step) for step in _in_time(graph)],
        "openEnds": [
            {
                "item": end.item, "direction": end.direction, "reason": end.reason,
                "lastEvent": end.last and _name(end.last), "text": REASON_TEXT[end.reason],
            }
            for end in graph.open_ends
        ],
    }  # fmt: skip


def _in_time(graph: Graph) -> list[Step]:
    return sorted(graph.steps.values(), key=_when)


def _when(step: Step) -> tuple[datetime, tuple[int, int]]:
    return step.time, step.place


def _step_json(step: Step) -> Json:
    event = step.event
    shown: Json = {
        "entry": _name(step.place), "hash": step.hash.hex(), "recordTime": time_text(step.record_time),
        "eventID": event["eventID"], "type": event["type"], "eventTime": event["eventTime"],
        "visible": "whole" if step.is_whole else "open", "inError": step.in_error,
    }  # fmt: skip
    for field in ("action", "bizStep", "disposition", "ilmd", "sensorElementList", "bizTransactionList"):
        if field in event:
            shown[field] = event[field]
    for field in ("readPoint", "bizLocation"):
        if field in event:
            shown[field] = event[field]["id"]
    for role, name in _ROLE_NAMES.items():
        if mentioned := [_mention_json(m) for m in step.mentions if m.role is role]:
            shown[name] = mentioned
    if parties := list(_parties(event)):
        shown["parties"] = parties
    return shown


def _mention_json(mention: Mention) -> Json:
    shown: Json = {"item": mention.key}
    if mention.quantity is not None:
        shown["quantity"] = mention.quantity
    if mention.uom is not None:
        shown["uom"] = mention.uom
    return shown


def _parties(event: Json) -> Iterator[Json]:
    """Who gave and who took, with their roles: there only where the reader may see them."""
    for field, side in _PARTY_FIELDS:
        for party in event.get(field, ()):
            yield {"side": side, "role": party["type"], "party": party[side]}


# --- a tree for the terminal ----------------------------------------------------------------------


def to_tree(graph: Graph) -> Tree:
    """Upstream above, downstream below; each event with its entry, open ends marked. Codes stand as they are."""
    ends: dict[str, list[OpenEnd]] = {}
    for end in graph.open_ends:
        ends.setdefault(end.item, []).append(end)
    amounts = {place: _amounts(step) for place, step in graph.steps.items()}
    counts = f"  {len(graph.steps)} 事件 events, {len(graph.items)} 物品 items"
    tree = Tree(Text.assemble((graph.start, "bold"), counts))
    for title, side, direction in (
        ("来源 where it came from", -1, Direction.BACKWARD),
        ("本身 the code asked for", 0, None),
        ("去向 where it went", 1, Direction.FORWARD),
    ):
        found = (item for item in graph.items.values() if (item.level > 0) - (item.level < 0) == side)
        items = sorted(found, key=lambda item: (abs(item.level), item.key))
        if items:
            branch = tree.add(Text(title, "cyan"))
            for item in items:
                node = branch.add(
                    Text.assemble((item.key, "bold"), (f"  {item.level:+d}" if item.level else "", "dim"))
                )
                for step in sorted((graph.steps[place] for place in item.steps), key=_when):
                    node.add(_step_line(step, amounts[step.place].get(item.key, "")))
                for end in ends.get(item.key, ()):
                    if direction in (None, end.direction):
                        node.add(Text(f"… {REASON_TEXT[end.reason]}", "yellow"))
    if not graph.items:
        for step in _in_time(graph):
            tree.add(_step_line(step, ""))
    if graph.cut:
        tree.add(Text("未完 the trace was cut at its limit; ask from an item at its end", "red"))
    return tree


def _amounts(step: Step) -> dict[Key, str]:
    """The first quantity that the event gives of each item."""
    found: dict[Key, str] = {}
    for mention in step.mentions:
        if mention.quantity is not None:
            found.setdefault(mention.key, f" {mention.quantity} {mention.uom or ''}".rstrip())
    return found


def _step_line(step: Step, amount: str) -> Text:
    event = step.event
    what = event.get("bizStep") or event["type"]
    action = "" if step.action is Action.NONE else f" {step.action.name}"
    place = (event.get("readPoint") or event.get("bizLocation") or {"id": ""})["id"]
    error = ("  已更正 declared in error", "red") if step.in_error else ""
    return Text.assemble(f"{event['eventTime']}  {what}{action}{amount}  {place}  ", (_name(step.place), "dim"), error)
