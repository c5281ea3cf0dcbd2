"""Versions of a documentation fed night by night: what is kept of every page is its newest text."""

import re
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline.curate import curate
from datasets_pipeline.parallel import InProcessPool
from ingot import manifest, store_identity
from ingot.config import parse_recipe
from ingot.ledger import Actor
from ingot.manifest import Manifest
from ingot.parquet import read_table
from ingot.settings import Settings
from ingot.storage import Store
from tests.extract.real_documents import RAW_DOCUMENTS

_KAFKA = (
    "07", "08", "081", "082", "090", "0100", "0101", "0102", "0110", "10", "11", "20", "23", "25", "27", "28", "30",
    "31", "33", "34", "35", "37", "39",
)  # fmt: skip
_ETCD = ["v2.3", "v3.1", "v3.2", "v3.3", "v3.4", "v3.5", "v3.6", "v3.7", "v3.8"]
_SITES = {
    "kafka-site": (re.compile(r"kafka-site/([^/]+)/(.+)"), _KAFKA),
    "etcd-docs": (re.compile(r"etcd-docs/content/en/docs/([^/]+)/(.+)"), _ETCD),
}
_SALT = "5a17" * 8


@dataclass(frozen=True)
class Night:
    """What a night published: its manifest, and per page (`source:uri`) the id of its text and what became of it."""

    published: Manifest
    pages: dict[str, dict[str, Any]]


def versions(num: int, folder: Path) -> list[dict[str, Path]]:
    """Folders per site of so many nights, the newest last; a site with fewer versions keeps one for several nights."""
    found: dict[str, dict[str, Path]] = {}
    for site, (pattern, names) in _SITES.items():
        archive = RAW_DOCUMENTS / f"{site}.tar.xz"
        if not archive.is_file():
            pytest.skip(f"needs {archive.name} of the shared data (../shared/data/raw_documents), which is not here")
        with tarfile.open(archive) as members:
            for member in members:
                told = pattern.fullmatch(member.name)
                if not member.isfile() or told is None or told[1] not in names:
                    continue
                path = folder / site / told[1] / told[2]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(members.extractfile(member).read())  # type: ignore[union-attr]
        found[site] = {name: folder / site / name for name in names}
    nights = []
    for night in range(num):
        chosen = {}
        for site, (_, names) in _SITES.items():
            newest = names[-num:]
            chosen[site] = found[site][newest[night * len(newest) // num]]
        nights.append(chosen)
    return nights


def curate_night(store: Store, home: Path, sites: dict[str, Path], place: Path) -> Night:
    """Put a night's pages where the last night's were, as a publisher does, and curate."""
    for site, folder in sites.items():
        shutil.rmtree(place / site, ignore_errors=True)
        shutil.copytree(folder, place / site)
    recipe = parse_recipe(
        {
            "corpus": "manuals",
            "sources": [{"source": "folder", "name": site, "uri": str(place / site)} for site in sorted(sites)],
            "heldout": {"share": 0.0},
        }
    )
    store_identity.initialise(store, salt=_SALT)
    settings = Settings.from_environment({"INGOT_HOME": str(home)})
    ref = curate(store, recipe, settings, InProcessPool(), actor=Actor("person", "a tester", "declared"))
    published = manifest.read(store, ref.corpus, ref.version)
    pages = {}
    for part in published.identity.decisions:
        for row in read_table(store, f"decisions/{part.sha256}.parquet").to_pylist():
            if row["final"]:
                pages[f"{row['source']}:{row['uri']}"] = row
    return Night(published, pages)


def feed(nights: Sequence[dict[str, Path]], folder: Path) -> tuple[Night, Night]:
    """The last of all nights in one store, and that night alone in a new one."""
    fed, alone = (Store(str(folder / name), scratch_root=folder / "scratch") for name in ("fed", "alone"))
    for sites in nights:
        last = curate_night(fed, folder / "home", sites, folder / "place")
    return last, curate_night(alone, folder / "home", nights[-1], folder / "place")


def texts(store: Store, night: Night) -> set[bytes]:
    """Ids of the documents in a version's shards."""
    return {
        row["doc_id"]
        for shard in night.published.identity.shards
        for row in read_table(store, f"shards/{shard.sha256}.parquet", columns=["doc_id"]).to_pylist()
    }


def test_of_every_page_the_newest_text_is_kept(tmp_path: Path) -> None:
    nights = versions(5, tmp_path / "versions")
    last, alone = feed(nights, tmp_path)
    assert last.published.identity_digest == alone.published.identity_digest  # five nights = one
    newest = {row["doc_id"] for row in alone.pages.values()}
    kept = texts(Store(str(tmp_path / "fed")), last)
    assert kept <= newest and len(kept) > 60
    # What is not kept gave way to another page of tonight, never to an earlier text of its own.
    dropped = [row for row in last.pages.values() if row["outcome"] == "dropped"]
    assert all(row["rule"] == "dedup.near" and row["other_doc_id"] in newest for row in dropped)
