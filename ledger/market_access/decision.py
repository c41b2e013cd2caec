"""Whether goods may come in: one pure decision, with every reason at once, what to bring, and the row of the law.

A reason either refuses, or asks for a test first; so one more reason never makes a decision milder. What is on the way
in is decided on, never the past: the moment is the ledger's own, whatever the terminal's clock says.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from ledger.codes import node_text
from ledger.errors import Stop
from ledger.gs1 import Key
from ledger.market_access import needs as n
from ledger.market_access.grounds import GROUNDS, Ground, Outcome, Reason
from ledger.market_access.needs import DRUG_TRADE, HELD_FOR, RETEST_WITHIN, TEST_KEPT, GoodsClass, Lack, Need
from ledger.registers.goods import in_base_unit
from ledger.registers.parties import Gap, LicenceKind, Status
from ledger.registers.supervision import CertificateStatus, VoucherKind
from ledger.steps import passed

# --- what was said ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Goods:
    """What is to come in. `lot` is its key, if it has one; `origin` the region that it comes from."""

    lot: Key | None
    goods: str
    quantity: Decimal
    unit: str
    origin: str | None = None
    imported: bool = False

    @property
    def base(self) -> tuple[Decimal, str]:
        """The quantity in the unit that balances are kept in."""
        return in_base_unit(self.quantity, self.unit)

    @property
    def name(self) -> str:
        return self.lot or self.goods


@dataclass(frozen=True, slots=True)
class Paper:
    """A document that came with the goods, as it says."""

    kind: VoucherKind
    number: str
    issuer: str | None
    issued: date
    expires: date | None = None
    quantity: Decimal | None = None
    unit: str | None = None

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.number}"


@dataclass(frozen=True, slots=True)
class Assay:
    """A test of the goods, or of those of one code. `retest_of`: the moment of the failed one that it repeats."""

    rapid: bool
    result: str
    at: datetime
    retest_of: datetime | None = None
    goods: str | None = None

    @property
    def passed(self) -> bool:
        """GB/T 5009.199-2003: an inhibition of 50 % or more fails."""
        return passed(self.result)


@dataclass(frozen=True, slots=True)
class Temperature:
    """The record of a vaccine's way, in °C; `minutes_above` its highest allowed temperature."""

    low: Decimal
    high: Decimal
    minutes_above: int
    unbroken: bool


@dataclass(frozen=True, slots=True)
class Check:
    """What is asked at the gate. `check` is its id."""

    check: str
    node: int
    party: str
    at: datetime
    goods: Sequence[Goods]
    papers: Sequence[Paper] = ()
    tests: Sequence[Assay] = ()
    temperature: Temperature | None = None
    supplier: str | None = None


# --- what is known ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seller:
    """A filed party: where it stands, at which nodes it acts, what it does, and what its licences lack."""

    status: str
    nodes: frozenset[int]
    kinds: frozenset[str]
    gap: tuple[Gap, LicenceKind, str] | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What is registered of a certificate. `used` and `quantity` are in `unit`."""

    status: str
    issued: date
    issuer: str | None = None
    expires: date | None = None
    quantity: Decimal | None = None
    unit: str | None = None
    goods: str | None = None
    node: int | None = None
    used: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Described:
    """What the registers say of goods: their class, and between which temperatures they are kept."""

    kind: GoodsClass
    low: Decimal = Decimal(2)
    high: Decimal = Decimal(8)


@dataclass(frozen=True, slots=True)
class Standing:
    """All that the ledger knows for a check, at one moment; by goods code, certificate or lot."""

    now: datetime
    today: date
    node_kind: str | None = None
    seller: Seller | None = None
    described: Mapping[str, Described] = field(default_factory=dict)
    certificates: Mapping[str, Kept] = field(default_factory=dict)
    earlier: Mapping[Key, Sequence[Assay]] = field(default_factory=dict)
    """Tests of these lots that earlier checks were told of."""
    waited: frozenset[Key] = frozenset()
    """Lots that were to be tested first, and their time is over."""
    stops: Sequence[Stop] = ()
    batch_unknown: frozenset[str] = frozenset()
    """Goods by name, of which batches are recalled, and whose own batch is not known."""

    def kind_of(self, goods: Goods) -> GoodsClass:
        """The class of goods; by their code alone where the registers do not know them."""
        found = self.described.get(goods.goods)
        return found.kind if found is not None else n.class_of(goods.goods, None)


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, every reason, how much each certificate gives, and until when goods wait for a test."""

    outcome: Outcome
    reasons: tuple[Reason, ...] = ()
    used: Mapping[str, tuple[Decimal, str]] = field(default_factory=dict)
    """By certificate: how much comes in under it, and in which unit; empty unless admitted."""
    hold_until: datetime | None = None


