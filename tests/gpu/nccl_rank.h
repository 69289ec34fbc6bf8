// One rank's NCCL communicator for the programs of this folder, driven as the product does it:
// nonblocking, one stream, every call polled until NCCL has accepted it.
#pragma once

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>
#include <nccl.h>

namespace molora::testing {

class GpuError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws: GpuError with the words of CUDA.
void check(cudaError_t result, const char* call);

// Memory of the current GPU.
class GpuBytes {
 public:
  explicit GpuBytes(size_t bytes);
  ~GpuBytes() { cudaFree(data_); }
  GpuBytes(const GpuBytes&) = delete;
  GpuBytes& operator=(const GpuBytes&) = delete;
  GpuBytes(GpuBytes&&) = delete;
  GpuBytes& operator=(GpuBytes&&) = delete;

  uint8_t* data() { return static_cast<uint8_t*>(data_); }
  void write(const std::vector<uint8_t>& values, cudaStream_t stream);
  std::vector<uint8_t> read(size_t bytes, cudaStream_t stream);

 private:
  void* data_ = nullptr;
};

class NcclRank {
 public:
  // Collective. Throws: GpuError.
  NcclRank(const ncclUniqueId& id, int rank, int size, cudaStream_t stream);
  ~NcclRank();
  NcclRank(const NcclRank&) = delete;
  NcclRank& operator=(const NcclRank&) = delete;
  NcclRank(NcclRank&&) = delete;
  NcclRank& operator=(NcclRank&&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  cudaStream_t stream() const { return stream_; }

  void all_gather(const uint8_t* send, uint8_t* recv, size_t bytes);
  void all_to_all(const uint8_t* send, uint8_t* recv, size_t bytes_each);
  void broadcast(uint8_t* buffer, size_t bytes, int root);
  // Parts of these lengths, by peer, as grouped sends and receives; the own part is not sent.
  void exchange(const uint8_t* send, const std::vector<size_t>& send_bytes, uint8_t* recv,
                const std::vector<size_t>& recv_bytes);

  // Waits for the stream. Throws: GpuError when NCCL reports an error or the limit is over.
  void wait(std::chrono::seconds limit = std::chrono::seconds(60));
  // Ends the communicator whatever is under way.
  void abort();

 private:
  void settle(ncclResult_t result, const char* call);

  int rank_;
  int size_;
  cudaStream_t stream_;
  ncclComm_t comm_ = nullptr;
};

}  // namespace molora::testing
