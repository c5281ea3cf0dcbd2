"""Holes in windows, and a model that learns to fill them."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from tokenizers import Tokenizer

from evaluation.generation import TransformersModel
from evaluation.infilling import Hole, Infiller, Options
from ingot import model_versions
from ingot.config import TokenizerConfig, parse_recipe
from ingot.errors import DataError, RecipeError
from ingot.infill_tokens import InfillVocabulary, read_infill_vocabulary
from ingot.ledger import Actor
from interface.cli import main
from tests.training.conftest import FINGERPRINT, TINY, Place, RankRunner, tokens_ref, write_shard
from training.checkpoints import key_of
from training.infilling import HoleShape, InfillRewrite
from training.stages import infill
from training.starts import StartFrom

SHAPE = HoleShape(
    infill_share=1.0, spm_share=1.0, known_length_share=1.0, max_span_characters=4, max_piece_tokens=None
)
LENGTHS = 10
TEXTS = ["χαίρε", "dis manibus", "vixit annis", "…"]


def tokenizer_of(texts: list[str], *, vocab_size: int = 400, characters: Literal[True] | None = True) -> Tokenizer:
    """A tokenizer, by default of characters, as the tokenize step trains it."""
    from tokenizers import decoders, models, pre_tokenizers, trainers

    from datasets_pipeline.tokens import END_OF_TEXT, _infill_tokens, _pre_tokenizer

    config = TokenizerConfig(vocab_size=vocab_size, characters=characters, infill_lengths=LENGTHS)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = _pre_tokenizer(config), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[END_OF_TEXT, *_infill_tokens(config)],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.encode_special_tokens = True
    return tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tokenizer_of(TEXTS * 4)


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Tokenizer) -> InfillVocabulary:
    return read_infill_vocabulary(tokenizer.to_str())


def window_of(tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    return np.array([token for text in texts for token in [*tokenizer.encode(text).ids, 0]])


def unwritten(ids: np.ndarray, vocabulary: InfillVocabulary) -> tuple[list[int], list[int], list[int], int]:
    """(prefix, middle, suffix, middle token) of one document written suffix first."""
    ids = ids.tolist()
    opens = {vocabulary.middle, *vocabulary.lengths}
    assert ids[0] == vocabulary.suffix
    prefix_at = ids.index(vocabulary.prefix)
    middle_at = next(place for place, token in enumerate(ids) if token in opens)
    end = ids.index(0, middle_at)
    return ids[prefix_at + 1 : middle_at], ids[middle_at + 1 : end], ids[1:prefix_at], ids[middle_at]


def test_a_character_is_a_token_and_rare_ones_come_back_whole(tokenizer: Tokenizer) -> None:
    for text in ["χαίρε dis", "a😀\nb", "<|fim_middle|>"]:
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert len(tokenizer.encode("χαίρε").ids) == 5 and len(tokenizer.encode("😀").ids) == 4
    assert tokenizer.get_vocab_size() < 400  # no merge across characters, however often they stand together


def test_the_vocabulary_knows_the_bytes_and_characters_of_every_entry(
    tokenizer: Tokenizer, vocabulary: InfillVocabulary
) -> None:
    for text in ["χαίρε dis\n", "😀"]:
        ids = tokenizer.encode(text).ids
        assert b"".join(vocabulary.pieces[token] for token in ids) == text.encode()  # type: ignore[misc]
        assert sum(vocabulary.characters()[token] for token in ids) == len(text)
    assert [vocabulary.begins_inside()[token] for token in tokenizer.encode("😀").ids] == [False, True, True, True]
    assert len(vocabulary.lengths) == LENGTHS and vocabulary.middle_for(11) == vocabulary.middle_for(None)


def test_a_tokenizer_without_the_tokens_is_refused_with_the_option_that_reserves_them(place: Place) -> None:
    with pytest.raises(DataError, match="set tokenizer.infill_lengths"):
        infill.run(infill.Config.model_validate(TINY.model_dump()), None, place.tokens, place.output())


def test_a_recipe_with_the_stage_must_reserve_its_tokens() -> None:
    values: dict[str, Any] = {
        "corpus": "x",
        "sources": [{"source": "jsonl", "name": "x", "uri": "/x"}],
        "train": [{"stage": "infill", "model": {"family": "llama", "layers": 2, "width": 32}, "tokens": 10_000}],
    }
    with pytest.raises(RecipeError, match=r"tokenizer.infill_lengths: stage infill: unset, .* set it"):
        parse_recipe(values)
    stage = parse_recipe({**values, "tokenizer": {"infill_lengths": 8}}).train[0]
    assert stage.name == "infill" and stage.config.infill_share == 0.9


def test_a_stage_without_a_shape_needs_a_start_and_takes_its_shape_and_tokenizer_over() -> None:
    values: dict[str, Any] = {"corpus": "x", "sources": [{"source": "jsonl", "name": "x", "uri": "/x"}]}
    with pytest.raises(RecipeError, match="nothing to start from; write 'start: mini/3', or a model"):
        parse_recipe({**values, "train": [{"stage": "infill", "tokens": 10_000}]})
    config = parse_recipe({**values, "train": [{"stage": "infill", "start": "mini", "tokens": 10_000}]}).train[0].config
    shape = TINY.model.model_dump(mode="json")
    taken = infill.take_over(config, {"model": shape}, vocab_size=300, learning_rate=1e-3)
    assert taken.model == TINY.model and taken.tokens == 10_000
    other = config.model_copy(update={"model": TINY.model.model_copy(update={"layers": 9})})
    with pytest.raises(RecipeError, match="another shape than the start's"):
        infill.take_over(other, {"model": shape}, vocab_size=300, learning_rate=1e-3)
    with pytest.raises(RecipeError, match="give it a shape, or a start"):
        infill.run(config, None, None, None)  # type: ignore[arg-type]


def test_where_it_starts_is_told_by_digest_and_not_by_name() -> None:
    named = CONFIG.model_copy(update={"start": StartFrom(model="mini/3")})
    assert infill.identity_values(named) == infill.identity_values(CONFIG)


def test_a_vocabulary_too_small_for_the_tokens_is_refused() -> None:
    assert TokenizerConfig(vocab_size=270, infill_lengths=10).infill_lengths == 10
    with pytest.raises(ValueError, match="the least is 271"):
        TokenizerConfig(vocab_size=270, infill_lengths=11)


@pytest.mark.parametrize("known", [0.0, 1.0])
def test_every_hole_can_be_undone_and_its_length_is_the_one_stated(
    tokenizer: Tokenizer, vocabulary: InfillVocabulary, known: float
) -> None:
    rewrite = InfillRewrite(replace(SHAPE, known_length_share=known), tokenizer.to_str(), seed=1)
    plain = window_of(tokenizer, ["a😀b χαίρε"])
    spans = set()
    for position in range(300):
        written = rewrite._row(np.append(plain, [7] * 3), _draws(position))  # the ids behind are pushed out
        prefix, middle, suffix, opens = unwritten(written, vocabulary)
        assert [*prefix, *middle, *suffix] == plain[:-1].tolist()
        pieces = [b"".join(vocabulary.pieces[token] for token in part) for part in (prefix, middle, suffix)]  # type: ignore[misc]
        num_characters = len(pieces[1].decode())  # no part is cut inside a character
        pieces[0].decode(), pieces[2].decode()
        assert opens == (vocabulary.lengths[num_characters - 1] if known else vocabulary.middle)
        spans.add((len(pieces[0].decode()), num_characters))
    assert {length for _, length in spans} >= {1, 2, 3, 4}
    assert {start for start, _ in spans} >= {0, 1, 2, 3, 8}


def _draws(position: int):  # type: ignore[no-untyped-def]
    from training.infilling import _Draws

    return _Draws(1, position)


def test_holes_cut_words_anywhere_and_the_parts_are_tokenized_as_when_asked() -> None:
    text = "dis manibus sacrum"
    words = tokenizer_of([text] * 9, characters=None)
    assert len(words.encode(text).ids) < 6
    vocabulary = read_infill_vocabulary(words.to_str())
    rewrite = InfillRewrite(SHAPE, words.to_str(), seed=1)
    cuts = set()
    for position in range(200):
        written = rewrite._row(window_of(words, [text, "x" * 40]), _draws(position))
        prefix, middle, suffix, opens = unwritten(written, vocabulary)
        parts = [words.decode(part) for part in (prefix, middle, suffix)]
        assert "".join(parts) == text and opens == vocabulary.lengths[len(parts[1]) - 1]
        assert [words.encode(part).ids for part in parts] == [prefix, middle, suffix]
        cuts.add(len(parts[0]))
    assert len(cuts) >= len(text) - 1


def test_windows_keep_their_length_and_depend_on_seed_and_position_alone(
    tokenizer: Tokenizer, vocabulary: InfillVocabulary
) -> None:
    shape = replace(SHAPE, infill_share=0.7, spm_share=0.5, known_length_share=0.5, max_piece_tokens=16)
    ids = np.stack([np.resize(window_of(tokenizer, TEXTS), 65)] * 6)
    first = InfillRewrite(shape, tokenizer.to_str(), seed=1)(ids, np.arange(6))
    assert first.shape == ids.shape and len({row.tobytes() for row in first}) == 6
    again = InfillRewrite(shape, tokenizer.to_str(), seed=1)
    for position in (4, 2, 5):
        assert np.array_equal(again(ids[:1], np.array([position]))[0], first[position])
    assert not np.array_equal(InfillRewrite(shape, tokenizer.to_str(), seed=2)(ids, np.arange(6)), first)


def test_the_holes_never_change_between_releases(tokenizer: Tokenizer, vocabulary: InfillVocabulary) -> None:
    # A run continues with the holes it began with; other ones need a new REWRITE_KIND.
    ids = np.arange(50, 67)
    rewrite = InfillRewrite(replace(SHAPE, spm_share=0.5, known_length_share=0.0), tokenizer.to_str(), seed=7)
    written = rewrite(np.stack([ids] * 2), np.array([0, 1]))
    assert written.tolist() == GOLDEN


def test_shares_are_held_over_many_documents(tokenizer: Tokenizer, vocabulary: InfillVocabulary) -> None:
    shape = replace(SHAPE, infill_share=0.4, spm_share=0.25, known_length_share=0.5, max_span_characters=None)
    rewrite = InfillRewrite(shape, tokenizer.to_str(), seed=3)
    ids = window_of(tokenizer, ["dis manibus"])
    rows = [rewrite._row(ids, _draws(position)) for position in range(3000)]
    first = np.array([row[0] for row in rows])
    with_hole = np.isin(first, [vocabulary.suffix, vocabulary.prefix])
    assert with_hole.mean() == pytest.approx(0.4, abs=0.03)
    assert (first[with_hole] == vocabulary.suffix).mean() == pytest.approx(0.25, abs=0.04)


def test_long_documents_are_cut_into_pieces_that_each_get_a_hole(
    tokenizer: Tokenizer, vocabulary: InfillVocabulary
) -> None:
    ids = np.array(tokenizer.encode("dis manibus " * 40).ids)
    rewrite = InfillRewrite(replace(SHAPE, max_piece_tokens=32), tokenizer.to_str(), seed=1)
    written = rewrite(ids[None], np.array([0]))[0]
    ends = np.flatnonzero(written == 0)
    lengths = np.diff(ends) - 4  # what a piece held before the infilling tokens and EOS came to it
    assert len(ends) > 8 and lengths.min() >= 4 and lengths.max() <= 32


def test_the_filling_of_a_rows_last_hole_stands_before_its_end(
    tokenizer: Tokenizer, vocabulary: InfillVocabulary
) -> None:
    ids = np.array(tokenizer.encode("dis manibus " * 40).ids)[:101]
    for shape in (replace(SHAPE, max_piece_tokens=32), SHAPE):
        rewrite = InfillRewrite(shape, tokenizer.to_str(), seed=1)
        for position in range(50):
            written = rewrite(ids[None], np.array([position]))[0].tolist()
            opens = [place for place, token in enumerate(written) if token in vocabulary.lengths]
            assert len(opens) == written.count(vocabulary.suffix) > 0
            for place in opens:
                stated = vocabulary.lengths.index(written[place]) + 1
                assert written[place + stated + 1] == 0  # a character is a token here


def test_cuts_inside_tokens_do_not_push_the_filling_off_the_rows_end() -> None:
    tokenizer = tokenizer_of(["dis manibus sacrum " * 3], vocab_size=300, characters=None)
    ids = np.array(tokenizer.encode("dis manibus sacrum " * 40, add_special_tokens=False).ids)[:33]
    rewrite = InfillRewrite(replace(SHAPE, max_span_characters=4, known_length_share=0.0), tokenizer.to_str(), seed=1)
    names = read_infill_vocabulary(tokenizer.to_str())
    lengths = set()
    for position in range(50):
        written = rewrite(ids[None], np.array([position]))[0].tolist()
        middle = written[written.index(names.middle_for(None)) + 1 :]
        assert 0 in middle and 1 <= middle.index(0) <= 4
        lengths.add(middle.index(0))
    assert len(lengths) > 1


GOLDEN = [
    [2, 61, 62, 1, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 3, 60, 0],
    [2, 54, 55, 56, 57, 58, 59, 60, 61, 62, 1, 3, 50, 51, 52, 53, 0],
]


@pytest.fixture(scope="module")
def holes(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A corpus in which the first letter follows from what stands behind it alone: it is the last one too."""
    root = tmp_path_factory.mktemp("holes")
    tokenizer = tokenizer_of(["abcdefghxy"], vocab_size=272)
    (root / "tokenizers/play").mkdir(parents=True)
    tokenizer.save(str(root / "tokenizers/play/tokenizer.json"))
    (root / "tokenizers/play/tokenizer_config.json").write_text("{}")
    rng = np.random.default_rng(0)
    documents = []
    for _ in range(1500):
        letter = rng.choice(list("abcdefgh"))
        documents.append([*tokenizer.encode(f"{letter}xy{letter}").ids, 0])
    return Place(root, tokens_ref((write_shard(root, "0" * 64, documents),), vocab_size=tokenizer.get_vocab_size()))


