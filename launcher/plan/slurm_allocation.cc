#include "launcher/plan/slurm_allocation.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "base/error.h"
#include "launcher/plan/number_text.h"

namespace molora {

namespace {

constexpr int64_t kMostNodes = 100'000;
constexpr int64_t kMostPerNode = 1'000'000;

[[noreturn]] void refuse_list(std::string_view text, std::string_view why) {
  throw ConfigError(fmt::format(
      "Slurm's list of nodes '{}': expected names such as n[1-3,7],m05, got {}", text, why));
}

// The numbers of "1-3,7", as they are written: leading zeros stay.
std::vector<std::string> expand_ranges(std::string_view ranges, std::string_view list) {
  std::vector<std::string> numbers;
  for (size_t begin = 0; begin <= ranges.size();) {
    const size_t end = std::min(ranges.find(',', begin), ranges.size());
    const std::string_view range = ranges.substr(begin, end - begin);
    const size_t dash = std::min(range.find('-'), range.size());
    const std::string_view low_text = range.substr(0, dash);
    const auto low = whole_number(low_text, 0, INT64_MAX / 2);
    const auto high =
        dash == range.size() ? low : whole_number(range.substr(dash + 1), 0, INT64_MAX / 2);
    if (!low || !high || *high < *low || *high - *low >= kMostNodes) {
      refuse_list(list, fmt::format("the range '{}'", range));
    }
    for (int64_t number = *low; number <= *high; ++number) {
      numbers.push_back(fmt::format("{:0{}}", number, low_text.size()));
    }
    begin = end + 1;
  }
  return numbers;
}

// Every name of "r[1-2]n[01-02]".
std::vector<std::string> expand_item(std::string_view item, std::string_view list) {
  std::vector<std::string> names = {""};
  while (!item.empty()) {
    const size_t open = std::min(item.find('['), item.size());
    for (std::string& name : names) name += item.substr(0, open);
    item.remove_prefix(open);
    if (item.empty()) break;
    const size_t close = item.find(']');
    if (close == std::string_view::npos) refuse_list(list, "a [ without its ]");
    const std::vector<std::string> numbers = expand_ranges(item.substr(1, close - 1), list);
    if (names.size() * numbers.size() > kMostNodes) refuse_list(list, "too many nodes");
    std::vector<std::string> longer;
    for (const std::string& name : names) {
      for (const std::string& number : numbers) longer.push_back(name + number);
    }
    names = std::move(longer);
    item.remove_prefix(close + 1);
  }
  return names;
}

// Where the item that begins the text ends: at the first comma outside of brackets.
size_t item_end(std::string_view text) {
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '[') ++depth;
    if (text[i] == ']') --depth;
    if (text[i] == ',' && depth == 0) return i;
  }
  return text.size();
}

void check_name(const std::string& name, std::string_view list) {
  const auto is_letter = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' || c == '_';
  };
  if (name.empty() || name.front() == '-' || !std::all_of(name.begin(), name.end(), is_letter)) {
    refuse_list(list, fmt::format("the name '{}'", name));
  }
}

// The variables of an allocation, each checked when it is read.
class Variables {
 public:
  explicit Variables(const Environment& environment) : environment_(environment) {}

  bool has(const std::string& name) const { return environment_.count(name) != 0; }

  // 0 when it is not set.
  int64_t number(const std::string& name, int64_t max) const {
    const auto text = variable(environment_, name);
    if (!text) return 0;
    const auto value = whole_number(*text, 0, max);
    if (!value) {
      throw ConfigError(fmt::format("{}={}: expected a whole number up to {}", name, *text, max));
    }
    return *value;
  }

  // One number per node; none when it is not set.
  std::vector<int> counts(const std::string& name, size_t num_nodes) const {
    const auto text = variable(environment_, name);
    if (!text) return {};
    std::vector<int> counts;
    try {
      counts = expand_counts(*text);
    } catch (const ConfigError& error) {
      throw ConfigError(fmt::format("{}: {}", name, error.what()));
    }
    if (counts.size() != num_nodes) {
      throw ConfigError(fmt::format("{}={}: expected numbers for the {} nodes of the job, got {}",
                                    name, *text, num_nodes, counts.size()));
    }
    return counts;
  }

 private:
  const Environment& environment_;
};

