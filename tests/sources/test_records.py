"""Sources of rows: JSON lines and Parquet."""

import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from pydantic import ValidationError

from datasets_pipeline.normalize import normalize_text
from datasets_pipeline.sources import jsonl, parquet
from datasets_pipeline.sources.base import ExtractionError, FileEntry, Reject

ENTRY = FileEntry("a.jsonl", 1)


def lines(data: bytes, **options):
    return jsonl.extract_file(jsonl.Config(name="rows", uri="/none", **options), ENTRY, data)


def test_a_line_is_a_document_with_its_byte_range_and_columns():
    record = {
        "text": "Größe", "id": 7, "lic": "cc by 4.0", "lang": "DE", "day": "2024-05-06T00:00:00", "n": 2.5,
        "tags": ["x"], "ok": True, "nan": float("nan"),
    }  # fmt: skip
    first = json.dumps(record).encode()
    result = lines(
        first + b'\r\n{"text": "second"}',
        id_column="id",
        licence_column="lic",
        language_column="lang",
        date_column="day",
        metadata_columns=("n", "tags", "ok", "nan", "absent"),
    )
    one, two = result.documents
    assert (one.text, one.start, one.end) == ("Größe", 0, len(first) + 1)
    assert (one.licence, one.licence_evidence, one.language, one.stated_date) == (
        "CC-BY-4.0", "column lic", "de", "2024-05-06",
    )  # fmt: skip
    assert one.metadata == {"id": "7", "n": 2.5, "tags": '["x"]', "ok": "true"}
    assert (two.text, two.start, two.end) == ("second", len(first) + 2, len(first) + 2 + len('{"text": "second"}'))
    assert result.rejects == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{broken", "bad_row"),
        (b"[1, 2]", "bad_row"),
        (b"3", "bad_row"),
        (b"{}", "bad_row"),
        (b'{"text": null}', "bad_row"),
        (b'{"text": 5}', "bad_row"),
        (b'{"text": " \\n "}', "empty"),
        (b'{"text": "\xff"}', "invalid_encoding"),
        (b'{"text": "' + b"x" * 2000 + b'"}', "too_large"),
        (b"[" * 900, "bad_row"),
        (b'{"text": "a", "n": ' + b"9" * 900 + b"}", None),
    ],
)
def test_a_bad_line_is_one_row_and_its_neighbours_are_kept(line, reason):
    good = b'{"text": "good"}\n'
    result = lines(good + line + b"\n" + good, max_line_bytes=1000)
    assert [document.text for document in result.documents if document.text == "good"] == ["good", "good"]
    expected = [] if reason is None else [Reject(len(good), len(good) + len(line), reason)]
    assert result.rejects == expected


def test_deep_json_is_one_bad_row():
    assert [r.reason for r in lines(b"[" * 100_000 + b'\n{"text": "good"}').rejects] == ["bad_row"]


def test_blank_lines_and_a_byte_order_mark_are_no_rows():
    result = lines(b'\xef\xbb\xbf{"text": "a"}\n\n  \r\n{"text": "b"}\n')
    assert [document.text for document in result.documents] == ["a", "b"] and result.rejects == []


def test_a_lone_surrogate_of_json_is_stored_as_the_replacement_character():
    (document,) = lines(b'{"text": "a\\ud800b\\ud83d\\ude00\\u0000c"}').documents
    assert normalize_text(document.text) == "a\ufffdb😀\ufffdc"


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 20])
def test_lines_do_not_depend_on_how_the_stream_is_cut(monkeypatch, block):
    data = b"".join(b'{"text": "%s"}\n' % (b"w" * n) for n in (1, 60, 61, 62, 200, 1)) + b"broken"
    expected = lines(data, max_line_bytes=73)
    monkeypatch.setattr(jsonl, "_BLOCK_BYTES", block)
    assert lines(data, max_line_bytes=73) == expected
    assert [r.reason for r in expected.rejects] == ["too_large", "too_large", "bad_row"]


def test_compressed_files_give_the_same_documents():
    data = b'{"text": "one"}\nbroken\n{"text": "two"}\n'
    assert lines(gzip.compress(data)) == lines(data) == lines(zstandard.compress(data))


