#include "../cells/gru.h"
#include "recurrence_launch.cuh"

namespace rnn::cuda {

template void launch_recurrence<Gru, Team::cluster>(const RecurrenceForward&, Dtype, const Place&);
template void launch_recurrence<Gru, Team::cluster>(const RecurrenceBackward&, Dtype, const Place&);

}  // namespace rnn::cuda
