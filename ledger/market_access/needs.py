"""What the law asks for before goods come in: papers by class of goods and kind of node, how long papers hold. Pure.

Each row names its law, the article and the day from which it is in force. Source: `china.md` 3; articles that it does
not give are from memory and say so: check them before quoting.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from ledger.registers.fields import LIVE_ANIMALS
from ledger.registers.form import Word
from ledger.registers.goods import GoodsKind, ProductKind
from ledger.registers.parties import PartyKind
from ledger.registers.places import NodeKind
from ledger.registers.supervision import VoucherKind


class GoodsClass(Word):
    """What the rules of access tell apart."""

    LIVE_ANIMAL = "live_animal", "活畜"
    PORK = "pork", "猪肉"
    MEAT = "meat", "其他肉类"
    VEGETABLE = "vegetable", "蔬菜水果"
    OTHER = "other", "其他食品"
    DRUG = "drug", "药品"
    VACCINE = "vaccine", "疫苗"


@dataclass(frozen=True, slots=True)
class Law:
    """Where a rule stands, and from which day on it is in force."""

    name: str
    article: str
    since: date

    def __str__(self) -> str:
        return f"{self.name} {self.article}"


EPIDEMICS = Law("动物防疫法 2021", "art. 51", date(2021, 5, 1))
SLAUGHTER = Law("生猪屠宰管理条例 2021", "arts 15, 17 (from memory)", date(2021, 8, 1))
INTAKE = Law("生猪屠宰管理条例 2021", "art. 13", date(2021, 8, 1))
IMPORTS = Law("食品安全法 2021", "art. 92 (from memory)", date(2021, 4, 29))
PROMISE = Law("农产品质量安全法 2022", "art. 39 (from memory)", date(2023, 1, 1))
SELLERS = Law("食品安全法 2021", "art. 65", date(2021, 4, 29))
SAMPLING = Law("食品安全法 2021", "art. 64", date(2021, 4, 29))
CATERING = Law("食品安全法 2021", "art. 55 (from memory)", date(2021, 4, 29))
INTAKE_CHECK = Law("食品安全法 2021", "art. 53 (from memory)", date(2021, 4, 29))
RECALLS = Law("食品安全法 2021", "art. 63", date(2021, 4, 29))
RETEST = Law("食品安全法 2021", "art. 88 (from memory)", date(2021, 4, 29))
MARKETS = Law("食用农产品市场销售质量安全监督管理办法 (总局令第81号)", "art. 12 (from memory)", date(2023, 12, 1))
FILES = Law("市场开办者档案规则 2016", "seller's file", date(2016, 3, 1))
FORGERY = Law("动物防疫法 2021", "forged certificates (china.md S39)", date(2021, 5, 1))
VALIDITY = Law("动物检疫合格证明有效期通知 2021", "A/B forms (china.md S38)", date(2021, 1, 1))
RESIDUES = Law("GB/T 5009.199-2003", "inhibition of 50 % or more fails", date(2004, 1, 1))
DRUGS = Law("药品管理法 2019", "arts 51, 56 (from memory)", date(2019, 12, 1))
CODES = Law("药品管理法 2019", "arts 12, 36 (from memory)", date(2019, 12, 1))
VACCINES = Law("疫苗管理法 2019", "arts 37, 39 (from memory)", date(2019, 12, 1))
_LICENSING = (
    INTAKE_CHECK, SLAUGHTER, DRUGS, Law("医疗机构管理条例", "医疗机构执业许可证 (from memory)", date(1994, 9, 1)),
)  # fmt: skip


def licence_law(source: str) -> Law:
    """The law that the register of parties names for a licence, with the day from which it is in force."""
    law = next((law for law in _LICENSING if source.startswith(law.name)), None)
    if law is None:
        raise ValueError(f"{source} is none of the laws about licences: add it to the table")
    return Law(law.name, source.removeprefix(law.name).strip(": "), law.since)


# --- papers ---------------------------------------------------------------------------------------


class Lack(Word):
    """What becomes of goods that come without."""

    REFUSE = "refuse", "不准入场"
    TEST = "test", "先检测"


@dataclass(frozen=True, slots=True)
class Need:
    """Goods of these classes need one of these papers at such nodes; `imported` None where it is all the same."""

    classes: frozenset[GoodsClass]
    at: frozenset[NodeKind]
    papers: frozenset[VoucherKind]
    lack: Lack
    law: Law
    imported: bool | None = None

    @property
    def names(self) -> str:
        """The papers in Chinese, in the order of their list."""
        return "、".join(one.chinese for one in VoucherKind if one in self.papers)


_C, _N, _V = GoodsClass, NodeKind, VoucherKind
_ANYWHERE = frozenset(NodeKind)
_EATING = frozenset({_N.CANTEEN, _N.HOSPITAL})
_WHOLESALE = frozenset({_N.WHOLESALE_MARKET, _N.DISTRIBUTION_CENTRE})
_MARKETS = frozenset({_N.MARKET, _N.SUPERMARKET})
_ELSEWHERE = _ANYWHERE - _EATING - _WHOLESALE - _MARKETS
_MEAT = frozenset({_C.MEAT, _C.PORK})
_GREENS = frozenset({_C.VEGETABLE})
_GREEN_PAPERS = frozenset({_V.PROMISE, _V.ORIGIN, _V.PURCHASE, _V.TRANSACTION, _V.TEST})
_FOOD = frozenset({_C.LIVE_ANIMAL, _C.MEAT, _C.PORK, _C.VEGETABLE, _C.OTHER})

NEEDS: tuple[Need, ...] = (
    Need(frozenset({_C.LIVE_ANIMAL}), _ANYWHERE - {_N.SLAUGHTERHOUSE}, frozenset({_V.ANIMAL}), Lack.REFUSE, EPIDEMICS,
         imported=False),
    Need(frozenset({_C.LIVE_ANIMAL}), frozenset({_N.SLAUGHTERHOUSE}), frozenset({_V.ANIMAL}), Lack.REFUSE, INTAKE,
         imported=False),
    Need(_MEAT, _ANYWHERE, frozenset({_V.PRODUCT}), Lack.REFUSE, EPIDEMICS, imported=False),
    Need(frozenset({_C.PORK}), _ANYWHERE, frozenset({_V.INSPECTION}), Lack.REFUSE, SLAUGHTER, imported=False),
    Need(_FOOD, _ANYWHERE, frozenset({_V.IMPORT}), Lack.REFUSE, IMPORTS, imported=True),
    Need(_GREENS, _WHOLESALE, _GREEN_PAPERS, Lack.TEST, PROMISE, imported=False),
    Need(_GREENS, _MARKETS, _GREEN_PAPERS, Lack.TEST, MARKETS, imported=False),
    Need(_GREENS, _EATING, _GREEN_PAPERS, Lack.TEST, CATERING, imported=False),
    Need(_GREENS, _ELSEWHERE, _GREEN_PAPERS, Lack.TEST, SELLERS, imported=False),
    Need(frozenset({_C.OTHER}), _ANYWHERE, _GREEN_PAPERS | {_V.INSPECTION}, Lack.TEST, INTAKE_CHECK, imported=False),
)  # fmt: skip
"""Where several rows fit, each is asked for. Vegetables without a paper may come in when a test on site has passed."""

DRUG_TRADE = frozenset({PartyKind.MANUFACTURER, PartyKind.DRUG_WHOLESALER, PartyKind.PHARMACY, PartyKind.HOSPITAL})
"""Who may have drugs and vaccines: their licences are those of `NEEDED` in the register of parties."""


def needs_of(goods: GoodsClass, kind: str | None, *, imported: bool) -> Iterator[Need]:
    """The rows that fit goods of a class at a node of a kind; a node of no kind is one of the others."""
    for need in NEEDS:
        if goods in need.classes and (kind or NodeKind.OTHER) in need.at and need.imported in (None, imported):
            yield need


# --- classes --------------------------------------------------------------------------------------

BY_CODE: tuple[tuple[str, GoodsClass], ...] = (
    ("21113", _C.PORK), ("21114", _C.PORK), ("211", _C.MEAT), ("021", _C.LIVE_ANIMAL), ("012", _C.VEGETABLE),
    ("013", _C.VEGETABLE),
)  # fmt: skip
"""Classes by the beginning of a code of GB/T 7635.1, which follows CPC 1.0: swine fresh or frozen, other meat,
live animals, vegetables, fruit. The longest that fits counts."""
_BY_KIND: Mapping[str, GoodsClass] = {
    GoodsKind.LIVE_ANIMAL: _C.LIVE_ANIMAL, GoodsKind.MEAT: _C.MEAT, GoodsKind.VEGETABLE: _C.VEGETABLE,
    GoodsKind.OTHER: _C.OTHER, ProductKind.DRUG: _C.DRUG, ProductKind.VACCINE: _C.VACCINE,
}  # fmt: skip


def class_of(code: str, kind: str | None) -> GoodsClass:
    """The class of goods by their code and the kind that the register of goods or products has, if it has one.

    A code that says more than the kind counts: pork is registered as meat, fruit as other goods.

    >>> str(class_of("21113011", "meat")), str(class_of("pig", None)), str(class_of("8123456", "vaccine"))
    ('pork', 'live_animal', 'vaccine')
    """
    if kind in (ProductKind.DRUG, ProductKind.VACCINE):
        return _BY_KIND[str(kind)]
    if code in LIVE_ANIMALS:
        return _C.LIVE_ANIMAL
    if len(code) == 7 and code.startswith("8") and kind is None:  # the product part of a drug code, not registered
        return _C.DRUG
    if len(code) <= 8:
        for prefix, found in BY_CODE:
            if code.startswith(prefix):
                return found
    return _BY_KIND.get(kind or "", _C.OTHER)


# --- how long papers hold -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Term:
    """How many days after its own a paper holds where it does not say; `across`: goods from another province."""

    kind: VoucherKind
    across: bool
    days: int
    law: Law


TERMS: tuple[Term, ...] = (
    Term(_V.ANIMAL, True, 5, VALIDITY), Term(_V.ANIMAL, False, 0, VALIDITY),
    Term(_V.PRODUCT, True, 7, VALIDITY), Term(_V.PRODUCT, False, 0, VALIDITY),
)  # fmt: skip
"""Form A goes across provinces, form B stays within one and holds for the same day. Other kinds have no end."""


def last_day(kind: VoucherKind, issued: date, *, across: bool) -> date | None:
    """The last day of a paper that does not say; None where the law sets no end."""
    for term in TERMS:
        if (term.kind, term.across) == (kind, across):
            return issued + timedelta(term.days)
    return None


# --- tests ------------------------------------------------------------------------------------------

RETEST_WITHIN = timedelta(hours=4)
"""The time to ask for a re-test, which must not be a rapid test (`china.md` 3)."""
TEST_KEPT = timedelta(hours=24)
"""How old a test may be that stands in for a paper: it was done on the way in. Our choice; the law sets no number."""
HELD_FOR = timedelta(hours=24)
"""How long goods wait for their test. Our choice; the law sets no number."""


def papers_of(needs: Iterable[Need]) -> frozenset[VoucherKind]:
    """All papers that these rows speak of."""
    return frozenset(kind for need in needs for kind in need.papers)
