"""The grounds on which goods do not come in, in words for the gate: what to bring, the law, and the reason made of it.

A lawyer can review the table. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ledger.market_access import needs as n
from ledger.market_access.needs import Lack, Law
from ledger.registers.form import Word


class Outcome(Word):
    """What becomes of the goods."""

    ADMITTED = "admitted", "准予入场"
    REFUSED = "refused", "不准入场"
    CONDITIONAL = "conditional", "检测合格后方可入场"


class Ground(Word):
    """Why goods do not come in, or not yet. The rest of each row is in `GROUNDS`."""

    NO_PAPER = "no_paper", "缺少证明"
    TEST_FIRST = "test_first", "没有合格凭证,须先检测"
    NO_TEST = "no_voucher_no_test", "既无凭证,又无合格检测"
    NOT_YET = "certificate_not_yet_valid", "证明尚未生效"
    EXPIRED = "certificate_expired", "证明已过期"
    VOID = "certificate_void", "证明已作废"
    FORGED = "certificate_forged", "证明系伪造"
    CONTRADICTS = "certificate_contradicts", "证明内容与登记不符"
    ELSEWHERE = "certificate_used_elsewhere", "证明已在其他地点使用"
    OVER = "certificate_over_quantity", "超出证明的数量"
    OTHER_UNIT = "certificate_other_unit", "计量单位与证明不一致,无法核对数量"
    FAILED = "rapid_test_failed", "快速检测不合格"
    FAILED_FINALLY = "test_failed", "检测不合格"
    RAPID_AGAIN = "rapid_retest", "复检不得采用快速检测方法"
    NOT_FILED = "seller_not_filed", "经营者未在本场备案"
    SUSPENDED = "seller_suspended", "经营者已暂停"
    REVOKED = "seller_revoked", "经营者已吊销"
    LEFT = "seller_left", "经营者已退出"
    LICENCE = "licence", "许可证问题"
    NO_DRUG_TRADE = "no_drug_trade", "经营者无药品经营资质"
    NO_CODE = "no_code", "没有追溯码"
    NO_RECORD = "no_temperature_record", "没有运输全程温度记录"
    NOT_COLD = "temperature_out_of_range", "温度记录中断或超出范围"
    RECALLED = "recalled", "已召回"
    HELD = "held", "已停售"
    BATCH_UNKNOWN = "batch_unknown", "该产品有批次被召回,此批号未知"


class Row(NamedTuple):
    """The rest of a ground: in English, what to bring, whose law, and whether a test would help."""

    english: str
    bring_chinese: str
    bring_english: str
    law: Law
    lack: Lack = Lack.REFUSE


GROUNDS: Mapping[Ground, Row] = {
    Ground.NO_PAPER: Row("a paper that these goods need is missing", "该证明原件", "the paper itself", n.EPIDEMICS),
    Ground.TEST_FIRST: Row(
        "no voucher: a test has to pass first",
        "现场快检合格结果,或任一合格凭证",
        "a passed rapid test on site, or one of the vouchers",
        n.MARKETS,
        Lack.TEST,
    ),
    Ground.NO_TEST: Row(
        "neither a voucher nor a passed test came in time",
        "合格凭证或检测合格证",
        "a voucher or a passed test",
        n.MARKETS,
    ),
    Ground.NOT_YET: Row("the certificate is not valid yet", "当日有效的证明", "a certificate valid today", n.EPIDEMICS),
    Ground.EXPIRED: Row(
        "the certificate has expired",
        "有效期内的证明;证上写有有效期或来自外省的,请填写有效期、产地",
        "a certificate that is valid; or its own last day, or the origin, if they were left out",
        n.VALIDITY,
    ),
    Ground.VOID: Row(
        "the certificate is void", "出证单位重新出具的证明", "a new certificate from its issuer", n.EPIDEMICS
    ),
    Ground.FORGED: Row(
        "the certificate is forged", "真实证明;并报告监管部门", "a true certificate; tell the authority", n.FORGERY
    ),
    Ground.CONTRADICTS: Row(
        "the certificate says other than what is registered of it",
        "核对证明原件,或由出证单位更正",
        "the original, or its issuer's correction",
        n.FORGERY,
    ),
    Ground.ELSEWHERE: Row(
        "the certificate was used at another place", "本批货物自己的证明", "this delivery's own certificate", n.FORGERY
    ),
    Ground.OVER: Row(
        "more goods than the certificate has left", "补足数量的证明", "a certificate for the rest", n.EPIDEMICS
    ),
    Ground.OTHER_UNIT: Row(
        "goods and certificate are counted in different units",
        "按证明的计量单位申报",
        "the quantity in the certificate's unit",
        n.EPIDEMICS,
    ),
    Ground.FAILED: Row(
        "a rapid test failed",
        "4小时内申请复检,复检不得采用快检",
        "ask for a re-test within 4 hours; it must not be a rapid test",
        n.RETEST,
    ),
    Ground.FAILED_FINALLY: Row(
        "a test failed", "停止销售并报告,货物退回或销毁", "stop, report, send back or destroy", n.SAMPLING
    ),
    Ground.RAPID_AGAIN: Row(
        "a re-test must not be a rapid test", "实验室复检合格报告", "a laboratory's report", n.RETEST
    ),
    Ground.NOT_FILED: Row(
        "the seller is not filed here", "主体备案资料", "what filing needs: name, code, licence", n.FILES
    ),
    Ground.SUSPENDED: Row("the seller is suspended", "恢复经营的决定", "the decision that lifts it", n.FILES),
    Ground.REVOKED: Row("the seller's filing is revoked", "恢复资格的决定", "the decision that lifts it", n.FILES),
    Ground.LEFT: Row("the seller has left", "重新备案", "filing anew", n.FILES),
    Ground.LICENCE: Row("the seller has no licence in force", "有效许可证", "a licence in force", n.INTAKE_CHECK),
    Ground.NO_DRUG_TRADE: Row(
        "the seller may not trade in drugs", "药品生产、经营或医疗机构许可证", "a licence for drugs", n.DRUGS
    ),
    Ground.NO_CODE: Row("drugs come in by their codes", "药品追溯码或批次码", "the drug's own code", n.CODES),
    Ground.NO_RECORD: Row(
        "a vaccine without a temperature record",
        "运输、储存全程温度监测记录",
        "the record of the whole way",
        n.VACCINES,
    ),
    Ground.NOT_COLD: Row(
        "the temperature record is broken or out of range",
        "不得接收;退回并报告",
        "nothing: send it back and report",
        n.VACCINES,
    ),
    Ground.RECALLED: Row(
        "it is recalled", "不得入场;停止销售并配合召回", "nothing: stop, and help the recall", n.RECALLS
    ),
    Ground.HELD: Row("it is held", "解除停售的决定", "the decision that releases it", n.RECALLS),
    Ground.BATCH_UNKNOWN: Row(
        "batches of this product are recalled, and this batch is not known",
        "带批号的代码",
        "a code with its batch",
        n.RECALLS,
    ),
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason: what it concerns (a certificate, goods, a code), and what it says besides its ground's own row."""

    ground: Ground
    about: str
    law: Law
    detail: str = ""
    """What it is exactly: a day, a quantity, which facts."""
    papers: str = ""
    """The papers to bring, in Chinese."""

    @property
    def lack(self) -> Lack:
        return GROUNDS[self.ground].lack

    @property
    def chinese(self) -> str:
        """The reason in Chinese, with its detail."""
        return ":".join(filter(None, (self.ground.chinese, self.papers, self.detail)))

    @property
    def english(self) -> str:
        """The reason in English, with its detail."""
        return ": ".join(filter(None, (GROUNDS[self.ground].english, self.papers, self.detail)))

    @property
    def bring(self) -> str:
        """What to bring, in both languages."""
        row = GROUNDS[self.ground]
        chinese = ":".join(filter(None, (row.bring_chinese, self.papers)))
        return f"{chinese} {row.bring_english}"
