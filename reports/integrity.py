"""The integrity statement: what was checked, when, against which checkpoints, and what that does and does not prove.

A report is made within seconds, so it checks what can be checked then: the latest checkpoint's signature, its root
against the stored tiles, and that it and the one outside the database are of one growing log. Everything else is the
audit's (`ledger/audit`), which reads every byte; its result is stated where one is handed in. Pure, but for `make`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from zoneinfo import ZoneInfo

from ledger.access import Action
from ledger.audit.report import Report as AuditReport
from ledger.codes import node_text
from ledger.errors import Misconfigured
from ledger.notes import Checkpoint, NoteInvalid, Verifier, open_checkpoint
from ledger.reporting import ChainNow, LogNow, chains, extends, log_keys, log_now
from reports.catalogue import Report, Source
from reports.document import Basis, Cell, Column, Document, Facts, Grid, Kind, Note, Phrase, Section

TITLE = Phrase("完整性声明", "Integrity statement")
SHOWN = 1_000
"""Disagreements that the statement lists; how many there are it says."""


class Outside(Enum):
    """What was found of the checkpoint outside the database."""

    CONSISTENT = Phrase("一致:两者属于同一不断增长的日志", "consistent: both are of one growing log")
    OTHER = Phrase("不一致:日志被改写", "NOT consistent: the log was rewritten")
    AHEAD = Phrase("账外检查点超前:数据库被回退或条目丢失", "it is ahead of the database: entries are gone")
    NONE = Phrase("未提供", "none was given")
    UNREADABLE = Phrase("账外检查点或密钥无法读取", "it, or the key, cannot be read")


@dataclass(frozen=True, slots=True)
class Audited:
    """An audit that was run: when it began to read, and what it found."""

    at: datetime
    report: AuditReport


@dataclass(frozen=True, slots=True)
class Rows:
    """What a statement is made of. `signers` are the names of the keys that the latest checkpoint's signature fits."""

    log: LogNow
    chains: Sequence[ChainNow]
    signers: Sequence[str]
    outside: Checkpoint | None
    agreement: Outside
    zone: ZoneInfo


SIGNED = Phrase(
    "最新检查点由所列公钥签名;其根哈希与库中存储的默克尔树块一致。",
    "The latest checkpoint is signed by the key named, and its root is that of the stored tiles of the log.",
)
GROWN = Phrase(
    "最新检查点与数据库之外保存的检查点之间,日志的哈希只有追加,没有任何位置被改写或删除。",
    "Between the latest checkpoint and the one outside the database the log's hashes were only appended to: none was "
    "changed or taken away.",
)
PROVEN_BY_AUDIT = Phrase(
    "审计通过即证明:审计时每条记录的字节、哈希、链接和在日志中的位置,与此前签名的全部检查点相符;由记录推导的各表与记录相符。",
    "A clean audit proves: when it ran, the bytes, hash, link and place of every entry agreed with every checkpoint "
    "signed before, and all tables derived from the entries agreed with them.",
)
NOT_PROVEN = (
    Phrase(
        "不证明记录的内容属实,只证明记录之后未被改动。",
        "Not that what was recorded is true: only that it was not changed since.",
    ),
    Phrase("不证明没有漏记。", "Not that nothing was left unrecorded."),
    Phrase(
        "不证明尚未纳入任何检查点或回执的最新条目未被截去。",
        "Not that no entries were cut off a chain's end before they were under any checkpoint or receipt.",
    ),
    Phrase(
        "不证明签名密钥持有者没有另行签署另一版本的历史:须与见证方或外部保存的检查点比对。",
        "Not that whoever holds the signing key did not sign another history too: compare with witnesses' checkpoints.",
    ),
)
NOT_WITHOUT_AUDIT = Phrase(
    "没有通过的审计:不证明各条目的字节与日志中的哈希相符。",
    "There is no clean audit: so not that the bytes of each entry are those that the log has the hash of.",
)


def document(rows: Rows, basis: Basis, audited: Audited | None = None) -> Document:
    """The statement of these rows, and of an audit where one was run."""
    sections: list[Section] = [*_alerts(rows, audited), _checked(rows, basis), _log(rows), _outside(rows)]
    if audited is not None:
        sections += [_audit(rows, audited), _disagreements(audited)]
    is_clean = audited is not None and audited.report.clean
    proven = [
        (SIGNED, bool(rows.signers) and _root_agrees(rows)), (GROWN, rows.agreement is Outside.CONSISTENT),
        (PROVEN_BY_AUDIT, is_clean),
    ]  # fmt: skip
    not_proven = [*NOT_PROVEN, *([] if is_clean else [NOT_WITHOUT_AUDIT])]
    sections += [
        _said(Phrase("证明了什么", "What is proven"), [one for one, holds in proven if holds]),
        _said(Phrase("没有证明什么", "What is not proven"), not_proven),
        _chains(rows),
    ]  # fmt: skip
    return Document("integrity", TITLE, basis.origin, basis, sections, {"checkpoint": rows.log.latest.note})


def _said(title: Phrase, sentences: Sequence[Phrase]) -> Facts:
    numbers = [Phrase(f"{at}.", f"{at}.") for at in range(1, len(sentences) + 1)]
    return Facts(title, [(number, one.both) for number, one in zip(numbers, sentences, strict=True)])


def _root_agrees(rows: Rows) -> bool:
    return rows.log.computed_root == rows.log.latest.root


