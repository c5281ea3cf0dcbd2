"""What a document says about its licence, as an SPDX expression.

Only what is stated counts: an identifier, an expression, a classifier, a well-known name or URL, the
opening words of a licence text. A name that fits several licences keeps what is known of it as a
LicenseRef (`LicenseRef-BSD`: some BSD licence, it is not said which); anything else is `unknown`.
Identifiers and exceptions: SPDX License List 3.27, those met in documentation and packages.
"""

import re
from collections.abc import Sequence

VERSION = "1"
UNKNOWN = "unknown"

_IDENTIFIERS = """
    0BSD AFL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-1.1 Apache-2.0 Artistic-1.0 Artistic-1.0-Perl
    Artistic-2.0 BlueOak-1.0.0 BSD-1-Clause BSD-2-Clause BSD-2-Clause-Patent BSD-3-Clause
    BSD-3-Clause-Clear BSD-3-Clause-LBNL BSD-4-Clause BSL-1.0 bzip2-1.0.6 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0
    CC-BY-4.0 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-NC-ND-4.0 CC-BY-NC-SA-3.0 CC-BY-NC-SA-4.0 CC-BY-ND-4.0
    CC-BY-SA-2.5 CC-BY-SA-3.0 CC-BY-SA-4.0 CC-PDDC CC0-1.0 CDDL-1.0 CDDL-1.1 CDLA-Permissive-2.0
    CECILL-2.1 CECILL-B CECILL-C CNRI-Python curl ECL-2.0 EPL-1.0 EPL-2.0 EUPL-1.1 EUPL-1.2 FTL
    GFDL-1.2-or-later GFDL-1.3-only GFDL-1.3-or-later GPL-1.0-or-later GPL-2.0-only GPL-2.0-or-later
    GPL-3.0-only GPL-3.0-or-later HPND ICU ISC LGPL-2.0-only LGPL-2.0-or-later LGPL-2.1-only
    LGPL-2.1-or-later LGPL-3.0-only LGPL-3.0-or-later libpng-2.0 MIT MIT-0 MIT-CMU MPL-1.1 MPL-2.0
    MS-PL MS-RL NCSA ODbL-1.0 ODC-By-1.0 OFL-1.1 OGL-UK-3.0 OpenSSL OLDAP-2.8 PDDL-1.0 PHP-3.01
    PostgreSQL PSF-2.0 Python-2.0 Python-2.0.1 QPL-1.0 Ruby Sleepycat SSPL-1.0 TCL Unicode-3.0
    Unicode-DFS-2016 Unlicense UPL-1.0 Vim W3C WTFPL X11 Zlib ZPL-2.1
"""
_EXCEPTIONS = """
    Autoconf-exception-3.0 Bison-exception-2.2 Bootloader-exception Classpath-exception-2.0
    GCC-exception-3.1 LLVM-exception OCaml-LGPL-linking-exception Qt-GPL-exception-1.0
"""
# Identifiers SPDX has deprecated, by what they meant.
_DEPRECATED = {
    f"{family}-{version}{suffix}": f"{family}-{version}-{'or-later' if suffix else 'only'}"
    for family, versions in {"GPL": ("2.0", "3.0"), "LGPL": ("2.0", "2.1", "3.0"), "AGPL": ("3.0",)}.items()
    for version in versions
    for suffix in ("", "+")
}
_KNOWN = {identifier.lower(): identifier for identifier in (_IDENTIFIERS + _EXCEPTIONS).split()} | {
    old.lower(): new for old, new in _DEPRECATED.items()
}

