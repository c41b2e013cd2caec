"""The Merkle tree of the log: RFC 6962 hashing, C2SP tiles, and proofs.

A tree of `size` leaves is kept as tiles of up to 256 hashes (C2SP tlog-tiles): tile `n` of level `l` holds the roots
of the subtrees of 256^l leaves from number 256n on. Proofs are computed from tiles, which a callback reads, so the
same code serves the database, a test's dictionary, and a verifier with files.

Pure. Sources: RFC 6962, 2.1; RFC 9162, 2.1.3.2 and 2.1.4.2 for verification; c2sp.org/tlog-tiles.
"""

import hashlib
from collections.abc import Callable, Iterable

HASH_BYTES = 32
TILE_WIDTH = 256
EMPTY_ROOT = hashlib.sha256(b"").digest()

ReadTile = Callable[[int, int], bytes]
"""`read(level, n)`: the hashes of that tile, at least as many as the tree of the size asked about has there."""


class ProofInvalid(ValueError):
    """The proof does not prove what it claims."""


def leaf_hash(data: bytes) -> bytes:
    """RFC 6962, 2.1: SHA-256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962, 2.1: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tile_root(hashes: bytes) -> bytes:
    """The root over a full tile's 256 hashes."""
    return _fold([hashes[i : i + HASH_BYTES] for i in range(0, len(hashes), HASH_BYTES)])


def _fold(row: list[bytes]) -> bytes:
    """The root over a power of two of hashes."""
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]


class Edge:
    """The right edge of a growing tree: the partial tile of each level. It is all that appending needs.

    `append` takes leaf hashes and returns the tiles that it filled; `partial` is what is left open.
    """

    def __init__(self, size: int = 0, partial: dict[int, bytes] | None = None) -> None:
        self.size = size
        self.partial = {level: bytes(row) for level, row in (partial or {}).items() if row}
        for level in range(9):
            width = (size >> (8 * level)) % TILE_WIDTH
            if len(self.partial.get(level, b"")) != width * HASH_BYTES:
                raise ValueError(f"a tree of {size} leaves has {width} hashes open at level {level}")

    def append(self, leaves: Iterable[bytes]) -> dict[tuple[int, int], bytes]:
        """Add leaf hashes in order; the result maps (level, n) to each tile that became full."""
        full: dict[tuple[int, int], bytes] = {}
        row = bytearray(self.partial.get(0, b""))
        for leaf in leaves:
            row += leaf
            self.size += 1
            if len(row) == TILE_WIDTH * HASH_BYTES:
                self._close(0, bytes(row), full)
                row.clear()
        self.partial[0] = bytes(row)
        return full

    def _close(self, level: int, tile: bytes, full: dict[tuple[int, int], bytes]) -> None:
        full[level, (self.size >> (8 * (level + 1))) - 1] = tile
        above = self.partial.get(level + 1, b"") + tile_root(tile)
        if len(above) == TILE_WIDTH * HASH_BYTES:
            self._close(level + 1, above, full)
            above = b""
        self.partial[level + 1] = above

    def root(self) -> bytes:
        """The root of the tree as it is now."""
        return root(self.size, lambda level, _: self.partial[level])


