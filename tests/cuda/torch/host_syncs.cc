#include "host_syncs.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <c10/util/Backtrace.h>
#include <c10/util/Exception.h>

#include "fake_torch.h"

namespace molora::fake_torch {

namespace {

constexpr uint64_t kMostPrinted = 20;

std::atomic<uint64_t> syncs{0};
std::atomic<uint64_t> reads{0};

const std::string& wanted() {
  static const char* value = std::getenv("FAKE_TORCH_SYNC");
  static const std::string text = value == nullptr ? "" : value;
  return text;
}

}  // namespace

void note_host_sync(const char* what) {
  const uint64_t before = syncs++;
  if (wanted() == "warn" && before < kMostPrinted) {
    std::fprintf(stderr, "fake torch: %s makes the host wait for the device\n%s\n", what,
                 c10::get_backtrace(/*frames_to_skip=*/1, /*maximum_number_of_frames=*/40).c_str());
  }
  TORCH_CHECK(wanted() != "error", "fake torch: ", what,
              " makes the host wait for the device (FAKE_TORCH_SYNC=error)");
}

void note_host_read() { ++reads; }

}  // namespace molora::fake_torch

uint64_t fake_torch_host_syncs() { return molora::fake_torch::syncs; }
uint64_t fake_torch_host_reads() { return molora::fake_torch::reads; }
