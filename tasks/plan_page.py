"""The plan of a retrain, and what came of it, as Markdown for the control room and as rows for a terminal."""

from collections.abc import Mapping

from ingot.markdown import plain
from ingot.model_versions import ModelVersion
from ingot.refs import VerdictRef
from tasks.planning import Plan, PlanStep
from tasks.progress import duration

_WORDS = {"PASS": "Passed", "FIRST": "First, no champion to pass"}


def plan_markdown(plan: Plan) -> str:
    """The plan as a page."""
    runs = [step.name for step in plan.steps if not step.reused]
    lines = [
        f"# Plan: {plan.model} on {plan.corpus}",
        "",
        f"Recipe `{plan.recipe}`. {_headline(plan, runs)}",
        "",
        "| step | | why | about |",
        "|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(map(plain, row))} |" for row in plan_rows(plan)]
    lines += ["", f"**Time:** {time_words(plan)}.", "", f"**Gate:** {plan.gate}.", ""]
    lines += [f"**Approval:** by {plan.approver}; nothing is promoted by itself.", ""]
    if plan.requested_by:
        lines += [f"**Requested by:** {plain(plan.requested_by)}", ""]
    if plan.newest is None:
        return "\n".join([*lines, f"This is the first version of {plan.model}."])
    if not plan.changes:
        return "\n".join([*lines, f"Nothing changed since {plan.newest}."])
    return "\n".join([*lines, f"## Changed since {plan.newest}", "", *(f"- {plain(c)}" for c in plan.changes)])


def plan_rows(plan: Plan) -> list[list[str]]:
    """One row a step: name, reused or runs, why, about how long and on what that rests."""
    return [[step.name, "reused" if step.reused else "runs", step.why, _about(step)] for step in plan.steps]


def time_words(plan: Plan) -> str:
    """About how long the whole takes."""
    if plan.reuses_everything:
        return "seconds: everything is there"
    known = f"about {duration(plan.known_seconds)}"
    if not plan.unknown:
        return known
    unknown = f"not known how long: {', '.join(plan.unknown)}"
    return f"{known} and more ({unknown})" if plan.known_seconds else unknown


def result_markdown(
    plan: Plan, version: ModelVersion, verdict: VerdictRef, *, took: float, links: Mapping[str, str]
) -> str:
    """What came of it: pass or hold and why, where to look, what to do next. links: text to address, in order."""
    name = f"{version.name}/{version.version}"
    lines = [
        f"# {_WORDS.get(verdict.verdict, 'Held back')}: {name}",
        "",
        f"Verdict **{verdict.verdict}** of the gate.",
        "",
        plain(verdict.reason),
        "",
        *(f"- [{text}]({address})" for text, address in links.items()),
        "",
        f"**Next:** {next_step(name, verdict, plan)}",
        "",
        f"**Time:** {duration(took)}; the plan said {time_words(plan)}.",
    ]
    return "\n".join(lines)


def next_step(name: str, verdict: VerdictRef, plan: Plan) -> str:
    """What a person does now."""
    if verdict.verdict in _WORDS:
        return (
            f"{plan.approver} approves it, or does not: with the deployment `promote` and `{name}`, or with "
            f"`ingot approve {name} --reason ... --key ...`."
        )
    if verdict.verdict == "FAIL":
        return "nothing is promoted. Compare the two versions, change recipe or data, and retrain."
    return "nothing is promoted: the documents do not tell. Hold out more, or train on; then retrain."


def _headline(plan: Plan, runs: list[str]) -> str:
    if not runs:
        return "Everything is there already: nothing is trained or measured."
    return f"Runs: {', '.join(runs)}." if len(runs) < len(plan.steps) else "Every step runs."


def _about(step: PlanStep) -> str:
    if step.reused:
        return "-"
    if step.seconds is None:
        return step.basis
    return f"{duration(step.seconds)} ({step.basis})" if step.basis else duration(step.seconds)
