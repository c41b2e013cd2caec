"""The documents in which official records travel: `DataExchangeReq` as XML, and the same names as JSON.

Seen in a deployed system only (china.md 1.5, F4). How VerifyCode is computed and what the index codes are is not
public (A01002, the filing of operators, is the only one that was seen): both are given by who sends, and not judged
here. A document with a DTD, an entity or a processing instruction is refused before anything of it is expanded.

Pure.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any
from xml.parsers import expat

from ledger.documents import read_json, write_json
from ledger.errors import Breach, LimitExceeded, UnacceptableRecord

BYTES_MAX, RECORDS_MAX, FIELDS_MAX = 4 << 20, 3_500, 100
ROOT, RECORDS = "DataExchangeReq", "Address"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")


def _is_moment(form: str, length: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        if len(text) != length or not (text.isascii() and text.isdigit()):
            return False
        try:
            datetime.strptime(text[:14], form)
        except ValueError:
            return False
        return True

    return check


def _is(form: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(form, text) is not None


_HEADER: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "NodeId": (_is("[0-9]{9}"), "9 digits"),
    "RequestTime": (_is_moment("%Y%m%d%H%M%S", 17), "yyyyMMddHHmmssSSS"),
    "VerifyCode": (_is("([0-9A-Fa-f]{32})?"), "32 hexadecimal digits, or empty"),
    "Index": (_is("[A-Za-z0-9_]{0,60}"), "letters and digits, or empty"),
    "Count": (_is("[0-9]{1,5}"), "a number"),
    "DataDate": (_is_moment("%Y%m%d", 8), "yyyyMMdd"),
}


@dataclass(frozen=True, slots=True)
class Document:
    """One document: the header's texts, and the records as name and flat fields, in their order."""

    node: str
    request_time: str
    data_date: str
    records: Sequence[tuple[str, Mapping[str, str]]]
    index: str = ""
    verify_code: str = ""


def read_document(data: bytes, *, xml: bool) -> Document:
    """The document in `data`; `UnacceptableRecord` names all that is wrong with its form, `LimitExceeded` its size."""
    if len(data) > BYTES_MAX:
        raise LimitExceeded(f"the document has {len(data)} bytes; at most {BYTES_MAX} are taken: send it in parts")
    header, records = _Xml().read(data) if xml else _json(data)
    if len(records) > RECORDS_MAX:
        raise LimitExceeded(f"the document has {len(records)} records; at most {RECORDS_MAX} are taken")
    breaches = [
        Breach(name, f"give {what}") for name, (good, what) in _HEADER.items() if not good(header.get(name, "-"))
    ]  # fmt: skip
    breaches += [Breach(name[:60], "no such field") for name in header.keys() - _HEADER.keys()]
    if not breaches and int(header["Count"]) != len(records):
        breaches.append(Breach("Count", f"it says {header['Count']}, and there are {len(records)} records"))
    for place, (name, fields) in enumerate(records):
        for field, value in fields.items():
            if _CONTROL.search(value) or not _NAME.fullmatch(field):
                breaches.append(Breach(f"{name[:60]}[{place}].{field[:60]}", "control characters, or no such name"))
    if breaches:
        raise UnacceptableRecord(breaches)
    return Document(
        header["NodeId"], header["RequestTime"], header["DataDate"], records, header["Index"], header["VerifyCode"]
    )  # fmt: skip


def _refused(path: str, reason: str) -> UnacceptableRecord:
    return UnacceptableRecord([Breach(path, reason)])


