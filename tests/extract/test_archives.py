"""Archives: every member is a document of its own; bombs and unsafe names cost themselves."""

import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable

import pytest
import zstandard

from datasets_pipeline.extract import ExtractOptions, extract
from datasets_pipeline.sources.base import REASONS, ExtractionError
from tests.extract.archive_files import overlapping_zip, tarred, zipped
from tests.extract.office_files import docx, paragraph

OPTIONS = ExtractOptions()
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, mtime=0), "bz2": bz2.compress, "xz": lzma.compress,
    "zst": zstandard.compress,
}  # fmt: skip
MEMBERS = {"a/one.txt": b"Slate lasts longer than tin. " * 9, "two.md": "# Dächer\n\nAus Schiefer.".encode()}
TEXTS = {"a/one.txt": "Slate lasts longer than tin. " * 9, "two.md": "# Dächer\n\nAus Schiefer."}
ZEROS = bytes(32 << 20)


def texts_of(data: bytes, name: str, options: ExtractOptions = OPTIONS) -> tuple[dict[str, str], dict[str, str]]:
    """(texts, reasons) by what stands behind the archive's name; a refused archive is the reason of ``."""
    try:
        result = extract(data, name, None, options)
    except ExtractionError as error:
        assert error.reason in REASONS and name in error.message
        return {}, {"": error.reason}
    for document in result.documents:
        assert 0 <= document.start <= document.end
    assert {reject.reason for reject in result.rejects} <= set(REASONS)
    texts = {str(document.uri).removeprefix(f"{name}!/"): document.text for document in result.documents}
    return texts, {str(r.uri or "").removeprefix(name).removeprefix("!/"): r.reason for r in result.rejects}


@pytest.mark.parametrize("kind", ["zip", "tar", *(f"tar.{packer}" for packer in PACKERS), "tgz"])
def test_every_member_is_a_document_of_its_own(kind: str) -> None:
    data = zipped(MEMBERS) if kind == "zip" else tarred(MEMBERS)
    packer = PACKERS.get("gz" if kind == "tgz" else kind.removeprefix("tar."))
    data = packer(data) if packer else data
    assert texts_of(data, f"x.{kind}") == (TEXTS, {})
    assert texts_of(data, "without_ending")[0] == TEXTS


@pytest.mark.parametrize("packer", sorted(PACKERS))
def test_one_compressed_file_is_one_document(packer: str) -> None:
    content = MEMBERS["two.md"]
    assert texts_of(PACKERS[packer](content), f"b/two.md.{packer}") == ({"two.md": TEXTS["two.md"]}, {})


def test_an_office_file_in_a_zip_is_read_as_one_and_a_file_nobody_reads_is_a_reject() -> None:
    data = zipped({"report.docx": docx(paragraph("Slate lasts.")), "run.exe": b"\x7fELF\x02", "__MACOSX/._a": b"\0\1"})
    assert texts_of(data, "x.zip") == ({"report.docx": "Slate lasts."}, {"run.exe": "unsupported_media_type"})


def test_names_in_utf8_are_read_whether_the_zip_says_so_or_not() -> None:
    data = zipped({"Dächer.txt": b"words"})
    assert texts_of(data, "x.zip")[0] == {"Dächer.txt": "words"}
    unsaid = bytearray(data)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(mark) + place
        struct.pack_into("<H", unsaid, at, struct.unpack_from("<H", data, at)[0] & ~0x800)
    assert texts_of(bytes(unsaid), "x.zip")[0] == {"Dächer.txt": "words"}


