import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browsing
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from hnscore import _core

# HYPOTHESIS_PROFILE chooses one. Nothing here is measured in time, so no example has a deadline.
settings.register_profile("dev", deadline=None, max_examples=30)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
settings.register_profile("thorough", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Ray starts processes and waits for them: on a busy machine for longer than its default of 30 s.
os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--exhaustive", action="store_true", help="all cases of the tests that try some of many")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """One process a core, where pytest-xdist is there and nothing else was asked for."""
    has_xdist = config.pluginmanager.hasplugin("xdist") and not hasattr(config, "workerinput")
    if has_xdist and not config.option.usepdb and config.option.numprocesses is None:
        config.option.numprocesses = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        config.option.dist = "worksteal"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the cases marked exhaustive(n) one in n runs, always the same ones, of n = 0 none; with --exhaustive all."""
    if config.getoption("--exhaustive"):
        return
    left_out = []
    for item in items:
        shares = [int(mark.args[0]) for mark in item.iter_markers("exhaustive") if mark.args]
        if shares and (min(shares) == 0 or zlib.crc32(item.name.encode()) % max(shares)):
            left_out.append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture
def exhaustive(request: pytest.FixtureRequest) -> bool:
    """Whether all of many cases are to be tried, or some of them."""
    return bool(request.config.getoption("--exhaustive"))


# What this machine can run, and what stands for what it cannot.
TARGETS: tuple[str, ...] = (*_core.config()["targets_emulated"], *_core.config()["targets_supported"])


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, Any]]:
    """A server that speaks the protocol of S3, in a process of its own."""
    pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield {"key": "key", "secret": "secret", "endpoint_url": f"http://127.0.0.1:{port}"}
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def targets() -> tuple[str, ...]:
    return TARGETS


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs once on each CPU target of this machine."""
    previous = _core.set_target(request.param)
    yield request.param
    _core.set_target(previous)


@pytest.fixture(params=["dense", "cascade"])
def method(request: pytest.FixtureRequest) -> str:
    """The test runs once with each way through the pairs; "auto" is one of the two, and dense for small inputs."""
    return str(request.param)


def data_file(folder: str, name: str) -> Path:
    """A file of real data, none of which is part of this project; without it the test is skipped."""
    root = os.environ.get("HNSCORE_DATA")
    if not root:
        pytest.skip(f"HNSCORE_DATA is not set: {folder}/{name} is not part of this project")
    path = Path(root) / folder / name
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    return path


@pytest.fixture(scope="session")
def flickr8k() -> dict[str, NDArray[Any]]:
    """An early active-learning round on Flickr8k: pool, texts of the training part and the texts' own images."""
    with np.load(data_file("flickr8k", "round1_embeddings.npz")) as data:
        images, texts, owner, part = data["img_emb"], data["txt_emb"], data["owner"], data["part"]
    trained = part[owner] == "train"
    return {"pool": images[part == "pool_unused"], "texts": texts[trained], "own": images[owner[trained]]}


@pytest.fixture(scope="session")
def wikipedia() -> dict[str, NDArray[Any]]:
    """Images, texts and labels of the pairs of the Wikipedia set that are for training."""
    with np.load(data_file("wikipedia", "features.npz")) as data:
        return {name: data[name][data["train"]] for name in ("image", "text", "label")}


@pytest.fixture(scope="session", autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Processes that tests start find the installed package, not the source tree, and heed Ctrl-C.

    The tree's hnscore has no compiled module; a shell that runs tests in the background has children ignore SIGINT.
    """
    if folder := os.environ.get("HNSCORE_DATA"):
        os.environ["HNSCORE_DATA"] = os.path.abspath(folder)
    os.chdir(tmp_path_factory.mktemp("cwd"))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with browsing.started() as opened:
        yield opened
