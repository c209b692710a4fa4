"""
In a training loop
==================

The triplet loss of VSE++ over a large batch holds a batch x batch matrix. ``hnscore.nn.TripletLoss`` holds the pairs
that violate the margin, and ``score`` with ``reference="paired"`` counts them.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import hnscore
import hnscore.nn
from hnscore import demo

torch.manual_seed(0)
data = demo.load()
images = torch.from_numpy(data.reference.astype(np.float32))
texts = torch.from_numpy(data.txt_emb.astype(np.float32))

image_side, text_side = (torch.nn.Linear(64, 32) for _ in range(2))
optimizer = torch.optim.Adam([*image_side.parameters(), *text_side.parameters()], 3e-3)
loss_function = hnscore.nn.TripletLoss(0.2)

losses, violations = [], []
for _ in range(60):
    batch = torch.randperm(len(texts))[:512]
    img, txt = image_side(images[batch]), text_side(texts[batch])
    groups = data.owner[batch.numpy()]  # captions of one image are no negatives of each other
    loss = loss_function(img, txt, groups)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        counts = hnscore.score(img, txt, 0.2, reference="paired", weight="count", img_groups=groups, txt_groups=groups)
    losses.append(loss.item() / len(batch))
    violations.append(counts.sum().item())

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.plot(losses)
left.set(xlabel="step", ylabel="loss of a pair")
right.plot(violations)
right.set(xlabel="step", ylabel="pairs that violate the margin", yscale="log")
