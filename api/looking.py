"""Looking at pictures over HTTP: a frame of a terminal's camera, for browsers that read no codes themselves."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from api.auth import MayCapture
from api.bodies import documented, json_answer, reader
from ledger.errors import LimitExceeded
from scanners.camera import decode_image

router = APIRouter(tags=["scanning"])
FRAME_BYTES_MAX = 2 << 20
FRAME_TYPES = ("image/jpeg", "image/png", "image/webp")
Frame = Annotated[bytes, Depends(reader(FRAME_TYPES))]
_FRAME = documented({"type": "string", "format": "binary"}, "the bytes of a picture", *FRAME_TYPES)


@router.post("/symbols/look", openapi_extra=_FRAME)
def look(_: MayCapture, frame: Frame) -> Response:
    """The symbols in a picture of at most 2 MiB, as a scanner that sends AIM identifiers would send each.

    It is looked at once: the next frame of a camera comes soon.
    """
    if len(frame) > FRAME_BYTES_MAX:
        raise LimitExceeded(f"the picture has {len(frame)} bytes; at most {FRAME_BYTES_MAX} are looked at")
    found = decode_image(frame, again=False)
    return json_answer({"symbols": [{"scanned": one.scanned, "format": one.format} for one in found]})
