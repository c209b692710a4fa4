// Pairs that the kernels leave open: decided one by one, and added to what their row becomes.
#pragma once

#include <optional>

#include "cpu/cascade/screened_panels.h"
#include "cpu/cascade/screened_rows.h"
#include "cpu/dense/row_sums.h"
#include "cpu/dense/row_tops.h"
#include "lists/listed_rows.h"

namespace hnscore {

class OpenPairs {
  public:
    // norm: |x| of each row. state: of a top recipe, the least key that is wanted of each row. screened: for what a
    // cascade leaves too.
    OpenPairs(PairTest& test, RowSums& sums, RowTops& tops, std::optional<ListedRows>& listed,
              const std::vector<double>& norm, float* state, bool screened)
        : test_(test),
          sums_(sums),
          tops_(tops),
          listed_(listed),
          norm_(norm),
          state_(state),
          columns_(test.columns),
          cosine_(columns_.format.cosine),
          pitch_(ScreenedPanels::value_pitch(columns_.dim)),
          one_(screened ? pitch_ : 0),
          four_(screened ? 4 * pitch_ : 0) {
        std::memset(one_.data(), 0, static_cast<size_t>(one_.bytes()));  // the padding stays 0
        std::memset(four_.data(), 0, static_cast<size_t>(four_.bytes()));
    }

    double* col_values = nullptr;  // where the terms of columns are added up, in a triangle

    // A pair that counts.
    void add(int64_t i, int64_t j, double s) {
        if (listed_)
            listed_->add(i, j, s);
        else
            sums_.add(i, j, s, col_values);
    }

    // Columns of a row, in order, by float32 products; by float64 ones where those are too close to call. All products
    // of a batch first: a decision would wait for its sum, and the next sum for the decision.
    void decide(int64_t i, const ScreenedRows::List& list) {
        constexpr int64_t kBatch = 16;
        if (list.count == 0) return;
        if (listed_) return decide_exactly(i, list);
        float dots[kBatch];
        const double units = float_units(pitch_) * kUnit, norm = norm_[static_cast<size_t>(i)];
        const int exponent = norm > 0 ? std::ilogb(norm) : 0;
        test_.rows.scaled(test_.first + i, exponent, one_.data());
        for (int64_t from = 0; from < list.count; from += kBatch) {
            const int64_t to = std::min(list.count, from + kBatch);
            for (int64_t c = from; c < to; c += 4) {
                const float* t[4];
                for (int64_t e = 0; e < 4; ++e) {
                    if (c + e + 4 < list.count) test_.texts.prefetch(list.columns[c + e + 4]);
                    t[e] = test_.texts.padded_floats(list.columns[std::min(c + e, to - 1)], four_.data() + e * pitch_);
                }
                columns_.format.target->dots_f32(one_.data(), t, t, pitch_, dots + (c - from));
            }
            for (int64_t c = from; c < to; ++c) {
                const int64_t j = list.columns[c];
                const double other = columns_.norm[static_cast<size_t>(j)], norms = norm * other;
                const double dot = std::ldexp(static_cast<double>(dots[c - from]), exponent);
                const double s = cosine_ ? dot / norms : dot, error = cosine_ ? units : units * norms;
                const bool plain = norm > 0 && other > kLeastNorm && other < 1 / kLeastNorm;  // of float32 products
                if (!plain || !settle(i, j, s, error)) settle(i, j, test_.rows.dot(test_.first + i, test_.texts, j));
            }
        }
    }
    // Listed pairs need all digits.
    void decide_exactly(int64_t i, const ScreenedRows::List& list) {
        constexpr int64_t kBatch = 16, kAhead = 2;
        double dots[kBatch];
        for (int64_t from = 0; from < list.count; from += kBatch) {
            const int64_t to = std::min(list.count, from + kBatch);
            for (int64_t c = from; c < to; ++c) {
                if (c + kAhead < list.count) test_.texts.prefetch(list.columns[c + kAhead]);
                dots[c - from] = test_.rows.dot(test_.first + i, test_.texts, list.columns[c]);
            }
            for (int64_t c = from; c < to; ++c) settle(i, list.columns[c], dots[c - from]);
        }
    }
    // The survivors of a panel, by float32 products; by float64 ones where those are too close to call.
    void decide_panel(ScreenedPanels& panels) {
        const double units = float_units(pitch_) * kUnit;
        panels.decide([&](int64_t j, const uint16_t* rows, int64_t count) {
            const auto at = static_cast<size_t>(j);
            const double norm = columns_.norm[at];
            const bool plain = columns_.plain[at] && norm > 0;
            if (plain) test_.texts.scaled(j, std::ilogb(norm), one_.data());
            for (int64_t r = 0; r < count; r += 4) {
                float dots[4];
                if (plain) panels.dots(one_.data(), rows, r, count, dots);
                for (int64_t e = r; e < std::min(count, r + 4); ++e) {
                    const int64_t i = rows[e];
                    const double s = static_cast<double>(dots[e - r]) / (panels.m(i) * columns_.m[at]);
                    const double error = cosine_ ? units : units * norm_[static_cast<size_t>(i)] * norm;
                    if (!plain || !settle(i, j, s, error))
                        settle(i, j, test_.texts.dot(j, test_.rows, test_.first + i));
                }
            }
        });
    }

  private:
    static constexpr double kLeastNorm = 0x1p-60;

    // False where s, off by at most `error`, is too close to a threshold, or to the middle between two listed values.
    bool settle(int64_t i, int64_t j, double s, double error) {
        if (!test_.clear_of_limits(i, j, s, error)) return false;
        if (!test_.counts(i, j, s)) return true;
        if (listed_ && !listed_->is_settled(s, error)) return false;
        if (is_top(test_.job.recipe))
            state_[i] = tops_.push(i, j, s, error, true);
        else
            add(i, j, s);
        return true;
    }
    // A survivor, by its float64 dot product; by the exact similarity where that is too close to call.
    void settle(int64_t i, int64_t j, double dot) {
        const double norms = norm_[static_cast<size_t>(i)] * columns_.norm[static_cast<size_t>(j)];
        double s = dot, error = static_cast<double>(columns_.dim + 24) * 0x1p-52;
        if (cosine_)
            s /= norms;
        else
            error = error * norms + static_cast<double>(columns_.dim) * 0x1p-1074;
        if (settle(i, j, s, error)) return;
        if (is_top(test_.job.recipe)) {
            state_[i] = tops_.push(i, j, s, error, false);
            return;
        }
        s = test_.exact_similarity(i, j);
        if (test_.counts(i, j, s)) add(i, j, s);
    }

    PairTest& test_;
    RowSums& sums_;
    RowTops& tops_;
    std::optional<ListedRows>& listed_;
    const std::vector<double>& norm_;
    float* const state_;
    const Columns& columns_;
    const bool cosine_;
    const int64_t pitch_;
    Buffer<float> one_, four_;  // float32 values of one row, or of one column where it goes by columns; of four columns
};

}  // namespace hnscore
