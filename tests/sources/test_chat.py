"""Chat exports: Slack folders and zips, Mattermost's bulk export, Microsoft Teams messages as JSON lines."""

import io
import json
import random
import zipfile

import pytest

from datasets_pipeline.sources import chat
from datasets_pipeline.sources.base import ExtractionError, FileEntry
from ingot import registry

USERS = [
    {"id": "U01", "name": "ann", "profile": {"real_name": "Ann Bell", "display_name": ""}},
    {"id": "U02", "name": "bo", "real_name": "Bo Alm"},
]


def said(user: str, ts: str, text: str, **more) -> dict:
    return {"type": "message", "user": user, "ts": ts, "text": text, "team": "T1", **more}


DAYS = {
    "general/2024-03-01.json": [
        said("U01", "1709280000.000100", "<@U01> has joined the channel", subtype="channel_join"),
        said(
            "U01",
            "1709280060.000200",
            "Does <@U02> know <https://a.example/x|the page> &amp; <#C02|random>?",
            thread_ts="1709280060.000200",
            reply_count=2,
        ),
        said("U02", "1709280100.000300", "Yes, see <https://b.example>", thread_ts="1709280060.000200"),
        said("U02", "1709280200.000400", "Good morning\n\n\nall <!here>"),
        {"type": "message", "subtype": "bot_message", "bot_id": "B1", "ts": "1709280300.000100", "text": "deployed"},
    ],
    "general/2024-03-02.json": [
        said("U01", "1709366400.000100", "Thanks!", thread_ts="1709280060.000200"),
        said("U03", "1709366500.000100", "", files=[{"name": "plan.pdf", "title": "The plan"}], subtype="file_share"),
    ],
    "random/2024-03-01.json": [said("U03", "1709280000.000100", "words")],
    "D0123456789/2024-03-01.json": [said("U01", "1709280000.000100", "a private word")],
}


@pytest.fixture
def slack(tmp_path):
    for name, content in {**DAYS, "users.json": USERS, "channels.json": [{"id": "C01", "name": "general"}]}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def config(root, **options) -> chat.Config:
    return chat.Config(name="talk", uri=str(root), **{"format": "slack", **options})


def read(settings: chat.Config):
    """(documents by uri, rejects) of a whole source."""
    documents, rejects = {}, []
    for entry in chat.list_files(settings):
        result = chat.extract_file(settings, entry, chat.read_file(settings, entry).data)
        assert not {d.uri for d in result.documents} & documents.keys()
        documents |= {document.uri: document for document in result.documents}
        rejects += result.rejects
    return documents, rejects


def test_a_slack_thread_over_two_days_is_one_document_and_the_rest_of_a_day_another(slack):
    documents, rejects = read(config(slack))
    assert {uri: document.text for uri, document in documents.items()} == {
        "general/1709280060.000200": (
            "A: Does @B know the page (https://a.example/x) & #random?\nB: Yes, see https://b.example\nA: Thanks!"
        ),
        "general/2024-03-01": "A: Good morning\nall @here",
        "general/2024-03-02": "A: [file: The plan]",
        "random/2024-03-01": "A: words",
    }
    thread = documents["general/1709280060.000200"]
    assert thread.stated_date == "2024-03-01" and not rejects
    assert thread.metadata == {"channel": "general", "num_messages": 3, "num_speakers": 2}


def test_one_entry_a_channel_and_direct_messages_are_counted_not_listed(slack):
    from collections import Counter

    skipped = Counter()
    assert [entry.uri for entry in chat.list_files(config(slack), skipped)] == ["general/", "random/"]
    assert skipped["direct_messages"] == 1
    assert [e.uri for e in chat.list_files(config(slack, direct=True))] == ["D0123456789/", "general/", "random/"]
    assert [e.uri for e in chat.list_files(config(slack, exclude=("random/**",)))] == ["general/"]


