"""What pairs cost on this machine: measured once, in about five seconds, and kept in the user's cache."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hnscore import _core
from hnscore.engine.cpu import Cpu
from hnscore.engine.host import host_rows
from hnscore.engine.protocol import NO_RULES, Request

SHARES = (1e-4, 1e-3, 1e-2, 3e-2)  # of the pairs that count, that cascades are timed at
_VERSION = 2  # of this file's record
_DENSE = (6144, 2048)  # images, texts
_DIMS = (64, 512)
_CASCADE = (16384, 4096, 512)
_ROWS = (16384, 16, 512)  # mostly reading
_REPEATS = 3


class Costs(NamedTuple):
    """Seconds with all threads."""

    threads: int
    multiply_add: dict[str, float]  # of each precision
    pair: dict[str, float]
    value: float  # read, scaled and packed
    ratios: tuple[float, ...]  # of a cascade to the dense way, at each of SHARES


_known: dict[str, Costs] = {}


def costs() -> Costs:
    """Of this machine, with the instruction set in use and all threads."""
    key = _machine()
    if key not in _known:
        record = _read(key)
        if record is None:
            record = _measure()
            _keep(key, record)
        _known[key] = record
    return _known[key]


def _machine() -> str:
    model = ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    target = _core.config()["target"]
    return f"{_VERSION}, hnscore {_core.VERSION}, {model}, {target}, {_core.default_threads()} threads"


def _path() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "hnscore" / "calibration.json"


def _read(key: str) -> Costs | None:
    try:
        record = json.loads(_path().read_text(encoding="utf-8"))[key]
        return Costs(**record | {"ratios": tuple(record["ratios"])})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):  # none, or not as it was written
        return None


def _keep(key: str, costs: Costs) -> None:
    """Beside those of other machines that share the folder. Where it cannot be written this process alone knows."""
    with contextlib.suppress(OSError, RuntimeError):
        path = _path()
        records: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, TypeError):
            records = dict(json.loads(path.read_text(encoding="utf-8")))
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}-{token_hex(8)}")
        fresh.write_text(json.dumps(records | {key: costs._asdict()}, indent=1), encoding="utf-8")
        os.replace(fresh, path)


# ---- Measuring -------------------------------------------------------------------------------------------------------


def _measure() -> Costs:
    rng = np.random.default_rng(0)
    multiply_add, pair = {}, {}
    for precision in _core.PRECISIONS:
        n_pairs = _DENSE[0] * _DENSE[1]
        few, many = (
            _least(_scoring(_normals(rng, _DENSE[0], dim), _normals(rng, _DENSE[1], dim), precision)) for dim in _DIMS
        )
        per_dim = (many - few) / (_DIMS[1] - _DIMS[0])
        multiply_add[precision] = per_dim / n_pairs
        pair[precision] = max(0.0, few - per_dim * _DIMS[0]) / n_pairs
    n_img, n_txt, dim = _ROWS
    reading = _least(_scoring(_normals(rng, n_img, dim), _normals(rng, n_txt, dim), "exact"))
    reading -= n_img * n_txt * (dim * multiply_add["exact"] + pair["exact"])
    return Costs(
        _core.default_threads(), multiply_add, pair, max(0.0, reading) / ((n_img + n_txt) * dim), _cascades(rng)
    )


def _cascades(rng: np.random.Generator) -> tuple[float, ...]:
    """On rows whose variance falls with the cube of its rank: of the spectra that were tried, the one whose cascades
    take about as long as those of Flickr8k embeddings."""
    n_img, n_txt, dim = _CASCADE
    spread = ((np.arange(dim) + 8.0) ** -1.5).astype(np.float32)
    img, txt = (_normals(rng, n, dim) * spread for n in (n_img, n_txt))
    some = [x[:512] / np.linalg.norm(x[:512], axis=1, keepdims=True) for x in (img, txt)]
    sample = np.sort((some[0] @ some[1].T).ravel())
    dense = _least(_scoring(img, txt, "exact"))
    taus = [np.full(n_txt, float(sample[-int(share * sample.size)])) for share in SHARES]
    return tuple(_least(_Call(img, txt, Request(method="cascade"), tau)) / dense for tau in taus)


class _Call:
    """All of a call but its arguments: packing, planning and the pass."""

    def __init__(self, img: object, txt: object, request: Request, tau: NDArray[np.float64]) -> None:
        self.engine, self.request, self.tau = Cpu(None), request, tau
        self.img, self.txt = host_rows("img_emb", img), host_rows("txt_emb", txt)

    def __call__(self) -> None:
        n_img = self.img.shape[0]
        packed = self.engine.packed(self.txt, self.request, n_img, False)
        packed.prepare(self.img, n_img, self.tau, NO_RULES)
        packed.reduce(self.engine, self.img, self.tau, NO_RULES)


def _scoring(img: object, txt: NDArray[Any], precision: str) -> _Call:
    tau = np.full(len(txt), 0.3)
    return _Call(img, txt, Request(method="dense", precision=precision), tau)


def _normals(rng: np.random.Generator, n: int, dim: int) -> NDArray[np.float32]:
    return rng.standard_normal((n, dim), np.float32)


def _least(call: Callable[[], object]) -> float:
    """Seconds: what else runs on the machine only makes a call longer, and the result is kept."""
    call()
    seconds = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)
