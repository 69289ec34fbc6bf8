// Buffers for tests of communicators, in the memory that a communicator works on.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

namespace molora::testing {

class TestMemory {
 public:
  virtual ~TestMemory() = default;
  virtual std::byte* take(size_t bytes) = 0;
  virtual void give_back(std::byte* memory) = 0;
  virtual void write(std::byte* to, std::span<const std::byte> from) = 0;
  // After all work that was given so far.
  virtual void read(std::span<std::byte> to, const std::byte* from) = 0;
};

class HostMemory final : public TestMemory {
 public:
  std::byte* take(size_t bytes) override { return new std::byte[bytes]; }
  void give_back(std::byte* memory) override { delete[] memory; }
  void write(std::byte* to, std::span<const std::byte> from) override {
    std::memcpy(to, from.data(), from.size());
  }
  void read(std::span<std::byte> to, const std::byte* from) override {
    std::memcpy(to.data(), from, to.size());
  }
};

inline TestMemory& host_memory() {
  static HostMemory memory;
  return memory;
}

// Some numbers in such memory.
template <typename Number>
class Buffer {
 public:
  Buffer(TestMemory& memory, const std::vector<Number>& values)
      : memory_(memory), size_(values.size()), data_(memory.take(bytes())) {
    if (size_ > 0) memory_.write(data_, std::as_bytes(std::span(values)));
  }
  Buffer(TestMemory& memory, size_t size) : Buffer(memory, std::vector<Number>(size)) {}
  ~Buffer() { memory_.give_back(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  Buffer(Buffer&&) = delete;
  Buffer& operator=(Buffer&&) = delete;

  std::span<std::byte> span() { return {data_, bytes()}; }
  std::vector<Number> values() {
    std::vector<Number> result(size_);
    if (size_ > 0) memory_.read(std::as_writable_bytes(std::span(result)), data_);
    return result;
  }

 private:
  size_t bytes() const { return size_ * sizeof(Number); }

  TestMemory& memory_;
  size_t size_;
  std::byte* data_;
};

}  // namespace molora::testing
