"""Warnings over HTTP and on the command line: found, explained, handled, answered; rules checked and tried."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest

from api.ledger import Ledger, now, open_ledger
from ledger.access import Role
from ledger.database import Database
from ledger.entries import decode, time_text
from ledger.notes import open_receipt
from ledger.registers import HANDLING, PARTY, RULE_SET
from ledger.rules.form import FILE_BYTES_MAX
from ledger.rules.schema import FACTS, Watch
from ledger.rulesets import shipped
from ledger.settings import Settings
from ledger.warnings import SCRATCH
from ledger.watcher import Watcher
from tests.conftest import sign
from tests.test_access import server
from tests.test_command import Here, Installation, here, install, write_lines
from tests.test_http import JSON_BODY, NODE, OTHER, Server, capture, problem_of
from tests.test_registry import filed, kept

__all__ = ["here", "server"]

Json = dict[str, Any]
PORK, GREENS = "21113011", "01211"
STALL = f"{NODE}0001"
RULES = """
rules:
  - id: test_failed
    name: {zh: 检测不合格, en: test failed}
    level: orange
    watch: item
    steps: [inspecting]
    when: disposition == "non_conformant"
    subject: item
    by: [item]
    message: {zh: "批次 {item} 农药残留超标", en: "residues in {item} at {node}"}
    remedy: {zh: 停止销售, en: stop the sale}
    source: our own
    examples:
      - {fires: true, facts: {disposition: non_conformant}}
      - {fires: false, facts: {disposition: conformant}}

  - id: failed_twice
    name: {zh: 聚集性不合格, en: cluster of failures}
    level: red
    watch: item
    steps: [inspecting]
    when: disposition == "non_conformant"
    subject: goods
    by: [goods]
    window: {type: event_count, within: 24h, condition: count >= 2}
    message: {zh: "{goods} 不合格 {count} 次", en: "{goods} failed {count} times"}
    remedy: {zh: 通报产地, en: tell the place of origin}
    source: our own

  - id: sold_at_all
    name: {zh: 已售出, en: sold}
    level: blue
    watch: item
    steps: [retail_selling]
    when: "true"
    subject: item
    by: [item]
    message: {zh: "{node} 售出 {item}", en: "{node} sold {item}"}
    remedy: {zh: 查验小票, en: look at the slip}
    source: our own

  - id: sold_by
    name: {zh: 商户销售, en: a stall sold}
    level: yellow
    watch: event
    steps: [retail_selling]
    when: "true"
    subject: party
    by: [party]
    message: {zh: "{party} 销售", en: "{party} sold something"}
    remedy: {zh: 无, en: none}
    source: our own
