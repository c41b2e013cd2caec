"""What came against what was sent: each difference by its type, as the drug trade's own schema has them.

Source: the exceptions of the PDG's schema (`drugs_and_warnings.md` 2): product without data, data without product,
more, fewer, wrong place, wrong product. Each pack is named in one of them. Pure.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from ledger.gs1 import Key
from ledger.packs.effects import product_of
from ledger.registers.drugs import DifferenceKind


@dataclass(frozen=True, slots=True)
class Shipment:
    """What a sender says that it sent: the packs, and whether it was to come here; None where it does not say."""

    codes: frozenset[Key]
    comes_here: bool | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Packs of one product that differ in one way."""

    kind: DifferenceKind
    product: str
    codes: tuple[Key, ...]


def differences(shipment: Shipment, scanned: Collection[Key], recorded: Collection[Key]) -> Iterator[Difference]:
    """How what was scanned differs from the shipment. `recorded` are the scanned packs of which the ledger has data."""
    if shipment.comes_here is False:
        for product, codes in _by_product(scanned):
            yield Difference(DifferenceKind.GLN, product, codes)
        return
    sent = {product_of(code) for code in shipment.codes}
    came = {product_of(code) for code in scanned}
    for product, codes in _by_product(set(scanned) - shipment.codes):
        known = tuple(code for code in codes if code in recorded)
        if strange := tuple(code for code in codes if code not in recorded):
            yield Difference(DifferenceKind.NO_DATA, product, strange)
        if known:
            yield Difference(DifferenceKind.OVERAGE if product in sent else DifferenceKind.GTIN, product, known)
    for product, codes in _by_product(shipment.codes - set(scanned)):
        yield Difference(DifferenceKind.UNDERAGE if product in came else DifferenceKind.NO_PRODUCT, product, codes)


def _by_product(codes: Collection[Key]) -> Iterator[tuple[str, tuple[Key, ...]]]:
    found: dict[str, list[Key]] = {}
    for code in sorted(codes):
        found.setdefault(product_of(code), []).append(code)
    for product, of_it in found.items():
        yield product, tuple(of_it)
