"""What the command line understands: every command, its options, and the function that answers it."""

import argparse
import re
from typing import NoReturn

from ingot.errors import RecipeError

# command -> (module, function); looked up when the command runs.
COMMANDS = {
    "demo": ("interface.demo", "demo"),
    "init": ("interface.init_workspace", "init"),
    "curate": ("interface.runs", "curate"),
    "what-if": ("interface.what_if", "what_if"),
    "diff": ("interface.diff", "diff"),
    "clusters": ("interface.clusters", "clusters"),
    "plan": ("interface.plan", "plan"),
    "train": ("interface.runs", "train"),
    "evaluate": ("interface.runs", "evaluate"),
    "build": ("interface.runs", "build"),
    "retrain": ("interface.retrain", "retrain"),
    "adopt": ("interface.adopt", "adopt"),
    "promote": ("interface.models", "promote"),
    "approve": ("interface.models", "approve"),
    "rollback": ("interface.models", "rollback"),
    "schedule": ("interface.schedules", "schedule"),
    "runs": ("interface.following", "runs"),
    "run": ("interface.following", "run"),
    "cancel": ("interface.following", "cancel"),
    "compare": ("interface.following", "compare"),
    "trace": ("interface.answers", "trace"),
    "sources": ("interface.sources", "sources"),
    "quarantine": ("interface.sources", "quarantine"),
    "why": ("interface.answers", "why"),
    "verify": ("interface.answers", "verify"),
    "audit": ("interface.audit", "audit"),
    "ledger": ("interface.answers", "ledger"),
    "infill": ("interface.infill", "infill"),
    "fit-rules": ("interface.fit_rules", "fit_rules"),
    "report": ("interface.answers", "report"),
    "schema": ("interface.answers", "schema"),
    "up": ("interface.stack", "up"),
    "down": ("interface.stack", "down"),
    "status": ("interface.stack", "status"),
    "secret": ("interface.stack", "secret"),
    "backup": ("interface.backups", "backup"),
    "restore": ("interface.backups", "restore"),
    "gc": ("interface.housekeeping", "gc"),
    "scrub": ("interface.housekeeping", "scrub"),
    "rebuild": ("interface.stack", "rebuild"),
    "doctor": ("interface.doctor", "doctor"),
}


class _Parser(argparse.ArgumentParser):
    """argparse whose refusals are errors of ours: a stable code, exit code 2, JSON when asked for."""

    def error(self, message: str) -> NoReturn:
        raise RecipeError(f"{message}; see `{self.prog} --help`")


