"""Rule files made to break their reader, conditions made to run long, and shipped rules whose examples must notice."""

import re
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import Breach, UnacceptableRecord
from ledger.registers import RULE_SET
from ledger.rules.conditions import Condition, context_of, read_condition
from ledger.rules.form import WindowType, read_rules
from ledger.rules.looking import Source, look
from ledger.rules.schema import FACTS, Value, Watch, samples
from ledger.rules.trial import findings, wrong_examples
from ledger.rulesets import shipped

Json = dict[str, Any]
GOOD: Json = {
    "id": "good", "name": {"zh": "好", "en": "good"}, "level": "red", "watch": "item", "steps": ["receiving"],
    "when": "quantity > 5.0", "subject": "item", "by": ["item", "node"],
    "message": {"zh": "{item} 有 {quantity:.2f}", "en": "{item}: {quantity:.2f}"}, "remedy": {"zh": "看", "en": "look"},
    "source": "a test",
    "examples": [{"fires": True, "facts": {"quantity": 6.0}}, {"fires": False, "facts": {"quantity": 5.0}}],
}  # fmt: skip
COUNT: Json = {"type": "event_count", "within": "1h", "condition": "count >= 2"}
SUM: Json = {"type": "value_sum", "within": "1h", "value": "quantity", "condition": "sum > 2.0"}
ABSENCE: Json = {"type": "absence", "within": "1h", "unless": "is_pack"}
TOGETHER: Json = {"type": "temporal", "within": "1h", "patterns": ["is_pack", "is_slip"]}
RULES = {rule.id: rule for text in shipped().values() for rule in read_rules(text)}
LONG_S = 2.0
"""What takes longer would hold up whoever loads a file, on any machine."""


class _Plain(yaml.SafeDumper):
    """Writes what stands twice twice."""

    def ignore_aliases(self, _: Any) -> bool:
        return True


def text_of(*rules: Json) -> str:
    return yaml.dump({"rules": list(rules)}, Dumper=_Plain, allow_unicode=True)


def changed(**fields: Any) -> str:
    """A good rule file with other fields; None takes one away."""
    return text_of({name: value for name, value in {**GOOD, **fields}.items() if value is not None})


def breaches(text: str) -> list[Breach]:
    begun = time.monotonic()
    with pytest.raises(UnacceptableRecord) as refused:
        read_rules(text)
    assert time.monotonic() - begun < LONG_S
    return refused.value.breaches


def faults(source: object, kinds: tuple[type, ...] = (bool,)) -> list[str]:
    """What is wrong with a condition about an item."""
    wrong: list[str] = []
    begun = time.monotonic()
    found = read_condition(source, FACTS[Watch.ITEM], wrong.append, kinds)
    assert time.monotonic() - begun < LONG_S and (found is None) is bool(wrong)
    return wrong


def condition(source: str) -> Condition:
    found = read_condition(source, FACTS[Watch.ITEM], pytest.fail)
    assert found is not None
    return found


# --- Files ------------------------------------------------------------------------------------------------


def test_the_good_rule_is_one() -> None:
    """Broken: all that follows, which changes it in one place."""
    (rule,) = read_rules(text_of(GOOD))
    assert (rule.id, rule.subject, rule.by) == ("good", "item", ("item", "node")) and not [*wrong_examples(rule)]
    for window in (COUNT, SUM, ABSENCE, TOGETHER):
        assert read_rules(changed(window=window, examples=None))


@pytest.mark.parametrize("text", [
    "", "~", "rules", "[]", "rules: {}", "rules: 5", "rule: []", "rules: []\nmore: 1", "- rules: []", "rules: [1, a]",
    "rules: [[]]", "rules: [~]", "rules:\n\t- a", "rules: [", "rules: \"", "'", "@", "%", "---\n---",
    "rules: []\n---\na",
    "rules: []\nrules: []", "? [a]\n: b", "~: b", "1: b", "true: b", "{a: b}: c", "rules: [{id: a, id: b}]",
    "<<: {a: b}", "rules: &a []", "a: &a [x]\nrules: *a", "rules: *nothing", "%YAML 9.9\n---\nrules: []",
    "rules: !!python/object/apply:os.system [ls]", "rules: !!python/name:os.system", "rules: !!binary AA",
    "rules: !!set {a, b}", "rules: !!omap [a: b]", "rules: !!pairs [a: b]", "rules: !!timestamp x", "rules: !!int ''",
    "rules: !!bool x", "rules: !!float x", "rules: !!null x", "rules: !!map [a]", "rules: !!map [[a, b]]",
    "rules: !!seq {a: b}", "rules: !!str [a]", "rules: ! x", "%TAG ! tag:yaml.org,2002:python/\n---\nrules: !object x",
    "rules: \0", "\ud800", "rules: \"\\ud800\"", "rules: \"\\0\"", "rules: \"\\U00110000\"", "\ufffe", "rules: \x1b[0m",
    "[" * 100_000, "{" * 100_000, "- " * 100_000, "? " * 100_000, "{a: " * 60_000, "[[],\n" * 30_000, "!!a " * 50_000,
    "\n".join(" " * depth + "a:" for depth in range(600)), "rules: [" + "a," * 120_000 + "]",
    "rules: [" + "{}," * 300 + "]",
    "rules: 1" + ":1" * 100_000, "rules: 1" + ":1" * 100_000 + ".0", "rules: " + "9" * 200_000, "#" * 262_145,
    "rules: 0x" + "f" * 200_000, "rules: 1.0e+999", "rules: .inf", "猪" * 100_000, "'" * 100_001, ":" * 100_000,
])  # fmt: skip
def test_what_is_no_rule_file_is_refused_as_such(text: str) -> None:
    """Broken: a file that ends the process, takes minutes, makes Python objects, or is taken for another."""
    assert breaches(text)


