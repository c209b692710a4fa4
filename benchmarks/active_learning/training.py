"""How every model of the experiments is trained: from scratch, by AdamW and one cycle of the learning rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Chosen on the dev part with random picks, and the same for every strategy.

    At the end the dev part is as good as at its best, so nothing is stopped early.
    """

    batch: int = 128
    epochs: int = 10
    least_steps: int = 100
    learning_rate: float = 1e-3
    weight_decay: float = 0.01


def minimise(model: nn.Module, loss: Callable[[Tensor], Tensor], n: int, steps: Steps) -> None:
    """Over batches of 0 to n - 1, drawn by torch's generator; the model is in evaluation mode afterwards."""
    n_batches = max(1, round(n / steps.batch))
    epochs = max(steps.epochs, -(-steps.least_steps // n_batches))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=steps.learning_rate, weight_decay=steps.weight_decay, fused=True
    )
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, steps.learning_rate, total_steps=epochs * n_batches, pct_start=0.1
    )
    for _ in range(epochs):
        for batch in torch.randperm(n).tensor_split(n_batches):
            value = loss(batch)
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rate.step()
    model.eval()
