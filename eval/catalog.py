"""The data sets that can be asked for by name, and files of the user's own.

Revisions are pinned and rows are counted, since sets of one name differ: there is an AMC23 of 83
rows too, and MathArena mends its sets after publication. AIME26, HMMT and GPQA were never run:
they are tested on hand-made rows in the Hub's columns.
"""

import re
from dataclasses import replace
from pathlib import Path

from eval.questions import Dataset, choices, worked
from eval.rows import SUFFIXES

_HMMT = "MathArena/hmmt_"
DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "aime24",
            "HuggingFaceH4/aime_2024",
            "2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
            rows=30,
            grader="integer",
            repeats=16,
        ),
        Dataset(
            "aime25",
            "math-ai/aime25",
            "563bb8404243c5f09de6ec262f2db674fe5bce9b",
            "test",
            rows=30,
            grader="integer",
            repeats=16,
        ),
        Dataset(
            "aime26",
            "MathArena/aime_2026",
            "d2de22f3c656b4f56cf8981212186377d1e23bc3",
            rows=30,
            grader="integer",
            repeats=16,
        ),
        Dataset(
            "math500",
            "HuggingFaceH4/MATH-500",
            "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
            "test",
            rows=500,
            repeats=4,
        ),
        Dataset(
            "amc23",
            "math-ai/amc23",
            "80815d37005feb82cd7f8fbc6901d5d3eff43057",
            "test",
            rows=40,
            repeats=16,
        ),
        Dataset(
            "hmmt",
            f"{_HMMT}feb_2025",
            "6fdc4277120810ff75aa22d2d5489b91f7a262a1",
            rows=30,
            repeats=16,
        ),
        Dataset(
            "hmmt_nov25",
            f"{_HMMT}nov_2025",
            "118dbfb45c4c9467c672268ed55166642897aa46",
            rows=30,
            repeats=16,
        ),
        Dataset(
            "hmmt_feb26",
            f"{_HMMT}feb_2026",
            "02fba4f74d8e68e73e66a02d540fd979c05c274c",
            rows=33,
            repeats=16,
        ),
        Dataset(
            "gpqa",
            "Idavidrein/gpqa",
            "633f5ee89ab8ad4522a9f850766b73f62147ffdd",
            rows=198,
            config="gpqa_diamond",
            grader="choice",
            repeats=8,
            read=choices,
        ),
        Dataset(
            "gsm8k",
            "openai/gsm8k",
            "740312add88f781978c0658806c59bc2815b9866",
            "test",
            rows=1319,
            config="main",
            read=worked,
        ),
    )
}
"""By name; `hmmt` is that of February 2025."""


def dataset_of(name: str) -> Dataset | None:
    """The set that is meant by "aime24", "aime24@copy.jsonl" or "my/own.parquet"; None if none is.

    A file of one's own needs a problem and an answer in each row, which math-verify compares.
    """
    if name in DATASETS:
        return DATASETS[name]
    known, at, file = name.partition("@")
    if at and known in DATASETS:
        return replace(DATASETS[known], file=Path(file).expanduser())
    path = Path(name).expanduser()
    if name.endswith(SUFFIXES) and (path.exists() or not re.fullmatch(r"\w+", known)):
        return Dataset(re.sub(r"\W+", "-", path.stem), file=path)
    return None