def test_a_billion_laughs_are_not_written_out() -> None:
    """Broken: nine short lines become gigabytes."""
    laughs = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))
    (one,) = breaches(f"a0: &a0 [ha]\n{laughs}\nrules: *a9")
    assert one.path == "line 1" and "anchors" in one.reason


HOSTILE = """
import threading
from ledger.errors import UnacceptableRecord
from ledger.rules.conditions import read_condition
from ledger.rules.form import read_rules
from ledger.rules.schema import FACTS, Watch
FILES = "[" * 250_000, "{a: " * 60_000, "- " * 125_000, "rules: " + "[" * 900 + "]" * 900
CONDITIONS = (
    "(" * 1_999, "(" * 900 + "gate" + ")" * 900, "!" * 1_990 + "gate", "! " * 990 + "gate", "gate?gate:" * 190 + "gate",
    "gate?" * 199 + "gate" + ":gate" * 199, "price > " + "-" * 1_900 + "1.0", "[" * 1_999, "{" * 1_999,
    "size(" * 300 + "step" + ")" * 300 + " > 1", "documents == " + "-".join(["1"] * 950), "&&".join(["gate"] * 330),
    ".a".join(["step"] * 300), "gate == " * 240 + "gate", "step" + "[0]" * 600, "step" + ".size()" * 280,
)
def run():
    for text in FILES:
        try:
            read_rules(text)
        except UnacceptableRecord:
            print("refused")
    for source in CONDITIONS:
        read_condition(source, FACTS[Watch.EVENT], lambda reason: None)
        print("read")
threading.stack_size(1024 * 1024)
one = threading.Thread(target=run)
one.start()
one.join()
"""


def test_nothing_ends_the_process() -> None:
    """Broken: deep nesting overruns the stack of a library, which no `except` sees; in a thread it is small."""
    done = subprocess.run([sys.executable, "-c", HOSTILE], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["refused"] * 4 + ["read"] * 16), done.stderr[-500:]


def test_all_breaches_are_told_at_once_each_with_its_place() -> None:
    """Broken: somebody mends a file ten times, one line at a time, and cannot find the line."""
    bad = {**GOOD, "id": "Bad", "level": "pink", "when": "qantity > 5.0", "by": ["itm"], "subject": "nod", "color": 1,
           "message": {"zh": "{itm}", "en": "x"}, "remedy": "look", "source": "", "steps": ["recieving"], "for": "1y",
           "window": {**COUNT, "within": "soon", "unless": "is_pack"}, "examples": [{"fires": 1,
           "facts": {}}]}  # fmt: skip
    found = breaches(text_of(GOOD, bad))
    paths = {one.path.removeprefix("rules[1] Bad.") for one in found}
    assert paths >= {
        "id", "level", "when", "by", "subject", "color", "message.zh", "remedy", "source", "steps", "for",
        "window.within", "examples[0]",
    } and all(one.path.startswith("rules[1] Bad.") and len(one.reason) < 300 for one in found)  # fmt: skip


@pytest.mark.parametrize(("fields", "path", "hint"), [
    ({"when": "qantity > 5.0"}, "when", "did you mean quantity?"),
    ({"by": ["itm"]}, "by", "did you mean item?"),
    ({"subject": "prouct"}, "subject", "did you mean product?"),
    ({"message": {"zh": "{quantty}", "en": "x"}}, "message.zh", "did you mean quantity?"),
    ({"steps": ["retail_seling"]}, "steps", "did you mean retail_selling?"),
    ({"window": {**COUNT, "condition": "cout > 2"}}, "window.condition", "did you mean count?"),
    ({"window": {**ABSENCE, "unless": "recieved > 0.0"}}, "window.unless", "did you mean received?"),
    ({"window": {**SUM, "value": "quantiy"}}, "window.value", "did you mean quantity?"),
    ({"window": {**TOGETHER, "patterns": ["is_pak", "is_slip"]}}, "window.patterns", "did you mean is_pack?"),
    ({"examples": [{"fires": True, "facts": {"quantiy": 6.0}}]}, "examples[0]", "did you mean quantity?"),
    ({"levle": "red"}, "levle", "level"),
    ({"window": {**COUNT, "wihtin": "1h"}}, "window.wihtin", "within"),
    ({"level": "rd"}, "level", "red"), ({"watch": "itm"}, "watch", "item"),
    ({"window": {**COUNT, "type": "count"}}, "window.type", "event_count"),
])  # fmt: skip
def test_a_typo_is_told_with_what_was_meant(fields: Json, path: str, hint: str) -> None:
    """Broken: a rule with a typo loads, and never fires."""
    found = [one for one in breaches(changed(**fields)) if one.path == f"rules[0] good.{path}"]
    assert found and hint in found[0].reason


