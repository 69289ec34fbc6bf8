#include "support/simulated_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "io/io_failure.h"

namespace molora::testing {

class SimulatedDisk::Writer final : public WritableFile {
 public:
  Writer(SimulatedDisk& disk, std::filesystem::path path, DiskImage::NodePtr node)
      : disk_(disk),
        path_(std::move(path)),
        node_(std::move(node)),
        start_(disk.gate_.num_starts()) {}

  size_t write_some(std::span<const std::byte> bytes) override {
    const FaultGate::Pass pass = enter(DiskOperation::kWrite, "write", bytes.size());
    const std::lock_guard lock(disk_.mutex_);
    const uint64_t used = disk_.image_.total_bytes();
    const uint64_t room = pass.capacity > used ? pass.capacity - used : 0;
    const auto put = static_cast<size_t>(std::min<uint64_t>(pass.largest_write, room));
    if (put == 0 && !bytes.empty() && !pass.is_last) throw_io("write", path_, ENOSPC);
    DiskImage::append(*node_, {reinterpret_cast<const char*>(bytes.data()), put});
    if (pass.is_last) throw Crashed();
    return put;
  }

  void sync() override {
    try {
      (void)enter(DiskOperation::kSync, "sync");
    } catch (const IoError&) {
      const std::lock_guard lock(disk_.mutex_);
      node_->has_lost_bytes = true;
      throw;
    }
    const std::lock_guard lock(disk_.mutex_);
    DiskImage::sync(*node_);
  }

  void close() override {
    (void)enter(DiskOperation::kClose, "close");
    is_open_ = false;
  }

 private:
  FaultGate::Pass enter(DiskOperation operation, const char* what, size_t bytes = 0) {
    if (start_ != disk_.gate_.num_starts()) throw Crashed();
    if (!is_open_) throw_io(what, path_, EBADF);
    return disk_.enter(operation, what, path_, bytes);
  }

  SimulatedDisk& disk_;
  std::filesystem::path path_;
  DiskImage::NodePtr node_;
  int64_t start_;
  bool is_open_ = true;
};

class SimulatedDisk::Reader final : public ReadableFile {
 public:
  Reader(SimulatedDisk& disk, std::filesystem::path path, DiskImage::NodePtr node)
      : disk_(disk),
        path_(std::move(path)),
        node_(std::move(node)),
        size_(node_->bytes.size()),
        start_(disk.gate_.num_starts()) {}

  uint64_t size() const override { return size_; }

  void read_at(uint64_t offset, std::span<std::byte> into) const override {
    if (start_ != disk_.gate_.num_starts()) throw Crashed();
    (void)disk_.enter(DiskOperation::kRead, "read", path_);
    const std::lock_guard lock(disk_.mutex_);
    const std::string& bytes = node_->bytes;
    const uint64_t there = bytes.size() > offset ? bytes.size() - offset : 0;
    const auto got = static_cast<size_t>(std::min<uint64_t>(there, into.size()));
    if (got > 0) std::memcpy(into.data(), bytes.data() + offset, got);
    if (got == into.size()) return;
    throw IoError(fmt::format("{}: has nothing at byte {}, expected {} more: it shrank",
                              path_.string(), offset + got, into.size() - got));
  }

 private:
  SimulatedDisk& disk_;
  std::filesystem::path path_;
  DiskImage::NodePtr node_;
  uint64_t size_;
  int64_t start_;
};

SimulatedDisk::SimulatedDisk() = default;
SimulatedDisk::SimulatedDisk(DiskImage image) : image_(std::move(image)) {}
SimulatedDisk::~SimulatedDisk() = default;

std::unique_ptr<SimulatedDisk> SimulatedDisk::after_crash(Survival how, uint64_t seed) const {
  const std::lock_guard lock(mutex_);
  return std::unique_ptr<SimulatedDisk>(new SimulatedDisk(image_.after_crash(how, seed)));
}

void SimulatedDisk::crash(Survival how, uint64_t seed) {
  const std::lock_guard lock(mutex_);
  image_ = image_.after_crash(how, seed);
  gate_.restart();
}

std::map<std::string, std::string> SimulatedDisk::contents() const {
  const std::lock_guard lock(mutex_);
  return image_.contents();
}

FaultGate::Pass SimulatedDisk::enter(DiskOperation operation, const std::string& what,
                                     const std::filesystem::path& path, size_t bytes) {
  const FaultGate::Pass pass = gate_.enter(operation, path, bytes);
  if (pass.failure != 0) throw_io(what, path, pass.failure);
  return pass;
}

std::unique_ptr<WritableFile> SimulatedDisk::create(const std::filesystem::path& path) {
  (void)enter(DiskOperation::kCreate, "create", path);
  const std::lock_guard lock(mutex_);
  return std::make_unique<Writer>(*this, path, image_.create(path));
}

std::unique_ptr<ReadableFile> SimulatedDisk::open(const std::filesystem::path& path) {
  (void)enter(DiskOperation::kOpen, "open", path);
  const std::lock_guard lock(mutex_);
  const DiskImage::NodePtr node = image_.open(path);
  if (node->is_folder) throw IoError(path.string() + ": expected a file, found a folder");
  return std::make_unique<Reader>(*this, path, node);
}

void SimulatedDisk::make_folder(const std::filesystem::path& path) {
  (void)enter(DiskOperation::kMakeFolder, "make the folder", path);
  const std::lock_guard lock(mutex_);
  image_.make_folder(path);
}

void SimulatedDisk::sync_folder(const std::filesystem::path& path) {
  (void)enter(DiskOperation::kSyncFolder, "sync the folder", path);
  const std::lock_guard lock(mutex_);
  image_.sync_folder(path);
}

void SimulatedDisk::rename(const std::filesystem::path& from, const std::filesystem::path& to) {
  (void)enter(DiskOperation::kRename, "rename to " + to.filename().string(), from);
  const std::lock_guard lock(mutex_);
  image_.rename(from, to);
}

void SimulatedDisk::remove(const std::filesystem::path& path) {
  (void)enter(DiskOperation::kRemove, "remove", path);
  const std::lock_guard lock(mutex_);
  image_.remove(path);
}

std::vector<FileSystem::Entry> SimulatedDisk::list(const std::filesystem::path& path) {
  (void)enter(DiskOperation::kList, "list the folder", path);
  const std::lock_guard lock(mutex_);
  std::vector<Entry> entries;
  const DiskImage::NodePtr folder = image_.find(path);
  if (folder == nullptr) return entries;
  for (const auto& [name, node] : folder->entries) entries.push_back({name, node->is_folder});
  return entries;
}

bool SimulatedDisk::exists(const std::filesystem::path& path) {
  (void)enter(DiskOperation::kExists, "look for", path);
  const std::lock_guard lock(mutex_);
  return image_.find(path) != nullptr;
}

}  // namespace molora::testing
