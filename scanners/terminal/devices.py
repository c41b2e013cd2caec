"""Where lines come from: standard input, a serial or other text device, a folder of camera images."""

import hashlib
import os
import queue
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ledger.errors import LedgerError, Misconfigured
from scanners.camera import decode_image

LINE_BYTES_MAX, POLL_S = 4096, 0.5


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its text, or in `trouble` why there is none. `origin` names what may be read again; `done` is a file
    that was read whole."""

    text: str = ""
    origin: str = ""
    trouble: str = ""
    done: Path | None = None


class Lines:
    """Lines of several sources as they come. Iteration ends with standard input, if that is one of them."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Line | None] = queue.Queue(maxsize=1000)
        self._ending = threading.Event()

    def __iter__(self) -> Iterator[Line]:
        while (line := self._queue.get()) is not None:
            yield line

    def end(self) -> None:
        self._ending.set()

    def add_stream(self, stream: IO[bytes], *, last: bool) -> None:
        """Lines of a byte stream, as UTF-8; with `last` its end is the end of all."""
        self._start(self._read_stream, stream, last)

    def add_device(self, path: Path) -> None:
        """Lines of a device; it is opened again when it was unplugged."""
        self._start(self._read_device, path)

    def add_images(self, folder: Path) -> None:
        """The symbols of images put into `folder`; what was read moves to its folder `read`, else to `unread`."""
        if not folder.is_dir():
            raise Misconfigured(f"{folder} is no folder for images")
        self._start(self._read_images, folder)

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=run, args=arguments, daemon=True).start()

    def _read_stream(self, stream: IO[bytes], last: bool) -> None:
        try:
            for line in lines_of(stream):
                self._queue.put(Line(line))
        except (OSError, ValueError) as error:
            self._queue.put(Line(trouble=f"✗ 读不到输入 the input cannot be read: {error}"))
        if last:
            self._queue.put(None)

    def _read_device(self, path: Path) -> None:
        told = False
        while not self._ending.is_set():
            try:
                with open_device(path) as stream:
                    told = False
                    for line in lines_of(stream):
                        self._queue.put(Line(line))
            except OSError as error:
                if not told:
                    self._queue.put(
                        Line(trouble=f"✗ 扫码枪没接好 the scanner cannot be read: {path}: {error.strerror}")
                    )
                told = True
            self._ending.wait(POLL_S)

    def _read_images(self, folder: Path) -> None:
        sizes: dict[Path, int] = {}
        while not self._ending.is_set():
            for path in sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith(".")):
                try:
                    size = path.stat().st_size
                    if sizes.get(path) != size or size == 0:  # it may still be being written
                        sizes[path] = size
                        continue
                    del sizes[path]
                    self._read_image(path)
                except OSError as error:
                    self._queue.put(Line(trouble=f"✗ {path}: {error.strerror}"))
            self._ending.wait(POLL_S)

    def _read_image(self, path: Path) -> None:
        data = path.read_bytes()
        name = hashlib.sha256(data).hexdigest()
        try:
            seen = decode_image(data)
        except LedgerError as error:
            move_away(path, "unread")
            self._queue.put(Line(trouble=f"✗ {path.name}: {error}"))
            return
        if not seen:
            move_away(path, "unread")
            self._queue.put(Line(trouble=f"✗ {path.name}：没有找到码 no symbol was found"))
            return
        for number, one in enumerate(seen, 1):
            done = path if number == len(seen) else None
            self._queue.put(Line(one.scanned, f"{name}/{number}", done=done))
        while path.exists() and not self._ending.wait(0.02):
            pass  # whoever takes the lines moves it away when the last is kept


def move_away(path: Path, name: str) -> None:
    """Put a file into a folder beside it; one of the same name that is there already stays."""
    folder = path.parent / name
    folder.mkdir(exist_ok=True)
    there = folder / path.name
    if there.exists():
        there = folder / f"{path.stem}-{time.time_ns()}{path.suffix}"
    path.rename(there)


def lines_of(stream: IO[bytes]) -> Iterator[str]:
    """Lines ended by CR, LF or both; what is too long for any line is given out as it is."""
    held, after_return = bytearray(), False
    while chunk := read_some(stream):
        for byte in chunk:
            if byte == 0x0A and after_return:
                after_return = False
                continue
            after_return = byte == 0x0D
            if byte not in (0x0A, 0x0D):
                held.append(byte)
            if byte in (0x0A, 0x0D) or len(held) > LINE_BYTES_MAX:
                yield held.decode("utf-8", "replace")
                held.clear()
    if held:
        yield held.decode("utf-8", "replace")


def read_some(stream: IO[bytes]) -> bytes:
    """What is there, at least a byte; nothing at the end."""
    return os.read(stream.fileno(), 4096)


def open_device(path: Path) -> IO[bytes]:
    """The device for reading; a serial line is set to 9600 baud, 8 data bits, no parity, and to send lines raw."""
    stream = path.open("rb", buffering=0)
    if stream.isatty():
        set_raw(stream)
    return stream


def set_raw(stream: IO[bytes]) -> None:
    """Bytes as they come: no echo, no line editing, no signals."""
    tty.setraw(stream.fileno())
    mode = termios.tcgetattr(stream.fileno())
    mode[4] = mode[5] = termios.B9600
    termios.tcsetattr(stream.fileno(), termios.TCSANOW, mode)
