"""What is planted in the stream: anomalies that a rule has to find, and near-misses at which it has to stay silent.

Each kind is a row with what a rule ought to say. Pure.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Plant:
    """One plant: its events in order of time, the time of the last, the node and the thing that it is about."""

    kind: str
    anomaly: bool
    events: list[str]
    at: str
    node: str
    subject: str
    says: str

    def row(self) -> dict[str, object]:
        """The plant as a line of anomalies.jsonl."""
        return asdict(self)


def ignore(_: Plant) -> None:
    """For who does not ask what is planted."""


class Kind(NamedTuple):
    """A kind of plant, the story that can have it, and what a rule ought to say of the anomaly and the near-miss."""

    name: str
    story: str
    anomaly: str
    near_miss: str


KINDS = (
    Kind(
        "residue_failed", "greens",
        "农药残留抑制率不低于50%,停止销售并销毁 / inhibition of 50 % or more: stop the sale, destroy the lot",
        "抑制率49.9%,合格 / inhibition of 49.9 % is conformant",
    ),
    Kind(
        "unlicensed_party", "stall",
        "食品经营许可证前一日已到期 / the stall's food licence had ended the day before",
        "许可证当日到期,仍然有效 / the licence ends on the day and still holds",
    ),
    Kind(
        "trace_code_twice", "stall",
        "同一追溯码出现在两笔销售 / two sales under one trace code",
        "同一事件重复上传,不是第二笔销售 / the very same event was sent again, which is no second sale",
    ),
    Kind(
        "drug_code_twice", "medicine",
        "同一药盒在两家药店各售出一次 / one pack was sold at two pharmacies",
        "药盒退货后再次售出 / the pack was returned by the customer before it was sold again",
    ),
    Kind(
        "quarantine_failed", "pork",
        "生猪检疫不合格,销毁 / the pigs failed quarantine and were destroyed",
        "复检合格 / conformant at the second look",
    ),
    Kind(
        "sold_more_than_bought", "stall",
        "摊位售出比进货多5%,超过2%误差 / the stall sold 5 % more of the lot than it received, beyond 2 %",
        "多售1%,在2%误差之内 / 1 % more is within the tolerance of 2 %",
    ),
    Kind(
        "node_silent", "cold",
        "冷库温度报告中断6小时,上限4小时 / the cold store did not report for 6 h; the limit is 4 h",
        "中断2小时,未超上限 / 2 h are within the limit",
    ),
    Kind(
        "certificate_expired", "greens",
        "进货前一日证明已过期 / the certificate expired the day before the receipt",
        "证明当日到期,仍然有效 / the certificate expires on the day of the receipt and still holds",
    ),
    Kind(
        "missing_upstream", "stall",
        "售出的批次无进货也无来源 / goods were sold of a lot that nobody brought: no receipt, no origin",
        "出货记录迟到10分钟,事件时间在前 / the shipping was recorded 10 minutes late, with its earlier time",
    ),
    Kind(
        "temperature_excursion", "pork",
        "运输中12℃达45分钟,上限为8℃以上30分钟 / 12 C over 45 minutes in transport; the limit is 30 minutes above 8 C",
        "12℃仅10分钟 / 12 C for 10 minutes is within the limit",
    ),
    Kind(
        "near_expiry", "medicine",
        "收货时离失效期20天,下限30天 / received with 20 days left before expiry; the limit is 30",
        "收货时尚有40天 / 40 days are left",
    ),
    Kind(
        "price_outlier", "stall",
        "单价为平常的10倍 / 10 times the usual price",
        "单价为平常的1.5倍 / 1.5 times the usual price is possible",
    ),
    Kind(
        "certificate_reused", "greens",
        "同一证明号在两个节点进货 / one certificate number was used at two nodes",
        "同一节点两次使用,数量之内 / it was used twice at one node, within its quantity",
    ),
    Kind(
        "sale_after_recall", "recall",
        "召回30分钟后仍在销售 / the stall sold of the lot 30 minutes after its recall",
        "召回前30分钟售出 / it was sold 30 minutes before the recall",
    ),
    Kind(
        "impossible_travel", "medicine",
        "同一药盒5分钟内出现在两地药店 / one pack was seen in pharmacies of two regions within 5 minutes",
        "相隔6小时,中间有调拨 / 6 hours apart, with a transfer between",
    ),
    Kind(
        "weight_outlier", "stall",
        "一笔销售重量为平常的40倍 / one sale of 40 times the usual weight",
        "重量为平常的3倍 / 3 times the usual weight is possible",
    ),
    Kind(
        "failure_cluster", "cluster",
        "同一产地同一品种一日内三次不合格 / three residue failures of one origin region and goods within a day",
        "一日内两次不合格 / two failures are no cluster",
    ),
    Kind(
        "synthetic_link", "stall",
        "市场自报入场:正好100公斤,价格0,无凭证无供货方 "
        "/ entered at the market itself: exactly 100 kg, price 0, no document, no party",
        "正好100公斤,但有凭证和价格 / exactly 100 kg, but under a voucher and at a price",
    ),
    Kind(
        "dwell_time", "stall",
        "进货14小时后才首次售出,上限12小时 / first sold 14 h after the receipt; the limit is 12 h",
        "11小时,未超上限 / 11 h are within the limit",
    ),
    Kind(
        "sale_of_expired", "expired",
        "过保质期次日仍售出 / sold the day after its sell-by date",
        "保质期当日售出 / sold on its last day",
    ),
    Kind(
        "certificate_overused", "greens",
        "证明项下进货数量超过证明数量 / more was received under the certificate than its quantity",
        "分两批正好用完 / exactly its quantity was received, in two parts",
    ),
    Kind(
        "shipped_not_received", "stall",
        "出货后一直没有收货 / shipped and never received",
        "20小时后收货,上限24小时 / received after 20 h; the limit is 24 h",
    ),
    Kind(
        "recalled_still_moving", "recall",
        "召回后仍继续出货 / the lot was shipped on after its recall",
        "召回前出货 / it was shipped before the recall",
    ),
    Kind(
        "received_before_shipped", "stall",
        "收货比出货早3小时 / received 3 h before it was shipped",
        "出货1分钟后收货 / received 1 minute after it was shipped",
    ),
    Kind(
        "received_not_shipped", "stall",
        "收货凭证没有对应的出货 / received under a voucher that nobody shipped",
        "出货记录迟到10分钟 / the shipping was recorded 10 minutes late",
    ),
)  # fmt: skip
_BY_NAME = {kind.name: kind for kind in KINDS}


class Due(NamedTuple):
    """A plant that the next story is to have."""

    kind: Kind
    anomaly: bool
    number: int
    """How many were allotted before it."""


def says(kind: str, anomaly: bool) -> str:
    """What a rule ought to say of a plant of this kind."""
    found = _BY_NAME[kind]
    return found.anomaly if anomaly else found.near_miss


EAGER_EVERY = 2
"""Until each kind was there once as anomaly and once as near-miss, so many stories have one plant."""


def allotment() -> Iterator[Due]:
    """Plants without end: each kind as anomaly and as near-miss in turn, all kinds round and round."""
    number = 0
    while True:
        for kind in KINDS:
            for anomaly in (True, False):
                yield Due(kind, anomaly, number)
                number += 1
