"""Keeping records: filing, changing, taking steps and erasing, each checked and made into a request."""

import base64
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from ledger.access import Actor
from ledger.append import Request, subject_of
from ledger.codes import CITY, IMPORT
from ledger.errors import Breach, Conflict, NotAllowed, UnacceptableRecord
from ledger.registers import NODE, PARTY, SUBSCRIPTION, Register, Value, Values
from ledger.registers.form import by_key
from ledger.registry import Key, Record, change_request
from ledger.vault import Vault

Json = dict[str, Any]
REASON_MAX = 500


@dataclass(frozen=True, slots=True)
class Registrar:
    """Who keeps records, with what is needed for it: keys, the installation's secret, the city's day."""

    vault: Vault
    secret: bytes
    actor: Actor
    today: date

    def read(self, register: Register, given: Mapping[str, object]) -> dict[str, Value]:
        """The values of what was given; `UnacceptableRecord` names all that is wrong."""
        values, breaches = register.read(given, self.today)
        if breaches:
            raise UnacceptableRecord(breaches)
        return values

    def key(self, register: Register, values: Values) -> Key:
        """The key of the record that these values name."""
        missing = [field.name for field in register.naming if values.get(field.name) is None]
        if missing:
            raise UnacceptableRecord(register.wrong(values))
        return by_key(register.key, {**values, **self._derived(register, values)})

    def file(self, register: Register, values: Values, reason: str | None = None) -> Request:
        """A new record. `Conflict`, when it is recorded, if there is one under that key already."""
        self._may_keep(register, values)
        values = self.filled_in(register, values)
        if breaches := register.wrong(values):
            raise UnacceptableRecord(breaches)
        columns = {field.name: values.get(field.name) for field in register.open_fields}
        row = {**columns, **self._derived(register, values), "version": 1}
        if register.statuses is not None:
            row |= {"status": str(next(iter(register.statuses))), "status_since": self.today.isoformat()}
        if register.status == "open":
            row["open"] = True
        if register is PARTY:
            row["erased"] = False
        return self._request(register, row, values, reason)

    def change(self, present: Record, changes: Values, reason: str | None = None) -> Request | None:
        """The record with these fields changed; None if nothing is other than it was."""
        register = present.register
        self._may_keep(register, present.values)
        following = self.filled_in(register, {**present.values, **changes})
        changed = [name for name in following if following.get(name) != present.values.get(name)]
        if not changed:
            return None
        if fixed := [n for n in changed if register.field(n).stays and present.values.get(n) is not None]:
            raise Conflict(f"{', '.join(fixed)} of a {register.name} stays as it was filed; file a new one")
        if breaches := register.wrong(following):
            raise UnacceptableRecord(breaches)
        row = {**present.row, **{f.name: following.get(f.name) for f in register.open_fields}}
        if register is PARTY:
            row["erased"] = False
        return self._request(register, {**row, "version": present.version + 1}, following, reason)

    @staticmethod
    def filled_in(register: Register, values: Values) -> dict[str, Value]:
        """The values with what holds where nothing was said: a party acts at the node that files it.

        And what is sent to a web hook is signed with a secret of its own.
        """
        filled = dict(values)
        if register is PARTY and values.get("party") and not values.get("nodes"):
            filled["nodes"] = [int(str(values["party"])[:9])]
        if register is NODE and not values.get("locations"):
            filled["locations"] = []
        if register is SUBSCRIPTION and values.get("channel") == "webhook" and not values.get("secret"):
            filled["secret"] = new_secret()
        return filled

    def step(self, present: Record, name: str, reason: str) -> Request:
        """One step of its life, for a `reason`; `Conflict` where the record does not stand so that it can be taken."""
        register = present.register
        step = register.step(name)
        self._may_keep(register, present.values)
        if register is NODE and present.row["node"] in (CITY, IMPORT):
            raise Conflict("the ledger's own two chains are always open")
        self._not_erased(present)
        if step.by is not None and self.actor.role not in step.by:
            raise NotAllowed(f"a credential of the role {self.actor.role} may not {name} a {register.name}")
        status = register.status or ""
        if present.row[status] not in step.before:
            raise Conflict(f"the {present.name} is {_status_text(present.row[status])}: the step {name} does not apply")
        row = {**present.row, status: step.after, "version": present.version + 1}
        if status == "status":
            row["status_since"] = self.today.isoformat()
        return self._request(register, row, present.values, _reason(reason))

    def erase(self, present: Record, reason: str) -> Request:
        """A version that holds no private values, and says that those of all earlier ones are erased."""
        self._may_keep(present.register, present.values)
        names = [field.name for field in present.register.private_fields]
        left = {name: value for name, value in present.values.items() if name not in names}
        row = {**present.row, "erased": True, "version": present.version + 1}
        return self._request(present.register, row, left, _reason(reason))

    def _request(self, register: Register, row: Json, values: Values, reason: str | None) -> Request:
        private = {f.name: values[f.name] for f in register.private_fields if values.get(f.name) is not None}
        row, sealed = {**row, "digest": None}, None
        if private or reason:
            subject = subject_of(register.table, by_key(register.key, row))
            made = self.vault.seal(subject, row["version"], private, reason and _reason(reason))
            row["digest"], sealed = made.digest, made.data
        tokens = self.vault.tokens(register.fields, values) if register.private_fields else None
        return change_request(register.table, row, self.actor.name, sealed, tokens)

    def _derived(self, register: Register, values: Values) -> Mapping[str, Value]:
        """Key columns that are no fields."""
        return register.derive(values, self.secret) if register.derive else {}

    def _may_keep(self, register: Register, values: Values) -> None:
        self.actor.require(register.keep)
        if register.node_of is not None and values.get(register.key[0]) is not None:
            self.actor.require_node(register.node_of(values))

    def _not_erased(self, present: Record) -> None:
        if present.row.get("erased"):
            raise Conflict(f"the private values of the {present.name} are erased; change it to file them anew first")


def new_secret() -> str:
    """A secret that web hooks are signed with, as Standard Webhooks writes it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}"


def _reason(reason: str) -> str:
    if not re.fullmatch("[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+", reason) or not 1 <= len(reason.strip()) <= REASON_MAX:
        raise UnacceptableRecord([Breach("reason", f"give it in 1 to {REASON_MAX} characters: it is kept")])
    return reason.strip()


def _status_text(value: object) -> str:
    return {True: "open", False: "closed"}.get(value, str(value)) if isinstance(value, bool) else str(value)
