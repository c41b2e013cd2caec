"""The key folder: one key, readable by its owner only, never made anew while something is signed with the old one."""

import base64
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.errors import Misconfigured
from ledger.keys import KeyFolder
from ledger.notes import Checkpoint, Signer, Verifier, sign_note

ORIGIN = "city.example/log"
PROJECT = Path(__file__).parents[1]


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "sub" / "keys")


def note(signer: Signer, size: int = 1) -> str:
    return sign_note(Checkpoint(signer.name, size, bytes(32)).text, signer)


def public(signer: Signer) -> str:
    return str(signer.verifier)


def test_the_first_call_makes_a_key_and_every_other_finds_it(keys: KeyFolder) -> None:
    first = keys.signer(ORIGIN)
    assert public(KeyFolder(keys.path).signer(ORIGIN)) == public(first)
    assert [str(verifier) for verifier in keys.verifiers()] == [public(first)]
    assert keys.last_note() is None and keys.last_checkpoint() is None


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_folder_and_its_files_are_the_owners_alone(umask: int, keys: KeyFolder) -> None:
    before = os.umask(umask)
    try:
        signer = keys.signer(ORIGIN)
        keys.keep_note(note(signer))
        keys.replace(signer)
    finally:
        os.umask(before)
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o700
    files = [path for path in keys.path.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert sorted(path.name for path in files) == ["checkpoint", "signing.key", "vkey", "vkey"]


def test_of_many_processes_that_find_no_key_all_get_the_same(keys: KeyFolder) -> None:
    """Who kept another key than the one on disk would sign what nobody can verify."""
    code = (
        "import sys; from pathlib import Path; from ledger.keys import KeyFolder; sys.stdin.read(1)\n"
        f"print(KeyFolder(Path(sys.argv[1])).signer({ORIGIN!r}).verifier)"
    )
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", code, keys.path],
            cwd=PROJECT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(6)
    ]
    for process in racing:
        process.stdin.write("g")
        process.stdin.flush()
    said = {process.communicate()[0].strip() for process in racing}
    assert said == {public(keys.signer(ORIGIN))}


def test_the_last_checkpoint_is_replaced_whole(keys: KeyFolder) -> None:
    signer = keys.signer(ORIGIN)
    keys.keep_note(note(signer, 1))
    held = (keys.path / "checkpoint").open()
    keys.keep_note(note(signer, 2))
    assert keys.last_checkpoint() == Checkpoint(ORIGIN, 2, bytes(32))
    assert held.read() == note(signer, 1), "the old file was edited instead of replaced"
    held.close()


def test_what_a_crash_left_beside_a_file_is_no_obstacle(keys: KeyFolder) -> None:
    signer = keys.signer(ORIGIN)
    left = keys.path / ".checkpoint.new"
    left.write_text("x" * 10_000)
    left.chmod(0o644)
    keys.keep_note(note(signer))
    assert keys.last_note() == note(signer) and not left.exists()
    assert stat.S_IMODE((keys.path / "checkpoint").stat().st_mode) == 0o600


def test_a_replaced_key_stays_known_with_its_last_checkpoint(keys: KeyFolder) -> None:
    old = keys.signer(ORIGIN)
    keys.keep_note(note(old, 5))
    new = keys.replace(old)
    assert public(new) == public(keys.signer(ORIGIN)) != public(old)
    assert [str(verifier) for verifier in keys.verifiers()] == [public(new), public(old)]
    assert keys.last_note() is None and keys.retired_note(old) == note(old, 5) and keys.retired_note(new) is None


def test_a_key_can_be_replaced_before_it_signed_anything(keys: KeyFolder) -> None:
    old = keys.signer(ORIGIN)
    newest = keys.replace(keys.replace(old))
    assert len(keys.verifiers()) == 3 and keys.retired_note(old) is None
    assert public(keys.signer(ORIGIN)) == public(newest)


@pytest.mark.parametrize("left", ["another", "none"])
def test_a_public_key_that_is_not_the_signing_keys_is_written_again(left: str, keys: KeyFolder) -> None:
    """A crash between the two files must not leave a log whose next checkpoints verify with no known key."""
    signer = keys.signer(ORIGIN)
    other = Signer(ORIGIN, Ed25519PrivateKey.generate())
    (keys.path / "vkey").write_text(f"{other.verifier}\n") if left == "another" else (keys.path / "vkey").unlink()
    assert public(keys.signer(ORIGIN)) == public(signer)
    keys.keep_note(note(signer))
    assert keys.last_checkpoint() == Checkpoint(ORIGIN, 1, bytes(32))


def test_the_key_is_what_go_writes(keys: KeyFolder) -> None:
    """golang.org/x/mod/sumdb/note: PRIVATE+KEY+<name>+<8 hex digits>+<base64 of 01 and the seed>."""
    signer = keys.signer(ORIGIN)
    private, key, name, key_id, encoded = (keys.path / "signing.key").read_text().strip().split("+", 4)
    assert (private, key, name, key_id) == ("PRIVATE", "KEY", ORIGIN, signer.verifier.key_id.hex())
    assert base64.b64decode(encoded) == b"\x01" + signer.key.private_bytes_raw()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o601])
