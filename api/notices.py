"""Notices for those who ask: pages after a cursor, streams; and how subscriptions are served, for their owners."""

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from api import subscriptions
from api.auth import LedgerHere, MayReadWarnings, MaySubscribe
from api.bodies import Input, documented_model, json_answer, parsed
from api.feed import Feed
from api.ledger import Ledger
from ledger.access import Actor
from ledger.documents import write_json
from ledger.errors import NotSignedIn, UnreadableCode
from ledger.subscriptions import PAGE_MAX, Filter, Kept, Notice, Page, cloud_event, reset_event

router = APIRouter(tags=["notices"])
WAIT_S_MAX = 25
HEARTBEAT_S = 15.0
PAGE = 100
NUMBER_MAX = 2**63 - 1

Code = Annotated[str, Field(max_length=60)]
Node = Annotated[str, Field(pattern="^[0-9]{9}$")]
Region = Annotated[str, Field(pattern="^[0-9]{2,6}$")]
Text = Annotated[str, Field(max_length=300, pattern="^[^\\x00]+$")]


def feed_of(request: Request) -> Feed:
    """The process's feed."""
    feed: Feed = request.app.state.feed
    return feed


FeedHere = Annotated[Feed, Depends(feed_of)]


class Wanted(BaseModel):
    """Which notices; each may be given several times. Goods, regions and kinds: by how they begin."""

    model_config = ConfigDict(extra="forbid")
    level: list[Literal["red", "orange", "yellow", "blue"]] = Field(default=[], max_length=4)
    rule: list[Text] = Field(default=[], max_length=100)
    goods: list[Text] = Field(default=[], max_length=100)
    node: list[Node] = Field(default=[], max_length=100)
    region: list[Region] = Field(default=[], max_length=100, description="a region, or what it begins with: 3302")
    subject: list[Text] = Field(default=[], max_length=100)
    kind: list[Text] = Field(default=[], max_length=100, description="type, or what it begins with: warning.")

    def filter(self, actor: Actor) -> Filter:
        """As far as the actor may see."""
        return Filter(
            tuple(self.level), tuple(self.rule), tuple(self.goods), tuple(self.node), tuple(self.region),
            tuple(self.subject), tuple(self.kind), actor.reach,
        )  # fmt: skip


class WantedPage(Wanted):
    """A page of them."""

    after: int = Field(default=0, ge=0, le=NUMBER_MAX, description="the last number seen; 0: from the beginning")
    limit: int = Field(default=PAGE, ge=1, le=PAGE_MAX)
    wait: float = Field(default=0, ge=0, le=WAIT_S_MAX, description="seconds to wait where there is nothing yet")


class WantedStream(Wanted):
    """A stream of them."""

    after: int | None = Field(default=None, ge=0, le=NUMBER_MAX, description="as `Last-Event-ID`; without: what comes")


@router.get("/notices")
async def list_notices(
    ledger: LedgerHere, actor: MayReadWarnings, feed: FeedHere, asked: Annotated[WantedPage, Query()]
) -> Response:
    """Notices after a cursor, as CloudEvents. `reset` says that what lay after the cursor is not kept any more."""
    wanted = asked.filter(actor)
    found = await feed.page(wanted, asked.after, asked.limit)
    if asked.wait and not found.notices and not found.reset:
        found = await _awaited(feed, wanted, found, asked)
    origin = ledger.settings.origin
    return json_answer({
        "notices": [cloud_event(one, origin) for one in found.notices], "next": found.next, "reset": found.reset,
        "oldest": found.kept.oldest,
    })  # fmt: skip


async def _awaited(feed: Feed, wanted: Filter, found: Page, asked: WantedPage) -> Page:
    """The page once there is something in it, or as it is when the time is over."""
    until = time.monotonic() + asked.wait
    async with feed.listening():
        while not found.notices and not feed.closed:
            position = found.next
            fresh = feed.since(position)
            if fresh == []:
                if (left := until - time.monotonic()) <= 0:
                    break
                await feed.wait(position, left)
            elif fresh is None or any(wanted.passes(one) for one in fresh):
                found = await feed.page(wanted, position, asked.limit)
            else:
                found = Page([], fresh[-1].number, False, found.kept)
    return found


