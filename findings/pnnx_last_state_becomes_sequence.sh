#!/usr/bin/env bash
# pnnx 20261020, ncnn 1.0.20261020, torch 2.13.0, numpy 2.4.6, Python 3.11.
# Seen: pnnx converts a model that uses only the last state h_n of an LSTM or GRU into one that uses the output y.
# A classifier fc(h_n.squeeze(0)) then gives one row per time step, not one row per sequence.
# ncnn gives these rows, and so does the torch code that pnnx writes for checking.
# No message says so. If y is returned too, h_n is right.
# A good guess is wrong: the two results have different shapes, so one expects the right one, or an error.
# Reading the last state alone is also the plainest way to write a classifier.
# Who takes the first row as the answer gets the answer after one time step.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3.11 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy==2.4.6 pnnx==20261020 ncnn==1.0.20261020

cat > see.py <<'PY'
import os
import tempfile

import ncnn
import numpy as np
import pnnx
import torch
from torch import nn

T, I, H, CLASSES = 5, 4, 6, 3


class Classifier(nn.Module):
    """Reads h_n alone."""

    def __init__(self, kind):
        super().__init__()
        self.rnn = getattr(nn, kind)(I, H, batch_first=True)
        self.fc = nn.Linear(H, CLASSES)

    def forward(self, x):
        _, state = self.rnn(x)
        h_n = state[0] if isinstance(self.rnn, nn.LSTM) else state
        return self.fc(h_n.squeeze(0))


class Everything(nn.Module):
    """The same layer with all of its results returned."""

    def __init__(self, classifier):
        super().__init__()
        self.rnn = classifier.rnn

    def forward(self, x):
        y, state = self.rnn(x)
        return (y, *state) if isinstance(self.rnn, nn.LSTM) else (y, state)


def convert(module, x):
    """The results of the torch code that pnnx writes, and of ncnn."""
    os.chdir(tempfile.mkdtemp(dir=os.environ["SCRATCH"]))
    by_code = pnnx.export(module, "m.pt", (x,)).eval()(x)
    by_code = [by_code] if torch.is_tensor(by_code) else list(by_code)
    net = ncnn.Net()
    assert net.load_param("m.ncnn.param") == 0 and net.load_model("m.ncnn.bin") == 0
    extractor = net.create_extractor()
    extractor.input("in0", ncnn.Mat(x[0].numpy()).clone())
    by_ncnn = []
    for n in range(len(by_code)):
        return_code, mat = extractor.extract(f"out{n}")
        assert return_code == 0
        by_ncnn.append(torch.from_numpy(np.array(mat)))
    return by_code, by_ncnn


NCNN = 5e-3  # ncnn's weights are float16
lines = []
with torch.no_grad():
    for kind in ("LSTM", "GRU"):
        torch.manual_seed(0)
        classifier = Classifier(kind).eval()
        x = torch.randn(1, T, I)

        right = classifier(x)
        y = classifier.rnn(x)[0][0]
        every_step = classifier.fc(y)
        (by_code,), (by_ncnn,) = convert(classifier, x)
        lines += [
            f"{kind}: torch {tuple(right.shape)}, pnnx's torch code {tuple(by_code.shape)}, ncnn {tuple(by_ncnn.shape)}",
            f"    torch {right[0].numpy().round(3)}, ncnn's first row {by_ncnn[0].numpy().round(3)}",
        ]
        assert right.shape == (1, CLASSES)
        assert by_code.shape == (T, CLASSES) and torch.allclose(by_code, every_step, atol=1e-5)
        assert by_ncnn.shape == (T, CLASSES) and torch.allclose(by_ncnn, every_step, atol=NCNN)
        after_one_step = classifier(x[:, :1])[0]
        assert torch.allclose(by_ncnn[0], after_one_step, atol=NCNN)
        assert (by_ncnn[0] - right[0]).abs().max() > 0.02

        everything = Everything(classifier).eval()
        all_right = everything(x)
        codes, ncnns = convert(everything, x)
        for a, b, c in zip(all_right, codes, ncnns):
            assert a.shape == b.shape and torch.allclose(a, b, atol=1e-5)
            assert torch.allclose(a, c.reshape(a.shape), atol=NCNN)
        lines.append("    with y returned as well: y and h_n right in both")

print("\n==== the answer of a classifier that reads h_n alone")
print("\n".join(lines))
print("As described: h_n alone becomes y.")
PY
SCRATCH="$dir" venv/bin/python -W ignore see.py
