#include "cpu/target/tile_format.h"

#include <cstring>

#include "cpu/rows/rows.h"
#include "cpu/target/target.h"

namespace hnscore {
namespace {

// Products and thresholds, whose two parts are rounded once each.
double rounding_of_chains(int64_t dim) { return chain_units(dim) + 4; }

void pack_row_f32(const float* x, int64_t depth, int rows, int64_t r, char* tile, Packed*) {
    store_in_tile(x, depth, rows, r, reinterpret_cast<float*>(tile));
}

void pack_panel_f32(const float* x, int64_t pitch, int present, int width, int64_t depth, char* panel, Packed*) {
    if (present < width) std::memset(panel, 0, static_cast<size_t>(depth * width) * sizeof(float));
    auto* out = reinterpret_cast<float*>(panel);
    for (int64_t k = 0; k < depth; ++k)
        for (int c = 0; c < present; ++c) out[k * width + c] = x[c * pitch + k];
}

// Values that are already rounded to bf16.
void pack_row_bf16(const float* x, int64_t depth, int rows, int64_t r, char* tile, Packed*) {
    auto* out = reinterpret_cast<uint16_t*>(tile) + r * kChunkBf16;
    for (int64_t k = 0; k < depth; k += kChunkBf16, out += rows * kChunkBf16) to_bf16(x + k, kChunkBf16, out);
}

void pack_panel_bf16(const float* x, int64_t pitch, int present, int width, int64_t depth, char* panel, Packed*) {
    if (present < width) std::memset(panel, 0, static_cast<size_t>(depth * width) * sizeof(uint16_t));
    auto* out = reinterpret_cast<uint16_t*>(panel);
    for (int c = 0; c < present; ++c)
        for (int64_t k = 0; k < depth; k += 2) to_bf16(x + c * pitch + k, 2, out + k * width + 2 * c);
}

}  // namespace

const TileFormat kFloat32 = {4, kChunk, 8, INT64_MAX, rounding_of_chains, pack_row_f32, pack_panel_f32};
const TileFormat kBf16 = {2, kChunkBf16, 8, INT64_MAX, nullptr, pack_row_bf16, pack_panel_bf16};

}  // namespace hnscore
