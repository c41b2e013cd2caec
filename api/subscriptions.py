"""How subscriptions are served, for their owners: over HTTP and on the command line the same."""

from typing import Annotated, Any

import typer
from rich.text import Text
from sqlalchemy import Row

from api.ledger import Ledger, now, open_ledger
from api.screen import say, show, table
from ledger import outlets
from ledger.access import Actor
from ledger.deliveries import webhook_id
from ledger.entries import time_text
from ledger.errors import Conflict
from ledger.nodes import OPERATOR
from ledger.registers import SUBSCRIPTION
from ledger.registers.supervision import Channel
from ledger.registrar import new_secret
from ledger.registry import Record, is_within, missing_record, record
from ledger.settings import Settings

Json = dict[str, Any]

OUTCOMES = ("waiting", "delivered", "failed", "given_up")
SHOWN = 5
LOG_MAX = 1_000


def subscription_of(ledger: Ledger, actor: Actor, code: str) -> Record:
    """The subscription, if it is of the actor's nodes."""
    with ledger.database.read() as connection:
        found = record(connection, ledger.vault, SUBSCRIPTION, (code,))
    if not is_within(found, actor.reach):
        raise missing_record(SUBSCRIPTION, (code,))
    return found


def standing(ledger: Ledger, found: Record) -> Json:
    """How far it is served, why it is not, and its last deliveries."""
    (code,) = found.key
    with ledger.database.read() as connection:
        at = outlets.standing(connection, code)
        last = outlets.deliveries(connection, code, SHOWN)
    answer: Json = {"subscription": code, "channel": found.row["channel"], "status": found.row["status"]}
    if at is not None:
        answer |= {
            "position": at.position, "newest": at.newest, "behind": at.behind, "waiting": at.waiting,
            "failures": at.failures, "failing": at.failing, "failingSince": _time(at.failing_since),
            "nextAttempt": _time(at.next_at), "disabled": at.disabled,
        }  # fmt: skip
    return {**answer, "last": [_shown(row) for row in last]}


def log(ledger: Ledger, found: Record, limit: int, outcome: str | None) -> list[Json]:
    """What was sent, the latest notice first. Never what was answered, but for its status."""
    with ledger.database.read() as connection:
        return [_shown(row) for row in outlets.deliveries(connection, found.key[0], limit, outcome)]


def _shown(row: Row[Any]) -> Json:
    return {
        "number": row.number, "webhookId": webhook_id(row.subscription, row.number), "subject": row.subject,
        "outcome": row.outcome, "attempts": row.attempts, "status": row.status, "error": row.error,
        "latencyMs": row.latency_ms, "lastAt": _time(row.last_at), "nextAt": _time(row.next_at),
    }  # fmt: skip


def _time(at: Any) -> str | None:
    return None if at is None else time_text(at)


def replay(ledger: Ledger, found: Record, first: int, last: int) -> Json:
    """Send the notices of a range again. `reset`: some of it is not kept any more."""
    with ledger.database.engine.begin() as connection:
        made = outlets.replay(connection, found.key[0], first, last, now())
    return {"replayed": made.count, "oldest": made.kept.oldest, "reset": first < made.kept.oldest}


def rotate(ledger: Ledger, actor: Actor, found: Record, *, finish: bool) -> Json:
    """A new secret, answered this once; the old one signs too until a second call says `finish`.

    Called again before that, it is the new one that is replaced: receivers may not know it yet.
    """
    if found.row["channel"] != Channel.WEB_HOOK:
        raise Conflict(f"the {found.name} is served by {found.row['channel']}: nothing of it is signed")
    secret = None if finish else new_secret()
    before = None if finish else found.values.get("secret_before") or found.values.get("secret")
    changes = {"secret_before": before, **({} if secret is None else {"secret": secret})}
    request = ledger.registrar(actor).change(found, changes)
    if request is not None:
        ledger.record(request)
    return {"subscription": found.key[0], "secret": secret, "rotating": before is not None}


# --- on the command line --------------------------------------------------------------------------

Code = Annotated[str, typer.Argument(metavar="SUBSCRIPTION", help="its code, such as 330212001-erp")]


def add_commands(group: typer.Typer) -> None:
    """Give the group `suyuan subscription` what only subscriptions have."""
    for command in (deliveries_command, replay_command, rotate_command):
        group.command(command.__name__.removesuffix("_command"))(command)


def deliveries_command(
    code: Code,
    limit: Annotated[int, typer.Option(min=1, max=LOG_MAX, help="how many at most")] = 20,
    outcome: Annotated[str | None, typer.Option(help=f"only those that are {', '.join(OUTCOMES)}")] = None,
) -> None:
    """What was sent, how it went, and how far the subscription is served.

    Example: `suyuan subscription deliveries 330212001-erp --outcome failed`
    """
    shown = table("notice", "outcome", "attempts", "status", "error", "ms", "last", "next")
    with open_ledger(Settings.from_environment()) as ledger:
        found = subscription_of(ledger, OPERATOR, code)
        at = standing(ledger, found)
        for one in log(ledger, found, limit, outcome):
            names = ("number", "outcome", "attempts", "status", "error", "latencyMs", "lastAt", "nextAt")
            shown.add_row(*(Text("" if one[name] is None else str(one[name])) for name in names))
    show(shown)
    if "position" in at:
        why = f"; nothing is sent: {at['disabled']}" if at["disabled"] else ""
        failing = f"; failing since {at['failingSince']}" if at["failing"] else ""
        say(f"served up to notice {at['position']} of {at['newest']}; {at['waiting']} wait{failing}{why}")


def replay_command(
    code: Code,
    first: Annotated[int, typer.Option("--from", min=1, help="number of the first notice")],
    last: Annotated[int, typer.Option("--to", min=1, help="number of the last")],
) -> None:
    """Send notices again, under the ids that they had.

    Example: `suyuan subscription replay 330212001-erp --from 1200 --to 1300`
    """
    with open_ledger(Settings.from_environment()) as ledger:
        made = replay(ledger, subscription_of(ledger, OPERATOR, code), first, last)
    gone = f"; those before {made['oldest']} are not kept any more" if made["reset"] else ""
    say(f"{made['replayed']} are sent again{gone}")


def rotate_command(
    code: Code, finish: Annotated[bool, typer.Option("--finish", help="the old secret signs no more")] = False
) -> None:
    """Make a new secret and print it, this once; the old one signs too until --finish.

    Example: `suyuan subscription rotate 330212001-erp`
    """
    with open_ledger(Settings.from_environment()) as ledger:
        made = rotate(ledger, OPERATOR, subscription_of(ledger, OPERATOR, code), finish=finish)
    if made["secret"] is None:
        say(f"the old secret of {code} signs no more")
    else:
        say("the old secret signs too until rotate --finish; keep this one, it is shown once:")
        typer.echo(made["secret"])
