#include "worker/bench_measure.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <span>
#include <string_view>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "base/check.h"

namespace molora {

namespace {

// The numbers of all ranks, one after the other.
std::vector<double> of_all_ranks(const Mesh& mesh, const std::vector<double>& mine) {
  std::vector<double> all(mine.size() * static_cast<size_t>(mesh.shape().world()));
  mesh.host(Axis::kAll)
      .all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  return all;
}

std::vector<double> largest_of_ranks(const Mesh& mesh, const std::vector<double>& mine) {
  const std::vector<double> all = of_all_ranks(mesh, mine);
  std::vector<double> largest = mine;
  for (size_t i = 0; i < all.size(); ++i) {
    double& here = largest[i % mine.size()];
    here = std::max(here, all[i]);
  }
  return largest;
}

std::vector<double> mean_of_ranks(const Mesh& mesh, const std::vector<double>& mine) {
  const std::vector<double> all = of_all_ranks(mesh, mine);
  std::vector<double> mean(mine.size());
  for (size_t i = 0; i < all.size(); ++i) {
    mean[i % mine.size()] += all[i] / mesh.shape().world();
  }
  return mean;
}

// The axis that a communicator is named after: "tp", or "tp host" beside a GPU's.
size_t axis_of_group(std::string_view group) {
  const std::string_view name = group.substr(0, group.find(' '));
  const auto* found =
      std::find_if(kAxes.begin(), kAxes.end(), [&](Axis axis) { return name == axis_name(axis); });
  MOLORA_CHECK(found != kAxes.end(), "no axis {}", group);
  return static_cast<size_t>(*found);
}

// The mean of all ranks; operators stay this rank's.
void put_breakdown(const Mesh& mesh, const std::vector<WorkRecording>& recordings,
                   BenchCase& result) {
  Breakdown& sum = result.breakdown;
  sum = mean_breakdown(recordings);
  std::vector<double> mine(1, sum.seconds);
  mine.insert(mine.end(), sum.by_class.begin(), sum.by_class.end());
  const size_t first_axis = mine.size();
  mine.resize(first_axis + kNumAxes);
  for (const auto& [group, seconds] : sum.collectives) {
    mine[first_axis + axis_of_group(group)] += seconds;
  }
  const std::vector<double> mean = mean_of_ranks(mesh, mine);
  sum.seconds = mean[0];
  std::copy_n(mean.begin() + 1, kNumWorkClasses, sum.by_class.begin());
  std::copy_n(mean.begin() + static_cast<std::ptrdiff_t>(first_axis), kNumAxes,
              result.axis_seconds.begin());
}

double parameter_bytes(const std::vector<Parameter>& parameters) {
  double bytes = 0;
  for (const Parameter& parameter : parameters) {
    bytes += static_cast<double>(parameter.value.nbytes());
  }
  return bytes;
}

MemoryUse memory_use(BenchRun& run, const BenchSamples& samples) {
  MemoryUse mine;
  mine.base = static_cast<double>(run.session().weights().kept_bytes());
  mine.adapter = parameter_bytes(run.session().adapters().parameters());
  mine.gradients = mine.adapter;
  mine.moments = 2 * parameter_bytes(run.optimizer().parameters());
  mine.activations = std::max(0.0, static_cast<double>(samples.memory.peak_bytes) - mine.gradients);
  mine.held = static_cast<double>(samples.memory.held_bytes);
  mine.program = samples.program_bytes;
  mine.resident = resident_bytes();
  mine.resident_peak = static_cast<double>(ProcessCounters::now().peak_memory_bytes);
  const std::vector<double> most =
      largest_of_ranks(run.session().mesh(),
                       {mine.base, mine.adapter, mine.gradients, mine.moments, mine.activations,
                        mine.held, mine.program, mine.resident, mine.resident_peak});
  return {most[0], most[1], most[2], most[3], most[4], most[5], most[6], most[7], most[8]};
}

std::vector<std::string> adapter_lines(const AdapterConfig& config) {
  std::string experts;
  std::string lora;
  for (const LinearKind kind : kLinearKinds) {
    const AdapterSpec spec = adapter_spec(config, kind, 0);
    if (spec.kind == TargetsConfig::frozen) continue;
    std::string& list = spec.kind == TargetsConfig::experts ? experts : lora;
    const std::string path = linear_path(kind);  // "mlp.gate_proj"
    list += (list.empty() ? "" : ", ") + path.substr(path.find('.') + 1);
  }
  std::vector<std::string> lines;
  if (!experts.empty()) {
    lines.push_back(fmt::format("{} experts, {} per token, lora_rank {}: {}", config.num_experts(),
                                config.experts_per_token(), config.lora_rank(), experts));
  }
  if (!lora.empty()) {
    lines.push_back(fmt::format("plain LoRA, lora_rank {}: {}", config.lora_rank(), lora));
  }
  return lines;
}

}  // namespace

// Fields of /proc/self/statm: size, resident, in pages.
double resident_bytes() {
  std::ifstream file("/proc/self/statm");
  double pages = 0;
  double resident = 0;
  file >> pages >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

BenchCase bench_case(BenchRun& run, const BenchSamples& samples) {
  const Mesh& mesh = run.session().mesh();
  BenchCase result;
  result.model = run.config().model().path();
  result.precision = ModelConfig::Precision_Name(run.config().model().precision());
  result.adapters = adapter_lines(run.config().adapter());
  result.has_random_weights = run.session().has_random_weights();
  result.mesh = mesh.shape();
  result.input = run.input();
  result.num_threads = at::get_num_threads();
  result.step_tokens = run.step_tokens();
  result.step_supervised = run.step_supervised();
  result.step_seconds = largest_of_ranks(mesh, samples.step_seconds);
  std::vector<double> recorded;
  for (const WorkRecording& recording : samples.recordings) {
    recorded.push_back(static_cast<double>(recording.duration_ns()) * 1e-9);
  }
  result.recorded_seconds = largest_of_ranks(mesh, recorded);
  result.useful = useful_flops(run.input(), run.session().modes());
  result.products = run.products();
  const auto steps = static_cast<double>(samples.step_seconds.size());
  const std::vector<double> speeds =
      of_all_ranks(mesh, {median(samples.step_seconds), samples.waited_seconds / steps,
                          weighted_rate(result.products)});
  for (size_t i = 0; i < speeds.size(); i += 3) {
    result.ranks.push_back({speeds[i], speeds[i + 1], speeds[i + 2]});
  }
  put_breakdown(mesh, samples.recordings, result);
  result.traffic = samples.traffic;
  result.memory = memory_use(run, samples);
  return result;
}

}  // namespace molora
