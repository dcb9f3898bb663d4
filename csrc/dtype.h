#pragma once

namespace rnn {

// The types that arrays are stored in.
enum class Dtype { fp32, fp64, bf16, fp16 };

}  // namespace rnn
