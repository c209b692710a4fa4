// One thread's rows in the passes of a cascade, survivors by row: a list of columns for each.
#pragma once

#include "cpu/cascade/row_codes.h"

namespace hnscore {

class ScreenedRows : public RowCodes {
  public:
    // Rows and columns of a call go through in blocks: a block of columns, whose codes fill half of a second-level
    // cache, meets kTiles tiles of rows at a time, up to kBlocks times, so that it is read from memory seldom.
    // Survivors are decided when there are kEnough for a row on average: rarely enough for the row to be read again,
    // often enough for the values of those columns to be met again in a cache by the next row.
    static constexpr int64_t kTiles = 16, kBlocks = 9, kEnough = 10;

    struct List {
        const int32_t* columns;
        int64_t count;
    };

    int tile_rows() const { return screen_.rows; }
    static int64_t panels_per_block(const Columns& columns) {
        const ColumnCodes& c = columns.codes;
        const int64_t column_bytes = c.pitch + int64_t{c.words} * 4;
        const int64_t most = std::numeric_limits<uint16_t>::max() / c.width;  // columns of a block are listed as uint16
        return std::clamp<int64_t>(columns.format.target->block_bytes / (column_bytes * c.width), 1, most);
    }

    ScreenedRows(const ScreenLimits& limits, const Columns& columns, int64_t rows)
        : RowCodes(limits, columns, rows),
          block_panels_(panels_per_block(columns)),
          pairs_(kTiles * screen_.rows * block_panels_),
          listed_(block_panels_ * screen_.cols + 32),
          found_(block_panels_ * screen_.cols),
          waiting_(limits.top ? 0 : rows * kWaiting),
          waiting_count_(static_cast<size_t>(rows)) {}

    // The first pass of `tiles` tiles of rows of the screen, at most kTiles, over a block of panels.
    void run(int64_t first_tile, int64_t tiles, int64_t first_panel, int64_t panels, float* scratch) {
        ScreenBlock b = block(first_tile, tiles, first_panel, panels);
        first_column_ = first_panel * screen_.cols;
        first_row_ = first_tile * screen_.rows;
        panels_ = panels;
        b.scratch = scratch;
        b.pairs = pairs_.data();
        b.pitch = block_panels_;
        (limits_.top ? screen_.top : screen_.sums)(b);
    }
    // What the second pass leaves of what the first left of row i, one of those just run; valid until the next call.
    List survivors_of(int64_t i) {
        int64_t n = screen_.list(pairs_.data() + (i - first_row_) * block_panels_, panels_, listed_.data());
        const int64_t present = columns_.rows - first_column_;
        while (n > 0 && listed_[n - 1] >= present) --n;
        survivors_.pairs += std::min(panels_ * screen_.cols, present);
        survivors_.first += n;
        if (codes_.pitch && n > 0) {
            const RefineBlock block{
                .row = reinterpret_cast<const uint8_t*>(second_.data() + i * codes_.pitch),
                .row_unit = second_unit_[i],
                .row_bound = second_bound_[i],
                .row_least = least_[i],
                .top = limits_.top,
                .keys_are_gaps = limits_.keys_are_gaps,
                .cols = reinterpret_cast<const int8_t*>(codes_.listed.data() + first_column_ * codes_.pitch),
                .pitch = codes_.pitch,
                .gates = limits_.gates.data() + first_column_,
            };
            n = screen_.refine(block, listed_.data(), n, codes_.pitch, listed_.data());
        }
        survivors_.second += n;
        for (int64_t c = 0; c < n; ++c) found_[c] = static_cast<int32_t>(first_column_) + listed_[c];
        return {found_.data(), n};
    }
    // Keeps them with those of earlier blocks; false where there is no room.
    bool wait(int64_t i, const List& list) {
        int64_t& count = waiting_count_[static_cast<size_t>(i)];
        if (limits_.top || count + list.count > kWaiting) return false;
        std::memcpy(waiting_.data() + i * kWaiting + count, list.columns, static_cast<size_t>(list.count) * 4);
        count += list.count;
        all_waiting_ += list.count;
        return true;
    }
    List waiting(int64_t i) const { return {waiting_.data() + i * kWaiting, waiting_count_[static_cast<size_t>(i)]}; }
    void clear(int64_t i) {
        all_waiting_ -= waiting_count_[static_cast<size_t>(i)];
        waiting_count_[static_cast<size_t>(i)] = 0;
    }
    int64_t all_waiting() const { return all_waiting_; }

  private:
    static constexpr int64_t kWaiting = 64;

    const int64_t block_panels_;
    Buffer<uint32_t> pairs_;
    Buffer<uint16_t> listed_;
    Buffer<int32_t> found_, waiting_;
    std::vector<int64_t> waiting_count_;
    int64_t all_waiting_ = 0, first_row_ = 0, first_column_ = 0, panels_ = 0;
};

}  // namespace hnscore
