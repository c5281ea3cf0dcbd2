"""Evaluation items in documents: which are found, where exactly, what is left alone, and how long it takes."""

import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from datasets_pipeline.decontamination import kernels
from datasets_pipeline.decontamination.characters import character_tables
from datasets_pipeline.decontamination.ngram_index import NgramIndex, utf8_buffers
from datasets_pipeline.edits import apply_spans
from datasets_pipeline.rules import decontamination
from tests.features.feature_rows import features_of
from tests.rules.needles import TASKS, grams_of, real_documents, records, slow_search, words
from tests.rules.verdict_rows import rows

QUESTION = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
ANSWER = "She sold half of forty-eight clips in May, and that makes seventy-two clips in both months together."
BENCHMARKS: dict[str, dict[str, Any]] = {
    "gsm8k": {"uri": f"{TASKS}/gsm8k_train.jsonl.gz", "text": ["question", "answer"]},
    "humaneval": {"uri": f"{TASKS}/humaneval.jsonl.gz", "text": "{prompt}{canonical_solution}"},
    "mbpp": {"uri": f"{TASKS}/mbpp_train_validation_fewshot.jsonl.gz", "text": ["text", "code"]},
    "bfcl": {"uri": f"{TASKS}/bfcl.jsonl.gz", "text": "question.*.*.content"},
}


def config_of(folder: Path, items: list[dict[str, str]], **options: Any) -> decontamination.Config:
    """A configuration with one benchmark of these items, whose texts are `question` and `answer`."""
    path = folder / "items.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    benchmark = {"name": "bench", "uri": str(path), "text": ["question", "answer"]}
    return decontamination.Config(benchmarks=[benchmark], **options)


def found_by(config: decontamination.Config, texts: list[str]) -> pa.Table:
    return decontamination.find_spans(config, pa.table({"text": pa.array(texts, pa.large_string())}), bytes(32))


def numbers_in(found: pa.Table) -> list[list[int]]:
    return [[item["item"] for item in row] for row in found["items"].to_pylist()]


def cut(config: decontamination.Config, text: str) -> str:
    return apply_spans(text, found_by(config, [text])["spans"].to_pylist()[0])


def tokens_of(text: str) -> list[str]:
    """The normalised words as the kernels see them."""
    table, many = character_tables()
    data = np.frombuffer(text.encode() or b"\0", np.uint8)
    found, position, end = [], 0, len(text.encode())
    while True:
        start, position, _, _ = kernels.next_token(data, position, end, table, many)
        if start >= position:
            return found
        codes = np.empty(4 * (position - start), np.uint32)
        found.append("".join(map(chr, codes[: kernels.codes_of(data, start, position, table, many, codes)])))


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Natalia sold 48/2 = 24 Clips!", ["natalia", "sold", "0", "0", "0", "clips"]),
        ("1,234.56 and 3.5% of v1.2.3", ["0", "0", "and", "0", "of", "v0", "0"]),
        ("ab12cd 3rd x_y", ["ab0cd", "0rd", "x", "y"]),
        ("Größe café ÅNGSTRÖM Éé", ["große", "cafe", "angstrom", "ee"]),
        ("東京の12月", ["東", "京", "の", "0", "月"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("12. Next, 7,", ["0", "next", "0"]),
        ("🚢 🚢!? --- ___", []),
        ("", []),
    ],
)
def test_words_are_normalised_as_published(text: str, tokens: list[str]) -> None:
    assert tokens_of(text) == tokens


