// Python's view of the CUDA backend: sizes as integers, arrays as tensors by the names of the
// call's fields. A module of its own, so that what goes wrong with CUDA on a machine leaves the CPU
// backend alone.
#include "bindings.h"

#include "device.h"
#include "recurrence/recurrence_bindings.h"

using namespace rnn;
using namespace rnn::cuda;

namespace {

// The steps of one call, both directions. Without a table there is one: all B rows, from and to the
// ends of the sequence.
struct Steps {
    Sizes sizes;
    const Step* table = nullptr;  // (T, D), or null

    void set(Step (&steps)[2], int64_t k) const {
        for (int d = 0; d < sizes.D; d++)
            steps[d] = table ? table[k * sizes.D + d] : Step{.rows = sizes.B};
    }
};

void read(Fields& fields, GatesForward& call) {
    RNN_FIELD(resets);
    RNN_FIELD(gx);
    RNN_FIELD(gh);
    RNN_FIELD(b_hh);
    RNN_FIELD(h);
    RNN_FIELD(c0);
    RNN_FIELD(c);
    RNN_FIELD(h_n);
    RNN_FIELD(c_n);
    RNN_FIELD(y);
    RNN_FIELD(c_all);
    RNN_FIELD(saved);
}

void read(Fields& fields, GatesBackward& call) {
    RNN_FIELD(resets);
    RNN_FIELD(saved);
    RNN_FIELD(c_all);
    RNN_FIELD(h0);
    RNN_FIELD(c0);
    RNN_FIELD(y);
    RNN_FIELD(dy);
    RNN_FIELD(dc_all);
    RNN_FIELD(dh_n);
    RNN_FIELD(dc_n);
    RNN_FIELD(dh);
    RNN_FIELD(direct);
    RNN_FIELD(dc);
    RNN_FIELD(dgx);
    RNN_FIELD(dgh);
    RNN_FIELD(dgh_last);
    RNN_FIELD(h_before);
    RNN_FIELD(dh0);
    RNN_FIELD(dc0);
}

// One call's kernels, for step after step.
template <class Call>
class Gates {
public:
    Gates(std::string cell, Dtype storage, const Place& place, const Sizes& sizes,
          const py::dict& arrays)
        : cell_(std::move(cell)), storage_(storage), place_(place), steps_{sizes} {
        call_.sizes = sizes;
        Fields fields(arrays.ptr());
        RNN_FIELD_OF(steps_, table);
        read(fields, call_);
        if (!fields.complete()) throw py::error_already_set();
    }

protected:
    Call of_step(int64_t k) const {
        Call call = call_;
        steps_.set(call.steps, k);
        return call;
    }

    std::string cell_;
    Dtype storage_;
    Place place_;

private:
    Steps steps_;
    Call call_ = {};
};

class Forward : public Gates<GatesForward> {
public:
    Forward(Gates gates, Dtype product) : Gates(std::move(gates)), product_(product) {}

    // The first step reads h and c0, later ones what was left in h_n and c.
    void operator()(int64_t k) const {
        GatesForward p = of_step(k);
        if (k > 0) {
            p.h = p.h_n;
            p.c0 = nullptr;
        }
        with_cell(cell_.c_str(),
                  [&]<Cell C>() { launch_forward<C>(p, storage_, product_, place_); });
    }

private:
    Dtype product_;
};

class Backward : public Gates<GatesBackward> {
public:
    explicit Backward(Gates gates) : Gates(std::move(gates)) {}

    void operator()(int64_t k) const {
        const GatesBackward p = of_step(k);
        with_cell(cell_.c_str(), [&]<Cell C>() { launch_backward<C>(p, storage_, place_); });
    }
};

Forward forward(const std::string& cell, const std::string& storage, const std::string& product,
                int device, Address stream, const SizesOf& sizes, const py::dict& arrays) {
    return {{cell, dtype_named(storage.c_str()), place_of(device, stream), sizes_of(sizes), arrays},
            dtype_named(product.c_str())};
}

Backward backward(const std::string& cell, const std::string& storage, int device, Address stream,
                  const SizesOf& sizes, const py::dict& arrays) {
    return Backward(
        {cell, dtype_named(storage.c_str()), place_of(device, stream), sizes_of(sizes), arrays});
}

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
    m.doc() = "Compiled CUDA kernels. Checks nothing: rnn_kernels does.";
    m.attr("architectures") = RNN_CUDA_ARCHITECTURES;
    m.attr("cells") = []<Cell... C>(Cells<C...>) { return py::make_tuple(C::name...); }(AllCells());
    m.def("runtime_version", &runtime_version);
    m.def("driver_version", &driver_version);
    m.def("has_code_for", &has_code_for);
    m.def("devices", [] {
        py::list all;
        for (const Device& device : devices()) all.append(describe(device));
        return all;
    });
    py::class_<Forward>(m, "GatesForward", py::module_local(),
                        "One call's forward gate kernels; called with a step.")
        .def(py::init(&forward))
        .def("__call__", &Forward::operator());
    py::class_<Backward>(m, "GatesBackward", py::module_local(),
                         "One call's backward gate kernels.")
        .def(py::init(&backward))
        .def("__call__", &Backward::operator());
    bind_recurrence(m);
}
