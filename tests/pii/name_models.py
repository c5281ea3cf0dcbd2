"""Tiny models of names: one at random, one whose weights are a rule (words of a list are persons)."""

import json
from pathlib import Path

import tokenizers
import torch
from tokenizers import models, pre_tokenizers, processors
from transformers import BertConfig, BertForTokenClassification

LABELS = ("O", "B-PER", "I-PER")
FIRST_NAMES = ("anna", "jörg", "maria")
LAST_NAMES = ("schmidt", "müller", "sklodowska", "-", "curie")
OTHERS = ("the", "ferry", "waits", "for", "and", "in", "harbour", ".", ",")


def save_tokenizer(folder: Path) -> dict[str, int]:
    """Whole words in any case, unknown ones as [UNK]; a Roberta-like frame of two special tokens."""
    vocabulary = {
        word: index
        for index, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *FIRST_NAMES, *LAST_NAMES, *OTHERS))
    }
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return vocabulary


def config_of(vocabulary: dict[str, int], **options: int) -> BertConfig:
    return BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=34, pad_token_id=0, id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)}, **options,
    )  # fmt: skip


def random_model(folder: Path, *, seed: int = 1) -> str:
    """Two layers of random weights; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    BertForTokenClassification(config_of(save_tokenizer(folder), num_hidden_layers=2)).save_pretrained(folder)
    return str(folder)


def rule_model(folder: Path) -> str:
    """First names are B-PER, last names and hyphens I-PER, all else O: the embedding of a word is its label."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = save_tokenizer(folder)
    model = BertForTokenClassification(config_of(vocabulary, num_hidden_layers=0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.bert.embeddings.LayerNorm.weight.fill_(1.0)
        for word, index in vocabulary.items():
            label = 1 if word in FIRST_NAMES else 2 if word in LAST_NAMES else 0
            model.bert.embeddings.word_embeddings.weight[index, label] = 1.0
        model.classifier.weight[:, :3] = torch.eye(3)
    model.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 0
    return str(folder)
