// FAKE_NCCL_FAIL: which rank fails, at which of its operations, and how.
//
//   FAKE_NCCL_FAIL="rank=1,op=12,kind=async[,comm=NAME]"
//
// rank is the rank in the communicator; without it every rank fails. op counts the calls of one
// communicator (each send and receive is one), 1 for the first; 0, or none, is its start. comm is
// the name from ncclConfig_t; without it every communicator.
#pragma once

#include <cstdint>
#include <string>

namespace molora::fake_nccl {

enum class FailureKind {
  kNone,
  kAsync,              // the operation breaks on its stream: ncclSystemError from GetAsyncError
  kRemote,             // the same with ncclRemoteError
  kHang,               // the operation never ends until ncclCommAbort
  kCall,               // the call returns ncclInternalError and does nothing
  kInProgressForever,  // a nonblocking communicator never gets out of ncclInProgress
  kInit,               // ncclCommInitRank returns ncclSystemError
};

// What is planned for this operation of this rank.
FailureKind planned_failure(const std::string& communicator, int rank, uint64_t op);

}  // namespace molora::fake_nccl
