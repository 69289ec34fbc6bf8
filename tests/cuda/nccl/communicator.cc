#include "communicator.h"

#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "deadlock.h"
#include "report.h"
#include "settings.h"

namespace molora::fake_nccl {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kTick{20};
constexpr int kTicksOfACircle = 3;

std::string headline(const Communicator& communicator, int rank) {
  return fmt::format("rank {} of {} (comm {})", rank, communicator.size(), communicator.name());
}

}  // namespace

Communicator::Communicator(CommunicatorOptions options)
    : options_(std::move(options)),
      segment_(Segment::open(id(), size())),
      random_(settings().seed * 1'000'003 + hash_of(options_.name) +
              static_cast<uint64_t>(options_.rank)) {
  if (cudaGetDevice(&device_) != cudaSuccess ||
      cudaDeviceGetAttribute(&bus_, cudaDevAttrPciBusId, device_) != cudaSuccess) {
    stop("a communicator is made where there is no device");
  }
}

ncclResult_t Communicator::connect() {
  dawdle();
  segment_->arrive();
  if (!segment_->agrees_on_ranks()) {
    return breach(
        rank(), "num-ranks",
        fmt::format("the communicator has {} ranks, expected {} as the first to come said", size(),
                    segment_->control().num_ranks.load()));
  }
  if (!segment_->enter(rank(), bus_, settings().host)) {
    return breach(rank(), "same-rank", "two have come as this rank");
  }
  const bool all = wait_until(
      [&] { return segment_->control().num_attached.load() == static_cast<uint32_t>(size()); },
      "the start of the communicator");
  return all ? check_devices() : error();
}

ncclResult_t Communicator::check_devices() {
  for (int a = 0; a < size(); ++a) {
    for (int b = a + 1; b < size(); ++b) {
      const RankSlot& first = segment_->slot(a);
      const RankSlot& second = segment_->slot(b);
      if (first.bus != second.bus || first.host != second.host) continue;
      return breach(b, "duplicate-gpu",
                    fmt::format("Duplicate GPU detected : rank {} and rank {} both on CUDA device "
                                "{:x} (a different NCCL_HOSTID for each rank allows it)",
                                a, b, first.bus << 12));
    }
  }
  return ncclSuccess;
}

void Communicator::leave(Presence how) {
  if (!segment_->agrees_on_ranks()) return;
  Presence live = Presence::kLive;
  slot().presence.compare_exchange_strong(live, how);
  segment_->ring();
}

ncclResult_t Communicator::breach(int culprit, const std::string& rule, const std::string& what) {
  const std::string text = fmt::format("{}: RULE {}: {}", headline(*this, culprit), rule, what);
  if (segment_->fail(text)) say(text);
  fail_here(ncclInvalidUsage, text);
  return ncclInvalidUsage;
}

void Communicator::fail_here(ncclResult_t error, const std::string& text) {
  {
    const std::lock_guard lock(mutex_);
    if (error_ != ncclSuccess) return;
    error_ = error;
    error_text_ = text;
  }
  if (error != ncclInvalidUsage) say(fmt::format("{}: {}", headline(*this, rank()), text));
  segment_->ring();
}

ncclResult_t Communicator::error() {
  if (segment_->control().has_failed.load() != 0) {
    fail_here(ncclInvalidUsage, segment_->control().failure_text);
  }
  const std::lock_guard lock(mutex_);
  return error_;
}

std::string Communicator::error_text() {
  if (error() == ncclSuccess) return {};
  const std::lock_guard lock(mutex_);
  return error_text_;
}

void Communicator::look_after_others() {
  if (!segment_->agrees_on_ranks() || error() != ncclSuccess) return;
  for (int other = 0; other < size(); ++other) {
    if (segment_->has_died(other)) {
      fail_here(ncclRemoteError, fmt::format("the process of rank {} has died", other));
    }
  }
}