CONFIG = infill.Config.model_validate(
    {
        **TINY.model_dump(),
        "tokens": 12 * 256,
        "infill_share": 1.0,
        "spm_share": 1.0,
        "known_length_share": 1.0,
        "max_span_characters": 2,
    }
)


def job_of(place: Place, config: infill.Config, **changes: object):  # type: ignore[no-untyped-def]
    return place.job(config, stage="infill", **changes)


def test_a_killed_run_ends_with_the_same_weights(holes: Place, run_rank: RankRunner) -> None:
    whole, cut = replace(holes, run="whole"), replace(holes, run="cut")
    assert run_rank(job_of(whole, CONFIG, fingerprint="1" * 64)) == 0
    assert run_rank(job_of(cut, CONFIG, fingerprint="2" * 64), crash_at="training.step.before@7") == -9
    assert run_rank(job_of(cut, CONFIG, fingerprint="2" * 64)) == 0
    assert whole.weights_sha256(fingerprint="1" * 64) == cut.weights_sha256(fingerprint="2" * 64)


def test_other_holes_are_another_run() -> None:
    plain = infill.identity_values(CONFIG)
    assert plain != infill.identity_values(CONFIG.model_copy(update={"spm_share": 0.5}))
    assert plain == infill.identity_values(CONFIG.model_copy(update={"checkpoint_every_steps": 7, "gpus": 2}))


