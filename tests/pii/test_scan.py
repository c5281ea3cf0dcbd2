"""The pass over the bytes: what it notes, against a plain implementation, wherever texts begin and end."""

import random
import re

import pyarrow as pa
import pytest

from datasets_pipeline.pii import scan

ALPHABET = [
    "a",
    "B",
    "F",
    "N",
    "1",
    "2",
    "90",
    "-",
    "_",
    " ",
    ".",
    "/",
    "(",
    ")",
    "@",
    ":",
    "\n",
    "é",
    "東",
    "\u00a0",
    "-----BEGIN",
]
RUN = re.compile(rb"[A-Za-z0-9_-]+")


def noted(texts: list[str], what: int) -> list[list[tuple[int, int]]]:
    rows: list[list[tuple[int, int]]] = [[] for _ in texts]
    for row, places in scan.scan(pa.array(texts, pa.large_string()), [what]):
        rows[row] = places[what]
    return rows


def numbers(data: bytes) -> list[tuple[int, int]]:
    """Digits with at most three separators between two of them, not behind a letter; seven digits or more."""
    pattern = rb"(?<![A-Za-z0-9_])[0-9](?:[ .\-/()\xc2\xa0\xe2\x80\xaf\x91]{0,3}[0-9])*"
    found = [match.span() for match in re.finditer(pattern, data)]
    return [(a, b) for a, b in found if len(re.findall(rb"[0-9]", data[a:b])) >= 7]


def accounts(data: bytes) -> list[tuple[int, int]]:
    return [m.span() for m in RUN.finditer(data) if re.match(rb"[A-Za-z]{2}[0-9]{2}", m.group())]


def at_signs(data: bytes) -> list[tuple[int, int]]:
    return [(m.start(), m.end()) for m in re.finditer(rb"(?<=[^\x00- ])@(?=[^\x00- ])", data)]


def pem(data: bytes) -> list[tuple[int, int]]:
    return [(m.end() - 10, m.end()) for m in RUN.finditer(data) if re.search(rb"-[^\n]{3}-BEGIN\Z", m.group())]


@pytest.mark.parametrize(
    ("what", "plain"),
    [(scan.NUMBER, numbers), (scan.ACCOUNT, accounts), (scan.AT, at_signs), (scan.PEM, pem)],
)
def test_the_pass_notes_what_a_plain_reading_does(what: int, plain: object) -> None:
    chosen = random.Random(7)
    texts = ["".join(chosen.choices(ALPHABET, k=chosen.randint(0, 60))) for _ in range(3000)]
    expected = [plain(text.encode()) for text in texts]  # type: ignore[operator]
    assert noted(texts, what) == expected
    assert sum(map(len, expected)) > 10


def test_places_do_not_run_over_the_end_of_a_text() -> None:
    assert noted(["123456", "7", "12345678"], scan.NUMBER) == [[], [], [(0, 8)]]
    assert noted(["a@", "b", "@c"], scan.AT) == [[], [], []]
    assert noted(["1.2.3", ".4", "1.2.3.4"], scan.DOTTED) == [[], [], [(0, 7)]]


def test_more_places_than_there_was_room_for_are_all_noted() -> None:
    text = "a@b " * 50_000
    (places,) = noted([text], scan.AT)
    assert places == [(4 * n + 1, 4 * n + 2) for n in range(50_000)]


def test_a_slice_and_an_empty_batch_are_read_as_they_are() -> None:
    batch = pa.array(["12345678", "x 87654321", ""], pa.large_string())
    assert list(scan.scan(batch.slice(1), [scan.NUMBER])) == [(0, {scan.NUMBER: [(2, 10)]})]
    assert list(scan.scan(batch.slice(3), [scan.NUMBER])) == []
    assert list(scan.scan(pa.array([], pa.large_string()), [scan.NUMBER])) == []
