#include "plan.h"

#include <algorithm>
#include <stdexcept>

namespace rnn::cuda {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// Clock cycles of an H100, none of them measured yet: from the instructions' throughput and from
// what others report. ptxas places what a step is made of, so shares that overlap count once.
constexpr double clock_ghz = 1.7;
constexpr double fragment_cycles = 25.6;  // 4 mma at 63 % of the tensor peak, per sub-core
constexpr double shared_bytes_per_cycle = 128;
constexpr double cell_cycles = 250;     // latency of sums, cell and stores
constexpr double element_cycles = 0.9;  // 100 instructions of 128 lanes each
constexpr double barrier_cycles = 40;
constexpr double exchange_cycles = 400;      // stage, st.async, mbarrier, and what skew adds
constexpr double peer_bytes_per_cycle = 12;  // into one block, all peers sending

constexpr double worth_a_larger_cluster = 0.9;

// What the per-step path takes beside: two launches, and a product that reads the weights again.
constexpr double step_path_ns = 9000;
constexpr double step_path_flop_per_ns = 300e3, step_path_bytes_per_ns = 2500;

template <bool backward>
int held_fragments_of(int elements) {
    return elements == few_elements ? held_fragments<few_elements, backward>
                                    : held_fragments<many_elements, backward>;
}

double predicted_ns(const Problem& p, const Layout& l) {
    const double tiles = l.tiles, kept = l.per_warp - l.held;
    const double used =
        std::min<double>(recurrence_warps, divide_up(l.strips * l.chunks, l.per_warp));
    const double per_core = l.per_warp * std::max(used / 4, 1.0);
    const double products = per_core * fragment_cycles * tiles;
    const double reads = used * (l.per_warp * tiles * 512 + kept * tiles * fragment_bytes);
    double cycles = std::max(products, reads / shared_bytes_per_cycle) + 2 * barrier_cycles;
    cycles += cell_cycles + 2.0 * l.pairs * l.units * element_cycles;
    const double sums = 2.0 * l.pairs * l.units * l.slots * (p.backward ? l.cluster : p.gates) * 4;
    cycles += sums / shared_bytes_per_cycle;
    if (l.cluster > 1) {
        const double bytes = p.backward ? 8.0 * l.pairs * l.units * l.cluster * l.slots
                                        : double(l.rows) * l.units * l.cluster * p.element;
        cycles += exchange_cycles + bytes / peer_bytes_per_cycle;
    }
    return cycles / clock_ghz;
}

double step_path_predicted_ns(const Problem& p) {
    const double weights = double(p.D) * p.gates * p.H * p.H, rows = double(p.D) * p.B * p.H;
    return step_path_ns + 2 * weights * p.B / step_path_flop_per_ns +
           (weights * p.element + rows * p.gates * 3 * p.element) / step_path_bytes_per_ns;
}

}  // namespace

