"""Questions gathered into rounds: answered together, refused together, and never left without an answer."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import psycopg
import pytest

from ledger import gather as gather_module
from ledger.errors import Busy, NotRecorded, Unavailable
from ledger.gather import ROUND_MAX, Asked, Gathering
from tests.conftest import Own

PATIENCE_S = 30
Round = list[Asked[int, int]]


class Desk:
    """A gathering that squares numbers in the database, and can be held before each round."""

    def __init__(self, own: Own) -> None:
        self.rounds: list[list[int]] = []
        self.backends: list[int] = []
        self.instead: Callable[[psycopg.Connection, Round], None] | None = None
        self._free = threading.Event()
        self._busy = threading.Event()
        self._free.set()
        self.gathering: Gathering[int, int] = Gathering("squares", own.database, self._answer)

    def _answer(self, connection: psycopg.Connection, asked: Round) -> None:
        self._busy.set()
        assert self._free.wait(PATIENCE_S)
        self.rounds.append([one.question for one in asked])
        if self.instead is not None:
            self.instead(connection, asked)
            return
        self.backends.append(connection.info.backend_pid)
        squares = connection.execute("SELECT n * n FROM unnest(%b::int[]) n", [self.rounds[-1]]).fetchall()
        for one, (square,) in zip(asked, squares, strict=True):
            one.answer.set_result(square)

    def held(self, first: int) -> "Future[int]":
        """Ask one question, and hold its round until `let_go`: what is asked meanwhile gathers."""
        self._free.clear()
        self._busy.clear()
        answer = self.gathering.ask(first)
        assert self._busy.wait(PATIENCE_S)
        return answer

    def let_go(self) -> None:
        self._free.set()


@pytest.fixture
def desk(own: Own) -> Iterator[Desk]:
    found = Desk(own)
    yield found
    found.let_go()
    found.gathering.close()


def kill(own: Own, backend: int) -> None:
    """End a backend, and wait until it is gone."""
    with own.superuser() as connection:
        assert connection.execute("SELECT pg_terminate_backend(%s, %s)", [backend, PATIENCE_S * 1000]).fetchone()[0]


def test_one_question_is_answered_at_once(desk: Desk) -> None:
    assert desk.gathering.ask(7).result(PATIENCE_S) == 49 and desk.rounds == [[7]]


def test_what_is_asked_meanwhile_is_answered_together(desk: Desk) -> None:
    """Whoever asks while a round runs is in the next one, with all others, each with its own answer."""
    first = desk.held(0)
    with_others = [desk.gathering.ask(number) for number in range(1, 101)]
    assert not any(answer.done() for answer in [first, *with_others])
    desk.let_go()
    assert [answer.result(PATIENCE_S) for answer in with_others] == [number * number for number in range(1, 101)]
    assert first.result(PATIENCE_S) == 0
    assert desk.rounds == [[0], [*range(1, 101)]] and len(set(desk.backends)) == 1


def test_what_is_handed_over_together_is_answered_in_its_order(desk: Desk) -> None:
    assert desk.gathering.ask_all([]) == []
    answers = desk.gathering.ask_all([5, 3, 4])
    assert [answer.result(PATIENCE_S) for answer in answers] == [25, 9, 16] and [5, 3, 4] in desk.rounds


def test_a_round_has_its_limit(desk: Desk) -> None:
    desk.held(0)
    answers = [desk.gathering.ask(number) for number in range(ROUND_MAX + 10)]
    desk.let_go()
    assert [answer.result(PATIENCE_S) for answer in answers] == [number * number for number in range(ROUND_MAX + 10)]
    assert [len(one) for one in desk.rounds] == [1, ROUND_MAX, 10]


def test_too_many_that_wait_are_told_to_come_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_module, "WAITING_MAX", 3)
    desk.held(0)
    answers = [desk.gathering.ask(number) for number in range(4)]
    with pytest.raises(Busy, match="again in a second"):
        desk.gathering.ask(9)
    desk.let_go()
    assert [answer.result(PATIENCE_S) for answer in answers] == [0, 1, 4, 9]


def test_a_round_is_one_snapshot_that_writes_nothing(desk: Desk, own: Own) -> None:
    def looking(connection: psycopg.Connection, asked: Round) -> None:
        counts = []
        for _ in range(2):
            counts.append(connection.execute("SELECT count(*) FROM head").fetchone()[0])
            with own.superuser() as other:
                other.execute("INSERT INTO head SELECT coalesce(max(node), 0) + 1, 0, sha256('x') FROM head")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM pack_job")
        asked[0].answer.set_result(counts[1] - counts[0])

    desk.instead = looking
    assert [desk.gathering.ask(1).result(PATIENCE_S) for _ in range(2)] == [0, 0]

    def counting(connection: psycopg.Connection, asked: Round) -> None:
        asked[0].answer.set_result(connection.execute("SELECT count(*) FROM head").fetchone()[0])

    desk.instead = counting
    assert desk.gathering.ask(1).result(PATIENCE_S) == 4, "each round sees what was written before it"


def test_a_lost_connection_is_told_to_all_and_the_next_round_has_another(
    desk: Desk, own: Own, caplog: pytest.LogCaptureFixture
) -> None:
    desk.gathering.ask(1).result(PATIENCE_S)
    first = desk.held(2)
    kill(own, desk.backends[0])
    desk.let_go()
    with pytest.raises(Unavailable, match="cannot be read right now"):
        first.result(PATIENCE_S)
    assert desk.gathering.ask(3).result(PATIENCE_S) == 9
    assert len(desk.backends) == 3 and desk.backends[0] != desk.backends[2]
    assert "could not be answered" in caplog.text


def test_all_of_a_round_are_told_that_the_connection_was_lost(desk: Desk, own: Own) -> None:
    def losing(connection: psycopg.Connection, asked: Round) -> None:
        if len(asked) > 1:
            kill(own, connection.info.backend_pid)
        connection.execute("SELECT 1")
        asked[0].answer.set_result(0)

    desk.instead = losing
    desk.held(0)
    answers = [desk.gathering.ask(number) for number in range(50)]
    desk.let_go()
    assert {type(answer.exception(PATIENCE_S)) for answer in answers} == {Unavailable}
    assert desk.rounds == [[0], [*range(50)]], "they were one round"
    desk.instead = None
    assert desk.gathering.ask(3).result(PATIENCE_S) == 9


def test_a_question_that_the_database_refuses_leaves_the_next_round_alone(desk: Desk) -> None:
    """Not only the end of the connection: a transaction that failed must not be the next one's."""
    desk.instead = lambda connection, _: connection.execute("SELECT 1 / 0").fetchone()
    with pytest.raises(Unavailable):
        desk.gathering.ask(1).result(PATIENCE_S)
    desk.instead = None
    assert desk.gathering.ask(3).result(PATIENCE_S) == 9 and len(desk.rounds) == 2


