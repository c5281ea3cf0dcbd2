"""Filling holes with a real, tiny model of random weights: every score is checked against the plain forward pass."""

from pathlib import Path

import pytest

from evaluation.generation import TransformersModel
from evaluation.infilling import Filling, Hole, Infiller, Options
from ingot import infill_tokens
from ingot.errors import DataError
from interface.cli import main
from tests.evaluation.conftest import EOS, make_model_folder

LENGTHS = 6
HOLES = [
    Hole("dis ma", "ibus sacrum", 1),
    Hole("", " · vixit annis", 3),
    Hole("τῶι δάμωι · ", "", 2),
    Hole("a", "b", 4),
    Hole("vixit ", " XX", None),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return infill_folder(tmp_path_factory.mktemp("infill"))


def infill_folder(folder: Path, *, context: int = 128) -> Path:
    """A Llama of 2 layers, width 32, over the end of text, the infilling tokens, 256 bytes and a Greek letter."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    special = [EOS, *infill_tokens.names(LENGTHS)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letter = "".join(_letter(byte) for byte in "α".encode())
    names = [*special, *alphabet, letter]
    vocabulary = {name: index for index, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[(letter[0], letter[1])]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=320,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=context,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(1.0 if "norm" in name else 4.0)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _letter(byte: int) -> str:
    return next(letter for letter, value in infill_tokens._bytes_of_letters().items() if value == byte)


def plain_score(model: TransformersModel, ids: list[int], num_scored: int) -> float:
    """Log-probability of the last ids of a sequence, by one forward pass over it."""
    import torch

    with torch.no_grad():
        logits = model._model(torch.tensor([ids])).logits[0, :-1].double()
    scores = torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[1:, None])[:, 0]
    return float(scores[len(scores) - num_scored :].sum())


def filled(folder: Path, holes: list[Hole], **options: object) -> list[list[Filling]]:
    return Infiller(TransformersModel(folder), Options(**{"beam": 12, "top": 10, **options})).fill(holes)  # type: ignore[arg-type]


def test_a_hole_of_known_length_is_filled_with_exactly_so_many_characters(folder: Path) -> None:
    for hole, fillings in zip(HOLES[:4], filled(folder, HOLES[:4], beam=40), strict=True):
        assert fillings and {len(filling.text) for filling in fillings} == {hole.num_characters}
        assert len({filling.text for filling in fillings}) == len(fillings)
        scores = [filling.score for filling in fillings]
        assert scores == sorted(scores, reverse=True)


def test_a_hole_of_unknown_length_is_filled_until_the_model_ends_it(folder: Path) -> None:
    (fillings,) = filled(folder, [HOLES[4]], max_characters=5, beam=60, top=60)
    lengths = {len(filling.text) for filling in fillings}
    assert len(lengths) > 1 and max(lengths) <= 5 and min(lengths) >= 1


@pytest.mark.parametrize("order", ["spm", "psm"])
def test_scores_are_those_of_the_plain_forward_pass_in_both_orders(folder: Path, order: str) -> None:
    model = TransformersModel(folder)
    infiller = Infiller(model, Options(beam=12, top=3, order=order))  # type: ignore[arg-type]
    names = infiller._vocabulary
    for hole, fillings in zip(HOLES, infiller.fill(HOLES), strict=True):
        encode = infiller._encode
        before, after = [names.prefix, *encode(hole.prefix)], [names.suffix, *encode(hole.suffix)]
        prompt = [0, *(after + before if order == "spm" else before + after), names.middle_for(hole.num_characters)]
        for filling in fillings:
            middle = [*encode(filling.text), 0]
            expected = plain_score(model, prompt + middle, len(middle))
            assert filling.infill_score == pytest.approx(expected, abs=2e-4)
            head, _, word = hole.prefix.rpartition(" ")
            cut = f" {word}" if " " in hole.prefix else word
            read = [*encode(cut + filling.text + hole.suffix), 0]
            expected += plain_score(model, [0, *encode(head), *read], len(read))
            assert filling.score == pytest.approx(expected, abs=4e-4)


def test_the_best_letter_of_all_is_found(folder: Path) -> None:
    model = TransformersModel(folder)
    infiller = Infiller(model, Options(beam=12, top=1, reading_weight=0.0))
    hole = HOLES[0]
    prompt = infiller._prompt(hole)
    letters = [*map(chr, range(128)), "α"]
    scores = {text: plain_score(model, [*prompt, *infiller._encode(text), 0], 2) for text in letters}
    (fillings,) = infiller.fill([hole])
    assert fillings[0].infill_score >= max(scores.values()) - 1e-4
    if fillings[0].text in scores:
        assert scores[fillings[0].text] == pytest.approx(max(scores.values()), abs=1e-4)


def test_a_filling_does_not_depend_on_the_holes_beside_it(folder: Path) -> None:
    together = filled(folder, HOLES, batch_holes=5)
    assert together == filled(folder, HOLES, batch_holes=5)
    alone = [fillings for hole in HOLES for fillings in filled(folder, [hole])]
    for one, other in zip(together, alone, strict=True):
        assert [filling.text for filling in one] == [filling.text for filling in other]
        assert [filling.score for filling in one] == pytest.approx([filling.score for filling in other], abs=2e-4)


def test_a_text_longer_than_the_context_is_seen_nearest_to_the_hole(tmp_path: Path) -> None:
    model = TransformersModel(infill_folder(tmp_path, context=48))
    infiller = Infiller(model, Options(beam=4, top=1))
    prompt = infiller._prompt(Hole("x" * 100 + "abc", "def" + "y" * 100, 2))
    assert len(prompt) + 2 + 1 <= 48
    shown = model._tokenizer.decode(prompt, skip_special_tokens=True)
    assert shown.startswith("def") and shown.endswith("abc") and shown.count("x") == pytest.approx(18, abs=3)
    one_sided = infiller._prompt(Hole("x" * 100, "d", 2))
    assert len(one_sided) == len(prompt)  # what one side does not need the other has
    assert all(len(filling.text) == 2 for filling in infiller.fill([Hole("x" * 100, "y" * 100, 2)])[0])


def test_a_hole_longer_than_the_context_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="200 characters leaves no room in a context of 128 tokens; use a model"):
        filled(folder, [Hole("a", "b", 200)])


def test_a_model_without_infilling_tokens_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="tokenizer.infill_lengths"):
        Infiller(TransformersModel(make_model_folder(tmp_path)))


class Oracle:
    """A reader that knows one filling."""

    def propose(self, hole: Hole, *, beam: int) -> list[str]:
        return ["qj"[: hole.num_characters or 0]]

    def score(self, hole: Hole, text: str) -> float:
        return 0.0 if text == "qj"[: len(text)] else -1000.0


def test_a_second_reader_proposes_fillings_and_has_its_say_in_their_rank(folder: Path) -> None:
    hole = Hole("dis ma", "ibus", 2)
    model = TransformersModel(folder)
    infiller = Infiller(model, Options(beam=30, top=5), Oracle())
    (fillings,) = infiller.fill([hole])
    assert fillings[0].text == "qj" and len(fillings) == 5
    middle = [*infiller._encode("qj"), 0]
    expected = plain_score(model, infiller._prompt(hole) + middle, len(middle))
    assert fillings[0].infill_score == pytest.approx(expected, abs=2e-4)
    (without,) = Infiller(model, Options(beam=30, top=4)).fill([hole])
    assert [filling.text for filling in without] == [filling.text for filling in fillings[1:]]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a[-0-]b"], "the text has 0 holes ([-0-] marks none), and one is filled at a time"),
        (["plain"], "the text has 0 holes, and one is filled at a time"),
        (["a[.]b[.]"], "the text has 2 holes, and one is filled at a time"),
        (["a[.]b", "--beam", "-1"], "argument --beam: '-1' is no whole number from 1 on; write digits, e.g. 2_000"),
    ],
)
def test_a_hole_that_is_none_is_refused_with_what_stands_there(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["infill", "restorer", *words]) == 2
    assert told in capsys.readouterr().err
