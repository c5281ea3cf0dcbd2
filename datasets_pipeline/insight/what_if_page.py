"""The page of `ingot what-if`: what would come and go, distributions with the cuts. Numbers and ids, no text."""

from datasets_pipeline.insight.check_pictures import check_picture
from datasets_pipeline.insight.what_if import RuleChange, WhatIf
from ingot.pictures import Markup, bars_svg, html_page, number, paragraph_html, table_html

_MAX_ROWS = 25
_MAX_OPTIONS = 6
_MAX_PICTURES = 12
"""Of one rule; those whose threshold or count changed come first."""


def summary(answer: WhatIf) -> list[str]:
    """What would happen, in sentences."""
    lines = [
        f"{number(answer.goes)} documents ({number(answer.bytes_goes)} bytes) would go and "
        f"{number(answer.comes)} ({number(answer.bytes_comes)} bytes) would be let in."
    ]
    if answer.comes_near:
        lines.append(
            f"Of those let in, {number(answer.comes_near)} resemble one that stays, by their signatures, and would be "
            "dropped as near-duplicates."
        )
    if answer.stand_ins:
        lines.append(
            f"{number(answer.stand_ins)} documents that were dropped in favour of one that goes may take its place."
        )
    lines.append(f"{number(answer.before)} documents are in {answer.version}; about {number(answer.after)} would be.")
    if answer.needs_reading:
        lines.append(
            f"Not answered: {', '.join(answer.needs_reading)} looks for places in texts, and with these options has "
            "not read them; it is counted as it was. `ingot curate` reads them."
        )
    return [*lines, *(f"{note}." for note in answer.notes)]


def rule_rows(answer: WhatIf) -> list[list[object]]:
    """One row a rule: what is different, and what it drops before and after."""
    return [
        [
            rule.rule,
            _options(rule),
            rule.dropped_before, rule.dropped_after, rule.goes, rule.comes,
        ]
        for rule in answer.rules
    ]  # fmt: skip


RULE_HEADER = ["rule", "what is different", "drops before", "drops after", "goes for it", "comes for it"]


def _options(rule: RuleChange) -> str:
    """What is different, those first that had a value before; else how the rule changed."""
    options = sorted(rule.options.items(), key=lambda item: item[1][0] is None)
    told = [f"{name} {_shown(was)} -> {_shown(now)}" for name, (was, now) in options[:_MAX_OPTIONS]]
    more = [f"{len(options) - _MAX_OPTIONS} more"] if len(options) > _MAX_OPTIONS else []
    return "; ".join(told + more) or rule.change


def _shown(value: object) -> str:
    return "unset" if value is None else str(value)


def group_rows(answer: WhatIf, group: str) -> list[list[object]]:
    """One row a source or language that has documents in the version before or after, the most changed first."""
    rows = [item for item in answer.groups[group].items() if item[1]["before"] or item[1]["after"]]
    rows.sort(key=lambda item: (-(item[1]["goes"] + item[1]["comes"]), item[0]))
    return [[name, *(row[key] for key in ("documents", "before", "goes", "comes", "after"))] for name, row in rows]


GROUP_HEADER = ["documents", "in before", "goes", "comes", "in after"]


def what_if_page(answer: WhatIf) -> str:
    """One page that needs no network."""
    sections: list[tuple[str, str | list[str]]] = [
        ("In short", [paragraph_html(line) for line in summary(answer)]),
        ("Rules", table_html(RULE_HEADER, rule_rows(answer))),
    ]
    for rule, checks in answer.checks.items():
        pictures: list[str] = [check_picture(rule, counts) for counts in checks[:_MAX_PICTURES]]
        if len(checks) > _MAX_PICTURES:
            pictures.append(f"{len(checks) - _MAX_PICTURES} more checks of {rule} are as they were.")
        if pictures:
            sections.append((f"What {rule} compares", pictures))
    for group in ("source", "language"):
        rows = group_rows(answer, group)
        sections.append((f"By {group}", [_loss(answer, group), table_html([group, *GROUP_HEADER], rows[:_MAX_ROWS])]))
    for title, name in (("Documents that would go", "goes"), ("Documents that would be let in", "comes")):
        if answer.examples[name]:
            sections.append((title, _examples(answer, name)))
    return html_page(f"What if: {answer.version}", sections, wide=True)


def _loss(answer: WhatIf, group: str) -> Markup:
    rows = [
        (name, float(row["after"] - row["before"]))
        for name, row in answer.groups[group].items()
        if row["after"] != row["before"]
    ]
    rows.sort(key=lambda row: row[1])
    return bars_svg(rows[:_MAX_ROWS], title=f"Documents gained or lost by {group}", digits=0)


def _examples(answer: WhatIf, name: str) -> Markup:
    rows = [
        [f"{row['source']}: {row['uri']}", row["language"], row["bytes"], f"{row['rule']}: {row['reason']}",
         row["score"], row["threshold"], row["doc_id"]]
        for row in answer.examples[name]
    ]  # fmt: skip
    header = ["place", "language", "bytes", "rule", "score", "threshold", "id"]
    return table_html(header, rows, caption=f"{len(rows)} of {answer.goes if name == 'goes' else answer.comes:,}")
