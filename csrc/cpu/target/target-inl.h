// What every file in cpu/target/isa ends with: its row of the dispatch table.
#pragma once

#include "cpu/kernels/codes-inl.h"
#include "cpu/kernels/cosine-inl.h"
#include "cpu/kernels/cover-inl.h"
#include "cpu/kernels/gaussians-inl.h"
#include "cpu/kernels/rows-inl.h"
#include "cpu/kernels/tile-inl.h"

namespace hnscore {
namespace HNSCORE_NS {

extern const Target kTarget;
const Target kTarget = {
    .name = Simd::kName,
    .block_bytes = Simd::kBlockBytes,
    .load_row = load_row,
    .decode_row = decode_row,
    .dot = dot,
    .dot_f32 = dot_f32,
    .dots_f32 = dots_f32,
    .distance2 = distance2,
    .norm2_f32 = norm2_f32,
    .scale_f32 = scale_f32,
    .dot_pair = dot_pair,
    .scale_row = scale_row,
    .load_rows = load_rows,
    .dots = dots,
    .cosines = cosines,
    .kernels_of_cosines = kernels_of_cosines,
    .upper_kernels = upper_kernels,
    .gain = gain,
    .fall = fall,
    .fp32 = kernels<F32Product>(kFloat32),
    .product = product<F32Product>,
    .exact = kernels<F32Product>(kFloat32),
    .bf16 = kernels<F32Product>(kFloat32),
    .screen = kScreen,
    .gaussians = kGaussians,
    .fma_burst = fma_burst,
    .int8_burst = nullptr,
    .bf16_burst = nullptr,
};

}  // namespace HNSCORE_NS
}  // namespace hnscore
