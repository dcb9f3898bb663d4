#include "plan.h"

#include <algorithm>

namespace rnn::cuda {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

constexpr double worth_a_larger_cluster = 0.9;
constexpr double worth_a_grid = 0.8;  // which can start only when all of it can

double products_of(const Problem& p, const Layout& l, const Speeds& s, double used) {
    const double per_core = l.per_warp * std::max(used / 4, 1.0);
    return per_core * s.fragment * l.tiles * (p.exact ? s.exact_fragment : 1);
}

double cells_of(const Layout& l, const Speeds& s) {
    return s.cell + 2.0 * l.pairs * l.units * s.element;
}

double cluster_cycles(const Problem& p, const Layout& l, const Speeds& s) {
    const double tiles = l.tiles, kept = l.per_warp - l.held;
    const double used =
        std::min<double>(recurrence_warps, divide_up(l.strips * l.chunks, l.per_warp));
    const double reads = used * (l.per_warp * tiles * 512 + kept * tiles * fragment_bytes);
    double cycles = std::max(products_of(p, l, s, used), reads / s.shared_bytes);
    cycles += 2 * s.barrier + cells_of(l, s);
    const double sums = 2.0 * l.pairs * l.units * l.slots * (p.backward ? l.cluster : p.gates) * 4;
    cycles += sums / s.shared_bytes;
    if (l.cluster > 1) {
        const double bytes = p.backward ? 8.0 * l.pairs * l.units * l.cluster * l.slots
                                        : double(l.rows) * l.units * l.cluster * p.element;
        cycles += s.exchange + bytes / s.peer_bytes;
    }
    return cycles;
}

double grid_cycles(const Problem& p, const Layout& l, const Speeds& s) {
    const double tiles = l.tiles, kept = l.per_warp - l.held;
    const double mail = double(l.rows) * l.mail_units * (p.backward ? p.gates : 1) * p.element;
    const double sums = 2.0 * l.strips * spread_strip_rows * 8 * 4;
    const double shared = tiles * l.slots * (kept * fragment_bytes + sums);
    // Rows go eight by eight: while some are under way, others are multiplied.
    const double busy =
        std::max({products_of(p, l, s, l.slots), shared / s.shared_bytes, mail / s.mail_bytes});
    return s.mail + busy + tiles * 2 * s.barrier + cells_of(l, s);
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

Plan cut_by(const Problem& p, const Facts& facts, const Cut& cut, const Speeds& speeds) {
    Plan plan;
    plan.exact = p.exact;
    plan.layout = layout(p, cut);
    plan.groups = divide_up(p.B, cut.rows);
    const int teams = at_once(facts, cut);
    if (teams == 0) return plan.why = "no team of that many blocks runs", plan;
    plan.waves = divide_up(plan.groups * p.D, teams);
    const Layout& l = plan.layout;
    const double cycles = cut.grid ? grid_cycles(p, l, speeds) : cluster_cycles(p, l, speeds);
    plan.step_ns = double(plan.waves) * cycles / speeds.clock_ghz;
    plan.fits = l.shared <= facts.shared_memory;
    if (!plan.fits) return plan.why = "the weights do not fit on the chip", plan;
    plan.fits = !cut.grid || plan.waves == 1;
    if (!plan.fits) plan.why = "blocks that wait for each other would not all run at once";
    return plan;
}

Plan plan(const Problem& p, const Facts& facts, double per_step_ns) {
    Plan best;
    if (p.element > 4) return best.why = "there are no such kernels for float64", best;
    if (p.B == 0) return best.why = "there are no rows", best;
    if (facts.capability < 80) return best.why = "needs compute capability 8.0", best;
    best.why = "the weights do not fit on the chip";
    try_clusters(p, facts, best);
    try_grids(p, facts, best);
    if (best.fits && best.step_ns > per_step_ns) {
        best.fits = false;
        best.why = "one product per step is predicted to be faster for so many rows";
    }
    return best;
}

}  // namespace rnn::cuda
