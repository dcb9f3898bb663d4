#include "matrix.h"

#include <cmath>
#include <cstring>

#include "../include/cuda_bf16.h"
#include "../include/cuda_fp16.h"
#include "fault.h"
#include "grid.h"
#include "memory.h"
#include "shared_window.h"

namespace emulated {
namespace {

struct Operands {
    uint32_t a[4], b[2];
    float c[4];
};

template <class T>
T as(const void* bits) {
    T value;
    std::memcpy(&value, bits, sizeof(value));
    return value;
}

// Element i of a fragment of 32-bit registers.
template <Format format>
double element(const uint32_t* registers, int i) {
    if constexpr (format == Format::tf32) {
        const uint32_t bits = registers[i] & 0xffffe000;  // the unit does not look at the rest
        return as<float>(&bits);
    } else {
        const auto* halves = reinterpret_cast<const char*>(registers) + 2 * i;
        if constexpr (format == Format::fp16) return __half2float(as<__half>(halves));
        return __bfloat162float(as<__nv_bfloat16>(halves));
    }
}

// Towards zero.
float cut_off(double x) {
    const auto rounded = float(x);
    return std::abs(double(rounded)) > std::abs(x) && std::isfinite(rounded)
               ? std::nextafterf(rounded, 0.0f)
               : rounded;
}

// Sums are made in double and cut off once. The hardware cuts off too, a few bits further down in
// between (Fasi et al. 2021, "Numerical behavior of NVIDIA tensor cores").
template <Format format>
void multiply(const Lanes& lanes) {
    constexpr int K = format == Format::tf32 ? 8 : 16;
    constexpr int pair = format == Format::tf32 ? 1 : 2;  // neighbours in one register
    double a[16][K], b[K][8];
    for (int lane = 0; lane < 32; lane++) {
        const auto& in = *static_cast<const Operands*>(lanes.in[lane]);
        const int group = lane / 4, within = lane % 4;
        for (int i = 0; i < 4 * pair; i++) {
            const int r = i / pair;  // the register: rows alternate, then columns
            a[group + r % 2 * 8][within * pair + i % pair + r / 2 * 4 * pair] =
                element<format>(in.a, i);
        }
        for (int i = 0; i < 2 * pair; i++)
            b[within * pair + i % pair + i / pair * 4 * pair][group] = element<format>(in.b, i);
    }
    for (int lane = 0; lane < 32; lane++) {
        const auto& in = *static_cast<const Operands*>(lanes.in[lane]);
        auto* out = static_cast<float*>(lanes.out[lane]);
        for (int i = 0; i < 4; i++) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            double sum = in.c[i];
            for (int k = 0; k < K; k++) sum += a[row][k] * b[k][column];
            out[i] = cut_off(sum);
        }
    }
}

template <int count, bool transposed>
void spread(const Lanes& lanes) {
    for (int m = 0; m < count; m++) {
        uint16_t elements[8][8];
        for (int r = 0; r < 8; r++) std::memcpy(elements[r], lanes.in[8 * m + r], 16);
        for (int lane = 0; lane < 32; lane++) {
            const int r = lane / 4, c = lane % 4 * 2;
            const uint32_t first = transposed ? elements[c][r] : elements[r][c];
            const uint32_t second = transposed ? elements[c + 1][r] : elements[r][c + 1];
            static_cast<uint32_t*>(lanes.out[lane])[m] = first | second << 16;
        }
    }
}

void meet_whole(const char* what, const void* in, void* out, Together together) {
    meet(what, 0xffffffff, in, out, together, Meet::whole_warp);
}

}  // namespace

void mma(Format format, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ENTER;
    Operands in;
    std::memcpy(in.a, a, sizeof(in.a));
    std::memcpy(in.b, b, sizeof(in.b));
    std::memcpy(in.c, d, sizeof(in.c));
    switch (format) {
        case Format::fp16: return meet_whole("mma fp16", &in, d, multiply<Format::fp16>);
        case Format::bf16: return meet_whole("mma bf16", &in, d, multiply<Format::bf16>);
        case Format::tf32: return meet_whole("mma tf32", &in, d, multiply<Format::tf32>);
    }
}

void load_matrices(int count, bool transposed, uint32_t* out, const void* row) {
    ENTER;
    if (int(current->lane()) < 8 * count) {
        if (owner(home(row)) != current->block)
            fault("ldmatrix of other than shared memory: " + describe_address(row));
        check_alignment(row, 16);
        touch(row, 16, plain(false));
    }
    const auto load = [&](const char* what, Together straight, Together across) {
        meet_whole(what, row, out, transposed ? across : straight);
    };
    switch (count) {
        case 1: return load("ldmatrix x1", spread<1, false>, spread<1, true>);
        case 2: return load("ldmatrix x2", spread<2, false>, spread<2, true>);
        case 4: return load("ldmatrix x4", spread<4, false>, spread<4, true>);
    }
}

}  // namespace emulated
