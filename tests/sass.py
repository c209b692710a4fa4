"""The machine code of a CUDA module: its kernels, the instructions and registers of each.

python tests/sass.py MODULE.so|OBJECT.o|FILE.cubin
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path


@dataclass(frozen=True)
class Kernel:
    arch: str  # sm_90a
    names: tuple[str, ...]  # of the mangled name, in order: the function, its template arguments, its parameters
    opcodes: Counter[str]  # with their modifiers
    registers: int
    stack: int  # bytes a thread
    local: int
    tile_path: int | None  # see tile_path()
    hot_local: int  # local memory instructions in the loop of products and on the path of a tile

    def __str__(self) -> str:
        return f"{self.arch} {'/'.join(self.names)}"

    def count(self, opcode: str) -> int:
        """Of HGMMA all, of UTMALDG.MULTICAST those with that modifier."""
        first, *modifiers = opcode.split(".")
        found = 0
        for name, number in self.opcodes.items():
            head, *tail = name.split(".")
            if head == first and set(modifiers) <= set(tail):
                found += number
        return found


def tool(name: str) -> str | None:
    """cuobjdump or nvdisasm: of NVIDIA's wheels, which the test extra brings, or of the CUDA toolkit."""
    try:
        for file in metadata.files(f"nvidia-cuda-{name}") or []:
            if file.name == name:
                return str(file.locate())
    except metadata.PackageNotFoundError:
        pass
    return shutil.which(name)


