#include "worker/calibration.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <span>
#include <string>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/host_name.h"
#include "device/compute_device.h"
#include "profile/work_recorder.h"
#include "report/step_times.h"
#include "worker/model_session.h"
#include "worker/product_meter.h"

namespace molora {

namespace {

constexpr int kRounds = 5;

// The mean over all ranks.
double mean_of_ranks(const Mesh& mesh, double mine) {
  std::vector<double> all(static_cast<size_t>(mesh.shape().world()));
  mesh.host(Axis::kAll)
      .all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)));
  double sum = 0;
  for (const double number : all) sum += number;
  return sum / static_cast<double>(all.size());
}

double seconds_of(const at::Device device, const std::function<void()>& work) {
  finish_work(device);
  const int64_t begin = now_ns(WorkClock::kWall);
  work();
  finish_work(device);
  return std::max(1e-9, static_cast<double>(now_ns(WorkClock::kWall) - begin) * 1e-9);
}

// --- Matrix products ---

// Rates of products by the size of their smallest dimension, both orientations together.
std::map<int64_t, double> product_rates(const Mesh& mesh, ModelConfig::Precision precision,
                                        const CalibrationOptions& options) {
  const int64_t largest = *std::max_element(options.sizes.begin(), options.sizes.end());
  std::map<int64_t, double> rates;
  for (const int64_t size : options.sizes) {
    ProductMeter meter(
        {{.kind = ProductKind::kForward, .rows = largest, .in = largest, .out = size, .count = 1},
         {.kind = ProductKind::kInputGradient,
          .rows = largest,
          .in = largest,
          .out = size,
          .count = 1}},
        {.type = compute_type(precision), .device = options.device});
    for (int round = 0; round < kRounds; ++round) {
      mesh.host(Axis::kAll).barrier();
      meter.measure_round();
    }
    rates[size] = mean_of_ranks(mesh, weighted_rate(meter.results()));
  }
  return rates;
}

void set_flops(ModelConfig::Precision precision, double rate, PrecisionFlops& flops) {
  switch (precision) {
    case ModelConfig::fp64:
      return flops.set_fp64(rate);
    case ModelConfig::bf16:
      return flops.set_bf16(rate);
    default:
      return flops.set_fp32(rate);
  }
}

void measure_products(const Mesh& mesh, const CalibrationOptions& options, Hardware& hardware) {
  for (const ModelConfig::Precision precision : options.precisions) {
    const std::map<int64_t, double> rates = product_rates(mesh, precision, options);
    double best = 0;
    for (const auto& [size, rate] : rates) best = std::max(best, rate);
    set_flops(precision, best, *hardware.mutable_flops());
    for (const auto& [size, rate] : rates) {
      GemmEfficiency& efficiency = *hardware.add_gemm_efficiency();
      efficiency.set_precision(precision);
      efficiency.set_size(static_cast<uint64_t>(size));
      efficiency.set_share(rate / best);
    }
  }
}

// --- Memory and operators ---

// Two tensors read, one written.
double memory_bandwidth(const Mesh& mesh, const CalibrationOptions& options) {
  const at::TensorOptions type = at::TensorOptions().device(options.device);
  const Tensor a = at::ones({options.memory_elements}, type);
  const Tensor b = at::ones({options.memory_elements}, type);
  Tensor sum = at::ones({options.memory_elements}, type);
  std::vector<double> seconds;
  for (int round = 0; round < kRounds; ++round) {
    mesh.host(Axis::kAll).barrier();
    seconds.push_back(seconds_of(options.device, [&] { at::add_out(sum, a, b); }));
  }
  return mean_of_ranks(mesh, 3.0 * static_cast<double>(a.nbytes()) / median(seconds));
}

double operator_latency(const Mesh& mesh, const CalibrationOptions& options) {
  const at::TensorOptions type = at::TensorOptions().device(options.device);
  const Tensor a = at::ones({1}, type);
  Tensor sum = at::ones({1}, type);
  std::vector<double> seconds;
  seconds.reserve(kRounds);
  for (int round = 0; round < kRounds; ++round) {
    seconds.push_back(seconds_of(options.device, [&] {
      for (int64_t i = 0; i < options.latency_repeats; ++i) at::add_out(sum, sum, a);
    }));
  }
  return mean_of_ranks(mesh, median(seconds) / static_cast<double>(options.latency_repeats));
}

// Of the machine, shared out among its ranks.
double memory_bytes(const MeshShape& shape) {
  const double all =
      static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  return all / std::max(1, shape.tp);
}

// --- Links ---

Tensor byte_tensor(int64_t bytes, at::Device device) {
  return at::zeros({bytes}, at::TensorOptions().dtype(at::kByte).device(device));
}

std::span<std::byte> bytes_of(const Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()};
}

// One call of a collective with about so many bytes from each rank.
struct CollectiveCall {
  double bytes_sent = 0;
  std::function<void()> call;
};

CollectiveCall collective_call(Communicator& group, CollectiveSpeed::Kind kind, int64_t bytes,
                               at::Device device) {
  const int64_t members = group.size();
  const int64_t part = std::max<int64_t>(1, bytes / members);
  const Tensor send = byte_tensor(part * members, device);
  const Tensor recv = byte_tensor(part * members * members, device);
  const auto others = static_cast<double>(members - 1);
  switch (kind) {
    case CollectiveSpeed::barrier:
      return {0, [&group] { group.barrier(); }};
    case CollectiveSpeed::broadcast:
      return {static_cast<double>(send.nbytes()),
              [&group, send] { group.broadcast(bytes_of(send), 0); }};
    case CollectiveSpeed::all_gather:
      return {static_cast<double>(send.nbytes()) * others,
              [&group, send, recv] { group.all_gather(bytes_of(send), bytes_of(recv)); }};
    case CollectiveSpeed::all_to_all:
      return {static_cast<double>(part) * others, [&group, send, recv, part, members] {
                group.all_to_all(bytes_of(send), bytes_of(recv.slice(0, 0, part * members)));
              }};
  }
  return {};
}

