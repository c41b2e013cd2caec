"""What people see at a terminal: tables, progress, and where messages go."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.tree import Tree

# Codes hold what Rich would take for markup or emoji (urn:epc:id:…): neither is looked for where codes are printed.
out, err = Console(emoji=False), Console(stderr=True, emoji=False)


@contextmanager
def progress(what: str, unit: str) -> Iterator[tuple[Progress, TaskID]]:
    """A bar on standard error, while the context lasts."""
    description = TextColumn("{task.description}", markup=False)
    columns = (description, BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn())
    with Progress(*columns, console=err) as bar:
        yield bar, bar.add_task(what, total=None)


def table(*columns: str) -> Table:
    """A table without lines, whose cells fold."""
    made = Table(box=None, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def show(value: Table | Tree) -> None:
    """Print it as wide as it is where no terminal asks for less: programs need codes in one piece."""
    (out if out.is_terminal else Console(width=10_000, emoji=False)).print(value)


def say(text: str, *, style: str | None = None) -> None:
    """One line for people on standard output, as it is."""
    out.print(text, markup=False, highlight=False, soft_wrap=True, style=style)


def warn(text: str) -> None:
    """One line for people on standard error, as it is."""
    err.print(text, markup=False, highlight=False, soft_wrap=True)
