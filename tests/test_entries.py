"""Entries: the bytes that are hashed, written once and read back; damaged bytes are only ever called damaged."""

import contextlib
import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.documents import write_json
from ledger.entries import (
    GENESIS,
    SALT_BYTES,
    Kind,
    actor_name,
    commitment,
    decode,
    encode,
    hash_of,
    micros,
    time_text,
)
from ledger.errors import LedgerDamaged
from ledger.fields import EPOCH

hashes = st.binary(min_size=32, max_size=32)
bodies = st.dictionaries(st.text(max_size=5), st.none() | st.integers(-9, 9) | st.text(max_size=5), max_size=3)
actors = st.text("".join(map(chr, range(0x20, 0x7F))), min_size=1, max_size=100).filter(lambda a: not {*'"\\'} & {*a})
utc_times = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))
parts = st.tuples(
    st.integers(0, 999_999_999), st.integers(1, 2**63 - 1), hashes, utc_times, actors, st.sampled_from(Kind),
    st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES), bodies, st.none() | hashes,
)  # fmt: skip
Parts = tuple[int, int, bytes, datetime, str, Kind, bytes, dict, bytes | None]


def bytes_of(made: Parts) -> bytes:
    node, seq, prev, at, actor, kind, salt, body, sealed = made
    return encode(node, seq, prev, time_text(at), actor, kind.name.lower(), salt, write_json(body), sealed)


GOOD = bytes_of(
    (330212333, 7, GENESIS, datetime(2026, 11, 23, tzinfo=UTC), "stall-7", Kind.EVENT, bytes(16), {"event": {}}, None)
)


@given(parts)
def test_an_entry_is_read_as_it_was_written(made: Parts) -> None:
    node, seq, prev, at, actor, kind, _, body, sealed = made
    data = bytes_of(made)
    entry = decode(data)
    assert (entry.node, entry.seq, entry.prev, entry.record_time) == (node, seq, prev, at)
    assert (entry.actor, entry.kind, entry.body, entry.commitment) == (actor, kind, body, sealed)
    assert entry.data == data and entry.hash == hashlib.sha256(data).digest() and entry.name == f"{node:09d}/{seq}"


@given(parts)
def test_an_entry_is_one_json_object_that_any_parser_reads(made: Parts) -> None:
    value = json.loads(bytes_of(made))
    assert [*value] == ["v", "node", "seq", "prev", "recordTime", "actor", "kind", "salt", "body", "sealed"]
    assert (value["salt"], value["body"]) == (made[6].hex(), made[7])


def test_an_entry_has_these_bytes_forever() -> None:
    """A change of one byte would change every hash that is signed; sha256sum gave the hash."""
    assert GOOD == (
        b'{"v":1,"node":"330212333","seq":7,"prev":"' + b"00" * 32 + b'","recordTime":"2026-11-23T00:00:00.000000Z",'
        b'"actor":"stall-7","kind":"event","salt":"' + b"00" * 16 + b'","body":{"event":{}},"sealed":null}'
    )
    assert hash_of(GOOD) == hashlib.sha256(GOOD).digest()


@given(parts, st.data())
def test_any_changed_byte_changes_the_hash_and_is_read_as_an_entry_or_as_damage(
    made: Parts, data: st.DataObject
) -> None:
    good = bytes_of(made)
    place, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 7))
    wrong = good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :]
    assert hash_of(wrong) != hash_of(good)
    with contextlib.suppress(LedgerDamaged):
        assert decode(wrong).data == wrong


@given(st.binary(max_size=80) | st.integers(0, len(GOOD) - 1).map(lambda end: GOOD[:end]))
def test_bytes_that_are_no_entry_are_damage_and_nothing_else(data: bytes) -> None:
    with pytest.raises(LedgerDamaged):
        decode(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", 2), ("v", True), ("v", 1.0), ("v", None), ("node", 330212333), ("node", "33021233"), ("node", "x"),
        ("node", "33021233３"), ("node", "330_12333"), ("node", "-30212333"), ("seq", "7"), ("seq", None), ("seq", 7.5),
        ("seq", True), ("prev", "0g"), ("prev", None), ("recordTime", "2026-11-23"), ("recordTime", 5),
        ("recordTime", "2026-11-23T08:00:00.000000+08:00"), ("recordTime", "2026-11-23T00:00:00Z"), ("actor", None),
        ("kind", "party"), ("kind", ""), ("kind", 1), ("salt", None), ("body", []), ("body", None), ("body", "{}"),
        ("sealed", 5), ("sealed", "x"), ("sealed", {}),
    ],
)  # fmt: skip
def test_a_field_of_another_kind_is_damage(field: str, value: object) -> None:
    with pytest.raises(LedgerDamaged):
        decode(json.dumps({**json.loads(GOOD), field: value}).encode())


@pytest.mark.parametrize("field", [*json.loads(GOOD)])
def test_a_missing_an_additional_or_a_moved_field_is_damage(field: str) -> None:
    value = json.loads(GOOD)
    lacking = {name: inner for name, inner in value.items() if name != field}
    for wrong in (lacking, {**value, field + "2": 1}, {**lacking, field: value[field]}):
        if [*wrong] != [*value]:
            with pytest.raises(LedgerDamaged):
                decode(json.dumps(wrong).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"garbage", b"\xff", b"[]", b"[1]", b"{}", b"null", b"5", b'"v"', b"[" * 10_000, GOOD + b"x", GOOD * 2],
)
def test_what_is_no_object_is_damage(data: bytes) -> None:
    with pytest.raises(LedgerDamaged):
        decode(data)


@pytest.mark.parametrize("name", ["stall-7", "a b", "x" * 100, "~!@#$%^&*()"])
def test_an_actor_is_a_code_that_needs_no_escaping(name: str) -> None:
    assert actor_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 101, 'a"b', "a\\b", "张三", "a\nb", "a\x00", "a\u2028", "\ud800", "é"])
def test_what_would_break_out_of_an_entrys_bytes_is_no_actor(name: str) -> None:
    """An actor with a quote could write fields of its own into the entry."""
    with pytest.raises(ValueError, match="is no actor"):
        actor_name(name)


@given(utc_times, st.integers(-14 * 60, 14 * 60))
def test_a_time_is_always_written_in_one_way(at: datetime, offset: int) -> None:
    text = time_text(at)
    assert len(text) == 27 and text.endswith("Z") and datetime.fromisoformat(text) == at
    if 2 < at.year < 9998:
        assert time_text(at.astimezone(timezone(timedelta(minutes=offset)))) == text


@given(utc_times)
def test_microseconds_since_an_epoch_are_whole_and_exact(at: datetime) -> None:
    assert EPOCH + timedelta(microseconds=micros(at, EPOCH)) == at


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_a_commitment_is_the_hash_of_salt_and_sealed_bytes(salt: bytes, sealed: bytes) -> None:
    assert commitment(salt, sealed) == hashlib.sha256(salt + sealed).digest()
    assert commitment(salt, sealed + b"x") != commitment(salt, sealed)
