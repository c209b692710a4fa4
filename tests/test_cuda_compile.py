"""What the compiler made of the CUDA backend, which needs no GPU to be read. `nox -s cuda_compile` builds all of it."""

import importlib.util
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import sass
from sass import Kernel

import hnscore

CONFIG = hnscore.show_config("dicts") or {}
NVCC_STRICT = Path(__file__).parents[1] / "csrc" / "cuda" / "strict.sh"


@pytest.fixture(scope="module")
def module() -> Path:
    if not CONFIG["cuda"]:
        pytest.skip(f"no CUDA backend: {CONFIG['cuda_reason']}")
    spec = importlib.util.find_spec("hnscore._cuda")
    assert spec, "the core says that hnscore._cuda was built"
    assert spec.origin
    return Path(spec.origin)


@pytest.fixture(scope="module")
def kernels(module: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Kernel]:
    for name in ("cuobjdump", "nvdisasm"):
        if not sass.tool(name):
            pytest.skip(f"{name} is not installed; pip install nvidia-cuda-{name} brings it")
    return sass.kernels(module, tmp_path_factory.mktemp("cubins"))


# ---- The module ------------------------------------------------------------------------------------------------------


def test_core_says_what_was_built() -> None:
    assert CONFIG["cuda"] == bool(CONFIG["cuda_archs"]) == bool(importlib.util.find_spec("hnscore._cuda"))
    assert CONFIG["cuda_reason"]


def missing(kernels: Iterable[Kernel], ptx: Iterable[str], archs: Iterable[str]) -> list[str]:
    """What should be there for these architectures and is not."""
    there = {(k.arch, k.names[0]) for k in kernels} | {(arch, "PTX") for arch in ptx}
    wanted = set()
    for arch in archs:
        if arch == "sm_90a":
            wanted |= {("sm_90a", "wgmma_kernel"), ("sm_90", "simt_kernel")}
        elif arch.startswith("compute_"):
            wanted.add((arch, "PTX"))
        else:
            wanted |= {(arch, "simt_kernel")} | ({(arch, "mma_kernel")} if arch != "sm_75" else set())
    return sorted(f"{arch} {name}" for arch, name in wanted - there)


def test_every_architecture_is_there(kernels: list[Kernel], module: Path) -> None:
    assert CONFIG["cuda_archs"]
    assert not missing(kernels, sass.ptx_archs(module), CONFIG["cuda_archs"])


def test_missing_architectures_are_noticed() -> None:
    assert not missing([SIMT, MMA], [], ["sm_80"])
    assert missing([SIMT], [], ["sm_80"]) == ["sm_80 mma_kernel"]
    assert missing([SIMT, MMA, WGMMA], [], ["sm_80", "sm_90a", "compute_80"]) == ["compute_80 PTX", "sm_90 simt_kernel"]


def test_module_needs_no_driver_and_no_torch(module: Path) -> None:
    """It is loaded on machines without a GPU, and beside any version of torch."""
    if not (readelf := shutil.which("readelf")):
        pytest.skip("readelf is not installed")
    shown = subprocess.run([readelf, "-d", "-W", str(module)], capture_output=True, text=True, check=True).stdout
    needed = {line.split("[")[1].split(".so")[0] for line in shown.splitlines() if "(NEEDED)" in line}
    assert "libc" in needed
    assert needed <= {"libc", "libm", "libstdc++", "libgcc_s", "libpthread", "libdl", "librt"} | {
        name for name in needed if name.startswith("ld-linux")
    }


def test_module_exports_nothing_but_its_entry(module: Path) -> None:
    if not (nm := shutil.which("nm")):
        pytest.skip("nm is not installed")
    shown = subprocess.run([nm, "-D", "--defined-only", str(module)], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in shown.splitlines()] == ["PyInit__cuda"]


# ---- Each kernel -----------------------------------------------------------------------------------------------------

# Registers a thread. wgmma: 65,536 among 384 threads, which setmaxnreg then shares out anew. mma: all there are, for
# 128 accumulators; two blocks of 128 threads have room. simt: three blocks have room with 168; on sm_100, which takes
# 234, two have. The others keep no tile.
REGISTERS = {"wgmma_kernel": 168, "mma_kernel": 255, "simt_kernel": 240}
OTHER_REGISTERS = 128

# Accumulators of a thread: what an epilogue's instructions are divided by.
ACCUMULATORS = {"wgmma_kernel": 128, "mma_kernel": 128}

