"""The columns of a document after each stage, named once.

A document is one row. A shard is one Parquet file of documents of one source. Every stage keeps the columns
that it was given and may add its own; nothing is renamed on the way.

    ingest, clean   id  source  language  text  meta
    annotate        + lang_label  lang_score  the quality measures
    redact (corpus) + pii_count
"""

from __future__ import annotations

import pyarrow as pa

# id        unique in the corpus, stable across runs: "<source>/<file>:<record>" or "<source>/<value of the id column>"
# source    name of the source, as in the catalogue or the folder (lm_<language>_<name>)
# language  ROOTS code that the source states (languages.csv, `roots_code`): en, zhs, indic-hi, nigercongo-sw, code
# text      valid UTF-8, may be empty
# meta      one JSON object as text, "{}" where the record had none; a column of its own type would break a shard
#           as soon as two records disagree
DOCUMENT = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("meta", pa.string(), nullable=False),
    ]
)

# What `roots.quality` measures, in the order in which limits are checked. Null = not measured (no resource for it).
MEASURES = pa.schema(
    [
        pa.field("word_count", pa.int32()),
        pa.field("char_repetition_ratio", pa.float32()),
        pa.field("word_repetition_ratio", pa.float32()),
        pa.field("special_char_ratio", pa.float32()),
        pa.field("stopword_ratio", pa.float32()),
        pa.field("flagged_word_ratio", pa.float32()),
        pa.field("lang_score", pa.float32()),
        pa.field("perplexity", pa.float32()),
    ]
)

# lang_label  code of languages.csv without its family prefix (`sw`, `hi`, `zhs`), "other" for a label outside
#             the table, null where no model was asked
ANNOTATED = pa.schema([*DOCUMENT, pa.field("lang_label", pa.string()), *MEASURES])

# Beside each shard of the corpus (`.spans`): what was replaced, never its text. start, end in code points of the text
# before; digest keyed (`pii.code_point_spans`), null without a key
SPANS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("end", pa.int64(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("digest", pa.string()),
    ]
)

CORPUS = pa.schema([*ANNOTATED, pa.field("pii_count", pa.int32(), nullable=False)])


def documents(
    ids: list[str], source: str, language: str, texts: list[str], metas: list[str] | None = None
) -> pa.RecordBatch:
    """A batch of documents of one source; `metas` are JSON objects as text, "{}" each where not given."""
    n = len(ids)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(ids, pa.string()),
            pa.repeat(pa.scalar(source, pa.string()), n),
            pa.repeat(pa.scalar(language, pa.string()), n),
            pa.array(texts, pa.string()),
            pa.array(metas, pa.string()) if metas is not None else pa.repeat(pa.scalar("{}", pa.string()), n),
        ],
        schema=DOCUMENT,
    )
