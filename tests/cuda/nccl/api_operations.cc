// The operations of NCCL and their groups.
#include <nccl.h>

#include "call.h"
#include "checks.h"
#include "failure_plan.h"
#include "group.h"

namespace molora::fake_nccl {

namespace {

ncclResult_t issue(const std::shared_ptr<Communicator>& communicator, const Operation& operation) {
  const FailureKind failure =
      planned_failure(communicator->name(), communicator->rank(), ++communicator->num_calls);
  if (failure == FailureKind::kCall) {
    communicator->fail_here(ncclInternalError, "fails as FAKE_NCCL_FAIL plans (call)");
    return ncclInternalError;
  }
  const ncclResult_t checked = check_operation(*communicator, operation);
  if (checked != ncclSuccess) return checked;
  if (Group::current().is_open()) {
    Group::current().add(communicator, operation, failure);
    return communicator->error();
  }
  return launch(Batch{communicator, {operation}, failure});
}

ncclResult_t submit(const char* name, ncclComm_t handle, const Operation& operation) {
  const ncclResult_t result = call_on(
      name, handle, [&](const auto& communicator) { return issue(communicator, operation); });
  if (result != ncclSuccess && result != ncclInProgress) Group::current().fail(result);
  return result;
}

}  // namespace

extern "C" {

ncclResult_t ncclAllReduce(const void* send, void* recv, size_t count, ncclDataType_t type,
                           ncclRedOp_t reduction, ncclComm_t comm, cudaStream_t stream) {
  return submit("ncclAllReduce", comm,
                {OperationKind::kAllReduce, send, recv, count, type, reduction, 0, stream});
}

ncclResult_t ncclReduce(const void* send, void* recv, size_t count, ncclDataType_t type,
                        ncclRedOp_t reduction, int root, ncclComm_t comm, cudaStream_t stream) {
  return submit("ncclReduce", comm,
                {OperationKind::kReduce, send, recv, count, type, reduction, root, stream});
}

ncclResult_t ncclReduceScatter(const void* send, void* recv, size_t count, ncclDataType_t type,
                               ncclRedOp_t reduction, ncclComm_t comm, cudaStream_t stream) {
  return submit("ncclReduceScatter", comm,
                {OperationKind::kReduceScatter, send, recv, count, type, reduction, 0, stream});
}

ncclResult_t ncclBroadcast(const void* send, void* recv, size_t count, ncclDataType_t type,
                           int root, ncclComm_t comm, cudaStream_t stream) {
  return submit("ncclBroadcast", comm,
                {OperationKind::kBroadcast, send, recv, count, type, ncclSum, root, stream});
}

ncclResult_t ncclBcast(void* buffer, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                       cudaStream_t stream) {
  return submit("ncclBcast", comm,
                {OperationKind::kBroadcast, buffer, buffer, count, type, ncclSum, root, stream});
}

ncclResult_t ncclAllGather(const void* send, void* recv, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  return submit("ncclAllGather", comm,
                {OperationKind::kAllGather, send, recv, count, type, ncclSum, 0, stream});
}

ncclResult_t ncclAlltoAll(const void* send, void* recv, size_t count, ncclDataType_t type,
                          ncclComm_t comm, cudaStream_t stream) {
  return submit("ncclAlltoAll", comm,
                {OperationKind::kAlltoAll, send, recv, count, type, ncclSum, 0, stream});
}

ncclResult_t ncclGather(const void* send, void* recv, size_t count, ncclDataType_t type, int root,
                        ncclComm_t comm, cudaStream_t stream) {
  return submit("ncclGather", comm,
                {OperationKind::kGather, send, recv, count, type, ncclSum, root, stream});
}

ncclResult_t ncclScatter(const void* send, void* recv, size_t count, ncclDataType_t type, int root,
                         ncclComm_t comm, cudaStream_t stream) {
  return submit("ncclScatter", comm,
                {OperationKind::kScatter, send, recv, count, type, ncclSum, root, stream});
}

ncclResult_t ncclSend(const void* send, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  return submit("ncclSend", comm,
                {OperationKind::kSend, send, nullptr, count, type, ncclSum, peer, stream});
}

ncclResult_t ncclRecv(void* recv, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return submit("ncclRecv", comm,
                {OperationKind::kRecv, nullptr, recv, count, type, ncclSum, peer, stream});
}

ncclResult_t ncclGroupStart() {
  Group::current().start();
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  current_call() = "ncclGroupEnd";
  return Group::current().end();
}

}  // extern "C"

}  // namespace molora::fake_nccl
