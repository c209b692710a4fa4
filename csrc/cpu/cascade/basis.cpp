#include "cpu/cascade/basis.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace hnscore {
namespace {

constexpr int64_t kFloat = sizeof(float);

// Rows [first, first + present) as a tile, [chunk][row][16].
void pack_tile(const Kernels& t, const Matrix& a, int64_t first, int64_t present, float* out) {
    for (int64_t c = 0; c < a.columns; c += kChunk) {
        const int64_t depth = std::min<int64_t>(kChunk, a.columns - c);
        const float* from = a.data + first * a.row + c * a.column;
        float* to = out + c * t.rows;
        if (a.column == 1) {
            for (int64_t r = 0; r < present; ++r)
                std::memcpy(to + r * kChunk, from + r * a.row, static_cast<size_t>(depth * kFloat));
        } else {
            for (int64_t k = 0; k < depth; ++k)
                for (int64_t r = 0; r < present; ++r) to[r * kChunk + k] = from[r * a.row + k * a.column];
        }
    }
}

// Columns [first, first + present) as a panel, [depth][column].
void pack_panel(const Kernels& t, const Matrix& b, int64_t first, int64_t present, float* out) {
    if (b.column == 1) {
        for (int64_t k = 0; k < b.rows; ++k)
            std::memcpy(out + k * t.cols, b.data + k * b.row + first, static_cast<size_t>(present * kFloat));
        return;
    }
    for (int64_t c = 0; c < present; ++c)
        for (int64_t k = 0; k < b.rows; ++k) out[k * t.cols + c] = b.data[k * b.row + (first + c) * b.column];
}

struct Panels {
    int64_t count, bytes;
    Buffer<float> data;
};

Panels pack_panels(const Kernels& t, const Matrix& b, int n_threads) {
    Panels p{(b.columns + t.cols - 1) / t.cols, padded_depth(b.rows) * t.cols * kFloat, {}};
    p.data = Buffer<float>(p.count * p.bytes / kFloat);
    std::atomic<int64_t> next{0};
    Team team(useful_threads(n_threads, p.count, 10.0 * static_cast<double>(b.rows * b.columns)), 0, {});
    team.run([&](int) {
        for (int64_t i; (i = next.fetch_add(1)) < p.count;) {
            float* out = p.data.data() + i * p.bytes / kFloat;
            const int64_t present = std::min<int64_t>(t.cols, b.columns - i * t.cols);
            if (present < t.cols || b.rows % 8) std::memset(out, 0, static_cast<size_t>(p.bytes));
            pack_panel(t, b, i * t.cols, present, out);
        }
    });
    return p;
}

// W with W R orthonormal, from the Gram matrix R R' (n x n), by Cholesky: W = L^-1. Rows that depend on those before
// them, as far as float32 can tell, become zeros.
std::vector<float> orthonormalizer(const std::vector<float>& gram, int64_t n) {
    const auto size = static_cast<size_t>(n);
    std::vector<double> a(gram.begin(), gram.end()), upper(size * size), w(size * size);
    const auto row = [size](std::vector<double>& x, size_t i) { return x.data() + i * size; };
    for (size_t k = 0; k < size; ++k) {
        const double pivot = row(a, k)[k], given = static_cast<double>(gram[k * size + k]);
        if (!(pivot > 1e-5 * given)) continue;
        double* u = row(upper, k);
        for (size_t j = k; j < size; ++j) u[j] = row(a, k)[j] / std::sqrt(pivot);
        for (size_t i = k + 1; i < size; ++i) {
            double* to = row(a, i);
            const double f = u[i];
            for (size_t j = i; j < size; ++j) to[j] -= f * u[j];
        }
    }
    for (size_t i = 0; i < size; ++i) {
        const double diagonal = row(upper, i)[i];
        if (!(diagonal > 0)) continue;
        double* to = row(w, i);
        to[i] = 1;
        for (size_t k = 0; k < i; ++k) {
            const double f = row(upper, k)[i];
            const double* from = row(w, k);
            for (size_t c = 0; c <= k; ++c) to[c] -= f * from[c];
        }
        for (size_t c = 0; c <= i; ++c) to[c] /= diagonal;
    }
    return {w.begin(), w.end()};
}

// One pass leaves what float32 loses on rows that depend on each other nearly; the next mends it.
void orthonormalize(const Target& target, Directions& d, int n_threads) {
    for (int pass = 0; pass < 3; ++pass) {
        const Matrix rows = row_major(d.vectors, d.count, d.dim);
        const std::vector<float> gram = multiply(target, rows, transposed(rows), n_threads);
        float off = 0;
        for (int64_t i = 0; i < d.count; ++i)
            for (int64_t j = 0; j < d.count; ++j) {
                const float g = gram[static_cast<size_t>(i * d.count + j)];
                off = std::max(off, i == j && g != 0 ? std::abs(g - 1) : std::abs(g));
            }
        if (off < 1e-4f) return;
        const std::vector<float> w = orthonormalizer(gram, d.count);
        d.vectors = multiply(target, row_major(w, d.count, d.count), rows, n_threads);
    }
}

double sum_of_squares(const float* x, int64_t n) {
    double sum = 0;
    for (int64_t first = 0; first < n; first += 512) {
        float lanes[8] = {};
        int64_t i = first;
        for (; i + 8 <= std::min(n, first + 512); i += 8)
            for (int64_t l = 0; l < 8; ++l) lanes[l] += x[i + l] * x[i + l];
        for (; i < std::min(n, first + 512); ++i) lanes[0] += x[i] * x[i];
        for (const float l : lanes) sum += static_cast<double>(l);
    }
    return sum;
}

// The mean squared similarity of some of the rows: the larger, the fewer directions hold them.
double concentration(const Target& target, const Matrix& a) {
    const int64_t n = std::min<int64_t>(a.rows, 64);
    const Matrix some{a.data, n, a.columns, a.rows / n * a.row, a.column};
    double sum = 0;
    for (const float s : multiply(target, some, transposed(some), 1)) sum += static_cast<double>(s * s);
    return sum / static_cast<double>(n * n);
}

}  // namespace

