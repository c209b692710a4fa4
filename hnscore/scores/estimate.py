"""How long a call would take, and what it would need, before it is made."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from hnscore import _core
from hnscore.arguments.numbers import check_choice, check_integer, check_real, count_threads
from hnscore.arguments.options import METHODS
from hnscore.scores.calibration import SHARES, Costs, costs

_CALL = 5e-5  # seconds of a call without pairs
_ROW_BYTES, _WORKSPACE = 32, 2**20


class Estimate(NamedTuple):
    """What `score` is expected to take."""

    seconds: float
    nbytes: int  # beyond the arrays of the call, and without its result
    method: str  # that "auto" would choose

    def __str__(self) -> str:
        return f"about {in_words(self.seconds)} and {self.nbytes / 2**20:,.0f} MiB ({self.method})"


def estimate(
    n_img: int,
    n_txt: int,
    dim: int,
    *,
    share: float = 0.005,
    precision: str = "exact",
    method: str = "auto",
    n_threads: int | None = None,
) -> Estimate:
    """How long `score` would take on the CPU, what memory it would need, and which method "auto" would choose.

    Parameters
    ----------
    n_img, n_txt, dim : int
        The sizes.
    share : float
        Of the pairs that count: what a cascade's time depends on. 0.005 is what a margin of 0.2 leaves in a round of
        active learning on photographs. `score` with ``verbose=True`` says what a call had.
    precision : {"exact", "fp32", "bf16"}
        As in `score`.
    method : {"auto", "dense", "cascade"}
        As in `score`.
    n_threads : int, optional
        Default: all that the process may use.

    Returns
    -------
    seconds : float
        Of a call with references that are given; ``reference="pool_max"`` takes about twice as long.
    nbytes : int
        Of memory beyond inputs and the result.
    method : {"dense", "cascade"}
        What "auto" would choose.

    A named tuple; as a string, a sentence.

    Raises
    ------
    TypeError, ValueError
        For sizes that are no integers from 0 on, a share that is not from 0 to 1, and names that are not among these.

    Notes
    -----
    The first call on a machine measures it for about five seconds and keeps the result in ``~/.cache/hnscore`` (or
    ``$XDG_CACHE_HOME/hnscore``); from then on a call takes microseconds. Let it measure when little else runs, and
    remove the file where it did not. A cascade is faster the fewer directions the embeddings spread in: what is assumed
    takes as long as Flickr8k embeddings of a trained encoder. Yours may take half or twice as long, as may a call of
    less than a tenth of a second; ``hnscore score`` says how long the rest will take after two seconds of it.

    Examples
    --------
    >>> import hnscore
    >>> expected = hnscore.estimate(10_000_000, 30_000, 512)
    >>> expected.method, expected.seconds < 86_400
    ('cascade', True)
    """
    n_img, n_txt, dim = (
        check_integer(name, n, 0, None, "rows or values")
        for name, n in (("n_img", n_img), ("n_txt", n_txt), ("dim", dim))
    )
    share = check_real("share", share)
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, of all pairs, got {share}; 0.01 is 1 %")
    check_choice("precision", precision, _core.PRECISIONS)
    check_choice("method", method, METHODS)
    known = costs()
    threads = known.threads if n_threads is None else count_threads(n_threads)
    dense = _pairs(known, n_img, n_txt, dim, precision)
    ratio = _ratio(known, share) if precision == "exact" and dense > _CALL * 20 else 1.0
    chosen = method if method != "auto" else "cascade" if ratio < 1 else "dense"
    work = dense * (ratio if chosen == "cascade" else 1) + (n_img + n_txt) * dim * known.value
    value_bytes = 4 if precision != "bf16" else 2
    nbytes = value_bytes * n_txt * dim + _ROW_BYTES * (n_img + n_txt) + _WORKSPACE * min(threads, known.threads)
    return Estimate(_CALL + work * known.threads / min(threads, known.threads), nbytes, chosen)


def _pairs(known: Costs, n_img: int, n_txt: int, dim: int, precision: str) -> float:
    return n_img * n_txt * (dim * known.multiply_add[precision] + known.pair[precision])


def _ratio(known: Costs, share: float) -> float:
    """Between the shares that were measured, as the logarithm of the share goes."""
    at = math.log10(max(share, SHARES[0]))
    return float(np.interp(at, np.log10(SHARES), known.ratios)) if share <= SHARES[-1] else 1.0


def in_words(seconds: float) -> str:
    """A length of time, to two digits or so."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    if seconds < 1:
        return f"{1e3 * seconds:.3g} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