"""


def lot(number: int, goods: str = PORK) -> str:
    return f"urn:suyuan:lot:{goods}:3302120011261125{number:04}"


def event(name: str, node: str, item: str, *, sold: bool = False, passed: bool = False, **more: Any) -> Json:
    """A lot that failed its test, passed it, or was sold, just now."""
    word = "conformant" if passed else "non_conformant"
    step, disposition = ("retail_selling", "retail_sold") if sold else ("inspecting", word)
    return {
        "type": "ObjectEvent", "eventID": f"urn:x:{name}", "action": "OBSERVE", "bizStep": step,
        "disposition": disposition, "eventTime": now().isoformat(), "eventTimeZoneOffset": "+08:00",
        "readPoint": {"id": f"urn:suyuan:node:{node}"},
        "quantityList": [{"epcClass": item, "quantity": 5, "uom": "KGM"}], **more,
    }  # fmt: skip


def sale(name: str, node: str, item: str, party: str) -> Json:
    source = [{"type": "owning_party", "source": f"urn:suyuan:party:{party}"}]
    return event(name, node, item, sold=True, sourceList=source)


DAY = [
    event("pork", NODE, lot(1)), event("pork-far", OTHER, lot(2)), event("greens", NODE, lot(3, GREENS)),
    sale("sale", NODE, lot(1), STALL), event("sale-far", OTHER, lot(4), sold=True),
]  # fmt: skip
RAISED = {
    ("test_failed", lot(1)): NODE, ("test_failed", lot(2)): OTHER, ("test_failed", lot(3, GREENS)): NODE,
    ("failed_twice", PORK): OTHER, ("sold_at_all", lot(1)): NODE, ("sold_at_all", lot(4)): OTHER,
    ("sold_by", STALL): NODE,
}  # fmt: skip
"""What these events raise, by rule and subject, and the node that it concerns."""


def follow(database: Database, settings: Settings) -> None:
    """What the lookout does, to its end."""
    with database.connect() as connection:
        connection.autocommit = True
        watcher = Watcher(connection, settings.zone)
        while watcher.step():
            pass


@dataclass
class Watched:
    """A served ledger whose events were watched; `admin` sees everything."""

    server: Server
    admin: httpx.Client
    ids: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        return self.server.ledger

    def record(self, *events: Json) -> None:
        assert capture(self.admin, list(events)).json()["success"]
        self.follow()

    def follow(self) -> None:
        sign(self.ledger)
        follow(self.ledger.database, self.ledger.settings)
        found = self.admin.get("/warnings", params={"hidden": True, "limit": 1000}).json()
        self.ids = {(one["rule"], one["subject"]): one["warning"] for one in found}

    def found(self, client: httpx.Client | None = None, **asked: Any) -> list[tuple[str, str]]:
        """Rule and subject of what is listed, sorted."""
        answer = (client or self.admin).get("/warnings", params=asked)
        assert answer.status_code == 200, answer.text
        return sorted((one["rule"], one["subject"]) for one in answer.json())

    def step(self, client: httpx.Client, rule: tuple[str, str], step: str, **more: Any) -> httpx.Response:
        return client.post(f"/warnings/{self.ids[rule]}/steps", json={"step": step, "reason": "as seen", **more})

    def status(self, rule: tuple[str, str]) -> str:
        """What it is once the watcher has followed."""
        self.follow()
        return self.admin.get(f"/warnings/{self.ids[rule]}").json()["status"]

    def entries(self) -> int:
        with self.ledger.database.connect() as connection:
            return connection.execute("SELECT count(*) FROM entry").fetchone()[0]


@pytest.fixture
def watched(server: Server) -> Watched:
    made = Watched(server, server.client())
    assert made.admin.post("/registry/rule-sets", json={"rule_set": "ours", "rules": RULES}).status_code == 201
    for one in DAY:  # one after the other: each has a record time of its own
        made.record(one)
    return made


def but(*names: str) -> list[tuple[str, str]]:
    """What is raised by these rules."""
    return sorted(one for one in RAISED if one[0] in names)


# --- finding --------------------------------------------------------------------------------------


def test_each_cause_is_a_warning_with_all_that_a_person_needs(watched: Watched) -> None:
    """Without law, remedy and evidence nobody could act on it, or be held to it."""
    assert watched.found() == sorted(RAISED)
    for one in watched.admin.get("/warnings").json():
        assert one["node"] == RAISED[one["rule"], one["subject"]] and one["region"] == "330212"
        assert one["source"] and one["evidence"] and one["remedy"]["zh"] and one["remedy"]["en"] and one["dueAt"]
        assert (one["status"], one["statusChinese"], one["count"], one["hidden"]) == ("open", "待处理", 1, None)
    times = [one["raisedAt"] for one in watched.admin.get("/warnings").json()]
    assert times == sorted(times, reverse=True), "the newest first"


def test_each_filter_alone(watched: Watched) -> None:
    """A filter that is not applied shows a duty officer other people's work."""
    pork, at_node = [one for one in RAISED if one != ("test_failed", lot(3, GREENS))], RAISED
    pork.remove(("sold_by", STALL))  # an event has no goods of its own
    for asked, wanted in [
        ({"level": "red"}, but("failed_twice")), ({"level": "橙色"}, but("test_failed")),
        ({"level": "蓝"}, but("sold_at_all")), ({"rule": "sold_by"}, but("sold_by")), ({"rule": "sold"}, []),
        ({"status": "open"}, sorted(RAISED)), ({"status": "待处理"}, sorted(RAISED)),
        ({"status": "unclosed"}, sorted(RAISED)), ({"status": "closed"}, []),
        ({"node": OTHER}, sorted(one for one, node in at_node.items() if node == OTHER)),
        ({"region": "330212"}, sorted(RAISED)), ({"region": "330106"}, []), ({"goods": PORK}, sorted(pork)),
        ({"goods": "0121"}, [("test_failed", lot(3, GREENS))]), ({"goods": "%"}, []), ({"goods": "_1113011"}, []),
        ({"subject": lot(1)}, sorted(one for one in RAISED if one[1] == lot(1))), ({"subject": "x"}, []),
    ]:  # fmt: skip
        assert watched.found(**asked) == wanted, asked


def test_filters_together_and_times(watched: Watched) -> None:
    """Together they narrow: any that widened would hide what was asked for among the rest."""
    assert watched.found(level="orange", node=NODE, goods="2", status="unclosed") == [("test_failed", lot(1))]
    assert watched.found(level="orange", rule="sold_by") == []
    by_time = watched.admin.get("/warnings").json()
    middle = by_time[3]["raisedAt"]
    before = sorted((one["rule"], one["subject"]) for one in by_time if one["raisedAt"] < middle)
    assert watched.found(until=middle) == before and 0 < len(before) < len(RAISED)
    assert watched.found(since=middle) == sorted(set(RAISED) - set(before))
    assert watched.found(since=middle, until=middle) == []


def test_words_in_any_language_and_order_find_it(watched: Watched) -> None:
    """Chinese is written without spaces: who searches two characters has to find them inside a sentence."""
    for text, rules in [
        ("残留", {"test_failed"}), ("留超", {"test_failed"}), ("超标 检测", {"test_failed"}),
        ("检测，不合格", {"test_failed"}), ("不合格", {"test_failed", "failed_twice"}), ("残", {"test_failed"}),
        ("标 农", {"test_failed"}), ("残超", set()), ("RESIDUES sale", {"test_failed"}), ("residue", set()),
        ("stop", {"test_failed"}), ("origin failed", {"failed_twice"}), ("failed_twice", {"failed_twice"}),
        ("21113011 failed 2 times", {"failed_twice"}), (STALL, {"sold_by"}), ("商户 sold", {"sold_by"}),
        ("nothing", set()), ("残%", {"test_failed"}),
    ]:  # fmt: skip
        assert {rule for rule, _ in watched.found(text=text)} == rules, text
    for text in ("%", "？ ！", "", "\x00"):
        problem_of(watched.admin.get("/warnings", params={"text": text}), 400, "QueryParameterException")


