"""Stop words per language: words that running text of that language can hardly avoid.

English is the published Gopher list (Rae et al. 2021, arXiv:2112.11446, appendix A), unchanged. The
other lists follow its idea, a handful of words of which two different ones must occur: the commonest
articles, prepositions, conjunctions and forms of "be" and "have". Words that are common in English
text too (German "die" and "in", French "on", Dutch "is") are left out where enough others remain, so
that an English page labelled otherwise does not pass on them. Only languages whose words are
separated by spaces and whose list was tried on real text are here (Dutch and Polish: on the pages of an
office suite's help, of which they miss only what is not translated); in any other language a rule that
needs stop words abstains.

Lists are lower case and NFC, because stored text is NFC. At most 62 words a language.
"""

STOP_WORDS: dict[str, tuple[str, ...]] = {
    "en": ("the", "be", "to", "of", "and", "that", "have", "with"),
    "de": ("der", "die", "und", "den", "das", "von", "mit", "ist", "für", "nicht", "eine", "werden", "zu", "auf"),
    "fr": ("le", "la", "les", "de", "des", "et", "une", "est", "que", "dans", "pour", "avec", "du", "sur"),
    "es": ("el", "la", "los", "las", "de", "y", "que", "en", "una", "para", "con", "por", "del", "es"),
    "it": ("il", "la", "di", "che", "e", "un", "una", "per", "con", "della", "sono", "è", "del", "dei"),
    "pt": ("o", "os", "de", "da", "do", "que", "e", "em", "um", "uma", "para", "com", "é", "não"),
    "nl": ("de", "het", "een", "en", "van", "dat", "op", "met", "voor", "niet", "zijn", "te", "die", "aan"),
    "pl": ("w", "i", "z", "na", "do", "się", "nie", "jest", "to", "że", "o", "dla", "oraz", "od"),
    "ru": ("и", "в", "на", "не", "что", "с", "для", "это", "по", "как", "из", "от", "или", "к"),
    "uk": ("і", "в", "у", "на", "не", "що", "з", "для", "це", "до", "та", "за", "як", "або"),
    "el": ("το", "και", "να", "του", "της", "τη", "με", "για", "ένα", "είναι", "που", "από", "η", "σε"),
    "tr": ("ve", "bir", "bu", "için", "ile", "da", "de", "olarak", "veya", "daha", "olan", "gibi", "her", "çok"),
    "vi": ("và", "của", "các", "là", "có", "cho", "một", "được", "trong", "không", "để", "với", "này", "những"),
}

STOP_WORD_LANGUAGES: tuple[str, ...] = tuple(sorted(STOP_WORDS))

#: Words that source code of the common programming languages can hardly avoid and that mean little elsewhere.
KEYWORDS: tuple[str, ...] = (
    "abstract", "async", "await", "bool", "boolean", "break", "case", "catch", "class", "const", "continue", "def",
    "default", "delete", "elif", "else", "elseif", "enum", "except", "export", "extends", "extern", "false", "finally",
    "float", "fn", "for", "foreach", "func", "function", "goto", "if", "impl", "implements", "import", "include", "int",
    "interface", "lambda", "let", "mut", "namespace", "new", "null", "package", "private", "protected", "public",
    "raise", "return", "self", "static", "string", "struct", "super", "switch", "template", "this", "throw", "throws",
    "true", "try", "typedef", "using", "var", "void", "while", "yield",
)  # fmt: skip
