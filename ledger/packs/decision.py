"""Whether a command is taken: one pure decision, with every reason, and whether it is worth an alert.

Refused and alerted are two facts: most refusals at a counter are the person's own second scan, a scanner that lies or
data that are late, and none of these is a forgery. The causes of false alerts are those of `drugs_and_warnings.md` 1.6;
each has a reason of its own here, which raises none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from ledger.gs1 import Key, is_digits
from ledger.packs.effects import VOID, Standing, done_by, is_opened
from ledger.packs.states import FOR_GOOD, TRACES, UNDOABLE, Command, Rule, State, Variant
from ledger.registers.form import Word


class Mode(Word):
    """How the code came in (`emvs-data-entry-mode`), or that it was done while the ledger was out of reach."""

    SCAN = "scan", "扫码"
    MANUAL = "manual", "手工录入"
    OFFLINE = "offline", "离线补传"


class Reason(Word):
    """Why a command is refused, or what is odd about one that is taken. In `ENGLISH` the same for the rest."""

    UNKNOWN_PACK = "unknown_pack", "该批次已上报,但查无此码,疑似假药"
    NO_DATA = "no_data", "该批次数据尚未上报"
    UNKNOWN_PRODUCT = "unknown_product", "该产品未登记"
    MISTYPED = "mistyped", "查无此码,手工录入请核对,或改用扫码"
    KEYBOARD = "keyboard", "扫码枪键盘布局或大小写有误"
    BATCH = "batch_mismatch", "批号与登记不符"
    GLUED = "batch_glued", "批号后粘连了商品条码,请只扫药品追溯码"
    EXPIRY = "expiry_mismatch", "有效期与登记不符"
    ALREADY_HERE = "already_here", "本机构已做过此操作"
    ALREADY_ELSEWHERE = "already_elsewhere", "已在其他机构做过此操作"
    COMMISSIONED = "commissioned", "该码的数据已上报"
    NOT_IN_STATE = "not_in_state", "当前状态不能做此操作"
    GONE = "gone", "已在其他机构售出、销毁、失窃、出口、抽检或注销"
    FOR_GOOD = "for_good", "该状态不可撤销"
    OTHER_STATE = "undo_other_state", "撤销的操作与当前状态不符"
    NOTHING_TO_UNDO = "nothing_to_undo", "没有可撤销的操作"
    OTHER_PLACE = "other_place", "只能由原机构操作"
    TOO_LATE = "too_late", "已超过可撤销期限"
    EXPIRED = "expired", "已过有效期"
    RECALLED = "recalled", "该批次已召回"
    WITHDRAWN = "withdrawn", "该产品已撤市"
    OPENED = "opened", "该盒已拆零,不能整盒销售"
    OVER_UNITS = "over_units", "拆零数量超过包装总量"
    NOT_RECEIVED = "not_received", "没有该药品的入库记录"
    HELD_ELSEWHERE = "held_elsewhere", "登记在其他机构"
    EXERCISE = "exercise", "召回演练"
    BATCH_UNKNOWN = "batch_unknown", "该产品有批次被召回,此盒批号未知,请核对包装"
    HELD = "held", "已停售"


ENGLISH: dict[Reason, str] = {
    Reason.UNKNOWN_PACK: "its batch is recorded, but this serial is not: it may be a forgery",
    Reason.NO_DATA: "the data of this batch have not come yet",
    Reason.UNKNOWN_PRODUCT: "this product is not registered",
    Reason.MISTYPED: "no such code is recorded; compare what was typed, or scan it",
    Reason.KEYBOARD: "the scanner's keyboard layout or Caps Lock is wrong",
    Reason.BATCH: "the batch is another than the one recorded",
    Reason.GLUED: "a product's bar code is glued to the batch: scan the drug's own code alone",
    Reason.EXPIRY: "the expiry date is another than the one recorded",
    Reason.ALREADY_HERE: "this was done here before",
    Reason.ALREADY_ELSEWHERE: "this was done elsewhere before",
    Reason.COMMISSIONED: "its data are recorded already",
    Reason.NOT_IN_STATE: "this cannot be done in the state that the pack is in",
    Reason.GONE: "it was sold, destroyed, stolen, exported, sampled or checked out elsewhere",
    Reason.FOR_GOOD: "this state is for good",
    Reason.OTHER_STATE: "the pack is in another state than the one to be undone",
    Reason.NOTHING_TO_UNDO: "there is nothing to undo",
    Reason.OTHER_PLACE: "only the place that did it may do this",
    Reason.TOO_LATE: "the time for undoing it is over",
    Reason.EXPIRED: "its expiry date has passed",
    Reason.RECALLED: "its batch is recalled",
    Reason.WITHDRAWN: "the product is withdrawn",
    Reason.OPENED: "units were taken from it: it cannot be sold as a whole",
    Reason.OVER_UNITS: "more units were taken than the pack holds",
    Reason.NOT_RECEIVED: "it was never received here",
    Reason.HELD_ELSEWHERE: "it is recorded at another place",
    Reason.EXERCISE: "a recall exercise concerns it",
    Reason.BATCH_UNKNOWN: "batches of this product are recalled, and the batch of this pack is not known: look at it",
    Reason.HELD: "it is held, or this place is: keep it apart and ask the authority",
}
_OF_CODE = frozenset({Reason.UNKNOWN_PACK, Reason.BATCH, Reason.EXPIRY})
"""What alerts where a device read the code, and not where a person typed it (EMVS A3, A68, A52)."""
_OF_PLACE = frozenset({Reason.ALREADY_ELSEWHERE, Reason.GONE})
"""What alerts at once (EMVS A7, A24): a pack is in two hands."""
STOPPED = frozenset({Command.SUPPLY, Command.SPLIT, Command.SHIP, Command.VERIFY})
"""What is not done with what is held; it may be sent back, locked and destroyed."""


@dataclass(frozen=True, slots=True)
class Product:
    """What the register says of a pack's product; `national_code` is its 药品本位码."""

    name: str
    units: int | None = None
    national_code: str | None = None


