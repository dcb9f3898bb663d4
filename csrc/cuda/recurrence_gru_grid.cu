#include "../cells/gru.h"
#include "recurrence_launch.cuh"

namespace rnn::cuda {

template void launch_recurrence<Gru, Team::grid>(const RecurrenceForward&, Dtype, const Place&);
template void launch_recurrence<Gru, Team::grid>(const RecurrenceBackward&, Dtype, const Place&);

}  // namespace rnn::cuda
