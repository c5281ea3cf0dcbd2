"""How much one file may unpack to, archives inside archives included: one budget for the whole of it.

Without it every level of nesting would multiply what the level above may cost.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from datasets_pipeline.extract.packed import check_growth
from datasets_pipeline.sources.base import ExtractionError

VERSION = "1"

OPTION = "max_archive_bytes"


class Budget:
    """Bytes that may still come out of one outermost file."""

    def __init__(self, num_packed_bytes: int, max_bytes: int) -> None:
        self._num_packed, self._max_bytes = num_packed_bytes, max_bytes
        self._spent = 0

    @property
    def left(self) -> int:
        """Bytes until the cap; the ratio may stop it before."""
        return max(self._max_bytes - self._spent, 0)

    def spend(self, num_bytes: int, uri: str) -> None:
        """Count unpacked bytes. Raises ExtractionError too_large when they are more than the file may give."""
        self._spent += num_bytes
        try:
            check_growth(self._spent, self._num_packed, self._max_bytes, uri, OPTION)
        except ExtractionError:
            self._spent = max(self._spent, self._max_bytes)  # nothing more is unpacked
            raise


_CURRENT: ContextVar[Budget | None] = ContextVar("_CURRENT", default=None)


@contextmanager
def budget_of(num_packed_bytes: int, max_bytes: int) -> Iterator[Budget]:
    """The budget of the outermost file that is being read; a new one where none is."""
    current = _CURRENT.get()
    if current is not None:
        yield current
        return
    budget = Budget(num_packed_bytes, max_bytes)
    token = _CURRENT.set(budget)
    try:
        yield budget
    finally:
        _CURRENT.reset(token)
