"""Notices as e-mail: one message each, in Chinese, and one conversation with the operator's mail server.

A report that was published comes with its file, up to `FILE_BYTES_MAX`.
"""

import smtplib
import ssl
import time
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from ledger.codes import CITY, node_text
from ledger.outbound import Answer
from ledger.subscriptions import LEVEL_NAMES, LEVELS, RESET, TYPE_PREFIX

Json = dict[str, Any]

TIMEOUT_S = 15.0
SUBJECT_MAX = 150
FILE_BYTES_MAX = 5 << 20
PUBLISHED = f"{TYPE_PREFIX}report.published"
_TYPES = {
    "warning.raised": "预警", "warning.changed": "预警更新", "warning.escalated": "预警升级",
    "warning.closed": "预警销号", "recall.filed": "召回", "recall.ended": "召回结束", "hold.placed": "停售",
    "hold.released": "解除停售",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message, with its media type."""

    name: str
    media: str
    data: bytes


def message(event: Json, sender: str, to: str, name: str, file: Attachment | None = None) -> EmailMessage:
    """The message for a CloudEvent. `name` is the delivery's own, the same at each attempt.

    Whatever the event holds stays one line of a header: control characters become spaces.
    """
    made = EmailMessage(policy=SMTP)
    host = sender.rpartition("@")[2]
    made["Subject"] = _line(_headline(event))[:SUBJECT_MAX]
    made["From"], made["To"] = sender, to
    made["Message-ID"] = f"<{_line(name)}@{host}>"
    if "time" in event:
        made["Date"] = format_datetime(datetime.fromisoformat(event["time"]))
    made["Auto-Submitted"] = "auto-generated"
    text = orjson.dumps(event, option=orjson.OPT_INDENT_2).decode()
    said = f"{_headline(event)}\n\n{_about(event, file)}{text}\n\n本邮件由溯源系统自动发送，请勿回复。\n"
    made.set_content(said, cte="base64")
    if file is not None:
        kind, _, rest = file.media.partition("/")
        word, _, charset = rest.partition("; charset=")
        params = {"charset": charset} if charset else None
        made.add_attachment(file.data, kind, word, cte="base64", filename=_line(file.name), params=params)
    return made


def _about(event: Json, file: Attachment | None) -> str:
    """What a person wants to know of a published report before all else."""
    if event["type"] != PUBLISHED:
        return ""
    data = event["data"]
    where = f"文件见附件：{file.name}" if file else f"文件请登录后下载：{data['path']}"
    return (
        f"报告已发布：{data['title']['zh']} {data['title']['en']}，期间 {data['period']}。\n{where}\n"
        f"文件哈希 SHA-256：{data['sha256']}\n内容哈希：{data['hash']}\n账本条目：{data['entry']}\n\n"
    )


def _headline(event: Json) -> str:
    data = event["data"]
    if event["type"] == RESET:
        return f"[溯源] 部分通知已不再保存：{data['after']} 至 {data['oldest'] - 1}"
    if event["type"] == PUBLISHED:
        of = "" if data["node"] == node_text(CITY) else f" {data['node']}"
        return f"[溯源] {data['title']['zh']} {data['period']}{of}"
    kind = event["type"].removeprefix(TYPE_PREFIX)
    level = data.get("level")
    colour = f"【{LEVEL_NAMES[LEVELS.index(level)]}】" if level in LEVELS else ""
    return f"[溯源]{colour}{_TYPES.get(kind, kind)} {data.get('rule') or ''} {event['subject']}"


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def send(url: str, made: EmailMessage, timeout_s: float = TIMEOUT_S) -> Answer:
    """Hand a message to the mail server. A password goes over TLS only; reasons are short, and name no address."""
    began = time.monotonic()
    status: int | None = None
    error: str | None = None
    try:
        with _connected(url, timeout_s) as server:
            server.send_message(made)
            status = 250
    except smtplib.SMTPRecipientsRefused as refused:
        status = next(iter(refused.recipients.values()))[0]
        error = "the mail server refuses the recipient"
    except smtplib.SMTPResponseException as refused:
        status, error = refused.smtp_code, "the mail server refuses"
    except (smtplib.SMTPException, ssl.SSLError) as failed:
        error = "no TLS with the mail server" if isinstance(failed, ssl.SSLError | _NoTls) else "the mail server fails"
    except TimeoutError:
        error = "timed out"
    except (OSError, ValueError):
        error = "no mail server there"
    return Answer(status, round((time.monotonic() - began) * 1000), error)


class _NoTls(smtplib.SMTPException):
    """The server offers no TLS, and a password is to be sent."""


def _connected(url: str, timeout_s: float) -> smtplib.SMTP:
    parts = urlsplit(url)
    host, context = parts.hostname or "", ssl.create_default_context()
    if parts.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, parts.port or 465, timeout=timeout_s, context=context)
    else:
        server = smtplib.SMTP(host, parts.port or 587, timeout=timeout_s)
    try:
        server.ehlo()
        if parts.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
        elif parts.scheme == "smtp" and parts.password and host not in ("localhost", "127.0.0.1", "::1"):
            raise _NoTls
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
    except BaseException:
        server.close()
        raise
    return server