def test_a_cut_archive_keeps_what_came_before_and_says_so():
    import random

    generator = random.Random(1)
    rows = [json.dumps({"text": f"{generator.random()} " * 20}) for _ in range(5000)]
    data = "\n".join(rows).encode()
    for packed in (gzip.compress(data), zstandard.compress(data)):
        result = lines(packed[: len(packed) // 2])
        assert len(result.documents) > 500
        assert result.rejects and result.rejects[-1].reason in ("parser_error", "bad_row")


def test_a_decompression_bomb_is_refused():
    bomb = gzip.compress(b"\x00" * (40 << 20))
    with pytest.raises(ExtractionError) as refused:
        lines(bomb)
    assert refused.value.reason == "too_large"


def test_an_empty_file_is_empty():
    with pytest.raises(ExtractionError) as refused:
        lines(b"")
    assert refused.value.reason == "empty"


def test_jsonl_files_are_found_by_name(tmp_path):
    for name in ("a.jsonl", "x/b.jsonl.gz", "c.ndjson.zst", "d.json", "e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'{"text": "a"}')
    config = jsonl.Config(name="rows", uri=str(tmp_path))
    entries = list(jsonl.list_files(config))
    assert [entry.uri for entry in entries] == ["a.jsonl", "c.ndjson.zst", "x/b.jsonl.gz"]
    assert jsonl.read_file(config, entries[0]).data == b'{"text": "a"}'


def test_an_option_that_shapes_documents_is_in_the_version():
    plain = jsonl.Config(name="rows", uri="/none")
    assert jsonl.extraction_version(plain) != jsonl.extraction_version(plain.model_copy(update={"text_column": "body"}))
    with pytest.raises(ValidationError):
        jsonl.Config(name="rows", uri="/none", media_type="application/pdf")


def packed_table(table: pa.Table, **options) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def rows_of(data: bytes, **options):
    return parquet.extract_file(parquet.Config(name="rows", uri="/none", **options), FileEntry("a.parquet", 1), data)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_rows_come_back_with_their_numbers(kind):
    texts = ["one", None, "zwei", " ", "three"]
    table = pa.table({"text": pa.array(texts).cast(kind), "licence": ["MIT", "MIT", None, "MIT", "our own"]})
    result = rows_of(packed_table(table, row_group_size=2), licence_column="licence")
    assert [(d.text, d.start, d.end, d.licence) for d in result.documents] == [
        ("one", 0, 1, "MIT"),
        ("zwei", 2, 3, None),
        ("three", 4, 5, "unknown"),
    ]
    assert result.rejects == [Reject(1, 2, "bad_row"), Reject(3, 4, "empty")]


def test_a_missing_or_mistyped_column_is_named():
    data = packed_table(pa.table({"body": ["a"], "n": [1]}))
    with pytest.raises(ExtractionError, match="no column text, lang; it has body, n") as missing:
        rows_of(data, language_column="lang")
    with pytest.raises(ExtractionError, match="column n is int64, not text") as mistyped:
        rows_of(data, text_column="n")
    assert missing.value.reason == mistyped.value.reason == "schema_mismatch"
    assert [document.text for document in rows_of(data, text_column="body").documents] == ["a"]


def test_a_damaged_parquet_file_is_a_parser_error():
    data = packed_table(pa.table({"text": ["words " * 1000] * 50}), write_page_checksum=True, compression="none")
    middle = len(data) // 3
    for damaged in (data[: len(data) // 2], b"PAR1 nothing", data[:middle] + b"\x00" * 8 + data[middle + 8 :]):
        with pytest.raises(ExtractionError) as refused:
            rows_of(damaged)
        assert refused.value.reason == "parser_error" and "words" not in str(refused.value)


def test_a_table_that_is_larger_than_it_looks_is_refused():
    with pytest.raises(ExtractionError) as refused:
        rows_of(packed_table(pa.table({"text": ["x" * 100_000] * 20})), max_decompressed_bytes=50_000)
    assert refused.value.reason == "too_large"
