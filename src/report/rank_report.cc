#include "report/rank_report.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/unit_text.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr double kNoticeable = 0.01;  // seconds a step
constexpr size_t kMostWarnings = 3;
constexpr double kMostOfIt = 0.5;   // share of the difference that makes a cause
constexpr double kSwapping = 10.0;  // pages read a step

// Rounded, so that a line stays short: a thousandth of a step is below what is measured.
double rounded(double value) { return std::round(value * 1e6) / 1e6; }

// The lower one of two in the middle.
template <typename Of>
double median(const RankUsages& usages, const Of& of) {
  std::vector<double> values;
  for (const RankUsage& rank : usages.ranks) values.push_back(of(rank));
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double median_work(const RankUsages& usages) {
  return median(usages, [](const RankUsage& rank) { return rank.work_seconds; });
}

std::string name(const RankUsages& usages, size_t rank) {
  return fmt::format("rank {} (host {})", rank, usages.ranks[rank].host);
}

// The ranks by their own work, slowest first.
std::vector<size_t> by_work(const RankUsages& usages) {
  std::vector<size_t> ranks(usages.ranks.size());
  std::iota(ranks.begin(), ranks.end(), size_t{0});
  std::stable_sort(ranks.begin(), ranks.end(), [&](size_t a, size_t b) {
    return usages.ranks[a].work_seconds > usages.ranks[b].work_seconds;
  });
  return ranks;
}

// Why this rank is slower than the others, as far as the numbers tell.
std::string cause(const RankUsages& usages, const RankUsage& rank) {
  const auto steps = static_cast<double>(usages.num_steps);
  const double more = rank.work_seconds - median_work(usages);
  const double tokens =
      median(usages, [](const RankUsage& of) { return static_cast<double>(of.tokens); });
  const double by_tokens =
      tokens > 0.0 ? median_work(usages) * (static_cast<double>(rank.tokens) / tokens - 1.0) : 0.0;
  if (by_tokens > kMostOfIt * more) {
    return fmt::format("It had {:.0f} tokens a step, the others {:.0f}",
                       static_cast<double>(rank.tokens) / steps, tokens / steps);
  }
  if (rank.run_queue_seconds > kMostOfIt * more) {
    return fmt::format("It waited {} a step for a processor: other processes use its cores",
                       seconds_text(rank.run_queue_seconds / steps));
  }
  if (static_cast<double>(rank.major_faults) > kSwapping * steps) {
    return fmt::format("It read {:.0f} pages a step back from a disk: its host is short of memory",
                       static_cast<double>(rank.major_faults) / steps);
  }
  return "It is slower at the same work: its processor is throttled or weaker";
}

}  // namespace

void add(RankUsages& sum, const RankUsages& later) {
  if (sum.ranks.empty()) {
    sum = later;
    return;
  }
  MOLORA_CHECK_EQ(sum.ranks.size(), later.ranks.size());
  sum.num_steps += later.num_steps;
  for (size_t i = 0; i < sum.ranks.size(); ++i) {
    RankUsage& rank = sum.ranks[i];
    const RankUsage& more = later.ranks[i];
    rank.work_seconds += more.work_seconds;
    rank.waited_seconds += more.waited_seconds;
    rank.run_queue_seconds += more.run_queue_seconds;
    rank.major_faults += more.major_faults;
    rank.tokens += more.tokens;
    rank.peak_memory_bytes = std::max(rank.peak_memory_bytes, more.peak_memory_bytes);
  }
}

json rank_usages_json(const RankUsages& usages) {
  constexpr double kGib = 1024.0 * 1024.0 * 1024.0;
  const double steps = static_cast<double>(std::max<int64_t>(1, usages.num_steps));
  json ranks = json::array();
  for (const RankUsage& rank : usages.ranks) {
    ranks.push_back(
        {{"host", rank.host},
         {"work", rounded(rank.work_seconds / steps)},
         {"waited", rounded(rank.waited_seconds / steps)},
         {"run_queue", rounded(rank.run_queue_seconds / steps)},
         {"major_faults", rounded(static_cast<double>(rank.major_faults) / steps)},
         {"tokens", rounded(static_cast<double>(rank.tokens) / steps)},
         {"peak_memory_gib", rounded(static_cast<double>(rank.peak_memory_bytes) / kGib)}});
  }
  return {{"steps", usages.num_steps}, {"ranks", ranks}};
}

std::vector<std::string> straggler_warnings(const RankUsages& usages, double factor) {
  std::vector<std::string> warnings;
  if (usages.num_steps == 0) return warnings;
  const auto steps = static_cast<double>(usages.num_steps);
  const double others = median_work(usages);
  for (const size_t index : by_work(usages)) {
    const RankUsage& rank = usages.ranks[index];
    const bool is_slow =
        rank.work_seconds > factor * others && rank.work_seconds - others > kNoticeable * steps;
    if (!is_slow || warnings.size() == kMostWarnings) break;
    warnings.push_back(
        fmt::format("{}: {} of its own work a step, the others {}; all wait for it. {}",
                    name(usages, index), seconds_text(rank.work_seconds / steps),
                    seconds_text(others / steps), cause(usages, rank)));
  }
  return warnings;
}

std::string ranks_summary(const RankUsages& usages) {
  const std::vector<size_t> ranks = by_work(usages);
  const auto steps = static_cast<double>(std::max<int64_t>(1, usages.num_steps));
  const auto work = [&](size_t rank) {
    return fmt::format("{} {}", name(usages, rank),
                       seconds_text(usages.ranks[rank].work_seconds / steps));
  };
  const auto most = std::max_element(usages.ranks.begin(), usages.ranks.end(),
                                     [](const RankUsage& a, const RankUsage& b) {
                                       return a.peak_memory_bytes < b.peak_memory_bytes;
                                     });
  return fmt::format("own work a step: {}{}{}; peak memory {} (rank {}, host {})",
                     work(ranks.front()), ranks.size() > 1 ? ", " : "",
                     ranks.size() > 1 ? work(ranks.back()) : "",
                     bytes_text(static_cast<double>(most->peak_memory_bytes)),
                     most - usages.ranks.begin(), most->host);
}

}  // namespace molora
