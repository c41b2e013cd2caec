"""All texts of the pages, in Chinese and English: one catalogue. Templates name them, and have none of their own."""

from markupsafe import Markup, escape

from api.console.texts_more import MORE

TEXTS: dict[str, tuple[str, str]] = {
    "suyuan": ("溯源", "Suyuan"),
    "tagline": ("城市肉菜药品追溯账本", "a city's traceability ledger"),
    "skip": ("跳到正文", "skip to the content"),
    "menu": ("导航", "navigation"),
    "sign_in": ("登录", "sign in"),
    "sign_out": ("退出", "sign out"),
    "signed_in_as": ("当前凭据", "signed in as"),
    "key": ("凭据密钥", "API key"),
    "key_hint": ("以 sy_ 开头，由管理员发放", "begins with sy_; your administrator gives it"),
    "wrong_key": ("密钥无效或已撤销", "this key is not known, or not any more"),
    "look_up": ("查追溯码", "look up a code"),
    "code": ("追溯码", "code"),
    "code_hint": ("小票、标签或药盒上的号码", "the number on a slip, a label or a box"),
    "search": ("查询", "search"),
    "board": ("今日看板", "today"),
    "warnings": ("预警", "warnings"),
    "recalls": ("召回", "recalls"),
    "trace": ("追溯", "trace"),
    "market": ("市场管理", "market"),
    "labels": ("标签打印", "labels"),
    "terminal": ("扫码终端", "terminal"),
    "reports": ("报告", "reports"),
    "log": ("工作日志", "work log"),
    "assessment": ("考核评估", "assessment"),
    "nodes_live": ("在线节点", "nodes live today"),
    "nodes_silent": ("今日无记录的节点", "nodes silent today"),
    "entries_today": ("今日记录", "entries today"),
    "refusals_today": ("今日拒绝", "refused today"),
    "checks_today": ("今日准入检查", "access checks today"),
    "open_warnings": ("未销号预警", "open warnings"),
    "checkpoint": ("最近检查点", "last checkpoint"),
    "entries_signed": ("已签名记录", "entries signed"),
    "level_red": ("红色", "red"),
    "level_orange": ("橙色", "orange"),
    "level_yellow": ("黄色", "yellow"),
    "level_blue": ("蓝色", "blue"),
    "completeness": ("链条完整率", "completeness of chains"),
    "completeness_help": ("收货中能找到对应出货的比例，今日", "receipts of today whose shipping is recorded too"),
    "node": ("节点", "node"),
    "name": ("名称", "name"),
    "kind": ("类型", "kind"),
    "entries": ("记录", "entries"),
    "last_entry": ("最后记录", "last entry"),
    "status": ("状态", "status"),
    "open": ("开放", "open"),
    "closed": ("关闭", "closed"),
    "none": ("没有", "none"),
    "not_allowed": ("您的凭据不能看这一页", "your credential may not see this page"),
    "no_page": ("没有这一页", "there is no such page"),
    "not_found": ("查无此码", "nothing is recorded under this"),
    "error": ("出错了", "something went wrong"),
    "too_many": ("查询太频繁，请稍后再试", "too many look-ups; try again in a minute"),
    "more": ("更多", "more"),
    "filter": ("筛选", "filter"),
    "level": ("级别", "level"),
    "subject": ("对象", "subject"),
    "message": ("内容", "message"),
    "raised": ("发生时间", "raised"),
    "due": ("期限", "due"),
    "all": ("全部", "all"),
    "export": ("导出", "export"),
    "time": ("时间", "time"),
    "actor": ("操作者", "actor"),
    "what": ("事项", "what"),
    "entry": ("记录号", "entry"),
    "reason": ("理由", "reason"),
    "save": ("保存", "save"),
    "back": ("返回", "back"),
    "receipts": ("收货", "receipts"),
    **MORE,
}


def both(name: str) -> Markup:
    """A text in Chinese, and in English beside it."""
    zh, en = TEXTS[name]
    return Markup('<span lang="zh-CN">{}</span> <span lang="en" class="en">{}</span>').format(zh, en)


def plain(name: str) -> str:
    """The same where no markup can stand: titles, labels of fields."""
    return " ".join(TEXTS[name])


def phrase(zh: str, en: str) -> Markup:
    """What comes from the ledger in both languages."""
    return Markup('<span lang="zh-CN">{}</span> <span lang="en" class="en">{}</span>').format(escape(zh), escape(en))