@pytest.mark.parametrize("field", ["id", "name", "level", "watch", "when", "message", "remedy", "source"])
def test_no_field_may_be_missing_or_of_another_type(field: str) -> None:
    """Broken: half a rule is live."""
    for value in (
        None,
        5,
        0.5,
        True,
        [],
        ["a"],
        {},
        {"zh": 1, "en": 2},
        {"zh": "a"},
        "",
        " ",
        "x" * 2_001,
        "2026-11-25",
    ):
        if (field, value) != ("source", "2026-11-25") and (field, value) != ("source", " "):
            paths = [one.path for one in breaches(changed(**{field: value}))]
            assert any(re.search(rf"(\.|^){field}|^rules\[0\]", path) for path in paths), (field, value, paths)


@pytest.mark.parametrize(("field", "values"), [
    ("by", [[], ["item"] * 6, "item", [1], {"item": 1}, [["item"]], [None]]),
    ("steps", [[], "receiving", [1], {"receiving": 1}, ["receiving", "nothing"]]),
    ("for", ["0", 30, 1.5, "1y", "30", "-5m", "401d", "99999h", "1h30m", " 5m", "5 m", "٥m", "1e2s", "9" * 99 + "s",
    [], True]), ("window", [[], "absence", 5, {}, {"type": "absence"}, {"type": ["absence"]}]),
    ("examples", ["x", {}, [1], [{}], [{"fires": "yes", "facts": {}}], [{"fires": True}], [{"fires": True, "facts": 1}],
                  [{"fires": True, "facts": []}], [{"fires": True, "facts": [1]}], [{"fires": True, "facts": {}}] * 21,
                  [{"fires": True, "facts": [{}] * 51}]]),
])  # fmt: skip
def test_optional_fields_are_of_their_type_too(field: str, values: list[Any]) -> None:
    """Broken: a wrong type is read as if the field were not there."""
    for value in values:
        assert any(f".{field}" in one.path for one in breaches(changed(**{field: value}))), value


@pytest.mark.parametrize(("facts", "why"), [
    ({"quantity": "6"}, "float"), ({"quantity": True}, "float"), ({"documents": 1.0}, "int"), ({"is_pack": "yes"},
    "bool"),
    ({"is_pack": 1}, "bool"), ({"node": 330212001}, "str"), ({"node": None}, "str"), ({"quantity": [1]}, "float"),
    ({"time": "2026-11-25"}, "after"), ({"after": "soon"}, "span"), ({"after": 5}, "span"), ({"after": "401d"}, "span"),
    ({"quantity": float("inf")}, "float"), ({"quantity": float("nan")}, "float"), ({"documents": 2**70}, "int"),
    ({"quantity": 10**400}, "float"), ({"node": {"a": 1}}, "str"),
])  # fmt: skip
def test_an_examples_facts_are_of_their_types(facts: Json, why: str) -> None:
    """Broken: an example that tries something that can never happen, or ends the trial with an exception."""
    (one,) = breaches(changed(examples=[{"fires": True, "facts": facts}]))
    assert one.path.startswith("rules[0] good.examples[0]") and why in one.reason


def test_words_of_yaml_stay_what_they_look_like() -> None:
    """Broken: `no` becomes false, a day a date, 1:30 ninety, 0x10 sixteen; and none of it is what was written."""
    for written in (
        "yes",
        "no",
        "on",
        "off",
        "Y",
        "2026-11-25",
        "1:30",
        "0x10",
        "0b1",
        "0o7",
        "1_000",
        ".inf",
        "=",
        "<<",
    ):
        (rule,) = read_rules(changed().replace("source: a test", f"source: {written}"))
        assert rule.source == written
    for written in ("1", "1.5", "1.5e3", "1e3", "true", "~", "-5"):
        assert breaches(changed().replace("source: a test", f"source: {written}"))


def test_one_id_stands_once_whatever_else_is_wrong() -> None:
    """Broken: the second of two rules replaces the first."""
    assert any(one.path == "rules[1] good.id" for one in breaches(text_of(GOOD, GOOD)))
    assert any("stands in this file already" in one.reason for one in breaches(text_of(GOOD, {**GOOD, "level": "x"})))


def test_a_version_is_a_hash_of_all_that_a_rule_says() -> None:
    """Broken: a changed rule goes on with the state of the old one, or a comment throws state away."""
    (rule,) = read_rules(text_of(GOOD))
    assert read_rules("# a comment\n" + text_of(dict(reversed(GOOD.items()))))[0].version == rule.version
    for fields in ({"when": "quantity > 5.1"}, {"for": "5m"}, {"level": "blue"}, {"by": ["item"]}, {"source": "x"}):
        assert read_rules(changed(examples=None, **fields))[0].version != rule.version


@pytest.mark.parametrize("text", [
    "{item.__class__}", "{item.__class__.__mro__}", "{0}", "{}", "{item[0]}", "{item!r}", "{item!s}", "{item:>1000000}",
    "{quantity:1000000.2f}", "{quantity:{node}}", "{quantity:.99f}", "{quantity:.2e}", "{item:.1f}", "{", "}", "{item",
    "item}", "{nothing}", "{item }", "{ITEM}", "{quantity:}}", "{documents:.1f}", "{time:%Y}", "{count}", "{sum}",
    "\x00", "\x1b[2J", "x" * 501,
])  # fmt: skip
def test_a_message_names_facts_and_nothing_else(text: str) -> None:
    """Broken: a message that reads objects, fills the memory, or fails when the warning is to be told."""
    for field in ("message", "remedy", "name"):
        assert breaches(changed(**{field: {"zh": text, "en": "x"}}))
        assert breaches(changed(**{field: {"zh": "x", "en": text}}))
    assert read_rules(changed(message={"zh": "{{}} {item} {quantity:.0f}", "en": "x"}))


