"""Rows of a SQLite database: pages that stay where they are, nights of changes, and what is refused."""

import random
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from datasets_pipeline.acquire import acquire, open_files
from datasets_pipeline.parallel import InProcessPool
from datasets_pipeline.sources import sql
from datasets_pipeline.sources.base import ExtractionError
from ingot.config import NamedConfig
from ingot.errors import DataError, NotFoundError, RecipeError, StorageError
from ingot.parquet import read_table
from ingot.storage import Store


class Tickets:
    """A database of tickets that a test may change."""

    def __init__(self, folder: Path, number: int) -> None:
        self.path = folder / "tickets.db"
        self.connection = sqlite3.connect(self.path)
        self.run("CREATE TABLE tickets (number INTEGER PRIMARY KEY, title TEXT, body TEXT, version INTEGER)")
        rows = (
            (n, f"Ticket {n}", f"The printer on floor {n} is out of paper again.", 1) for n in range(0, 3 * number, 3)
        )
        self.connection.executemany("INSERT INTO tickets VALUES (?, ?, ?, ?)", rows)
        self.connection.commit()

    def run(self, statement: str, *values: object) -> None:
        self.connection.execute(statement, values)
        self.connection.commit()

    def config(self, **options: object) -> sql.Config:
        given = {
            "name": "tickets", "uri": f"sqlite:///{self.path}", "table": "tickets", "key": "number",
            "text_template": "# {title}\n\n{body}",
        }  # fmt: skip
        return sql.Config.model_validate({**given, **options})


@pytest.fixture
def tickets(tmp_path: Path) -> Tickets:
    return Tickets(tmp_path, 3000)


def read(config: sql.Config) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in sql.list_files(config):
        for document in sql.extract_file(config, entry, sql.read_file(config, entry).data).documents:
            assert document.uri not in found
            found[str(document.uri)] = document.text
    return found


def look(store: Store, config: sql.Config):
    snapshot = acquire(
        store,
        NamedConfig(kind="source", name="sql", config=config),
        InProcessPool(),
        place=config.uri,
        unit_bytes=1 << 20,
        now="2026-01-01",
    )
    documents: dict[str, str] = {}
    for file in open_files(store, snapshot):
        table = read_table(store, f"documents/{file.unit}.parquet", columns=["uri", "text"])
        for row in table.slice(file.first_row, file.num_rows).to_pylist():
            assert row["uri"] not in documents
            documents[row["uri"]] = row["text"]
    return snapshot, documents


def test_every_row_is_a_document_at_its_key(tickets: Tickets) -> None:
    config = tickets.config(page_rows=100)
    found = read(config)
    assert len(found) == 3000
    assert found["tickets/6"] == "# Ticket 6\n\nThe printer on floor 6 is out of paper again."
    entries = list(sql.list_files(config))
    assert len({entry.uri for entry in entries}) == len(entries) > 15
    assert found == read(tickets.config(page_rows=1000)), "how rows are grouped never shows"


def test_a_row_that_comes_or_goes_moves_its_own_page_alone(tickets: Tickets) -> None:
    config = tickets.config(page_rows=50, changed_column="version")
    before = {entry.uri: entry.etag for entry in sql.list_files(config)}
    tickets.run("INSERT INTO tickets VALUES (4, 'New', 'new', 1)")
    tickets.run("DELETE FROM tickets WHERE number = 4500")
    after = {entry.uri: entry.etag for entry in sql.list_files(config)}
    assert sum(before.get(uri) != etag for uri, etag in after.items()) <= 3
    assert len(set(before) ^ set(after)) <= 1


def test_rows_change_over_nights_and_the_books_balance(tmp_path: Path) -> None:
    tickets, store = Tickets(tmp_path, 30_000), open_store_at(tmp_path / "store")
    config = tickets.config(changed_column="version")
    first, documents = look(store, config)
    assert len(documents) == 30_000 and first.counts["read"] == first.counts["seen"] > 15
    second, again = look(store, config)
    assert second.counts["opened"] == 0 and second.record_key == first.record_key and again == documents
    tickets.run("UPDATE tickets SET body = 'Paper was found.', version = 2 WHERE number = 30000")
    tickets.run("DELETE FROM tickets WHERE number BETWEEN 60000 AND 60030")
    tickets.run("INSERT INTO tickets VALUES (80002, 'Late', 'Late one.', 1)")
    third, now = look(store, config)
    assert third.counts["opened"] <= 6 and third.counts["unchanged"] >= first.counts["seen"] - 6
    assert len(documents.keys() - now.keys()) == 11 and now.keys() - documents.keys() == {"tickets/80002"}
    changed = [uri for uri in documents.keys() & now.keys() if documents[uri] != now[uri]]
    assert changed == ["tickets/30000"] and now["tickets/30000"].endswith("Paper was found.")


