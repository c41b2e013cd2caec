"""Rule files: YAML, read into rules, with everything that is wrong told at once. Pure.

A rule says what it watches, when it is true, of what it speaks (its subject), and what a person has to know and do.
A window makes it a rule about several things: how many, how many different, how much, together, in order, or missing
(after Sigma's correlation rules 2.0). A rule's version is a hash of what it says.
"""

import hashlib
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Any

import orjson
import yaml

from ledger.errors import Breach, UnacceptableRecord
from ledger.rules.conditions import Condition, no_fact, read_condition
from ledger.rules.schema import COUNTED, FACTS, Fact, Watch
from ledger.vocabulary import BUSINESS_STEPS

Json = dict[str, Any]
FILE_BYTES_MAX = 256 * 1024
RULES_MAX = 200
_ALWAYS_KEPT = frozenset(("node", "region", "goods"))
TEXT_MAX = 500
EXAMPLES_MAX = 20
EXAMPLE_FACTS_MAX = 50
VALUES_MAX = 50_000
_DEPTH_MAX = 12


class Level(IntEnum):
    """How bad it is: 红橙黄蓝 (突发事件应对法 2024, art. 42: one is the worst)."""

    RED = 1
    ORANGE = 2
    YELLOW = 3
    BLUE = 4

    @property
    def word(self) -> str:
        return self.name.lower()

    @property
    def chinese(self) -> str:
        return "红橙黄蓝"[self - 1] + "色"