# --- Windows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "path"), [
    ({**COUNT, "within": "401d"}, "within"), ({**COUNT, "within": "-1h"}, "within"), ({**COUNT, "within": None},
    "within"),
    ({**COUNT, "within": 5}, "within"), ({**COUNT, "lateness": "x"}, "lateness"), ({**COUNT, "lateness": 5},
    "lateness"),
    ({**COUNT, "before": "1h"}, "before"), ({**COUNT, "unless": "is_pack"}, "unless"), ({**COUNT, "value": "node"},
    "value"), ({**COUNT, "patterns": ["is_pack"]}, "patterns"), ({**COUNT, "condition": None}, "condition"),
    ({**COUNT, "condition": 2}, "condition"), ({**COUNT, "condition": "count"}, "condition"),
    ({**COUNT, "condition": "sum > 1.0"}, "condition"), ({**COUNT, "condition": ["count > 1"]}, "condition"),
    ({**SUM, "value": None}, "value"), ({**SUM, "value": "node"}, "value"), ({**SUM, "value": "is_pack"}, "value"),
    ({**SUM, "value": "time"}, "value"), ({**SUM, "value": "is_pack ? 1.0 : node"}, "value"),
    ({**SUM, "type": "value_count", "condition": "sum > 1.0"}, "condition"),
    ({**SUM, "type": "value_count", "value": "[node]", "condition": "count > 1"}, "value"),
    ({**SUM, "type": "value_count", "value": "is_pack ? node : [node]", "condition": "count > 1"}, "value"),
    ({**ABSENCE, "unless": None}, "unless"), ({**ABSENCE, "unless": "node"}, "unless"), ({**ABSENCE, "unless": []},
    "unless"), ({**ABSENCE, "condition": "is_pack"}, "condition"), ({**ABSENCE, "before": "x"}, "before"),
    ({**ABSENCE, "within": "0s"}, "within"), ({**ABSENCE, "unless": "count > 1"}, "unless"),
    ({**TOGETHER, "patterns": None}, "patterns"), ({**TOGETHER, "patterns": ["is_pack"]}, "patterns"),
    ({**TOGETHER, "patterns": ["is_pack"] * 6}, "patterns"), ({**TOGETHER, "patterns": "is_pack"}, "patterns"),
    ({**TOGETHER, "patterns": ["is_pack", 5]}, "patterns"), ({**TOGETHER, "patterns": ["is_pack", "node"]}, "patterns"),
    ({**TOGETHER, "before": "1h"}, "before"), ({**TOGETHER, "value": "node"}, "value"),
])  # fmt: skip
def test_a_window_has_what_its_type_takes_and_no_more(window: Json, path: str) -> None:
    """Broken: a window waits for nothing, or counts what it does not have."""
    given_ = {name: value for name, value in window.items() if value is not None}
    assert {f"rules[0] good.window.{path}"} == {one.path for one in breaches(changed(window=given_, examples=None))}


def test_what_a_window_counts_can_be_told_where_it_counts() -> None:
    """Broken: a message with a dash where its number should stand."""

    def says(window: Json, text: str) -> str:
        return changed(window=window, message={"zh": text, "en": text}, examples=None)

    assert read_rules(says(COUNT, "{count}")) and read_rules(says(SUM, "{sum:.1f} of {count}"))
    for window, text in ((COUNT, "{sum}"), (ABSENCE, "{count}"), (TOGETHER, "{count}"), (SUM, "{count:.1f}")):
        assert {one.path.rpartition(" ")[2] for one in breaches(says(window, text))} == {
            "good.message.zh",
            "good.message.en",
        }


def test_what_only_waits_backwards_may_wait_no_time_forwards() -> None:
    """Broken: `it must have come before` cannot be said."""
    assert read_rules(changed(window={**ABSENCE, "within": "0s", "before": "2d"}, examples=None))


def test_a_rule_lasts_or_has_a_window() -> None:
    """Broken: one of the two is silently dropped."""
    assert [one.path for one in breaches(changed(window=COUNT, **{"for": "5m"}, examples=None))] == [
        "rules[0] good.for"
    ]


# --- Conditions that are refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("source", [None, 5, True, [], {}, "", " \n", "x" * 2_001, b"gate"])
def test_a_condition_is_a_text(source: object) -> None:
    """Broken: `when: true` without quotes is taken for whatever it becomes."""
    assert faults(source)


@pytest.mark.parametrize("source", [
    "gate &&", "&& gate", "gate gate", "gate = true", "gate; gate", "gate, gate", "if gate", "gate and registered",
    "not gate", "step == 'a", "step == \"a", "step == 'a\nb'", "(gate", "gate)", "[gate", "gate]", "(gate]",
    "gate ? gate",
    "gate : gate", "gate ? : gate", "步骤 == 'a'", "gate\0", "step == '\ud800'", "gate \u202e",
    "documents == 9" + "9" * 30,
    "step == '\\q'", "step == '\\x00'", "step == '\\u0000'", "step == '\\000'", "step.?a == 1", "`gate`", "gate # no",
    "'''a''' == step", '"""a""" == step', "r'''a''' == step", "gate // no", "gate /* no */", "{'a': gate}.a",
    "{} == {}", "step in {'a': 1}", "Foo{a: 1}.a == 1", "step{}",
])  # fmt: skip
def test_what_is_no_cel_is_refused(source: str) -> None:
    """Broken: a condition is read as something else than it looks like."""
    assert faults(source)


