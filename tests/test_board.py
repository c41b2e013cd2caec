"""Today's board by goods: what was received, and of which goods the other end is missing."""

import re
from datetime import timedelta
from typing import Any

import httpx
import pytest

from ledger.access import Role
from ledger.registers import GOODS, RULE_SET
from ledger.registers.goods import PRODUCT
from tests.test_access import server
from tests.test_http import NODE, OTHER, Server
from tests.test_registry import filed
from tests.test_warnings import Watched, event, lot

__all__ = ["server"]
PORK, CABBAGE, GTIN = "21113011", "01221", "06901234500103"
RULES = """
rules:
  - id: missing_upstream
    name: {zh: 来源缺失, en: no origin}
    level: yellow
    watch: item
    steps: [receiving]
    when: quantity == 5.0 && item != "urn:suyuan:lot:21113011:33021200112611250003"
    subject: item
    by: [item]
    message: {zh: "{item}", en: "{item}"}
    remedy: {zh: 查, en: look}
    source: our own
"""


@pytest.fixture
def day(server: Server) -> Watched:
    filed(server.ledger, RULE_SET, [{"rule_set": "links", "rules": RULES}])
    filed(server.ledger, GOODS, [
        {"goods": PORK, "name": "猪肉", "kind": "meat", "unit": "KGM"},
        {"goods": CABBAGE, "name": "白菜", "kind": "vegetable", "unit": "KGM"},
    ])  # fmt: skip
    filed(server.ledger, PRODUCT, [{"product": GTIN, "kind": "food", "name": "精品白菜", "goods": CABBAGE}])
    return Watched(server, server.client())


def receipt(name: str, node: str, *items: str) -> dict[str, Any]:
    quantities = [{"epcClass": item, "quantity": 5, "uom": "KGM"} for item in items]
    made = event(name, node, items[0], bizStep="receiving", disposition="in_progress")
    return {**made, "quantityList": quantities}


def told(client: httpx.Client) -> list[list[str]]:
    """The rows of the page: goods, name, receipts, warnings, share."""
    answer = client.get("/console/completeness", headers={"Accept": "text/html"})
    assert answer.status_code == 200
    body = answer.text.partition("<tbody>")[2].partition("</tbody>")[0]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in body.split("</tr>")]
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells if row]


def test_receipts_are_told_by_goods_the_least_complete_first(day: Watched) -> None:
    """A product counts as the goods that it is registered as; a receipt of two goods counts for both."""
    cabbage = f"https://id.gs1.org/01/{GTIN}/10/B1"
    day.record(receipt("1", NODE, lot(1)), receipt("2", NODE, lot(2), cabbage), receipt("3", OTHER, lot(3)),
               event("4", NODE, lot(4)))  # fmt: skip
    found = told(day.admin)
    assert [row[:4] for row in found] == [[CABBAGE, "白菜", "1", "1"], [PORK, "猪肉", "3", "2"]]
    assert [row[4] for row in found] == ["0.0 %", "33.3 %"]


def test_of_other_markets_nothing_is_counted(day: Watched) -> None:
    """How much a competitor receives is its trade."""
    day.record(receipt("1", NODE, lot(1)), receipt("2", OTHER, lot(2)), receipt("3", OTHER, lot(3)))
    assert [row[2] for row in told(day.server.client(Role.MARKET, NODE))] == ["1"]
    assert [row[2] for row in told(day.server.client(Role.REGULATOR))] == ["3"]


def test_what_says_no_goods_is_named_so_and_yesterday_is_over(day: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    case = {**receipt("1", NODE, lot(1)), "epcList": ["https://id.gs1.org/00/106901234500000010"]}
    del case["quantityList"]
    day.record(case)
    assert told(day.admin)[0][:3] == ["", "整箱等，编码不含商品 cases and others whose codes do not say", "1"]
    tomorrow = day.ledger.today() + timedelta(days=1)
    monkeypatch.setattr(type(day.ledger), "today", lambda _: tomorrow)
    assert told(day.admin) == [["没有 none"]]