def test_an_error_of_the_ledger_reaches_all_of_the_round_as_it_is(desk: Desk) -> None:
    def refusing(_: psycopg.Connection, asked: Round) -> None:
        asked[0].answer.set_result(-1)  # what was answered already stays
        if len(asked) > 1:
            raise NotRecorded("there is nothing")

    desk.instead = refusing
    desk.held(0)
    answered, *rest = [desk.gathering.ask(number) for number in range(20)]
    desk.let_go()
    assert {str(answer.exception(PATIENCE_S)) for answer in rest} == {"there is nothing"}
    assert {type(answer.exception(0)) for answer in rest} == {NotRecorded} and answered.result(0) == -1
    desk.instead = None
    assert desk.gathering.ask(3).result(PATIENCE_S) == 9


def test_who_gave_up_waiting_does_not_stop_the_others(desk: Desk) -> None:
    """A caller that hangs up while its key is looked at must not be everybody's fault."""
    desk.held(0)
    first, abandoned, last = map(desk.gathering.ask, (1, 2, 3))
    abandoned.cancel()
    desk.let_go()
    assert first.result(PATIENCE_S) == 1
    assert last.result(PATIENCE_S) == 9
    assert desk.gathering.ask(4).result(PATIENCE_S) == 16


def test_what_is_asked_again_is_in_the_next_round(desk: Desk) -> None:
    seen: list[int] = []

    def once_more(_: psycopg.Connection, asked: Round) -> None:
        for one in asked:
            seen.append(one.tries)
            if one.tries < 2:
                desk.gathering.again(one)
            else:
                one.answer.set_result(one.question)

    desk.instead = once_more
    assert desk.gathering.ask(5).result(PATIENCE_S) == 5
    assert seen == [0, 1, 2] and desk.rounds == [[5]] * 3


def test_closing_answers_what_waits_and_then_nobody_is_answered(desk: Desk) -> None:
    first = desk.held(0)
    answers = [first, *(desk.gathering.ask(number) for number in range(1, ROUND_MAX + 50))]
    closing = begin_to_close(desk)
    with pytest.raises(Unavailable, match="shutting down"):
        desk.gathering.ask(1)
    assert not any(answer.done() for answer in answers)
    desk.let_go()
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert [answer.result(0) for answer in answers] == [number * number for number in range(len(answers))]
    with pytest.raises(Unavailable, match="shutting down"):
        desk.gathering.ask(1)


def begin_to_close(desk: Desk) -> threading.Thread:
    """Somebody closes it, and waits for the round that is held."""
    closing = threading.Thread(target=desk.gathering.close)
    closing.start()
    deadline = time.monotonic() + PATIENCE_S
    while not desk.gathering._closed or desk.gathering._waiting.empty():  # the end waits there
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return closing


def test_what_is_asked_again_while_it_closes_is_told_so(desk: Desk) -> None:
    """A round that lost to a rival asks again: behind the end, nobody would ever answer it."""

    def later(_: psycopg.Connection, asked: Round) -> None:
        for one in asked:
            if one.tries == 0:
                desk.gathering.again(one)
            else:
                one.answer.set_result(one.question)

    desk.instead = later
    answer = desk.held(5)
    closing = begin_to_close(desk)
    desk.let_go()
    closing.join(PATIENCE_S)
    with pytest.raises(Unavailable):
        answer.result(1)
