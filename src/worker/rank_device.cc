#include "worker/rank_device.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/build_features.h"
#include "base/error.h"
#include "base/host_name.h"
#include "comm/mpi_env.h"
#include "device/compute_device.h"
#include "kernels/kernel_choice.h"
#include "launcher/plan/environment.h"
#include "launcher/plan/visible_gpus.h"
#include "worker/together.h"

namespace molora {

namespace {

bool wants_gpu(const DeviceConfig& config) {
  if (config.kind() != DeviceConfig::auto_) return config.kind() == DeviceConfig::cuda;
  return is_built_for_gpus() && count_visible_gpus("/", process_environment()) > 0;
}

void check_possible(const RunConfig& config, bool on_gpu, int world_size) {
  const auto backend = config.parallel().backend();
  if (on_gpu && !is_built_for_gpus()) {
    throw ConfigError(
        "device.kind is cuda, but this molora was built without CUDA and NCCL; build it with "
        "-DMOLORA_CUDA=ON on a machine that has both, or write device.kind=cpu");
  }
  if (!on_gpu && backend == BackendKind::nccl) {
    throw ConfigError(
        "parallel.backend is nccl, but the ranks compute on CPUs, and NCCL carries only what lies "
        "on "
        "GPUs; write parallel.backend=auto, or device.kind=cuda where there are GPUs");
  }
  if (on_gpu && world_size > 1 && backend == BackendKind::mpi) {
    throw ConfigError(
        "parallel.backend is mpi, but the ranks compute on GPUs, between which only NCCL carries "
        "tensors; write parallel.backend=auto");
  }
}

// Half of the ranks on GPUs and half on CPUs would wait for each other for ever.
void check_agreement(Communicator& world, const std::string& mine) {
  const std::vector<std::string> all = all_gather_text(world, mine);
  const auto other = std::find_if(all.begin(), all.end(),
                                  [&](const std::string& text) { return text != all.front(); });
  if (other == all.end()) return;
  throw ConfigError(fmt::format(
      "rank 0 computes on {} and rank {} on {}: a GPU is missing or hidden on one machine "
      "(CUDA_VISIBLE_DEVICES, `nvidia-smi`), or another molora is installed there; device.kind=cpu "
      "or =cuda makes all the same",
      all.front(), other - all.begin(), *other));
}

}  // namespace

RankDevice::RankDevice(const RunConfig& config, Communicator& world) {
  bool on_gpu = false;
  together(world, [&] {
    on_gpu = wants_gpu(config.device());
    check_possible(config, on_gpu, world.size());
  });
  const std::string kind = on_gpu ? "a GPU" : "its CPU";
  together(world, [&] { check_agreement(world, kind); });
  if (on_gpu) {
    start_gpu(config, world);
  } else {
    choose_kernels(config.device().kernels() == KernelKind::aten ? KernelChoice::kAten
                                                                 : KernelChoice::kHost);
  }
}

RankDevice::~RankDevice() { set_wait_until(nullptr); }

void RankDevice::start_gpu(const RunConfig& config, Communicator& world) {
  const int local_rank = MpiEnvironment::local_rank();
  together(world, [&] {
    // More ranks than GPUs are refused where NCCL connects them, unless they are meant to share.
    const int gpu = local_rank % load_cuda();
    device_ = use_gpu(gpu);
    if (config.device().deterministic()) use_deterministic_operators();
    choose_kernels(config.device().kernels() == KernelKind::aten ? KernelChoice::kAten
                                                                 : KernelChoice::kFused);
    if (world.size() == 1) return;
    const at::Device device = device_;
    nccl_ = NcclContext::make(
        {.gpu = gpu,
         .time_limit = std::chrono::seconds(config.parallel().collective_timeout()),
         .compute_stream = [device] { return compute_stream(device); }});
    set_wait_until(
        [nccl = nccl_.get()](const std::function<bool()>& is_done) { nccl->wait_until(is_done); });
  });
  if (world.rank() == 0) {
    spdlog::info("computing on GPUs{}{}", world.size() > 1 ? ", which NCCL connects" : "",
                 config.device().deterministic() ? ", with operators of fixed order" : "");
  }
}

Mesh RankDevice::make_mesh(Communicator& world, const MeshShape& shape) const {
  if (nccl_ == nullptr) return {world, shape};
  return {world, shape, [this](Communicator& host) { return nccl_->make_communicator(host); }};
}

}  // namespace molora
