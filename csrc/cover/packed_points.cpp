#include "cover/packed_points.h"

#include <algorithm>
#include <atomic>
#include <numeric>

namespace hnscore {
namespace {

constexpr int64_t kWidest = 512;  // points of a block, of which float32 sums are made

// As many points as half of the second-level cache has room for.
int64_t width_of(const Target& target, int64_t points, int64_t depth) {
    const int64_t cols = target.fp32.cols, fit = std::min(kWidest, target.block_bytes / (depth * 4)) / cols * cols;
    return std::max(cols, std::min(fit, ceil_div(points, cols) * cols));
}

}  // namespace

PackedPoints::PackedPoints(const Target& target, const View& points, int64_t memory, int n_threads)
    : target_(target),
      points_(points),
      n_threads_(n_threads),
      panel_(target, points.dim),
      width_(width_of(target, points.rows, panel_.depth)),
      blocks_(ceil_div(points.rows, width_)),
      kept_(std::clamp<int64_t>(memory / (block_size() * 4), 0, blocks_)),
      panels_(kept_ * block_size()),
      scales_(pitch()),
      order_(pitch()) {
    std::iota(order_.data(), order_.data() + pitch(), 0);
    std::fill(scales_.data(), scales_.data() + pitch(), 0.0f);
}

std::unique_ptr<PackedPoints::Room> PackedPoints::room() const {
    if (kept_ == blocks_) return nullptr;
    return std::make_unique<Room>(
        Room{RowReader(float_format(target_, points_.dim), points_), Buffer<float>(block_size())});
}

void PackedPoints::pack(const Poll& poll) {
    std::atomic<int64_t> next{0};
    Team team(useful_threads(n_threads_, blocks_, 20.0 * static_cast<double>(points_.rows * panel_.depth)), blocks_,
              poll);
    team.run([&](int worker) {
        RowReader reader(float_format(target_, points_.dim), points_);
        Buffer<float> unkept(kept_ < blocks_ ? block_size() : 0);
        for (int64_t block; (block = next.fetch_add(1)) < blocks_;) {
            pack(block, block < kept_ ? panels_.data() + block * block_size() : unkept.data(),
                 scales_.data() + block * width_, reader);
            if (!team.advance(worker, 1)) return;
        }
    });
}

const float* PackedPoints::panels(int64_t block, Room* room) const {
    if (block < kept_) return panels_.data() + block * block_size();
    pack(block, room->panels.data(), nullptr, room->reader);
    return room->panels.data();
}

void PackedPoints::pack(int64_t block, float* panels, float* scales, RowReader& reader) const {
    const int64_t first = block * width_, end = std::min(points_.rows, first + width_);
    Buffer<float> values(panel_.cols * panel_.depth);
    std::fill(values.data(), values.data() + panel_.cols * panel_.depth, 0.0f);
    for (int64_t from = first; from < first + width_; from += panel_.cols, panels += panel_.size) {
        const int64_t present = std::max<int64_t>(0, std::min(end - from, panel_.cols));
        for (int64_t i = 0; i < present; ++i) {
            const RowFacts facts = reader.read(order_[from + i], values.data() + i * panel_.depth);
            if (scales != nullptr) scales[from + i - first] = static_cast<float>(1 / facts.m);
        }
        kFloat32.pack_panel(values.data(), panel_.depth, static_cast<int>(present), static_cast<int>(panel_.cols),
                            panel_.depth, reinterpret_cast<char*>(panels), nullptr);
    }
}

}  // namespace hnscore
