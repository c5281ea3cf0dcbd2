"""Where a stage starts, as a recipe writes it; `tasks/starts.py` finds what it means in the store."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator


class StartFrom(BaseModel):
    """A checkpoint to start from: of a model version, of a training run, by its own key, or an adopted model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | None = Field(default=None, description="A model version: mini/3, mini@3, mini@champion.")
    run: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{8,64}$", description="A training run: its fingerprint, or the first 8 digits."
    )
    checkpoint: str | None = Field(
        default=None, pattern=r"^checkpoints/[0-9a-f]{64}/[0-9]{8}$", description="A checkpoint's key in the store."
    )
    adopted: str | None = Field(default=None, description="An adopted model by its name: base-1b; or adopted/base-1b.")
    at: Literal["before_decay"] | None = Field(
        default=None, description="before_decay: where the run's learning rate began to fall; unset: its end."
    )

    @model_validator(mode="before")
    @classmethod
    def _a_name_is_a_model(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.startswith("adopted/"):
            return {"adopted": value.removeprefix("adopted/")}
        return {"checkpoint": value} if value.startswith("checkpoints/") else {"model": value}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The schema of a recipe says that a name alone will do."""
        schema: dict[str, Any] = handler.resolve_ref_schema(handler(core_schema))
        mapping = dict(schema)
        schema.clear()
        schema.update({"anyOf": [{"type": "string"}, mapping]})
        return schema

    @model_validator(mode="after")
    def _names_one_thing(self) -> "StartFrom":
        given = [name for name in ("model", "run", "checkpoint", "adopted") if getattr(self, name) is not None]
        if len(given) != 1:
            told = " and ".join(given) or "nothing"
            raise ValueError(f"start names {told}; give one of model, run, checkpoint, adopted")
        if self.at is not None and (self.checkpoint or self.adopted) is not None:
            raise ValueError(
                f"at {self.at} belongs to a model or a run; a checkpoint or an adopted model is one place already"
            )
        return self
