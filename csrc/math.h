// sigmoid and tanh of a scalar, for cells in CUDA kernels. Those of a SIMD vector are found in
// cpu/math.h through their argument.
#pragma once

#include <cmath>

#include "cell.h"

namespace rnn {

RNN_HD float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
RNN_HD double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
RNN_HD float tanh(float x) { return tanhf(x); }
RNN_HD double tanh(double x) { return ::tanh(x); }

}  // namespace rnn
