"""Who may do what: roles, the rule of every action, and how far each role sees.

A lawyer can review the table. Routes and commands name their action; a test asserts that each has one.
Pure.
"""

from dataclasses import dataclass
from enum import StrEnum

from ledger.errors import NotAllowed


class Role(StrEnum):
    """What a credential is for."""

    TERMINAL = "terminal"
    PHARMACY = "pharmacy"
    MANUFACTURER = "manufacturer"
    WHOLESALER = "wholesaler"
    MARKET = "market"
    REGULATOR = "regulator"
    SUBSCRIBER = "subscriber"
    ADMIN = "admin"


class Action(StrEnum):
    """Everything that can be asked of the ledger."""

    CAPTURE = "capture"
    READ_ENTRY = "read entry"
    TRACE = "trace"
    READ_LOG = "read log"
    REGISTER = "keep the register"
    READ_REGISTER = "read the register"
    RECALL = "recall"
    GIVE_COMMANDS = "give commands for packs"
    CHECK_PACKS = "check packs"
    LOOK_UP = "look up a code"
    READ_PRIVATE = "read personal data"
    SEE_READINGS = "see who read personal data"
    CHECK_GOODS = "check goods at the gate"
    HOLD = "hold and release goods"
    HANDLE = "handle warnings"
    READ_WARNINGS = "read warnings"
    SUBSCRIBE = "subscribe"
    ANSWER_RECALL = "answer recalls"
    SEE_BOARD = "see the board"
    SCHEDULE = "schedule reports"
    PUBLISH = "publish reports"
    ADMINISTER = "administer"
    SEE_HEALTH = "see health"


_WRITERS = frozenset({Role.TERMINAL, Role.PHARMACY, Role.MANUFACTURER, Role.WHOLESALER, Role.MARKET, Role.ADMIN})
_DRUGS = frozenset({Role.PHARMACY, Role.MANUFACTURER, Role.WHOLESALER, Role.REGULATOR})

ALLOWED: dict[Action, frozenset[Role] | None] = {
    # None: also without a credential
    Action.CAPTURE: _WRITERS,
    Action.READ_ENTRY: _WRITERS | {Role.REGULATOR},
    Action.TRACE: _WRITERS | {Role.REGULATOR},
    Action.READ_LOG: None,  # hashes and proofs show nobody's trade (DESIGN: the log can be public)
    Action.REGISTER: frozenset({Role.MARKET, Role.REGULATOR, Role.ADMIN}),
    Action.READ_REGISTER: _WRITERS | {Role.REGULATOR},  # personal data masked
    Action.RECALL: frozenset({Role.REGULATOR, Role.ADMIN}),
    Action.GIVE_COMMANDS: _DRUGS,  # each market's table says which (`ledger/packs/states.py`)
    Action.CHECK_PACKS: _WRITERS | {Role.REGULATOR},
    Action.LOOK_UP: None,  # shoppers: how often a pack was sold, and nothing else
    Action.READ_PRIVATE: frozenset({Role.MARKET, Role.REGULATOR, Role.ADMIN}),  # and each reading is an entry
    Action.SEE_READINGS: frozenset({Role.REGULATOR, Role.ADMIN}),
    Action.CHECK_GOODS: _WRITERS | {Role.REGULATOR},
    Action.HOLD: frozenset({Role.MARKET, Role.REGULATOR, Role.ADMIN}),  # a market at its own nodes
    Action.HANDLE: frozenset({Role.MARKET, Role.REGULATOR, Role.ADMIN}),
    Action.READ_WARNINGS: frozenset(Role),  # of their own nodes
    Action.SUBSCRIBE: frozenset({Role.SUBSCRIBER, Role.MARKET, Role.REGULATOR, Role.ADMIN}),
    Action.ANSWER_RECALL: _WRITERS | {Role.REGULATOR},
    Action.SEE_BOARD: frozenset({Role.MARKET, Role.REGULATOR, Role.ADMIN}),  # of their own nodes
    Action.SCHEDULE: frozenset({Role.MARKET, Role.REGULATOR, Role.ADMIN}),  # a market at its own nodes
    Action.PUBLISH: frozenset(),  # the engine alone: what says that it was published was (`ledger/publishing.py`)
    Action.ADMINISTER: frozenset({Role.ADMIN}),
    Action.SEE_HEALTH: None,
}

SUPERVISORS = frozenset({Role.REGULATOR, Role.ADMIN})
"""Who alone may take the steps that a market may not take in its own affairs."""
SEES_ALL = SUPERVISORS
"""Roles that read every chain, sealed parts included. All others: the chains of their own nodes."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a credential's code, its role, and the nodes it is bound to."""

    name: str
    role: Role
    nodes: frozenset[int]
    home_node: int
    engine: frozenset[Action] = frozenset()
    """What no role covers, and a part of the ledger itself does under its own name; credentials have none of it."""

    @property
    def sees_all(self) -> bool:
        return self.role in SEES_ALL

    def may_see(self, node: int) -> bool:
        """Whether the sealed part of this node's entries, and its trade at all, is this actor's to read."""
        return self.sees_all or node in self.nodes

    @property
    def reach(self) -> frozenset[int] | None:
        """The nodes whose parties this actor may see; None for all."""
        return None if self.sees_all else self.nodes

    def require_node(self, node: int) -> None:
        """`NotAllowed` unless the node is one of this actor's."""
        if not self.may_see(node):
            raise NotAllowed(f"the node {node:09d} is none of those that this credential is bound to")

    def require_one_of(self, roles: frozenset[Role], what: str) -> None:
        """`NotAllowed` unless the role is one of these."""
        if self.role not in roles:
            raise NotAllowed(f"a credential of the role {self.role} may not {what}")

    def require(self, action: Action) -> None:
        """`NotAllowed` unless the role covers `action`."""
        allowed = ALLOWED[action]
        if allowed is not None and self.role not in allowed and action not in self.engine:
            raise NotAllowed(f"a credential of the role {self.role} may not {action}")
