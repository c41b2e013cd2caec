"""All reports: what each is called, what it asks for, and how it is made. One list for API, command line and pages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from ledger.access import Action, Actor
from ledger.errors import Breach, NotRecorded, UnacceptableRecord
from ledger.vault import Vault
from reports.document import Basis, Document, Phrase


@dataclass(frozen=True, slots=True)
class Source:
    """What reports are made from: one snapshot, who asks, and what the ledger is as of."""

    connection: Connection
    actor: Actor
    vault: Vault
    zone: ZoneInfo
    basis: Basis

    @property
    def now(self) -> datetime:
        return self.basis.as_of


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that a report asks for."""

    help: Phrase
    example: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """A report: `make` reads what it needs from the source, and makes the document of it."""

    name: str
    title: Phrase
    parameters: Mapping[str, Parameter]
    action: Action
    make: Callable[[Source, Mapping[str, str]], Document]

    def made(self, source: Source, given: Mapping[str, str]) -> Document:
        """The document; `UnacceptableRecord` names what is missing or too much, `NotAllowed` who may not ask."""
        source.actor.require(self.action)
        wrong = [Breach(name, f"the report {self.name} does not ask for it") for name in given.keys() - self.parameters]
        wrong += [
            Breach(name, f"{one.help.both}; such as {one.example}")
            for name, one in self.parameters.items() if one.required and not given.get(name)
        ]  # fmt: skip
        if wrong:
            raise UnacceptableRecord(wrong)
        return self.make(source, {name: value for name, value in given.items() if value})


REPORTS: dict[str, Report] = {}
"""By name. Filled by `register`, at the end of this module, so that a report exists when this module is loaded."""


def register(report: Report) -> None:
    """Add a report to the list."""
    REPORTS[report.name] = report


def report_of(name: str) -> Report:
    """The report of that name; `NotRecorded` lists them."""
    if name not in REPORTS:
        raise NotRecorded(f"there is no report {name[:40]!r}; these are: {', '.join(REPORTS)}")
    return REPORTS[name]
