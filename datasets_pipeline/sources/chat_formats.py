"""Messages out of the files of a chat export: Slack, Mattermost, and JSON lines with fields a recipe names.

Joins, leaves and other words of the system are left out, and bots unless they are asked for. Bytes are hostile:
every value is checked before it is used, and a file or line that cannot be read is a reject.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from typing import Any

from datasets_pipeline.sources.base import Reject
from datasets_pipeline.sources.conversations import MENTION, Message

# Slack's subtypes that are words of a person; all others are of the system or of bots.
_SLACK_SPOKEN = frozenset({None, "", "thread_broadcast", "file_share", "file_comment", "me_message", "reply_broadcast"})
_SLACK_MARK = re.compile(r"<([^<>\n]{1,4000})>")
_DIRECT = re.compile(r"(?:D[A-Z0-9]{8,}|mpdm-.+)\Z")
_DAY_FILE = re.compile(r"\d{4}-\d{2}-\d{2}\.json\Z")
_AT = re.compile(r"<at\b[^<>]*>([^<>]{0,200})</at>", re.IGNORECASE)
_MAX_SECONDS = 253_402_300_799  # the end of the year 9999


@dataclass(frozen=True)
class Fields:
    """Where a JSON message has what, as dotted paths."""

    text: str
    user: str
    user_name: str
    time: str
    thread: str
    channel: str
    id: str
    kind: str
    kinds: tuple[str, ...]


@dataclass
class Export:
    """What was found in an export: messages, names by user id, rejects."""

    messages: list[Message] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)

    def reject(self, name: str, start: int, end: int, reason: str) -> None:
        self.rejects.append(Reject(start, end, reason, name))


def is_direct(channel: str) -> bool:
    """True for a conversation between a few people, by the name Slack gives its folder."""
    return _DIRECT.match(channel) is not None


def is_day_file(name: str) -> bool:
    """True for `2024-01-31.json`."""
    return _DAY_FILE.match(name) is not None


# --- Slack ---------------------------------------------------------------------------------------


def read_slack_users(data: bytes, export: Export) -> None:
    """users.json: display names by id."""
    users = _json(data)
    for user in users if isinstance(users, list) else []:
        if isinstance(user, dict) and isinstance(user.get("id"), str):
            profile = _mapping(user.get("profile"))
            named = (profile.get("display_name"), profile.get("real_name"), user.get("real_name"), user.get("name"))
            name = next((value for value in named if isinstance(value, str) and value.strip()), None)
            if name:
                export.names[user["id"]] = name


def read_slack_day(data: bytes, channel: str, name: str, start: int, bots: bool, export: Export) -> None:
    """One `<channel>/<day>.json`."""
    messages = _json(data)
    if not isinstance(messages, list):
        export.reject(name, start, start + len(data), "parser_error")
        return
    for raw in messages:
        if isinstance(raw, dict) and (message := _slack_message(raw, channel, bots)):
            export.messages.append(message)


def _slack_message(raw: dict[str, Any], channel: str, bots: bool) -> Message | None:
    subtype, stamp = raw.get("subtype"), raw.get("ts")
    is_bot = subtype == "bot_message" or bool(raw.get("bot_id")) or raw.get("user") == "USLACKBOT"
    if raw.get("type", "message") != "message" or not isinstance(stamp, str):
        return None
    if is_bot and not bots:
        return None
    if not isinstance(subtype, str | None) or (subtype not in _SLACK_SPOKEN and subtype != "bot_message"):
        return None
    time = _seconds(stamp)
    user = raw.get("user") or raw.get("bot_id") or raw.get("username")
    if time is None or not isinstance(user, str):
        return None
    thread = raw.get("thread_ts")
    return Message(
        channel, user, time, _slack_text(raw), thread if isinstance(thread, str) and thread else None, stamp
    )  # fmt: skip


def _slack_text(raw: dict[str, Any]) -> str:
    text = _string(raw.get("text"))
    parts = [_slack_readable(text)]
    if not text.strip():
        attachments = _items(raw.get("attachments"))
        for attachment in attachments:
            if isinstance(attachment, dict):
                shown = attachment.get("text") or attachment.get("fallback")
                parts.append(_slack_readable(shown) if isinstance(shown, str) else "")
    files = _items(raw.get("files"))
    for file in files:
        title = file.get("title") or file.get("name") if isinstance(file, dict) else None
        if isinstance(title, str) and title.strip():
            parts.append(f"[file: {title}]")
    return "\n".join(part for part in parts if part.strip())


def _slack_readable(text: str) -> str:
    """Slack's marks as a reader sees them: `<@U1>`, `<#C1|general>`, `<https://a.b|label>`, `&amp;`."""
    return unescape(_SLACK_MARK.sub(_slack_mark, text.replace("\x00", "")))


