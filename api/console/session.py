"""Signing in: an API key becomes a session cookie, sealed, so that neither scripts nor whoever sees it gets the key.

A session ends after `LASTS`, and as soon as the key is revoked: the gate is asked at every request, as for any other.
Signing out takes the cookie from the browser; a copy of it ends with the session. What changes something needs the
session's token too, which only our own pages have (CSRF), and the cookie is sent by our own pages alone
(SameSite=Strict).
"""

import base64
import hashlib
import hmac
import json
import secrets
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import Request, Response

from ledger.errors import NotAllowed

COOKIE = "suyuan"
TOKEN_HEADER = "x-csrf-token"  # noqa: S105 - the name of a header
LASTS = timedelta(hours=12)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_NONCE = 12


def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(hashlib.sha256(b"suyuan session\n" + secret).digest())


def sealed(secret: bytes, key: str, until: datetime) -> str:
    """The cookie of a new session."""
    nonce = secrets.token_bytes(_NONCE)
    plain = json.dumps({"key": key, "until": until.isoformat(), "id": secrets.token_hex(16)}).encode()
    return base64.urlsafe_b64encode(nonce + _cipher(secret).encrypt(nonce, plain, b"")).decode()


def opened(secret: bytes, cookie: str, now: datetime) -> tuple[str, str] | None:
    """The session's key and its token; None for what is no session, or not any more."""
    try:
        data = base64.urlsafe_b64decode(cookie)
        found = json.loads(_cipher(secret).decrypt(data[:_NONCE], data[_NONCE:], b""))
    except (ValueError, InvalidTag):
        return None
    if datetime.fromisoformat(found["until"]) < now:
        return None
    return found["key"], hmac.digest(secret, f"csrf {found['id']}".encode(), "sha256").hex()[:32]


def key_of(request: Request, secret: bytes, now: datetime) -> str | None:
    """The key of the request's session, if it has one; its token joins `request.state.csrf`.

    `NotAllowed` if the request would change something and does not show the token.
    """
    cookie = request.cookies.get(COOKIE)
    found = None if cookie is None else opened(secret, cookie, now)
    if found is None:
        return None
    key, token = found
    shown = request.headers.get(TOKEN_HEADER, "").encode()
    if request.method not in _SAFE and not hmac.compare_digest(shown, token.encode()):
        raise NotAllowed("this came from no page of ours: load the page again, and send its token")
    request.state.csrf = token
    return key


def begin(response: Response, request: Request, cookie: str) -> None:
    """Give the browser its session."""
    response.set_cookie(
        COOKIE, cookie, max_age=int(LASTS.total_seconds()), httponly=True, samesite="strict",
        secure=request.url.scheme == "https", path="/",
    )  # fmt: skip


def end(response: Response) -> None:
    """Take it away."""
    response.delete_cookie(COOKIE, path="/")
