// A job without MPI and LibTorch for tests of launcher/: how a fake worker is told what to do, and
// the collectives of its ranks, which are barriers in shared memory.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>

namespace molora::testing {

// "key=value" words.
class FakeSettings {
 public:
  FakeSettings(int argc, char** argv) {
    for (int i = 0; i < argc; ++i) {
      const std::string word = argv[i];
      const size_t equals = word.find('=');
      if (equals != std::string::npos) values_[word.substr(0, equals)] = word.substr(equals + 1);
    }
  }
  std::string text(const std::string& name, const std::string& otherwise = "") const {
    const auto found = values_.find(name);
    return found == values_.end() ? otherwise : found->second;
  }
  int number(const std::string& name, int otherwise) const {
    const auto found = values_.find(name);
    return found == values_.end() ? otherwise : std::stoi(found->second);
  }

 private:
  std::map<std::string, std::string> values_;
};

// Memory of all ranks of one start, in a file of /dev/shm that nobody removes: as MPI leaves it
// when its ranks are killed.
class FakeCollectives {
 public:
  FakeCollectives(const std::string& name, int world_size) : world_size_(world_size) {
    const int file = ::open(("/dev/shm/" + name).c_str(), O_RDWR | O_CREAT, 0600);
    if (file < 0 || ::ftruncate(file, sizeof(Shared)) != 0) throw std::runtime_error(name);
    void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ::close(file);
    if (memory == MAP_FAILED) throw std::runtime_error(name);
    shared_ = static_cast<Shared*>(memory);
  }

  // Waits for all ranks in the collective of this number; those that call it otherwise do not meet.
  void meet(uint64_t sequence, const std::string& operation) {
    const uint64_t kind = operation == "all_to_all" ? 0 : operation == "all_reduce" ? 1 : 2;
    std::atomic<int>& arrived = shared_->arrived[(sequence * 3 + kind) % kSlots];
    ++arrived;
    while (arrived < world_size_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  // Asked by one rank before a meeting, known to all after it.
  void stop_after(int step) {
    int none = 0;
    shared_->last_step.compare_exchange_strong(none, step);
  }
  bool is_last(int step) const { return shared_->last_step != 0 && step >= shared_->last_step; }

  static constexpr uint64_t kSlots = 16384;

 private:
  struct Shared {
    std::atomic<int> arrived[kSlots];
    std::atomic<int> last_step;
  };
  Shared* shared_ = nullptr;
  int world_size_;
};

}  // namespace molora::testing