def _slack_mark(found: re.Match[str]) -> str:
    target, _, label = found.group(1).partition("|")
    if target.startswith("@"):
        return MENTION.format(target[1:])
    if target.startswith("#"):
        return f"#{label or target[1:]}"
    if target.startswith("!"):
        return label or "@" + target[1:].partition("^")[0]
    target = target.removeprefix("mailto:").removeprefix("tel:")
    return f"{label} ({target})" if label and label != target and label not in target else target


# --- Mattermost ----------------------------------------------------------------------------------


def read_mattermost(data: bytes, name: str, start: int, bots: bool, direct: bool, export: Export) -> None:
    """A bulk export: one JSON object a line, tagged with its type; a post holds its replies."""
    posts: list[tuple[str, dict[str, Any]]] = []
    robots: set[str] = set()
    for line_start, line in _lines(data):
        record = _json(line)
        if not isinstance(record, dict):
            export.reject(name, start + line_start, start + line_start + len(line), "bad_row")
            continue
        kind = record.get("type")
        body = record.get(kind) if isinstance(kind, str) else None
        if not isinstance(body, dict):
            continue
        if kind == "post" or (kind == "direct_post" and direct):
            posts.append((kind, body))
        elif kind == "user" and isinstance(body.get("username"), str):
            export.names[body["username"]] = _mattermost_name(body)
        elif kind == "bot" and isinstance(body.get("username"), str):
            robots.add(body["username"])
    for kind, post in posts:
        _mattermost_thread(post, _mattermost_channel(kind, post), set() if bots else robots, bots, export)


def _mattermost_thread(post: dict[str, Any], channel: str, robots: set[str], bots: bool, export: Export) -> None:
    replies = _items(post.get("replies"))
    thread = str(post.get("create_at")) if replies else None
    for number, raw in enumerate([post, *replies]):
        if not isinstance(raw, dict) or raw.get("delete_at"):
            continue
        user, text, time = raw.get("user"), raw.get("message"), _milliseconds(raw.get("create_at"))
        kind, props = raw.get("type"), raw.get("props")
        from_bot = isinstance(props, dict) and str(props.get("from_bot", props.get("from_webhook"))).lower() == "true"
        if not isinstance(user, str) or not isinstance(text, str) or time is None:
            continue
        if (isinstance(kind, str) and kind.startswith("system_")) or user in robots or (from_bot and not bots):
            continue
        files = _items(raw.get("attachments"))
        paths = [file.get("path") for file in files if isinstance(file, dict)]
        shown = [f"[file: {path.rpartition('/')[2]}]" for path in paths if isinstance(path, str)]
        export.messages.append(
            Message(
                channel, user, time, "\n".join([_mattermost_text(text, export.names), *shown]), thread, f"{number:09d}"
            )
        )


def _mattermost_text(text: str, names: dict[str, str]) -> str:
    def mention(found: re.Match[str]) -> str:
        name = found.group(1).rstrip(".-_")
        return MENTION.format(name) + found.group(1)[len(name) :] if name in names else found.group(0)

    return re.sub(r"(?<![\w@.])@([a-z0-9][a-z0-9._-]{0,63})", mention, text.replace("\x00", ""))