void Communicator::check_others(const std::string& what) {
  look_after_others();
  const uint64_t waits = waits_of(*segment_, rank());
  for (int other = 0; other < size(); ++other) {
    const Presence presence = segment_->slot(other).presence.load();
    if (presence == Presence::kAborted) {
      fail_here(ncclRemoteError, fmt::format("rank {} has aborted; {} cannot end", other, what));
    } else if (presence == Presence::kLeft && (waits >> other & 1) != 0) {
      breach(other, "left",
             fmt::format("has destroyed the communicator, but rank {} waits for it "
                         "in {}",
                         rank(), what));
    }
  }
}

bool Communicator::is_stuck(uint64_t& fingerprint, int& times) {
  const Circle circle = circle_through(*segment_, rank());
  times = circle.next >= 0 && circle.fingerprint == fingerprint ? times + 1 : 0;
  fingerprint = circle.fingerprint;
  if (times < kTicksOfACircle) return false;
  breach(circle.next, "order",
         fmt::format("is at {}, expected what rank {} waits for in {}; neither can go on",
                     doing_of(*segment_, circle.next), rank(), doing_of(*segment_, rank())));
  return true;
}

bool Communicator::wait_until(const std::function<bool()>& done, const std::string& what) {
  const auto deadline = Clock::now() + settings().timeout;
  auto next_look = Clock::now() + kTick;
  uint64_t fingerprint = 0;
  int times = 0;
  while (true) {
    const uint32_t seen = segment_->doorbell();
    if (is_aborted()) return false;
    if (done()) return true;
    if (error() != ncclSuccess) return false;
    segment_->sleep(seen, kTick);
    if (Clock::now() < next_look) continue;
    next_look = Clock::now() + kTick;
    check_others(what);
    if (is_stuck(fingerprint, times)) return false;
    if (Clock::now() > deadline && !done()) {
      std::vector<int> missing;
      const uint64_t waits = waits_of(*segment_, rank());
      for (int other = 0; other < size(); ++other) {
        const bool is_absent = segment_->slot(other).presence.load() == Presence::kAbsent;
        if (is_absent || (waits >> other & 1) != 0) missing.push_back(other);
      }
      fail_here(ncclRemoteError, fmt::format("{} has not ended in {} s; missing: rank {}", what,
                                             settings().timeout.count(), fmt::join(missing, ", ")));
    }
  }
}

void Communicator::stay_until_aborted() {
  if (error() == ncclInvalidUsage) return;
  std::unique_lock lock(mutex_);
  has_moved_.wait(lock, [&] { return is_aborted(); });
}

void Communicator::abort() {
  leave(Presence::kAborted);
  std::unique_lock lock(mutex_);
  is_aborted_ = true;
  has_moved_.notify_all();
  segment_->ring();
  has_moved_.wait(lock, [&] { return !is_at_work_; });
}

uint64_t Communicator::random() {
  const std::lock_guard lock(mutex_);
  return random_();
}

void Communicator::dawdle() {
  const auto limit = static_cast<uint64_t>(settings().max_delay.count());
  if (settings().seed == 0 || limit == 0) return;
  std::this_thread::sleep_for(std::chrono::microseconds(random() % (limit + 1)));
}

uint64_t Communicator::issue() {
  const std::lock_guard lock(mutex_);
  return ++issued_;
}

bool Communicator::start_operation(uint64_t ticket) {
  std::unique_lock lock(mutex_);
  has_moved_.wait(lock, [&] { return finished_ + 1 >= ticket || is_aborted(); });
  is_at_work_ = !is_aborted();
  return is_at_work_;
}

void Communicator::finish_operation() {
  const std::lock_guard lock(mutex_);
  is_at_work_ = false;
  ++finished_;
  has_moved_.notify_all();
}

bool Communicator::has_unfinished() {
  const std::lock_guard lock(mutex_);
  return finished_ < issued_;
}

void Communicator::wait_for_operations() {
  std::unique_lock lock(mutex_);
  has_moved_.wait(lock, [&] { return finished_ >= issued_ || is_aborted(); });
}

}  // namespace molora::fake_nccl
