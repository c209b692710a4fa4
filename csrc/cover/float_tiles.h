// Float32 products of rows of the caller with packed columns, for bounds: one thread's.
#pragma once

#include <algorithm>
#include <cstring>

#include "core/buffer.h"
#include "cpu/rows/rows.h"

namespace hnscore {

inline Format float_format(const Target& target, int64_t dim) {
    Format format;
    format.target = &target;
    format.precision = Precision::fp32;
    format.dim = dim;
    return format;
}

// By how much s, a product with the scales of its row and its column, is off at most: `chain_units`; the rounding of
// the two scales, of their product, of the two products with it, and of a sum.
constexpr double float_slack(int64_t dim) { return (chain_units(dim) + 6) * kUnit; }

// Columns as panels of kFloat32, [panel][depth][column].
struct FloatPanels {
    FloatPanels(const Target& target, int64_t dim)
        : cols(target.fp32.cols), depth(kFloat32.col_depth(dim)), size(depth * cols) {}
    const int64_t cols, depth, size;  // floats of a panel
};

// Up to `kTiles` tiles of rows.
class FloatTiles {
  public:
    static constexpr int64_t kTiles = 8;  // that pass by a block of columns
    FloatTiles(const Target& target, const View& view)
        : target_(target),
          panels_(target, view.dim),
          reader_(float_format(target, view.dim), view),
          depth_((panels_.depth + kChunk - 1) / kChunk * kChunk),
          tile_size_(target.fp32.rows * (depth_ + kChunk)),
          tiles_(kTiles * tile_size_),
          scales_(kTiles * target.fp32.rows),
          values_(depth_),
          scratch_(3 * target.fp32.rows * target.fp32.cols) {
        std::fill(tiles_.data(), tiles_.data() + kTiles * tile_size_, 0.0f);
        std::fill(values_.data(), values_.data() + depth_, 0.0f);
    }

    static int64_t most(const Target& target) { return kTiles * target.fp32.rows; }
    void read(int64_t i, int64_t row) {
        const RowFacts facts = reader_.read(row, values_.data());
        scales_[i] = static_cast<float>(1 / facts.m);
        const int rows = target_.fp32.rows;
        store_in_tile(values_.data(), depth_, rows, i % rows, tiles_.data() + i / rows * tile_size_);
    }
    float scale(int64_t i) const { return scales_[i]; }
    // Products of the rows of a tile with all columns of `count` panels: out[row * pitch + column].
    void multiply(int64_t tile, const float* panels, int64_t count, float* out, int64_t pitch) {
        target_.product(reinterpret_cast<const char*>(tiles_.data() + tile * tile_size_),
                        reinterpret_cast<const char*>(panels), panels_.size * 4, static_cast<int>(count), panels_.depth,
                        chunks_per_group(panels_.depth) * kChunk, scratch_.data(), out, pitch);
    }

  private:
    const Target& target_;
    const FloatPanels panels_;
    RowReader reader_;
    const int64_t depth_, tile_size_;
    Buffer<float> tiles_, scales_, values_, scratch_;
};

}  // namespace hnscore
