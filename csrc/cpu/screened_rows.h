// One thread's rows in the passes of a cascade: their codes, and the columns that survive.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/limits.h"

namespace hnscore {

class ScreenedRows {
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

    static int64_t panels_per_block(const Columns& columns) {
        const ColumnCodes& c = columns.codes;
        const int64_t column_bytes = c.pitch + int64_t{c.words} * 4;
        const int64_t most = std::numeric_limits<uint16_t>::max() / c.width;  // columns of a block are listed as uint16
        return std::clamp<int64_t>(columns.format.target->block_bytes / (column_bytes * c.width), 1, most);
    }

    ScreenedRows(const ScreenLimits& limits, const Columns& columns, int64_t rows)
        : limits_(limits),
          codes_(limits.codes),
          columns_(columns),
          screen_(columns.format.target->screen),
          encoder_(*columns.plan, columns.format, columns.dim),
          tile_bytes_(int64_t{codes_.words} * 4 * screen_.rows),
          block_panels_(panels_per_block(columns)),
          first_(rows / screen_.rows * tile_bytes_),
          second_(rows * codes_.pitch),
          unit_(rows),
          bound_(rows),
          least_(rows),
          second_unit_(rows),
          second_bound_(rows),
          pairs_(kTiles * screen_.rows * block_panels_),
          listed_(block_panels_ * screen_.cols + 32),
          found_(block_panels_ * screen_.cols),
          waiting_(limits.top ? 0 : rows * kWaiting),
          waiting_count_(static_cast<size_t>(rows)) {
        std::memset(first_.data(), 0, static_cast<size_t>(first_.bytes()));
        for (int64_t i = 0; i < rows; ++i) unit_[i] = bound_[i] = least_[i] = 0;
    }

    // Row i of the block; `last` of those that are loaded.
    void add(int64_t i, const float* scaled, const RowFacts& facts, bool last) {
        std::memcpy(encoder_.values(), scaled, static_cast<size_t>(columns_.dim) * sizeof(float));
        encoder_.add(facts);
        m_[encoder_.count() - 1] = facts.plain ? facts.m : std::numeric_limits<double>::quiet_NaN();
        if (!encoder_.full() && !last) return;
        encoder_.finish(false);
        for (int64_t r = 0; r < encoder_.count(); ++r) store(i + 1 - encoder_.count() + r, r);
    }
    // The key that a candidate must exceed, from row units.
    void set_least(int64_t i, float state, const RowFacts& facts) {
        const double key = state / facts.m;
        least_[i] = static_cast<float>(key - std::abs(key) * 0x1p-20);
    }

    // The first pass of `tiles` tiles of rows, at most kTiles, over a block of panels.
    void run(int64_t first_tile, int64_t tiles, int64_t first_panel, int64_t panels, float* scratch) {
        const int64_t at = first_panel * screen_.cols, row = first_tile * screen_.rows;
        first_column_ = at;
        first_row_ = row;
        panels_ = panels;
        const ScreenBlock block{
            .rows = first_.data() + first_tile * tile_bytes_,
            .tile_bytes = tile_bytes_,
            .tiles = static_cast<int>(tiles),
            .row_unit = unit_.data() + row,
            .row_bound = bound_.data() + row,
            .row_least = least_.data() + row,
            .cols = codes_.panels.data() + first_panel * codes_.panel_bytes,
            .panel_bytes = codes_.panel_bytes,
            .panels = static_cast<int>(panels),
            .col_init = codes_.first.init.data() + at,
            .col_bound = codes_.first.bound.data() + at,
            .col_tau = limits_.tau.data() + at,
            .col_unit = limits_.unit.data() + (limits_.top ? at : 0),
            .col_base = limits_.base.data() + (limits_.top ? at : 0),
            .depth = codes_.words,
            .scratch = scratch,
            .pairs = pairs_.data(),
            .pitch = block_panels_,
        };
        (limits_.top ? screen_.top : screen_.sums)(block);
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
    const Survivors& survivors() const { return survivors_; }

  private:
    static constexpr int64_t kWaiting = 64;

    void store(int64_t i, int64_t r) {
        const double m = m_[r];
        const auto scaled = [m](double x, int side) { return static_cast<float>(x / m * (1 + side * 0x1p-20)); };
        const Bound& b = encoder_.first_bound(r);
        unit_[i] = scaled(b.unit, 0);
        bound_[i] = scaled(b.bound, 1);
        const auto copy = [this](const char* from, int64_t count, auto place) {
            for (int64_t k = 0; k < count; ++k) {
                uint32_t word;
                std::memcpy(&word, from + k * 4, 4);
                word ^= screen_.row_offset;
                std::memcpy(place(k), &word, 4);
            }
        };
        // [word / row_words][row][row_words]
        const int64_t rows = screen_.rows, words = screen_.row_words;
        char* tile = first_.data() + i / rows * tile_bytes_ + i % rows * words * 4;
        copy(encoder_.first(r), codes_.words,
             [=](int64_t k) { return tile + (k / words * rows * words + k % words) * 4; });
        if (!codes_.pitch) return;
        const Bound& s = encoder_.second_bound(r);
        second_unit_[i] = scaled(s.unit, 0);
        second_bound_[i] = scaled(s.bound, 1);
        char* row = second_.data() + i * codes_.pitch;
        copy(encoder_.second(r), codes_.pitch / 4, [=](int64_t k) { return row + k * 4; });
    }

    const ScreenLimits& limits_;
    const ColumnCodes& codes_;
    const Columns& columns_;
    const ScreenKernels& screen_;
    Encoder encoder_;
    const int64_t tile_bytes_, block_panels_;
    Buffer<char> first_, second_;
    Buffer<float> unit_, bound_, least_, second_unit_, second_bound_;
    Buffer<uint32_t> pairs_;
    Buffer<uint16_t> listed_;
    Buffer<int32_t> found_, waiting_;
    std::vector<int64_t> waiting_count_;
    double m_[32] = {};
    Survivors survivors_;
    int64_t all_waiting_ = 0, first_row_ = 0, first_column_ = 0, panels_ = 0;
};

}  // namespace hnscore
