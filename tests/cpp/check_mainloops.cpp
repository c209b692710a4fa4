// The tile loops on tensor cores, under the emulator: each product of each pair reaches the epilogue once, for awkward
// sizes and random schedules; and each place where they synchronise matters: without it some schedule goes wrong.
//
//   check_mainloops products     check_mainloops mutants
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "cuda/device/runtime.h"
#include "cuda/tiles/mainloop_mma.h"
#include "cuda/tiles/mainloop_wgmma.h"

using namespace hnscore;
using namespace hnscore::gpu;

constexpr unsigned kMutantSeeds = 8;
constexpr int64_t kFewColumns = 512;  // small, so that a few columns are several chunks

// ---- An epilogue that keeps all products ----------------------------------------------------------------------------

struct Kept {
    int64_t rows = 0, cols = 0;
    std::vector<float> product;
    std::vector<int> times;
    std::map<int64_t, std::vector<int64_t>> flushed;  // chunks, by the first row of a warp
    std::map<int, std::vector<int>> tiles;            // by block, of each warp
    bool second_was_first = false;                    // a warp of the second warpgroup, with a tile
    std::string wrong;

    void say(const std::string& what) {
        if (wrong.empty()) wrong = what;
    }
};
static Kept kept;

template <int RM, int NB>
class Keep {
  public:
    struct Scratch {
        int64_t mark[24 * RM];
    };
    static_assert(sizeof(Scratch) == 192 * RM);

    Keep(const Problem& p, int64_t part, int64_t first_row, Scratch& scratch)
        : p_(p),
          first_col_(part * p.chunks_per_item * kFewColumns),
          next_(first_col_),
          first_row_(first_row),
          s_(scratch) {
        sync_warp();
        for (int i = thread() % 32; i < 24 * RM; i += 32) s_.mark[i] = first_row;
        sync_warp();
    }
    void tile(const float (&acc)[RM][NB][4], int64_t first_column) {
        if (thread() % 32 == 0) count_tile();
        if (first_column != next_) kept.say("tile " + std::to_string(first_column) + " out of order");
        next_ = first_column + 8 * NB;
        const int l = thread() % 32;
        for (int r = 0; r < RM; ++r)
            for (int n = 0; n < NB; ++n)
                for (int e = 0; e < 4; ++e) {
                    const int64_t row = first_row_ + 16 * r + l / 4 + 8 * (e / 2);
                    const int64_t col = first_column + 8 * n + 2 * (l % 4) + e % 2;
                    if (row >= p_.n_rows || col >= p_.n_cols) {
                        if (acc[r][n][e] != 0) kept.say("a product beyond the last row or column");
                        continue;
                    }
                    kept.product[static_cast<size_t>(row * p_.n_cols + col)] = acc[r][n][e];
                    ++kept.times[static_cast<size_t>(row * p_.n_cols + col)];
                }
        shfl_xor(l, 1);  // as epilogues do: all lanes are here together
    }
    void flush(int64_t chunk) {
        const int64_t end = (chunk + 1) * kFewColumns;
        if (next_ < end && next_ < p_.n_cols) kept.say("flush of a chunk before its end");
        if (next_ > end) kept.say("flush of a chunk after its end");
        for (const int64_t mark : s_.mark)
            if (mark != first_row_) kept.say("the scratch memory of a warp was overwritten");
        if (thread() % 32 == 0) kept.flushed[first_row_].push_back(chunk);
    }

  private:
    // The first warpgroup is ahead where its warps have all had the tiles before the one that the second has now.
    static void count_tile() {
        std::vector<int>& tiles = kept.tiles[block()];
        tiles.resize(kMostWarps);
        const int warp = thread() / 32;
        for (int first = 4; first < 8 && warp >= 8; ++first) kept.second_was_first |= tiles[first] < tiles[warp];
        ++tiles[warp];
    }

    const Problem& p_;
    int64_t first_col_, next_, first_row_;
    Scratch& s_;
};

// ---- One launch -----------------------------------------------------------------------------------------------------

struct Case {
    int64_t rows, cols, depth;
    int64_t chunks_per_item = 1;
    int clusters = 2;    // or blocks, where there are no clusters
    bool tight = false;  // the least shared memory: as few stages as can be
    bool bf16 = false;
    Tuning tuning = {};