def _hash_at(read: ReadTile, level: int, index: int) -> bytes:
    """The root of the perfect subtree of 2^level leaves that begins at leaf `index` * 2^level."""
    tile_level, inside = divmod(level, 8)
    first = index << inside
    row = read(tile_level, first // TILE_WIDTH)
    start = first % TILE_WIDTH * HASH_BYTES
    span = row[start : start + (HASH_BYTES << inside)]
    if len(span) != HASH_BYTES << inside:
        raise ValueError(f"tile {tile_level}/{first // TILE_WIDTH} is too short for this tree")
    return _fold([span[i : i + HASH_BYTES] for i in range(0, len(span), HASH_BYTES)])


def _range_root(first: int, last: int, read: ReadTile) -> bytes:
    """MTH(D[first:last]) where `first` is a multiple of the largest power of two not above the length."""
    peaks = []
    while first < last:
        level = (last - first).bit_length() - 1
        peaks.append(_hash_at(read, level, first >> level))
        first += 1 << level
    result = peaks.pop()
    while peaks:
        result = node_hash(peaks.pop(), result)
    return result


def root(size: int, read: ReadTile) -> bytes:
    """MTH of the first `size` leaves (RFC 6962, 2.1)."""
    return _range_root(0, size, read) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, read: ReadTile) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size`, the leaf's sibling first (RFC 6962, 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    proof: list[bytes] = []
    first, last = 0, size
    while last - first > 1:
        split = first + (1 << ((last - first - 1).bit_length() - 1))
        if index < split:
            proof.append(_range_root(split, last, read))
            last = split
        else:
            proof.append(_range_root(first, split, read))
            first = split
    return proof[::-1]


def consistency_proof(old: int, size: int, read: ReadTile) -> list[bytes]:
    """That the tree of `old` leaves is the beginning of the tree of `size` (RFC 6962, 2.1.2); 0 < old <= size."""
    if not 0 < old <= size:
        raise ValueError(f"a tree of {old} is not the beginning of a tree of {size}; the old size is 1 to {size}")
    proof: list[bytes] = []
    first, last, whole = 0, size, True
    while old != last:
        split = first + (1 << ((last - first - 1).bit_length() - 1))
        if old <= split:
            proof.append(_range_root(split, last, read))
            last = split
        else:
            proof.append(_range_root(first, split, read))
            first, whole = split, False
    if not whole:
        proof.append(_range_root(first, last, read))
    return proof[::-1]


def _require_hashes(hashes: Iterable[bytes]) -> None:
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise ProofInvalid(f"a hash has {len(value)} bytes, not {HASH_BYTES}")


def verify_inclusion(index: int, size: int, leaf: bytes, proof: list[bytes], expected_root: bytes) -> None:
    """`ProofInvalid` unless `proof` shows `leaf` (a leaf hash) at `index` under `expected_root` (RFC 9162, 2.1.3.2)."""
    _require_hashes([leaf, *proof, expected_root])
    if not 0 <= index < size:
        raise ProofInvalid(f"there is no leaf {index} in a tree of {size}")
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        if sn == 0:
            raise ProofInvalid("the proof is too long")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise ProofInvalid("the proof is too short")
    if r != expected_root:
        raise ProofInvalid("the proof leads to another root")


def verify_consistency(old: int, size: int, old_root: bytes, new_root: bytes, proof: list[bytes]) -> None:
    """`ProofInvalid` unless `proof` shows the old tree to be the beginning of the new one (RFC 9162, 2.1.4.2)."""
    _require_hashes([old_root, new_root, *proof])
    if not 0 < old <= size:
        raise ProofInvalid(f"a tree of {old} cannot be shown to begin a tree of {size}")
    if old == size:
        if proof or old_root != new_root:
            raise ProofInvalid("trees of one size have one root and an empty proof")
        return
    if not proof:
        raise ProofInvalid("the proof is empty")
    path = [old_root, *proof] if old & (old - 1) == 0 else proof
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            raise ProofInvalid("the proof is too long")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    if (fr, sr, sn) != (old_root, new_root, 0):
        raise ProofInvalid("the proof leads to other roots")


def tile_path(level: int, n: int, width: int = TILE_WIDTH) -> str:
    """The C2SP path of a tile below `/tile/`.

    >>> tile_path(0, 1234067), tile_path(1, 5, 17)
    ('0/x001/x234/067', '1/005.p/17')
    """
    return f"{level}/{entries_number(n)}" + (f".p/{width}" if width < TILE_WIDTH else "")


def entries_number(n: int) -> str:
    """A tile number as C2SP writes it: groups of three digits, all but the last with an x before."""
    groups = [f"{n % 1000:03d}"]
    while n := n // 1000:
        groups.append(f"x{n % 1000:03d}")
    return "/".join(reversed(groups))
