// The gradient of W_hh, and of b_hh: Σ over all rows of (gradients of the gates) ⊗ (state before).
//
// A product of its own rather than a vendor's, because the states before each row lie in y and h0,
// not in one matrix: here they are read where they are, for packed rows and resets too.
#pragma once

#include "product.h"
#include "rows.h"

namespace rnn::cpu::RNN_ISA {

template <class C, class S>
class WeightGradient {
    using A = compute_t<S>;
    using V = Vec<A>;
    static constexpr int G = C::gates, L = V::size, W = 4;
    static constexpr int64_t deep = 128;       // rows between two meetings of the threads
    static constexpr int64_t run_length = 32;  // rows added up in registers: a longer run of small
                                               // terms would round more than torch's sum over T

public:
    WeightGradient(const Backward& call, const Rows& rows)
        : f(call),
          rows(rows),
          D(f.seq.D),
          H(f.seq.H),
          N(rows.total()),
          M(H + 1),
          piece(C::splits ? (G - 1) * H : G * H),
          J((piece + L - 1) / L),
          blocks(J + (C::splits ? (H + L - 1) / L : 0)),
          states{Array<A>(few() ? 0 : M * deep), Array<A>(few() ? 0 : M * deep)},
          panels(few() ? 0 : blocks * deep * L),
          sums(sums_needed() * M * L),
          before(N) {}

    // To be called by every thread of a team.
    void run(const Team& team, int members) {
        for (int64_t d = 0; d < D; d++) {
            team.each([&](int i) { find(d, part(f.seq.T, members, i)); });
            team.each([&](int i) { clear(part(sums_needed(), members, i)); });
            team.meet();
            if (few()) {
                team.each([&](int i) { outer(d, part(G * H, members, i)); });
                team.meet();
                continue;
            }
            for (int64_t n = 0, round = 0; n < N; n += deep, round++) {
                A* turned = states[round & 1] + 0;
                const int64_t some = N - n < deep ? N - n : deep;
                team.each([&](int i) { turn(n, some, turned, part(some, members, i)); });
                team.meet();
                team.each([&](int i) { add(d, n, some, turned, part(blocks, members, i)); });
            }
            team.meet();
            team.each([&](int i) { finish(d, part(blocks, members, i)); });
            team.meet();
        }
    }

private:
    // With few rows, each element is a short sum and goes straight to its place.
    static constexpr int64_t few_rows = 64;
    bool few() const { return N < few_rows; }
    int64_t sums_needed() const { return few() ? 0 : blocks; }

    void outer(int64_t d, Range gates) const {
        for (int64_t g = gates.begin; g < gates.end; g++) {
            A dg[few_rows], total = 0;
            for (int64_t n = 0; n < N; n++) total += dg[n] = gradient(d, n, g);
            const int64_t gate = d * G * H + g;
            if (f.db_hh) store((S*)f.db_hh + gate, V(total), 1);
            for (int64_t u = 0; f.dw_hh && u < H; u += L) {
                const int lanes = H - u < L ? int(H - u) : L;
                V sum(A(0));
                for (int64_t n = 0; n < N; n++)
                    if (const S* h = *(before + n)) sum = sum + V(dg[n]) * load(h + u, lanes);
                store((S*)f.dw_hh + gate * H + u, sum, lanes);
            }
        }
    }

    A gradient(int64_t d, int64_t n, int64_t g) const {
        const bool second = g >= piece;
        return load(second ? (const S*)f.dgh + (n * D + d) * H + g - piece
                           : (const S*)f.dgx + (n * D + d) * G * H + g,
                    1)
            .v[0];
    }

    // Columns are the gates' gradients in blocks of L: those of dgx, then, for a cell that splits
    // its last gate, those of dgh.
    struct Columns {
        const S* from;   // element of row 0
        int64_t stride;  // from row to row
        int64_t gate;    // row of W_hh that the first one belongs to
        int lanes;
    };
    Columns columns(int64_t d, int64_t block) const {
        const bool second = block >= J;
        const int64_t u = (second ? block - J : block) * L, width = second ? H : piece;
        const int lanes = width - u < L ? int(width - u) : L;
        if (second) return {(const S*)f.dgh + d * H + u, D * H, piece + u, lanes};
        return {(const S*)f.dgx + d * G * H + u, D * G * H, u, lanes};
    }

    void find(int64_t d, Range times) {
        for (int64_t t = times.begin; t < times.end; t++)
            for (int64_t b = 0; b < rows.count(t); b++) *(before + rows.row(t, b)) = state(d, t, b);
    }

    const S* state(int64_t d, int64_t t, int64_t b) const {
        const int64_t row = rows.before(d, t, b);
        if (row == Rows::zero) return nullptr;
        return row == Rows::initial ? (const S*)f.h0 + (d * f.seq.B + b) * H
                                    : (const S*)f.y + (row * D + d) * H;
    }

