"""`ingot`: the command line. Parses, calls the layer below, prints; every error has a code and a remedy.

Exit codes: 0 ok, 1 failed, 2 usage, 3 gate, 4 not found, 5 integrity, 75 try again,
130 cancelled.
Heavy libraries are imported by the command that needs them, so that `ingot --help` is instant.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from ingot.errors import IngotError, RecipeError
from interface.grammar import COMMANDS, parser
from interface.output import Printer

FAULT_CODE = "INGOT-FAULT"
"""Of an error that nobody foresaw: a fault of ours, with exit code 1."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    printer = Printer(as_json="--json" in words)
    try:
        _refuse_unknown_command(words)
        options = parser().parse_args(words)
        module, function = COMMANDS[options.command]
        return int(getattr(importlib.import_module(module), function)(options, printer) or 0)
    except IngotError as error:
        return _report(printer, error.code, str(error), error.exit_code)
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        _print_our_frames(error)
        return _report(printer, FAULT_CODE, f"{type(error).__name__}: {error}; a fault of Ingot, please report it", 1)


def _refuse_unknown_command(words: Sequence[str]) -> None:
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        near = get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise RecipeError(f"command {command!r} is unknown; {hint}known: {', '.join(COMMANDS)}")


def _report(printer: Printer, code: str, message: str, exit_code: int) -> int:
    printer.result({"error": {"code": code, "message": message}})
    print(f"{code}: {message}", file=sys.stderr)
    return exit_code


def _print_our_frames(error: Exception) -> None:
    """Where it happened, without the hundred lines of the orchestrator between our own."""
    root = str(Path(__file__).resolve().parents[1])
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(root)]
    sys.stderr.write("".join(traceback.format_list(ours)))


if __name__ == "__main__":
    raise SystemExit(main())
