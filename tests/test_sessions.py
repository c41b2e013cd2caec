"""Sessions and pages from outside: cookies, forged requests, headers, texts, and what each role's pages show."""

import base64
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import quote

import httpx
import pytest
from jinja2 import Environment, nodes
from starlette.requests import Request
from starlette.responses import Response

from api.console import session
from api.console.pages import HERE, MENU
from api.console.terminal import WORDS
from api.console.texts import TEXTS
from api.ledger import now
from ledger.access import ALLOWED, Role
from ledger.credentials import issue, revoke
from ledger.registers import NODE as NODES
from tests.test_access import FAR_MARKER, ROUTES, server, traded
from tests.test_access import LOT as TRADED
from tests.test_http import NODE, OTHER, Server, credential, problem_of, routes_of
from tests.test_registry import filed
from tests.test_warnings import DAY, RULES, Watched

__all__ = ["server", "traded"]

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
TEMPLATES = sorted((HERE / "templates").glob("*.html"))
SCRIPTS = sorted((HERE / "static").glob("*.js"))
POLICY = {
    "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self' data: blob:",
    "connect-src": "'self'", "media-src": "'self' blob:", "worker-src": "'self'", "manifest-src": "'self'",
    "form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
}  # fmt: skip


def signed_in(server: Server, role: Role, *bound: str) -> tuple[httpx.Client, str]:
    """A browser's client that has signed in with a key, and the key."""
    key = credential(server.ledger, role, *bound)[1]
    client = server.with_key(None)
    client.headers.update(HTML)
    answer = client.post("/login", data={"key": key})
    assert answer.status_code == 303 and answer.headers["location"] == "/console"
    return client, key


def token_of(client: httpx.Client, path: str = "/console/warnings") -> str:
    found = re.search(r'name="csrf" content="([0-9a-f]{32})"', client.get(path).text)
    assert found is not None
    return found[1]


# --- the cookie -------------------------------------------------------------------------------------


def test_the_cookie_is_sealed_and_kept_from_scripts_and_other_sites(server: Server) -> None:
    """A cookie that a script reads, or another site's page sends, is a key given away."""
    key = credential(server.ledger, Role.REGULATOR)[1]
    answer = server.with_key(None).post("/login", data={"key": f" {key} "})
    (cookie,) = answer.headers.get_list("set-cookie")
    name, _, rest = cookie.partition("=")
    value, *flags = rest.split("; ")
    wanted = {"HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={int(session.LASTS.total_seconds())}"}
    assert name == "suyuan" and wanted <= {*flags} and not any(one.startswith("Domain") for one in flags)
    data = base64.urlsafe_b64decode(value.strip('"'))
    for part in (key, *key.split("_", 2)[1:]):
        assert part.encode() not in data and part not in value
    other = server.with_key(None).post("/login", data={"key": key})
    assert other.cookies["suyuan"] != value, "two sessions of one key have nothing in common"


def test_over_https_the_cookie_never_goes_in_the_clear(server: Server) -> None:
    scope = {"type": "http", "scheme": "https", "server": ("x", 443), "path": "/", "headers": [], "query_string": b""}
    answer = Response()
    session.begin(answer, Request(scope), "x")
    assert "Secure" in answer.headers["set-cookie"]


def test_what_is_no_session_opens_nothing(server: Server) -> None:
    """Forged, cut, changed by one bit, sealed by another installation, or too old."""
    client, key = signed_in(server, Role.REGULATOR)
    good = client.cookies["suyuan"].strip('"')
    data, secret = base64.urlsafe_b64decode(good), server.ledger.secret
    late = session.sealed(secret, key, now() - timedelta(seconds=1))
    foreign = session.sealed(b"another", key, now() + timedelta(hours=1))
    flipped = [
        base64.urlsafe_b64encode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]).decode()
        for at in range(0, len(data), 7)
    ]
    cut = [base64.urlsafe_b64encode(data[:length]).decode() for length in (0, 1, 11, 12, 13, 28, len(data) - 1)]
    bad = [late, foreign, key, good[:-1], good[1:], good + good, "", "=", "a" * 4000, "\\x00", *flipped, *cut]
    stranger = server.with_key(None)
    for cookie in bad:
        answer = stranger.get("/warnings", headers={"Cookie": f"suyuan={cookie}"})
        problem_of(answer, 401, "SecurityException")
    assert stranger.get("/warnings", headers={"Cookie": f"suyuan={good}"}).status_code == 200
    stranger.headers.update(HTML)
    answer = stranger.get("/console", headers={"Cookie": f"suyuan={late}"})
    assert answer.status_code == 303 and answer.headers["location"] == "/login?next=/console"


