"""What leaves the ledger to be checked by others: no byte of it can be changed unnoticed."""

import base64
import hashlib
import json
from collections import Counter
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ledger.entries import hash_of
from ledger.merkle import Edge, inclusion_proof, leaf_hash
from ledger.notes import (
    Checkpoint,
    NoteInvalid,
    ProofInvalid,
    Recorded,
    Signer,
    Verifier,
    format_proof,
    format_receipt,
    open_checkpoint,
    open_note,
    open_receipt,
    parse_checkpoint,
    sign_note,
    verify_proof,
)
from tests.conftest import VECTORS

PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETERS_NOTE = (
    PETERS_TEXT + "\n\u2014 PeterNeumann"
    " x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
PETERS_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
CASES = sorted((VECTORS / "notes").glob("*.json"))
SIGNER = Signer("example.com/city", Ed25519PrivateKey.from_private_bytes(b"\1" * 32))
OTHER = Signer("example.com/other", Ed25519PrivateKey.from_private_bytes(b"\2" * 32))
KEYS = [SIGNER.verifier]
AT = "2026-01-02T03:04:05.000006Z"


def test_there_are_as_many_vectors_as_there_should_be() -> None:
    kinds = Counter(path.name.split("-")[0] for path in CASES)
    assert kinds == {"note": 40, "checkpoint": 24, "receipt": 13, "vkey": 12}
    assert len([path for path in CASES if "-bad-" in path.name]) == 69


def _open(case: dict[str, Any]) -> object:
    if case["kind"] == "vkey":
        return str(Verifier.parse(case["vkey"]))
    verifiers = [Verifier.parse(vkey) for vkey in case["vkeys"]]
    if case["kind"] == "note":
        return open_note(case["note"], verifiers)
    if case["kind"] == "checkpoint":
        found = open_checkpoint(case["note"], verifiers)
        return found.size, base64.b64encode(found.root).decode()
    return [[r.node, r.seq, r.hash.hex(), r.record_time] for r in open_receipt(case["note"], verifiers)]


def _said(case: dict[str, Any]) -> object:
    return {
        "vkey": lambda: case["vkey"],
        "note": lambda: case["text"],
        "checkpoint": lambda: (case["size"], case["root"]),
        "receipt": lambda: case["entries"],
    }[case["kind"]]()


@pytest.mark.parametrize("name", [path.stem for path in CASES])
def test_a_vector_opens_or_is_refused(name: str) -> None:
    case = json.loads((VECTORS / "notes" / f"{name}.json").read_text())
    if case["opens"]:
        assert _open(case) == _said(case), case["why"]
    else:
        with pytest.raises(NoteInvalid):
            _open(case)


def test_gos_published_example_is_ours_byte_for_byte() -> None:
    """Ed25519 is deterministic: the same key and text give the same note, whoever signs."""
    verifier = Verifier.parse(PETER)
    assert open_note(PETERS_NOTE, [verifier]) == PETERS_TEXT
    peter = Signer("PeterNeumann", Ed25519PrivateKey.from_private_bytes(PETERS_SEED))
    assert peter.verifier == verifier and str(peter.verifier) == PETER
    assert sign_note(PETERS_TEXT, peter) == PETERS_NOTE


def test_no_part_of_a_vkey_is_a_vkey() -> None:
    for start in range(len(PETER)):
        for end in range(start + 1, len(PETER) + 1):
            if (start, end) != (0, len(PETER)):
                with pytest.raises(NoteInvalid):
                    Verifier.parse(PETER[start:end])


def test_a_vkey_with_one_other_character_is_refused() -> None:
    for i, character in enumerate(PETER):
        with pytest.raises(NoteInvalid):
            Verifier.parse(PETER[:i] + chr(ord(character) + 1) + PETER[i + 1 :])


def test_a_private_key_is_not_shown() -> None:
    seed = SIGNER.key.private_bytes_raw()
    assert seed.hex() not in repr(SIGNER) and base64.b64encode(seed).decode() not in repr(SIGNER)
    assert str(SIGNER.verifier) in repr(SIGNER)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\tb", "a\u00a0b", "a\u3000b", "a\0b", "a\ud800b"])
def test_what_is_no_key_name_is_refused(name: str) -> None:
    with pytest.raises(NoteInvalid):
        Verifier(name, bytes(32))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_public_key_has_32_bytes(length: int) -> None:
    with pytest.raises(NoteInvalid):
        Verifier("a", bytes(length))


@pytest.mark.parametrize("text", ["", "no newline", "a\tb\n", "a\0\n", "a\r\n", "half a pair \ud800\n"])
def test_what_is_no_text_is_not_signed(text: str) -> None:
    with pytest.raises(NoteInvalid):
        sign_note(text, SIGNER)


@given(st.text(st.characters(min_codepoint=0x20, codec="utf-8") | st.just("\n"), max_size=60))
def test_whatever_is_signed_can_be_opened(text: str) -> None:
    assert open_note(sign_note(text + "\n", SIGNER), KEYS) == text + "\n"


@given(st.text(max_size=80), st.text(max_size=80))
def test_whatever_is_no_note_is_refused_and_nothing_else_happens(before: str, after: str) -> None:
    for note in (before + after, f"{before}\n\n\u2014 {after}\n", before + sign_note("x\n", OTHER) + after):
        for reader in (open_note, open_checkpoint, open_receipt):
            with pytest.raises(NoteInvalid):
                reader(note, KEYS)


def test_a_note_with_half_a_surrogate_pair_is_refused_as_a_note() -> None:
    """A file read with `surrogateescape` would else end in an error of encoding."""
    for note in (sign_note("x\n", SIGNER) + "\udcff", "\udcff" + sign_note("x\n", SIGNER)):
        with pytest.raises(NoteInvalid):
            open_note(note, KEYS)


def test_a_huge_note_is_refused_by_its_bytes_and_not_by_its_characters() -> None:
    """Three bytes a character: counted in characters, a limit would let three times as much in."""
    fits = sign_note("a" * 999_000 + "\n", SIGNER)
    assert len(open_note(fits, KEYS)) == 999_001
    for text in ("a" * 1_000_000 + "\n", "溯" * 400_000 + "\n"):
        with pytest.raises(NoteInvalid, match="bytes"):
            open_note(sign_note(text, SIGNER), KEYS)


def test_a_retired_key_still_opens_what_it_signed() -> None:
    assert open_note(sign_note("x\n", OTHER), [*KEYS, OTHER.verifier]) == "x\n"


@given(size=st.integers(0, 2**63 - 1), root=st.binary(min_size=32, max_size=32))
def test_a_checkpoint_is_read_as_it_was_written(size: int, root: bytes) -> None:
    written = Checkpoint("example.com/city", size, root)
    assert parse_checkpoint(written.text) == written
    assert open_checkpoint(sign_note(written.text, SIGNER), KEYS) == written


@given(
    st.lists(
        st.tuples(
            st.integers(0, 999_999_999), st.integers(1, 10**18 - 1), st.binary(min_size=32, max_size=32), st.just(AT)
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_receipt_is_read_as_it_was_written(rows: list[tuple[int, int, bytes, str]]) -> None:
    recorded = [Recorded(*row) for row in rows]
    assert open_receipt(format_receipt("example.com/city", recorded, SIGNER), KEYS) == recorded


def test_receipts_and_checkpoints_never_stand_for_each_other() -> None:
    receipt = format_receipt(SIGNER.name, [Recorded(1, 2, bytes(32), AT)], SIGNER)
    checkpoint = sign_note(Checkpoint(SIGNER.name, 2, bytes(32)).text, SIGNER)
    with pytest.raises(NoteInvalid):
        open_checkpoint(receipt, KEYS)
    with pytest.raises(NoteInvalid):
        open_receipt(checkpoint, KEYS)


# --- proof files ----------------------------------------------------------------------------------

ENTRIES = [f"entry {i}".encode() for i in range(7)]


def proof_of(index: int, extra: str = "") -> str:
    edge = Edge()
    edge.append(leaf_hash(hash_of(data)) for data in ENTRIES)
    path = inclusion_proof(index, edge.size, lambda level, _: edge.partial[level])
    note = sign_note(Checkpoint(SIGNER.name, edge.size, edge.root()).text, SIGNER)
    return format_proof(index, path, note).replace("\nindex", f"\n{extra}index", 1)


def proves(proof: bytes, data: bytes) -> bool:
    try:
        verify_proof(proof.decode(), data, KEYS)
    except (NoteInvalid, ProofInvalid, UnicodeDecodeError):
        return False
    return True


@pytest.mark.parametrize("index", range(7))
def test_a_proof_file_proves_its_entry_and_no_other(index: int) -> None:
    proof = proof_of(index)
    found, checkpoint = verify_proof(proof, ENTRIES[index], KEYS)
    assert (found, checkpoint.size) == (index, 7)
    assert proof.startswith("c2sp.org/tlog-proof@v1\nindex ")
    for other in (*ENTRIES[:index], *ENTRIES[index + 1 :], b"", hashlib.sha256(ENTRIES[index]).digest()):
        assert not proves(proof.encode(), other)


@pytest.mark.parametrize("index", [0, 3, 6])
def test_every_changed_byte_of_a_proof_file_is_noticed(index: int) -> None:
    proof = proof_of(index).encode()
    for at in range(len(proof)):
        for bit in range(8):
            changed = proof[:at] + bytes([proof[at] ^ 1 << bit]) + proof[at + 1 :]
            assert not proves(changed, ENTRIES[index]), (at, changed)


def test_every_byte_too_few_or_too_many_in_a_proof_file_is_noticed() -> None:
    proof = proof_of(4).encode()
    for at in range(len(proof) + 1):
        assert at == len(proof) or not proves(proof[:at] + proof[at + 1 :], ENTRIES[4]), at
        for added in (b"\n", b" ", b"A", b"=", b"0"):
            assert not proves(proof[:at] + added + proof[at:], ENTRIES[4]), (at, added)


def test_only_the_extra_line_of_a_proof_file_is_free() -> None:
    """c2sp.org/tlog-proof: it is nobody's word, so whatever base64 it holds, the proof is as good as without it."""
    proof = proof_of(4, "extra QUJD\n").encode()
    start = proof.index(b"extra ") + 6
    for at in range(len(proof)):
        changed = proof[:at] + bytes([proof[at] ^ 1]) + proof[at + 1 :]
        assert proves(changed, ENTRIES[4]) is (start <= at < start + 4), (at, changed)
    for wrong in ("extra QUJD\nextra QUJD\n", "extra QUJ\n", "extra ?\n", "extra\n", "more QUJD\n", "extra QUJD \n"):
        assert not proves(proof_of(4, wrong).encode(), ENTRIES[4]), wrong


def test_a_proof_file_of_another_log_is_refused() -> None:
    with pytest.raises(NoteInvalid):
        verify_proof(proof_of(4), ENTRIES[4], [OTHER.verifier])
    with pytest.raises(NoteInvalid):
        verify_proof(proof_of(4), ENTRIES[4], [])


def test_a_proof_under_another_trees_checkpoint_is_refused() -> None:
    """Both are signed by the log; they only do not belong together."""
    head, _, _ = proof_of(4).partition("\n\n")
    for size, root in ((6, bytes(32)), (7, bytes(32)), (0, hashlib.sha256(b"").digest()), (4, bytes(32))):
        note = sign_note(Checkpoint(SIGNER.name, size, root).text, SIGNER)
        assert not proves(f"{head}\n\n{note}".encode(), ENTRIES[4])


def test_an_entry_alone_in_its_log_needs_no_hashes() -> None:
    edge = Edge()
    edge.append([leaf_hash(hash_of(b"only"))])
    note = sign_note(Checkpoint(SIGNER.name, 1, edge.root()).text, SIGNER)
    proof = format_proof(0, [], note)
    assert verify_proof(proof, b"only", KEYS)[0] == 0
    assert not proves(format_proof(0, [bytes(32)], note).encode(), b"only")
    assert not proves(format_proof(1, [], note).encode(), b"only")
