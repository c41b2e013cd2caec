"""The Merkle tree against the RFC's own definition, and against verifiers that share no code with it."""

import base64
import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pymerkle
import pytest
import scitt_cose.merkle as scitt
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_WIDTH,
    Edge,
    ProofInvalid,
    consistency_proof,
    entries_number,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    tile_path,
    verify_consistency,
    verify_inclusion,
)

MOST = 65_537
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
"""The eight inputs that Certificate Transparency's implementations have been tested with from the first."""
ROOTS = [
    "6e340b9c…a01d", "fac54203…c125", "aeb6bcfe…6e77", "d37ee418…14b7", "4e3bbb1f…64d4", "76e67dad…87ef",
    "ddb89be4…4c8c", "5dc9da79…4328",
]  # fmt: skip
SIZES = st.one_of(
    st.integers(1, 1000), st.sampled_from([*range(254, 259), *range(510, 515), 767, 768, 769]), st.integers(1, 17)
)
BORDERS = [65_535, 65_536, 65_537]


def entry(index: int) -> bytes:
    return index.to_bytes(4, "big")


LEAVES = [leaf_hash(entry(index)) for index in range(MOST)]


@functools.cache
def mth(first: int, last: int) -> bytes:
    """RFC 6962, 2.1, word for word: MTH(D[first:last])."""
    n = last - first
    if n == 0:
        return EMPTY_ROOT
    if n == 1:
        return LEAVES[first]
    k = 1
    while k * 2 < n:
        k *= 2
    return node_hash(mth(first, first + k), mth(first + k, last))


def path(m: int, first: int, last: int) -> list[bytes]:
    """RFC 6962, 2.1.1: PATH(m, D[first:last])."""
    n = last - first
    if n == 1:
        return []
    k = 1
    while k * 2 < n:
        k *= 2
    if m < k:
        return [*path(m, first, first + k), mth(first + k, last)]
    return [*path(m - k, first + k, last), mth(first, first + k)]


def subproof(m: int, first: int, last: int, whole: bool) -> list[bytes]:
    """RFC 6962, 2.1.2: SUBPROOF(m, D[first:last], b)."""
    n = last - first
    if m == n:
        return [] if whole else [mth(first, last)]
    k = 1
    while k * 2 < n:
        k *= 2
    if m <= k:
        return [*subproof(m, first, first + k, whole), mth(first + k, last)]
    return [*subproof(m - k, first + k, last, False), mth(first, first + k)]


class Tree:
    """All tiles of one tree of `MOST` leaves, and the edge at the end."""

    def __init__(self, size: int) -> None:
        self.edge = Edge()
        self.full = self.edge.append(LEAVES[:size])

    def read(self, level: int, n: int) -> bytes:
        return self.full.get((level, n)) or self.edge.partial.get(level, b"")


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree(MOST)


def cases(folder: Path) -> Iterator[dict]:
    for file in sorted(folder.glob("**/*.json")):
        yield json.loads(file.read_text())


