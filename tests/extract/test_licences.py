"""What is stated about a licence, as an SPDX expression."""

import pytest

from datasets_pipeline.extract.licences import spdx_of, spdx_of_classifiers, spdx_of_header, spdx_of_text
from datasets_pipeline.extract.stated import iso_date, iso_language


@pytest.mark.parametrize(
    ("stated", "expression"),
    [
        ("MIT", "MIT"),
        ("mit", "MIT"),
        ("The MIT License (MIT)", "MIT"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("Apache 2.0", "Apache-2.0"),
        ("http://www.apache.org/licenses/LICENSE-2.0", "Apache-2.0"),
        ("(mit or apache-2.0) AND Zlib", "(MIT OR Apache-2.0) AND Zlib"),
        ("Apache-2.0 WITH LLVM-exception", "Apache-2.0 WITH LLVM-exception"),
        ("GPL-2.0+", "GPL-2.0-or-later"),
        ("LicenseRef-House", "LicenseRef-House"),
        ("3-Clause BSD License", "BSD-3-Clause"),
        ("BSD", "LicenseRef-BSD"),
        ("https://creativecommons.org/licenses/by-sa/4.0/", "CC-BY-SA-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("Dual License", "unknown"),
        ("MIT OR", "unknown"),
        ("MIT AND (Zlib", "unknown"),
        ("", "unknown"),
        ("see the LICENSE file", "unknown"),
    ],
)
def test_a_statement_has_one_spdx_spelling(stated, expression):
    assert spdx_of(stated) == expression


def test_several_classifiers_all_hold():
    assert (
        spdx_of_classifiers(
            [
                "Programming Language :: Python",
                "License :: OSI Approved :: MIT License",
                "License :: OSI Approved",
                "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)",
            ]
        )
        == "MIT AND MPL-2.0"
    )


def test_a_licence_text_is_known_by_its_decisive_words():
    assert (
        spdx_of_text("Copyright X\n\nPermission is hereby granted, free of\ncharge, to any person obtaining a copy")
        == "MIT"
    )
    bsd = "Redistribution and use in source and binary forms, with or without modification"
    assert spdx_of_text(bsd) == "BSD-2-Clause"
    assert spdx_of_text(bsd + " ... Neither the name of the copyright holder") == "BSD-3-Clause"
    assert spdx_of_text("all rights reserved") == "unknown"


def test_a_notice_at_the_top_of_a_file_is_evidence():
    assert spdx_of_header("# Licensed under the Apache License,\n# Version 2.0 (the ...") == (
        "Apache-2.0",
        "licence notice",
    )
    assert spdx_of_header("// SPDX-License-Identifier: MIT */") == ("MIT", "SPDX-License-Identifier")
    assert spdx_of_header("nothing here") is None


@pytest.mark.parametrize(
    ("value", "day"),
    [("2024-02-29", "2024-02-29"), ("2024/3/1", "2024-03-01"), ("2023-02-29", None), ("03/04/2024", None), (5, None)],
)
def test_a_date_is_taken_only_when_it_is_unambiguous(value, day):
    assert iso_date(value) == day


@pytest.mark.parametrize(
    ("tag", "code"), [("de-AT", "de"), ("pt_BR", "pt"), ("ENG", "en"), ("xyz", None), ("english", None), (None, None)]
)
def test_a_language_tag_becomes_its_two_letter_code(tag, code):
    assert iso_language(tag) == code
