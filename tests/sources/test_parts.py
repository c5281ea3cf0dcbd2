"""One huge file read in parts: the same documents as the whole file, and a growing log changes its end alone."""

import json
import random
from contextlib import suppress
from dataclasses import replace

import fsspec
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from datasets_pipeline.sources import arrow, csv, files, jsonl, parquet, parts
from datasets_pipeline.sources.base import ExtractionError, FileEntry
from datasets_pipeline.sources.parquet_footer import row_groups

WORDS = ["alpha", 'be"ta', "gamma, delta", "two\nlines", "größe", "x" * 70, ""]


def rows_of(number, seed=1):
    generator = random.Random(seed)
    return [{"id": n, "text": " ".join(generator.choices(WORDS, k=generator.randint(0, 9)))} for n in range(number)]


def as_jsonl(rows):
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def as_csv(rows):
    quoted = (f'{row["id"]},"{row["text"].replace(chr(34), chr(34) * 2)}"\r\n' for row in rows)
    return ("id,text\r\n" + "".join(quoted)).encode()


def write(path, kind, rows):
    if kind in ("jsonl", "csv"):
        path.write_bytes(as_jsonl(rows) if kind == "jsonl" else as_csv(rows))
        return
    table = pa.Table.from_pylist(rows).append_column("tag", pa.array(["a", "b"] * (len(rows) // 2)).dictionary_encode())
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=37, write_page_checksum=True)
    else:
        pyarrow.feather.write_feather(table, path, chunksize=37, compression="uncompressed")


SOURCES = {"jsonl": jsonl, "csv": csv, "parquet": parquet, "arrow": arrow}


def extract(module, config):
    documents, rejects = [], []
    entries = list(module.list_files(config))
    for entry in entries:
        data = module.read_file(config, entry).data
        if data:
            result = module.extract_file(config, entry, data)
            documents += [replace(document, uri=document.uri or entry.uri) for document in result.documents]
            rejects += [replace(reject, uri=reject.uri or entry.uri) for reject in result.rejects]
    return entries, documents, rejects


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("place", ["local", "remote"])
def test_a_file_in_parts_gives_what_the_whole_file_gives(tmp_path, kind, place):
    module, uri = SOURCES[kind], str(tmp_path)
    write(tmp_path / f"big.{kind}", kind, rows_of(1000))
    if place == "remote":
        uri = f"memory://parts-{kind}"
        fsspec.filesystem("memory").pipe_file(f"/parts-{kind}/big.{kind}", (tmp_path / f"big.{kind}").read_bytes())
    options = {"name": "rows", "uri": uri, "metadata_columns": ("id",)}
    whole = extract(module, module.Config(**options))
    assert len(whole[0]) == 1 and len(whole[1]) + len(whole[2]) == 1000
    for part_bytes in (1024, 5000, 9999):
        entries, documents, rejects = extract(module, module.Config(**options, part_bytes=part_bytes))
        assert len(entries) > 2 and len({entry.uri for entry in entries}) == len(entries)
        assert documents == whole[1] and rejects == whole[2]
        assert sum(entry.size for entry in entries) == whole[0][0].size


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_appended_rows_leave_earlier_parts_as_they_were(tmp_path, kind):
    module, rows = SOURCES[kind], rows_of(1000)
    config = module.Config(name="rows", uri=str(tmp_path), part_bytes=8000)
    digests = []
    for number in (700, 1000):
        write(tmp_path / f"log.{kind}", kind, rows[:number])
        digests.append({e.uri: module.read_file(config, e).sha256 for e in module.list_files(config)})
    before, after = digests
    assert set(before) <= set(after), "names stay"
    assert [uri for uri in before if before[uri] != after[uri]] == [list(before)[-1]]


def test_a_part_is_cut_at_line_ends_wherever_its_border_falls(tmp_path):
    path = tmp_path / "a.jsonl"
    data = b'{"text": "aa"}\n\n{"text": "b"}\r\nbroken\n{"text": "cccc"}'
    path.write_bytes(data)
    entry = FileEntry("a.jsonl", len(data))
    config = jsonl.Config(name="rows", uri=str(tmp_path))
    whole = jsonl.extract_file(config, entry, data)
    for size in range(1, len(data)):
        documents, rejects = [], []
        for part in parts.by_size(entry, size):
            result = jsonl.extract_file(config, part, jsonl.read_file(config, part).data)
            documents += [replace(document, uri=None) for document in result.documents]
            rejects += [replace(reject, uri=None) for reject in result.rejects]
        assert documents == whole.documents and rejects == whole.rejects, size


def test_one_line_over_many_parts_is_one_reject_and_is_never_held(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "first"}\n{"text": "' + b"x" * 3_000_000 + b'"}\n{"text": "last"}\n')
    config = jsonl.Config(name="rows", uri=str(tmp_path), part_bytes=100_000, max_line_bytes=50_000)
    entries = list(jsonl.list_files(config))
    assert max(len(jsonl.read_file(config, entry).data) for entry in entries) < 400_000
    _, documents, rejects = extract(jsonl, config)
    assert [document.text for document in documents] == ["first", "last"]
    assert [(reject.start, reject.reason) for reject in rejects] == [(18, "too_large")]


def test_groups_and_compressed_files_are_read_whole(tmp_path):
    import gzip

    (tmp_path / "a.jsonl").write_bytes(as_jsonl(rows_of(300)))
    (tmp_path / "b.jsonl").write_bytes(gzip.compress(random.Random(1).randbytes(9000)))
    config = jsonl.Config(name="rows", uri=str(tmp_path), part_bytes=4096)
    assert [entry.uri for entry in jsonl.list_files(config)][-1] == "b.jsonl", "whatever its name says"
    grouped = config.model_copy(update={"group_by": "id"})
    assert [entry.uri for entry in jsonl.list_files(grouped)] == ["a.jsonl", "b.jsonl"]


def test_the_limit_of_a_file_is_the_limit_of_a_part(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(as_jsonl(rows_of(1000)))
    config = jsonl.Config(name="rows", uri=str(tmp_path), max_file_bytes=4096)
    assert len(extract(jsonl, config)[1]) > 800
    write(tmp_path / "a.parquet", "parquet", rows_of(1000))
    config = parquet.Config(name="rows", uri=str(tmp_path), max_file_bytes=1024)
    with pytest.raises(ExtractionError, match="row groups"):
        extract(parquet, config)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_damaged_part_is_that_parts_fault_whatever_is_damaged(tmp_path, kind):
    module, generator = SOURCES[kind], random.Random(3)
    path = tmp_path / f"a.{kind}"
    write(path, kind, rows_of(200))
    config = module.Config(name="rows", uri=str(tmp_path), part_bytes=4096)
    good = path.read_bytes()
    entries = list(module.list_files(config))
    parts_of = [module.read_file(config, entry).data for entry in entries]
    for _ in range(150):
        damaged = bytearray(good)
        at = generator.choice([generator.randrange(len(good)), len(good) - 1 - generator.randrange(1500)])
        damaged[at] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged[: generator.choice([len(good), len(good), at])])
        for entry in entries:
            with suppress(ExtractionError):
                module.extract_file(config, entry, module.read_file(config, entry).data)
        data = bytearray(generator.choice(parts_of))
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        with suppress(ExtractionError):
            module.extract_file(config, entries[0], bytes(data))


def test_footers_of_many_kinds_of_columns_are_read(tmp_path):
    import decimal

    table = pa.table(
        {
            "a": pa.array([1, None, 3] * 50), "b": [[1, 2], [], None] * 50, "c": [{"x": "y"}] * 150,
            "d": pa.array([decimal.Decimal("1.5")] * 150), "e": pa.array([b"\x00"] * 150),
        }
    )  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=40, write_page_index=True, compression="zstd")
    data = (tmp_path / "a.parquet").read_bytes()
    length = int.from_bytes(data[-8:-4], "little")
    groups = row_groups(data[-8 - length : -8])
    expected = pq.ParquetFile(tmp_path / "a.parquet").metadata
    assert [group.num_rows for group in groups] == [40, 40, 40, 30]
    assert [group.end - group.start for group in groups] == [
        sum(expected.row_group(i).column(c).total_compressed_size for c in range(expected.num_columns))
        for i in range(4)
    ]


@pytest.mark.parametrize(
    "footer", [b"", b"\x19", b"\x19\xfc" + b"\xff" * 30, b"\x1c" * 5000, b"\x00", bytes(range(256))]
)
def test_bytes_that_are_no_footer_are_refused_at_once(footer):
    with suppress(ValueError):
        assert row_groups(footer) == []


def test_ranges_follow_no_link_and_no_path_out_of_the_root(tmp_path):
    (tmp_path / "secret").write_text("s")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    for uri in ("link", "../secret", "gone"):
        with pytest.raises(ExtractionError) as refused, files.open_ranges(str(tmp_path / "in"), FileEntry(uri, 1)):
            pass
        assert refused.value.reason == "unreadable"
