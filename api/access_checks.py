"""Market access over HTTP (市场准入): may these goods come in? The answer is an entry, with every reason at once.

A check has an id of its own: sent again it is answered with what was decided. Suppliers and issuers are sealed.
"""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import Field, WithJsonSchema

from api.auth import LedgerHere, MayCheckGoods, MayRead
from api.bodies import FieldReader, Input, documented_model, json_answer, parsed
from api.ledger import Ledger, now
from api.scans import node_here
from ledger.access import Actor
from ledger.codes import key_of_code, parse_node, parse_party
from ledger.documents import Json
from ledger.errors import Breach, Busy, Conflict, NotAllowed, NotRecorded, UnacceptableRecord
from ledger.fields import moment
from ledger.gs1 import is_digits
from ledger.identifiers import identifies_goods_closely
from ledger.market_access.checks import answer_of, asked_of, check_request, read_known, recorded_check
from ledger.market_access.decision import Assay, Check, Goods, Paper, Temperature, decide
from ledger.market_access.grounds import Outcome
from ledger.reads import ReadEntry
from ledger.registers.fields import day_of, decimal, parse_region
from ledger.registers.goods import GOODS, PRODUCT, Unit
from ledger.registers.supervision import VoucherKind
from ledger.steps import RESULT

router = APIRouter(tags=["market access"])
GOODS_MAX, DOCUMENTS_MAX, TESTS_MAX = 20, 50, 50
TRIES_MAX = 50
"""How often a check is decided anew where others used its certificates meanwhile."""
CLOCK_OFF = timedelta(minutes=10)
_QUANTITY, _DEGREES = decimal("0.000001", "100000000"), decimal("-100", "100")


class GoodsBody(Input):
    """Goods that are to come in. Quantities are texts."""

    goods: str = Field(examples=["21113011"])
    quantity: str = Field(examples=["120.5"])
    unit: str = Field(default="KGM", examples=["KGM"])
    lot: str | None = Field(default=None, max_length=1000, description="the lot or pack, as it was scanned")
    origin: str | None = Field(default=None, examples=["330212"], description="6 digits of the region")
    imported: bool = False


class DocumentBody(Input):
    """A paper that came with the goods, as it says."""

    type: str = Field(examples=["product"])
    number: str = Field(pattern="^[A-Za-z0-9\u4e00-\u9fff-]{1,40}$", examples=["330212000117"])
    issued: str = Field(examples=["2026-11-25"])
    issuer: str | None = Field(default=None, min_length=1, max_length=100, description="no person's name")
    expires: str | None = None
    quantity: str | None = None
    unit: str | None = None


class TestBody(Input):
    """A test of the goods: passed or failed, or the inhibition in percent."""

    kind: str = Field(pattern="^(rapid|laboratory)$", examples=["rapid"])
    result: str = Field(max_length=20, examples=["12.5"])
    at: str = Field(examples=["2026-11-25T08:00:00+08:00"])
    retestOf: str | None = Field(default=None, description="when the failed test was done that this one repeats")
    goods: str | None = Field(default=None, description="of which goods; of all, if left out")


class TemperatureBody(Input):
    """The record of a vaccine's whole way, in °C."""

    min: str = Field(examples=["2.1"])
    max: str = Field(examples=["7.6"])
    minutesAbove: int = Field(ge=0, le=1_000_000, examples=[0], description="minutes above the highest allowed")
    unbroken: bool = Field(examples=[True])


def _schema(model: type[Input]) -> WithJsonSchema:
    return WithJsonSchema({"type": "array", "items": model.model_json_schema()})


class CheckBody(Input):
    """What is to come in, who brings it, and what they show."""

    check: str = Field(description="a UUID of the asker's own; the same check is sent under the same", examples=[
        "0d3c5a52-8f0e-4c77-9f7e-0b7f6f1f3a05"
    ])  # fmt: skip
    node: str = Field(examples=["330212001"])
    party: str = Field(examples=["3302120010001"], description="13 digits: whose goods they are")
    at: str = Field(examples=["2026-11-25T08:00:00+08:00"], description="by the asker's clock")
    goods: Annotated[list[GoodsBody], _schema(GoodsBody)] = Field(
        examples=[[{"goods": "21113011", "quantity": "120.5"}]], min_length=1, max_length=GOODS_MAX
    )
    documents: Annotated[list[DocumentBody], _schema(DocumentBody)] = Field(default=[], max_length=DOCUMENTS_MAX)
    tests: Annotated[list[TestBody], _schema(TestBody)] = Field(default=[], max_length=TESTS_MAX)
    temperature: Annotated[TemperatureBody | None, WithJsonSchema(TemperatureBody.model_json_schema())] = None
    supplier: str | None = Field(default=None, max_length=100, description="13 digits, or a name; sealed")


