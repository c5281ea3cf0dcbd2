"""Text of a picture by the tesseract program, when it is installed, with how sure it is of its words.

One process a picture, one thread each, the picture on its standard input, no file in between. A page of A4 at 300 dpi
takes one to five seconds. The program and its language data shape the text, so both are in `programs` and `models`;
where either is absent, that is said there too, and pictures are rejects `no_text_layer`.
"""

import hashlib
import os
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.extract.page_lines import Page, Segment
from datasets_pipeline.sources.base import ExtractionError

VERSION = "1"

ABSENT = "absent"
MAX_PIXELS = 40_000_000
"""Of a picture that is recognized; A4 at 600 dpi has 35 million. Larger ones are made smaller."""
_CPU_SECONDS = 120  # for one picture; a clean page takes 1 to 5, one of grey noise more than 100
_WALL_SECONDS = 900  # a backstop
_SURE = 0.6
_MIN_SURE_WORDS = 3
_CELL_GAP = 2.5  # line heights of white space between words of one line that are two cells


@dataclass(frozen=True)
class Recognized:
    """The text of one picture. confidences: of each word, 0 to 1."""

    page: Page
    confidences: tuple[float, ...]


def programs() -> dict[str, str]:
    """The version of tesseract, or `absent`."""
    program = shutil.which("tesseract")
    return {"tesseract": _version(program) if program else ABSENT}


def models(options: ExtractOptions) -> dict[str, str]:
    """SHA-256 (its first 16 digits) of the data of every language the options name, or `absent`."""
    program = shutil.which("tesseract")
    return {
        f"tesseract.{language}": _language_digest(program, language) if program else ABSENT
        for language in options.ocr_languages or ()
    }


def is_available(options: ExtractOptions) -> bool:
    """Whether tesseract and all the languages of the options are here."""
    return bool(options.ocr_languages) and ABSENT not in {*programs().values(), *models(options).values()}


def remedy(options: ExtractOptions) -> str:
    """What to do where `is_available` is false."""
    if not options.ocr_languages:
        return "text recognition is switched off (ocr_languages: null); name its languages, or exclude such files"
    if ABSENT in programs().values():
        return "text recognition needs the program tesseract; install it, or exclude such files"
    missing = [name.rpartition(".")[2] for name, digest in models(options).items() if digest == ABSENT]
    return f"tesseract has no data for {', '.join(missing)}; install it, or change ocr_languages"


def recognize(image: Any, uri: str, options: ExtractOptions, *, dpi: int) -> Recognized:
    """The words of a greyscale pillow image with their places. dpi: pixels an inch, which tell how large letters are.

    Raises ExtractionError when tesseract fails. A picture without a word gives a page without segments.
    """
    points = 72 / dpi
    # Portable graymap: nothing to compress on this side, nothing to unpack on the other.
    picture = b"P5 %d %d 255\n" % image.size + image.tobytes()
    page, confidences = _read_table(_run(picture, uri, options, dpi), points)
    page.width, page.height = image.width * points, image.height * points
    return Recognized(page, confidences)


def summary(confidences: Iterable[float]) -> dict[str, str | int | float]:
    """Metadata of a document: number of words, and the mean of their confidence."""
    known = list(confidences)
    return {"ocr_words": len(known), "ocr_confidence": round(sum(known) / len(known), 4)} if known else {"ocr_words": 0}


def are_words(confidences: Iterable[float]) -> bool:
    """Whether it is text at all; in photographs tesseract finds a few words it is not sure of."""
    return sum(confidence >= _SURE for confidence in confidences) >= _MIN_SURE_WORDS


