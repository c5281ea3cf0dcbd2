"""The shape of a model that came from outside: its own config.json, and the numbers that plans and meters need.

A recipe's `ModelConfig` describes what we build from scratch; this describes any causal language model that the
installed transformers builds from a config alone. torch and transformers are imported on use.
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ingot.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VOCAB_MULTIPLE = 64
"""Rows of a grown embedding, as of fresh ones (`training.models.VOCAB_MULTIPLE`)."""

# What would come between the last hidden state and the logits, where the loop computes them itself.
_CHANGES_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "logits_scale", "lm_head_multiplier")


_NUM_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""What configs call the experts of a layer: Mixtral, OLMoE and Qwen, DeepSeek."""


class AdoptedShape(BaseModel):
    """The shape of an adopted model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["adopted"] = Field(description="Taken over from an adopted model; not for writing by hand.")
    architecture: str = Field(description="Class of transformers, e.g. LlamaForCausalLM.")
    hf_config: dict[str, Any] = Field(description="Its config.json.")
    layers: int = Field(gt=0, description="Number of transformer blocks.")
    width: int = Field(gt=0, description="Size of the residual stream, in features.")
    vocabulary_rows: int = Field(gt=0, description="Rows of its embedding.")
    parameters_per_row: int = Field(gt=0, description="Weights that a vocabulary entry has, in embedding and head.")
    num_non_embedding_parameters: int = Field(gt=0, description="Weights of the blocks and norms.")
    num_active_parameters: int = Field(gt=0, description="Of these, weights that one token meets.")
    context_tokens: int | None = Field(default=None, description="Tokens it sees at once; unset: it names no limit.")

    @property
    def is_mixture(self) -> bool:
        """Whether a token meets a part of the weights only."""
        return self.num_active_parameters < self.num_non_embedding_parameters

    def rows(self, vocab_size: int) -> int:
        """Rows of the embedding for a vocabulary: its own while they suffice, else more."""
        if vocab_size <= self.vocabulary_rows:
            return self.vocabulary_rows
        return -(-vocab_size // VOCAB_MULTIPLE) * VOCAB_MULTIPLE

    def num_parameters(self, vocab_size: int) -> int:
        """All weights, a tied embedding counted once."""
        return self.num_non_embedding_parameters + self.parameters_per_row * self.rows(vocab_size)


def shape_of(hf_config: dict[str, Any]) -> AdoptedShape:
    """The shape that a config.json describes, counted on a model without memory.

    Raises DataError for what is no causal language model of the installed transformers, or one that the training loop
    cannot run.
    """
    import torch

    with torch.device("meta"):
        model = build_model(hf_config, rows=None)
    architecture = type(model).__name__
    if not hasattr(getattr(model, "model", None), "layers") or getattr(model, "lm_head", None) is None:
        raise DataError(
            f"architecture {architecture} has no `model.layers` and `lm_head`, which the training loop runs; adopt one "
            "that is built like Llama, Mistral, Qwen, OLMo, OLMoE or Mixtral"
        )
    values = model.config.to_dict()
    changed = [name for name in _CHANGES_LOGITS if values.get(name) not in (None, 0, 1, 1.0)]
    if changed or model.lm_head.bias is not None:
        what = f"config.json sets {changed[0]} {values[changed[0]]}" if changed else "its head has a bias"
        raise DataError(
            f"architecture {architecture} changes the logits behind its head ({what}), which the training loop does "
            "not; adopt a model without"
        )
    embedding, head = model.get_input_embeddings().weight, model.lm_head.weight
    outside = {id(embedding): embedding, id(head): head}
    total = sum(parameter.numel() for parameter in model.parameters())
    blocks = total - sum(weight.numel() for weight in outside.values())
    return AdoptedShape(
        family="adopted",
        architecture=architecture,
        hf_config=hf_config,
        layers=len(model.model.layers),
        width=embedding.shape[1],
        vocabulary_rows=embedding.shape[0],
        parameters_per_row=sum(weight.shape[1] for weight in outside.values()),
        num_non_embedding_parameters=blocks,
        num_active_parameters=blocks - _resting_parameters(model, values),
        context_tokens=values.get("max_position_embeddings"),
    )


def _resting_parameters(model: "PreTrainedModel", values: dict[str, Any]) -> int:
    """Weights of the experts that a token does not meet."""
    experts = next((values[name] for name in _NUM_EXPERTS if values.get(name)), None)
    if not experts:
        return 0
    held = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name)
    return held - held * int(values["num_experts_per_tok"]) // int(experts)


def build_model(hf_config: dict[str, Any], *, rows: int | None) -> Any:
    """A float32 model of a config.json with fresh weights; rows is the size of its vocabulary, None leaves it."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    kind = hf_config.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise DataError(
            f"config.json states model_type {kind!r}, which the installed transformers does not know without remote "
            "code; adopt a model of a known architecture, or install a transformers that has it"
        )
    try:
        config = CONFIG_MAPPING[kind].from_dict(dict(hf_config))
        if rows is not None:
            config.vocab_size = rows
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except (ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, RuntimeError) as error:
        raise DataError(
            f"config.json describes no causal language model ({type(error).__name__}: {str(error)[:200]}); adopt one "
            "that AutoModelForCausalLM builds"
        ) from error


def load_model(folder: str, *, names_only: bool = False) -> Any:
    """The float32 model of a local folder, with every weight its own; names_only reads names and shapes, no weights.

    Raises DataError when weights are missing, too many, or of another shape than config.json says.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # its report is made an error below
    transformers_logging.disable_progress_bar()
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True,
            use_safetensors=True, trust_remote_code=False, **({"device_map": {"": "meta"}} if names_only else {}),
        )  # fmt: skip
    finally:
        transformers_logging.set_verbosity(before)
    wrong = {
        "missing": sorted(map(str, found["missing_keys"])),
        "of another shape": sorted(
            f"{name} {list(there)} in the file, {list(wanted)} by config.json"
            for name, there, wanted in found["mismatched_keys"]
        ),
        "unknown to the architecture": sorted(map(str, found["unexpected_keys"])),
    }
    for what, names in wrong.items():
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise DataError(
                f"{type(model).__name__}: weights are {what}: {', '.join(names[:3])}{more}; the folder must hold "
                "exactly the weights that its config.json describes"
            )
    return model
