"""Single rows of large objects: the same as reading all of it, and little of it read."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ingot import lookup
from ingot.errors import IntegrityError, NotFoundError
from ingot.parquet import ROW_GROUP_ROWS, write_table
from ingot.storage import Store

NUM = 3 * ROW_GROUP_ROWS + 17


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str, list[dict[str, Any]]]:
    draw = random.Random(1)
    rows = [
        {
            "id": draw.randbytes(16), "uri": f"pages/{number:06}.md",
            "unit": f"u{number // 5000}" if number % 7 else None, "few": draw.randrange(40), "none": None,
        }
        for number in range(NUM)
    ]  # fmt: skip
    schema = pa.schema([("id", pa.binary(16)), ("uri", pa.string()), ("unit", pa.string()), ("few", pa.int64()),
                        ("none", pa.string())])  # fmt: skip
    store = Store(str(tmp_path_factory.mktemp("lookup")))
    return store, write_table(store, pa.Table.from_pylist(rows, schema=schema), "things").key, rows


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The row groups that were read."""
    read: list[int] = []
    own = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, group: int, *args: Any, **options: Any) -> pa.Table:
        read.append(group)
        return own(self, group, *args, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    return read


def test_a_lookup_does_not_wait_for_pandas(written: tuple[Store, str, list[dict[str, Any]]]) -> None:
    store, key, rows = written
    code = (
        "import sys; from ingot import lookup; from ingot.storage import Store; "
        f"store, key = Store({str(store.root)!r}), {key!r}; "
        f"within = {{'few': {rows[5000]['few']}}}; "
        "assert lookup.rows_with(store, key, 'uri', ['pages/005000.md', 'x'], within=within) == [5000]; "
        "assert len(lookup.rows_at(store, key, [1, 2, 9000])) == 3 and lookup.distinct(store, key, 'unit'); "
        "assert 'pandas' not in sys.modules and 'pyarrow.dataset' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("column", ["id", "uri", "unit", "few"])
def test_rows_with_values_are_those_of_the_whole_table(
    written: tuple[Store, str, list[dict[str, Any]]], column: str
) -> None:
    store, key, rows = written
    draw = random.Random(2)
    for _ in range(5):
        values = [rows[draw.randrange(NUM)][column] for _ in range(3)]
        values = [value for value in values if value is not None] + [{"id": b"\0" * 16, "few": -1}.get(column, "no")]
        expected = [number for number, row in enumerate(rows) if row[column] in values]
        assert lookup.rows_with(store, key, column, values) == expected
        assert lookup.rows_at(store, key, expected[::-1]) == [rows[number] for number in expected[::-1]]
    assert lookup.rows_with(store, key, "none", ["x"]) == []


def test_a_sorted_column_is_read_in_one_place_only(
    written: tuple[Store, str, list[dict[str, Any]]], groups: list[int]
) -> None:
    store, key, rows = written
    assert lookup.rows_with(store, key, "uri", ["pages/005000.md"]) == [5000] and groups == [1]
    groups.clear()
    wanted = rows[9000]
    assert lookup.rows_with(store, key, "id", [wanted["id"]], within={"uri": wanted["uri"]}) == [9000]
    assert lookup.rows_at(store, key, [9000, 1, 9000], ["few"]) == [{"few": rows[n]["few"]} for n in (9000, 1, 9000)]
    assert groups == [2, 0, 2]
    groups.clear()
    assert lookup.rows_with(store, key, "uri", ["another"]) == [] and groups == []


def test_rows_that_match_and_distinct_values(written: tuple[Store, str, list[dict[str, Any]]]) -> None:
    store, key, rows = written
    expected = [number for number, row in enumerate(rows) if row["uri"].endswith("77.md")]
    assert lookup.rows_that(store, key, ["uri"], lambda table: pc.ends_with(table["uri"], "77.md")) == expected
    assert lookup.distinct(store, key, "unit") == sorted({row["unit"] for row in rows} - {None})
    assert lookup.rows_at(store, key, []) == lookup.rows_with(store, key, "uri", []) == []


def test_what_is_absent_or_damaged_is_named(written: tuple[Store, str, list[dict[str, Any]]], tmp_path: Path) -> None:
    store, key, rows = written
    with pytest.raises(NotFoundError, match="things/x.parquet"):
        lookup.rows_with(store, "things/x.parquet", "uri", ["a"])
    with pytest.raises(IntegrityError, match=key):
        lookup.rows_with(store, key, "colour", ["a"])
    data = bytearray(store.read_bytes(key))
    other = Store(str(tmp_path))
    path = tmp_path / key
    path.parent.mkdir()
    for place in (100, len(data) // 2, len(data) - 60):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(IntegrityError, match=key):
            lookup.rows_with(other, key, "id", [rows[0]["id"]])