def b64(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def refused(check: object, *arguments: object) -> bool:
    try:
        check(*arguments)
    except ProofInvalid:
        return True
    return False


def test_all_public_inclusion_cases(shared_data: Path) -> None:
    found = list(cases(shared_data / "merkle" / "inclusion"))
    assert len(found) == 49 and 0 < sum(case["wantErr"] for case in found) < 49
    for case in found:
        arguments = (case["leafIdx"], case["treeSize"], b64(case["leafHash"]), [*map(b64, case["proof"] or [])])
        assert refused(verify_inclusion, *arguments, b64(case["root"])) is case["wantErr"], case["desc"]


def test_all_public_consistency_cases(shared_data: Path) -> None:
    found = list(cases(shared_data / "merkle" / "consistency"))
    assert len(found) == 49 and 0 < sum(case["wantErr"] for case in found) < 49
    for case in found:
        roots = (b64(case["root1"]), b64(case["root2"]))
        arguments = (case["size1"], case["size2"], *roots, [*map(b64, case["proof"] or [])])
        assert refused(verify_consistency, *arguments) is case["wantErr"], case["desc"]


def test_the_roots_of_the_eight_well_known_inputs() -> None:
    other = pymerkle.InmemoryTree(algorithm="sha256")
    grown = Edge()
    assert grown.root() == EMPTY_ROOT == base64.b64decode("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
    for data, known in zip(map(bytes.fromhex, INPUTS), ROOTS, strict=True):
        other.append_entry(data)
        grown.append([leaf_hash(data)])
        start, end = known.split("…")
        assert grown.root() == other.get_root()
        assert grown.root().hex().startswith(start) and grown.root().hex().endswith(end)


@given(size=st.integers(0, 1000))
@example(size=0)
@example(size=255)
@example(size=256)
@example(size=257)
def test_the_root_of_every_size_is_the_rfcs(tree: Tree, size: int) -> None:
    """Read from the tiles of a far larger tree: what is beyond the size must not matter."""
    assert root(size, tree.read) == mth(0, size) == Tree(size).edge.root()


@pytest.mark.parametrize("size", BORDERS)
def test_the_root_where_a_third_level_begins(tree: Tree, size: int) -> None:
    assert root(size, tree.read) == mth(0, size)
    assert Tree(size).edge.root() == mth(0, size)


@given(parts=st.lists(st.integers(0, 300), max_size=6))
def test_how_leaves_are_grouped_does_not_matter(parts: list[int]) -> None:
    """The integrator appends batch by batch and starts again from what it stored."""
    stored: dict[tuple[int, int], bytes] = {}
    size, partial = 0, {}
    for count in parts:
        edge = Edge(size, partial)
        stored |= edge.append(LEAVES[size : size + count])
        size, partial = edge.size, edge.partial
    whole = Tree(size)
    assert stored == whole.full
    assert {level: row for level, row in partial.items() if row} == {k: v for k, v in whole.edge.partial.items() if v}


@given(size=st.integers(1, 70_000), level=st.integers(0, 2), change=st.sampled_from([-32, 32, 1, -1]))
def test_an_edge_that_does_not_fit_its_size_is_refused(size: int, level: int, change: int) -> None:
    widths = {at: size >> 8 * at & 255 for at in range(3)}
    partial = {at: bytes(width * HASH_BYTES) for at, width in widths.items()}
    Edge(size, partial)
    wrong = {**partial, level: bytes(max(0, len(partial[level]) + change))}
    if len(wrong[level]) != len(partial[level]):
        with pytest.raises(ValueError, match="hashes open"):
            Edge(size, wrong)


@given(size=SIZES, data=st.data())
def test_inclusion_proofs_are_the_rfcs_and_hold_elsewhere(tree: Tree, size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(index, size, tree.read)
    assert proof == path(index, 0, size)
    verify_inclusion(index, size, LEAVES[index], proof, mth(0, size))
    assert scitt.verify_inclusion(entry(index).hex(), index, size, [h.hex() for h in proof], mth(0, size).hex())


@given(size=SIZES, data=st.data())
def test_consistency_proofs_are_the_rfcs_and_hold_elsewhere(tree: Tree, size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    proof = consistency_proof(old, size, tree.read)
    assert proof == subproof(old, 0, size, True)
    verify_consistency(old, size, mth(0, old), mth(0, size), proof)
    hexed = [h.hex() for h in proof]
    assert scitt.verify_consistency(mth(0, old).hex(), mth(0, size).hex(), old, size, hexed)


@pytest.mark.parametrize("size", BORDERS)
def test_proofs_where_a_third_level_begins(tree: Tree, size: int) -> None:
    for index in (0, 1, 255, 256, 257, 65_279, 65_280, 65_534, size - 1):
        proof = inclusion_proof(index, size, tree.read)
        assert proof == path(index, 0, size)
        verify_inclusion(index, size, LEAVES[index], proof, mth(0, size))
        assert scitt.verify_inclusion(entry(index).hex(), index, size, [h.hex() for h in proof], mth(0, size).hex())
    for old in (1, 2, 255, 256, 257, 32_768, 65_280, 65_535, size - 1, size):
        proof = consistency_proof(old, size, tree.read)
        assert proof == subproof(old, 0, size, True)
        verify_consistency(old, size, mth(0, old), mth(0, size), proof)


def test_pymerkle_finds_the_same_hashes_on_every_path() -> None:
    """A second implementation that shares nothing with ours or scitt-cose, over a tile's border."""
    size = 300
    other = pymerkle.InmemoryTree(algorithm="sha256")
    for index in range(size):
        other.append_entry(entry(index))
    ours = Tree(size)
    for index in (0, 1, 127, 255, 256, 298, 299):
        theirs = other.prove_inclusion(index + 1, size)
        pymerkle.verify_inclusion(LEAVES[index], ours.edge.root(), theirs)
        assert sorted(theirs.path) == sorted([LEAVES[index], *inclusion_proof(index, size, ours.read)])
    for old in (3, 255, 257, 299):
        theirs = other.prove_consistency(old, size)
        pymerkle.verify_consistency(root(old, ours.read), ours.edge.root(), theirs)
        assert sorted(theirs.path) == sorted(consistency_proof(old, size, ours.read))


def mutations(proof: list[bytes]) -> Iterator[list[bytes]]:
    """Every proof that differs from this one in one place."""
    for i, value in enumerate(proof):
        yield proof[:i] + proof[i + 1 :]
        yield [*proof[:i], value, *proof[i:]]
        for bit in (0, 7, 128, 255):
            changed = bytearray(value)
            changed[bit // 8] ^= 1 << bit % 8
            yield [*proof[:i], bytes(changed), *proof[i + 1 :]]
        yield [*proof[:i], value[:-1], *proof[i + 1 :]]
        yield [*proof[:i], value + b"\0", *proof[i + 1 :]]
        for j in range(i):
            swapped = list(proof)
            swapped[i], swapped[j] = swapped[j], swapped[i]
            yield swapped
    yield [*proof, bytes(HASH_BYTES)]
    yield [bytes(HASH_BYTES), *proof]
    if proof:
        yield []
        yield proof[::-1] if len(proof) > 1 else [bytes(HASH_BYTES)]


@given(size=SIZES, data=st.data())
def test_a_changed_inclusion_proof_is_refused(tree: Tree, size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, good = inclusion_proof(index, size, tree.read), mth(0, size)
    for changed in mutations(proof):
        assert refused(verify_inclusion, index, size, LEAVES[index], changed, good)
    for other in {0, index - 1, index + 1, size - 1, size, -1, index + size} - {index}:
        assert refused(verify_inclusion, other, size, LEAVES[index], proof, good)
    assert refused(verify_inclusion, index, size, LEAVES[index + 1], proof, good)
    assert refused(verify_inclusion, index, size, LEAVES[index][:31], proof, good)
    assert refused(verify_inclusion, index, size, LEAVES[index], proof, mth(0, size + 1))
    assert refused(verify_inclusion, index, size, LEAVES[index], proof, b"")
    for other in (0, -1, index):
        assert refused(verify_inclusion, index, other, LEAVES[index], proof, good)


@given(size=SIZES.filter(lambda size: size > 1), data=st.data())
def test_a_changed_consistency_proof_is_refused(tree: Tree, size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size - 1))
    proof, roots = consistency_proof(old, size, tree.read), (mth(0, old), mth(0, size))
    for changed in mutations(proof):
        assert refused(verify_consistency, old, size, *roots, changed)
    assert refused(verify_consistency, old, size, *roots[::-1], proof)
    assert refused(verify_consistency, old, size, mth(0, old + 1), roots[1], proof)
    assert refused(verify_consistency, old, size, roots[0], mth(0, size + 1), proof)
    for other in (0, -1, size, size + 1):
        assert refused(verify_consistency, other, size, *roots, proof)


def test_one_size_has_one_root_and_an_empty_proof() -> None:
    verify_consistency(5, 5, mth(0, 5), mth(0, 5), [])
    assert refused(verify_consistency, 5, 5, mth(0, 5), mth(0, 6), [])
    assert refused(verify_consistency, 5, 5, mth(0, 5), mth(0, 5), [mth(0, 5)])
    assert refused(verify_consistency, 0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    assert refused(verify_consistency, 4, 7, mth(0, 4), mth(0, 7), [])


def test_a_node_cannot_be_passed_off_as_an_entry(tree: Tree) -> None:
    """Without the prefixes 0 and 1, the two halves of a node would be an entry of a smaller tree."""
    halves = mth(0, 2) + mth(2, 4)
    assert leaf_hash(halves) != node_hash(mth(0, 2), mth(2, 4))
    assert refused(verify_inclusion, 0, 1, leaf_hash(halves), [], mth(0, 4))


@pytest.mark.parametrize(("index", "size"), [(5, 5), (-1, 5), (0, 0), (6, 5)])
def test_there_is_no_proof_for_a_leaf_that_is_not_there(tree: Tree, index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof(index, size, tree.read)


@pytest.mark.parametrize(("old", "size"), [(0, 5), (6, 5), (-1, 5), (0, 0)])
def test_there_is_no_proof_from_nothing_or_backwards(tree: Tree, old: int, size: int) -> None:
    with pytest.raises(ValueError, match="old size"):
        consistency_proof(old, size, tree.read)


def test_a_tile_that_is_too_short_is_named() -> None:
    tree = Tree(300)
    with pytest.raises(ValueError, match="tile 0/1 is too short"):
        root(301, tree.read)
    with pytest.raises(ValueError, match="tile 1/0 is too short"):
        root(300, lambda level, n: b"" if level == 1 else tree.read(level, n))


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "000"), (5, "005"), (999, "999"), (1000, "x001/000"), (1_234_067, "x001/x234/067"),
        (10**9, "x001/x000/x000/000"),
    ],
)  # fmt: skip
def test_tile_numbers_as_c2sp_writes_them(n: int, text: str) -> None:
    assert entries_number(n) == text
    assert tile_path(0, n) == f"0/{text}" and tile_path(2, n, 17) == f"2/{text}.p/17"


def test_the_tiles_of_70000_leaves_as_c2sp_counts_them() -> None:
    """c2sp.org/tlog-tiles: 273 full tiles and one of 112, one full and one of 17, one of 1."""
    edge = Edge()
    full = edge.append(LEAVES[i % MOST] for i in range(70_000))
    assert sum(level == 0 for level, _ in full) == 273 and [k for k in full if k[0] == 1] == [(1, 0)]
    assert {level: len(row) // HASH_BYTES for level, row in edge.partial.items()} == {0: 112, 1: 17, 2: 1}
    assert all(len(tile) == TILE_WIDTH * HASH_BYTES for tile in full.values())
