#include "../cells/lstm.h"
#include "gates_backward.cuh"
#include "gates_forward.cuh"

namespace rnn::cuda {

template void launch_forward<Lstm>(const GatesForward&, Dtype, Dtype, const Place&);
template void launch_backward<Lstm>(const GatesBackward&, Dtype, const Place&);

}  // namespace rnn::cuda