class _Xml:
    """Reads one document with expat; whatever could make it expand or reach out ends it at once."""

    def __init__(self) -> None:
        self.header: dict[str, str] = {}
        self.records: list[tuple[str, dict[str, str]]] = []
        self._path: list[str] = []
        self._text: list[str] = []

    def read(self, data: bytes) -> tuple[dict[str, str], list[tuple[str, dict[str, str]]]]:
        parser = expat.ParserCreate("UTF-8")
        parser.StartDoctypeDeclHandler = self._forbidden
        parser.EntityDeclHandler = self._forbidden
        parser.ProcessingInstructionHandler = self._forbidden
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text.append
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise _refused("$", f"this is no XML in UTF-8: {error}") from None
        return self.header, self.records

    def _forbidden(self, *_: object) -> None:
        raise _refused("$", "a document type, entity or processing instruction is not taken")

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._stray()
        depth = len(self._path)
        if attributes or depth > 3 or (depth == 0 and name != ROOT) or (depth == 2 and self._path[1] != RECORDS):
            raise _refused(name[:60], f"the form is {ROOT} > {RECORDS} > record > field, without attributes")
        if depth == 2:
            if len(self.records) == RECORDS_MAX:
                raise LimitExceeded(f"the document has more than {RECORDS_MAX} records; send it in parts")
            self.records.append((name, {}))
        self._path.append(name)

    def _stray(self) -> None:
        if "".join(self._text).strip():
            raise _refused(self._path[-1][:60], "text between the elements")
        self._text.clear()

    def _end(self, name: str) -> None:
        self._path.pop()
        depth = len(self._path)
        if depth == 3:
            _put(self.records[-1][1], name, "".join(self._text))
        elif depth == 1 and name != RECORDS:
            _put(self.header, name, "".join(self._text))
        else:
            self._path.append(name)
            self._stray()
            self._path.pop()
        self._text.clear()


def _put(fields: dict[str, str], name: str, value: str) -> None:
    if name in fields:
        raise _refused(name[:60], "it stands there twice")
    if len(fields) == FIELDS_MAX:
        raise LimitExceeded(f"more than {FIELDS_MAX} fields")
    fields[name] = value


def _json(data: bytes) -> tuple[dict[str, str], list[tuple[str, dict[str, str]]]]:
    """`{"DataExchangeReq": {…, "Address": [{"record name": {…}}]}}`, every value a text."""
    document = read_json(data)
    body = document.get(ROOT) if isinstance(document, dict) else None
    if not isinstance(body, dict) or not isinstance(body.get(RECORDS), list) or len(document) != 1:
        raise _refused("$", f"give {{'{ROOT}': {{…, '{RECORDS}': […]}}}}")
    records: list[tuple[str, dict[str, str]]] = []
    for place, one in enumerate(body.pop(RECORDS)):
        if not isinstance(one, dict) or len(one) != 1 or not _is_flat(fields := next(iter(one.values()))):
            raise _refused(f"{RECORDS}[{place}]", "give {record name: {field: text}}")
        records.append((next(iter(one)), fields))
    if not _is_flat(body):
        raise _refused("$", "every value of the header is a text")
    return body, records


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and len(value) <= FIELDS_MAX and all(isinstance(one, str) for one in value.values())


def _header(document: Document) -> dict[str, str]:
    return {
        "NodeId": document.node, "RequestTime": document.request_time, "VerifyCode": document.verify_code,
        "Index": document.index, "Count": str(len(document.records)), "DataDate": document.data_date,
    }  # fmt: skip


def write_document(document: Document, *, xml: bool) -> bytes:
    """The document's bytes: `read_document` of them gives it again."""
    if not xml:
        records = [{name: dict(fields)} for name, fields in document.records]
        return write_json({ROOT: {**_header(document), RECORDS: records}})
    lines = [f'<?xml version="1.0" encoding="UTF-8"?>\n<{ROOT}>\n', _elements(_header(document)), f"<{RECORDS}>\n"]
    lines += [f"<{name}>\n{_elements(fields)}</{name}>\n" for name, fields in document.records]
    return "".join([*lines, f"</{RECORDS}>\n</{ROOT}>\n"]).encode()


def _elements(fields: Mapping[str, str]) -> str:
    return "".join(f"<{name}>{escape(value, quote=False)}</{name}>\n" for name, value in fields.items())