def test_a_revoked_key_ends_its_sessions(server: Server) -> None:
    """A stolen till is signed out when its key is, not in twelve hours."""
    with server.ledger.database.read() as connection:
        request, made, key = issue(connection, Role.REGULATOR, "x", [], 1, "operator", now())
    server.ledger.record(request)
    client = server.with_key(None)
    client.post("/login", data={"key": key})
    assert client.get("/warnings").status_code == 200
    server.ledger.record(revoke(made, "operator", now()))
    until = time.monotonic() + 1
    while client.get("/warnings").status_code == 200:
        assert time.monotonic() < until
    problem_of(client.get("/warnings"), 401, "SecurityException")


def test_signing_out_takes_the_cookie_away(server: Server) -> None:
    client, key = signed_in(server, Role.REGULATOR)
    answer = client.post("/logout")
    assert answer.status_code == 303 and "suyuan" not in client.cookies
    assert client.get("/console").headers["location"] == "/login?next=/console"
    assert server.with_key(key).get("/warnings").status_code == 200, "the key stays valid"


def test_a_wrong_key_is_said_and_not_repeated(server: Server) -> None:
    for key in ("sy_aaaaaaaaaa_wrong<script>", "", "无此密钥", "x" * 9000, "x" * 20_000):
        answer = server.with_key(None).post("/login", data={"key": key}, headers=HTML)
        assert answer.status_code == 401 and 'role="alert"' in answer.text and "set-cookie" not in answer.headers
        assert not key or key not in answer.text


# --- forged requests --------------------------------------------------------------------------------

CHANGING = [(method, path, body) for method, path, body, allowed in ROUTES
            if method not in ("GET", "OPTIONS") and None not in allowed]  # fmt: skip


def test_every_route_that_changes_something_wants_the_token(server: Server) -> None:
    """Else a page of another site, open in the same browser, sells packs and files recalls."""
    client, _ = signed_in(server, Role.ADMIN)
    client.headers["Accept"] = "application/json"
    assert {path for _, path, _ in CHANGING} >= {"/capture", "/scans", "/credentials", "/access-checks"}
    walked = set()
    for method, path, body in CHANGING:
        for token in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 32}, {"X-CSRF-Token": "é".encode()}):
            answer = client.request(method, path, json=body, headers=token)
            problem_of(answer, 403, "SecurityException")
        walked |= {route.path for route in routes_of(None)
                   if method in route.methods and route.path_regex.fullmatch(path.partition("?")[0])}  # fmt: skip
    changing = {
        route.path for route in routes_of(None)
        if route.methods & {"POST", "PATCH", "PUT", "DELETE"} and route.path not in ("/login", "/logout")
    }  # fmt: skip
    assert changing - walked == set()
    token = token_of(client)
    body = {"role": "regulator", "label": "x"}
    assert client.post("/credentials", json=body, headers={"X-CSRF-Token": token}).status_code == 201
    other, _ = signed_in(server, Role.ADMIN)
    problem_of(
        client.post("/credentials", json=body, headers={"X-CSRF-Token": token_of(other), "Accept": "*/*"}), 403,
        "SecurityException",
    )  # fmt: skip


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1.evil.example", "null", "http://127.0.0.1:1"]
)
def test_another_site_signs_nobody_in_or_out(server: Server, origin: str) -> None:
    """Signed in as somebody else without knowing, one records under a stranger's name."""
    client, key = signed_in(server, Role.REGULATOR)
    for path in ("/login", "/logout"):
        answer = client.post(path, data={"key": key}, headers={"Origin": origin, "Accept": "*/*"})
        problem_of(answer, 403, "SecurityException")
        assert "set-cookie" not in answer.headers
    assert client.post("/login", data={"key": key}, headers={"Origin": server.url}).status_code == 303


