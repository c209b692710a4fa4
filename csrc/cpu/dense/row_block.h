// One thread's rows: packed, run against a block of columns, their results written.
#pragma once

#include <cstring>
#include <optional>

#include "cpu/dense/open_pairs.h"

namespace hnscore {

// One thread's rows in flight and everything known of them.
class RowBlock {
  public:
    // screen: the limits of a cascade, else null.
    RowBlock(const Job& job, const ColumnLimits& limits, const ScreenLimits* screen, int tiles)
        : job_(job),
          columns_(*job.columns),
          format_(columns_.format),
          kernels_(format_.kernels()),
          limits_(limits),
          size_(static_cast<int64_t>(tiles) * kernels_.rows),
          tile_bytes_(format_.tile_bytes()),
          packed_(columns_.dense_panels > 0 ? tiles * tile_bytes_ : 0),
          own_(job, size_),
          test_(job, own_),
          sums_(test_, is_top(job.recipe) ? 0 : size_, kernels_.lanes),
          tops_(test_, limits, is_top(job.recipe) ? size_ : 0),
          state_(size_ * std::max(sums_.states(), 1)),
          col_sums_(kPanelsPerBlock * kernels_.cols),
          scratch_((3 + tiles * kernels_.scratch_per_tile) * kernels_.rows * kernels_.cols),
          scaled_(format_.operand().row_depth(columns_.dim)),
          norm_(static_cast<size_t>(size_)),
          open_(test_, sums_, tops_, listed_, norm_, state_.data(), screen != nullptr) {
        std::memset(scaled_.data(), 0, static_cast<size_t>(scaled_.bytes()));  // the padding of the depth stays 0
        std::memset(packed_.data(), 0, static_cast<size_t>(packed_.bytes()));  // nothing there may be NaN or subnormal
        for (int64_t c = 0; c < kPanelsPerBlock * kernels_.cols; ++c) col_sums_[c] = 0;
        if (job.lists) listed_.emplace(*job.lists, size_);
        if (screen && format_.target->screen.by_column) {
            panels_.emplace(*screen, columns_, size_);
        } else if (screen) {
            screened_.emplace(*screen, columns_, size_);
        }
    }

    // Packs rows [first, first + count) of the call; false where some are bad. col_values: where the terms of columns
    // are added up, in a triangle.
    bool load(int64_t first, int64_t count, BadRows& bad, double* col_values) {
        open_.col_values = col_values;
        test_.first = first_ = first;
        count_ = count;
        bool good = true;
        for (int64_t i = 0; i < tiles() * kernels_.rows; ++i) {
            if (i >= count) {  // padding: whatever was packed there, masked
                set_limits(i, false, RowFacts{}, Packed{});
                continue;
            }
            const RowFacts f = test_.rows.read(first + i, scaled_.data());
            if (f.bad != kGood) {
                bad.add(first + i, f.bad);
                good = false;
            }
            Packed packed;
            if (columns_.dense_panels > 0)
                format_.operand().pack_row(scaled_.data(), format_.operand().row_depth(columns_.dim), kernels_.rows,
                                           i % kernels_.rows, packed_.data() + i / kernels_.rows * tile_bytes_,
                                           &packed);
            set_limits(i, true, f, packed);
            norm_[static_cast<size_t>(i)] = std::ldexp(f.norm, f.exponent);
            if (screened_) screened_->add(i, scaled_.data(), f, i == count - 1);
            if (panels_) panels_->add(i, scaled_.data(), f, i == count - 1);
        }
        return good;
    }

    // Panels before this one have no column that comes after a row of the block.
    int64_t first_panel() const { return std::max<int64_t>(0, first_ + 1 - job_.rules.first_column) / kernels_.cols; }

    void run(int64_t first_panel, int64_t panels) {
        const int64_t at = first_panel * kernels_.cols;
        block_ = {};
        block_.rows = packed_.data();
        block_.tile_bytes = tile_bytes_;
        block_.tiles = static_cast<int>(tiles());
        block_.row_state = state_.data();
        block_.cols = columns_.packed.data() + first_panel * columns_.panel_bytes;
        block_.panel_bytes = columns_.panel_bytes;
        block_.panels = static_cast<int>(panels);
        block_.col_sums = col_sums_.data();
        block_.rate = static_cast<float>(job_.recipe == kernel ? 1 / job_.temperature : job_.terms.rate);
        block_.half_dim = static_cast<float>(columns_.dim) / 2;
        block_.depth = columns_.depth;
        block_.group_depth = chunks_per_group(columns_.depth) * kChunk;
        block_.scratch = scratch_.data();
        block_.resolve = resolve;
        block_.context = this;
        own_.put(block_);
        limits_.put(block_, at);
        first_column_ = at;
        (limits_.filtered ? kernels_.filtered : kernels_.plain)[job_.recipe](block_);
        const int states = sums_.states();
        for (int64_t i = 0; states > 0 && i < count_; ++i) sums_.merge(i, state_.data() + i * states);
        for (int64_t i = 0; listed_ && i < count_; ++i) {
            std::vector<int32_t>& found = listed_->found(i);
            open_.decide_exactly(i, {found.data(), static_cast<int64_t>(found.size())});
            found.clear();
        }
        if (open_.col_values == nullptr) return;
        for (int64_t c = 0; c < std::min(panels * kernels_.cols, columns_.rows - at); ++c) {
            open_.col_values[at + c] += static_cast<double>(col_sums_[c]);
            col_sums_[c] = 0;
        }
    }

