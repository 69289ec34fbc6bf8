// Reads a model's weights and prints how fast, beside reading the same files and no more. In
// seconds of CPU time, of all threads: what other programs do meanwhile does not count.
//
// usage: load_bench MODEL_FOLDER [ROUNDS]        (the first round fills the page cache)
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <filesystem>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "io/file.h"
#include "model/base_weights.h"
#include "tensor/host_memory.h"

namespace {

using molora::WeightFiles;

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void report(const char* what, int64_t bytes, const std::function<void()>& work) {
  const double start = cpu_seconds();
  work();
  const double seconds = cpu_seconds() - start;
  std::printf("  %-34s %.3f s  %.2f GB/s\n", what, seconds,
              static_cast<double>(bytes) / 1e9 / seconds);
}

void read_plainly(const WeightFiles& files, size_t block) {
  std::set<std::filesystem::path> paths;
  for (const auto& tensor : files.expected()) paths.insert(files.at(tensor.name).file->path());
  std::vector<std::byte> buffer(block);
  for (const auto& path : paths) {
    const molora::FileReader reader(path);
    for (uint64_t at = 0; at < reader.size(); at += block) {
      const auto count = std::min<uint64_t>(block, reader.size() - at);
      reader.read_at(at, std::span(buffer).first(count));
    }
  }
}

int bench(const char* folder, int rounds) {
  molora::use_caching_host_allocator();
  const WeightFiles files(folder, molora::read_architecture(folder, {}));
  const int64_t bytes = files.stored_bytes();
  for (int round = 0; round < rounds; ++round) {
    std::printf("round %d, %.1f MB\n", round, static_cast<double>(bytes) / 1e6);
    std::string digests;
    report("read, blocks of 256 KiB", bytes, [&] { read_plainly(files, 256 << 10); });
    report("read, blocks of 4 MiB", bytes, [&] { read_plainly(files, 4 << 20); });
    report("check_contents", bytes, [&] { digests = files.check_contents(0, 1); });
    const std::string fingerprint = files.fingerprint({digests});
    for (const auto type : {at::kBFloat16, at::kFloat}) {
      report(at::toString(type), bytes,
             [&] { const molora::BaseWeights weights(files, type, 1, 0, fingerprint); });
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: load_bench MODEL_FOLDER [ROUNDS]\n");
    return 64;
  }
  try {
    return bench(argv[1], argc > 2 ? std::atoi(argv[2]) : 5);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
