"""What is published by itself: the plan 报告计划 by which reports are made, and each report that was made by it.

Both are registers, so that what was published when, and with which hash, is an entry of the chain and can be proven.
A publication is filed by the engine alone (`ledger/publishing.py`), and never changed. Where a code begins with nine
digits they are the node whose trade the report is of; 000000000 is the whole city.
"""

import re
from collections.abc import Iterator
from typing import Self

from ledger.access import Action
from ledger.cadence import FORMS, Cadence
from ledger.errors import Breach
from ledger.registers import fields as f
from ledger.registers.form import Field, Find, Register, Step, Values, Word

_NAME = "[0-9]{9}-[A-Za-z0-9][A-Za-z0-9-]{0,39}"
_PERIOD = "|".join(FORMS.values())
_BYTES_MAX = 1 << 30
PUBLICATION = re.compile(f"{_NAME}-({_PERIOD})")
"""How the code of a publication looks."""


class Scheduled(Word):
    """Reports that can be published by themselves, as the catalogue calls them; each says how often."""

    DAILY = "daily", "日监测", "Daily monitoring", Cadence.DAY
    WEEKLY = "weekly", "周分析", "Weekly analysis", Cadence.WEEK
    MONTHLY = "monthly", "月通报", "Monthly bulletin", Cadence.MONTH
    ASSESSMENT = "assessment", "节点考核评估", "Assessment of nodes", Cadence.MONTH
    INTEGRITY = "integrity", "完整性声明", "Integrity statement", Cadence.DAY

    english: str
    cadence: Cadence

    def __new__(cls, value: str, chinese: str, english: str, cadence: Cadence) -> Self:
        word = str.__new__(cls, value)
        word._value_, word.chinese, word.english, word.cadence = value, chinese, english, cadence
        return word


class Form(Word):
    """What file a report is, and the media type of it."""

    HTML = "html", "网页", "text/html; charset=utf-8"
    PDF = "pdf", "PDF", "application/pdf"
    XLSX = "xlsx", "电子表格", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    CSV = "csv", "CSV", "text/csv; charset=utf-8"
    JSON = "json", "JSON", "application/json"

    media: str

    def __new__(cls, value: str, chinese: str, media: str) -> Self:
        word = str.__new__(cls, value)
        word._value_, word.chinese, word.media = value, chinese, media
        return word


class Tongue(Word):
    """In which language."""

    CHINESE = "zh", "中文"
    ENGLISH = "en", "英文"


class ScheduleStatus(Word):
    """Whether reports are made by it."""

    ACTIVE = "active", "启用"
    ENDED = "ended", "已结束"


def _of_whom(values: Values) -> Iterator[Breach]:
    if values.get("report") == Scheduled.INTEGRITY and int(str(values["schedule"])[:9]):
        yield Breach("report", "the integrity statement is of the whole log: its code begins with 000000000")


REPORT_SCHEDULE = Register(
    "report-schedule", "report-schedules", "报告计划", "report_schedule", ("schedule",),
    (
        Field("schedule", "编号", "9 digits of the node that it is of (000000000: the city), a hyphen, and a name",
              f.pattern("name of a schedule", _NAME, "9 digits of a node, a hyphen, and a name of letters, digits, "
                        "hyphens"), "000000000-morning", required=True, names=True, find=Find.EXACT),
        Field("report", "报告", "which one; it says how often: each day, week or month", f.one_of(Scheduled), "daily",
              required=True, fixed=True),
        Field("format", "格式", "html, pdf, xlsx, csv or json", f.one_of(Form), "pdf", required=True),
        Field("language", "语言", "zh or en; zh if left out", f.one_of(Tongue), "zh"),
    ),
    Action.SCHEDULE, _of_whom,
    steps=(
        Step("end", "结束", "nothing is published by it any more", (str(ScheduleStatus.ACTIVE),),
             str(ScheduleStatus.ENDED)),
        Step("revive", "恢复", "from then on it is published again", (str(ScheduleStatus.ENDED),),
             str(ScheduleStatus.ACTIVE)),
    ),
    status="status", statuses=ScheduleStatus, node_of=lambda values: int(str(values["schedule"])[:9]),
)  # fmt: skip
"""Which report is published how often, of whom."""


def schedule_of(published: str, period: str) -> str:
    """The schedule that a publication came of.

    >>> schedule_of("000000000-morning-2026-11-25", "2026-11-25")
    '000000000-morning'
    """
    return published.removesuffix(f"-{period}")


def _names_its_period(values: Values) -> Iterator[Breach]:
    period, cadence = str(values["period"]), Scheduled.of(str(values["report"])).cadence
    if not re.fullmatch(FORMS[cadence], period):
        yield Breach("period", f"a report of each {cadence} is of one {cadence}")
    if not str(values["published"]).endswith(f"-{period}"):
        yield Breach("published", "it is the schedule, a hyphen, and the period")


def _hash(name: str, chinese: str, help_: str) -> Field:
    parse = f.pattern("SHA-256", "[0-9a-f]{64}", "it is 64 hexadecimal digits")
    return Field(name, chinese, help_, parse, "0" * 64, required=True, fixed=True, find=Find.EXACT)


PUBLISHED_REPORT = Register(
    "published-report", "published-reports", "已发布报告", "published_report", ("published",),
    (
        Field("published", "编号", "the schedule, a hyphen, the period",
              f.pattern("publication", PUBLICATION.pattern, "the schedule, a hyphen, and the period"),
              "000000000-morning-2026-11-25", required=True, names=True, find=Find.EXACT),
        Field("report", "报告", "which one", f.one_of(Scheduled), "daily", required=True, fixed=True),
        Field("period", "期间", "the day, the week of ISO 8601 or the month that it is of",
              f.pattern("period", _PERIOD, "as 2026-11-25, 2026-W47 or 2026-10"), "2026-11-25", required=True,
              fixed=True, find=Find.EXACT),
        Field("format", "格式", "what file it is", f.one_of(Form), "pdf", required=True, fixed=True),
        Field("language", "语言", "zh or en", f.one_of(Tongue), "zh", required=True, fixed=True),
        Field("as_of", "截至时间", "when the ledger was read for it", f.utc_moment, "2026-11-26T00:05:12+08:00",
              required=True, fixed=True),
        Field("size", "检查点", "how many entries the checkpoint has that it rests on", f.whole(0, 10**12 - 1), "2000",
              required=True, fixed=True),
        _hash("hash", "内容哈希", "SHA-256 of what it says, as it names it itself"),
        _hash("sha256", "文件哈希", "SHA-256 of the file"),
        Field("bytes", "字节数", "how long the file is", f.whole(1, _BYTES_MAX), "48211", required=True, fixed=True),
    ),
    Action.PUBLISH, _names_its_period, node_of=lambda values: int(str(values["published"])[:9]),
)  # fmt: skip
"""What was published when, with the hashes of its content and of its file."""
