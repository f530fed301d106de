"""NGM-SGD on the MLP benchmarks in PyTorch: the loop that gainjax is compared with.

Weights lie as PyTorch keeps them, (outputs, inputs); seeds may be batched in front. Nothing in the
loop waits for a number on the host: curves stay tensors until the end.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from gainjax.data import Stream, normalize

Weights = list[torch.Tensor]  # each of shape ([S,] outputs, inputs)
Numbers = tuple[torch.Tensor, ...]  # each of shape ([S])
Multiply = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Draw = Callable[[int, int, int], torch.Tensor]  # of seed, task and number of its images


def onednn(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply matrices by oneDNN, through an operator of PyTorch that is not public.

    ``a @ b`` calls MKL, which keeps to AVX2 on processors that are not Intel's.
    """
    return torch.ops.mkldnn._linear_pointwise(a, b.mT, None, "none", [], "")


@torch.library.custom_op("perf::onednn", mutates_args=())
def onednn_opaque(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Do the same as an operator that ``torch.compile`` does not look into."""
    return onednn(a, b)


onednn_opaque.register_fake(torch.matmul)


class TorchData(NamedTuple):
    """The stream as PyTorch takes it: everything normalized and in memory beforehand."""

    x: torch.Tensor  # shape (N, inputs)
    y: torch.Tensor  # shape (N,)
    tests: list[tuple[torch.Tensor, torch.Tensor]]  # of each task, shapes (M, inputs), (M,)
    ends: list[int]  # of the images of each task

    @classmethod
    def of(cls, stream: Stream) -> "TorchData":
        """Copy the arrays of a stream."""
        tests = []
        fields = (stream.test_inputs, stream.test_targets, stream.test_sizes)
        for images, labels, size in zip(*map(np.array, fields), strict=True):
            x = torch.from_numpy(images[:size]).flatten(1)  # the others are padding
            tests.append((x, torch.from_numpy(labels[:size]).long()))
        return cls(
            torch.from_numpy(np.array(normalize(stream, stream.train_inputs))).flatten(1),
            torch.from_numpy(np.array(stream.train_targets)).long(),
            tests,
            np.asarray(stream.task_end).tolist(),
        )


class TorchRun:
    """The protocol in PyTorch. With batched seeds, all tensors have a leading axis of seeds."""

    def __init__(
        self,
        data: TorchData,
        hyperparameters: dict[str, float],
        multiply: Multiply = torch.matmul,
        by_hand: bool = True,
        batched: bool = False,
        compiled: bool = False,
    ) -> None:
        self.data, self.hyperparameters = data, hyperparameters
        self.multiply, self.batched = multiply, batched
        self.step = self.step_by_hand if by_hand else self.step_by_autograd
        self.evaluate = self.evaluate_any
        if compiled:
            self.step, self.evaluate = torch.compile(self.step), torch.compile(self.evaluate)

    def step_by_hand(
        self, weights: Weights, gain: torch.Tensor, x: torch.Tensor, y: torch.Tensor
    ) -> Numbers:
        """Return the next gain and loss and entropy of the batch; change the weights in place."""
        w1, w2, w3 = weights
        g = gain[..., None, None]
        h1 = (g * self.multiply(x, w1.mT)).relu()
        h2 = (g * self.multiply(h1, w2.mT)).relu()
        log_p = (g * self.multiply(h2, w3.mT)).log_softmax(-1)
        p = log_p.exp()
        uncertainty = -(p * log_p).sum(-1).mean(-1)
        target = F.one_hot(y, 10).float()
        loss = -(target * log_p).sum(-1).mean(-1)
        d3 = g * (p - target) / y.shape[-1]
        d2 = g * self.multiply(d3, w3) * (h2 > 0)
        d1 = g * self.multiply(d2, w2) * (h1 > 0)
        rate = self.hyperparameters["learning_rate"]
        for w, d, h in ((w1, d1, x), (w2, d2, h1), (w3, d3, h2)):
            w.sub_(self.multiply(d.mT, h), alpha=rate)
        return self.next_gain(gain, uncertainty), loss, uncertainty

    def step_by_autograd(
        self, weights: Weights, gain: torch.Tensor, x: torch.Tensor, y: torch.Tensor
    ) -> Numbers:
        """Do the same in the usual way."""
        w1, w2, w3 = weights
        with torch.enable_grad():
            h = (gain * F.linear(x, w1.requires_grad_())).relu()
            h = (gain * F.linear(h, w2.requires_grad_())).relu()
            logits = gain * F.linear(h, w3.requires_grad_())
            loss = F.cross_entropy(logits, y)
            gradients = torch.autograd.grad(loss, weights)
        log_p = logits.detach().log_softmax(-1)
        uncertainty = -(log_p.exp() * log_p).sum(-1).mean()
        for w, gradient in zip(weights, gradients, strict=True):
            w.sub_(gradient, alpha=self.hyperparameters["learning_rate"])
        return self.next_gain(gain, uncertainty), loss.detach(), uncertainty

    def next_gain(self, gain: torch.Tensor, uncertainty: torch.Tensor) -> torch.Tensor:
        """Move the gain."""
        hp = self.hyperparameters
        excess = (1 - hp["decay"]) * hp["baseline"] + hp["sensitivity"] * uncertainty
        return hp["decay"] * gain + excess

    def evaluate_any(
        self, weights: Weights, gain: torch.Tensor, x: torch.Tensor, y: torch.Tensor
    ) -> Numbers:
        """Return accuracy and loss on a test set."""
        # There are fewer weights than activations, so here the gain multiplies the weights.
        w1, w2, w3 = (gain[..., None, None] * w for w in weights)
        h = self.multiply(x, w1.mT).relu()
        h = self.multiply(h, w2.mT).relu()
        log_p = self.multiply(h, w3.mT).log_softmax(-1)
        answer = y.expand(log_p.shape[:-1])
        loss = -log_p.gather(-1, answer[..., None]).mean((-2, -1))
        return (log_p.argmax(-1) == answer).float().mean(-1), loss

    @torch.no_grad()
    def __call__(self, weights: Weights, draw: Draw) -> torch.Tensor:
        """Train all seeds from their first weights; return the curves, shape (S, updates, 5)."""
        seeds = list(range(len(weights[0])))
        curves = []
        for seed in [slice(None)] if self.batched else seeds:
            own = [w[seed].clone() for w in weights]
            gain = torch.full(own[0].shape[:-2], self.hyperparameters["baseline"])
            rows, seen = [], []
            for task, end in enumerate(self.data.ends):
                # A task's batches at once, shape (updates, B) or (updates, S, B).
                batches = [draw(s, task, end) for s in (seeds if self.batched else [seed])]
                for index in torch.stack(batches, 1) if self.batched else batches[0]:
                    used, x, y = gain, self.data.x[index], self.data.y[index]
                    gain, *training = self.step(own, used, x, y)
                    measured = self.evaluate(own, gain, *self.data.tests[0])
                    rows.append(torch.stack([*training, used, *measured], -1))
                # Accuracy on all tasks seen. Not compiled, as test sets differ in size.
                for x, y in self.data.tests[: task + 1]:
                    seen.append(self.evaluate_any(own, gain, x, y)[0])
            curves.append(torch.stack(rows, -2))
        return curves[0] if self.batched else torch.stack(curves)