// Tasks of each node, from whichever variable says it.
std::vector<int> tasks_of_nodes(const Variables& variables, size_t num_nodes) {
  std::vector<int> tasks = variables.counts("SLURM_TASKS_PER_NODE", num_nodes);
  if (!tasks.empty()) return tasks;
  const auto per_node = static_cast<int>(variables.number("SLURM_NTASKS_PER_NODE", kMostPerNode));
  if (per_node > 0) return std::vector<int>(num_nodes, per_node);
  const int64_t all = variables.number("SLURM_NTASKS", kMostPerNode);
  const auto count = static_cast<int64_t>(num_nodes);
  for (int64_t node = 0; node < count; ++node) {
    tasks.push_back(static_cast<int>(all / count + (node < all % count ? 1 : 0)));
  }
  return tasks;
}

}  // namespace

std::vector<std::string> expand_node_list(std::string_view text) {
  std::vector<std::string> names;
  std::string_view rest = text;
  while (true) {
    const size_t end = item_end(rest);
    for (std::string& name : expand_item(rest.substr(0, end), text)) {
      check_name(name, text);
      names.push_back(std::move(name));
    }
    if (names.size() > kMostNodes) refuse_list(text, "too many nodes");
    if (end == rest.size()) return names;
    rest.remove_prefix(end + 1);
  }
}

std::vector<int> expand_counts(std::string_view text) {
  std::vector<int> counts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    std::string_view part = text.substr(begin, end - begin);
    int64_t repeats = 1;
    const size_t open = part.find("(x");
    const std::string_view number = part.substr(0, open);
    bool is_sound = true;
    if (open != std::string_view::npos) {
      const bool is_closed = part.back() == ')';
      const auto times = whole_number(part.substr(open + 2, part.size() - open - 3), 1, kMostNodes);
      is_sound = is_closed && times.has_value();
      repeats = times.value_or(0);
    }
    const auto count = whole_number(number, 0, kMostPerNode);
    if (!is_sound || !count || counts.size() + static_cast<size_t>(repeats) > kMostNodes) {
      throw ConfigError(
          fmt::format("'{}': expected numbers such as 2(x3),1, got '{}'", text, part));
    }
    counts.insert(counts.end(), static_cast<size_t>(repeats), static_cast<int>(*count));
    begin = end + 1;
  }
  return counts;
}

std::optional<SlurmAllocation> find_slurm_allocation(const Environment& environment) {
  const auto job_id = variable(environment, "SLURM_JOB_ID");
  if (!job_id || job_id->empty()) return std::nullopt;
  const auto list = variable(environment, "SLURM_JOB_NODELIST");
  if (!list) {
    throw ConfigError(fmt::format(
        "SLURM_JOB_ID={} is set, but SLURM_JOB_NODELIST is not: expected both, as Slurm sets them; "
        "unset SLURM_JOB_ID to start outside of the allocation",
        *job_id));
  }
  const Variables variables(environment);
  // Each task would take itself for the only supervisor.
  const int64_t tasks_of_step = variables.number("SLURM_STEP_NUM_TASKS", INT32_MAX);
  if (tasks_of_step > 1) {
    throw ConfigError(fmt::format(
        "srun has started {} tasks of this program without MPI, so none knows of the others; start "
        "ranks with srun --mpi=pmix (srun --mpi=list shows whether it is there), or molora once "
        "and "
        "without srun",
        tasks_of_step));
  }
  SlurmAllocation slurm;
  slurm.job_id = *job_id;
  for (const std::string& name : expand_node_list(*list)) slurm.nodes.push_back({name});
  const std::vector<int> cpus = variables.counts("SLURM_JOB_CPUS_PER_NODE", slurm.nodes.size());
  const std::vector<int> tasks = tasks_of_nodes(variables, slurm.nodes.size());
  for (size_t i = 0; i < slurm.nodes.size(); ++i) {
    slurm.nodes[i].tasks = tasks[i];
    if (!cpus.empty()) slurm.nodes[i].cpus = cpus[i];
  }
  slurm.has_tasks = variables.has("SLURM_NTASKS") || variables.has("SLURM_NTASKS_PER_NODE");
  const auto small = [&](const char* name) {
    return static_cast<int>(variables.number(name, kMostPerNode));
  };
  slurm.cpus_per_task = small("SLURM_CPUS_PER_TASK");
  slurm.gpus_on_node = small("SLURM_GPUS_ON_NODE");
  slurm.restart_count = small("SLURM_RESTART_COUNT");
  const int64_t end_time = variables.number("SLURM_JOB_END_TIME", INT64_MAX);
  if (end_time > 0) slurm.end_time = end_time;
  return slurm;
}

}  // namespace molora