    void clear(Range some) {
        for (int64_t i = some.begin * M; i < some.end * M; i++) V(A(0)).store(sums + i * L);
    }

    // States of rows [n, n + some) as columns, and a last row of ones, whose sums are the bias's.
    void turn(int64_t n, int64_t some, A* out, Range own) const {
        for (int64_t k = own.begin; k < own.end; k++) {
            const S* h = *(before + n + k);
            for (int64_t u = 0; u < H; u += L) {
                const int lanes = H - u < L ? int(H - u) : L;
                const V x = h ? load(h + u, lanes) : V(A(0));
                for (int i = 0; i < lanes; i++) out[(u + i) * some + k] = x.v[i];
            }
            out[H * some + k] = A(1);
        }
    }

    void add(int64_t d, int64_t n, int64_t some, const A* turned, Range own) {
        const int64_t split = own.begin > J ? own.begin : (own.end < J ? own.end : J);
        for (int64_t k = 0; k < some; k++) {
            pack(columns(d, own.begin), {own.begin, split}, n, k, some);
            if (split < own.end) pack(columns(d, split), {split, own.end}, n, k, some);
        }
        for (int64_t q = own.begin; q < own.end;) {
            const int width = own.end - q < W ? int(own.end - q) : W;
            with_width<W>(width, [&]<int Width>() { tiles<Width>(q, some, turned); });
            q += width;
        }
    }

    // Row n + k of the blocks of one piece, from its columns c on.
    void pack(Columns c, Range own, int64_t n, int64_t k, int64_t some) const {
        const int64_t k0 = k - k % run_length, run = runs(k0, some);
        const int64_t end = own.begin < J ? piece - own.begin * L : H - (own.begin - J) * L;
        const S* from = c.from + (n + k) * c.stride;
        A* to = panels + (k0 * blocks + own.begin * run + k - k0) * L;
        for (int64_t q = 0; q < own.end - own.begin; q++, to += run * L) {
            __builtin_prefetch(from + 4 * c.stride + q * L);  // rows are pages apart
            load(from + q * L, end - q * L < L ? int(end - q * L) : L).store(to);
        }
    }

    static int64_t runs(int64_t k0, int64_t some) {
        return some - k0 < run_length ? some - k0 : run_length;
    }

    // Adds the products of a round's rows to the sums of columns [q, q + Width).
    template <int Width>
    void tiles(int64_t q, int64_t some, const A* turned) {
        constexpr int R = tile_rows(Width), size = R * Width;
        alignas(64) A out[size * L], total[size * L];
        for (int64_t m = 0; m < M; m += R) {
            const int count = M - m < R ? int(M - m) : R;
            for (int64_t k0 = 0; k0 < some; k0 += run_length) {
                const int64_t run = runs(k0, some);
                const A* row[R];
                for (int r = 0; r < count; r++) row[r] = turned + (m + r) * some + k0;
                tile_of<A, Width>(count, run, row, panels + (k0 * blocks + q * run) * L, nullptr,
                                  k0 ? out : total);
                for (int i = 0; k0 && i < count * Width; i++)
                    (V::load(total + i * L) + V::load(out + i * L)).store(total + i * L);
            }
            for (int r = 0; r < count; r++)
                for (int w = 0; w < Width; w++) {
                    A* to = sums + ((q + w) * M + m + r) * L;
                    (V::load(to) + V::load(total + (r * Width + w) * L)).store(to);
                }
        }
    }

    void finish(int64_t d, Range own) const {
        for (int64_t q = own.begin; q < own.end; q++) {
            const Columns c = columns(d, q);
            for (int64_t m = 0; m < M; m++) {
                const V sum = V::load(sums + (q * M + m) * L);
                S* out = m < H ? (S*)f.dw_hh : (S*)f.db_hh;
                if (!out) continue;
                S lanes[L];
                store_full(lanes, sum);
                for (int i = 0; i < c.lanes; i++) {
                    const int64_t gate = d * G * H + c.gate + i;
                    out[m < H ? gate * H + m : gate] = lanes[i];
                }
            }
        }
    }

    const Backward& f;
    const Rows& rows;
    const int64_t D, H, N, M;      // M rows of sums: H units and the bias
    const int64_t piece, J;        // gates in dgx's piece, and their blocks
    const int64_t blocks;          // of both pieces
    const Array<A> states[2];      // (M, deep)  of even and odd rounds
    const Array<A> panels;         // (deep / run, blocks, run, L)
    const Array<A> sums;           // (blocks, M, L)
    const Array<const S*> before;  // (N)  the state before each row, or null: zero
};

}  // namespace rnn::cpu::RNN_ISA
