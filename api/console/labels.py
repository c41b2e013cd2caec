"""Labels to print: the symbol of a lot, a slip or a pack, with its text below, as a picture in real size."""

import base64
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from api.auth import LedgerHere, MayCapture
from api.console.pages import HEADERS, page
from ledger.codes import key_of_code
from ledger.errors import LedgerError, UnreadableCode
from ledger.gs1 import is_digits
from ledger.identifiers import uri_of
from scanners.labels import Symbol, code128, datamatrix, qr

router = APIRouter(tags=["pages"], include_in_schema=False)
CODE_MAX = 300
COPIES_MAX = 100
Code = Annotated[str, Query(max_length=CODE_MAX)]


@router.get("/console/labels")
def labels_page(
    request: Request, ledger: LedgerHere, actor: MayCapture, code: Code = "",
    copies: Annotated[int, Query(ge=1, le=COPIES_MAX)] = 1,
) -> Response:  # fmt: skip
    """One code as a label, as often as it is to be printed; what is no code is said so."""
    symbol, wrong = None, ""
    if code.strip():
        try:
            symbol = symbol_of(code.strip(), str(request.base_url))
        except (LedgerError, ValueError) as error:
            wrong = str(error)
    picture = None if symbol is None else base64.b64encode(symbol.svg().encode()).decode()
    return page(
        request, "labels.html", actor, code=code.strip(), copies=copies, picture=picture, wrong=wrong,
        name="" if symbol is None else symbol.name, today=ledger.today(), most=COPIES_MAX,
    )  # fmt: skip


@router.get("/console/labels/{name}")
def label_picture(request: Request, _: MayCapture, name: str, code: Code) -> Response:
    """The same as a file: `label.png` or `label.svg`."""
    symbol = symbol_of(code.strip(), str(request.base_url))
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    match name:
        case "label.png":
            return Response(symbol.png(module_px=8), headers=headers, media_type="image/png")
        case "label.svg":
            return Response(symbol.svg(), headers=headers, media_type="image/svg+xml")
        case _:
            raise UnreadableCode("file name", name, "give label.png or label.svg")


def symbol_of(code: str, site: str) -> Symbol:
    """The symbol for a code: GS1 DataMatrix for (01)…, Code 128 for 20 digits, QR for all else.

    A lot of ours is printed as the address of its page at `site`, so that a shopper's telephone leads there; our
    scanners read the lot from it.
    """
    if code.startswith("("):
        return datamatrix(code)
    if is_digits(code) and len(code) == 20:
        return code128(code)
    if code.startswith(("http://", "https://")):
        return qr(code)
    return qr(f"{site}t/{quote(uri_of(key_of_code(code)), safe=':')}")
