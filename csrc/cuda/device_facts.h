// What the planner asks of a device.
#pragma once

#include "plan/plan.h"

namespace rnn::cuda {

// Throws std::runtime_error with CUDA's own words when it cannot say.
Facts facts_of(int device);

}  // namespace rnn::cuda
