// Launching the whole-sequence kernels.
#pragma once

#include "recurrence_backward.cuh"
#include "recurrence_backward_grid.cuh"
#include "recurrence_forward.cuh"
#include "recurrence_forward_grid.cuh"

namespace rnn::cuda {

template <class F>
void with_precision(Dtype dtype, bool exact, const F& f) {
    switch (dtype) {
        case Dtype::fp32:
            if (exact) return f.template operator()<Exact>();
            return f.template operator()<Rounded<float>>();
        case Dtype::bf16: return f.template operator()<Rounded<__nv_bfloat16>>();
        case Dtype::fp16: return f.template operator()<Rounded<__half>>();
        case Dtype::fp64: break;
    }
    throw std::invalid_argument("whole-sequence kernels have no float64");
}

inline std::string in_words(const Layout& l, int64_t groups) {
    return std::to_string(groups) + " groups on " + (l.grid ? "grids" : "clusters") + " of " +
           std::to_string(l.cluster);
}

template <Cell C, Team team, class Call>
void launch_recurrence_of(const char* name, const Call& p, Dtype storage, const Place& place) {
    constexpr bool forward = std::is_same_v<Call, RecurrenceForward>;
    constexpr bool grid = team == Team::grid, together = team == Team::cluster;
    const Layout& l = p.layout;
    const int64_t groups = (p.sizes.B + l.rows - 1) / l.rows;
    const Shape shape = {.grid = dim3(unsigned(groups * l.cluster), unsigned(p.sizes.D)),
                         .block = recurrence_threads,
                         .shared = size_t(l.shared),
                         .cluster = dim3(grid ? 1 : unsigned(l.cluster)),
                         .cooperative = grid};
    const auto about = [&] {
        return describe(std::string(C::name) + " " + name, p.sizes, storage, in_words(l, groups),
                        place.device);
    };
    with_precision(storage, p.exact, [&]<class P>() {
        const auto run = [&]<int E>() {
            if constexpr (grid && forward)
                launch(place, shape, about, recurrence_forward_grid<C, P, E>, p);
            else if constexpr (grid)
                launch(place, shape, about, recurrence_backward_grid<C, P, E>, p);
            else if constexpr (forward)
                launch(place, shape, about, recurrence_forward<C, P, together, E>, p);
            else
                launch(place, shape, about, recurrence_backward<C, P, together, E>, p);
        };
        if (l.elements == few_elements)
            run.template operator()<few_elements>();
        else
            run.template operator()<many_elements>();
    });
}

template <Cell C, Team team>
void launch_recurrence(const RecurrenceForward& p, Dtype storage, const Place& place) {
    launch_recurrence_of<C, team>("recurrence_forward", p, storage, place);
}
template <Cell C, Team team>
void launch_recurrence(const RecurrenceBackward& p, Dtype storage, const Place& place) {
    launch_recurrence_of<C, team>("recurrence_backward", p, storage, place);
}

}  // namespace rnn::cuda