# Instructions for a pair that no filter and no band hands on, beside its products: a threshold is one multiply-add,
# a weight one to three, its addition one, the facts of a column half a load and an address. Measured, and a tenth more.
# Tensor cores leave a lane 32 a pair at depth 512 (csrc/cuda/epilogue/epilogue.h); a Sum must stay well below half of
# that.
BUDGETS = {
    "Count": 6.1,  # a comparison, and an addition of 0 or 1
    "Hinge": 7.8,
    "Similarity": 7.8,
    "SquaredHinge": 8.9,
    "Exp": 11.1,  # a scaling, ex2, and what keeps it in range
    "ExactCount": 11.3,  # two comparisons with the band, and the mask of what is handed on
    "Screen": 7.9,  # one such comparison
    "List": 7.9,
    "Top": 11.4,  # a comparison with the row's least key as well
}

# What waits in local memory: most bytes a thread, and most of a tile's instructions as a share. Nothing else may.
SPILLS = {
    # 128 accumulators and what is known of 4 rows, of 255 registers. Where few pairs go on to the float64 part, its own
    # needs are kept there meanwhile; sm_100 takes most, and is left as it is.
    ("mma_kernel", "ExactCount"): (512, 0.04),
    ("mma_kernel", "Screen"): (512, 0.05),
    ("mma_kernel", "List"): (256, 0.05),
    ("mma_kernel", "Top"): (512, 0.04),
    ("mma_kernel", "Rounded"): (32, 0.005),  # exp on sm_90, which has a better loop: 16 bytes, 5 of 1,100 instructions
    ("wgmma_kernel", "Top"): (64, 0.012),
    ("wgmma_kernel", "ExactCount"): (64, 0.018),  # the order of warpgroups, which a measurement may drop, costs 2 of 21
    # Outside of the loop over the depth; Screen and List have most on sm_100.
    ("simt_kernel", "Screen"): (256, 0),
    ("simt_kernel", "List"): (256, 0),
    ("simt_kernel",): (64, 0),
    # Around calls of a division: once a row, and once a pair that is decided.
    ("pack_kernel",): (64, 0),
    ("pair_kernel",): (64, 0),
}


def uses_wgmma(k: Kernel) -> list[str]:
    if k.names[0] != "wgmma_kernel":
        return []
    wanted = {"HGMMA": "no wgmma", "UTMALDG.MULTICAST": "no multicast copy"}
    found = [complaint for opcode, complaint in wanted.items() if not k.count(opcode)]
    if k.count("HMMA"):
        found.append("products of warps")
    if k.count("USETMAXREG") < 2:
        found.append("registers are not handed over")
    return found


def uses_mma(k: Kernel) -> list[str]:
    if k.names[0] != "mma_kernel":
        return []
    wanted = {"HMMA": "no mma", "LDGSTS": "no asynchronous copy", "LDSM": "no ldmatrix"}
    return [complaint for opcode, complaint in wanted.items() if not k.count(opcode)]


def stays_in_registers(k: Kernel) -> list[str]:
    bytes_allowed, share_allowed = next((most for names, most in SPILLS.items() if set(names) <= set(k.names)), (0, 0))
    used, share = k.stack + k.local, k.hot_local / (k.tile_path or 1)
    astray = not used and (k.count("LDL") or k.count("STL"))
    if used <= bytes_allowed and share <= share_allowed and not astray:
        return []
    return [
        f"{used} bytes of local memory, {bytes_allowed} allowed; {share:.1%} of a tile, {share_allowed:.1%} allowed"
    ]


def has_few_registers(k: Kernel) -> list[str]:
    most = REGISTERS.get(k.names[0], OTHER_REGISTERS)
    return [f"{k.registers} registers, {most} allowed"] if k.registers > most else []


def has_a_short_epilogue(k: Kernel) -> list[str]:
    if k.names[0] not in ACCUMULATORS:
        return []
    budget = next((BUDGETS[name] for name in k.names if name in BUDGETS), None)
    if budget is None:
        return ["its epilogue has no budget"]
    if k.tile_path is None:
        return ["no path from tile to tile was found"]
    pair = k.tile_path / ACCUMULATORS[k.names[0]]
    return [f"{pair:.1f} instructions a pair, {budget} allowed"] if pair > budget else []


CHECKS = [uses_wgmma, uses_mma, stays_in_registers, has_few_registers, has_a_short_epilogue]
Check = Callable[[Kernel], list[str]]


