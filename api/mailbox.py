"""Between the event loop and threads: questions of one turn of the loop go together, and so do answers.

Each question by itself would wake a thread, and each answer the loop (`asyncio.wrap_future` does, by a system call); a
busy process would do little else.
"""

import asyncio
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from ledger.errors import LedgerError
from ledger.gather import Gathering

Q = TypeVar("Q")
A = TypeVar("A")


class Mailbox:
    """One event loop's answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()
        self._called = False
        self._asking: dict[Gathering[Any, Any], list[tuple[Any, asyncio.Future[Any]]]] = {}

    def ask(self, gathering: Gathering[Q, A], question: Q) -> "asyncio.Future[A]":
        """What the loop awaits for the answer to a question, which goes with all others of this turn."""
        if not self._asking:
            self._loop.call_soon(self._hand_over)
        waiting: asyncio.Future[A] = self._loop.create_future()
        self._asking.setdefault(gathering, []).append((question, waiting))
        return waiting

    def _hand_over(self) -> None:
        asking, self._asking = self._asking, {}
        for gathering, asked in asking.items():
            try:
                answers = gathering.ask_all([question for question, _ in asked])
            except LedgerError as error:
                for _, waiting in asked:
                    if not waiting.done():
                        waiting.set_exception(error)
                continue
            for (_, waiting), answer in zip(asked, answers, strict=True):
                answer.add_done_callback(partial(self._post, waiting))

    def _post(self, waiting: "asyncio.Future[Any]", done: "Future[Any]") -> None:
        self._ready.append((waiting, done))
        if not self._called:  # set after this by another thread: the loop is called twice, and finds nothing
            self._called = True
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._called = False
        while self._ready:
            waiting, done = self._ready.popleft()
            if waiting.done():  # whoever asked has hung up
                continue
            if (error := done.exception()) is not None:
                waiting.set_exception(error)
            else:
                waiting.set_result(done.result())
