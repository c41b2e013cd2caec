"""Documents of official records: what is written is read again; whatever is hostile or does not agree is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import LedgerError, LimitExceeded, UnacceptableRecord
from ledger.exchange import BYTES_MAX, RECORDS_MAX, Document, read_document, write_document

NAMES = st.from_regex("[a-z_][a-z0-9_]{0,20}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), max_size=30)
FIELDS = st.dictionaries(NAMES, TEXTS, max_size=5)
DOCUMENTS = st.builds(
    Document, st.from_regex("[0-9]{9}", fullmatch=True), st.just("20261125080102003"), st.just("20261125"),
    st.lists(st.tuples(NAMES, FIELDS), max_size=5), st.sampled_from(["", "A01002"]),
    st.sampled_from(["", "0123456789abcdefABCDEF0123456789"]),
)  # fmt: skip
GOOD = Document("330212001", "20261125080102003", "20261125", [("animal_in_info", {"price": "1"})])


@given(DOCUMENTS, st.booleans())
def test_what_is_written_is_read_again(document: Document, xml: bool) -> None:
    assert read_document(write_document(document, xml=xml), xml=xml) == document


def test_the_xml_has_the_form_that_was_seen() -> None:
    assert write_document(GOOD, xml=True).decode().replace("\n", "") == (
        '<?xml version="1.0" encoding="UTF-8"?><DataExchangeReq><NodeId>330212001</NodeId>'
        "<RequestTime>20261125080102003</RequestTime><VerifyCode></VerifyCode><Index></Index><Count>1</Count>"
        "<DataDate>20261125</DataDate><Address><animal_in_info><price>1</price></animal_in_info></Address>"
        "</DataExchangeReq>"
    )


def xml_of(old: str = "", new: str = "") -> bytes:
    text = write_document(GOOD, xml=True).decode()
    assert old in text
    return text.replace(old, new, 1).encode()


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>\n<DataExchangeReq>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n<DataExchangeReq>'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<DataExchangeReq>", LAUGHS), ("<DataExchangeReq>", OUTSIDE),
        ("<DataExchangeReq>", '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><DataExchangeReq>'),
        ("<DataExchangeReq>", "<?run me?><DataExchangeReq>"), ("<price>1", "<price>&a;"),
        ("<price>1</price>", "<price>1</price><price>2</price>"), ("<price>", '<price unit="x">'),
        ("<price>1", "<price><deep><er>1</er></deep>"), ("<Count>1", "<Count>2"), ("<Count>1", "<Count>-1"),
        ("<Count>1</Count>", ""), ("<NodeId>330212001", "<NodeId>33021200"), ("20261125080102003", "20261325080102003"),
        ("<DataDate>20261125", "<DataDate>20260230"), ("<VerifyCode>", "<VerifyCode>zz"),
        ("<Address>", "<Address>loose text"), ("<Address>", "<Other></Other><Address>"),
        ("<price>1", "<price>1\t2"), ("<price>1", "<price>1&#x85;"), ("</DataExchangeReq>", ""),
        ("<price>1", "<price>&#0;"),
    ],
)  # fmt: skip
def test_xml_that_is_hostile_or_wrong_is_refused(old: str, new: str) -> None:
    with pytest.raises(UnacceptableRecord):
        read_document(xml_of(old, new), xml=True)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"DataExchangeReq": []}', b'{"DataExchangeReq": {"Address": {}}}',
     b'{"DataExchangeReq": {"Address": [{"a": {"b": 1}}]}}', b'{"DataExchangeReq": {"Address": [{"a": {}, "b": {}}]}}',
     b'{"DataExchangeReq": {"Address": [], "Count": 0}}', b'{"DataExchangeReq": {"Address": [[]]}}', b"\xff"],
)  # fmt: skip
def test_json_that_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(LedgerError):
        read_document(data, xml=False)


def test_all_that_is_wrong_is_told_at_once() -> None:
    document = json.loads(write_document(GOOD, xml=False))
    document["DataExchangeReq"] |= {"NodeId": "x", "DataDate": "y", "Other": "z"}
    with pytest.raises(UnacceptableRecord) as refused:
        read_document(json.dumps(document).encode(), xml=False)
    assert {one.path for one in refused.value.breaches} == {"NodeId", "DataDate", "Other"}


@pytest.mark.parametrize("xml", [True, False])
def test_what_is_too_large_is_refused(xml: bool) -> None:
    with pytest.raises(LimitExceeded):
        read_document(b" " * (BYTES_MAX + 1), xml=xml)
    many = Document("330212001", GOOD.request_time, GOOD.data_date, [("a", {})] * (RECORDS_MAX + 1))
    with pytest.raises(LimitExceeded):
        read_document(write_document(many, xml=xml), xml=xml)
