// One thread's rows as codes, with their bounds: what the passes of a cascade read of them.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/dense/limits.h"

namespace hnscore {

class RowCodes {
  public:
    // Row i of the block; `last` of those that are loaded.
    void add(int64_t i, const float* scaled, const RowFacts& facts, bool last) {
        std::memcpy(encoder_.values(), scaled, static_cast<size_t>(columns_.dim) * sizeof(float));
        encoder_.add(facts);
        m_[encoder_.count() - 1] = facts.plain ? facts.m : std::numeric_limits<double>::quiet_NaN();
        if (!encoder_.full() && !last) return;
        encoder_.finish(false);
        for (int64_t r = 0; r < encoder_.count(); ++r) store(i + 1 - encoder_.count() + r, r);
    }
    // The key that a candidate must exceed.
    void set_least(int64_t i, double key) { least_[i] = static_cast<float>(key - std::abs(key) * 0x1p-20); }
    bool has_least() const { return limits_.top; }
    const Survivors& survivors() const { return survivors_; }

  protected:
    RowCodes(const ScreenLimits& limits, const Columns& columns, int64_t rows)
        : limits_(limits),
          codes_(limits.codes),
          columns_(columns),
          screen_(columns.format.target->screen),
          encoder_(*columns.plan, columns.format, columns.dim),
          tile_bytes_(int64_t{codes_.words} * 4 * screen_.rows),
          tiles_((rows + screen_.rows - 1) / screen_.rows),
          first_(tiles_ * tile_bytes_),
          second_(rows * codes_.pitch),
          unit_(tiles_ * screen_.rows),
          bound_(tiles_ * screen_.rows),
          least_(tiles_ * screen_.rows),
          second_unit_(rows),
          second_bound_(rows) {
        std::memset(first_.data(), 0, static_cast<size_t>(first_.bytes()));
        for (int64_t i = 0; i < tiles_ * screen_.rows; ++i) unit_[i] = bound_[i] = least_[i] = 0;
    }

    // Tiles of the rows against panels of the columns; what becomes of the pairs is to be added.
    ScreenBlock block(int64_t first_tile, int64_t tiles, int64_t first_panel, int64_t panels) const {
        const int64_t at = first_panel * screen_.cols, row = first_tile * screen_.rows;
        ScreenBlock b{};
        b.rows = first_.data() + first_tile * tile_bytes_;
        b.tile_bytes = tile_bytes_;
        b.tiles = static_cast<int>(tiles);
        b.row_unit = unit_.data() + row;
        b.row_bound = bound_.data() + row;
        b.row_least = least_.data() + row;
        b.cols = codes_.panels.data() + first_panel * codes_.panel_bytes;
        b.panel_bytes = codes_.panel_bytes;
        b.panels = static_cast<int>(panels);
        b.col_init = codes_.first.init.data() + at;
        b.col_bound = codes_.first.bound.data() + at;
        b.col_tau = limits_.tau.data() + at;
        b.col_unit = limits_.unit.data() + (limits_.top ? at : 0);
        b.col_base = limits_.base.data() + (limits_.top ? at : 0);
        b.col_above = limits_.above.data() + (limits_.two_sided ? at : 0);
        b.depth = codes_.words;
        return b;
    }

    const ScreenLimits& limits_;
    const ColumnCodes& codes_;
    const Columns& columns_;
    const ScreenKernels& screen_;
    Encoder encoder_;
    const int64_t tile_bytes_, tiles_;
    Buffer<char> first_, second_;
    Buffer<float> unit_, bound_, least_, second_unit_, second_bound_;
    Survivors survivors_;

  private:
    void store(int64_t i, int64_t r) {
        const double m = m_[r];
        const auto scaled = [m](double x, int side) { return static_cast<float>(x / m * (1 + side * 0x1p-20)); };
        const Bound& b = encoder_.first_bound(r);
        unit_[i] = scaled(b.unit, 0);
        bound_[i] = scaled(b.bound, 1);
        const auto copy = [](const char* from, int64_t bytes, uint8_t offset, char* to) {
            for (int64_t k = 0; k < bytes; ++k) to[k] = static_cast<char>(from[k] + offset);
        };
        // [word / row_words][row][row_words]
        const int64_t rows = screen_.rows, words = screen_.row_words;
        char* tile = first_.data() + i / rows * tile_bytes_ + i % rows * words * 4;
        for (int64_t k = 0; k < codes_.words; k += words, tile += rows * words * 4)
            copy(encoder_.first(r) + k * 4, words * 4, screen_.row_offset, tile);
        if (!codes_.pitch) return;
        const Bound& s = encoder_.second_bound(r);
        second_unit_[i] = scaled(s.unit, 0);
        second_bound_[i] = scaled(s.bound, 1);
        copy(encoder_.second(r), codes_.pitch, screen_.second_offset, second_.data() + i * codes_.pitch);
    }

    double m_[32] = {};
};

}  // namespace hnscore
