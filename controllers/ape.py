"""Adaptive parallel encoding: many contexts, encoded once each, read side by side by a question.

Yang et al., "APE: Faster and Longer Context-Augmented Generation via Adaptive Parallel Encoding",
ICLR 2025. The model never sees one context from another: what has to be put together from several
is found worse than in one sequence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from controllers.context_texts import read_contexts
from controllers.inside import last_words
from controllers.syntax import syntax_of
from controllers.tuned import Tuned
from reason.backends.base import Info
from reason.engine import Engine
from reason.errors import UsageError
from reason.run import WARNING
from reason.tree import ThreadTree
from reason.types import Contexts, Prompt, Result, SamplingParams, Thread, check_attention


@dataclass(frozen=True)
class ParallelEncoding:
    """One thread behind contexts; those of the question, if it has its own, come first. A context
    that is given twice is read once, with a warning: in a group it would weigh twice."""

    name: ClassVar[str] = "ape"
    needs: ClassVar[tuple[str, ...]] = ("token_ids",)
    contexts: tuple[str, ...] = ()
    """Texts, or @FILE and @PATTERN for files: a context each, or one from every line of a .jsonl
    file with a "text"."""
    prefix: str = ""
    """Text before every context, such as what to do with them."""
    shared_prefix: bool = True
    """The prefix is there once, before all contexts. If not, each context begins with a copy of it,
    as in parallel context windows (Ratner et al., 2023): what APE improves on."""
    separator: str = "\n\n"
    """Added to the end of each context that is given here."""
    parallel: bool = True
    """Side by side; if not, one after another in one sequence."""
    attention_temperature: float = 0.9
    """T: logits of attention to contexts are divided by it; in (0, 2]."""
    scaling_factor: float = 0.9
    """S: S*T is the factor of the contexts' log-sum-exp where they are weighed against the rest; in
    [0, 10]."""
    tuned: str = ""
    """A file of `reason tune ape`, in the place of T and S."""
    most_divergence: float = 0.5
    """Divergence (nats for a token) from one sequence up to which `tuned` is used; above it the
    contexts are read one after another, with a warning."""
    syntax: str = "tags"
    """Grammar of prompts and answers: tags, plain, countdown, lookup; a command goes by the model's
    own."""
    sampling: SamplingParams = SamplingParams(temperature=0.0)

    def __post_init__(self) -> None:
        check_attention(self.attention_temperature, self.scaling_factor)
        if self.tuned and (self.attention_temperature, self.scaling_factor) != (0.9, 0.9):
            raise ValueError(
                f"tuned={self.tuned} is there in the place of attention_temperature and "
                "scaling_factor: leave these out, or tuned"
            )
        if not self.most_divergence >= 0:
            raise ValueError(f"most_divergence must be 0 or more, got {self.most_divergence}")

    def admit(self, models: Mapping[str, Info] | None, prompt: Prompt | None) -> None:
        """Raise UsageError where there is no context, or a file is not what it should be."""
        texts = read_contexts(self.contexts)
        if prompt is not None and not texts and not isinstance(prompt, Contexts):
            raise UsageError(
                "ape needs contexts: 'contexts=@docs/*.md', or a task whose questions have some"
            )
        if self.tuned:
            tuned = Tuned.read(Path(self.tuned))
            if models and "policy" in models:
                tuned.check(models["policy"])

    def speaks(self, tree: ThreadTree, thread: Thread) -> bool:
        """The root does."""
        return thread is tree.root

    async def __call__(self, engine: Engine, prompt: Prompt) -> Result:
        syntax = syntax_of(self.syntax)
        asked, warnings = self.laid(prompt)
        said = syntax.serial(asked, 0)
        if isinstance(said, Contexts) and said.parallel and not self.shared_prefix:
            copies = tuple(said.prefix + text for text in said.contexts)
            said = replace(said, prefix="", contexts=copies)
        root = engine.open(said)
        for warning in warnings:
            engine.note(root, WARNING, warning)
        await engine.generate(root, self.sampling)
        return Result(syntax.answer(last_words(engine, syntax, root)), root.id)

    def laid(self, prompt: Prompt) -> tuple[Contexts, list[str]]:
        """The question behind its contexts, and what to warn of."""
        texts, query, prefix = list[str](), prompt, self.prefix
        if isinstance(prompt, Contexts):
            texts, query, prefix = [*prompt.contexts], prompt.query, prompt.prefix + self.prefix
        texts += [text + self.separator for text in read_contexts(self.contexts)]
        different = list(dict.fromkeys(texts))
        warnings = []
        if len(different) < len(texts):
            warnings.append(
                f"{len(texts) - len(different)} of {len(texts)} contexts are there twice, and were "
                "read once"
            )
        numbers, parallel = (self.attention_temperature, self.scaling_factor), self.parallel
        if self.tuned and parallel:
            tuned = Tuned.read(Path(self.tuned))
            numbers = (tuned.temperature, tuned.scale)
            parallel = tuned.divergence <= self.most_divergence
            if not parallel:
                warnings.append(
                    f"side by side the contexts would have been read {tuned.divergence:.2g} nats "
                    f"for a token off, above most_divergence={self.most_divergence:g}: they were "
                    "read one after another"
                )
        assert not isinstance(query, Contexts)
        return Contexts(tuple(different), query, prefix, parallel, *numbers), warnings
