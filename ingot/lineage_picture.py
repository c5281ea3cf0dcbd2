"""The lineage of a model as a picture: corpus, tokens, checkpoint, version. Ids and numbers only."""

from collections.abc import Sequence

from ingot.model_versions import ModelVersion
from ingot.pictures import Box, html_page, lineage_svg
from ingot.refs import CheckpointRef, CorpusRef, MixtureRef, TokensRef, parts_of


def lineage_html(
    corpora: Sequence[CorpusRef], data: TokensRef | MixtureRef, checkpoint: CheckpointRef, model: str
) -> str:
    """One page with the road from the corpora to the model; data holds the tokens of each, in order."""
    read = list(zip(corpora, parts_of(data), strict=True))
    layers = [
        [Box(f"corpus {c.name}", c.name, (f"{c.num_documents:,} documents", c.root_digest[:16])) for c, _ in read],
        [
            Box(
                f"tokens {corpus.name}",
                f"{tokens.num_tokens:,} tokens",
                (f"vocabulary {tokens.vocab_size:,}", tokens.tokenizer_digest[:16]),
            )
            for corpus, tokens in read
        ],
        [
            Box(
                "checkpoint",
                f"step {checkpoint.step:,}",
                (f"{checkpoint.tokens_seen:,} tokens seen", checkpoint.fingerprint[:16]),
            )
        ],
        [Box("model", model, (f"{checkpoint.num_parameters:,} parameters",))],
    ]
    edges = [(f"corpus {corpus.name}", f"tokens {corpus.name}") for corpus in corpora]
    edges += [*((f"tokens {corpus.name}", "checkpoint") for corpus in corpora), ("checkpoint", "model")]
    return html_page(f"Lineage of {model}", [("Lineage", lineage_svg(layers, edges, title=f"Lineage of {model}"))])


def lineage_mermaid(
    corpora: Sequence[CorpusRef], data: TokensRef | MixtureRef, checkpoint: CheckpointRef, version: ModelVersion
) -> str:
    """The same as Mermaid, which the Prefect UI draws."""
    lines = []
    for number, (corpus, tokens) in enumerate(zip(corpora, parts_of(data), strict=True)):
        end = number or ""
        lines += [
            f'  corpus{end}["{corpus.name}<br/>{corpus.num_documents:,} documents<br/>{corpus.root_digest[:12]}"]',
            f'  tokens{end}["{tokens.num_tokens:,} tokens<br/>vocabulary {tokens.vocab_size:,}"]',
            f"  corpus{end} --> tokens{end} --> checkpoint",
        ]
    return "\n".join(
        [
            f"# Lineage of {version.subject}",
            "",
            "```mermaid",
            "flowchart TB",
            *lines,
            f'  checkpoint["step {checkpoint.step:,}<br/>{checkpoint.fingerprint[:12]}"]',
            f'  model["{version.name}/{version.version}"]',
            "  checkpoint --> model",
            "```",
        ]
    )
