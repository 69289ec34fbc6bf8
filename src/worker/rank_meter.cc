#include "worker/rank_meter.h"

#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <span>
#include <utility>

#include "base/host_name.h"

namespace molora {

namespace {

constexpr size_t kNumNumbers = 6;

std::array<double, kNumNumbers> numbers_of(const RankUsage& usage) {
  return {usage.work_seconds,
          usage.waited_seconds,
          usage.run_queue_seconds,
          static_cast<double>(usage.major_faults),
          static_cast<double>(usage.tokens),
          static_cast<double>(usage.peak_memory_bytes)};
}

RankUsage usage_of(const std::string& host, std::span<const double> numbers) {
  RankUsage usage;
  usage.host = host;
  usage.work_seconds = numbers[0];
  usage.waited_seconds = numbers[1];
  usage.run_queue_seconds = numbers[2];
  usage.major_faults = static_cast<int64_t>(numbers[3]);
  usage.tokens = static_cast<int64_t>(numbers[4]);
  usage.peak_memory_bytes = static_cast<uint64_t>(numbers[5]);
  return usage;
}

}  // namespace

ProcessCounters ProcessCounters::now() {
  ProcessCounters counters;
  // Nanoseconds on a processor, nanoseconds in wait for one, turns (Documentation/scheduler/
  // sched-stats.rst of the kernel).
  std::ifstream file("/proc/thread-self/schedstat");
  double on_processor = 0.0;
  double in_queue = 0.0;
  if (file >> on_processor >> in_queue) counters.run_queue_seconds = in_queue * 1e-9;
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) == 0) {
    counters.major_faults = usage.ru_majflt;
    counters.peak_memory_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024;
  }
  return counters;
}

RankMeter::RankMeter(const Mesh& mesh)
    : mesh_(mesh), hosts_(all_gather_text(mesh.host(Axis::kAll), host_name())) {
  restart();
}

void RankMeter::restart() {
  waited_before_ = mesh_.waited_seconds();
  before_ = ProcessCounters::now();
}

void RankMeter::step_done(double seconds, int64_t tokens) {
  const ProcessCounters now = ProcessCounters::now();
  const double waited = mesh_.waited_seconds() - waited_before_;
  ++num_steps_;
  usage_.work_seconds += std::max(0.0, seconds - waited);
  usage_.waited_seconds += waited;
  usage_.run_queue_seconds += now.run_queue_seconds - before_.run_queue_seconds;
  usage_.major_faults += now.major_faults - before_.major_faults;
  usage_.tokens += tokens;
  usage_.peak_memory_bytes = now.peak_memory_bytes;
  restart();
}

RankUsages RankMeter::of_all_ranks() {
  const auto mine = numbers_of(std::exchange(usage_, RankUsage()));
  std::vector<double> all(hosts_.size() * kNumNumbers);
  mesh_.host(Axis::kAll)
      .all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  RankUsages usages;
  usages.num_steps = std::exchange(num_steps_, 0);
  for (size_t rank = 0; rank < hosts_.size(); ++rank) {
    usages.ranks.push_back(
        usage_of(hosts_[rank], std::span(all).subspan(rank * kNumNumbers, kNumNumbers)));
  }
  add(total_, usages);
  return usages;
}

}  // namespace molora
