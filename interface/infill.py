"""`ingot infill`: what may have stood in a hole of a text, by a model that was trained to fill holes."""

import re
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ingot import model_versions
from ingot.errors import NotFoundError, RecipeError
from interface.context import open_settings, open_store
from interface.output import Printer

if TYPE_CHECKING:
    from evaluation.infilling import Hole

# Leiden conventions: a dot for each letter lost, dashes where nobody knows how many; -5- for about five.
_HOLE = re.compile(r"\[(?:(?P<dots>\.+)|-(?P<number>[1-9][0-9]*)-|(?P<unknown>-{3,}))\]")
_LIKE_A_HOLE = re.compile(r"\[[-.0-9 ]{0,20}\]")


def infill(options: Namespace, printer: Printer) -> int:
    """`ingot infill`."""
    hole = _hole_of(options)
    settings = open_settings()
    store = open_store(settings)
    version = model_versions.resolve(store, options.model)
    from evaluation.generation import TransformersModel
    from evaluation.infilling import Infiller, Options
    from tasks.evaluation import local_checkpoint

    with local_checkpoint(store, version.checkpoint_key) as folder:
        model = TransformersModel(folder)
        longest = min(Options.max_characters, model.context_tokens // 2)
        how = Options(beam=max(options.beam, options.top), top=options.top, max_characters=longest)
        fillings = Infiller(model, how).fill([hole])[0]
    missing = "any number of" if hole.num_characters is None else f"{hole.num_characters:,}"
    printer.line(f"{version.name}/{version.version}, {missing} characters, the likeliest first:")
    rows = [[f"{filling.score - fillings[0].score:.2f}", filling.text] for filling in fillings]
    printer.table(rows, ["nats behind the first", "filling"])
    printer.result(
        {
            "model": f"{version.name}/{version.version}",
            "checkpoint": version.checkpoint_key,
            "num_characters": hole.num_characters,
            "fillings": [{"text": filling.text, "score": round(filling.score, 4)} for filling in fillings],
        }
    )
    return 0


def _hole_of(options: Namespace) -> "Hole":
    from evaluation.infilling import Hole

    if options.before is not None or options.after is not None:
        if options.text is not None:
            raise RecipeError("TEXT and --before/--after both say where the hole is; give one of them")
        return Hole(_read(options.before), _read(options.after), options.length)
    if options.text is None:
        raise RecipeError("there is no text; give one with a hole, e.g. 'dis ma[.]ibus', or --before and --after FILE")
    if options.length is not None:
        raise RecipeError(f"--length {options.length} belongs to --before/--after; write [-{options.length}-] in TEXT")
    text = sys.stdin.read() if options.text == "-" else options.text
    holes = list(_HOLE.finditer(text))
    if len(holes) != 1:
        odd = _LIKE_A_HOLE.search(text) if not holes else None
        near = f" ({odd[0]} marks none)" if odd else ""
        raise RecipeError(
            f"the text has {len(holes)} holes{near}, and one is filled at a time; mark it as [...] (a dot for each "
            "letter lost), [-5-] (a number of them) or [---] (nobody knows how many)"
        )
    found = holes[0]
    number = len(found["dots"]) if found["dots"] else int(found["number"]) if found["number"] else None
    return Hole(text[: found.start()], text[found.end() :], number)


def _read(path: str | None) -> str:
    if path is None:
        return ""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist; give a file with the text beside the hole") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read as UTF-8 text ({type(error).__name__}); give a text file") from None
