"""Delimited text: every dialect exports have, ranges in bytes, and what is wrong with one row is that row's fault."""

import contextlib
import csv as standard_csv
import gzip
import io
import random

import pytest
import zstandard
from pydantic import ValidationError

from datasets_pipeline.sources import csv, csv_records
from datasets_pipeline.sources.base import ExtractionError, FileEntry
from ingot.errors import RecipeError


def read(data, **options):
    config = csv.Config(name="rows", uri="/none", **options)
    return csv.extract_file(config, FileEntry("t.csv", len(data)), data)


def texts(result):
    return [document.text for document in result.documents]


def test_rows_have_their_bytes_and_quotes_are_what_the_reader_of_python_takes_them_for():
    data = b'\xef\xbb\xbfid;text\r\n1;"a ""x"";\r\nb"\r\n\r\n2;5" pipe\r\n3;last'
    result = read(data, metadata_columns=("id",))
    assert texts(result) == ['a "x";\r\nb', '5" pipe', "last"]
    assert [data[d.start : d.end] for d in result.documents] == [
        b'1;"a ""x"";\r\nb"\r\n', b'2;5" pipe\r\n', b"3;last",
    ]  # fmt: skip
    assert [d.metadata for d in result.documents] == [{"id": "1"}, {"id": "2"}, {"id": "3"}] and not result.rejects


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_from_the_first_records(delimiter):
    rows = [["id", "text, or; what|else"], *([str(n), "some, more; text | here"] for n in range(9))]
    sink = io.StringIO()
    standard_csv.writer(sink, delimiter=delimiter).writerows(rows)
    result = read(sink.getvalue().encode(), text_column="text, or; what|else")
    assert texts(result) == ["some, more; text | here"] * 9


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "utf-32"])
def test_every_encoding_of_the_ladder_is_read(encoding):
    data = "id,text\n1,Größe über alles\n2,café\n".encode(encoding)
    result = read(data)
    assert texts(result) == ["Größe über alles", "café"] and result.documents[-1].end == len(data)
    assert texts(read("名,text\n1,日本語の文章\n".encode("shift_jis"), encoding="shift_jis")) == ["日本語の文章"]


def test_a_ragged_row_is_told_with_its_cells_and_its_neighbours_are_kept():
    result = read(b"id,text\n1,a\n2\n3,b,c\n4,d\n5,\n")
    assert texts(result) == ["a", "d"]
    assert [(r.start, r.reason, r.detail) for r in result.rejects] == [
        (12, "bad_row", "1 cells, where the header has 2"),
        (14, "bad_row", "3 cells, where the header has 2"),
        (24, "empty", ""),
    ]


def test_a_quote_that_is_never_closed_costs_its_row_alone():
    rows = b"".join(b"%d,text of %d\n" % (n, n) for n in range(200))
    result = read(b'id,text\n1,"never closed\n' + rows + b'x,"nor this\n' + rows)
    assert len(result.documents) == 400 and [r.reason for r in result.rejects] == ["bad_row"] * 2
    result = read(b'id,text\n1,"never closed\n' + rows, max_record_bytes=1000)
    assert len(result.documents) == 200 and [r.reason for r in result.rejects] == ["too_large"]


def test_quotes_made_to_be_read_again_and_again_end():
    result = read(b"id,text\n" + b'1,"\n' * 30_001)
    assert len(result.documents) + len(result.rejects) < 30_010


def test_a_huge_cell_is_one_reject_and_a_nul_is_a_replacement_character():
    result = read(b"id,text\n1," + b"x" * 5000 + b"\n2,a\x00b" + b" word" * 20 + b"\n3,c\n", max_record_bytes=1000)
    assert [(r.reason, r.start) for r in result.rejects] == [("too_large", 8)]
    assert [text[:4] for text in texts(result)] == ["a\x00b ", "c"], "the stored form of NUL is normalize_text's"
    assert standard_csv.field_size_limit() == 131072, "the limit of the process is put back"


def test_a_file_without_a_header_is_read_by_the_names_of_the_recipe():
    assert texts(read(b"1,a\n2,b\n", column_names=("id", "text"))) == ["a", "b"]
    assert texts(read(b"text\na\nb\n")) == ["a", "b"], "one column needs no delimiter"
    assert texts(read(b"id,text\r1,a\r2,b")) == ["a", "b"], "line ends of old spreadsheets"


def test_a_missing_or_doubled_column_is_named_and_nothing_of_the_row_is_told():
    for data, what in ((b"private,words\n1,2\n", "no column text among the 2"), (b"text,text\n1,2\n", "more than one")):
        with pytest.raises(ExtractionError, match=what) as refused:
            read(data)
        assert refused.value.reason == "schema_mismatch" and "words" not in str(refused.value)


def test_compressed_files_are_read_and_a_cut_one_keeps_what_came_before():
    data = b"id,text\n" + b"".join(b"%d,%d\n" % (n, random.Random(n).getrandbits(200)) for n in range(5000))
    assert read(gzip.compress(data)) == read(zstandard.compress(data)) == read(data)
    result = read(gzip.compress(data)[:60_000])
    assert len(result.documents) > 500 and result.rejects[-1].reason == "parser_error"
    with pytest.raises(ExtractionError, match="decompress"):
        read(gzip.compress(bytes(40 << 20)))


def test_marks_are_single_ascii_characters():
    for wrong in ({"delimiter": "::"}, {"quotechar": "„"}, {"delimiter": "\n"}, {"encoding": "klingon"}):
        with pytest.raises((ValidationError, RecipeError)):
            csv.Config(name="rows", uri="/none", **wrong)


def test_the_compiled_walk_ends_records_where_the_reader_does():
    from datasets_pipeline.sources.csv_kernels import cuts_of

    generator = random.Random(5)
    for _ in range(300):
        text = "".join(generator.choices(['"', ",", "\n", "a", "\r\n", '""', 'b"'], k=60)) + "\n"
        data = text.encode()
        reader = standard_csv.reader(io.StringIO(text, newline=""))
        lines, ends = text.split("\n"), []
        try:
            for _ in reader:
                ends.append(sum(len(line) + 1 for line in lines[: reader.line_num]))
        except standard_csv.Error:
            continue  # a bare \r: one row's fault, wherever it is cut
        blocks = [data[at : at + 7] for at in range(0, len(data), 7)]
        cuts, size = cuts_of(iter(blocks), 1, 1000, ord(","), ord('"'))
        assert size == len(data)
        # At the end of the data an open quote ends a record for the reader; the walk says nothing there.
        assert [cut for cut in cuts if cut < size] == [end for end in ends if end < size], text


@pytest.mark.parametrize("seed", range(3))
def test_damaged_bytes_give_rows_rejects_or_one_known_error(seed):
    generator = random.Random(seed)
    good = b"id;text;x\n" + b"".join(b'%d;"text ""%d""\n of";y\n' % (n, n) for n in range(50))
    for _ in range(150):
        data = bytearray(good)
        for _ in range(generator.randint(1, 20)):
            data[generator.randrange(len(data))] = generator.choice(b'";\n\r\x00\xff,a')
        data = bytes(data[: generator.randrange(1, len(data) + 1)])
        with contextlib.suppress(ExtractionError):
            read(data)


def test_a_reader_that_is_left_early_puts_the_limit_back():
    lines = csv_records.lines_of("a\nb\n", b"a\nb\n", "utf-8")
    found = csv_records.records(lines, ",", '"', 10)
    next(found)
    found.close()
    assert standard_csv.field_size_limit() == 131072
