"""A small layout model with random weights, in the shape that docling loads: it finds nothing on a page, and docling
then keeps every line as text."""

from pathlib import Path

_FOLDER = "docling-project--docling-layout-heron"
_LABELS = [
    "caption", "footnote", "formula", "list_item", "page_footer", "page_header", "picture", "section_header", "table",
    "text", "title", "document_index", "code", "checkbox_selected", "checkbox_unselected", "form", "key_value_region",
]  # fmt: skip


def write_docling_models(folder: Path) -> None:
    """Write the models as `docling-tools models download -o` does, but for the one of tables. Needs torchvision."""
    import torch
    from transformers import RTDetrImageProcessor, RTDetrResNetConfig, RTDetrV2Config, RTDetrV2ForObjectDetection

    torch.manual_seed(1)
    config = RTDetrV2Config(
        backbone_config=RTDetrResNetConfig(
            embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],
        ),
        encoder_in_channels=[8, 8, 8], encoder_hidden_dim=16, encoder_ffn_dim=16, encoder_attention_heads=2,
        d_model=16, decoder_in_channels=[16, 16, 16], decoder_ffn_dim=16, decoder_layers=2, decoder_attention_heads=2,
        num_queries=20, id2label=dict(enumerate(_LABELS)),
    )  # fmt: skip
    RTDetrV2ForObjectDetection(config).save_pretrained(folder / _FOLDER)
    RTDetrImageProcessor(size={"height": 640, "width": 640}).save_pretrained(folder / _FOLDER)
