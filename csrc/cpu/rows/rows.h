// Rows of embeddings: how they are read, what is known of them, and how they are made ready for the tile loop.
#pragma once

#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

#include "core/buffer.h"
#include "core/team.h"
#include "cpu/target/target.h"

namespace hnscore {

// What is known of a row besides its packed values; cpu/target/target.h has the units.
struct RowFacts {
    double m = 1;       // s_ij = acc / (m_i m_j)
    double norm = 1;    // |x'|, in [1, 2)
    int exponent = 0;   // packed values are x * 2^-exponent
    bool plain = true;  // false: too large or small for float32 arithmetic on thresholds, pairs are decided one by one
    BadRow bad = kGood;
};

// The rules by which rows are read; the same for both sides of a call.
struct Format {
    const Target* target = nullptr;
    Precision precision = Precision::exact;
    bool cosine = true;
    const double* origin = nullptr;  // subtracted from every row that is packed, where there is one
    int64_t dim = 0;                 // set by Columns: what tiles depend on

    const Kernels& kernels() const {
        const Kernels& k = precision == Precision::bf16 ? target->bf16 : target->exact;
        return dim <= k.operand->most_dim ? k : target->fp32;
    }
    const TileFormat& operand() const { return *kernels().operand; }
    int64_t tile_bytes() const { return operand().row_depth(dim) * operand().element_bytes * kernels().rows; }
    int64_t panel_bytes() const { return operand().col_depth(dim) * operand().element_bytes * kernels().cols; }
    RowFacts facts(const double* x, int64_t n) const;
    RowFacts facts(double norm2) const;  // where it lies well within float64
};

// Reads rows of a view: packed values with their facts, and exact similarities. One per thread and view.
class RowReader {
  public:
    RowReader(const Format& format, const View& view);
    RowFacts read(int64_t row, float* scaled);  // scaled: view.dim values
    const double* finite_values(int64_t row);   // as given, kept until the next call; null where one is not finite
    // s of row i here and row j there, from their values, as the contract defines it.
    double exact_similarity(int64_t i, RowReader& other, int64_t j);
    // Their squared distance in float64, of the normalised rows under cosine; nothing cancels.
    double distance2(int64_t i, RowReader& other, int64_t j);
    // Their dot product in plain float64, and a hint that row i will be needed.
    double dot(int64_t i, RowReader& other, int64_t j);
    // The first bytes of it; the rest follows in a row, as caches expect.
    void prefetch(int64_t row, int64_t most = 512) const;
    // x 2^-exponent as read() gives it; and where it lies in memory, if it is read from there.
    void scaled(int64_t row, int exponent, float* out);
    // Its values as float32, then zeros to a multiple of 32: where they lie, or in `room`, which has the zeros.
    const float* padded_floats(int64_t row, float* room);
    const char* in_place(int64_t row) const { return floats_ ? address(row) : nullptr; }

  private:
    const double* values(int64_t row);  // kept until the next call
    double exact_norm2(int64_t row);    // likewise
    const char* address(int64_t row) const { return view_.data + row * view_.row_stride; }
    const void* floats(int64_t row);  // likewise; float32 values anywhere
    double exact_dot(const double* a, const double* b, bool wide) const;

    const Format format_;
    const View view_;
    const bool wide_;
    const bool floats_;  // rows can be had as float32, without gaps
    int64_t row_ = -1, norm2_row_ = -1;
    bool finite_ = true;
    double norm2_ = 0;
    int64_t floats_row_ = -1;
    Buffer<float> floats_values_;
    Buffer<double> values_, from_origin_;
};

// Bad rows by ascending index, the first few of them, from several threads. Work items are handed out in ascending
// order and none is handed out after a bad row was seen, so that the first bad row of the input is always among them.
class BadRows {
  public:
    static constexpr size_t kNamed = 8;
    explicit BadRows(size_t most = kNamed) : most_(most) {}
    void add(int64_t row, BadRow kind);
    bool any() const { return any_.load(std::memory_order_relaxed); }
    bool full() const { return count_.load(std::memory_order_relaxed) >= most_; }
    std::vector<std::pair<int64_t, int>> sorted() const;

  private:
    const size_t most_ = kNamed;
    std::atomic<size_t> count_{0};
    std::mutex guard_;
    std::vector<std::pair<int64_t, int>> rows_;
    std::atomic<bool> any_{false};
};

// A row of `depth` values, a multiple of kChunk, as row r of a float32 tile of `rows` rows: [chunk][row][kChunk].
void store_in_tile(const float* row, int64_t depth, int rows, int64_t r, float* tile);

// The first bad rows of a view, at most so many.
std::vector<std::pair<int64_t, int>> check_rows(const View& view, const Format& format, size_t most, int n_threads,
                                                const Poll& poll);

// The largest |x - bf16(x)| / |x| of the rows x of a view, good ones.
double bf16_rest(const View& view, const Target& target, int n_threads, const Poll& poll);

// The bf16 elements of float32 values that are already rounded to bf16.
void to_bf16(const float* in, int64_t count, uint16_t* out);

// Threads worth starting for this much arithmetic, at most `limit`.
int useful_threads(int limit, int64_t items, double operations);

}  // namespace hnscore
