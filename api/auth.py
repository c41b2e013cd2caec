"""Who is asking, and whether they may: every route declares its rule with `allow`.

A credential's API key comes as `Authorization: Bearer sy_…`. It is checked at every request (`ledger/gate.py`), so
that a revocation counts at once, or within a second where another process made it.
"""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.console import session
from api.ledger import Ledger, now
from ledger.access import ALLOWED, Action, Actor
from ledger.errors import NotSignedIn
from ledger.registers import register_of

_bearer = HTTPBearer(auto_error=False, description="an API key, as `suyuan credential add` shows it once")


async def ledger_of(request: Request) -> Ledger:
    """The process's ledger."""
    ledger: Ledger = request.app.state.ledger
    return ledger


class Rule:
    """A route's rule: the action that it is. As a dependency it gives the actor, or None where anybody may ask.

    Where anybody may ask, no thread is waited for: the process answers that it lives while all of them wait.
    """

    def __init__(self, action: Action) -> None:
        self.action = action

    async def __call__(
        self, request: Request, key: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Actor | None:
        action = self.of(request)
        if ALLOWED[action] is None:
            return None
        ledger = await ledger_of(request)
        given = session.key_of(request, ledger.secret, now()) if key is None else key.credentials
        if given is None:
            raise NotSignedIn("this needs a credential: send Authorization: Bearer and an API key")
        request.state.key = given
        actor = ledger.gate.known(given)
        if actor is None:
            actor = await ledger.ask(ledger.gate, given)
        request.state.actor = actor
        actor.require(action)
        return actor

    def of(self, _: Request) -> Action:
        """Which action the request is."""
        return self.action


class KeepingRule(Rule):
    """The rule of routes that keep a register: each register says who keeps it."""

    def of(self, request: Request) -> Action:
        return register_of(request.path_params["register"]).keep


class CommandRule(Rule):
    """The rule of commands for packs: whoever may ask may verify."""

    def of(self, request: Request) -> Action:
        return Action.CHECK_PACKS if request.path_params.get("command") == "verify" else self.action


LedgerHere = Annotated[Ledger, Depends(ledger_of)]
MayCapture = Annotated[Actor, Depends(Rule(Action.CAPTURE))]
MayRead = Annotated[Actor, Depends(Rule(Action.READ_ENTRY))]
MayTrace = Annotated[Actor, Depends(Rule(Action.TRACE))]
MayAdminister = Annotated[Actor, Depends(Rule(Action.ADMINISTER))]
MayCommand = Annotated[Actor, Depends(CommandRule(Action.GIVE_COMMANDS))]
MayCheckPacks = Annotated[Actor, Depends(Rule(Action.CHECK_PACKS))]
MayCheckGoods = Annotated[Actor, Depends(Rule(Action.CHECK_GOODS))]
MayReadWarnings = Annotated[Actor, Depends(Rule(Action.READ_WARNINGS))]
MayHandle = Annotated[Actor, Depends(Rule(Action.HANDLE))]
MayHold = Annotated[Actor, Depends(Rule(Action.HOLD))]
MaySubscribe = Annotated[Actor, Depends(Rule(Action.SUBSCRIBE))]
AnybodyLooks = Annotated[None, Depends(Rule(Action.LOOK_UP))]
MayRegister = Annotated[Actor, Depends(KeepingRule(Action.REGISTER))]
MayReadRegister = Annotated[Actor, Depends(Rule(Action.READ_REGISTER))]
MayReadPrivate = Annotated[Actor, Depends(Rule(Action.READ_PRIVATE))]
MaySeeReadings = Annotated[Actor, Depends(Rule(Action.SEE_READINGS))]
Anybody = Annotated[None, Depends(Rule(Action.READ_LOG))]
AnybodyHealth = Annotated[None, Depends(Rule(Action.SEE_HEALTH))]
