"""Limits of a jailed process, set by itself before it reads a byte of a document."""

import ctypes
import resource
import signal
from dataclasses import dataclass

MEBIBYTE = 1 << 20

MEMORY_REMEDY = (
    "its parser needs more memory than max_memory_bytes allows; raise it in the source, or split or exclude the file"
)

_PR_SET_PDEATHSIG = 1
_OPEN_FILES = 256
_PROCESSES = 128
_FILE_BYTES = 256 * MEBIBYTE


@dataclass(frozen=True)
class Limits:
    """What one file may cost. Part of an extraction's identity: they decide which files can be read."""

    memory_bytes: int = 2048 * MEBIBYTE
    """Address space of the child; a parser that needs more gets MemoryError or dies."""
    cpu_seconds: int = 60
    """Processor time for one file."""
    output_bytes: int = 1024 * MEBIBYTE
    """Of what the child may answer with for one file."""
    output_ratio: int = 200
    """Answer bytes per byte of the file, counted beyond 16 MiB: text does not grow so much, bombs do."""

    def max_answer_bytes(self, num_bytes: int) -> int:
        """How long the answer for a file of so many bytes may be."""
        return min(self.output_bytes, max(16 * MEBIBYTE, self.output_ratio * num_bytes))

    @property
    def deadline_seconds(self) -> float:
        """Wall time after which a child is ended; only a backstop, as waiting costs no processor time.

        Long enough for a hundred scanned pages: the program that recognizes them has limits of its own.
        """
        return 15.0 * self.cpu_seconds + 60.0


def limit_this_process(limits: Limits, *, count_processes: bool) -> None:
    """Set every limit but the one on processor time, which is set anew for each file.

    count_processes: limit them as well, where the count is this jail's own and not the whole user's.
    """
    _lower(resource.RLIMIT_AS, limits.memory_bytes)
    _lower(resource.RLIMIT_FSIZE, _FILE_BYTES)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _lower(resource.RLIMIT_CORE, 0)  # a core would hold the document
    if count_processes:
        _lower(resource.RLIMIT_NPROC, _PROCESSES)


def end_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def allow_cpu_seconds(seconds: int) -> None:
    """Let this process run so many more seconds of processor time; then the kernel ends it with SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _lower(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))
