"""Prefect's server as `prefect server start` runs it, with a policy on its pages (deployments/page_policy.py)."""

from deployments.page_policy import App, stay_here


def create_app() -> App:
    """The API, the pages and the background services, for `uvicorn --factory`."""
    from prefect.server.api import server

    return stay_here(server.create_app(final=True))  # type: ignore[arg-type]  # FastAPI is an ASGI application
