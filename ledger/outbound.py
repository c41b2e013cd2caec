"""One guarded POST to an address that somebody outside has chosen.

Whoever subscribes names a URL, and this machine stands where outsiders do not reach. So: https; a host's addresses are
looked up once and every one must be public; the connection goes to one of those and nowhere else, with the host's own
name in `Host`, SNI and the check of the certificate; no redirect is followed and no proxy of the environment used; all
of it ends within a deadline; and nothing of the answer but its status is ever kept or shown.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from ledger.errors import UnreadableCode
from ledger.registers.supervision import Hook, parse_hook

DEADLINE_S = 15.0
BODY_S = 1.0
"""How long an answer's body may take once its status is known: it is thrown away, and read for politeness only."""
BODY_BYTES_MAX = 4096
ADDRESSES_TRIED = 3
RETRY_AFTER_S_MAX = 24 * 3600

Resolve = Callable[[str, int], Awaitable[list[str]]]

_NOT_PUBLIC = tuple(
    ipaddress.ip_network(net)
    for net in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "::/8", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
        "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip
"""What Python's own `is_global` lets through is here: it calls NAT64, 6to4 and multicast addresses global."""


class NotAllowedThere(Exception):
    """The address is none that a web hook may have; `str()` is a short reason."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt ended: a status, or a short reason why there is none. Never the body."""

    status: int | None
    latency_ms: int
    error: str | None = None
    retry_after_s: int | None = None

    @property
    def good(self) -> bool:
        """Whether what was sent has arrived: 2xx, and nothing else."""
        return self.status is not None and 200 <= self.status <= 299


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and (found.ipv4_mapped is not None or found.scope_id is not None):
        return False
    nets = (net for net in _NOT_PUBLIC if net.version == found.version)
    return found.is_global and not found.is_multicast and not any(found in net for net in nets)


async def resolve_host(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system finds them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Outbound:
    """Posts to web hooks. `allow_loopback`: to this machine too, without TLS, for trying out."""

    def __init__(
        self,
        *,
        allow_loopback: bool = False,
        resolve: Resolve = resolve_host,
        trust: ssl.SSLContext | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._allow_loopback, self._resolve, self._deadline_s = allow_loopback, resolve, deadline_s
        self._trust = trust or httpx.create_ssl_context(trust_env=False)
        for name in ("httpx", "httpcore"):  # they write whole URLs, and a path can be a password
            logging.getLogger(name).setLevel(logging.WARNING)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send `body` as it is, and tell how that ended. It never raises for what the other side does."""
        began = time.monotonic()
        answer: httpx.Response | None = None
        error: str | None = None
        try:
            async with asyncio.timeout(self._deadline_s):
                hook = parse_hook(url)
                answer = await self._post(hook, await self._addresses(hook), headers, body)
        except UnreadableCode:
            error = "the URL is none that is taken"
        except NotAllowedThere as refused:
            error = str(refused)
        except (TimeoutError, httpx.TimeoutException):
            error = "timed out"
        except httpx.ConnectError as failed:
            error = "certificate not accepted" if _is_about_tls(failed) else "cannot connect"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError):
            error = "the answer is no HTTP"
        latency_ms = round((time.monotonic() - began) * 1000)
        if answer is None:
            return Answer(None, latency_ms, error)
        return Answer(answer.status_code, latency_ms, None, retry_after_s(answer.headers.get("retry-after")))

    async def _addresses(self, hook: Hook) -> list[str]:
        """The addresses to connect to: all of the host's, if each is allowed."""
        try:
            found = [hook.address] if hook.address else await self._resolve(hook.host, hook.port)
        except (OSError, UnicodeError):
            raise NotAllowedThere("no such host") from None
        if not found:
            raise NotAllowedThere("no such host")
        if self._allow_loopback and all(_is_loopback(address) for address in found):
            return found
        if hook.scheme != "https" or hook.port not in hook.PORTS or not all(is_public(one) for one in found):
            raise NotAllowedThere("the address is not public")
        return found

    async def _post(self, hook: Hook, addresses: list[str], headers: Mapping[str, str], body: bytes) -> httpx.Response:
        """The answer of the first address that takes the connection."""
        for address in addresses[:ADDRESSES_TRIED]:
            try:
                return await self._post_to(address, hook, headers, body)
            except httpx.ConnectError as error:
                failed = error
        raise failed

    async def _post_to(self, address: str, hook: Hook, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        # A connection of its own each time: one that a pool kept was checked for another host on the same address.
        url = httpx.URL(scheme=hook.scheme, host=address, port=hook.port, raw_path=hook.target.encode())
        extensions: dict[str, Any] = {"sni_hostname": hook.host} if hook.address is None else {}
        sent = {"Host": hook.authority, "User-Agent": "suyuan", "Accept-Encoding": "identity", **headers}
        async with (
            httpx.AsyncClient(
                verify=self._trust, trust_env=False, follow_redirects=False, timeout=self._deadline_s, http2=False
            ) as client,
            client.stream("POST", url, headers=sent, content=body, extensions=extensions) as answer,
        ):
            await _throw_away(answer)
            return answer


async def _throw_away(answer: httpx.Response) -> None:
    size = 0
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(BODY_S):
            async for part in answer.aiter_raw():
                size += len(part)
                if size > BODY_BYTES_MAX:
                    return


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_about_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def retry_after_s(text: str | None) -> int | None:
    """How long the answer asks to wait: seconds, or a date; at most a day."""
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), RETRY_AFTER_S_MAX)
    try:
        at = parsedate_to_datetime(text)
        wait = at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0, min(round(wait.total_seconds()), RETRY_AFTER_S_MAX))
