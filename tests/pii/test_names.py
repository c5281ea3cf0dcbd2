"""Names of persons by a local model: bytes, windows, determinism, and what a folder must hold.

No weights of a trained model are at hand: one model is random, which tests the plumbing, and one is a rule written into
weights, which knows seven words and tests what is made of the labels.
"""

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from datasets_pipeline.pii import name_model
from datasets_pipeline.pii.names import byte_offsets
from datasets_pipeline.rules import pii
from ingot.errors import RecipeError
from tests.pii.name_models import random_model, rule_model


@pytest.fixture(scope="module")
def rule(tmp_path_factory: pytest.TempPathFactory) -> str:
    return rule_model(tmp_path_factory.mktemp("rule"))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    return random_model(tmp_path_factory.mktemp("random"))


def spans_of(texts: list[str], uri: str, **options: object) -> list[list[dict]]:
    config = pii.Config(names=pii.Names(uri=uri, **options))
    return pii.find_spans(config, pa.table({"text": pa.array(texts, pa.large_string())}), bytes(32))[
        "spans"
    ].to_pylist()


def names_in(text: str, uri: str, **options: object) -> list[str]:
    data = text.encode()
    return [data[s["start"] : s["end"]].decode() for s in spans_of([text], uri, **options)[0] if s["kind"] == "person"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The ferry waits for Anna Schmidt.", ["Anna Schmidt"]),
        ("東京 🚢 Jörg  Müller, Maria Sklodowska-Curie and Anna", ["Jörg  Müller", "Maria Sklodowska-Curie", "Anna"]),
        ("Anna\nSchmidt", ["Anna\nSchmidt"]),
        ("Anna\n\nSchmidt", ["Anna", "Schmidt"]),
        ("Anna Maria Schmidt", ["Anna", "Maria Schmidt"]),
        ("the ferry - the harbour", []),
        ("", []),
    ],
)
def test_labels_become_names_with_their_exact_bytes(rule: str, text: str, names: list[str]) -> None:
    assert names_in(text, rule) == names


def test_names_have_kind_replacement_and_one_hash_in_any_spelling(rule: str) -> None:
    (row,) = spans_of(["ANNA  SCHMIDT, anna schmidt, Maria Curie"], rule)
    assert [(s["kind"], s["replacement"]) for s in row] == [("person", "<PERSON>")] * 3
    assert row[0]["keyed_hash"] == row[1]["keyed_hash"] != row[2]["keyed_hash"]


def test_only_the_wanted_labels_and_sure_words_are_names(rule: str) -> None:
    assert names_in("Anna Schmidt", rule, labels=("ORG",)) == []
    assert names_in("Anna Schmidt", rule, min_score=1.0) == []


def test_names_anywhere_in_a_long_text_are_found(rule: str) -> None:
    line = "the ferry waits for the harbour in the fog, and für the — " * 3
    text = "".join(f"{line}{name} Schmidt {line}\n" for name in ("Anna", "Jörg", "Maria") * 60)
    assert len(text) > 2 * name_model.MAX_PIECE_CHARACTERS
    assert names_in(text, rule) == ["Anna Schmidt", "Jörg Schmidt", "Maria Schmidt"] * 60


def test_what_a_document_gets_does_not_depend_on_its_neighbours(untrained: str) -> None:
    texts = ["the ferry waits for anna in the harbour " * count for count in (1, 3, 40, 7, 90)] + ["", "x"]
    together = list(name_model.label_words(texts, untrained))
    alone = [next(name_model.label_words([text], untrained)) for text in texts]
    backwards = list(name_model.label_words(texts[::-1], untrained))[::-1]
    assert together == alone == backwards
    assert {word.label for row in together for word in row} > {"B-PER"}, "random weights give several labels"


def test_every_word_of_a_long_text_has_one_label(untrained: str) -> None:
    text = "the ferry waits, für anna " * 500
    words = next(name_model.label_words([text], untrained))
    assert [text[word.start : word.end] for word in words] == ["the", "ferry", "waits", ",", "für", "anna"] * 500


def test_threads_are_as_they_were(untrained: str) -> None:
    before = torch.get_num_threads()
    list(name_model.label_words(["anna"], untrained))
    assert torch.get_num_threads() == before


def test_the_models_digest_and_not_its_place_is_part_of_the_identity(tmp_path: Path) -> None:
    first, same, other = (random_model(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    digests = [pii.inputs(pii.Config(names=pii.Names(uri=uri)))["name_model"] for uri in (first, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_a_folder_without_a_model_is_refused_and_pickles_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"lacks config.json, tokenizer.json, \*.safetensors"):
        name_model.digest(str(tmp_path / "nowhere"))
    folder = Path(random_model(tmp_path / "model"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(RecipeError, match=r"lacks \*.safetensors"):
        name_model.digest(str(folder))


def test_bytes_of_characters_are_counted_as_utf_8_has_them() -> None:
    text = "aß東🚢z"
    assert byte_offsets(text).tolist() == [len(text[:end].encode()) for end in range(len(text) + 1)]
