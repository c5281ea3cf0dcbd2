"""Exports of chats: a thread is a document, and so are the unthreaded messages of a channel and a day.

    - name: support
      source: chat
      format: slack            # or mattermost, or jsonl with fields of your own (Microsoft Teams by default)
      uri: /exports/slack      # the unpacked export, its zip, or a folder of such zips
      exclude: ["random/**"]

A thread may run over many days, so the files of one Slack channel are one entry, read as one: adding a day
changes the bytes of the entry, and of its documents only those that the day added to. A zip is one entry. Direct
messages and bots are left out unless the recipe asks for them; speakers are letters unless it keeps their names.
"""

import posixpath
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field

from datasets_pipeline.extract.packed import BoundedReader
from datasets_pipeline.extract.zips import ZipMembers
from datasets_pipeline.sources import files
from datasets_pipeline.sources.base import (
    MEBIBYTE,
    ExtractionError,
    ExtractionResult,
    FileContent,
    FileEntry,
    SourceConfig,
    with_stated_attributes,
)
from datasets_pipeline.sources.chat_formats import (
    Export,
    Fields,
    is_day_file,
    is_direct,
    read_json_lines,
    read_mattermost,
    read_slack_day,
    read_slack_users,
)
from datasets_pipeline.sources.conversations import Names, documents_of
from datasets_pipeline.sources.globs import is_included
from ingot.digests import digest_of

VERSION = "1"

_USERS = ("users.json", "org_users.json")
_JSON_LINES = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".jsonl.zst", ".ndjson.gz")


class Config(SourceConfig):
    """One chat export, or a folder of them."""

    format: Literal["slack", "mattermost", "jsonl"] = Field(
        description="slack: channel folders of day files; mattermost: a bulk export (JSON lines); jsonl: one "
        "message a line with the fields below, whose defaults are those of Microsoft Teams (Graph chatMessage)."
    )
    names: Names = Field(
        default="numbers",
        description="What speakers and mentioned people are called: `numbers` is A, B, ... anew in each "
        "document; `initials` and `keep` take the export's user list.",
    )
    bots: bool = Field(default=False, description="Whether messages of bots and webhooks are read too.")
    direct: bool = Field(
        default=False, description="Whether conversations between a few people are read too; they are private."
    )
    min_messages: int = Field(
        default=1, ge=1, description="Messages below which a conversation gives no document; 2 asks for an answer."
    )
    join_files: Literal["file", "folder"] = Field(
        default="file",
        description="mattermost and jsonl: whether each file stands alone, or the files of a folder hold "
        "threads that run over them. Slack's are always joined by channel.",
    )
    text_field: str = Field(default="body.content", min_length=1, description="Dotted path of the text (jsonl).")
    user_field: str = Field(default="from.user.id", min_length=1, description="Of the author's id.")
    user_name_field: str = Field(default="from.user.displayName", description="Of the author's name.")
    time_field: str = Field(default="createdDateTime", description="Of the time: ISO 8601, seconds or milliseconds.")
    thread_field: str = Field(default="replyToId", description="Of the id of the thread, or of its first message.")
    channel_field: str = Field(default="channelIdentity.channelId", description="Of the channel.")
    id_field: str = Field(default="id", description="Of the message's own id.")
    kind_field: str = Field(default="messageType", description="Of the kind; empty: every line is a message.")
    kinds: tuple[str, ...] = Field(default=("message",), description="The kinds that are words of people.")
    max_file_bytes: int = Field(
        default=512 * MEBIBYTE,
        ge=1,
        description="Bytes of a channel, file or zip from which it is quarantined as too_large; it is held in memory.",
    )
    max_decompressed_bytes: int = Field(
        default=1024 * MEBIBYTE, ge=1, description="Bytes after decompression from which it is too_large."
    )


@dataclass(frozen=True)
class _Part:
    """A file inside an entry's bytes."""

    name: str
    start: int
    data: bytes


