"""The peer of the training benchmark learns the same: the same targets, the same loss."""

import torch

from benchmarks.sft import MIXTURE, rows_of
from rl.batches import IGNORE, block
from rl.fast_llama import FastLlama
from rl.model import new_model
from rl.recipe import Shape
from rl.vocabulary import VOCABULARY


def test_the_peer_gets_the_same_loss_on_the_same_tokens() -> None:
    model = new_model(Shape(hidden=32, layers=1, intermediate=48, head=16, context=512), 0)
    ours = FastLlama(model, torch.float32, compiled=False)
    for batch in block(MIXTURE, 480, 3, "x"):
        rows = rows_of([batch])
        assert sum(len(row["input_ids"]) for row in rows) == batch.tokens
        mine = ours.loss(torch.from_numpy(batch.inputs), torch.from_numpy(batch.labels))
        total, count = 0.0, 0
        for row in rows:
            ids, labels = (torch.tensor([row[key]]) for key in ("input_ids", "labels"))
            trained = int((labels[:, 1:] != IGNORE).sum())  # what a causal model's loss shifts to
            total += float(model(input_ids=ids, labels=labels).loss.detach()) * trained
            count += trained
        assert count == int((batch.labels != IGNORE).sum())
        torch.testing.assert_close(total / count, float(mine.detach()), rtol=1e-5, atol=1e-6)


def test_rows_are_whole_examples() -> None:
    for row in rows_of(list(block(MIXTURE, 480, 3, "x"))):
        words = [VOCABULARY[i] for i in row["input_ids"]]
        written = [VOCABULARY[i] for i in row["labels"] if i != IGNORE]
        assert words[0] == "<bos>" and words[-1] in ("<join>", "<eos>")
        assert words[len(words) - len(written) :] == written
