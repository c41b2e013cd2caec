"""Capture: from a document to requests, each event in the chain of the node where it happened.

An event's chain is the node it names (`urn:suyuan:node:…`, or an operator's place at it, `urn:suyuan:party:…`, as read
point or business location), else the node among the
actor's whose registered location that is, else the actor's home node. Pure, apart from random salts.
"""

from collections.abc import Mapping
from enum import StrEnum
from io import BytesIO
from secrets import token_bytes

from ledger.access import Actor, Role
from ledger.append import Request
from ledger.codes import NODE_URN, PARTY_URN, NodeCode, node_text
from ledger.documents import CapturedEvent, Document
from ledger.drafts import Draft, draft_envelope, draft_event
from ledger.entries import SALT_BYTES
from ledger.errors import NotAllowed
from ledger.gs1 import Key
from ledger.identifiers import canonical_key
from ledger.packs.states import may_move


class ErrorBehaviour(StrEnum):
    """What becomes of a document one of whose events is rejected (GS1-Capture-Error-Behaviour)."""

    ROLLBACK = "rollback"
    """All or nothing: the default."""
    PROCEED = "proceed"
    """Each event by itself."""


def chain_of(captured: CapturedEvent, actor: Actor, places: Mapping[Key, NodeCode]) -> NodeCode:
    """The node whose chain the event belongs to; `NotAllowed` if it names a node that the actor may not write to."""
    for field in ("readPoint", "bizLocation"):
        place = captured.event.get(field)
        if place is None:
            continue
        key = canonical_key(place["id"])
        if key in places:
            return places[key]
        if key.startswith(PARTY_URN) and (here := Key(NODE_URN + key.removeprefix(PARTY_URN)[:9])) in places:
            return places[here]
        if key.startswith((NODE_URN, PARTY_URN)):
            raise NotAllowed(f"{field} names {key}, which is no open node that {actor.name} may write to")
    return _home(actor, places)


def _home(actor: Actor, places: Mapping[Key, NodeCode]) -> NodeCode:
    if actor.home_node not in places.values():
        raise NotAllowed(f"the node {node_text(actor.home_node)} is closed")
    return NodeCode(actor.home_node)


def requests_of(
    document: Document, actor: Actor, places: Mapping[Key, NodeCode], behaviour: ErrorBehaviour, secret: bytes
) -> list[Request]:
    """What to record for `document`: one request, or one for each event where errors are to stay alone.

    `secret` is the installation's, for the ids of what comes without one. Whatever is said of packs is recorded; it
    moves them only if the actor's role may do such a thing somewhere.
    """
    random = BytesIO(token_bytes(2 * SALT_BYTES * (len(document.events) + 1))).read  # asked of the system once
    drafts = [draft_event(chain_of(event, actor, places), event, random, secret) for event in document.events]
    drafts = [draft if _may_move(actor.role, draft) else draft._replace(effects=()) for draft in drafts]
    if document.envelope:
        node = drafts[0].node if drafts else _home(actor, places)
        drafts.insert(0, draft_envelope(node, document.envelope, random, secret))
    if behaviour is ErrorBehaviour.PROCEED:
        return [Request([draft], actor.name) for draft in drafts]
    return [Request(drafts, actor.name)] if drafts else []


def _may_move(role: Role, draft: Draft) -> bool:
    """Whether what the draft says of packs moves them."""
    return all(may_move(role, command) for command in {effect.command for effect in draft.effects})
