"""PDF: reading order, hyphenation, margins, headings, lists, tables; what is wrong with a file has a reason."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from datasets_pipeline.extract import extract, ocr
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractionError
from tests.extract.pdf_files import Picture, Text, lines, write_pdf

NO_OCR = ExtractOptions(ocr_languages=None)

LEFT = [
    "The lighthouse stands on the northern rocks",
    "and was lit for the first time in the year",
    "of the great storm, when forty boats were",
    "lost between the island and the mainland.",
    "Its keeper wrote down every ship that pas-",
    "sed, and the books are kept in the town",
    "hall, where the harbour master reads them",
]
RIGHT = [
    "in winter, when nothing else is to be done.",
    "The second lamp was brought by rail from",
    "the capital and carried over the causeway",
    "at low tide by sixteen men and four horses.",
    "It burned oil until the cable was laid, and",
    "is still there, behind glass, in the small",
    "museum that opens on Sundays in summer.",
]


def text_of(pages, **options):
    (document,) = extract(write_pdf(pages), "a.pdf", None, NO_OCR.model_copy(update=options)).documents
    return document.text


def two_columns(left_first=True):
    title = [Text(60, 740, "The light of the northern rocks and all of its lamps, keepers and books", 14)]
    left, right = lines(60, 700, LEFT), lines(330, 700, RIGHT)
    if left_first:
        return [*title, *left, *right]
    return [*title, *(line for pair in zip(left, right, strict=True) for line in pair)]


@pytest.mark.parametrize("left_first", [True, False])
def test_columns_are_read_one_after_the_other_in_whatever_order_the_file_has_them(left_first):
    text = text_of([two_columns(left_first)])
    assert text.startswith("# The light of the northern rocks")
    assert "reads them in winter, when nothing else" in text
    assert text.index("sixteen men") > text.index("Its keeper")
    assert text.endswith("opens on Sundays in summer.")


def test_words_cut_at_a_line_end_are_whole_again_and_compounds_keep_their_hyphen():
    column = [
        "The well-known keeper of the old light had re-",
        "corded each vessel; a list of well-",
        "known captains hangs beside the door, next to COVID-",
        "19 rules, the north-",
        "south map and the pre-",
        "and post-war tide tables of the whole coast of this land.",
    ]
    text = text_of([lines(60, 700, column)])
    assert "had recorded each vessel" in text
    assert "a list of well-known captains" in text
    assert "COVID-19 rules" in text
    assert "pre- and post-war" in text
    assert "northsouth" in text  # nothing in the document tells a compound from a cut word; cut words are the rule


def test_a_paragraph_goes_on_over_the_end_of_a_page():
    first = lines(
        60, 100, ["The tide tables of the whole coast were printed", "in the capital, and came by boat to all of"]
    )
    second = lines(
        60, 740, ["the harbours before the year began. Then they", "were nailed to the doors of the inns there."]
    )
    assert "to all of the harbours before the year" in text_of([first, second])


def test_running_headers_footers_and_page_numbers_leave_and_headings_stay():
    pages = []
    for number in range(1, 7):
        page = [
            Text(60, 760, "Annual report of the harbour", 9),
            Text(500, 760, "Chapter 2" if number < 4 else "Chapter 3", 9),
            Text(60, 720, f"Section {'abcdef'[number - 1]} of the report", 16),
            *lines(
                60, 690, [f"{word} boats came in on day {number * 7} and were" for word in ("Some", "Most", "Other")]
            ),
            Text(60, 40, "Harbour office, Pier 4", 8),
            Text(300, 40, f"- {number} -", 8),
            Text(400, 40, f"Printed for the members of the council, sheet {number + 10} of 20", 8),
        ]
        pages.append(page)
    text = text_of(pages)
    assert "Annual report" not in text and "Pier 4" not in text and "Chapter" not in text
    assert "sheet 1" not in text and "- 1 -" not in text and "- 6 -" not in text
    for letter in "abcdef":
        assert f"# Section {letter} of the report" in text
    assert all(f"Some boats came in on day {day} and were Most" in text for day in range(7, 43, 7))


def test_first_lines_that_differ_from_page_to_page_stay():
    words = ["Alpha", "Bravo", "Charlie", "Delta", "Echo"]
    text = text_of(
        [lines(60, 740, [f"{word} was the name of this ship and", "it sailed for years."]) for word in words]
    )
    assert [word for word in words if word in text] == words


def test_forms_that_differ_in_a_number_only_are_not_taken_for_headers():
    text = text_of([[Text(60, 720, f"Certificate {number} of the harbour office")] for number in range(100, 105)])
    assert all(f"Certificate {number} of" in text for number in range(100, 105))


def test_dates_and_versions_in_the_footer_leave_too():
    pages = [
        [*lines(60, 700, LEFT[n:] + RIGHT[:n]), Text(60, 30, "20-10-2009"), Text(300, 30, "0.2")] for n in range(5)
    ]
    text = text_of(pages)
    assert "2009" not in text and "0.2" not in text


def test_a_page_of_many_thousand_pieces_is_read_in_reasonable_time():
    pieces = [Text(7 * (n % 85), 780 - 8 * (n // 85), f"x{n}", 2) for n in range(8000)]
    assert len(re.findall(r"x\d", text_of([pieces]))) == 8000


def test_larger_text_is_a_heading_of_a_level_by_its_size():
    page = [
        Text(60, 740, "The harbour book", 24),
        Text(60, 700, "Boats and nets", 16),
        *lines(
            60,
            670,
            ["The nets are mended in the hall, by hand, all winter", "long, until the ice is gone from the bay."],
        ),
        Text(60, 620, "Rules", 16, "F2"),
        Text(60, 590, "Of the pier", 10, "F2"),
        *lines(
            60, 575, ["Nobody may leave a boat at the pier over night, but", "the pilot and the doctor of the island."]
        ),
    ]
    text = text_of([page])
    for heading in ("# The harbour book\n", "## Boats and nets\n", "## Rules\n", "### Of the pier\n"):
        assert heading in text


def test_lists_keep_their_items_and_their_depth():
    page = [
        *lines(60, 740, ["What every boat must have on board when it leaves the bay:"]),
        Text(72, 720, "\u2022"), Text(84, 720, "a lamp with oil for the whole night, and a second"),
        Text(84, 708, "one in reserve"),
        Text(72, 696, "\u2022"), Text(84, 696, "ropes:"),
        Text(96, 684, "\u2022"), Text(108, 684, "two long ones"),
        Text(72, 672, "\u2022"), Text(84, 672, "water"),
        *lines(60, 640, ["1. Tell the office.", "2. Wait for the flag."]),
    ]  # fmt: skip
    text = text_of([page])
    assert "- a lamp with oil for the whole night, and a second one in reserve\n- ropes:\n" in text
    assert "\n  - two long ones\n- water\n" in text
    assert "1. Tell the office.\n2. Wait for the flag." in text


def test_tables_are_kept_row_by_row():
    rows = [("Boat", "Length", "Crew"), ("Alma", "12 m", "4"), ("Berta", "9 m", "2"), ("Clara", "21 m", "11")]
    page = [
        Text(x, 700 - 14 * n, cell) for n, row in enumerate(rows) for x, cell in zip((60, 200, 320), row, strict=True)
    ]
    # The same table, written column by column, as some programs do.
    by_column = sorted(page, key=lambda item: item.x)
    for order in (page, by_column):
        assert text_of([order]) == "Boat | Length | Crew\nAlma | 12 m | 4\nBerta | 9 m | 2\nClara | 21 m | 11"


def test_an_empty_cell_keeps_its_place_and_a_wrapped_one_is_joined():
    page = [
        Text(60, 700, "Alma"), Text(200, 700, "mended in the"), Text(320, 700, "4"),
        Text(200, 688, "old dock"),
        Text(60, 670, "Berta"), Text(320, 670, "2"),
        Text(60, 652, "Clara"), Text(200, 652, "new"), Text(320, 652, "11"),
    ]  # fmt: skip
    assert text_of([page]) == "Alma | mended in the old dock | 4\nBerta |  | 2\nClara | new | 11"


def test_programs_keep_their_lines_and_indents():
    code = [
        Text(60, 600 - 11 * n, line, 9, "F3")
        for n, line in enumerate(["def light():", "    return lamp", "", "light()"])
    ]
    text = text_of([[*lines(60, 700, LEFT), *code]])
    assert "```\ndef light():\n    return lamp\nlight()\n```" in text


def test_lines_ended_on_purpose_stay_lines():
    address = ["Harbour office", "Pier 4", "Old Town"]
    page = [*lines(60, 700, LEFT), *lines(60, 580, address)]
    assert "Harbour office\nPier 4\nOld Town" in text_of([page])


def test_turned_pages_read_like_others_and_a_stamp_at_the_edge_comes_last():
    turned = [Text(100 + 12 * n, 60, line, turned=True) for n, line in enumerate(LEFT)]
    assert "and was lit for the first time in the year of the great storm" in text_of([turned])
    stamped = [Text(20, 300, "Received 4 May", 14, turned=True), *lines(60, 700, LEFT)]
    text = text_of([stamped])
    assert text.startswith("The lighthouse stands") and text.endswith("Received 4 May")


def test_bold_by_printing_twice_and_text_outside_of_the_page_are_not_read_twice():
    page = [*lines(60, 700, LEFT), Text(60, 500, "Printed twice here"), Text(60.3, 500, "Printed twice here")]
    text = text_of([[*page, Text(60, 2000, "Cutting marks of the printer")]])
    assert text.count("Printed twice here") == 1 and "Cutting marks" not in text


def test_title_pages_and_the_day_are_noted_and_nonsense_is_not():
    info = {
        "Title": "Microsoft Word - Harbour book",
        "CreationDate": "D:20200331180255+09'00'",
        "ModDate": "D:00000000",
    }
    (document,) = extract(write_pdf([lines(60, 700, LEFT)] * 2, info=info), "a.pdf", None, NO_OCR).documents
    assert document.metadata == {"pages": 2, "title": "Harbour book"}
    assert document.stated_date == "2020-03-31"
    (document,) = extract(
        write_pdf([lines(60, 700, LEFT)], info={"Title": "Untitled 1"}), "a.pdf", None, NO_OCR
    ).documents
    assert document.metadata == {"pages": 1} and document.stated_date is None


def reason_of(data, options=NO_OCR):
    with pytest.raises(ExtractionError) as raised:
        extract(data, "a.pdf", "application/pdf", options)
    assert str(raised.value).startswith("a.pdf: ") and ";" in str(raised.value)
    return raised.value.reason


def test_what_is_wrong_with_a_pdf_has_a_reason_and_a_remedy():
    whole = write_pdf([lines(60, 700, LEFT)])
    assert reason_of(b"%PDF-1.4\n%%EOF") == "parser_error"
    assert reason_of(whole[:300]) == "parser_error"
    assert reason_of(write_pdf([lines(60, 700, LEFT)] * 3), ExtractOptions(pdf_max_pages=2)) == "too_large"
    assert reason_of(write_pdf([[Picture(Image.new("L", (400, 500), 90))]])) == "no_text_layer"
    garbled = [Text(60, 700 - 12 * n, line, font="F4") for n, line in enumerate(LEFT)]
    assert reason_of(write_pdf([garbled])) == "invalid_encoding"
    with pytest.raises(ExtractionError) as raised:
        extract(write_pdf([[]]), "a.pdf", None, NO_OCR)
    assert raised.value.reason == "empty"


def test_pages_without_text_are_one_reject_with_their_numbers_beside_the_text_of_the_others():
    picture = [Picture(Image.new("L", (400, 500), 90))]
    result = extract(write_pdf([picture, lines(60, 700, LEFT), picture, picture]), "a.pdf", None, NO_OCR)
    assert "The lighthouse stands" in result.documents[0].text
    assert [(reject.reason, "pages 1, 3-4" in reject.detail) for reject in result.rejects] == [("no_text_layer", True)]


def test_an_option_for_text_recognition_is_part_of_the_version():
    from datasets_pipeline.extract import extraction_version

    versions = extraction_version(ExtractOptions())
    assert versions["program.tesseract"] == ocr.programs()["tesseract"]
    assert versions["model.tesseract.eng"] == ocr.models(ExtractOptions())["tesseract.eng"]
    assert "model.tesseract.eng" not in extraction_version(NO_OCR)
    assert versions["extract.page_lines"] and versions["pypdfium2"] and versions["pillow"]


BROKEN = """
import random, sys
from pathlib import Path
from datasets_pipeline.extract import extract
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractionError

data, options = Path(sys.argv[1]).read_bytes(), ExtractOptions(ocr_languages=None)
chance, outcomes = random.Random(7), {}
for number in range(200):
    variant = bytearray(data[: chance.randrange(len(data))] if number % 2 else data)
    for _ in range(chance.choice((1, 10, 200)) if variant else 0):
        variant[chance.randrange(len(variant))] = chance.randrange(256)
    try:
        result = extract(bytes(variant), "a.pdf", "application/pdf", options)
        outcome = "read" if result.documents else "rejected"
    except ExtractionError as error:
        outcome = error.reason
    outcomes[outcome] = outcomes.get(outcome, 0) + 1
print(sorted(outcomes.items()))
"""


def test_of_200_damaged_variants_only_reasons_come_out(tmp_path):
    info = {"Title": "Damaged", "CreationDate": "D:20200331180255"}
    picture = [Picture(Image.effect_noise((60, 80), 50))]
    file = tmp_path / "whole.pdf"
    file.write_bytes(write_pdf([two_columns(), picture, lines(60, 700, RIGHT)], info=info))
    # In a process of its own: a fault of a C library would take the tests along.
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", BROKEN, str(file)], cwd=root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "parser_error" in done.stdout and "read" in done.stdout
