#include "operation.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace molora::fake_nccl {

const char* name_of(OperationKind kind) {
  constexpr std::array kNames = {"AllReduce", "Reduce", "ReduceScatter", "Broadcast", "AllGather",
                                 "AlltoAll",  "Gather", "Scatter",       "Send",      "Recv"};
  return kNames.at(static_cast<size_t>(kind));
}

const char* name_of(ncclDataType_t type) {
  constexpr std::array<const char*, ncclNumTypes> kNames = {
      "int8",    "uint8",   "int32",   "uint32",   "int64",      "uint64",
      "float16", "float32", "float64", "bfloat16", "float8e4m3", "float8e5m2"};
  return kNames.at(static_cast<size_t>(type));
}

const char* name_of(ncclRedOp_t reduction) {
  constexpr std::array<const char*, ncclNumOps> kNames = {"sum", "prod", "max", "min", "avg"};
  return kNames.at(static_cast<size_t>(reduction));
}

size_t bytes_of(ncclDataType_t type) {
  constexpr std::array<size_t, ncclNumTypes> kBytes = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
  return kBytes.at(static_cast<size_t>(type));
}

bool is_between_peers(OperationKind kind) {
  return kind == OperationKind::kSend || kind == OperationKind::kRecv;
}

bool has_root(OperationKind kind) {
  return kind == OperationKind::kReduce || kind == OperationKind::kBroadcast ||
         kind == OperationKind::kGather || kind == OperationKind::kScatter;
}

bool is_reduction(OperationKind kind) {
  return kind == OperationKind::kAllReduce || kind == OperationKind::kReduce ||
         kind == OperationKind::kReduceScatter;
}

std::string text_of(const Operation& operation) {
  std::string text =
      fmt::format("{} of {} {}", name_of(operation.kind), operation.count, name_of(operation.type));
  if (operation.kind == OperationKind::kSend) text += fmt::format(" to rank {}", operation.root);
  if (operation.kind == OperationKind::kRecv) text += fmt::format(" from rank {}", operation.root);
  if (is_reduction(operation.kind)) text += fmt::format(", {}", name_of(operation.reduction));
  if (has_root(operation.kind)) text += fmt::format(", root {}", operation.root);
  return text;
}

size_t send_bytes(const Operation& operation, int rank, int size) {
  const size_t bytes = operation.count * bytes_of(operation.type);
  const auto ranks = static_cast<size_t>(size);
  switch (operation.kind) {
    case OperationKind::kAllReduce:
    case OperationKind::kReduce:
    case OperationKind::kAllGather:
    case OperationKind::kGather:
    case OperationKind::kSend:
      return bytes;
    case OperationKind::kReduceScatter:
    case OperationKind::kAlltoAll:
      return bytes * ranks;
    case OperationKind::kBroadcast:
      return rank == operation.root ? bytes : 0;
    case OperationKind::kScatter:
      return rank == operation.root ? bytes * ranks : 0;
    case OperationKind::kRecv:
      break;
  }
  return 0;
}

size_t recv_bytes(const Operation& operation, int rank, int size) {
  const size_t bytes = operation.count * bytes_of(operation.type);
  const auto ranks = static_cast<size_t>(size);
  switch (operation.kind) {
    case OperationKind::kAllReduce:
    case OperationKind::kReduceScatter:
    case OperationKind::kBroadcast:
    case OperationKind::kScatter:
    case OperationKind::kRecv:
      return bytes;
    case OperationKind::kReduce:
      return rank == operation.root ? bytes : 0;
    case OperationKind::kAllGather:
    case OperationKind::kAlltoAll:
      return bytes * ranks;
    case OperationKind::kGather:
      return rank == operation.root ? bytes * ranks : 0;
    case OperationKind::kSend:
      break;
  }
  return 0;
}

std::vector<Span> parts_to_fill(const Operation& operation, int rank, int size) {
  auto* begin = static_cast<std::byte*>(operation.recv);
  std::byte* end = begin + recv_bytes(operation, rank, size);
  const auto* source = static_cast<const std::byte*>(operation.send);
  const std::byte* source_end = source + send_bytes(operation, rank, size);
  if (source == source_end || source_end <= begin || end <= source) {
    return begin == end ? std::vector<Span>{}
                        : std::vector<Span>{{begin, static_cast<size_t>(end - begin)}};
  }
  std::vector<Span> parts;
  if (source > begin) parts.push_back({begin, static_cast<size_t>(source - begin)});
  if (source_end < end) {
    parts.push_back({begin + (source_end - begin), static_cast<size_t>(end - source_end)});
  }
  return parts;
}

}  // namespace molora::fake_nccl
