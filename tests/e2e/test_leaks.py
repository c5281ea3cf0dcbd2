"""Two hundred planted secrets and names, and a credential: after the whole road they are where text may be, only.

Runs last: what it searches is everything the tests before it made the site write, crashes, refusals and the
deleted databases' successors included. Databases are read cell by cell and Parquet column by column, because a
value may be cut by a page border or compressed.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deployments import credentials
from tests import door
from tests.e2e.conftest import CleanRoad, Edited
from tests.e2e.documents import planted
from tests.e2e.site import SECRET, Done, Site

pytestmark = pytest.mark.stack
# Where documents, and what is made of their words, may lie (CONTRACTS 8 and 13).
TEXT_MAY_BE_IN = ("documents", "spans", "shards", "tokens", "tokenizers", "checkpoints", "quarantine", "reports")


def contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and what they hold once unpacked."""
    raw = path.read_bytes()
    yield raw
    if raw[:4] == b"PAR1":
        for column in pq.read_table(path).columns:
            yield "\n".join(map(str, column.to_pylist())).encode()
    elif raw.startswith(b"SQLite format 3"):
        yield from cells(path)
    elif raw[:2] == b"\x1f\x8b":
        yield zlib.decompressobj(wbits=31).decompress(raw)


def cells(database: Path) -> Iterator[bytes]:
    """Every row of every table as text, as SQLite puts it together."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        connection.text_factory = bytes
        tables = [name.decode() for (name,) in connection.execute("select name from sqlite_master where type='table'")]
        for table in tables:
            for row in connection.execute(f'select * from "{table}"'):
                yield b"\n".join(cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)


def find_leaks(files: list[Path], wanted: list[str]) -> dict[str, set[str]]:
    """Which of the wanted strings are in which files."""
    needles = {text: text.encode() for text in wanted}
    found: dict[str, set[str]] = {}
    for path in files:
        for content in contents(path):
            hits = {text for text, needle in needles.items() if needle in content}
            if hits:
                found.setdefault(str(path), set()).update(hits)
    return found


def written_outside(site: Site) -> list[Path]:
    """Every file the site wrote, its home folder, scratch and temporary files included, but for the text itself."""
    base = site.home.parent
    store = site.home / "store"
    allowed = [store / name for name in TEXT_MAY_BE_IN]
    return [
        path
        for path in sorted(base.rglob("*"))
        if path.is_file() and not path.is_symlink() and not any(folder in path.parents for folder in allowed)
    ]


@pytest.fixture(scope="module")
def refused(site: Site, edited: Edited, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A recipe with a credential where none may be, beside an unknown key."""
    secret, *_ = planted()
    recipe = tmp_path_factory.mktemp("refused") / "recipe.yaml"
    text = site.recipe.read_text().replace("    name: pages", f"    name: pages\n    password: {secret}")
    recipe.write_text(text.replace("    licence: internal", "    licence: internal\n    includes: []"))
    url = site.ingot("build", str(recipe), "--set", f"sources.0.uri=https://ada:{secret}@example.org/pages")
    assert url.exit_code == 2, url.stderr
    return site.ingot("build", str(recipe), "--json")


@pytest.fixture(scope="module")
def stopped(site: Site, refused: Done) -> Site:
    """The site with its databases closed, so that all of them can be read whole."""
    site.ingot("down")
    return site


def test_everything_was_planted_where_text_may_be(stopped: Site) -> None:
    """The positive control: the same search finds the plants in the documents and shards."""
    store = stopped.home / "store"
    documents = find_leaks(sorted((store / "documents").iterdir()), planted())
    shards = find_leaks(sorted((store / "shards").iterdir()), planted())
    in_documents, in_shards = set().union(*documents.values()), set().union(*shards.values())
    # Not read at all: the broken rows, the page without text and the binary file hold eight of them.
    assert len(set(planted())) == 200 and len(in_documents) == 192
    assert len(in_shards) > 150


def test_no_planted_secret_or_name_is_anywhere_else(stopped: Site, clean_road: CleanRoad) -> None:
    searched = written_outside(stopped) + written_outside(clean_road.site)
    suffixes = {path.suffix for path in searched}
    assert {".db", ".log", ".json", ".parquet", ".html", ".jsonl"} <= suffixes
    print(f"\nsearched {len(searched)} files, {sum(p.stat().st_size for p in searched) >> 20} MiB, for 201 strings")
    assert find_leaks(searched, [*planted(), SECRET]) == {}


def test_the_password_of_the_pages_is_in_its_file_and_nowhere_else(stopped: Site, clean_road: CleanRoad) -> None:
    sites = (stopped, clean_road.site)
    searched = [path for site in sites for path in written_outside(site)]
    assert set(find_leaks(searched, [door.PASSWORD])) == {str(credentials.path_of(site.home)) for site in sites}
    printed = "\n".join(done.stdout + done.stderr for site in sites for done in site.outputs)
    assert door.PASSWORD not in printed


def test_no_planted_secret_or_name_was_printed(stopped: Site, clean_road: CleanRoad, refused: Done) -> None:
    outputs = [*stopped.outputs, *clean_road.site.outputs]
    assert len(outputs) > 30 and any(done.exit_code for done in outputs)
    printed = "\n".join(done.stdout + done.stderr for done in outputs)
    assert [text for text in (*planted(), SECRET) if text in printed] == []
    assert refused.exit_code == 2 and "not shown" in json.dumps(refused.answer)


def test_a_leak_into_a_log_or_a_database_would_be_found(stopped: Site, tmp_path: Path) -> None:
    secret, name = planted()[:2]
    (tmp_path / "worker.log").write_text(f"12:00:00 | INFO | read {name}\n")
    with sqlite3.connect(tmp_path / "view.db") as connection:
        connection.execute("create table log (message text)")
        # Longer than a page: in the file itself its parts lie apart.
        connection.execute("insert into log values (?)", ["x" * 5_000 + secret + "y" * 5_000])
    pq.write_table(pa.table({"score": pa.array([secret] * 50)}), tmp_path / "features.parquet", compression="zstd")
    found = find_leaks(sorted(tmp_path.iterdir()), planted())
    assert {Path(path).name: hits for path, hits in found.items()} == {
        "worker.log": {name},
        "view.db": {secret},
        "features.parquet": {secret},
    }