    std::string name() const {
        return std::to_string(rows) + " x " + std::to_string(cols) + " x " + std::to_string(depth) + ", " +
               std::to_string(chunks_per_item) + " chunks an item, " + std::to_string(clusters) + " clusters, " +
               (tight ? "few stages, " : "") + (bf16 ? "bf16" : "half") + ", tuning " +
               std::to_string(tuning.resident_steps) + " " + std::to_string(tuning.most_stages) + " " +
               std::to_string(static_cast<int>(tuning.apart));
    }
    int shared_bytes(const Shape& shape) const {
        constexpr int most = 232448;
        for (int limit = 0; tight && limit < most; limit += 1024)
            if (const int bytes = shape.shared_bytes(depth, limit, tuning)) return bytes;
        return shape.shared_bytes(depth, most, tuning);
    }
};

// Rows of small integers, so that all sums are exact; beyond the depth and the last row what must not be read as a
// value: NaN.
struct Matrix {
    int64_t rows, depth, pitch;
    std::vector<uint16_t> bits;
    std::vector<int> value;

    Matrix(int64_t n, int64_t d, bool bf16, unsigned seed)
        : rows(n), depth(d), pitch((d + 7) / 8 * 16 + 16), bits(static_cast<size_t>((n + 1) * pitch / 2), 0x7fff) {
        std::mt19937 random(seed);
        for (int64_t i = 0; i < n; ++i)
            for (int64_t k = 0; k < d; ++k) {
                value.push_back(static_cast<int>(random() % 9) - 4);
                const auto x = static_cast<float>(value.back());
                bits[static_cast<size_t>(i * pitch / 2 + k)] = bf16 ? to_bf16(x) : to_half(x);
            }
    }
    float dot(int64_t i, const Matrix& other, int64_t j) const {
        int sum = 0;
        for (int64_t k = 0; k < depth; ++k)
            sum += value[static_cast<size_t>(i * depth + k)] * other.value[static_cast<size_t>(j * depth + k)];
        return static_cast<float>(sum);
    }
};

struct Data {
    Case c;
    Matrix rows, cols;
    std::vector<float> expected;

    explicit Data(const Case& x) : c(x), rows(x.rows, x.depth, x.bf16, 1), cols(x.cols, x.depth, x.bf16, 2) {
        for (int64_t i = 0; i < c.rows; ++i)
            for (int64_t j = 0; j < c.cols; ++j) expected.push_back(rows.dot(i, cols, j));
    }
};

const Shape& shape_of(bool wgmma) { return wgmma ? kWgmmaShape : kMmaShape; }

template <class T>
void start(bool wgmma, const Data& data, const Problem& p) {
    const Case& c = data.c;
    const Shape& shape = shape_of(wgmma);
    const DType type = c.bf16 ? DType::bf16 : DType::f16;
    if (wgmma) {
        emulator::set_capability(9, 0, 2 * c.clusters);
        const TensorMap rows = tensor_map(p.row_values, p.n_rows, p.row_pitch, p.depth, kWgmmaRows, type);
        const TensorMap columns = tensor_map(p.col_values, p.n_cols, p.col_pitch, p.depth, kWgmmaCols / 2, type);
        launch(Launch{2 * c.clusters, shape.threads, c.shared_bytes(shape), shape.cluster, nullptr},
               wgmma_kernel<T, Keep, kFewColumns>, rows, columns, p);
    } else {
        emulator::set_capability(8, 0, c.clusters);
        launch(Launch{c.clusters, shape.threads, c.shared_bytes(shape), shape.cluster, nullptr},
               mma_kernel<T, Keep, kFewColumns>, p);
    }
}

