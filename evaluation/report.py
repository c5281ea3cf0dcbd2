"""The evaluation as a page, in two renderings of one JSON (CONTRACTS 13).

`card_html` holds numbers and ids only and may go to MLflow and Prefect; `report_html` adds generated text and
belongs into the restricted part of the store.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.gate import Verdict
from ingot.pictures import Markup, bars_svg, html_page, number, paragraph_html, preformatted_html, table_html

_HARDEST = 10


def card_html(result: Mapping[str, Any], verdict: Verdict | None = None, *, title: str = "Evaluation") -> str:
    """The page without any text of documents or of the model."""
    return html_page(title, _sections(result, verdict))


def report_html(result: Mapping[str, Any], verdict: Verdict | None = None, *, title: str = "Evaluation") -> str:
    """The card with prompts, completions and overlaps as text; needs the result's `with_text` part."""
    sections = _sections(result, verdict)
    for index, sample in enumerate(result.get("with_text", {}).get("samples", [])):
        blocks: list[str] = ["Prompt:" if sample["prompt"] else "Prompt: none, start of a document."]
        if sample["prompt"]:
            blocks.append(preformatted_html(sample["prompt"]))
        blocks += ["Completion:", preformatted_html(sample["completion"])]
        if sample["overlap_text"] is not None:
            doc_id = result["samples"][index]["overlap"]["doc_id"]
            blocks += [
                f"Stands word for word in training document {doc_id}:",
                preformatted_html(sample["overlap_text"]),
            ]
        sections.append((f"Sample {index + 1}, with text", blocks))
    return html_page(title, sections)


def _sections(result: Mapping[str, Any], verdict: Verdict | None) -> list[tuple[str, Sequence[str]]]:
    sections: list[tuple[str, Sequence[str]]] = []
    if verdict is not None:
        sections.append((f"Gate: {verdict.verdict}", _verdict(verdict)))
    sections += [("Bits per byte", _overall(result)), ("By source and language", _groups(result))]
    if result["samples"]:
        sections.append(("Samples", _samples(result)))
    sections += [("Hardest documents", _hardest(result)), ("How it was measured", _method(result))]
    return sections


def _verdict(verdict: Verdict) -> list[str]:
    left_out = [
        ("held out for the candidate only", verdict.num_only_candidate),
        ("held out for the champion only", verdict.num_only_champion),
        ("seen in the candidate's training", verdict.num_seen_by_candidate),
        ("seen in the champion's training", verdict.num_seen_by_champion),
        ("scored differently", verdict.num_scored_differently),
    ]
    blocks: list[str] = [
        verdict.reason,
        table_html(
            ["", "candidate", "champion", "difference", "from", "to", "documents", "needed"],
            [
                [
                    "bits per byte",
                    verdict.candidate_bits_per_byte,
                    verdict.champion_bits_per_byte,
                    verdict.difference,
                    verdict.low,
                    verdict.high,
                    verdict.num_documents,
                    verdict.num_needed,
                ]
            ],
            digits=4,
        ),
    ]
    if any(count for _, count in left_out):
        blocks.append(table_html(["documents left out", "count"], left_out))
    if verdict.baselines:
        blocks.append(
            table_html(
                ["baseline", "bits per byte", "candidate minus baseline", "from", "to", "p (Holm)", "beaten"],
                [
                    [
                        item.baseline,
                        item.bits_per_byte,
                        item.difference,
                        item.low,
                        item.high,
                        item.p_value,
                        item.beats,
                    ]
                    for item in verdict.baselines
                ],
                caption="Paired on the same documents; less is better.",
                digits=4,
            )
        )
    return blocks


