// Python's view of the whole-sequence kernels and their planner. A header of bindings.cpp alone:
// pybind11 by itself takes the compiler 10 s in every file.
#pragma once

#include "../bindings.h"
#include "../device_facts.h"
#include "recurrence.h"

using namespace rnn;
using namespace rnn::cuda;

namespace {

Problem problem(int gates, int element, bool exact, bool backward, const SizesOf& sizes) {
    const auto [B, H, D] = sizes;
    return {gates, element, backward, B, H, D, exact};
}

using CutBy = std::tuple<bool, int, int>;  // grid, blocks, rows

Cut cut_of(const CutBy& by) {
    const auto [grid, blocks, rows] = by;
    return {grid, blocks, rows};
}

using Clusters = std::tuple<int, int, int, int, int>;

Facts facts(int capability, int shared_memory, const Clusters& clusters, int grid) {
    const auto [one, two, four, eight, sixteen] = clusters;
    return {capability, shared_memory, {one, two, four, eight, sixteen}, grid};
}

// The planner's speeds by name.
constexpr std::pair<const char*, double Speeds::*> speeds_by_name[] = {
    {"clock_ghz", &Speeds::clock_ghz},
    {"fragment", &Speeds::fragment},
    {"exact_fragment", &Speeds::exact_fragment},
    {"cell", &Speeds::cell},
    {"element", &Speeds::element},
    {"barrier", &Speeds::barrier},
    {"exchange", &Speeds::exchange},
    {"mail", &Speeds::mail},
    {"shared_bytes", &Speeds::shared_bytes},
    {"peer_bytes", &Speeds::peer_bytes},
    {"mail_bytes", &Speeds::mail_bytes}};

py::dict speeds() {
    py::dict d;
    for (const auto& [name, member] : speeds_by_name) d[name] = Speeds{}.*member;
    return d;
}

Speeds speeds_of(const py::dict& given) {
    Speeds speeds;
    size_t known = 0;
    for (const auto& [name, member] : speeds_by_name) {
        if (!given.contains(name)) continue;
        speeds.*member = given[name].cast<double>();
        known++;
    }
    if (known != given.size()) throw std::invalid_argument("there are no speeds of such names");
    return speeds;
}

py::dict describe(const Plan& plan) {
    const Layout& l = plan.layout;
    py::dict d;
    d["fits"] = plan.fits;
    d["why"] = plan.why;
    d["exact"] = plan.exact;
    d["grid"] = l.grid;
    d["cluster"] = l.cluster;
    d["units"] = l.units;
    d["rows"] = l.rows;
    d["elements"] = l.elements;
    d["strips"] = l.strips;
    d["chunks"] = l.chunks;
    d["fragments"] = l.per_warp;
    d["held"] = l.held;
    d["slots"] = l.slots;
    d["mail_units"] = l.mail_units;
    d["shared"] = l.shared;
    d["groups"] = plan.groups;
    d["waves"] = plan.waves;
    d["step_ns"] = plan.step_ns;
    return d;
}

void read(Fields& fields, RecurrenceForward& call) {
    RNN_FIELD_OF(call.sequence, table);
    RNN_FIELD_OF(call.sequence, resets);
    RNN_FIELD(gx);
    RNN_FIELD(w);
    RNN_FIELD(b_hh);
    RNN_FIELD(h0);
    RNN_FIELD(c0);
    RNN_FIELD(h_n);
    RNN_FIELD(c_n);
    RNN_FIELD(y);
    RNN_FIELD(c_all);
    RNN_FIELD(saved);
    RNN_FIELD(mail);
}

void read(Fields& fields, RecurrenceBackward& call) {
    RNN_FIELD_OF(call.sequence, table);
    RNN_FIELD_OF(call.sequence, resets);
    RNN_FIELD(w);
    RNN_FIELD(saved);
    RNN_FIELD(c_all);
    RNN_FIELD(h0);
    RNN_FIELD(c0);
    RNN_FIELD(y);
    RNN_FIELD(dy);
    RNN_FIELD(dc_all);
    RNN_FIELD(dh_n);
    RNN_FIELD(dc_n);
    RNN_FIELD(dgx);
    RNN_FIELD(dgh_last);
    RNN_FIELD(h_before);
    RNN_FIELD(dh0);
    RNN_FIELD(dc0);
    RNN_FIELD(mail);
    RNN_FIELD(mail_last);
}

template <Cell C, class Call>
void launch(const Call& call, Dtype storage, const Place& place) {
    if (call.layout.grid)
        launch_recurrence<C, Team::grid>(call, storage, place);
    else if (call.layout.cluster > 1)
        launch_recurrence<C, Team::cluster>(call, storage, place);
    else
        launch_recurrence<C, Team::alone>(call, storage, place);
}

int bytes_of(Dtype storage) { return storage == Dtype::fp32 ? 4 : 2; }

// Whether rows of weights may be read 16 bytes at a time.
bool aligned(const void* w, const Sizes& sizes, Dtype storage) {
    return reinterpret_cast<Address>(w) % 16 == 0 && sizes.H * bytes_of(storage) % 16 == 0;
}

template <class Call>
void recurrence(const std::string& cell, const std::string& dtype, int device, Address stream,
                const SizesOf& sizes, int64_t T, const CutBy& by, bool exact,
                const py::dict& arrays) {
    constexpr bool backward = std::is_same_v<Call, RecurrenceBackward>;
    const Dtype storage = dtype_named(dtype.c_str());
    Call call = {.sizes = sizes_of(sizes), .exact = exact};
    call.sequence.T = T;
    call.sequence.B = call.sizes.B;
    Fields fields(arrays.ptr());
    read(fields, call);
    if (!fields.complete()) throw py::error_already_set();
    call.aligned = aligned(call.w, call.sizes, storage);
    with_cell(cell.c_str(), [&]<Cell C>() {
        const Problem p = problem(C::gates, bytes_of(storage), exact, backward, sizes);
        call.layout = layout(p, cut_of(by));
        launch<C>(call, storage, place_of(device, stream));
    });
}

}  // namespace

inline void bind_recurrence(py::module_& m) {
    m.def("facts", [](int device) {
        const Facts facts = facts_of(device);
        const auto* c = facts.clusters;
        return py::make_tuple(facts.capability, facts.shared_memory,
                              py::make_tuple(c[0], c[1], c[2], c[3], c[4]), facts.grid);
    });
    m.def("plan", [](int gates, int element, bool exact, bool backward, const SizesOf& sizes,
                     int capability, int shared_memory, const Clusters& clusters, int grid,
                     double per_step_ns) {
        return describe(plan(problem(gates, element, exact, backward, sizes),
                             facts(capability, shared_memory, clusters, grid), per_step_ns));
    });
    m.def(
        "cut",
        [](int gates, int element, bool exact, bool backward, const SizesOf& sizes, int capability,
           int shared_memory, const Clusters& clusters, int grid, const CutBy& by,
           const py::dict& speeds) {
            return describe(cut_by(problem(gates, element, exact, backward, sizes),
                                   facts(capability, shared_memory, clusters, grid), cut_of(by),
                                   speeds_of(speeds)));
        },
        py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(),
        py::arg(), py::arg(), py::arg("speeds") = py::dict());
    m.def("speeds", &speeds, "What the planner reckons with; see Speeds in plan/plan.h.");
    m.def("recurrence_forward", &recurrence<RecurrenceForward>);
    m.def("recurrence_backward", &recurrence<RecurrenceBackward>);
}
