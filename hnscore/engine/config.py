"""What this build is and what it found on this machine."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from hnscore import _core
from hnscore.arguments.numbers import check_choice
from hnscore.engine.memory import device


def _gpus() -> list[str]:
    """The models that the NVIDIA driver lists, whether or not this build can use them."""
    models = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("Model:"):
                models.append(line.removeprefix("Model:").strip())
    return models


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Show version, build, backends, instruction sets, threads and GPUs.

    Parameters
    ----------
    mode : {"stdout", "dicts"}
        Print, or return a dictionary.

    Returns
    -------
    dict or None
        With ``mode="dicts"``: plain dictionaries, lists, strings and numbers.

    Raises
    ------
    ValueError
        For another mode.

    Examples
    --------
    >>> import hnscore
    >>> hnscore.show_config("dicts")["threads"] >= 1
    True
    """
    check_choice("mode", mode, ("stdout", "dicts"))
    config = _core.config() | {"threads": _core.default_threads(), "gpus": _gpus()}
    if not config["cuda"] and importlib.util.find_spec("hnscore._cuda") is not None:
        reason = "from a wheel of its own"
        config |= {"cuda": True, "cuda_archs": list(device.backend().ARCHS), "cuda_reason": reason}
    if mode == "dicts":
        return config
    for name, value in config.items():
        shown = value
        if isinstance(value, (list, tuple)):
            shown = ", ".join(map(str, value)) or "none"
        if isinstance(value, dict):
            shown = "; ".join(f"{key}: {text}" for key, text in value.items()) or "none"
        print(f"{name.replace('_', ' ') + ':':<20} {shown}")
    return None
