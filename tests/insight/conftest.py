"""Corpora and roads of the curation tests, for looking into what they publish."""

from tests.curation.conftest import corpus, made_up, road

__all__ = ["corpus", "made_up", "road"]