@pytest.mark.parametrize(
    "given",
    ["https://evil.example", "//evil.example", "/console//evil.example", "/\\evil.example", "/console/..//x", "\\\\x",
     "/consoles", "javascript:alert(1)", "/console\\..\\x", "/console\r\nX: y", "/", "console", "/terminal/../t", ""],
)  # fmt: skip
def test_signing_in_leads_to_our_own_pages_only(server: Server, given: str) -> None:
    """A link to the sign-in page that leads on to a copy of it would collect keys."""
    key = credential(server.ledger, Role.REGULATOR)[1]
    answer = server.with_key(None).post("/login", data={"key": key, "next": given})
    assert answer.headers["location"] == "/console" and "X" not in answer.headers
    shown = server.with_key(None).get("/login", params={"next": given}).text
    assert 'name="next" value="/console"' in shown


def test_signing_in_leads_to_what_was_asked_for(server: Server) -> None:
    client = server.with_key(None)
    client.headers.update(HTML)
    asked = "/console/trace?code=https%3A%2F%2Fid.gs1.org%2F01%2F06901234500103&direction=both"
    page = client.get(client.get(asked).headers["location"])
    following = re.search(r'name="next" value="([^"]+)"', page.text)[1].replace("&amp;", "&")
    answer = client.post("/login", data={"key": credential(server.ledger, Role.REGULATOR)[1], "next": following})
    assert answer.headers["location"] == asked


# --- headers, errors, files -------------------------------------------------------------------------


def pages_of(role: Role | None = None) -> list[str]:
    """Paths of pages, of those that a role may see."""
    return [
        path for method, path, _, allowed in ROUTES
        if method == "GET" and path.startswith(("/console", "/terminal", "/login")) and not path.endswith(".js")
        and ".png" not in path and "/slips" not in path and (role is None or role in allowed)
    ]  # fmt: skip


def policy_of(answer: httpx.Response) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in answer.headers["content-security-policy"].split(";"))
    return {name: rest for name, _, rest in parts}


def test_every_page_has_its_policy(server: Server) -> None:
    """One page without it, and what somebody wrote into a name runs as the regulator."""
    client, _ = signed_in(server, Role.ADMIN)
    for path in ["/", "/login", "/static/app.js", "/terminal/worker.js", "/console/nothing", *pages_of()]:
        answer = client.get(path)
        assert policy_of(answer) == POLICY, path
        assert answer.headers["x-content-type-options"] == "nosniff", path
        kept = "no-cache" if path.startswith("/static/") else "no-store"
        assert answer.headers["cache-control"] == kept, path
        assert answer.headers["referrer-policy"] == "same-origin", path
        assert answer.headers["cross-origin-opener-policy"] == "same-origin", path
        assert "geolocation=()" in answer.headers["permissions-policy"], path


def test_people_get_error_pages_and_programs_problems(server: Server) -> None:
    """Neither can read the other's."""
    client, _ = signed_in(server, Role.REGULATOR)
    for path, status, text in [
        ("/console/nothing", 404, "no_page"), ("/console/recalls/XX-99", 404, "not_found"),
        ("/console/trace?code=%F0%9F%90%B7", 400, "not_found"), ("/console/trace?code=x&direction=up", 400, "error"),
        ("/console/log?before=x", 400, "error"), ("/console/warnings?limit=x", 400, "error"),
        ("/console/warnings?level=%3Cscript%3E", 400, "not_found"), ("/terminal", 403, "not_allowed"),
    ]:  # fmt: skip
        page = client.get(path)
        assert page.status_code == status and page.headers["content-type"].startswith("text/html"), (path, page.text)
        assert TEXTS[text][0] in page.text and "<script>" not in page.text and "Traceback" not in page.text, path
        assert "/logout" in page.text or status == 404, "who is signed in stays signed in"
        problem = client.get(path, headers={"Accept": "application/json"})
        assert problem.status_code == status and problem.headers["content-type"] == "application/problem+json", path


