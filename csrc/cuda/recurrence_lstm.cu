#include "../cells/lstm.h"
#include "recurrence_launch.cuh"

namespace rnn::cuda {

template void launch_recurrence<Lstm, Team::alone>(const RecurrenceForward&, Dtype, const Place&);
template void launch_recurrence<Lstm, Team::alone>(const RecurrenceBackward&, Dtype, const Place&);

}  // namespace rnn::cuda