def decide(check: Check, standing: Standing) -> Decision:
    """Decide on the goods of a check, together: what comes on one lorry comes in, or stays out."""
    taken, against = _use(check, standing)
    found = dict.fromkeys([
        *_against_seller(check, standing), *_against_papers(check, standing), *against,
        *(reason for goods in check.goods for reason in _against_goods(check, goods, standing)),
        *(Reason(Ground.RECALLED if s.recall else Ground.HELD, s.target, n.RECALLS, _stop(s)) for s in standing.stops),
    ])  # fmt: skip
    reasons = tuple(sorted(found, key=lambda reason: reason.lack is not Lack.REFUSE))  # what refuses first
    outcome = outcome_of(reasons)
    until = standing.now + HELD_FOR if outcome is Outcome.CONDITIONAL else None
    return Decision(outcome, reasons, taken if outcome is Outcome.ADMITTED else {}, until)


def outcome_of(reasons: Iterable[Reason]) -> Outcome:
    """The worst that any reason asks for."""
    lacks = {reason.lack for reason in reasons}
    if Lack.REFUSE in lacks:
        return Outcome.REFUSED
    return Outcome.CONDITIONAL if lacks else Outcome.ADMITTED


def _stop(stop: Stop) -> str:
    return f"{stop.order} ({stop.until})" if stop.until else stop.order


# --- the seller -------------------------------------------------------------------------------------

_STATUS: Mapping[str, Ground] = {
    Status.SUSPENDED: Ground.SUSPENDED, Status.REVOKED: Ground.REVOKED, Status.LEFT: Ground.LEFT,
}  # fmt: skip


def _against_seller(check: Check, standing: Standing) -> Iterator[Reason]:
    seller = standing.seller
    if seller is None or check.node not in seller.nodes:
        yield _reason(Ground.NOT_FILED, check.party)
    if seller is None:
        return
    if seller.status in _STATUS:
        yield _reason(_STATUS[seller.status], check.party)
    if seller.gap is not None:
        gap, kind, source = seller.gap
        detail = f"{kind.chinese} {kind}: {gap.chinese} {gap}"
        yield Reason(Ground.LICENCE, check.party, n.licence_law(source), detail)
    drugs = any(standing.kind_of(goods) in (GoodsClass.DRUG, GoodsClass.VACCINE) for goods in check.goods)
    if drugs and not DRUG_TRADE & seller.kinds:
        yield _reason(Ground.NO_DRUG_TRADE, check.party)


def _reason(ground: Ground, about: str, detail: str = "") -> Reason:
    return Reason(ground, about, GROUNDS[ground].law, detail)


# --- papers -----------------------------------------------------------------------------------------


def _against_papers(check: Check, standing: Standing) -> Iterator[Reason]:
    """What is wrong with each paper itself."""
    province = node_text(check.node)[:2]
    across = all(goods.origin is not None and goods.origin[:2] != province for goods in check.goods)
    for paper in check.papers:
        kept = standing.certificates.get(paper.key)
        if kept is not None:
            yield from _against_kept(check, paper, kept)
        told = paper.expires or (kept.expires if kept is not None else None)
        last = told or n.last_day(paper.kind, paper.issued, across=across)
        if standing.today < paper.issued:
            yield _reason(Ground.NOT_YET, paper.key, f"{paper.issued}")
        if last is not None and standing.today > last:
            yield _reason(Ground.EXPIRED, paper.key, f"{last}")


def _against_kept(check: Check, paper: Paper, kept: Kept) -> Iterator[Reason]:
    if kept.status == CertificateStatus.VOID:
        yield _reason(Ground.VOID, paper.key)
    if kept.status == CertificateStatus.FORGED:
        yield _reason(Ground.FORGED, paper.key)
    if kept.node is not None and kept.node != check.node:
        yield _reason(Ground.ELSEWHERE, paper.key)
    other = [
        name
        for name, said, known in (
            ("issuer 出具单位", paper.issuer, kept.issuer), ("issued 出具日期", paper.issued, kept.issued),
            ("expires 有效期至", paper.expires, kept.expires),
            ("quantity 数量", _base(paper.quantity, paper.unit), _base(kept.quantity, kept.unit)),
        ) if said is not None and known is not None and said != known
    ]  # fmt: skip
    if other:
        yield _reason(Ground.CONTRADICTS, paper.key, ", ".join(other))


def _base(quantity: Decimal | None, unit: str | None) -> tuple[Decimal, str] | None:
    return None if quantity is None or unit is None else in_base_unit(quantity, unit)


def _use(check: Check, standing: Standing) -> tuple[dict[str, tuple[Decimal, str]], list[Reason]]:
    """How much comes in under each certificate; of several of a kind the first is used up first.

    A certificate that names no quantity covers all that is left of its goods.
    """
    used: dict[str, tuple[Decimal, str]] = {}
    reasons: list[Reason] = []
    for kind in dict.fromkeys(paper.kind for paper in check.papers):
        papers = list({paper.key: paper for paper in check.papers if paper.kind is kind}.values())
        for unit, wanted in _wanted(check, standing, kind).items():
            left = wanted
            for paper in papers:
                room = _room(paper, standing.certificates.get(paper.key), unit)
                taken = left if room is None else min(left, room)
                if taken > 0:
                    used[paper.key] = (taken, unit)
                    left -= taken
            if left > 0:
                counted = {base[1] for paper in papers if (base := _whole(paper, standing)) is not None}
                ground = Ground.OVER if unit in counted else Ground.OTHER_UNIT
                reasons.append(_reason(ground, papers[-1].key, f"{left.normalize():f} {unit}"))
    return used, reasons


