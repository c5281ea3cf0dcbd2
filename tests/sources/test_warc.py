"""Web archives: what is read, what is counted, what is refused, and that damage costs no sibling."""

import base64
import gzip
import hashlib
import io
import random
import zlib
from pathlib import Path

import pytest
import zstandard

from datasets_pipeline.sources import warc
from datasets_pipeline.sources.base import ExtractionError, ExtractionResult, FileEntry

PAGE = b"<!doctype html><html lang=en><head><title>%s</title></head><body><p>%s</p></body></html>"


def config(**values: object) -> warc.Config:
    return warc.Config.model_validate({"name": "crawl", "uri": "/nowhere", **values})


def page(words: str) -> bytes:
    return PAGE % (words.encode(), f"The pump of {words} is checked every month.".encode())


def response(body: bytes, *headers: str, status: str = "200 OK", content_type: str = "text/html") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def record(block: bytes, uri: str = "http://docs.example/a", *headers: str, kind: str = "response",
           content_type: str = "application/http; msgtype=response", length: int | None = None) -> bytes:  # fmt: skip
    lines = ["WARC/1.1", f"WARC-Type: {kind}", "WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000001>",
             "WARC-Date: 2024-05-06T07:08:09Z", f"WARC-Target-URI: {uri}", f"Content-Type: {content_type}", *headers,
             f"Content-Length: {len(block) if length is None else length}"]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def sha1(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()


def read(data: bytes, **values: object) -> ExtractionResult:
    return warc.extract_file(config(**values), FileEntry("a.warc", len(data)), data)


def told(result: ExtractionResult) -> list[tuple[str | None, str]]:
    return [(reject.uri, reject.reason) for reject in result.rejects]


def uris(result: ExtractionResult) -> list[str | None]:
    return [document.uri for document in result.documents]


THREE = [record(response(page(name)), f"http://docs.example/{name}") for name in ("one", "two", "three")]
WRITTEN = {
    "plain": THREE,
    "gz": [gzip.compress(one, mtime=0) for one in THREE],
    "zst": [zstandard.ZstdCompressor(write_checksum=True).compress(one) for one in THREE],
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_page_is_a_document_at_its_address_and_its_place_in_the_archive(kind: str) -> None:
    members = WRITTEN[kind]
    result = read(b"".join(members))
    assert uris(result) == [f"http://docs.example/{name}" for name in ("one", "two", "three")]
    assert not result.rejects
    starts = [sum(map(len, members[:number])) for number in range(4)]
    assert [(d.start, d.end) for d in result.documents] == list(zip(starts, starts[1:], strict=False))
    assert "The pump of two is checked every month." in result.documents[1].text
    assert result.documents[0].metadata["captured"] == "2024-05-06T07:08:09Z"
    assert result.documents[0].stated_date is None
    assert result.documents[0].language == "en"


def test_records_in_one_member_have_their_range_in_the_decompressed_bytes() -> None:
    result = read(gzip.compress(b"".join(THREE)))
    starts = [sum(map(len, THREE[:number])) for number in range(4)]
    assert [(d.start, d.end) for d in result.documents] == list(zip(starts, starts[1:], strict=False))


def test_a_zstd_dictionary_in_front_is_used() -> None:
    samples = [page(f"station {number} of the {number % 7} works") * 3 for number in range(400)]
    dictionary = zstandard.train_dictionary(2000, samples)
    words = dictionary.as_bytes()
    compressor = zstandard.ZstdCompressor(dict_data=dictionary)
    frames = b"".join(compressor.compress(one) for one in THREE)
    for kept in (words, zstandard.compress(words)):
        data = b"\x5d\x2a\x4d\x18" + len(kept).to_bytes(4, "little") + kept + frames
        assert len(read(data).documents) == 3
    with pytest.raises(ExtractionError) as told:
        read(b"\x5d\x2a\x4d\x18" + (9).to_bytes(4, "little") + b"\x28\xb5\x2f\xfdhello" + frames)
    assert told.value.reason == "damaged"


def test_an_archive_that_fastwarc_writes_is_read() -> None:
    from fastwarc.stream_io import GzipWriter
    from fastwarc.warc import WarcRecord, WarcRecordType

    stream = io.BytesIO()
    for kind, block in ((WarcRecordType.warcinfo, b"software: a crawler\r\n"), (WarcRecordType.response, b"")):
        item = WarcRecord()
        item.init_headers(kind)
        if kind == WarcRecordType.response:
            item.headers["WARC-Target-URI"] = "https://docs.example/pump"
            item.headers["Content-Type"] = "application/http; msgtype=response"
            block = response(page("works"))
            item.is_http = True
        item.set_bytes_content(block)
        writer = GzipWriter(stream)
        item.write(writer, checksum_data=True)
        writer.finish()
    assert uris(read(stream.getvalue())) == ["https://docs.example/pump"]


def test_what_is_no_page_is_passed_over() -> None:
    data = b"".join((
        record(b"x", kind="warcinfo", content_type="application/warc-fields"),
        record(b"GET / HTTP/1.1\r\n\r\n", kind="request"),
        record(response(b"", status="301 Moved", content_type="text/html")),
        record(response(page("gone"), status="404 Not Found")),
        record(response(page("part"), status="206 Partial Content")),
        record(response(b""), kind="revisit"),
        record(b"docs.example. 3600 IN A 10.0.0.1", "dns:docs.example", content_type="text/dns"),
        THREE[0],
    ))  # fmt: skip
    result = read(data)
    assert uris(result) == ["http://docs.example/one"] and not result.rejects


def test_resources_and_conversions_are_read_when_asked_for() -> None:
    data = record(page("resource"), kind="resource", content_type="text/html") + record(
        b"Only words of a page.", "http://docs.example/c", kind="conversion", content_type="text/plain"
    )
    assert len(read(data).documents) == 1
    assert [d.media_type for d in read(data, records=["resource", "conversion"]).documents] == [
        "text/html", "text/plain",
    ]  # fmt: skip


def test_a_body_is_decoded_as_http_says() -> None:
    body = page("bodies")
    chunked = b"5;x=y\r\n" + body[:5] + b"\r\n%x\r\n" % len(body[5:]) + body[5:] + b"\r\n0\r\n\r\n"
    raw = zlib.compressobj(wbits=-15)
    sent = {
        "gzip": (gzip.compress(body), "Content-Encoding: gzip"),
        "deflate": (zlib.compress(body), "Content-Encoding: deflate"),
        "raw": (raw.compress(body) + raw.flush(), "Content-Encoding: deflate"),
        "zstd": (zstandard.compress(body), "Content-Encoding: zstd"),
        "chunked": (chunked, "Transfer-Encoding: chunked"),
        "chunks joined": (body, "Transfer-Encoding: chunked"),
        "decoded before": (body, "Content-Encoding: gzip"),
    }
    for name, (bytes_sent, header) in sent.items():
        result = read(record(response(bytes_sent, header)))
        assert len(result.documents) == 1 and "The pump of bodies" in result.documents[0].text, name


def test_brotli_is_read() -> None:
    brotli = pytest.importorskip("brotli")
    result = read(record(response(brotli.compress(page("brotli")), "Content-Encoding: br")))
    assert "The pump of brotli" in result.documents[0].text


def test_the_header_and_the_bytes_say_what_a_body_is() -> None:
    rows = {
        ("text/html; charset=iso-8859-1", "http://x.example/a", "<html><body>Stra\xdfe zum Werk".encode("latin-1")):
            ("text/html", "Straße"),
        ("application/octet-stream", "http://x.example/a.md", b"# Title\n\nWords of it."): ("text/markdown", "Title"),
        ("text/plain", "http://x.example/a.py?raw=1", b"x = 1  # words\n"): ("text/x-python", "words"),
        ("text/html", "http://x.example/blob/a.py", page("code")): ("text/html", "pump"),
        ("", "http://x.example/", page("none")): ("text/html", "pump"),
    }  # fmt: skip
    for (content_type, uri, body), (media_type, words) in rows.items():
        (document,) = read(record(response(body, content_type=content_type), uri)).documents
        assert document.media_type == media_type and words in document.text, uri
    result = read(record(response(b"\x89PNG\r\n\x1a\n" + bytes(100), content_type="text/html")))
    assert not result.documents and len(result.rejects) == 1


def test_the_day_is_the_one_of_last_modified_unless_the_page_states_its_own() -> None:
    (document,) = read(record(response(page("day"), "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT"))).documents
    assert document.stated_date == "2015-10-21"
    (document,) = read(record(response(page("day"), "Last-Modified: yesterday"))).documents
    assert document.stated_date is None


def test_digests_are_verified() -> None:
    block = response(page("digests"))
    body = page("digests")
    good = [f"WARC-Block-Digest: {sha1(block)}", f"WARC-Payload-Digest: {sha1(body)}",
            "WARC-Block-Digest: sha256:" + hashlib.sha256(block).hexdigest(), "WARC-Block-Digest: odd:ABC"]  # fmt: skip
    for header in good:
        assert len(read(record(block, "http://a.example/", header)).documents) == 1, header
    for header in (f"WARC-Block-Digest: {sha1(b'x')}", f"WARC-Payload-Digest: {sha1(b'x')}"):
        result = read(record(block, "http://a.example/", header) + THREE[0])
        assert told(result) == [("http://a.example/", "damaged")] and len(result.documents) == 1


def test_what_the_crawler_cut_off_is_a_reject() -> None:
    whole = page("cut")
    rows = [
        record(response(whole), "http://a.example/", "WARC-Truncated: length"),
        record(response(whole[:40], f"Content-Length: {len(whole)}"), "http://a.example/"),
        record(response(b"ff\r\nabc", "Transfer-Encoding: chunked"), "http://a.example/"),
        record(response(gzip.compress(whole)[:-20], "Content-Encoding: gzip"), "http://a.example/"),
    ]
    for data in rows:
        result = read(data + THREE[0])
        assert told(result) == [("http://a.example/", "damaged")] and len(result.documents) == 1


def test_bombs_cost_only_themselves() -> None:
    zeros = bytes(64 << 20)
    bomb = record(response(gzip.compress(zeros), "Content-Encoding: gzip"), "http://bomb.example/")
    result = read(bomb + THREE[0])
    assert told(result) == [("http://bomb.example/", "too_large")] and len(result.documents) == 1
    for pack in (gzip.compress, zstandard.compress):
        data = pack(THREE[0]) + pack(record(response(zeros), "http://bomb.example/")) + pack(THREE[1])
        result = read(data)
        assert [reason for _, reason in told(result)] == ["too_large"] and len(result.documents) == 2
    result = read(record(response(page("large") + bytes(5000))) + THREE[0], max_record_bytes=2000)
    assert [reason for _, reason in told(result)] == ["too_large"] and len(result.documents) == 1
    result = read(b"".join(WRITTEN["gz"]), max_decompressed_bytes=600)
    assert [reason for _, reason in told(result)] == ["too_large"] and len(result.documents) < 3


@pytest.mark.parametrize("kind", WRITTEN)
def test_damage_in_one_record_keeps_its_siblings(kind: str) -> None:
    one, two, three = WRITTEN[kind]
    middle = len(two) // 2
    for broken in (two[:middle], two[: middle // 2], two[:-6] if kind != "plain" else two[:-20], b"\x00junk" * 9):
        result = read(one + broken + three)
        assert uris(result) == ["http://docs.example/one", "http://docs.example/three"], broken
        assert len(result.rejects) == 1 and result.rejects[0].reason == "damaged"
        reject = result.rejects[0]
        assert (reject.start, reject.end) == (len(one), len(one) + len(broken))


def test_damage_late_in_one_member_keeps_the_records_before_it() -> None:
    chance = random.Random(3)
    many = [record(response(page(chance.randbytes(2000).hex())), f"http://docs.example/{n}") for n in range(40)]
    data = bytearray(gzip.compress(b"".join(many)))
    data[len(data) * 3 // 4] ^= 0x55
    result = read(bytes(data))
    assert len(result.documents) > 20 and result.rejects[-1].reason == "damaged"
    assert uris(result) == [f"http://docs.example/{n}" for n in range(len(result.documents))]


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_first_member_without_its_mark_costs_itself_only(kind: str) -> None:
    data = bytearray(b"".join(WRITTEN[kind]))
    data[0] ^= 1
    entry = FileEntry(f"a.warc.{kind}", len(data))
    result = warc.extract_file(config(), entry, bytes(data))
    assert uris(result) == ["http://docs.example/two", "http://docs.example/three"]
    assert told(result) == [("record-0", "damaged")]


def test_wrong_lengths_do_not_pass_as_pages() -> None:
    for length in (20, 5000, 10**30, -1):
        odd = record(response(page("odd")), "http://odd.example/", length=length)
        result = read(THREE[0] + odd + THREE[1])
        assert uris(result) == ["http://docs.example/one", "http://docs.example/two"], length
        assert {reason for _, reason in told(result)} == {"damaged"}, length


@pytest.mark.parametrize("kind", WRITTEN)
def test_cut_and_flipped_archives_raise_nothing_else(kind: str) -> None:
    data = b"".join(WRITTEN[kind])
    whole = {document.text for document in read(data).documents}
    chance = random.Random(4)
    for number in range(150):
        damaged = bytearray(data[: chance.randrange(len(data))] if number % 2 else data)
        for _ in range(0 if number % 2 else chance.choice((1, 8))):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        try:
            result = read(bytes(damaged))
        except ExtractionError:
            continue
        if kind != "plain":  # members have checksums, so no changed text may pass
            assert {document.text for document in result.documents} <= whole
        assert all(d.end > d.start >= 0 and d.end <= len(damaged) for d in result.documents)
        if len(damaged) < len(data) and len(damaged) > 20:
            boundaries = {sum(map(len, WRITTEN[kind][:n])) for n in range(4)}
            assert result.rejects or len(damaged) in boundaries or kind == "plain"


def test_an_address_loses_its_password_and_is_plain_ascii() -> None:
    (document,) = read(record(response(page("a")), "<https://me:secret@docs.example/straße#part>")).documents
    assert document.uri == "https://docs.example/stra%C3%9Fe"


def test_files_that_are_no_archive_are_told() -> None:
    for data in (b"hello\n" * 100, b"\x1f\x8b\x08junk", gzip.compress(b"hello" * 1000)):
        with pytest.raises(ExtractionError) as told:
            read(data)
        assert told.value.reason == "parser_error"
    with pytest.raises(ExtractionError) as told:
        read(b"")
    assert told.value.reason == "empty"


def test_archives_are_listed_and_read_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b.warc.gz").write_bytes(b"".join(WRITTEN["gz"]))
    (tmp_path / "a.warc").write_bytes(b"".join(THREE))
    (tmp_path / "notes.txt").write_text("no archive")
    own = config(uri=str(tmp_path))
    entries = list(warc.list_files(own))
    assert [entry.uri for entry in entries] == ["a.warc", "b.warc.gz"]
    for entry in entries:
        assert len(warc.extract_file(own, entry, warc.read_file(own, entry).data).documents) == 3
    with pytest.raises(ExtractionError) as told:
        warc.read_file(config(uri=str(tmp_path), max_file_bytes=10), entries[0])
    assert told.value.reason == "too_large"
