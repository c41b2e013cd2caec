"""Trying a rule on its own examples: they go the same way as entries of the log do. Pure."""

from collections.abc import Iterator
from datetime import timedelta

from ledger.rules.conditions import context_of
from ledger.rules.form import Example, Rule, span_of
from ledger.rules.looking import Source, look
from ledger.rules.schema import FACTS, samples
from ledger.rules.windows import Clocks, Finding, Memory, missing, take

_INSTANT = timedelta(microseconds=1)


def wrong_examples(rule: Rule) -> Iterator[str]:
    """What the rule's examples show that it does not do as it says."""
    for number, example in enumerate(rule.examples):
        found = findings(rule, example)
        if bool(found) != example.fires:
            yield f"examples[{number}]: it {'does not fire' if example.fires else 'fires'}, though it should" + (
                "" if example.fires else " not"
            )


def findings(rule: Rule, example: Example) -> list[Finding]:
    """What the rule finds in an example. What is missing after its last facts counts only where it should fire."""
    memory, found = Memory(), list[Finding]()
    schema = FACTS[rule.watch]
    at = schema["time"].sample
    clocks = Clocks(at, at)  # type: ignore[arg-type]
    last = len(example.facts) - 1
    for position, given in enumerate(example.facts):
        passed = span_of(given.get("after"))
        at += timedelta(0) if passed is None else passed  # type: ignore[operator]
        facts = {**samples(rule.watch), "time": at, "recorded": at}
        for name, value in given.items():
            if name != "after" or passed is None:
                facts[name] = float(value) if isinstance(schema[name].sample, float) else value
        clocks = Clocks(max(clocks.event, at), max(clocks.record, at))
        until = Clocks(clocks.event - _INSTANT, clocks.record - _INSTANT)
        found += [missing(memory, one) for one in memory.due(until)]  # as ticks between them would tell
        if rule.steps and facts.get("step") not in rule.steps:
            facts["step"] = min(rule.steps)
        hit = look(rule, facts, context_of(facts), Source(position, f"example/{position}", None, clocks.record), 0).hit
        if hit is not None:
            found += take(memory, hit, clocks)
        found += [missing(memory, one) for one in memory.due(clocks)]
    after = Clocks(clocks.event + timedelta(days=800), clocks.record + timedelta(days=800))
    rest = [missing(memory, one) for one in memory.due(after)]
    return found + [one for one in rest if example.fires or one.position != last]