def test_words_are_those_of_datatrove_on_real_documents() -> None:
    simplify = pytest.importorskip("datatrove.utils.text").simplify_text
    letters = {chr(code) for code in range(0x250)} - {"_"}
    num = 0
    for text in real_documents("helm-docs", 60):
        # Symbols, which datatrove takes for letters and Ingot for gaps, are the known difference.
        plain = "".join(c if c in letters and (c.isalnum() or c in " \n.,;:!?()-\"'") else " " for c in text)
        assert tokens_of(plain) == simplify(plain).split()
        num += len(plain)
    assert num > 200_000


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        str.upper,
        lambda text: text.replace(",", "").replace(".", " -- ").replace("-", " "),
        lambda text: text.replace("48", "1,350").replace("half", "ha\u0301lf"),
        lambda text: "\n> ".join(text.split(" ")),
        lambda text: f"**{text}**",
    ],
)
def test_an_item_is_found_however_it_is_written(tmp_path: Path, change: Any) -> None:
    config = config_of(tmp_path, [{"question": QUESTION, "answer": ANSWER}])
    found = found_by(config, ["Nothing to see here. " * 20, f"Before. {change(QUESTION)} After."])
    assert numbers_in(found) == [[], [1]]
    assert found["num_items.bench"].to_pylist() == [0, 1]
    (item,) = found["items"].to_pylist()[1]
    assert item == {"benchmark": "bench", "item": 1, "found": item["total"], "total": item["total"]}
    verdicts = decontamination.judge(config, features_of(["", ""]), found)
    assert rows(verdicts) == [(None, None, None, False), ("contaminated", 1.0, 0.0, False)]


def test_questions_answers_and_both_in_a_row_are_found(tmp_path: Path) -> None:
    config = config_of(tmp_path, [{"question": QUESTION, "answer": ANSWER}])
    border = " ".join(f"{QUESTION} {ANSWER}".split()[13:26])
    assert numbers_in(found_by(config, [QUESTION, ANSWER, border, border[:-20]])) == [[1], [1], [1], []]


def test_short_texts_are_matched_whole_from_the_stated_minimum_on(tmp_path: Path) -> None:
    eight, seven = "Which of these rivers flows north into Egypt?", "What is the capital of old Burgundy?"
    assert (len(words(eight)), len(words(seven))) == (8, 7)
    items = [{"question": eight, "answer": "Nile"}, {"question": seven, "answer": ""}]
    config = config_of(tmp_path, items)
    texts = [f"So: {eight} Ha.", f"So: {eight[:-7]} Ha.", f"So: {seven} Ha.", f"{eight} Nile"]
    assert numbers_in(found_by(config, texts)) == [[1], [], [], [1]]
    features = pa.table({"source": ["wiki"] * 4})
    report = decontamination.sum_reports(
        [decontamination.report(config, features, found_by(config, texts), np.ones(4, bool))]
    )
    assert (report["bench"]["items"], report["bench"]["searchable"], report["bench"]["seen"]) == (2, 1, 1)


def test_rows_of_numbers_and_templates_of_a_benchmark_prove_nothing(tmp_path: Path) -> None:
    template = "You are a careful assistant who answers every question in one short sentence and says nothing else."
    items = [{"question": f"{template} {QUESTION.replace('clips', f'thing{chr(97 + k)}')}"} for k in range(11)]
    items.append({"question": " ".join(map(str, range(100, 160)))})
    table = " | ".join(str(number) for number in range(500))
    assert numbers_in(found_by(config_of(tmp_path, items), [template, table])) == [[], []]
    assert numbers_in(found_by(config_of(tmp_path, items, max_items=None), [template])) == [list(range(1, 12))]


def test_a_share_is_asked_of_the_question_the_answer_or_both(tmp_path: Path) -> None:
    config = config_of(
        tmp_path, [{"question": QUESTION, "answer": " ".join([ANSWER] * 3)}], min_share=0.6, policy="cut"
    )
    part = " ".join(QUESTION.split()[:14])
    found = found_by(config, [QUESTION, f"Well. {part} Indeed."])
    assert found["num_items.bench"].to_pylist() == [1, 0]
    assert [len(row) for row in found["spans"].to_pylist()] == [1, 0]
    whole, some = (row[0] for row in found["items"].to_pylist())
    assert whole["found"] == whole["total"] == len(words(QUESTION)) - 12
    assert (some["found"], some["total"]) == (2, whole["total"])
    drops = decontamination.judge(config.model_copy(update={"policy": "drop"}), features_of(["", ""]), found)
    assert [row[0] for row in rows(drops)] == ["contaminated", None]


