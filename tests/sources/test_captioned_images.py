"""Images with captions: documents of image and text, whose picture is kept beside them."""

import gzip
import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from datasets_pipeline.acquire import acquire
from datasets_pipeline.parallel import InProcessPool
from datasets_pipeline.sources import captioned_images
from datasets_pipeline.sources.base import ExtractionError, FileEntry
from ingot import verify
from ingot.config import NamedConfig
from ingot.errors import DataError, IntegrityError
from ingot.parquet import read_table
from ingot.storage import Store

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "image_text"


def picture(colour: str, size: int = 8) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "icons"
    place.mkdir()
    for name in ("red", "blue", "plain"):
        (place / f"{name}.png").write_bytes(picture("red" if name == "plain" else name))
    rows = [{"file": "red.png", "caption": "a [small] square"}, {"file": "blue.png", "caption": "a [small] square"}]
    (place / "captions.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return place


def config(folder: Path, **values: object) -> captioned_images.Config:
    return captioned_images.Config(name="icons", uri=str(folder), captions="captions.jsonl.gz", **values)


def look(store: Store, chosen: captioned_images.Config) -> dict[str, int]:
    entry = NamedConfig(kind="source", name="captioned_images", config=chosen)
    now = "2026-01-01T02:00:00+00:00"
    return acquire(store, entry, InProcessPool(), place=chosen.uri, unit_bytes=1 << 20, now=now).counts


def test_two_pictures_with_one_caption_are_two_documents_and_both_pictures_are_kept(
    folder: Path, tmp_path: Path
) -> None:
    store = Store(str(tmp_path / "store"))
    counts = look(store, config(folder))
    assert (counts["read"], counts["skipped_without_caption"]) == (2, 1)
    (unit,) = store.list("documents/")
    rows = read_table(store, unit).to_pylist()
    assert len({row["doc_id"] for row in rows}) == 2
    for row in rows:
        digest = json.loads(row["metadata"])["image_sha256"]
        assert row["text"] == f"a [small] square\n\n![a (small) square](sha256:{digest})"
        assert store.read_bytes(f"images/{digest}") == (folder / row["uri"]).read_bytes()
        assert (row["media_type"], json.loads(row["metadata"])["image_width"]) == ("image/png", 8)
    verify.verify(store)
    key = store.list("images/")[0]
    store.put_bytes(key, b"other", overwrite=True)
    with pytest.raises(IntegrityError, match=key):
        verify.verify(store)


def test_a_changed_caption_is_a_changed_document(folder: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    look(store, config(folder))
    (folder / "captions.csv").write_text("file,caption\nred.png,a red square\nblue.png,a [small] square\n")
    counts = look(store, config(folder).model_copy(update={"captions": "captions.csv"}))
    assert (counts["read"], counts["unchanged"], counts["superseded"]) == (1, 1, 1)


def test_what_is_no_picture_is_a_reject_with_its_reason(folder: Path) -> None:
    entry = FileEntry("red.png", 1, attributes={"caption": "red"})
    whole = picture("red", 64)
    for data, reason in [(b"", "empty"), (whole[:-30], "parser_error"), (b"<svg/>", "parser_error")]:
        with pytest.raises(ExtractionError) as raised:
            captioned_images.extract_file(config(folder), entry, data)
        assert raised.value.reason == reason
    with pytest.raises(ExtractionError) as raised:
        captioned_images.extract_file(config(folder, max_pixels=1000), entry, whole)
    assert raised.value.reason == "too_large"


@pytest.mark.parametrize("text", ["not json", "[1]", '{"file": "red.png"}', '{"file": 3, "caption": "x"}'])
def test_a_captions_file_that_cannot_be_used_stops_the_look(folder: Path, text: str) -> None:
    (folder / "captions.jsonl.gz").write_text(text)
    with pytest.raises(DataError, match="captions.jsonl.gz"):
        list(captioned_images.list_files(config(folder)))


def test_real_pictures_keep_their_names(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"the shared data is not at {SHARED}")
    place = tmp_path / "emoji"
    with tarfile.open(SHARED / "noto_emoji_72.tar") as archive:
        archive.extractall(place, archive.getmembers()[:40], filter="data")
    (place / "captions.jsonl.gz").write_bytes((SHARED / "captions.jsonl.gz").read_bytes())
    skipped: Counter[str] = Counter()
    entries = list(captioned_images.list_files(config(place), skipped))
    assert (len(entries), skipped["without_caption"]) == (40, 0)
    for entry in entries:
        data = captioned_images.read_file(config(place), entry).data
        (document,) = captioned_images.extract_file(config(place), entry, data).documents
        assert document.text.startswith(entry.attributes["caption"])