@pytest.mark.parametrize("check", CHECKS)
def test_kernels(kernels: list[Kernel], check: Check) -> None:
    complaints = [f"{k}: {complaint}" for k in kernels for complaint in check(k)]
    assert not complaints, "\n" + "\n".join(complaints)


# ---- The checks can fail ---------------------------------------------------------------------------------------------

WGMMA = Kernel(
    "sm_90a",
    ("wgmma_kernel", "Half", "Count"),
    Counter({"HGMMA.64x256x16.F32": 8, "UTMALDG.2D": 2, "UTMALDG.2D.MULTICAST": 2, "USETMAXREG.DEALLOC": 2}),
    registers=168,
    stack=0,
    local=0,
    tile_path=600,
    hot_local=0,
)
MMA = replace(
    WGMMA,
    arch="sm_80",
    names=("mma_kernel", "Half", "Count"),
    opcodes=Counter({"HMMA.16816.F32": 128, "LDGSTS.E.BYPASS.128": 16, "LDSM.16.M88.4": 40}),
)
SIMT = replace(WGMMA, arch="sm_80", names=("simt_kernel", "Count"), opcodes=Counter({"FFMA": 512}), tile_path=None)


def without(k: Kernel, opcode: str) -> Kernel:
    return replace(k, opcodes=Counter({name: n for name, n in k.opcodes.items() if not name.startswith(opcode)}))


def with_(k: Kernel, opcode: str) -> Kernel:
    return replace(k, opcodes=k.opcodes + Counter([opcode]))


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        (uses_wgmma, without(WGMMA, "HGMMA")),
        (uses_wgmma, without(WGMMA, "UTMALDG.2D.MULTICAST")),
        (uses_wgmma, without(WGMMA, "USETMAXREG")),
        (uses_wgmma, with_(WGMMA, "HMMA.16816.F32")),
        (uses_mma, without(MMA, "HMMA")),
        (uses_mma, without(MMA, "LDGSTS")),
        (uses_mma, without(MMA, "LDSM")),
        (stays_in_registers, with_(SIMT, "STL.64")),
        (stays_in_registers, with_(WGMMA, "LDL")),
        (stays_in_registers, replace(MMA, names=("mma_kernel", "Half", "Screen"), stack=64, hot_local=40)),
        (stays_in_registers, replace(WGMMA, stack=8)),
        (stays_in_registers, replace(WGMMA, local=16)),
        (stays_in_registers, replace(MMA, hot_local=1)),
        (stays_in_registers, replace(MMA, names=("mma_kernel", "Half", "Rounded"), stack=40)),
        (stays_in_registers, replace(SIMT, stack=72)),
        (has_few_registers, replace(WGMMA, registers=176)),
        (has_few_registers, replace(SIMT, registers=255)),
        (has_few_registers, replace(SIMT, names=("pack_rows",))),
        (has_a_short_epilogue, replace(WGMMA, tile_path=6000)),
        (has_a_short_epilogue, replace(WGMMA, tile_path=None)),
        (has_a_short_epilogue, replace(MMA, names=("mma_kernel", "Half", "New"))),
    ],
)
def test_checks_can_fail(check: Check, broken: Kernel) -> None:
    for good in (WGMMA, MMA, SIMT):
        assert not check(good)
    assert check(broken)


# ---- What reads the machine code -------------------------------------------------------------------------------------

LISTING = """\
\t.target\tsm_80
.text._ZN7hnscore3gpu10mma_kernelINS0_4HalfENS0_5CountELl8192EEEvNS0_7ProblemE:
.L_x_0:
        /*0000*/                   HMMA.16816.F32 R4, R2, R3, R4 ;
        /*0010*/              @P0 BRA `(.L_x_0) ;
        /*0020*/                   LDG.E.128.CONSTANT R8, [R144.64] ;
        /*0030*/                   BSSY B0, `(.L_x_2) ;
        /*0040*/                   FFMA R4, R179, -R188, R36 ;
        /*0050*/                   BRA P1, `(.L_x_1) ;
        /*0060*/                   BRA `(.L_x_3) ;
.L_x_1:
        /*0070*/                   LDG.E R9, [R12.64] ;
        /*0080*/                   DFMA R4, R4, R4, R4 ;
        /*0090*/                   DFMA R4, R4, R4, R4 ;
.L_x_3:
        /*00a0*/                   BSYNC B0 ;
        /*00b0*/                   NOP ;
.L_x_2:
        /*00c0*/                   LDL R5, [R1+0x4]                   (*"SpillRefill"*);
        /*00d0*/              @!P2 BRA `(.L_x_0) ;
        /*00e0*/                   EXIT ;
"""