@pytest.mark.parametrize("source", [
    "[1].all(x, x > 0)", "[1].all(step, step > 0)", "[1] . all ( node , node > 0 )", "[1].\nall\t(x, x > 0)",
    "[1].//c\nall(x, x > 0)", "[1].exists(step, step > 0)", "[1].exists_one(step, step > 0)",
    "[1].existsOne(step, step > 0)",
    "size([1].map(step, step)) > 0", "size([1].map(step, step > 0, step)) > 0", "size([1].filter(step, step > 0)) > 0",
    "[1].\u00a0all(step, step > 0)", "[1].\u2003existsOne(step, step > 0)", "[1].\x0ball(step, step > 0)",
    'r"\\" == step || [1].existsOne(step, step == 1) || "" == ""',
    "r'\\' == step || size([1].map(step, step)) > 1 || '' == ''",
    "R'\\' == step || size([1].map(step, step)) > 1 || '' == ''",
    "rb'\\' == b'' || size([1].map(step, step)) > 1 || '' == ''",
    "step == '\"' || [1].existsOne(step, step == 1) || step == '\"'", "has(step.a)", "has (step.a)", "has\n(step.a)",
    "cel.bind(step, 1, step > 0)", "[1].transformList(step, node, step).size() > 0",
    "[1].sortBy(step, step).size() > 0",
    "optional.of(1).optMap(step, step) == 1", "[1].reduce(step, node, 0, step) > 0",
])  # fmt: skip
def test_comprehensions_are_refused_however_they_are_written(source: str) -> None:
    """Broken: three nested loops over a list run for seconds, for each item of each event."""
    assert faults(source)


@pytest.mark.parametrize("source", [
    "type(step) == string", "dyn(step) == 'a'", "step[0] == 'a'", "[1, 2][0] == 1", "step.lowerAscii() == 'a'",
    "step.replace('a', 'b') == 'a'", "math.greatest(1, 2) == 2", "time.getFullYear() == 2026", "now() > time",
    "max(1, 2) == 2",
    "bytes(step) == b'a'", "uint(1) == 1u", "step.size.size() > 1", ".step == 'a'", "step.length > 1", "x.y.z",
    "os.system('ls')",
])  # fmt: skip
def test_only_known_functions_are_taken(source: str) -> None:
    """Broken: another release of the library has a function that we never looked at."""
    assert faults(source)


@pytest.mark.parametrize("source", [
    "documents > 'a'", "step > 3", "!step", "!documents", "gate && documents", "documents || gate", "documents",
    "step", "price",
    "time", "time - recorded", "[gate]", "null", "gate ? 1 : 2", "size(documents) > 0", "price % 2.0 == 1.0",
    "step * 5 == 'a'", "gate && documents > 'a'", "gate || documents > 'a'", "!gate && (registered || documents > 'a')",
    "gate || (gate || (gate && documents > 'x'))", "gate || !(gate && documents > 'x')",
    "gate || (gate && step > 3) == true",
    "gate ? documents > 'a' : true", "gate ? true : documents > 'a'", "!gate ? documents > 'a' : true",
    "gate ? true : gate ? true : step > 3", "(gate ? true : step) == true", "size(gate ? 'a' : 3) > 1",
    "gate || step in ['a', documents > 'a' ? 'b' : 'c']", "gate || 'a' in step", "gate || step.startsWith(3)",
    "step == 3", "step != 3", "gate == 'true'", "price == '3'", "documents in ['1']", "step in [1, 2]",
    "gate || step == null",
    "time == '2026-11-25'", "time == duration('1h')", "gate == 1", "gate || (registered && step == 3)",
    "step in []  || step == 1",
    "duration('rubbish') == duration('1h')", "gate || duration('1 hour') > duration('1h')", "timestamp('2026') == time",
    "gate || timestamp('25.11.2026') < time", "duration(step) > duration('1h')", "timestamp(step) > time",
    "int(step) == 1",
    "gate || int('x') == 1", "double('x') > 1.0", "documents / 0 == 1", "documents % 0 == 1",
    "gate || documents / 0 == 1",
    "9223372036854775807 + documents > 0", "gate || -9223372036854775808 - documents < 0", "int(1e99) > 1",
    "time.getHours('Mars') < 5", "gate || step.matches('(')", "step.contains(3)",
])  # fmt: skip
def test_what_can_never_work_is_told_when_it_is_read(source: str) -> None:
    """Broken: a wrong type behind an `&&` or in a choice shows first when the food is sold, or never."""
    assert faults(source)