def test_without_a_changed_column_every_page_is_read_and_only_changed_ones_are_extracted(
    tickets: Tickets, tmp_path: Path
) -> None:
    store, config = open_store_at(tmp_path / "store"), tickets.config(page_rows=100)
    first, documents = look(store, config)
    tickets.run("UPDATE tickets SET body = 'Silently changed.' WHERE number = 3000")
    second, now = look(store, config)
    assert second.counts["opened"] == second.counts["seen"]
    assert second.counts["read"] == second.counts["superseded"] == 1
    assert now["tickets/3000"].endswith("Silently changed.") and len(now) == 3000


def test_a_deleted_table_of_rows_is_refused_and_a_deleted_page_is_gone(tickets: Tickets, tmp_path: Path) -> None:
    store, config = open_store_at(tmp_path / "store"), tickets.config(page_rows=100)
    look(store, config)
    tickets.run("DELETE FROM tickets WHERE number > 1500")
    second, now = look(store, config)
    assert len(now) == 501 and second.counts["gone"] > 10
    tickets.run("DELETE FROM tickets")
    with pytest.raises(DataError, match="has no row"):
        look(store, config)


def test_pages_cut_by_the_rows_hash_give_what_a_fresh_store_gives(tmp_path: Path) -> None:
    tickets, generator = Tickets(tmp_path, 500), random.Random(7)
    store, config = open_store_at(tmp_path / "store"), tickets.config(page_rows=20, changed_column="version")
    for night in range(5):
        for _ in range(40):
            number = generator.randrange(1600)
            match generator.randrange(3):
                case 0:
                    tickets.run("DELETE FROM tickets WHERE number = ?", number)
                case 1:
                    tickets.run(
                        "INSERT OR IGNORE INTO tickets VALUES (?, 'n', ?, ?)", number, f"n {night}", 900 + night
                    )
                case _:
                    tickets.run(
                        "UPDATE tickets SET body = ?, version = version + 1 WHERE number = ?", f"edit {night}", number
                    )
        _, kept = look(store, config)
        assert kept == read(config)


def test_a_ticket_and_its_comments_are_never_in_two_pages(tickets: Tickets) -> None:
    tickets.run("CREATE TABLE comments (id INTEGER PRIMARY KEY, ticket INTEGER, at TEXT, text TEXT)")
    rows = [(n, n * 7 % 500, f"2024-01-{n % 28 + 1:02d}", f"comment {n}") for n in range(5000)]
    tickets.connection.executemany("INSERT INTO comments VALUES (?, ?, ?, ?)", rows)
    tickets.run("INSERT INTO comments VALUES (9999, NULL, '2024-01-01', 'lost')")
    config = tickets.config(
        table="comments", key="id", text_template=None, text_column="text", group_by="ticket", order_by="at",
        page_rows=20, changed_column="at",
    )  # fmt: skip
    found = read(config)
    assert len(found) == 500 and all(text.count("comment") == 10 for text in found.values())
    skipped: Counter[str] = Counter()
    assert len(list(sql.list_files(config, skipped))) > 10 and skipped == {"no_group": 1}


def test_a_query_is_one_select_and_may_hold_colons_and_comments(tickets: Tickets) -> None:
    query = "SELECT number, title || ' :x 12:30 \\ %s' AS text FROM tickets WHERE number < 30 -- all of them;"
    config = tickets.config(table=None, query=query.replace(";", ""), text_template=None, text_column="text")
    found = read(config)
    assert len(found) == 10 and found["query/3"] == "Ticket 3 :x 12:30 \\ %s"
    for wrong in (
        query + "\nDROP TABLE tickets",
        "SELECT 1; DROP TABLE tickets",
        "DELETE FROM tickets",
        "PRAGMA writable_schema=1",
    ):
        with pytest.raises((ValidationError, RecipeError)):
            tickets.config(table=None, query=wrong)
    with pytest.raises(DataError):
        read(tickets.config(table=None, query="WITH x AS (SELECT 1) DELETE FROM tickets RETURNING number, title, body"))
    assert len(read(tickets.config())) == 3000