@dataclass(frozen=True, slots=True)
class Recalled:
    """A recall that concerns a pack: of its batch, or of all its product (withdrawn)."""

    recall: str
    batches: frozenset[str] | None
    exercise: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows beside the pack itself. `today` is the city's day on which it is judged: of what was done
    out of reach, the day on which it was done. `siblings`: packs of its batch are recorded by their maker."""

    today: date
    product: Product | None = None
    recalls: Sequence[Recalled] = ()
    siblings: bool = False
    twin: Key | None = None
    """A recorded pack whose code differs only as a wrong keyboard makes it differ."""
    holds: tuple[str, ...] = ()
    """Orders to stop that concern it, its batch or product, the party or the node."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for a pack, at a node, by a credential. `scan` is the terminal's own id of it.

    `batch` and `expires` are what the code or the person said beside the serial. `undoes`: the state to be undone.
    `single`: it comes by itself from a counter, where a finger is easily too many; not in a list. `typed`: by hand.
    """

    scan: str
    command: Command
    code: Key
    node: int
    by: str
    at: datetime
    mode: Mode = Mode.SCAN
    batch: str | None = None
    expires: date | None = None
    units: int = 0
    undoes: State | None = None
    single: bool = True
    typed: bool = False

    @property
    def by_hand(self) -> bool:
        """Whether a person typed the code."""
        return self.typed or self.mode is Mode.MANUAL


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided. `again`: the same scan once more, answered as before; nothing new is recorded.

    `reasons` are why it is refused; `odd` what is to be told besides. `unsaleable`: why it may not be sold, whatever
    was asked. `soft`: refused without an alert, so many times more. `holds`: the orders that stop it.
    """

    taken: bool
    reasons: tuple[Reason, ...] = ()
    odd: tuple[Reason, ...] = ()
    alert: bool = False
    again: bool = False
    soft: int | None = None
    recalls: tuple[str, ...] = ()
    unsaleable: tuple[Reason, ...] = ()
    holds: tuple[str, ...] = ()