def test_cut_deletes_what_is_shared_and_nothing_else(tmp_path: Path) -> None:
    config = config_of(tmp_path, [{"question": QUESTION, "answer": ANSWER}], policy="cut")
    assert cut(config, f"Größe 東京: “{QUESTION}” – und {ANSWER} Ende.") == "Größe 東京: “.” – und . Ende."
    japanese = "ナタリアは四月に四十八人の友達にクリップを売りました"
    config = config_of(tmp_path, [{"question": japanese, "answer": ""}], policy="cut")
    assert cut(config, f"前の文。{japanese}。次の文。") == "前の文。。次の文。"
    thai = "นาตาลีขายคลิปให้เพื่อนสี่สิบแปดคนในเดือนเมษายน"
    config = config_of(tmp_path, [{"question": thai, "answer": ""}], policy="cut")
    assert cut(config, f"({thai})") == "()"


def test_cut_rows_pass_and_a_text_of_nothing_else_is_left_empty(tmp_path: Path) -> None:
    config = config_of(tmp_path, [{"question": QUESTION, "answer": ""}], policy="cut")
    found = found_by(config, [QUESTION.rstrip(".")])
    assert apply_spans(QUESTION.rstrip("."), found["spans"].to_pylist()[0]) == ""
    assert rows(decontamination.judge(config, features_of([""]), found)) == [(None, None, None, False)]


def plant(seed: int) -> tuple[list[str], list[set[tuple[str, int]]], list[tuple[int, int] | None]]:
    """(documents, items planted in each, where in characters): a third of them clean."""
    draw = random.Random(seed)
    texts: list[str] = []
    planted: list[set[tuple[str, int]]] = []
    places: list[tuple[int, int] | None] = []
    pools = {
        "gsm8k": [r["question"] for r in records("gsm8k_train")],
        "humaneval": [r["prompt"] + r["canonical_solution"] for r in records("humaneval")],
        "mbpp": [r["code"] for r in records("mbpp_train_validation_fewshot")],
        "bfcl": ["\n".join(m["content"] for turn in r["question"] for m in turn) for r in records("bfcl")],
    }
    pages = [page for name in ("helm-docs", "etcd-docs", "18f-handbook") for page in real_documents(name, 60)]
    for number, page in enumerate(pages):
        if number % 3 == 0:
            texts.append(page)
            planted.append(set())
            places.append(None)
            continue
        name = draw.choice(sorted(pools))
        item = draw.randrange(len(pools[name]))
        needle = pools[name][item].strip().replace("\r\n", "\n")
        while len(words(needle)) < 20:
            item = draw.randrange(len(pools[name]))
            needle = pools[name][item].strip().replace("\r\n", "\n")
        at = draw.randrange(len(page))
        at = page.rfind("\n", 0, at) + 1
        texts.append(f"{page[:at]}\n\n{needle}\n\n{page[at:]}")
        planted.append({(name, item + 1)})
        places.append((at + 2, at + 2 + len(needle)))
    return texts, planted, places


def test_needles_in_real_documents_are_found_all_and_nothing_else_is() -> None:
    texts, planted, places = plant(7)
    benchmarks = [{"name": name, **rest} for name, rest in BENCHMARKS.items()]
    config = decontamination.Config(benchmarks=benchmarks, policy="cut")
    found = found_by(config, texts)
    for row, (items, spans) in enumerate(zip(found["items"].to_pylist(), found["spans"].to_pylist(), strict=True)):
        seen = {(item["benchmark"], item["item"]) for item in items}
        full = {(item["benchmark"], item["item"]) for item in items if item["found"] == item["total"]}
        if not planted[row]:
            assert not items and not spans
            continue
        assert planted[row] <= seen, f"document {row}: planted {planted[row]}, seen {seen}"
        # Twins inside a benchmark are hit as well; who is wholly there says exactly what was planted.
        assert planted[row] & full
        place = places[row]
        assert place is not None
        data = texts[row].encode()
        start, end = (len(texts[row][:edge].encode()) for edge in place)
        assert all(start <= span["start"] < span["end"] <= end for span in spans), "only the needle is cut"
        assert sum(span["end"] - span["start"] for span in spans) > 0.6 * (end - start)
        left = apply_spans(data.decode(), spans)
        assert left.startswith(texts[row][: place[0]].strip()[:50]) and left.endswith(
            texts[row][place[1] :].strip()[-50:]
        )
    names = {name for items in planted for name, _ in items}
    assert names == set(BENCHMARKS)
    found_documents = np.array([len(items) > 0 for items in found["items"].to_pylist()])
    assert found_documents.tolist() == [bool(items) for items in planted], "recall and precision are one"