def test_a_new_day_changes_only_the_entry_it_belongs_to_and_only_the_documents_it_adds_to(slack):
    before, entries = read(config(slack))[0], {e.uri: e for e in chat.list_files(config(slack))}
    (slack / "general/2024-03-03.json").write_text(json.dumps([said("U02", "1709452800.000100", "new words")]))
    after, newer = read(config(slack))[0], {e.uri: e for e in chat.list_files(config(slack))}
    assert {uri for uri in newer if newer[uri] != entries[uri]} == {"general/"}
    assert {uri: after[uri].text for uri in before} == {uri: document.text for uri, document in before.items()}
    assert after.keys() - before.keys() == {"general/2024-03-03"}


@pytest.mark.parametrize(("names", "first"), [("keep", "Ann Bell: Does @Bo Alm"), ("initials", "AB: Does @BA")])
def test_names_are_shown_only_where_the_recipe_says_so(slack, names, first):
    documents, _ = read(config(slack, names=names))
    assert documents["general/1709280060.000200"].text.startswith(first)
    everything = "".join(document.text for document in read(config(slack))[0].values())
    assert not any(word in everything for word in ("Ann", "Bell", "Alm", "U01", "U02"))


def test_bots_and_minimal_lengths_are_options(slack):
    assert "deployed" in read(config(slack, bots=True))[0]["general/2024-03-01"].text
    assert list(read(config(slack, min_messages=2))[0]) == ["general/1709280060.000200"]


def test_a_zip_of_an_export_gives_the_same_conversations(slack, tmp_path_factory):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**DAYS, "users.json": USERS}.items():
            archive.writestr(name, json.dumps(content))
    place = tmp_path_factory.mktemp("zips")
    (place / "export.zip").write_bytes(packed.getvalue())
    for names in ("numbers", "keep"):
        folder = {uri: document.text for uri, document in read(config(slack, names=names))[0].items()}
        zipped = {uri: document.text for uri, document in read(config(place, names=names))[0].items()}
        assert zipped == {f"export.zip!/{uri}": text for uri, text in folder.items()}


def test_a_broken_day_is_a_reject_and_its_neighbours_are_kept(slack):
    (slack / "general/2024-03-02.json").write_text("[" * 100_000)
    documents, rejects = read(config(slack))
    assert "general/2024-03-01" in documents and documents["general/1709280060.000200"].metadata["num_messages"] == 2
    assert [(reject.uri, reject.reason) for reject in rejects] == [("general/2024-03-02.json", "parser_error")]


def post(message: str, create_at: int, **more) -> dict:
    return {"team": "core", "channel": "town", "user": "bo", "message": message, "create_at": create_at, **more}


MATTERMOST = [
    {"type": "version", "version": 1},
    {"type": "channel", "channel": {"team": "core", "name": "town", "display_name": "Town", "type": "O"}},
    {"type": "user", "user": {"username": "ann", "first_name": "Ann", "last_name": "Bell"}},
    {"type": "bot", "bot": {"username": "robot"}},
    {
        "type": "post",
        "post": {
            "team": "core",
            "channel": "town",
            "user": "bo",
            "message": "Ask @ann. Mail me@ann.example",
            "create_at": 1705311000000,
            "replies": [
                {"user": "ann", "message": "**Yes**", "create_at": 1705311120000},
                {"user": "robot", "message": "beep", "create_at": 1705311130000},
            ],
        },
    },
    {"type": "post", "post": post("bo joined", 1705311000000, type="system_join_channel")},
    {"type": "post", "post": post("alone", 1705397400000, attachments=[{"path": "f/list.pdf"}])},
    {"type": "direct_post", "direct_post": post("private", 1705400000000, channel_members=["ann", "bo"])},
]


def test_a_mattermost_export_gives_threads_and_days(tmp_path):
    lines = "\n".join([*map(json.dumps, MATTERMOST[:6]), "{broken", *map(json.dumps, MATTERMOST[6:])])
    (tmp_path / "export.jsonl").write_text(lines)
    documents, rejects = read(config(tmp_path, format="mattermost"))
    assert {uri: document.text for uri, document in documents.items()} == {
        "export.jsonl!/core-town/1705311000000": "A: Ask @B. Mail me@ann.example\nB: **Yes**",
        "export.jsonl!/core-town/2024-01-16": "A: alone\n[file: list.pdf]",
    }
    assert [reject.reason for reject in rejects] == ["bad_row"]
    assert "private" in "".join(d.text for d in read(config(tmp_path, format="mattermost", direct=True))[0].values())