std::vector<float> multiply(const Target& target, const Matrix& a, const Matrix& b, int n_threads) {
    const Kernels& t = target.fp32;
    const Panels panels = pack_panels(t, b, n_threads);
    const int64_t depth = padded_depth(a.columns), tiles = (a.rows + t.rows - 1) / t.rows,
                  pitch = panels.count * t.cols;
    std::vector<float> out(static_cast<size_t>(a.rows * b.columns));
    std::atomic<int64_t> next{0};
    const double operations =
        static_cast<double>(a.rows) * static_cast<double>(a.columns) * static_cast<double>(b.columns);
    Team team(useful_threads(n_threads, tiles, operations), 0, {});
    team.run([&](int) {
        Buffer<float> scratch(3 * t.rows * t.cols), result(t.rows * pitch), tile(t.rows * (depth + kChunk));
        std::memset(tile.data(), 0, static_cast<size_t>(tile.bytes()));
        for (int64_t i; (i = next.fetch_add(1)) < tiles;) {
            const int64_t first = i * t.rows, present = std::min<int64_t>(t.rows, a.rows - first);
            pack_tile(t, a, first, present, tile.data());
            target.product(reinterpret_cast<const char*>(tile.data()),
                           reinterpret_cast<const char*>(panels.data.data()), panels.bytes,
                           static_cast<int>(panels.count), depth, chunks_per_group(depth) * kChunk, scratch.data(),
                           result.data(), pitch);
            for (int64_t r = 0; r < present; ++r)
                std::memcpy(out.data() + (first + r) * b.columns, result.data() + r * pitch,
                            static_cast<size_t>(b.columns * kFloat));
        }
    });
    return out;
}

