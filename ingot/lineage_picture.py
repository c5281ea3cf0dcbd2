"""The lineage of a model as a picture: corpus, tokens, checkpoint, version. Ids and numbers only."""

from ingot.model_versions import ModelVersion
from ingot.pictures import Box, html_page, lineage_svg
from ingot.refs import CheckpointRef, CorpusRef, TokensRef


def lineage_html(corpus: CorpusRef, tokens: TokensRef, checkpoint: CheckpointRef, model: str) -> str:
    """One page with the road from corpus to model."""
    layers = [
        [Box("corpus", corpus.name, (f"{corpus.num_documents:,} documents", corpus.root_digest[:16]))],
        [
            Box(
                "tokens",
                f"{tokens.num_tokens:,} tokens",
                (f"vocabulary {tokens.vocab_size:,}", tokens.tokenizer_digest[:16]),
            )
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
    edges = [("corpus", "tokens"), ("tokens", "checkpoint"), ("checkpoint", "model")]
    return html_page(f"Lineage of {model}", [("Lineage", lineage_svg(layers, edges, title=f"Lineage of {model}"))])


def lineage_mermaid(corpus: CorpusRef, tokens: TokensRef, checkpoint: CheckpointRef, version: ModelVersion) -> str:
    """The same as Mermaid, which the Prefect UI draws."""
    return "\n".join(
        [
            f"# Lineage of {version.subject}",
            "",
            "```mermaid",
            "flowchart TB",
            f'  corpus["{corpus.name}<br/>{corpus.num_documents:,} documents<br/>{corpus.root_digest[:12]}"]',
            f'  tokens["{tokens.num_tokens:,} tokens<br/>vocabulary {tokens.vocab_size:,}"]',
            f'  checkpoint["step {checkpoint.step:,}<br/>{checkpoint.fingerprint[:12]}"]',
            f'  model["{version.name}/{version.version}"]',
            "  corpus --> tokens --> checkpoint --> model",
            "```",
        ]
    )
