"""Where web hooks may go: a table of hostile URLs and addresses, and what a connection is really made to."""

import asyncio
import contextlib
import datetime
import random
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ledger.errors import UnreadableCode
from ledger.outbound import Answer, Outbound, is_public, retry_after_s
from ledger.registers.supervision import parse_hook

URLS = [
    "", "hook", "https://", "https:///x", "//hook.example/", "http://hook.example/", "http://hook.example:443/",
    "ftp://hook.example/", "file:///etc/passwd", "gopher://127.0.0.1/", "javascript:alert(1)",
    "https://user@hook.example/", "https://user:word@hook.example/", "https://hook.example@127.0.0.1/",
    "https://127.0.0.1@hook.example/", "https://hook.example\\@127.0.0.1/", "https://hook.example#@127.0.0.1/",
    "https://hook.example/#x", "https://hook.example /", " https://hook.example/", "https://hook.example/\n",
    "https://hook.example/a b", "https://hook.example/\r\nHost: x", "https://hook.example:22/",
    "https://hook.example:80/", "https://hook.example:6379/", "https://hook.example:0/", "https://hook.example:65536/",
    "https://hook.example:99999/", "https://hook.example:-1/", "https://hook.example:443x/", "https://2130706433/",
    "https://0x7f000001/", "https://0x7f.0.0.1/", "https://017700000001/", "https://0177.0.0.1/", "https://127.1/",
    "https://127.0.1/", "https://127.0.0.1.:443/", "https://[::1%lo]/", "https://[::1%25lo]/", "https://[::1/",
    "https://[127.0.0.1/", "https://[g::1]/", "https://[:::]/", "https://hook..example/", "https://.example/",
    "https://hook_example/", "https://%31%32%37.0.0.1/", "https://①②⑦.⓪.⓪.①/", "https://hoοk.example/",
    "https://hook.example。/", f"https://{'a' * 64}.example/", f"https://{'a.' * 130}example/", "https://256.1.1.1/",
    "https://1.2.3.4.5/", "https://169.254.169.254:80/latest/meta-data", "HTTPS://hook.example/",
]  # fmt: skip
"""None of these is taken at filing."""

ADDRESSES = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1",
    "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a00:1", "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2002:7f00:1::",
    "2002:a00:1::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
    "5f00::1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost", "",
]  # fmt: skip
"""To none of these is anything sent, whatever name leads there."""


@pytest.mark.parametrize("url", URLS)
def test_a_hostile_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UnreadableCode) as caught:
        parse_hook(url)
    assert len(url) < 9 or url not in str(caught.value)


@pytest.mark.parametrize("url", URLS)
def test_nothing_is_sent_to_a_hostile_url(url: str) -> None:
    assert post(url).error == "the URL is none that is taken"


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_public(address)
    assert post("https://hook.example/", resolves=[[address]]).error == "the address is not public"
    assert post("https://hook.example/", resolves=[["8.8.8.8", address]]).error == "the address is not public"


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "114.114.114.114", "2400:3200::1", "2606:4700::1111"])
def test_a_public_address_is_taken(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "authority"),
    [
        ("https://hook.example", "hook.example", 443, "/", "hook.example"),
        ("https://Hook.Example:8443/a/b?c=d&e=%20", "hook.example", 8443, "/a/b?c=d&e=%20", "hook.example:8443"),
        ("https://hook.example?x=1", "hook.example", 443, "/?x=1", "hook.example"),
        ("https://8.8.8.8/x", "8.8.8.8", 443, "/x", "8.8.8.8"),
        ("https://[2400:3200::1]:8443/", "2400:3200::1", 8443, "/", "[2400:3200::1]:8443"),
        ("http://127.0.0.1:8080/x", "127.0.0.1", 8080, "/x", "127.0.0.1:8080"),
        ("http://localhost/x", "localhost", 80, "/x", "localhost"),
        ("http://[::1]:9/x", "::1", 9, "/x", "[::1]:9"),
    ],
)
def test_a_good_url_is_read(url: str, host: str, port: int, target: str, authority: str) -> None:
    hook = parse_hook(url)
    assert (hook.host, hook.port, hook.target, hook.authority) == (host, port, target, authority)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080/", "http://localhost:8080/", "https://127.0.0.1/", "https://[::1]:8443/", "http://[::1]/"],
)
def test_this_machine_is_taken_by_form_and_refused_at_sending(url: str) -> None:
    parse_hook(url)
    assert post(url, resolves=[["127.0.0.1"]]).error == "the address is not public"


