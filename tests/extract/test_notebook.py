"""Jupyter notebooks of both formats, and what is no notebook."""

import json
import random

import pytest

from datasets_pipeline.extract import ExtractOptions, extract
from datasets_pipeline.sources.base import ExtractionError

NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {"kernelspec": {"language": "julia", "name": "julia-1.9"}, "language_info": {"name": "julia"}},
    "cells": [
        {"cell_type": "markdown", "metadata": {}, "source": ["# A study\n", "\n", "Words with $x^2$."]},
        {
            "cell_type": "code",
            "metadata": {},
            "execution_count": 1,
            "source": "println(1)\nplot(x)",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["1\n"]},
                {"output_type": "stream", "name": "stderr", "text": "a warning of a library"},
                {"output_type": "display_data", "data": {"image/png": "iVBOR", "text/plain": "<Figure size>"}},
                {"output_type": "execute_result", "data": {"text/html": "<b>h</b>", "text/plain": ["[1, 2]"]}},
                {"output_type": "error", "ename": "Oops", "evalue": "bad", "traceback": ["\x1b[31mlong"]},
            ],
        },
        {"cell_type": "raw", "metadata": {"raw_mimetype": "text/latex"}, "source": "\\newpage"},
        {"cell_type": "raw", "metadata": {}, "source": "raw words"},
    ],
}


def read(notebook, **options):
    data = notebook if isinstance(notebook, bytes) else json.dumps(notebook).encode()
    return extract(data, "study.ipynb", None, ExtractOptions(**options))


def test_cells_become_prose_fences_and_bounded_outputs():
    (found,) = read(NOTEBOOK).documents
    assert found.text == (
        "# A study\n\nWords with $x^2$.\n\n```julia\nprintln(1)\nplot(x)\n```\n\n"
        "```text\n1\n[1, 2]\nOops: bad\n```\n\nraw words"
    )
    assert found.metadata == {"programming_language": "julia", "num_cells": 4, "title": "A study"}
    assert found.media_type == "application/x-ipynb+json"


def test_outputs_are_cut_at_the_option_or_left_out():
    cell = {"cell_type": "code", "source": "f()", "outputs": [{"output_type": "stream", "text": "x" * 5000}]}
    (cut,) = read({"nbformat": 4, "cells": [cell]}).documents
    assert cut.text.count("x") <= 2000 + len("text") and "[...]" in cut.text
    assert read({"nbformat": 4, "cells": [cell]}, notebook_output_characters=0).documents[0].text == (
        "```python\nf()\n```"
    )


def test_a_notebook_of_the_third_format_is_read_the_same_way():
    old = {
        "nbformat": 3,
        "metadata": {"name": "old"},
        "worksheets": [
            {
                "cells": [
                    {"cell_type": "heading", "level": 2, "source": ["Old times"]},
                    {
                        "cell_type": "code",
                        "language": "python",
                        "input": ["print(2)"],
                        "outputs": [
                            {"output_type": "stream", "stream": "stdout", "text": ["2\n"]},
                            {"output_type": "pyout", "text": ["3"]},
                        ],
                    },
                ]
            }
        ],
    }
    (found,) = read(old).documents
    assert found.text == "## Old times\n\n```python\nprint(2)\n```\n\n```text\n2\n3\n```"


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b'{"a":' * 50_000, b"{", b"[]", b"null", b"{}", b'{"cells": 3}', b'{"worksheets": [1]}']
)
def test_what_is_no_notebook_is_a_parser_error(data):
    with pytest.raises(ExtractionError) as refused:
        read(data)
    assert refused.value.reason == "parser_error"


def test_cells_of_odd_shapes_do_not_stop_their_neighbours():
    cells = [
        None,
        3,
        {},
        {"cell_type": "code", "source": {"a": 1}, "outputs": [{"output_type": "execute_result"}, 7]},
        {"cell_type": "heading", "level": "x", "source": "h"},
        {"cell_type": "markdown", "source": [1, "kept"]},
    ]
    (found,) = read({"cells": cells, "metadata": []}).documents
    assert found.text == "# h\n\nkept"


def test_damaged_notebooks_give_a_document_or_a_reason():
    data, generator = json.dumps(NOTEBOOK).encode(), random.Random(3)
    for _ in range(100):
        damaged = bytearray(data if generator.random() < 0.7 else data[: generator.randrange(1, len(data))])
        for _ in range(3):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        try:
            read(bytes(damaged))
        except ExtractionError:
            continue
