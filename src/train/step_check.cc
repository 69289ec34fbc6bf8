#include "train/step_check.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <span>

#include <fmt/format.h>

#include "base/check.h"
#include "base/host_name.h"
#include "base/mutation.h"
#include "device/compute_device.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

constexpr const char* kGradient = "the gradient of ";
constexpr const char* kSum = "the summed gradient of ";
constexpr const char* kNumbers = "its part of the loss and of the statistics";
constexpr const char* kSummed = "the summed loss and statistics";

// Equal as bytes: not-a-number equals itself, zero does not equal minus zero.
bool are_same_bits(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

bool are_same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return are_same_bits(std::as_bytes(std::span(a)), std::as_bytes(std::span(b)));
}

bool are_same_bits(const Tensor& a, const Tensor& b) {
  const Tensor whole_a = to_host(a.contiguous());
  const Tensor whole_b = to_host(b.contiguous());
  return are_same_bits(tensor_bytes(whole_a), tensor_bytes(whole_b));
}

bool is_of_rank_itself(const RankDifference& difference) {
  return difference.what.starts_with(kGradient) || difference.what == kNumbers;
}

}  // namespace

void NormHistory::add(double norm) {
  norms_.push_back(norm);
  if (norms_.size() > kMost) norms_.pop_front();
}

std::optional<double> NormHistory::median() const {
  if (norms_.size() < kFewest) return std::nullopt;
  std::vector<double> sorted(norms_.begin(), norms_.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  if (sorted.size() % 2 == 1) return sorted[middle];
  return (sorted[middle - 1] + sorted[middle]) / 2.0;
}

std::string first_difference(const StepEvidence& a, const StepEvidence& b,
                             const std::vector<Parameter>& parameters,
                             const std::vector<size_t>& updated) {
  MOLORA_CHECK_EQ(a.local.size(), parameters.size());
  MOLORA_CHECK_EQ(a.sums.size(), updated.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!are_same_bits(a.local[i], b.local.at(i))) return kGradient + parameters[i].name;
  }
  if (!are_same_bits(a.numbers, b.numbers)) return kNumbers;
  for (size_t i = 0; i < updated.size(); ++i) {
    if (!are_same_bits(a.sums[i], b.sums.at(i))) return kSum + parameters[updated[i]].name;
  }
  return are_same_bits(a.summed, b.summed) ? "" : kSummed;
}

std::vector<RankDifference> differences_of_all(Communicator& all, const std::string& mine) {
  const std::string host = host_name();
  std::vector<std::string> lines = all_gather_text(all, mine.empty() ? "" : host + "\n" + mine);
  if (MOLORA_MUTANT(kStepCheckAlone)) {
    for (std::string& line : lines) line = lines[static_cast<size_t>(all.rank())];
  }
  std::vector<RankDifference> found;
  for (size_t rank = 0; rank < lines.size(); ++rank) {
    if (lines[rank].empty()) continue;
    const size_t end = lines[rank].find('\n');
    found.push_back(
        {static_cast<int>(rank), lines[rank].substr(0, end), lines[rank].substr(end + 1)});
  }
  if (std::any_of(found.begin(), found.end(), is_of_rank_itself)) {
    std::erase_if(found, [](const RankDifference& of) { return !is_of_rank_itself(of); });
  }
  return found;
}

std::string differences_text(const std::vector<RankDifference>& differences) {
  const RankDifference& first = differences.front();
  if (differences.size() == 1) {
    return fmt::format("rank {} (host {}) had other bits in {}: a fault of that machine",
                       first.rank, first.host, first.what);
  }
  std::vector<int> ranks;
  std::set<std::string> hosts;
  for (const RankDifference& difference : differences) {
    ranks.push_back(difference.rank);
    hosts.insert(difference.host);
  }
  return fmt::format(
      "ranks {} (host{} {}) had other bits, the first in {}: a fault of one of these machines or "
      "of the network between them",
      fmt::join(ranks, ", "), hosts.size() == 1 ? "" : "s", fmt::join(hosts, ", "), first.what);
}

}  // namespace molora
