"""`--detach` and `--request-id`: a run that a worker does, and a request that may be repeated without harm."""

import os
from typing import Any

from deployments import local_stack, run_control
from deployments.run_control import Asked
from ingot import run_tags
from ingot.ledger import Actor
from interface.context import open_settings
from interface.output import Printer


def ask(flow: str, arguments: dict[str, Any], *, detach: bool, request_id: str | None) -> Asked:
    """Make a run of a flow (named as its module) for a worker or for this process, or find what the request made."""
    server = local_stack.prefect_server(open_settings())
    person = Actor.current().id
    if detach:
        # Names of the organisation's own rules, sources and graders are looked up there.
        workspace = os.environ.get("INGOT_WORKSPACE")
        environment = {"INGOT_WORKSPACE": workspace} if workspace else {}
        return run_control.ask_worker(
            server, flow, arguments, person=person, request_id=request_id, environment=environment
        )
    from deployments.prefect_api import process_tag

    assert request_id is not None, "a run of this process that has no name is made by Prefect's engine"
    return run_control.ask_here(
        server, run_control.FLOW_NAMES[flow], arguments, person=person, request_id=request_id, tags=[process_tag()]
    )


def tell(asked: Asked, printer: Printer, addresses: dict[str, str], *, follow: bool) -> int:
    """Say which run answers a request; with `follow`, go on until it ends and return its exit code."""
    from interface.following import follow_run

    run = asked.run
    url = run_control.run_url(addresses["prefect"], run["id"])
    if asked.is_new:
        printer.line(f"run {run['id']} ({run['name']}) waits for a worker: {url}")
        printer.line(f"follow it with: ingot run {run['id'][:8]} --follow")
    else:
        name = run_tags.request_id(run["tags"])
        printer.line(f"request {name!r} is run {run['id']} ({run['name']}), {run['state_name']}: {url}")
    if follow:
        return follow_run(run["id"], printer)
    shown = {"id": run["id"], "name": run["name"], "state": run["state_name"], "url": url}
    printer.result({"run": shown, "repeated": not asked.is_new})
    return 0
