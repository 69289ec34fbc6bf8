#include "launcher/agent/shared_memory_files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include <gtest/gtest.h>

namespace molora {
namespace {

// A file of one page in /dev/shm, mapped while it lives.
class Mapped {
 public:
  Mapped(const std::string& name, int protection, int sharing) : path_("/dev/shm/" + name) {
    std::filesystem::create_directories(path_.parent_path());
    const int file = ::open(path_.c_str(), O_RDWR | O_CREAT, 0600);
    EXPECT_EQ(::ftruncate(file, kBytes), 0);
    memory_ = ::mmap(nullptr, kBytes, protection, sharing, file, 0);
    ::close(file);
  }
  ~Mapped() {
    ::munmap(memory_, kBytes);
    std::filesystem::remove(path_);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  Mapped(Mapped&&) = delete;
  Mapped& operator=(Mapped&&) = delete;

  bool exists() const { return std::filesystem::exists(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  static constexpr size_t kBytes = 4096;
  std::filesystem::path path_;
  void* memory_;
};

std::string own_name(const char* what) {
  return "molora-test-" + std::to_string(::getpid()) + what;
}

SharedMemoryFiles seen_since(std::chrono::seconds ago) {
  SharedMemoryFiles files(std::chrono::system_clock::now() - ago);
  files.look_at(::getpid());
  return files;
}

TEST(SharedMemoryFiles, RemovesWhatIsSharedForWriting) {
  const Mapped segment(own_name("a"), PROT_READ | PROT_WRITE, MAP_SHARED);
  EXPECT_EQ(seen_since(std::chrono::seconds(60)).remove(), 1);
  EXPECT_FALSE(segment.exists());
}

TEST(SharedMemoryFiles, LeavesDataThatIsOnlyRead) {
  const Mapped model(own_name("b"), PROT_READ, MAP_SHARED);
  const Mapped copied(own_name("c"), PROT_READ | PROT_WRITE, MAP_PRIVATE);
  EXPECT_EQ(seen_since(std::chrono::seconds(60)).remove(), 0);
  EXPECT_TRUE(model.exists());
  EXPECT_TRUE(copied.exists());
}

TEST(SharedMemoryFiles, LeavesWhatWasThereBefore) {
  const Mapped old(own_name("d"), PROT_READ | PROT_WRITE, MAP_SHARED);
  EXPECT_EQ(seen_since(std::chrono::seconds(-60)).remove(), 0);
  EXPECT_TRUE(old.exists());
}

TEST(SharedMemoryFiles, LeavesFolders) {
  const Mapped inside(own_name("folder") + "/e", PROT_READ | PROT_WRITE, MAP_SHARED);
  EXPECT_EQ(seen_since(std::chrono::seconds(60)).remove(), 0);
  EXPECT_TRUE(inside.exists());
  std::filesystem::remove_all(inside.path().parent_path());
}

TEST(SharedMemoryFiles, OfAProcessThatIsGoneThereAreNone) {
  SharedMemoryFiles files(std::chrono::system_clock::now());
  files.look_at(-1);
  EXPECT_EQ(files.remove(), 0);
}

}  // namespace
}  // namespace molora
