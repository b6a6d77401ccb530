"""What a client reads of one run while it goes on, and at its end."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reason.backends.base import Backend
from reason.engine import Engine
from reason.events import Closed, Event, Opened, Tokens
from reason.question import Turn
from reason.run import Trajectory, speaking
from reason.serve.fault import Fault
from reason.serve.outbox import Outbox
from reason.serve.speech import Speech
from reason.serve.voice import Said, Voice
from reason.types import Thread


@dataclass(slots=True)
class Transcript:
    """A sink. The threads that speak for the run, as its method says, write the answer; all others
    write reasoning. Of a model with a grammar of its own the answer is shown at the end."""

    turn: Turn
    models: Mapping[str, Backend]
    outbox: Outbox
    stops: tuple[str, ...] = ()
    """Stop strings of the client, which are no part of an answer."""
    each: bool = False
    """Whether single tokens are asked for."""
    engine: Engine | None = None
    """That of the run, once there is one."""
    content: bool = False
    """Whether any of the answer was told."""
    answer_tokens: int = 0
    fault: Fault | None = None
    """Why the run is of no use, where only its events tell."""
    failed: str = ""
    """Why a thread failed, the last one that did."""
    _voices: dict[str, Voice] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Tokens):
            if event.origin == "prompt":
                self._check(event)
            else:
                self._hear(event)
        elif isinstance(event, Opened):
            if event.kept and event.continues:
                self._voice(event.thread)
        elif isinstance(event, Closed):
            self.outbox.writing.discard(event.thread)
            if event.finish == "error":
                self.failed = event.detail
            if event.thread in self._voices:
                self._tell(event.thread, self._voices[event.thread].close())
        self.outbox.happened(event)

    def finish(self, run: Trajectory) -> None:
        """The run is over: what is told only now of its answer."""
        for name, voice in self._voices.items():
            self._tell(name, voice.close())
            self.answer_tokens += voice.tally.answer
        result = run.result
        if self.content or result is None or result.answer is None:
            return
        thread = run.tree[result.thread]
        pinned = bool(result.extra.get("pinned"))
        grammar = self.models["policy"].info.grammar
        if grammar:
            self.answer_tokens += self._written(thread, result.answer)
        if not (grammar or pinned):
            voice, said = self._retold(thread)
            for kind, text, tokens in said:
                if kind == "content" and text:
                    self._tell(thread.id, [(kind, text, tokens)])
            self.answer_tokens += voice.tally.answer
        if not self.content:
            self._tell(thread.id, [("content", self.turn.question.show(result.answer), [])])

    def _check(self, event: Tokens) -> None:
        """Note a prompt for which there is no room."""
        thread = self._thread(event.thread)
        context = self.models[thread.model].info.context
        tokens = len(event.ids) - (thread.layout.shift if thread.layout else 0)
        if thread.parent is None and tokens >= context:
            self._too_long(tokens, f", and the model's context is {context}")
            assert self.engine is not None
            self.engine.cancel(thread)

    def _too_long(self, tokens: int, why: str) -> None:
        place, advice = "messages", "shorten it"
        contexts = getattr(self.turn.controller, "contexts", ())
        if contexts and not any(each.startswith("@") for each in contexts):  # the server's files
            place = f"reason.contexts[{contexts.index(max(contexts, key=len))}]"
            advice = f"the longest of its contexts is {place}: shorten or split it"
        self.fault = Fault(
            400,
            f"the prompt has {tokens} tokens{why}: it does not fit; {advice}",
            param=place,
            code="context_length_exceeded",
        )

    def _hear(self, event: Tokens) -> None:
        if event.origin == "sampled":
            (self.outbox.writing.discard if event.finish else self.outbox.writing.add)(event.thread)
            # Asked, and nothing written: a server that has less room than it says.
            refused = event.finish == "length" and event.prompt_tokens and not event.ids
            assert self.engine is not None
            if refused and event.thread == "0" and not self.engine.ledger.total_tokens:
                self._too_long(event.prompt_tokens, "")
        if event.text or event.ids:
            self._tell(event.thread, self._voice(event.thread).hear(event))

    def _tell(self, thread: str, said: list[Said]) -> None:
        for kind, text, tokens in said:
            self.content = self.content or (kind == "content" and bool(text))
            self.outbox.put(kind, thread, text, tokens)

    def _voice(self, name: str) -> Voice:
        if name not in self._voices:
            thread, speech = self._thread(name), None
            model = self.models[thread.model]
            if not self.models["policy"].info.grammar and self._speaks(thread):
                speech = self._speech(thread)
            self._voices[name] = Voice(model, speech, self.each)
        return self._voices[name]

    def _speaks(self, thread: Thread) -> bool:
        assert self.engine is not None
        return speaking(self.turn.controller, self.engine.tree, thread)

    def _written(self, thread: Thread, answer: str) -> int:
        """Tokens from the answer on, where the model wrote it last."""
        assert self.engine is not None
        last = thread.segments[-1]
        at = last.text.rfind(answer) if last.origin == "sampled" else -1
        return thread.length - self.engine.locate(thread, at) if at >= 0 else 0

    def _speech(self, thread: Thread) -> Speech:
        """A prompt may have begun a thought, and so may what a thread goes on from."""
        prompt, before = _split(thread)
        decode = self.models[thread.model].decode
        begun = decode(prompt[-64:]).rstrip() if prompt else ""
        thoughts = [aside for aside in self.turn.asides if aside.thought]
        thinking = any(begun.endswith(aside.begin) for aside in thoughts)
        speech = Speech(self.turn.asides, thinking, self.stops)
        kept = before[: thread.kept - len(prompt)] if thread.kept else []
        if kept:
            speech.push(decode(kept), last=True)
        return speech

    def _retold(self, thread: Thread) -> tuple[Voice, list[Said]]:
        """All that a thread holds behind its prompt, heard from its beginning."""
        line = [thread]
        while line[0].kept and line[0].parent:
            line.insert(0, line[0].parent)
        voice = Voice(self.models[thread.model], self._speech(line[0]), self.each)
        said: list[Said] = []
        kept = [each.kept for each in line[1:]]
        for each, end in zip(line, [*kept, thread.length], strict=True):
            at = each.kept
            for number, segment in enumerate(each.segments):
                ids = segment.ids[: max(end - at, 0)]
                at += len(segment.ids)
                if segment.origin == "prompt" or not ids:
                    continue
                whole = len(ids) == len(segment.ids)
                text = segment.text if whole else self.models[each.model].decode(ids)
                said += voice.hear(
                    Tokens(
                        thread=each.id,
                        segment=number,
                        origin=segment.origin,
                        text=text,
                        ids=tuple(ids),
                        logprobs=tuple(segment.logprobs[: len(ids)]),
                    )
                )
        return voice, said + voice.close()

    def _thread(self, name: str) -> Thread:
        assert self.engine is not None
        return self.engine.tree[name]


def _split(thread: Thread) -> tuple[list[int], list[int]]:
    """The prompt with which a line of threads began, and what stands behind it so far."""
    first = thread
    while first.kept and first.parent:
        first = first.parent
    prompt = [i for s in first.segments[:1] if s.origin == "prompt" for i in s.ids]
    return prompt, thread.ids[len(prompt) :]
