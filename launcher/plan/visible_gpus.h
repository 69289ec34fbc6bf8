// How many NVIDIA GPUs CUDA would show to a process of this machine.
#pragma once

#include <filesystem>

#include "launcher/plan/environment.h"

namespace molora {

// Those that the driver lists under `root` (/proc/driver/nvidia/gpus, /dev/nvidia0, ...), cut by
// CUDA_VISIBLE_DEVICES as CUDA reads it: entries (indices, UUIDs or beginnings of UUIDs) count up
// to the first one that names no GPU, and of MIG devices a process sees one.
int count_visible_gpus(const std::filesystem::path& root, const Environment& environment);

}  // namespace molora
