// One thread's rows in a screen of all values, survivors by column: a list of rows for each. The rows' values stay in
// the second-level cache, a column's come once for all rows of the block, and four rows at a time are multiplied with
// it.
#pragma once

#include "cpu/cascade/row_codes.h"

namespace hnscore {

class ScreenedPanels : public RowCodes {
  public:
    // Rows whose codes and values take kBytes, as a second-level cache of 2 MiB holds.
    static int64_t rows_per_block(const Columns& columns) {
        constexpr int64_t kBytes = 1536 * 1024, kMost = 2048;
        const int64_t bytes = int64_t{columns.codes.words} * 4 + value_pitch(columns.dim) * 4;
        return std::clamp<int64_t>(kBytes / bytes, kStep, kMost) / kStep * kStep;
    }
    static int64_t value_pitch(int64_t dim) { return (dim + kStep - 1) / kStep * kStep; }

    ScreenedPanels(const ScreenLimits& limits, const Columns& columns, int64_t rows)
        : RowCodes(limits, columns, rows),
          pitch_(value_pitch(columns.dim)),
          rows_(tiles_ * screen_.rows),
          values_((rows + 1) * pitch_),
          pairs_(rows_),
          sure_(rows_),
          listed_(screen_.cols * rows_),
          found_(rows_ + 1),
          count_(static_cast<size_t>(screen_.cols)),
          m_(static_cast<size_t>(rows)) {
        std::memset(values_.data(), 0, static_cast<size_t>(values_.bytes()));
        std::memset(listed_.data(), 0, static_cast<size_t>(listed_.bytes()));  // fetched ahead, whatever it says
        for (int64_t i = 0; i < rows_; ++i) sure_[i] = 0;
    }

    void add(int64_t i, const float* scaled, const RowFacts& facts, bool last) {
        RowCodes::add(i, scaled, facts, last);
        std::memcpy(values_.data() + i * pitch_, scaled, static_cast<size_t>(columns_.dim) * sizeof(float));
        m_[static_cast<size_t>(i)] = facts.plain ? facts.m : std::numeric_limits<double>::quiet_NaN();
    }
    // As float32 reads it; NaN where float32 cannot serve.
    double m(int64_t i) const { return m_[static_cast<size_t>(i)]; }
    // How many pairs of the row were surely above their threshold; forgets them.
    int32_t take_sure(int64_t i) { return std::exchange(sure_[i], 0); }

    // The screen of the first `rows` rows with a panel. Meanwhile the next panel's codes are fetched, and the values
    // that decide() will need for the panel before.
    void run(int64_t panel, int64_t rows) {
        ScreenBlock b = block(0, (rows + screen_.rows - 1) / screen_.rows, panel, 1);
        b.pairs = pairs_.data();
        b.pitch = rows_;
        b.sure = limits_.two_sided ? sure_.data() : nullptr;
        b.ahead = ahead_.data();
        b.n_ahead = static_cast<int64_t>(ahead_.size());
        b.ahead_bytes = (columns_.dim * columns_.view.col_stride + 63) / 64 * 64;
        (limits_.top ? screen_.top : screen_.sums)(b);
        ahead_.clear();
    }
    // Lists what survived of the panel just run, and which values that needs.
    void list(int64_t panel, int64_t rows, const RowReader& texts) {
        const int64_t first = panel * screen_.cols, present = std::min<int64_t>(screen_.cols, columns_.rows - first);
        const uint32_t real = present < 32 ? (uint32_t{1} << present) - 1 : ~uint32_t{0};
        int64_t found = 0;  // rows with survivors, without a branch that no processor could predict
        for (int64_t i = 0; i < rows; ++i) {
            found_[found] = static_cast<uint16_t>(i);
            found += (pairs_[i] & real) != 0;
        }
        uint32_t any = 0;
        for (int64_t f = 0; f < found; ++f) {
            uint32_t bits = pairs_[found_[f]] & real;
            any |= bits;
            for (; bits != 0; bits &= bits - 1) {
                const auto c = static_cast<size_t>(__builtin_ctz(bits));
                listed_[static_cast<int64_t>(c) * rows_ + count_[c]++] = found_[f];
            }
        }
        for (uint32_t bits = any & real; bits != 0; bits &= bits - 1)
            if (const char* p = texts.in_place(first + __builtin_ctz(bits))) ahead_.push_back(p);
        panel_ = panel;
        survivors_.pairs += rows * present;
    }
    // Calls each(column, rows, count) for the columns with survivors of the panel listed last, in order; they are
    // decided then.
    template <class Each>
    void decide(const Each& each) {
        uint32_t left = 0;
        for (int64_t c = 0; c < screen_.cols; ++c)
            left |= static_cast<uint32_t>(count_[static_cast<size_t>(c)] > 0) << c;
        for (; left != 0; left &= left - 1) {
            const int64_t c = __builtin_ctz(left), n = std::exchange(count_[static_cast<size_t>(c)], 0);
            const uint32_t later = left & (left - 1);
            next_ = listed_.data() + (later ? __builtin_ctz(later) : c) * rows_;
            survivors_.first += n;
            survivors_.second += n;
            each(panel_ * screen_.cols + c, listed_.data() + c * rows_, n);
        }
    }
    // float32 products of four of the listed rows, from `at` on, with a column of value_pitch() values. Meanwhile four
    // more are fetched, the next column's after the last.
    void dots(const float* column, const uint16_t* rows, int64_t at, int64_t count, float out[4]) const {
        const float *x[4], *next[4];
        for (int64_t r = 0; r < 4; ++r) {
            x[r] = values_.data() + rows[std::min(at + r, count - 1)] * pitch_;
            next[r] = values_.data() + (at + 4 < count ? rows[std::min(at + 4 + r, count - 1)] : next_[r]) * pitch_;
        }
        columns_.format.target->dots_f32(column, x, next, pitch_, out);
    }

  private:
    static constexpr int64_t kStep = 32;  // of values in dots_f32, and of rows: a tile of the screen, two of digits

    const int64_t pitch_, rows_;
    Buffer<float> values_;
    Buffer<uint32_t> pairs_;
    Buffer<int32_t> sure_;
    Buffer<uint16_t> listed_;  // [column][row]
    Buffer<uint16_t> found_;
    const uint16_t* next_ = nullptr;  // the rows of the column that comes after the one being decided
    std::vector<int64_t> count_;
    std::vector<double> m_;
    std::vector<const char*> ahead_;
    int64_t panel_ = 0;
};

}  // namespace hnscore