def test_items_and_spans_equal_a_slow_search_over_words() -> None:
    draw = random.Random(3)
    vocabulary = [f"w{chr(97 + k)}" for k in range(5)] + ["7", "3.5"]

    def sentence(length: int) -> str:
        return " ".join(draw.choice(vocabulary) for _ in range(length))

    for n, shortest in ((4, 3), (6, 3), (5, 5)):
        items = [tuple(sentence(draw.randrange(1, 14)) for _ in range(draw.randrange(1, 4))) for _ in range(30)]
        index = NgramIndex([items[:10], items[10:]], n=n, min_words=shortest, max_items=None)
        texts = [sentence(draw.randrange(0, 60)) for _ in range(80)]
        data, offsets = utf8_buffers(pa.array(["ahead", *texts], pa.large_string()).slice(1))
        found = index.search(data, offsets)
        for row, text in enumerate(texts):
            hit, spans = slow_search(text, items, n, shortest)
            assert sorted(hit) == (found[row].items.tolist() if row in found else [])
            if row not in found:
                continue
            start, end = int(offsets[row]), int(offsets[row + 1])
            assert index.spans(data, start, end, found[row], found[row].items).tolist() == spans
            standing = {
                tuple(w for w, _, _ in words(text))[i : i + length] for length in range(1, n + 1) for i in range(60)
            }
            for item, num, total in zip(found[row].items, found[row].found, found[row].totals, strict=True):
                pieces = [[part] for part in items[item]] + [list(items[item])]
                shares = [
                    (len(grams & standing), len(grams))
                    for piece in pieces
                    if (grams := set(grams_of([" ".join(piece)], n, shortest)))
                ]
                assert (num, total) in shares and num / total == max(a / b for a, b in shares)


def test_equal_hashes_of_other_words_find_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tmp_path, [{"question": QUESTION, "answer": ANSWER}])
    index = decontamination._Index(config, [decontamination.list_evaluation_files("bench", config.benchmarks[0].uri)])
    data, offsets = utf8_buffers(pa.array([QUESTION], pa.large_string()))
    assert index.grams.search(data, offsets)
    # The index says other words under the same hashes: what a collision looks like.
    index.grams._codes[:] = index.grams._codes + 1
    assert not index.grams.search(data, offsets)


def test_rows_stay_aligned_in_chunks_slices_and_types(tmp_path: Path) -> None:
    config = config_of(tmp_path, [{"question": QUESTION, "answer": ANSWER}], policy="cut")
    texts = [QUESTION, "", "clean", f"ü {ANSWER}", f"{ANSWER} {QUESTION}"]

    def search(column: Any) -> pa.Table:
        return decontamination.find_spans(config, pa.table({"text": column}), b"")

    whole = search(pa.array(texts, pa.large_string()))
    assert [len(spans) for spans in whole["spans"].to_pylist()] == [1, 0, 0, 1, 2]
    pieces = [pa.array(texts[:2], pa.large_string()), pa.array(texts[2:], pa.large_string())]
    assert search(pa.chunked_array(pieces)).equals(whole)
    assert search(pa.array([QUESTION, *texts], pa.large_string()).slice(1)).equals(whole)
    assert search(pa.array(texts, pa.string())).equals(whole)
    assert len(search(pa.array([], pa.large_string()))) == 0
    assert search(pa.array(["", ""], pa.large_string()))["spans"].to_pylist() == [[], []]


