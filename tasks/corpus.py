"""Finding published corpus versions by name."""

from ingot import manifest
from ingot.refs import CorpusRef, MixtureRef, TokensRef, parts_of
from ingot.storage import Store
from tasks.runtime import runtime


def find_corpus(name: str) -> CorpusRef:
    """The ref of `handbook`, `handbook@latest` or `handbook@12`; NotFoundError with what there is."""
    return find_published(runtime().store, name)


def find_published(store: Store, name: str) -> CorpusRef:
    """The same in a store that is at hand."""
    corpus, version = manifest.find(store, name)
    return manifest.ref_of(manifest.read(store, corpus, version), version)


def corpora_of(store: Store, data: TokensRef | MixtureRef) -> list[CorpusRef]:
    """The corpus versions that a stage reads, in the order of its data."""
    return [find_published(store, part.corpus) for part in parts_of(data)]
