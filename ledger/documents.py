"""From the bytes of a request to checked events: JSON, limits, contexts, and every breach at once.

Numbers keep their digits (`Decimal`, never a float). Of a key that stands twice in one object the last counts, as
with every common parser: GS1's own AssociationEvent-h has one. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import jiter
import orjson
from pydantic import ValidationError

from ledger.envelopes import DOCUMENT
from ledger.errors import Breach, LimitExceeded, UnacceptableEvent
from ledger.events import EVENT
from ledger.fields import is_uri
from ledger.vocabulary import STANDARD_CONTEXTS

Json = dict[str, Any]
"""A JSON object as it came: the edge of the typed world. Numbers are int or Decimal."""

BODY_BYTES_MAX = 32 * 1024 * 1024
EVENTS_MAX = 10_000
BREACHES_MAX = 100
CONTEXT_PARTS_MAX = 50
CONTEXT_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True)
class Context:
    """A JSON-LD context: what it says besides EPCIS's own, as it came, and the prefixes that may be used.

    `declared` is None where the context names a document of somebody else, which may declare any prefix.
    """

    parts: tuple[str | Json, ...] = ()
    declared: frozenset[str] | None = frozenset()


_PLAIN = Context()
_validate = EVENT.validator.validate_python


class CapturedEvent(NamedTuple):
    """One event as it came, checked, with the context that holds for it."""

    event: Json
    context: Context


@dataclass(frozen=True, slots=True)
class Document:
    """A capture document: its events, and its envelope without them where that says something."""

    events: list[CapturedEvent]
    envelope: Json = field(default_factory=dict)


def read_json(data: bytes) -> Any:
    """The JSON value in `data`, numbers exact; `UnacceptableEvent` with the position if it is no JSON."""
    if len(data) > BODY_BYTES_MAX:
        raise LimitExceeded(f"the body has {len(data)} bytes; at most {BODY_BYTES_MAX} are taken: send it in parts")
    try:
        return jiter.from_json(data, allow_inf_nan=False, float_mode="decimal")
    except (ValueError, RecursionError) as error:
        raise UnacceptableEvent([Breach("$", f"this is not JSON that can be read: {error}")]) from None


def _decimal(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal):
        return orjson.Fragment(str(value))
    raise TypeError(f"{type(value).__name__} does not come from JSON")


def write_json(value: Any, option: int = 0) -> bytes:
    """`value` as compact UTF-8 JSON with every number's own digits."""
    return orjson.dumps(value, _decimal, option)


def read_context(value: Any, path: str, outer: Context = _PLAIN) -> Context:
    """What `@context` declares, after what `outer` declared. Terms whose names hold a colon declare no prefix."""
    parts, declared = list(outer.parts), outer.declared
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, str):
            if part.startswith(STANDARD_CONTEXTS):
                continue
            if not is_uri(part):
                raise UnacceptableEvent([Breach(path, f"{part!r} is no URI")])
            declared = None
        elif not isinstance(part, dict):
            raise UnacceptableEvent([Breach(path, "@context is a URI, an object, or a list of these")])
        elif declared is not None:
            declared |= {name for name, target in part.items() if ":" not in name and _namespace(target)}
        if part not in parts:
            parts.append(part)
    if len(parts) > CONTEXT_PARTS_MAX or (parts and _context_bytes(parts, path) > CONTEXT_BYTES_MAX):
        raise LimitExceeded(f"{path} is larger than {CONTEXT_PARTS_MAX} parts or {CONTEXT_BYTES_MAX} bytes")
    return Context(tuple(parts), declared)


def _context_bytes(parts: list[str | Json], path: str) -> int:
    try:
        return len(write_json(parts))
    except TypeError as error:  # orjson's JSONEncodeError: an integer beyond 64 bits
        raise UnacceptableEvent([Breach(path, f"it holds what cannot be kept: {error}")]) from None


def _namespace(target: Any) -> bool:
    """Whether a term of a context stands for a URI, and so can be a prefix; others (keywords, coercions) cannot."""
    uri = target.get("@id") if isinstance(target, dict) else target
    return isinstance(uri, str) and bool(uri)


def read_document(data: bytes) -> Document:
    """The events of an EPCISDocument, an EPCISQueryDocument or one bare event, checked against the standard.

    `UnacceptableEvent` holds every breach of every event (at most 100), `LimitExceeded` what is too large.
    """
    document = read_json(data)
    if not isinstance(document, dict):
        raise UnacceptableEvent([Breach("$", "this is no JSON object")])
    if document.get("type") not in ("EPCISDocument", "EPCISQueryDocument"):
        return Document(list(_checked([document], _PLAIN, "$", bare=True)))
    try:
        outer = read_context(document.get("@context", []), "$['@context']")
        DOCUMENT.validate_python(document, context=outer.declared)
    except ValidationError as error:
        raise UnacceptableEvent([_breach(document, problem, "$") for problem in error.errors()]) from None
    if document["type"] == "EPCISDocument":
        events, path = document["epcisBody"]["eventList"], "$.epcisBody.eventList"
    else:
        events = document["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
        path = "$.epcisBody.queryResults.resultsBody.eventList"
    if len(events) > EVENTS_MAX:
        raise LimitExceeded(f"{path} holds {len(events)} events; at most {EVENTS_MAX} are taken: send it in parts")
    envelope = {name: value for name, value in document.items() if name in _ENVELOPE or ":" in name}
    return Document(list(_checked(events, outer, path)), envelope)


_ENVELOPE = ("id", "instanceIdentifier", "sender", "receiver", "epcisHeader")


def _checked(events: list[Any], outer: Context, path: str, *, bare: bool = False) -> Iterator[CapturedEvent]:
    breaches: list[Breach] = []
    declared = outer.declared
    for index, event in enumerate(events):
        where = path if bare else f"{path}[{index}]"
        number = None if bare else index
        try:
            if isinstance(event, dict) and ("@context" in event or bare):
                context = read_context(event.get("@context", []), f"{where}['@context']", outer)
                if bare and "@context" not in event:
                    breaches.append(Breach("$", "a bare event needs @context"))
                _validate(event, context=context.declared)
            else:
                context = outer
                _validate(event, context=declared)
        except ValidationError as error:
            breaches += [_breach(event, problem, where, number) for problem in error.errors()]
        except UnacceptableEvent as error:
            breaches += [Breach(breach.path, breach.reason, number) for breach in error.breaches]
        else:
            if not breaches:
                yield CapturedEvent(event, context)
        if len(breaches) >= BREACHES_MAX:
            break
    if breaches:
        raise UnacceptableEvent(breaches[:BREACHES_MAX])


def _breach(value: Any, problem: Any, path: str, event: int | None = None) -> Breach:
    """Pydantic's location, which also names union branches, as a JSON path into `value`."""
    for step in problem["loc"]:
        part = "@context" if step == "context" else step
        if isinstance(value, dict) and (part in value or (problem["type"] == "missing" and step == problem["loc"][-1])):
            path += f".{part}" if isinstance(part, str) and part.isidentifier() else f"['{_quoted(part)}']"
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            path += f"[{part}]"
            value = value[part]
    return Breach(path, problem["msg"], event)


def _quoted(name: str) -> str:
    return name.replace("\\", "\\\\").replace("'", "\\'")
