#include "checks.h"

#include <array>
#include <string>

#include <fmt/format.h>

#include "fake_cuda.h"
#include "report.h"

namespace molora::fake_nccl {

namespace {

std::string why_not_arguments(const Communicator& communicator, const Operation& operation) {
  if (operation.type < 0 || operation.type >= ncclNumTypes) {
    return fmt::format("element type {} is not one", static_cast<int>(operation.type));
  }
  if (is_reduction(operation.kind) &&
      (operation.reduction < 0 || operation.reduction >= ncclNumOps)) {
    return fmt::format("operator {} is not one", static_cast<int>(operation.reduction));
  }
  const bool has_rank = has_root(operation.kind) || is_between_peers(operation.kind);
  if (has_rank && (operation.root < 0 || operation.root >= communicator.size())) {
    return fmt::format("rank {} is not in [0, {})", operation.root, communicator.size());
  }
  return {};
}

std::string why_not_buffer(const char* name, const void* begin, size_t bytes, int device) {
  std::array<char, 512> why{};
  if (bytes == 0 ||
      fake_cuda_check_device_memory(begin, bytes, device, why.data(), why.size()) == 0) {
    return {};
  }
  return fmt::format("the {} buffer, expected {} bytes of live memory of device {}: {}", name,
                     bytes, device, why.data());
}

// Where an in-place call has its source, as an offset into the destination or (negative) of the
// destination into the source; whether there is such a form at all.
bool is_in_place(const Communicator& communicator, const Operation& operation) {
  const auto* send = static_cast<const std::byte*>(operation.send);
  const auto* recv = static_cast<const std::byte*>(operation.recv);
  const size_t block = operation.count * bytes_of(operation.type);
  const size_t mine = static_cast<size_t>(communicator.rank()) * block;
  switch (operation.kind) {
    case OperationKind::kAllReduce:
    case OperationKind::kReduce:
    case OperationKind::kBroadcast:
      return send == recv;
    case OperationKind::kAllGather:
    case OperationKind::kGather:
      return send == recv + mine;
    case OperationKind::kReduceScatter:
    case OperationKind::kScatter:
      return recv == send + mine;
    case OperationKind::kAlltoAll:
    case OperationKind::kSend:
    case OperationKind::kRecv:
      break;
  }
  return false;
}

std::string why_not_buffers(const Communicator& communicator, const Operation& operation) {
  const size_t send = send_bytes(operation, communicator.rank(), communicator.size());
  const size_t recv = recv_bytes(operation, communicator.rank(), communicator.size());
  std::string why = why_not_buffer("send", operation.send, send, communicator.device());
  if (why.empty()) why = why_not_buffer("receive", operation.recv, recv, communicator.device());
  return why;
}

bool is_overlapping(const Communicator& communicator, const Operation& operation) {
  const auto* from = static_cast<const std::byte*>(operation.send);
  const auto* to = static_cast<const std::byte*>(operation.recv);
  const size_t send = send_bytes(operation, communicator.rank(), communicator.size());
  const size_t recv = recv_bytes(operation, communicator.rank(), communicator.size());
  return send > 0 && recv > 0 && from < to + recv && to < from + send &&
         !is_in_place(communicator, operation);
}

}  // namespace

ncclResult_t check_operation(Communicator& communicator, const Operation& operation) {
  const int rank = communicator.rank();
  const std::string argument = why_not_arguments(communicator, operation);
  if (!argument.empty()) {
    communicator.breach(rank, "argument", fmt::format("{}: {}", current_call(), argument));
    return ncclInvalidArgument;
  }
  const int device = fake_cuda_stream_device(operation.stream);
  if (device != communicator.device()) {
    return communicator.breach(rank, "stream-device",
                               fmt::format("{}: expected a stream of device {}, got {}",
                                           text_of(operation), communicator.device(),
                                           device < 0 ? "one that is destroyed or never was one"
                                                      : fmt::format("one of device {}", device)));
  }
  const std::string buffers = why_not_buffers(communicator, operation);
  if (!buffers.empty()) {
    return communicator.breach(rank, "buffer", fmt::format("{}: {}", text_of(operation), buffers));
  }
  if (is_overlapping(communicator, operation)) {
    return communicator.breach(
        rank, "overlap",
        fmt::format("{}: send and receive buffer overlap, and not in an in-place form",
                    text_of(operation)));
  }
  return ncclSuccess;
}

}  // namespace molora::fake_nccl
