"""`ingot adopt model`: bring a base model in from a local folder; safetensors only, no code."""

from argparse import Namespace
from pathlib import Path

from ingot.adopted import BEFORE
from ingot.ledger import Actor
from interface.context import open_settings, open_store
from interface.output import Printer

_SHOWN = 5


def adopt(options: Namespace, printer: Printer) -> int:
    """`ingot adopt model`."""
    from tasks.adoption import Facts, adopt_model

    settings = open_settings()
    facts = Facts(options.name, options.licence, options.origin, options.tokens)
    done = adopt_model(
        open_store(settings), Path(options.path).expanduser(), facts, actor=Actor.current(settings.environ)
    )
    model = done.model
    how = "corrected" if done.corrected else "is there already, with the same bytes" if done.existed else "adopted"
    printer.line(f"{model.subject} {how}: {model.architecture}, {model.num_parameters:,} parameters")
    printer.table(
        [
            ["files", f"{done.num_files} with {done.num_bytes:,} bytes, each with its SHA-256 in the manifest"],
            ["checkpoint", model.checkpoint_key],
            ["tokenizer", model.tokenizer_digest],
            ["licence", model.licence],
            ["origin", model.origin],
            ["trained on", BEFORE if model.tokens is None else f"{model.tokens:,} tokens, as stated; {BEFORE}"],
            ["ledger", f"record {model.entry.sequence} by {model.entry.actor.id}"],
        ]
    )
    if done.left_out:
        more = f" and {len(done.left_out) - _SHOWN} more" if len(done.left_out) > _SHOWN else ""
        printer.line(f"left out, because nothing needs them: {', '.join(done.left_out[:_SHOWN])}{more}")
    if not done.round_trips:
        printer.line(
            "note: its tokenizer does not give every text back as it was (blanks, accents or scripts are lost), so its "
            "bits per byte are of the changed text"
        )
    printer.line(f"a recipe goes on from it with `- stage: continued_pretrain` and `start: {model.subject}`")
    printer.result(
        {**model.facts, "existed": done.existed, "corrected": done.corrected, "files": done.num_files,
         "bytes": done.num_bytes, "left_out": list(done.left_out), "round_trips": done.round_trips}
    )  # fmt: skip
    return 0