LinkFit measure_collective(Communicator& group, CollectiveSpeed::Kind kind,
                           const CalibrationOptions& options) {
  std::vector<LinkSample> samples;
  for (const int64_t bytes : options.bytes) {
    const CollectiveCall one = collective_call(group, kind, bytes, options.device);
    one.call();  // connections are made by the first
    std::vector<double> seconds;
    for (int64_t i = 0; i < options.link_repeats; ++i) {
      group.barrier();
      seconds.push_back(seconds_of(options.device, one.call));
    }
    samples.push_back({one.bytes_sent, median(seconds)});
  }
  return fit_link(samples);
}

void add_link(const Mesh& mesh, Axis axis, const CalibrationOptions& options, Hardware& hardware) {
  Communicator& group = mesh.axis(axis);
  const bool is_one_machine = axis == Axis::kTensor || mesh.shape().tp == mesh.shape().world();
  HardwareLink& link = *hardware.add_links();
  link.set_name(is_one_machine ? "one machine" : "between machines");
  link.set_ranks_per_domain(is_one_machine ? static_cast<uint32_t>(group.size()) : 0);
  for (const CollectiveSpeed::Kind kind :
       {CollectiveSpeed::barrier, CollectiveSpeed::broadcast, CollectiveSpeed::all_gather,
        CollectiveSpeed::all_to_all}) {
    const LinkFit fit = measure_collective(group, kind, options);
    CollectiveSpeed& speed = *link.add_collectives();
    speed.set_kind(kind);
    speed.set_latency(mean_of_ranks(mesh, fit.latency));
    speed.set_bandwidth(kind == CollectiveSpeed::barrier ? 0 : mean_of_ranks(mesh, fit.bandwidth));
  }
  const CollectiveSpeed& exchange = link.collectives(CollectiveSpeed::all_to_all);
  link.set_latency(exchange.latency());
  if (exchange.bandwidth() > 0) link.set_bandwidth(exchange.bandwidth());
}

}  // namespace

MeshShape machine_shape(Communicator& world) {
  const std::vector<std::string> hosts = all_gather_text(world, host_name());
  const auto here = static_cast<int>(std::count(hosts.begin(), hosts.end(), hosts.front()));
  bool are_neighbours = world.size() % here == 0;
  for (size_t rank = 0; are_neighbours && rank < hosts.size(); ++rank) {
    const size_t first = rank - rank % static_cast<size_t>(here);
    are_neighbours =
        hosts[rank] == hosts[first] && std::count(hosts.begin(), hosts.end(), hosts[rank]) == here;
  }
  return mesh_shape(world.size(), are_neighbours ? here : 1, 1);
}

Hardware calibrate(const Mesh& mesh, const CalibrationOptions& options) {
  const at::NoGradGuard no_grad;
  Hardware hardware;
  const int world = mesh.shape().world();
  hardware.set_name(fmt::format("{}: one of {} rank{} with {} thread{}", host_name(), world,
                                world == 1 ? "" : "s", at::get_num_threads(),
                                at::get_num_threads() == 1 ? "" : "s"));
  measure_products(mesh, options, hardware);
  hardware.set_memory_bandwidth(memory_bandwidth(mesh, options));
  if (options.device.is_cpu()) hardware.set_memory_bytes(memory_bytes(mesh.shape()));
  hardware.set_operator_latency(operator_latency(mesh, options));
  if (mesh.shape().tp > 1) add_link(mesh, Axis::kTensor, options, hardware);
  if (world > mesh.shape().tp) add_link(mesh, Axis::kAll, options, hardware);
  return hardware;
}

// Minimises the sum of ((latency + slope * bytes) / seconds - 1)^2; where a number would be
// negative it is 0 and the other alone is fitted.
LinkFit fit_link(const std::vector<LinkSample>& samples) {
  MOLORA_CHECK(!samples.empty());
  double ww = 0;  // sums over samples of w = 1 / seconds and b = bytes / seconds
  double wb = 0;
  double bb = 0;
  double w = 0;
  double b = 0;
  for (const LinkSample& sample : samples) {
    MOLORA_CHECK(sample.seconds > 0);
    const double weight = 1 / sample.seconds;
    const double bytes = sample.bytes / sample.seconds;
    ww += weight * weight;
    wb += weight * bytes;
    bb += bytes * bytes;
    w += weight;
    b += bytes;
  }
  const double determinant = ww * bb - wb * wb;
  const bool is_flat = bb == 0 || determinant <= 1e-12 * ww * bb;
  double latency = is_flat ? w / ww : (w * bb - b * wb) / determinant;
  double slope = is_flat ? 0 : (b * ww - w * wb) / determinant;
  if (slope < 0) {
    slope = 0;
    latency = w / ww;
  } else if (latency < 0) {
    latency = 0;
    slope = b / bb;
  }
  return {latency, slope > 0 ? 1 / slope : 0};
}

}  // namespace molora
