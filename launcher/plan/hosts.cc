#include "launcher/plan/hosts.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "io/file.h"
#include "launcher/plan/number_text.h"

namespace molora {

namespace {

constexpr int64_t kMostSlots = 100'000;
constexpr uint64_t kLongestHostfile = uint64_t{16} << 20;

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// Nothing that a shell, ssh or mpirun would take for something else than a name.
bool is_host_name(std::string_view name) {
  const auto is_letter = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == '_';
  };
  return !name.empty() && name.front() != '-' && std::all_of(name.begin(), name.end(), is_letter);
}

// Hosts in the order in which they were named first.
class HostList {
 public:
  // `slots`: nothing when the mention has no number.
  void add(std::string_view name, std::optional<int64_t> slots) {
    auto found = std::find_if(hosts_.begin(), hosts_.end(),
                              [&](const Mentioned& host) { return host.name == name; });
    if (found == hosts_.end()) found = hosts_.insert(found, Mentioned{std::string(name)});
    found->slots += slots.value_or(0);
    ++found->num_mentions;
    if (!slots) ++found->num_without_number;
  }

  std::vector<Host> hosts() const {
    std::vector<Host> result;
    for (const Mentioned& host : hosts_) {
      const int64_t more = host.num_mentions == 1 ? 0 : host.num_without_number;
      result.push_back({host.name, static_cast<int>(std::min(kMostSlots, host.slots + more))});
    }
    return result;
  }

  bool empty() const { return hosts_.empty(); }

 private:
  struct Mentioned {
    std::string name;
    int64_t slots = 0;
    int64_t num_mentions = 0;
    int64_t num_without_number = 0;
  };
  std::vector<Mentioned> hosts_;
};

// Adds one part of --hosts; returns what is wrong with it, or "".
std::string add_part(std::string_view part, HostList& hosts) {
  const size_t colon = part.find(':');
  const std::string_view name = part.substr(0, colon);
  if (!is_host_name(name)) {
    return fmt::format("'{}': expected a host name (letters, digits, '.', '-', '_'), got '{}'",
                       part, name);
  }
  if (colon == std::string_view::npos) {
    hosts.add(name, std::nullopt);
    return {};
  }
  const auto slots = whole_number(part.substr(colon + 1), 1, kMostSlots);
  if (!slots) {
    return fmt::format("'{}': expected a number of ranks from 1 to {} after the colon, got '{}'",
                       part, kMostSlots, part.substr(colon + 1));
  }
  hosts.add(name, slots);
  return {};
}

// "slots = 4" and "slots=4" are the same to Open MPI.
std::string without_spaces_at_equals(std::string_view line) {
  std::string result;
  for (const char c : line) {
    if (c == '=') {
      while (!result.empty() && std::isspace(static_cast<unsigned char>(result.back())) != 0) {
        result.pop_back();
      }
    }
    const bool is_space = std::isspace(static_cast<unsigned char>(c)) != 0;
    if (is_space && (result.empty() || result.back() == '=')) continue;
    result += is_space ? ' ' : c;
  }
  return result;
}

struct LineNumbers {
  std::optional<int64_t> slots;
  std::optional<int64_t> max_slots;
};

// Reads one "key=value" of a hostfile; returns what is wrong with it, or "".
std::string read_setting(std::string_view word, LineNumbers& numbers) {
  const size_t equals = word.find('=');
  const std::string_view key = word.substr(0, equals);
  const bool is_slots = key == "slots" || key == "slot" || key == "cpu" || key == "count";
  const bool is_max = key == "max-slots" || key == "max_slots";
  if (equals == std::string_view::npos || !(is_slots || is_max)) {
    return fmt::format("expected slots=N or max-slots=N, got '{}'", word);
  }
  const auto number = whole_number(word.substr(equals + 1), 1, kMostSlots);
  if (!number) {
    return fmt::format("expected {} from 1 to {}, got '{}'", key, kMostSlots,
                       word.substr(equals + 1));
  }
  std::optional<int64_t>& place = is_slots ? numbers.slots : numbers.max_slots;
  if (place) return fmt::format("expected {} once, got it again", key);
  place = number;
  return {};
}

// Adds the host of one line; returns what is wrong with it, or "".
std::string add_line(std::string_view line, HostList& hosts) {
  const std::string text = without_spaces_at_equals(trimmed(line.substr(0, line.find('#'))));
  std::string_view rest = trimmed(text);
  if (rest.empty()) return {};
  const auto next_word = [&rest] {
    const std::string_view word = rest.substr(0, rest.find(' '));
    rest = trimmed(rest.substr(word.size()));
    return word;
  };
  const std::string_view name = next_word();
  if (!is_host_name(name)) {
    return fmt::format("expected a host name (letters, digits, '.', '-', '_'), got '{}'", name);
  }
  LineNumbers numbers;
  while (!rest.empty()) {
    std::string fault = read_setting(next_word(), numbers);
    if (!fault.empty()) return fault;
  }
  if (numbers.slots && numbers.max_slots && *numbers.slots > *numbers.max_slots) {
    return fmt::format("expected slots up to max-slots, got {} of {}", *numbers.slots,
                       *numbers.max_slots);
  }
  hosts.add(name, numbers.slots ? numbers.slots : numbers.max_slots);
  return {};
}

}  // namespace

std::vector<Host> parse_hosts(std::string_view text) {
  HostList hosts;
  std::string faults;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string fault = add_part(trimmed(text.substr(begin, end - begin)), hosts);
    if (!fault.empty()) faults += "\n  " + fault;
    begin = end + 1;
  }
  if (!faults.empty()) {
    throw ConfigError(
        fmt::format("--hosts {}: write NAME or NAME:RANKS, with commas between:{}", text, faults));
  }
  return hosts.hosts();
}

std::vector<Host> parse_hostfile(std::string_view text, const std::string& origin) {
  HostList hosts;
  std::string faults;
  int number = 1;
  for (size_t begin = 0; begin <= text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string fault = add_line(text.substr(begin, end - begin), hosts);
    if (!fault.empty()) faults += fmt::format("\n  line {}: {}", number, fault);
    begin = end + 1;
  }
  if (!faults.empty()) {
    throw ConfigError(fmt::format("hostfile {} is not as Open MPI's are:{}", origin, faults));
  }
  if (hosts.empty()) {
    throw ConfigError(
        fmt::format("hostfile {} names no host; write a line \"name slots=N\" for each", origin));
  }
  return hosts.hosts();
}

std::vector<Host> read_hostfile(const std::filesystem::path& path) {
  return parse_hostfile(read_file(path, kLongestHostfile), path.string());
}

}  // namespace molora
