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
    ADMINISTER = "administer"
    SEE_HEALTH = "see health"


_WRITERS = frozenset({Role.TERMINAL, Role.PHARMACY, Role.MANUFACTURER, Role.WHOLESALER, Role.MARKET, Role.ADMIN})

ALLOWED: dict[Action, frozenset[Role] | None] = {
    # None: also without a credential
    Action.CAPTURE: _WRITERS,
    Action.READ_ENTRY: _WRITERS | {Role.REGULATOR},
    Action.TRACE: _WRITERS | {Role.REGULATOR},
    Action.READ_LOG: None,  # hashes and proofs show nobody's trade (DESIGN: the log can be public)
    Action.ADMINISTER: frozenset({Role.ADMIN}),
    Action.SEE_HEALTH: None,
}

SEES_ALL = frozenset({Role.REGULATOR, Role.ADMIN})
"""Roles that read every chain, sealed parts included. All others: the chains of their own nodes."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: a credential's code, its role, and the nodes it is bound to."""

    name: str
    role: Role
    nodes: frozenset[int]
    home_node: int

    @property
    def sees_all(self) -> bool:
        return self.role in SEES_ALL

    def may_see(self, node: int) -> bool:
        """Whether the sealed part of this node's entries, and its trade at all, is this actor's to read."""
        return self.sees_all or node in self.nodes

    def require(self, action: Action) -> None:
        """`NotAllowed` unless the role covers `action`."""
        allowed = ALLOWED[action]
        if allowed is not None and self.role not in allowed:
            raise NotAllowed(f"a credential of the role {self.role} may not {action}")