def test_many_documents_full_of_items_are_searched_in_parts(tmp_path: Path) -> None:
    items = [{"question": r["question"], "answer": ""} for r in records("gsm8k_train")[:800]]
    config = config_of(tmp_path, items)
    all_of_them = "\n".join(item["question"] for item in items)
    found = found_by(config, [all_of_them, "clean", all_of_them, all_of_them, QUESTION])
    numbers = numbers_in(found)
    assert numbers[0] == numbers[2] == numbers[3] == list(range(1, 801))
    assert numbers[1] == [] and numbers[4] == [1]


@pytest.mark.parametrize(
    "text",
    [
        QUESTION + " ", "a ", "東", "🚢", "7 ", "é\u0301", " ", "x",
        "natalia sold clips to 0 of her friends in april and then ",
    ],
)  # fmt: skip
def test_time_is_linear_in_hostile_text(tmp_path: Path, text: str) -> None:
    config = config_of(tmp_path, [{"question": QUESTION, "answer": ANSWER}], policy="cut")

    def seconds(num_bytes: int) -> float:
        column = [text * (num_bytes // len(text.encode()))]
        found_by(config, column)
        best = min(_timed(lambda: found_by(config, column)) for _ in range(3))
        return max(best, 1e-3)

    assert seconds(4 << 20) < 8 * seconds(1 << 20) + 0.05


def _timed(work: Any) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def test_an_edited_file_is_another_input_and_another_index(tmp_path: Path) -> None:
    config = config_of(tmp_path, [{"question": QUESTION, "answer": ""}])
    before = decontamination.inputs(config)
    assert numbers_in(found_by(config, [QUESTION, ANSWER])) == [[1], []]
    config_of(tmp_path, [{"question": ANSWER, "answer": ""}])
    assert decontamination.inputs(config) != before
    assert numbers_in(found_by(config, [QUESTION, ANSWER])) == [[], [1]]


def test_the_report_counts_items_documents_and_sources_of_what_was_judged(tmp_path: Path) -> None:
    items = [{"question": r["question"], "answer": ""} for r in records("gsm8k_train")[:40]]
    config = config_of(tmp_path, items)
    texts = [items[k]["question"] for k in (0, 1, 2, 6, 6, 30)] + ["clean"]
    features = pa.table({"source": ["wiki", "wiki", "blog", "blog", "wiki", "out", "wiki"]})
    judged = np.array([True] * 5 + [False, True])
    found = found_by(config, texts)
    parts = [
        decontamination.report(config, features.slice(a, b - a), found.slice(a, b - a), judged[a:b])
        for a, b in ((0, 3), (3, 4), (4, 4), (4, 7))
    ]
    assert decontamination.sum_reports(parts) == {
        "bench": {
            "items": 40, "searchable": 40, "seen": 4, "documents": 5, "sources": {"blog": 2, "wiki": 3},
            "numbers": "1-3, 7",
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"benchmarks": []}, "at least 1 item"),
        ({"benchmarks": [{"name": "a b", "uri": "x"}]}, "pattern"),
        ({"benchmarks": [{"name": "a", "uri": "x"}, {"name": "a", "uri": "y"}]}, "a appears twice"),
        ({"benchmarks": [{"name": "a", "uri": "x", "text": "{0}"}]}, "not a plain column name"),
        ({"benchmarks": [{"name": "a", "uri": "x", "text": []}]}, "names no column"),
        ({"benchmarks": [{"name": "a", "uri": "x"}], "min_words": 20}, "min_words 20 is above ngram_words 13"),
        ({"benchmarks": [{"name": "a", "uri": "x"}], "min_share": 0}, "greater than 0"),
        ({"benchmarks": [{"name": "a", "uri": "x"}], "policy": "redact"}, "drop"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        decontamination.Config(**options)
