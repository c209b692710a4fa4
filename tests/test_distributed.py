"""hnscore.distributed over real processes and gloo: on any number of ranks what one process has."""

import os
import socket
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hnscore import reference as ref

torch = pytest.importorskip("torch")
dist = torch.distributed
mp = torch.multiprocessing
pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch has no torch.distributed")

N, DIM, BLOCK = 500, 24, 128
RNG = np.random.default_rng(0)
IMG = RNG.standard_normal((N, DIM)).astype(np.float16)
TXT = IMG.astype(np.float32) + 1.5 * RNG.standard_normal((N, DIM)).astype(np.float32)
OWN, GROUPS, OTHER = RNG.permutation(N), RNG.integers(0, 20, N), RNG.integers(0, 20, N)
LIMITS = np.linspace(0.1, 0.9, N)
MARGINS = {name: values[0] for name, values in ref.MARGINS.items()}


def part(rank: int, world: int, n: int = N) -> slice:
    """Of one rank: uneven, and for eight ranks of six rows empty on some."""
    cuts = np.round(np.linspace(0, 1, world + 1) ** 1.5 * n).astype(int)
    return slice(int(cuts[rank]), int(cuts[rank + 1]))


def results(rank: int, world: int) -> list[Any]:
    """Of every function; what one rank gives is a part of what all give."""
    from hnscore import distributed as hd

    s = part(rank, world)
    img, txt, one = IMG[s], TXT[s], {"n_threads": 1}
    scores = [
        hd.score(img, txt, 0.2, **one),
        hd.score(img, txt, 0.2, reference="paired", weight="count", **one),
        hd.score(img, txt, 0.2, owner=OWN[s], **one),
        hd.score(img, txt, 0.2, reference=LIMITS[s], **MARGINS, **one),
        hd.score(img, txt, 0.2, reference=img.astype(np.float64), **one),
        hd.score(img, txt, 0.2, reference="paired", img_groups=GROUPS[s], txt_groups=OTHER[s], **one),
        hd.score(img, txt, 0.2, owner=OWN[s], aggregate="mean", weight="exp", temperature=0.1, **one),
        hd.score(img, txt, 0.2, reference="paired", aggregate="max", **one),
        hd.score(img, txt, 0.2, weight="squared_hinge", max_similarity=LIMITS[s], method="cascade", **one),
        hd.score(torch.from_numpy(img).bfloat16(), torch.from_numpy(txt).bfloat16(), 0.2, **one).numpy(),
    ]
    rules: list[dict[str, Any]] = [
        {},
        {"owner": OWN[s], "margin": 0.1},
        {"reference": "paired", "margin": -1.0},
        {"reference": "pool_max", "margin": 0.05, "img_groups": GROUPS[s], "txt_groups": OTHER[s]},
    ]
    mined = [each for rule in rules for each in hd.mine(img, txt, 3, **rule, **one)]
    references = [
        hd.reference_similarity(img, txt, **one),
        hd.reference_similarity(img, txt, kind="hardest", owner=OWN[s], **one),
        hd.reference_similarity(img, txt, kind="topk", k=4, **one),
    ]
    losses = []
    for hardest in (False, True):
        a, b = torch.from_numpy(img).float().requires_grad_(), torch.from_numpy(txt).requires_grad_()
        loss = hd.TripletLoss(0.2, hardest, n_threads=1)(a, b, GROUPS[s])
        loss.backward()
        losses += [np.full(len(img), loss.item()), a.grad.numpy(), b.grad.numpy()]
    return [*scores, *mined, *references, *losses]


def of_one_call() -> list[Any]:
    """The same by the functions of one process."""
    import hnscore
    from hnscore.nn import TripletLoss

    scores = [
        hnscore.score(IMG, TXT, 0.2),
        hnscore.score(IMG, TXT, 0.2, reference="paired", weight="count"),
        hnscore.score(IMG, TXT, 0.2, owner=OWN),
        hnscore.score(IMG, TXT, 0.2, reference=LIMITS, **MARGINS),
        hnscore.score(IMG, TXT, 0.2, reference=IMG.astype(np.float64)),
        hnscore.score(IMG, TXT, 0.2, reference="paired", img_groups=GROUPS, txt_groups=OTHER),
        hnscore.score(IMG, TXT, 0.2, owner=OWN, aggregate="mean", weight="exp", temperature=0.1),
        hnscore.score(IMG, TXT, 0.2, reference="paired", aggregate="max"),
        hnscore.score(IMG, TXT, 0.2, weight="squared_hinge", max_similarity=LIMITS),
        hnscore.score(torch.from_numpy(IMG).bfloat16(), torch.from_numpy(TXT).bfloat16(), 0.2).numpy(),
    ]
    rules: list[dict[str, Any]] = [
        {},
        {"owner": OWN, "margin": 0.1},
        {"reference": "paired", "margin": -1.0},
        {"reference": "pool_max", "margin": 0.05, "img_groups": GROUPS, "txt_groups": OTHER},
    ]
    mined = [each for rule in rules for each in hnscore.mine(IMG, TXT, 3, **rule)]
    references = [
        hnscore.reference_similarity(IMG, TXT),
        hnscore.reference_similarity(IMG, TXT, kind="hardest", owner=OWN),
        hnscore.reference_similarity(IMG, TXT, kind="topk", k=4),
    ]
    losses = []
    for hardest in (False, True):
        a, b = torch.from_numpy(IMG).float().requires_grad_(), torch.from_numpy(TXT).requires_grad_()
        loss = TripletLoss(0.2, hardest, n_threads=1)(a, b, GROUPS)
        loss.backward()
        losses += [np.full(N, loss.item()), a.grad.numpy(), b.grad.numpy()]
    return [*scores, *mined, *references, *losses]


