// Shuffles and votes.
#pragma once

#include <cstdint>

#include "../machine/fault.h"
#include "../machine/meeting.h"
#include "builtins.h"

namespace emulated {

template <class T>
struct Shuffled {
    T value;
    int from;  // lane
};

// Each lane brings a value and takes that of the lane it names.
template <class T>
T shuffle(const char* what, unsigned mask, T value, int from) {
    const Shuffled<T> in = {value, from};
    T out;
    meet(what, mask, &in, &out, [](const Lanes& lanes) {
        for (int i = 0; i < 32; i++) {
            if (!lanes.in[i]) continue;
            const int source = static_cast<const Shuffled<T>*>(lanes.in[i])->from;
            const void* there = lanes.in[source];
            if (!there) fault("a shuffle from a lane that takes no part");
            *static_cast<T*>(lanes.out[i]) = static_cast<const Shuffled<T>*>(there)->value;
        }
    });
    return out;
}

inline unsigned ballot(const char* what, unsigned mask, bool predicate) {
    unsigned out;
    meet(what, mask, &predicate, &out, [](const Lanes& lanes) {
        unsigned votes = 0;
        for (int i = 0; i < 32; i++)
            if (lanes.in[i]) votes |= unsigned(*static_cast<const bool*>(lanes.in[i])) << i;
        for (int i = 0; i < 32; i++)
            if (lanes.out[i]) *static_cast<unsigned*>(lanes.out[i]) = votes;
    });
    return out;
}

}  // namespace emulated

// A source out of reach is the lane itself.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    const int first = emulated::segment_start(width);
    return emulated::shuffle("__shfl_sync", mask, value, first + (source & (width - 1)));
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    const int lane = emulated::lane(), from = lane - int(delta & 31);
    const bool inside = from >= emulated::segment_start(width);
    return emulated::shuffle("__shfl_up_sync", mask, value, inside ? from : lane);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    const int lane = emulated::lane(), from = lane + int(delta & 31);
    const bool inside = from < emulated::segment_start(width) + width;
    return emulated::shuffle("__shfl_down_sync", mask, value, inside ? from : lane);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    const int lane = emulated::lane(), from = lane ^ (bits & 31);
    const bool inside = from < emulated::segment_start(width) + width;
    return emulated::shuffle("__shfl_xor_sync", mask, value, inside ? from : lane);
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
    return emulated::ballot("__ballot_sync", mask, predicate);
}
inline int __any_sync(unsigned mask, int predicate) {
    return emulated::ballot("__any_sync", mask, predicate) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
    return emulated::ballot("__all_sync", mask, !predicate) == 0;
}