Directions learn_directions(const Target& target, const float* a, int64_t m, const float* b, int64_t n, int64_t dim,
                            int64_t count, int steps, int n_threads) {
    const Matrix sides[2] = {{a, m, dim, dim, 1}, {b, n, dim, dim, 1}};
    // Subspace iteration, started from sums of the rows, with signs, of the side that fewer directions hold.
    const bool start = concentration(target, sides[1]) >= concentration(target, sides[0]);
    Directions d{count, dim, std::vector<float>(static_cast<size_t>(count * dim))};
    uint32_t random = 1;
    for (int64_t i = 0; i < sides[start].rows; ++i) {
        random = random * 1664525u + 1013904223u;
        const float sign = random >> 31 ? 1.0f : -1.0f;
        float* to = d.vectors.data() + i % count * dim;
        for (int64_t k = 0; k < dim; ++k) to[k] += sign * sides[start].data[i * dim + k];
    }
    orthonormalize(target, d, n_threads);
    for (int step = 0; step < steps; ++step) {
        std::vector<float> next(d.vectors.size());
        for (const Matrix& side : sides) {
            std::vector<float> on = multiply(target, side, transposed(row_major(d.vectors, count, dim)), n_threads);
            const double held = sum_of_squares(on.data(), side.rows * count);
            const double left = std::max(1 - held / sum_of_squares(side.data, side.rows * dim), 1e-3);
            const std::vector<float> more =
                multiply(target, transposed(row_major(on, side.rows, count)), side, n_threads);
            const auto weight = static_cast<float>(1 / (left * static_cast<double>(side.rows)));
            for (size_t i = 0; i < next.size(); ++i) next[i] += weight * more[i];
        }
        d.vectors = std::move(next);
        orthonormalize(target, d, n_threads);
    }
    return d;
}

std::shared_ptr<const Basis> make_basis(const Target& target, const Directions& directions, int64_t count,
                                        int n_threads) {
    const int64_t dim = directions.dim;
    std::vector<float> v(directions.vectors.begin(), directions.vectors.begin() + count * dim);
    const Matrix rows = row_major(v, count, dim);
    // |V|^2 = |VV'| is at most its largest sum of magnitudes in a row; each product is off by `chain_units`.
    const std::vector<float> products = multiply(target, rows, transposed(rows), n_threads);
    double norm2 = 0;
    for (int64_t i = 0; i < count; ++i) {
        double sum = 0;
        for (int64_t j = 0; j < count; ++j)
            sum += std::abs(static_cast<double>(products[static_cast<size_t>(i * count + j)]));
        if (!std::isfinite(sum)) return nullptr;
        norm2 = std::max(norm2, sum);
    }
    norm2 += 1.1 * chain_units(dim) * kUnit * static_cast<double>(count);
    if (!(norm2 < 1.1)) return nullptr;
    // Every 32 directions, a constant stride apart, are turned by a Hadamard matrix: products stay what they are. Five
    // additions and a product are rounded, which moves V by at most 6 units of its Frobenius norm.
    constexpr int64_t kMix = 32;
    const int64_t stride = count / kMix;
    const auto at = [&](int64_t k, int64_t s) { return v.data() + (k * stride + s) * dim; };
    for (int64_t s = 0; s < stride; ++s)
        for (int64_t half = 1; half < kMix; half *= 2)
            for (int64_t k = 0; k < kMix; k += 2 * half)
                for (int64_t e = k; e < k + half; ++e) {
                    float *x = at(e, s), *y = at(e + half, s);
                    for (int64_t i = 0; i < dim; ++i) {
                        const float sum = x[i] + y[i];
                        y[i] = x[i] - y[i];
                        x[i] = sum;
                    }
                }
    const double norm = std::sqrt(norm2) + 7 * kUnit * std::sqrt(static_cast<double>(count));
    const auto scale = static_cast<float>((1 - 0x1p-20) / (norm * std::sqrt(static_cast<double>(kMix))));
    for (float& x : v) x *= scale;
    Panels panels = pack_panels(target.fp32, transposed(rows), n_threads);
    auto basis = std::make_shared<Basis>();
    basis->dim = dim;
    basis->count = count;
    basis->packed = std::move(panels.data);
    basis->panels = panels.count;
    basis->panel_bytes = panels.bytes;
    return basis;
}

}  // namespace hnscore
