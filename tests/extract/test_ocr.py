"""Text recognition of scanned pages and pictures: words, confidence, and what is said where it is absent."""

import io

import pytest
from PIL import Image, ImageDraw, ImageFont

from datasets_pipeline.extract import extract, extraction_version, ocr
from datasets_pipeline.extract.options import ExtractOptions
from datasets_pipeline.sources.base import ExtractionError
from tests.extract.pdf_files import Picture, lines, write_pdf

OPTIONS = ExtractOptions()
WORDS = ["The keeper of the light", "wrote down every ship", "that passed the rocks."]

needs_tesseract = pytest.mark.skipif(
    not ocr.is_available(OPTIONS), reason="needs tesseract with its English data (apt install tesseract-ocr)"
)


def scan(texts=WORDS, *, size=44, mode="L"):
    """A white page of 200 dpi with lines of text."""
    image = Image.new(mode, (1000, 400), "white")
    draw = ImageDraw.Draw(image)
    for number, text in enumerate(texts):
        draw.text((60, 40 + 90 * number), text, fill="black", font=ImageFont.load_default(size))
    return image


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.fixture
def without_tesseract(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


@needs_tesseract
def test_a_scanned_page_is_read_and_says_how_sure_its_words_are():
    (document,) = extract(write_pdf([[Picture(scan())]], size=(360, 144)), "a.pdf", None, OPTIONS).documents
    assert " ".join(document.text.split()) == " ".join(WORDS)
    facts = document.metadata
    assert facts["pages"] == facts["ocr_pages"] == 1 and facts["ocr_words"] == 13
    assert 0.8 < facts["ocr_confidence"] <= 1 and facts["ocr_confidence"] == round(facts["ocr_confidence"], 4)


@needs_tesseract
def test_in_a_mixed_pdf_only_the_pictures_are_recognized_and_pages_keep_their_order():
    typed = [lines(30, 120, [f"Page {word} is typed, and needs no recognition."]) for word in ("one", "three")]
    pdf = write_pdf([typed[0], [Picture(scan())], typed[1]], size=(360, 144))
    (document,) = extract(pdf, "a.pdf", None, OPTIONS).documents
    places = [document.text.index(text) for text in ("Page one", "The keeper", "Page three")]
    assert places == sorted(places) and document.metadata["ocr_pages"] == 1
    result = extract(pdf, "a.pdf", None, ExtractOptions(ocr_max_pages=0))
    assert [reject.reason for reject in result.rejects] == ["no_text_layer"]


@needs_tesseract
@pytest.mark.parametrize(
    ("format", "mode"), [("PNG", "RGB"), ("JPEG", "L"), ("GIF", "L"), ("WEBP", "RGB"), ("TIFF", "1"), ("PNG", "P")]
)
def test_pictures_of_every_format_are_read(format, mode):
    data = saved(scan().convert(mode), format)
    (document,) = extract(data, f"scan.{format.lower()}", None, OPTIONS).documents
    assert "keeper of the light" in document.text and document.media_type == f"image/{format.lower()}"
    assert document.metadata["ocr_words"] == 13


@needs_tesseract
def test_black_on_transparent_small_and_sideways_pictures_are_read():
    see_through = Image.new("RGBA", (1000, 400), (0, 0, 0, 0))
    see_through.paste((0, 0, 0, 255), mask=scan().point(lambda value: 255 - value))
    small = scan().resize((400, 160), Image.Resampling.LANCZOS)
    sideways = scan().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter clockwise
    for data in (saved(see_through, "PNG"), saved(small, "PNG"), saved(sideways, "JPEG", exif=exif)):
        (document,) = extract(data, "scan", None, OPTIONS).documents
        assert "keeper of the light" in document.text


@needs_tesseract
def test_all_pages_of_a_tiff_are_one_document():
    second = scan(["Then came the cable", "and the light went out", "for good."])
    data = saved(scan(), "TIFF", save_all=True, append_images=[second], dpi=(200, 200))
    (document,) = extract(data, "scan.tif", None, OPTIONS).documents
    assert document.text.index("keeper") < document.text.index("cable") and document.metadata["pages"] == 2


def reason_of(data, options=OPTIONS):
    with pytest.raises(ExtractionError) as raised:
        extract(data, "scan.png", "image/png", options)
    assert str(raised.value).startswith("scan.png: ")
    return raised.value.reason, str(raised.value)


@needs_tesseract
def test_pictures_without_text_are_no_documents():
    noise = saved(Image.effect_noise((300, 200), 20), "PNG")
    for data in (noise, saved(Image.new("L", (8, 8)), "PNG"), saved(Image.new("L", (500, 500), 128), "PNG")):
        assert reason_of(data)[0] == "no_text_layer"


def test_huge_cut_and_damaged_pictures_have_a_reason():
    whole = saved(scan(), "PNG")
    # A header is enough to say 4 thousand million pixels.
    bomb = whole[:16] + (65_000).to_bytes(4, "big") * 2 + whole[24:]
    assert reason_of(bomb)[0] in ("too_large", "parser_error")
    assert reason_of(saved(Image.new("1", (20_000, 6_000)), "PNG"))[0] == "too_large"
    assert reason_of(b"\x89PNG\r\n\x1a\n" + bytes(50))[0] == "parser_error"
    if ocr.is_available(OPTIONS):
        for cut in range(40, len(whole) - 20, len(whole) // 6):
            assert reason_of(whole[:cut])[0] == "parser_error"


def test_without_tesseract_pictures_are_rejects_that_say_what_to_install(without_tesseract):
    assert ocr.programs() == {"tesseract": "absent"}
    assert extraction_version(OPTIONS)["program.tesseract"] == "absent"
    reason, message = reason_of(saved(scan(), "PNG"))
    assert reason == "no_text_layer" and "install it" in message
    with pytest.raises(ExtractionError, match="pages 1 gave no text.*tesseract; install it"):
        extract(write_pdf([[Picture(scan())]]), "a.pdf", None, OPTIONS)


@needs_tesseract
def test_a_language_without_data_and_recognition_that_is_off_are_told_apart():
    missing = ExtractOptions(ocr_languages=("eng", "xyz"))
    assert ocr.models(missing)["tesseract.xyz"] == "absent" != ocr.models(missing)["tesseract.eng"]
    assert "no data for xyz" in reason_of(saved(scan(), "PNG"), missing)[1]
    assert "switched off" in reason_of(saved(scan(), "PNG"), ExtractOptions(ocr_languages=None))[1]


@pytest.mark.parametrize("languages", [(), ("",), ("eng+deu",), ("../eng",), ("-l",), ("english",)])
def test_names_of_languages_that_cannot_be_are_refused_in_the_recipe(languages):
    with pytest.raises(ValueError, match="ocr_languages"):
        ExtractOptions(ocr_languages=languages)


@needs_tesseract
def test_the_same_picture_gives_the_same_text_and_confidence():
    data = saved(scan(), "PNG")
    assert extract(data, "a.png", None, OPTIONS) == extract(data, "a.png", None, OPTIONS)
