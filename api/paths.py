"""URIs inside the paths of our own URLs, such as `/events/{an event's id}` and `/trace/{a code}`."""

from fastapi import Request


def uri_in_path(request: Request, before: str, decoded: str) -> str:
    """The URI that follows `before` in the path: percent-encoded for it, as EPCIS 2.0 has it, or as it is.

    A path is decoded once. Where it still holds `://` nobody encoded the URI, so its own percent signs are its own.
    """
    raw: bytes = request.scope.get("raw_path", b"")
    text = raw.decode("ascii", "replace").partition(before)[2]
    return text if "://" in text else decoded
