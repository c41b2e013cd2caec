"""Running the HTTP application: in this process, or in several."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from api.app import create_app, open_to
from api.ledger import open_ledger
from ledger.errors import Misconfigured
from ledger.settings import Settings

SHUTDOWN_S = 30
"""How long requests that are under way may take after the signal to stop."""


def serve_http(settings: Settings, host: str, port: int, processes: int, *, worker: bool) -> None:
    """Serve until a signal ends it; what was accepted is finished first.

    With several processes each opens the ledger for itself; only one of their workers leads.
    """
    logging.getLogger("uvicorn").setLevel(logging.INFO)
    with _listening(host, port) as listening, open_ledger(settings, worker=worker) as ledger:
        if processes == 1:
            app = create_app(ledger, _ending_streams)
            server = uvicorn.Server(
                uvicorn.Config(
                    app, log_level="info", access_log=False, timeout_graceful_shutdown=SHUTDOWN_S,
                    server_header=False,
                )
            )  # fmt: skip
            # Uvicorn ends on them, then raises them again: we still close. One that comes before it listens counts too.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: setattr(server, "should_exit", True))
            server.run(sockets=[listening])
            return
        # The parent keeps the ledger open, so that the embedded database stays up while children come and go.
        config = uvicorn.Config(
            "api.serve:child", factory=True, workers=processes, access_log=False,
            timeout_graceful_shutdown=SHUTDOWN_S, server_header=False,
        )  # fmt: skip
        Multiprocess(config, sockets=[listening]).run()


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; `Misconfigured` says why there can be none."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.create_server((str(address[0]), port), family=family)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is no host name"
        raise Misconfigured(f"cannot listen on {host}, port {port}: {reason}") from error
    found.set_inheritable(True)
    return found


@contextlib.asynccontextmanager
async def _ending_streams(app: FastAPI) -> AsyncIterator[None]:
    """Streams end with the signal to stop: uvicorn waits for answers that are under way, and theirs never end."""
    loop, before = asyncio.get_running_loop(), dict[signal.Signals, Any]()

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(app.state.feed.close)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for one in (signal.SIGTERM, signal.SIGINT):
        before[one] = signal.getsignal(one)
        signal.signal(one, stop)
    yield


def child() -> FastAPI:
    """The application of one of several processes: it opens the ledger when it starts, and closes it when it ends."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with open_ledger(Settings.from_environment()) as ledger:
            open_to(app, ledger)
            async with _ending_streams(app):
                yield

    return create_app(None, lifespan)
