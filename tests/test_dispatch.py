"""The CPU target that is chosen, and that nothing outside the targets needs more than the baseline machine."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hnscore
from hnscore import _core

SCORE = """
import numpy as np, hnscore
x = np.random.default_rng(0).standard_normal((40, 30))
print(hnscore.show_config("dicts")["target"], *hnscore.score(x, x[::-1], 0.1, weight="count"))
"""


def run(target: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HNSCORE_TARGET": target}
    return subprocess.run([sys.executable, "-c", SCORE], env=environment, capture_output=True, text=True, check=False)


def test_environment_forces_a_target(targets: tuple[str, ...]) -> None:
    counts = set()
    for target in targets:
        done = run(target)
        assert done.returncode == 0, done.stderr
        name, *scores = done.stdout.split()
        assert name == target
        assert len(scores) == 40
        counts.add(tuple(scores))
    assert len(counts) == 1


def test_default_is_the_best_target(targets: tuple[str, ...]) -> None:
    done = run("")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == targets[-1]


def test_unknown_target_is_refused_by_name(targets: tuple[str, ...]) -> None:
    done = run("avx1024")
    assert done.returncode != 0
    message = done.stderr.splitlines()[-1]
    assert "HNSCORE_TARGET" in message
    assert "avx1024" in message
    for target in _core.config()["targets_supported"]:
        assert re.search(rf"\b{target}\b", message), message


def test_set_target_refuses_unknown_names(targets: tuple[str, ...]) -> None:
    before = hnscore.show_config("dicts")["target"]
    with pytest.raises(ValueError, match="avx1024"):
        _core.set_target("avx1024")
    assert hnscore.show_config("dicts")["target"] == before


def test_columns_keep_the_target_that_they_were_packed_for(targets: tuple[str, ...]) -> None:
    x = np.random.default_rng(0).standard_normal((40, 30))
    previous = _core.set_target(targets[0])
    scorer = hnscore.Scorer(x, 0.1, reference=np.full(40, 0.3))
    expected = scorer.score(x)
    _core.set_target(targets[-1])
    assert scorer.score(x).tobytes() == expected.tobytes()
    _core.set_target(previous)


def test_show_config(capsys: pytest.CaptureFixture[str], targets: tuple[str, ...]) -> None:
    config = hnscore.show_config("dicts")
    assert config is not None
    assert config["version"] == hnscore.__version__
    assert set(config["targets_supported"]) <= set(config["targets_compiled"])
    assert config["target"] in targets
    assert config["target_reason"]
    assert config["threads"] >= 1
    assert hnscore.show_config() is None
    shown = capsys.readouterr().out
    for name in config["targets_compiled"]:
        assert name in shown


# ---- The compiled module ---------------------------------------------------------------------------------------------


def tool(name: str, *arguments: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return subprocess.run([path, *arguments, _core.__file__], capture_output=True, text=True, check=True).stdout


def test_module_exports_nothing_but_its_entry() -> None:
    names = [line.split()[-1] for line in tool("nm", "-D", "--defined-only").splitlines()]
    assert names == ["PyInit__core"]


# What the x86-64 baseline lacks: everything with a VEX or EVEX prefix has a name in v..., and BMI. Not tzcnt: older
# machines read it as bsf, which is the same but for 0, and compilers use it so.
BEYOND_BASELINE = re.compile(r"\t(v[a-z]\w*|andn|bextr|bls\w+|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|lzcnt)\b")
NOT_VECTORS = ("verr", "verw")


def functions_beyond_baseline() -> Iterator[tuple[str, str]]:
    """Each function with such an instruction, and the instruction."""
    function = ""
    for line in tool("objdump", "-d", "-C", "--no-show-raw-insn").splitlines():
        if line.endswith(">:"):
            function = line.split(" <", 1)[1][:-2]
        elif (found := BEYOND_BASELINE.search(line)) and found[1] not in NOT_VECTORS:
            yield function, found[1]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="looks for x86 instructions")
def test_only_targets_use_more_than_the_baseline() -> None:
    """A common function that was compiled with a target's flags might be the copy that the linker keeps for all."""
    if "hnscore::" not in tool("nm", "-C"):
        pytest.skip("the module is stripped: its functions have no names")
    in_target = re.compile(r"\bhnscore::(avx2|avx512|avx512vnni|avx512bf16|amx|amx_emulated)::")
    seen, astray = set(), set()
    for function, instruction in functions_beyond_baseline():
        if found := in_target.search(function):
            seen.add(found[1])
        else:
            astray.add((function, instruction))
    assert not astray
    expected = {*_core.config()["targets_compiled"], "amx_emulated"} - {"scalar"}
    assert seen == expected, "the search finds what it looks for"


# What /proc/cpuinfo calls the instructions that each target needs beside those of the one before it.
FLAGS = {
    "avx2": ("avx2", "fma", "bmi2", "f16c"),
    "avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"),
    "avx512vnni": ("avx512_vnni",),
    "avx512bf16": ("avx512_bf16",),
}


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="of x86 on Linux")
def test_the_processor_has_what_linux_says() -> None:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith("flags")).split(":")[1].split()
    has_all = True
    for target, needed in FLAGS.items():
        has_all = has_all and set(needed) <= set(flags)
        assert (target in _core.config()["targets_supported"]) == has_all, target
    assert ("AMX-TILE" in _core.config()["targets_missing"].get("amx", "")) <= ("amx_tile" not in flags)
