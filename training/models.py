"""Models: from a recipe's shape to a Hugging Face causal language model with fresh weights.

The architecture is a dense Llama (RMSNorm, rotary positions, SwiGLU, no biases), so that a finished
checkpoint opens with `AutoModelForCausalLM` anywhere. Building a demo-sized model takes about 30 ms;
transformers itself is imported on first use (2 to 4 s).
"""

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training import adopted_shape
from training.adopted_shape import AdoptedShape

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

VOCAB_MULTIPLE = 64
"""The embedding has a multiple of this many rows: tensor cores and vector units want full tiles."""

EOS_ID = 0
"""Token shards end every document with id 0 (CONTRACTS 7)."""


class ModelConfig(BaseModel):
    """The shape of a model trained from scratch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["llama"] = Field(description="Architecture; llama is the dense transformer every tool can load.")
    layers: int = Field(gt=0, description="Number of transformer blocks.")
    width: int = Field(gt=0, description="Size of the residual stream, in features.")
    heads: int | None = Field(
        default=None, gt=0, description="Attention heads; unset: width / 64, the head size fast kernels are made for."
    )
    kv_heads: int | None = Field(
        default=None,
        gt=0,
        description="Key and value heads, fewer than heads for grouped-query attention; unset: as many as heads.",
    )
    mlp_width: int | None = Field(
        default=None,
        gt=0,
        description="Hidden size of the feed-forward block; unset: 8/3 of width, rounded up to a multiple of 64.",
    )
    tie_embeddings: bool = Field(
        default=True,
        description="One matrix for input and output tokens; on, because in small models it is most of the weights.",
    )
    init_std: float | None = Field(
        default=None,
        gt=0,
        description="Standard deviation of fresh weights; unset: 1 / sqrt(width), which needs no tuning by size.",
    )

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "ModelConfig":
        heads, kv_heads = self.num_heads, self.num_kv_heads
        if self.width % heads or (self.width // heads) % 2:
            raise ValueError(
                f"width {self.width} over {heads} heads is not a whole even head size; choose heads so that "
                "width / heads is even, e.g. 32 or 64"
            )
        if heads % kv_heads:
            raise ValueError(f"heads {heads} is not a multiple of kv_heads {kv_heads}; choose kv_heads that divide it")
        return self

    @property
    def num_heads(self) -> int:
        """Attention heads after the default."""
        return self.heads or max(1, self.width // 64)

    @property
    def num_kv_heads(self) -> int:
        """Key and value heads after the default."""
        return self.kv_heads or self.num_heads

    @property
    def mlp_features(self) -> int:
        """Feed-forward size after the default."""
        return self.mlp_width or round_up(-(-self.width * 8 // 3), 64)

    @property
    def weight_std(self) -> float:
        """Standard deviation of fresh weights after the default."""
        return self.init_std or self.width**-0.5


def round_up(number: int, multiple: int) -> int:
    """The smallest multiple that is not below the number."""
    return -(-number // multiple) * multiple


def non_embedding_parameters(config: ModelConfig | AdoptedShape) -> int:
    """Weights of the blocks and norms; what scaling rules call N."""
    if isinstance(config, AdoptedShape):
        return config.num_non_embedding_parameters
    head_size = config.width // config.num_heads
    attention = config.width * head_size * (2 * config.num_heads + 2 * config.num_kv_heads)
    feed_forward = 3 * config.width * config.mlp_features
    return config.layers * (attention + feed_forward + 2 * config.width) + config.width


def num_parameters(config: ModelConfig | AdoptedShape, vocab_size: int) -> int:
    """All weights, a tied embedding counted once; equal to what the built model holds."""
    if isinstance(config, AdoptedShape):
        return config.num_parameters(vocab_size)
    embedding = round_up(vocab_size, VOCAB_MULTIPLE) * config.width
    return non_embedding_parameters(config) + embedding * (1 if config.tie_embeddings else 2)


def build_model(
    config: ModelConfig | AdoptedShape, *, vocab_size: int, context_length: int, seed: int
) -> "LlamaForCausalLM":
    """A model with fresh float32 weights on the CPU, the same ones for the same seed; an adopted shape as it is."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    if isinstance(config, AdoptedShape):
        adopted: LlamaForCausalLM = adopted_shape.build_model(config.hf_config, rows=config.rows(vocab_size))
        return adopted
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=round_up(vocab_size, VOCAB_MULTIPLE),
            hidden_size=config.width,
            intermediate_size=config.mlp_features,
            num_hidden_layers=config.layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            max_position_embeddings=context_length,
            tie_word_embeddings=config.tie_embeddings,
            initializer_range=config.weight_std,
            bos_token_id=EOS_ID,
            eos_token_id=EOS_ID,
            dtype="float32",
        )
    )
