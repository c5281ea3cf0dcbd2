"""Base models as somebody else would hand them over: tokenizer and weights saved with save_pretrained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

BOS, EOS = "<s>", "</s>"
TEXTS = ["the quick brown fox jumps over the lazy dog and runs away", "Keep the handbook on the shelf. It helps."] * 40


def save_tokenizer(folder: Path, *, texts: Sequence[str] = TEXTS, vocab_size: int = 300) -> Any:
    """Byte-level BPE whose end token is id 1, and which writes a BOS before every text when it is asked to."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[BOS, EOS], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS).save_pretrained(folder)
    return tokenizer


def save_base(folder: Path, *, kind: str = "llama", seed: int = 7, **changes: Any) -> Path:
    """A base model of about 30,000 weights in a folder of its own; kind is a model_type of transformers."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = save_tokenizer(folder)
    values = {
        "vocab_size": tokenizer.get_vocab_size(), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 64,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None,
    }  # fmt: skip
    if kind in ("mixtral", "olmoe", "qwen3_moe"):
        values |= {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[kind](**{**values, **changes})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder
