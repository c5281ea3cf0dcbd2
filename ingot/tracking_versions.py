"""Versions and aliases in MLflow's registry, of models and of corpora, under our own numbers.

The ledger decides which version is the champion; the alias follows it. Every function raises
ServiceError when MLflow does not answer: the caller has already written the ledger, and
`ingot rebuild` repairs the view.
"""

from collections.abc import Iterator
from typing import Any

from ingot.errors import NotFoundError
from ingot.tracking import RUN_TAG, ask, find_run
from ingot.tracking_records import VersionRecord

VERSION_TAG = "ingot.version"
KIND_TAG = "ingot.kind"


def register_model_version(tracking_uri: str, record: VersionRecord) -> None:
    """Make the version if it is not there, and set its description, tags and aliases; safe to repeat."""

    def register(client: Any) -> None:
        _create_model(client, record)
        present = _find(client, record.name, record.version, record.kind)
        if present is None:
            run = find_run(client, record.run_key) if record.run_key else None
            tags = {**record.tags, VERSION_TAG: str(record.version), KIND_TAG: record.kind}
            if record.run_key:
                tags[RUN_TAG] = record.run_key
            present = client.create_model_version(
                record.name,
                record.source,
                run_id=run.info.run_id if run else None,
                tags=tags,
                description=record.description or None,
                await_creation_for=None,  # nothing is copied, so there is nothing to wait for
            )
        else:
            for key, value in sorted(record.tags.items()):
                if present.tags.get(key) != value:
                    client.set_model_version_tag(record.name, present.version, key, value)
            if record.description and record.description != present.description:
                client.update_model_version(record.name, present.version, record.description)
        for alias in record.aliases:
            client.set_registered_model_alias(record.name, alias, present.version)

    ask(tracking_uri, register)


def set_alias(tracking_uri: str, name: str, alias: str, version: int) -> None:
    """Point an alias at our version; raises NotFoundError when MLflow does not have that version."""

    def point(client: Any) -> bool:
        present = _find(client, name, version)
        if present is not None:
            client.set_registered_model_alias(name, alias, present.version)
        return present is not None

    if not ask(tracking_uri, point):
        raise NotFoundError(f"MLflow has no version {version} of model {name}; `ingot rebuild` registers it again")


def get_alias(tracking_uri: str, name: str, alias: str) -> int | None:
    """Our number of the version an alias points at; None when there is no such model or alias."""

    def look(client: Any) -> int | None:
        try:
            found = client.get_model_version_by_alias(name, alias)
        except Exception as error:
            # An unknown alias is an invalid parameter to MLflow, an unknown model does not exist.
            if _code(error) in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        number = found.tags.get(VERSION_TAG)
        return int(number) if number else None

    return ask(tracking_uri, look)


def shown_versions(tracking_uri: str, name: str, kind: str = "model") -> set[int]:
    """Our numbers of the versions that MLflow shows under this name; empty when it has no such name."""
    return ask(
        tracking_uri,
        lambda client: {
            int(found.tags[VERSION_TAG])
            for found in _versions(client, name)
            if VERSION_TAG in found.tags and found.tags.get(KIND_TAG, "model") == kind
        },
    )


def _create_model(client: Any, record: VersionRecord) -> None:
    try:
        client.create_registered_model(record.name, {KIND_TAG: record.kind}, record.about or None)
    except Exception as error:
        if _code(error) != "RESOURCE_ALREADY_EXISTS":
            raise


def _code(error: Exception) -> str:
    """MLflow's code of an error, without importing its class here; empty for any other error."""
    return str(getattr(error, "error_code", ""))


def _find(client: Any, name: str, version: int, kind: str = "model") -> Any | None:
    # A model may be called like the registered name of a corpus: the kind keeps their numbers apart.
    wanted = (str(version), kind)
    return next(
        (
            found
            for found in _versions(client, name)
            if (found.tags.get(VERSION_TAG), found.tags.get(KIND_TAG, "model")) == wanted
        ),
        None,
    )


def _versions(client: Any, name: str) -> Iterator[Any]:
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", max_results=200, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
