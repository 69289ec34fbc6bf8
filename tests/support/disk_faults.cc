#include "support/disk_faults.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <stdexcept>
#include <thread>
#include <utility>

namespace molora::testing {

namespace {

constexpr std::array kNames = {"create",      "write",  "sync", "close", "rename", "make_folder",
                               "sync_folder", "remove", "open", "read",  "list",   "exists"};
constexpr std::chrono::minutes kPatience{1};

}  // namespace

const char* operation_name(DiskOperation operation) {
  return kNames.at(static_cast<size_t>(operation));
}

void FaultGate::set(const Faults& faults) {
  const std::lock_guard lock(mutex_);
  faults_ = faults;
  log_.clear();
}

bool FaultGate::is_numbered(DiskOperation operation, const std::string& path) const {
  return (faults_.counts_reads || changes_disk(operation)) &&
         (!faults_.operation || *faults_.operation == operation) &&
         path.find(faults_.path) != std::string::npos;
}

bool FaultGate::is_held(DiskOperation operation, const std::string& path) const {
  return held_ && held_->second == operation && path.find(held_->first) != std::string::npos;
}

int FaultGate::failure_of(DiskOperation operation, int64_t number) const {
  if (faults_.fail_at > 0 && number >= faults_.fail_at &&
      number - faults_.fail_at < faults_.num_failures) {
    return faults_.fail_code;
  }
  const bool is_harmless = operation == DiskOperation::kSync ||
                           operation == DiskOperation::kSyncFolder ||
                           operation == DiskOperation::kClose || !changes_disk(operation);
  return faults_.is_read_only && !is_harmless ? EROFS : 0;
}

void FaultGate::wait_while_held(std::unique_lock<std::mutex>& lock, DiskOperation operation,
                                const std::string& path) {
  const int64_t start = num_starts_;
  const auto is_over = [&] { return has_stopped_ || start != num_starts_; };
  if (!is_over() && is_held(operation, path)) {
    ++num_held_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return is_over() || !is_held(operation, path); });
    --num_held_;
  }
  if (is_over()) throw Crashed();
}

FaultGate::Pass FaultGate::enter(DiskOperation operation, const std::filesystem::path& path,
                                 size_t bytes) {
  std::unique_lock lock(mutex_);
  wait_while_held(lock, operation, path.string());
  if (!is_numbered(operation, path.string())) return {.largest_write = bytes};
  log_.push_back(std::string(operation_name(operation)) + " " + path.string());
  const auto number = static_cast<int64_t>(log_.size());
  if (number == faults_.stop_at) {
    has_stopped_ = true;
    changed_.notify_all();
    if (operation != DiskOperation::kWrite) throw Crashed();
    return {.is_last = true, .largest_write = bytes / 2, .capacity = faults_.capacity};
  }
  const Pass pass{.failure = failure_of(operation, number),
                  .largest_write = std::min(bytes, faults_.largest_write),
                  .capacity = faults_.capacity};
  const auto delay = faults_.call_delay + faults_.byte_delay * pass.largest_write;
  lock.unlock();
  if (delay.count() > 0) std::this_thread::sleep_for(delay);
  return pass;
}

void FaultGate::hold(const std::string& path, DiskOperation operation) {
  const std::lock_guard lock(mutex_);
  held_.emplace(path, operation);
}

void FaultGate::wait_until_held() {
  std::unique_lock lock(mutex_);
  if (changed_.wait_for(lock, kPatience, [&] { return num_held_ > 0; })) return;
  throw std::runtime_error(held_ ? std::string("no call came to be held: ") +
                                       operation_name(held_->second) + " " + held_->first
                                 : "nothing is to be held");
}

void FaultGate::release() {
  const std::lock_guard lock(mutex_);
  held_.reset();
  changed_.notify_all();
}

void FaultGate::stop() {
  const std::lock_guard lock(mutex_);
  has_stopped_ = true;
  changed_.notify_all();
}

void FaultGate::restart() {
  const std::lock_guard lock(mutex_);
  ++num_starts_;
  has_stopped_ = false;
  faults_ = {};
  log_.clear();
  held_.reset();
  changed_.notify_all();
}

int64_t FaultGate::num_starts() const {
  const std::lock_guard lock(mutex_);
  return num_starts_;
}

int64_t FaultGate::calls() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int64_t>(log_.size());
}

std::vector<std::string> FaultGate::log() const {
  const std::lock_guard lock(mutex_);
  return log_;
}

}  // namespace molora::testing