def list_files(config: Config, skipped: Counter[str] | None = None) -> Iterator[FileEntry]:
    """One entry a channel, JSON-lines file (or folder of them) or zip; sorted."""
    skipped = skipped if skipped is not None else Counter()
    groups: dict[str, list[FileEntry]] = {}
    for entry in files.list_tree(config.uri, config.include, config.exclude, skipped):
        key = _entry_of(config, entry.uri)
        if key is not None and config.format == "slack" and not config.direct and is_direct(_channel(key)):
            skipped["direct_messages"] += 1
        elif key is not None:
            groups.setdefault(key, []).append(entry)
    lists = _user_lists(config) if any(map(_is_joined, groups)) else []
    for key in sorted(groups):
        beside = [entry for entry in lists if posixpath.dirname(entry.uri) == _above(key)]
        yield _joined(key, groups[key] + beside) if _is_joined(key) else groups[key][0]


def read_file(config: Config, entry: FileEntry) -> FileContent:
    """The bytes of a file, or of all files of a channel, each behind a line with its name and length."""
    if not _is_joined(entry.uri):
        return files.read_file(config.uri, entry, config.max_file_bytes)
    parts, size = [], 0
    for member in _members(config, entry.uri):
        data = files.read_file(config.uri, member, config.max_file_bytes - size).data
        size += len(data)
        parts.append(b"%d %s\n%s\n" % (len(data), member.uri.encode("utf-8", "replace"), data))
    if not parts:
        raise ExtractionError("unreadable", f"{entry.uri}: its files are gone; list the source again")
    return FileContent(b"".join(parts))


def extract_file(config: Config, entry: FileEntry, data: bytes) -> ExtractionResult:
    """The conversations of one entry. Raises ExtractionError for the entry as a whole."""
    if not data:
        raise ExtractionError("empty", f"{entry.uri}: the file is empty (0 bytes)")
    prefix, found = "", Export()
    if _is_joined(entry.uri):
        parts = _unjoined(data, entry.uri)
    elif data.startswith(b"PK"):
        parts, prefix = _unzipped(data, entry.uri, config), f"{entry.uri}!/"
    else:
        parts = [_Part(entry.uri, 0, BoundedReader(data, entry.uri, config.max_decompressed_bytes).read_all())]
    for part in parts:
        _read_part(config, part, found)
    documents = documents_of(
        found.messages,
        config.names,
        found.names,
        prefix=prefix,
        min_messages=config.min_messages,
        extractor=f"chat_{config.format}",
        version=VERSION,
    )
    if config.format != "slack" and not _is_joined(entry.uri) and not prefix:
        documents = [replace(document, uri=f"{entry.uri}!/{document.uri}") for document in documents]
    if not found.messages and not found.rejects:
        raise ExtractionError("empty", f"{entry.uri}: no message of a person is in it; check `format` and the fields")
    return with_stated_attributes(ExtractionResult(documents, found.rejects), entry.attributes)


def extraction_version(config: Config) -> dict[str, str]:
    """What besides the bytes shapes the extracted documents."""
    own = set(Config.model_fields) - set(SourceConfig.model_fields)
    chosen = config.model_dump(mode="json", include=own)
    # Which files are joined decides which threads are whole; the globs decide it inside of a zip.
    chosen |= {"include": list(config.include), "exclude": list(config.exclude)}
    return {"source.chat": VERSION} | {f"option.{name}": str(value) for name, value in sorted(chosen.items())}


def _read_part(config: Config, part: _Part, found: Export) -> None:
    if config.format == "mattermost":
        read_mattermost(part.data, part.name, part.start, config.bots, config.direct, found)
    elif config.format == "jsonl":
        fields = Fields(
            text=config.text_field, user=config.user_field, user_name=config.user_name_field, time=config.time_field,
            thread=config.thread_field, channel=config.channel_field, id=config.id_field, kind=config.kind_field,
            kinds=config.kinds,
        )  # fmt: skip
        read_json_lines(part.data, part.name, part.start, fields, _html_as_text, found)
    elif posixpath.basename(part.name) in _USERS:
        read_slack_users(part.data, found)
    else:
        channel = posixpath.basename(posixpath.dirname(part.name))
        read_slack_day(part.data, channel, part.name, part.start, config.bots, found)