def test_codes_find_it(watched: Watched) -> None:
    """An officer has a lot's number in hand, or the warning's own id."""
    assert watched.found(text=lot(2)) == [("test_failed", lot(2))]
    assert watched.found(text="33021200112611250003") == [("test_failed", lot(3, GREENS))]
    for rule, id_ in watched.ids.items():
        assert watched.found(text=id_) == [rule]


def test_what_cannot_be_asked_is_a_problem(server: Server) -> None:
    """A filter that is misspelt and ignored would show everything, or be a fault of ours."""
    client = server.client()
    for query in (
        "level=x", "level=", "rule=", "status=x", "node=1", "node=33021200a", "region=x", "since=x", "since=2026-11-25",
        "until=25.11.2026", "limit=0", "limit=1001", "limit=x", "colour=red", "rule=%00", "goods=%00", "subject=%00",
    ):  # fmt: skip
        problem_of(client.get(f"/warnings?{query}"), 400, "QueryParameterException")


def test_pages_lose_nothing_and_repeat_nothing(watched: Watched) -> None:
    """Thirty are raised at the same moment: a page that ends among them must go on among them, filters kept."""
    watched.record(*(event(f"many-{n}", NODE, lot(100 + n)) for n in range(30)))
    whole = watched.admin.get("/warnings", params={"level": "orange", "text": "农药 超标"}).json()
    assert len(whole) == 33 and len({one["raisedAt"] for one in whole}) < 6
    path, seen, pages = "/warnings?level=orange&limit=4&text=" + quote("农药 超标"), [], 0
    while path:
        answer = watched.admin.get(path)
        seen += answer.json()
        pages += 1
        path = answer.links["next"]["url"] if answer.links else None
    assert seen == whole and pages == 9
    for after in ("x", f"{NODE}-{'0' * 24}", "\x00"):
        problem_of(watched.admin.get("/warnings", params={"after": after}), 404, "NoSuchNameException")


def test_what_is_hidden_is_shown_to_whoever_asks_for_it(watched: Watched) -> None:
    """A silence keeps people from being told; it must not make what happened vanish."""
    until = (now() + timedelta(hours=1)).isoformat()
    silence = {"silence": f"{NODE}-1", "rule": "sold_at_all", "until": until, "cause": "促销"}
    assert watched.admin.post("/registry/silences", json=silence).status_code == 201
    watched.record(event("quiet", NODE, lot(7), sold=True), event("heard", OTHER, lot(8), sold=True))
    assert ("sold_at_all", lot(7)) not in watched.found(), "silenced at its node"
    assert ("sold_at_all", lot(8)) in watched.found(), "silenced at another node only"
    (hidden,) = watched.admin.get("/warnings", params={"hidden": True, "subject": lot(7)}).json()
    assert hidden["hidden"] == f"silence {NODE}-1"
    assert watched.admin.get(f"/warnings/{hidden['warning']}").status_code == 200


# --- who sees what ------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.MARKET, Role.TERMINAL, Role.SUBSCRIBER, Role.PHARMACY])
def test_who_is_bound_to_a_node_sees_its_warnings_only(watched: Watched, role: Role) -> None:
    """A market that read its rival's warnings would know the rival's trade."""
    for node in (NODE, OTHER):
        client = watched.server.client(role, node)
        own = sorted(one for one, at in RAISED.items() if at == node)
        assert watched.found(client) == own == watched.found(client, hidden=True)
        assert watched.found(client, node=OTHER if node == NODE else NODE) == []
        for rule, at in RAISED.items():
            for path in ("", "/explanation"):
                answer = client.get(f"/warnings/{watched.ids[rule]}{path}")
                if at == node:
                    assert answer.status_code == 200
                else:
                    absent = client.get(f"/warnings/{at}-{'0' * 24}{path}")
                    assert problem_of(answer, 404, "NoSuchNameException") == absent.json(), "they look alike"
    both = watched.server.client(role, NODE, OTHER)
    assert watched.found(both) == sorted(RAISED)


def test_who_oversees_sees_all_and_a_stranger_nothing(watched: Watched) -> None:
    assert watched.found(watched.server.client(Role.REGULATOR)) == sorted(RAISED)
    assert watched.found(watched.server.client(Role.SUBSCRIBER)) == [], "bound to no node"
    stranger = watched.server.with_key(None)
    for path in ("", f"/{watched.ids['failed_twice', PORK]}", f"/{watched.ids['failed_twice', PORK]}/explanation"):
        problem_of(stranger.get(f"/warnings{path}"), 401, "SecurityException")


def test_a_page_after_somebody_elses_warning_is_refused(watched: Watched) -> None:
    """The cursor would tell when a rival's warning was raised."""
    client = watched.server.client(Role.MARKET, NODE)
    far = watched.ids["test_failed", lot(2)]
    problem_of(client.get("/warnings", params={"after": far}), 404, "NoSuchNameException")


# --- why -------------------------------------------------------------------------------------------------


def test_an_explanation_names_the_entries_and_their_hashes(watched: Watched) -> None:
    """Whoever disputes a warning can check each entry against the signed log."""
    found = watched.admin.get(f"/warnings/{watched.ids['failed_twice', PORK]}/explanation").json()
    assert [one["entry"] for one in found["entries"]] == found["evidence"] == [f"{NODE}/1", f"{OTHER}/1"]
    for one in found["entries"]:
        data = watched.admin.get(f"/entries/{one['entry']}", headers={"Accept": "application/octet-stream"}).content
        assert decode(data).hash.hex() == one["hash"] and one["body"] == json.loads(data)["body"]
        assert one["recordTime"] and one["actor"]
    assert found["window"]["count"] == 2 and found["values"]["goods"] == PORK
    assert found["when"] == 'disposition == "non_conformant"' and found["live"] is True and found["ruleVersion"]
    assert isinstance(found["position"], int)