def test_even_with_the_setting_only_this_machine_is_reached_beside_the_open_internet() -> None:
    for address in ("10.0.0.1", "169.254.169.254", "::ffff:10.0.0.1"):
        assert post("https://hook.example/", [[address]], allow_loopback=True).error == "the address is not public"
    assert post("http://localhost:9/", [["127.0.0.1", "10.0.0.1"]], allow_loopback=True).error


def post(url: str, resolves: list[list[str]] | None = None, allow_loopback: bool = False,
         trust: ssl.SSLContext | None = None) -> Answer:  # fmt: skip
    """Post, where the first question for a name is answered by the first list, and so on."""
    answers = iter(resolves or [])

    async def resolve(_: str, __: int) -> list[str]:
        try:
            return next(answers)
        except StopIteration:
            raise socket.gaierror from None

    outbound = Outbound(allow_loopback=allow_loopback, resolve=resolve, trust=trust, deadline_s=3)
    return asyncio.run(outbound.post(url, {"webhook-id": "x"}, b"{}"))


def test_a_name_is_looked_up_once() -> None:
    """A second look could find another address (DNS rebinding): what was checked is what is connected to."""
    asked: list[str] = []
    with serving("hook.example") as (address, trust, heard), serving("hook.example") as (other, _, unheard):
        turns = iter([[address], [other], [other]])

        async def resolve(host: str, port: int) -> list[str]:
            asked.append(f"{host}:{port}")
            return next(turns)

        outbound = Outbound(allow_loopback=True, resolve=resolve, trust=trust, deadline_s=3)
        assert asyncio.run(outbound.post(URL, {}, b"{}")).status == 204
        assert asked == ["hook.example:8443"] and len(heard) == 1 and not unheard
    assert post(URL, [["8.8.8.8", "10.0.0.1"]]).error == "the address is not public"
    assert post(URL, [["10.0.0.1"], ["8.8.8.8"]]).error == "the address is not public"


def test_no_such_host() -> None:
    assert post("https://hook.example/").error == "no such host"
    assert post("https://hook.example/", [[]]).error == "no such host"


def certificate(name: str, folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    path = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


URL = "https://hook.example:8443/x?y=1"


@contextlib.contextmanager
def serving(name: str) -> Iterator[tuple[str, ssl.SSLContext, list[tuple[str | None, bytes]]]]:
    """A TLS server under a name, on port 8443 of one of this machine's 2^24 addresses; what it hears, with the SNI."""
    with tempfile.TemporaryDirectory() as folder:
        path = certificate(name, Path(folder))
        context, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(path))
        context.load_cert_chain(path)
    heard: list[tuple[str | None, bytes]] = []
    names: list[str | None] = []
    context.sni_callback = lambda _, asked, __: names.append(asked)
    address = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"
    with socket.create_server((address, 8443)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as tls:
                        heard.append((names[-1] if names else None, tls.recv(65536)))
                        tls.sendall(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
                        while tls.recv(65536):  # until the other side has closed: with its body unread it gets a reset
                            pass
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield address, trust, heard
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_the_certificate_is_checked_for_the_hosts_name_and_the_name_is_sent() -> None:
    with serving("hook.example") as (address, trust, heard):
        answer = post(URL, [[address]], allow_loopback=True, trust=trust)
        assert answer.status == 204, answer
        ((name, request),) = heard
        assert name == "hook.example" and request.startswith(b"POST /x?y=1 HTTP/1.1\r\n")
        assert b"host: hook.example:8443\r\n" in request.lower()
        wrong = post("https://other.example:8443/", [[address]], allow_loopback=True, trust=trust)
        assert wrong.error == "certificate not accepted" and len(heard) == 1
        untrusted = post(URL, [[address]], allow_loopback=True)
        assert untrusted.error == "certificate not accepted" and len(heard) == 1


def test_the_next_address_is_tried_where_nobody_listens() -> None:
    with serving("hook.example") as (address, trust, heard):
        answer = post(URL, [["127.251.0.1", address]], allow_loopback=True, trust=trust)
        assert answer.status == 204 and len(heard) == 1
    assert post(URL, [["127.251.0.1"]], allow_loopback=True).error == "cannot connect"


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving("hook.example") as (address, trust, heard):
        assert post(URL, [[address]], allow_loopback=True, trust=trust).status == 204
        assert len(heard) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5), ("0", 0), ("999999999999", 86400), ("-5", None), ("soon", None), ("", None), ("٣", None),
     ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Fri, 31 Dec 2999 23:59:59 GMT", 86400)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_and_bounded(text: str, seconds: int | None) -> None:
    assert retry_after_s(text) == seconds
