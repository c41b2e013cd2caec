"""Journeys through the console and the terminal in a real browser, on a telephone and on a desk.

Each does what a person does, with keys and clicks, and then asks the ledger what has become of it. At the end of every
journey no page has written an error, thrown, or asked another host (`visitors`).
"""

import itertools
import re
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, expect

from api.console.tracing import ROWS_SHOWN
from api.ledger import now
from ledger.access import Role
from ledger.codes import TRACE_URN
from ledger.registers import GOODS, LICENCE, PARTY
from ledger.registers import NODE as NODES
from reports.graph import OPENED_MAX
from tests.browser import DESK, PHONE, WIDTHS, Visitor, Visitors, browser, visitors
from tests.test_access import server
from tests.test_access_checks import GATE, Gate
from tests.test_access_checks import SELLER as FILED
from tests.test_http import NODE, Server, capture
from tests.test_packs import BATCH, CORNER, EXPIRES, HIGH_STREET, PLANT, City
from tests.test_registry import filed
from tests.test_scans import ABATTOIR, FARM, KINDS, MARKET, STALL, opened, scan
from tests.test_warnings import DAY, RULES, Watched, event, lot

__all__ = ["browser", "server", "visitors"]

PACK = "81234560000000010001"
SELLER = f"{NODE}0001"
widths = pytest.mark.parametrize("width", WIDTHS)


def key_of(client: httpx.Client) -> str:
    return client.headers["authorization"].removeprefix("Bearer ")


@pytest.fixture
def drugs(server: Server) -> City:
    """A plant and two pharmacies; the pack `PACK` is made."""
    city = City(server)
    made(city, PACK)
    return city


def made(city: City, *codes: str) -> None:
    for code in codes:
        assert city.give(PLANT, "commission", code, batch=BATCH, expires=EXPIRES).status_code == 201


def till(visitors: Visitors, city: City, node: str = CORNER, width: int = DESK) -> Visitor:
    """A pharmacist at a terminal, signed in."""
    found = visitors.come(width, key_of(city.at[node]), "/terminal")
    expect(found.page.locator("#scan")).to_be_focused()
    return found


def wedge(page: Page, text: str) -> None:
    """A keyboard scanner: all keys at once, with Shift where a US keyboard has it, Enter at the end."""
    for shifted, some in itertools.groupby(text + "\n", lambda one: one.isupper() or one in SHIFTED):
        if shifted:
            page.keyboard.down("Shift")
        page.keyboard.type("".join(some))
        if shifted:
            page.keyboard.up("Shift")


SHIFTED = '~!@#$%^&*()_+{}|:"<>?'


def says(page: Page, kind: str, *words: str) -> None:
    """The terminal's answer: its colour, and in words."""
    answer = page.locator("#answer")
    expect(answer).to_have_class(re.compile(rf"\b{kind}\b"))
    for word in words:
        expect(answer).to_contain_text(word)


def sales(city: City, code: str = PACK) -> int:
    """How often the ledger has it sold."""
    return len(httpx.get(f"{city.server.url}/public/packs/{code}").json()["times"])


