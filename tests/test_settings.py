"""Settings: each one good and bad, and one sentence that names the one that is wrong."""

import os
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ledger.errors import Misconfigured
from ledger.settings import LANES_MAX, NAMES, SHARED_DATA, Settings

URL = "postgresql://app:secret@db.example:5433/ledger"


def read(**environment: str) -> Settings:
    return Settings.from_environment(environment)


def test_without_settings_everything_lies_in_the_users_own_folder() -> None:
    found = read()
    assert found.data.is_absolute() and found.keys == found.data / "keys"
    assert found.data == (Path("/var/lib/suyuan") if os.geteuid() == 0 else Path("~/.local/share/suyuan").expanduser())
    assert (found.database_url, found.owner_database_url, found.lanes) == (None, None, 2)


def test_every_setting_can_be_set() -> None:
    values = {
        "SUYUAN_DATA": "/data", "SUYUAN_KEYS": "/keys", "SUYUAN_DATABASE_URL": URL,
        "SUYUAN_OWNER_DATABASE_URL": "postgres://owner@db.example/ledger?sslmode=require",
        "SUYUAN_ORIGIN": "ledger.city.example:8443/log", "SUYUAN_LANES": "7", "SUYUAN_TIME_ZONE": "Asia/Urumqi",
        "SUYUAN_SMTP_URL": "smtps://user:secret@mail.example:465", "SUYUAN_SMTP_FROM": "suyuan@city.example",
        "SUYUAN_ALLOW_LOOPBACK": "1", "SUYUAN_NOTICE_DAYS": "30",
    }  # fmt: skip
    assert set(values) == set(NAMES)
    assert read(**values) == Settings(
        Path("/data"),
        Path("/keys"),
        URL,
        values["SUYUAN_OWNER_DATABASE_URL"],
        values["SUYUAN_ORIGIN"],
        7,
        ZoneInfo("Asia/Urumqi"),
        "smtps://user:secret@mail.example:465",
        "suyuan@city.example",
        allow_loopback=True,
        notice_days=30,
    )


def test_an_empty_setting_is_one_that_is_not_set() -> None:
    assert read(**dict.fromkeys(NAMES, "")) == read()


def test_this_processs_environment_is_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUYUAN_LANES", "5")
    assert Settings.from_environment().lanes == 5


@pytest.mark.parametrize("name", ["SUYUAN_DATA", "SUYUAN_KEYS"])
def test_a_folder_may_be_relative_or_begin_at_home(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for written in ("a b", "~/a b"):
        found = read(**{name: written})
        assert {"SUYUAN_DATA": found.data, "SUYUAN_KEYS": found.keys}[name] == tmp_path / "a b"


@pytest.mark.parametrize("origin", ["a", "city.example", "city.example:443", "city.example/a/b_~-.c", "x" * 200])
def test_an_origin_is_a_url_without_scheme(origin: str) -> None:
    assert read(SUYUAN_ORIGIN=origin).origin == origin


@pytest.mark.parametrize("lanes", [1, LANES_MAX])
def test_lanes_reach_from_one_to_the_most(lanes: int) -> None:
    assert read(SUYUAN_LANES=str(lanes)).lanes == lanes


def test_the_tests_own_variable_is_allowed_beside_them() -> None:
    assert read(**{SHARED_DATA: "/anything", "PATH": "/bin", "suyuan_lanes": "no"}) == read()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUYUAN_LANE", "2"),
        ("SUYUAN_", "2"),
        ("SUYUAN_DATA", "~no-such-user-here/x"),
        ("SUYUAN_KEYS", "~no-such-user-here/x"),
        ("SUYUAN_DATABASE_URL", "mysql://app:secret@db/x"),
        ("SUYUAN_DATABASE_URL", "host=db password=secret"),
        ("SUYUAN_DATABASE_URL", "postgresql://app:secret@db/x?no_such_option=1"),
        ("SUYUAN_DATABASE_URL", "postgresql://app:secret%zz@db/x"),
        ("SUYUAN_DATABASE_URL", "postgresql://app:secret@[::1/x"),
        ("SUYUAN_OWNER_DATABASE_URL", "secret"),
        ("SUYUAN_OWNER_DATABASE_URL", URL),
        ("SUYUAN_ORIGIN", "https://city.example/log"),
        ("SUYUAN_ORIGIN", "city.example/log/"),
        ("SUYUAN_ORIGIN", "city.example/log\n"),
        ("SUYUAN_ORIGIN", "city example"),
        ("SUYUAN_ORIGIN", "city+example"),
        ("SUYUAN_ORIGIN", "溯源.example"),
        ("SUYUAN_ORIGIN", "x" * 201),
        ("SUYUAN_SMTP_URL", "https://mail.example"),
        ("SUYUAN_SMTP_URL", "smtp://user:secret@"),
        ("SUYUAN_SMTP_URL", "smtp://user:secret@mail.example:70000"),
        ("SUYUAN_SMTP_URL", "smtp://user:secret@mail.example/x"),
        ("SUYUAN_SMTP_URL", "smtp://user:secret@mail.example\n"),
        ("SUYUAN_SMTP_FROM", "secret"),
        ("SUYUAN_SMTP_FROM", "a@b.example, c@d.example"),
        ("SUYUAN_SMTP_FROM", "a@b.example\nBcc: c@d.example"),
        ("SUYUAN_ALLOW_LOOPBACK", "yes"),
        ("SUYUAN_ALLOW_LOOPBACK", "2"),
        ("SUYUAN_NOTICE_DAYS", "0"),
        ("SUYUAN_NOTICE_DAYS", "3651"),
        ("SUYUAN_LANES", "0"),
        ("SUYUAN_LANES", str(LANES_MAX + 1)),
        ("SUYUAN_LANES", "-1"),
        ("SUYUAN_LANES", "2.0"),
        ("SUYUAN_LANES", " 2"),
        ("SUYUAN_LANES", "٢"),
        ("SUYUAN_LANES", "9" * 5000),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(name: str, value: str) -> None:
    """And a password that it holds is not repeated: such sentences end up in log files."""
    with pytest.raises(Misconfigured) as caught:
        read(**{name: value})
    assert str(caught.value).startswith(f"{name} ")
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_relative_folder_in_a_deleted_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(Misconfigured, match="SUYUAN_DATA"):
        read(SUYUAN_DATA="data")
    assert read(SUYUAN_DATA="/data").data == Path("/data")


def test_a_mail_server_needs_a_sender() -> None:
    with pytest.raises(Misconfigured, match=r"^SUYUAN_SMTP_FROM "):
        read(SUYUAN_SMTP_URL="smtp://mail.example:25")


@pytest.mark.parametrize("value", ["Asia/Nowhere", "../etc/passwd", "+08:00", "Asia/"])
def test_a_time_zone_that_there_is_not_is_named(value: str) -> None:
    with pytest.raises(Misconfigured, match="SUYUAN_TIME_ZONE"):
        read(SUYUAN_TIME_ZONE=value)