def test_of_another_nodes_entries_an_explanation_shows_the_hash_only(watched: Watched) -> None:
    """The cluster concerns OTHER; that NODE's lot failed too is proved by its hash, not told with who did what."""
    client = watched.server.client(Role.MARKET, OTHER)
    far, near = client.get(f"/warnings/{watched.ids['failed_twice', PORK]}/explanation").json()["entries"]
    assert far["entry"] == f"{NODE}/1" and set(far) == {"entry", "hash", "recordTime"}
    assert near["entry"] == f"{OTHER}/1" and near["body"]["event"]["eventID"] == "urn:x:pork-far"


def test_a_rule_is_explained_as_it_was(watched: Watched) -> None:
    """The condition of the rule that is live now says nothing of why an older one fired."""
    path = f"/warnings/{watched.ids['test_failed', lot(1)]}/explanation"
    other = RULES.replace('disposition == "non_conformant"', 'disposition != "conformant"')
    assert watched.admin.patch("/registry/rule-sets/ours", json={"rules": other}).status_code == 200
    watched.follow()
    found = watched.admin.get(path).json()
    assert (found["live"], found["when"]) == (False, 'disposition == "non_conformant"')
    assert watched.admin.patch("/registry/rule-sets/ours", json={"rules": RULES}).status_code == 200
    assert watched.admin.get(path).json()["live"] is True
    retire = {"step": "retire", "reason": "x"}
    assert watched.admin.post("/registry/rule-sets/ours/steps", json=retire).status_code == 200
    found = watched.admin.get(path).json()
    assert (found["live"], found["when"]) == (False, 'disposition == "non_conformant"')


# --- handling ----------------------------------------------------------------------------------------------

FAILED = ("test_failed", lot(1))


def test_a_warning_is_handled_step_by_step_and_each_is_proved(watched: Watched) -> None:
    """挂牌督办: who did what when has to stand in the log, and the warning has to follow it."""
    filed(watched.ledger, PARTY, [
        {"party": STALL, "kinds": "retailer", "legal_name": "某商户", "credit_code": "91350100M000100Y43"}
    ])  # fmt: skip
    market, regulator = watched.server.client(Role.MARKET, NODE), watched.server.client(Role.REGULATOR)
    due = "2026-12-01T08:00:00+08:00"
    seen: list[tuple[str, str]] = []
    for client, step, status, more in [
        (market, "assign", "assigned", {"assignee": STALL, "due": due}), (market, "start", "rectifying", {}),
        (market, "submit", "submitted", {"measures": "下架并销毁"}), (regulator, "reject", "rectifying", {}),
        (market, "submit", "submitted", {"measures": "复检合格"}), (regulator, "verify", "verified", {}),
        (regulator, "close", "closed", {}), (market, "reopen", "open", {}),
    ]:  # fmt: skip
        before = watched.entries()
        answer = watched.step(client, FAILED, step, **more)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert made["status"] == status and {name: made[name] for name in more if name != "due"} == {
            name: value for name, value in more.items() if name != "due"
        }  # fmt: skip
        assert watched.entries() == before + (2 if not seen else 1), "one entry a step; the first files it"
        (proved,) = open_receipt(made["receipt"], watched.ledger.keys.verifiers())
        assert made["entry"] == f"{proved.node:09d}/{proved.seq}"
        data = regulator.get(f"/entries/{made['entry']}", headers={"Accept": "application/octet-stream"}).content
        assert decode(data).hash == proved.hash
        assert json.loads(data)["body"]["change"]["row"]["status"] == status and "as seen" not in data.decode()
        seen.append((status, made["entry"]))
        assert watched.status(FAILED) == status, "the warning follows"
    shown = market.get(f"/warnings/{watched.ids[FAILED]}").json()
    assert [(one["status"], one["entry"]) for one in shown["steps"][1:]] == seen
    assert shown["steps"][0]["status"] == "open" and all(one["at"].endswith("Z") for one in shown["steps"])
    assert {"reason"} & {name for one in shown["steps"] for name in one} == set(), "reasons are sealed: they may name"
    assert (shown["steps"][-1]["assignee"], shown["steps"][3]["measures"]) == (STALL, "下架并销毁")
    assert kept(watched.ledger, HANDLING, watched.ids[FAILED]).row["due"] == "2026-12-01T00:00:00Z"


def test_the_end_that_was_set_counts_and_a_closed_one_has_none(watched: Watched) -> None:
    assert watched.step(watched.admin, FAILED, "assign", due="2026-12-01T08:00:00+08:00").status_code == 201
    watched.follow()
    assert watched.admin.get(f"/warnings/{watched.ids[FAILED]}").json()["dueAt"].startswith("2026-12-01T00:00")
    other = ("test_failed", lot(2))
    assert watched.step(watched.admin, other, "close").status_code == 201
    assert watched.status(other) == "closed"
    assert watched.admin.get(f"/warnings/{watched.ids[other]}").json()["dueAt"] is None
    assert other not in watched.found(status="unclosed") and other in watched.found(status="closed")


