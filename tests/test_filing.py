"""Filing by the thousand: the good lines in, the bad ones named by their line, and the same sheet twice is once."""

from collections.abc import Iterable, Mapping

import pytest

from api.ledger import Ledger
from ledger import filing
from ledger.access import Actor, Role
from ledger.append import Outcome, Request
from ledger.codes import TraceScheme, node_text
from ledger.errors import Conflict, NotAllowed, NotRecorded, UnacceptableRecord
from ledger.filing import Filed, Line, file_lines, file_one, require_references
from ledger.nodes import OPERATOR, add_node
from ledger.registers import GOODS, LICENCE, NODE, PARTY, PRODUCT, YIELD, Register
from ledger.registry import Record, record
from tests.test_log import A, B

PERSON = "11010519491231002X"
MARKET = Actor("market", Role.MARKET, frozenset([A]), A)


def of(number: int, **changes: str) -> dict[str, str]:
    """A good line about the party `number` of node A."""
    return {
        "party": f"{A}{number:04}", "kinds": "retailer", "legal_name": f"虚构第{number}摊", "identity_number": PERSON,
        **changes,
    }  # fmt: skip


def numbered(given: Iterable[Mapping[str, object]]) -> list[Line]:
    return [Line(number, one) for number, one in enumerate(given, 2)]


@pytest.fixture
def market(ledger: Ledger) -> Ledger:
    """A ledger with two nodes."""
    for code in (A, B):
        ledger.record(add_node(code, "市场", TraceScheme.OPERATOR_SERIAL, [], "operator"))
    return ledger


def file(
    ledger: Ledger, given: Iterable[Mapping[str, object]], register: Register = PARTY, actor: Actor = OPERATOR,
    *, dry_run: bool = False,
) -> Filed:  # fmt: skip
    total = Filed()
    keeper = ledger.registrar(actor)
    for part in file_lines(ledger.database, ledger.lanes.record, keeper, register, numbered(given), dry_run=dry_run):
        total.add(part)
    return total


def found(ledger: Ledger, number: int = 1) -> Record:
    with ledger.database.read() as connection:
        return record(connection, ledger.vault, PARTY, (f"{A}{number:04}",))


def state(ledger: Ledger) -> list[int]:
    """How many rows there are of all that filing can write."""
    with ledger.database.connect() as connection:
        return [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("entry", "party", "licence", "goods", "registry_version", "registry_search")
        ]


# --- a hundred lines ------------------------------------------------------------------------------

SPOILED = {
    7: of(5, identity_number="110105194912310021"),
    12: of(10, kinds="stallholder"),
    23: of(21, party="330203"),
    31: of(29, nodes="330203999"),
    44: of(42, legal_name=""),
    45: of(43, legal_name="李**"),
    60: of(58, remark="x"),
    77: of(75, credit_code="91350100M000100Y43"),
    90: of(88, phone="19900"),
    101: of(1),
}
"""By line: what is wrong there. The last stands in the file already."""
SHEET = [SPOILED.get(line, of(line - 2)) for line in range(2, 102)]


