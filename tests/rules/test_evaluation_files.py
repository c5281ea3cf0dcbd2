"""Evaluation files of every kind: the same items, the same digests, and a refusal for what cannot be read whole."""

import bz2
import csv
import gzip
import json
import lzma
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets_pipeline.decontamination.evaluation_files import (
    files_digest,
    list_evaluation_files,
    read_items,
    texts_at,
)
from ingot.digests import digest_of, sha256_file
from ingot.errors import DataError, NotFoundError, RecipeError

ROWS = [
    {"question": "How many  crates?\u2028Count them.", "answer": "Forty two, \"all\" told"},
    {"question": "Größe des Kahns\nin Metern?", "answer": "12.5"},
]  # fmt: skip
ITEMS = [("How many  crates?\u2028Count them.", 'Forty two, "all" told'), ("Größe des Kahns\nin Metern?", "12.5")]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def delimited(mark: str) -> bytes:
    def cell(value: str) -> str:
        quoted = value.replace('"', '""')
        return f'"{quoted}"'

    rows = [["question", "answer"], *([row["question"], row["answer"]] for row in ROWS)]
    return "".join(mark.join(map(cell, row)) + "\r\n" for row in rows).encode("utf-8-sig")


def items_in(path: Path | str, text: Any = ("question", "answer")) -> list[tuple[str, ...]]:
    return read_items("bench", list_evaluation_files("bench", str(path)), text)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", lines(ROWS)),
        ("a.ndjson", b"\xef\xbb\xbf" + lines(ROWS).replace(b"\n", b"\r\n\n")),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.JSON", lines(ROWS)),
        ("a.csv", delimited(",")),
        ("a.tsv", delimited("\t")),
        ("a.jsonl.gz", gzip.compress(lines(ROWS))),
        ("a.jsonl.bz2", bz2.compress(lines(ROWS))),
        ("a.json.xz", lzma.compress(json.dumps(ROWS).encode())),
        ("a.csv.gz", gzip.compress(delimited(","))),
    ],
)
def test_a_file_of_any_kind_gives_its_items_in_order(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    assert items_in(tmp_path / name) == ITEMS


def test_parquet_and_zstd_give_the_same_items(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert items_in(tmp_path / "a.parquet") == ITEMS
    (tmp_path / "b.jsonl").write_bytes(lines(ROWS))
    subprocess.run(["zstd", "-q", str(tmp_path / "b.jsonl")], check=True)
    assert items_in(tmp_path / "b.jsonl.zst") == ITEMS


def test_plain_text_is_an_item_a_paragraph(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("First question\nin two lines.\n\n \nSecond question.\r\n")
    assert items_in(tmp_path / "a.txt", None) == [("First question\nin two lines.",), ("Second question.",)]


def test_a_template_is_one_text_and_an_absent_answer_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines([{"q": "One?", "a": "Yes."}, {"q": "Two?", "a": None}, {"a": ""}]))
    assert items_in(tmp_path / "a.jsonl", "{q} {a}") == [("One? Yes.",), ("Two?",), ()]
    assert items_in(tmp_path / "a.jsonl", ("q", "a")) == [("One?", "Yes."), ("Two?",), ()]
    assert items_in(tmp_path / "a.jsonl", "q") == [("One?",), ("Two?",), ()]


def test_a_path_leads_into_nested_values() -> None:
    record = {
        "question": [[{"role": "user", "content": "One"}], [{"role": "user", "content": "Two"}]],
        "a.b": "named so", "choices": {"text": ["x", 7, True, None], "label": ["A"]},
    }  # fmt: skip
    assert texts_at(record, "question.*.*.content") == ["One", "Two"]
    assert texts_at(record, "question.1.0.content") == ["Two"]
    assert texts_at(record, "a.b") == ["named so"]
    assert texts_at(record, "choices.text") == ["x", "7"]
    assert texts_at(record, "choices") == ["x", "7", "A"]
    assert texts_at(record, "question.9.0.content") == texts_at(record, "nothing") == []


def test_folders_and_globs_read_their_files_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.jsonl").write_bytes(lines(ROWS[1:]))
    (tmp_path / "a.jsonl").write_bytes(lines(ROWS[:1]))
    (tmp_path / "sub/c.csv").write_bytes(delimited(","))
    (tmp_path / "notes.docx").write_bytes(b"no evaluation file")
    assert items_in(tmp_path) == [*ITEMS, *ITEMS]
    assert items_in(tmp_path / "*.jsonl") == ITEMS
    assert items_in(tmp_path / "**/*.csv") == ITEMS
    (tmp_path / "odd[1].jsonl").write_bytes(lines(ROWS[:1]))
    assert items_in(tmp_path / "odd[1].jsonl") == ITEMS[:1]
    monkeypatch.setenv("BENCHES", str(tmp_path))
    assert items_in("${BENCHES}/a.jsonl") == ITEMS[:1]


def test_the_digest_is_the_files_own_and_of_several_that_of_their_list(tmp_path: Path) -> None:
    for name, rows in (("a.jsonl", ROWS[:1]), ("b.jsonl", ROWS[1:])):
        (tmp_path / name).write_bytes(lines(rows))
    own = [sha256_file(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    assert files_digest(list_evaluation_files("bench", str(tmp_path / "a.jsonl"))) == own[0]
    assert files_digest(list_evaluation_files("bench", str(tmp_path))) == digest_of(own)
    # A place is no part of it.
    (tmp_path / "moved").mkdir()
    (tmp_path / "a.jsonl").rename(tmp_path / "moved/other.jsonl")
    assert files_digest(list_evaluation_files("bench", str(tmp_path / "moved"))) == own[0]


SECRET = "the answer nobody may read in a log"


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", f'{{"question": "x"}}\n{{"question": "{SECRET}'.encode(), "a.jsonl, line 2 is not JSON"),
        ("a.json", f'["{SECRET}"]'.encode(), "a.json, entry 1 is not a JSON object"),
        ("a.json", f'[{{"q": "{SECRET}"'.encode(), "a.json is not JSON"),
        ("a.jsonl", lines([{"frage": SECRET}]), "has no text at question, answer; its columns: frage"),
        ("a.jsonl", SECRET.encode("utf-16"), r"is not UTF-8 text \(byte 0\)"),
        ("a.jsonl.gz", gzip.compress(lines(ROWS) * 50)[:-9], "is cut or damaged"),
        ("a.jsonl.gz", gzip.compress(b" " * (64 << 20)), r"cannot be read \(too_large\)"),
        ("a.parquet", SECRET.encode(), "is no readable Parquet file"),
        ("a.docx", SECRET.encode(), "is no kind of evaluation file"),
    ],
)
def test_what_cannot_be_read_whole_is_refused_by_place_and_never_quoted(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message) as refused:
        items_in(tmp_path / name)
    assert "benchmark bench" in str(refused.value) and SECRET not in str(refused.value)


def test_a_place_without_files_elsewhere_or_outside_the_roots_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (tmp_path / "nowhere.jsonl", tmp_path, tmp_path / "*.csv"):
        with pytest.raises(NotFoundError, match="benchmark bench: no evaluation file at"):
            list_evaluation_files("bench", str(place))
    with pytest.raises(RecipeError, match="is not on this machine"):
        list_evaluation_files("bench", "s3://bucket/a.jsonl")
    (tmp_path / "a.jsonl").write_bytes(lines(ROWS))
    with pytest.raises(RecipeError, match="say where their texts are"):
        items_in(tmp_path / "a.jsonl", None)
    monkeypatch.setenv("INGOT_SOURCE_ROOTS", str(tmp_path / "inside"))
    with pytest.raises(RecipeError, match="lies outside INGOT_SOURCE_ROOTS"):
        items_in(tmp_path / "a.jsonl")


def test_reading_a_table_leaves_the_limit_of_the_process_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("question\nWhich river flows north?\n")
    limit = csv.field_size_limit()
    (file,) = list_evaluation_files("bench", str(tmp_path / "items.csv"))
    read_items("bench", [file], ["question"])
    assert csv.field_size_limit() == limit