def test_listing_is_read() -> None:
    ((symbol, code),) = sass.functions(LISTING)
    assert sass.identifiers(symbol) == ("mma_kernel", "Half", "Count", "Problem")
    assert [x.opcode for x in code][:4] == ["HMMA.16816.F32", "BRA", "LDG.E.128.CONSTANT", "BSSY"]
    assert len(code) == 15
    # The BRA that leaves the loop of products, LDG, BSSY, FFMA, BRA, BRA, BSYNC, LDL, BRA.
    path = sass.tile_path(code)
    assert path == [1, 2, 3, 4, 5, 6, 10, 12, 13]


def test_path_counts_what_no_tile_can_skip() -> None:
    longer = LISTING.replace("LDL R5, [R1+0x4]", "LDL R5 ;\n        /*00c8*/   FADD R5, R5, R6")
    ((_, code),) = sass.functions(longer)
    assert len(sass.tile_path(code) or []) == 10


def test_count_of_an_opcode() -> None:
    assert WGMMA.count("UTMALDG") == 4
    assert WGMMA.count("UTMALDG.MULTICAST") == 2
    assert WGMMA.count("HMMA") == 0


@pytest.mark.parametrize(
    "message",
    [
        "ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored to maintain minimum register need.",
        "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due to x",
        "ptxas info    : (C7514) Potential Performance Loss: wgmma.mma_async instructions are serialized due to y",
        "ptxas info    : (C7517) warpgroup.wait is injected in around line 44 by compiler",
    ],
)
def test_serialised_wgmma_fails_the_strict_build(message: str) -> None:
    if not (shell := shutil.which("sh")):
        pytest.skip("sh is not installed")
    compiler = ["sh", "-c", f'echo "{message}" >&2']
    assert subprocess.run([shell, str(NVCC_STRICT), *compiler], capture_output=True, check=False).returncode == 1
    for status in (0, 3):
        other = ["sh", "-c", f"echo nothing of note; exit {status}"]
        done = subprocess.run([shell, str(NVCC_STRICT), *other], capture_output=True, text=True, check=False)
        assert done.returncode == status
        assert "nothing of note" in done.stderr


def test_kernels_that_name_a_hang(tmp_path: Path) -> None:
    """HNSCORE_CUDA_HANG_SECONDS: what waits stops at a trap, and has the registers for it."""
    if not (nvcc := shutil.which("nvcc")):
        pytest.skip("nvcc is not installed")
    csrc = NVCC_STRICT.parents[1]
    options = [
        "-std=c++20",
        "-fmad=false",
        "--expt-relaxed-constexpr",
        "-Werror",
        "all-warnings",
        f"-I{csrc}",
        "-cubin",
    ]
    source, cubin = csrc / "cuda" / "tiles" / "archs" / "wgmma_half.cu", tmp_path / "wgmma.cubin"
    command = [nvcc, "-arch=sm_90a", "-DHNSCORE_HANG_SECONDS=2", *options, source, "-o", cubin]
    done = subprocess.run(["sh", NVCC_STRICT, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if not sass.tool("nvdisasm"):
        pytest.skip("nvdisasm is not installed; pip install nvidia-cuda-nvdisasm brings it")
    found = sass.kernels_of_cubin(cubin)
    assert len(found) == 9
    for k in found:
        assert k.count("BPT.TRAP"), k
        assert k.registers <= REGISTERS["wgmma_kernel"], k
        assert k.stack + k.local <= 80, k  # of a build for first runs


PTX = """
.version 8.0
.target sm_90a
.address_size 64
.visible .entry kernel() { setmaxnreg.dec.sync.aligned.u32 40; ret; }
"""


def test_ptxas_still_speaks_so(tmp_path: Path) -> None:
    """A kernel without launch bounds, whose setmaxnreg is therefore ignored."""
    if not (nvcc := shutil.which("nvcc")):
        pytest.skip("nvcc is not installed")
    (tmp_path / "kernel.ptx").write_text(PTX)
    command = [nvcc, "-arch=sm_90a", "-cubin", "kernel.ptx"]
    plain = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert plain.returncode == 0, plain.stderr
    strict = subprocess.run(["sh", str(NVCC_STRICT), *command], cwd=tmp_path, capture_output=True, check=False)
    assert strict.returncode == 1