# Names as people write them, after _plain(): lower case, only letters, digits, dots and plus signs.
_NAMES = {
    "mit": "MIT",
    "expat": "MIT",
    "mit cmu": "MIT-CMU",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache v2": "Apache-2.0",
    "apache v2.0": "Apache-2.0",
    "apache version 2.0": "Apache-2.0",
    "asl 2.0": "Apache-2.0",
    # The 1.x licences were left behind in 2004 and the package classifier has no version.
    "apache": "Apache-2.0",
    "apache software": "Apache-2.0",
    "apache software 2.0": "Apache-2.0",
    "bsd": "LicenseRef-BSD",
    "new bsd": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause",
    "revised bsd": "BSD-3-Clause",
    "bsd 3": "BSD-3-Clause",
    "bsd 3 clause": "BSD-3-Clause",
    "3 clause bsd": "BSD-3-Clause",
    "bsd new": "BSD-3-Clause",
    "bsd 2 clause": "BSD-2-Clause",
    "2 clause bsd": "BSD-2-Clause",
    "simplified bsd": "BSD-2-Clause",
    "mpl 2.0": "MPL-2.0",
    "mpl v2": "MPL-2.0",
    "mozilla public 2.0": "MPL-2.0",
    "mozilla public 2.0 mpl 2.0": "MPL-2.0",
    "isc": "ISC",
    "isc iscl": "ISC",
    "psf": "PSF-2.0",
    "psf 2.0": "PSF-2.0",
    "python software foundation": "PSF-2.0",
    "zlib libpng": "Zlib",
    "zlib": "Zlib",
    "the unlicense": "Unlicense",
    "the unlicense unlicense": "Unlicense",
    "unlicense": "Unlicense",
    "boost software 1.0 bsl 1.0": "BSL-1.0",
    "boost": "BSL-1.0",
    "historical permission notice and disclaimer hpnd": "HPND",
    "gpl": "LicenseRef-GPL",
    "gnu general public gpl": "LicenseRef-GPL",
    "gplv2": "GPL-2.0-only",
    "gplv2+": "GPL-2.0-or-later",
    "gplv3": "GPL-3.0-only",
    "gplv3+": "GPL-3.0-or-later",
    "gnu gpl v3": "GPL-3.0-only",
    "gnu general public v2 gplv2": "GPL-2.0-only",
    "gnu general public v2 or later gplv2+": "GPL-2.0-or-later",
    "gnu general public v3 gplv3": "GPL-3.0-only",
    "gnu general public v3 or later gplv3+": "GPL-3.0-or-later",
    "lgpl": "LicenseRef-LGPL",
    "gnu library or lesser general public lgpl": "LicenseRef-LGPL",
    "lgplv3": "LGPL-3.0-only",
    "lgplv3+": "LGPL-3.0-or-later",
    "gnu lesser general public v2 lgplv2": "LGPL-2.0-only",
    "gnu lesser general public v2 or later lgplv2+": "LGPL-2.0-or-later",
    "gnu lesser general public v3 lgplv3": "LGPL-3.0-only",
    "gnu lesser general public v3 or later lgplv3+": "LGPL-3.0-or-later",
    "gnu affero general public v3": "AGPL-3.0-only",
    "gnu affero general public v3 or later agplv3+": "AGPL-3.0-or-later",
    "artistic": "LicenseRef-Artistic",
    "eclipse public 2.0 epl 2.0": "EPL-2.0",
    "academic free afl": "AFL-3.0",
    "public domain": "LicenseRef-Public-Domain",
    "cc0": "CC0-1.0",
    "cc0 1.0 universal": "CC0-1.0",
    "cc0 1.0 universal cc0 1.0 public domain dedication": "CC0-1.0",
    "cc by 4.0": "CC-BY-4.0",
    "cc by sa 4.0": "CC-BY-SA-4.0",
    "creative commons attribution 4.0 international": "CC-BY-4.0",
    "creative commons attribution sharealike 4.0 international": "CC-BY-SA-4.0",
    "mit no attribution mit 0": "MIT-0",
    "wtfpl": "WTFPL",
    "proprietary": "LicenseRef-Proprietary",
    "other proprietary": "LicenseRef-Proprietary",
}

# Opening or decisive words of licence texts, most specific first; blanks stand for any white space.
_TEXTS = (
    ("gnu affero general public license version 3", "AGPL-3.0-only"),
    ("gnu lesser general public license version 3", "LGPL-3.0-only"),
    ("gnu lesser general public license version 2.1", "LGPL-2.1-only"),
    ("gnu general public license version 3", "GPL-3.0-only"),
    ("gnu general public license version 2", "GPL-2.0-only"),
    ("mozilla public license version 2.0", "MPL-2.0"),
    ("mozilla public license, version 2.0", "MPL-2.0"),
    ("apache license version 2.0", "Apache-2.0"),
    ("apache license, version 2.0", "Apache-2.0"),
    ("boost software license - version 1.0", "BSL-1.0"),
    ("python software foundation license version 2", "PSF-2.0"),
    ("this is free and unencumbered software released into the public domain", "Unlicense"),
    ("cc0 1.0 universal", "CC0-1.0"),
    ("permission is hereby granted, free of charge, to any person obtaining a copy", "MIT"),
    ("permission to use, copy, modify, and/or distribute this software for any purpose", "ISC"),
    ("permission to use, copy, modify, and distribute this software for any purpose with or without", "ISC"),
)
_CLASSIFIER = "License :: "
_SPDX_HEADER = re.compile(r"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+\-() \t]{1,200})")
_CREATIVE_COMMONS = re.compile(r"creativecommons\.org/(?:licenses/([a-z-]{2,12})|publicdomain/(zero))/(\d\.\d)")
_TOKEN = re.compile(r"\(|\)|[A-Za-z0-9.+-]+")
_HEADER_CHARACTERS = 4096  # where a file states its licence: within its first screens


