"""Two hundred planted secrets and names, and a credential: they may be where text may be, only.

A `test_*_leaks.py` runs last in its folder: what it searches is everything the tests before it made a site write,
crashes, refusals and the deleted databases' successors included. Databases are read cell by cell and Parquet column
by column, because a value may be cut by a page border or compressed.
"""

import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from deployments import credentials
from tests import door
from tests.e2e.documents import planted
from tests.e2e.site import SECRET, Done, Site

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


def refuse_a_recipe(site: Site, folder: Path) -> Done:
    """A recipe with a credential where none may be, beside an unknown key."""
    secret, *_ = planted()
    recipe = folder / "recipe.yaml"
    text = site.recipe.read_text().replace("    name: pages", f"    name: pages\n    password: {secret}")
    recipe.write_text(text.replace("    licence: internal", "    licence: internal\n    includes: []"))
    url = site.ingot("build", str(recipe), "--set", f"sources.0.uri=https://ada:{secret}@example.org/pages")
    assert url.exit_code == 2, url.stderr
    return site.ingot("build", str(recipe), "--json")


def check_text_is_where_it_may_be(stopped: Site, num_planted: int) -> None:
    """The positive control: the same search finds the plants so far in the documents, and most in the shards."""
    store = stopped.home / "store"
    documents = find_leaks(sorted((store / "documents").iterdir()), planted())
    shards = find_leaks(sorted((store / "shards").iterdir()), planted())
    in_documents, in_shards = set().union(*documents.values()), set().union(*shards.values())
    # Not read at all: the broken rows, the page without text and the binary file hold eight of them.
    assert len(set(planted())) == 200 and len(in_documents) == num_planted - 8
    assert len(in_shards) > 0.75 * num_planted


def check_nothing_leaked(*sites: Site) -> None:
    """Neither a planted string nor the pages' password is in what stopped sites wrote or printed elsewhere."""
    searched = [path for site in sites for path in written_outside(site)]
    assert {".db", ".log", ".json", ".parquet", ".html", ".jsonl"} <= {path.suffix for path in searched}
    print(f"\nsearched {len(searched)} files, {sum(p.stat().st_size for p in searched) >> 20} MiB, for 202 strings")
    found = find_leaks(searched, [*planted(), SECRET, door.PASSWORD])
    assert found == {str(credentials.path_of(site.home)): {door.PASSWORD} for site in sites}
    outputs = [done for site in sites for done in site.outputs]
    assert len(outputs) > 10 and any(done.exit_code for done in outputs)
    printed = "\n".join(done.stdout + done.stderr for done in outputs)
    assert [text for text in (*planted(), SECRET, door.PASSWORD) if text in printed] == []
