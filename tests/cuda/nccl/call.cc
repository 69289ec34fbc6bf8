#include "call.h"

#include <fmt/format.h>

namespace molora::fake_nccl {

ncclResult_t why_not_usable(Communicator& communicator) {
  const int rank = communicator.rank();
  if (communicator.progress().must_be_polled()) {
    return communicator.breach(
        rank, "not-polled",
        fmt::format("{} is called after a call that returned ncclInProgress, expected "
                    "ncclCommGetAsyncError until it says ncclSuccess",
                    current_call()));
  }
  const ncclResult_t error = communicator.error();
  if (error != ncclSuccess) return error;
  if (communicator.is_finalized) {
    return communicator.breach(rank, "finalized",
                               fmt::format("{} is called after ncclCommFinalize", current_call()));
  }
  return ncclSuccess;
}

}  // namespace molora::fake_nccl