def decide(
    variant: Variant, order: Order, standing: Standing | None, known: Known, now: datetime, refused_here: int = 0
) -> Decision:
    """Decide `order` for a pack that stands so. `refused_here`: how often the same was refused here since it does."""
    rule = variant.rules.get(order.command)
    standing = None if standing is not None and standing.done == VOID else standing
    status, told, named = _status(order, standing, known)
    reasons = [*_against_identity(variant, order, standing, known)]
    halted = (Reason.HELD,) if known.holds else ()
    unsaleable = (*status, *halted)
    if not reasons and standing is not None and _is_again(variant, order, standing, now):
        return Decision(True, (), tuple(told), False, True, None, named, unsaleable, known.holds)
    odd = [*_odd(order, standing, known), *told]
    if not reasons:
        reasons += _against_state(rule, order, standing)
    if not reasons and order.command is Command.UNDO and standing is not None:
        reasons += _against_undo(variant, order, standing, now)
    sells = rule is None or rule.sells
    happened = sells and order.mode is Mode.OFFLINE and order.command not in (Command.UNDO, Command.VERIFY)
    if sells and not happened:
        reasons += status
    elif not reasons:  # it has left, or is only moved
        odd += status
    if order.command in STOPPED:
        (odd if order.mode is Mode.OFFLINE else reasons).extend(halted)
    alert = bool(happened and status and not reasons) or (bool(_OF_CODE & {*reasons}) and not order.by_hand)
    if order.command is not Command.LOCK:  # a pharmacy and its authority may both lock a pack
        alert |= bool(_OF_PLACE & {*reasons})
    soft: int | None = None
    if Reason.ALREADY_HERE in reasons and order.mode is not Mode.OFFLINE:
        alert |= refused_here >= variant.soft
        soft = max(0, variant.soft - refused_here - 1)
    return Decision(not reasons, tuple(reasons), tuple(odd), alert, False, soft, named, unsaleable, known.holds)


def undo_until(variant: Variant, standing: Standing) -> datetime | None:
    """Until when what brought the pack into its state can be undone; None if never, or nothing was done."""
    for command, state in _MAKES.items():
        rule = variant.rules.get(command)
        if state is standing.state and state in UNDOABLE and rule is not None and rule.undoes is not None:
            return standing.since + rule.undoes
    if is_opened(standing):
        split = variant.rules[Command.SPLIT].undoes
        return standing.since + split if split is not None else None
    return None


_MAKES = {row.command: row.makes for row in TRACES if row.makes not in (None, State.ACTIVE)}
"""The states that commands bring about, but for the one in which a pack begins."""


def _is_again(variant: Variant, order: Order, standing: Standing, now: datetime) -> bool:
    """The same terminal, code and command within the window: a retry under another id, or a finger too many."""
    return (
        order.command is not Command.COMMISSION and standing.done == done_by(order.command, order.units)
        and (standing.by, standing.node) == (order.by, order.node)
        and order.mode is not Mode.OFFLINE and order.single and now - standing.since <= variant.replay
    )  # fmt: skip


_NEEDS_RECORD = {Command.UNDO: Reason.NOTHING_TO_UNDO, Command.UNLOCK: Reason.NOT_IN_STATE,
                 Command.RETURN: Reason.NOT_IN_STATE}  # fmt: skip
"""What can only be done with a pack with which something was done before."""


def _against_identity(
    variant: Variant, order: Order, standing: Standing | None, known: Known
) -> Iterator[Reason]:  # fmt: skip
    if standing is None and order.command is Command.COMMISSION:
        return
    if standing is None:
        if known.twin is not None:
            yield Reason.KEYBOARD
        elif order.command in _NEEDS_RECORD and variant.takes_unknown:
            yield _NEEDS_RECORD[order.command]
        elif not variant.takes_unknown or known.product is None:
            yield _unknown(order, known)
        return
    if not standing.made:  # what was read from a pack is no measure for what is read again
        if not variant.takes_unknown and order.command is not Command.COMMISSION:
            yield _unknown(order, known)
        return
    if order.batch is not None and standing.batch is not None and order.batch != standing.batch:
        glued, twisted = _is_glued(order.batch, standing.batch), standing.batch in twisted_forms(order.batch)
        yield Reason.GLUED if glued else Reason.KEYBOARD if twisted else Reason.BATCH
    if order.expires is not None and standing.expires is not None and not _same_day(order, standing.expires):
        yield Reason.EXPIRY


def _unknown(order: Order, known: Known) -> Reason:
    if known.product is None:
        return Reason.UNKNOWN_PRODUCT
    if order.by_hand:
        return Reason.MISTYPED
    return Reason.UNKNOWN_PACK if known.siblings else Reason.NO_DATA


def twisted_forms(text: str) -> set[str]:
    """What a text was, if the keyboard that sent it had Caps Lock on, or Y and Z exchanged, or both."""
    swapped = text.translate(_Y_Z)
    return {text.swapcase(), swapped, swapped.swapcase()} - {text}


_Y_Z = str.maketrans("yzYZ", "zyZY")