def test_a_model_learns_to_fill_holes_from_what_stands_behind_them(
    holes: Place, run_rank: RankRunner
) -> None:
    steps = 400
    config = CONFIG.model_copy(update={"tokens": steps * 256, "checkpoint_every_steps": steps, "log_every_steps": 100})
    learnt = replace(holes, run="learnt")
    assert run_rank(job_of(learnt, config, fingerprint=FINGERPRINT)) == 0
    model = TransformersModel(learnt.root / key_of(FINGERPRINT, steps))
    found = Infiller(model, Options(beam=8, reading_weight=0.0)).fill([Hole("", f"xy{c}", 1) for c in "abcdefgh"])
    assert "".join(fillings[0].text for fillings in found) == "abcdefgh"  # chance is one letter of eight


@pytest.fixture(scope="module")
def registered(holes: Place) -> str:
    """A barely trained model version that has learnt to fill holes."""
    place = replace(holes, run="registered")
    short = CONFIG.model_copy(update={"tokens": 2 * 256})
    ref = infill.run(short, None, place.tokens, place.output(fingerprint="3" * 64))
    version = model_versions.register(
        place.store, "restorer", checkpoint_fingerprint=ref.fingerprint, checkpoint_key=ref.key,
        checkpoint_digest=ref.manifest_sha256, evidence={}, details={}, actor=Actor("person", "maria", "declared"),
    )  # fmt: skip
    return f"{version.name}/{version.version}"


