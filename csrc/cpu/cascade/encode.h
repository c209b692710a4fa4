// Rows as the cascade sees them: codes of their values on a basis and of all their values, with what is needed to make
// a product of codes an upper bound of the similarity.
//
// V (dim x prefix) has a spectral norm of at most 1, so I - VV' is positive semidefinite, and Cauchy-Schwarz in the
// inner product it defines gives, for all x and t, whatever V is,
//
//     x.t  =  V'x . V't + x'(I - VV')t  <=  V'x . V't + |x|_V |t|_V,        |x|_V^2 = |x|^2 - |V'x|^2.
//
// With codes V'x = a q + r, |r| <= e, |a q| <= h, and likewise b, p, e', h' for t,
//
//     V'x . V't  <=  a b q.p + e (h' + e') + h e'.
//
// The three products of a number of x and a number of t become one by Cauchy-Schwarz with any weights g, k > 0:
//
//     x.t  <=  a b q.p + u w,    u^2 = |x|_V^2 + g e^2 + k h^2,    w^2 = |t|_V^2 + (h' + e')^2 / g + e'^2 / k.
//
// In floating point: |V'x| is lowered and |x|_V raised by the error of the projection; 2^-18 |x|^2 is added to |x|_V^2,
// which covers the rounding of x' itself and of the norms; 2^-20 h is added to e, which covers the kernels' float32.
#pragma once

#include <memory>
#include <vector>

#include "cpu/cascade/basis.h"
#include "cpu/rows/rows.h"

namespace hnscore {

// The weights g and k above.
struct BoundWeights {
    double g = 1, k = 1;
};

// How a cascade goes through its pairs. A dense call has none.
struct Plan {
    std::shared_ptr<const Basis> basis;  // null: the first pass reads all dims, and there is no second
    BoundWeights first, second;
    int64_t warm = 0;   // so many columns are decided densely first: a top recipe needs a threshold to start with
    bool many = false;  // so many pairs count that it pays to tell in the first pass which surely do
    bool refines(const Format& f) const { return basis && f.target->screen.refines; }
};

// A row's bound in one pass, in the units of its codes.
struct Bound {
    float unit;    // a
    double bound;  // u or w
    int32_t init;  // as a column's: what takes off the offset of the rows' codes
};

// Codes of up to a tile of rows. One per thread.
class Encoder {
  public:
    Encoder(const Plan& plan, const Format& format, int64_t dim);

    int64_t count() const { return count_; }
    bool full() const { return count_ == format_.target->fp32.rows; }
    float* values() { return values_.data(); }  // x' of the next row goes here, dim values
    void add(const RowFacts& facts);            // takes them
    // After the last add: everything of the rows; the next add starts anew.
    void finish(bool as_columns);

    const char* first(int64_t r) const { return first_.data() + r * first_bytes_; }
    const char* second(int64_t r) const { return second_.data() + r * second_bytes_; }
    const Bound& first_bound(int64_t r) const { return first_bound_[static_cast<size_t>(r)]; }
    const Bound& second_bound(int64_t r) const { return second_bound_[static_cast<size_t>(r)]; }

  private:
    const float* projected(int64_t r) const { return projected_.data() + r * projected_pitch_; }

    const Plan& plan_;
    const Format format_;
    const int64_t dim_, first_depth_, first_bytes_, second_bytes_, projected_pitch_;
    int64_t count_ = 0;
    bool finished_ = false;
    Buffer<float> values_, tile_, projected_, scratch_;
    Buffer<char> first_, second_;
    std::vector<RowFacts> facts_;
    std::vector<Code> first_code_, second_code_;
    std::vector<Bound> first_bound_, second_bound_;
};

// Depth of the codes: of the first pass without a basis, and of the second.
inline int64_t whole_depth(const ScreenKernels& s, int64_t dim) {
    return (dim + s.depth_step - 1) / s.depth_step * s.depth_step;
}
constexpr int64_t second_depth(int64_t dim) { return (dim + 63) / 64 * 64; }

// The columns' side of the cascade.
struct ColumnCodes {
    ColumnCodes() = default;
    ColumnCodes(const Plan& plan, const Format& format, int64_t rows, int64_t dim);
    void store(Encoder& encoder, int64_t first);  // columns first, first + 1, ...
    int64_t bytes() const;

    int width = 0;       // of a panel
    uint32_t words = 0;  // of a column in the first pass
    int64_t padded = 0;  // columns
    int64_t panel_bytes = 0, pitch = 0;
    Buffer<char> panels;  // first pass: [panel][word][column]
    Buffer<char> listed;  // second pass: [column][pitch]
    struct Pass {
        Buffer<int32_t> init;
        Buffer<float> unit, bound;  // b, and w / b rounded up
    };
    Pass first, second;
};

}  // namespace hnscore
