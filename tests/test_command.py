"""The command `suyuan` as a process of its own, as a person runs it: what it does, and how it says no."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from api.command import main
from api.examples import BARE_EVENT
from ledger.access import ALLOWED
from ledger.documents import write_json
from ledger.embedded import SUPERUSER, Cluster
from ledger.notes import Verifier, open_receipt
from ledger.registers import PARTY, REGISTERS, SUBSCRIPTION, Register
from tests.test_append import day
from tests.test_trace import without_comments

ROOT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).with_name("suyuan")
NODE = "330212001"


def commands_of(register: Register) -> list[str]:
    """What can be done with every register, with those that have steps, and with those that hold personal data."""
    filing = ["add", "change", "import"] if ALLOWED[register.keep] else []
    every = [*filing, "show", "list", "search", "history", "export"]
    private = ["readings"] if register.private_fields else []
    own = {PARTY.name: ["erase"], SUBSCRIPTION.name: ["deliveries", "replay", "rotate"]}.get(register.name, [])
    return [*every, *(step.name for step in register.steps), *private, *own]


COMMANDS = [
    "demo", "serve", "worker", "migrate", "capture", "erase", "trace", "audit", "proof", "verify", "key show",
    "key replace", "key replace-registry", "city make", "city load", "symbol read", "symbol look", "symbol label",
    "terminal setup", "terminal run", "terminal status", "terminal retry", "terminal drop", "terminal calibrate",
    "official export", "official upload", "official status", "rules check", "rules test", "rules list", "rules facts",
    "rules load", "rules shipped", "rules explain", "warning list", "warning show", "warning step", "warning hold",
    "report",
    "credential add", "credential list", "credential revoke",
    *(f"{register.name} {command}" for register in REGISTERS for command in commands_of(register)),
]  # fmt: skip


@dataclass
class Installation:
    """A data folder, and the command on it."""

    data: Path
    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SUYUAN_", "PYTHON"))}
        return {**kept, "SUYUAN_DATA": str(self.data), "COLUMNS": "80", **more}

    def run(self, *arguments: str, text: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments], input=text, capture_output=True, text=True, check=False, timeout=120,
            env=self.environment(**more), cwd=self.folder,
        )  # fmt: skip

    def good(self, *arguments: str, **more: str) -> str:
        """What a command that succeeds prints."""
        done = self.run(*arguments, **more)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def refused(self, *arguments: str, status: int = 2, **more: str) -> str:
        """The one sentence of a command that refuses: on stderr, and nothing else."""
        done = self.run(*arguments, **more)
        assert done.returncode == status, (arguments, done.stdout, done.stderr)
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        assert "Traceback" not in done.stderr and len(lines) == 1, (arguments, done.stderr)
        return lines[0]

    def superuser(self) -> psycopg.Connection:
        connection = psycopg.connect(Cluster(self.data).url(SUPERUSER), autocommit=True)
        connection.execute("SET session_replication_role = replica")
        return connection


def install(folder: Path, **fields: Path) -> Iterator[Installation]:
    root = Path(tempfile.mkdtemp(prefix="suyuan-c-"))
    root.chmod(0o711)  # as root, the database's ordinary user has to pass through it
    made = Installation(root / "data", folder)
    with Cluster(made.data).lease():  # keeps the server up between the commands
        yield made
    assert Cluster(made.data).stopped(), "the server outlived its last user"
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with a node, a day of 60 events, and a receipt; what tests add to it does no harm to others."""
    for made in install(tmp_path_factory.mktemp("work")):
        made.good("node", "add", NODE, "城东农贸市场", "--scheme", "A")
        write_lines(made.folder / "day.jsonl", city(60, NODE))
        made.good("capture", "day.jsonl", "--receipts", "receipts.txt")
        yield made


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Installation]:
    """An installation of the test's own, to damage or to count."""
    yield from install(tmp_path)


def city(count: int, node: str = "000000001") -> list[dict]:
    """Events of a simulated day, all at one node."""
    return [{**one, "readPoint": {"id": f"urn:suyuan:node:{node}"}} for one in day(count)]


def write_lines(path: Path, events: list[dict]) -> None:
    path.write_bytes(b"".join(write_json({"@context": BARE_EVENT["@context"], **one}) + b"\n" for one in events))