def _is_glued(given: str, recorded: str) -> bool:
    rest = given.removeprefix(recorded)
    return rest != given and is_digits(rest) and len(rest) in (8, 12, 13, 14)


def _same_day(order: Order, recorded: date) -> bool:
    """A typed date may have day 00 for the end of the month (GS1 General Specifications, 3.4.7)."""
    given = order.expires
    if given is None or given == recorded:
        return True
    end = _ends_month(given) and (_ends_month(recorded) or recorded.day == 1)  # which day 00 is read as, or written for
    return (order.by_hand or end) and (given.year, given.month) == (recorded.year, recorded.month)


def _ends_month(day: date) -> bool:
    return (day + timedelta(days=1)).day == 1


def _against_state(rule: Rule | None, order: Order, standing: Standing | None) -> Iterator[Reason]:
    if standing is None:
        return
    if rule is None:  # only to verify has no rule
        if standing.state is not State.ACTIVE:
            yield Reason.NOT_IN_STATE
        return
    here = standing.node == order.node
    opened = order.command is Command.UNDO and is_opened(standing)
    if standing.state in rule.states or opened:
        if rule.same_place and not here:
            yield Reason.OTHER_PLACE
        if order.command is Command.SUPPLY and standing.units:
            yield Reason.OPENED
    elif order.command is Command.COMMISSION:  # data may come after the pack: then they are filled in
        if standing.made or standing.state in FOR_GOOD:
            yield Reason.COMMISSIONED
    elif order.command is Command.UNDO:
        yield Reason.FOR_GOOD if standing.state in FOR_GOOD else Reason.NOTHING_TO_UNDO
    elif _MAKES.get(order.command) is standing.state and standing.done == order.command:
        yield Reason.ALREADY_HERE if here else Reason.ALREADY_ELSEWHERE
    elif rule.sells and not here and standing.state is not State.LOCKED:
        yield Reason.GONE
    else:
        yield Reason.NOT_IN_STATE


def _against_undo(variant: Variant, order: Order, standing: Standing, now: datetime) -> Iterator[Reason]:
    """An undo names what it undoes: a state, or so many units of a pack that was opened."""
    if order.units:
        if standing.state is not State.ACTIVE or order.undoes not in (None, State.ACTIVE):
            yield Reason.OTHER_STATE
        elif order.units > standing.units:
            yield Reason.NOTHING_TO_UNDO
    elif order.undoes is not standing.state or standing.state is State.ACTIVE:
        yield Reason.OTHER_STATE
    until = undo_until(variant, standing)
    if until is not None and now > until:
        yield Reason.TOO_LATE


def _status(
    order: Order, standing: Standing | None, known: Known
) -> tuple[list[Reason], list[Reason], tuple[str, ...]]:  # fmt: skip
    """What date, batch and product say against it, what they say besides, and the recalls that do."""
    batches, ends = {order.batch}, {order.expires}
    if standing is not None:  # the maker's word is the truth; of what was read then and now, the worse is believed
        batches = {standing.batch} if standing.made and standing.batch else batches | {standing.batch}
        ends = {standing.expires} if standing.made and standing.expires else ends | {standing.expires}
    batches, ends = batches - {None}, ends - {None}
    found = [Reason.EXPIRED] if any(end < known.today for end in ends if end is not None) else []
    told: list[Reason] = []
    names: list[str] = []
    for one in known.recalls:
        if one.batches is not None and not batches:
            told += [Reason.BATCH_UNKNOWN] if not one.exercise else []
        elif one.batches is None or not one.batches.isdisjoint(batches):
            names.append(one.recall)
            reason = Reason.WITHDRAWN if one.batches is None else Reason.RECALLED
            (told if one.exercise else found).append(Reason.EXERCISE if one.exercise else reason)
    return [*dict.fromkeys(found)], [*dict.fromkeys(told)], tuple(names)


def _odd(order: Order, standing: Standing | None, known: Known) -> Iterator[Reason]:
    selling = order.command in (Command.SUPPLY, Command.SPLIT)
    if selling and standing is None:
        yield Reason.NOT_RECEIVED
    if selling and standing is not None and standing.state is State.ACTIVE and standing.node != order.node:
        yield Reason.HELD_ELSEWHERE
    total = known.product.units if known.product is not None else None
    taken = standing.units if standing is not None else 0
    if order.command is Command.SPLIT and total and taken + order.units > total:
        yield Reason.OVER_UNITS
