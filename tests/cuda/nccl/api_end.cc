// How communicators end, and what they say of themselves.
#include <array>
#include <string>

#include <fmt/format.h>
#include <nccl.h>

#include "call.h"
#include "group.h"

namespace molora::fake_nccl {

namespace {

bool all_have_finalized(const Communicator& communicator) {
  for (int rank = 0; rank < communicator.size(); ++rank) {
    const RankSlot& slot = communicator.segment().slot(rank);
    if (slot.is_finalized.load() == 0 && slot.presence.load() == Presence::kLive) return false;
  }
  return true;
}

ncclResult_t finalize(const std::shared_ptr<Communicator>& communicator) {
  communicator->is_finalized = true;
  communicator->slot().is_finalized.store(1);
  communicator->segment().ring();
  if (!communicator->is_blocking()) return ncclInProgress;
  communicator->wait_for_operations();
  return communicator->error();
}

// Why a communicator cannot simply be let go; success when nothing stands in the way.
ncclResult_t why_not_destroy(Communicator& communicator) {
  const int rank = communicator.rank();
  if (communicator.progress().must_be_polled()) {
    return communicator.breach(rank, "not-polled",
                               "ncclCommDestroy is called while a call is in progress");
  }
  if (Group::current().holds(communicator)) {
    return communicator.breach(rank, "group",
                               "ncclCommDestroy is called inside a group with its operations");
  }
  if (communicator.has_unfinished()) {
    return communicator.breach(rank, "unfinished",
                               "ncclCommDestroy is called while operations are unfinished");
  }
  return ncclSuccess;
}

// What ncclCommGetAsyncError tells.
ncclResult_t state_of(Communicator& communicator) {
  communicator.look_after_others();
  const ncclResult_t error = communicator.error();
  if (error != ncclSuccess) return error;
  const ncclResult_t progress = communicator.progress().poll();
  if (progress != ncclSuccess) return progress;
  // A start that has failed has told its error before it ended.
  const ncclResult_t late = communicator.error();
  if (late != ncclSuccess || !communicator.is_finalized || communicator.is_blocking()) return late;
  const bool is_quiet = !communicator.has_unfinished() && all_have_finalized(communicator);
  return is_quiet ? ncclSuccess : ncclInProgress;
}

}  // namespace

extern "C" {

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  return call_on("ncclCommFinalize", comm, finalize);
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  current_call() = "ncclCommDestroy";
  if (comm == nullptr) return ncclSuccess;
  const auto communicator = find_handle(comm);
  if (!communicator) return ncclInvalidArgument;
  const ncclResult_t why_not = why_not_destroy(*communicator);
  if (why_not == ncclSuccess) {
    communicator->leave(Presence::kLeft);
  } else {
    communicator->abort();
  }
  unregister_use(*communicator);
  remove_handle(comm, "destroyed");
  return why_not;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  current_call() = "ncclCommAbort";
  if (comm == nullptr) return ncclSuccess;
  const auto communicator = find_handle(comm);
  if (!communicator) return ncclInvalidArgument;
  communicator->abort();
  unregister_use(*communicator);
  remove_handle(comm, "aborted");
  return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  current_call() = "ncclCommGetAsyncError";
  const auto communicator = find_handle(comm);
  if (!communicator || state == nullptr) return ncclInvalidArgument;
  *state = state_of(*communicator);
  return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) {
  return call_on("ncclCommCount", comm, [&](const auto& communicator) {
    *count = communicator->size();
    return ncclSuccess;
  });
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
  return call_on("ncclCommUserRank", comm, [&](const auto& communicator) {
    *rank = communicator->rank();
    return ncclSuccess;
  });
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int* device) {
  return call_on("ncclCommCuDevice", comm, [&](const auto& communicator) {
    *device = communicator->device();
    return ncclSuccess;
  });
}

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclUnhandledCudaError:
      return "unhandled cuda error (run with NCCL_DEBUG=INFO for details)";
    case ncclSystemError:
      return "unhandled system error (run with NCCL_DEBUG=INFO for details)";
    case ncclInternalError:
      return "internal error - please report this issue to the NCCL developers";
    case ncclInvalidArgument:
      return "invalid argument (run with NCCL_DEBUG=WARN for details)";
    case ncclInvalidUsage:
      return "invalid usage (run with NCCL_DEBUG=WARN for details)";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclInProgress:
      return "NCCL operation in progress";
    case ncclNumResults:
      break;
  }
  return "unknown result code";
}

const char* ncclGetLastError(ncclComm_t comm) {
  current_call() = "ncclGetLastError";
  thread_local std::string text;
  if (comm == nullptr) return "";
  const auto communicator = find_handle(comm);
  text = communicator ? communicator->error_text() : "";
  return text.c_str();
}

ncclResult_t ncclMemAlloc(void** pointer, size_t bytes) {
  return cudaMalloc(pointer, bytes) == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
}

ncclResult_t ncclMemFree(void* pointer) {
  return cudaFree(pointer) == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
}

}  // extern "C"

}  // namespace molora::fake_nccl