@pytest.mark.parametrize("name", ["../../etc/x", "/etc/x", "a/../../x", "\\\\host\\x", "..\\x"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_name_that_leaves_the_archive_is_refused_and_its_siblings_are_kept(
    pack: Callable[[dict[str, bytes]], bytes], name: str
) -> None:
    data = pack({"good.txt": b"words", name: b"evil"})
    texts, reasons = texts_of(data, "x.zip" if pack is zipped else "x.tar")
    assert texts == {"good.txt": "words"} and list(reasons.values()) == ["unsafe_member"]


def test_links_and_devices_are_refused_and_nothing_is_written(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = {"sym": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "dev": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE}
    texts, reasons = texts_of(tarred({"good.txt": b"words"}, kinds), "x.tar")
    assert texts == {"good.txt": "words"} and reasons == dict.fromkeys(kinds, "unsafe_member")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("sym")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("good.txt", "words")
    assert texts_of(buffer.getvalue(), "x.zip") == ({"good.txt": "words"}, {"sym": "unsafe_member"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("packer", sorted(PACKERS))
def test_a_bomb_is_refused_whatever_packed_it(packer: str) -> None:
    assert texts_of(PACKERS[packer](ZEROS), f"x.{packer}") == ({}, {"": "too_large"})
    stream = PACKERS[packer](tarred({"good.txt": b"words", "zeros": ZEROS}))
    texts, reasons = texts_of(stream, f"x.tar.{packer}")
    assert texts == {"good.txt": "words"} and reasons == {"": "too_large"}


def test_a_bomb_in_a_zip_costs_itself() -> None:
    texts, reasons = texts_of(zipped({"zeros": ZEROS, "good.txt": b"words"}), "x.zip")
    assert texts == {"good.txt": "words"} and reasons == {"zeros": "too_large"}


def test_members_that_share_bytes_are_refused() -> None:
    assert texts_of(overlapping_zip(500, 1 << 20), "x.zip") == ({}, {"": "too_large"})


def test_archives_inside_archives_share_one_budget() -> None:
    member = b"Slate lasts longer than tin.\n" * 20_000
    inner = [zipped({f"{n}.txt": member}) for n in range(4)]
    outer = zipped({f"{n}.zip": data for n, data in enumerate(inner)})
    options = ExtractOptions(max_archive_bytes=2 * len(member) + 100_000)
    texts, reasons = texts_of(outer, "x.zip", options)
    assert len(texts) == 2 and set(reasons.values()) == {"too_large"} and len(reasons) == 2


def test_nesting_and_the_number_of_members_are_bounded() -> None:
    data = b"deep words"
    for depth in range(4):
        data = zipped({f"{depth}": data})
    assert texts_of(data, "x.zip") == ({}, {"3!/2!/1!/0": "nested_too_deeply"})
    many = {f"{n}.txt": b"words" for n in range(5)}
    few = ExtractOptions(max_archive_members=3)
    assert texts_of(zipped(many), "x.zip", few) == ({}, {"": "too_large"})
    texts, reasons = texts_of(tarred(many), "x.tar", few)
    assert len(texts) == 3 and reasons == {"": "too_large"}


def test_encrypted_members_are_rejects() -> None:
    data = bytearray(zipped({"a.txt": b"words", "b.txt": b"words"}))
    at = bytes(data).index(b"PK\x01\x02") + 8  # the flags of the first member in the directory
    struct.pack_into("<H", data, at, 1)
    assert texts_of(bytes(data), "x.zip") == ({"b.txt": "words"}, {"a.txt": "encrypted"})


def test_of_a_damaged_archive_what_came_before_is_kept() -> None:
    members = {f"{n}.txt": random.Random(n).randbytes(2000).hex().encode() for n in range(20)}
    for data, name in (
        (zipped(members), "x.zip"), (tarred(members), "x.tar"), (gzip.compress(tarred(members), 1), "x.tar.gz"),
    ):  # fmt: skip
        texts, reasons = texts_of(data[: len(data) * 2 // 3], name)
        assert 10 <= len(texts) <= 14 and reasons == {"": "parser_error"}, name
    log = b"".join(b"%d: slate\n" % n for n in range(50_000))
    texts, reasons = texts_of(gzip.compress(log)[:-5000], "x.log.gz")
    assert len(texts["x.log"]) > 100_000 and reasons == {"": "parser_error"}


def test_a_size_that_leads_backwards_ends_the_archive() -> None:
    data = bytearray(tarred({"a.txt": b"words", "b.txt": b"words"}))
    second = 1024
    struct.pack_into(">B11s", data, second + 124, 0xFF, b"\xff" * 10 + b"\x00")  # a negative number in base 256
    data[second + 148 : second + 156] = b" " * 8
    struct.pack_into("8s", data, second + 148, b"%06o\0 " % sum(data[second : second + 512]))
    assert texts_of(bytes(data), "x.tar") == ({"a.txt": "words"}, {"": "parser_error"})


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.zst", "txt.xz"])
def test_cut_and_flipped_archives_are_text_or_an_error_of_the_file(kind: str) -> None:
    chance = random.Random(kind)
    data = zipped(MEMBERS) if kind == "zip" else MEMBERS["a/one.txt"] if kind == "txt.xz" else tarred(MEMBERS)
    data = PACKERS.get(kind.rpartition(".")[2], bytes)(data)
    for end in range(1, len(data), max(len(data) // 60, 1)):
        texts_of(data[:end], f"x.{kind}")
    for _ in range(80):
        damaged = bytearray(data)
        for _ in range(chance.choice((1, 3, 20))):
            damaged[chance.randrange(len(data))] = chance.randrange(256)
        texts_of(bytes(damaged), f"x.{kind}")


def test_what_is_no_archive_or_an_empty_one_is_an_error_of_the_file() -> None:
    assert texts_of(bytes(3000), "x.tar") == ({}, {"": "parser_error"})
    assert texts_of(zipped({}), "x.zip") == ({}, {"": "empty"})
    assert texts_of(tarred({}), "x.tar")[1][""] in ("empty", "parser_error")