def _html_as_text(text: str) -> str:
    from datasets_pipeline.extract import ExtractOptions, extract
    from datasets_pipeline.extract.media_types import HTML

    marked = text.replace("\x00", "\ue000")  # mentions pass the parser as letters of the private use area
    try:
        documents = extract(marked.encode("utf-8", "replace"), "message", HTML, ExtractOptions(html="all")).documents
    except ExtractionError:
        return ""
    return "\n".join(document.text for document in documents).replace("\ue000", "\x00")


# --- entries -------------------------------------------------------------------------------------


def _is_joined(uri: str) -> bool:
    return uri.endswith("/")


def _entry_of(config: Config, uri: str) -> str | None:
    """The entry a file belongs to: a folder with a slash at its end, or the file itself; None for no chat."""
    name = posixpath.basename(uri)
    if name.lower().endswith(".zip"):
        return uri
    if config.format == "slack":
        folder = posixpath.dirname(uri)
        return f"{folder}/" if folder and is_day_file(name) else None
    if not name.lower().endswith(_JSON_LINES):
        return None
    return f"{posixpath.dirname(uri)}/" if config.join_files == "folder" else uri


def _joined(key: str, members: list[FileEntry]) -> FileEntry:
    """One entry of many files; its version mark changes with the name, size, time or mark of any."""
    mark = digest_of({m.uri: [m.size, m.mtime_ns, m.etag] for m in members})
    times = [m.mtime_ns for m in members]
    newest = None if any(time is None for time in times) else max(time for time in times if time is not None)
    return FileEntry(key, sum(m.size for m in members), newest, etag=mark)


def _members(config: Config, key: str) -> list[FileEntry]:
    """The files of a joined entry as they are now: user lists first, then by name."""
    folder = key.rstrip("/")
    place = f"{config.uri.rstrip('/')}/{folder}" if folder else config.uri
    chosen = []
    for member in files.list_tree(place, ("*",), ()):
        whole = replace(member, uri=posixpath.join(folder, member.uri))
        if is_included(whole.uri, config.include, config.exclude) and _entry_of(config, whole.uri) == key:
            chosen.append(whole)
    lists = [entry for entry in _user_lists(config) if posixpath.dirname(entry.uri) == _above(key)]
    return [*lists, *chosen]


def _user_lists(config: Config) -> list[FileEntry]:
    """The user lists of Slack exports, beside the channel folders; only where names are shown."""
    if config.format != "slack" or config.names == "numbers":
        return []
    return list(files.list_tree(config.uri, tuple(f"**/{name}" for name in _USERS), ()))


def _channel(key: str) -> str:
    return posixpath.basename(key.rstrip("/"))


def _above(key: str) -> str:
    return posixpath.dirname(key.rstrip("/"))


def _unjoined(data: bytes, uri: str) -> list[_Part]:
    parts, position = [], 0
    while position < len(data):
        end = data.find(b"\n", position)
        length, _, name = data[position:end].partition(b" ")
        if end < 0 or not length.isdigit() or len(length) > 12:
            raise ExtractionError("parser_error", f"{uri}: not the joined files of a channel; list the source again")
        start = end + 1
        parts.append(_Part(name.decode("utf-8", "replace"), start, data[start : start + int(length)]))
        position = start + int(length) + 1
    return parts


def _unzipped(data: bytes, uri: str, config: Config) -> list[_Part]:
    """The chat files of a zip, user lists first, then by name."""
    members = ZipMembers(data, uri, config.max_decompressed_bytes)
    wanted = [name for name in members.names if _is_chat_file(config, name)]
    wanted.sort(key=lambda name: (posixpath.basename(name) not in _USERS, name))
    return [_Part(name, 0, members.read(name)) for name in wanted]


def _is_chat_file(config: Config, name: str) -> bool:
    base = posixpath.basename(name)
    if config.format == "slack" and base in _USERS:
        return config.names != "numbers"
    key = _entry_of(config, name)
    if key is None or key.endswith(".zip") or not is_included(name, ("**",), config.exclude):
        return False
    return config.direct or config.format != "slack" or not is_direct(_channel(key))
