"""Request bodies: of the kinds that a route takes, bounded, and read after the caller is known.

FastAPI itself would read a body whole before it asks who sends it.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError

from api.problems import UnsupportedMediaType
from ledger.documents import BODY_BYTES_MAX, write_json
from ledger.errors import Breach, LedgerError, LimitExceeded

Model = TypeVar("Model", bound=BaseModel)
T = TypeVar("T")
JSON_TYPES = ("application/json", "application/ld+json")


SHEET_TYPES = ("text/csv", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")


def reader(kinds: tuple[str, ...]) -> Callable[[Request], Awaitable[bytes]]:
    """Reads a body of one of these kinds, refused as soon as it is larger than allowed."""

    async def read(request: Request) -> bytes:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind not in kinds:
            raise UnsupportedMediaType(f"the body is {kind or 'of no stated type'}; send {' or '.join(kinds)}")
        size = request.headers.get("content-length", "0")
        if size.isdigit() and (len(size) > 18 or int(size) > BODY_BYTES_MAX):
            raise LimitExceeded(f"the body has {size} bytes; at most {BODY_BYTES_MAX} are taken: send it in parts")
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > BODY_BYTES_MAX:
                raise LimitExceeded(f"the body has more than {BODY_BYTES_MAX} bytes; send it in parts")
        return bytes(body)

    return read


Body = Annotated[bytes, Depends(reader(JSON_TYPES))]
"""To be declared after the route's rule: dependencies are asked in the order of the parameters."""
Sheet = Annotated[bytes, Depends(reader(SHEET_TYPES))]


def parsed(model: type[Model]) -> Callable[[bytes], Awaitable[Model]]:
    """The body as a `model`, as a dependency."""

    async def parse(body: Body) -> Model:
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise RequestValidationError([{**e, "loc": ("body", *e["loc"])} for e in error.errors()]) from None

    return parse


def documented(schema: dict[str, Any], example: Any, *kinds: str) -> dict[str, Any]:
    """OpenAPI's description of a body that a route reads by `Body`."""
    content = {kind: {"schema": schema, "example": example} for kind in kinds}
    return {"requestBody": {"required": True, "content": content}}


class Input(BaseModel):
    """A JSON body: no field but those named, and none of another type."""

    model_config = ConfigDict(strict=True, extra="forbid")


class FieldReader:
    """Reads fields one by one, and keeps all that is wrong."""

    def __init__(self) -> None:
        self.breaches: list[Breach] = []

    def __call__(self, name: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except (LedgerError, ValueError) as error:
            self.breaches.append(Breach(name, str(error)))
            return None


def documented_model(model: type[BaseModel]) -> dict[str, Any]:
    """The same for a body that `parsed` reads: the model, and the example that its fields make."""
    example = {field.alias or name: field.examples[0] for name, field in model.model_fields.items() if field.examples}
    return documented(model.model_json_schema(), example, "application/json")


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """The answer as JSON, with exact numbers."""
    return Response(write_json(value), status, headers, "application/json")
