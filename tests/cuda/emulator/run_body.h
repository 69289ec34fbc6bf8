// How the tests of bodies run them: here on the host, or, in the program that is built with
// MOLORA_THROUGH_LAUNCHERS, as the product does, by the launchers that nvcc made and a CUDA run
// time.
#pragma once

#include <cstdint>
#include <cstring>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#if defined(MOLORA_THROUGH_LAUNCHERS)
#include <cuda_runtime_api.h>

#include "kernels/cuda/launch.h"
#else
#include "cuda/emulator/emulate.h"
#endif

namespace molora::testing {

#if defined(MOLORA_THROUGH_LAUNCHERS)
// The order of threads is the run time's (FAKE_CUDA_SEED).
constexpr uint64_t kOrders[] = {0};
template <typename Body>
void run_body(const Body& body, uint64_t /*order*/) {
  ASSERT_EQ(launch(body, nullptr), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
}
#else
constexpr uint64_t kOrders[] = {0, 1, 20240229};
template <typename Body>
void run_body(const Body& body, uint64_t order) {
  emulate(body, order);
}
#endif

template <typename Number>
bool same_bytes(const std::vector<Number>& a, const std::vector<Number>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(Number)) == 0);
}

// Calls run(outputs, order) with a fresh copy of `outputs` (a tuple of vectors) for each order of
// threads, expects the same bytes from all, and returns them.
template <typename Outputs, typename Run>
Outputs run_in_every_order(const Outputs& outputs, const Run& run) {
  Outputs first = outputs;
  run(first, kOrders[0]);
  for (const uint64_t order : kOrders) {
    Outputs again = outputs;
    run(again, order);
    const bool is_same = std::apply(
        [&](const auto&... a) {
          return std::apply([&](const auto&... b) { return (same_bytes(a, b) && ...); }, again);
        },
        first);
    EXPECT_TRUE(is_same) << "order " << order;
  }
  return first;
}

}  // namespace molora::testing