// "" or what went wrong.
std::string run(bool wgmma, const Data& data, unsigned seed, const int* many = nullptr) {
    const Case& c = data.c;
    Problem p{};
    p.row_values = data.rows.bits.data();
    p.col_values = data.cols.bits.data();
    p.row_pitch = data.rows.pitch;
    p.col_pitch = data.cols.pitch;
    p.n_rows = c.rows;
    p.n_cols = c.cols;
    p.depth = c.depth;
    const int64_t block_rows = shape_of(wgmma).rows;
    p.row_blocks = (c.rows + block_rows - 1) / block_rows;
    p.chunks = (c.cols + kFewColumns - 1) / kFewColumns;
    p.chunks_per_item = c.chunks_per_item;
    p.many = many;
    p.tuning = c.tuning;
    kept = {};
    kept.rows = c.rows;
    kept.cols = c.cols;
    kept.product.assign(data.expected.size(), 0);
    kept.times.assign(data.expected.size(), 0);
    emulator::seed(seed);
    try {
        c.bf16 ? start<Bf16>(wgmma, data, p) : start<Half>(wgmma, data, p);
    } catch (const std::exception& error) {
        return error.what();
    }
    if (!kept.wrong.empty()) return kept.wrong;
    if (wgmma && c.tuning.apart == Apart::ordered && kept.second_was_first) return "the second warpgroup was first";
    const int expected_times = many ? 0 : 1;
    for (size_t i = 0; i < kept.times.size(); ++i) {
        const std::string where = "pair " + std::to_string(i / static_cast<size_t>(c.cols)) + ", " +
                                  std::to_string(i % static_cast<size_t>(c.cols));
        if (kept.times[i] != expected_times) return where + " was seen " + std::to_string(kept.times[i]) + " times";
        if (!many && kept.product[i] != data.expected[i])
            return where + " is " + std::to_string(kept.product[i]) + ", not " + std::to_string(data.expected[i]);
    }
    if (many) return "";
    for (int64_t row = 0; row < c.rows; row += wgmma ? 16 : 32) {
        std::vector<int64_t>& chunks = kept.flushed[row];
        std::sort(chunks.begin(), chunks.end());
        bool ok = static_cast<int64_t>(chunks.size()) == p.chunks;
        for (size_t i = 0; ok && i < chunks.size(); ++i) ok = chunks[i] == static_cast<int64_t>(i);
        if (!ok) return "the chunks of row " + std::to_string(row) + " were not flushed once each";
    }
    return "";
}

// ---- What is checked ------------------------------------------------------------------------------------------------

// With depths of 64 and less the ring holds several tiles; depth 512 is the last that stays in shared memory.
const std::vector<Case> kCases = {
    {.rows = 1, .cols = 1, .depth = 8},
    {.rows = 257, .cols = 300, .depth = 8, .clusters = 1},
    {.rows = 257, .cols = 1025, .depth = 9, .chunks_per_item = 2, .clusters = 1},
    {.rows = 130, .cols = 1300, .depth = 72, .tight = true, .bf16 = true},
    {.rows = 300, .cols = 1, .depth = 200, .clusters = 1},
    {.rows = 40, .cols = 700, .depth = 64, .chunks_per_item = 3, .clusters = 5},
    {.rows = 20, .cols = 300, .depth = 512, .bf16 = true},
    {.rows = 257, .cols = 520, .depth = 520, .clusters = 1, .bf16 = true},
    {.rows = 3, .cols = 600, .depth = 577, .clusters = 1, .tight = true},
    // Second items beyond a depth of 512, and where rows stay in a ring shorter than, as long as and longer than a
    // tile.
    {.rows = 300, .cols = 300, .depth = 1024, .clusters = 1},
    {.rows = 520, .cols = 260, .depth = 768, .chunks_per_item = 2, .clusters = 1, .bf16 = true},
    {.rows = 300, .cols = 300, .depth = 320, .clusters = 1},
    {.rows = 300, .cols = 300, .depth = 256, .clusters = 1},
    {.rows = 300, .cols = 300, .depth = 512, .clusters = 1},
    // What a measurement may choose.
    {.rows = 300, .cols = 600, .depth = 200, .clusters = 1, .tuning = {.resident_steps = 0}},
    {.rows = 300, .cols = 600, .depth = 512, .clusters = 1, .tuning = {.resident_steps = 4, .most_stages = 3}},
    {.rows = 300, .cols = 1100, .depth = 64, .clusters = 1, .tuning = {.most_stages = 2, .apart = Apart::lead}},
    {.rows = 300, .cols = 1100, .depth = 8, .clusters = 1, .tuning = {.apart = Apart::ordered}},
    {.rows = 300, .cols = 1100, .depth = 200, .clusters = 1, .tuning = {.apart = Apart::ordered}},
    {.rows = 300, .cols = 600, .depth = 512, .clusters = 1, .tuning = {.apart = Apart::ordered}},
    {.rows = 300, .cols = 600, .depth = 600, .clusters = 1, .tight = true, .tuning = {.apart = Apart::ordered}},
};