def wait_for(true: Callable[[], object], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


# --- the pharmacist ---------------------------------------------------------------------------------


@widths
def test_a_pack_is_sold_and_refused_a_second_sale(visitors: Visitors, drugs: City, width: int) -> None:
    """A pharmacist who is not told at once, large and in red, hands out a forged pack."""
    here, there = till(visitors, drugs, CORNER, width), till(visitors, drugs, HIGH_STREET, width)
    there.expected = {"409"}
    wedge(here.page, PACK)
    says(here.page, "admitted", "可以", "yes", "已售出")
    here.accessible()
    wedge(there.page, PACK)
    says(there.page, "refused", "不可以", "no", "报警", "alert")
    assert there.page.locator("#answer").evaluate("one => getComputedStyle(one).backgroundColor") == "rgb(176, 0, 32)"
    assert there.page.locator("#answer").get_attribute("aria-live") == "assertive", "who does not see it hears it"
    there.accessible()
    assert sales(drugs) == 1


def test_the_same_scan_within_a_minute_is_said_to_be_the_same(visitors: Visitors, drugs: City) -> None:
    """ "Sold" twice for one pack, and the pharmacist believes that two were sold."""
    page = till(visitors, drugs).page
    wedge(page, PACK)
    says(page, "admitted", "已售出")
    wedge(page, PACK)
    says(page, "conditional", "重复扫码", "没有再记")
    assert sales(drugs) == 1


SEND = """([code, options]) => document.querySelector('#scan').dispatchEvent(
    new KeyboardEvent('keydown', {code, bubbles: true, cancelable: true, ...options}))"""


def strike(page: Page, text: str, **options: Any) -> None:
    """What a scanner's keys are to the browser under another layout, an input method or Caps Lock: code stays."""
    for one in text:
        code = f"Digit{one}" if one.isdigit() else f"Key{one.upper()}"
        page.evaluate(SEND, [code, {"key": one, "shiftKey": one.isupper(), **options}])
    page.evaluate(SEND, ["Enter", {"key": "Enter"}])


def test_keys_are_read_by_their_place(visitors: Visitors, drugs: City) -> None:
    """Under a French layout, an input method or Caps Lock a scan would become another code, or none."""
    codes = [PACK[:-1] + digit for digit in "2345"]
    made(drugs, *codes)
    page = till(visitors, drugs).page
    warn = page.locator("#warn")
    for code, options, said in (
        (codes[0], {"key": "é"}, "键盘布局"),
        (codes[1], {"key": "Process", "keyCode": 229, "isComposing": True}, "输入法"),
        (codes[2], {"modifierCapsLock": True}, "大写锁定"),
    ):
        for one in code:
            page.evaluate(SEND, [f"Digit{one}", {"key": one, **options}])
        expect(warn).to_contain_text(said)
        expect(page.locator("#scan")).to_have_value(code)
        page.evaluate(SEND, ["Enter", {"key": "Enter"}])
        expect(page.locator("#history li").first).to_contain_text(f"{code} 已售出")
        assert sales(drugs, code) == 1
    wedge(page, codes[3])
    expect(warn).to_be_hidden()


def test_what_an_input_method_composes_is_no_part_of_the_code(visitors: Visitors, drugs: City) -> None:
    """Letters of pinyin among the digits make a code that nobody printed."""
    here = till(visitors, drugs)
    here.expected = {"400"}
    page, devtools = here.page, here.context.new_cdp_session(here.page)
    page.keyboard.type(PACK[:10])
    devtools.send("Input.imeSetComposition", {"text": "ni", "selectionStart": 2, "selectionEnd": 2})
    devtools.send("Input.insertText", {"text": "你"})
    wedge(page, PACK[10:])
    says(page, "admitted", "已售出")
    strike(page, "aB1")
    expect(page.locator("#history li").first).to_contain_text("aB1")


def test_a_scan_counts_wherever_the_cursor_is(visitors: Visitors, drugs: City) -> None:
    """A click beside the field, and the scanner would speak into nothing."""
    page = till(visitors, drugs).page
    page.evaluate("document.activeElement.blur()")
    expect(page.locator("#scan")).not_to_be_focused()
    wedge(page, PACK)
    says(page, "admitted", "已售出")


@widths
def test_sales_without_a_network_are_kept_and_sent_once_each(visitors: Visitors, drugs: City, width: int) -> None:
    """A sale that is lost, or recorded twice, when the network fails makes honest packs look forged."""
    codes = [PACK, *(PACK[:-1] + digit for digit in "23")]
    made(drugs, *codes[1:])
    assert drugs.give(HIGH_STREET, "supply", codes[2]).status_code == 201
    here = till(visitors, drugs, width=width)
    here.expected = {"offline", "409"}
    page = here.page
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    wait_for(lambda: page.evaluate("caches.match('/terminal').then(Boolean)"))
    here.context.set_offline(True)
    for number, code in enumerate(codes, 1):
        wedge(page, code)
        says(page, "conditional", "待上传", code)
        expect(page.locator("#state")).to_contain_text(f"{number} 条待上传")
    kept = page.evaluate(IDS)
    page.reload()
    expect(page.locator("#state")).to_contain_text("3 条待上传")
    expect(page.locator("#state")).to_contain_text("断网")
    assert page.evaluate(IDS) == kept and len(kept) == 3, "the same ids, or the ledger takes them for other sales"
    here.accessible()
    assert sales(drugs) == 0
    here.context.set_offline(False)
    expect(page.locator("#aside li")).to_have_count(1)
    expect(page.locator("#aside li")).to_contain_text(codes[2])
    says(page, "refused", codes[2])
    assert [sales(drugs, code) for code in codes] == [1, 1, 1]
    for sent in kept[:2]:
        assert drugs.at[CORNER].get(f"/events/urn:uuid:{sent}").status_code == 200, "under the terminal's own id"
    here.accessible()
    page.locator("#aside button").click()
    expect(page.locator("#aside")).to_be_hidden()


IDS = """() => new Promise((done) => { const asked = indexedDB.open("suyuan-terminal");
    asked.onsuccess = () => { const all = asked.result.transaction("outbox").objectStore("outbox").getAll();
        all.onsuccess = () => { asked.result.close();
            done(all.result.sort((a, b) => a.kept - b.kept).map((one) => one.scan)); } } })"""


def test_an_answer_that_was_lost_on_its_way_is_asked_for_again(visitors: Visitors, drugs: City) -> None:
    """The sale is in the ledger and the terminal does not know: what it sends again must not be refused to it."""
    here = till(visitors, drugs)
    here.expected = {"offline", "409"}

    def lose(route: Any) -> None:
        route.fetch()
        route.abort()

    here.page.route("**/supply", lose, times=1)
    wedge(here.page, PACK)
    says(here.page, "conditional", "待上传")
    here.page.evaluate("dispatchEvent(new Event('online'))")  # as every five seconds
    expect(here.page.locator("#history li").first).to_contain_text("✓")
    expect(here.page.locator("#aside")).to_be_hidden()
    assert sales(drugs) == 1


def test_a_session_that_ended_keeps_what_waits(visitors: Visitors, drugs: City) -> None:
    """A sale that is thrown away because somebody signed out is lost."""
    here = till(visitors, drugs)
    here.expected = {"401"}
    page = here.page
    here.context.clear_cookies()
    wedge(page, PACK)
    says(page, "conditional", "待上传")
    expect(page.locator("#again")).to_contain_text("登录已过期")
    page.locator("#again a").click()
    page.get_by_label("凭据密钥").fill(key_of(drugs.at[CORNER]))
    page.keyboard.press("Enter")
    expect(page.locator("#history li").first).to_contain_text(f"{PACK} 已记录")
    assert sales(drugs) == 1


# --- the stall, and food stopped ----------------------------------------------------------------------


@pytest.fixture
def market(server: Server) -> httpx.Client:
    """An administrator of a city of food: pork from a pig, at a stall."""
    filed(server.ledger, NODES, [
        {"node": node, "name": kind, "trace_scheme": "A", "kind": kind} for node, kind in KINDS.items()
    ])  # fmt: skip
    filed(server.ledger, GOODS, [{"goods": "21113011", "name": "猪肉", "kind": "meat", "unit": "KGM"}])
    return server.client()


def stall(visitors: Visitors, server: Server, width: int = DESK, **more: Any) -> Visitor:
    found = visitors.come(width, key_of(server.client(Role.TERMINAL, MARKET)), "/terminal", **more)
    found.page.select_option("#step", "retail_sale")
    found.page.fill("#party", STALL)
    found.page.locator("#party").blur()
    return found


def sell(page: Page, code: str, quantity: str, unit: str = "KGM") -> None:
    page.fill("#quantity", quantity)
    page.select_option("#unit", unit)
    page.locator("#scan").focus()
    wedge(page, code)


@widths
def test_a_stall_sells_by_weight_and_gives_a_slip(
    visitors: Visitors, server: Server, market: httpx.Client, width: int
) -> None:
    """A weight in the wrong unit, or a slip without its code, and the way of the food ends at the stall."""
    pork = opened(market, MARKET, "20", STALL)
    here = stall(visitors, server, width)
    page = here.page
    expect(page.locator("#result")).to_be_hidden()
    page.fill("#goods", "21113011")
    page.fill("#quantity", "1250")
    page.select_option("#unit", "GRM")
    page.fill("#price", "25.8")
    page.click("#send")
    says(page, "admitted", "已记录")
    code = page.locator("#slip .code").first.inner_text()
    assert code.startswith(STALL) and "猪肉 1250" in page.locator("#slip").inner_text()
    here.accessible()
    (row,) = market.get(f"/balances/{pork}").json()["balances"]
    assert row["quantity"] == 18.75
    assert pork in {one["item"] for one in market.get(f"/trace/urn:suyuan:trace:{code}").json()["items"]}


@widths
def test_a_recall_reaches_the_till_and_shows_who_has_what(
    visitors: Visitors, server: Server, market: httpx.Client, width: int
) -> None:
    """What was made of the recalled pig is sold on, or nobody knows where it is."""
    pigs = scan(market, FARM, "origin_harvest", goods="pig", quantity="10", unit="H87")["made"]["lot"]
    pig = {"lot": pigs, "quantity": "10", "unit": "H87"}
    scan(market, FARM, "origin_out", **pig, counterparty=f"{ABATTOIR}0000")
    papers = [{"kind": "animal", "number": "330212000117"}]
    scan(market, ABATTOIR, "slaughter_intake", **pig, counterparty=f"{FARM}0000", vouchers=papers)
    pork = scan(market, ABATTOIR, "slaughter", **pig, goods="21113011", made="800")["made"]["lot"]
    scan(market, ABATTOIR, "carcass_out", lot=pork, quantity="300", counterparty=STALL)
    scan(market, MARKET, "retail_entry", party=STALL, lot=pork, quantity="300", counterparty=f"{ABATTOIR}0000")
    regulator = visitors.come(width, key_of(server.client(Role.REGULATOR)), "/console/recalls")
    page = regulator.page
    page.fill("#recall", "SP-1")
    page.fill("#lots", pigs)
    page.select_option("#regime", "cn_food")
    page.select_option("#origin", "ordered")
    page.click("button.danger")
    page.locator("td a", has_text="SP-1").click()
    expect(page.locator("h1")).to_have_text("SP-1")
    expect(page.locator("dl")).to_contain_text(pork)
    rows = page.locator("table.sortable").first.locator("tbody tr")
    expect(rows.filter(has_text=MARKET)).to_contain_text("300")
    expect(rows.filter(has_text=ABATTOIR).filter(has_text="千克").or_(rows.filter(has_text="KGM"))).not_to_have_count(0)
    regulator.accessible()
    here = stall(visitors, server, width)
    here.expected = {"409"}
    sell(here.page, pork, "1")
    says(here.page, "refused", "不可以", "SP-1")
    page.fill("#reason", "全部召回完毕")
    page.locator("form[data-action] button").click()
    expect(page.locator("form[data-action]")).to_have_count(0)
    assert market.get("/recalls/SP-1").json()["status"] != "active"


# --- the market manager -------------------------------------------------------------------------------


@widths
def test_goods_come_in_with_their_papers_and_not_without(visitors: Visitors, server: Server, width: int) -> None:
    """A gate whose answer is unclear lets everything in."""
    gate = Gate(server)
    filed(server.ledger, GOODS, [{"goods": "21113011", "name": "猪肉", "kind": "meat", "unit": "KGM"}])
    today = gate.today
    ends = [(today + timedelta(days=days)).isoformat() for days in (40, 5, 300)]
    filed(server.ledger, LICENCE, [
        {"party": FILED, "number": f"JX{day}", "valid_from": "2020-01-01", "kind": "food_operation", "valid_to": day}
        for day in ends
    ])  # fmt: skip
    manager = visitors.come(width, key_of(gate.at[GATE]), "/console/market")
    page = manager.page
    soon = page.get_by_role("region", name="即将到期的许可证").locator("tbody tr td:first-child")
    assert soon.all_inner_texts() == sorted(ends)[:2], "what ends first stands first, what ends late not at all"
    page.fill("#party", FILED)
    page.fill("#goods", "21113011")
    page.fill("#quantity", "100")
    paper = page.locator(".paper").first
    paper.locator("[name=type]").select_option("product")
    paper.locator("[name=number]").fill("330212000117")
    page.click("#gate-form button.main")
    verdict = page.locator("#verdict")
    expect(verdict).to_have_class("big refused")
    expect(verdict.locator(".answer")).to_have_text("拒绝入场 no: refused")
    expect(verdict).to_contain_text("检验合格证")
    assert float(verdict.locator(".answer").evaluate("one => parseFloat(getComputedStyle(one).fontSize)")) >= 32
    manager.accessible()
    page.click("#add-paper")
    paper = page.locator(".paper").last
    paper.locator("[name=type]").select_option("inspection")
    paper.locator("[name=number]").fill("330212000118")
    page.click("#gate-form button.main")
    expect(verdict).to_have_class("big admitted")
    manager.accessible()
    with server.ledger.database.connect() as connection:
        found = connection.execute("SELECT count(*) FROM entry WHERE node = %s", [int(GATE)]).fetchone()
    assert found == (2,), "both decisions are in the ledger"


def test_a_label_is_made_to_print(visitors: Visitors, server: Server) -> None:
    """A lot without a label is a lot that nobody scans."""
    manager = visitors.come(PHONE, key_of(server.client(Role.MARKET, NODE)), "/console/labels")
    page = manager.page
    page.fill("#code", lot(1))
    page.fill("#copies", "3")
    page.click("main button.main")
    expect(page.locator(".labels img")).to_have_count(3)
    assert page.locator(".labels img").first.evaluate("one => one.naturalWidth") > 50
    manager.accessible()
    with page.expect_download() as saved:
        page.get_by_role("link", name="PNG").click()
    assert Path(saved.value.path()).read_bytes().startswith(b"\x89PNG")
    page.fill("#code", "not a code")
    page.locator("main button[type=submit]").click()
    expect(page.get_by_role("alert")).to_be_visible()


# --- the regulator ------------------------------------------------------------------------------------


@pytest.fixture
def watched(server: Server) -> Watched:
    found = Watched(server, server.client())
    assert found.admin.post("/registry/rule-sets", json={"rule_set": "ours", "rules": RULES}).status_code == 201
    found.record(*DAY)
    return found


@widths
def test_a_warning_is_found_handled_and_closed(visitors: Visitors, watched: Watched, width: int) -> None:
    """From the board to the closed warning; each step is an entry with who did it."""
    filed(watched.ledger, PARTY, [
        {"party": SELLER, "kinds": "retailer", "legal_name": "某商户", "credit_code": "91350100M000100Y43"}
    ])  # fmt: skip
    regulator = visitors.come(width, key_of(watched.server.client(Role.REGULATOR)))
    page = regulator.page
    expect(page.locator("#levels .orange b")).to_have_text("3")
    regulator.accessible()
    page.click("#levels .orange a")
    expect(page.locator("tbody tr")).to_have_count(3)
    page.fill("#node", NODE)
    page.fill("#text", "21113011")
    page.locator("main form button").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    regulator.accessible()
    page.locator("tbody a").first.click()
    for step, status in (("assign", "assigned"), ("start", "rectifying"), ("submit", "submitted"),
                         ("verify", "verified"), ("close", "closed")):  # fmt: skip
        options = page.locator("#step option").evaluate_all("all => all.map((one) => one.value)")
        assert step in options, (step, options)
        page.select_option("#step", step)
        page.fill("#reason", "核查属实")
        page.fill("#measures", "下架")
        if step == "assign":
            page.fill("#assignee", SELLER)
        page.locator('form[data-action$="/steps"] button').click()
        expect(page.locator("table tbody tr").filter(has_text=status)).not_to_have_count(0)
        watched.follow()
        page.reload()
    expect(page.locator("dl").first).to_contain_text("closed")
    assert page.locator("#step option").evaluate_all("all => all.map((one) => one.value)") == ["reopen"]
    regulator.accessible()
    assert watched.status(("test_failed", lot(1))) == "closed"
    regulator.go("/console/log")
    expect(page.locator("tbody")).to_contain_text("closed")
    regulator.accessible()


def test_a_hold_from_a_warning_stops_the_till_at_once(visitors: Visitors, server: Server, market: httpx.Client) -> None:
    """Between the warning and the till there is nobody who could forget."""
    pork = opened(market, MARKET, "20", STALL)
    watched = Watched(server, market)
    assert market.post("/registry/rule-sets", json={"rule_set": "ours", "rules": RULES}).status_code == 201
    watched.record(event("bad", MARKET, pork))
    here = stall(visitors, server)
    here.expected = {"409"}
    sell(here.page, pork, "1")
    says(here.page, "admitted", "已记录")
    regulator = visitors.come(DESK, key_of(server.client(Role.REGULATOR)), "/console/warnings")
    page = regulator.page
    page.locator("tbody a").filter(has_text="农药残留").first.click()
    page.select_option("#scope", "lot")
    page.fill("#hold-reason", "农药残留超标")
    page.click("button.danger")
    expect(page.locator("#hold-reason")).to_have_value("")
    sell(here.page, pork, "2")
    says(here.page, "refused", "不可以")


def test_a_new_warning_is_told_without_loading(visitors: Visitors, watched: Watched) -> None:
    """A board that has to be loaded anew is a board that shows yesterday."""
    key = key_of(watched.server.client(Role.REGULATOR))
    board, listed = visitors.come(DESK, key), visitors.come(DESK, key, "/console/warnings")
    expect(board.page.locator("#levels .orange b")).to_have_text("3")
    time.sleep(0.5)  # until both streams listen: a browser does not say when
    watched.record(event("one-more", NODE, lot(9)))
    expect(listed.page.locator("#live")).to_contain_text("1 条新动态")
    expect(board.page.locator("#levels .orange b")).to_have_text("4")
    listed.page.click("#live a")
    expect(listed.page.locator("tbody")).to_contain_text(lot(9))


SLIPS = 2000


def test_a_lot_with_thousands_of_slips_stays_a_picture(
    visitors: Visitors, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two thousand boxes are a wall: they are drawn together, opened by column, and listed beside."""
    client, batch = server.client(), lot(7)
    made_of = event("start", NODE, batch, passed=True, action="ADD", bizStep="commissioning", disposition="active")
    pieces = [
        {
            "type": "TransformationEvent", "eventID": f"urn:x:slip:{number}", "eventTime": now().isoformat(),
            "eventTimeZoneOffset": "+08:00", "bizStep": "retail_selling",
            "readPoint": {"id": f"urn:suyuan:node:{NODE}"},
            "inputQuantityList": [{"epcClass": batch, "quantity": 1, "uom": "KGM"}],
            "outputQuantityList": [{"epcClass": f"{TRACE_URN}{SELLER}{number:07}", "quantity": 1, "uom": "KGM"}],
        }
        for number in range(SLIPS)
    ]  # fmt: skip
    answer = capture(client, [made_of, *pieces])
    assert answer.json()["success"], answer.text[:500]
    regulator = visitors.come(DESK, key_of(server.client(Role.REGULATOR)))
    page = regulator.page
    begun = time.monotonic()
    regulator.go(f"/console/trace?code={quote(batch)}")
    with capsys.disabled():
        print(f"\na lot with {SLIPS} slips: drawn in {time.monotonic() - begun:.2f} s")
    boxes = page.locator(".graph .box")
    expect(boxes).to_have_count(2)
    expect(boxes.last).to_contain_text(f"×{SLIPS}")
    expect(page.locator(".tiles")).to_contain_text(str(SLIPS + 1))
    regulator.accessible()
    assert page.locator("h2:has-text('事件') ~ .scroll tbody tr").count() == ROWS_SHOWN
    page.locator(".graph a").last.click()
    expect(page.locator(".graph .box")).to_have_count(2 + OPENED_MAX)
    assert page.locator("#code").input_value() == batch
    spill = page.evaluate("""() => [...document.querySelectorAll('.graph .box')].filter((one) => {
        const box = one.querySelector('rect').getBoundingClientRect();
        return [...one.querySelectorAll('text')].some((text) => text.getBoundingClientRect().right > box.right);
    }).length""")
    assert spill == 0, "texts stay in their boxes"


def test_tables_sort_and_export_what_no_spreadsheet_computes(
    visitors: Visitors, server: Server, tmp_path: Path
) -> None:
    """A formula in a name would run on the regulator's own machine."""
    evil = ["=1+1", "@SUM(A1)", "-2+3", "＝1", "好药店"]
    filed(server.ledger, NODES, [
        {"node": f"33021204{number}", "name": name, "trace_scheme": "A", "kind": "market"}
        for number, name in enumerate(evil)
    ])  # fmt: skip
    page = visitors.come(DESK, key_of(server.client(Role.REGULATOR))).page
    column = page.locator("table tbody tr td:first-child")
    ups = sorted(column.all_inner_texts())
    for order, wanted in (("ascending", ups), ("descending", ups[::-1])):
        page.locator("th button").first.click()
        expect(page.locator("th").first).to_have_attribute("aria-sort", order)
        assert column.all_inner_texts() == wanted
    with page.expect_download() as saved:
        page.locator("button.export").click()
    text = Path(saved.value.path()).read_text("utf-8-sig")
    assert saved.value.suggested_filename.endswith(".csv")
    for name in evil[:-1]:
        assert f'"\'{name}"' in text, name
    assert '"好药店"' in text and not re.search(r'(^|,)"[=+@＝]', text, re.M)
    assert [line.split('"')[1] for line in text.splitlines()[1:]] == ups[::-1], "as it is shown"


@widths
def test_scores_come_after_their_page(visitors: Visitors, watched: Watched, width: int) -> None:
    """A month of a city takes longer than a page may: what is empty until then says so, and fills itself."""
    regulator = visitors.come(width, key_of(watched.server.client(Role.REGULATOR)))
    month = f"{watched.ledger.today():%Y-%m}"
    page = regulator.go(f"/console/assessment?month={month}")
    expect(page.locator("#scores")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator("#scores")).to_contain_text(NODE)
    expect(page.locator("#scores .export").first).to_be_visible()
    regulator.accessible()
    regulator.expected = {"400"}
    regulator.go("/console/assessment?month=2026-13")
    expect(page.locator("#scores [role=alert]")).to_contain_text("2026-13")


def test_everything_can_be_done_with_keys_alone(visitors: Visitors, watched: Watched) -> None:
    """Who cannot use a mouse signs in, finds a warning, sends a form, and signs out."""
    regulator = visitors.come()
    page = regulator.go("/login?next=/console/warnings")
    expect(page.locator("#key")).to_be_focused()
    page.keyboard.type(key_of(watched.server.client(Role.REGULATOR)))
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text("预警")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    reach(page, "tbody a")
    page.keyboard.press("Enter")
    expect(page.locator("#reason")).to_be_visible()
    reach(page, "#reason")
    page.keyboard.type("核查属实")
    page.keyboard.press("Enter")
    expect(page.locator("table tbody")).to_contain_text("assigned")
    assert outline(page, "#reason"), "where the focus is can be seen"
    reach(page, ".out button")
    page.keyboard.press("Enter")
    page.wait_for_url(regulator.url + "/")
    page = regulator.go("/console")
    expect(page.locator("#key")).to_be_visible()
    assert page.url.endswith("/login?next=/console")


def reach(page: Page, selector: str) -> None:
    """Tab until the focus is there."""
    for _ in range(80):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"no way to {selector} by keys")


def outline(page: Page, selector: str) -> bool:
    reach(page, selector)
    return bool(page.locator(selector).evaluate("one => getComputedStyle(one).outlineStyle !== 'none'"))


def test_a_page_of_before_a_new_sign_in_still_works(visitors: Visitors, watched: Watched) -> None:
    """Signing in anew in another tab changes the token: a form that was open must not be lost to it."""
    key = key_of(watched.server.client(Role.REGULATOR))
    regulator = visitors.come(DESK, key, "/console/warnings")
    regulator.expected = {"403"}
    page = regulator.page
    page.locator("tbody a").first.click()
    page.fill("#reason", "核查属实")
    other = regulator.context.new_page()
    other.goto(regulator.url + "/login")
    other.get_by_label("凭据密钥").fill(key)
    other.keyboard.press("Enter")
    other.wait_for_url("**/console")
    page.locator('form[data-action$="/steps"] button').click()
    expect(page.locator("table tbody")).to_contain_text("assigned")
