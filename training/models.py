"""Models: from a recipe's shape to a Hugging Face causal language model with fresh weights.

Families are transformers' own classes (RMSNorm, rotary positions, SwiGLU, no biases), so that a finished checkpoint
opens with `AutoModelForCausalLM` and vLLM as it is:

    llama, mistral      dense
    qwen3               dense, queries and keys normed head by head
    mixtral             mixture of experts, the weights of a token's experts sum to 1
    olmoe               mixture, queries and keys normed whole, weights as the router's softmax has them (Muennighoff et
                        al. 2024, arXiv:2409.02060)
    qwen3_moe           mixture, queries and keys normed head by head, weights sum to 1

Building a demo-sized model takes about 30 ms; transformers itself is imported on first use (2 to 4 s).
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training import adopted_shape
from training.adopted_shape import AdoptedShape

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCAB_MULTIPLE = 64
"""The embedding has a multiple of this many rows: tensor cores and vector units want full tiles."""

EOS_ID = 0
"""Token shards end every document with id 0 (CONTRACTS 7)."""


Family = Literal["llama", "mistral", "qwen3", "mixtral", "olmoe", "qwen3_moe"]
MIXTURES = ("mixtral", "olmoe", "qwen3_moe")
"""Families whose feed-forward blocks are mixtures of experts."""
_HEAD_NORMS = ("qwen3", "qwen3_moe")
_EXPERT_FIELDS = ("experts", "experts_per_token", "expert_width")


class ModelConfig(BaseModel):
    """The shape of a model trained from scratch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Family = Field(
        description="Architecture: llama, mistral, qwen3 (dense), mixtral, olmoe, qwen3_moe (mixtures of experts). "
        "llama is the one every tool can load."
    )
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
    experts: int | None = Field(
        default=None, ge=2, description="Of a mixture: feed-forward blocks of a layer to choose from; 8 to 128 usually."
    )
    experts_per_token: int | None = Field(
        default=None, ge=1, description="Of a mixture: how many of them a token goes through; unset: 2, as in Mixtral."
    )
    expert_width: int | None = Field(
        default=None,
        gt=0,
        description="Of a mixture: hidden size of one expert; unset: so that a token's experts together are as wide as "
        "the feed-forward block of a dense model.",
    )
    tie_embeddings: bool = Field(
        default=True,
        description="One matrix for input and output tokens; on, because in small models it is most of the weights. "
        "olmoe wants false: vLLM finds no head of a tied one.",
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

    @model_validator(mode="after")
    def _experts_belong_to_a_mixture(self) -> "ModelConfig":
        given = [name for name in _EXPERT_FIELDS if getattr(self, name) is not None]
        if not self.is_mixture:
            if given:
                told = ", ".join(given)
                raise ValueError(f"{told} of family {self.family}, which is dense; take it out, or choose olmoe, "
                                 "mixtral or qwen3_moe")  # fmt: skip
            return self
        if self.experts is None:
            raise ValueError(f"family {self.family} is a mixture of experts; give `experts`, for example 8")
        if self.mlp_width is not None:
            raise ValueError(f"mlp_width {self.mlp_width} of a mixture; its blocks are experts, set expert_width")
        if self.num_chosen > self.experts:
            raise ValueError(f"experts_per_token {self.num_chosen} of {self.experts} experts; choose at most as many")
        return self

    @property
    def is_mixture(self) -> bool:
        """Whether the feed-forward blocks are mixtures of experts."""
        return self.family in MIXTURES

    @property
    def num_chosen(self) -> int:
        """Experts a token goes through after the default."""
        return self.experts_per_token or 2

    @property
    def expert_features(self) -> int:
        """Hidden size of one expert after the default."""
        return self.expert_width or round_up(-(-self.mlp_features // self.num_chosen), 32)

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
    return config.layers * (_attention_and_norms(config) + _feed_forward(config, config.experts or 1)) + config.width


def active_non_embedding_parameters(config: ModelConfig | AdoptedShape) -> int:
    """Those of them that one token meets; all of them in a dense model."""
    if isinstance(config, AdoptedShape):
        return config.num_active_parameters
    met = config.num_chosen if config.is_mixture else 1
    return config.layers * (_attention_and_norms(config) + _feed_forward(config, met)) + config.width


def num_parameters(config: ModelConfig | AdoptedShape, vocab_size: int) -> int:
    """All weights, a tied embedding counted once; equal to what the built model holds."""
    if isinstance(config, AdoptedShape):
        return config.num_parameters(vocab_size)
    return non_embedding_parameters(config) + _embeddings(config, vocab_size)


def active_parameters(config: ModelConfig | AdoptedShape, vocab_size: int) -> int:
    """Weights that one token meets, embeddings included as published counts do; all of them in a dense model."""
    resting = non_embedding_parameters(config) - active_non_embedding_parameters(config)
    return num_parameters(config, vocab_size) - resting


def _embeddings(config: ModelConfig, vocab_size: int) -> int:
    return round_up(vocab_size, VOCAB_MULTIPLE) * config.width * (1 if config.tie_embeddings else 2)


def _attention_and_norms(config: ModelConfig) -> int:
    head_size = config.width // config.num_heads
    norms = 2 * config.width
    if config.family in _HEAD_NORMS:
        norms += 2 * head_size
    if config.family == "olmoe":
        norms += head_size * (config.num_heads + config.num_kv_heads)
    return config.width * head_size * (2 * config.num_heads + 2 * config.num_kv_heads) + norms


def _feed_forward(config: ModelConfig, num_experts: int) -> int:
    """Weights of a feed-forward block with so many experts, its router included."""
    if not config.is_mixture:
        return 3 * config.width * config.mlp_features
    assert config.experts is not None, "checked when the config is made"
    return config.width * (num_experts * 3 * config.expert_features + config.experts)


def identity_of_model(values: dict[str, Any]) -> dict[str, Any]:
    """A dumped ModelConfig as a fingerprint knows it: dense models are what they were before there were experts."""
    return {name: value for name, value in values.items() if name not in _EXPERT_FIELDS or value is not None}


def build_model(
    config: ModelConfig | AdoptedShape, *, vocab_size: int, context_length: int, seed: int
) -> "PreTrainedModel":
    """A model with fresh float32 weights on the CPU, the same ones for the same seed; an adopted shape as it is."""
    import torch
    import transformers

    from training.experts import use_grouped_experts

    torch.manual_seed(seed)
    if isinstance(config, AdoptedShape):
        adopted: PreTrainedModel = adopted_shape.build_model(config.hf_config, rows=config.rows(vocab_size))
        if config.hf_config["model_type"] in MIXTURES:
            use_grouped_experts(adopted)
        return adopted
    prefix = {"llama": "Llama", "mistral": "Mistral", "qwen3": "Qwen3", "mixtral": "Mixtral", "olmoe": "Olmoe",
              "qwen3_moe": "Qwen3Moe"}[config.family]  # fmt: skip
    made = getattr(transformers, f"{prefix}Config")(
        vocab_size=round_up(vocab_size, VOCAB_MULTIPLE),
        hidden_size=config.width,
        intermediate_size=config.expert_features if config.is_mixture else config.mlp_features,
        num_hidden_layers=config.layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        max_position_embeddings=context_length,
        tie_word_embeddings=config.tie_embeddings,
        initializer_range=config.weight_std,
        bos_token_id=EOS_ID,
        eos_token_id=EOS_ID,
        dtype="float32",
        **_family_values(config),
    )
    model: PreTrainedModel = getattr(transformers, f"{prefix}ForCausalLM")(made)
    if config.is_mixture:
        use_grouped_experts(model)
    return model


def _family_values(config: ModelConfig) -> dict[str, Any]:
    """What only some families have, and what their published defaults would get wrong here."""
    head_size = config.width // config.num_heads
    values: dict[str, Any] = {}
    if config.family in ("mistral", "qwen3", "mixtral", "qwen3_moe"):
        values |= {"head_dim": head_size, "sliding_window": None}
    if config.is_mixture:
        # Without pad_token_id olmoe takes token 1 for padding and never trains its embedding.
        values |= {"num_experts_per_tok": config.num_chosen, "pad_token_id": None}
        values["num_local_experts" if config.family == "mixtral" else "num_experts"] = config.experts
    if config.family == "qwen3_moe":
        values |= {"moe_intermediate_size": config.expert_features, "norm_topk_prob": True}
    return values