@pytest.mark.parametrize("step", ["verify", "close"])
def test_a_market_does_not_pass_its_own_work(watched: Watched, step: str) -> None:
    """Whoever has to mend something must not be the one who says that it is mended."""
    market = watched.server.client(Role.MARKET, NODE)
    before = watched.entries()
    problem_of(watched.step(market, FAILED, step), 403, "SecurityException")
    assert watched.entries() == before, "a first step that is refused files nothing"
    for one in ("assign", "submit"):
        assert watched.step(market, FAILED, one).status_code == 201
    before = watched.entries()
    problem_of(watched.step(market, FAILED, step), 403, "SecurityException")
    assert watched.entries() == before


def test_a_market_handles_nothing_of_another_node(watched: Watched) -> None:
    market, far = watched.server.client(Role.MARKET, NODE), ("test_failed", lot(2))
    before = watched.entries()
    problem_of(watched.step(market, far, "assign"), 404, "NoSuchNameException")
    problem_of(watched.step(watched.server.client(Role.TERMINAL, NODE), FAILED, "assign"), 403, "SecurityException")
    problem_of(watched.step(watched.server.with_key(None), FAILED, "assign"), 401, "SecurityException")
    assert watched.entries() == before + 1, "the terminal's credential"


def test_a_step_that_does_not_fit_files_nothing(watched: Watched) -> None:
    """A handling that was filed for a refused step would tell everybody that somebody is at it."""
    before = watched.entries()
    for step in ("start", "submit", "reject", "verify", "reopen"):
        problem_of(watched.step(watched.admin, FAILED, step), 409, "ResourceAlreadyExistsException")
    found = problem_of(watched.step(watched.admin, FAILED, "finish"), 400, "QueryParameterException")
    assert "assign" in found["detail"]
    for more in ({"assignee": f"{NODE}0099"}, {"assignee": "1"}, {"due": "tomorrow"}, {"measures": "x" * 501}):
        found = problem_of(watched.step(watched.admin, FAILED, "assign", **more), 400, "ValidationException")
        assert [one["path"] for one in found["errors"]] == [*more]
    for reason in ("", " ", "\x07", "x" * 501):
        answer = watched.step(watched.admin, FAILED, "assign", reason=reason)
        problem_of(answer, 400, "ValidationException")
    for body in ({}, {"step": "assign"}, {"step": "assign", "reason": "x", "colour": "red"}):
        assert watched.admin.post(f"/warnings/{watched.ids[FAILED]}/steps", json=body).status_code == 400
    problem_of(
        watched.admin.post(f"/warnings/{NODE}-{'0' * 24}/steps", json={"step": "assign", "reason": "x"}), 404,
        "NoSuchNameException",
    )  # fmt: skip
    assert watched.entries() == before and watched.status(FAILED) == "open"
    assert watched.admin.get(f"/warnings/{watched.ids[FAILED]}").json()["steps"] == []


def test_a_refused_step_leaves_assignee_and_measures_as_they_were(watched: Watched) -> None:
    """What comes with a step belongs to it: half of a refused request must not stay."""
    assert watched.step(watched.admin, FAILED, "assign", measures="first").status_code == 201
    before = watched.entries()
    problem_of(watched.step(watched.admin, FAILED, "verify", measures="second"), 409, "ResourceAlreadyExistsException")
    assert watched.entries() == before
    assert kept(watched.ledger, HANDLING, watched.ids[FAILED]).row["measures"] == "first"


# --- holds -------------------------------------------------------------------------------------------------


def held(watched: Watched, client: httpx.Client, rule: tuple[str, str], **more: Any) -> httpx.Response:
    return client.post(f"/warnings/{watched.ids[rule]}/hold", json={"reason": "failed its test", **more})


def test_what_a_warning_is_about_is_held_at_once(watched: Watched) -> None:
    """One click between a failed test and the shop's till."""
    market, until = watched.server.client(Role.MARKET, NODE), (now() + timedelta(days=1)).isoformat()
    for rule, scope, target in [
        (FAILED, "lot", lot(1)), (FAILED, "goods", PORK), (FAILED, "node", NODE), (("sold_by", STALL), "party", STALL),
        (("sold_by", STALL), "node", NODE),
    ]:  # fmt: skip
        answer = held(watched, market, rule, scope=scope, until=until)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert (made["scope"], made["target"], made["status"]) == (scope, target, "active")
        assert made["warning"] == watched.ids[rule] and made["hold"].startswith(f"{NODE}-") and made["until"]
        (proved,) = open_receipt(made["receipt"], watched.ledger.keys.verifiers())
        assert made["entry"] == f"{proved.node:09d}/{proved.seq}"
        seen = market.get(f"/registry/holds/{made['hold']}").json()
        assert seen == {name: value for name, value in made.items() if name not in ("entry", "receipt")}
        again = held(watched, market, rule, scope=scope).json()
        assert again["hold"] != made["hold"], "a second order is an order of its own"


def test_a_hold_is_of_the_lot_unless_it_says_otherwise(watched: Watched) -> None:
    assert held(watched, watched.admin, FAILED).json()["scope"] == "lot"


