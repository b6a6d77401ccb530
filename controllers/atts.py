"""Asynchronous test-time scaling: a small model drafts, a large one takes over where it must.

"ATTS: Asynchronous Test-Time Scaling via Conformal Prediction", ICLR 2026 (arXiv 2509.15148). Each
chain is judged against calibration scores, never against its siblings: no chain waits for another.
The model of the run drafts, the one with the role `target` scores and takes over.
"""

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from calibration.catalog import mode_at, refuses_known
from calibration.folds import Folding
from calibration.judging import Judge, Judgement, Rule, check_unseen
from calibration.sample import Sample
from calibration.scores import OF_LOGPROBS, Chunk, score_named
from calibration.store import Calibration, check_identity, load
from controllers.chain import Chain
from controllers.gates import Gate, Slots
from controllers.pair import check_target, name_of
from controllers.question import question_id
from controllers.syntax import syntax_of
from reason.answers import majority
from reason.backends.base import Info
from reason.engine import Engine
from reason.errors import UsageError
from reason.run import WARNING
from reason.types import Prompt, Result, SamplingParams, Thread

DECISION = "decision"
"""The note on a chain that says what was decided of one draft."""


@dataclass(frozen=True)
class AsyncScaling:
    """`n` chains, a vote among them. A turn: the draft writes a chunk, the target scores it, and if
    the score is rejected the target writes the next chunk.

    Online modes of calibration remember over all runs of one method: its memory bank. Result.extra
    counts decisions, rejections and the tokens of the target.
    """

    name: ClassVar[str] = "atts"
    needs: ClassVar[tuple[str, ...]] = ("token_ids",)
    calibration: str = ""
    """A file of `reason calibrate`; not needed for a rate of 0 or 1."""
    mode: str = "turn"
    """How chunks are compared with the calibration: calibration/catalog.py; `paper` as released."""
    rate: float = 0.25
    """Share of the chunks to be rejected: B/m for B take-overs of m chains."""
    score: str = "perplexity"
    """What is compared: calibration/scores.py."""
    n: int = 16
    """Chains."""
    turns: int = 15
    """Most chunks that the draft writes in a chain."""
    rejected: Literal["keep", "replace"] = "keep"
    """Whether the target goes on after a rejected chunk, as in the paper, or writes its own in the
    chunk's place."""
    synchronous: bool = False
    """Whether every chain waits for all others after each draft, score and take-over: the same
    decisions as without, to measure what waiting costs."""
    draft_slots: int = 0
    """Most drafts at once, over all runs; 0 for no limit."""
    target_slots: int = 0
    """Most scores and take-overs at once, over all runs; 0 for no limit."""
    force: bool = False
    """Whether a calibration may be used that was made with other models or other options, or of the
    questions that are asked."""
    width: int = 0
    """For models trained on it: first steps that a serial search tries, 0 for all."""
    syntax: str = "tags"
    """Grammar of prompts and answers: tags, plain, countdown, lookup; commands take the model's."""
    sampling: SamplingParams = SamplingParams(temperature=0.8, max_tokens=500)
    """Of the draft, chunk by chunk."""
    target_sampling: SamplingParams | None = None
    """Of the target's chunks; None for the same."""

    def __post_init__(self) -> None:
        for name, least in (("n", 1), ("turns", 1), ("draft_slots", 0), ("target_slots", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")
        if self.score not in OF_LOGPROBS:
            raise ValueError(
                f"score must be {', '.join(OF_LOGPROBS[:-1])} or {OF_LOGPROBS[-1]}, got "
                f"{self.score!r}: models give log-probabilities of drafted tokens and no more"
            )
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate must be in 0..1, a share of the chunks, got {self.rate}")

    @cached_property
    def judge(self) -> Judge | Folding:
        """Decides for all runs of this method."""
        return self._rule.start()

    @cached_property
    def _rule(self) -> Rule:
        mode = mode_at(self.mode, self.rate, seen=self.force)
        if not self.calibration and 0 < self.rate < 1:
            raise UsageError(
                f"rate {self.rate:g} needs a calibration: make one with reason calibrate and give "
                "calibration=FILE"
            )
        return mode.fit(self._loaded.sample if self._loaded else Sample.of([], []))

    def judged_by(self, judge: Judge | Folding) -> "AsyncScaling":
        """The same method with another judge, such as one that is still being calibrated."""
        copy = replace(self)
        copy.__dict__["judge"] = judge
        return copy

    def asked(self, data: str) -> "AsyncScaling":
        """The same method for questions of that data, which is held against the calibration."""
        copy = replace(self)
        copy.__dict__["data"] = data
        return copy

    @cached_property
    def data(self) -> str | None:
        """What the questions are of, where that is known."""
        return None

    @cached_property
    def _drafts(self) -> Slots:
        return Slots(self.draft_slots)

    @cached_property
    def _takeovers(self) -> Slots:
        return Slots(self.target_slots)

    def conditions(self) -> dict[str, str | int | float | bool]:
        """What the scores of a calibration depend on, beside the models."""
        target = self.target_sampling or self.sampling
        samplings = {"draft": self.sampling, "target": target}
        found: dict[str, str | int | float | bool] = {
            f"{role}.{name}": getattr(sampling, name)
            for role, sampling in samplings.items()
            for name in ("temperature", "top_p", "top_k", "min_p", "max_tokens")
        }
        for role, sampling in samplings.items():
            found[f"{role}.stop"] = json.dumps([*sampling.stop, *sampling.stop_token_ids])
        for name in ("mode", "rate", "rejected", "width", "syntax", "turns"):
            found[name] = getattr(self, name)
        return found

    def admit(self, models: Mapping[str, Info] | None, prompt: Prompt | None) -> None:
        """Raise UsageError for a rate that lacks its calibration, for what these models lack, and
        for a question that may not be asked."""
        _ = self.judge
        if models is not None:
            check_target(models)
            self.unfit(models, self.data)
        if prompt is not None and (question := question_id(prompt)) in self.refused:
            check_unseen(self._rule.sample, question, seen=False)

    def unfit(
        self, models: Mapping[str, Info] | None = None, data: str | None = None
    ) -> tuple[str, ...]:
        """What speaks against the calibration with these models, or that data. Raises UsageError
        for it, unless `force` is set."""
        if self._loaded is None:
            return ()
        draft, target = (models or {}).get("policy"), (models or {}).get("target")
        conditions = self.conditions() if models else {}  # then it has its syntax, too
        known = self._loaded.identity.config.get("turns", 0)
        if isinstance(known, int) and self.turns <= known:
            conditions.pop("turns", None)  # of fewer turns, all are there
        return check_identity(
            self._loaded,
            draft=name_of(draft) if draft else None,
            target=name_of(target) if target else None,
            data=data,
            score=self.score,
            config=conditions,
            force=self.force,
        )

    @property
    def refused(self) -> frozenset[str]:
        """Ids of the questions that it answers only with `force`: those of its calibration."""
        return frozenset() if self.force else self._known

    @cached_property
    def _known(self) -> frozenset[str]:
        refuses = self._loaded and refuses_known(self.mode)
        return self._loaded.sample.known if self._loaded and refuses else frozenset()

    def _known_already(self, question: str) -> Iterator[str]:
        if self.force and question in self._known:
            yield (
                "the question is one of those of the calibration, whose chunks are no longer "
                "comparable with it: the rate of rejections may be any"
            )

    @cached_property
    def _loaded(self) -> Calibration | None:
        return load(Path(self.calibration)) if self.calibration else None

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax, judge = syntax_of(self.syntax), self.judge
        infos = {role: engine.backends[role].info for role in ("policy", "target")}
        question = question_id(prompt)
        warnings = [*self.unfit(infos, self.data), *self._known_already(question)]
        if "_rule" in self.__dict__:  # its judge is its own
            warnings += self._rule.warnings
        asked = syntax.serial(prompt, self.width)
        root = engine.open(asked)
        gate = Gate(self.n if self.synchronous else 0)
        chains = [Chain(engine, engine.fork(root), asked) for _ in range(self.n)]
        by_thread = {chain.first.id: chain for chain in chains}

        async def think(thread: Thread) -> str | None:
            chain = by_thread[thread.id]
            try:
                for turn in range(self.turns):
                    going_on = await self._turn(chain, judge, gate, turn, question)
                    if not going_on or syntax.answer(chain.text) is not None:
                        break
                return syntax.answer(chain.text)
            finally:
                gate.leave()
                if isinstance(judge, Folding):
                    judge.leave(question)
                chain.close()

        answers = await engine.map(think, [chain.first for chain in chains])
        engine.join(root, [chain.first for chain in chains])
        vote = majority(answers)
        for warning in warnings:
            engine.note(root, WARNING, warning)
        engine.note(root, "vote", {"answer": vote.answer, "share": vote.share})
        return Result(vote.answer, chains[vote.index].last.id, _counts(engine, chains))

    async def _turn(
        self, chain: Chain, judge: Judge | Folding, gate: Gate, turn: int, question: str
    ) -> bool:
        """One chunk of the draft and what becomes of it; whether the chain can go on."""
        async with self._drafts:
            drafted = await chain.draft(self.sampling)
        await gate.wait()
        async with self._takeovers:
            logprobs = await chain.score()
        await gate.wait()
        score = score_named(self.score)(Chunk(logprobs))
        u = chain.engine.chance(chain.first, f"turn {turn}").random()
        said: Any = judge.judge(score, turn=turn, length=len(logprobs), question=question, u=u)
        decision: Judgement = await said if inspect.isawaitable(said) else said
        note = {"question": question, "turn": turn, "score": score, "length": len(logprobs)}
        chain.engine.note(chain.first, DECISION, {**note, **decision.to_json()})
        if decision.rejected:
            async with self._takeovers:
                drafted = await chain.take_over(
                    self.target_sampling or self.sampling, self.rejected == "replace"
                )
        await gate.wait()
        return drafted.finish != "eos" and bool(drafted.ids)  # nothing: the context is full


def _counts(engine: Engine, chains: list[Chain]) -> dict[str, Any]:
    mine = {chain.first.id for chain in chains}  # the run may be one of several inside a method
    notes = (note for note in engine.tree.notes if note.name == DECISION)
    decisions = [note.value for note in notes if note.thread in mine]
    return {
        "decisions": len(decisions),
        "rejected": sum(decision["rejected"] for decision in decisions),
        "target_tokens": sum(chain.target_tokens for chain in chains),
        "draft_tokens": sum(chain.draft_tokens for chain in chains),
    }