@pytest.fixture
def command_line(holes: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("INGOT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INGOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("INGOT_STORE", str(holes.root))


@pytest.mark.parametrize(("text", "lengths"), [("[.]xya", {1}), ("a[-2-]ya", {2}), ("ax[---]", None)])
def test_the_command_line_fills_a_hole_with_so_many_characters_as_it_shows(
    registered: str, command_line: None, capsys: pytest.CaptureFixture[str], text: str, lengths: set[int] | None
) -> None:
    assert main(["infill", registered, text, "--top", "3", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    found = [filling["text"] for filling in answer["fillings"]]
    assert answer["model"] == registered and len(set(found)) == len(found) == 3
    assert lengths is None or {len(filling) for filling in found} == lengths
    scores = [filling["score"] for filling in answer["fillings"]]
    assert scores == sorted(scores, reverse=True)


def test_the_command_line_reads_what_stands_beside_the_hole_from_files(
    registered: str, command_line: None, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "after").write_text("xya")
    assert main(["infill", registered, "[.]xya", "--json"]) == 0
    as_text = json.loads(capsys.readouterr().out)
    assert main(["infill", registered, "--after", str(tmp_path / "after"), "--length", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == as_text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["abxy"], "the text has 0 holes"),
        (["a[.]x[.]"], "the text has 2 holes"),
        ([], "there is no text"),
        (["[.]a", "--after", "x"], "both say where the hole is"),
        (["[.]a", "--length", "2"], r"write \[-2-\] in TEXT"),
        (["--after", "absent"], "absent does not exist"),
        (["[.]a", "--top", "0"], "a whole number from 1 on"),
    ],
)
def test_what_names_no_hole_is_refused_before_a_model_is_read(
    command_line: None, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["infill", "nobody/1", *words]) in (2, 4)
    assert re.search(message, capsys.readouterr().err)