def test_nothing_is_held_that_a_warning_does_not_name(watched: Watched) -> None:
    """A hold on a guess would stop somebody else's trade."""
    before = watched.entries()
    for rule, scope in [
        (("failed_twice", PORK), "lot"), (("failed_twice", PORK), "party"), (("sold_by", STALL), "lot"),
        (("sold_by", STALL), "goods"), (FAILED, "party"),
    ]:  # fmt: skip
        found = problem_of(held(watched, watched.admin, rule, scope=scope), 404, "NoSuchNameException")
        assert f"names no {scope}" in found["detail"]
    for scope in ("batch", "x", ""):
        found = problem_of(held(watched, watched.admin, FAILED, scope=scope), 400, "ValidationException")
        assert "lot, goods, party or node" in found["detail"]
    assert watched.entries() == before


def test_only_who_sees_all_holds_everywhere(watched: Watched) -> None:
    """A market that could stop a lot in the whole city would stop its rivals."""
    market = watched.server.client(Role.MARKET, NODE)
    before = watched.entries()
    problem_of(held(watched, market, FAILED, everywhere=True), 403, "SecurityException")
    problem_of(held(watched, market, ("test_failed", lot(2))), 404, "NoSuchNameException")
    assert watched.entries() == before
    made = held(watched, watched.server.client(Role.REGULATOR), FAILED, everywhere=True)
    assert made.status_code == 201 and made.json()["hold"].startswith("000000000-")
    for more in ({"reason": ""}, {"reason": " "}, {"until": "tomorrow"}):
        problem_of(held(watched, watched.admin, FAILED, **more), 400, "ValidationException")


# --- rules -------------------------------------------------------------------------------------------------


def test_rules_are_listed_with_what_came_of_them(watched: Watched) -> None:
    """A rule that never fires, or cannot be evaluated, looks like peace."""
    found = {one["id"]: one for one in watched.admin.get("/rules").json()}
    assert set(found) == {"test_failed", "failed_twice", "sold_at_all", "sold_by"}
    assert found["test_failed"]["set"] == "ours" and found["test_failed"]["level"] == "orange"
    assert found["test_failed"]["counts"] == {"evaluated": 3, "matched": 3, "notEvaluated": 0, "raised": 3}
    assert found["failed_twice"]["counts"] == {"evaluated": 3, "matched": 3, "notEvaluated": 0, "raised": 1}
    assert found["sold_by"]["counts"] == {"evaluated": 2, "matched": 2, "notEvaluated": 1, "raised": 1}
    watched.admin.post("/registry/rule-sets/ours/steps", json={"step": "retire", "reason": "x"})
    assert watched.admin.get("/rules").json() == []


def test_what_rules_may_ask_is_listed(server: Server) -> None:
    found = server.client(Role.TERMINAL, NODE).get("/rules/facts").json()
    assert {watch: set(facts) for watch, facts in found.items()} == {str(one): set(FACTS[one]) for one in Watch}
    assert found["item"]["days_left"] == {
        "chinese": "剩余保质天数", "help": FACTS[Watch.ITEM]["days_left"].help, "type": "int",
    }  # fmt: skip


WRONG = [
    ("rules: [", ["no YAML"]), ("", ["one key, rules"]), ("rules: 3", ["one key, rules"]), ("\x00", ["control"]),
    ("a" * 290_000, ["bytes"]), ("rules: [3]", ["a rule is a map"]), ("rules: &a [*a]", ["anchors"]),
    (
        RULES.replace("orange", "pink").replace("{item} at {node}", "{itm}").replace("source: our own", "", 1)
        .replace('when: "true"', "when: wrong(", 1).replace("24h", "a day"),
        ["level", "itm", "source", "rules[1]", "window.within", "rules[2] sold_at_all"],
    ),
    (RULES.replace("fires: true", "fires: false"), ["test_failed", "examples[0]"]),
    (RULES.replace("failed_twice", "test_failed"), ["stands in this file already"]),
]  # fmt: skip


def test_all_that_is_wrong_with_a_rule_file_is_told_at_once_and_it_is_never_filed(server: Server) -> None:
    """A rule file that is half right would watch half of what its writer believes."""
    client = server.client()
    assert client.post("/registry/rule-sets", json={"rule_set": "ours", "rules": RULES}).status_code == 201
    for text, told in WRONG:
        found = client.post("/rules/check", json={"rules": text})
        assert found.status_code == 200, found.text
        said = [f"{one['field']}: {one['reason']}" for one in found.json()["wrong"]]
        assert [word for word in told if not any(word in one for one in said)] == [], said
        problem_of(
            client.post("/registry/rule-sets", json={"rule_set": "theirs", "rules": text}), 400, "ValidationException"
        )  # fmt: skip
        problem_of(client.patch("/registry/rule-sets/ours", json={"rules": text}), 400, "ValidationException")
    problem_of(client.get("/registry/rule-sets/theirs"), 404, "NoSuchNameException")
    assert kept(server.ledger, RULE_SET, "ours").row["rules"] == RULES.strip(), "the live ones go on"


def test_a_rule_file_that_is_right_is_right(server: Server) -> None:
    client = server.client(Role.REGULATOR)
    for text in (RULES, "rules: []", *shipped().values()):
        assert client.post("/rules/check", json={"rules": text}).json() == {"wrong": []}
    assert client.get("/rules").json() == [], "checking keeps nothing"
    problem_of(client.post("/registry/rule-sets", json={"rule_set": "x1", "rules": RULES}), 403, "SecurityException")
    for body in (b"{", b'{"rules": 3}', b"{}", json.dumps({"rules": "x" * 300_001}).encode()):
        assert client.post("/rules/check", content=body, headers=JSON_BODY).status_code == 400