@pytest.mark.parametrize("source", [
    "gate && price > 3", "documents > 3.0", "price == 3", "documents in [1, 2, 3]", "step in ['a', 'b']", "step in []",
    "1 / documents == 1", "documents / (documents - 1) == 1", "documents / sources > 2 && sources > 0",
    "price / 0.0 > 1.0",
    "time - recorded > duration('1h')", "time.getHours() < 5", "time + duration('1h') > recorded",
    "int(region) / 100 == 3302",
    "gate ? step == 'a' : step == 'b'", "gate ? gate : registered ? gate : registered", "(gate ? 1 : 2) == 1", "!!gate",
    "step == \"it's\" || step == 'a \"b\"'", "step == '.all(x, y)'", "step == 'http://x'", "step == '{a}'",
    "step == '猪肉'",
    "step == 'matches(x)'", "step.matches('^[a-z]+$')", "step.matches(r'^\\w+$')", "step.matches('(a|b)+')", "true",
    "timestamp('2026-11-25T00:00:00Z') < time", "step + '-' + node == 'a-b'", "size(step) > 3 && step.size() > 3",
    "string(documents) == '1'", "-documents < 0", "- documents - -1 == 0", "gate == registered",
    "(gate) && ((registered))",
    "&&".join(["gate"] * 330), "||".join(["gate"] * 330), "+".join(["1"] * 900) + " == 900",
    "step == '" + "a" * 1_900 + "'",
])  # fmt: skip
def test_what_works_is_taken(source: str) -> None:
    """Broken: a good rule is refused."""
    assert faults(source) == []


@pytest.mark.parametrize("source", [
    "a&&" * 600 + "a", "!" * 1_999, "((((" * 500, "gate?gate:" * 199, "gate?" * 399, "[[[[" * 499, "-" * 1_999,
    "(" * 21 + "gate" + ")" * 21,
    "gate" + "=" * 1_990, "step == " + "'a'+" * 490 + "'a' && step == 3", "==".join(["gate"] * 330),
    "==".join(["1"] * 660),
    " in ".join(["step"] * 200), "gate" + ".a" * 900, "9" * 2_000, "price > " + "9" * 1_900, "'" * 1_999, "\\" * 1_999,
    "(gate&&" * 280,
])  # fmt: skip
def test_long_and_deep_conditions_are_refused_soon(source: str) -> None:
    """Broken: two lines of a rule file hold up the ledger."""
    assert faults(source)


# --- Patterns -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [
    "step.matches(node)", "step.matches('a' + node)", "step.matches(gate ? 'a' : node)", "step.matches(('a'))",
    "matches(step, node)",
    "step.matches('a' == 'a' ? node : node)", "step.matches\n(node)", "step . matches (node)",
    "step.matches('a', node)", "step.matches()",
    "step.matches('" + "a" * 10_000 + "')", "step.matches('" + "a" * 250 + "')", "step.matches(')" + "a" * 250 + "')",
    "step.matches('a{1000}{1000}')", "step.matches('((a{100}){100}){100}')", "step.matches('(a{0,99}){99}')",
    "step.matches('a{99999}')",
    "step.matches(r'\\w{50}')", "step.matches(r'\\pL{50}')", "step.matches('" + "\\\\w" * 30 + "')",
    "step.matches('[\\\\w]{90}')",
    "step.matches('.{5000}')", " || ".join([f"step.matches(r'{n}\\w\\w\\w')" for n in range(20)]),
    "step.matches('\\x5cw{9}')",
    "step.matches('\\u005cw{9}')", "step.matches('\\134w{9}')", "step.matches('(?=a)')", "step.matches('(a)\\\\1')",
    "step.matches('[')",
])  # fmt: skip
def test_patterns_are_written_out_short_and_cheap(source: str) -> None:
    """Broken: a pattern of twenty characters takes a tenth of a second, for each item of each event."""
    assert faults(source)


@pytest.mark.parametrize("pattern", [
    "(a+)+$", "(a|a)*$", "(a*)*b", "^(([a-z])+.)+[A-Z]([a-z])+$", "(.*a){9}", "(a|aa)+$", "(x+x+)+y", "^(a?){9}a{9}$",
])  # fmt: skip
def test_patterns_are_matched_in_linear_time(pattern: str) -> None:
    """Broken: a lot's name of thirty letters stops all warnings (ReDoS)."""
    asked = condition(f"step.matches('{pattern}')")
    begun = time.monotonic()
    for long in ("a" * 30 + "!", "a" * 50_000 + "!", "x" * 50_000):
        assert asked.holds(context_of({"step": long})) is not None
    assert time.monotonic() - begun < LONG_S


def test_a_pattern_that_is_taken_costs_little_each_time() -> None:
    """Broken: the library makes the pattern anew at each look, and the longest that is taken takes 50 ms."""
    for pattern in (r"\\w{13}", r"\\w\\w\\w\\w\\w\\w\\w\\w\\w\\w", ".{300}", "[^a]{200}", "^[0-9]{13}$"):
        source = f"step.matches('{pattern}')"
        if not (taken := faults(source) == []):
            continue
        asked, context = condition(source), context_of({"step": "330212"})
        begun = time.monotonic()
        for _ in range(20):
            asked.holds(context)
        assert taken and (time.monotonic() - begun) / 20 < 0.03