def test_keys_of_text_and_odd_names_are_read_alike(tickets: Tickets) -> None:
    tickets.run('CREATE TABLE "Odd ""name" ("the Key" TEXT, "order" TEXT)')
    keys = ["a/b", "ä", "", "Z", "z", "0", "00", "x'; --", "%", "100 %", "\\", "1.0"]
    for key in keys:
        tickets.run('INSERT INTO "Odd ""name" VALUES (?, ?)', key, f"text of {key}!")
    config = tickets.config(
        table='Odd "name', key="the Key", text_template=None, text_column="order", page_rows=1, changed_column="order"
    )
    found = read(config)
    assert sorted(found.values()) == sorted(f"text of {key}!" for key in keys if key)
    assert len(list(sql.list_files(config))) == len(keys) - 1, "a page for each; blank names none"


def test_what_the_key_must_be_is_checked(tickets: Tickets) -> None:
    tickets.run("CREATE TABLE bad (id TEXT, text TEXT, n INTEGER, data BLOB)")
    options = {"table": "bad", "key": "id", "text_template": None, "text_column": "text"}
    for _ in range(2):
        tickets.run("INSERT INTO bad VALUES ('a', 't', 1, x'00ff')")
    with pytest.raises(DataError, match="column id is not unique"):
        read(tickets.config(**options))
    tickets.run("INSERT INTO bad VALUES (NULL, 't', 2, NULL)")
    with pytest.raises(DataError, match="column id has nulls"):
        read(tickets.config(**options))
    with pytest.raises(DataError, match="no column words; it has id, text, n, data"):
        read(tickets.config(**{**options, "text_column": "words"}))
    with pytest.raises(NotFoundError, match="no such table"):
        read(tickets.config(**{**options, "table": "gone"}))
    tickets.run("DELETE FROM bad WHERE rowid > 1")
    with pytest.raises(ExtractionError, match="bytes") as refused:
        read(tickets.config(**options, metadata_columns=("data",)))
    assert refused.value.reason == "schema_mismatch"


def test_a_huge_row_is_one_reject_and_a_huge_page_says_what_to_do(tickets: Tickets) -> None:
    tickets.run("UPDATE tickets SET body = ? WHERE number = 3", "x" * 5000)
    config = tickets.config(max_row_bytes=2000)
    (entry, *_) = sql.list_files(config)
    result = sql.extract_file(config, entry, sql.read_file(config, entry).data)
    assert [(r.reason, r.uri) for r in result.rejects] == [("too_large", "tickets/3")] and len(result.documents) > 500
    small = tickets.config(max_file_bytes=2000)
    with pytest.raises(ExtractionError, match="lower page_rows"):
        sql.read_file(small, entry)


def test_a_statement_that_takes_too_long_is_given_up(tickets: Tickets) -> None:
    endless = (
        "WITH RECURSIVE n(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n) SELECT number, 'x' AS text FROM n"
    )
    config = tickets.config(
        table=None, query=endless, text_template=None, text_column="text", statement_timeout_seconds=0.3
    )
    with pytest.raises(StorageError, match="longer than 0.3 s"):
        list(sql.list_files(config))


def test_a_damaged_database_and_a_missing_one_are_told_without_its_words(tmp_path: Path, tickets: Tickets) -> None:
    data = tickets.path.read_bytes()
    for number, damaged in enumerate((b"nothing of a database" * 99, data[:5000], data[:3000] + b"\xff" * 9000)):
        path = tmp_path / f"{number}.db"
        path.write_bytes(damaged)
        with pytest.raises((DataError, StorageError, NotFoundError)) as refused:
            read(tickets.config(uri=f"sqlite:///{path}"))
        assert refused.value.__cause__ is None and refused.value.__context__ is None
    with pytest.raises(NotFoundError):
        read(tickets.config(uri=f"sqlite:///{tmp_path}/none.db"))
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(DataError, match="not a file"):
        read(tickets.config(uri=f"sqlite:///{tmp_path}"))


@pytest.mark.parametrize(
    "uri",
    ["sqlite:///relative.db", "sqlite://", "sqlite:////a.db?mode=rwc", "mysql://h/d", "/a.db", "postgresql://u:p@h/d",
     "postgresql://h/d?password=x", "postgresql://h/d?options=-c%20a", "postgresql://h", "postgresql+asyncpg://h/d"],
)  # fmt: skip
def test_an_address_that_is_no_plain_database_is_refused(uri: str) -> None:
    with pytest.raises((ValidationError, RecipeError)) as refused:
        sql.Config(name="t", uri=uri, table="t", key="id")
    assert "u:p@" not in str(refused.value)


def open_store_at(path: Path) -> Store:
    return Store(str(path), scratch_root=path.parent / "scratch")
