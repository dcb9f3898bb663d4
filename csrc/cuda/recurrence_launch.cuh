// Launching the whole-sequence kernels.
#pragma once

#include "recurrence_backward.cuh"
#include "recurrence_forward.cuh"
#include "tile.h"

namespace rnn::cuda {

template <class F>
void with_recurrence_storage(Dtype dtype, const F& f) {
    switch (dtype) {
        case Dtype::fp32: return f.template operator()<float>();
        case Dtype::bf16: return f.template operator()<__nv_bfloat16>();
        case Dtype::fp16: return f.template operator()<__half>();
        case Dtype::fp64: break;
    }
    throw std::invalid_argument("whole-sequence kernels have no float64");
}

template <Cell C, bool together, class Call>
void launch_recurrence_of(const char* name, const Call& p, Dtype storage, const Place& place) {
    const Layout& l = p.layout;
    const int64_t groups = (p.sizes.B + l.rows - 1) / l.rows;
    const Shape shape = {.grid = dim3(unsigned(groups * l.cluster), unsigned(p.sizes.D)),
                         .block = recurrence_threads,
                         .shared = size_t(l.shared),
                         .cluster = dim3(unsigned(l.cluster))};
    with_recurrence_storage(storage, [&]<class S>() {
        const auto describe = [&] {
            return std::string(C::name) + " " + name + " (D " + std::to_string(p.sizes.D) + ", B " +
                   std::to_string(p.sizes.B) + ", H " + std::to_string(p.sizes.H) + ", " +
                   dtype_name<S> + ", " + std::to_string(groups) + " groups on clusters of " +
                   std::to_string(l.cluster) + ", device " + std::to_string(place.device) + ")";
        };
        const auto run = [&]<int E>() {
            if constexpr (std::is_same_v<Call, RecurrenceForward>)
                launch(place, shape, describe, recurrence_forward<C, S, together, E>, p);
            else
                launch(place, shape, describe, recurrence_backward<C, S, together, E>, p);
        };
        if (l.elements == few_elements)
            run.template operator()<few_elements>();
        else
            run.template operator()<many_elements>();
    });
}

template <Cell C, bool together>
void launch_recurrence(const RecurrenceForward& p, Dtype storage, const Place& place) {
    launch_recurrence_of<C, together>("recurrence_forward", p, storage, place);
}
template <Cell C, bool together>
void launch_recurrence(const RecurrenceBackward& p, Dtype storage, const Place& place) {
    launch_recurrence_of<C, together>("recurrence_backward", p, storage, place);
}

}  // namespace rnn::cuda
