#include "plan.h"

#include <algorithm>

namespace rnn::cuda {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// Clock cycles of an H100, none of them measured yet: from the instructions' throughput and from
// what others report. ptxas places what a step is made of, so shares that overlap count once.
constexpr double clock_ghz = 1.7;
constexpr double fragment_cycles = 25.6;  // 4 mma at 63 % of the tensor peak, per sub-core
constexpr double exact_fragment = 4;      // times as long: three products, and splitting factors
constexpr double shared_bytes_per_cycle = 128;
constexpr double cell_cycles = 250;     // latency of sums, cell and stores
constexpr double element_cycles = 0.9;  // 100 instructions of 128 lanes each
constexpr double barrier_cycles = 40;
constexpr double exchange_cycles = 400;      // stage, st.async, mbarrier, and what skew adds
constexpr double peer_bytes_per_cycle = 12;  // into one block, all peers sending
constexpr double mail_cycles = 900;          // a store to L2, a load from it, and skew
constexpr double mail_bytes_per_cycle = 24;  // from L2 into one block, all blocks reading

constexpr double worth_a_larger_cluster = 0.9;
constexpr double worth_a_grid = 0.8;  // which can start only when all of it can

// What the per-step path takes beside: two launches, and a product that reads the weights again.
constexpr double step_path_ns = 9000;
constexpr double step_path_flop_per_ns = 300e3, step_path_exact_flop_per_ns = 40e3;
constexpr double step_path_bytes_per_ns = 2500;

double products_of(const Problem& p, const Layout& l, double used) {
    const double per_core = l.per_warp * std::max(used / 4, 1.0);
    return per_core * fragment_cycles * l.tiles * (p.exact ? exact_fragment : 1);
}

double cells_of(const Layout& l) { return cell_cycles + 2.0 * l.pairs * l.units * element_cycles; }

double cluster_cycles(const Problem& p, const Layout& l) {
    const double tiles = l.tiles, kept = l.per_warp - l.held;
    const double used =
        std::min<double>(recurrence_warps, divide_up(l.strips * l.chunks, l.per_warp));
    const double reads = used * (l.per_warp * tiles * 512 + kept * tiles * fragment_bytes);
    double cycles = std::max(products_of(p, l, used), reads / shared_bytes_per_cycle);
    cycles += 2 * barrier_cycles + cells_of(l);
    const double sums = 2.0 * l.pairs * l.units * l.slots * (p.backward ? l.cluster : p.gates) * 4;
    cycles += sums / shared_bytes_per_cycle;
    if (l.cluster > 1) {
        const double bytes = p.backward ? 8.0 * l.pairs * l.units * l.cluster * l.slots
                                        : double(l.rows) * l.units * l.cluster * p.element;
        cycles += exchange_cycles + bytes / peer_bytes_per_cycle;
    }
    return cycles;
}

double grid_cycles(const Problem& p, const Layout& l) {
    const double tiles = l.tiles, kept = l.per_warp - l.held;
    const double mail = double(l.rows) * l.mail_units * (p.backward ? p.gates : 1) * p.element;
    const double sums = 2.0 * l.strips * spread_strip_rows * 8 * 4;
    const double shared = tiles * l.slots * (kept * fragment_bytes + sums);
    // Rows go eight by eight: while some are under way, others are multiplied.
    const double busy = std::max(
        {products_of(p, l, l.slots), shared / shared_bytes_per_cycle, mail / mail_bytes_per_cycle});
    return mail_cycles + busy + tiles * 2 * barrier_cycles + cells_of(l);
}

double step_path_predicted_ns(const Problem& p) {
    const double weights = double(p.D) * p.gates * p.H * p.H, rows = double(p.D) * p.B * p.H;
    const double flop_per_ns = p.exact ? step_path_exact_flop_per_ns : step_path_flop_per_ns;
    return step_path_ns + 2 * weights * p.B / flop_per_ns +
           (weights * p.element + rows * p.gates * 3 * p.element) / step_path_bytes_per_ns;
}

// How many teams run at once.
int at_once(const Facts& facts, const Cut& cut) {
    if (cut.grid) return facts.grid / cut.blocks;
    for (int i = 0; i < 5; i++)
        if (1 << i == cut.blocks) return facts.clusters[i];
    return 0;
}

// Clusters that hold the weights, with every number of rows that does.
void try_clusters(const Problem& p, const Facts& facts, Plan& best) {
    for (int i = 0, blocks = 1; blocks <= largest_cluster; i++, blocks *= 2) {
        if (blocks > 1 && (facts.capability < 90 || facts.clusters[i] == 0)) continue;
        const int64_t units = round_up(divide_up(p.H, blocks), units_at_once(p, false));
        if (units * (blocks - 1) >= p.H) continue;  // some would have none
        if (units > most_elements / 2) continue;
        const int64_t most = std::min<int64_t>({p.B, 32, most_elements / 2 / units * 2});
        for (int rows = 1; rows <= most; rows++) {
            const Plan found = cut_by(p, facts, {false, blocks, rows});
            if (!found.fits) break;
            // Blocks that need no peers, or fewer, do not depend on what exchange really takes.
            const bool larger = best.fits && blocks > best.layout.cluster;
            const double bound = best.step_ns * (larger ? worth_a_larger_cluster : 1);
            if (!best.fits || found.step_ns < bound) best = found;
        }
    }
}

// Teams of as few blocks as hold the weights, or more: fewer of them then, with more rows each.
void try_grids(const Problem& p, const Facts& facts, Plan& best) {
    const int step = units_at_once(p, true);
    for (int64_t units = 8; units < p.H && units <= most_elements / 2; units += step) {
        const int64_t blocks = divide_up(p.H, units);
        const int64_t teams = facts.grid / (blocks * p.D);
        if (teams == 0) continue;
        const int64_t rows = divide_up(p.B, std::min(teams, p.B));
        if ((rows + 1) / 2 * 2 * units > most_elements) continue;
        const Plan found = cut_by(p, facts, {true, int(blocks), int(rows)});
        const double bound = best.step_ns * (best.fits && !best.layout.grid ? worth_a_grid : 1);
        if (found.fits && (!best.fits || found.step_ns < bound)) best = found;
    }
}

}  // namespace