def _alerts(rows: Rows, audited: Audited | None) -> Iterator[Note]:
    if not rows.signers:
        yield Note(Phrase("最新检查点的签名无效或密钥未知。", "No known key signed the latest checkpoint."), True)
    if not _root_agrees(rows):
        yield Note(Phrase("检查点与库中的日志不符。", "The checkpoint is not of the log that is stored."), True)
    if rows.agreement in (Outside.OTHER, Outside.AHEAD, Outside.UNREADABLE):
        yield Note(rows.agreement.value, True)
    if audited is None:
        yield Note(Phrase(
            "本声明未包含审计:只核对了检查点。请运行:suyuan audit",
            "No audit is part of this statement: only checkpoints were compared. Run: suyuan audit",
        ))  # fmt: skip
    elif not audited.report.clean:
        count = audited.report.count
        yield Note(Phrase(f"审计发现 {count} 处不符。", f"The audit found {count} disagreements."), True)


def _checked(rows: Rows, basis: Basis) -> Facts:
    latest = rows.log.latest
    return Facts(Phrase("最新检查点", "The latest checkpoint"), [
        (Phrase("核对时间", "checked at"), basis.as_of.astimezone(rows.zone)),
        (Phrase("条目数", "entries"), latest.size),
        (Phrase("根哈希", "root"), latest.root.hex()),
        (Phrase("签名公钥", "signed by the key"), " ".join(rows.signers) or "无 none"),
        (Phrase("与存储的树块一致", "agrees with the stored tiles"), _root_agrees(rows)),
    ])  # fmt: skip


def _log(rows: Rows) -> Facts:
    entries = sum(one.entries for one in rows.chains)
    return Facts(Phrase("账本规模", "How much there is"), [
        (Phrase("链(节点)数", "chains"), len(rows.chains)),
        (Phrase("条目数", "entries"), entries),
        (Phrase("其中已入日志", "of them in the log"), rows.log.size),
        (Phrase("其中已签名", "of them under the latest checkpoint"), rows.log.latest.size),
        (Phrase("日志区段数", "ranges of the log"), rows.log.ranges),
    ])  # fmt: skip


def _outside(rows: Rows) -> Facts:
    pairs: list[tuple[Phrase, Cell]] = [(Phrase("结论", "finding"), rows.agreement.value.both)]
    if rows.outside is not None:
        pairs += [
            (Phrase("其条目数", "its entries"), rows.outside.size),
            (Phrase("其根哈希", "its root"), rows.outside.root.hex()),
        ]  # fmt: skip
    return Facts(Phrase("数据库之外保存的检查点", "The checkpoint outside the database"), pairs)


def _audit(rows: Rows, audited: Audited) -> Facts:
    found = audited.report
    return Facts(Phrase("审计结果", "The audit"), [
        (Phrase("审计时间", "run at"), audited.at.astimezone(rows.zone)),
        (Phrase("已核对条目", "entries read"), found.entries),
        (Phrase("已核对链", "chains read"), found.chains),
        (Phrase("日志条目", "places of the log"), found.log_size),
        (Phrase("已核对检查点", "checkpoints"), found.checkpoints),
        (Phrase("已核对回执条目", "entries of receipts"), found.receipts),
        (Phrase("不符之处", "disagreements"), found.count),
        (Phrase("通过", "clean"), found.clean),
    ])  # fmt: skip


def _disagreements(audited: Audited) -> Grid:
    found = audited.report.disagreements[:SHOWN]
    lines: list[list[Cell]] = [[one.where, one.what] for one in found]
    columns = [Column(Phrase("位置", "where"), Kind.CODE), Column(Phrase("不符", "what"))]
    rest = audited.report.count - len(found)
    note = Phrase(f"另有 {rest} 处未列出。", f"{rest} more are not listed.") if rest else None
    return Grid(Phrase("不符之处", "Disagreements"), columns, lines, note, frozenset(range(len(lines))))


def _chains(rows: Rows) -> Grid:
    columns = [
        Column(Phrase("节点", "chain")), Column(Phrase("条目数", "entries"), Kind.NUMBER),
        Column(Phrase("已入日志", "in the log"), Kind.NUMBER), Column(Phrase("最近记录", "last recorded"), Kind.TIME),
        Column(Phrase("链尾哈希", "hash of the last"), Kind.CODE),
        Column(Phrase("链尾条目", "last entry"), Kind.ENTRIES),
    ]  # fmt: skip
    lines: list[list[Cell]] = [
        [f"{node_text(one.node)} {one.name or ''}".strip(), one.entries, one.in_log,
         one.last and one.last.astimezone(rows.zone), one.hash.hex(), f"{node_text(one.node)}/{one.entries}"]
        for one in rows.chains
    ]  # fmt: skip
    return Grid(Phrase("各节点的链", "Chains"), columns, lines)


def rows_of(source: Source) -> Rows:
    """What is known of the log now, and of the checkpoint in the key folder."""
    connection, keys = source.connection, log_keys(source.vault)
    log = log_now(connection, source.basis.size)
    verifiers: list[Verifier] = []
    outside, agreement = None, Outside.NONE
    try:
        verifiers = keys.verifiers()
        outside = keys.last_checkpoint()
    except Misconfigured:
        agreement = Outside.UNREADABLE
    if outside is not None:
        agreement = {True: Outside.CONSISTENT, False: Outside.OTHER, None: Outside.AHEAD}[
            extends(connection, log.latest, outside)
        ]
    return Rows(log, chains(connection), _signers(log.latest.note, verifiers), outside, agreement, source.zone)


def _signers(note: str, verifiers: Sequence[Verifier]) -> list[str]:
    """Which of these keys signed the checkpoint."""
    found = []
    for verifier in verifiers:
        try:
            open_checkpoint(note, [verifier])
        except NoteInvalid:
            continue
        found.append(str(verifier))
    return found


def make(source: Source, _: Mapping[str, str], audited: Audited | None = None) -> Document:
    """The statement; with an audit's result where one was run before."""
    return document(rows_of(source), source.basis, audited)


REPORT = Report("integrity", TITLE, {}, Action.SEE_READINGS, make)
