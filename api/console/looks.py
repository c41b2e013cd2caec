"""How often one address may look up codes: they can be guessed, so nobody may try many of them.

A bucket of tokens for each address, in this process, for the addresses seen last. Where several processes serve, each
counts for itself. The address is that of the connection, or of one that a proxy on this machine names (uvicorn's rule);
what a stranger writes into `X-Forwarded-For` counts for nothing. Pure: time is an argument.
"""

import ipaddress
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

PER_MINUTE, BURST = 60, 20
ADDRESSES_MAX = 50_000
_IPV6_NETWORK = 64
"""Whoever has one IPv6 address has as many: the network counts as one."""


@dataclass(slots=True)
class Looks:
    """Buckets by address: what was left, and when."""

    per_minute: int = PER_MINUTE
    burst: int = BURST
    addresses_max: int = ADDRESSES_MAX
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_s(self, address: str | None, at_s: float) -> float:
        """Take a token; 0, or how many seconds to wait where there is none."""
        with self._lock:
            return self._take(counted_as(address), at_s)

    def _take(self, name: str, at_s: float) -> float:
        left, since = self._buckets.pop(name, (float(self.burst), at_s))
        left = min(float(self.burst), left + max(0.0, at_s - since) * self.per_minute / 60)
        taken = left >= 1
        self._buckets[name] = (left - 1 if taken else left, at_s)
        if len(self._buckets) > self.addresses_max:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - left) * 60 / self.per_minute

    def __len__(self) -> int:
        return len(self._buckets)


def counted_as(address: str | None) -> str:
    """Who counts as one: an IPv4 address, an IPv6 network; callers without an address together.

    >>> counted_as("2001:db8::17"), counted_as("::ffff:192.0.2.7")
    ('2001:db8::', '192.0.2.7')
    """
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), _IPV6_NETWORK), strict=False).network_address)
