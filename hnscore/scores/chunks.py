"""`score` of a pool that is read in chunks, from files: what is looked for in all of it first, then the scores."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hnscore.arguments.numbers import check_choice, check_integer
from hnscore.arguments.options import SIMILARITIES
from hnscore.arguments.rules import check_both_groups, check_paired_lengths, check_same_dim, check_skip_top_images
from hnscore.arguments.values import read_owners
from hnscore.engine.cpu import Cpu
from hnscore.engine.host import HostRows, host_rows, in_use
from hnscore.engine.memory.device import location
from hnscore.engine.memory.libraries import to_host
from hnscore.engine.protocol import NO_RULES, Request, Rules
from hnscore.engine.running import RunningBest
from hnscore.scores.scorer import Scorer


class ChunkedScore:
    """A call, whose chunks come in any order; `take` reads some rows of the pool by their numbers.

    Passes over the pool, in this order: `looks_for_reference`: `add_best` each chunk; `looks_for_ranks`, after
    `set_reference`: `add_ranked` each; then `start`, and `scores` of each.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        txt_emb: Any,
        rule: dict[str, Any],
        take: Callable[[NDArray[np.int64]], Any],
        of: str,
    ) -> None:
        n_img = self.n_img = shape[0]
        self.txt_emb = txt_emb
        if self._texts.shape[1] != shape[1]:
            raise ValueError(
                f"txt_emb has dim {self._texts.shape[1]}, {of} has dim {shape[1]}; use the same encoder output size"
            )
        self.rule = rule = dict(rule)
        self.reference: Any = rule.pop("reference")
        self.labels = rule.pop("img_groups", None)
        self.n_txt = self._texts.shape[0]
        self.top, self.skip = rule.pop("top_k_images", None), rule.pop("skip_top_images", None)
        if self.top is not None:
            self.top = check_integer("top_k_images", self.top, 1, n_img or None, f"images of {of}")
        if self.skip is not None:
            self.skip = check_skip_top_images(self.skip, self.top)
        check_both_groups(self.labels, rule.get("txt_groups"))
        if isinstance(self.reference, str):
            check_choice("reference", self.reference, ("pool_max", "paired"))
            if self.reference == "paired":
                check_paired_lengths("reference='paired'", n_img, self.n_txt)
                rule["owner"], rule["paired_emb"] = np.arange(self.n_txt), None
        self.owners: NDArray[np.int64] | None = None
        if rule.get("owner") is not None and rule.get("paired_emb") is None:  # own images are rows of the pool
            self.owners = read_owners(rule["owner"], self.n_txt, n_img, of)
            if isinstance(self.reference, str):
                own = host_rows(of, take(self.owners))
                check_same_dim(own, self._texts, of)
                self.reference = Cpu(rule.get("n_threads")).similarity(own, self._texts, self._request.similarity)
            rule["owner"] = None
        if rule.get("owner") is not None and isinstance(self.reference, str):
            self.reference = None  # of the paired images
        if (self.owners is not None or self.looks_for_ranks) and not self._on_host:
            self.txt_emb = to_host("txt_emb", txt_emb)  # what is about rows of the pool is computed on the CPU
        self.scorer: Scorer | None = None
        self._ranks: Rules[Any] | None = None
        self._running: RunningBest | None = None
        self.looks_for_reference = isinstance(self.reference, str)
        if self.looks_for_reference:
            # Errors before hours of work; a generator is to be asked once.
            Scorer(txt_emb, reference=np.zeros(self.n_txt), **(rule | {"random_state": 0}))

    # ---- The reference -----------------------------------------------------------------------------------------------

    def best_of(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """The similarity of each text to the best of these images, (n_txt,): the maximum over chunks is the pool's."""
        engine = Cpu(self.rule.get("n_threads"))
        value, _ = engine.kth_best(self._texts, host_rows("img_emb", rows), 1, self._request, NO_RULES)
        return value

    def set_reference(self, reference: NDArray[np.float64]) -> None:
        self.reference = reference

    @property
    def _request(self) -> Request:
        rule = self.rule
        check_choice("similarity", rule["similarity"], SIMILARITIES)
        return Request(similarity=rule["similarity"], precision=rule["precision"], method=rule.get("method", "auto"))

    @property
    def _on_host(self) -> bool:
        return location(self.txt_emb) is None

    @property
    def _texts(self) -> HostRows:
        return host_rows("txt_emb", self.txt_emb if self._on_host else to_host("txt_emb", self.txt_emb))

    # ---- The best images of each text --------------------------------------------------------------------------------

    @property
    def looks_for_ranks(self) -> bool:
        return self.skip is not None or (self.top is not None and self.top < self.n_img)

    def add_ranked(self, rows: NDArray[Any], first: int) -> None:
        """Looks for `top_k_images` and `skip_top_images` in one more chunk. They come after the reference."""
        texts = self._scorer()._texts
        running = self._running
        if running is None:
            ranks = [min(rank, self.n_img) for rank in (self.top, self.skip) if rank is not None]
            engine: Any = texts.engine
            running = self._running = RunningBest(texts.txt, max(ranks), self._request, engine.threads)
        img = host_rows("img_emb", rows)
        rules = texts.rules_for(texts.engine, self._labels(first, len(rows)), len(rows))
        if self.owners is not None:
            rules = rules._replace(col_owners=in_use(self.owners, texts.drawn))
        running.add(img, first, rules)

    def _ranked(self) -> Rules[Any] | None:
        if self._running is None:
            return None
        found: dict[str, Any] = {}
        last = np.iinfo(np.int64).max
        for end, rank in {"kth": self.top, "skip": self.skip}.items():
            if rank is None or (end == "kth" and rank >= self.n_img):
                continue
            at = min(rank, self.n_img) - 1
            rows = self._running.rows[:, at]
            found |= {f"{end}_value": self._running.values[:, at].copy(), f"{end}_row": np.where(rows < 0, last, rows)}
        return Rules(**found)

    # ---- What scores depend on beside a chunk's own rows -------------------------------------------------------------

    @property
    def depends_on_rows(self) -> bool:
        """Whether the numbers of the rows matter."""
        return self.owners is not None or self.labels is not None or self._ranks is not None

    def depends_on(self) -> str | None:
        """A digest of what the whole pool has said; None where a chunk's scores are its own."""
        found = [self.reference] if self.looks_for_reference else []
        found += [x for x in (self._ranks or ()) if x is not None]
        if not found:
            return None
        return blake2b(b"".join(np.ascontiguousarray(x).tobytes() for x in found), digest_size=16).hexdigest()

    # ---- The scores --------------------------------------------------------------------------------------------------

    def _scorer(self) -> Scorer:
        if self.scorer is None:
            self.scorer = Scorer(self.txt_emb, reference=self.reference, **self.rule)
            self.scorer._of_tensors = False  # the pool's rows are none, whatever the texts are
        return self.scorer

    def start(self, some: NDArray[Any], method: str | None = None) -> str:
        """Settles the method by some images of the pool, unless it was settled before; the method."""
        if method is not None:
            self.rule["method"] = method
        self._ranks, self._running = self._ranked(), None
        return self._scorer()._choose_for(some, self.n_img)

    def scores(self, rows: NDArray[Any], first: int) -> NDArray[Any]:
        """Of a chunk that begins at row `first`."""
        labels = self._labels(first, len(rows))
        result: NDArray[Any] = self._scorer()._score(rows, labels, first, self.owners, self._ranks)
        return result

    def warn_if_none(self, some: NDArray[Any]) -> None:
        """Warns that no pair of any chunk counts; `some` images of the pool say what would."""
        if self._ranks is None:
            self._scorer()._warn_if_none(some)

    def _labels(self, first: int, n: int) -> Any:
        return None if self.labels is None else self.labels[first : first + n]
