// Python's view of the CUDA backend: sizes as integers, arrays as addresses (0: absent). A module
// of its own, so that what goes wrong with CUDA on a machine leaves the CPU backend alone.
#include "bindings.h"

#include "device.h"
#include "gates.h"

using namespace rnn::cuda;

namespace {

// The steps of one call, both directions. Without a table there is one: all B rows, from and to the
// ends of the sequence.
struct Steps {
    Sizes sizes;
    const Step* table;  // (T, D), or null

    Steps(py::tuple sizes, Address table)
        : sizes{sizes[0].cast<int64_t>(), sizes[1].cast<int64_t>(), sizes[2].cast<int>()},
          table(at<const Step>(table)) {}

    void set(Step (&steps)[2], int64_t k) const {
        for (int d = 0; d < sizes.D; d++)
            steps[d] = table ? table[k * sizes.D + d] : Step{.rows = sizes.B};
    }
};

class Forward {
public:
    Forward(std::string cell, const std::string& storage, const std::string& product, int device,
            Address stream, py::tuple sizes, Address table, Address resets, Address gx, Address gh,
            Address b_hh, Address h, Address c0, Address c, Address h_n, Address c_n, Address y,
            Address c_all, Address saved)
        : cell_(std::move(cell)),
          storage_(dtype_named(storage)),
          product_(dtype_named(product)),
          place_{device, at<CUstream_st>(stream)},
          steps_(sizes, table),
          call_{.sizes = steps_.sizes,
                .gx = at(gx),
                .gh = at(gh),
                .b_hh = at(b_hh),
                .h = at(h),
                .c0 = at(c0),
                .c = at<void>(c),
                .h_n = at<void>(h_n),
                .c_n = at<void>(c_n),
                .y = at<void>(y),
                .c_all = at<void>(c_all),
                .saved = at<void>(saved),
                .resets = at<const uint8_t>(resets)} {}

    // The first step reads h and c0, later ones what was left in h_n and c.
    void operator()(int64_t k) const {
        GatesForward p = call_;
        steps_.set(p.steps, k);
        if (k > 0) {
            p.h = p.h_n;
            p.c0 = nullptr;
        }
        with_cell(cell_, [&]<class C>() { launch_forward<C>(p, storage_, product_, place_); });
    }

private:
    std::string cell_;
    Dtype storage_, product_;
    Place place_;
    Steps steps_;
    GatesForward call_;
};

class Backward {
public:
    Backward(std::string cell, const std::string& storage, int device, Address stream,
             py::tuple sizes, Address table, Address resets, Address saved, Address c_all,
             Address h0, Address c0, Address y, Address dy, Address dc_all, Address dh_n,
             Address dc_n, Address dh, Address direct, Address dc, Address dgx, Address dgh,
             Address dgh_last, Address h_before, Address dh0, Address dc0)
        : cell_(std::move(cell)),
          storage_(dtype_named(storage)),
          place_{device, at<CUstream_st>(stream)},
          steps_(sizes, table),
          call_{.sizes = steps_.sizes,
                .saved = at(saved),
                .c_all = at(c_all),
                .h0 = at(h0),
                .c0 = at(c0),
                .y = at(y),
                .dy = at(dy),
                .dc_all = at(dc_all),
                .dh_n = at(dh_n),
                .dc_n = at(dc_n),
                .dh = at(dh),
                .direct = at<void>(direct),
                .dc = at<void>(dc),
                .dgx = at<void>(dgx),
                .dgh = at<void>(dgh),
                .dgh_last = at<void>(dgh_last),
                .h_before = at<void>(h_before),
                .dh0 = at<void>(dh0),
                .dc0 = at<void>(dc0),
                .resets = at<const uint8_t>(resets)} {}

    void operator()(int64_t k) const {
        GatesBackward p = call_;
        steps_.set(p.steps, k);
        with_cell(cell_, [&]<class C>() { launch_backward<C>(p, storage_, place_); });
    }

private:
    std::string cell_;
    Dtype storage_;
    Place place_;
    Steps steps_;
    GatesBackward call_;
};

py::dict describe(const Device& device) {
    py::dict d;
    d["name"] = device.name;
    d["capability"] = device.capability;
    d["multiprocessors"] = device.multiprocessors;
    d["registers"] = device.registers;
    d["shared_memory"] = device.shared_memory;
    d["l2"] = device.l2;
    d["runs"] = device.runs;
    return d;
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "Compiled CUDA kernels. Checks nothing: rnn_kernels.cuda does.";
    m.attr("architectures") = RNN_CUDA_ARCHITECTURES;
    m.def("runtime_version", &runtime_version);
    m.def("driver_version", &driver_version);
    m.def("has_code_for", &has_code_for);
    m.def("devices", [] {
        py::list all;
        for (const Device& device : devices()) all.append(describe(device));
        return all;
    });

    using std::string;
    using A = Address;
    py::class_<Forward>(m, "GatesForward", py::module_local(),
                        "One call's forward gate kernels; called with a step.")
        .def(py::init<string, string, string, int, A, py::tuple, A, A, A, A, A, A, A, A, A, A, A, A,
                      A>())
        .def("__call__", &Forward::operator());
    py::class_<Backward>(m, "GatesBackward", py::module_local(),
                         "One call's backward gate kernels.")
        .def(py::init<string, string, int, A, py::tuple, A, A, A, A, A, A, A, A, A, A, A, A, A, A,
                      A, A, A, A, A, A>())
        .def("__call__", &Backward::operator());
    bind_recurrence(m);
}