Plan cut_by(const Problem& p, const Facts& facts, const Cut& cut) {
    Plan plan;
    plan.exact = p.exact;
    plan.layout = layout(p, cut);
    plan.groups = divide_up(p.B, cut.rows);
    const int teams = at_once(facts, cut);
    if (teams == 0) return plan.why = "no team of that many blocks runs", plan;
    plan.waves = divide_up(plan.groups * p.D, teams);
    const Layout& l = plan.layout;
    const double cycles = cut.grid ? grid_cycles(p, l) : cluster_cycles(p, l);
    plan.step_ns = double(plan.waves) * cycles / clock_ghz;
    plan.fits = l.shared <= facts.shared_memory;
    if (!plan.fits) return plan.why = "the weights do not fit on the chip", plan;
    plan.fits = !cut.grid || plan.waves == 1;
    if (!plan.fits) plan.why = "blocks that wait for each other would not all run at once";
    return plan;
}

Plan plan(const Problem& p, const Facts& facts) {
    Plan best;
    if (p.element > 4) return best.why = "there are no such kernels for float64", best;
    if (p.B == 0) return best.why = "there are no rows", best;
    if (facts.capability < 80) return best.why = "needs compute capability 8.0", best;
    best.why = "the weights do not fit on the chip";
    try_clusters(p, facts, best);
    try_grids(p, facts, best);
    if (best.fits && best.step_ns > step_path_predicted_ns(p)) {
        best.fits = false;
        best.why = "one product per step is predicted to be faster for so many rows";
    }
    return best;
}

}  // namespace rnn::cuda
