"""Every setting of an installation, read from the environment in this one place.

Nothing else reads the environment. README's table of settings is checked against `NAMES` by a test.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from ledger.errors import Misconfigured

NAMES: dict[str, str] = {
    "SUYUAN_DATA": "folder of the embedded database and, by default, of the keys",
    "SUYUAN_KEYS": "folder of the signing key and of the last checkpoint signed; keep it off the database's disk",
    "SUYUAN_DATABASE_URL": "PostgreSQL to use instead of the embedded one, as the application's role",
    "SUYUAN_OWNER_DATABASE_URL": "the same database as the owner of its tables, for migrate and erase",
    "SUYUAN_ORIGIN": "name of the log: a schemeless URL that nobody else uses",
    "SUYUAN_TIME_ZONE": 'the city\'s business time zone: days, validity and "same day" are counted in it',
    "SUYUAN_LANES": "commit lanes a process: how many transactions are under way side by side",
    "SUYUAN_SMTP_URL": "mail server for subscriptions by e-mail: smtp:// or smtps://user:password@host:port",
    "SUYUAN_SMTP_FROM": "the address that such mail comes from",
    "SUYUAN_ALLOW_LOOPBACK": "1 lets web hooks go to this machine, without TLS: for trying out",
    "SUYUAN_NOTICE_DAYS": "how many days notices are kept for those who read late",
}
LANES_MAX = 64
NOTICE_DAYS_MAX = 3650


@dataclass(frozen=True)
class Settings:
    """One installation's settings, checked."""

    data: Path
    keys: Path
    database_url: str | None
    owner_database_url: str | None
    origin: str
    lanes: int
    zone: ZoneInfo
    smtp_url: str | None = None
    smtp_from: str | None = None
    allow_loopback: bool = False
    notice_days: int = 400

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """The settings in `environment` (default: this process's); `Misconfigured` names the one that is wrong."""
        env = os.environ if environment is None else environment
        unknown = [name for name in env if name.startswith("SUYUAN_") and name not in NAMES and name != SHARED_DATA]
        if unknown:
            raise Misconfigured(f"{unknown[0]} is no setting; the settings are {', '.join(NAMES)}")
        data = _folder("SUYUAN_DATA", env.get("SUYUAN_DATA") or default_data())
        url, owner = env.get("SUYUAN_DATABASE_URL"), env.get("SUYUAN_OWNER_DATABASE_URL")
        for name, value in (("SUYUAN_DATABASE_URL", url), ("SUYUAN_OWNER_DATABASE_URL", owner)):
            if value and not _is_url(value):
                raise Misconfigured(f"{name} must be a URL: postgresql://user:password@host:port/database")
        if owner and not url:
            raise Misconfigured("SUYUAN_OWNER_DATABASE_URL is set without SUYUAN_DATABASE_URL")
        return cls(
            data=data,
            keys=_folder("SUYUAN_KEYS", env.get("SUYUAN_KEYS") or str(data / "keys")),
            database_url=url or None,
            owner_database_url=owner or None,
            origin=_origin(env.get("SUYUAN_ORIGIN") or "suyuan.example/log"),
            lanes=_whole_number("SUYUAN_LANES", env.get("SUYUAN_LANES") or "2", 1, LANES_MAX),
            zone=_zone(env.get("SUYUAN_TIME_ZONE") or "Asia/Shanghai"),
            **_mail(env.get("SUYUAN_SMTP_URL"), env.get("SUYUAN_SMTP_FROM")),
            allow_loopback=_whole_number("SUYUAN_ALLOW_LOOPBACK", env.get("SUYUAN_ALLOW_LOOPBACK") or "0", 0, 1) == 1,
            notice_days=_whole_number("SUYUAN_NOTICE_DAYS", env.get("SUYUAN_NOTICE_DAYS") or "400", 1, NOTICE_DAYS_MAX),
        )


SHARED_DATA = "SUYUAN_SHARED_DATA"
"""Not a setting of the product: where its tests find public test documents."""


def default_data() -> str:
    """/var/lib/suyuan for root, so that the server's ordinary user can reach it; the user's own folder otherwise."""
    return "/var/lib/suyuan" if os.geteuid() == 0 else "~/.local/share/suyuan"


def _folder(name: str, value: str) -> Path:
    try:
        return Path(value).expanduser().absolute()
    except (RuntimeError, FileNotFoundError):
        raise Misconfigured(f"{name} is {value!r}, which leads nowhere; give the whole path") from None


def _is_url(value: str) -> bool:
    """Whether libpq can read it. What libpq would say is not passed on: it repeats the password."""
    try:
        return value.startswith(("postgresql://", "postgres://")) and bool(conninfo_to_dict(value))
    except ProgrammingError:
        return False


def _mail(url: str | None, sender: str | None) -> dict[str, str | None]:
    """The mail server and the sender. What is wrong with the URL is not repeated: it may hold a password."""
    if url:
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or re.search(r"[^!-~]", url) or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise Misconfigured("SUYUAN_SMTP_URL must be smtp:// or smtps://user:password@host:port")
        if not sender:
            raise Misconfigured("SUYUAN_SMTP_FROM is missing: mail needs an address that it comes from")
    if sender and not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}", sender):
        raise Misconfigured("SUYUAN_SMTP_FROM must be one mail address, such as suyuan@city.example")
    return {"smtp_url": url or None, "smtp_from": sender or None}


def _origin(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.\-]+(:[0-9]+)?(/[A-Za-z0-9.\-_~/]*[A-Za-z0-9.\-_~])?", value) or len(value) > 200:
        raise Misconfigured("SUYUAN_ORIGIN must be a URL without scheme and final slash, such as city.example/log")
    return value


def _zone(value: str) -> ZoneInfo:
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Misconfigured(f"SUYUAN_TIME_ZONE is {value!r}, which is no time zone, such as Asia/Shanghai") from None


def _whole_number(name: str, value: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value) or not least <= int(value) <= most:
        raise Misconfigured(f"{name} must be a whole number from {least} to {most}, not {value!r}")
    return int(value)
