"""`ingot trace model adopted/NAME`: what is known of a model from outside, as text and as one page."""

from typing import Any

from ingot.model_card import minute
from ingot.pictures import html_page, number, table_html
from interface.output import Printer

_MANY = 20


def print_adopted(answer: dict[str, Any], printer: Printer) -> None:
    """For people."""
    printer.line(f"{answer['name']}, from outside")
    printer.line(answer["before"])
    printer.table(_facts(answer))
    files = [[file["name"], file["size"], file["sha256"]] for file in answer["files"]]
    printer.table(files, ["file", "bytes", "sha256"])
    for e in answer["ledger"]:
        who = f"{e['by']} ({e['kind']}, {e['established_by']})"
        printer.line(f"  {e['time']}  record {e['sequence']}, {e['verb']} by {who}: {_said(e['details'])}")
    models = ", ".join(answer["models"][:_MANY]) or "none yet"
    printer.line(f"models begun from it: {models}")


def _said(details: dict[str, Any]) -> str:
    """What a record says of the model, so that a correction can be told from what it corrects."""
    tokens = "tokens not stated" if details.get("tokens") is None else f"{number(details['tokens'])} tokens"
    return f"{details['licence']}; {details['origin']}; {tokens}"


def _facts(answer: dict[str, Any]) -> list[list[object]]:
    tokens = "not stated" if answer["tokens"] is None else f"{number(answer['tokens'])} tokens, as its makers state"
    return [
        ["origin", answer["origin"]],
        ["licence", answer["licence"]],
        ["architecture", f"{answer['architecture']}, {number(answer['parameters'])} parameters"],
        ["trained on", tokens],
        ["checkpoint", answer["checkpoint"]],
        ["manifest", answer["checkpoint_digest"]],
        ["tokenizer", answer["tokenizer"]],
    ]


def adopted_page(answer: dict[str, Any]) -> str:
    """The same as one page that needs no network."""
    files = [[file["name"], number(file["size"]), file["sha256"]] for file in answer["files"]]
    records = [
        [str(e["sequence"]), minute(e["time"]), e["verb"], e["by"], f"{e['kind']}, {e['established_by']}",
         _said(e["details"])]
        for e in answer["ledger"]
    ]  # fmt: skip
    sections: list[tuple[str, Any]] = [
        ("In short", [f"{answer['before'].capitalize()}.", table_html(["", ""], _facts(answer))]),
        ("Files", table_html(["file", "bytes", "SHA-256"], files)),
        ("Ledger", table_html(["record", "time", "what", "by", "who that is", "said"], records)),
        ("Models begun from it", ", ".join(answer["models"]) or "None yet."),
    ]
    return html_page(f"Where {answer['name']} comes from", sections, wide=True)
