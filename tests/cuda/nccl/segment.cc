#include "segment.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>

#include <climits>
#include <fmt/format.h>

namespace molora::fake_nccl {

namespace {

constexpr const char* kPrefix = "molora-fake-nccl-";
constexpr const char* kFolder = "/dev/shm";

struct Layout {
  size_t slots = 0;
  size_t channels = 0;
  size_t rounds = 0;
  size_t pieces = 0;
  size_t end = 0;
};

Layout layout_of(int num_ranks) {
  constexpr size_t kPage = 4096;
  const auto page_after = [](size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; };
  const auto ranks = static_cast<size_t>(num_ranks);
  Layout layout;
  layout.slots = page_after(sizeof(Control));
  layout.channels = page_after(layout.slots + ranks * sizeof(RankSlot));
  layout.rounds = page_after(layout.channels + ranks * ranks * sizeof(Channel));
  layout.pieces = layout.rounds + ranks * 2 * kRoundBytes;
  layout.end = layout.pieces + ranks * ranks * kChannelBytes;
  return layout;
}

struct flock lock_of(int rank) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = rank;
  lock.l_len = 1;
  return lock;
}

// Whether a rank was refused: ranks that come late must still hear of it.
bool has_failed(const std::string& name) {
  const int file = shm_open(name.c_str(), O_RDONLY | O_CLOEXEC, 0);
  if (file < 0) return false;
  uint32_t flag = 0;
  const bool is_read =
      pread(file, &flag, sizeof flag, offsetof(Control, has_failed)) == ssize_t{sizeof flag};
  close(file);
  return is_read && flag != 0;
}

// Names that this process has used: those of communicators that never came to be are removed when
// the process ends, after a while for late ranks where one was refused. (The others are gone by
// then, and never used again.)
class NamesToRemove {
 public:
  ~NamesToRemove() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    for (const std::string& name : names_) {
      while (has_failed(name) && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      shm_unlink(name.c_str());
    }
  }
  void add(const std::string& name) { names_.insert(name); }

 private:
  std::set<std::string> names_;
};

[[noreturn]] void refused(const char* what, const std::string& name) {
  throw std::runtime_error(fmt::format("{} {}: {}", what, name, std::strerror(errno)));
}

}  // namespace

std::shared_ptr<Segment> Segment::open(const std::string& id, int num_ranks) {
  static std::mutex& mutex = *new std::mutex;
  static auto& known = *new std::map<std::string, std::weak_ptr<Segment>>;
  const std::lock_guard lock(mutex);
  // Ranks that disagree on their number must not share an object.
  std::weak_ptr<Segment>& entry = known[fmt::format("{} {}", id, num_ranks)];
  if (auto segment = entry.lock()) return segment;
  std::shared_ptr<Segment> segment(new Segment("/" + (kPrefix + id), num_ranks));
  entry = segment;
  return segment;
}

Segment::Segment(std::string name, int num_ranks) : name_(std::move(name)), num_ranks_(num_ranks) {
  static NamesToRemove names;
  names.add(name_);
  file_ = shm_open(name_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file_ < 0) refused("shm_open", name_);
  bytes_ = layout_of(num_ranks).end;
  struct stat status {};
  // A file may only grow, because another rank may have mapped it with another number of ranks.
  if (fstat(file_, &status) != 0) refused("fstat", name_);
  if (static_cast<size_t>(status.st_size) < bytes_ &&
      ftruncate(file_, static_cast<off_t>(bytes_)) != 0) {
    refused("ftruncate", name_);
  }
  map();
  uint32_t none = 0;
  control_->num_ranks.compare_exchange_strong(none, static_cast<uint32_t>(num_ranks));
}

void Segment::map() {
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
  if (memory == MAP_FAILED) refused("mmap", name_);
  memory_ = static_cast<std::byte*>(memory);
  const Layout layout = layout_of(num_ranks_);
  control_ = reinterpret_cast<Control*>(memory_);
  slots_ = reinterpret_cast<RankSlot*>(memory_ + layout.slots);
  channels_ = reinterpret_cast<Channel*>(memory_ + layout.channels);
  rounds_ = memory_ + layout.rounds;
  pieces_ = memory_ + layout.pieces;
}

Segment::~Segment() {
  if (memory_ != nullptr) munmap(memory_, bytes_);
  if (file_ >= 0) close(file_);
}

bool Segment::agrees_on_ranks() const {
  return control_->num_ranks.load() == static_cast<uint32_t>(num_ranks_);
}

bool Segment::enter(int rank, int bus, uint64_t host) {
  RankSlot& mine = slot(rank);
  struct flock lock = lock_of(rank);
  // The lock comes first, so that a rank that is seen as live is locked.
  if (fcntl(file_, F_OFD_SETLK, &lock) != 0) return false;
  mine.pid = getpid();
  mine.bus = bus;
  mine.host = host;
  Presence absent = Presence::kAbsent;
  if (!mine.presence.compare_exchange_strong(absent, Presence::kLive)) return false;
  control_->num_attached.fetch_add(1);
  ring();
  return true;
}

bool Segment::has_died(int rank) const {
  const RankSlot& other = slot(rank);
  if (other.presence.load() != Presence::kLive) return false;
  struct flock lock = lock_of(rank);
  // Locks of this process are no obstacle to itself: its own ranks are alive.
  if (other.pid == getpid() || fcntl(file_, F_OFD_GETLK, &lock) != 0) return false;
  return lock.l_type == F_UNLCK && other.presence.load() == Presence::kLive;
}

void Segment::arrive() const {
  const uint32_t arrived = control_->num_arrived.fetch_add(1) + 1;
  if (arrived == control_->num_ranks.load()) shm_unlink(name_.c_str());
}

std::byte* Segment::round_data(int rank, uint64_t round) const {
  return rounds_ + (static_cast<size_t>(rank) * 2 + round % 2) * kRoundBytes;
}

std::byte* Segment::channel_data(int from, int to) const {
  return pieces_ + static_cast<size_t>(from * num_ranks_ + to) * kChannelBytes;
}

void Segment::ring() const {
  control_->doorbell.fetch_add(1);
  syscall(SYS_futex, &control_->doorbell, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void Segment::sleep(uint32_t seen, std::chrono::milliseconds at_most) const {
  timespec limit{};
  limit.tv_nsec = std::chrono::nanoseconds(at_most).count();
  syscall(SYS_futex, &control_->doorbell, FUTEX_WAIT, seen, &limit, nullptr, 0);
}

bool Segment::fail(const std::string& text) const {
  uint32_t none = 0;
  if (!control_->is_failing.compare_exchange_strong(none, 1)) return false;
  const size_t size = std::min(text.size(), sizeof control_->failure_text - 1);
  std::memcpy(control_->failure_text, text.data(), size);
  control_->has_failed.store(1);
  ring();
  return true;
}

void sweep_segments() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    const auto age = std::filesystem::file_time_type::clock::now() - entry.last_write_time(error);
    if (error || age < std::chrono::seconds(10)) continue;  // its first rank may be about to lock
    const int file = ::open(entry.path().c_str(), O_RDWR | O_CLOEXEC);
    struct flock any = lock_of(0);
    any.l_len = kMaxRanks;
    if (file >= 0 && fcntl(file, F_OFD_GETLK, &any) == 0 && any.l_type == F_UNLCK) {
      std::filesystem::remove(entry.path(), error);
    }
    if (file >= 0) close(file);
  }
}

}  // namespace molora::fake_nccl
