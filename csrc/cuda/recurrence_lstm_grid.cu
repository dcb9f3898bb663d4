#include "../cells/lstm.h"
#include "recurrence_launch.cuh"

namespace rnn::cuda {

template void launch_recurrence<Lstm, Team::grid>(const RecurrenceForward&, Dtype, const Place&);
template void launch_recurrence<Lstm, Team::grid>(const RecurrenceBackward&, Dtype, const Place&);

}  // namespace rnn::cuda
