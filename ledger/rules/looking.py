"""How a rule looks at facts: which of its conditions are true, and whether it could be evaluated at all. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger.entries import time_text
from ledger.rules.form import Rule, WindowType
from ledger.rules.schema import Value
from ledger.rules.windows import Hit

KEY_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Source:
    """Where facts come from: an entry's place in the log and its name, its event's id, and when it was recorded."""

    position: int
    place: str
    event: bytes | None
    recorded: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """What a rule saw. `missing`: what it asks for was not known."""

    hit: Hit | None
    when: bool
    missing: bool


_NOTHING, _UNKNOWN = Look(None, False, False), Look(None, False, True)


def look(rule: Rule, facts: dict[str, Value], context: Any, source: Source, part: int) -> Look:
    """What the rule makes of these facts; `context` holds them as CEL takes them."""
    when = rule.when.holds(context)
    window, value, unknown = rule.window, None, False
    if not when and rule.lasting is None and (window is None or window.type is not WindowType.ABSENCE):
        return _UNKNOWN if when is None else _NOTHING  # as most looks end
    matched: tuple[int, ...] = ()
    if window is not None and (when or window.type is WindowType.ABSENCE):
        held = [one.holds(context) for one in window.conditions]
        matched = tuple(n for n, one in enumerate(held) if one)
        unknown = None in held and not matched
    if when and window is not None and window.value is not None:
        summed = window.type is WindowType.VALUE_SUM
        value = window.value.number(context) if summed else window.value.of(context)
    missing = when is None or (bool(when) and window is not None and window.value is not None and value is None)
    named = facts.keys() >= set(rule.by)
    lasting = rule.lasting is not None and when is False
    if not named or not (matched or lasting or (when and not missing)):
        return Look(None, bool(when), missing or unknown or (bool(when) and not named))
    key = "\n".join(_text(facts[name]) for name in rule.by)[:KEY_MAX]
    kept = {name: facts[name] for name in rule.kept if name in facts}
    time = facts["time"]
    at = time if isinstance(time, datetime) else source.recorded
    true = bool(when) and not missing
    hit = Hit(
        rule, key, at, source.position, part, source.place, source.event, kept, true, matched, value
    )  # fmt: skip
    return Look(hit, bool(when), missing or unknown)


def _text(value: Value) -> str:
    return time_text(value) if isinstance(value, datetime) else str(value)
