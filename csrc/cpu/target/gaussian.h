// What a CPU target does with one pair of diagonal Gaussians: N(m, diag v) of an image, N(m', diag v') of a text.
//
// Draws. Dimensions 4b .. 4b + 3 of sample s are the normals of the Philox4x32-10 counter (row, row >> 32,
// 2 s + modality, b), modality 0 for the image and 1 for the text: words (0, 1) and (2, 3) give two each by Box-Muller.
// A draw so depends on the key and on where it stands, on nothing else. Float32 values of one pair lie in four planes,
// plane q holding dimensions q, 4 + q, 8 + q, ..., since that is how the words come.
#pragma once

#include <cstdint>

namespace hnscore {

struct GaussianSums {
    double means;             // sum (m - m')^2
    double deviations;        // sum (sqrt v - sqrt v')^2
    double img_var, txt_var;  // sum v, sum v'
    bool img_negative, txt_negative;
};

// A plane has a multiple of this many values, zeros at its end.
constexpr int kPlaneStep = 16;
constexpr int64_t plane_length(int64_t dim) { return ((dim + 3) / 4 + kPlaneStep - 1) / kPlaneStep * kPlaneStep; }

struct GaussianKernels {
    GaussianSums (*sums)(const double* img_mean, const double* img_var, const double* txt_mean, const double* txt_var,
                         int64_t dim);
    // (a - b) * factor in planes.
    void (*means)(const double* a, const double* b, int64_t dim, double factor, float* planes);
    // sqrt(var) * factor in planes.
    void (*deviations)(const double* var, int64_t dim, double factor, float* planes);
    // mean + deviation * normal of one sample, in planes of `length` values.
    void (*draw)(const float* mean, const float* deviation, int64_t length, const uint32_t key[2], int64_t row,
                 uint32_t stream, float* out);
    // |a - b_s|^2 of n values, a multiple of 4 kPlaneStep, for the `count` vectors b_s that lie n apart.
    void (*distances2)(const float* a, const float* b, int64_t count, int64_t n, float* out);
};

}  // namespace hnscore