@dataclass
class Here:
    """The command's own `main` in this process, for the many mistakes: a process each would take minutes."""

    installed: Installation
    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str, **more: str) -> tuple[int, str, str]:
        with self.monkeypatch.context() as patch:
            for name, value in self.installed.environment(**more).items():
                patch.setenv(name, value)
            patch.chdir(self.installed.folder)
            patch.setattr(sys, "argv", ["suyuan", *map(os.fsdecode, arguments)])
            self.capture.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = self.capture.readouterr()
        return int(ended.value.code or 0), out, err

    def good(self, *arguments: str) -> str:
        code, out, err = self.run(*arguments)
        assert code == 0, (arguments, out, err)
        return out

    def refused(self, *arguments: str, status: int = 2, **more: str) -> str:
        """The one sentence of a command that refuses: on stderr, and nothing else."""
        code, out, err = self.run(*arguments, **more)
        lines = [line for line in err.splitlines() if line.strip()]
        assert code == status and len(lines) == 1, (arguments, code, out, err)
        return lines[0]


@pytest.fixture
def here(installed: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(installed, monkeypatch, capsys)


# --- help -----------------------------------------------------------------------------------------


def test_the_table_names_every_command(installed: Installation) -> None:
    listed = set(re.findall(r"^│ ([a-z][a-z-]*) ", installed.good("--help"), re.M))
    assert listed == {name.partition(" ")[0] for name in COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(here: Here, name: str) -> None:
    code, text, _ = here.run(*name.split(), "--help")
    assert code == 0 and "Example:" in text and f"suyuan {name}" in text


def test_a_command_that_does_not_exist_is_told(installed: Installation) -> None:
    done = installed.run("tarce", "x")
    assert done.returncode == 2 and "No such command" in done.stderr and "Traceback" not in done.stderr


# --- capture --------------------------------------------------------------------------------------


def test_files_and_standard_input_are_recorded_once(fresh: Installation) -> None:
    write_lines(fresh.folder / "day.jsonl", city(30))
    document = {**BARE_EVENT, "eventID": "urn:x:bare"}
    (fresh.folder / "pretty.jsonld").write_text(json.dumps(document, indent=2))
    assert "recorded 31 new entries; 0 were recorded before; 0 refused" in fresh.good(
        "capture", "day.jsonl", "pretty.jsonld"
    )
    done = fresh.run("capture", "-", text=(fresh.folder / "day.jsonl").read_text())
    assert done.returncode == 0 and "recorded 0 new entries; 30 were recorded before" in done.stdout
    assert "everything agrees" in fresh.good("audit")


def test_all_documents_of_gs1_together_conflict_in_exactly_two(fresh: Installation, shared_data: Path) -> None:
    files = sorted((shared_data / "epcis/gs1/json").rglob("*.jsonld"))
    assert len(files) == 47
    done = fresh.run("capture", *map(str, files))
    refused = [line for line in done.stderr.splitlines() if line.startswith("/")]
    assert done.returncode == 2 and "2 refused" in done.stdout and len(refused) == 2
    assert sum(bool(re.search("AssociationEvent-f|Example-Type", line)) for line in refused) == 1
    assert sum(bool(re.search("SensorDataExample1[37]", line)) for line in refused) == 1
    assert "everything agrees" in fresh.good("audit")


def test_good_events_of_a_document_stay_with_proceed(fresh: Installation) -> None:
    (event, *_), path = city(3), fresh.folder / "d.jsonl"
    write_lines(path, [event])
    fresh.good("capture", "d.jsonl")
    events = [{**event, "disposition": "damaged"}, *city(3)[1:]]
    document = {
        "@context": BARE_EVENT["@context"], "type": "EPCISDocument", "schemaVersion": "2.0",
        "creationDate": "2026-11-23T00:00:00Z", "epcisBody": {"eventList": events},
    }  # fmt: skip
    path.write_bytes(write_json(document))
    assert "recorded 0 new entries" in fresh.run("capture", "d.jsonl").stdout
    done = fresh.run("capture", "--proceed", "d.jsonl")
    assert done.returncode == 2 and "recorded 2 new entries; 0 were recorded before; 1 refused" in done.stdout


def test_each_bad_line_is_named_and_the_others_are_recorded(installed: Installation) -> None:
    good = write_json({**BARE_EVENT, "eventID": "urn:x:line"}).decode()
    (installed.folder / "mixed.jsonl").write_text(f'{good}\n{{"type": "X"}}\n\nnot json\n{good}\n')
    done = installed.run("capture", "mixed.jsonl")
    assert done.returncode == 2 and "recorded 1 new entries; 1 were recorded before; 2 refused" in done.stdout
    assert "mixed.jsonl, line 2: nothing was written" in done.stderr and "mixed.jsonl, line 4:" in done.stderr


def test_lines_that_hold_many_events_each_are_all_recorded(fresh: Installation) -> None:
    """Two thousand lines are under way at once: together they were more than may wait, and the command gave up."""
    count, moment = 45_000, {"eventTime": "2026-11-23T05:10:00Z", "eventTimeZoneOffset": "+08:00"}
    event = {"type": "ObjectEvent", **moment, "action": "ADD"}
    lines = []
    for start in range(0, count, 3000):
        events = [{**event, "eventID": f"urn:x:{i}", "epcList": ["urn:x:y"]} for i in range(start, start + 3000)]
        document = {
            "@context": BARE_EVENT["@context"], "type": "EPCISDocument", "schemaVersion": "2.0",
            "creationDate": "2026-11-23T00:00:00Z", "epcisBody": {"eventList": events},
        }  # fmt: skip
        lines.append(write_json(document))
    (fresh.folder / "many.jsonl").write_bytes(b"\n".join(lines))
    assert f"recorded {count} new entries" in fresh.good("capture", "many.jsonl")


NOT_CAPTURED = {
    "missing.json": "No such file", ".": "Is a directory", "binary": "not JSON", "empty.json": "not JSON",
    "a[/b] [red].json": "context", "truncated.json": "not JSON", "latin.json": "not JSON",
}  # fmt: skip


def test_files_that_cannot_be_captured_are_named_with_the_reason(here: Here) -> None:
    installed = here.installed
    (installed.folder / "binary").write_bytes(bytes(range(256)) * 10)
    (installed.folder / "empty.json").touch()
    (installed.folder / "a[").mkdir()
    (installed.folder / "a[/b] [red].json").write_text("{}")
    (installed.folder / "truncated.json").write_bytes(write_json(BARE_EVENT)[:-20])
    (installed.folder / "latin.json").write_bytes('{"type": "Stück"}'.encode("latin-1"))
    for name, reason in NOT_CAPTURED.items():
        code, out, err = here.run("capture", name)
        (line,) = [line for line in err.splitlines() if line.startswith((f"{name}:", f"{name}, line 1:"))]
        assert code == 2 and reason in line and "1 refused" in out, err


def test_a_receipts_file_that_cannot_be_written_stops_before_anything_is_recorded(fresh: Installation) -> None:
    """Recorded and the receipt lost: the writer could prove nothing."""
    write_lines(fresh.folder / "day.jsonl", city(3))
    assert "nowhere/receipts" in fresh.refused("capture", "day.jsonl", "--receipts", "nowhere/receipts", status=1)
    assert "recorded 3 new entries" in fresh.good("capture", "day.jsonl")


# --- trace ----------------------------------------------------------------------------------------


def test_a_code_is_traced_as_tree_and_as_json(fresh: Installation, shared_data: Path) -> None:
    files = []
    for path in sorted((shared_data / "epcis/fsma204").glob("*.jsonld")):
        files.append(fresh.folder / path.name)
        files[-1].write_text(json.dumps(without_comments(json.loads(path.read_text()))))
    fresh.run("capture", "--proceed", *map(str, files))
    code = "(01)10860009998039(10)SALAD-20260420-A"
    found = json.loads(fresh.good("trace", code, "--direction", "backward", "--format", "json"))
    assert found["code"] == "01/10860009998039/10/SALAD-20260420-A" and found["cut"] is False
    assert "01/00860009999923/10/ABC1234" in {item["item"] for item in found["items"]}
    tree = fresh.good("trace", code)
    assert any("01/00860009999923/10/ABC1234" in line and "-2" in line for line in tree.splitlines())
    entry = found["events"][0]["entry"]
    assert all(entry in line for line in tree.splitlines() if "cooling" in line and entry in line)
    assert any("https://id.gs1.org/414/0860009999060" in line and "ADD 25000 LBR" in line for line in tree.splitlines())


def test_a_reader_that_stops_reading_stops_the_command(installed: Installation) -> None:
    slip = city(60)[1]["outputQuantityList"][0]["epcClass"]
    for form in ("tree", "json"):
        piped = f'"{COMMAND}" trace "{slip}" --format {form} | head -c 5'
        done = subprocess.run(
            ["bash", "-c", piped], capture_output=True, text=True, check=False, env=installed.environment()
        )
        assert len(done.stdout.encode()) == 5 and done.stderr == ""
    nobody = subprocess.run(
        ["bash", "-c", f'"{COMMAND}" key show | true'], capture_output=True, text=True, check=False,
        env=installed.environment(),
    )  # fmt: skip
    assert nobody.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trace", "nonsense"], "'nonsense' is not a code"), (["trace", ""], "is not a code"),
        (["trace", "06901234500108"], "character 14"), (["trace", "urn:x:nobody"], "nothing is recorded about urn:x:"),
        (["trace", "urn:epc:id:giai:6901234.x"], "nothing is recorded about 8004/6901234x"),
        (["trace", b"\xff"], "is not a code"), (["trace", b"a:\xff"], "no code has"),
        (["trace", "a:b", "--format", "xml"], "tree or json"),
        (["proof", "1/1"], "1 digits, not 9"), (["proof", f"{NODE}"], "NODE/SEQ"), (["proof", f"{NODE}/x"], "NODE/SEQ"),
        (["proof", f"{NODE}/0"], "NODE/SEQ"), (["proof", f"{NODE}/99999"], f"{NODE}/99999"),
        (["proof", f"{NODE}/٣"], "NODE/SEQ"),
        (["erase", f"{NODE}/99999", "--reason", "x"], "there is no entry"),
        (["erase", "000000000/1", "--reason", "x"], "has no sealed part"),
        (["erase", f"{NODE}/1", "--reason", ""], "reason"),
        (["audit", "--receipt", "missing"], "missing: No such file"),
        (["audit", "--receipt", str(COMMAND)], "not a file of receipts"),
        (["audit", "--receipt", sys.executable], "not a file of receipts"),
        (["audit", "--receipt", "/"], "Is a directory"),
        (["verify", "missing", "missing", "--key", "x"], "missing: No such file"),
        (["verify", "/", "/", "--key", "x"], "Is a directory"),
        (["node", "add", NODE, "again", "--scheme", "A"], "exists already"),
        (["node", "add", "12", "x", "--scheme", "A"], "not 9"),
        (["node", "add", "990212001", "x", "--scheme", "A"], "99"),
        (["node", "add", "330212005", "a\nb", "--scheme", "A"], "control characters"),
        (["node", "add", "330212005", b"\xff", "--scheme", "A"], "control characters"),
        (["node", "add", "330212005", "x", "--scheme", "A", "--location", "here"], "location"),
        (["node", "close", "330212077", "--reason", "x"], "no node 330212077"),
        (["credential", "add", "terminal", "x"], "at least one node"),
        (["credential", "add", "terminal", "x", "--node", "330212077"], "no node 330212077"),
        (["credential", "add", "terminal", "x", "--node", "000000000"], "nobody's node"),
        (["credential", "add", "admin", ""], "label"), (["credential", "revoke", "nobody"], "there is no credential"),
        (["serve", "--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_sentence(here: Here, arguments: list, said: str) -> None:
    status = 1 if arguments[0] == "serve" else 2
    assert said in here.refused(*arguments, status=status)


def test_a_mistake_in_a_process_of_its_own_is_told_too(installed: Installation) -> None:
    assert "'nonsense' is not a code" in installed.refused("trace", "nonsense")
    assert "no code has" in installed.refused("trace", b"a:\xff")
    assert "unknown" not in installed.refused("key", "show", status=1, SUYUAN_LANES="0")


@pytest.mark.parametrize(
    "arguments",
    [
        ["trace"], ["trace", "a:b", "--direction", "up"], ["capture"], ["node", "add", NODE, "x"],
        ["credential", "add", "boss", "x"], ["credential", "add", "admin", "x", "--days", "0"],
        ["serve", "--port", "0"], ["serve", "--port", "x"], ["serve", "--processes", "0"], ["demo", "--events", "1"],
        ["key", "replace"],
        ["erase", "x"],
        ["verify", "x", "y"], ["audit", "--nope"],
    ],
)  # fmt: skip
def test_a_wrong_use_is_told_with_the_way_to_help(here: Here, arguments: list[str]) -> None:
    code, _, err = here.run(*arguments)
    assert code == 2 and "Usage:" in err and "--help" in err


# --- audit, proof, key ----------------------------------------------------------------------------


def test_a_clean_ledger_is_audited_with_its_receipts(installed: Installation) -> None:
    text = installed.good("audit", "--receipt", "receipts.txt")
    assert "everything agrees" in text and "60 receipts" in text


def test_a_changed_byte_is_found_and_named(fresh: Installation) -> None:
    write_lines(fresh.folder / "day.jsonl", city(5))
    fresh.good("capture", "day.jsonl")
    with fresh.superuser() as superuser:
        superuser.execute(
            "UPDATE entry SET data = set_byte(data, 300, get_byte(data, 300) # 1) WHERE node = 1 AND seq = 3"
        )
    done = fresh.run("audit")
    assert done.returncode == 1 and "entry 000000001/3" in done.stdout and "Traceback" not in done.stderr


def test_an_entry_that_a_receipt_vouches_for_and_that_is_gone_is_found(fresh: Installation) -> None:
    write_lines(fresh.folder / "day.jsonl", city(5))
    fresh.good("capture", "day.jsonl", "--receipts", "receipts.txt")
    with fresh.superuser() as superuser:
        superuser.execute("DELETE FROM entry WHERE node = 1 AND seq = 5")
    done = fresh.run("audit", "--receipt", "receipts.txt")
    assert done.returncode == 1 and "000000001/5" in done.stdout


def test_a_proof_is_verified_offline_and_a_changed_byte_is_not(here: Here, tmp_path: Path) -> None:
    installed, key = here.installed, here.good("key", "show").strip()
    proof = tmp_path / "sale [red].tlog-proof"
    assert str(proof) in installed.good("proof", f"{NODE}/7", "--output", str(proof))
    data = proof.with_name(proof.name + ".entry")
    elsewhere = Here(Installation(tmp_path / "none", tmp_path), here.monkeypatch, here.capture)
    assert "proved: entry" in elsewhere.installed.good("verify", str(proof), str(data), "--key", key)
    assert not elsewhere.installed.data.exists()
    for path in (proof, data):
        kept = path.read_bytes()
        changed = bytearray(kept)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        assert "not proved" in elsewhere.refused("verify", str(proof), str(data), "--key", key, status=1)
        path.write_bytes(kept)
    other = key.replace("suyuan", "sanyou")
    assert "not proved" in elsewhere.refused("verify", str(proof), str(data), "--key", other, status=1)
    assert here.good("proof", f"{NODE}/7").startswith("c2sp.org/tlog-proof@v1\n")


def test_where_nothing_can_be_written_is_told(here: Here) -> None:
    for target in ("/proc/nowhere/proof", "missing/folder/proof", "."):
        here.refused("proof", f"{NODE}/7", "--output", target, status=1)
    for arguments in (["key", "show"], ["node", "list"], ["trace", "--format", "json", city(1)[0]["eventID"]]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
                env=here.installed.environment(),
            )  # fmt: skip
        assert done.returncode == 1 and done.stderr.strip() == "No space left on device", (arguments, done.stderr)


def test_the_receipts_are_signed_by_the_key_that_is_shown(installed: Installation) -> None:
    verifier = Verifier.parse(installed.good("key", "show"))
    note = (installed.folder / "receipts.txt").read_text().rstrip() + "\n"
    assert len(open_receipt(note, [verifier])) == 60


def test_a_key_is_replaced_and_the_old_one_stays_known(fresh: Installation) -> None:
    write_lines(fresh.folder / "day.jsonl", city(5))
    fresh.good("capture", "day.jsonl", "--receipts", "receipts.txt")
    before = fresh.good("key", "show").split()
    fresh.good("key", "replace", "--reason", "a test")
    after = fresh.good("key", "show").split()
    assert len(after) == 2 and after[1] == before[0] and after[0] != before[0]
    assert "everything agrees" in fresh.good("audit", "--receipt", "receipts.txt")


# --- administration -------------------------------------------------------------------------------


def test_nodes_are_listed_as_they_were_named(here: Here) -> None:
    """Names may hold what Rich takes for markup, and a pipe has no width."""
    long = "[/x] [red] :pig: " + "长" * 100
    here.good("node", "add", "330212002", long, "--scheme", "B", "--location", "https://id.gs1.org/414/6901234500011")
    (line,) = [line for line in here.good("node", "list").splitlines() if "330212002" in line]
    assert long in line and "414/6901234500011" in line
    closed = here.good("node", "close", "330212002", "--reason", "zu")
    assert re.search(r"节点状态 open\s+no", closed)
    event = {**BARE_EVENT, "eventID": "urn:x:closed", "readPoint": {"id": "urn:suyuan:node:330212002"}}
    (here.installed.folder / "closed.json").write_bytes(write_json(event))
    assert "no open node" in here.run("capture", "closed.json")[2]


def test_a_credentials_key_is_printed_alone_and_once(here: Here) -> None:
    key = here.installed.good("credential", "add", "terminal", "stall [/12] :id:", "--node", NODE)
    code, secret = re.fullmatch(r"sy_([a-z2-7]{10})_([A-Za-z0-9_-]{43})\n", key).groups()
    (line,) = [line for line in here.good("credential", "list").splitlines() if code in line]
    assert "stall [/12] :id:" in line and secret not in line and NODE in line
    here.good("credential", "revoke", code)
    (line,) = [line for line in here.good("credential", "list").splitlines() if code in line]
    assert line.rstrip().endswith("Z")
    assert "was revoked at" in here.refused("credential", "revoke", code)


def test_an_erased_part_is_gone_and_the_audit_agrees(fresh: Installation, here: Here) -> None:
    here.installed = fresh
    (fresh.folder / "e.json").write_bytes(write_json({**BARE_EVENT, "readPoint": {"id": "urn:x:y"}}))
    here.good("capture", "e.json")
    buyer = BARE_EVENT["destinationList"][0]["destination"]
    assert buyer in here.good("trace", BARE_EVENT["eventID"], "--format", "json")
    for _ in range(2):
        assert "is erased" in fresh.good("erase", "000000001/1", "--reason", "court order 2026-118")
    assert buyer not in here.good("trace", BARE_EVENT["eventID"], "--format", "json")
    assert "everything agrees" in here.good("audit")


def test_migrating_again_changes_nothing(here: Here) -> None:
    for _ in range(2):
        assert "has this release's schema" in here.good("migrate")


# --- settings and places --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUYUAN_LANES", "0"), ("SUYUAN_LANES", "many"), ("SUYUAN_ORIGIN", "https://city.example/"),
        ("SUYUAN_DATTA", "x"),
        ("SUYUAN_DATABASE_URL", "mysql://x"), ("SUYUAN_DATABASE_URL", "postgresql://u:hunter2@[bad"),
        ("SUYUAN_OWNER_DATABASE_URL", "postgresql://x"), ("SUYUAN_KEYS", "/etc/passwd"), ("SUYUAN_KEYS", "/proc/x"),
        ("SUYUAN_DATA", "/etc/passwd"), ("SUYUAN_DATA", "/proc/x/y"), ("SUYUAN_DATA", "/tmp/" + "x" * 120),
    ],
)  # fmt: skip
def test_a_setting_that_is_wrong_is_named(here: Here, name: str, value: str) -> None:
    said = here.refused("key", "show", status=1, **{name: value})
    assert (name in said or value in said) and "hunter2" not in said


def test_a_database_that_lets_nobody_in_is_told_without_the_password(here: Here) -> None:
    url = f"postgresql://nobody_here:hunter2@/suyuan?host={Cluster(here.installed.data).socket}"
    said = here.refused("serve", "--port", str(free_port()), status=1, SUYUAN_DATABASE_URL=url)
    assert "out of reach" in said and "hunter2" not in said


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_a_port_in_use_is_told(here: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for processes in ("1", "2"):
            said = here.refused("serve", "--port", port, "--processes", processes, status=1)
            assert f"port {port}" in said and "in use" in said
