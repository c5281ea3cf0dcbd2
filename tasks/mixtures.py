"""What a stage reads: the recipe's own corpus, or with it other published versions, tokenized by one tokenizer."""

from collections.abc import Callable

from datasets_pipeline import tokens as token_files
from ingot import manifest
from ingot.config import NamedConfig, Recipe
from ingot.errors import RecipeError
from ingot.refs import CorpusRef, MixtureRef, TokensRef
from ingot.storage import Store
from tasks.corpus import find_published
from tasks.training import tokenize
from training.data_parts import OWN, DataPart
from training.stages import pretrain

Tokenize = Callable[[CorpusRef], TokensRef | None]
"""Token files of a corpus version by the tokenizer of the recipe's own; None where they are not there."""


def stage_data(store: Store, entry: NamedConfig, recipe: Recipe, tokens: TokensRef) -> TokensRef | MixtureRef:
    """The token sets of a stage; other corpora that it names are tokenized as the recipe's own was."""
    tokenizer = token_files.tokenizer_of(tokens)
    data = mixed(store, entry, tokens, lambda corpus: tokenize(recipe, corpus, tokenizer))
    assert data is not None, "every corpus was tokenized"
    return data


def known_data(store: Store, entry: NamedConfig, tokens: TokensRef) -> TokensRef | MixtureRef | None:
    """The same where all of it is tokenized already; None where it is not."""
    tokenizer = token_files.tokenizer_of(tokens)

    def find(corpus: CorpusRef) -> TokensRef | None:
        found = manifest.read(store, corpus.corpus, corpus.version)
        return token_files.find_tokens_by(store, corpus.name, found, tokenizer)

    return mixed(store, entry, tokens, find)


def mixed(
    store: Store, entry: NamedConfig, tokens: TokensRef, tokenize_other: Tokenize
) -> TokensRef | MixtureRef | None:
    """The stage's token sets in the order of its `data`; one alone is no mixture.

    Raises RecipeError when the caps of the corpora leave less than the stage's `tokens`.
    """
    parts: tuple[DataPart, ...] = getattr(entry.config, "parts", ())
    sets: dict[str, TokensRef] = {}
    others = {part.corpus: find_published(store, part.corpus) for part in parts if part.corpus != OWN}
    for part in parts:
        other = others.get(part.corpus)
        name = other.name if other else tokens.corpus
        if name in sets or (other is not None and name == tokens.corpus):
            raise RecipeError(
                f"train.data names {name} twice ({part.corpus}); write each corpus version once, the recipe's own "
                f"({tokens.corpus}) as corpus: {OWN}"
            )
        found = tokenize_other(other) if other else tokens
        if found is None:
            return None
        sets[name] = found
    data = MixtureRef(parts=tuple(sets.values())) if len(sets) > 1 else tokens
    if parts and isinstance(entry.config, pretrain.Config):
        pretrain.order_of(entry.config, data)  # refuses caps that leave too little, before anything is trained
    return data
