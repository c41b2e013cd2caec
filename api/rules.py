"""`suyuan rules` and `suyuan warning`: rule files, and warnings, on the command line."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from api.ledger import open_ledger
from api.screen import progress, say, show, table, warn
from api.warnings import HoldBody, StepBody, handle, hold_for, wrong_in
from ledger.documents import write_json
from ledger.errors import Breach, LimitExceeded, UnacceptableRecord
from ledger.nodes import OPERATOR
from ledger.rules.form import FILE_BYTES_MAX, read_rules
from ledger.rules.schema import FACTS, Watch
from ledger.rules.warnings import shown
from ledger.rulesets import live_rules, load_request, rule_as_it_was, shipped, shipped_set
from ledger.settings import Settings
from ledger.warnings import Asked, counts, explain, get_warning, list_warnings, parse_moment, try_rules

rules_app = typer.Typer(no_args_is_help=True, help="Rules 规则: check, try, load and list what watches the ledger.")
warning_app = typer.Typer(no_args_is_help=True, help="Warnings 预警: list, explain, handle (挂牌督办), hold goods.")
RuleFile = Annotated[Path, typer.Argument(metavar="FILE", help="a rule file in YAML", exists=True, dir_okay=False)]
Warned = Annotated[str, typer.Argument(metavar="WARNING", help="the warning's id")]
AsJson = Annotated[bool, typer.Option("--json", help="as JSON")]


def _text(file: Path) -> str:
    if file.stat().st_size > FILE_BYTES_MAX:
        raise LimitExceeded(f"{file} has more than {FILE_BYTES_MAX} bytes; split it")
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UnacceptableRecord([Breach(str(file), f"it is no UTF-8, at byte {error.start + 1}")]) from None


@rules_app.command("check")
def check(file: RuleFile) -> None:
    """Say all that is wrong with a rule file, and what its examples show. Status 2 if anything is.

    Example: `suyuan rules check my-rules.yaml`
    """
    found = wrong_in(_text(file))
    for one in found:
        warn(f"{file}: {one}")
    if found:
        raise typer.Exit(2)
    say(f"{file}: {len(read_rules(_text(file)))} rules, all examples hold")


@rules_app.command("test")
def test(
    file: RuleFile,
    since: Annotated[str, typer.Option(help="warnings raised from then on are compared")],
    as_json: AsJson = False,
) -> None:
    """Replay the ledger with the rules of a file: what they would have raised, beside what the live ones did.

    Example: `suyuan rules test my-rules.yaml --since 2026-11-01T00:00:00+08:00`
    """
    rules, begin = read_rules(_text(file)), parse_moment(since)
    with open_ledger(Settings.from_environment()) as ledger, progress("replaying", "entries") as (bar, task):
        trial = try_rules(
            ledger.database, ledger.settings.zone, rules, begin,
            lambda done, of: bar.update(task, completed=done, total=of),
        )  # fmt: skip
    if as_json:
        _print({"entries": trial.entries, "same": trial.same, "counts": trial.counts,
                "new": [shown(one) for one in trial.new], "gone": [shown(one) for one in trial.gone]})  # fmt: skip
        return
    say(f"{trial.entries} entries replayed: {trial.same} warnings as they are, {len(trial.new)} new, "
        f"{len(trial.gone)} not raised any more")  # fmt: skip
    for sign, some in (("+", trial.new), ("-", trial.gone)):
        for one in some[:200]:
            say(f"{sign} {one.level.chinese} {one.rule} {one.body['message']['zh']} / {one.body['message']['en']}")
    for rule, count in trial.counts.items():
        if count["notEvaluated"]:
            say(f"{rule}: {count['notEvaluated']} of {count['evaluated']} not evaluated: a fact was not known")


@rules_app.command("list")
def list_() -> None:
    """The live rules, with what came of each.

    Example: `suyuan rules list`
    """
    with open_ledger(Settings.from_environment()) as ledger, ledger.database.read() as connection:
        live, counted = live_rules(connection), counts(connection)
    shown_ = table("set", "rule", "level 级别", "name 名称", "matched", "not evaluated", "raised", "source")
    for name, rules in live.items():
        for rule in rules:
            count = counted.get(rule.key, {})
            shown_.add_row(
                name, rule.id, rule.level.chinese, f"{rule.name.chinese} {rule.name.english}",
                *(str(count.get(word, 0)) for word in ("matched", "notEvaluated", "raised")), rule.source,
            )  # fmt: skip
    show(shown_)


@rules_app.command("facts")
def facts(watch: Annotated[Watch, typer.Argument(help="what is watched")]) -> None:
    """What rules may ask of what they watch.

    Example: `suyuan rules facts item`
    """
    shown_ = table("fact", "名称", "type", "what it is", "such as")
    for name, one in FACTS[watch].items():
        shown_.add_row(name, one.chinese, type(one.sample).__name__, one.help, str(one.sample))
    show(shown_)


@rules_app.command("load")
def load(
    name: Annotated[str, typer.Argument(help="the set's name; without a file one that is shipped")],
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", exists=True, dir_okay=False)] = None,
) -> None:
    """Make a rule file live under a name: an entry, from which on its rules watch. Without a file: a shipped set.

    Example: `suyuan rules load food`
    """
    text = shipped_set(name) if file is None else _text(file)
    with open_ledger(Settings.from_environment()) as ledger:
        with ledger.database.read() as connection:
            request = load_request(connection, ledger.registrar(OPERATOR), name, text)
        if request is None:
            say(f"{name} is live as it is")
            return
        (place,) = ledger.record(request)
    say(f"{len(read_rules(text))} rules of {name} are live from entry {place.node:09d}/{place.seq} on")


@rules_app.command("shipped")
def shipped_() -> None:
    """The rule sets of this release, with their rules.

    Example: `suyuan rules shipped`
    """
    for name, text in shipped().items():
        for rule in read_rules(text):
            say(f"{name} {rule.id} {rule.level.chinese} {rule.name.chinese} {rule.name.english}: {rule.source}")


@rules_app.command("explain")
def explain_(warning: Warned) -> None:
    """Why there is a warning: values, window, rule version, and the entries that it rests on.

    Example: `suyuan rules explain 330212001-0f1e2d3c4b5a69788796a5b4`
    """
    with open_ledger(Settings.from_environment()) as ledger, ledger.database.read() as connection:
        asked = get_warning(connection, warning, None)
        rule = rule_as_it_was(connection, ledger.vault, asked.rule, asked.rule_version)
        found = explain(connection, asked, rule, None)
    _print(found)


@warning_app.command("list")
def list_them(
    level: Annotated[str | None, typer.Option(help="red, orange, yellow or blue")] = None,
    rule: Annotated[str | None, typer.Option(help="the rule's id")] = None,
    status: Annotated[str | None, typer.Option(help="open … closed, or unclosed")] = None,
    node: Annotated[str | None, typer.Option(help="9 digits")] = None,
    text: Annotated[str | None, typer.Option(help="words that it says, in Chinese or English")] = None,
    since: Annotated[str | None, typer.Option(help="raised from then on")] = None,
    hidden: Annotated[bool, typer.Option(help="also those that nobody is told of")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    as_json: AsJson = False,
) -> None:
    """Warnings, the newest first.

    Example: `suyuan warning list --level red --status unclosed`
    """
    asked = Asked(level=level, rule=rule, status=status, node=node, text=text, since=since, hidden=hidden, limit=limit)
    with open_ledger(Settings.from_environment()) as ledger, ledger.database.read() as connection:
        found = list_warnings(connection, asked, None)
    if as_json:
        _print([shown(one) for one in found])
        return
    shown_ = table("warning 预警", "level 级别", "status 状态", "raised", "what")
    for one in found:
        row = shown(one)
        message = one.body["message"]
        shown_.add_row(one.id, row["levelChinese"], row["statusChinese"], row["raisedAt"][:16],
                       f"{message['zh']} / {message['en']}")  # fmt: skip
    show(shown_)


@warning_app.command("show")
def show_one(warning: Warned) -> None:
    """A warning as it stands, as JSON.

    Example: `suyuan warning show 330212001-0f1e2d3c4b5a69788796a5b4`
    """
    with open_ledger(Settings.from_environment()) as ledger, ledger.database.read() as connection:
        _print(shown(get_warning(connection, warning, None)))


@warning_app.command("step")
def step(
    warning: Warned,
    step: Annotated[str, typer.Argument(help="assign, start, submit, reject, verify, close, reopen")],
    reason: Annotated[str, typer.Option(help="why; it is kept")],
    assignee: Annotated[str | None, typer.Option(help="who has to do something: 13 digits")] = None,
    due: Annotated[str | None, typer.Option(help="until when, with its offset")] = None,
    measures: Annotated[str | None, typer.Option(help="what was done")] = None,
) -> None:
    """Take a step of its handling; each is an entry.

    Example: `suyuan warning step 330212001-0f1e2d3c4b5a69788796a5b4 close --reason "destroyed, seen on site"`
    """
    body = StepBody(step=step, reason=reason, assignee=assignee, due=due, measures=measures)
    with open_ledger(Settings.from_environment()) as ledger:
        done = handle(ledger, OPERATOR, warning, body)
    say(f"{warning} is {done['status']}, entry {done['entry']}")


@warning_app.command("hold")
def hold(
    warning: Warned,
    reason: Annotated[str, typer.Option(help="why; it is kept")],
    scope: Annotated[str, typer.Option(help="lot, goods, party or node")] = "lot",
    until: Annotated[str | None, typer.Option(help="when it ends by itself, with its offset")] = None,
    everywhere: Annotated[bool, typer.Option(help="at all nodes")] = False,
) -> None:
    """Stop the sale of what it is about, at once.

    Example: `suyuan warning hold 330212001-0f1e2d3c4b5a69788796a5b4 --reason "failed its test"`
    """
    body = HoldBody(reason=reason, scope=scope, until=until, everywhere=everywhere)
    with open_ledger(Settings.from_environment()) as ledger:
        done = hold_for(ledger, OPERATOR, warning, body)
    say(f"{done['scope']} {done['target']} is held: {done['hold']}")


def _print(value: Any) -> None:
    print(json.dumps(json.loads(write_json(value)), ensure_ascii=False, indent=2), file=sys.stdout)