# --- Evaluating ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "facts", "holds"), [
    ("price > 3.0", {}, None), ("!(price > 3.0)", {}, None), ("price > 3.0 && gate", {"gate": True}, None),
    ("price > 3.0 && gate", {"gate": False}, False), ("gate && price > 3.0", {"gate": False}, False),
    ("gate || price > 3.0", {"gate": True}, True), ("price > 3.0 || gate", {"gate": True}, True),
    ("price > 3.0 || gate", {"gate": False}, None), ("gate ? registered : price > 3.0", {"gate": True,
    "registered": True}, True),
    ("gate ? price > 3.0 : registered", {"gate": True, "registered": True}, None), ("price != 3.0", {}, None),
    ("step == step", {}, None), ("documents / sources > 2", {"documents": 4, "sources": 0}, None),
    ("sources != 0 && documents / sources > 1", {"documents": 4, "sources": 0}, False),
    ("int(region) > 5", {"region": ""}, None), ("int(region) > 5", {"region": "9" * 30}, None), ("gate",
    {"gate": "yes"}, None),
    ("documents + sources > 1", {"documents": 2**63 - 1, "sources": 1}, None), ("price > 3.0", {"price": "x"}, None),
    ("price > 3.0", {"price": float("nan")}, None), ("time.getHours() == 8", {"time": datetime(2026, 11, 25, 8,
    tzinfo=UTC)}, True),
])  # fmt: skip
def test_what_is_not_known_is_not_false(source: str, facts: dict[str, Value], holds: bool | None) -> None:
    """Broken: `no certificate` is told of goods of which nobody knows; or waits for what it does not need."""
    assert condition(source).holds(context_of(facts)) is holds


@pytest.mark.parametrize(("kind", "value", "facts"), [
    ("value_count", "int(region) / 100", {"region": ""}), ("value_count", "documents / sources", {"sources": 0}),
    ("value_sum", "price / 0.0", {}), ("value_sum", "double(region)", {"region": "x"}), ("value_sum", "price",
    {"price": 1e999}), ("value_count", "100 / documents", {"documents": 0}),
])  # fmt: skip
def test_a_value_that_cannot_be_had_is_counted_as_missing(kind: str, value: str, facts: dict[str, Value]) -> None:
    """Broken: one event without a region stops the watcher for good, or one infinite price the sum."""
    test = "count > 1" if kind == "value_count" else "sum > 1.0"
    window = {"type": kind, "within": "1h", "value": value, "condition": test}
    (rule,) = read_rules(changed(when="true", window=window, examples=None))
    known = {**samples(Watch.ITEM), **facts}
    seen = look(rule, known, context_of(known), Source(1, "entry", None, datetime(2026, 11, 25, tzinfo=UTC)), 0)
    assert seen.hit is None and seen.missing and seen.when


def test_what_is_not_known_of_the_groups_makes_no_warning() -> None:
    """Broken: warnings of all things without a number become one."""
    (rule,) = read_rules(text_of(GOOD))
    known = {name: value for name, value in samples(Watch.ITEM).items() if name != "item"} | {"quantity": 9.0}
    seen = look(rule, known, context_of(known), Source(1, "entry", None, datetime(2026, 11, 25, tzinfo=UTC)), 0)
    assert seen.hit is None and seen.missing


# --- Any text -----------------------------------------------------------------------------------------------

PIECES = st.sampled_from([*"()[]{}?:!&|<>=+-*/%.,'\"\\ \n#", "&&", "||", "==", " in ", "gate", "step", "price",
    "documents", "time",
                          "1", "2.5", "'a'", "r'", "true", "null", "matches(", "size(", "has(", ".all(", "duration(",
                          "//", "\ud800"])  # fmt: skip
LINES = st.sampled_from([*"-:?[]{}&*!|>'\"%@`#, \n\t", "rules:", "\n  - ", "id: a", "when: gate", "  ", "!!", "&a ",
    "*a", "---\n", "\0",
                         "window: {", "type: absence", "within: 1h", "by: [node]", "<<: ", "~", "1e999", "0x",
                         "\U0001f600"])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.lists(LINES, max_size=60).map("".join)))
def test_any_text_gives_rules_or_says_what_is_wrong(text: str) -> None:
    """Broken: a file that no person would write makes another error than `UnacceptableRecord`, or hangs."""
    begun = time.monotonic()
    try:
        assert isinstance(read_rules(text), list)
    except UnacceptableRecord as refused:
        assert refused.breaches and all(one.reason for one in refused.breaches)
    assert time.monotonic() - begun < 1


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join)))
def test_any_condition_is_taken_or_refused(source: str) -> None:
    """Broken: a condition makes another error when it is read or evaluated."""
    wrong: list[str] = []
    found = read_condition(source, FACTS[Watch.ITEM], wrong.append)
    assert (found is None) is bool(wrong)
    if found is not None:
        assert found.holds(context_of(samples(Watch.ITEM))) in (True, False, None)
        assert found.holds(context_of({})) in (True, False, None)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(["1h",
    "gate", "item", "count > 1"]))  # fmt: skip
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
    ["type", "within", "unless", "value", "zh", "en", "fires", "facts", "after"]), inner, max_size=3),
        max_leaves=6)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*GOOD, "window", "for", "falsepositives"]), VALUES, max_size=4))
def test_any_field_may_hold_anything(fields: Json) -> None:
    """Broken: a value of a strange type in some field makes another error."""
    try:
        for rule in read_rules(text_of({**GOOD, **fields})):
            list(wrong_examples(rule))
    except UnacceptableRecord as refused:
        assert refused.breaches


# --- Examples -----------------------------------------------------------------------------------------------


def checked(text: str) -> list[Breach]:
    return list(RULE_SET.check({"rule_set": "test", "rules": text}))


