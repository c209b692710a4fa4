#!/usr/bin/env bash
# Builds hnscore with its CUDA backend and runs all that needs a GPU, in less than 10 minutes and without a network:
#
#     bash benchmarks/gpu/run.sh [FOLDER [STEP...]]       logs, results.json, results.md and summary.txt go to FOLDER
#
# Steps: build tests bench counters memcheck racecheck synccheck; default all, and build/gpu-results. Needs nvcc, CMake,
# a C++ compiler and Python with torch; what else is missing is said in the summary. A step that fails does not stop the
# later ones; exit 0 only if all that were asked for succeeded.
#   HNSCORE_GPU_QUICK=1    two minutes after the build, at small sizes
#   HNSCORE_COMMIT=...     for the results, where git cannot tell
#   HNSCORE_CMAKE_ARGS     further arguments of CMake's first call
#   PYTHON                 the interpreter, default python3
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/benchmarks/gpu
python=${PYTHON:-python3}
quick=${HNSCORE_GPU_QUICK:-0}
out=${1:-$root/build/gpu-results}
[ $# -gt 0 ] && shift
all="build tests bench counters memcheck racecheck synccheck"
asked="${*:-$all}"
for name in $asked; do
  case " $all " in *" $name "*) ;; *) echo "run.sh: no step $name; there are: $all" >&2; exit 2 ;; esac
done
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
(cd "$out" && rm -f build.log tests.log bench.log counters.log counters.csv sanitizers.log results.json results.md)
work=$root/build/gpu   # kept: a second run builds only what changed
site=$work/site
SECONDS=0
total=570              # seconds, with which every step is limited; the rest of the ten minutes is for stopping
failed=0
table=()

record() { # step, result, seconds, what to read
  table+=("$(printf '%-10s %-8s %5s  %s' "$1" "$2" "$3" "$4")")
  [ "$2" = passed ] || failed=1
}

# step NAME LOG SECONDS RESERVE COMMAND...: at most SECONDS, and RESERVE are left for the steps after it
step() {
  local name=$1 log=$out/$2 limit=$3 reserve=$4 began=$SECONDS status left
  shift 4
  left=$((total - SECONDS - reserve))
  [ "$left" -lt "$limit" ] && limit=$left
  if [ "$limit" -lt 10 ]; then record "$name" "not run" 0 "no time was left"; return 1; fi
  mkdir -p "$work"
  echo "== $name (at most $limit s): $*" | tee -a "$log"
  (cd "$work" && PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 \
    timeout -k 5 "$limit" "$@") >>"$log" 2>&1 </dev/null
  status=$?
  case $status in
    0) record "$name" passed $((SECONDS - began)) "$(last "$log")" ;;
    124 | 137) record "$name" stopped $((SECONDS - began)) "after its $limit s; ${log##*/} has what it had done" ;;
    *) record "$name" failed $((SECONDS - began)) "exit $status: $(last "$log")" ;;
  esac
  return $status
}

last() { grep -v '^ *$' "$1" | tail -n 1 | cut -c 1-150; }
wanted() { case " $asked " in *" $1 "*) return 0 ;; esac; return 1; }
has() { "$python" -c "import sys; from importlib.util import find_spec as f; sys.exit(not all(map(f, sys.argv[1:])))" "$@"; }

# ---- What there is ---------------------------------------------------------------------------------------------------

no_gpu=$("$python" - 2>/dev/null <<'PYTHON'
try:
    import torch
except ImportError:
    print("torch is not installed")
else:
    if torch.version.cuda is None:
        print("this torch was built without CUDA")
    elif not torch.cuda.is_available():
        print("torch finds no GPU")
PYTHON
) || no_gpu="$python does not run"
[ -n "${CUDACXX:-}" ] || CUDACXX=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
export CUDACXX
no_build=
[ -n "$CUDACXX" ] || no_build="nvcc is not installed"
command -v cmake >/dev/null || no_build="cmake is not installed"
# Nothing could run what is built, unless only that was asked for.
[ -z "$no_build" ] && [ "$asked" != build ] && no_build=$no_gpu

# ---- Build -----------------------------------------------------------------------------------------------------------

