"""The terminal's outbox: killed at every statement and at random moments, nothing that was said to be kept is lost."""

import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.errors import Busy, Conflict, Misconfigured, NotRecorded, Unavailable
from scanners.terminal.outbox import Outbox, State, only_one

NUMBERS = itertools.count()
NOW = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
ROOT = Path(__file__).parents[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def outbox(path: Path) -> Outbox:
    return Outbox(path)


def ids(outbox: Outbox) -> list[str]:
    """What waits, in the order in which it would be sent; afterwards all of it is acknowledged."""
    found = []
    while message := outbox.first_waiting():
        found.append(message.id)
        outbox.end(message.id, State.ACKNOWLEDGED, NOW, status=201, reply=None)
    return found


def look(path: Path) -> tuple[list[str], dict[str, str | None]]:
    """Ids in order, and which message has which code, read past our own code; the file is whole."""
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        order = [id for (id,) in db.execute("SELECT id FROM message ORDER BY number")]
        codes = dict(db.execute("SELECT code, message FROM leased_code"))
    db.close()
    return order, codes


# --- Killed ---------------------------------------------------------------------------------------


def story(outbox: Outbox, said: Callable[[str], None]) -> None:
    """All that a terminal does with its outbox; what was promised is said."""
    outbox.add_codes("s", [f"{i:020d}" for i in range(4)], NOW)
    for i in range(5):
        message = outbox.put(f"scan-{i}", {"i": i}, NOW, series="s")
        said(f"scan-{i} {message.body.get('trace')}")
    outbox.end("scan-0", State.ACKNOWLEDGED, NOW - timedelta(days=40), status=201, reply={"scan": "scan-0"})
    outbox.end("scan-1", State.ASIDE, NOW, status=400, reply=None, reason="bad")
    outbox.put_void("void-2", "scan-2", {}, NOW)
    said("void-2 None")
    outbox.end("scan-3", State.ASKED, NOW, status=409, reply=None)
    outbox.confirm("scan-3")
    outbox.retry()
    outbox.prune(NOW - timedelta(days=30))
    said("end end")


def child(path: Path, statements: int) -> list[str]:
    """What a forked process said before it was killed at its `statements`-th statement."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        left = statements

        def count(_: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            outbox = Outbox(path)
            outbox._db.set_trace_callback(count)
            story(outbox, lambda text: os.write(writing, f"{text}\n".encode()) and None)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        lines = said.read().splitlines()
    os.waitpid(pid, 0)
    return lines


def test_killed_at_every_statement_nothing_that_was_said_is_lost(tmp_path: Path) -> None:
    for statements in range(1, 200):
        path = tmp_path / f"{statements}.sqlite"
        said = child(path, statements)
        order, codes = look(path)
        kept = [line.split()[0] for line in said if line != "end end"]
        if said[-1:] == ["end end"]:
            kept.remove("scan-0")  # pruned
        assert order[: len(kept)] == kept and len(order) <= len(kept) + 1, statements
        used = {line.split()[0]: line.split()[1] for line in said if line.split()[1].isdigit()}
        assert {id: code for code, id in codes.items() if id in used} == {
            id: code for id, code in used.items() if id in kept
        }
        again = Outbox(path)
        more = [again.put(f"more-{i}", {}, NOW, series="s").body.get("trace") for i in range(5)]
        assert not set(more) - {None} & set(used.values()), "a code was given out twice"
        waiting = [id for id in kept if again.get(id).state is State.WAITING]
        assert [id for id in ids(again) if id in kept] == waiting
        again.close()
        if said[-1:] == ["end end"]:
            assert statements > 40
            return
    pytest.fail("the story has no end")


WRITER = """
import itertools, sys, uuid
from datetime import UTC, datetime
from pathlib import Path
from scanners.terminal.outbox import Outbox, State
outbox, run = Outbox(Path(sys.argv[1])), sys.argv[2]
now = datetime(2026, 11, 25, tzinfo=UTC)
for i in itertools.count():
    if i % 20 == 0:
        outbox.add_codes("s", [f"{run:0>5}{n:015d}" for n in range(i, i + 15)], now)
    code = outbox.put(f"{run}-{i}", {"i": i}, now, series="s").body.get("trace")
    print(f"{run}-{i} {code}", flush=True)
    if i % 3 == 0 and (first := outbox.first_waiting()):
        outbox.end(first.id, State.ACKNOWLEDGED, now, status=201, reply={"scan": first.id})
        print(f"ack {first.id}", flush=True)
"""


def test_killed_at_random_moments(path: Path) -> None:
    chance, said = random.Random(4), list[str]()
    for run in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(run)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert writer.stdout is not None
        said.append(writer.stdout.readline())
        threading.Event().wait(chance.uniform(0.0, 0.15))
        writer.kill()
        said += writer.stdout.readlines()
        writer.stdout.close()
        writer.wait()
    lines = [line.split() for line in said if line.endswith("\n")]
    order, codes = look(path)
    kept = [id for id, _ in lines if id != "ack"]
    assert len(kept) > 60 and len(set(order)) == len(order)
    extra = [id for id in order if id not in set(kept)]
    assert [id for id in order if id not in set(extra)] == kept and len(extra) <= 6
    promised = {id: code for id, code in lines if id != "ack" and code != "None"}
    assert {message: code for code, message in codes.items() if message in promised} == promised
    with sqlite3.connect(path) as db:
        acknowledged = {id for (id,) in db.execute("SELECT id FROM message WHERE state = 'acknowledged'")}
    db.close()
    assert {what for id, what in lines if id == "ack"} <= acknowledged


# --- Properties -----------------------------------------------------------------------------------

DEEDS = st.lists(
    st.tuples(st.sampled_from(["put", "ack", "aside", "ask", "retry", "confirm", "drop"]), st.integers(0, 9))
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds=DEEDS)
def test_it_is_a_list_whose_members_keep_their_places(tmp_path: Path, deeds: list[tuple[str, int]]) -> None:
    """The model: a dict from id to state, in the order of the first put. Reopened after each deed, it is the same."""
    path = tmp_path / f"{next(NUMBERS)}.sqlite"
    model: dict[str, State] = {}
    targets = {"ack": State.ACKNOWLEDGED, "aside": State.ASIDE, "ask": State.ASKED}
    for deed, number in deeds:
        id, outbox = str(number), Outbox(path)
        if deed == "put":
            outbox.put(id, {"n": number}, NOW)
            model.setdefault(id, State.WAITING)
        elif deed == "retry":
            outbox.retry()
            model = {one: State.WAITING if state is State.ASIDE else state for one, state in model.items()}
        elif id in model and deed == "confirm":
            outbox.confirm(id)
            if model[id] is State.ASKED:
                model[id] = State.WAITING
        elif id in model and deed == "drop":
            if model[id] in (State.ASIDE, State.ASKED):
                outbox.drop(id, "why", NOW)
                model[id] = State.DROPPED
            else:
                with pytest.raises(Conflict):
                    outbox.drop(id, "why", NOW)
        elif id in model and deed in targets:
            outbox.end(id, targets[deed], NOW, status=1, reply=None)
            if model[id] not in (State.ACKNOWLEDGED, State.DROPPED):
                model[id] = targets[deed]
        outbox.close()
        again = Outbox(path)
        assert [one for one, state in model.items() if state is State.WAITING][:1] == (
            [first.id] if (first := again.first_waiting()) else []
        )
        assert {one: again.get(one).state for one in model} == model
        again.close()
    assert look(path)[0] == list(model) if deeds else True


def test_threads_that_put_at_once_get_a_code_each(outbox: Outbox) -> None:
    outbox.add_codes("s", [f"{i:020d}" for i in range(150)], NOW)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: outbox.put(str(i), {}, NOW, series="s").body.get("trace"), range(200)))
    codes = [code for code in found if code]
    assert len(codes) == len(set(codes)) == 150 and outbox.free_codes("s") == 0


# --- One by one -----------------------------------------------------------------------------------


def test_the_same_id_again_is_what_was_kept(outbox: Outbox) -> None:
    outbox.add_codes("s", ["1" * 20, "2" * 20], NOW)
    first = outbox.put("a", {"x": 1}, NOW, series="s")
    assert outbox.put("a", {"x": 2}, NOW, series="s") == first and first.body == {"x": 1, "trace": "1" * 20}
    assert outbox.free_codes("s") == 1


def test_a_used_code_never_becomes_free(outbox: Outbox, path: Path) -> None:
    outbox.add_codes("s", ["1" * 20], NOW)
    outbox.put("a", {}, NOW, series="s")
    assert outbox.add_codes("s", ["1" * 20, "2" * 20], NOW) == 1 and outbox.free_codes("s") == 1
    assert outbox.put("b", {}, NOW, series="other").body == {}
    with sqlite3.connect(path) as db, pytest.raises(sqlite3.IntegrityError, match="used once"):
        db.execute("UPDATE leased_code SET message = NULL WHERE code = ?", ("1" * 20,))
    db.close()


def test_what_was_acknowledged_stays_so(outbox: Outbox, path: Path) -> None:
    outbox.put("a", {}, NOW)
    outbox.end("a", State.ACKNOWLEDGED, NOW, status=201, reply={"event": "e"})
    outbox.end("a", State.ASIDE, NOW, status=400, reply=None)
    assert outbox.get("a").state is State.ACKNOWLEDGED and outbox.get("a").reply == {"event": "e"}
    with sqlite3.connect(path) as db, pytest.raises(sqlite3.IntegrityError, match="keeps its id"):
        db.execute("UPDATE message SET state = 'waiting'")
    db.close()


def test_poison_does_not_block_and_comes_back_to_its_place(outbox: Outbox) -> None:
    for id in "abc":
        outbox.put(id, {}, NOW)
    outbox.end("a", State.ASIDE, NOW, status=400, reply=None, reason="no such unit")
    assert outbox.first_waiting().id == "b"  # type: ignore[union-attr]
    summary = outbox.summary()
    assert [(one.id, one.reason) for one in summary.aside] == [("a", "no such unit")] and summary.waiting == 2
    assert outbox.retry("a") == 1 and ids(outbox) == ["a", "b", "c"]
    with pytest.raises(NotRecorded):
        outbox.retry("nothing")


def test_an_undoing_follows_its_scan(outbox: Outbox) -> None:
    for id in "abc":
        outbox.put(id, {}, NOW)
    void = outbox.put_void("v", "a", {"reason": "did_not_occur"}, NOW)
    assert outbox.put_void("w", "a", {}, NOW) == void and outbox.undone("a") and not outbox.undone("b")
    outbox.end("a", State.ASIDE, NOW, status=400, reply=None)
    assert (outbox.get("a").state, outbox.get("v").state) == (State.DROPPED, State.DROPPED), "taken back before it was"
    outbox.end("b", State.ASIDE, NOW, status=400, reply=None)
    with pytest.raises(Conflict):
        outbox.put_void("x", "b", {}, NOW)
    with pytest.raises(NotRecorded):
        outbox.put_void("x", "nothing", {}, NOW)
    assert outbox.last() == outbox.get("c")


def test_it_is_bounded_and_says_so(path: Path) -> None:
    outbox = Outbox(path, waiting_max=3)
    for id in "abc":
        outbox.put(id, {}, NOW)
    with pytest.raises(Busy, match="3 scans wait"):
        outbox.put("d", {}, NOW)
    outbox.end("a", State.ACKNOWLEDGED, NOW, status=200, reply=None)
    assert outbox.put("d", {}, NOW).state is State.WAITING


def test_a_full_disk_is_said_and_nothing_is_half_kept(outbox: Outbox, path: Path) -> None:
    outbox._db.execute(f"PRAGMA max_page_count = {outbox._db.execute('PRAGMA page_count').fetchone()[0] + 4}")
    kept: list[str] = []
    with pytest.raises(Unavailable, match="the disk is full: nothing was kept"):
        for i in range(1000):
            outbox.put(str(i), {"text": "x" * 500}, NOW)
            kept.append(str(i))
    assert kept and look(path)[0] == kept
    outbox._db.execute("PRAGMA max_page_count = 100000")
    outbox.put("after", {}, NOW)
    assert ids(outbox) == [*kept, "after"]


def test_old_ones_are_forgotten_but_nothing_that_waits(outbox: Outbox) -> None:
    old = NOW - timedelta(days=31)
    outbox.add_codes("A", ["1" * 20, "2" * 20], old)
    outbox.add_codes("330212001/2026-10-01", ["3" * 20], old)
    for id in "abcd":
        outbox.put(id, {}, old, series="A")
    for id in "abd":
        outbox.end(id, State.ACKNOWLEDGED, old if id != "b" else NOW, status=201, reply=None)
    assert outbox.prune(NOW - timedelta(days=30)) == 1, "b is new, c waits, d is the last"
    assert [id for id in "abcd" if _there(outbox, id)] == ["b", "c", "d"]
    assert outbox.summary().codes == {"A": 0}, "a's code went with it, b's did not, and the day's are over"


def _there(outbox: Outbox, id: str) -> bool:
    try:
        return outbox.get(id).id == id
    except NotRecorded:
        return False


def test_a_second_process_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from scanners.terminal.outbox import only_one\n"
        "with only_one(Path(sys.argv[1])): print('in', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert holder.stdout is not None and holder.stdout.readline() == "in\n"
    with pytest.raises(Conflict, match="another process"), only_one(tmp_path):
        pass
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with only_one(tmp_path):
        pass


def test_what_is_no_outbox_is_refused(path: Path) -> None:
    path.write_bytes(b"nothing of the kind" * 300)
    with pytest.raises(Misconfigured, match="damaged"):
        Outbox(path)
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE other (x)")
    db.close()
    with pytest.raises(Misconfigured, match="no outbox of this release"):
        Outbox(path)


def test_the_file_is_its_owners_and_durable(outbox: Outbox, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert outbox._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert outbox._db.execute("PRAGMA synchronous").fetchone() == (2,)