Layout layout(const Problem& p, int cluster, int rows) {
    Layout l = {};
    l.cluster = cluster;
    l.units = int(round_up(divide_up(p.H, cluster), 8));
    l.rows = rows;
    l.tiles = int(divide_up(rows, 8));
    l.pairs = (rows + 1) / 2;
    const int all = l.units * cluster, own = l.units * p.gates;
    const bool one_each = 2 * l.pairs * l.units <= few_elements * recurrence_threads;
    l.elements = one_each ? few_elements : many_elements;
    if (2 * l.pairs * l.units > many_elements * recurrence_threads)
        throw std::invalid_argument("a block has too many rows and units for its threads");

    const int chunk = chunk_bytes / p.element;
    l.strips = int(divide_up(p.backward ? all : own, strip_rows));
    l.chunks = int(divide_up(p.backward ? own : all, chunk));
    const int fragments = l.strips * l.chunks;
    l.per_warp = int(divide_up(fragments, recurrence_warps));
    // Sums that travel are not split: strips stay whole where there are enough for all warps.
    if (p.backward && cluster > 1 && l.strips >= recurrence_warps)
        l.per_warp = int(divide_up(l.strips, recurrence_warps)) * l.chunks;
    const int held =
        p.backward ? held_fragments_of<true>(l.elements) : held_fragments_of<false>(l.elements);
    l.held = std::min(l.per_warp, held);
    for (int strip = 0; strip < l.strips; strip++) {
        const int first = strip * l.chunks, last = first + l.chunks - 1;
        l.slots = std::max(l.slots, last / l.per_warp - first / l.per_warp + 1);
    }

    // A pitch of an odd number of chunks spreads 8 rows over all banks.
    l.operand_pitch = (l.chunks | 1) * chunk_bytes;
    l.operand_size = rows * l.operand_pitch;
    l.sums_pitch = p.backward ? l.units : int(round_up(l.strips * strip_rows - 4, 16)) + 4;
    const int sources = p.backward ? cluster * l.slots : l.slots;
    l.sums_size = sources * l.pairs * l.sums_pitch * 2 * int(sizeof(float));

    int64_t end = 2 * l.operand_size;
    const auto place = [&](int64_t bytes) {
        const int64_t at = end;
        end += round_up(bytes, 16);
        return int(std::min<int64_t>(at, 1 << 30));
    };
    l.sums = place(int64_t(l.sums_size) * (p.backward ? 2 : 1));
    l.bias = place(p.backward ? 0 : own * int64_t(sizeof(float)));
    l.stage = place(p.backward ? 0 : recurrence_threads * l.elements * p.element);
    end = std::max<int64_t>(end, recurrence_warps * fragment_bytes);  // weights pass through
    l.barriers = place(2 * sizeof(uint64_t));
    l.weights = place(int64_t(l.per_warp - l.held) * recurrence_warps * fragment_bytes);
    l.shared = int(std::min<int64_t>(end, 1 << 30));
    return l;
}

Plan cut(const Problem& p, const Facts& facts, int cluster, int rows) {
    Plan plan;
    plan.layout = layout(p, cluster, rows);
    plan.groups = divide_up(p.B, rows);
    int at_once = 0;
    for (int i = 0; i < 5; i++)
        if (1 << i == cluster) at_once = facts.clusters[i];
    if (at_once == 0) return plan.why = "no cluster of that many blocks runs", plan;
    plan.waves = divide_up(plan.groups * p.D, at_once);
    plan.step_ns = double(plan.waves) * predicted_ns(p, plan.layout);
    plan.fits = plan.layout.shared <= facts.shared_memory;
    if (!plan.fits) plan.why = "the weights do not fit on the chip";
    return plan;
}

Plan plan(const Problem& p, const Facts& facts) {
    Plan best;
    if (p.element > 4) return best.why = "there are no such kernels for float64", best;
    if (p.B == 0) return best.why = "there are no rows", best;
    if (facts.capability < 80) return best.why = "needs compute capability 8.0", best;
    best.why = "the weights do not fit on the chip";
    for (int i = 0, cluster = 1; cluster <= largest_cluster; i++, cluster *= 2) {
        if (cluster > 1 && (facts.capability < 90 || facts.clusters[i] == 0)) continue;
        const int64_t units = round_up(divide_up(p.H, cluster), 8);
        if (units * (cluster - 1) >= p.H) continue;  // some would have none
        if (units > recurrence_threads * many_elements / 2) continue;
        const int64_t most =
            std::min<int64_t>({p.B, 32, recurrence_threads * many_elements / 2 / units * 2});
        for (int rows = 1; rows <= most; rows++) {
            const Plan found = cut(p, facts, cluster, rows);
            if (!found.fits) break;
            // Blocks that need no peers, or fewer, do not depend on what exchange really takes.
            const bool larger = best.fits && cluster > best.layout.cluster;
            const double bound = best.step_ns * (larger ? worth_a_larger_cluster : 1);
            if (!best.fits || found.step_ns < bound) best = found;
        }
    }
    if (best.fits && best.step_ns > step_path_predicted_ns(p)) {
        best.fits = false;
        best.why = "one product per step is predicted to be faster for so many rows";
    }
    return best;
}

}  // namespace rnn::cuda