def _whole(paper: Paper, standing: Standing) -> tuple[Decimal, str] | None:
    """For how much a paper was issued: as it is registered, else as it says."""
    kept = standing.certificates.get(paper.key)
    registered = _base(kept.quantity, kept.unit) if kept is not None else None
    return registered or _base(paper.quantity, paper.unit)


def _room(paper: Paper, kept: Kept | None, unit: str) -> Decimal | None:
    """How much of it is left in a base unit; None for any amount."""
    registered = None if kept is None else _base(kept.quantity, kept.unit)
    whole = registered or _base(paper.quantity, paper.unit)
    if whole is None:
        return None
    if whole[1] != unit:
        return Decimal(0)
    used = Decimal(0) if kept is None else in_base_unit(kept.used, kept.unit or unit)[0]
    return max(Decimal(0), whole[0] - used)


def _wanted(check: Check, standing: Standing, kind: VoucherKind) -> dict[str, Decimal]:
    """How much of the goods a kind of paper is for, by base unit: those whose needs name it; all, where none does."""
    fitting = [goods for goods in check.goods if kind in n.papers_of(_needs(goods, standing))] or list(check.goods)
    wanted: dict[str, Decimal] = {}
    for goods in fitting:
        quantity, unit = goods.base
        wanted[unit] = wanted.get(unit, Decimal(0)) + quantity
    return wanted


def _needs(goods: Goods, standing: Standing) -> list[Need]:
    return list(n.needs_of(standing.kind_of(goods), standing.node_kind, imported=goods.imported))


# --- goods ------------------------------------------------------------------------------------------


def _against_goods(check: Check, goods: Goods, standing: Standing) -> Iterator[Reason]:
    failures = list(_failures(check, goods, standing))
    yield from failures
    good_test = not failures and any(_is_fresh(test, goods, standing) for test in check.tests)
    for need in _needs(goods, standing):
        if any(paper.kind in need.papers and _is_for(paper, goods, standing) for paper in check.papers):
            continue
        if need.lack is Lack.REFUSE:
            yield Reason(Ground.NO_PAPER, goods.name, need.law, papers=need.names)
        elif not good_test:
            waited = goods.lot is not None and goods.lot in standing.waited
            yield Reason(Ground.NO_TEST if waited else Ground.TEST_FIRST, goods.name, need.law, papers=need.names)
    kind = standing.kind_of(goods)
    if kind in (GoodsClass.DRUG, GoodsClass.VACCINE) and goods.lot is None:
        yield _reason(Ground.NO_CODE, goods.name)
    if goods.name in standing.batch_unknown:
        yield _reason(Ground.BATCH_UNKNOWN, goods.name)
    if kind is GoodsClass.VACCINE:
        yield from _against_cold(check, goods, standing)


def _is_for(paper: Paper, goods: Goods, standing: Standing) -> bool:
    """Whether a paper is for these goods, as far as it is registered for which."""
    kept = standing.certificates.get(paper.key)
    return kept is None or kept.goods is None or goods.goods.startswith(kept.goods)


def _concerns(test: Assay, goods: Goods) -> bool:
    return test.goods is None or test.goods == goods.goods


def _is_fresh(test: Assay, goods: Goods, standing: Standing) -> bool:
    return test.passed and _concerns(test, goods) and standing.now - test.at <= TEST_KEPT


def _failures(check: Check, goods: Goods, standing: Standing) -> Iterator[Reason]:
    """Tests that failed and that no re-test has lifted: a passed one, not rapid, within the time to ask for it."""
    told = [test for test in check.tests if _concerns(test, goods)]
    earlier = standing.earlier.get(goods.lot, ()) if goods.lot is not None else ()
    tests = [*dict.fromkeys([*earlier, *told])]
    for test in tests:
        if test.passed:
            continue
        if not test.rapid or test.retest_of is not None:
            yield _reason(Ground.FAILED_FINALLY, goods.name, f"{test.at.isoformat(timespec='minutes')}")
            continue
        again = [one for one in tests if one.retest_of == test.at and one.passed]
        if not any(not one.rapid and test.at <= one.at <= test.at + RETEST_WITHIN for one in again):
            yield _reason(Ground.FAILED, goods.name, f"{test.result} ({test.at.isoformat(timespec='minutes')})")
    if any(test.rapid and test.retest_of is not None for test in told):
        yield _reason(Ground.RAPID_AGAIN, goods.name)


def _against_cold(check: Check, goods: Goods, standing: Standing) -> Iterator[Reason]:
    record = check.temperature
    if record is None:
        yield _reason(Ground.NO_RECORD, goods.name)
        return
    kept = standing.described.get(goods.goods) or Described(GoodsClass.VACCINE)
    if not record.unbroken or record.minutes_above or record.low < kept.low or record.high > kept.high:
        yield _reason(Ground.NOT_COLD, goods.name, f"{record.low}-{record.high} °C, {record.minutes_above} min")