@router.get("/notices/stream", response_class=StreamingResponse)
async def stream_notices(
    request: Request, ledger: LedgerHere, actor: MayReadWarnings, feed: FeedHere,
    asked: Annotated[WantedStream, Query()],
    last_event_id: Annotated[str | None, Header(description="the last number seen")] = None,
) -> Response:  # fmt: skip
    """Notices as server-sent events, as they come; each id is its number. `reset` comes before a gap, never silence."""
    after = asked.after
    if last_event_id:
        if not last_event_id.isascii() or not last_event_id.isdigit() or int(last_event_id[:20]) > NUMBER_MAX:
            raise UnreadableCode("Last-Event-ID", last_event_id[:40], "it is the number of a notice")
        after = int(last_event_id)
    key: str = request.state.key
    await feed.join()
    return _Stream(_events(ledger, feed, asked.filter(actor), after, key), feed)


class _Stream(StreamingResponse):
    """An event stream that lets go of its place among the listeners however it ends."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], feed: Feed) -> None:
        super().__init__(events, headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"})
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._feed.leave()


async def _events(ledger: Ledger, feed: Feed, wanted: Filter, after: int | None, key: str) -> AsyncIterator[bytes]:
    """The bytes of a stream: first what the database has after the cursor, then what comes."""
    origin = ledger.settings.origin
    position = (await feed.ask(Kept.now)).newest if after is None else after
    yield f"retry: 1000\nid: {position}\n\n".encode()
    look, checked = True, time.monotonic()
    while not feed.closed:
        if time.monotonic() - checked >= HEARTBEAT_S:
            if not await _still_known(ledger, key):
                return
            checked = time.monotonic()
            yield f": still here\nid: {position}\n\n".encode()
        fresh = None if look else feed.since(position)
        if fresh is None:
            found = await feed.page(wanted, position, PAGE_MAX)
            if found.reset:
                yield _event(found.kept.oldest - 1, "reset", reset_event(found.kept, position, origin))
            fresh, following = found.notices, found.next
            look = following < found.kept.newest
        else:
            following = fresh[-1].number if fresh else position
        for one in fresh:
            if wanted.passes(one):
                yield _told(one, origin)
        position = following
        await feed.wait(position, HEARTBEAT_S - (time.monotonic() - checked))


async def _still_known(ledger: Ledger, key: str) -> bool:
    """Whether the credential is still in force: a stream may outlive it."""
    try:
        await ledger.ask(ledger.gate, key)
    except NotSignedIn:
        return False
    return True


def _told(one: Notice, origin: str) -> bytes:
    event = cloud_event(one, origin)
    return _event(one.number, event["type"], event)


def _event(number: int, kind: str, data: dict[str, Any]) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (max(number, 0), kind.encode(), write_json(data))


# --- subscriptions --------------------------------------------------------------------------------


class Range(Input):
    """The notices to send again."""

    first: int = Field(alias="from", ge=1, le=NUMBER_MAX, examples=[1200])
    last: int = Field(alias="to", ge=1, le=NUMBER_MAX, examples=[1300])


class Rotation(Input):
    """A new secret, or the end of the old one."""

    finish: bool = Field(default=False, examples=[False], description="true: the old secret signs no more")


@router.get("/subscriptions/{code}")
def one_subscription(ledger: LedgerHere, actor: MaySubscribe, code: Code) -> Response:
    """How far a subscription is served, since when its endpoint fails, why nothing is sent, and the last deliveries."""
    return json_answer(subscriptions.standing(ledger, subscriptions.subscription_of(ledger, actor, code)))


@router.get("/subscriptions/{code}/deliveries")
def delivery_log(
    ledger: LedgerHere, actor: MaySubscribe, code: Code,
    limit: Annotated[int, Query(ge=1, le=subscriptions.LOG_MAX)] = 100,
    outcome: Literal["waiting", "delivered", "failed", "given_up"] | None = None,
) -> Response:  # fmt: skip
    """What was sent and how it went, the latest notice first."""
    found = subscriptions.subscription_of(ledger, actor, code)
    return json_answer(subscriptions.log(ledger, found, limit, outcome))


@router.post("/subscriptions/{code}/replay", openapi_extra=documented_model(Range))
def replay(
    ledger: LedgerHere, actor: MaySubscribe, code: Code, wanted: Annotated[Range, Depends(parsed(Range))]
) -> Response:
    """Send the notices of a range again, those that the subscription asks for, under the ids that they had."""
    found = subscriptions.subscription_of(ledger, actor, code)
    return json_answer(subscriptions.replay(ledger, found, wanted.first, wanted.last))


@router.post("/subscriptions/{code}/rotate", openapi_extra=documented_model(Rotation))
def rotate(
    ledger: LedgerHere, actor: MaySubscribe, code: Code, wanted: Annotated[Rotation, Depends(parsed(Rotation))]
) -> Response:
    """A new secret, answered this once; the old one signs too, until `finish`."""
    found = subscriptions.subscription_of(ledger, actor, code)
    return json_answer(subscriptions.rotate(ledger, actor, found, finish=wanted.finish))
