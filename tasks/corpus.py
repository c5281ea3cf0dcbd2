"""Finding a published corpus version by name."""

from ingot import manifest
from ingot.refs import CorpusRef
from tasks.runtime import runtime


def find_corpus(name: str) -> CorpusRef:
    """The ref of `handbook`, `handbook@latest` or `handbook@12`; NotFoundError with what there is."""
    store = runtime().store
    corpus, version = manifest.find(store, name)
    return manifest.ref_of(manifest.read(store, corpus, version), version)
