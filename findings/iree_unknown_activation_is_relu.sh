#!/usr/bin/env bash
# iree-base-compiler 3.13.0, iree-base-runtime 3.13.0, onnx 1.23.2, onnxruntime 1.32.0 (right values), numpy 2.4.6, Python 3.11.
# Seen: IREE computes every activation of an ONNX LSTM that is not spelt "Sigmoid" or "Tanh" as a Relu.
# HardSigmoid gates become Relu gates, which have no upper bound: a GRU's output passes 10 here, and may not pass 1.
# Softsign becomes a Relu, and so does "sigmoid" in small letters, which ONNX Runtime takes.
# The import and the compiler say nothing.
# A good guess is wrong: the same compiler refuses a node with clip, so one expects it to refuse these.
# Somebody who knows other converters guesses that the attribute is ignored, and gets Sigmoid and Tanh.
# HardSigmoid gates were the default of early Keras 2, so such files exist.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3.11 -m venv venv
venv/bin/pip install --quiet "iree-base-compiler[onnx]==3.13.0" iree-base-runtime==3.13.0 onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6

cat > see.py <<'PY'
import itertools
import subprocess

import iree.runtime
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

T, B, I, H = 5, 3, 4, 6
FUNCTIONS = {
    "Sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "Tanh": np.tanh,
    "Relu": lambda v: np.maximum(v, 0),
    "HardSigmoid": lambda v: np.clip(0.2 * v + 0.5, 0, 1),
    "Softsign": lambda v: v / (1 + np.abs(v)),
}
rng = np.random.default_rng(0)
X = rng.standard_normal((T, B, I)).astype(np.float32)
ARRAYS = {
    kind: [(rng.standard_normal(s) * 0.5).astype(np.float32) for s in ((1, g * H, I), (1, g * H, H), (1, 2 * g * H))]
    for kind, g in (("LSTM", 4), ("GRU", 3))
}


def save(kind, **attributes):
    node = helper.make_node(kind, ["X", "W", "R", "B"], ["Y"], hidden_size=H, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [T, B, I])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [T, 1, B, H])],
        [numpy_helper.from_array(a, n) for a, n in zip(ARRAYS[kind], "WRB")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "m.onnx")


def by_onnxruntime():
    return onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"]).run(None, {"X": X})[0]


def compile_it():
    subprocess.run(["venv/bin/iree-import-onnx", "m.onnx", "-o", "m.mlir"], check=True)
    return subprocess.run(
        ["venv/bin/iree-compile", "m.mlir", "-o", "m.vmfb", "--iree-hal-target-device=local",
         "--iree-hal-local-target-device-backends=llvm-cpu", "--iree-llvmcpu-target-cpu=generic"],
        capture_output=True, text=True)


def by_iree():
    done = compile_it()
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
    context = iree.runtime.SystemContext(config=iree.runtime.Config("local-sync"))
    with open("m.vmfb", "rb") as file:
        context.add_vm_module(iree.runtime.VmModule.copy_buffer(context.instance, file.read()))
    return np.asarray(context.modules.module["g"](X))


def lstm(gate, candidate, out):
    """ONNX's LSTM in float64; rows i o f c."""
    w, r, b = (a[0].astype(float) for a in ARRAYS["LSTM"])
    h, c, ys = np.zeros((B, H)), np.zeros((B, H)), []
    for x in X:
        i, o, f, g = np.split(x @ w.T + h @ r.T + b[: 4 * H] + b[4 * H :], 4, axis=1)
        c = FUNCTIONS[gate](f) * c + FUNCTIONS[gate](i) * FUNCTIONS[candidate](g)
        h = FUNCTIONS[gate](o) * FUNCTIONS[out](c)
        ys.append(h)
    return np.stack(ys)[:, None]


def which(y):
    return [n for n in itertools.product(FUNCTIONS, repeat=3) if np.allclose(y, lstm(*n), rtol=1e-4, atol=1e-5)]


for written, meant, computed in (
    (["Sigmoid", "Tanh", "Tanh"],) * 3,
    (["HardSigmoid", "Tanh", "Tanh"], ["HardSigmoid", "Tanh", "Tanh"], ["Relu", "Tanh", "Tanh"]),
    (["Sigmoid", "Softsign", "Tanh"], ["Sigmoid", "Softsign", "Tanh"], ["Sigmoid", "Relu", "Tanh"]),
    (["sigmoid", "tanh", "tanh"], ["Sigmoid", "Tanh", "Tanh"], ["Relu", "Relu", "Relu"]),
):
    save("LSTM", activations=written)
    right, seen = which(by_onnxruntime()), which(by_iree())
    print(f"LSTM, file says {written}: ONNX Runtime computes {right}, IREE {seen}")
    assert right == [tuple(meant)] and seen == [tuple(computed)]

save("GRU", activations=["HardSigmoid", "Tanh"], linear_before_reset=1)
right, seen = np.abs(by_onnxruntime()).max(), np.abs(by_iree()).max()
print(f"GRU with HardSigmoid gates, largest output: ONNX Runtime {right:.2f}, IREE {seen:.1f}")
assert right <= 1 and seen > 5

save("LSTM", clip=0.5)
done = compile_it()
print(f"LSTM with clip: the compiler's return code is {done.returncode}")
assert done.returncode != 0 and "failed to legalize" in done.stderr
print("As described: what is not Sigmoid or Tanh is a Relu.")
PY
venv/bin/python see.py
