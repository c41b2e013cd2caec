"""Market access, the pure part: every row has its law, every case its refusal, and no reason makes it milder."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import Stop
from ledger.gs1 import Key
from ledger.market_access.decision import (
    Assay,
    Check,
    Decision,
    Described,
    Goods,
    Kept,
    Paper,
    Seller,
    Standing,
    Temperature,
    decide,
    outcome_of,
)
from ledger.market_access.grounds import GROUNDS, Ground, Outcome, Reason
from ledger.market_access.needs import NEEDS, TERMS, GoodsClass, Lack, class_of, last_day, licence_law, needs_of
from ledger.registers.parties import NEEDED, Gap, LicenceKind
from ledger.registers.places import NodeKind
from ledger.registers.supervision import VoucherKind

NODE, OTHER = 330212001, 330212002
PARTY = "3302120010001"
NOW, TODAY = datetime(2026, 11, 25, 4, tzinfo=UTC), date(2026, 11, 25)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
V, G = VoucherKind, Ground
LOT = Key("urn:suyuan:lot:01211:33021200126112500001")


def goods(code: str = "21113011", quantity: str = "100", unit: str = "KGM", **more: Any) -> Goods:
    return Goods(more.pop("lot", None), code, Decimal(quantity), unit, **more)


def paper(kind: VoucherKind, number: str = "1", **more: Any) -> Paper:
    return Paper(kind, number, more.pop("issuer", "某所"), more.pop("issued", TODAY), **more)


PRODUCT, INSPECTION, PROMISE_PAPER = paper(V.PRODUCT), paper(V.INSPECTION, "2"), paper(V.PROMISE, "3")
PORK_PAPERS = (PRODUCT, INSPECTION)
SELLER = Seller("active", frozenset({NODE}), frozenset({"retailer"}))
PHARMACY = Seller("active", frozenset({NODE}), frozenset({"pharmacy"}))
COLD = Temperature(Decimal("2.1"), Decimal("7.5"), 0, unbroken=True)
PORK, GREENS, PIG = goods(), goods("01211", lot=LOT), goods("pig", "10", "H87")
DRUG, VACCINE = goods("8123456", "1", "H87", lot=Key("urn:suyuan:drug:81234560000000010001")), "8123457"
JAB = goods(VACCINE, "1", "H87", lot=Key("urn:suyuan:drug:81234570000000010001"))
KINDS = {VACCINE: Described(GoodsClass.VACCINE)}


def check(*wanted: Goods, papers: Any = (), tests: Any = (), temperature: Temperature | None = None) -> Check:
    return Check("c", NODE, PARTY, NOW, wanted or (PORK,), papers, tests, temperature)


def standing(**more: Any) -> Standing:
    given = {"node_kind": "market", "seller": SELLER, "described": KINDS, **more}
    return Standing(more.pop("now", NOW), TODAY, **{name: one for name, one in given.items() if name != "now"})


def kept(**more: Any) -> dict[str, Kept]:
    return {PRODUCT.key: Kept(more.pop("status", "valid"), more.pop("issued", TODAY), **more)}


def grounds(decision: Decision) -> set[Ground]:
    return {reason.ground for reason in decision.reasons}


# --- the tables ---------------------------------------------------------------------------------------


def test_every_row_names_its_law_and_since_when() -> None:
    laws = [*(n.law for n in NEEDS), *(t.law for t in TERMS), *(row.law for row in GROUNDS.values())]
    laws += [licence_law(source) for _, source in NEEDED.values()]
    for law in laws:
        assert law.name and law.article and law.since <= TODAY, law
    assert set(GROUNDS) == set(Ground)
    for row in GROUNDS.values():
        assert row.english and row.bring_chinese and row.bring_english and not row.bring_chinese.isascii()


def test_all_food_needs_something_everywhere_whether_imported_or_not() -> None:
    for kind in GoodsClass:
        for place in (*NodeKind, None):
            for imported in (True, False):
                found = list(needs_of(kind, place, imported=imported))
                assert bool(found) is (kind not in (GoodsClass.DRUG, GoodsClass.VACCINE)), (kind, place, imported)
                assert not imported or [{V.IMPORT}] * len(found) == [set(one.papers) for one in found]


@pytest.mark.parametrize(
    ("code", "kind", "found"),
    [("21113011", "meat", "pork"), ("21114", None, "pork"), ("21115", None, "meat"), ("pig", None, "live_animal"),
     ("01211", None, "vegetable"), ("0131", "other", "vegetable"), ("2391", "other", "other"), ("999", None, "other"),
     ("8123456", None, "drug"), ("8123456", "vaccine", "vaccine"), ("06901234500103", "drug", "drug")],
)  # fmt: skip
def test_classes(code: str, kind: str | None, found: str) -> None:
    assert class_of(code, kind) == found


def test_how_long_papers_hold() -> None:
    days = {(kind, across): last_day(kind, TODAY, across=across) for kind in V for across in (True, False)}
    assert days[V.ANIMAL, True] == TODAY + 5 * DAY and days[V.PRODUCT, True] == TODAY + 7 * DAY
    assert days[V.ANIMAL, False] == days[V.PRODUCT, False] == TODAY
    assert {day for (kind, _), day in days.items() if kind not in (V.ANIMAL, V.PRODUCT)} == {None}


# --- admitted, refused, conditional -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "papers"),
    [([PORK], PORK_PAPERS), ([goods("21115")], [PRODUCT]), ([PIG], [paper(V.ANIMAL)]),
     *(([GREENS], [paper(kind)]) for kind in (V.PROMISE, V.ORIGIN, V.PURCHASE, V.TRANSACTION, V.TEST)),
     ([goods(imported=True)], [paper(V.IMPORT)]), ([PORK, GREENS], [*PORK_PAPERS, PROMISE_PAPER])],
)  # fmt: skip
def test_what_has_its_papers_comes_in(wanted: list[Goods], papers: list[Paper]) -> None:
    got = decide(check(*wanted, papers=papers), standing())
    assert (got.outcome, got.reasons, got.hold_until) == (Outcome.ADMITTED, (), None)
    assert set(got.used) == {one.key for one in papers}


def test_greens_without_a_paper_wait_for_a_test() -> None:
    got = decide(check(GREENS), standing())
    assert (got.outcome, grounds(got)) == (Outcome.CONDITIONAL, {G.TEST_FIRST})
    assert got.hold_until == NOW + DAY and got.used == {}
    good = Assay(True, "12.5", NOW - HOUR)
    assert decide(check(GREENS, tests=[good]), standing()).outcome is Outcome.ADMITTED
    old = replace(good, at=NOW - 25 * HOUR)
    assert decide(check(GREENS, tests=[old]), standing()).outcome is Outcome.CONDITIONAL
    other = replace(good, goods="01221")
    assert decide(check(GREENS, tests=[other]), standing()).outcome is Outcome.CONDITIONAL
    late = standing(waited=frozenset({LOT}))
    assert grounds(decide(check(GREENS), late)) == {G.NO_TEST} and decide(check(GREENS), late).hold_until is None


def _retest(rapid: bool, result: str, after: timedelta) -> list[Assay]:
    failed = Assay(True, "50", NOW - 6 * HOUR)
    return [failed, Assay(rapid, result, failed.at + after, failed.at)]


CASES: list[tuple[str, Check, Standing, set[Ground]]] = [
    ("no quarantine certificate", check(papers=[INSPECTION]), standing(), {G.NO_PAPER}),
    ("neither paper for pork", check(), standing(), {G.NO_PAPER}),
    ("no inspection certificate", check(papers=[PRODUCT]), standing(), {G.NO_PAPER}),
    ("imported meat without its paper", check(goods(imported=True), papers=PORK_PAPERS), standing(), {G.NO_PAPER}),
    ("a live animal with a paper for meat", check(PIG, papers=[PRODUCT]), standing(), {G.NO_PAPER}),
    ("expired", check(papers=[paper(V.PRODUCT, expires=TODAY - DAY, issued=TODAY - 3 * DAY), INSPECTION]),
     standing(), {G.EXPIRED}),
    ("expired, form B", check(papers=[paper(V.PRODUCT, issued=TODAY - DAY), INSPECTION]), standing(), {G.EXPIRED}),
    ("expired, form A", check(goods(origin="340100"), papers=[paper(V.PRODUCT, issued=TODAY - 8 * DAY), INSPECTION]),
     standing(), {G.EXPIRED}),
    ("expired as registered", check(papers=PORK_PAPERS),
     standing(certificates=kept(issued=TODAY, expires=TODAY - DAY)), {G.EXPIRED}),
    ("not yet valid", check(papers=[paper(V.PRODUCT, issued=TODAY + DAY), INSPECTION]), standing(), {G.NOT_YET}),
    ("forged", check(papers=PORK_PAPERS), standing(certificates=kept(status="forged")), {G.FORGED}),
    ("void", check(papers=PORK_PAPERS), standing(certificates=kept(status="void")), {G.VOID}),
    ("other issuer", check(papers=PORK_PAPERS), standing(certificates=kept(issuer="别所")), {G.CONTRADICTS}),
    ("other day", check(papers=PORK_PAPERS), standing(certificates=kept(issued=TODAY - DAY)), {G.CONTRADICTS}),
    ("other quantity", check(papers=[replace(PRODUCT, quantity=Decimal(500), unit="KGM"), INSPECTION]),
     standing(certificates=kept(quantity=Decimal("0.4"), unit="TNE")), {G.CONTRADICTS}),
    ("used elsewhere", check(papers=PORK_PAPERS), standing(certificates=kept(node=OTHER)), {G.ELSEWHERE}),
    ("over its quantity", check(papers=PORK_PAPERS),
     standing(certificates=kept(quantity=Decimal("0.15"), unit="TNE", used=Decimal("0.0500001"))), {G.OVER}),
    ("counted otherwise", check(papers=[replace(PRODUCT, quantity=Decimal(500), unit="H87"), INSPECTION]), standing(),
     {G.OTHER_UNIT}),
    ("registered for other goods", check(papers=PORK_PAPERS), standing(certificates=kept(goods="21115")),
     {G.NO_PAPER}),
    ("no voucher, no test in time", check(GREENS), standing(waited=frozenset({LOT})), {G.NO_TEST}),
    ("failed rapid test", check(GREENS, papers=[PROMISE_PAPER], tests=[Assay(True, "50", NOW)]), standing(),
     {G.FAILED}),
    ("failed at the laboratory", check(GREENS, papers=[PROMISE_PAPER], tests=[Assay(False, "failed", NOW)]), standing(),
     {G.FAILED_FINALLY}),
    ("failed earlier", check(GREENS, papers=[PROMISE_PAPER], tests=[Assay(True, "0.5", NOW)]),
     standing(earlier={LOT: [Assay(True, "88", NOW - HOUR)]}), {G.FAILED}),
    ("re-test too late", check(GREENS, papers=[PROMISE_PAPER], tests=_retest(False, "passed", 5 * HOUR)), standing(),
     {G.FAILED}),
    ("rapid re-test", check(GREENS, papers=[PROMISE_PAPER], tests=_retest(True, "1", HOUR)), standing(),
     {G.FAILED, G.RAPID_AGAIN}),
    ("failed re-test", check(GREENS, papers=[PROMISE_PAPER], tests=_retest(False, "0", HOUR)), standing(),
     {G.FAILED, G.FAILED_FINALLY}),
    ("seller not filed", check(papers=PORK_PAPERS), standing(seller=None), {G.NOT_FILED}),
    ("filed elsewhere", check(papers=PORK_PAPERS), standing(seller=replace(SELLER, nodes=frozenset({OTHER}))),
     {G.NOT_FILED}),
    *((word, check(papers=PORK_PAPERS), standing(seller=replace(SELLER, status=word)), {ground})
      for word, ground in (("suspended", G.SUSPENDED), ("revoked", G.REVOKED), ("left", G.LEFT))),
    *((f"licence {gap}", check(papers=PORK_PAPERS), standing(seller=replace(SELLER, gap=(
        gap, LicenceKind.FOOD_OPERATION, "食品安全法 2021 art. 35"))), {G.LICENCE}) for gap in Gap),
    ("drugs at a greengrocer's", check(DRUG), standing(), {G.NO_DRUG_TRADE}),
    ("drugs without a code", check(replace(DRUG, lot=None)), standing(seller=PHARMACY), {G.NO_CODE}),
    ("vaccine without a record", check(JAB), standing(seller=PHARMACY), {G.NO_RECORD}),
    *((f"vaccine {word}", check(JAB, temperature=replace(COLD, **change)), standing(seller=PHARMACY), {G.NOT_COLD})
      for word, change in (("broken", {"unbroken": False}), ("warm", {"high": Decimal("8.1")}),
                           ("frozen", {"low": Decimal("-1")}), ("minutes", {"minutes_above": 3}))),
    ("recalled", check(papers=PORK_PAPERS), standing(stops=[Stop("lot", "x", "ZH-1", None, True)]), {G.RECALLED}),
    ("batch unknown", check(DRUG), standing(seller=PHARMACY, batch_unknown=frozenset({DRUG.name})), {G.BATCH_UNKNOWN}),
    ("held", check(papers=PORK_PAPERS), standing(stops=[Stop("party", PARTY, "330212001-1")]), {G.HELD}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "asked", "known", "found"), CASES, ids=[case[0] for case in CASES])
def test_what_is_refused(name: str, asked: Check, known: Standing, found: set[Ground]) -> None:
    got = decide(asked, known)
    assert (got.outcome, grounds(got), got.used, got.hold_until) == (Outcome.REFUSED, found, {}, None), name
    for reason in got.reasons:
        assert reason.chinese and reason.english and reason.bring and reason.about and reason.law.since <= TODAY


def test_every_ground_is_met() -> None:
    met = {ground for _, asked, known, _ in CASES for ground in grounds(decide(asked, known))} | {G.TEST_FIRST}
    assert met == set(Ground)


def test_every_reason_is_told_at_once() -> None:
    bad = [paper(V.PRODUCT, issued=TODAY - 9 * DAY)]
    known = standing(seller=replace(SELLER, status="suspended"), certificates=kept(status="void", node=OTHER))
    got = decide(check(PORK, GREENS, papers=bad, tests=[Assay(True, "99", NOW)]), known)
    assert grounds(got) == {
        G.SUSPENDED, G.VOID, G.ELSEWHERE, G.CONTRADICTS, G.EXPIRED, G.NO_PAPER, G.FAILED, G.TEST_FIRST,
    }  # fmt: skip


def test_a_laboratory_lifts_a_failed_rapid_test_in_time() -> None:
    got = decide(check(GREENS, tests=_retest(False, "passed", 4 * HOUR)), standing())
    assert got.outcome is Outcome.ADMITTED
    failed = decide(check(GREENS, papers=[PROMISE_PAPER], tests=[Assay(True, "50.0", NOW)]), standing()).reasons[0]
    assert (
        "4小时" in failed.bring
        and "4 hours" in failed.bring
        and "rapid" in failed.bring
        and "art. 88" in str(failed.law)
    )
    assert decide(check(GREENS, tests=[Assay(True, "49.999999", NOW)]), standing()).outcome is Outcome.ADMITTED


def test_a_certificate_from_another_province_holds_longer_and_its_own_word_counts() -> None:
    for day, origin, expires, outcome in (
        (7, "340100", None, "admitted"), (8, "340100", None, "refused"), (1, "330100", None, "refused"),
        (1, None, None, "refused"), (1, None, TODAY, "admitted"), (30, "330100", TODAY, "admitted"),
    ):  # fmt: skip
        papers = [paper(V.PRODUCT, issued=TODAY - day * DAY, expires=expires), INSPECTION]
        assert decide(check(goods(origin=origin), papers=papers), standing()).outcome == outcome, (day, origin, expires)


def test_several_certificates_share_what_comes_in() -> None:
    first, second = (paper(V.PRODUCT, n, quantity=Decimal(q), unit="KGM") for n, q in (("1", "60"), ("9", "50")))
    got = decide(check(papers=[first, second, INSPECTION]), standing())
    assert got.used == {
        first.key: (Decimal(60), "KGM"), second.key: (Decimal(40), "KGM"), INSPECTION.key: (Decimal(100), "KGM"),
    }  # fmt: skip


# --- properties ---------------------------------------------------------------------------------------

RANK = {Outcome.ADMITTED: 0, Outcome.CONDITIONAL: 1, Outcome.REFUSED: 2}
REASONS = st.builds(Reason, st.sampled_from(Ground), st.just("x"), st.just(NEEDS[0].law))
PAPERS = st.lists(st.builds(
    lambda kind, number, days, amount: Paper(
        kind, f"{number}", None, TODAY - days * DAY, None, amount, None if amount is None else "KGM"
    ),
    st.sampled_from(VoucherKind), st.integers(1, 3), st.sampled_from([0, 0, 0, 1]),
    st.sampled_from([None, None, Decimal(40), Decimal(400)]),
), max_size=8, unique_by=lambda one: one.key)  # fmt: skip
WANTED = st.lists(st.sampled_from([PORK, GREENS, goods("21115"), goods("01221"), goods(imported=True)]), min_size=1,
                  max_size=3, unique=True)  # fmt: skip
TESTS = st.lists(st.builds(Assay, st.booleans(), st.sampled_from(["1", "0", "12", "75"]), st.just(NOW)), max_size=2)


@given(st.lists(REASONS), REASONS)
def test_one_more_reason_never_makes_it_milder(reasons: list[Reason], more: Reason) -> None:
    before, after = outcome_of(reasons), outcome_of([*reasons, more])
    assert RANK[after] >= RANK[before] and after is not Outcome.ADMITTED
    assert RANK[after] == max(RANK[before], 2 if more.lack is Lack.REFUSE else 1)


@settings(max_examples=400, deadline=None)
@given(WANTED, PAPERS, TESTS, st.data())
def test_leaving_out_a_good_paper_never_admits(
    wanted: list[Goods], papers: list[Paper], tests: list[Assay], data: st.DataObject
) -> None:
    """Of papers against which nothing is said: whoever leaves a forged one at home is not asked about it."""
    known = standing(node_kind="wholesale_market")
    whole = decide(check(*wanted, papers=papers, tests=tests), known)
    about = {reason.about for reason in whole.reasons}
    left = [one for one in papers if one.key in about or data.draw(st.booleans())]
    assert RANK[decide(check(*wanted, papers=left, tests=tests), known).outcome] >= RANK[whole.outcome]


@settings(max_examples=200, deadline=None)
@given(WANTED, PAPERS, TESTS)
def test_what_is_admitted_is_covered_to_the_last_gram(
    wanted: list[Goods], papers: list[Paper], tests: list[Assay]
) -> None:
    got = decide(check(*wanted, papers=papers, tests=tests), standing())
    by_key = {one.key: one for one in papers}
    for key, (quantity, unit) in got.used.items():
        assert unit == "KGM" and 0 < quantity <= (by_key[key].quantity or quantity)
    if got.outcome is Outcome.ADMITTED:
        meat = [one.quantity for one in wanted if one.goods.startswith("211") and not one.imported]
        products = [quantity for key, (quantity, _) in got.used.items() if key.startswith("product:")]
        assert not meat or sum(products) == sum(meat)
