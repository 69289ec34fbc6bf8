#include "gpu/nccl_rank.h"

#include <thread>

namespace molora::testing {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kSettleLimit{60};

void pause_briefly() { std::this_thread::sleep_for(std::chrono::microseconds(20)); }

}  // namespace

void check(cudaError_t result, const char* call) {
  if (result == cudaSuccess) return;
  throw GpuError(std::string(call) + " failed: " + cudaGetErrorString(result));
}

GpuBytes::GpuBytes(size_t bytes) { check(cudaMalloc(&data_, bytes > 0 ? bytes : 1), "cudaMalloc"); }

void GpuBytes::write(const std::vector<uint8_t>& values, cudaStream_t stream) {
  check(cudaMemcpyAsync(data_, values.data(), values.size(), cudaMemcpyHostToDevice, stream),
        "cudaMemcpyAsync");
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
}

std::vector<uint8_t> GpuBytes::read(size_t bytes, cudaStream_t stream) {
  std::vector<uint8_t> values(bytes);
  check(cudaMemcpyAsync(values.data(), data_, bytes, cudaMemcpyDeviceToHost, stream),
        "cudaMemcpyAsync");
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  return values;
}

NcclRank::NcclRank(const ncclUniqueId& id, int rank, int size, cudaStream_t stream)
    : rank_(rank), size_(size), stream_(stream) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.commName = "ranks";
  const ncclResult_t result = ncclCommInitRankConfig(&comm_, size, id, rank, &config);
  if (comm_ == nullptr) {
    throw GpuError(std::string("ncclCommInitRankConfig failed: ") + ncclGetErrorString(result));
  }
  settle(result, "ncclCommInitRankConfig");
}

NcclRank::~NcclRank() {
  if (comm_ == nullptr) return;
  try {
    settle(ncclCommFinalize(comm_), "ncclCommFinalize");
    if (comm_ != nullptr) ncclCommDestroy(comm_);
  } catch (const GpuError&) {  // settle() has aborted the communicator
  }
}

void NcclRank::abort() {
  if (comm_ != nullptr) ncclCommAbort(comm_);
  comm_ = nullptr;
}

void NcclRank::settle(ncclResult_t result, const char* call) {
  const auto end = Clock::now() + kSettleLimit;
  while (result == ncclSuccess || result == ncclInProgress) {
    if (ncclCommGetAsyncError(comm_, &result) != ncclSuccess) break;
    if (result == ncclSuccess) return;
    if (Clock::now() > end) break;
    pause_briefly();
  }
  const std::string words = std::string(call) + " failed: " + ncclGetErrorString(result) + " (" +
                            ncclGetLastError(comm_) + ")";
  abort();
  throw GpuError(words);
}

void NcclRank::all_gather(const uint8_t* send, uint8_t* recv, size_t bytes) {
  settle(ncclAllGather(send, recv, bytes, ncclUint8, comm_, stream_), "ncclAllGather");
}

void NcclRank::all_to_all(const uint8_t* send, uint8_t* recv, size_t bytes_each) {
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 28, 0)
  settle(ncclAlltoAll(send, recv, bytes_each, ncclUint8, comm_, stream_), "ncclAlltoAll");
#else
  const std::vector<size_t> parts(static_cast<size_t>(size_), bytes_each);
  exchange(send, parts, recv, parts);
#endif
}

void NcclRank::broadcast(uint8_t* buffer, size_t bytes, int root) {
  settle(ncclBroadcast(buffer, buffer, bytes, ncclUint8, root, comm_, stream_), "ncclBroadcast");
}

void NcclRank::exchange(const uint8_t* send, const std::vector<size_t>& send_bytes, uint8_t* recv,
                        const std::vector<size_t>& recv_bytes) {
  ncclResult_t result = ncclGroupStart();
  for (int peer = 0; peer < size_; ++peer) {
    const size_t out = send_bytes[static_cast<size_t>(peer)];
    const size_t in = recv_bytes[static_cast<size_t>(peer)];
    if (peer == rank_) {
      check(cudaMemcpyAsync(recv, send, out, cudaMemcpyDeviceToDevice, stream_), "cudaMemcpyAsync");
    } else {
      if (out > 0) ncclSend(send, out, ncclUint8, peer, comm_, stream_);
      if (in > 0) ncclRecv(recv, in, ncclUint8, peer, comm_, stream_);
    }
    send += out;
    recv += in;
  }
  if (result == ncclSuccess) result = ncclGroupEnd();
  settle(result, "ncclGroupEnd");
}

void NcclRank::wait(std::chrono::seconds limit) {
  const auto end = Clock::now() + limit;
  while (true) {
    const cudaError_t state = cudaStreamQuery(stream_);
    if (state == cudaSuccess) return;
    if (state != cudaErrorNotReady) check(state, "cudaStreamQuery");
    ncclResult_t result = ncclSuccess;
    if (comm_ != nullptr) ncclCommGetAsyncError(comm_, &result);
    if (result != ncclSuccess && result != ncclInProgress) settle(result, "a collective");
    if (Clock::now() > end) throw GpuError("a collective has not ended within the limit");
    pause_briefly();
  }
}

}  // namespace molora::testing