def run(name: str, *arguments: str, cwd: Path | None = None) -> str:
    path = tool(name)
    assert path, name
    done = subprocess.run([path, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name} {arguments}: {done.stderr[-2000:]}"
    return done.stdout


def ptx_archs(module: Path) -> list[str]:
    """compute_80 where the module has PTX of it."""
    found = re.findall(r"\.(sm|compute)_(\w+)\.ptx", run("cuobjdump", "-lptx", str(module)))
    return sorted({f"compute_{number}" for _, number in found})


def kernels(module: Path, folder: Path) -> list[Kernel]:
    """Of a module or a .cubin file; `folder` is filled with what it holds."""
    if module.suffix == ".cubin":
        cubins = [module]
    else:
        run("cuobjdump", "-xelf", "all", str(module.resolve()), cwd=folder)
        cubins = sorted(folder.glob("*.cubin"))
    with ThreadPoolExecutor(2) as pool:
        return [kernel for found in pool.map(kernels_of_cubin, cubins) for kernel in found]


def kernels_of_cubin(cubin: Path) -> list[Kernel]:
    usage = {
        name: {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", line)}
        for name, line in re.findall(r"Function (\S+):\n(.*)", run("cuobjdump", "--dump-resource-usage", str(cubin)))
    }
    listing = run("nvdisasm", "-c", str(cubin))
    arch = re.search(r"\.target\s+(sm_\w+)", listing)
    assert arch, cubin
    result = []
    for symbol, code in functions(listing):
        if symbol not in usage:
            continue
        used = usage[symbol]
        path = tile_path(code)
        result.append(
            Kernel(
                arch[1],
                identifiers(symbol),
                Counter(i.opcode for i in code if i.opcode != "NOP"),
                used["REG"],
                used["STACK"],
                used["LOCAL"],
                None if path is None else len(path),
                sum(code[i].opcode.startswith(("LDL", "STL")) for i in {*(path or []), *product_loop(code)}),
            )
        )
    return result


@dataclass
class Instruction:
    opcode: str
    predicated: bool
    operands: str
    labels: list[str]  # that stand before it


_LABEL = re.compile(r"^(\.L_x_\d+):")
_SECTION = re.compile(r"^\.text\.(\S+):")
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*(.*)")


def functions(listing: str) -> Iterator[tuple[str, list[Instruction]]]:
    name, code, labels = "", [], []
    for line in listing.splitlines():
        if found := _INSTRUCTION.match(line):
            code.append(Instruction(found[2], bool(found[1]), found[3], labels))
            labels = []
        elif found := _LABEL.match(line):
            labels.append(found[1])
        elif found := _SECTION.match(line):
            if name:
                yield name, code
            name, code, labels = found[1], [], []
    if name:
        yield name, code


def identifiers(mangled: str) -> tuple[str, ...]:
    """The names in a mangled one; namespaces and literals left out."""
    names = []
    at = 2
    while at < len(mangled):
        rest = mangled[at:]
        if found := re.match(r"L[a-z]n?\d+E|S\d*_|T\d*_", rest):
            at += found.end()
        elif found := re.match(r"\d+", rest):
            start = at + found.end()
            at = start + int(found[0])
            names.append(mangled[start:at])
        else:
            at += 1
    return tuple(name for name in names if name not in ("hnscore", "gpu") and not name.startswith("_GLOBAL"))


# ---- The path of a tile ----------------------------------------------------------------------------------------------


def products_of(code: Sequence[Instruction]) -> list[int]:
    return [i for i, x in enumerate(code) if x.opcode.startswith(("HMMA", "HGMMA"))]


def product_loop(code: Sequence[Instruction]) -> range:
    """From the first product of matrices to the last; where there are none, between the loads of operands."""
    inside = products_of(code) or [i for i, x in enumerate(code) if x.opcode == "LDS.128"]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def tile_path(code: Sequence[Instruction]) -> list[int] | None:
    """The fewest instructions from a tile's last product of matrices, through its epilogue, to the next tile's first.

    That is what every tile costs beside its products: no filter is on, no pair needs more. An epilogue is known by
    what it loads from global memory, which the tile loops never do.
    """
    products = products_of(code)
    after = _successors(code)
    before: list[list[int]] = [[] for _ in code]
    for i, targets in enumerate(after):
        for j in targets:
            before[j].append(i)
    there, back = _ways(products, after), _ways(products, before)
    loads = [i for i, x in enumerate(code) if x.opcode.startswith("LDG.") and i in there and i in back]
    if not loads:
        return None
    middle = min(loads, key=lambda i: there[i][0] + back[i][0])
    return [*_walk(middle, there)[1:], middle, *_walk(middle, back)[1:]]


def _ways(sources: Sequence[int], neighbours: Sequence[Sequence[int]]) -> dict[int, tuple[int, int]]:
    """Of each instruction that is reached: steps from the nearest source, and the one before."""
    ways = {i: (0, i) for i in sources}
    front = list(sources)
    while front:
        following = []
        for i in front:
            for j in neighbours[i]:
                if j not in ways:
                    ways[j] = (ways[i][0] + 1, i)
                    following.append(j)
        front = following
    return ways


def _walk(start: int, ways: dict[int, tuple[int, int]]) -> list[int]:
    """Back to a source, which is left out."""
    walk = [start]
    while ways[walk[-1]][0] > 1:
        walk.append(ways[walk[-1]][1])
    return walk


def _successors(code: Sequence[Instruction]) -> list[list[int]]:
    place = {label: i for i, x in enumerate(code) for label in x.labels}
    meet: dict[str, int] = {}  # where the threads of a BSSY go on after their BSYNC
    result = []
    for i, x in enumerate(code):
        opcode = x.opcode.split(".")[0]
        targets = [place[label] for label in re.findall(r"\.L_x_\d+", x.operands) if label in place]
        following = [i + 1] if i + 1 < len(code) else []
        if opcode == "BSSY":
            meet[x.operands.split(",")[0]] = targets[0]
            targets = []
        elif opcode == "BSYNC":
            barrier = x.operands.split(" ")[0]
            targets = [meet[barrier]] if barrier in meet else following
            following = []
        elif opcode in ("BRA", "JMP", "BRX", "BRXU", "JMX", "JMXU"):
            if not x.predicated and "," not in x.operands.split("`")[0]:
                following = []
        elif opcode in ("EXIT", "RET"):
            following = following if x.predicated else []
            targets = []
        result.append(targets + following)
    return result


def _print_table(path: str) -> None:
    print(f"{'registers':>9} {'stack':>5} {'hot':>3} {'instructions':>12} {'tile':>5}  kernel")
    with tempfile.TemporaryDirectory() as folder:
        for k in sorted(kernels(Path(path), Path(folder)), key=str):
            print(f"{k.registers:>9} {k.stack:>5} {k.hot_local:>3} {k.opcodes.total():>12} {k.tile_path or '':>5}  {k}")


if __name__ == "__main__":
    _print_table(sys.argv[1])
