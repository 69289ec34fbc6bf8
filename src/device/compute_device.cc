#include "device/compute_device.h"

#include <dlfcn.h>
#include <link.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"

namespace molora {

namespace {

WaitUntil& wait_until() {
  static WaitUntil wait;
  return wait;
}

void poll(const std::function<bool()>& is_done) {
  while (!is_done()) std::this_thread::sleep_for(std::chrono::microseconds(20));
}

// Waits until the work that the calling thread has given `device` so far is done.
void wait_for_work(at::Device device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  c10::Event done(device.type());
  done.record(guard.getStream(device));
  const auto is_done = [&done] { return done.query(); };
  if (wait_until()) {
    wait_until()(is_done);
  } else {
    poll(is_done);
  }
}

constexpr const char* kCudaLibrary = "libtorch_cuda.so";

// The CUDA library that was made with the LibTorch in use lies beside it. A path without folder,
// which the loader looks up by its own rules, when LibTorch cannot be located.
std::string path_beside_libtorch() {
  void* libtorch = dlopen("libtorch_cpu.so", RTLD_NOW | RTLD_NOLOAD);
  if (libtorch == nullptr) return kCudaLibrary;
  const link_map* found = nullptr;
  const bool is_found = dlinfo(libtorch, RTLD_DI_LINKMAP, &found) == 0;
  std::filesystem::path path(is_found ? found->l_name : "");
  dlclose(libtorch);  // stays: the program is linked with it
  return path.replace_filename(kCudaLibrary).string();
}

// By its name first, so that LD_LIBRARY_PATH can put another one in its place. One that is found
// and does not load is not passed over. Says why not in `why`.
void* open_cuda_library(std::string& why) {
  const auto open = [&why](const std::string& path) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    const char* words = library == nullptr ? dlerror() : nullptr;
    why = words == nullptr ? "no reason given" : words;
    return library;
  };
  void* library = open(kCudaLibrary);
  // The loader's words begin with what it could not find or load: the bare name, or a path.
  const bool is_nowhere = library == nullptr && why.rfind(std::string(kCudaLibrary) + ":", 0) == 0;
  return is_nowhere ? open(path_beside_libtorch()) : library;
}

}  // namespace

int load_cuda() {
  static void* library = nullptr;
  if (library == nullptr) {
    std::string why;
    library = open_cuda_library(why);
    if (library == nullptr) {
      throw ConfigError(
          fmt::format("device.kind is cuda, but LibTorch's CUDA library cannot be loaded: {}. "
                      "`./run setup cuda` "
                      "fetches it with all that it needs; device.kind=cpu does without",
                      why));
    }
  }
  if (!at::hasCUDA()) {
    // LibTorch keeps the first answer. A library with devices and the answer "no" do not go
    // together.
    MOLORA_CHECK(!c10::impl::hasDeviceGuardImpl(at::kCUDA) ||
                     c10::impl::getDeviceGuardImpl(at::kCUDA)->deviceCount() == 0,
                 "LibTorch was asked for CUDA before load_cuda()");
    throw ConfigError(
        "device.kind is cuda, but no GPU is seen: no NVIDIA driver is loaded, or "
        "CUDA_VISIBLE_DEVICES hides all GPUs (`nvidia-smi` shows them); device.kind=cpu does "
        "without");
  }
  at::globalContext().lazyInitDevice(at::kCUDA);
  return at::detail::getCUDAHooks().getNumGPUs();
}

at::Device use_gpu(int index) {
  const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  MOLORA_CHECK(index >= 0 && index < guard.deviceCount(), "GPU {} of {}", index,
               guard.deviceCount());
  guard.setDevice(device);
  return device;
}

void use_deterministic_operators() {
  // cuBLAS reads it when it is first used, and LibTorch refuses products without it.
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  context.setDeterministicFillUninitializedMemory(false);
  context.setSDPUseMemEfficient(false);  // its backward pass adds in any order
}

void* compute_stream(at::Device device) {
  if (device.is_cpu()) return nullptr;
  const c10::impl::VirtualGuardImpl guard(device.type());
  return guard.getStreamNativeHandle(guard.getStream(device));
}

Tensor to_device(const Tensor& host, at::Device device) {
  if (host.device() == device) return host;
  MOLORA_CHECK(host.is_cpu(), "{}", host.device().str());
  return host.pin_memory().to(device, /*non_blocking=*/true);
}

void set_wait_until(WaitUntil wait) { wait_until() = std::move(wait); }

Tensor to_host(const Tensor& tensor) {
  if (tensor.is_cpu()) return tensor;
  const Tensor source = tensor.detach();
  Tensor copy = at::empty(source.sizes(), source.options().device(at::kCPU).pinned_memory(true));
  copy.copy_(source, /*non_blocking=*/true);
  wait_for_work(source.device());
  return copy;
}

void finish_work(at::Device device) {
  if (!device.is_cpu()) wait_for_work(device);
}

}  // namespace molora