@router.post("/access-checks", status_code=201, openapi_extra=documented_model(CheckBody))
def post_check(
    ledger: LedgerHere, actor: MayCheckGoods, body: Annotated[CheckBody, Depends(parsed(CheckBody))]
) -> Response:  # fmt: skip
    """Check goods at the gate: admitted, refused or conditional, with every reason. 200 if it was decided before."""
    found, status = _decided(ledger, actor, body)
    return json_answer(_document(ledger, found), status)


@router.get("/access-checks/{check}")
def get_check(ledger: LedgerHere, actor: MayRead, check: UUID) -> Response:
    """A check as it was decided, with what was sent for it. 404 where it is none of your nodes'."""
    with ledger.database.read() as connection:
        found = recorded_check(connection, str(check))
    if found is None or not actor.may_see(found.entry.node):
        raise NotRecorded(f"there is no check {check} among those that you may see")
    return json_answer({**_document(ledger, found), "asked": asked_of(found)})


def _document(ledger: Ledger, found: ReadEntry) -> Json:
    answer = answer_of(found.entry)
    return {
        **answer, "chinese": Outcome.of(answer["decision"]).chinese, "receipt": ledger.receipt([found.place]),
    }  # fmt: skip


def _decided(ledger: Ledger, actor: Actor, body: CheckBody) -> tuple[ReadEntry, int]:
    """The check as it is recorded, and whether it was before: decided anew where a rival used a certificate meanwhile.

    Each round one of the rivals is done, so that the rounds end; `Busy` where there are very many.
    """
    check = check_of(body, ledger)
    actor.require_node(check.node)
    asked = {**body.model_dump(exclude_none=True), "check": check.check}
    for _ in range(TRIES_MAX):
        with ledger.database.read() as connection:
            if (found := recorded_check(connection, check.check, asked)) is not None:
                return _visible(actor, found), 200
            node = node_here(connection, actor, body.node)
            if not node.open:
                raise NotAllowed(f"the node {body.node} is closed")
            known = read_known(connection, ledger.vault, check, node.kind, now(), ledger.today())
        try:
            places = ledger.record(check_request(check, asked, decide(check, known.standing), known, actor))
        except Conflict:  # a rival was faster with a certificate, or this very check came twice
            continue
        with ledger.database.read() as connection:
            if (found := recorded_check(connection, check.check, asked)) is not None:
                return _visible(actor, found), 200 if places[0].duplicate else 201
    raise Busy("many others use the same certificates")


def _visible(actor: Actor, found: ReadEntry) -> ReadEntry:
    """The check, if it was made at a node of the actor's: its id may be somebody else's."""
    actor.require_node(found.entry.node)
    return found


# --- what was sent ----------------------------------------------------------------------------------


def check_of(body: CheckBody, ledger: Ledger) -> Check:
    """The check that a body asks for; `UnacceptableRecord` names all that is wrong with it."""
    read, latest = _Reader(ledger), now() + CLOCK_OFF
    check = read("check", lambda: str(UUID(body.check)))
    node = read("node", lambda: parse_node(body.node))
    party = read("party", lambda: parse_party(body.party))
    at = read("at", lambda: moment(body.at))
    goods = [read.goods(f"goods[{number}]", one) for number, one in enumerate(body.goods)]
    papers = [read.paper(f"documents[{number}]", one) for number, one in enumerate(body.documents)]
    tests = [read.test(f"tests[{number}]", one) for number, one in enumerate(body.tests)]
    temperature = None if body.temperature is None else read.temperature("temperature", body.temperature)
    for number, test in enumerate(tests):
        if test is not None and test.at > latest:
            read.breaches.append(Breach(f"tests[{number}].at", "it is in the future: look at the clock"))
    if read.breaches or check is None or node is None or party is None or at is None:
        raise UnacceptableRecord(read.breaches)
    return Check(
        check, node, party, at, [one for one in goods if one], [one for one in papers if one],
        [one for one in tests if one], temperature, body.supplier,
    )  # fmt: skip


