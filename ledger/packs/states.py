"""What may be done with a pack: states, commands, and each market's rules, as tables. Pure.

Sources: EMVS clients and national guides (`drugs_and_warnings.md` 1.1 to 1.5) for the EU's variant; the statuses and
bills of 码上放心 and the insurance's rule of one sale a code (`china.md` 2) for China's. Expired, recalled and
withdrawn are no states: they are derived from date, batch and product at the check, so that a recall is one row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from ledger.access import Role
from ledger.registers.drugs import Market
from ledger.registers.form import Word


class State(IntEnum):
    """Where a pack stands. Its Chinese name is in `STATE_NAMES`."""

    ACTIVE = 1
    SUPPLIED = 2
    DESTROYED = 3
    SAMPLED = 4
    FREE_SAMPLE = 5
    LOCKED = 6
    EXPORTED = 7
    STOLEN = 8
    CHECKED_OUT = 9

    @property
    def word(self) -> str:
        return self.name.lower()


STATE_NAMES: Mapping[State, str] = {
    State.ACTIVE: "已激活", State.SUPPLIED: "已售出", State.DESTROYED: "已销毁", State.SAMPLED: "已抽检",
    State.FREE_SAMPLE: "已赠样", State.LOCKED: "已锁定", State.EXPORTED: "已出口", State.STOLEN: "被盗",
    State.CHECKED_OUT: "已注销",
}  # fmt: skip
FOR_GOOD = frozenset({State.DESTROYED, State.STOLEN, State.EXPORTED, State.CHECKED_OUT})
"""What no later event changes, whatever was recorded."""
UNDOABLE = frozenset({State.SUPPLIED, State.SAMPLED, State.FREE_SAMPLE})
UNDO_MAX = timedelta(days=10)
"""How long, and only at the same node (`drugs_and_warnings.md` 1.3)."""


class Command(Word):
    """What can be asked of the ledger for a pack."""

    VERIFY = "verify", "验证"
    COMMISSION = "commission", "激活"
    RECEIVE = "receive", "收货"
    SHIP = "ship", "发货"
    SUPPLY = "supply", "销售"
    SPLIT = "split", "拆零销售"
    UNDO = "undo", "撤销"
    RETURN = "return", "消费者退货"
    SAMPLE = "sample", "抽检"
    FREE_SAMPLE = "free_sample", "赠样"
    DESTROY = "destroy", "销毁"
    LOCK = "lock", "锁定"
    UNLOCK = "unlock", "解锁"
    EXPORT = "export", "出口"
    STEAL = "stolen", "报失窃"
    CHECK_OUT = "check_out", "注销"


STEP_URN = "urn:suyuan:step:"


@dataclass(frozen=True, slots=True)
class Trace:
    """How a command stands in an event: business step and disposition (CBV 2.0, 7.1 and 7.2); the state it makes."""

    command: Command
    business_step: str
    disposition: str | None
    makes: State | None
    """None: the state stays, only where the pack is changes."""


TRACES: tuple[Trace, ...] = (
    Trace(Command.COMMISSION, "commissioning", "active", State.ACTIVE),
    Trace(Command.RECEIVE, "receiving", "in_progress", None),
    Trace(Command.SHIP, "shipping", "in_transit", None),
    Trace(Command.SUPPLY, "dispensing", "dispensed", State.SUPPLIED),
    Trace(Command.SPLIT, "dispensing", "partially_dispensed", State.ACTIVE),
    Trace(Command.UNDO, STEP_URN + "undoing", "sellable_accessible", State.ACTIVE),
    Trace(Command.RETURN, STEP_URN + "returning", "returned", State.LOCKED),
    Trace(Command.SAMPLE, "sampling", "non_sellable_other", State.SAMPLED),
    Trace(Command.FREE_SAMPLE, STEP_URN + "giving_sample", "non_sellable_other", State.FREE_SAMPLE),
    Trace(Command.DESTROY, "destroying", "destroyed", State.DESTROYED),
    Trace(Command.LOCK, "holding", "unavailable", State.LOCKED),
    Trace(Command.UNLOCK, STEP_URN + "releasing", "available", State.ACTIVE),
    Trace(Command.EXPORT, STEP_URN + "exporting", "in_transit", State.EXPORTED),
    Trace(Command.STEAL, STEP_URN + "reporting_theft", "stolen", State.STOLEN),
    Trace(Command.CHECK_OUT, "decommissioning", "inactive", State.CHECKED_OUT),
)
TRACE_OF: Mapping[Command, Trace] = {row.command: row for row in TRACES}
OTHER_STEPS: Mapping[str, Command] = {
    "retail_selling": Command.SUPPLY, "accepting": Command.RECEIVE, "void_shipping": Command.RECEIVE,
    "departing": Command.SHIP,
}  # fmt: skip
"""Further business steps that others record for the same."""


_PHARMACY, _WHOLESALER, _MANUFACTURER = Role.PHARMACY, Role.WHOLESALER, Role.MANUFACTURER
_TRADE = frozenset({_PHARMACY, _WHOLESALER, _MANUFACTURER})
_SUPPLIERS = frozenset({_WHOLESALER, _MANUFACTURER})
_A, _L = State.ACTIVE, State.LOCKED


@dataclass(frozen=True, slots=True)
class Rule:
    """Of one command in one market: in which states it is taken, and who may give it.

    `undoes` says how long a command can be undone, at the same node; None: never. `sells`: only what may be sold,
    which is not expired, recalled or withdrawn.
    """

    command: Command
    states: frozenset[State]
    roles: frozenset[Role]
    source: str
    sells: bool = False
    same_place: bool = False
    undoes: timedelta | None = None


def _rule(
    command: Command, states: set[State], roles: frozenset[Role], source: str, *, sells: bool = False,
    same_place: bool = False, undoes: timedelta | None = None,
) -> Rule:  # fmt: skip
    return Rule(command, frozenset(states), roles, source, sells, same_place, undoes)


_EU, _CN = "drugs_and_warnings.md 1.2", "china.md 2.1-2.2"

EU: tuple[Rule, ...] = (
    _rule(Command.COMMISSION, set(), frozenset({_MANUFACTURER}), _EU),
    _rule(Command.RECEIVE, {_A, _L}, _TRADE, _EU),
    _rule(Command.SHIP, {_A, _L}, _TRADE, _EU),
    _rule(Command.SUPPLY, {_A}, frozenset({_PHARMACY, _WHOLESALER}), _EU, sells=True, undoes=UNDO_MAX),
    _rule(Command.SPLIT, {_A}, frozenset({_PHARMACY}), _EU, sells=True, undoes=UNDO_MAX),
    _rule(Command.UNDO, {*UNDOABLE}, _TRADE, "drugs_and_warnings.md 1.3",
          sells=True, same_place=True),
    _rule(Command.SAMPLE, {_A}, frozenset({_PHARMACY, _WHOLESALER}), _EU, undoes=UNDO_MAX),
    _rule(Command.FREE_SAMPLE, {_A}, _SUPPLIERS, _EU, sells=True, undoes=UNDO_MAX),
    _rule(Command.DESTROY, {_A, _L}, _TRADE, _EU),
    _rule(Command.LOCK, {_A}, _SUPPLIERS, _EU),
    _rule(Command.UNLOCK, {_L}, _SUPPLIERS, _EU, same_place=True),
    _rule(Command.EXPORT, {_A}, _SUPPLIERS, _EU, sells=True),
    _rule(Command.STEAL, {_A, _L}, _SUPPLIERS, _EU),
    _rule(Command.CHECK_OUT, {_A}, _SUPPLIERS, _EU),
)  # fmt: skip
CHINA: tuple[Rule, ...] = (
    _rule(Command.COMMISSION, set(), frozenset({_MANUFACTURER}), _CN),
    _rule(Command.RECEIVE, {_A, _L}, _TRADE, _CN),
    _rule(Command.SHIP, {_A, _L}, _TRADE, _CN),
    _rule(Command.SUPPLY, {_A}, frozenset({_PHARMACY, _WHOLESALER}), _CN, sells=True, undoes=UNDO_MAX),
    _rule(Command.SPLIT, {_A}, frozenset({_PHARMACY}), "drugs_and_warnings.md 3, 拆零", sells=True,
          undoes=UNDO_MAX),
    _rule(Command.UNDO, {*UNDOABLE}, _TRADE | {Role.REGULATOR}, "drugs_and_warnings.md 3, 退药",
          sells=True, same_place=True),
    _rule(Command.RETURN, {State.SUPPLIED}, frozenset({_PHARMACY}), "china.md 2.2, 116", same_place=True),
    _rule(Command.SAMPLE, {_A}, _TRADE | {Role.REGULATOR}, "china.md 2.2, 206", undoes=UNDO_MAX),
    _rule(Command.FREE_SAMPLE, {_A}, _SUPPLIERS, "china.md 2.2, 212", sells=True, undoes=UNDO_MAX),
    _rule(Command.DESTROY, {_A, _L}, _TRADE, "china.md 2.2, 205"),
    _rule(Command.LOCK, {_A}, _TRADE | {Role.REGULATOR}, _CN),
    _rule(Command.UNLOCK, {_L}, _TRADE | {Role.REGULATOR}, _CN, same_place=True),
    _rule(Command.EXPORT, {_A}, _SUPPLIERS, _CN, sells=True),
    _rule(Command.STEAL, {_A, _L}, _TRADE, _CN),
    _rule(Command.CHECK_OUT, {_A}, _TRADE, "china.md 2.1, status C 已注销"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Variant:
    """A market's rules, and the numbers that its operator may choose.

    `takes_unknown`: a code of which nothing is recorded may be sold once, since its maker reports elsewhere. `soft`
    refusals for a second command at the same place come before the alert; within `replay` it is the same scan. `gln`
    is who answers verifications.
    """

    market: Market
    rules: Mapping[Command, Rule]
    takes_unknown: bool
    soft: int = 2
    replay: timedelta = timedelta(seconds=60)
    gln: str | None = None


def _variant(market: Market, rules: tuple[Rule, ...], *, takes_unknown: bool) -> Variant:
    return Variant(market, {rule.command: rule for rule in rules}, takes_unknown)


VARIANTS: Mapping[Market, Variant] = {
    Market.CHINA: _variant(Market.CHINA, CHINA, takes_unknown=True),
    Market.EU: _variant(Market.EU, EU, takes_unknown=False),
}


def may_move(role: Role, command: Command) -> bool:
    """Whether a fact that comes by this role moves packs: some market lets it give the command. The operator's does."""
    return role is Role.ADMIN or any(
        command in variant.rules and role in variant.rules[command].roles for variant in VARIANTS.values()
    )
