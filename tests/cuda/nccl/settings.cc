#include "settings.h"

#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include <fmt/format.h>

#include "report.h"

namespace molora::fake_nccl {

namespace {

int64_t number(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == '\0') return otherwise;
  const std::string_view digits = text;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size() || value < 0) {
    stop(fmt::format("{}='{}' is not a number of 0 or more", name, text));
  }
  return value;
}

ReductionOrder order_wanted() {
  const char* text = std::getenv("FAKE_NCCL_ORDER");
  const std::string order = text == nullptr ? "ring" : text;
  if (order == "rank") return ReductionOrder::kRank;
  if (order == "reverse") return ReductionOrder::kReverse;
  if (order == "ring") return ReductionOrder::kRing;
  if (order == "tree") return ReductionOrder::kTree;
  stop(fmt::format("FAKE_NCCL_ORDER={} is none of rank, reverse, ring, tree", order));
}

uint64_t host_hash() {
  if (const char* id = std::getenv("NCCL_HOSTID"); id != nullptr) return hash_of(id);
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) stop("the machine has no name");
  return hash_of(name.data());
}

Settings read() {
  Settings settings;
  settings.seed = static_cast<uint64_t>(number("FAKE_NCCL_SEED", 0));
  settings.max_delay = std::chrono::microseconds(number("FAKE_NCCL_MAX_DELAY_US", 500));
  settings.timeout = std::chrono::seconds(number("FAKE_NCCL_TIMEOUT_S", 60));
  settings.order = order_wanted();
  const char* fail = std::getenv("FAKE_NCCL_FAIL");
  settings.fail = fail == nullptr ? "" : fail;
  settings.host = host_hash();
  return settings;
}

}  // namespace

const Settings& settings() {
  static const Settings& once = *new Settings(read());
  return once;
}

uint64_t hash_of(const std::string& text) {
  uint64_t hash = 14695981039346656037ull;  // FNV-1a
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  }
  return hash;
}

}  // namespace molora::fake_nccl