def _mattermost_channel(kind: str, post: dict[str, Any]) -> str:
    if kind == "direct_post":
        members = post.get("channel_members")
        return "direct/" + "+".join(sorted(str(m) for m in members)) if isinstance(members, list) else "direct"
    team, channel = post.get("team"), post.get("channel")
    return "/".join(part for part in (team, channel) if isinstance(part, str)) or "unnamed"


def _mattermost_name(user: dict[str, Any]) -> str:
    parts = (user.get("first_name"), user.get("last_name"))
    full = " ".join(part for part in parts if isinstance(part, str) and part.strip())
    return full or str(user.get("nickname") or user["username"])


# --- any JSON lines ------------------------------------------------------------------------------


def read_json_lines(
    data: bytes, name: str, start: int, fields: Fields, to_text: Callable[[str], str], export: Export
) -> None:
    """One message a line, its facts at the dotted paths of `fields`; HTML (as Teams has it) through to_text."""
    found: list[tuple[dict[str, Any], str]] = []
    ids: dict[str, str] = {}
    for line_start, line in _lines(data):
        raw = _json(line)
        if not isinstance(raw, dict):
            export.reject(name, start + line_start, start + line_start + len(line), "bad_row")
            continue
        kind = _at(raw, fields.kind)
        if kind is not None and fields.kinds and kind not in fields.kinds:
            continue
        user, text = _at(raw, fields.user), _at(raw, fields.text)
        if not isinstance(user, str | int) or not isinstance(text, str) or _at(raw, "deletedDateTime"):
            continue
        shown = _at(raw, fields.user_name)
        if isinstance(shown, str) and shown.strip():
            export.names[str(user)] = shown
            ids[shown] = str(user)
        found.append((raw, text))
    answered = {str(thread) for raw, _ in found if (thread := _at(raw, fields.thread)) is not None}
    for number, (raw, text) in enumerate(found):
        time = _any_time(_at(raw, fields.time))
        if time is None:
            continue
        thread, own = _at(raw, fields.thread), _at(raw, fields.id)
        if thread is None and own is not None and str(own) in answered:
            thread = own  # the message that opened the thread does not name it
        channel = _at(raw, fields.channel)
        text = _AT.sub(
            lambda m: MENTION.format(ids.get(unescape(m.group(1)), unescape(m.group(1)))), text.replace("\x00", "")
        )
        if _at(raw, "body.contentType") == "html":
            text = to_text(text)
        export.messages.append(
            Message(
                str(channel) if isinstance(channel, str | int) and channel != "" else "unnamed",
                str(_at(raw, fields.user)), time, text, None if thread in (None, "") else str(thread), f"{number:09d}",
            )
        )  # fmt: skip


def _at(record: Any, path: str) -> Any:
    for part in path.split(".") if path else []:
        record = record.get(part) if isinstance(record, dict) else None
    return record if path else None


def _any_time(value: Any) -> float | None:
    """Seconds, milliseconds or an ISO 8601 time as UTC seconds."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _milliseconds(value) if value > 100_000_000_000 else _seconds(value)
    if not isinstance(value, str):
        return None
    try:
        told = datetime.fromisoformat(value.strip())
    except ValueError:
        return _any_time(float(value)) if re.fullmatch(r"\d{1,16}(?:\.\d{1,9})?", value.strip()) else None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


def _seconds(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds <= _MAX_SECONDS else None


def _milliseconds(value: Any) -> float | None:
    seconds = _seconds(value) if not isinstance(value, bool) else None
    if seconds is None and isinstance(value, int) and 0 <= value <= _MAX_SECONDS * 1000:
        return value / 1000
    return None if seconds is None else seconds / 1000


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    while position < len(data):
        end = data.find(b"\n", position)
        end = len(data) if end < 0 else end
        line = data[position:end]
        if line.strip():
            yield position, line
        position = end + 1


def _json(data: bytes) -> Any:
    """The value, None for what is none."""
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""