def test_a_rule_set_is_filed_only_if_its_examples_do_what_they_say() -> None:
    """Broken: a rule goes live that its own author did not understand."""
    assert checked(text_of(GOOD)) == []
    for fires, quantity in ((True, 5.0), (False, 6.0)):
        (one,) = checked(changed(examples=[*GOOD["examples"], {"fires": fires, "facts": {"quantity": quantity}}]))
        assert one.path == "good" and "examples[2]" in one.reason and ("does not fire" in one.reason) is fires
    assert [one.path for one in checked(changed(level="pink"))] == ["rules[0] good.level"]


@pytest.mark.parametrize(("minutes", "fires"), [(59, False), (60, False), (61, True)])
def test_an_example_takes_the_windows_ends_as_the_log_does(minutes: int, fires: bool) -> None:
    """Broken: what came exactly in time fires in the trial and not in the log."""
    window = {**ABSENCE, "lateness": "0s"}
    facts = [
        {"quantity": 6.0},
        {"after": f"{minutes}m", "quantity": 1.0, "is_pack": True},
        {"after": "9h", "quantity": 1.0},
    ]
    (rule,) = read_rules(changed(window=window, examples=[{"fires": fires, "facts": facts}]))
    assert list(wrong_examples(rule)) == []


def test_the_state_after_can_be_given_of_a_pack() -> None:
    """Broken: the fact `after` of a pack is read as a time and dropped."""
    pack = {"watch": "pack", "steps": None, "when": "after == 'recalled'", "message": {"zh": "{after}", "en": "x"}}
    says = [
        {"fires": True, "facts": {"after": "recalled"}},
        {"fires": False, "facts": [{"after": "30m"}, {"after": "supplied"}]},
    ]
    assert checked(changed(**pack, examples=says)) == []


# --- Shipped rules --------------------------------------------------------------------------------------------

CHINESE = re.compile("[\u4e00-\u9fff]")
ENGLISH = re.compile("[a-z]{2}")


def test_the_shipped_sets_are_there() -> None:
    """Broken: an empty folder passes everything below."""
    assert list(shipped()) == ["access", "drugs", "food"] and len(RULES) == 36
    assert sum(len(read_rules(text)) for text in shipped().values()) == len(RULES), "an id stands in one set only"


@pytest.mark.parametrize("name", RULES)
def test_a_shipped_rule_says_why_to_whom_and_with_examples(name: str) -> None:
    """Broken: a warning nobody can act on, in a language they do not read, that rests on nothing."""
    rule = RULES[name]
    for text in (rule.name, rule.message, rule.remedy):
        bare_zh, bare_en = (re.sub(r"\{[^}]*\}", "", one) for one in (text.chinese, text.english))
        assert CHINESE.search(bare_zh) and ENGLISH.search(bare_en) and not CHINESE.search(bare_en)
        assert not re.search(r"[a-z]{4,}", bare_zh), "no English in it"
    assert rule.source and {one.fires for one in rule.examples} == {True, False}
    assert list(wrong_examples(rule)) == []
    assert set(re.findall(r"\{([a-z_]+)", rule.message.chinese)) == set(
        re.findall(r"\{([a-z_]+)", rule.message.english)
    )


@pytest.mark.parametrize("name", RULES)
def test_examples_notice_when_a_rule_says_the_contrary(name: str) -> None:
    """Broken: examples that hold whatever the rule says."""
    rule = RULES[name]
    negated = read_condition(f"!({rule.when.source})", FACTS[rule.watch], pytest.fail)
    assert negated is not None
    assert list(wrong_examples(replace(rule, when=negated)))


@pytest.mark.parametrize("name", RULES)
def test_examples_notice_when_a_number_is_another(name: str) -> None:
    """Broken: a threshold with a digit too many; no food is ever that bad, and no warning ever comes."""
    rule = RULES[name]
    for match in re.finditer(r"(?<=[<>] )[0-9]+(\.[0-9]+)?", rule.when.source):
        for factor in ("1000000.0" if match[1] else "1000000", "-1000000.0" if match[1] else "-1000000"):
            source = rule.when.source[: match.start()] + factor + rule.when.source[match.end() :]
            made = read_condition(source, FACTS[rule.watch], pytest.fail)
            assert made is not None
            if list(wrong_examples(replace(rule, when=made))):
                break
        else:
            pytest.fail(f"{rule.when.source}: nothing notices another number than {match[0]}")
    if rule.window is not None and rule.window.condition is not None:
        schema = {**FACTS[rule.watch], **{"count": FACTS[Watch.EVENT]["documents"], "sum": FACTS[Watch.EVENT]["price"]}}
        never = read_condition("count > 1000000", schema, pytest.fail)
        assert list(wrong_examples(replace(rule, window=replace(rule.window, condition=never))))


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.window is not None])
def test_a_finding_of_a_shipped_window_can_be_told(name: str) -> None:
    """Broken: the message needs a fact that a finding of this window never has."""
    rule = RULES[name]
    firing = next(one for one in rule.examples if one.fires)
    found = findings(rule, firing)[0]
    assert rule.window is not None
    needs = set(re.findall(r"\{([a-z_]+)", rule.message.chinese + rule.message.english + rule.remedy.chinese))
    assert needs <= found.facts.keys() | found.counted.keys()
    assert bool(found.counted) is (
        rule.window.type in (WindowType.EVENT_COUNT, WindowType.VALUE_COUNT, WindowType.VALUE_SUM)
    )