    // The passes of a cascade over `panels` panels of codes. What survives waits to be decided, in column order; a top
    // recipe wants its threshold raised at once.
    void screen(int64_t first_panel, int64_t panels) {
        panels_ ? screen_by_column(first_panel, panels) : screen_by_row(first_panel, panels);
    }
    void screen_by_column(int64_t first_panel, int64_t panels) {
        for (int64_t p = first_panel; p < first_panel + panels; ++p) {
            if (panels_->has_least())
                for (int64_t i = 0; i < count_; ++i) panels_->set_least(i, state_[i] / test_.m_of(i));
            panels_->run(p, count_);
            open_.decide_panel(*panels_);
            panels_->list(p, count_, test_.texts);
        }
    }
    void screen_by_row(int64_t first_panel, int64_t panels) {
        ScreenedRows& s = *screened_;
        if (s.has_least())
            for (int64_t i = 0; i < count_; ++i) s.set_least(i, state_[i] / test_.m_of(i));
        const int64_t rows = s.tile_rows(), tiles = (count_ + rows - 1) / rows;
        for (int64_t t = 0; t < tiles; t += ScreenedRows::kTiles) {
            const int64_t end = std::min(tiles, t + ScreenedRows::kTiles);
            s.run(t, end - t, first_panel, panels, scratch_.data());
            for (int64_t i = t * rows; i < std::min(count_, end * rows); ++i) {
                const ScreenedRows::List found = s.survivors_of(i);
                if (s.wait(i, found)) continue;
                decide_waiting(i);
                open_.decide(i, found);
            }
        }
        if (s.all_waiting() < ScreenedRows::kEnough * count_) return;
        for (int64_t i = 0; i < count_; ++i) decide_waiting(i);
    }

    // False where more pairs were listed, by all threads, than are wanted.
    bool report() { return !listed_ || listed_->report(); }

    void finish() {
        if (panels_) open_.decide_panel(*panels_);
        for (int64_t i = 0; i < count_; ++i) {
            if (screened_) decide_waiting(i);
            if (panels_) sums_.add_sure(i, panels_->take_sure(i));
            if (listed_) continue;
            is_top(job_.recipe) ? tops_.finish(i) : sums_.finish(i);
        }
        if (listed_) listed_->finish(first_, count_);
    }

    int64_t tiles() const { return (count_ + kernels_.rows - 1) / kernels_.rows; }
    Survivors survivors() const {
        return screened_ ? screened_->survivors() : panels_ ? panels_->survivors() : Survivors{};
    }

  private:
    void set_limits(int64_t i, bool real, const RowFacts& f, const Packed& packed) {
        const int64_t row = first_ + i;
        own_.set(i, row, real, f, packed);
        if (!is_top(job_.recipe) && !listed_) return sums_.reset(i, state_.data() + i * sums_.states());
        const double* floors = job_.rules.floor;
        const double floor = real && floors ? floors[row] * test_.m_of(i) : -kInfinity;
        const auto least = static_cast<float>(floor - std::abs(floor) * 0x1p-20 - 0x1p-120);
        state_[i] = real ? least : kInfinity;
        if (real && !listed_) tops_.reset(i, least);
    }

    static void resolve(void* context, int tile, int panel, const uint32_t* pairs, const uint32_t* sure,
                        const float* acc) {
        auto& self = *static_cast<RowBlock*>(context);
        const Kernels& t = self.kernels_;
        for (int r = 0; r < t.rows; ++r)
            for (uint32_t bits = pairs[r]; bits != 0; bits &= bits - 1) {
                const int c = __builtin_ctz(bits);
                const int64_t i = static_cast<int64_t>(tile) * t.rows + r;
                const int64_t j = self.first_column_ + static_cast<int64_t>(panel) * t.cols + c;
                if (j >= self.columns_.rows) continue;
                if (is_top(self.job_.recipe))
                    self.state_[i] = self.tops_.push(i, j, acc[r * t.cols + c], (sure[r] >> c & 1) != 0);
                else if (self.listed_ && self.format_.precision == Precision::exact)
                    self.listed_->found(i).push_back(static_cast<int32_t>(j));
                else
                    self.add(i, j, acc[r * t.cols + c]);
            }
    }
    void add(int64_t i, int64_t j, float acc) {
        const double s = test_.similarity_of(i, j, acc);
        if (test_.counts(i, j, s)) open_.add(i, j, s);
    }

    void decide_waiting(int64_t i) {
        open_.decide(i, screened_->waiting(i));
        screened_->clear(i);
    }

    const Job& job_;
    const Columns& columns_;
    const Format format_;
    const Kernels& kernels_;
    const ColumnLimits& limits_;
    const int64_t size_, tile_bytes_;
    Buffer<char> packed_;
    RowLimits own_;
    PairTest test_;
    RowSums sums_;
    RowTops tops_;
    Buffer<float> state_;  // of each row what the kernels carry on: lanes of sums, or the least key that is wanted
    Buffer<float> col_sums_, scratch_, scaled_;
    std::vector<double> norm_;  // |x|
    std::optional<ListedRows> listed_;
    OpenPairs open_;
    std::optional<ScreenedRows> screened_;  // of a cascade, by its screen
    std::optional<ScreenedPanels> panels_;
    TileBlock block_{};
    int64_t first_ = 0, count_ = 0, first_column_ = 0;
};

}  // namespace hnscore
