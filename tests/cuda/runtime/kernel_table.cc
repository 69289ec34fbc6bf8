#include "kernel_table.h"

#include <dlfcn.h>

#include <filesystem>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "report.h"

namespace molora::fake_cuda {

namespace {

constexpr const char* kLibrary = "libmolora_emulated_kernels.so";

// Loads the library of emulated kernels; returns why it could not be loaded.
std::string load_library() {
  Dl_info here{};
  if (dladdr(reinterpret_cast<void*>(&kernels), &here) == 0) return "its folder is not known";
  const auto path = std::filesystem::path(here.dli_fname).parent_path() / kLibrary;
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return "it was loaded";
  const char* why = dlerror();
  return why == nullptr ? "no reason given" : why;
}

}  // namespace

KernelTable& kernels() {
  static KernelTable& once = *new KernelTable;
  return once;
}

void KernelTable::add(const std::string& name, Kernel kernel) {
  const std::lock_guard lock(mutex_);
  kernels_[name] = std::move(kernel);
}

void KernelTable::add_stub(const void* stub, const std::string& name) {
  const std::lock_guard lock(mutex_);
  stubs_[stub].name = name;
}

HostStub* KernelTable::find_stub(const void* address) {
  const std::lock_guard lock(mutex_);
  if (const auto found = stubs_.find(address); found != stubs_.end()) return &found->second;
  for (auto& [stub, entry] : stubs_) {
    if (&entry == address) return &entry;
  }
  return nullptr;
}

bool KernelTable::look_up(const std::string& name, Kernel& out) {
  const std::lock_guard lock(mutex_);
  const auto found = kernels_.find(name);
  if (found == kernels_.end()) return false;
  out = found->second;
  return true;
}

Kernel KernelTable::find(const std::string& name) {
  Kernel kernel;
  if (look_up(name, kernel)) return kernel;
  static std::string& why = *new std::string;
  std::call_once(library_is_loaded_, [] { why = load_library(); });
  if (look_up(name, kernel)) return kernel;
  std::vector<std::string> known;
  const std::lock_guard lock(mutex_);
  for (const auto& [other, unused] : kernels_) known.push_back(other);
  stop(fmt::format("no host function stands for kernel {}; {}: {}; known are: {}", name, kLibrary,
                   why, fmt::join(known, " ")));
}

}  // namespace molora::fake_cuda