def _count(text: str, *, least: int = 0) -> int:
    """A whole number from `least` on; 2_000_000 as recipes write it, too."""
    if re.fullmatch("[0-9]+(_[0-9]+)*", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on; write digits, e.g. 2_000")
    return int(text)


def _number(text: str) -> int:
    """A whole number from 1 on."""
    value = _count(text, least=1)
    if not value:
        raise argparse.ArgumentTypeError("0 is too few; give a whole number from 1 on")
    return value


def _share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 to 1; 0.001 is one in a thousand")
    return value


def _positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0; 2.5 is one")
    return value


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
    detached = _Parser(add_help=False)
    detached.add_argument("--detach", action="store_true", help="start it on a worker, print its id and return")
    detached.add_argument("--request-id", help="a name for this request: the same one again finds the first run")
    verbs = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str, *parents: _Parser) -> _Parser:
        return verbs.add_parser(name, help=text, description=text, parents=[common, *parents])

    add("demo", "the whole road on documents this machine has")
    init = add("init", "make a workspace with a recipe for a folder of documents")
    init.add_argument("folder", help="folder to make")
    init.add_argument("--source", required=True, help="folder with your documents")
    init.add_argument("--name", help="name of the corpus (default: the folder's)")
    add("curate", "turn a recipe's sources into a corpus version", recipe, detached)
    what_if = add("what-if", "what other rules would do to the newest version; reads no text, changes nothing", recipe)
    what_if.add_argument("--corpus", help="corpus version, e.g. handbook@12 (default: the newest)")
    what_if.add_argument("--html", metavar="FILE", help="write one page with the distributions and the cuts")
    diff = add("diff", "what came, went and changed between two corpus versions, and why")
    diff.add_argument("first", help="corpus version, e.g. handbook@11, or handbook@held/12 for one that was held back")
    diff.add_argument("second", help="corpus version, e.g. handbook (the newest) or handbook@held/12")
    diff.add_argument("--limit", type=_count, default=5, help="documents to name for each reason (default 5)")
    diff.add_argument("--html", metavar="FILE", help="write one page with pictures that needs no network")
    clusters = add("clusters", "clusters of near-duplicates of a corpus version: ids and numbers")
    clusters.add_argument("corpus", help="corpus version, e.g. handbook@12")
    clusters.add_argument("id", nargs="?", help="id of a document: the members of its cluster")
    clusters.add_argument("--source", help="only clusters with a member in this source")
    clusters.add_argument("--limit", type=_count, default=20, help="how many to print, the largest first (default 20)")
    plan = add("plan", "what a curation will do and cost, from a sample, and how its stages train; exit code 3: no fit",
               recipe)  # fmt: skip
    plan.add_argument("--share", type=_share, default=0.001, help="of each source's files (default 0.001)")
    plan.add_argument("--files", type=_count, default=400, help="of each source, at least (default 400)")
    plan.add_argument("--probe", action=argparse.BooleanOptionalAction,
                      help="five steps of the real model, for speed and memory (default: when under 30 s)")  # fmt: skip
    plan.add_argument("--gpu", metavar="NAME", help="plan for a machine with this GPU instead of this one, e.g. H200")
    plan.add_argument("--preflight", action="store_true", help="the checks before step 0, on the newest version")
    plan.add_argument("--max-hours", type=_positive, metavar="H", help="choose size, tokens, batch, rate for H hours")
    plan.add_argument("--price-per-hour", type=_positive, help="of the machine (default: INGOT_PRICE_PER_HOUR)")
    plan.add_argument("--price-per-kwh", type=_positive, help="of electricity (default: INGOT_PRICE_PER_KWH)")
    train = add("train", "train a recipe's stages and register the candidate", recipe, detached)
    train.add_argument("--corpus", help="corpus version, e.g. handbook@12 (default: the newest)")
    evaluate = add("evaluate", "measure a model version and ask the gate", recipe, detached)
    evaluate.add_argument("--model", help="model version, e.g. mini/3 or mini@candidate (default: the newest)")
    add("build", "curate, train and evaluate", recipe, detached)
    retrain = add("retrain", "plan, train, evaluate and ask the gate, as the form of the Prefect UI does",
                  recipe, detached)  # fmt: skip
    retrain.add_argument("--corpus", help="corpus version, e.g. handbook@12 or handbook@latest (default: the newest)")
    retrain.add_argument("--requested-by", help="who asks for it (default: you); a recipe with four eyes needs it")
    retrain.add_argument("--dry-run", action="store_true", help="write the plan and stop")
    promote = add("promote", "make a model version the champion")
    promote.add_argument("model", help="model version, e.g. mini/3 or mini@candidate")
    promote.add_argument("--reason", default="", help="why, for the ledger")
    promote.add_argument("--override", action="store_true", help="promote against the gate's verdict (needs --reason)")
    approve = add("approve", "make a model version the champion, signed with an SSH key")
    approve.add_argument("model", help="model version, e.g. mini/3 or mini@candidate")
    approve.add_argument("--reason", required=True, help="why, for the ledger")
    approve.add_argument("--key", required=True, help="SSH key to sign with, e.g. ~/.ssh/id_ed25519")
    approve.add_argument("--yes", action="store_true", help="sign without being asked (needed without a terminal)")
    approve.add_argument("--allowed-signers", help="who may sign (default: allowed_signers of the workspace)")
    adopt = add("adopt", "bring a base model in from a local Hugging Face folder: safetensors only, no code")
    adopt.add_argument("what", choices=("model",), metavar="model", help="the word `model`: what is brought in")
    adopt.add_argument("path", help="folder with config.json, tokenizer.json and .safetensors files")
    adopt.add_argument("--name", required=True, help="what recipes call it: `start: adopted/NAME`")
    adopt.add_argument("--licence", required=True, metavar="SPDX", help="e.g. Apache-2.0, LicenseRef-NAME, unknown")
    adopt.add_argument("--origin", required=True, metavar="TEXT", help="who made it and where it was taken from")
    adopt.add_argument("--tokens", type=_count, metavar="N",
                       help="tokens its makers say it was trained on, for the share that is ours")  # fmt: skip
    rollback = add("rollback", "move the champion back to the one before it")
    rollback.add_argument("model", help="name of the model")
    rollback.add_argument("--to", type=int, metavar="VERSION", help="an earlier champion (default: the one before)")
    rollback.add_argument("--reason", required=True, help="why, for the ledger")
    schedule = add("schedule", "when a recipe is curated; without --cron, what is scheduled")
    schedule.add_argument("recipe", nargs="?", help="recipe file, or folder with a recipe.yaml")
    schedule.add_argument("--cron", help="minute hour day month weekday, e.g. '0 2 * * *'")
    schedule.add_argument("--timezone", help="e.g. Europe/Berlin (default: INGOT_TIMEZONE, else UTC)")
    schedule.add_argument("--remove", action="store_true", help="take the recipe's schedule away")
    runs = add("runs", "the runs of the control room, newest first")
    runs.add_argument("--limit", type=int, default=20, help="how many (default 20)")
    runs.add_argument("--state", help="only runs in this state, e.g. running, failed")
    runs.add_argument("--corpus", help="the training and evaluation runs that used this corpus version or digest")
    run = add("run", "one run: its steps, what it waits for, how far it is")
    run.add_argument("id", help="id of a run, or the first characters of it")
    run.add_argument("--follow", action="store_true", help="go on until it ends; the exit code is the run's")
    cancel = add("cancel", "stop a run: it writes a checkpoint and leaves no process")
    cancel.add_argument("id", help="id of a run, or the first characters of it")
    compare = add("compare", "two runs or model versions side by side: what differs and what it gave")
    compare.add_argument("first", help="id of a run, or a model version")
    compare.add_argument("second", help="id of a run, or a model version")
    trace = add("trace", "where a document or a model comes from and went to")
    trace.add_argument("kind", choices=("model", "document"))
    trace.add_argument("query", help="NAME[@alias|/version] of a model, or adopted/NAME; id, uri or file of a document")
    trace.add_argument("--html", metavar="FILE", help="write one page with pictures that needs no network")
    why = add("why", "why a document was kept, held out or dropped")
    why.add_argument("query", help="document id, uri or file")
    why.add_argument("--corpus", help="corpus version (default: the newest of every corpus)")
    add("sources", "what was read from each source, when, and what is new, changed and gone")
    quarantine = add("quarantine", "files that could not be read, with the reason; `retry` reads them again next time")
    quarantine.add_argument("what", choices=("list", "retry"))
    quarantine.add_argument("--source", help="only this source (default: all)")
    quarantine.add_argument("--reason", help="only this reason, e.g. parser_error")
    quarantine.add_argument("--limit", type=int, default=100, help="how many to print (default 100)")
    verify = add("verify", "check ledger, manifests and every byte they name")
    verify.add_argument("--head", help="a ledger head kept elsewhere (see `ingot ledger head`)")
    audit = add("audit", "a model's evidence in one file that can be checked without Ingot")
    audit.add_argument("what", choices=("pack",))
    audit.add_argument("model", help="model version, e.g. mini/3 or mini@champion")
    audit.add_argument("--output", metavar="FILE", help="the zip file to write (default: NAME-VERSION-audit.zip)")
    ledger = add("ledger", "print the ledger, or its head to keep elsewhere")
    ledger.add_argument("what", nargs="?", choices=("head", "list"), default="list")
    report = add("report", "path of a report with text (an evaluation's, or a cluster's); reading it is recorded")
    report.add_argument("model", help="model version; with --cluster a corpus version")
    report.add_argument("--cluster", metavar="ID", help="the cluster of this document, with what differs in its texts")
    report.add_argument("--with-text", action="store_true", required=True, help="say that you mean to read text")
    infill = add("infill", "what may have stood in a hole of a text, by a model of the stage `infill`")
    infill.add_argument("model", help="model version, e.g. restorer/3 or restorer@champion")
    infill.add_argument("text", nargs="?", help="text with one hole: [..] a dot for each character, [-9-] a number of "
                        "them, [---] nobody knows; - reads it from standard input")  # fmt: skip
    infill.add_argument("--before", metavar="FILE", help="instead of TEXT: what stands before the hole")
    infill.add_argument("--after", metavar="FILE", help="instead of TEXT: what stands behind it")
    infill.add_argument("--length", type=_number, help="characters missing between --before and --after, if known")
    infill.add_argument("--top", type=_number, default=10, help="fillings to print (default 10)")
    infill.add_argument("--beam", type=_number, default=40, help="hypotheses kept at every step (default 40)")
    fit = add("fit-rules", "thresholds and stop words of a language from its own good text")
    fit.add_argument("source", help="corpus version, e.g. handbook@12, or a folder of .txt, .md, .jsonl files")
    fit.add_argument("--language", required=True, help="ISO 639 code of the text, e.g. fi")
    fit.add_argument("--lost", type=float, default=0.01, metavar="SHARE",
                     help="share of the good text that one check may lose (default 0.01)")  # fmt: skip
    schema = add("schema", "JSON Schema of a recipe")
    schema.add_argument("what", choices=("recipe",))
    up = add("up", "start the local stack: Prefect, MLflow, workers, supervisor")
    up.add_argument("--recipe", help="recipe of the nightly schedule (default: demo)")
    add("down", "stop the local stack")
    add("status", "what runs, where, and the age of the newest version")
    add("secret", "user and password of the control room's pages")
    backup = add("backup", "copy the store and both servers' databases into a folder")
    backup.add_argument("folder", help="folder to write; what is there already is not copied again")
    restore = add("restore", "make a home folder from a backup, and verify it")
    restore.add_argument("folder", help="folder that `ingot backup` wrote")
    restore.add_argument("--into", required=True, metavar="HOME", help="new home folder, empty or absent")
    gc = add("gc", "remove from the store what nothing names and nobody touched for 48 hours")
    gc.add_argument("--dry-run", action="store_true", help="say what would be removed and how large it is, and stop")
    scrub = add("scrub", "read every object again: what is damaged, who needs it, and what makes it again")
    scrub.add_argument("--sample", type=float, default=1.0, metavar="SHARE",
                       help="read a random share only, e.g. 0.1 every night (default: everything)")  # fmt: skip
    scrub.add_argument("--dry-run", action="store_true", help="report only: remove and put aside nothing")
    add("rebuild", "fill MLflow again from manifests, records and ledger")
    doctor = add("doctor", "check Python, disk, memory, ports, store and the switches against calling home; "
                 "`doctor storage`: what a place for a store can do")  # fmt: skip
    doctor.add_argument("what", nargs="?", choices=("storage",), help="storage: try every power that a store needs")
    doctor.add_argument("url", nargs="?", help="local path or s3://bucket/prefix (default: INGOT_STORE)")
    return root
