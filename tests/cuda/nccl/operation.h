// One operation as it was called: what, with which buffers, on which stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <nccl.h>

namespace molora::fake_nccl {

enum class OperationKind : uint32_t {
  kAllReduce,
  kReduce,
  kReduceScatter,
  kBroadcast,
  kAllGather,
  kAlltoAll,
  kGather,
  kScatter,
  kSend,
  kRecv,
};

struct Operation {
  OperationKind kind = OperationKind::kAllReduce;
  const void* send = nullptr;
  void* recv = nullptr;
  size_t count = 0;  // of elements, as the call of this kind counts
  ncclDataType_t type = ncclInt8;
  ncclRedOp_t reduction = ncclSum;
  int root = 0;  // the peer, for send and receive
  cudaStream_t stream = nullptr;
};

const char* name_of(OperationKind kind);
const char* name_of(ncclDataType_t type);
const char* name_of(ncclRedOp_t reduction);
size_t bytes_of(ncclDataType_t type);

bool is_between_peers(OperationKind kind);
bool has_root(OperationKind kind);
bool is_reduction(OperationKind kind);

// "AllReduce of 5 float32, sum", "Send of 3 int8 to rank 1".
std::string text_of(const Operation& operation);

// The bytes that this rank's buffers must hold; 0 where a buffer is not used on this rank.
size_t send_bytes(const Operation& operation, int rank, int size);
size_t recv_bytes(const Operation& operation, int rank, int size);

struct Span {
  std::byte* begin = nullptr;
  size_t bytes = 0;
};
// The parts of the destination that the operation brings in from elsewhere: all of it, but for what
// an in-place call gives as its source.
std::vector<Span> parts_to_fill(const Operation& operation, int rank, int size);

}  // namespace molora::fake_nccl