# --- the command line --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that was watched by our rules; what tests add to it does no harm to others."""
    for made in install(tmp_path_factory.mktemp("work")):
        for node in (NODE, OTHER):
            made.good("node", "add", node, "城东农贸市场", "--scheme", "A")
        (made.folder / "ours.yaml").write_text(RULES)
        assert "4 rules of ours are live from entry 000000000/" in made.good("rules", "load", "ours", "ours.yaml")
        write_lines(made.folder / "day.jsonl", DAY)
        made.good("capture", "day.jsonl")
        followed(made)
        yield made


def followed(installation: Installation) -> None:
    settings = Settings.from_environment(installation.environment())
    with open_ledger(settings) as ledger:
        sign(ledger)
        follow(ledger.database, settings)


def ids(here: Here, *asked: str) -> dict[tuple[str, str], str]:
    found = json.loads(here.good("warning", "list", "--hidden", "--json", *asked))
    return {(one["rule"], one["subject"]): one["warning"] for one in found}


def test_checking_a_file_tells_all_that_is_wrong_and_ends_with_2(here: Here) -> None:
    """A script that loads what was checked needs the status, a person the places."""
    for text, told in WRONG:
        (here.installed.folder / "wrong.yaml").write_text(text)
        if len(text) > FILE_BYTES_MAX:
            assert "bytes" in here.refused("rules", "check", "wrong.yaml")
            continue
        code, out, err = here.run("rules", "check", "wrong.yaml")
        assert code == 2 and out == "" and all(line.startswith("wrong.yaml: ") for line in err.splitlines())
        assert [word for word in told if word not in err] == [], err
        assert "nothing was written" in here.refused("rules", "load", "wrong", "wrong.yaml")
    assert "no rule-set" in here.refused("rule-set", "show", "wrong")


def test_checking_a_good_file_says_so(here: Here) -> None:
    assert here.good("rules", "check", "ours.yaml") == "ours.yaml: 4 rules, all examples hold\n"


def test_a_file_that_cannot_be_read_is_named(here: Here) -> None:
    (here.installed.folder / "latin.yaml").write_bytes("# Stück\nrules: []".encode("latin-1"))
    for command in (("check",), ("load", "latin"), ("test", "--since", "2026-11-01T00:00:00Z")):
        said = here.refused("rules", *command, "latin.yaml")
        assert "latin.yaml" in said and "UTF-8" in said
    code, _, err = here.run("rules", "check", "nowhere.yaml")
    assert code == 2 and "nowhere.yaml" in err


def test_sets_are_loaded_once(here: Here) -> None:
    """Loading again what is live would begin every window anew, and add entries that say nothing."""
    for name, text in shipped().items():
        count = len(re.findall(r"^  - id: ", text, re.M))
        assert f"{count} rules of {name} are live from entry" in here.good("rules", "load", name)
        assert here.good("rules", "load", name) == f"{name} is live as it is\n"
    assert here.good("rules", "load", "ours", "ours.yaml") == "ours is live as it is\n"
    assert "access, drugs, food" in here.refused("rules", "load", "fruit")
    assert "small letters" in here.refused("rules", "load", "OURS", "ours.yaml")
    listed = here.good("rules", "list")
    assert "residue_f" in listed and "test_fa" in listed
    for name in shipped():
        here.good("rule-set", "retire", name, "--reason", "for a test")


def tables(installation: Installation) -> dict[str, str]:
    """A digest of all rows of each of the watcher's tables."""
    with installation.superuser() as connection:
        return {name: _digest(connection, name) for name in (*SCRATCH, "entry")}


def _digest(connection: psycopg.Connection, name: str) -> str:
    question = f"SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, '' ORDER BY t::text)), '') FROM {name} t"
    return connection.execute(question).fetchone()[0]


TRIED = (
    RULES.replace('when: disposition == "non_conformant"', f'when: goods == "{PORK}"', 1)
    .replace("fires: false, facts: {disposition", "fires: true, facts: {goods: '21113011', disposition", 1)
    .replace("fires: true, facts: {disposition: non", "fires: true, facts: {goods: '21113011', disposition: non", 1)
    .replace("count >= 2", "count >= 3")
    .replace("id: sold_by", "id: sold_by_new")
)  # fmt: skip
"""Greens do not fail any more, two failures are no cluster; a rule has another name."""


def test_rules_are_tried_on_what_has_been_and_nothing_is_touched(here: Here) -> None:
    """Whoever changes a rule sees first what it would have raised; the live warnings and their windows stay."""
    (here.installed.folder / "tried.yaml").write_text(TRIED)
    before = tables(here.installed)
    assert int(before["warning"].split()[0]) >= len(RAISED)
    asked = ("rules", "test", "tried.yaml", "--since", "2026-11-01T00:00:00+08:00")
    found = json.loads(here.good(*asked, "--json"))
    assert {(one["rule"], one["subject"]) for one in found["new"]} == {("sold_by_new", STALL)}
    gone = {(one["rule"], one["subject"]) for one in found["gone"]}
    assert gone == {("test_failed", lot(3, GREENS)), ("failed_twice", PORK)}
    assert found["same"] == 4 and found["entries"] > len(DAY)
    counted = {key.partition("@")[0]: count for key, count in found["counts"].items()}
    assert counted["sold_by_new"] == {"evaluated": 2, "matched": 2, "notEvaluated": 1, "raised": 1}
    told = here.good(*asked)
    assert "4 warnings as they are, 1 new, 2 not raised any more" in told
    assert re.search(r"^\+ 黄色 sold_by_new .*销售", told, re.M) and re.search(r"^- 红色 failed_twice ", told, re.M)
    assert re.search(r"^sold_by_new@\w+: 1 of 2 not evaluated", told, re.M)
    later = json.loads(here.good("rules", "test", "tried.yaml", "--since", "2099-01-01T00:00:00Z", "--json"))
    assert (later["new"], later["gone"], later["same"]) == ([], [], 0)
    assert tables(here.installed) == before