def test_a_key_open_to_others_is_refused(mode: int, keys: KeyFolder) -> None:
    keys.signer(ORIGIN)
    (keys.path / "signing.key").chmod(mode)
    with pytest.raises(Misconfigured, match=r"signing.key can be read by others; run: chmod 600"):
        keys.signer(ORIGIN)


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_can_write_to_is_refused(mode: int, keys: KeyFolder) -> None:
    """Who can write to the folder can put another key there, however the key itself is kept."""
    keys.path.mkdir(parents=True)
    keys.path.chmod(mode)
    with pytest.raises(Misconfigured, match=r"others can write to .*; run: chmod 700"):
        keys.signer(ORIGIN)
    assert list(keys.path.iterdir()) == []


def test_a_lost_key_is_not_made_anew_once_it_has_signed(keys: KeyFolder) -> None:
    keys.keep_note(note(keys.signer(ORIGIN)))
    (keys.path / "signing.key").unlink()
    with pytest.raises(
        Misconfigured, match=r"signing\.key is gone, but a checkpoint was signed with it; bring the key"
    ):
        keys.signer(ORIGIN)
    assert not (keys.path / "signing.key").exists()


def test_a_key_of_another_log_is_refused(keys: KeyFolder) -> None:
    keys.signer(ORIGIN)
    with pytest.raises(Misconfigured, match=rf"signs for {ORIGIN}, but SUYUAN_ORIGIN is other.example"):
        keys.signer("other.example")


DAMAGES = {
    "empty": lambda _: b"",
    "no text": lambda _: bytes(range(128, 200)),
    "cut off": lambda key: key[:-10],
    "other seed": lambda key: key[:-8] + b"AAAAAAA\n",
    "other name": lambda key: key.replace(b"city", b"cite"),
    "other id": lambda key: key.replace(key.split(b"+")[3], b"00000000"),
    "other algorithm": lambda key: key.replace(
        key.split(b"+", 4)[4].strip(), base64.b64encode(b"\x02" + base64.b64decode(key.split(b"+", 4)[4])[1:])
    ),
    "a public key": lambda _: f"{Verifier('x', bytes(32))}\n".encode(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_key_is_refused_and_kept(damage: str, keys: KeyFolder) -> None:
    keys.signer(ORIGIN)
    file = keys.path / "signing.key"
    spoilt = DAMAGES[damage](file.read_bytes())
    file.write_bytes(spoilt)
    with pytest.raises(Misconfigured, match="the signing key is damaged; bring it back"):
        keys.signer(ORIGIN)
    assert file.read_bytes() == spoilt


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"\xff\xfe"])
def test_a_damaged_checkpoint_is_refused(content: bytes, keys: KeyFolder) -> None:
    keys.signer(ORIGIN)
    (keys.path / "checkpoint").write_bytes(content)
    with pytest.raises(Misconfigured, match="checkpoint is damaged"):
        keys.last_checkpoint()


def test_a_checkpoint_of_another_key_is_refused(keys: KeyFolder) -> None:
    keys.signer(ORIGIN)
    keys.keep_note(note(Signer(ORIGIN, Ed25519PrivateKey.generate())))
    with pytest.raises(Misconfigured, match="no key that we know signed this note"):
        keys.last_checkpoint()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff"])
def test_a_damaged_public_key_is_named(content: bytes, keys: KeyFolder) -> None:
    keys.replace(keys.signer(ORIGIN))
    (vkey,) = keys.path.glob("retired/*/vkey")
    vkey.write_bytes(content)
    with pytest.raises(Misconfigured, match=f"{vkey} is damaged"):
        keys.verifiers()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "keys", Path("/proc/keys-of-suyuan")):
        with pytest.raises(Misconfigured, match=f"the key folder {path} cannot be used"):
            KeyFolder(path).signer(ORIGIN)


def test_a_key_is_not_printed(keys: KeyFolder) -> None:
    signer = keys.signer(ORIGIN)
    secret = (keys.path / "signing.key").read_text().split("+", 4)[4].strip()
    assert secret not in f"{signer!r} {signer} {keys!r}"
    shutil.rmtree(keys.path)


def test_the_secret_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "keys")
    folder.signer("city.example/log")
    assert len(folder.secret()) == 32 and folder.secret() == KeyFolder(tmp_path / "keys").secret()
    assert (tmp_path / "keys" / "secret").stat().st_mode & 0o777 == 0o600
    (tmp_path / "keys" / "secret").chmod(0o640)
    with pytest.raises(Misconfigured, match="can be read by others"):
        folder.secret()


@pytest.mark.parametrize("written", ["", "not hexadecimal", "00" * 31])
def test_a_damaged_secret_is_not_worked_with(tmp_path: Path, written: str) -> None:
    """An empty one would make ids that anybody can compute."""
    folder = KeyFolder(tmp_path / "keys")
    folder.signer("city.example/log")
    folder.secret()
    (tmp_path / "keys" / "secret").write_text(written)
    with pytest.raises(Misconfigured, match="damaged"):
        folder.secret()
