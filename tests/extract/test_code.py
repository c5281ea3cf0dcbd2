"""Source code: as it stands, with its language and the licence of its opening comment."""

import pytest

from datasets_pipeline.extract import ExtractOptions, extract
from datasets_pipeline.extract.code import source_licence


def document(data: str, uri: str):
    (found,) = extract(data.encode(), uri, None, ExtractOptions()).documents
    return found


@pytest.mark.parametrize(
    ("uri", "source", "language", "media_type"),
    [
        ("a.go", "package a", "Go", "text/x-go"),
        ("a.rs", "fn main() {}", "Rust", "text/x-rust"),
        ("a.tsx", "export {}", "TSX", "text/x-typescript"),
        ("a.h", "int f(void);", "C", "text/x-c"),
        ("a.h", "namespace a {}", "C++", "text/x-c"),
        ("a.h", "@interface A", "Objective-C", "text/x-c"),
        ("run.sh", "#!/bin/bash\necho a", "Bash", "text/x-shellscript"),
        ("run", "#!/usr/bin/env -S node\nf()", "JavaScript", "text/javascript"),
        ("run", "#!/usr/bin/env python3.11\nx = 1", "Python", "text/x-python"),
        ("run", "#!/bin/sh -e\necho", "Shell", "text/x-shellscript"),
        ("Makefile", "all:\n\tcc a.c", "Makefile", "text/x-makefile"),
        ("a.py", "x = 1", "Python", "text/x-python"),
    ],
)
def test_the_language_comes_from_the_name_the_first_line_and_a_few_words(uri, source, language, media_type):
    found = document(source, uri)
    assert found.text == source
    assert (found.metadata["programming_language"], found.media_type) == (language, media_type)


@pytest.mark.parametrize(
    ("source", "licence"),
    [
        ("// SPDX-License-Identifier: MIT OR Apache-2.0\nint a;", "MIT OR Apache-2.0"),
        ("/*\n * Permission is hereby granted, free of charge, to any person\n * obtaining a copy of it\n */", "MIT"),
        (
            "#!/bin/sh\n# This program is free software: you can redistribute it and/or modify it under the\n"
            "# terms of the GNU General Public License as published by the Free Software Foundation,\n"
            "# either version 3 of the License, or (at your option) any later version.\nls",
            "GPL-3.0-or-later",
        ),
        ("/* under the GNU Lesser General Public License, version 2.1 only */", "LGPL-2.1-only"),
        ("-- under the GNU Affero General Public License version 3.\nSELECT 1", "AGPL-3.0-only"),
        ("/* This Source Code Form is subject to the terms of the Mozilla Public License, v. 2.0. */", "MPL-2.0"),
        ("// Redistribution and use in source and binary forms, with or without\n// modification\nf()", "BSD-2-Clause"),
        ('int a;\nconst char *t = "GNU General Public License version 3";', None),
        ("// a comment about nothing\nf()", None),
        ("", None),
    ],
)
def test_the_licence_is_read_from_the_opening_comment_only(source, licence):
    assert (source_licence(source) or (None,))[0] == licence


def test_data_files_stay_text():
    for uri in ("a.json", "a.yaml", "a.toml", "a.xml"):
        found = document('{"a": 1}', uri)
        assert found.extractor == "text" and "programming_language" not in found.metadata


def test_a_hostile_opening_is_read_in_linear_time():
    for opening in ("/*" * 50_000, "#" * 200_000, "# gnu general public license " * 20_000, "#!" + "/" * 100_000):
        source_licence(opening)
        document(opening, "a.c")
