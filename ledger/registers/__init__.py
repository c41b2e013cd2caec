"""The registers: what is filed about places, goods and parties, field by field, as tables that a lawyer can review.

A register says which fields a record has, how each is read from text, which of them are personal, how those are masked,
and which steps change its status. Reading, masking, import, the command line and the API are all made from these
tables. Pure: today's date is an argument.
"""

from ledger.errors import NotRecorded
from ledger.registers.drugs import DIFFERENCE, DRUG_MARKET, RECALL
from ledger.registers.form import Field, Register, Step, Value, Values
from ledger.registers.goods import GOODS, PRODUCT, YIELD
from ledger.registers.parties import LICENCE, PARTY
from ledger.registers.places import NODE, REGION
from ledger.registers.publishing import PUBLISHED_REPORT, REPORT_SCHEDULE
from ledger.registers.supervision import (
    CERTIFICATE,
    HANDLING,
    HOLD,
    RECALL_ANSWER,
    RULE_SET,
    SILENCE,
    SUBSCRIPTION,
)

__all__ = [
    "BY_NAME",
    "BY_TABLE",
    "CERTIFICATE",
    "DIFFERENCE",
    "DRUG_MARKET",
    "HANDLING",
    "HOLD",
    "LICENCE",
    "NODE",
    "PARTY",
    "PUBLISHED_REPORT",
    "RECALL",
    "RECALL_ANSWER",
    "REGION",
    "REGISTERS",
    "REPORT_SCHEDULE",
    "RULE_SET",
    "SILENCE",
    "SUBSCRIPTION",
    "Field",
    "Register",
    "Step",
    "Value",
    "Values",
    "register_of",
]

REGISTERS: tuple[Register, ...] = (
    REGION, NODE, GOODS, YIELD, PARTY, LICENCE, PRODUCT, RECALL, DRUG_MARKET, DIFFERENCE,
    CERTIFICATE, HOLD, SILENCE, HANDLING, RULE_SET, SUBSCRIPTION, RECALL_ANSWER,
    REPORT_SCHEDULE, PUBLISHED_REPORT,
)  # fmt: skip
"""All registers, those first that others refer to."""


BY_TABLE = {register.table: register for register in REGISTERS}
BY_NAME = {register.name: register for register in REGISTERS}


def register_of(plural: str) -> Register:
    """The register that a path such as `/parties` names."""
    for register in REGISTERS:
        if register.plural == plural:
            return register
    raise NotRecorded(f"there is no register {plural!r}")
