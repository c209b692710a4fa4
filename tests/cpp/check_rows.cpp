// Rows and columns made ready for the tiles, pairs of rows, and copies, on made-up rows: cuda/rows/rows.h and
// cuda/rows/copy.h.
#include "cuda/rows/rows.h"

#include <algorithm>

#include "cuda/rows/copy.h"
#include "properties.h"

namespace {

using namespace properties;

// ---- pack_kernel ----------------------------------------------------------------------------------------------------

constexpr float kUntouched = -77;

struct Packed {
    Packing p{};
    std::vector<uint8_t> memory;
    std::vector<RowFacts> facts;
    float largest_error;
    uint64_t report;

    double value(int64_t i, int64_t k) const {
        const uint8_t* at = memory.data() + i * p.pitch + k * operand_bytes(p.operand);
        float single;
        uint16_t bits;
        std::memcpy(&single, at, p.operand == Operand::single ? 4 : 2);
        std::memcpy(&bits, at, 2);
        if (p.operand == Operand::half) single = emulator::half_value(bits);
        if (p.operand == Operand::bf16) single = emulator::bf16_value(bits);
        return static_cast<double>(single);
    }
};

// What the CPU says of a row (Format::facts), and what the tiles cannot take.
BadRow kind_of_row(const double* x, int64_t dim, const Packing& p, int& exponent) {
    long double sum = 0;
    bool finite = true, zero = true;
    for (int64_t k = 0; k < dim; ++k) {
        sum += static_cast<long double>(x[k]) * static_cast<long double>(x[k]);
        finite = finite && std::isfinite(x[k]);
        zero = zero && x[k] == 0;
    }
    exponent = 0;
    if (!finite) return kNonFinite;
    if (p.cosine && zero) return kZero;
    if (p.cosine && !(sum >= 0x1p-960L && sum < 0x1p1024L)) return kOutOfRange;
    if (!zero) exponent = static_cast<int>(std::floor(std::log2(sum) / 2));
    const bool plain = std::abs(exponent) <= kPlainExponent;
    return !plain && !p.decided_by_values && (p.packed == nullptr || !p.cosine) ? kOutOfRange : kGood;
}

void fill_row(Random& random, Table& t, int64_t i, bool any_size) {
    const int size = any_size ? random.of({0, 0, 3, -3, 25, -25, 29, 45, -45, 400, -400, 600, -600, -1060}) : 0;
    const bool zero = random.chance(0.1), spread = random.chance(0.3);
    for (int64_t k = 0; k < t.view.dim; ++k) {
        double x = random.sign() * random.uniform(0.3, 1) * (spread ? std::exp2(-random.uniform(0, 20)) : 1);
        if (t.view.dtype == DType::i16) x = std::floor(x * 3000);
        if (t.view.dtype == DType::f32 || t.view.dtype == DType::f64)
            x = std::ldexp(x, t.view.dtype == DType::f64 ? size : std::clamp(size, -130, 100));
        t.set(i, k, zero ? 0 : x);
    }
    if (random.chance(0.08) && t.view.dtype != DType::i16)
        t.set(i, random.integer(0, t.view.dim - 1), random.of({NAN, HUGE_VALF, -HUGE_VALF}));
}

void check_row(const Packed& packed, int64_t i, const double* x, int64_t dim) {
    const Packing& p = packed.p;
    const RowFacts& f = packed.facts[static_cast<size_t>(i)];
    int exponent;
    const BadRow bad = kind_of_row(x, dim, p, exponent);
    const std::string row = "row " + std::to_string(i) + ", dim " + std::to_string(dim) + ": ";
    const bool direct = p.packed == nullptr;
    for (int64_t k = 0; !direct && k < p.pitch / operand_bytes(p.operand); ++k)
        if (bad != kGood || k >= dim) expect(packed.value(i, k) == 0, row, "value ", k, " of the padding is not 0");
    if (bad != kGood) {
        expect(std::isnan(f.norm) && std::isnan(f.m) && std::isnan(f.m_low) && f.error == 0, row,
               "bad, and yet not NaN");
        return;
    }
    const double square = p.cosine ? exact_dot_of(x, x, dim) : 1, root = std::sqrt(square);
    if (p.decided_by_values) expect(f.root == root, row, "root ", f.root, ", not ", root);
    if (p.decided_by_values) expect(f.norm2 == square, row, "norm2 ", f.norm2, ", not ", square);
    const bool plain = std::abs(exponent) <= kPlainExponent;
    if (!plain && (direct || !p.cosine)) {
        expect(f.norm == HUGE_VALF && std::isnan(f.m), row, "its pairs must be decided one by one");
        return;
    }
    const double m = static_cast<double>(f.m) + static_cast<double>(f.m_low);
    if (!p.decided_by_values) expect(std::fabs(f.root - m) <= m * 0x1p-47, row, "root ", f.root, ", m ", m);
    // x' = x 2^-e; a norm close to a power of two may round to either side of it.
    const int lift = p.rounded == Operand::half ? 10 : 0;
    int e = direct ? 0 : exponent - lift;
    if (!p.cosine) {
        e = -std::ilogb(m);
        expect(m == std::ldexp(1, -e) && (direct ? e == 0 : true), row, "m is ", m, ", no power of two");
    }
    double norm2 = 0, lost2 = 0;
    bool zero = true;
    for (int64_t k = 0; k < dim; ++k) {
        const double scaled = std::ldexp(x[k], -e);
        const double lost = direct ? 0 : scaled - packed.value(i, k);
        norm2 += scaled * scaled;
        lost2 += lost * lost;
        zero = zero && x[k] == 0;
        if (direct) continue;
        const auto single = static_cast<float>(scaled);
        const double nearest = static_cast<double>(p.rounded == Operand::half   ? from_half(to_half(single))
                                                   : p.rounded == Operand::bf16 ? from_bf16(to_bf16(single))
                                                                                : single);
        expect(packed.value(i, k) == nearest, row, "value ", k, " is ", packed.value(i, k), ", not ", nearest);
    }
    const double norm = std::sqrt(norm2), lost = std::sqrt(lost2);
    if (!direct && !zero)
        expect(norm > std::ldexp(0.999999, lift) && norm < std::ldexp(2.000001, lift), row, "norm ", norm);
    if (p.cosine) expect(std::fabs(m - norm) <= norm * 0x1p-46, row, "m is ", m, ", the norm ", norm);
    const double claimed = static_cast<double>(f.norm), error = static_cast<double>(f.error) * norm;
    expect(claimed >= norm && claimed <= norm * (1 + 0x1p-19), row, "norm ", norm, ", claimed ", claimed);
    expect(error >= lost - 0x1p-140 && error <= lost * (1 + 0x1p-18) + 0x1p-140, row, "lost ", lost, ", claimed ",
           error);
}

void check_pack() {
    for_cases("pack", 700, [](Random& random) {
        Packed packed;
        Packing& p = packed.p;
        const DType type =
            random.of({DType::f16, DType::bf16, DType::f32, DType::f32, DType::f64, DType::f64, DType::i16});
        const int64_t dim = random.of<int64_t>({1, 5, 8, 33, 64, 100}), rows = random.integer(1, 60),
                      col = random.integer(1, 2);
        Table t(type, rows, dim, random.sign() > 0 ? dim * col : -dim * col, col, 0, random.chance(0.5));
        const bool any_size = random.chance(0.5);
        for (int64_t i = 0; i < rows; ++i) fill_row(random, t, i, any_size);
        std::vector<int64_t> pick;
        for (int64_t i = 0; i < rows; ++i) pick.push_back(random.integer(0, rows - 1));
        const bool picks = random.chance(0.4);
        p.first = random.integer(0, rows - 1);
        p.count = random.integer(1, rows - p.first);
        p.rows = {t.view, picks ? pick.data() : nullptr, rows};
        p.cosine = random.chance(0.5);
        p.decided_by_values = random.chance(0.6);
        p.rounded = random.of({Operand::half, Operand::bf16, Operand::single});
        p.operand = random.chance(0.3) ? Operand::single : p.rounded;
        const bool direct = p.operand == p.rounded && random.chance(0.2) &&
                            type == (p.rounded == Operand::half     ? DType::f16
                                     : p.rounded == Operand::single ? DType::f32
                                                                    : DType::bf16);
        p.pitch = (dim * operand_bytes(p.operand) + 127) / 128 * 128;
        packed.memory.assign(static_cast<size_t>((p.count + 1) * p.pitch), 0xAB);
        packed.facts.assign(static_cast<size_t>(p.count + 1), {0, 0, 0, 0, kUntouched, 0});
        p.packed = direct ? nullptr : packed.memory.data();
        p.facts = packed.facts.data();
        const float before = random.chance(0.2) ? 0.25f : 0;
        packed.largest_error = before;
        if (random.chance(0.7)) p.largest_error = &packed.largest_error;
        const uint64_t none = ~uint64_t{0}, earlier = random.chance(0.2) ? bad_row_report(3, kZero) : none;
        packed.report = earlier;
        p.report = &packed.report;
        const int64_t blocks = random.integer(1, 4);
        Fenced<int64_t> wide(blocks * kPackThreads / 32 * WideSum::kLimbs, true);
        p.wide = wide.data();
        launch({blocks, kPackThreads}, pack_kernel, p);

        uint64_t report = earlier;
        float largest = before;
        for (int64_t i = 0; i < p.count; ++i) {
            const int64_t row = picks ? pick[static_cast<size_t>(p.first + i)] : p.first + i;
            int exponent;
            if (const BadRow bad = kind_of_row(t.row(row), dim, p, exponent))
                report = std::min(report, static_cast<uint64_t>(row) * 8 + bad);
            largest = std::max(largest, packed.facts[static_cast<size_t>(i)].error);
            check_row(packed, i, t.row(row), dim);
        }
        expect(packed.report == report, "report ", packed.report, ", not ", report);
        if (p.largest_error) expect(packed.largest_error == largest, "largest error ", packed.largest_error);
        expect(packed.facts.back().norm == kUntouched, "facts beyond the last row");
        for (int64_t k = direct ? 0 : p.count * p.pitch; k < static_cast<int64_t>(packed.memory.size()); ++k)
            expect(packed.memory[static_cast<size_t>(k)] == 0xAB, "byte ", k, " beyond the last row was written");
    });
}

// ---- columns_kernel -------------------------------------------------------------------------------------------------

void check_columns() {
    for_cases("columns", 300, [](Random& random) {
        ColumnRules p{};
        p.count = random.integer(1, 300);
        p.padded = (p.count + 255) / 256 * 256;
        std::vector<RowFacts> rows;
        std::vector<double> reference, most, kth, tau(static_cast<size_t>(p.count), kUntouched);
        const int size = random.of({0, 0, 12, -12});
        const bool wild = random.chance(0.4);  // what must not be trusted
        for (int64_t j = 0; j < p.count; ++j) {
            const double m = std::ldexp(random.uniform(1, 2), size);
            const auto high = static_cast<float>(m);
            rows.push_back({1, 1, high, static_cast<float>(m - static_cast<double>(high)), high * 1.0001f, 0.001f});
            if (wild && random.chance(0.05)) rows.back().norm = rows.back().m = rows.back().m_low = NAN;
            if (wild && random.chance(0.05)) rows.back() = {1, 1, NAN, NAN, HUGE_VALF, 0};
            const auto number = [&](double likely) {
                if (!wild || random.chance(likely)) return random.uniform(-1, 1);
                return random.of({NAN, HUGE_VALF, -HUGE_VALF, 1e30f}) * 1.0;
            };
            reference.push_back(number(0.97));
            most.push_back(number(0.9));
            kth.push_back(random.chance(0.3) ? -HUGE_VAL : random.uniform(-1, 1));
        }
        p.rows = rows.data();
        const Margins margins{random.uniform(-0.5, 0.5), random.chance(0.5) ? random.uniform(0, 1) : 0};
        uint64_t report = ~uint64_t{0};
        if (random.chance(0.8)) {
            p.tau = tau.data();
            launch({(p.count + kPackThreads - 1) / kPackThreads, kPackThreads}, threshold_kernel,
                   References{reference.data(), p.count, margins, tau.data(), &report});
        }
        if (random.chance(0.3)) p.kth_value = kth.data();
        if (random.chance(0.5)) p.max_similarity = most.data();
        p.keep_m = random.chance(0.3);
        p.decided = random.chance(0.6);
        p.most = random.chance(0.5) ? HUGE_VAL : 0.9;
        Fenced<ColumnFacts> facts(p.padded, true);
        Fenced<float> limit(p.padded, true);
        int bad = 0;
        p.facts = facts.data();
        p.limit = p.max_similarity ? limit.data() : nullptr;
        p.bad = random.chance(0.8) ? &bad : nullptr;
        launch({(p.padded + kPackThreads - 1) / kPackThreads + random.integer(0, 1), kPackThreads}, columns_kernel, p);

        bool any_bad = false;
        uint64_t first = ~uint64_t{0};
        for (int64_t j = p.count; j < p.padded; ++j) {
            const ColumnFacts& f = facts[j];
            expect(f.tau == kNever && f.second == 0 && f.scale == 0 && f.norm == 0, "padding ", j, " may count");
            if (p.limit) expect(limit[j] == kNever, "padding ", j, " has a limit");
        }
        for (int64_t j = 0; j < p.count; ++j) {
            const auto at = static_cast<size_t>(j);
            const RowFacts& row = rows[at];
            const ColumnFacts& f = facts[j];
            const bool good = std::isfinite(reference[at]);
            const double own = !p.tau ? -HUGE_VAL : good ? threshold_of(reference[at], margins) : NAN;
            const double m = static_cast<double>(row.m) + static_cast<double>(row.m_low);
            if (p.tau) expect(same(p.tau[j], own), "tau of ", j, " is ", p.tau[j], ", not ", own);
            if (p.tau && !good) first = std::min(first, static_cast<uint64_t>(j) * 8 + kNonFinite);
            any_bad = any_bad || std::isnan(row.norm) || (p.tau && !good) || (p.max_similarity && std::isnan(most[at]));
            if (p.max_similarity && !std::isnan(m)) {
                const double right = most[at] < HUGE_VAL ? most[at] * m : static_cast<double>(kNever);
                const double came = static_cast<double>(limit[j]);
                expect(same(came, right) || std::fabs(came - right) <= std::fabs(right) * 0x1p-22, "limit of ", j, ": ",
                       came);
            } else if (p.max_similarity && most[at] < HUGE_VAL) {
                expect(std::isnan(limit[j]), "limit of column ", j, ", which float32 cannot serve");
            }
            double least = own;
            if (p.kth_value && !(kth[at] <= own)) least = kth[at];
            if (std::isnan(row.norm)) {
                expect(f.tau == kNever && f.norm == 0, "bad column ", j, " may count");
                continue;
            }
            expect(f.norm == row.norm, "norm of column ", j);
            if (std::isnan(least)) continue;  // the call is marked as bad
            const bool beyond = p.tau && (std::fabs(least * m) >= 0x1p60 || std::fabs(least) >= p.most);
            if (std::isinf(row.norm) || (p.decided && beyond)) {
                expect(std::isnan(f.tau), "column ", j, " must be decided pair by pair");
                continue;
            }
            if (std::fabs(least * m) > 0x1p100) {
                expect(f.tau == std::copysign(0x1p100f, static_cast<float>(least)), "column ", j, ", tau ", f.tau);
                continue;
            }
            const double both = static_cast<double>(f.tau) + (p.keep_m ? 0 : static_cast<double>(f.second));
            expect(std::fabs(both - least * m) <= std::fabs(least * m) * (p.keep_m ? 0x1p-24 : 0x1p-47),
                   "tau' of column ", j, " is ", both, ", not ", least * m);
            if (p.keep_m) expect(f.second == row.m, "m of column ", j);
            expect(std::fabs(static_cast<double>(f.scale) * m - 1) < 0x1p-22, "scale of column ", j, ": ", f.scale);
        }
        if (p.bad) expect(bad == (any_bad ? 1 : 0), "bad is ", bad);
        expect(report == first, "report ", report, ", not ", first);
    });
}

// ---- pair_kernel -------------------------------------------------------------------------------------

void check_pairs() {
    for_cases("pairs", 200, [](Random& random) {
        const int64_t n = random.integer(1, 70), dim = random.of<int64_t>({1, 6, 8, 40});
        const DType type = random.of({DType::f32, DType::f64, DType::i16});
        Table a(type, n, dim), b(type, n, dim);
        for (int64_t i = 0; i < n; ++i) fill_row(random, a, i, true), fill_row(random, b, i, true);
        std::vector<int64_t> pick;
        for (int64_t i = 0; i < n; ++i) pick.push_back(random.integer(0, n - 1));
        PairProblem p{};
        p.a = {a.view, random.chance(0.5) ? pick.data() : nullptr, n};
        p.b = {b.view, nullptr, n};
        p.cosine = random.chance(0.5);
        Fenced<double> out(n, true);
        uint64_t report[2] = {~uint64_t{0}, ~uint64_t{0}}, right[2] = {~uint64_t{0}, ~uint64_t{0}};
        p.out = out.data();
        p.report_a = report;
        p.report_b = report + 1;
        const int64_t blocks = random.integer(1, 2);
        std::vector<int64_t> wide(static_cast<size_t>(blocks * kPackThreads / 32 * WideSum::kLimbs));
        p.wide = wide.data();
        launch({blocks, kPackThreads}, pair_kernel, p);
        Packing as_values{};
        as_values.cosine = p.cosine;
        as_values.decided_by_values = true;
        for (int64_t j = 0; j < n; ++j) {
            const int64_t i = p.a.pick ? pick[static_cast<size_t>(j)] : j;
            const double *x = a.row(i), *t = b.row(j);
            int unused;
            const BadRow bad[2] = {kind_of_row(x, dim, as_values, unused), kind_of_row(t, dim, as_values, unused)};
            if (bad[0]) right[0] = std::min(right[0], static_cast<uint64_t>(i) * 8 + bad[0]);
            if (bad[1]) right[1] = std::min(right[1], static_cast<uint64_t>(j) * 8 + bad[1]);
            double s = bad[0] || bad[1] ? NAN : exact_dot_of(x, t, dim);
            if (p.cosine && s == s) s = cosine_of(s, exact_dot_of(x, x, dim), exact_dot_of(t, t, dim));
            expect(same(out[j], s), "pair ", j, " is ", out[j], ", not ", s);
        }
        expect(report[0] == right[0] && report[1] == right[1], "reports ", report[0], ", ", report[1]);
    });
}

// ---- copy_kernel ----------------------------------------------------------------------------------------------------

void check_copies() {
    for_cases("copies", 200, [](Random& random) {
        const DType from =
            random.of({DType::f16, DType::bf16, DType::f32, DType::f64, DType::u8, DType::i16, DType::u64, DType::i64});
        const DType to = random.chance(0.3) ? from : random.of({DType::i64, DType::f32, DType::f64});
        const int64_t rows = random.integer(1, 20), dim = random.integer(1, 30), bytes = element_bytes(from);
        Table t(from, rows, dim, random.sign() > 0 ? 2 * dim : -2 * dim, random.integer(1, 2), 0, random.chance(0.5));
        std::vector<int64_t> pick;
        for (int64_t i = 0; i < rows; ++i) {
            pick.push_back(random.integer(0, rows - 1));
            for (int64_t k = 0; k < dim; ++k)
                t.set(i, k,
                      is_unsigned(from) ? static_cast<double>(random.integer(0, 255)) : random.uniform(-300, 300));
            if (to != DType::i64 && integer_bits(from) == 0 && random.chance(0.1))
                t.set(i, random.integer(0, dim - 1), random.of({NAN, HUGE_VALF, -HUGE_VALF}));
        }
        if (bytes == 8 && integer_bits(from) > 0)  // more bits than float64 has
            for (int64_t b = 0; b < t.memory.size(); ++b) t.memory[b] = static_cast<char>(random.bits());
        Copying p{};
        const bool picks = random.chance(0.5);
        p.rows = {t.view, picks ? pick.data() : nullptr, rows};
        p.dtype = to;
        p.finite = random.chance(0.6);
        p.or_infinity = random.chance(0.5);
        uint64_t report = ~uint64_t{0}, right = report;
        p.report = &report;
        Fenced<char> out(rows * dim * element_bytes(to), true);
        p.out = out.data();
        launch({(rows * dim + kCopyThreads - 1) / kCopyThreads, kCopyThreads}, copy_kernel, p);
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t k = 0; k < dim; ++k) {
                const int64_t row = picks ? pick[static_cast<size_t>(i)] : i;
                const char* value = t.view.data + row * t.view.row_stride + k * t.view.col_stride;
                const double x = t.row(row)[k];
                if (p.finite && !std::isfinite(x) && !(p.or_infinity && x == HUGE_VAL))
                    right = std::min(right, static_cast<uint64_t>(row) * 8 + kNonFinite);
                char wanted[8];
                int64_t whole;
                std::memcpy(&whole, value, std::min<size_t>(static_cast<size_t>(bytes), 8));
                const bool wide = bytes == 8 && integer_bits(from) > 0;
                if (from == to || (wide && to == DType::i64))
                    std::memcpy(wanted, value, static_cast<size_t>(bytes));
                else
                    put(to, wanted,
                        !wide                ? x
                        : from == DType::i64 ? static_cast<double>(whole)
                                             : static_cast<double>(static_cast<uint64_t>(whole)));
                const int64_t size = element_bytes(to);
                if (x != x && from != to) continue;  // no particular NaN
                expect(std::memcmp(wanted, out.data() + (i * dim + k) * size, static_cast<size_t>(size)) == 0, "row ",
                       i, ", value ", k, ", type ", int(from), " as ", int(to));
            }
        expect(report == right, "report ", report, ", not ", right);
    });
}

}  // namespace

int main() {
    catch_fences();
    check_pack();
    check_columns();
    check_pairs();
    check_copies();
    return report();
}
