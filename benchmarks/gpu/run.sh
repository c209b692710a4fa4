#!/usr/bin/env bash
# Builds hnscore with its CUDA backend and runs all that needs a GPU, the most telling first, without a network:
#
#     HNSCORE_GPU_MINUTES=10 bash benchmarks/gpu/run.sh [FOLDER [STEP...]]
#
# FOLDER (default build/gpu-results) gets at most 8 files: summary.txt, build.log, checks.log, bench.log, results.json,
# results.md, counters.csv, and site.tgz, the build, which a later call takes up again (HNSCORE_GPU_SITE).
# Steps: build smoke bench tests tune counters memcheck racecheck synccheck libraries; default all for which there is
# time. README.md in this folder says what to do with the first minutes and what each figure decides. Needs nvcc, CMake,
# a C++ compiler and Python with torch; what else is missing is said in the summary. Nothing runs after a first check
# (smoke) that failed; otherwise a step that fails does not stop the later ones. Exit 0 only if all of them passed.
#   HNSCORE_GPU_MINUTES=3|10|30  all of it, the build included; default 10
#   HNSCORE_GPU_SITE=FILE        a site.tgz of an earlier call: no build where it is of the same sources
#   HNSCORE_GPU_GO_ON=1          also after a first check that failed
#   HNSCORE_GPU_DEVICE=emulated  a rehearsal on the emulated GPU of the tests, which needs no GPU
#   HNSCORE_COMMIT=...           for the results, where git cannot tell
#   CMAKE_ARGS                   further arguments of CMake's first call
#   PYTHON                       the interpreter, default python3
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
here=$root/benchmarks/gpu
python=${PYTHON:-python3}
device=${HNSCORE_GPU_DEVICE:-cuda}
minutes=${HNSCORE_GPU_MINUTES:-10}
out=${1:-$root/build/gpu-results}
[ $# -gt 0 ] && shift
all="build smoke bench tests tune counters memcheck racecheck synccheck libraries"
asked="${*:-$all}"
for name in $asked; do
  case " $all " in *" $name "*) ;; *) echo "run.sh: no step $name; there are: $all" >&2; exit 2 ;; esac
done
# Seconds in all, some of which are for stopping; then the most for each step, in the order of `all`.
case $minutes in
  3) total=165 limits=(120 45 70 0 0 0 0 0 0 0) ;;
  10) total=570 limits=(270 75 200 60 60 40 50 0 0 0) ;;
  30) total=1770 limits=(270 150 560 240 150 60 120 90 60 120) ;;
  *) echo "run.sh: HNSCORE_GPU_MINUTES must be 3, 10 or 30, got $minutes" >&2; exit 2 ;;
esac
case $device in cuda | emulated) ;; *) echo "run.sh: HNSCORE_GPU_DEVICE must be cuda or emulated, got $device" >&2; exit 2 ;; esac
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
(cd "$out" && rm -f build.log checks.log bench.log counters.csv results.json results.md summary.txt)
work=$root/build/gpu # kept: a second run builds only what changed
site=$work/site
SECONDS=0
failed=0
table=()

record() { # step, result, seconds, what to read
  table+=("$(printf '%-10s %-8s %5s  %s' "$1" "$2" "$3" "$4")")
  case $2 in passed | kept | "left out") ;; *) failed=1 ;; esac
}

limit_of() {
  local i=0 name
  for name in $all; do
    [ "$name" = "$1" ] && echo "${limits[$i]}" && return
    i=$((i + 1))
  done
  echo 90
}

# step NAME LOG COMMAND...
step() {
  local name=$1 log=$out/$2 limit began=$SECONDS status left
  shift 2
  limit=$(limit_of "$name")
  # A step that was asked for by name has its time, whatever the budget has for it.
  [ "$limit" = 0 ] && [ "$asked" != "$all" ] && limit=60
  if [ "$limit" = 0 ]; then record "$name" "left out" 0 "$minutes minutes have no time for it"; return 1; fi
  left=$((total - SECONDS))
  [ "$left" -lt "$limit" ] && limit=$left
  if [ "$limit" -lt 10 ]; then record "$name" "not run" 0 "no time was left"; return 1; fi
  mkdir -p "$work"
  echo "== $name (at most $limit s): $*" | tee -a "$log"
  (cd "$work" && PYTHONPATH=$paths${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 LIMIT=$limit \
    timeout -k 5 "$limit" "$@") >>"$log" 2>&1 </dev/null
  status=$?
  case $status in
    0) record "$name" passed $((SECONDS - began)) "$(last "$log")" ;;
    124 | 137) record "$name" stopped $((SECONDS - began)) "after its $limit s, at: $(last_test "$log")" ;;
    *) record "$name" failed $((SECONDS - began)) "exit $status: $(last "$log")" ;;
  esac
  return $status
}

