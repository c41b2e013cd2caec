"""Nodes and credentials: their present state, and the requests that change it.

A change is an entry of the city's chain that holds the row's whole next state; the row is written in the same
transaction and only if it is still at the version before (`ledger/append.py`). So whoever reads the city's chain can
compute the registry at any moment, and the audit does.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from ledger.access import Actor, Role
from ledger.append import Change, Request
from ledger.codes import CITY, IMPORT, NODE_URN, NodeCode, TraceScheme, node_text, parse_node
from ledger.drafts import draft
from ledger.entries import Kind, actor_name, time_text
from ledger.errors import Conflict, NotRecorded, NotSignedIn, UnreadableCode
from ledger.gs1 import Key
from ledger.identifiers import canonical_key
from ledger.tables import credential as credential_table
from ledger.tables import node as node_table

Json = dict[str, Any]

OPERATOR = Actor("operator", Role.ADMIN, frozenset(), IMPORT)
"""Whoever runs `suyuan` on the machine itself; the operating system decided who may."""
LOCATIONS_MAX = 100
NODES_MAX = 1_000
_LABEL = re.compile("[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")
_LOCATION = re.compile("(414/|[A-Za-z][A-Za-z0-9+.-]*:)[^\\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")


def _change(table: str, row: Json, actor: str) -> Request:
    change = Change(table, row)
    return Request([draft(CITY, Kind.CHANGE, change.body, secrets.token_bytes)], actor, [change])


def _text(what: str, value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise UnreadableCode(what, value, "give 1 to 200 characters without control characters")
    return value


# --- nodes ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """A registered node. `locations` are the canonical keys of its read points."""

    node: NodeCode
    version: int
    name: str
    trace_scheme: TraceScheme
    locations: tuple[Key, ...]
    open: bool

    @property
    def row(self) -> Json:
        return {
            "node": self.node, "version": self.version, "name": self.name, "trace_scheme": str(self.trace_scheme),
            "locations": list(self.locations), "open": self.open,
        }  # fmt: skip


def _node(row: Row[Any]) -> Node:
    return Node(
        NodeCode(row.node), row.version, row.name, TraceScheme(row.trace_scheme),
        tuple(Key(location) for location in row.locations), row.open,
    )  # fmt: skip


def nodes(connection: Connection, after: int = -1, limit: int = 1000) -> list[Node]:
    """Registered nodes in the order of their codes, from the one after `after` on."""
    question = select(node_table).where(node_table.c.node > after).order_by(node_table.c.node).limit(limit)
    return [_node(row) for row in connection.execute(question)]


def get_node(connection: Connection, code: NodeCode) -> Node:
    """The node `code`; `NotRecorded` if it is not registered."""
    row = connection.execute(select(node_table).where(node_table.c.node == code)).one_or_none()
    if row is None:
        raise NotRecorded(f"no node {node_text(code)} is registered; register it with: suyuan node add")
    return _node(row)


def add_node(code: NodeCode, name: str, trace_scheme: TraceScheme, locations: Iterable[str], actor: str) -> Request:
    """Register a node. Its `locations` (GLN links, URNs) say which read points are its own."""
    keys = _locations(locations)
    return _change("node", Node(code, 1, _text("node name", name), trace_scheme, keys, True).row, actor)


def change_node(
    present: Node, actor: str, *, name: str | None = None, locations: Iterable[str] | None = None,
    open: bool | None = None,
) -> Request:  # fmt: skip
    """The node with what is given changed; a closed node takes no entries. The code and scheme stay."""
    following = Node(
        present.node, present.version + 1, present.name if name is None else _text("node name", name),
        present.trace_scheme, present.locations if locations is None else _locations(locations),
        present.open if open is None else open,
    )  # fmt: skip
    return _change("node", following.row, actor)


def _locations(uris: Iterable[str]) -> tuple[Key, ...]:
    uris = list(uris)
    for uri in uris:
        if not _LOCATION.fullmatch(uri) or uri.startswith(NODE_URN):
            raise UnreadableCode("location", uri, "give a read point as URI, such as https://id.gs1.org/414/…")
    keys = tuple(dict.fromkeys(canonical_key(uri) for uri in uris))
    if len(keys) > LOCATIONS_MAX:
        raise Conflict(f"a node has at most {LOCATIONS_MAX} locations")
    return keys


def places_of(connection: Connection, actor: Actor) -> Mapping[Key, NodeCode]:
    """Which read points belong to which of the actor's nodes, and each open node's own name."""
    question = select(node_table.c.node, node_table.c.locations).where(node_table.c.open).order_by(node_table.c.node)
    if actor.role is not Role.ADMIN:
        question = question.where(node_table.c.node.in_(actor.nodes))
    places: dict[Key, NodeCode] = {}
    for code, locations in connection.execute(question):
        places[Key(NODE_URN + node_text(code))] = NodeCode(code)
        for location in locations:
            places.setdefault(Key(location), NodeCode(code))
    return places


def first_nodes(connection: Connection) -> list[Request]:
    """Requests for the ledger's own two nodes, where they are not registered yet."""
    own = {CITY: "city: what the operator does, and the minute ticks", IMPORT: "files captured without naming a node"}
    present = {row.node for row in connection.execute(select(node_table.c.node).where(node_table.c.node.in_(own)))}
    missing = [(code, name) for code, name in own.items() if code not in present]
    return [add_node(code, name, TraceScheme.NODE_DAY_SERIAL, [], OPERATOR.name) for code, name in missing]