def spdx_of(stated: str) -> str:
    """The SPDX expression behind a short statement (identifier, expression, name, URL); else `unknown`."""
    stated = " ".join(stated.split())
    if not stated or len(stated) > 500:
        return UNKNOWN
    return _expression(stated) or _NAMES.get(_plain(stated)) or _from_url(stated) or UNKNOWN


def spdx_of_classifiers(classifiers: Sequence[str]) -> str:
    """The expression of a package's `License ::` classifiers; several are all taken to hold (AND)."""
    found = []
    for classifier in classifiers:
        if not classifier.startswith(_CLASSIFIER):
            continue
        name = spdx_of(classifier.rpartition(" :: ")[2])
        if name != UNKNOWN and name not in found:
            found.append(name)
    return " AND ".join(found) or UNKNOWN


def spdx_of_text(text: str) -> str:
    """The licence whose text this is, by its decisive words; else `unknown`. Reads the first 4,096 characters."""
    words = " ".join(text[:_HEADER_CHARACTERS].lower().split())
    if "redistribution and use in source and binary forms" in words:
        if "neither the name" in words or "may not be used to endorse" in words:
            return "BSD-3-Clause"
        return "BSD-2-Clause"
    return next((identifier for phrase, identifier in _TEXTS if phrase in words), UNKNOWN)


def spdx_of_header(text: str) -> tuple[str, str] | None:
    """(expression, evidence) when the opening of a file states its licence, None when it does not."""
    opening = text[:_HEADER_CHARACTERS]
    header = _SPDX_HEADER.search(opening)
    if header:
        return spdx_of(header.group(1).replace("*/", "").replace("-->", "")), "SPDX-License-Identifier"
    words = " ".join(opening.lower().replace("#", " ").split())
    if "under the apache license, version 2.0" in words:
        return "Apache-2.0", "licence notice"
    return None


def _expression(stated: str) -> str | None:
    """Canonical spelling when every word is an SPDX identifier or operator, else None."""
    tokens = _TOKEN.findall(stated)
    if "".join(tokens) != stated.replace(" ", "") or not tokens:
        return None
    spelled, expects_licence, depth = [], True, 0
    for token in tokens:
        operator = token.upper() if token.upper() in ("AND", "OR", "WITH") else None
        if token == "(":
            depth += 1
        elif token == ")":
            depth -= 1
        elif operator:
            token = operator
        else:
            known = _KNOWN.get(token.lower()) or _KNOWN.get(token.lower().removesuffix("+"))
            if known is None and not re.fullmatch(r"LicenseRef-[A-Za-z0-9.-]+", token):
                return None
            token = known or token
        if depth < 0 or expects_licence == (token == ")" or operator is not None):
            return None
        expects_licence = token == "(" or operator is not None
        spelled.append(token)
    if depth or expects_licence:
        return None
    return " ".join(spelled).replace("( ", "(").replace(" )", ")")


def _plain(name: str) -> str:
    """A licence name reduced to what tells names apart."""
    words = re.sub(r"[^a-z0-9.+]+", " ", name.lower()).split()
    noise = {"license", "licence", "licensed", "licenses", "the"}
    kept = [word.strip(".") for word in words if word not in noise] or words
    if len(kept) == 2 and kept[0] == kept[1]:  # "The MIT License (MIT)"
        kept = kept[:1]
    return " ".join(kept)


def _from_url(stated: str) -> str | None:
    address = stated.lower()
    found = _CREATIVE_COMMONS.search(address)
    if found:
        kind, zero, version = found.groups()
        return _KNOWN.get("cc0-1.0" if zero else f"cc-{kind}-{version}")
    for part, identifier in (
        ("apache.org/licenses/license-2.0", "Apache-2.0"),
        ("opensource.org/licenses/mit", "MIT"),
        ("opensource.org/license/mit", "MIT"),
        ("opensource.org/licenses/bsd-3-clause", "BSD-3-Clause"),
        ("gnu.org/licenses/gpl-3.0", "GPL-3.0-only"),
        ("mozilla.org/mpl/2.0", "MPL-2.0"),
    ):
        if part in address:
            return identifier
    return None
