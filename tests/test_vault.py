"""The vault: what it sealed only it opens, in its own place, unchanged; and what is found by keyed hashes."""

import hashlib
import json
import secrets
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import vault as vault_module
from ledger.errors import LedgerDamaged, LedgerError, Misconfigured
from ledger.keys import KeyFolder
from ledger.registers import LICENCE, PARTY, Field
from ledger.registers.form import Find
from ledger.vault import ID_BYTES, NONCE_BYTES, Vault, folded, matches

SUBJECT = "party 3302120010001"
VALUES = {"legal_name": "溯源老李蔬菜摊", "identity_number": "11010519491231002X", "phone": None}
NAME, PHONE, SCAN = PARTY.field("legal_name"), PARTY.field("phone"), LICENCE.field("scan")


def key_folder(path: Path) -> KeyFolder:
    found = KeyFolder(path / "keys")
    found.signer("suyuan.example/log")
    return found


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    return key_folder(tmp_path)


@pytest.fixture
def vault(keys: KeyFolder) -> Vault:
    return Vault(keys)


def replace(keys: KeyFolder, *, keep: bool = True) -> None:
    """A new key; the one before stays or goes."""
    before = keys.registry_keys_file()
    keys.set_registry_keys([secrets.token_bytes(32), *(keys.registry_keys() if keep else [])])
    assert keys.registry_keys_file() != before, "it is another file, whatever the disk's clock can tell"


# --- sealing --------------------------------------------------------------------------------------


def test_what_was_sealed_is_opened(vault: Vault) -> None:
    sealed = vault.seal(SUBJECT, 1, VALUES, "filed for a test")
    assert vault.open(SUBJECT, 1, sealed.data) == (VALUES, "filed for a test")
    assert vault.is_present(sealed.data)


