"""Messages of a chat as documents: a thread is one, and so are the unthreaded messages of a channel and a day.

Speakers are letters in the order in which they are met in a document (`A:`, `B:`), unless the recipe keeps their
names or initials. The same messages give the same text whatever days are added later.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources.base import ExtractedDocument

Names = Literal["keep", "initials", "numbers"]

MENTION = "\x00{}\x00"
"""Stands in a message's text for a mention of the user with that id, until the speakers are known."""
_MENTION = re.compile("\x00([^\x00]*)\x00")
_BLANK_LINES = re.compile(r"\n\s*\n+")


@dataclass(frozen=True)
class Message:
    """One message as its author left it. time: UTC seconds. thread: id of the thread, None outside of one.

    order: what tells messages of one second apart; place: its number in the file, for ranges.
    """

    channel: str
    user: str
    time: float
    text: str = field(repr=False)
    thread: str | None = None
    order: str = ""


def documents_of(
    messages: Iterable[Message],
    names: Names,
    known: Mapping[str, str],
    *,
    prefix: str,
    min_messages: int,
    extractor: str,
    version: str,
) -> list[ExtractedDocument]:
    """The conversations of the messages, by uri. known: display names by user id. prefix: of every uri."""
    said = {message for message in messages if normalize_text(message.text)}
    ordered = sorted(said, key=lambda m: (m.channel, m.time, m.order, m.user, m.text))
    groups: dict[tuple[str, str], list[tuple[int, Message]]] = {}
    sizes: dict[tuple[str, str | None], int] = {}
    for message in ordered:
        sizes[message.channel, message.thread] = sizes.get((message.channel, message.thread), 0) + 1
    for number, message in enumerate(ordered):
        # A thread of one message is a message nobody answered.
        alone = message.thread is None or sizes[message.channel, message.thread] == 1
        key = _day(message.time) if alone else str(message.thread)
        groups.setdefault((message.channel, key), []).append((number, message))
    documents = []
    for (channel, key), members in sorted(groups.items()):
        if len(members) < min_messages:
            continue
        speakers = _Speakers(names, known)
        text = "\n".join(_line(message, speakers) for _, message in members)
        documents.append(
            ExtractedDocument(
                text=text,
                start=members[0][0],
                end=members[-1][0] + 1,
                media_type="text/plain",
                extractor=extractor,
                extractor_version=version,
                stated_date=_day(members[0][1].time),
                metadata={
                    "channel": normalize_text(channel),
                    "num_messages": len(members),
                    "num_speakers": len({message.user for _, message in members}),
                },
                uri=f"{prefix}{_in_path(channel)}/{_in_path(key)}",
            )
        )
    return documents


def _line(message: Message, speakers: "_Speakers") -> str:
    name = speakers.name(message.user)  # before the mentions: who speaks first is A
    text = _MENTION.sub(lambda found: "@" + speakers.name(found.group(1)), message.text)
    text = _BLANK_LINES.sub("\n", normalize_text(text))
    return f"{name}: {text}"


class _Speakers:
    """What the people of one document are called."""

    def __init__(self, names: Names, known: Mapping[str, str]) -> None:
        self._names, self._known = names, known
        self._given: dict[str, str] = {}

    def name(self, user: str) -> str:
        if user not in self._given:
            self._given[user] = self._new(user)
        return self._given[user]

    def _new(self, user: str) -> str:
        if self._names == "keep":
            return " ".join(normalize_text(self._known.get(user, user)).split()) or "unknown"
        if self._names == "numbers":
            return _letters(len(self._given))
        words = re.findall(r"\w+", self._known.get(user, user))
        initials = "".join(word[0] for word in words[:3]).upper() or "X"
        taken = sum(name.rstrip("0123456789") == initials for name in self._given.values())
        return f"{initials}{taken + 1}" if taken else initials


def _letters(number: int) -> str:
    """A to Z, then AA, AB, ..."""
    letters = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return letters


def _day(time: float) -> str:
    try:
        return datetime.fromtimestamp(time, UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return "1970-01-01"


def _in_path(name: str) -> str:
    """A name as one part of a uri."""
    clean = re.sub(r"[\x00-\x1f/\\]+", "-", normalize_text(name)).strip() or "-"
    return "-" if clean in (".", "..") else clean[:200]