# Of pytest the test that ran, of others the last line: each names what it begins.
last_test() { grep -oE '[^ /]+\.py::[^ ]+' "$1" | tail -n 1 | grep . || last "$1"; }
last() { grep -v '^ *$' "$1" | tail -n 1 | cut -c 1-180; }
wanted() { case " $asked " in *" $1 "*) return 0 ;; esac; return 1; }
has() { "$python" -c "import sys; from importlib.util import find_spec as f; sys.exit(not all(map(f, sys.argv[1:])))" "$@"; }

# ---- What there is ---------------------------------------------------------------------------------------------------

if [ "$device" = cuda ]; then
  paths=$site
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
else
  paths=$root/tests
  no_gpu=
fi
[ -n "${CUDACXX:-}" ] || CUDACXX=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null)
export CUDACXX
no_build=
if [ "$device" = cuda ]; then
  [ -n "$CUDACXX" ] || no_build="nvcc is not installed"
  command -v cmake >/dev/null || no_build="cmake is not installed"
  # Nothing could run what is built, unless only that was asked for.
  [ -z "$no_build" ] && [ "$asked" != build ] && no_build=$no_gpu
fi
gpus=$(nvidia-smi --query-gpu=name,memory.free,memory.total,utilization.gpu,driver_version --format=csv,noheader 2>/dev/null |
  head -n 4 | paste -sd ';')

# ---- Build -----------------------------------------------------------------------------------------------------------

# What was built, from which sources, for which Python.
stamp() {
  (cd "$root" && find CMakeLists.txt pyproject.toml csrc hnscore -type f ! -name '*.so' ! -name '*.pyc' -print0 |
    LC_ALL=C sort -z | xargs -0 cat | sha256sum | cut -c 1-16)
  "$python" -c "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))"
}
is_built() { [ "$device" = emulated ] || { ls "$site"/hnscore/_cuda*.so >/dev/null 2>&1 && [ "$(cat "$site/STAMP" 2>/dev/null)" = "$(stamp)" ]; }; }

# build FOLDER SECONDS: SECONDS for which a barrier is waited, 0 for ever
build() {
  set -e
  local to=$1 hang=$2 options
  if [ "$device" = emulated ]; then
    "$python" -c "from emulated import emulated_module; print(emulated_module().__file__)"
    return
  fi
  rm -rf "$to"
  mkdir -p "$to"
  options="-DHNSCORE_CUDA=ON -DCMAKE_CUDA_FLAGS=-lineinfo -DHNSCORE_CUDA_HANG_SECONDS=$hang"
  # On a Hopper what others would run takes most of the time.
  options+=$("$python" -c "import torch; print(' -DHNSCORE_CUDA_ARCHS=90a' * (torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)))" 2>/dev/null || true)
  if has scikit_build_core pybind11 pip; then
    CMAKE_ARGS="$options ${CMAKE_ARGS:-}" "$python" -m pip install --no-build-isolation --no-deps --no-index --target "$to" \
      -Cbuild-dir="$work/pip$hang" "$root"
  else
    local version more=()
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")
    if has pybind11; then
      more+=("-Dpybind11_DIR=$("$python" -m pybind11 --cmakedir)")
    else # torch carries the headers
      more+=("-Dpybind11_DIR=$here/pybind11" "-DHNSCORE_PYBIND11_INCLUDE=$("$python" -c \
        'from torch.utils.cpp_extension import include_paths; print(include_paths()[0])')")
    fi
    command -v ninja >/dev/null && more+=(-G Ninja)
    # shellcheck disable=SC2086
    cmake -S "$root" -B "$work/cmake$hang" "${more[@]}" $options -DCMAKE_BUILD_TYPE=Release \
      -DSKBUILD_PROJECT_VERSION="$version" -DPython_EXECUTABLE="$("$python" -c 'import sys; print(sys.executable)')" \
      ${CMAKE_ARGS:-}
    cmake --build "$work/cmake$hang" --parallel "$(nproc)"
    cp -R "$root/hnscore" "$to/"
    find "$to" -name '*.so' -delete # those of another build
    cmake --install "$work/cmake$hang" --prefix "$to"
  fi
  ls "$to"/hnscore/_cuda*.so || { echo "built without the CUDA backend"; exit 1; }
  stamp >"$to/STAMP"
  PYTHONPATH=$to "$python" -c "import hnscore; hnscore.show_config()"
  echo "built in $SECONDS s"
}
export -f build has stamp
export root here python site work device

if wanted build; then
  archive=${HNSCORE_GPU_SITE:-$out/site.tgz}
  if [ "$device" = cuda ] && ! is_built && [ -f "$archive" ]; then
    mkdir -p "$work" && rm -rf "$site" && tar xzf "$archive" -C "$work" || rm -rf "$site"
  fi
  if [ "$device" = cuda ] && is_built; then
    record build kept 0 "the sources are those of $site"
  elif [ -n "$no_build" ]; then
    record build "not run" 0 "$no_build"
  else
    step build build.log bash -c "build '$site' 0" && [ "$device" = cuda ] && tar czf "$out/site.tgz" -C "$work" site
  fi
