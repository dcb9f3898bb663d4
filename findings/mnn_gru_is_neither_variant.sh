#!/usr/bin/env bash
# MNN 3.6.1 (converter and CPU runtime), onnx 1.23.2, onnxruntime 1.32.0 (right values), numpy 2.4.6, Python 3.11.
# Seen: MNN turns an ONNX GRU with linear_before_reset=0 into a GRU that ONNX does not have.
# The reset gate acts after the recurrent product, as with linear_before_reset=1.
# But the recurrent bias stays outside the gate, as with linear_before_reset=0.
# No message says so. linear_before_reset=1 is right.
# A good guess is wrong: 0 is ONNX's default, so one expects it to be the tested case.
# Somebody who sees wrong numbers guesses next that the attribute is ignored.
# That guess is wrong too: the result differs from both variants, and equals a mixture of them.
# Only without biases does the mixture equal linear_before_reset=1.
# The converter's flag --useOriginRNNImpl keeps the recurrent node whole, and both variants are right then.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3.11 -m venv venv
venv/bin/pip install --quiet mnn==3.6.1 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6

cat > see.py <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import MNN
import MNN.expr
import MNN.nn
import _tools  # MNN's converter, as its own command line calls it

T, B, I, H = 5, 3, 4, 6
rng = np.random.default_rng(0)


def draw(*shape):
    return (rng.standard_normal(shape) * 0.5).astype(np.float32)


X, W, R, BIAS = draw(T, B, I) * 2, draw(1, 3 * H, I), draw(1, 3 * H, H), draw(1, 6 * H)


def model(path, after, bias):
    arrays = {"W": W, "R": R, "B": BIAS} if bias else {"W": W, "R": R}
    node = helper.make_node("GRU", ["X", *arrays], ["Y", "Y_h"], hidden_size=H, linear_before_reset=after)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "gru",
        [value("X", TensorProto.FLOAT, [T, B, I])],
        [value("Y", TensorProto.FLOAT, [T, 1, B, H]), value("Y_h", TensorProto.FLOAT, [1, B, H])],
        [numpy_helper.from_array(a, n) for n, a in arrays.items()],
    )
    onnx_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(onnx_model, full_check=True)
    onnx.save(onnx_model, path)


def equations(variant, bias):
    """ONNX's GRU in float64; rows z r h. "mixture" is what MNN turns out to do."""
    w, r = W[0].astype(float), R[0].astype(float)
    wb, rb = np.split(BIAS[0].astype(float) * bias, 2)
    h, out = np.zeros((B, H)), []
    for x in X:
        xz, xr, xh = np.split(x @ w.T + wb, 3, axis=1)
        rz, rr, rh = np.split(h @ r.T, 3, axis=1)
        bz, br, bh = np.split(rb, 3)
        z = 1 / (1 + np.exp(-(xz + rz + bz)))
        reset = 1 / (1 + np.exp(-(xr + rr + br)))
        if variant == "linear_before_reset=0":
            n = np.tanh(xh + (reset * h) @ r[2 * H :].T + bh)
        elif variant == "linear_before_reset=1":
            n = np.tanh(xh + reset * (rh + bh))
        else:
            n = np.tanh(xh + reset * rh + bh)
        h = (1 - z) * n + z * h
        out.append(h)
    return np.stack(out)[:, None]


def by_mnn(path, *flags):
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", path, "--MNNModel", "m.mnn", "--bizCode", "x", *flags])
    net = MNN.nn.load_module_from_file("m.mnn", ["X"], ["Y", "Y_h"])
    x = MNN.expr.placeholder([T, B, I], MNN.expr.NCHW, MNN.expr.float)
    x.write(X)
    return np.array(MNN.expr.convert(net.forward([x])[0], MNN.expr.NCHW).read())


VARIANTS = ("linear_before_reset=0", "linear_before_reset=1", "mixture")


def closest(y, bias):
    """The variants that y equals."""
    off = {v: float(np.abs(y - equations(v, bias)).max()) for v in VARIANTS}
    return [v for v in VARIANTS if off[v] < 1e-5], off


seen = []
for after, bias, flags in ((0, 1, []), (1, 1, []), (0, 0, []), (0, 1, ["--useOriginRNNImpl"]), (1, 1, ["--useOriginRNNImpl"])):
    model("m.onnx", after, bias)
    right = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"]).run(["Y"], {"X": X})[0]
    assert np.abs(right - equations(f"linear_before_reset={after}", bias)).max() < 1e-5
    equal, off = closest(by_mnn("m.onnx", *flags), bias)
    seen.append((f"file says linear_before_reset={after}, {'biases' if bias else 'no biases'} {' '.join(flags)}", equal, off))

print("\n==== what MNN's result equals")
for what, equal, off in seen:
    print(f"{what}: {equal}   distances " + ", ".join(f"{v} {d:.1e}" for v, d in off.items()))

got = [equal for _, equal, _ in seen]
assert got[0] == ["mixture"], got
assert seen[0][2]["linear_before_reset=0"] > 0.05 and seen[0][2]["linear_before_reset=1"] > 0.05, seen[0]
assert got[1] == ["linear_before_reset=1"], got
assert got[2] == ["linear_before_reset=1", "mixture"], got
assert got[3] == ["linear_before_reset=0"], got
assert got[4] == ["linear_before_reset=1"], got
print("As described: a GRU that is neither of ONNX's two.")
PY
venv/bin/python see.py