def test_the_live_rules_tried_raise_what_was_raised(here: Here) -> None:
    """Otherwise a trial would show differences that the change did not make."""
    found = json.loads(here.good("rules", "test", "ours.yaml", "--since", "2026-11-01T00:00:00Z", "--json"))
    assert (found["new"], found["gone"], found["same"]) == ([], [], len(RAISED))


def test_a_trial_of_what_is_wrong_is_refused(here: Here) -> None:
    (here.installed.folder / "wrong.yaml").write_text("rules: [3]")
    assert "a rule is a map" in here.refused("rules", "test", "wrong.yaml", "--since", "2026-11-01T00:00:00Z")
    for since in ("yesterday", "2026-11-01", "2026-11-01T00:00:00"):
        assert "is not a time" in here.refused("rules", "test", "ours.yaml", "--since", since)


def test_what_there_is_is_listed(here: Here) -> None:
    listed = here.run("rules", "list", COLUMNS="200")[1]
    assert all(one in listed for one in ("ours", "test_failed", "橙色", "检测不合格", "our own"))
    for watch in Watch:
        said = here.run("rules", "facts", str(watch), COLUMNS="200")[1]
        assert all(name in said for name in FACTS[watch])
    assert here.run("rules", "facts", "weather")[0] == 2
    said = here.good("rules", "shipped")
    assert len(said.splitlines()) == sum(len(re.findall(r"^  - id: ", text, re.M)) for text in shipped().values())
    assert "food residue_failed 橙色 农药残留不合格 residue test failed: GB/T 5009.199" in said


def test_warnings_are_listed_shown_and_explained(here: Here) -> None:
    assert set(ids(here)) == set(RAISED)
    assert {rule for rule, _ in ids(here, "--level", "red")} == {"failed_twice"}
    assert set(ids(here, "--text", "残留 超标", "--node", OTHER)) == {("test_failed", lot(2))}
    assert len(ids(here, "--limit", "2")) == 2 and ids(here, "--rule", "x") == {}
    assert ids(here, "--since", time_text(now() + timedelta(days=1))) == {}
    table = here.run("warning", "list", "--level", "red", COLUMNS="200")[1]
    assert "红色" in table and "待处理" in table and "不合格 2 次" in table
    id_ = ids(here)["failed_twice", PORK]
    shown = json.loads(here.good("warning", "show", id_))
    assert shown["warning"] == id_ and shown["message"]["en"] == f"{PORK} failed 2 times"
    found = json.loads(here.good("rules", "explain", id_))
    assert found["live"] is True and [len(one["hash"]) for one in found["entries"]] == [64, 64]
    assert {one["body"]["event"]["eventID"] for one in found["entries"]} == {"urn:x:pork", "urn:x:pork-far"}
    for command in (("warning", "show"), ("rules", "explain")):
        assert "no such warning" in here.refused(*command, "x")
    for asked in (("--level", "pink"), ("--status", "x"), ("--node", "1"), ("--since", "x"), ("--text", "?")):
        assert "is not a" in here.refused("warning", "list", *asked)


def test_the_operator_handles_and_holds(here: Here) -> None:
    """The same steps as over HTTP, with the same refusals."""
    id_ = ids(here)["test_failed", lot(2)]
    assert "does not apply" in here.refused("warning", "step", id_, "verify", "--reason", "x")
    assert "no party" in here.refused("warning", "step", id_, "assign", "--reason", "x", "--assignee", f"{OTHER}0099")
    said = here.good("warning", "step", id_, "assign", "--reason", "x", "--due", "2026-12-01T08:00:00+08:00",
                     "--measures", "下架")  # fmt: skip
    assert re.fullmatch(rf"{id_} is assigned, entry 000000000/[0-9]+\n", said)
    followed(here.installed)
    shown = json.loads(here.good("warning", "show", id_))
    assert shown["status"] == "assigned" and shown["dueAt"].startswith("2026-12-01T00:00")
    assert ids(here, "--status", "assigned") == {("test_failed", lot(2)): id_}
    said = here.good("warning", "hold", id_, "--reason", "failed", "--everywhere", "--until", "2026-12-01T08:00:00Z")
    assert re.fullmatch(rf"lot {lot(2)} is held: 000000000-[0-9a-f]{{12}}\n", said)
    assert "names no party" in here.refused("warning", "hold", id_, "--reason", "x", "--scope", "party")
    assert "no such warning" in here.refused("warning", "hold", "x", "--reason", "x")
    assert "everything agrees" in here.good("audit")


def test_the_shipped_files_lie_in_the_package() -> None:
    folder = Path(__file__).parents[1] / "ledger" / "rules" / "shipped"
    assert {path.stem: path.read_text() for path in folder.glob("*.yaml")} == dict(shipped())
    assert len(shipped()) == 3
