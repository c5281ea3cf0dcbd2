"""The demo, documents to evaluated model, with its store on S3: corpus, tokens and weights of a local disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ingot import manifest, model_versions
from ingot.digests import digest_of
from ingot.storage import Store
from tests.e2e.documents import Handbook
from tests.e2e.site import Site

_OF_S3 = ("INGOT_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "NO_PROXY")


class DemoSite(Site):
    """A home with nothing in it, whose store may lie elsewhere."""

    root: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        if self.root is None:
            return super().environment
        given = {name: os.environ[name] for name in _OF_S3}
        return {**super().environment, **given, "INGOT_STORE": self.root}


@contextmanager
def demo_site(folder: Path, root: str | None) -> Iterator[DemoSite]:
    site = DemoSite(folder / "home", Handbook(folder / "documents"), folder / "recipe.yaml")
    site.root = root
    site.prepare()
    try:
        yield site
    finally:
        site.ingot("down")


def digests(store: Store) -> dict[str, Any]:
    """Everything that the demo made, by digest."""
    corpus = manifest.read(store, "demo", 1)
    (model,) = model_versions.versions_of(store, "mini")
    files = store.read_record(f"{model.checkpoint_key}/manifest.json")["files"]
    weights = [file for file in files if file["name"].endswith(".safetensors")]
    assert weights
    return {
        "content": corpus.identity.content_digest,
        "root": corpus.identity.root_digest,
        "identity": corpus.identity_digest,
        "tokens": {key: store.size(key) for key in store.list("tokens/")},
        "fingerprint": model.checkpoint_fingerprint,
        "checkpoint": digest_of(weights),
    }


@pytest.mark.faults
def test_the_demo_on_s3_gives_the_digests_of_a_local_disk(
    root: str, tmp_path: Path, is_long: bool, service: Any
) -> None:
    if not is_long:
        pytest.skip("two whole demos take six minutes: `make faults` runs them")
    if service.name != "ceph":
        pytest.skip("once is enough, on the real service")
    found = []
    for name, place in (("local", None), ("s3", root)):
        with demo_site(tmp_path / name, place) as site:
            done = site.ingot("demo", "--json")
            assert done.exit_code == 0, done.stderr[-3000:]
            assert site.ingot("verify").exit_code == 0
            environment = site.environment
            found.append(digests(Store(environment.get("INGOT_STORE", site.settings.store))))
    assert found[0] == found[1]
