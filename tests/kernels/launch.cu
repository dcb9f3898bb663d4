#include "kernel.h"

void launch(const std::string& name, Kernel kernel, const rnn::cuda::Place& place,
            const rnn::cuda::Shape& shape, const Arguments& arguments) {
    rnn::cuda::launch(place, shape, [&] { return name; }, kernel, arguments);
}