fi

# ---- Everything that needs the GPU -----------------------------------------------------------------------------------

# guard NAME [MODULE...]: 0 if the step is wanted and can run; says why not
stop=
guard() {
  local name=$1 why=$no_gpu
  shift
  wanted "$name" || return 1
  [ -z "$why" ] && why=$stop
  [ -z "$why" ] && [ "$device" = cuda ] && [ -z "$(ls "$site"/hnscore/_cuda*.so 2>/dev/null)" ] && why="nothing is built"
  [ -z "$why" ] && [ $# -gt 0 ] && ! has "$@" && why="needs $*"
  [ -z "$why" ] && return 0
  record "$name" "not run" 0 "$why"
  return 1
}

# Sizes of a rehearsal.
small=() shorter=()
[ "$device" = emulated ] && small=(--n-img 140 --n-txt 60 --rounds 1) && shorter=(--limit "${HNSCORE_GPU_LIMIT:-40}")

if guard smoke; then
  if ! step smoke checks.log "$python" "$here/first_check.py" --device "$device" ${shorter[@]+"${shorter[@]}"}; then
    [ "${HNSCORE_GPU_GO_ON:-0}" = 1 ] || stop="the first check failed"
    # A hang: once more, with kernels that say what they wait for.
    if grep -q '^STOPPED' "$out/checks.log" && [ $((total - SECONDS)) -gt 20 ]; then
      [ "$device" = cuda ] && paths=$work/hang
      step hang checks.log bash -c "build '$work/hang' 2 && \"\$python\" '$here/first_check.py' --device $device ${shorter[*]+${shorter[*]}}"
      [ "$device" = cuda ] && paths=$site
    fi
  fi
fi

if guard bench; then
  # shellcheck disable=SC2016
  step bench bench.log bash -c '"$python" "$here/bench.py" "$@" --minutes "$(awk "BEGIN { print ($LIMIT - 15) / 60 }")"' bench \
    --device "$device" --json "$out/results.json" --commit "${HNSCORE_COMMIT:-}" ${small[@]+"${small[@]}"}
fi

# Versions that nobody has tried may warn; one process, which has the GPU for itself; each test is named before it runs.
tests=("$python" -m pytest -c "$root/pyproject.toml" --rootdir "$root" -v -m gpu -W default -p no:cacheprovider -p no:xdist)
if has pytest_timeout; then tests+=(--timeout 40 --timeout-method thread); else tests+=(-o faulthandler_timeout=40); fi
tests+=("${HNSCORE_GPU_TESTS:-$root/tests}")
if guard tests pytest hypothesis; then
  step tests checks.log "${tests[@]}" -k "not cupy and not jax and not compiled_code"
fi
if guard tune; then
  # shellcheck disable=SC2016
  step tune bench.log bash -c '"$python" "$here/tune.py" "$@" --minutes "$(awk "BEGIN { print ($LIMIT - 15) / 60 }")"' tune \
    --device "$device" ${small[@]+"${small[@]}"}
fi
if guard counters; then
  if command -v ncu >/dev/null; then
    rehearsed=()
    [ "$device" = emulated ] && rehearsed=(--n-img 140 --n-txt 60)
    step counters bench.log "$python" "$here/counters.py" --device "$device" --csv "$out/counters.csv" ${rehearsed[@]+"${rehearsed[@]}"}
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
  cases=(--only 260x1100x200) # one size of the slow ones
  [ $tool = memcheck ] && [ "$minutes" = 30 ] && cases=()
  [ "$device" = emulated ] && cases=(--only 17x33x5)
  # Each array has an allocation of its own, so that a read beyond its end is one beyond an allocation. Of our kernels
  # alone, and without the failed calls of other libraries.
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 step $tool checks.log compute-sanitizer --tool $tool --error-exitcode 9 \
    --print-limit 20 --target-processes all --report-api-errors no --kernel-regex kns=hnscore \
    "$python" "$here/small.py" --device "$device" ${cases[@]+"${cases[@]}"}
done
if guard libraries pytest hypothesis; then
  # JAX takes three quarters of the memory at its first use, unless it is told not to.
  XLA_PYTHON_CLIENT_PREALLOCATE=false step libraries checks.log "${tests[@]}" -k "cupy or jax or compiled_code"
fi

# ---- Summary ---------------------------------------------------------------------------------------------------------

{
  echo
  [ -n "$gpus" ] && echo "GPU (name, free, total, in use, driver): $gpus"
  echo "step       result   seconds  said last"
  printf '%s\n' "${table[@]}"
  echo "$SECONDS s of $minutes minutes; logs and results: $out"
} | tee "$out/summary.txt"
exit $failed
