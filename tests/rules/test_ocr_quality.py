"""The rule over the confidence of recognized text, alone and on the road from a picture to a decision."""

import io
import json

import pyarrow as pa
import pytest
from PIL import Image, ImageDraw, ImageFont

from datasets_pipeline.extract import ExtractOptions, ocr
from datasets_pipeline.rules import ocr_quality
from tests.curation.road import small_road
from tests.rules.verdict_rows import rows


def table(*metadata):
    return pa.table({"metadata": pa.array([json.dumps(facts, sort_keys=True) for facts in metadata], pa.string())})


def test_low_confidence_is_dropped_and_typed_text_is_not_judged():
    features = table(
        {"ocr_confidence": 0.95, "ocr_words": 10},
        {"ocr_confidence": 0.42, "ocr_words": 10, "title": "a scan"},
        {"pages": 3},
        {"title": 'a talk on "ocr_confidence": 0.1'},
        {"ocr_confidence": 0.8},
        {"ocr_confidence": 0},
    )
    assert rows(ocr_quality.judge(ocr_quality.Config(), features)) == [
        (None, None, None, False),
        ("ocr_confidence_too_low", 0.42, 0.8, False),
        (None, None, None, True),
        (None, None, None, True),
        (None, None, None, False),
        ("ocr_confidence_too_low", 0.0, 0.8, False),
    ]
    assert rows(ocr_quality.judge(ocr_quality.Config(min_confidence=0.96), features))[0][0] == "ocr_confidence_too_low"


@pytest.mark.skipif(not ocr.is_available(ExtractOptions()), reason="needs tesseract with its English data")
def test_the_decision_about_a_scan_names_its_confidence(tmp_path):
    image = Image.new("L", (1000, 300), "white")
    draw = ImageDraw.Draw(image)
    for number, text in enumerate(["The keeper of the light", "wrote down every ship."]):
        draw.text((60, 40 + 90 * number), text, fill="black", font=ImageFont.load_default(44))
    file = io.BytesIO()
    image.save(file, "PNG")
    rule = {"rule": "ocr_quality", "min_confidence": 1.0}
    road = small_road(tmp_path, {"notes": {"typed.md": "Typed, and of no confidence at all."}}, rules=[rule])
    (typed,) = tmp_path.rglob("typed.md")
    (typed.parent / "scan.png").write_bytes(file.getvalue())
    night = road.run()
    outcomes = road.outcomes(night)
    assert outcomes["notes:scan.png"]["reason"] == "ocr_confidence_too_low"
    assert 0.5 < outcomes["notes:scan.png"]["score"] < 1.0 == outcomes["notes:scan.png"]["threshold"]
    assert outcomes["notes:typed.md"]["outcome"] == "kept"
    counted = night.manifest.identity.statistics["rules"]["ocr_quality"]
    assert counted == {"judged": 1, "abstained": 1, "dropped": 1}