def test_a_file_is_sent_again_only_where_it_changed(server: Server) -> None:
    """An old script beside a new one ends every page; one that is sent anew each time costs a telephone."""
    client = server.with_key(None)
    first = client.get("/static/app.js")
    again = client.get("/static/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"") and again.headers["etag"] == first.headers["etag"]
    assert client.get("/static/app.js", headers={"If-None-Match": '"other"'}).content == first.content
    assert len({client.get(f"/static/{name}").headers["etag"] for name in ("app.js", "live.js", "suyuan.css")}) == 3


def test_only_the_files_of_the_folder_are_served(server: Server) -> None:
    client = server.with_key(None)
    for path in SCRIPTS:
        assert client.get(f"/static/{path.name}").headers["content-type"].startswith("text/javascript"), path
    assert client.get("/static/suyuan.css").headers["content-type"].startswith("text/css")
    assert client.get("/static/icon.svg").headers["content-type"].startswith("image/svg+xml")
    for name in (
        "../pages.py", "..%2Fpages.py", "%2e%2e%2fpages.py", "..%5cpages.py", "%2Fetc%2Fpasswd", "pages.py",
        "app.js%00", "app.js/", "APP.JS", "templates/base.html",
    ):  # fmt: skip
        raw = httpx.URL(server.url).copy_with(raw_path=f"/static/{name}".encode())
        answer = client.get(raw)
        assert answer.status_code in (404, 307) and "import" not in answer.text, name


# --- templates and texts ----------------------------------------------------------------------------


def test_no_template_has_script_or_style_of_its_own() -> None:
    """The policy would stop it in the browser, where nobody looks."""
    assert len(TEMPLATES) > 12
    for path in TEMPLATES:
        text = path.read_text()
        assert not re.search(r"<style|\sstyle\s*=|\son[a-z]+\s*=|javascript:", text, re.I), path.name
        for attributes, body in re.findall(r"<script([^>]*)>(.*?)</script>", text, re.S):
            assert 'src="/static/' in attributes and not body.strip(), path.name
        assert not re.search(r'(src|href|action)="(https?:)?//', text), path.name
        assert "|safe" not in text.replace(" ", ""), path.name


SAID = ("title", "alt", "placeholder", "aria-label", "aria-description", "content")


def test_templates_have_no_words_of_their_own() -> None:
    """A word in a template is a word in one language."""
    for path in TEMPLATES:
        text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", path.read_text(), flags=re.S)
        for name in SAID:
            for value in re.findall(rf'\s{name}="([^"]*)"', text):
                plain = value.replace("width=device-width, initial-scale=1", "")
                assert not re.search(r"[^\W\d_]", plain), (path.name, name, value)
        text = re.sub(r">[a-z-]+\.js<", "><", text)  # a file's name is the same in every language
        text = re.sub(r"<!DOCTYPE[^>]*>|<[^>]*>|&[a-z]+;", " ", text, flags=re.S)
        assert not re.search(r"[^\W\d_]", text), (path.name, re.findall(r"[^\W\d_]+", text))


def test_every_text_is_in_both_languages() -> None:
    for name, (zh, en) in TEXTS.items():
        assert re.search(r"[\u4e00-\u9fff]", zh) and en.strip() and not re.search(r"[\u4e00-\u9fff]", en), name


def strings() -> Iterator[tuple[str, bool]]:
    """What templates and code of the pages say in quotes, and whether it is only how a name begins."""
    sources = [*TEMPLATES, *(path for path in HERE.rglob("*.py") if not path.name.startswith("texts"))]
    for path in sources:
        text = path.read_text()
        for found in re.findall(r'"([a-z][A-Za-z0-9_]*)"', text):
            yield found, False
        for found in re.findall(r'"([a-z][a-z0-9_]*_)"\s*~|f"([a-z][a-z0-9_]*_)\{', text):
            yield found[0] or found[1], True


def test_every_text_is_used() -> None:
    """A text that no page shows is a translation that nobody checks."""
    whole = {one for one, begins in strings() if not begins}
    begun = tuple({one for one, begins in strings() if begins})
    whole |= {f"till_{word}" for word in WORDS} | {name for _, name, _ in MENU}
    assert {name for name in TEXTS if name not in whole and not name.startswith(begun)} == set()


def test_every_text_that_is_named_is_there() -> None:
    """Else the page that names it is an error."""
    environment = Environment()
    for path in TEMPLATES:
        tree = environment.parse(path.read_text())
        for call in tree.find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name in ("t", "plain") and call.args:
                first = call.args[0]
                if isinstance(first, nodes.Const):
                    assert first.value in TEXTS, (path.name, first.value)
                elif isinstance(first, nodes.Concat) and isinstance(first.nodes[0], nodes.Const):
                    assert any(name.startswith(str(first.nodes[0].value)) for name in TEXTS), path.name
    for path in HERE.glob("*.py"):
        for name in re.findall(r'\b(?:plain|both|words)\("([a-z_0-9]+)"\)', path.read_text()):
            assert name in TEXTS, (path.name, name)
    assert {name for _, name, _ in MENU} <= set(TEXTS)


# --- roles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [*Role])
def test_a_role_sees_its_pages_and_no_other(traded: Server, role: Role) -> None:
    """Others get an error page that says nothing of what is there; nobody sees another node's trade."""
    bound = [] if role in (Role.ADMIN, Role.REGULATOR, Role.SUBSCRIBER) else [NODE]
    client, _ = signed_in(traded, role, *bound)
    mine, shown = set(pages_of(role)), []
    for path in pages_of():
        answer = client.get(path)
        assert answer.status_code not in (401, 500), (path, answer.text)
        if path in mine:
            assert answer.status_code != 403, path
        else:
            assert answer.status_code == 403 and TEXTS["not_allowed"][0] in answer.text, path
        shown.append(answer)
    menu = set(re.findall(r'<li><a href="([^"]+)"', shown[-1].text)) - {"#main"}
    wanted = {path for path, _, action in MENU if ALLOWED[action] is None or role in ALLOWED[action]}
    assert menu == wanted, "the menu leads where one may go"
    assert not bound or all(client.get(path).status_code == 200 for path in menu if "assessment" not in path)
    if role not in (Role.REGULATOR, Role.ADMIN):
        shown += [client.get(f"/console/trace?code={quote(TRADED + more, safe='')}") for more in ("", "-other")]
        shown.append(client.get(f"/console/market?node={OTHER}"))
        for answer in shown:
            assert FAR_MARKER not in answer.text, str(answer.url)
        assert shown[-1].status_code == 403 and f"市场 {OTHER}" not in shown[-1].text


def test_a_market_s_board_and_warnings_are_of_its_own_nodes(server: Server) -> None:
    """A market's numbers are its rival's business plan."""
    watched = Watched(server, server.client())
    assert watched.admin.post("/registry/rule-sets", json={"rule_set": "ours", "rules": RULES}).status_code == 201
    watched.record(*DAY)
    market, _ = signed_in(server, Role.MARKET, NODE)
    regulator, _ = signed_in(server, Role.REGULATOR)
    for path in ("/console", "/console/warnings?status=all", "/console/market"):
        seen, all_ = market.get(path).text, regulator.get(path).text
        assert NODE in seen and OTHER not in seen and OTHER in all_, path
    theirs = next(id_ for id_ in watched.ids.values() if id_.startswith(OTHER))
    answer = market.get(f"/console/warnings/{theirs}")
    assert answer.status_code == 404 and OTHER not in answer.text.replace(theirs, "")


def test_what_comes_from_the_ledger_is_never_markup(server: Server) -> None:
    """Names come from sheets that strangers fill in."""
    evil = '"><img src=x onerror=alert(1)>'
    filed(server.ledger, NODES, [{"node": "330212055", "name": evil, "trace_scheme": "A", "kind": "market"}])
    admin, _ = signed_in(server, Role.ADMIN)
    for path in ("/console", "/console/market", "/terminal"):
        text = admin.get(path).text
        assert "<img src=x" not in text and "&lt;img src=x" in text, path
    for path in ("/console/trace?code=", "/console/labels?code=", "/console/warnings?text=", "/login?next="):
        assert "<img src=x" not in admin.get(path + quote(evil)).text, path