def _overall(result: Mapping[str, Any]) -> list[str]:
    baselines: Mapping[str, Any] = result["baselines"]
    score = result["bits_per_byte"]
    blocks: list[str] = []
    if score is None:
        blocks.append(
            f"No overall number: the model gave no finite score for {number(result['num_unscored'])} documents."
        )
    bars = [("model", float("nan") if score is None else score)]
    bars += sorted(
        ((name, item["bits_per_byte"]) for name, item in baselines.items()), key=lambda bar: (bar[1], bar[0])
    )
    blocks.append(bars_svg(bars, title="Bits per byte of held-out text (less is better)", highlight="model"))
    blocks.append(
        f"{number(result['num_documents'])} documents, {number(result['num_bytes'])} bytes; "
        f"{number(result['num_truncated'])} "
        f"cut to their beginning, {number(result['num_empty'])} empty, {number(result['num_not_chosen'])} "
        "not chosen."
    )
    if baselines:
        blocks.append(
            table_html(
                ["baseline", "bits per byte", "fitted on bytes", "what it is"],
                [
                    [name, item["bits_per_byte"], item["training_bytes"], item["note"]]
                    for name, item in baselines.items()
                ],
            )
        )
        sample = result["training_sample"]
        blocks.append(
            f"Baselines were fitted on {number(sample['num_bytes'])} of "
            f"{number(sample['num_bytes_seen'])} training bytes "
            f"({number(sample['num_documents'])} of {number(sample['num_documents_seen'])} documents): "
            f"{sample['selection']}."
        )
    return blocks


def _groups(result: Mapping[str, Any]) -> list[Markup]:
    return [
        table_html(
            [column, "bits per byte", "documents", "bytes"],
            [
                [name, item["bits_per_byte"], item["num_documents"], item["num_bytes"]]
                for name, item in result[f"by_{column}"].items()
            ],
        )
        for column in ("source", "language")
    ]


def _samples(result: Mapping[str, Any]) -> list[Markup]:
    rows = []
    for index, sample in enumerate(result["samples"]):
        overlap = sample["overlap"]
        rows.append(
            [
                str(index + 1),
                sample["prompt_doc_id"] or "start of a document",
                sample["completion_bytes"],
                overlap["bytes"] if overlap else None,
                overlap["doc_id"] if overlap else "",
            ]
        )
    least = result["config"]["min_overlap_bytes"]
    return [
        table_html(
            ["sample", "prompt from document", "bytes", "longest overlap in bytes", "with training document"],
            rows,
            caption="Longest stretch of a sample that stands word for word in the training text; a dash: "
            f"under {least} bytes.",
        ),
        paragraph_html("The text of the samples is in the report, not on this card."),
    ]


def _hardest(result: Mapping[str, Any]) -> list[Markup]:
    scored = [row for row in result["documents"] if row["nats"] is not None]
    # nats per byte orders like bits per byte
    scored.sort(key=lambda row: (-row["nats"] / row["bytes"], row["doc_id"]))
    names = list(scored[0]["baseline_nats"]) if scored else []
    bits = 1 / math.log(2)
    return [
        table_html(
            ["document", "source", "language", "bytes", "model", *names],
            [
                [
                    row["doc_id"],
                    row["source"],
                    row["language"],
                    row["bytes"],
                    row["nats"] * bits / row["bytes"],
                    *(row["baseline_nats"][name] * bits / row["bytes"] for name in names),
                ]
                for row in scored[:_HARDEST]
            ],
            caption="Bits per byte of the documents the model finds hardest, with the baselines beside it.",
        )
    ]


def _method(result: Mapping[str, Any]) -> list[Markup]:
    rows = [["suite", f"{result['suite']} {result['version']}"]]
    rows += [[f"model: {name}", str(value)] for name, value in result["model"].items()]
    rows += [
        [name, ", ".join(value) if isinstance(value, list) else str(value)] for name, value in result["config"].items()
    ]
    return [
        paragraph_html(
            "Bits per byte = code length of the stored text, given the start of a document, over its "
            "UTF-8 bytes; "
            "no end-of-text token is counted, for the model or for a baseline."
        ),
        table_html(["", "value"], rows),
    ]
