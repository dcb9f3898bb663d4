// What the planner and `python -m rnn_kernels info` ask about a GPU.
#pragma once

#include <string>
#include <vector>

namespace rnn::cuda {

struct Device {
    std::string name;
    int capability;  // 10 · major + minor
    int multiprocessors;
    int registers;      // 32-bit registers of a multiprocessor
    int shared_memory;  // bytes that one block may have
    int l2;             // bytes
    bool runs;          // a kernel of this build was launched and gave the right answer
};

// Every device the driver shows. Throws std::runtime_error with CUDA's own words when it cannot
// say (no driver, no device).
std::vector<Device> devices();

// Whether this build has code for that device. Launches nothing, allocates nothing.
bool has_code_for(int device);

// Versions as CUDA counts them: 1000 · major + 10 · minor; the driver's is 0 without a driver.
int runtime_version();
int driver_version();

}  // namespace rnn::cuda