build() {
  set -e
  rm -rf "$site"
  mkdir -p "$site"
  if has scikit_build_core pybind11 pip; then
    "$python" -m pip install --no-build-isolation --no-deps --no-index --target "$site" -Cbuild-dir="$work/pip" \
      -Ccmake.define.HNSCORE_CUDA=ON "$root"
  else
    local version options=()
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")
    if has pybind11; then
      options+=("-Dpybind11_DIR=$("$python" -m pybind11 --cmakedir)")
    else # torch carries the headers
      options+=("-Dpybind11_DIR=$here/pybind11" "-DHNSCORE_PYBIND11_INCLUDE=$("$python" -c \
        'from torch.utils.cpp_extension import include_paths; print(include_paths()[0])')")
    fi
    command -v ninja >/dev/null && options+=(-G Ninja)
    cmake -S "$root" -B "$work/cmake" "${options[@]}" -DCMAKE_BUILD_TYPE=Release -DHNSCORE_CUDA=ON \
      -DSKBUILD_PROJECT_VERSION="$version" -DPython_EXECUTABLE="$("$python" -c 'import sys; print(sys.executable)')" \
      ${HNSCORE_CMAKE_ARGS:-}
    cmake --build "$work/cmake" --parallel "$(nproc)"
    cp -R "$root/hnscore" "$site/"
    find "$site" -name '*.so' -delete # those of another build
    cmake --install "$work/cmake" --prefix "$site"
  fi
  ls "$site"/hnscore/_cuda*.so || { echo "built without the CUDA backend"; exit 1; }
  "$python" -c "import hnscore; hnscore.show_config()"
  echo "built in $SECONDS s"
}
export -f build has
export root here python site work

if wanted build; then
  if [ -n "$no_build" ]; then record build "not run" 0 "$no_build"; else step build build.log 270 0 bash -c build; fi
fi
[ "$quick" = 1 ] && [ "$SECONDS" -lt 450 ] && total=$((SECONDS + 120))

# ---- Everything that needs the GPU -----------------------------------------------------------------------------------

# guard NAME [MODULE...]: 0 if the step is wanted and can run; says why not
guard() {
  local name=$1 why=$no_gpu
  shift
  wanted "$name" || return 1
  [ -z "$why" ] && [ -z "$(ls "$site"/hnscore/_cuda*.so 2>/dev/null)" ] && why="nothing is built"
  [ -z "$why" ] && [ $# -gt 0 ] && ! has "$@" && why="needs $*"
  [ -z "$why" ] && return 0
  record "$name" "not run" 0 "$why"
  return 1
}

reserve=130
options=()
[ "$quick" = 1 ] && reserve=50 && options=(--quick)
if guard tests pytest hypothesis; then
  files=$(grep -l 'mark\.gpu' "$root"/tests/test_*.py)
  # shellcheck disable=SC2086
  step tests tests.log 60 $((reserve * 2)) "$python" -m pytest -c "$root/pyproject.toml" --rootdir "$root" -q -m gpu \
    -p no:cacheprovider $files
fi
if guard bench; then
  left=$((total - SECONDS - reserve))
  [ $left -gt 270 ] && left=270
  minutes=$("$python" -c "print(round(max($left - 20, 1) / 60, 2))")
  step bench bench.log 270 $reserve "$python" "$here/bench.py" --minutes "$minutes" --json "$out/results.json" \
    --commit "${HNSCORE_COMMIT:-}" ${options[@]+"${options[@]}"}
fi
if guard counters; then
  if command -v ncu >/dev/null; then
    step counters counters.log 50 $((reserve / 2)) "$python" "$here/counters.py" --csv "$work/counters.csv"
  else
    record counters "not run" 0 "ncu is not installed"
  fi
fi
for tool in memcheck racecheck synccheck; do
  guard $tool || continue
  if ! command -v compute-sanitizer >/dev/null; then
    record $tool "not run" 0 "compute-sanitizer is not installed"
    continue
  fi
  limit=40 cases=(--only 260x1100x200) # one size of the slow ones
  [ $tool = memcheck ] && [ "$quick" != 1 ] && limit=60 cases=()
  # Each array has an allocation of its own, so that a read beyond its end is one beyond an allocation.
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 step $tool sanitizers.log $limit 0 compute-sanitizer --tool $tool --error-exitcode 9 \
    --print-limit 20 --target-processes all "$python" "$here/small.py" ${cases[@]+"${cases[@]}"}
done

# ---- Summary ---------------------------------------------------------------------------------------------------------

{
  echo
  echo "step       result   seconds  said last"
  printf '%s\n' "${table[@]}"
  echo "$SECONDS s; logs and results: $out"
} | tee "$out/summary.txt"
exit $failed
