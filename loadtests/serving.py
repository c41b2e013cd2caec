"""A real `suyuan serve` for load tests, in processes of its own, on a database of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

from ledger.errors import Misconfigured
from ledger.settings import Settings

START_S = 60.0


@contextlib.contextmanager
def serving(settings: Settings, processes: int) -> Iterator[int]:
    """`suyuan serve`, and its port once it is ready."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = int(listening.getsockname()[1])
    environment = {"SUYUAN_DATA": str(settings.data), "SUYUAN_TIME_ZONE": settings.zone.key, "PATH": os.defpath}
    program = [str(Path(sys.executable).with_name("suyuan")), "serve", "--port", str(port)]
    with (settings.data.parent / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [*program, "--processes", str(processes)], stdout=log, stderr=log, env=environment
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_S
        while not _ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Misconfigured(f"the server does not start: {(settings.data.parent / 'serve.log').read_text()}")
            time.sleep(0.1)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