def _run(picture: bytes, uri: str, options: ExtractOptions, dpi: int) -> str:
    program = shutil.which("tesseract")
    if program is None or not options.ocr_languages:
        raise ExtractionError("no_text_layer", f"{uri}: {remedy(options)}")
    command = [
        program,
        "stdin",
        "stdout",
        "-l",
        "+".join(options.ocr_languages),
        "--dpi",
        str(dpi),
        "--psm",
        "3",
        "tsv",
    ]
    environment = {"OMP_THREAD_LIMIT": "1", "LC_ALL": "C", "PATH": os.defpath}
    if "TESSDATA_PREFIX" in os.environ:
        environment["TESSDATA_PREFIX"] = os.environ["TESSDATA_PREFIX"]
    try:
        code, table = _call(command, picture, environment)
    except subprocess.TimeoutExpired:
        reason, what = "timeout", f"took more than {_WALL_SECONDS} seconds; it is tried again in the next run"
    except OSError as error:
        reason, what = "parser_error", f"could not be started ({type(error).__name__}); check its installation"
    else:
        if code == 0:
            return table.decode("utf-8", "replace")
        reason = "cpu_limit" if code == -signal.SIGXCPU else "parser_crashed" if code < 0 else "parser_error"
        what = f"ended with code {code}; look at the picture, and exclude the file if it holds no text"
    raise ExtractionError(reason, f"{uri}: tesseract {what}")


def _call(command: list[str], picture: bytes, environment: dict[str, str]) -> tuple[int, bytes]:
    """(exit code, standard output) of tesseract on a picture. Its processor time is limited: noise takes for ever."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment) as process:
        if hasattr(resource, "prlimit"):  # of Linux; set from outside, as nothing may run between fork and exec
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS + 5))
        try:
            output, _ = process.communicate(picture, timeout=_WALL_SECONDS)
        except BaseException:
            process.kill()
            raise
    return process.returncode, output


def _read_table(table: str, points: float) -> tuple[Page, tuple[float, ...]]:
    """Rows of words (level 5) into lines; block and paragraph of tesseract are the regions."""
    lines: dict[tuple[int, int, int], list[tuple[Segment, float]]] = {}
    for row in table.split("\n")[1:]:
        cells = row.split("\t")
        if len(cells) != 12 or cells[0] != "5" or not cells[11].strip():
            continue
        block, paragraph, line, left, top, width, height = (int(cells[n]) for n in (2, 3, 4, 6, 7, 8, 9))
        word = Segment(
            cells[11].strip(),
            left * points, top * points, (left + width) * points, (top + height) * points, height * points,
        )  # fmt: skip
        lines.setdefault((block, paragraph, line), []).append((word, min(max(float(cells[10]) / 100, 0.0), 1.0)))
    page = Page(0.0, 0.0)
    heights = sorted(word.size for words in lines.values() for word, _ in words)
    usual = heights[len(heights) // 2] if heights else 10.0
    regions: dict[tuple[int, int], int] = {}
    for (block, paragraph, _), words in lines.items():
        region = regions.setdefault((block, paragraph), len(regions))
        page.segments += _segments([word for word, _ in words], usual, region)
    return page, tuple(confidence for words in lines.values() for _, confidence in words)


def _segments(words: list[Segment], usual: float, region: int) -> list[Segment]:
    """The words of a line as one segment, or as cells. Heights vary with the letters, so only large ones count."""
    height = max(word.bottom for word in words) - min(word.top for word in words)
    size = round(height, 1) if height > 1.8 * usual else round(usual, 1)
    cells: list[Segment] = []
    for word in words:
        last = cells[-1] if cells else None
        if last is None or word.left - last.right > _CELL_GAP * size:
            cells.append(Segment(word.text, word.left, word.top, word.right, word.bottom, size, block=region))
        else:
            last.text += " " + word.text
            last.left, last.right = min(last.left, word.left), max(last.right, word.right)
            last.top, last.bottom = min(last.top, word.top), max(last.bottom, word.bottom)
    return cells


@lru_cache(maxsize=4)
def _version(program: str) -> str:
    found = re.match(r"tesseract (\S+)", _output(program, "--version"))
    return found.group(1) if found else ABSENT


@lru_cache(maxsize=64)
def _language_digest(program: str, language: str) -> str:
    folder = re.search(r'"([^"]+)"', _output(program, "--list-langs"))
    file = Path(folder.group(1)) / f"{language}.traineddata" if folder else None
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file else ABSENT
    except OSError:
        return ABSENT


def _output(program: str, option: str) -> str:
    try:
        done = subprocess.run([program, option], capture_output=True, timeout=30, text=True, errors="replace")
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout + done.stderr
