#include "cuda/backend.h"

#include <algorithm>

#include "cuda/epilogue/finish.h"
#include "cuda/epilogue/sample.h"
#include "cuda/rows/copy.h"
#include "cuda/sides.h"

namespace hnscore::gpu {

std::string arch_of(const Device& d) {
    std::string found;  // "compute_" comes before "sm_", and sm_90 before sm_90a
    for (const std::string& arch : archs())
        if (runs(d, arch)) found = std::max(found, arch);
    return found;
}

PackedColumns::PackedColumns(const Context& context, const Input& in, bool is_cosine, GpuPrecision how, Method way,
                             bool keep)
    : input(in), cosine(is_cosine), precision(how), method(way), bytes(0) {
    check_rows(input);
    Allocate counted = [&](size_t n) {
        bytes += n;
        return context.allocate(n);
    };
    const Context here{context.device, context.stream, counted, context.slab_bytes};
    Call call(here);
    const bool tensor_cores = operand_for(here.device, Operand::half) == Operand::half;
    if (is_rounded(precision)) {
        rounded = {rounding_of(precision)};
    } else {
        if (precision != GpuPrecision::fp32 && tensor_cores) rounded.push_back(Operand::half);
        if (rounded.empty() || method != Method::cascade) rounded.push_back(Operand::single);
    }
    std::vector<Packer> packers;
    int64_t packed_bytes = 0;
    for (size_t i = 0; i < rounded.size(); ++i) {
        packers.push_back(packer_of(here.device, input.rows, *this, i));
        packed_bytes += packers[i].direct ? 0 : packers[i].pitch;
    }
    const int64_t count = input.rows.count;
    slab = keep ? count : column_slab(here, count, packed_bytes);
    for (const Packer& packer : packers) {
        float* error = call.zeros<float>(1);
        PackedRows all{packer.operand, packer.direct ? input.rows.view.data : call.array<char>(slab * packer.pitch),
                       packer.pitch, call.array<RowFacts>(count)};
        // All of them are packed once, for their facts and for the largest error.
        for (int64_t first = 0; first < count; first += slab) {
            PackedRows part = all;
            part.facts += first;
            packer.pack(call, input, first, std::min(slab, count - first), part, error);
        }
        operands.push_back(all);
        largest_error.push_back(error);
    }
}

int64_t PackedColumns::chunks() const { return divide_up(input.rows.count, kChunkColumns); }

void reduce(const Context& context, const Input& rows, const PackedColumns& columns, const ReduceJob& job) {
    check_rows(rows);
    Call call(context);
    const int64_t n = rows.rows.count, m = columns.input.rows.count;
    if (n == 0) return;
    const bool by_values = !is_rounded(columns.precision), keeps_lists = is_top(job.recipe),
               writes_lists = is_list(job.recipe);
    const int64_t padded = round_up(m, kPaddedColumns), chunks = divide_up(m, kChunkColumns);

    int* bad = call.zeros<int>(1);
    Problem p{};
    p.tuning = tuning();
    p.cosine = columns.cosine;
    static_cast<Rules&>(p) = job.rules;
    p.weight = keeps_lists ? job.weight : writes_lists ? count : job.recipe;
    p.temperature = job.temperature;
    p.k = job.k;
    p.keys_are_gaps = job.recipe == top_gap;
    p.top = job.lists;
    p.begins_pitch = n;

    const Pass by_tiles = keeps_lists ? Pass::top : Pass::sum;
    // The kernels of the call, with their columns: one; or two of which the device runs one.
    struct Way {
        Pass pass;
        size_t operand;
        bool if_many;
    };
    std::vector<Way> ways;
    const size_t single = columns.operands.size() - 1;  // the last one
    const bool screens = columns.operands.front().operand != Operand::single;
    if (writes_lists) {
        ways.push_back({job.lists ? Pass::list : Pass::screen, 0, false});  // which decide alike
    } else if (keeps_lists || !by_values) {
        ways.push_back({!keeps_lists && p.ranked() ? Pass::screen : by_tiles, 0, false});
    } else if (p.ranked()) {
        ways.push_back({Pass::screen, 0, false});  // few pairs, and ties with the k-th value are met in float64 alone
    } else if (job.recipe == count && screens) {
        ways.push_back({Pass::exact_count, 0, false});
    } else {
        if (screens && columns.method != Method::dense) ways.push_back({Pass::screen, 0, false});
        if (!screens || columns.method != Method::cascade) ways.push_back({by_tiles, single, true});
    }

    const Scores scores{job.divisor, job.cap, job.integer, job.out, bad};

    struct Prepared {
        Way way;
        Plan plan;
        Packer packer;
        PackedRows room, packed;  // for a slab of rows, and the slab that is in it
        ColumnFacts* facts;
        float* limit;
    };
    std::vector<Prepared> prepared;
    int64_t bytes_a_row = keeps_lists ? job.k * static_cast<int64_t>(sizeof(TopEntry)) : 8 * chunks;
    for (const Way& way : ways) {
        const PackedRows& packed = columns.operands[way.operand];
        ColumnRules rules{};
        rules.rows = packed.facts;
        rules.count = m;
        rules.padded = padded;
        rules.tau = job.tau;
        const bool decides = way.pass == Pass::screen || way.pass == Pass::list;
        rules.kth_value = decides ? p.kth_value : nullptr;
        rules.keep_m = keeps_lists;
        rules.decided = keeps_lists || by_values || decides;
        rules.most = way.pass == Pass::sum ? most_tau(job.recipe) : HUGE_VAL;
        rules.max_similarity = p.max_similarity;
        rules.facts = call.array<ColumnFacts>(padded);
        rules.limit = p.max_similarity ? call.array<float>(padded) : nullptr;
        rules.bad = bad;
        launch(call.threads(padded, kPackThreads), columns_kernel, rules);
        const Packer packer = packer_of(call.device(), rows.rows, columns, way.operand);
        bytes_a_row += packer.bytes_a_row();
        const Plan its_plan(call.device(), packed.operand, rows.rows.view.dim, p.tuning);
        prepared.push_back({way, its_plan, packer, {}, {}, rules.facts, rules.limit});
    }
    const Plan& plan = prepared.front().plan;
    int64_t slab = plan.slab(context.slab_bytes, bytes_a_row, n);
    const int64_t chunks_at_once = divide_up(columns.slab, kChunkColumns);
    p.chunks_per_item = plan.chunks_per_list(slab, chunks_at_once);
    const int64_t parts = divide_up(chunks_at_once, p.chunks_per_item);
    if (keeps_lists)
        slab = plan.slab(context.slab_bytes, bytes_a_row + (parts - 1) * job.k * static_cast<int64_t>(sizeof(TopEntry)),
                         n);
    for (Prepared& q : prepared) q.room = q.packer.room(call, slab);
    if (keeps_lists) p.top = call.array<TopEntry>(parts * slab * job.k);
    double* partial = keeps_lists ? nullptr : call.array<double>(chunks * slab);

    for (int64_t first = 0; first < n; first += slab) {
        const int64_t count = std::min(slab, n - first);
        if (keeps_lists)
            launch(call.threads(parts * count * job.k, kFinishThreads), clear_top_kernel, p.top, parts * count * job.k);
        for (Prepared& q : prepared) q.packed = q.packer.pack(call, rows, first, count, q.room, nullptr);
        const RowFacts* facts = prepared.back().packed.facts;
        for (int64_t from = 0; from < m; from += columns.slab) {
            const int64_t width = std::min(columns.slab, m - from);
            for (const Prepared& q : prepared) {
                const size_t operand = q.way.operand;
                set_rows(p, rows, q.packed, first, count, by_values);
                set_columns(p, columns.input, columns_at(call, columns, operand, from, width), from, width,
                            q.facts + from, columns.largest_error[operand], by_values);
                p.col_limit = q.limit ? q.limit + from : nullptr;
                p.tau = job.tau ? job.tau + from : nullptr;
                if (!keeps_lists) {
                    p.partial = partial + from / kChunkColumns * count;
                    p.begins = job.begins ? job.begins + from / kChunkColumns * n + first : nullptr;
                    p.chunks_per_item = q.plan.chunks_per_item(count, p.chunks);
                }
                if (ways.size() > 1) {
                    if (p.many == nullptr) {
                        int* choice = call.array<int>(1);
                        p.many = choice;
                        launch({1, kSampleThreads, kSampleBytes, 1, call.stream()}, sample_kernel, p, choice,
                               job.choice);
                    }
                    p.if_many = q.way.if_many;
                }
                q.plan.run(call, q.way.pass, job.recipe, p);
            }
        }
        if (keeps_lists) {
            TopFinish f{};
            f.top = p.top;
            f.parts = parts;
            f.n_rows = count;
            f.first_row = first;
            f.k = job.k;
            f.facts = facts;
            f.weight = job.weight;
            f.temperature = job.temperature;
            f.scores = scores;
            launch(call.threads(count * 32, kFinishThreads), finish_top_kernel, f);
        } else if (writes_lists) {
            if (job.counts)
                launch(call.threads(count, kFinishThreads), finish_counts_kernel,
                       CountFinish{partial, chunks, count, first, job.counts, n});
        } else {
            launch(call.threads(count, kFinishThreads), finish_sums_kernel,
                   SumFinish{partial, chunks, count, first, facts, scores});
        }
    }
}

void top(const Context& context, const Input& rows, const Input& pool, bool cosine, GpuPrecision precision,
         const TopJob& job) {
    check_rows(rows);
    check_rows(pool);
    Call call(context);
    const int64_t n = rows.rows.count, m = pool.rows.count, entry = static_cast<int64_t>(sizeof(TopEntry));
    if (m == 0) throw std::invalid_argument("a pool without rows has no best one");
    if (n == 0) return;
    const bool by_values = !is_rounded(precision);
    const Operand rounded = by_values ? operand_for(call.device(), Operand::half) : rounding_of(precision);
    const Packer row_packer(call.device(), rows.rows, rounded, cosine, by_values);
    const Packer col_packer(call.device(), pool.rows, rounded, cosine, by_values);
    Problem p{};
    p.tuning = tuning();
    const Plan plan(call.device(), col_packer.operand, rows.rows.view.dim, p.tuning);
    const int64_t col_slab =
        column_slab(context, m, col_packer.bytes_a_row() + static_cast<int64_t>(sizeof(ColumnFacts)));
    const int64_t chunks = divide_up(col_slab, kChunkColumns);
    const int64_t chunks_per_item = plan.chunks_per_list(n, chunks), parts = divide_up(chunks, chunks_per_item);
    const int64_t row_slab = plan.slab(context.slab_bytes, row_packer.bytes_a_row() + parts * job.k * entry, n);

    const PackedRows row_room = row_packer.room(call, row_slab), col_room = col_packer.room(call, col_slab);
    auto* facts = call.array<ColumnFacts>(round_up(col_slab, kPaddedColumns));
    float* largest_error = call.zeros<float>(1);
    int* no_bad = call.zeros<int>(1);
    p.cosine = cosine;
    static_cast<Rules&>(p) = job.rules;
    p.temperature = 1;
    p.k = job.k;
    p.chunks_per_item = chunks_per_item;
    p.top = call.array<TopEntry>(parts * row_slab * job.k);

    for (int64_t first = 0; first < n; first += row_slab) {
        const int64_t count = std::min(row_slab, n - first), entries = parts * count * job.k;
        launch(call.threads(entries, kFinishThreads), clear_top_kernel, p.top, entries);
        const PackedRows packed = row_packer.pack(call, rows, first, count, row_room, nullptr);
        set_rows(p, rows, packed, first, count, by_values);
        for (int64_t from = 0; from < m; from += col_slab) {
            const int64_t width = std::min(col_slab, m - from);
            const PackedRows cols = col_packer.pack(call, pool, from, width, col_room, largest_error);
            ColumnRules rules{};
            rules.rows = cols.facts;
            rules.count = width;
            rules.padded = round_up(width, kPaddedColumns);
            rules.keep_m = true;
            rules.facts = facts;
            launch(call.threads(rules.padded, kPackThreads), columns_kernel, rules);
            set_columns(p, pool, cols, from, width, facts, largest_error, by_values);
            plan.run(call, Pass::top, top_similarity, p);
        }
        TopFinish f{};
        f.top = p.top;
        f.parts = parts;
        f.n_rows = count;
        f.first_row = first;
        f.k = job.k;
        f.facts = packed.facts;
        f.values = job.values;
        f.indices = job.indices;
        f.kth_value = job.kth_value;
        f.kth_row = job.kth_row;
        f.rank_weights = job.rank_weights;
        f.sums = job.sums;
        f.scores.bad_columns = no_bad;
        launch(call.threads(count * 32, kFinishThreads), finish_top_kernel, f);
    }
}

void thresholds(const Context& context, const double* reference, int64_t count, const Margins& margins, double* tau) {
    const Call call(context);
    if (count == 0) return;
    uint64_t* report = report_words(call.device().index) + kReferenceSide;
    launch(call.threads(count, kPackThreads), threshold_kernel, References{reference, count, margins, tau, report});
}

void copy_rows(const Context& context, const Input& rows, void* out, DType dtype, bool finite, bool or_infinity) {
    const Call call(context);
    const int64_t values = rows.rows.count * rows.rows.view.dim;
    if (values == 0) return;
    uint64_t* report = report_words(call.device().index) + rows.side;
    const Copying p{rows.rows, out, dtype, finite, or_infinity, report};
    launch(call.threads(values, kCopyThreads), copy_kernel, p);
}

void pair_similarity(const Context& context, const Input& a, const Input& b, bool cosine, double* out) {
    Call call(context);
    if (b.rows.count == 0) return;
    uint64_t* words = report_words(call.device().index);
    const int64_t blocks = call.row_blocks(b.rows.count);
    const PairProblem p{
        a.rows, b.rows, cosine, out, words + a.side, words + b.side, call.wide(blocks * kPackThreads / 32)};
    launch({blocks, kPackThreads, 0, 1, call.stream()}, pair_kernel, p);
}

}  // namespace hnscore::gpu
