#include "host_syncs.h"

#include <atomic>
#include <cstdlib>
#include <string>

#include <c10/util/Exception.h>

#include "fake_torch.h"
#include "stack_report.h"

namespace molora::fake_torch {

namespace {

std::atomic<uint64_t> syncs{0};
std::atomic<uint64_t> reads{0};

const std::string& wanted() {
  static const char* value = std::getenv("FAKE_TORCH_SYNC");
  static const std::string text = value == nullptr ? "" : value;
  return text;
}

}  // namespace

void note_host_sync(const char* what) {
  ++syncs;
  if (wanted() == "warn") {
    report_with_stack(std::string(what) + " makes the host wait for the device");
  }
  TORCH_CHECK(wanted() != "error", "fake torch: ", what,
              " makes the host wait for the device (FAKE_TORCH_SYNC=error)");
}

void note_host_read() { ++reads; }

}  // namespace molora::fake_torch

uint64_t fake_torch_host_syncs() { return molora::fake_torch::syncs; }
uint64_t fake_torch_host_reads() { return molora::fake_torch::reads; }