def errors(rank: int, world: int) -> list[Any]:
    """What each rank says where one is wrong, or they differ; and nobody waits."""
    from hnscore import distributed as hd

    s = part(rank, world)
    img, txt = IMG[s].astype(np.float32), TXT[s]
    last = rank == world - 1
    zeros = img.copy()
    zeros[0] = 0
    calls: list[Callable[[], Any]] = [
        lambda: hd.score(img, txt, 0.3 if last else 0.2),
        lambda: hd.score(img[:, :8] if last else img, txt[:, :8] if last else txt, 0.2),
        lambda: hd.score(img, txt[:, :8] if last else txt, 0.2),
        lambda: hd.score(zeros if last else img, txt, 0.2),
        lambda: hd.score(img, txt, 0.2, owner=OWN[s] + 1000),
        lambda: hd.score(img, txt, 0.2, aggregate="topk"),
        lambda: hd.mine(img, txt, 3, owner=OWN[s] + (1000 if last else 0)),
        lambda: hd.mine(img.astype(np.float64) if last else img, txt, 3),
        lambda: hd.reference_similarity(img, txt, kind="topk", k=2 if last else 3),
        lambda: hd.TripletLoss(0.2)(torch.from_numpy(img), torch.from_numpy(txt[1:] if last else txt)),
    ]
    said = []
    for call in calls:
        try:
            call()
            said.append("nothing")
        except (TypeError, ValueError) as error:
            said.append(str(error))
    return said


def more_ranks_than_rows(rank: int, world: int) -> list[Any]:
    from hnscore import distributed as hd

    s = part(rank, world, 6)
    return [
        hd.score(IMG[s], TXT[s], 0.2, n_threads=1),
        hd.score(IMG[s], TXT[s], 0.2, reference="paired", weight="count", n_threads=1),
        hd.mine(IMG[s], TXT[s], 2, owner=np.arange(6)[s], margin=-1.0, n_threads=1)[1],
    ]


def work(body: Callable[[int, int], Any], rank: int, world: int, port: int, found: Any) -> None:
    from hnscore.distributed import ranks

    ranks.BLOCK_ROWS = BLOCK
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=world)
    try:
        found.put((rank, body(rank, world)))
    except BaseException:
        found.put((rank, traceback.format_exc()))
    dist.destroy_process_group()


def on_ranks(body: Callable[[int, int], Any], world: int) -> list[Any]:
    """What each rank gives."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("spawn")
    found = context.Queue()
    processes = [context.Process(target=work, args=(body, rank, world, port, found)) for rank in range(world)]
    for process in processes:
        process.start()
    try:
        made = dict(found.get(timeout=240) for _ in processes)
        for process in processes:
            process.join(60)
    finally:
        for process in processes:
            process.kill()
    for each in made.values():
        assert not isinstance(each, str), each
    return [made[rank] for rank in range(world)]


def joined(parts: list[Any]) -> list[Any]:
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
@pytest.mark.filterwarnings("ignore:.*texts have fewer")
def test_any_number_of_ranks_has_what_one_has(monkeypatch: pytest.MonkeyPatch) -> None:
    from hnscore.distributed import ranks

    monkeypatch.setattr(ranks, "BLOCK_ROWS", BLOCK)
    alone = results(0, 1)  # without a process group
    for world in (2, 4):
        for i, (got, wanted) in enumerate(zip(joined(on_ranks(results, world)), alone, strict=True)):
            np.testing.assert_array_equal(got, wanted, err_msg=f"{world} ranks, result {i}")
    for i, (got, wanted) in enumerate(zip(alone, of_one_call(), strict=True)):
        assert got.dtype == wanted.dtype
        assert got.any()
        if wanted.dtype == np.float32 and i < 10:  # sums: a rounding of each of the four blocks more, and of all
            of_pairs = N * 4 * 2.0**-24 if i == 8 else 0.0  # a cascade has another rounding of each pair than dense
            np.testing.assert_allclose(got, wanted, rtol=6 * 2.0**-24, atol=of_pairs)
        else:
            np.testing.assert_array_equal(got, wanted, err_msg=f"result {i}")


def test_errors_are_the_same_on_all_ranks() -> None:
    wanted = [
        "margin must be the same on all ranks, got 0.2 on rank 0 and 0.3 on rank 1",
        "dim must be the same on all ranks",
        "txt_emb has dim 8, img_emb has dim 24",
        "img_emb must have no zero rows",
        "owner must hold rows among the images of all ranks",
        "aggregate must be one of",
        "owner must hold rows of img_emb",
        "dtype of img_emb must be the same on all ranks",
        "k must be the same on all ranks",
        "txt_emb",
    ]
    for said in on_ranks(errors, 2):
        assert len(said) == len(wanted)
        for got, beginning in zip(said, wanted, strict=True):
            assert beginning in got


@pytest.mark.filterwarnings("ignore::hnscore.MarginWarning")
@pytest.mark.filterwarnings("ignore:.*texts have fewer")
def test_more_ranks_than_rows() -> None:
    for got, wanted in zip(joined(on_ranks(more_ranks_than_rows, 4)), more_ranks_than_rows(0, 1), strict=True):
        np.testing.assert_array_equal(got, wanted)
