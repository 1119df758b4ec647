"""Presidio's pattern recognisers, for `benchmarks.pii` to run in an environment of their own.

    python benchmarks/pii_presidio.py TEXTS.jsonl > FOUND.json     # needs presidio-analyzer, and nothing of ours

No model of names is loaded: the recognisers that search by pattern and check are asked one by one, all of English.
"""

import json
import sys
import time
from pathlib import Path

from presidio_analyzer import PatternRecognizer, RecognizerRegistry
from presidio_analyzer.predefined_recognizers import PhoneRecognizer


def main() -> None:
    texts = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").split("\n") if line]
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    asked = [r for r in registry.recognizers if isinstance(r, (PatternRecognizer, PhoneRecognizer))]
    start = time.process_time()
    found = [
        [
            (one.start, one.end, one.entity_type, one.score)
            for recognizer in asked
            for one in recognizer.analyze(text, recognizer.supported_entities, None) or ()
        ]
        for text in texts
    ]
    seconds = time.process_time() - start
    json.dump({"seconds": seconds, "recognisers": len(asked), "found": found}, sys.stdout)


if __name__ == "__main__":
    main()
