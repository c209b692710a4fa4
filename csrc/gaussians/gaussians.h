// Pairs of diagonal Gaussians, an image's and a text's: one walk over the rows, a pair at a time.
#pragma once

#include <array>
#include <utility>
#include <vector>

#include "cpu/rows/rows.h"

namespace hnscore {

struct GaussianJob {
    const Target* target = nullptr;
    std::array<View, 4> views{};  // img_mean, img_var, txt_mean, txt_var
    // The probability that a pair at distance d matches is sigmoid(2 (shift - scale d)): of the root of the expected
    // squared distance, or, with n_samples > 0, its mean over n_samples^2 pairs of draws.
    double scale = 1, shift = 0;
    int64_t n_samples = 0;
    std::array<uint32_t, 2> key{};
    // Outputs, one value a pair.
    double *img_var = nullptr, *txt_var = nullptr;  // means over the dimensions
    double* wasserstein = nullptr;
    double *match = nullptr, *mismatch = nullptr;  // probabilities whose sum is 1, both with all their digits
};

// The bad rows of each view (kNonFinite, of variances kNegative), and last the pairs whose sums leave the float64 range
// (kOutOfRange); the outputs are then incomplete.
using BadGaussians = std::array<std::vector<std::pair<int64_t, int>>, 5>;
BadGaussians gaussian_pairs(const GaussianJob& job, int n_threads, const Poll& poll);

}  // namespace hnscore
