#!/bin/sh
# Runs a CUDA compiler; fails where ptxas informs of what costs a kernel most of its speed: wgmma that it serialises,
# waits that it injects (C7510 to C7519), registers that warpgroups do not hand over (C7508).
output=$("$@" 2>&1)
status=$?
[ -z "$output" ] || printf '%s\n' "$output" >&2
case $output in
  *"(C75"[01][0-9]")"*)
    echo "strict.sh: the above is an error here" >&2
    exit 1
    ;;
esac
exit $status
