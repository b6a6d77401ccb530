"""`reason train traces`: what the command does with the keys it was given."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from reason.backends.base import Backend
from reason.config import Values, build
from reason.errors import UsageError
from reason.keys import Traces
from reason.session import connected, run
from rl.traced.chain import read_chains
from rl.traced.contamination import Evaluations
from rl.traced.folder import Folder
from rl.traced.options import Options
from rl.traced.pipeline import Pipeline
from rl.traced.progress import ProgressLine
from rl.traced.selftraining import SelfTraining
from rl.traced.serving import Student
from rl.traced.statistics import Statistics, show
from rl.traced.steps import Steps
from rl.traced.teacher import Teacher


@dataclass(frozen=True)
class Making:
    """Everything checked that can be before a model is there."""

    asked: Traces
    options: Options
    out: Path
    console: Console

    @classmethod
    def of(cls, asked: Traces, tables: Values, console: Console) -> "Making":
        """Raises UsageError for keys that do not exist or do not go together."""
        own = {field.name for field in fields(Traces)} | {"backends"}
        options = build(Options, {key: value for key, value in tables.items() if key not in own})
        if bool(asked.file) == bool(asked.from_eval):
            raise UsageError(
                "which chains? for example: reason train traces chains.jsonl --backend SPEC "
                "--out DIR, or --from-eval DIR without a file"
            )
        if asked.out is None:
            raise UsageError("where to? give --out DIR")
        if asked.concurrency < 1:
            raise UsageError(f"concurrency must be 1 or more, got {asked.concurrency}")
        if asked.from_eval and (asked.backend or options.tokenizer):
            raise UsageError(
                "an evaluation has its model and tokens: no backend and no tokenizer beside "
                "--from-eval"
            )
        if asked.file and not asked.backend:
            raise UsageError("which teacher? give --backend SPEC, any model that follows requests")
        return cls(asked, options, asked.out, console)

    def go(self, tables: Values) -> int:
        """Make the examples; the exit code: 0, or 1 if the teacher failed or none is left."""
        evaluations = Evaluations.of(self.options.against, self.options.gram)
        if self.asked.from_eval:
            return self._own(evaluations)
        chains = read_chains(Path(self.asked.file))
        models = connected(self.asked.backend, tables, self.console)
        teacher = models["policy"]

        async def work() -> int:
            if teacher.info.grammar:
                raise UsageError(
                    f"{teacher.info.model} reads {teacher.info.grammar} problems only: a teacher "
                    "must be a general chat model"
                )
            steps = Steps(
                Teacher(
                    teacher,
                    self.options.sampling,
                    self.options.tries,
                    self.asked.seed,
                    self.asked.concurrency,
                ),
                Student.of(self.options.tokenizer, teacher),
                self.options,
                evaluations,
            )
            with Folder(self.out, self.config(evaluations, teacher=_model(teacher))) as folder:
                todo = sum(not folder.finished(chain.id) for chain in chains)
                with ProgressLine(self.console, "traces", todo) as line:
                    pipeline = Pipeline(chains, steps, folder, line)
                    await pipeline.run(self.asked.concurrency)
                unit = "tokens" if steps.student.name else "words"
                found = folder.finish(pipeline.items, pipeline.kept, unit, evaluations.count)
            return self.publish(found, pipeline.failed)

        return run(work(), models, self.left)

    def config(self, evaluations: Evaluations, **source: Any) -> dict[str, Any]:
        """What must be the same for a folder to be gone on with."""
        options = asdict(self.options)
        options["against"] = {"questions": evaluations.count, "sha256": evaluations.digest}
        return {"seed": self.asked.seed, "options": options, **source}

    def left(self) -> str:
        """What Ctrl-C leaves."""
        return f"finished steps are in {self.out}; the same command goes on from there"

    def publish(self, found: Statistics, failed: list[str]) -> int:
        """Print the figures; the exit code."""
        if self.asked.json:
            whole = {"out": str(self.out), **msgspec.to_builtins(found), "failed": failed}
            self.console.out(msgspec.json.encode(whole).decode(), highlight=False)
        else:
            show(found, self.console)
            for line in failed[:1]:
                more = f", as {len(failed) - 1:,} more did" if len(failed) > 1 else ""
                self.console.print(
                    f"the teacher failed{more}; the same command asks again. {line}",
                    style="yellow", markup=False, soft_wrap=True,
                )  # fmt: skip
            if not self.options.against:
                self.console.print("No evaluation set was looked for: give against=aime24,…")
            self.console.print(f"Examples are in {self.out / 'examples.jsonl'}", soft_wrap=True)
        return 1 if failed or not found.examples else 0

    def _own(self, evaluations: Evaluations) -> int:
        assert self.asked.from_eval is not None
        own = SelfTraining.of(self.asked.from_eval, self.options, evaluations)
        with Folder(self.out, self.config(evaluations, evaluation=own.source)) as folder:
            with ProgressLine(self.console, "traces", len(own.evaluation.rows)) as line:
                kept = own.run(folder, line)
            return self.publish(folder.finish(own.items, kept, "tokens", evaluations.count), [])


def make(asked: Traces, tables: Values, console: Console) -> int:
    """`reason train traces`; the exit code."""
    return Making.of(asked, tables, console).go(tables)


def _model(backend: Backend) -> Mapping[str, str]:
    info = backend.info
    return {"model": info.model, "tokenizer": info.tokenizer, "fingerprint": info.fingerprint}
