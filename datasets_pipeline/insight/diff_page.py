"""The page and the lines of `ingot diff`: what came and went, why, and what was changed for it. No text."""

from typing import Any

from datasets_pipeline.insight.diff import Diff
from ingot.pictures import Markup, bars_svg, html_page, number, paragraph_html, table_html

_MAX_ROWS = 25
TOTALS_HEADER = ["", "before", "after", "difference"]
GROUP_HEADER = ["kept before", "came", "went", "kept after"]
_TITLES = {"documents": "documents", "kept": "kept", "heldout": "held out", "dropped": "dropped",
           "kept_bytes": "bytes kept"}  # fmt: skip


def summary(answer: Diff) -> list[str]:
    """What differs, in sentences."""
    if answer.is_same:
        return [f"{answer.first} and {answer.second} are the same version."]
    before, after = answer.documents["kept"]
    shards = answer.shards
    lines = [
        f"{number(sum(answer.came.values()))} documents came and {number(sum(answer.went.values()))} went: "
        f"{number(before)} were kept in {answer.first}, {number(after)} are in {answer.second}."
    ]
    if any(answer.changed.values()):
        lines.append(
            f"Edits differ in {number(answer.changed['edits'])} documents kept in both; "
            f"{number(answer.changed['reason'])} dropped in both are dropped for another reason."
        )
    lines.append(
        f"{number(shards['shared'])} shards are shared ({number(shards['shared_bytes'])} bytes), "
        f"{number(shards['only_second'])} are new ({number(shards['new_bytes'])} bytes)."
    )
    return lines


def total_rows(answer: Diff) -> list[list[object]]:
    """documents, kept ...: before, after, difference."""
    return [[_TITLES[name], was, now, f"{now - was:+,}"] for name, (was, now) in answer.documents.items()]


def why_rows(answer: Diff) -> list[list[object]]:
    """What happened and why, with the number of documents."""
    return [["came", why, num] for why, num in answer.came.items()] + [
        ["went", why, num] for why, num in answer.went.items()
    ]


def rule_rows(answer: Diff) -> list[list[object]]:
    """Drops by owning rule and reason that differ."""
    return [[name, was, now, f"{now - was:+,}"] for name, (was, now) in answer.rules.items()]


def group_rows(answer: Diff, group: str) -> list[list[object]]:
    """Sources or languages, those with the most changes first."""
    rows = [(name, row) for name, row in answer.groups[group].items() if any(row.values())]
    rows.sort(key=lambda item: (-(item[1]["came"] + item[1]["went"]), item[0]))
    return [[name, *row.values()] for name, row in rows]


def change_rows(answer: Diff) -> list[list[object]]:
    """Recipe values and versions that differ."""
    changed = [(f"recipe: {name}", values) for name, values in answer.recipe.items()]
    changed += [(f"version of {name}", values) for name, values in answer.versions.items()]
    return [[name, *(_shown(value) for value in values)] for name, values in changed]


def _shown(value: Any) -> str:
    return "–" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def diff_page(answer: Diff) -> str:
    """One page that needs no network."""
    told: list[str] = [paragraph_html(line) for line in summary(answer)]
    sections: list[tuple[str, str | list[str]]] = [
        ("In short", [*told, table_html(TOTALS_HEADER, total_rows(answer))])
    ]
    if answer.came or answer.went:
        bars = [(f"+ {why}", float(num)) for why, num in answer.came.items()]
        bars += [(f"− {why}", -float(num)) for why, num in answer.went.items()]
        picture = bars_svg(bars[:_MAX_ROWS], title="Documents that came (blue) and went (red), by why", digits=0)
        sections.append(("Why", [picture, table_html(["", "why", "documents"], why_rows(answer))]))
    changes = change_rows(answer)
    if changes:
        sections.append(("What was changed", table_html(["", answer.first, answer.second], changes)))
    if answer.rules:
        sections.append(("Drops by rule", table_html(["rule: reason", *TOTALS_HEADER[1:]], rule_rows(answer))))
    for group in ("source", "language"):
        rows = group_rows(answer, group)
        sections.append((f"By {group}", [_net(answer, group), table_html([group, *GROUP_HEADER], rows[:_MAX_ROWS])]))
    if answer.examples:
        sections.append(("Some of the documents", _examples(answer)))
    return html_page(f"{answer.first} and {answer.second}", sections, wide=True)


def _net(answer: Diff, group: str) -> Markup:
    moved = sorted(
        ((name, float(row["after"] - row["before"])) for name, row in answer.groups[group].items()
         if row["after"] != row["before"]),
        key=lambda row: -abs(row[1]),
    )  # fmt: skip
    return bars_svg(moved[:_MAX_ROWS], title=f"Documents kept, gained (blue) or lost (red) by {group}", digits=0)


def _examples(answer: Diff) -> Markup:
    rows = [
        [e["what"], e["why"], f"{e['source']}: {e['uri']}", e["language"], e["bytes"], e["doc_id"], e["other_doc_id"]]
        for e in answer.examples
    ]
    return table_html(["", "why", "place", "language", "bytes", "id", "other document"], rows)
