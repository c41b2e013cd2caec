"""Rule sets: those that are shipped, and filing one. Which rules are live is a record of the register `rule-set`."""

import logging
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

from sqlalchemy import Connection, select

from ledger.append import Request
from ledger.errors import LedgerError, NotRecorded
from ledger.filing import file_one
from ledger.registers import RULE_SET
from ledger.registrar import Registrar
from ledger.registry import record, records, versions
from ledger.rules.form import Rule, read_rules
from ledger.tables import rule_set
from ledger.vault import Vault

_log = logging.getLogger(__name__)


def shipped() -> Mapping[str, str]:
    """The rule files of this release, by the names of their sets."""
    folder = files("ledger.rules") / "shipped"
    found = {one.name.removesuffix(".yaml"): one for one in folder.iterdir() if one.name.endswith(".yaml")}
    return {name: found[name].read_text("utf-8") for name in sorted(found)}


def shipped_set(name: str) -> str:
    """One of them; `NotRecorded` lists them if there is none of that name."""
    sets = shipped()
    if name not in sets:
        raise NotRecorded(f"no rule set {name} is shipped; these are: {', '.join(sets)}")
    return sets[name]


def load_request(connection: Connection, registrar: Registrar, name: str, text: str) -> Request | None:
    """File a rule set, or its new text; None if it is filed so. `UnacceptableRecord` names all that is wrong."""
    given = {"rule_set": name, "rules": text}
    present = records(connection, registrar.vault, RULE_SET, [(name,)])
    if not present:
        return file_one(connection, registrar, RULE_SET, given, None)[0]
    return registrar.change(record(connection, registrar.vault, RULE_SET, (name,)), registrar.read(RULE_SET, given))


def first_rules(connection: Connection, registrar: Registrar) -> list[Request]:
    """The shipped rule sets, where none was ever loaded: a ledger that watches nothing would look like peace."""
    if connection.execute(select(rule_set.c.rule_set).limit(1)).one_or_none() is not None:
        return []
    requests = (load_request(connection, registrar, name, text) for name, text in shipped().items())
    return [request for request in requests if request is not None]


def live_rules(connection: Connection) -> dict[str, list[Rule]]:
    """The rules that are live now, by the names of their sets."""
    question = select(rule_set.c.rule_set, rule_set.c.rules).where(rule_set.c.status == "live")
    found = connection.execute(question.order_by(rule_set.c.rule_set))
    return {name: list(rules) for name, text in found if (rules := _rules_of(name, text)) is not None}


def rule_as_it_was(connection: Connection, vault: Vault, id_: str, version: str) -> tuple[Rule, bool] | None:
    """A rule in this version, and whether it is live: looked for in all that was ever loaded; None if it is nowhere."""
    for row in connection.execute(select(rule_set.c.rule_set, rule_set.c.status).order_by(rule_set.c.rule_set)):
        loaded = versions(connection, vault, RULE_SET, (row.rule_set,))
        for one in reversed(loaded):
            text = str(one.record.values["rules"])
            for rule in (_rules_of(row.rule_set, text) or ()) if id_ in text else ():
                if (rule.id, rule.version) == (id_, version):
                    return rule, row.status == "live" and text == loaded[-1].record.values["rules"]
    return None


@lru_cache(maxsize=32)
def _rules_of(name: str, text: str) -> tuple[Rule, ...] | None:
    """A set's rules; None, and said, where this release cannot read them, since the watcher does not use them then."""
    try:
        return tuple(read_rules(text))
    except LedgerError as error:
        _log.error("the rule set %s cannot be read: %s", name, error)
        return None
