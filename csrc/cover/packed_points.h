// The points that rows are compared with, as panels of float32 values in blocks, in an order of their own.
#pragma once

#include <memory>
#include <vector>

#include "core/buffer.h"
#include "core/team.h"
#include "cover/float_tiles.h"

namespace hnscore {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

class PackedPoints {
  public:
    // Blocks are kept as far as the memory goes, in bytes.
    PackedPoints(const Target& target, const View& points, int64_t memory, int n_threads);
    void pack(const Poll& poll);  // in the present order

    // Blocks of `width` places, padded to `pitch` in all.
    int64_t width() const { return width_; }
    int64_t blocks() const { return blocks_; }
    int64_t pitch() const { return blocks_ * width_; }
    int64_t panels_of_block() const { return width_ / panel_.cols; }
    int64_t depth() const { return panel_.depth; }
    int64_t bytes() const { return panels_.bytes(); }
    const float* scales(int64_t block) const { return scales_.data() + block * width_; }
    // The point at each place of the block, and of all.
    const int32_t* order(int64_t block) const { return order_.data() + block * width_; }
    int32_t* order() { return order_.data(); }

    // A thread's room for a block that is not kept.
    struct Room {
        RowReader reader;
        Buffer<float> panels;
    };
    std::unique_ptr<Room> room() const;  // null: all are
    const float* panels(int64_t block, Room* room) const;

  private:
    int64_t block_size() const { return panel_.depth * width_; }
    void pack(int64_t block, float* panels, float* scales, RowReader& reader) const;

    const Target& target_;
    const View points_;
    const int n_threads_;
    const FloatPanels panel_;
    const int64_t width_, blocks_, kept_;
    Buffer<float> panels_, scales_;
    Buffer<int32_t> order_;
};

}  // namespace hnscore
