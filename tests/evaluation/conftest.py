"""Real tiny material: a byte-level tokenizer and Llama folder made here; real text of the shared data."""

import gzip
import hashlib
from pathlib import Path

import pytest

from evaluation.suites.heldout import EvalDocument

SHAKESPEARE = Path(__file__).resolve().parents[3] / "shared/data/tasks/tinyshakespeare.txt.gz"
EOS = "<|endoftext|>"


def doc_id_of(text: str) -> str:
    """The doc_id of a stored text, as hex."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@pytest.fixture(scope="session")
def shakespeare() -> str:
    """About 1 MB of real English text."""
    if not SHAKESPEARE.is_file():
        pytest.skip(f"needs {SHAKESPEARE.name} of the shared data beside the repository")
    return gzip.decompress(SHAKESPEARE.read_bytes()).decode()


@pytest.fixture(scope="session")
def split(shakespeare: str) -> tuple[list[EvalDocument], list[tuple[str, str]]]:
    """(40 held-out documents, the training documents) of about 1,500 characters each."""
    pieces = [shakespeare[begin : begin + 1500].strip() for begin in range(0, 600_000, 1500)]
    heldout = [
        EvalDocument(doc_id=doc_id_of(piece), text=piece, source="even" if index % 20 else "odd", language="en")
        for index, piece in enumerate(pieces)
        if index % 10 == 0
    ]
    return heldout, [(doc_id_of(piece), piece) for index, piece in enumerate(pieces) if index % 10]


def make_model_folder(
    folder: Path, *, context: int = 64, zero: tuple[str, ...] = (), scale: float = 1.0, seed: int = 0
) -> Path:
    """A Llama of 2 layers, width 32, over 256 bytes and EOS; weights named like one of `zero` are 0."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {EOS: 0, **{letter: index + 1 for index, letter in enumerate(alphabet)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([EOS])
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=context,
            bos_token_id=0,
            eos_token_id=0,
            tie_word_embeddings=False,
        )
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(0.0 if any(part in name for part in zero) else scale if "norm" not in name else 1.0)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
