// The GPU backend as Python sees it: rows in device memory in, values in device memory out, everything queued on a
// stream. Nothing here waits for the device.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cpu/target/target.h"
#include "cuda/device/host_memory.h"
#include "cuda/device/reports.h"
#include "cuda/rows/input.h"
#include "cuda/tiles/tuning.h"
#include "recipes/threshold.h"

namespace hnscore::gpu {

// The machine code in this build that a device runs, "" for none: sm_80, compute_80, ...
std::string arch_of(const Device& device);

// Memory that lives until the end of the call, or of the Columns, in the order of the stream.
using Allocate = std::function<void*(size_t bytes)>;

// Rows are packed, and their sums kept, for so much memory at a time, and columns for half as much, but at least a
// chunk of them. So at depth 512 a call takes 69 MB, 4 to 8 bytes for each row of the result, 112 for what is known of
// each column, and on an H100 9 MB for sums that float64 cannot round: 94 MB for a million rows and a hundred thousand
// columns.
constexpr int64_t kSlabBytes = int64_t{44} << 20;

struct Context {
    Device device;
    Stream stream;
    Allocate allocate;
    int64_t slab_bytes = kSlabBytes;
};

struct Input {
    Rows rows;
    int side;
};

enum class GpuPrecision : int { exact, fp32, bf16, fp16 };
enum class Method : int { automatic, dense, cascade };

struct RowFacts;
struct TopEntry;

// Rows packed for one operand.
struct PackedRows {
    Operand operand;
    const void* values;
    int64_t pitch;
    RowFacts* facts;
};

// The side whose facts are known for all rows.
struct PackedColumns {
    // keep: in memory for all of them, for many calls; else for one call, which packs them slab by slab.
    PackedColumns(const Context& context, const Input& input, bool cosine, GpuPrecision precision, Method method,
                  bool keep);

    int64_t chunks() const;  // of columns, that are added up or listed together

    Input input;
    bool cosine;
    GpuPrecision precision;
    Method method;
    int64_t slab;                       // columns whose values are packed at a time
    std::vector<Operand> rounded;       // for the screens and rounded sums, for float32 sums, or both
    std::vector<PackedRows> operands;   // one for each
    std::vector<float*> largest_error;  // one for each
    size_t bytes;
};

struct ReduceJob {
    Recipe recipe;
    Recipe weight;  // of an entry of a top recipe
    double temperature;
    int64_t k;
    const double* tau;
    Rules rules;
    // Outputs: the sum of a row over divisor, at most cap (0: none), as float or int64_t.
    double divisor;
    int64_t cap;
    bool integer;
    void* out;
    int* choice;  // what the sample of an earlier chunk said: see sample.h; null: this call asks anew
    // Of recipe pairs, in two calls, by [chunk of columns][row]: how many pairs there are, with lists null; then the
    // pairs themselves in no order, each chunk from its place in `lists` on, those of a row one behind the other.
    int64_t* counts;
    const int64_t* begins;
    TopEntry* lists;
};

void reduce(const Context& context, const Input& rows, const PackedColumns& columns, const ReduceJob& job);

struct TopJob {
    int64_t k;
    Rules rules;
    // Outputs; each may be null.
    double* values;
    int64_t* indices;
    double* kth_value;
    int64_t* kth_row;
    const double* rank_weights;
    double* sums;
};

void top(const Context& context, const Input& rows, const Input& pool, bool cosine, GpuPrecision precision,
         const TopJob& job);

// tau_j of similarities that are references. One that is not finite is reported, and its threshold is NaN.
void thresholds(const Context& context, const double* reference, int64_t count, const Margins& margins, double* tau);

// See _cuda.pyi.
void copy_rows(const Context& context, const Input& rows, void* out, DType dtype, bool finite, bool or_infinity);

void pair_similarity(const Context& context, const Input& a, const Input& b, bool cosine, double* out);

}  // namespace hnscore::gpu
