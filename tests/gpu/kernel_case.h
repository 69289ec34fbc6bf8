// One kernel on the GPU against the same body on the host, and how long it takes.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>

#include "cuda/emulator/emulate.h"
#include "kernels/bodies/number.h"
#include "kernels/cuda/launch.h"

namespace molora::testing {

inline void check(int result, const char* call) {
  if (result == cudaSuccess) return;
  throw std::runtime_error(std::string(call) +
                           " failed: " + cudaGetErrorString(static_cast<cudaError_t>(result)));
}

// Where a body is to find its numbers.
enum class Side { kHost, kGpu };

// The same numbers on the host and on the GPU.
template <typename Number>
class Numbers {
 public:
  explicit Numbers(std::vector<Number> values) : host_(std::move(values)) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes() + 16), "cudaMalloc");
    gpu_ = static_cast<Number*>(memory);
    check(cudaMemcpy(gpu_, host_.data(), bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  explicit Numbers(int64_t count) : Numbers(std::vector<Number>(static_cast<size_t>(count))) {}
  ~Numbers() { cudaFree(gpu_); }
  Numbers(const Numbers&) = delete;
  Numbers& operator=(const Numbers&) = delete;
  Numbers(Numbers&&) = delete;
  Numbers& operator=(Numbers&&) = delete;

  Number* on(Side side) { return side == Side::kHost ? host_.data() : gpu_; }
  const std::vector<Number>& host() const { return host_; }
  std::vector<Number> gpu() const {
    std::vector<Number> values(host_.size());
    check(cudaMemcpy(values.data(), gpu_, bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return values;
  }
  size_t bytes() const { return host_.size() * sizeof(Number); }

 private:
  std::vector<Number> host_;
  Number* gpu_ = nullptr;
};

// `count` numbers in [-2, 2), the same everywhere.
template <typename Number>
std::vector<Number> some_values(int64_t count, uint32_t seed) {
  std::vector<Number> values(static_cast<size_t>(count));
  uint32_t state = seed * 2654435761u + 12345u;
  for (Number& value : values) {
    state = state * 1664525u + 1013904223u;
    const float number = static_cast<float>(static_cast<int>(state >> 16) - 32768) / 16384.0f;
    value = round_to<Number>(static_cast<Wide<Number>>(number));
  }
  return values;
}

// 0 when the GPU has the host's bytes; else the largest difference, relative to 1 or to the number.
template <typename Number>
double difference(const Numbers<Number>& numbers) {
  const std::vector<Number> got = numbers.gpu();
  if (std::memcmp(got.data(), numbers.host().data(), numbers.bytes()) == 0) return 0;
  if constexpr (std::is_integral_v<Number>) return 1;
  double largest = 0;
  if constexpr (!std::is_integral_v<Number>) {
    for (size_t i = 0; i < got.size(); ++i) {
      const auto a = static_cast<double>(to_wide(got[i]));
      const auto b = static_cast<double>(to_wide(numbers.host()[i]));
      if (std::isnan(a) != std::isnan(b)) return INFINITY;
      if (!std::isnan(a)) largest = std::max(largest, std::abs(a - b) / std::max(1.0, std::abs(b)));
    }
  }
  return largest;
}

// What is run: names, and whether against the host (small) or against the clock (large).
enum class CaseKind { kAgainstHost, kAgainstClock };

struct KernelCase {
  std::string name;
  CaseKind kind = CaseKind::kAgainstHost;
  double tolerance = 0;  // 0: the bits of the host
  double bytes = 0;      // that must move, for the clock
};

template <typename Body>
void time_body(const KernelCase& what, const Body& body) {
  constexpr int kLaunches = 20;
  check(launch(body, nullptr), "launch");
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kLaunches; ++i) check(launch(body, nullptr), "launch");
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  const double time =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / kLaunches;
  std::printf("FIGURE kernel.%s.time %.1f us\n", what.name.c_str(), time * 1e6);
  if (what.bytes > 0) {
    std::printf("FIGURE kernel.%s.memory %.1f GB/s\n", what.name.c_str(), what.bytes / time / 1e9);
  }
}

// Runs the body that make(side) gives and returns whether its outputs are right. The host's side
// stays as it is when the clock runs.
template <typename Make, typename... Output>
bool run_case(const KernelCase& what, const Make& make, const Numbers<Output>&... outputs) {
  if (what.kind == CaseKind::kAgainstClock) {
    time_body(what, make(Side::kGpu));
    return true;
  }
  emulate(make(Side::kHost));
  check(launch(make(Side::kGpu), nullptr), "launch");
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  const double largest = std::max({0.0, difference(outputs)...});
  const bool is_right = largest <= what.tolerance;
  std::printf("%-40s %s (difference %.2e, allowed %.0e)\n", what.name.c_str(),
              is_right ? "ok" : "FAILED", largest, what.tolerance);
  return is_right;
}

}  // namespace molora::testing