class WindowType(StrEnum):
    """What a window asks of what it saw."""

    EVENT_COUNT = "event_count"
    VALUE_COUNT = "value_count"
    VALUE_SUM = "value_sum"
    TEMPORAL = "temporal"
    TEMPORAL_ORDERED = "temporal_ordered"
    ABSENCE = "absence"


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence in Chinese and English; `{names}` stand for facts."""

    chinese: str
    english: str


@dataclass(frozen=True, slots=True)
class Window:
    """What is remembered, for how long, and what is asked of it.

    `lateness`: how much later than it should something may be recorded and still count. For absence, `conditions` is
    what should have come, from `before` ahead of it until `within` after.
    """

    type: WindowType
    within: timedelta
    lateness: timedelta
    value: Condition | None = None
    condition: Condition | None = None
    conditions: tuple[Condition, ...] = ()
    before: timedelta = timedelta(0)

    @property
    def span(self) -> timedelta:
        """For how long what was seen may count."""
        return max(self.within, self.before)


@dataclass(frozen=True, slots=True)
class Example:
    """What the rule finds, or what is near it and is not found: facts in the order in which they come."""

    fires: bool
    facts: tuple[Json, ...]


@dataclass(frozen=True)
class Rule:
    """One rule. `version` is a hash of all that it says."""

    id: str
    version: str
    name: Text
    level: Level
    watch: Watch
    steps: frozenset[str]
    when: Condition
    subject: str
    by: tuple[str, ...]
    window: Window | None
    lasting: timedelta | None
    """How long it has to stay true (`for`)."""
    message: Text
    remedy: Text
    source: str
    examples: tuple[Example, ...]

    @cached_property
    def key(self) -> str:
        """Under which its state is kept: another version begins anew."""
        return f"{self.id}@{self.version}"

    @cached_property
    def asked(self) -> frozenset[str]:
        """The facts that its conditions ask for."""
        window = self.window
        more = () if window is None else (window.value, window.condition, *window.conditions)
        return frozenset().union(*(one.names for one in (self.when, *more) if one is not None))

    @cached_property
    def names(self) -> frozenset[str]:
        """The facts that it speaks of."""
        shown = {name for text in (self.message, self.remedy) for one in (text.chinese, text.english)
                 for _, name, _, _ in string.Formatter().parse(one) if name}  # fmt: skip
        return self.asked | shown | {self.subject, *self.by}

    @cached_property
    def kept(self) -> tuple[str, ...]:
        """The facts that are kept of what it finds, in their order."""
        return tuple(sorted(self.names | _ALWAYS_KEPT))


def read_rules(text: str) -> list[Rule]:
    """The rules of a file; `UnacceptableRecord` names all that is wrong, each with its place."""
    reader = _Reader()
    rules = reader.file(text)
    if reader.breaches:
        raise UnacceptableRecord(reader.breaches)
    return rules


_FIELDS = frozenset(
    "id name level watch steps when subject by for window message remedy source examples falsepositives".split()
)
_WINDOW_FIELDS = frozenset("type within lateness value condition unless patterns before".split())
_NO_CONTROL = "it has a control character, which no line of it needs"
_ID = re.compile("[a-z][a-z0-9_]{1,59}")
_SPAN = re.compile("([0-9]{1,5})(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SPAN_MAX = timedelta(days=400)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class _Reader:
    """Reads a file and keeps all that is wrong with it."""

    def __init__(self) -> None:
        self.breaches: list[Breach] = []
        self._at = ""

    def wrong(self, field: str, reason: str) -> None:
        self.breaches.append(Breach(f"{self._at}.{field}".strip("."), reason))

    def file(self, text: str) -> list[Rule]:
        loaded = self._loaded(text)
        rules = loaded.get("rules") if isinstance(loaded, dict) else None
        if not isinstance(rules, list) or set(loaded) - {"rules"}:
            if not self.breaches:
                self.wrong("", "a rule file is a map with one key, rules, which holds a list")
            return []
        if len(rules) > RULES_MAX:
            self.wrong("rules", f"{len(rules)} rules; at most {RULES_MAX} stand in a file")
            return []
        made: dict[str, Rule] = {}
        ids: set[str] = set()
        for number, given in enumerate(rules):
            name = given.get("id") if isinstance(given, dict) else None
            self._at = f"rules[{number}]" if not isinstance(name, str) else f"rules[{number}] {name[:60]}"
            rule = self._rule(given)
            if isinstance(name, str) and name in ids:
                self.wrong("id", f"{name[:60]} stands in this file already")
            ids |= {name} if isinstance(name, str) else set()
            if rule is not None:
                made[rule.id] = rule
        return list(made.values())

    def _loaded(self, text: str) -> Any:
        """YAML without anchors (a few lines could become millions), tags, depth or keys that stand twice."""
        if len(text.encode(errors="surrogatepass")) > FILE_BYTES_MAX:
            self.wrong("", f"the file has more than {FILE_BYTES_MAX} bytes; split it")
            return None
        if odd := _CONTROL.search(text):
            self.wrong(f"line {text.count(chr(10), 0, odd.start()) + 1}", _NO_CONTROL)
            return None
        try:
            refused = self._refused(text)
            if refused is not None:
                self.wrong(*refused)
                return None
            return yaml.load(text, Loader=_Loader)  # noqa: S506 - made of the safe loader, below
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
            self.wrong(where, f"this is no YAML: {getattr(error, 'problem', None) or 'it cannot be read'}")
        except (ValueError, RecursionError) as error:  # a date that is none, …
            self.wrong("", f"this is no YAML: {error}")
        return None

    @staticmethod
    def _refused(text: str) -> tuple[str, str] | None:
        """Which line does what YAML may do and a rule file may not, and what that is."""
        depth = 0
        for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
            where = _line(event.start_mark)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                return where, "write it out: anchors and aliases are not taken"
            if (tag := getattr(event, "tag", None)) is not None:
                return where, f"tags such as {tag[:40]} are not taken"
            if depth > _DEPTH_MAX:
                return where, f"it goes deeper than {_DEPTH_MAX} levels"
            if number > VALUES_MAX:
                return where, f"the file has more than {VALUES_MAX} values; split it"
            if isinstance(event, yaml.ScalarEvent) and _CONTROL.search(event.value):
                return where, _NO_CONTROL
        return None

    def _rule(self, given: Any) -> Rule | None:
        before = len(self.breaches)
        if not isinstance(given, dict):
            self.wrong("", "a rule is a map: id, level, watch, when, …")
            return None
        for name in sorted(map(str, given.keys() - _FIELDS)):
            self.wrong(name[:40], f"a rule has no such field; it has {', '.join(sorted(_FIELDS))}")
        id_ = given.get("id")
        if not isinstance(id_, str) or not _ID.fullmatch(id_):
            self.wrong("id", "give 2 to 60 small letters, digits and underscores")
        level = self._word(given, "level", {one.word: one for one in Level})
        watch = self._word(given, "watch", {str(one): one for one in Watch})
        if watch is None:
            return None
        schema = FACTS[watch]
        when = read_condition(given.get("when"), schema, lambda reason: self.wrong("when", reason))
        by, subject = self._by(given, schema)
        window = self._window(given.get("window"), schema)
        shown = {**schema, **_counted(given.get("window"))}
        texts = {name: self._text(given.get(name), name, shown) for name in ("name", "message", "remedy")}
        source = given.get("source")
        if not isinstance(source, str) or not 1 <= len(source) <= TEXT_MAX:
            self.wrong("source", f"say which law, standard or observation it rests on, in 1 to {TEXT_MAX} characters")
        steps = self._steps(given.get("steps"), schema)
        lasting = None if given.get("for") is None else self._span(given["for"], "for")
        if lasting is not None and window is not None:
            self.wrong("for", "a rule has a window or a for, not both")
        examples = self._examples(given.get("examples", []), schema)
        if len(self.breaches) > before or when is None or level is None:
            return None
        version = hashlib.sha256(orjson.dumps(given, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
        return Rule(
            str(id_), version, texts["name"], level, watch, steps, when, subject, by, window, lasting, texts["message"],
            texts["remedy"], str(source), examples,
        )  # fmt: skip

    def _word(self, given: Json, field: str, words: Mapping[str, Any]) -> Any:
        value = given.get(field)
        if not isinstance(value, str) or value not in words:
            self.wrong(field, f"it is one of {', '.join(words)}")
            return None
        return words[value]

    def _by(self, given: Json, schema: Mapping[str, Fact]) -> tuple[tuple[str, ...], str]:
        """The facts by which it groups, and the one that it speaks of: the first of them, if no other is named."""
        by = given.get("by", [given.get("subject")])
        if not isinstance(by, list) or not 1 <= len(by) <= 5 or not all(isinstance(one, str) for one in by):
            self.wrong("by", "name 1 to 5 facts; what has the same values is the same warning")
            by = []
        subject = given.get("subject", by[0] if by else None)
        for field, name in [("subject", subject), *(("by", one) for one in by)]:
            if not isinstance(name, str) or name not in schema:
                self.wrong(field, no_fact(str(name), schema))
        return tuple(by), str(subject)

    def _steps(self, given: Any, schema: Mapping[str, Fact]) -> frozenset[str]:
        if given is None:
            return frozenset()
        if not isinstance(given, list) or not given or not all(isinstance(one, str) for one in given):
            self.wrong("steps", "list the business steps that it looks at, in CBV's words")
            return frozenset()
        if "step" not in schema:
            self.wrong("steps", "what it watches has no business step")
        for step in given:
            if ":" not in step and step not in BUSINESS_STEPS.words:
                near = get_close_matches(step, BUSINESS_STEPS.words, 1)
                self.wrong("steps", f"{step[:60]} is no business step{f'; did you mean {near[0]}?' if near else ''}")
        return frozenset(given)

    def _text(self, given: Any, field: str, schema: Mapping[str, Fact]) -> Text:
        if (
            not isinstance(given, dict) or set(given) != {"zh", "en"}
            or not all(isinstance(one, str) and 1 <= len(one) <= TEXT_MAX for one in given.values())
        ):  # fmt: skip
            self.wrong(field, f"give it in zh and en, 1 to {TEXT_MAX} characters each")
            return Text("", "")
        for language, text in given.items():
            self._placeholders(text, f"{field}.{language}", schema)
        return Text(given["zh"], given["en"])

    def _placeholders(self, text: str, field: str, schema: Mapping[str, Fact]) -> None:
        try:
            found = list(string.Formatter().parse(text))
        except ValueError as error:
            self.wrong(field, f"its braces do not fit: {error}")
            return
        for _, name, form, conversion in found:
            if name is None:
                continue
            if name not in schema:
                self.wrong(field, "in braces, " + no_fact(name, schema))
            elif conversion or (form and not re.fullmatch(r"\.[0-6]f", form)):
                self.wrong(field, f"{{{name}}} takes nothing but decimals, such as {{{name}:.1f}}")
            elif form and not isinstance(schema[name].sample, float):
                self.wrong(field, f"{{{name}}} has no decimals")

    def _span(self, given: Any, field: str) -> timedelta | None:
        span = span_of(given)
        if span is None:
            self.wrong(field, "give a time span of at most 400 days, such as 30m, 24h or 7d")
            return None
        return span

    def _window(self, given: Any, schema: Mapping[str, Fact]) -> Window | None:
        if given is None:
            return None
        if not isinstance(given, dict):
            self.wrong("window", "a window is a map: type, within, …")
            return None
        for name in sorted(map(str, given.keys() - _WINDOW_FIELDS)):
            self.wrong(f"window.{name[:40]}", f"a window has no such field; it has {', '.join(sorted(_WINDOW_FIELDS))}")
        kind = self._word({"window.type": given.get("type")}, "window.type", {str(one): one for one in WindowType})
        within = self._span(given.get("within"), "window.within")
        lateness = self._span(given.get("lateness", "1h"), "window.lateness")
        before = self._span(given.get("before", "0s"), "window.before")
        if kind is None or within is None or lateness is None:
            return None
        if kind is WindowType.ABSENCE and not within and not before:
            self.wrong("window.within", "nothing can come within no time: give more, or before")
        self._only(given, kind)
        value = condition = None
        if kind in (WindowType.VALUE_COUNT, WindowType.VALUE_SUM):
            wanted = (int, float) if kind is WindowType.VALUE_SUM else (str, int, float, bool)
            value = read_condition(given.get("value"), schema, self._told("window.value"), wanted)
        if kind in (WindowType.EVENT_COUNT, WindowType.VALUE_COUNT, WindowType.VALUE_SUM):
            counted = {**schema, **_counted(given)}
            condition = read_condition(given.get("condition"), counted, self._told("window.condition"))
        return Window(
            kind, within, lateness, value, condition, self._conditions(given, kind, schema),
            before or timedelta(0),
        )  # fmt: skip

    def _told(self, field: str) -> Any:
        return lambda reason: self.wrong(field, reason)

    def _only(self, given: Json, kind: WindowType) -> None:
        """What other kinds of window need and this one does not."""
        takes = {
            WindowType.EVENT_COUNT: {"condition"}, WindowType.VALUE_COUNT: {"condition", "value"},
            WindowType.VALUE_SUM: {"condition", "value"}, WindowType.TEMPORAL: {"patterns"},
            WindowType.TEMPORAL_ORDERED: {"patterns"}, WindowType.ABSENCE: {"unless", "before"},
        }[kind]  # fmt: skip
        for name in sorted((given.keys() & _WINDOW_FIELDS) - takes - {"type", "within", "lateness"}):
            self.wrong(f"window.{name}", f"a window of the type {kind} does not take it")

    def _conditions(self, given: Json, kind: WindowType, schema: Mapping[str, Fact]) -> tuple[Condition, ...]:
        if kind is WindowType.ABSENCE:
            sources = [given.get("unless")]
        elif kind in (WindowType.TEMPORAL, WindowType.TEMPORAL_ORDERED):
            patterns = given.get("patterns")
            if not isinstance(patterns, list) or not 2 <= len(patterns) <= 5:
                self.wrong("window.patterns", "list 2 to 5 conditions that have to come together")
                return ()
            sources = patterns
        else:
            return ()
        field = "window.unless" if kind is WindowType.ABSENCE else "window.patterns"
        read = [read_condition(source, schema, self._told(field)) for source in sources]
        return tuple(one for one in read if one is not None)

    def _examples(self, given: Any, schema: Mapping[str, Fact]) -> tuple[Example, ...]:
        if not isinstance(given, list) or len(given) > EXAMPLES_MAX:
            self.wrong("examples", f"list at most {EXAMPLES_MAX}")
            return ()
        return tuple(one for at, example in enumerate(given) if (one := self._example(example, at, schema)))

    def _example(self, given: Any, at: int, schema: Mapping[str, Fact]) -> Example | None:
        if not isinstance(given, dict) or set(given) != {"fires", "facts"} or not isinstance(given["fires"], bool):
            self.wrong(f"examples[{at}]", "an example says fires: true or false, and the facts")
            return None
        facts: Sequence[Any] = given["facts"] if isinstance(given["facts"], list) else [given["facts"]]
        if not 1 <= len(facts) <= EXAMPLE_FACTS_MAX or not all(isinstance(one, dict) for one in facts):
            self.wrong(f"examples[{at}]", f"facts are a map, or a list of 1 to {EXAMPLE_FACTS_MAX} maps")
            return None
        before = len(self.breaches)
        for name, value in (pair for one in facts for pair in one.items()):
            if name == "after" and (span_of(value) is not None or name not in schema):
                self._span(value, f"examples[{at}]")
            elif name not in schema:
                self.wrong(f"examples[{at}]", no_fact(name, schema))
            elif isinstance(schema[name].sample, datetime):
                self.wrong(f"examples[{at}]", f"{name} is not given; say how long after the one before: after: 30m")
            elif not _like(value, schema[name].sample):
                self.wrong(f"examples[{at}]", f"{name} is {type(schema[name].sample).__name__}, not {value!r:.40}")
        if len(self.breaches) > before:
            return None
        return Example(given["fires"], tuple(facts))


def _line(mark: Any) -> str:
    return "" if mark is None else f"line {mark.line + 1}"


def span_of(given: object) -> timedelta | None:
    """A span such as 30m, 24h or 7d; None if it is none, or longer than 400 days."""
    match = _SPAN.fullmatch(given) if isinstance(given, str) else None
    span = None if match is None else timedelta(**{_UNITS[match[2]]: int(match[1])})
    return span if span is not None and span <= _SPAN_MAX else None


def _counted(window: object) -> Mapping[str, Fact]:
    """What a window of this type counts, for its own condition and the message."""
    kind = window.get("type") if isinstance(window, dict) else None
    if kind in ("absence", "temporal", "temporal_ordered") or window is None:
        return {}
    return {"count": COUNTED["count"]} if kind in ("event_count", "value_count") else COUNTED


def _like(value: object, sample: object) -> bool:
    if isinstance(sample, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(sample)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader; a key that stands twice is an error, and yes, 1:30, 0x10 and dates stay texts."""


def _map(loader: Any, node: Any) -> Json:
    made: Json = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str) or key in made:
            what = f"the key {key!r:.40} stands twice" if isinstance(key, str) else f"the key {key!r:.40} is no text"
            raise yaml.MarkedYAMLError(problem=what, problem_mark=key_node.start_mark)
        made[key] = loader.construct_object(value_node, deep=True)
    return made


_Loader.add_constructor("tag:yaml.org,2002:map", _map)
_Loader.yaml_implicit_resolvers = {}
for _type, _form, _first in (
    ("bool", "true|false", "tf"), ("null", "~|null|", ["~", "n", ""]), ("int", "[-+]?[0-9]{1,18}", "-+0123456789"),
    ("float", r"[-+]?[0-9]{1,18}(\.[0-9]{1,18}([eE][-+]?[0-9]{1,2})?|[eE][-+]?[0-9]{1,2})", "-+0123456789"),
):  # fmt: skip
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_type}", re.compile(f"({_form})$"), list(_first))