@given(
    values=st.dictionaries(st.sampled_from(["legal_name", "phone", "scope"]), st.text(st.characters(codec="utf-8"))),
    reason=st.none() | st.text(st.characters(codec="utf-8")),
    version=st.integers(1, 2**31 - 1),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_sealed_is_opened(vault: Vault, values: dict, reason: str | None, version: int) -> None:
    sealed = vault.seal(SUBJECT, version, values, reason)
    assert vault.open(SUBJECT, version, sealed.data) == (values, reason)


def test_nothing_of_it_can_be_read(vault: Vault) -> None:
    sealed = vault.seal(SUBJECT, 1, VALUES, "a reason")
    for piece in ("溯源", "11010519491231002X", "legal_name", "a reason"):
        assert piece.encode() not in sealed.data and piece not in sealed.digest


def test_the_digest_is_of_the_bytes_that_were_sealed(vault: Vault) -> None:
    """Whoever has the plain bytes can check the ledger's digest with sha256sum."""
    sealed = vault.seal(SUBJECT, 1, VALUES, None)
    plain = vault.open_bytes(SUBJECT, 1, sealed.data)
    assert hashlib.sha256(plain).hexdigest() == sealed.digest
    assert json.loads(plain)["values"] == VALUES


def test_the_same_values_never_look_the_same(vault: Vault) -> None:
    """Without a salt the digest, which stays for ever, would tell who is the same, and could be guessed."""
    made = [vault.seal(SUBJECT, 1, VALUES, None) for _ in range(50)]
    assert len({one.digest for one in made}) == len({one.data for one in made}) == 50
    assert len({one.data[1 + ID_BYTES : 1 + ID_BYTES + NONCE_BYTES] for one in made}) == 50
    assert len({json.loads(vault.open_bytes(SUBJECT, 1, one.data))["salt"] for one in made}) == 50


@pytest.mark.parametrize(
    ("subject", "version"),
    [
        ("party 3302120010002", 1), (SUBJECT, 2), (SUBJECT, 11), (SUBJECT + "\n1", 1), ("licence 3302120010001", 1),
        ("", 1), (SUBJECT, -1),
    ],
)  # fmt: skip
def test_in_another_place_it_cannot_be_opened(vault: Vault, subject: str, version: int) -> None:
    """Whoever holds the database could otherwise give one party another's name, or an old one again."""
    sealed = vault.seal(SUBJECT, 1, VALUES, None)
    with pytest.raises(LedgerDamaged, match="were changed"):
        vault.open(subject, version, sealed.data)


def test_no_two_places_are_bound_alike(vault: Vault) -> None:
    """Joined without a sign between, version 11 of party 1 would be version 1 of party 11."""
    sealed = vault.seal("party 1", 11, VALUES, None)
    with pytest.raises(LedgerDamaged):
        vault.open("party 11", 1, sealed.data)


def test_any_changed_byte_is_noticed(vault: Vault) -> None:
    sealed = vault.seal(SUBJECT, 1, {"legal_name": "李"}, None).data
    for at in range(len(sealed)):
        for changed in {sealed[at] ^ 1, sealed[at] ^ 0x80, 0, 255} - {sealed[at]}:
            with pytest.raises(LedgerDamaged):
                vault.open(SUBJECT, 1, sealed[:at] + bytes([changed]) + sealed[at + 1 :])


def test_anything_cut_off_or_added_is_noticed(vault: Vault) -> None:
    sealed = vault.seal(SUBJECT, 1, VALUES, None).data
    for data in (*(sealed[:length] for length in range(len(sealed))), sealed + b"\0", b"\0" + sealed, sealed * 2):
        with pytest.raises(LedgerDamaged):
            vault.open(SUBJECT, 1, data)


@given(st.binary(max_size=100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_junk_is_opened(vault: Vault, data: bytes) -> None:
    with pytest.raises(LedgerDamaged):
        vault.open(SUBJECT, 1, data)


def test_another_installation_opens_nothing(vault: Vault, tmp_path: Path) -> None:
    stranger = Vault(key_folder(tmp_path / "other"))
    sealed = vault.seal(SUBJECT, 1, VALUES, None)
    with pytest.raises(LedgerDamaged, match="a key that is not here"):
        stranger.open(SUBJECT, 1, sealed.data)
    named = b"\x01" + stranger.keys()[0].id + sealed.data[1 + ID_BYTES :]  # even if it claims to be its own
    with pytest.raises(LedgerDamaged, match="were changed"):
        stranger.open(SUBJECT, 1, named)


def test_no_refusal_repeats_what_was_sealed(vault: Vault) -> None:
    sealed = vault.seal(SUBJECT, 1, VALUES, None)
    with pytest.raises(LedgerDamaged) as refusal:
        vault.open(SUBJECT, 2, sealed.data)
    assert "老李" not in str(refusal.value) and sealed.data.hex() not in str(refusal.value)


# --- keys -----------------------------------------------------------------------------------------


def test_a_new_key_is_noticed_and_the_old_one_still_opens(vault: Vault, keys: KeyFolder) -> None:
    """Also when another process replaced it: a server runs on while an operator types the command."""
    before = vault.seal(SUBJECT, 1, VALUES, None)
    replace(KeyFolder(keys.path))
    after = vault.seal(SUBJECT, 1, VALUES, None)
    assert after.data[1 : 1 + ID_BYTES] != before.data[1 : 1 + ID_BYTES]
    assert vault.open(SUBJECT, 1, before.data) == vault.open(SUBJECT, 1, after.data) == (VALUES, None)
    assert vault.is_present(after.data) and not vault.is_present(before.data)


def test_a_key_that_was_taken_away_opens_nothing_any_more(vault: Vault, keys: KeyFolder) -> None:
    before = vault.seal(SUBJECT, 1, VALUES, None)
    replace(keys, keep=False)
    with pytest.raises(LedgerDamaged, match="a key that is not here"):
        vault.open(SUBJECT, 1, before.data)


def test_a_key_replaced_while_it_was_read_is_noticed(keys: KeyFolder) -> None:
    """Between reading the keys and asking when they changed: whoever took the later time for the earlier keys would
    seal with the old key until it is started again."""

    class Slow(KeyFolder):
        def registry_keys(self) -> list[bytes]:
            found = super().registry_keys()
            if len(found) == 1:
                replace(keys)
            return found

    vault = Vault(Slow(keys.path))
    vault.keys()
    assert vault.is_present(Vault(keys).seal(SUBJECT, 1, VALUES, None).data)


def test_the_keys_are_read_once(vault: Vault, keys: KeyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file read for every value would make a search of thousands slow."""
    vault.keys()
    monkeypatch.setattr(KeyFolder, "registry_keys", lambda _: pytest.fail("read again"))
    vault.open(SUBJECT, 1, vault.seal(SUBJECT, 1, VALUES, None).data)


def test_what_seals_finds_and_names_are_three_keys(vault: Vault, keys: KeyFolder) -> None:
    """The id stands in the database, next to what is sealed: it must say nothing about the keys."""
    (master,) = keys.registry_keys()
    key = vault.keys()[0]
    assert len({master, key.index, hashlib.sha256(master).digest()}) == 3
    assert key.id not in (master[:ID_BYTES], key.index[:ID_BYTES])


@pytest.mark.parametrize("written", ["", "00", "zz" * 32, "00" * 31, "00" * 33, ("00" * 32) + " 11"])
def test_damaged_keys_are_refused(keys: KeyFolder, written: str) -> None:
    keys.registry_keys()
    (keys.path / "registry.keys").write_text(written)
    with pytest.raises(Misconfigured, match="damaged; bring it back"):
        Vault(keys).seal(SUBJECT, 1, VALUES, None)


def test_keys_that_others_can_read_are_refused(keys: KeyFolder) -> None:
    keys.registry_keys()
    (keys.path / "registry.keys").chmod(0o640)
    with pytest.raises(Misconfigured, match="chmod 600"):
        Vault(keys).keys()


def test_the_keys_file_is_nobody_elses(vault: Vault, keys: KeyFolder) -> None:
    for _ in range(2):
        vault.keys()
        assert (keys.path / "registry.keys").stat().st_mode & 0o777 == 0o600
        replace(keys)
    assert not list(keys.path.glob(".*new"))


# --- the blind index ------------------------------------------------------------------------------

TEXT = st.text("李王甲乙 aAbBß12İﬁ　", min_size=1, max_size=12).filter(lambda text: text.strip() and folded(text))


def found_by(vault: Vault, field: Field, value: str, asked: str) -> bool:
    tokens = set(vault.tokens([field], {field.name: value}))
    return any(tokens >= set(wanted) for wanted in vault.wanted(field, asked))


@given(value=TEXT, start=st.integers(0, 11), length=st.integers(1, 12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_name_is_found_by_any_part_of_it(vault: Vault, value: str, start: int, length: int) -> None:
    """One character too, whatever its case, with or without spaces."""
    part = value[start : start + length]
    if folded(part):
        for asked in (part, part.upper(), part.lower(), f" {part} "):
            if folded(asked) in folded(value):
                assert found_by(vault, NAME, value, asked) and matches(NAME, {"legal_name": value}, asked)


@given(value=TEXT, asked=TEXT)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_matches_is_found(vault: Vault, value: str, asked: str) -> None:
    """The index may find too much, never too little; what is too much is sorted out by the definition."""
    for field in (NAME, PHONE):
        matching = matches(field, {field.name: value}, asked)
        there = folded(asked) in folded(value) if field is NAME else folded(asked) == folded(value)
        assert matching == there
        assert found_by(vault, field, value, asked) or not matching


def test_a_number_is_found_as_a_whole_only(vault: Vault) -> None:
    """By parts, whoever may search but not look could guess it digit by digit."""
    for asked in ("1990000000", "9900000001", "1", "199 0000"):
        assert not found_by(vault, PHONE, "19900000001", asked)
        assert not matches(PHONE, {"phone": "19900000001"}, asked)
    assert found_by(vault, PHONE, "19900000001", "199 0000 0001")


def test_what_is_found_by_nothing_has_no_tokens(vault: Vault) -> None:
    assert SCAN.find is Find.NOT and vault.tokens([SCAN], {"scan": "0" * 64}) == []
    assert not matches(SCAN, {"scan": "0" * 64}, "0" * 64)
    assert vault.tokens(PARTY.fields, {}) == []


def test_the_same_text_in_another_field_has_other_tokens(vault: Vault) -> None:
    """Otherwise the index would say whose contact is whose representative."""
    contact = PARTY.field("contact")
    assert not set(vault.tokens([NAME], {"legal_name": "李四"})) & set(vault.tokens([contact], {"contact": "李四"}))


def test_tokens_are_sorted_and_each_once(vault: Vault) -> None:
    """In the order of the text they would spell it."""
    tokens = vault.tokens([NAME], {"legal_name": "李李李四四四"})
    assert tokens == sorted(set(tokens)) and len(tokens) == 6
    assert all(-(2**31) <= token < 2**31 for token in tokens)


def test_without_the_key_the_tokens_cannot_be_made(vault: Vault, keys: KeyFolder, tmp_path: Path) -> None:
    mine = vault.tokens([NAME], {"legal_name": "李四"})
    stranger = Vault(key_folder(tmp_path / "other")).tokens([NAME], {"legal_name": "李四"})
    assert len(mine) == len(stranger) == 4 and not set(mine) & set(stranger)
    unkeyed = {
        int.from_bytes(hashlib.sha256(f"legal_name={t}".encode()).digest()[:4], "big", signed=True) for t in "李四"
    }
    assert not set(mine) & unkeyed


def test_one_asks_with_every_key(vault: Vault, keys: KeyFolder) -> None:
    """While a key is replaced, part of the records is still found by the old one."""
    before = vault.tokens([NAME], {"legal_name": "李四"})
    replace(keys)
    after = vault.tokens([NAME], {"legal_name": "李四"})
    assert not set(before) & set(after)
    new, old = vault.wanted(NAME, "李四")
    assert set(old) <= set(before) and set(new) <= set(after)


def test_a_token_that_is_there_by_chance_is_no_match(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_module, "_token", lambda *_: 7)
    assert found_by(vault, NAME, "李四", "王五") and not matches(NAME, {"legal_name": "李四"}, "王五")


def test_a_refusal_of_the_vault_is_one_of_the_ledgers(vault: Vault) -> None:
    with pytest.raises(LedgerError):
        vault.open(SUBJECT, 1, b"")
