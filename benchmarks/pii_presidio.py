"""Presidio's pattern recognizers over texts: run by pii.py with the Python of an environment that has Presidio.

    python benchmarks/pii_presidio.py TEXTS.json SPANS.json REGIONS

TEXTS: a JSON list of strings. SPANS gets {"version", "seconds", "spans": [[[start, end, entity, score], ...], ...]}.
The language pipeline is blank (no model can be had offline); words are their own lemmas, so that context words work.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    """Read, analyse, write."""
    import spacy
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer import predefined_recognizers as predefined
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from spacy.language import Language

    texts = json.loads(Path(sys.argv[1]).read_text())
    regions = sys.argv[3].split(",")

    @Language.component("own_lemmas")
    def own_lemmas(document):
        for token in document:
            token.lemma_ = token.lower_
        return document

    class Blank(SpacyNlpEngine):
        def __init__(self):
            super().__init__(models=[{"lang_code": "en", "model_name": "blank"}])
            pipeline = spacy.blank("en")
            pipeline.add_pipe("own_lemmas")
            pipeline.max_length = 10_000_000
            self.nlp = {"en": pipeline}

        def load(self):
            pass

    names = (
        "CreditCardRecognizer", "EmailRecognizer", "IbanRecognizer", "IpRecognizer", "UsSsnRecognizer",
        "NhsRecognizer", "UkNinoRecognizer", "EsNifRecognizer", "EsNieRecognizer", "ItFiscalCodeRecognizer",
        "PlPeselRecognizer", "DeTaxIdRecognizer",
    )  # fmt: skip
    found = [name for name in names if hasattr(predefined, name)]
    registry = RecognizerRegistry(supported_languages=["en"])
    for name in found:
        registry.add_recognizer(getattr(predefined, name)(supported_language="en"))
    registry.add_recognizer(predefined.PhoneRecognizer(supported_language="en", supported_regions=regions))
    engine = AnalyzerEngine(registry=registry, nlp_engine=Blank(), supported_languages=["en"])
    engine.analyze("warm up 4111111111111111 +49 30 901820", language="en")
    started = time.process_time()
    spans = [
        [[hit.start, hit.end, hit.entity_type, hit.score] for hit in engine.analyze(text, language="en")]
        for text in texts
    ]
    seconds = time.process_time() - started
    result = {"version": version("presidio-analyzer"), "recognizers": found, "seconds": seconds, "spans": spans}
    Path(sys.argv[2]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
