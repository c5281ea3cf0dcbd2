"""`ingot`: the command line. Parses, calls the layer below, prints; every error has a code and a remedy.

Exit codes: 0 ok, 1 failed, 2 usage, 3 gate, 4 not found, 5 integrity, 75 try again.
Heavy libraries are imported by the command that needs them, so that `ingot --help` is instant.
"""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from ingot.errors import IngotError, RecipeError
from interface.output import Printer

# command -> (module, function); looked up when the command runs.
COMMANDS = {
    "demo": ("interface.demo", "demo"),
    "init": ("interface.init_workspace", "init"),
    "curate": ("interface.runs", "curate"),
    "train": ("interface.runs", "train"),
    "evaluate": ("interface.runs", "evaluate"),
    "build": ("interface.runs", "build"),
    "promote": ("interface.models", "promote"),
    "trace": ("interface.answers", "trace"),
    "why": ("interface.answers", "why"),
    "verify": ("interface.answers", "verify"),
    "ledger": ("interface.answers", "ledger"),
    "report": ("interface.answers", "report"),
    "schema": ("interface.answers", "schema"),
    "up": ("interface.stack", "up"),
    "down": ("interface.stack", "down"),
    "status": ("interface.stack", "status"),
    "rebuild": ("interface.stack", "rebuild"),
    "doctor": ("interface.stack", "doctor"),
}


FAULT_CODE = "INGOT-FAULT"
"""Of an error that nobody foresaw: a fault of ours, with exit code 1."""


class _Parser(argparse.ArgumentParser):
    """argparse whose refusals are errors of ours: a stable code, exit code 2, JSON when asked for."""

    def error(self, message: str) -> NoReturn:
        raise RecipeError(f"{message}; see `{self.prog} --help`")


def parser() -> _Parser:
    """The whole grammar of the command line."""
    root = _Parser(
        prog="ingot", description="Raw documents in, a model you own out, and an answer to every question in between."
    )
    common = _Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON object for machines")
    recipe = _Parser(add_help=False)
    recipe.add_argument("recipe", help="recipe file, folder with a recipe.yaml, or name of a shipped recipe")
    recipe.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE", help="change a value, e.g. train.0.tokens=200_000"
    )
    verbs = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, *parents: _Parser) -> _Parser:
        return verbs.add_parser(name, help=text, description=text, parents=[common, *parents])

    add("demo", "the whole road on documents this machine has")
    init = add("init", "make a workspace with a recipe for a folder of documents")
    init.add_argument("folder", help="folder to make")
    init.add_argument("--source", required=True, help="folder with your documents")
    init.add_argument("--name", help="name of the corpus (default: the folder's)")
    add("curate", "turn a recipe's sources into a corpus version", recipe)
    train = add("train", "train a recipe's stages and register the candidate", recipe)
    train.add_argument("--corpus", help="corpus version, e.g. handbook@12 (default: the newest)")
    evaluate = add("evaluate", "measure a model version and ask the gate", recipe)
    evaluate.add_argument("--model", help="model version, e.g. mini/3 or mini@candidate (default: the newest)")
    add("build", "curate, train and evaluate", recipe)
    promote = add("promote", "make a model version the champion")
    promote.add_argument("model", help="model version, e.g. mini/3 or mini@candidate")
    promote.add_argument("--reason", default="", help="why, for the ledger")
    promote.add_argument("--override", action="store_true", help="promote against the gate's verdict (needs --reason)")
    trace = add("trace", "where a document or a model comes from and went to")
    trace.add_argument("kind", choices=("model", "document"))
    trace.add_argument("query", help="NAME[@alias|/version] of a model; id, uri or file of a document")
    why = add("why", "why a document was kept, held out or dropped")
    why.add_argument("query", help="document id, uri or file")
    why.add_argument("--corpus", help="corpus version (default: the newest of every corpus)")
    verify = add("verify", "check ledger, manifests and every byte they name")
    verify.add_argument("--head", help="a ledger head kept elsewhere (see `ingot ledger head`)")
    ledger = add("ledger", "print the ledger, or its head to keep elsewhere")
    ledger.add_argument("what", nargs="?", choices=("head", "list"), default="list")
    report = add("report", "path of an evaluation's report with generated text; reading it is recorded")
    report.add_argument("model", help="model version")
    report.add_argument("--with-text", action="store_true", required=True, help="say that you mean to read text")
    schema = add("schema", "JSON Schema of a recipe")
    schema.add_argument("what", choices=("recipe",))
    up = add("up", "start the local stack: Prefect, MLflow, a worker")
    up.add_argument("--recipe", help="recipe of the nightly schedule (default: demo)")
    add("down", "stop the local stack")
    add("status", "what runs, where, and the age of the newest version")
    add("rebuild", "fill MLflow again from manifests, records and ledger")
    add("doctor", "check Python, disk, memory, ports, store and the switches against calling home")
    return root


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