@pytest.mark.parametrize("part", [7, 1_000])
def test_the_good_lines_are_in_and_the_bad_ones_named(
    market: Ledger, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """However many are taken together: the edge of a part is no edge of the file."""
    monkeypatch.setattr(filing, "PART", part)
    spoiled = {line for line in SPOILED if line != 90}  # five digits are a telephone number
    done = file(market, SHEET)
    assert (done.new, done.changed, done.same, done.lines) == (100 - len(spoiled), 0, 0, 100)
    assert {refusal.line for refusal in done.refusals} == spoiled
    assert [refusal.line for refusal in done.refusals] == sorted(spoiled)
    assert {found(market, line - 2).values["legal_name"] for line in (2, 50, 90, 100)} == {
        f"虚构第{line - 2}摊" for line in (2, 50, 90, 100)
    }
    for line in (12, 44):
        with pytest.raises(NotRecorded):
            found(market, line - 2)


def test_each_refusal_says_where_and_why(market: Ledger) -> None:
    refused = {refusal.line: refusal for refusal in file(market, SHEET).refusals}
    paths = {line: [breach.path for breach in refusal.breaches] for line, refusal in refused.items()}
    assert paths == {
        7: ["identity_number"], 12: ["kinds"], 23: ["party"], 31: ["nodes"], 44: ["legal_name"], 45: ["legal_name"],
        60: ["remark"], 77: ["credit_code, identity_number"], 101: [""],
    }  # fmt: skip
    assert "stands on line 3 already" in str(refused[101]) and str(refused[101]).startswith("line 101: ")
    assert "no node 330203999 is registered" in str(refused[31])
    for refusal in refused.values():
        assert PERSON[:10] not in str(refusal) and "虚构第" not in str(refusal), "a private value"


def test_all_that_is_wrong_with_a_line_is_said_at_once(market: Ledger) -> None:
    (refusal,) = file(market, [of(1, kinds="x", phone="x", legal_name="\n")]).refusals
    assert {breach.path for breach in refusal.breaches} == {"kinds", "phone", "legal_name"}


def test_a_second_run_changes_nothing(market: Ledger) -> None:
    """Idempotent by code: an import that was cut off is begun again from the start."""
    assert file(market, []).lines == 0
    first = file(market, SHEET)
    before = state(market)
    second = file(market, SHEET)
    assert (second.new, second.changed, second.same) == (0, 0, first.new)
    assert [*map(str, second.refusals)] == [*map(str, first.refusals)] and state(market) == before


def test_a_run_cut_off_in_the_middle_is_finished_by_the_next(market: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "PART", 10)
    parts = file_lines(market.database, market.lanes.record, market.registrar(OPERATOR), PARTY, numbered(SHEET))
    begun = Filed()
    for _ in range(3):
        begun.add(next(parts))
    parts.close()  # type: ignore[attr-defined]
    done = file(market, SHEET)
    assert (done.same, done.new) == (begun.new, 91 - begun.new) and begun.new > 20


def test_a_dry_run_says_the_same_and_writes_nothing(market: Ledger) -> None:
    file(market, [of(2), of(3)])
    sheet = [*SHEET, of(110)]
    sheet[1] = of(1, legal_name="另一个")  # the same number of line 101, another name than line 3 will have
    sheet[2] = of(2, contact="王五")
    before = state(market)
    tried = file(market, sheet, dry_run=True)
    assert state(market) == before
    done = file(market, sheet)
    assert (tried.new, tried.changed, tried.same) == (done.new, done.changed, done.same)
    assert [*map(str, tried.refusals)] == [*map(str, done.refusals)] and tried.changed == 1 and tried.same == 1


def test_lines_are_a_stream(market: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million lines are never held at once: at most one part is taken before the one before is recorded."""
    monkeypatch.setattr(filing, "PART", 5)
    taken = 0

    def stream() -> Iterable[Line]:
        nonlocal taken
        for number in range(20):
            taken += 1
            yield Line(number + 2, of(number))

    for number, part in enumerate(
        file_lines(market.database, market.lanes.record, market.registrar(OPERATOR), PARTY, stream()), 1
    ):
        assert part.new == 5 and taken == 5 * number


# --- lines about what is there already ------------------------------------------------------------


def test_an_empty_cell_leaves_what_is_filed(market: Ledger) -> None:
    """A sheet with fewer columns, or with gaps, is no order to forget."""
    file(market, [of(1, phone="19900000001", contact="王五", position="A-1", nodes=f"{A} {B}")])
    done = file(market, [of(1, phone="", contact="", position="A-2", nodes="")])
    values = found(market).values
    assert done.changed == 1 and values["position"] == "A-2"
    assert (values["phone"], values["contact"], values["nodes"]) == ("19900000001", "王五", [A, B])
    assert file(market, [{"party": f"{A}0001"}]).same == 1, "the code alone says nothing new"


def test_a_changed_cell_is_a_change_of_its_own(market: Ledger) -> None:
    file(market, [of(1), of(2)])
    done = file(market, [of(1), of(2, contact="王五"), of(3)])
    assert (done.new, done.changed, done.same) == (1, 1, 1)
    assert (found(market, 1).version, found(market, 2).version, found(market, 3).version) == (1, 2, 1)


def test_the_same_value_in_another_form_is_no_change(market: Ledger) -> None:
    file(
        market, [{"goods": "pig", "name": "生猪", "kind": "live_animal", "unit": "H87", "storage_max_c": "4.50"}], GOODS
    )
    again = {"goods": "pig", "name": " 生猪 ", "kind": "活畜", "unit": "件", "storage_max_c": "4.5"}
    assert file(market, [again], GOODS).same == 1
    file(market, [of(1, phone="19900000001", kinds="retailer farm")])
    assert file(market, [of(1, phone="199 0000 0001", kinds="零售商；farm", identity_number=PERSON.lower())]).same == 1


def test_what_stays_as_it_was_filed_is_refused_in_a_sheet(market: Ledger) -> None:
    file(market, [{"node": "330212009", "name": "市场", "trace_scheme": "A"}], NODE)
    (refusal,) = file(market, [{"node": "330212009", "name": "市场", "trace_scheme": "B"}], NODE).refusals
    assert "trace_scheme of a node stays as it was filed" in str(refusal)


def test_the_first_of_two_lines_about_one_record_holds(market: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that say two things would change each other at every run; also across parts, also if they say the same."""
    monkeypatch.setattr(filing, "PART", 2)
    sheet = [of(1), of(2), of(3), of(1, contact="王五"), of(2)]
    for new, same in ((3, 0), (0, 3)):
        done = file(market, sheet)
        assert (done.new, done.same, done.changed) == (new, same, 0)
        assert ["stands on line 2" in str(done.refusals[0]), "stands on line 3" in str(done.refusals[1])] == [
            True,
            True,
        ]
        assert [refusal.line for refusal in done.refusals] == [5, 6]
    assert found(market).values["contact"] is None


def test_a_licence_is_the_same_by_its_number(market: Ledger) -> None:
    """Its code is made of the number and kept secret, so two lines of one number meet; of another party they do not."""
    file(market, [of(1), of(2)])
    line = {"party": f"{A}0001", "number": "JY1", "kind": "other", "valid_from": "2026-01-01"}
    sheet = [line, {**line, "number": "JY2"}, {**line, "party": f"{A}0002"}, {**line, "scope": "散装"}]
    done = file(market, sheet, LICENCE)
    assert (done.new, [refusal.line for refusal in done.refusals]) == (3, [5])
    assert "JY1" not in str(done.refusals[0])
    assert file(market, [{**line, "valid_to": "2027-01-01"}], LICENCE).changed == 1


# --- what lines refer to --------------------------------------------------------------------------

DANGLING = [
    (PARTY, of(1, nodes=f"{A} 330203998"), "nodes", "330203998"),
    (LICENCE, {"party": f"{A}0009", "number": "JY1", "kind": "other", "valid_from": "2026-01-01"}, "party", f"{A}0009"),
    (YIELD, {"source": "pig", "goods": "21113011", "least": "1", "most": "2"}, "source", "pig"),
    (PRODUCT, {"product": "8123456", "name": "x", "kind": "drug", "holder": f"{A}0009"}, "holder", f"{A}0009"),
    (PRODUCT, {"product": "06901234500301", "name": "x", "kind": "food", "goods": "21113011"}, "goods", "21113011"),
]


def test_what_refers_to_nothing_is_refused(market: Ledger) -> None:
    before = state(market)
    for register, given, path, code in DANGLING:
        done = file(market, [given], register)
        assert done.new == 0 and done.refusals[0].breaches[0].path == path, register.name
        assert f"{code} is registered; file it first" in str(done.refusals[0])
        with market.database.read() as connection, pytest.raises(UnacceptableRecord, match="file it first"):
            file_one(connection, market.registrar(OPERATOR), register, given, None)
    (refusal,) = file(market, [of(1, nodes=f"{A} 330203998 330203999")]).refusals
    assert len(refusal.breaches) == 2, "all of them are named"
    assert state(market) == before


def test_a_party_without_nodes_acts_at_a_node_that_is_registered(market: Ledger) -> None:
    """Left out, its own node is meant; if that is unknown, the reference dangles all the same."""
    for given in (of(1, party="3302039990001"), of(1, party="3302039990001", nodes="330203999")):
        done = file(market, [given])
        assert done.new == 0 and "330203999 is registered" in str(done.refusals[0])


def test_a_line_may_refer_to_what_was_filed_before(market: Ledger) -> None:
    goods = [{"goods": code, "name": "x", "kind": "meat", "unit": "KGM"} for code in ("pig", "21113011")]
    assert file(market, goods, GOODS).new == 2
    done = file(market, [{"source": "pig", "goods": "21113011", "least": "1", "most": "2"}], YIELD)
    assert done.new == 1


def test_references_of_a_change_are_looked_at_too(market: Ledger) -> None:
    file(market, [of(1)])
    (refusal,) = file(market, [of(1, nodes="330203999")]).refusals
    assert refusal.breaches[0].path == "nodes" and found(market).values["nodes"] == [A]
    with market.database.read() as connection:
        require_references(connection, PARTY, {"nodes": [A, B], "party": "9"})
        require_references(connection, PARTY, {"nodes": None})
        with pytest.raises(UnacceptableRecord):
            require_references(connection, PARTY, {"nodes": [330203999]})


# --- rivals, and who may --------------------------------------------------------------------------


def test_a_part_with_a_conflict_keeps_the_others(market: Ledger) -> None:
    """Somebody changes a record between the look and the write: that line is named, and counts as refused only."""
    file(market, [of(1), of(2)])

    def rivals(requests: list[Request]) -> list[Outcome]:
        keeper = market.registrar(OPERATOR)
        first = keeper.change(found(market, 1), {"contact": "甲"})
        second = keeper.file(PARTY, keeper.read(PARTY, of(3)))
        assert first is not None and all(isinstance(done, list) for done in market.lanes.record([first, second]))
        return market.lanes.record(requests)

    sheet = [of(1, contact="乙"), of(2, contact="乙"), of(3, contact="乙"), of(4, contact="乙")]
    (done,) = file_lines(market.database, rivals, market.registrar(OPERATOR), PARTY, numbered(sheet))
    assert (done.new, done.changed, done.same) == (1, 1, 0) and done.lines == 4
    assert [refusal.line for refusal in done.refusals] == [2, 4]
    assert "meanwhile" in str(done.refusals[0]) and "exists already" in str(done.refusals[1])
    assert [found(market, number).values["contact"] for number in (1, 2, 3, 4)] == ["甲", "乙", None, "乙"]
    assert file(market, sheet).changed == 2, "the next run brings them in"


def test_a_market_files_its_own_parties_only(market: Ledger) -> None:
    done = file(market, [of(1), of(2, party=f"{B}0002"), of(3, nodes=str(B))], actor=MARKET)
    assert done.new == 2 and [refusal.line for refusal in done.refusals] == [3]
    assert f"{node_text(B)} is none of those" in str(done.refusals[0])


def test_whoever_may_not_keep_a_register_files_nothing(market: Ledger) -> None:
    before = state(market)
    terminal = Actor("scale", Role.TERMINAL, frozenset([A]), A)
    goods = {"goods": "pig", "name": "生猪", "kind": "live_animal", "unit": "H87"}
    for actor, register, given in ((terminal, PARTY, of(1)), (MARKET, GOODS, goods), (MARKET, NODE, {"node": str(A)})):
        done = file(market, [given], register, actor)
        assert len(done.refusals) == 1 and done.new == 0, (actor, register.name)
    assert state(market) == before


# --- one record -----------------------------------------------------------------------------------


def file_alone(ledger: Ledger, given: Mapping[str, object], actor: Actor = OPERATOR) -> tuple[str, ...]:
    with ledger.database.read() as connection:
        request, key = file_one(connection, ledger.registrar(actor), PARTY, given, "a new stall")
    ledger.record(request)
    return key


def test_one_record_is_filed_with_its_reason(market: Ledger) -> None:
    assert file_alone(market, of(1)) == (f"{A}0001",)
    assert found(market).reason == "a new stall" and found(market).values["nodes"] == [A]


def test_one_record_is_filed_once(market: Ledger) -> None:
    file_alone(market, of(1))
    before = state(market)
    with pytest.raises(Conflict, match="exists already"):
        file_alone(market, of(1, contact="王五"))
    assert state(market) == before and found(market).values["contact"] is None


def test_one_bad_record_is_refused_whole(market: Ledger) -> None:
    before = state(market)
    with pytest.raises(UnacceptableRecord):
        file_alone(market, of(1, kinds="x"))
    with pytest.raises(NotAllowed):
        file_alone(market, of(1, party=f"{B}0001"), MARKET)
    assert state(market) == before
