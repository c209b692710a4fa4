#!/bin/sh
# Runs a CUDA compiler; fails where ptxas informs of what costs most of a kernel's speed: wgmma that it serialises
# (C7510 and its kin), registers that it does not hand from one warpgroup to the other (C7508).
output=$("$@" 2>&1)
status=$?
[ -z "$output" ] || printf '%s\n' "$output" >&2
case $output in
  *C7508* | *C7510* | *C7511* | *C7517* | *C7519* | *"setmaxnreg ignored"* | *"instructions are serialized"*)
    echo "strict.sh: the above is an error here" >&2
    exit 1
    ;;
esac
exit $status
