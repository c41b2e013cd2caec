"""What supervision keeps: certificates, holds, silences, the handling of warnings, rule sets, subscriptions, answers.

Each is a register, so that every change is an entry with its actor and reason, has all its versions, and is kept over
HTTP, on the command line and from sheets like any other. Where a code begins with nine digits they are the node that
it concerns, and its own people may keep it; 000000000 concerns all nodes.

Sources: kinds of certificate and when they are valid: `china.md` 3. Steps of a warning (挂牌督办/销号): our choice,
`china.md` 4. Silences: after Alertmanager, `drugs_and_warnings.md` 5.1.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from ledger.access import SUPERVISORS, Action
from ledger.errors import Breach, UnacceptableRecord, UnreadableCode
from ledger.identifiers import canonical_key, uri_of
from ledger.registers import fields as f
from ledger.registers.form import Field, Find, Parse, Register, Step, Values, Word
from ledger.registers.goods import Unit
from ledger.rules.form import read_rules
from ledger.rules.trial import wrong_examples

_NODE_FIRST = "9 digits of the node that it concerns (000000000: all), a hyphen, and a name of its own"
RULES_BYTES_MAX = 256 * 1024


def _of_node(what: str, rest: str = "[A-Za-z0-9][A-Za-z0-9-]{0,39}") -> Parse:
    return f.pattern(what, f"[0-9]{{9}}-{rest}", _NODE_FIRST)


def _node_of(values: Values, key: str) -> int:
    return int(str(values[key])[:9])


# --- certificates ---------------------------------------------------------------------------------


class VoucherKind(Word):
    """Kinds of voucher 凭证类型."""

    TRANSACTION = "transaction", "交易凭证"
    ANIMAL = "animal", "动物检疫合格证明"
    PRODUCT = "product", "动物产品检疫合格证"
    INSPECTION = "inspection", "肉品品质检验合格证"
    ORIGIN = "origin", "产地证明"
    TEST = "test", "检测合格证"
    PROMISE = "promise", "承诺达标合格证"
    PURCHASE = "purchase", "购货凭证"
    IMPORT = "import", "入境货物检验检疫证明"


class CertificateStatus(Word):
    """Whether goods may come in under it."""

    VALID = "valid", "有效"
    VOID = "void", "作废"
    FORGED = "forged", "伪造"


_KINDS = "|".join(str(kind) for kind in VoucherKind if kind is not VoucherKind.TRANSACTION)
parse_certificate = f.pattern(
    "certificate", f"({_KINDS}):[A-Za-z0-9\u4e00-\u9fff-]{{1,40}}", f"its kind ({_KINDS}), a colon, its number"
)


def _valid(values: Values) -> Iterator[Breach]:
    issued, expires = values.get("issued"), values.get("expires")
    if isinstance(issued, str) and isinstance(expires, str) and expires < issued:
        yield Breach("expires", f"it ends on {expires}, before it was issued on {issued}")
    if (values.get("quantity") is None) != (values.get("unit") is None):
        yield Breach("unit", "quantity and unit go together")


CERTIFICATE = Register(
    "certificate", "certificates", "证明文件", "certificate", ("certificate",),
    (
        Field("certificate", "证明", "its kind, a colon, its number", parse_certificate, "product:330212000117",
              required=True, names=True, find=Find.EXACT),
        Field("issuer", "出具单位", "who issued it; no person's name", f.text(100), "动物卫生监督所"),
        Field("issued", "出具日期", "the day it was issued", f.day, "2026-11-24", required=True),
        Field("expires", "有效期至", "the last day on which it is valid; by its kind where left out", f.day,
              "2026-11-28"),
        Field("quantity", "数量", "for how much it was issued", f.decimal("0.000001", "100000000"), "500"),
        Field("unit", "计量单位", "in which unit", f.one_of(Unit), "KGM"),
        Field("goods", "商品编码", "for which goods", f.goods, "21113011", find=Find.EXACT),
        Field("node", "使用节点", "where it was used first: it is used nowhere else", f.NODE_CODE, "330212001"),
        Field("used", "已用数量", "how much has come in under it", f.decimal("0", "1000000000"), "120.5"),
    ),
    Action.REGISTER, _valid,
    steps=(
        Step("void", "作废", "its issuer's list says that it is void", (str(CertificateStatus.VALID),),
             str(CertificateStatus.VOID), SUPERVISORS),
        Step("forge", "认定伪造", "its issuer never issued it", tuple(map(str, (
            CertificateStatus.VALID, CertificateStatus.VOID))), str(CertificateStatus.FORGED), SUPERVISORS),
    ),
    status="status", statuses=CertificateStatus,
)  # fmt: skip
"""Papers that goods come in under, each once, with how much of it is used."""


# --- holds ----------------------------------------------------------------------------------------


class Scope(Word):
    """What is stopped."""

    LOT = "lot", "批次"
    GOODS = "goods", "商品"
    PRODUCT_BATCH = "batch", "药品批号"
    PARTY = "party", "主体"
    NODE = "node", "节点"


class HoldStatus(Word):
    """Whether it holds, until its end."""

    ACTIVE = "active", "停售中"
    RELEASED = "released", "已解除"


def _target_text(given: str, today: date) -> str:
    """A lot in the one form in which it is asked after, however it was given; other targets as they are."""
    text = str(f.text(300)(given, today))
    try:
        return uri_of(canonical_key(text)) if re.match("https?://|urn:", text) else text
    except ValueError as error:
        raise UnreadableCode("lot", given, str(error)) from None


def _target(values: Values) -> Iterator[Breach]:
    scope, target = values.get("scope"), str(values.get("target"))
    forms = {
        Scope.LOT: (f.LOT.pattern, "its URI"),
        Scope.PARTY: (r"[0-9]{13}", "13 digits"), Scope.NODE: (r"[0-9]{9}", "9 digits"),
        Scope.GOODS: (r"[0-9]{3,14}|pig|cattle|sheep", "a goods code or a GTIN"),
        Scope.PRODUCT_BATCH: (r"(8[0-9]{6}|[0-9]{14})/[!-~]{1,20}", "a GTIN or the 7 digits of a drug, a slash, the "
                              "batch"),
    }  # fmt: skip
    if scope in forms:
        form, hint = forms[Scope.of(str(scope))]
        if re.fullmatch(form, target) is None:
            yield Breach("target", f"of a {scope} give {hint}")


HOLD = Register(
    "hold", "holds", "停售令", "hold", ("hold",),
    (
        Field("hold", "编号", _NODE_FIRST, _of_node("number of a hold"), "330212001-1", required=True, names=True,
              find=Find.EXACT),
        Field("scope", "范围", "what is stopped", f.one_of(Scope), "lot", required=True, fixed=True),
        Field("target", "对象", "the lot as its URI; the goods, party or node by code; a drug's product/batch",
              _target_text, "urn:suyuan:lot:21113011:33021200126112500001", required=True, fixed=True, find=Find.EXACT),
        Field("until", "截止时间", "when it ends by itself", f.utc_moment, "2026-11-28T08:00:00+08:00"),
        Field("warning", "预警编号", "the warning that it answers", f.text(60), "330212001-0f1e2d3c4b5a69788796a5b4",
              find=Find.EXACT),
    ),
    Action.HOLD, _target,
    steps=(Step("release", "解除", "it may be sold again", (str(HoldStatus.ACTIVE),), str(HoldStatus.RELEASED),
                SUPERVISORS),),
    status="status", statuses=HoldStatus, node_of=lambda values: _node_of(values, "hold"),
)  # fmt: skip
"""Stop-sale orders: terminals, pharmacies and access checks refuse what is held."""


# --- warnings: silences, and how they are handled -----------------------------------------------------


class SilenceStatus(Word):
    """Whether it keeps silent, until its end."""

    ACTIVE = "active", "生效"
    ENDED = "ended", "已结束"


def _silences_something(values: Values) -> Iterator[Breach]:
    if all(values.get(name) is None for name in ("rule", "subject")) and _node_of(values, "silence") == 0:
        yield Breach("rule, subject", "name the rule, the subject or a node that it silences; not everything")


SILENCE = Register(
    "silence", "silences", "静默", "silence", ("silence",),
    (
        Field("silence", "编号", _NODE_FIRST, _of_node("number of a silence"), "330212001-2", required=True,
              names=True, find=Find.EXACT),
        Field("rule", "规则", "the rule that it silences; all if left out",
              f.pattern("rule", "[a-z][a-z0-9_]{1,59}", "its id"), "price_outlier", find=Find.EXACT),
        Field("subject", "对象", "the subject whose warnings it silences; all if left out", f.text(300),
              "urn:suyuan:lot:21113011:33021200126112500001", find=Find.EXACT),
        Field("until", "截止时间", "when it ends by itself", f.utc_moment, "2026-11-28T08:00:00+08:00",
              required=True),
        Field("cause", "原因", "why nobody needs to hear of it", f.text(200), "促销活动", required=True),
    ),
    Action.HANDLE, _silences_something,
    steps=(Step("end", "结束", "warnings are told again", (str(SilenceStatus.ACTIVE),), str(SilenceStatus.ENDED)),),
    status="status", statuses=SilenceStatus, node_of=lambda values: _node_of(values, "silence"),
)  # fmt: skip


class Progress(Word):
    """How far the handling of a warning is (挂牌督办/销号)."""

    OPEN = "open", "待处理"
    ASSIGNED = "assigned", "已派单"
    RECTIFYING = "rectifying", "整改中"
    SUBMITTED = "submitted", "已提交"
    VERIFIED = "verified", "已验收"
    CLOSED = "closed", "已销号"


_O, _A, _R, _S, _V, _C = (str(one) for one in Progress)

HANDLING = Register(
    "handling", "handlings", "预警处置", "handling", ("warning",),
    (
        Field("warning", "预警编号", "the warning's id", _of_node("warning's id", "[0-9a-f]{24}"),
              "330212001-0f1e2d3c4b5a69788796a5b4", required=True, names=True, find=Find.EXACT),
        Field("assignee", "责任主体", "who has to do something: 13 digits", f.PARTY_CODE, "3302120010001",
              find=Find.EXACT, refers="party"),
        Field("due", "整改期限", "until when; by level where left out", f.utc_moment,
              "2026-11-28T08:00:00+08:00"),
        Field("measures", "整改措施", "what was done; no personal data", f.text(500), "下架并销毁该批次"),
    ),
    Action.HANDLE, lambda _: iter(()),
    steps=(
        Step("assign", "派单", "somebody has to do something", (_O, _A), _A),
        Step("start", "开始整改", "somebody is at it", (_A,), _R),
        Step("submit", "提交", "it is done, says who did it", (_A, _R), _S),
        Step("reject", "退回整改", "it is not done", (_S, _V), _R),
        Step("verify", "验收", "it is done, says who looked", (_S,), _V, SUPERVISORS),
        Step("close", "销号", "it is over", (_O, _V), _C, SUPERVISORS),
        Step("reopen", "重新打开", "it is not over", (_C,), _O),
    ),
    status="status", statuses=Progress, node_of=lambda values: _node_of(values, "warning"),
)  # fmt: skip
"""How a warning is handled; it begins with the first step that somebody takes."""


# --- rule sets and subscriptions -------------------------------------------------------------------


class RuleSetStatus(Word):
    """Whether its rules watch."""

    LIVE = "live", "启用"
    RETIRED = "retired", "停用"


_RULES = re.compile("[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]+")


def _rules_text(given: str, _: object) -> str:
    if not _RULES.fullmatch(given):
        raise UnreadableCode("rule file", given, "it has a control character, which no line of it needs")
    if len(given.encode()) > RULES_BYTES_MAX:
        raise UnreadableCode("rule file", given, f"it has more than {RULES_BYTES_MAX} bytes; split it")
    return given


def _watches(values: Values) -> Iterator[Breach]:
    """All that is wrong with the rules, and what their own examples show that they do not do."""
    try:
        rules = read_rules(str(values["rules"]))
    except UnacceptableRecord as error:
        yield from error.breaches
        return
    for rule in rules:
        for wrong in wrong_examples(rule):
            yield Breach(rule.id, wrong)


RULE_SET = Register(
    "rule-set", "rule-sets", "规则集", "rule_set", ("rule_set",),
    (
        Field("rule_set", "规则集", "its name: small letters, digits, hyphens",
              f.pattern("rule set", "[a-z][a-z0-9-]{1,39}", "small letters, digits, hyphens"), "vegetables",
              required=True, names=True, find=Find.EXACT),
        Field("rules", "规则", "the rule file, as `suyuan rules check` takes it", _rules_text, "rules: []",
              required=True, lines=True),
    ),
    Action.ADMINISTER, _watches,
    steps=(
        Step("retire", "停用", "its rules raise nothing any more", ("live",), "retired"),
        Step("revive", "启用", "its rules raise warnings again", ("retired",), "live"),
    ),
    status="status",
    statuses=RuleSetStatus,
)  # fmt: skip


class Channel(Word):
    """How a subscriber is told."""

    WEB_HOOK = "webhook", "网络回调"
    EMAIL = "email", "电子邮件"


class SubscriptionStatus(Word):
    """Whether it is served."""

    ACTIVE = "active", "启用"
    PAUSED = "paused", "暂停"
    ENDED = "ended", "已取消"


_LEVELS = f.pattern("level", "red|orange|yellow|blue", "it is red, orange, yellow or blue")
_HOOK = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,250}[A-Za-z0-9])?)(?::([0-9]{1,5}))?"
    r"((?:[/?][!-~]*)?)"
)
_MAIL = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+"
)


@dataclass(frozen=True, slots=True)
class Hook:
    """A web hook's URL in its parts. `address` is the host where it is an address, in its shortest form."""

    PORTS: ClassVar[tuple[int, ...]] = (443, 8443)

    scheme: str
    host: str
    port: int
    target: str
    address: str | None

    @property
    def authority(self) -> str:
        """The host as `Host` names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"https": 443, "http": 80}[self.scheme] else f"{host}:{self.port}"

    @property
    def is_this_machine(self) -> bool:
        """Whether it names the machine itself, which only a setting allows."""
        return self.host == "localhost" or (self.address is not None and ipaddress.ip_address(self.address).is_loopback)


def parse_hook(given: str) -> Hook:
    """The parts of a web hook's URL. `UnreadableCode`, which does not repeat it, where it is none that is taken."""

    def refuse(reason: str) -> UnreadableCode:
        return UnreadableCode("web hook", "…", reason)

    match = _HOOK.fullmatch(given)
    if match is None or "#" in given or "\\" in given:
        raise refuse("give https://, a host, and a path: no name, password or fragment in it")
    scheme, host, port, target = match[1], match[2].lower().strip("[]"), match[3], match[4]
    address = None
    if match[2].startswith("[") or re.fullmatch("[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]):
        try:  # whatever ends like a number is an address to some programs: then only its plain form is taken
            address = str(ipaddress.ip_address(host))
        except ValueError:
            raise refuse("write an address as four decimal numbers, or as IPv6 in brackets") from None
    elif ".." in host or any(len(label) > 63 for label in host.split(".")):
        raise refuse("its host is none")
    found = Hook(
        scheme, host, int(port) if port else {"https": 443, "http": 80}[scheme],
        target if target.startswith("/") else f"/{target}", address,
    )  # fmt: skip
    if not found.is_this_machine and (scheme != "https" or found.port not in Hook.PORTS):
        raise refuse("it begins with https://, and its port is 443 or 8443")
    if not 1 <= found.port <= 65535:
        raise refuse("there is no such port")
    return found


def _check_subscription(values: Values) -> Iterator[Breach]:
    destination = str(values.get("destination"))
    if values.get("channel") == Channel.EMAIL:
        if not _MAIL.fullmatch(destination) or len(destination) > 254 or len(destination.partition("@")[0]) > 64:
            yield Breach("destination", "give one mail address, such as duty@city.example")
        return
    try:
        parse_hook(destination)
    except UnreadableCode as error:
        yield Breach("destination", error.reason)


SUBSCRIPTION = Register(
    "subscription", "subscriptions", "订阅", "subscription", ("subscription",),
    (
        Field("subscription", "编号", _NODE_FIRST, _of_node("name of a subscription"), "330212001-erp",
              required=True, names=True, find=Find.EXACT),
        Field("channel", "渠道", "how it is told", f.one_of(Channel), "webhook", required=True, fixed=True),
        Field("destination", "地址", "an https URL, or a mail address", f.text(500), "https://city.example/hook",
              required=True, private=True, mask=f.mask_all, find=Find.EXACT),
        Field("secret", "密钥", "whsec_ and 24 to 64 bytes in base64; made where left out",
              f.pattern("secret", "whsec_[A-Za-z0-9+/]{32,88}={0,2}", "whsec_ and 24 to 64 bytes in base64"),
              "whsec_c3V5dWFuLXN1eXVhbi1zdXl1YW4tc3V5dWFu", private=True, mask=f.mask_all),
        Field("secret_before", "旧密钥", "signed with too while it is replaced",
              f.pattern("secret", "whsec_[A-Za-z0-9+/]{32,88}={0,2}", "whsec_ and 24 to 64 bytes in base64"),
              "whsec_c3V5dWFuLXN1eXVhbi1zdXl1YW4tc3V5dWFu", private=True, mask=f.mask_all),
        Field("levels", "级别", "only these levels", _LEVELS, "red", many=True, option="level"),
        Field("rules", "规则", "only these rules", f.text(60), "residue_failed", many=True, option="rule"),
        Field("goods", "商品", "only these goods, and those below them", f.text(20), "211", many=True, option="goods"),
        Field("nodes", "节点", "only these nodes", f.pattern("node", "[0-9]{9}", "it has 9 digits"), "330212001",
              many=True, option="node"),
        Field("regions", "区划", "only these regions, or what they begin with: 33, 3302, 330212",
              f.pattern("region", "[0-9]{2,6}", "it is a region's 6 digits, or their beginning"), "330212", many=True,
              option="region"),
        Field("subjects", "对象", "only these subjects", f.text(300), "urn:suyuan:party:3302120010001", many=True,
              option="subject"),
        Field("kinds", "通知类型", "only these types of notice, or what they begin with", f.text(60), "warning.raised",
              many=True, option="kind"),
    ),
    Action.SUBSCRIBE, _check_subscription,
    steps=(
        Step("pause", "暂停", "nothing is sent for a time", (str(SubscriptionStatus.ACTIVE),),
             str(SubscriptionStatus.PAUSED)),
        Step("resume", "恢复", "what came meanwhile is sent too", (str(SubscriptionStatus.PAUSED),),
             str(SubscriptionStatus.ACTIVE)),
        Step("end", "取消", "nothing is sent any more", tuple(map(str, (
            SubscriptionStatus.ACTIVE, SubscriptionStatus.PAUSED))), str(SubscriptionStatus.ENDED)),
    ),
    status="status", statuses=SubscriptionStatus, node_of=lambda values: _node_of(values, "subscription"),
)  # fmt: skip
"""Who is told of what, and where. Streams and polling need none: they ask."""


# --- answers to recalls ------------------------------------------------------------------------------

_AMOUNT = f.decimal("0", "100000000")

RECALL_ANSWER = Register(
    "recall-answer", "recall-answers", "召回反馈", "recall_answer", ("answer",),
    (
        Field("answer", "编号", "9 digits of the node that answers, a hyphen, the recall's number",
              _of_node("answer to a recall", "[A-Z0-9][A-Z0-9-]{2,29}"), "330212001-ZH-2026-0001", required=True,
              names=True, find=Find.EXACT),
        Field("acknowledged_at", "签收时间", "when the notice was read, with its offset", f.utc_moment,
              "2026-11-25T09:00:00+08:00", required=True),
        Field("unit", "计量单位", "of the quantities below; pieces if left out", f.one_of(Unit), "KGM"),
        Field("found", "查到数量", "how much of it is there", _AMOUNT, "12.5"),
        Field("sold", "已售数量", "how much of it was sold before", _AMOUNT, "37.5"),
        Field("returned", "退回数量", "how much of it was sent back", _AMOUNT, "0"),
        Field("destroyed", "销毁数量", "how much of it was destroyed", _AMOUNT, "12.5"),
    ),
    Action.ANSWER_RECALL, lambda _: iter(()), node_of=lambda values: _node_of(values, "answer"),
)  # fmt: skip
"""What a node found, sold, sent back and destroyed of what is recalled."""
