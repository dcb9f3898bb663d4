#include "../cells/gru.h"
#include "gates_backward.cuh"
#include "gates_forward.cuh"

namespace rnn::cuda {

template void launch_forward<Gru>(const GatesForward&, Dtype, Dtype, const Place&);
template void launch_backward<Gru>(const GatesBackward&, Dtype, const Place&);

}  // namespace rnn::cuda
