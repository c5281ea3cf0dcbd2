"""One unit of work inside a process: run, timed, and told about in a worker's own lines.

An exception that is not ours leaves here without its message, which may quote a document.
"""

import ctypes
import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ingot.errors import IngotError
from ingot.line_logs import describe_error, write_lines_to

logger = logging.getLogger(__name__)

LINES_VARIABLE = "PIPELINE_WORKER_LINES"
"""Names the file of a worker's lines; how our code knows that it runs in a worker."""
# A worker says what it has done after its first unit of a kind, and then so often.
_SUMMARY_SECONDS = 30.0


@dataclass(frozen=True)
class Done:
    """A finished unit: its result, and the worker process that did it."""

    unit: Any
    result: Any
    worker: str
    seconds: float


def run_unit(function: Callable[[Any], Any], unit: Any) -> Done:
    """Apply the function to a unit; raises IngotError alone."""
    start = time.perf_counter()
    try:
        result = function(unit)
    except IngotError:
        raise
    except Exception as error:
        raise IngotError(
            f"{function.__name__} failed: {describe_error(error)}; its message is left out because it may quote a "
            "document. Please report it"
        ) from None
    return Done(unit, result, str(os.getpid()), time.perf_counter() - start)


class _Summary:
    """What this worker has done of one function since it last said so."""

    def __init__(self) -> None:
        self.num_units, self.seconds, self.told_at = 0, 0.0, float("-inf")


_summaries: dict[str, _Summary] = {}


def run_in_worker(function: Callable[[Any], Any], unit: Any) -> Done:
    """`run_unit` in a Dask worker, which says what it does and where it failed."""
    path = os.environ.pop(LINES_VARIABLE, None)
    if path is not None:
        write_lines_to(Path(path))
    try:
        done = run_unit(function, unit)
    except IngotError as error:
        logger.error("%s", error)
        raise
    finally:
        give_back_memory()
    summary = _summaries.setdefault(function.__name__, _Summary())
    summary.num_units += 1
    summary.seconds += done.seconds
    if time.monotonic() - summary.told_at >= _SUMMARY_SECONDS:
        units = "1 unit" if summary.num_units == 1 else f"{summary.num_units:,} units"
        logger.info("%s: %s in %.1f s", function.__name__, units, summary.seconds)
        summary.num_units, summary.seconds, summary.told_at = 0, 0.0, time.monotonic()
    return done


def give_back_memory() -> None:
    """Return what a unit freed to the system: a worker would else stay as large as its largest unit made it."""
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)


def module_names() -> list[str]:
    """Names of the modules this process has loaded."""
    return sorted(sys.modules)