int check_products() {
    int failures = 0;
    for (const Case& c : kCases) {
        const Data data(c);
        for (const bool wgmma : {true, false}) {
            for (unsigned seed = 0; seed < 3; ++seed) {
                const std::string wrong = run(wgmma, data, seed);
                if (wrong.empty()) continue;
                std::printf("%s, %s, seed %u: %s\n", wgmma ? "wgmma" : "mma", c.name().c_str(), seed, wrong.c_str());
                ++failures;
            }
        }
    }
    // Ordered warpgroups are, in any schedule; the others are not in each.
    bool ever = false;
    for (const Case& c : kCases) {
        if (c.cols < 1100) continue;
        Data data(c);
        for (const Apart apart : {Apart::none, Apart::ordered}) {
            data.c.tuning.apart = apart;
            for (unsigned seed = 0; seed < 6; ++seed) {
                const std::string wrong = run(true, data, seed);
                if (apart == Apart::none) ever |= kept.second_was_first;
                if (wrong.empty()) continue;
                std::printf("order: %s, seed %u: %s\n", data.c.name().c_str(), seed, wrong.c_str());
                ++failures;
            }
        }
    }
    if (!ever) std::printf("the order was never another, so nothing was checked\n"), ++failures;
    // A kernel that is not the chosen one does nothing.
    const int many = 1;
    for (const bool wgmma : {true, false}) {
        const std::string wrong = run(wgmma, Data(kCases[1]), 0, &many);
        if (!wrong.empty()) std::printf("not chosen: %s\n", wrong.c_str()), ++failures;
    }
    return failures;
}

// Some blocks do several items; rings shorter and longer than a tile; rows that stay and that do not.
const std::vector<Case> kMutantCases = {
    {.rows = 300, .cols = 600, .depth = 8, .clusters = 1},
    {.rows = 260, .cols = 600, .depth = 72, .clusters = 1, .tight = true},
    {.rows = 130, .cols = 520, .depth = 520, .chunks_per_item = 2},
    {.rows = 260, .cols = 1100, .depth = 8, .clusters = 1, .tuning = {.apart = Apart::ordered}},
};

int check_mutants() {
    int failures = 0;
    std::vector<Data> data(kMutantCases.begin(), kMutantCases.end());
    for (const bool wgmma : {true, false}) {
        emulator::forget_sites();
        for (const Data& d : data) run(wgmma, d, 0);
        const std::string file = wgmma ? "mainloop_wgmma.h" : "mainloop_mma.h";
        int found = 0;
        std::string last_sync_warp;
        for (const std::string& site : emulator::sites())
            if (site.rfind(file, 0) == 0 && site.find("sync_warp") != std::string::npos) last_sync_warp = site;
        for (const std::string& site : emulator::sites()) {
            if (site.rfind(file, 0) != 0) continue;
            // At the end of a kernel, for the device alone: a warp arrives at the cluster's barrier by one instruction,
            // here by 32 threads.
            if (site == last_sync_warp) continue;
            ++found;
            emulator::disable(site);
            std::string noticed;
            unsigned seed = 0;
            for (; seed < kMutantSeeds && noticed.empty(); ++seed)
                for (size_t i = 0; i < data.size() && noticed.empty(); ++i) noticed = run(wgmma, data[i], seed);
            std::printf("%s: %s\n", site.c_str(), noticed.empty() ? "NOT NOTICED" : noticed.substr(0, 160).c_str());
            failures += noticed.empty();
        }
        emulator::disable("");
        if (found < (wgmma ? 20 : 4)) std::printf("only %d sites in %s\n", found, file.c_str()), ++failures;
    }
    return failures;
}

int main(int argc, char** argv) {
    const std::string_view what = argc > 1 ? argv[1] : "";
    if (what == "products") return check_products() > 0;
    if (what == "mutants") return check_mutants() > 0;
    std::printf("check_mainloops products | mutants\n");
    return 2;
}
