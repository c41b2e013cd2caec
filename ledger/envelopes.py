"""The documents that events travel in: EPCISDocument and EPCISQueryDocument, with header and master data.

Their events are checked one by one (`ledger/documents.py`), each with its own context. Pure.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ledger.fields import (
    ABSENT,
    Closed,
    Open,
    Text,
    Time,
    Uri,
)


class VocabularyAttribute(Open):
    """One attribute of a master data element."""

    id: Uri
    attribute: Any = ABSENT


class VocabularyElement(Open):
    """One thing that master data describes."""

    id: Uri
    attributes: list[VocabularyAttribute] = ABSENT
    children: list[Uri] = ABSENT


class MasterVocabulary(Open):
    """Master data elements of one kind."""

    type: Uri
    vocabularyElementList: list[VocabularyElement] = ABSENT


class MasterData(BaseModel):
    """Master data that travels in a document's header."""

    model_config = ConfigDict(strict=True, extra="ignore")
    vocabularyList: list[MasterVocabulary] = ABSENT


class Header(Open):
    """The header of an EPCISDocument."""

    epcisMasterData: MasterData = ABSENT


Version = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$", max_length=20)]


class CaptureBody(Closed):
    """The body of an EPCISDocument; its events are checked one by one, each with its own context."""

    model_config = ConfigDict(strict=True, extra="ignore")
    eventList: list[Any]


class EPCISDocument(Open):
    """A document to capture (EPCIS 2.0, 9.5)."""

    context: Any = Field(alias="@context")
    type: Literal["EPCISDocument"]
    schemaVersion: Version
    creationDate: Time
    id: Uri = ABSENT
    instanceIdentifier: Text = ABSENT
    sender: Text = ABSENT
    receiver: Text = ABSENT
    epcisHeader: Header = ABSENT
    epcisBody: CaptureBody


class ResultsBody(Open):
    """What a query found."""

    eventList: list[Any]
    vocabularyList: list[MasterVocabulary] = ABSENT


class QueryResults(Open):
    """A query's name and results."""

    queryName: Text
    subscriptionID: Text = ABSENT
    resultsBody: ResultsBody


class QueryBody(Open):
    """The body of an EPCISQueryDocument."""

    queryResults: QueryResults


class EPCISQueryDocument(Open):
    """The answer of a query, which can be captured elsewhere (EPCIS 2.0, 9.6)."""

    context: Any = Field(alias="@context")
    type: Literal["EPCISQueryDocument"]
    schemaVersion: Version = ABSENT
    creationDate: Time = ABSENT
    id: Uri = ABSENT
    epcisBody: QueryBody


DOCUMENT: TypeAdapter[EPCISDocument | EPCISQueryDocument] = TypeAdapter(
    Annotated[EPCISDocument | EPCISQueryDocument, Field(discriminator="type")]
)
