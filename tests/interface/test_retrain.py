"""`ingot retrain` fills the fields of the form; the form is typed, described, and sends nothing for an empty field."""

from typing import Any

import pytest

from deployments.register import form_schema
from interface.cli import main
from interface.output import Printer
from interface.retrain import print_plan
from tasks.planning import Plan, PlanStep


def test_the_command_fills_the_forms_fields(started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGOT_ACTOR", "maria")
    main(["retrain", "demo", "--corpus", "demo@3", "--set", "train.0.tokens=800_000", "--dry-run"])
    main(["retrain", "demo", "--requested-by", "ada"])
    first, second = started
    assert first["flow"] == "retrain_model" and first["recipe"].endswith("recipes/demo.yaml")
    assert (first["corpus"], first["overrides"], first["dry_run"]) == ("demo@3", ["train.0.tokens=800_000"], True)
    assert (first["requested_by"], second["requested_by"]) == ("maria", "ada")
    assert (second["corpus"], second["overrides"], second["dry_run"]) == ("", [], False)


def test_the_plan_is_printed_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    steps = (
        PlanStep(name="tokenize", reused=True, why="token files are there", seconds=0.0),
        PlanStep(name="train.0 pretrain", reused=False, why="changed: seed 0 -> 1", seconds=300.0, basis="as run ab"),
    )
    plan = Plan(
        recipe="r.yaml", model="mini", corpus="handbook@2", steps=steps, newest="mini/3", changes=("seed 0 -> 1",),
        gate="the candidate against mini/1", approver="any named person", requested_by="ada",
    )  # fmt: skip
    print_plan(plan, Printer(as_json=False))
    printed = capsys.readouterr().out
    assert "Plan: mini on handbook@2" in printed
    assert "train.0 pretrain  runs    changed: seed 0 -> 1   5 min (as run ab)" in printed
    assert "time: about 5 min\n" in printed and "changed since mini/3: seed 0 -> 1" in printed


@pytest.fixture(scope="module")
def form() -> dict[str, Any]:
    from prefect.utilities.callables import parameter_schema

    from flows.retrain_model import retrain_model

    return form_schema(parameter_schema(retrain_model.fn).model_dump_for_openapi())


def test_every_field_of_the_form_is_described_and_has_one_type(form: dict[str, Any]) -> None:
    fields = form["properties"]
    assert sorted(fields, key=lambda name: fields[name]["position"]) == [
        "recipe", "corpus", "compare_with", "tokens", "learning_rate", "seed", "overrides", "requested_by", "dry_run",
    ]  # fmt: skip
    assert form["required"] == ["recipe"]
    for name, field in fields.items():
        assert len(field["description"]) > 10, name
        assert isinstance(field["type"], str), name  # "a number or null" becomes a switch between two types
        assert field.get("default", "") is not None, name  # an empty field would be sent as null, and refused
    assert (fields["tokens"]["minimum"], fields["seed"]["minimum"]) == (1, 0)
    assert (fields["learning_rate"]["exclusiveMinimum"], fields["learning_rate"]["exclusiveMaximum"]) == (0, 1)


@pytest.mark.parametrize(
    ("field", "taken", "refused"),
    [
        ("corpus", ["", "handbook", "handbook@latest", "handbook@12"], ["Handbook", "handbook@", "handbook@0", "a b"]),
        ("compare_with", ["", "mini@champion", "mini/3"], ["mini", "mini@candidate", "mini/x"]),
        ("tokens", [1, 800_000], [0, 1.5, "many"]),
        ("learning_rate", [0.001], [0, 1, "fast"]),
        ("overrides", [[], ["train.0.tokens=1", "seed = 2"]], [["seed"], "seed=1"]),
    ],
)
def test_the_server_refuses_what_a_field_does_not_take(
    form: dict[str, Any], field: str, taken: list[Any], refused: list[Any]
) -> None:
    from prefect.utilities.schema_tools.validation import is_valid

    assert all(is_valid({"recipe": "demo", field: value}, form) for value in taken)
    assert [value for value in refused if is_valid({"recipe": "demo", field: value}, form)] == []