def teams(number: str, user: str, content: str, **more) -> dict:
    return {
        "id": number,
        "replyToId": None,
        "messageType": "message",
        "createdDateTime": f"2024-05-01T10:00:{int(number):02d}.5Z",
        "from": {"user": {"id": user.lower(), "displayName": user}},
        "body": {"contentType": "html", "content": content},
        "channelIdentity": {"teamId": "t", "channelId": "19:abc@thread.tacv2"},
        **more,
    }


def test_teams_messages_are_read_by_their_fields(tmp_path):
    rows = [
        teams("1", "Ann Bell", "<p>Hello <at id='0'>Bo Alm</at></p><ul><li>one</li></ul>"),
        teams("2", "Bo Alm", "<div>yes &amp; no</div>", replyToId="1"),
        teams("3", "Ann Bell", "<systemEventMessage/>", messageType="systemEventMessage"),
        teams("4", "Ann Bell", "later", body={"contentType": "text", "content": "a < b"}),
    ]
    (tmp_path / "day1.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "day2.jsonl").write_text(json.dumps(teams("5", "Bo Alm", "<p>next day</p>", replyToId="1")))
    documents, _ = read(config(tmp_path, format="jsonl", join_files="folder"))
    assert {uri: document.text for uri, document in documents.items()} == {
        "19:abc@thread.tacv2/1": "A: Hello @B\n- one\nB: yes & no\nB: next day",
        "19:abc@thread.tacv2/2024-05-01": "A: a < b",
    }


def test_fields_of_ones_own_are_read(tmp_path):
    row = {"t": "words", "who": 7, "at": 1709280000, "room": "r"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    settings = config(
        tmp_path, format="jsonl", text_field="t", user_field="who", time_field="at", channel_field="room", kind_field=""
    )
    assert {uri: d.text for uri, d in read(settings)[0].items()} == {"a.jsonl!/r/2024-03-01": "A: words"}


def test_nothing_said_is_a_reason_and_bombs_are_refused(slack):
    entry = FileEntry("export.zip", 1)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("general/2024-03-01.json", b" " * (60 << 20))
    for data, reason in ((b"", "empty"), (bomb.getvalue(), "too_large"), (b"PK\x03\x04 nothing", "parser_error")):
        with pytest.raises(ExtractionError) as refused:
            chat.extract_file(config(slack), entry, data)
        assert refused.value.reason == reason


@pytest.mark.parametrize("chat_format", ["slack", "mattermost", "jsonl"])
def test_damaged_exports_give_documents_or_a_reason(slack, chat_format):
    joined = chat.read_file(config(slack), next(iter(chat.list_files(config(slack))))).data
    lines = "\n".join(map(json.dumps, MATTERMOST + [teams("1", "A", "<p>x")])).encode()
    data, uri = (joined, "general/") if chat_format == "slack" else (lines, "a.jsonl")
    generator = random.Random(5)
    for _ in range(150):
        damaged = bytearray(data if generator.random() < 0.7 else data[: generator.randrange(1, len(data))])
        for _ in range(5):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        try:
            chat.extract_file(config(slack, format=chat_format), FileEntry(uri, len(data)), bytes(damaged))
        except ExtractionError:
            continue


def test_messages_of_odd_shapes_do_not_stop_their_neighbours(slack):
    odd = [None, 3, [], {"ts": 5}, {"ts": "x", "user": "U1"}, {"ts": "1e400", "user": "U1", "text": "a"},
           said("U01", "1709280000.1", None), said(None, "1709280000.2", "x"), said("U1", "1709280000.3", "kept"),
           said("U1", "1709280000.4", "b", subtype=["x"], thread_ts=4, files=[1, {}], attachments={})]  # fmt: skip
    (slack / "random/2024-03-01.json").write_text(json.dumps(odd))
    assert read(config(slack))[0]["random/2024-03-01"].text == "A: kept"


def test_the_source_is_found_by_its_name_and_its_options_are_in_the_version(slack):
    assert registry.load("source", "chat") is chat and "conversations" not in registry.names("source")
    assert chat.extraction_version(config(slack)) != chat.extraction_version(config(slack, names="keep"))
