#include "core/exact.h"

#include "core/wide_sum.h"

namespace hnscore {

double exact_dot_wide(const double* a, const double* b, int64_t n) {
    int64_t limbs[WideSum::kLimbs];
    WideSum sum(limbs);
    for (int64_t k = 0; k < n; ++k) sum.add_product(a[k], b[k]);
    return sum.round();
}

double round_pair_sum(const PairSum& sum, const double* a, const double* b, int64_t n) {
    double value;
    return rounds_surely(sum.hi, sum.lo, sum.magnitude, n, value) ? value : exact_dot_wide(a, b, n);
}

}  // namespace hnscore
