// Python's view of the whole-sequence kernels and their planner.
#include <algorithm>
#include <array>

#include "bindings.h"
#include "recurrence.h"

using namespace rnn::cuda;

namespace {

Problem problem(int gates, int element, bool exact, bool backward, py::tuple sizes) {
    return {gates,
            element,
            backward,
            sizes[0].cast<int64_t>(),
            sizes[1].cast<int64_t>(),
            sizes[2].cast<int>(),
            exact};
}

// (grid, blocks, rows)
Cut cut_of(py::tuple by) { return {by[0].cast<bool>(), by[1].cast<int>(), by[2].cast<int>()}; }

Facts facts(int capability, int shared_memory, const std::array<int, 5>& clusters, int grid) {
    Facts facts = {capability, shared_memory, {}, grid};
    std::copy(clusters.begin(), clusters.end(), facts.clusters);
    return facts;
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

template <class Call>
void launch(const std::string& cell, const Call& call, Dtype storage, const Place& place) {
    with_cell(cell, [&]<class C>() {
        if (call.layout.grid)
            launch_recurrence<C, Team::grid>(call, storage, place);
        else if (call.layout.cluster > 1)
            launch_recurrence<C, Team::cluster>(call, storage, place);
        else
            launch_recurrence<C, Team::alone>(call, storage, place);
    });
}

int gates_of(const std::string& cell) {
    int gates = 0;
    with_cell(cell, [&]<class C>() { gates = C::gates; });
    return gates;
}

int bytes_of(Dtype storage) { return storage == Dtype::fp32 ? 4 : 2; }

bool aligned(Address w, const Sizes& sizes, Dtype storage) {
    return w % 16 == 0 && sizes.H * bytes_of(storage) % 16 == 0;
}

void forward(const std::string& cell, const std::string& dtype, int device, Address stream,
             py::tuple of, int64_t T, py::tuple by, bool exact, Address table, Address resets,
             Address gx, Address w, Address b_hh, Address h0, Address c0, Address h_n, Address c_n,
             Address y, Address c_all, Address saved, Address mail) {
    const Dtype storage = dtype_named(dtype);
    const Problem p = problem(gates_of(cell), bytes_of(storage), exact, false, of);
    const Sizes sizes = {p.B, p.H, p.D};
    const RecurrenceForward call = {
        .sizes = sizes,
        .layout = layout(p, cut_of(by)),
        .sequence = {T, p.B, at<const int64_t>(table), at<const uint8_t>(resets)},
        .exact = exact,
        .aligned = aligned(w, sizes, storage),
        .gx = at(gx),
        .w = at(w),
        .b_hh = at(b_hh),
        .h0 = at(h0),
        .c0 = at(c0),
        .h_n = at<void>(h_n),
        .c_n = at<void>(c_n),
        .y = at<void>(y),
        .c_all = at<void>(c_all),
        .saved = at<void>(saved),
        .mail = at<void>(mail)};
    launch(cell, call, storage, {device, at<CUstream_st>(stream)});
}

void backward(const std::string& cell, const std::string& dtype, int device, Address stream,
              py::tuple of, int64_t T, py::tuple by, bool exact, Address table, Address resets,
              Address w, Address saved, Address c_all, Address h0, Address c0, Address y,
              Address dy, Address dc_all, Address dh_n, Address dc_n, Address dgx, Address dgh_last,
              Address h_before, Address dh0, Address dc0, Address mail, Address mail_last) {
    const Dtype storage = dtype_named(dtype);
    const Problem p = problem(gates_of(cell), bytes_of(storage), exact, true, of);
    const Sizes sizes = {p.B, p.H, p.D};
    const RecurrenceBackward call = {
        .sizes = sizes,
        .layout = layout(p, cut_of(by)),
        .sequence = {T, p.B, at<const int64_t>(table), at<const uint8_t>(resets)},
        .exact = exact,
        .aligned = aligned(w, sizes, storage),
        .w = at(w),
        .saved = at(saved),
        .c_all = at(c_all),
        .h0 = at(h0),
        .c0 = at(c0),
        .y = at(y),
        .dy = at(dy),
        .dc_all = at(dc_all),
        .dh_n = at(dh_n),
        .dc_n = at(dc_n),
        .dgx = at<void>(dgx),
        .dgh_last = at<void>(dgh_last),
        .h_before = at<void>(h_before),
        .dh0 = at<void>(dh0),
        .dc0 = at<void>(dc0),
        .mail = at<void>(mail),
        .mail_last = at<void>(mail_last)};
    launch(cell, call, storage, {device, at<CUstream_st>(stream)});
}

}  // namespace

void bind_recurrence(py::module_& m) {
    using std::string;
    m.def("facts", [](int device) {
        const Facts facts = facts_of(device);
        const auto* c = facts.clusters;
        return py::make_tuple(facts.capability, facts.shared_memory,
                              py::make_tuple(c[0], c[1], c[2], c[3], c[4]), facts.grid);
    });
    m.def("plan", [](int gates, int element, bool exact, bool backward, py::tuple sizes,
                     int capability, int shared_memory, std::array<int, 5> clusters, int grid) {
        return describe(plan(problem(gates, element, exact, backward, sizes),
                             facts(capability, shared_memory, clusters, grid)));
    });
    m.def(
        "cut",
        [](int gates, int element, bool exact, bool backward, py::tuple sizes, int capability,
           int shared_memory, std::array<int, 5> clusters, int grid, py::tuple by,
           py::dict speeds) {
            return describe(cut_by(problem(gates, element, exact, backward, sizes),
                                   facts(capability, shared_memory, clusters, grid), cut_of(by),
                                   speeds_of(speeds)));
        },
        py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(), py::arg(),
        py::arg(), py::arg(), py::arg("speeds") = py::dict());
    m.def("speeds", &speeds, "What the planner reckons with; see Speeds in plan.h.");
    m.def("recurrence_forward", &forward);
    m.def("recurrence_backward", &backward);
}