class _Reader(FieldReader):
    """Reads the parts of a check, and keeps all that is wrong with them."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._today = ledger.today()

    def goods(self, name: str, body: GoodsBody) -> Goods | None:
        code = self(f"{name}.goods", lambda: self._code(body.goods))
        quantity = self._decimal(f"{name}.quantity", body.quantity)
        unit = self._unit(f"{name}.unit", body.unit)
        origin = self(f"{name}.origin", lambda: body.origin and f"{parse_region(body.origin):06d}")
        lot = self(f"{name}.lot", lambda: _lot(body.lot)) if body.lot is not None else None
        if code is None or quantity is None or unit is None or (body.lot is not None and lot is None):
            return None
        return Goods(lot, code, quantity, unit, origin, body.imported)

    def paper(self, name: str, body: DocumentBody) -> Paper | None:
        kind = self(f"{name}.type", lambda: _kind(body.type))
        issued = self(f"{name}.issued", lambda: day_of(body.issued))
        expires = self(f"{name}.expires", lambda: day_of(body.expires or "")) if body.expires is not None else None
        quantity = self._decimal(f"{name}.quantity", body.quantity) if body.quantity is not None else None
        unit = self._unit(f"{name}.unit", body.unit) if body.unit is not None else None
        if (body.quantity is None) != (body.unit is None):
            self.breaches.append(Breach(f"{name}.unit", "quantity and unit go together"))
        if issued is not None and expires is not None and expires < issued:
            self.breaches.append(Breach(f"{name}.expires", f"it ends on {expires}, before it was issued on {issued}"))
        if kind is None or issued is None:
            return None
        return Paper(kind, body.number, body.issuer, issued, expires, quantity, unit)

    def test(self, name: str, body: TestBody) -> Assay | None:
        at = self(f"{name}.at", lambda: moment(body.at))
        again = self(f"{name}.retestOf", lambda: body.retestOf and moment(body.retestOf))
        goods = self(f"{name}.goods", lambda: body.goods and self._code(body.goods))
        if not RESULT.fullmatch(body.result):
            hint = "give passed or failed, or the inhibition in percent, such as 12.5"
            self.breaches.append(Breach(f"{name}.result", hint))
        if at is None:
            return None
        return Assay(body.kind == "rapid", body.result, at, again or None, goods or None)

    def temperature(self, name: str, body: TemperatureBody) -> Temperature | None:
        low = self._number(f"{name}.min", body.min, _DEGREES)
        high = self._number(f"{name}.max", body.max, _DEGREES)
        if low is not None and high is not None and low > high:
            self.breaches.append(Breach(f"{name}.max", f"{high} is less than min, which is {low}"))
        return None if low is None or high is None else Temperature(low, high, body.minutesAbove, body.unbroken)

    def _code(self, text: str) -> str:
        """A goods code, or a product: a GTIN, or the 7 digits that a drug's codes begin with."""
        product = is_digits(text) and (len(text) > 8 or (len(text) == 7 and text[0] == "8"))
        return str((PRODUCT.field("product") if product else GOODS.field("goods")).parse(text, self._today))

    def _decimal(self, name: str, text: str) -> Decimal | None:
        return self._number(name, text, _QUANTITY)

    def _number(self, name: str, text: str, parse: Callable[..., Any]) -> Decimal | None:
        return self(name, lambda: Decimal(parse(text, self._today)))

    def _unit(self, name: str, text: str) -> str | None:
        return self(name, lambda: str(Unit.of(text)))


def _lot(text: str | None) -> Any:
    key = key_of_code(text or "")
    if not identifies_goods_closely(key):
        raise ValueError("this names a whole class of goods; name the lot or pack")
    return key


def _kind(text: str) -> VoucherKind:
    for known in VoucherKind:
        if text in (known, known.chinese):
            return known
    raise ValueError(f"the kinds of document are {', '.join(VoucherKind)}")