# --- credentials ----------------------------------------------------------------------------------

_CODE = re.compile(r"[a-z2-7]{10}")
_KEY = re.compile(r"sy_([a-z2-7]{10})_([A-Za-z0-9_\-]{43})")
DAYS_MAX = 3650


@dataclass(frozen=True, slots=True)
class Credential:
    """What a credential allows, without its secret."""

    credential: str
    version: int
    role: Role
    label: str
    key_hash: str
    home_node: NodeCode
    nodes: tuple[NodeCode, ...]
    expires_at: datetime
    revoked_at: datetime | None

    @property
    def row(self) -> Json:
        return {
            "credential": self.credential, "version": self.version, "role": str(self.role), "label": self.label,
            "key_hash": self.key_hash, "home_node": self.home_node, "nodes": list(self.nodes),
            "expires_at": time_text(self.expires_at),
            "revoked_at": self.revoked_at and time_text(self.revoked_at),
        }  # fmt: skip

    @property
    def actor(self) -> Actor:
        return Actor(self.credential, self.role, frozenset(self.nodes), self.home_node)


def _credential(row: Row[Any]) -> Credential:
    nodes_ = tuple(NodeCode(code) for code in row.nodes)
    return Credential(
        row.credential, row.version, Role(row.role), row.label, row.key_hash, NodeCode(row.home_node), nodes_,
        row.expires_at.astimezone(UTC), row.revoked_at and row.revoked_at.astimezone(UTC),
    )  # fmt: skip


def credentials(connection: Connection, after: str = "", limit: int = 1000) -> list[Credential]:
    """All credentials, revoked ones too, in the order of their codes."""
    table = credential_table
    question = select(table).where(table.c.credential > after).order_by(table.c.credential).limit(limit)
    return [_credential(row) for row in connection.execute(question)]


def get_credential(connection: Connection, code: str) -> Credential:
    """The credential `code`; `NotRecorded` if there is none."""
    if not _CODE.fullmatch(code):
        raise NotRecorded(f"there is no credential {code!r}")
    row = connection.execute(select(credential_table).where(credential_table.c.credential == code)).one_or_none()
    if row is None:
        raise NotRecorded(f"there is no credential {code!r}")
    return _credential(row)


def issue(
    connection: Connection, role: Role, label: str, codes: Iterable[str], days: int, actor: str, now: datetime
) -> tuple[Request, Credential, str]:
    """A new credential and its API key, which is shown this once: only its hash is kept.

    `codes` are its nodes, the first its home; roles that record need at least one. A label is no personal data.
    """
    bound = tuple(dict.fromkeys(parse_node(code) for code in codes))
    if not 1 <= days <= DAYS_MAX:
        raise Conflict(f"a credential lasts 1 to {DAYS_MAX} days, not {days}")
    if len(bound) > NODES_MAX:
        raise Conflict(f"a credential is bound to at most {NODES_MAX} nodes")
    if not bound and role not in (Role.ADMIN, Role.REGULATOR, Role.SUBSCRIBER):
        raise Conflict(f"a credential of the role {role} is bound to at least one node")
    if CITY in bound:
        raise Conflict(f"the city's own chain {node_text(CITY)} is nobody's node")
    for code in bound:
        get_node(connection, code)
    name = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(10))
    secret = secrets.token_urlsafe(32)
    made = Credential(
        actor_name(name), 1, role, _text("label", label), hashlib.sha256(secret.encode()).hexdigest(),
        bound[0] if bound else IMPORT, bound, now + timedelta(days=days), None,
    )  # fmt: skip
    return _change("credential", made.row, actor), made, f"sy_{name}_{secret}"


def revoke(present: Credential, actor: str, now: datetime) -> Request:
    """End a credential at once and for good; `Conflict` if that happened already."""
    if present.revoked_at is not None:
        raise Conflict(f"the credential {present.credential} was revoked at {time_text(present.revoked_at)}")
    row = {**present.row, "version": present.version + 1, "revoked_at": time_text(now)}
    return _change("credential", row, actor)


def authenticate(connection: Connection, key: str, now: datetime) -> Actor:
    """Who holds the API `key`; `NotSignedIn` if nobody does, or not any more. The key is never repeated."""
    match = _KEY.fullmatch(key)
    if match is None:
        raise NotSignedIn("this is no API key: it has the form sy_…_…")
    try:
        found = get_credential(connection, match[1])
    except NotRecorded:
        raise NotSignedIn("this API key is unknown") from None
    if not hmac.compare_digest(hashlib.sha256(match[2].encode()).hexdigest(), found.key_hash):
        raise NotSignedIn("this API key is unknown")
    if found.revoked_at is not None and found.revoked_at <= now:
        raise NotSignedIn("this API key was revoked")
    if found.expires_at <= now:
        raise NotSignedIn("this API key has expired")
    return found.actor
