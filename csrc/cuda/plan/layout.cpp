#include <algorithm>
#include <stdexcept>

#include "plan.h"

namespace rnn::cuda {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return divide_up(a, b) * b; }

// Shared memory is dealt out from here on.
class Places {
public:
    explicit Places(int64_t end) : end_(end) {}
    int next(int64_t bytes) {
        const int64_t at = end_;
        end_ += round_up(bytes, 16);
        return int(std::min<int64_t>(at, 1 << 30));
    }
    void no_less_than(int64_t bytes) { end_ = std::max(end_, bytes); }

private:
    int64_t end_;
};

// A cluster, or one block.
void lay_out_cluster(const Problem& p, Layout& l) {
    const int all = l.units * l.cluster, own = l.units * p.gates;
    const int chunk = chunk_bytes / p.element;
    l.strips = int(divide_up(p.backward ? all : own, strip_rows));
    l.chunks = int(divide_up(p.backward ? own : all, chunk));
    const int fragments = l.strips * l.chunks;
    l.per_warp = int(divide_up(fragments, recurrence_warps));
    // Sums that travel are not split: strips stay whole where there are enough for all warps.
    if (p.backward && l.cluster > 1 && l.strips >= recurrence_warps)
        l.per_warp = int(divide_up(l.strips, recurrence_warps)) * l.chunks;
    for (int strip = 0; strip < l.strips; strip++) {
        const int first = strip * l.chunks, last = first + l.chunks - 1;
        l.slots = std::max(l.slots, last / l.per_warp - first / l.per_warp + 1);
    }
    // A pitch of an odd number of chunks spreads 8 rows over all banks.
    l.operand_pitch = (l.chunks | 1) * chunk_bytes;
    l.operand_size = l.rows * l.operand_pitch;
    l.sums_pitch = p.backward ? l.units : int(round_up(l.strips * strip_rows - 4, 16)) + 4;
    const int sources = p.backward ? l.cluster * l.slots : l.slots;
    l.sums_size = sources * l.pairs * l.sums_pitch * 2 * int(sizeof(float));
}

// Blocks of a grid, which take the other factor into registers, 8 rows at a time.
void lay_out_grid(const Problem& p, Layout& l) {
    const int width = 16 / p.element, chunk = spread_chunk_bytes / p.element;
    l.mail_units = int(round_up(p.H, width));
    l.strips = int(divide_up(l.units * (p.backward ? 1 : p.gates), spread_strip_rows));
    l.chunks = int(divide_up(l.mail_units * int64_t(p.backward ? p.gates : 1), chunk));
    const int slice = int(divide_up(l.chunks, recurrence_warps));
    l.per_warp = l.strips * slice;
    l.slots = int(divide_up(l.chunks, slice));
    l.sums_pitch = int(round_up(l.strips * spread_strip_rows - 4, 16)) + 4;
    constexpr int pairs = 4;
    l.sums_size = l.slots * pairs * l.sums_pitch * 2 * int(sizeof(float));
}

}  // namespace

int units_at_once(const Problem& p, bool grid) { return grid ? 16 / p.element : 8; }

Layout layout(const Problem& p, const Cut& cut) {
    Layout l = {};
    l.grid = cut.grid;
    l.cluster = cut.blocks;
    l.units = int(round_up(divide_up(p.H, cut.blocks), units_at_once(p, cut.grid)));
    l.rows = cut.rows;
    l.tiles = int(divide_up(l.rows, 8));
    l.pairs = (l.rows + 1) / 2;
    const int64_t elements = int64_t(2) * l.pairs * l.units;
    if (elements > most_elements)
        throw std::invalid_argument("a block has too many rows and units for its threads");
    l.elements = elements <= few_elements * recurrence_threads ? few_elements : many_elements;
    const int held = held_fragments(l.elements, p.backward, l.grid, p.exact, p.gates);
    if (l.grid)
        lay_out_grid(p, l);
    else
        lay_out_cluster(p, l);
    l.held = std::min(l.per_warp, held);

    // Two operands, which a grid has not; the forward one buffer of sums, the others two.
    Places place(int64_t(l.operand_size) * 2);
    l.sums = place.next(int64_t(l.sums_size) * (p.backward || l.grid ? 2 : 1));
    l.bias = place.next(p.backward ? 0 : l.units * p.gates * int64_t(sizeof(float)));
    const int staged = l.grid ? (p.backward ? p.gates : 1) : p.backward ? 0 : l.elements;
    l.stage = place.next(int64_t(recurrence_threads) * staged * p.element);
    place.no_less_than(recurrence_warps * fragment_bytes);  // weights pass through
    l.barriers = place.next(2 * sizeof(uint64_t));
    l.weights = place.next(int64_t(l.per_warp - l.held) * recurrence_warps * fragment_bytes);
    l.shared = place.next(0);
    return l;
}

}  // namespace rnn::cuda
