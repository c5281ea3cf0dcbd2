"""What workers say is in the caller's log, under their name, and holds no document's text."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datasets_pipeline.parallel import DaskPool, InProcessPool, Pool, open_pool
from ingot.errors import DataError, IngotError

CANARY = "Ottoline Featherwick earns 51,204 a year"
# A function that workers import lies in the tests; it speaks under one of our packages' names, as ours do.
logger = logging.getLogger("datasets_pipeline.tests")


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskPool]:
    with open_pool(2, scratch=tmp_path_factory.mktemp("pool")) as pool:
        assert isinstance(pool, DaskPool)
        yield pool


def speak(unit: int) -> int:
    logger.info("unit %d is here", unit)
    return unit


def quote_a_document(unit: int) -> int:
    raise ValueError(f"cannot parse {CANARY!r}")


def refuse(unit: int) -> int:
    raise DataError("unit 7 holds no table")


def warn_and_die(unit: int) -> int:
    logger.warning("memory is short")
    os.kill(os.getpid(), signal.SIGKILL)
    return unit


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def run(pool: Pool, function: Callable[[int], int], units: list[int]) -> list[Any]:
    return list(pool.map(function, units))


def test_lines_of_workers_arrive_with_their_name_when_the_map_ends(
    two_workers: DaskPool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run(two_workers, speak, list(range(6)))
    lines = said(caplog)
    assert {text.split("] ")[1] for _, text in lines if "is here" in text} == {f"unit {n} is here" for n in range(6)}
    assert all(text.startswith("[worker ") for _, text in lines)
    assert any("speak: 1 unit in" in text for _, text in lines)


def test_what_anothers_exception_quotes_gets_nowhere(two_workers: DaskPool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    pools: tuple[Pool, ...] = (InProcessPool(), two_workers)
    for pool in pools:
        with pytest.raises(IngotError, match="quote_a_document failed: ValueError at datasets_pipeline/") as raised:
            run(pool, quote_a_document, [1])
        assert CANARY not in str(raised.value) and raised.value.__cause__ is None
    assert any(level == "ERROR" and "ValueError" in text for level, text in said(caplog)), "the worker told of it"
    written = [path.read_text(errors="replace") for path in Path(two_workers._folder).glob("*.*l*")]
    assert len(written) >= 4 and CANARY not in "\n".join([*written, caplog.text])


def test_an_error_of_ours_is_told_as_it_is(two_workers: DaskPool, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match="unit 7 holds no table"):
        run(two_workers, refuse, [7])
    assert any(level == "ERROR" and "unit 7 holds no table" in text for level, text in said(caplog))


def test_the_last_words_of_a_worker_that_dies_are_kept(two_workers: DaskPool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run(two_workers, warn_and_die, [1])
    lines = said(caplog)
    assert any(level == "WARNING" and text.endswith("] memory is short") for level, text in lines)
    assert any("died (signal 9)" in text for _, text in lines)
