#include "launcher/agent/rank_environment.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "base/error.h"

namespace molora {

namespace {

constexpr int kMaxNumber = 1 << 24;

std::optional<int> number_of(std::string_view text, int largest) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value < 0 || value > largest) return std::nullopt;
  return value;
}

std::optional<int> number_variable(const Environment& environment, const std::string& name) {
  const std::optional<std::string> text = variable(environment, name);
  if (!text) return std::nullopt;
  const std::optional<int> value = number_of(*text, kMaxNumber);
  if (!value) throw ConfigError(fmt::format("{} is '{}', expected a number", name, *text));
  return value;
}

// The first of these that is set.
std::optional<int> first_number(const Environment& environment,
                                std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (const auto value = number_variable(environment, name)) return value;
  }
  return std::nullopt;
}

}  // namespace

std::string SupervisorAddress::text() const {
  return fmt::format("{}:{}", fmt::join(hosts, ","), port);
}

SupervisorAddress SupervisorAddress::parse(std::string_view text) {
  const size_t colon = text.rfind(':');
  constexpr int kMaxPort = 65535;
  const std::optional<int> port =
      colon == std::string_view::npos ? std::nullopt : number_of(text.substr(colon + 1), kMaxPort);
  SupervisorAddress address;
  address.port = port.value_or(0);
  bool is_sound = address.port > 0;
  std::string_view rest = text.substr(0, is_sound ? colon : 0);
  while (is_sound) {
    const size_t comma = rest.find(',');
    address.hosts.emplace_back(rest.substr(0, comma));
    in_addr ignored{};
    is_sound = ::inet_pton(AF_INET, address.hosts.back().c_str(), &ignored) == 1;
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  if (!is_sound) {
    throw ConfigError(fmt::format("{} is '{}', expected IPv4 addresses and a port: a,b:port",
                                  kSupervisorVariable, text));
  }
  return address;
}

RankEnvironment rank_environment(const Environment& environment) {
  RankEnvironment result;
  const auto rank =
      first_number(environment, {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"});
  const auto size = first_number(
      environment,
      {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"});
  result.rank = rank.value_or(0);
  // For words only, before MPI has told the true one; not every launcher says it.
  result.world_size = rank ? std::max(size.value_or(1), result.rank + 1) : 1;
  result.attempt = number_variable(environment, kAttemptVariable).value_or(1);
  if (const auto address = variable(environment, kSupervisorVariable)) {
    result.supervisor = SupervisorAddress::parse(*address);
  }
  result.token = variable(environment, kTokenVariable).value_or("");
  return result;
}

const std::vector<std::string>& rank_variables() {
  static const std::vector<std::string> kNames = {
      "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE",
      "SLURM_PROCID"};
  return kNames;
}

}  // namespace molora
