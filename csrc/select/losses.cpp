#include "select/losses.h"

#include "cpu/rows/rows.h"

namespace hnscore {
namespace {

constexpr double kNoDistance = 0x1p-40;

template <class Body>
void each_group(RowGroup& group, int64_t first, int64_t last, const Body& body) {
    int64_t rows[RowGroup::kRows];
    for (int64_t from = first; from < last; from += RowGroup::kRows) {
        const int64_t count = std::min(RowGroup::kRows, last - from);
        std::iota(rows, rows + count, from);
        group.read(rows, count);
        for (int64_t i = 0; i < count; ++i) body(i, from + i);
    }
}

}  // namespace

// body(group, first, last) on blocks of `step` of `count` items; no result may depend on who does which.
template <class Body>
void Losses::in_parallel(int64_t count, int64_t step, double nanoseconds, const Body& body) {
    const int64_t steps = (count + step - 1) / step;
    Team team(useful_threads(n_threads_, steps, 50 * nanoseconds), steps, poll_);
    std::atomic<int64_t> next{0};
    team.run([&](int worker) {
        std::unique_ptr<RowGroup>& group = groups_[static_cast<size_t>(worker)];
        if (!group) group = std::make_unique<RowGroup>(*p_.target, p_.rows);
        for (int64_t i; (i = next.fetch_add(1)) < steps;) {
            body(*group, i * step, std::min(count, (i + 1) * step));
            if (!team.advance(worker, 1)) return;
        }
    });
}

void Losses::measure(bool with_mean) {
    const int64_t step = std::max<int64_t>(2048, (n_ + 511) / 512 / RowGroup::kRows * RowGroup::kRows);
    const int64_t blocks = (n_ + step - 1) / step, pitch = padded_values(p_.rows.dim);
    Buffer<double> sums(with_mean ? blocks * pitch : 0);
    std::fill(sums.data(), sums.data() + (with_mean ? blocks * pitch : 0), 0.0);
    in_parallel(n_, step, costs.read * static_cast<double>(n_), [&](RowGroup& group, int64_t first, int64_t last) {
        double* sum = sums.data() + first / step * pitch;
        each_group(group, first, last, [&](int64_t i, int64_t row) {
            norms[row] = group.norm(i);
            if (!with_mean) return;
            const double* x = group.values(i);
            const double norm = norms[row];
            for (int64_t k = 0; k < pitch; ++k) sum[k] += x[k] / norm;
        });
    });
    if (!with_mean) return;
    mean_.assign(static_cast<size_t>(pitch), 0.0);
    for (int64_t b = 0; b < blocks; ++b)
        for (int64_t k = 0; k < pitch; ++k) mean_[static_cast<size_t>(k)] += sums[b * pitch + k];
    for (double& m : mean_) m /= static_cast<double>(n_);
}

int64_t Losses::nearest_mean() {
    constexpr int64_t kStep = 2048;
    std::vector<Candidate> best(static_cast<size_t>((n_ + kStep - 1) / kStep), kNobody);
    in_parallel(n_, kStep, costs.read * static_cast<double>(n_), [&](RowGroup& group, int64_t first, int64_t last) {
        Candidate& b = best[static_cast<size_t>(first / kStep)];
        each_group(group, first, last, [&](int64_t i, int64_t row) {
            const double s = p_.target->dot(group.values(i), mean_.data(), static_cast<int64_t>(mean_.size()));
            const Candidate c{s / norms[row], row, 0};
            if (before(c, b)) b = c;
        });
    });
    return std::min_element(best.begin(), best.end(), before)->row;
}

void Losses::evaluate(Entry* const* entries, int64_t count, const PackedRows& others, double each, double& cost) {
    int64_t products = 0;
    for (int64_t i = 0; i < count; ++i) products += others.size - entries[i]->stamp;
    const double nanoseconds = costs.read * static_cast<double>(count) + costs.product * static_cast<double>(products);
    counts.rows_read += count;
    counts.products += products;
    cost += nanoseconds;
    in_parallel(count, RowGroup::kRows, nanoseconds, [&](RowGroup& group, int64_t first, int64_t last) {
        update(group, entries + first, last - first, others, each);
    });
}

void Losses::update(RowGroup& group, Entry* const* entries, int64_t count, const PackedRows& others,
                    double each) const {
    int64_t rows[RowGroup::kRows];
    int64_t from = others.size;
    for (int64_t i = 0; i < count; ++i) {
        rows[i] = entries[i]->row;
        from = std::min<int64_t>(from, entries[i]->stamp);
    }
    group.read(rows, count);
    for (int64_t next; from < others.size; from = next) {
        next = std::min(others.size, from + RowGroup::kColumns);
        group.multiply(others, from, next);
        for (int64_t i = 0; i < count; ++i) {
            const int64_t missed = std::max<int64_t>(from, entries[i]->stamp);
            if (missed >= next) continue;
            double* const products = group.products(i) + (missed - from);
            p_.target->cosines(products, next - missed, norms[rows[i]], others.norms.data() + missed);
            lose(*entries[i], products, next - missed, each);
        }
    }
    for (int64_t i = 0; i < count; ++i) entries[i]->stamp = static_cast<int32_t>(others.size);
}

// What cosines with other rows cost the entry, one after another.
void Losses::lose(Entry& entry, double* s, int64_t count, double each) const {
    double value = entry.value;
    if (p_.farthest) {
        for (int64_t j = 0; j < count; ++j) {
            const double distance = 1 - s[j];
            value = std::min(value, distance < kNoDistance ? 0 : distance);
        }
    } else {
        p_.target->kernels_of_cosines(s, count, p_.temperature);
        for (int64_t j = 0; j < count; ++j) value += each * s[j];
    }
    entry.value = value;
}

}  // namespace hnscore
