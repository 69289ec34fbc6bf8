#include "comm/thread_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"

namespace molora {

namespace {

// What one rank shows to the others during a collective.
struct Call {
  CollectiveKind kind = CollectiveKind::kBarrier;
  uint64_t sequence = 0;
  std::span<const std::byte> send;
  std::vector<size_t> parts;  // bytes by member: sent by all_to_all, received by all_gather
  int root = 0;
};

// A rank that was woken because another one failed.
class PeerError : public CommError {
 public:
  using CommError::CommError;
};

// A rank that has waited long enough.
class TimeLimitError : public CommError {
 public:
  using CommError::CommError;
};

// The meeting point of the threads of one group.
class Meeting {
 public:
  // name: of the group; members: its ranks in the world.
  Meeting(std::string name, std::vector<int> members, std::chrono::milliseconds time_limit)
      : name_(std::move(name)),
        members_(std::move(members)),
        time_limit_(time_limit),
        calls_(members_.size()),
        has_come_(members_.size()) {}

  // Shows `call`; wait_for_all() returns when all ranks have shown theirs.
  void show(int rank, Call call) {
    const std::lock_guard<std::mutex> lock(mutex_);
    calls_[static_cast<size_t>(rank)] = std::move(call);
    arrive(rank);
  }
  void wait_for_all(int rank, uint64_t generation) {
    std::unique_lock<std::mutex> lock(mutex_);
    const bool is_in_time =
        changed_.wait_for(lock, time_limit_, [&] { return generation_ > generation || failed_; });
    if (generation_ > generation) return;
    if (is_in_time) throw PeerError(fmt::format("{} when another rank failed", where(rank)));
    throw TimeLimitError(fmt::format("{} for {} ms", where(rank), time_limit_.count()));
  }
  // Waits until all ranks have read what they need.
  void depart(int rank, uint64_t generation) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      arrive(rank);
    }
    wait_for_all(rank, generation);
  }
  // Valid between wait_for_all() and depart().
  const Call& call(int rank) const { return calls_[static_cast<size_t>(rank)]; }

  // The meeting of the sub-group with these members that is made by this rank's `sequence`-th
  // collective.
  std::shared_ptr<Meeting> sub_meeting(uint64_t sequence, const std::string& name,
                                       const std::vector<int>& members) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::shared_ptr<Meeting>& child = children_[{sequence, members.front()}];
    if (child == nullptr) {
      std::vector<int> in_world;
      in_world.reserve(members.size());
      for (const int member : members) in_world.push_back(members_[static_cast<size_t>(member)]);
      child = std::make_shared<Meeting>(name, std::move(in_world), time_limit_);
      child->failed_ = failed_;
    }
    return child;
  }

  void fail() {
    const std::lock_guard<std::mutex> lock(mutex_);
    failed_ = true;
    changed_.notify_all();
    for (const auto& [key, child] : children_) child->fail();
  }

 private:
  void arrive(int rank) {
    has_come_[static_cast<size_t>(rank)] = true;
    if (std::find(has_come_.begin(), has_come_.end(), false) != has_come_.end()) return;
    has_come_.assign(has_come_.size(), false);
    ++generation_;
    changed_.notify_all();
  }

  // "tp: rank 3 waited in all_to_all #17 for rank 2"; ranks of the world.
  std::string where(int rank) const {
    std::vector<int> missing;
    for (size_t i = 0; i < members_.size(); ++i) {
      if (!has_come_[i]) missing.push_back(members_[i]);
    }
    const Call& mine = calls_[static_cast<size_t>(rank)];
    return fmt::format("{}: rank {} waited in {} #{} for rank{} {}", name_,
                       members_[static_cast<size_t>(rank)], collective_name(mine.kind),
                       mine.sequence, missing.size() == 1 ? "" : "s", fmt::join(missing, ", "));
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::string name_;
  std::vector<int> members_;
  std::chrono::milliseconds time_limit_;
  std::vector<Call> calls_;
  std::vector<bool> has_come_;  // in this generation
  std::map<std::pair<uint64_t, int>, std::shared_ptr<Meeting>> children_;
  uint64_t generation_ = 0;
  bool failed_ = false;
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::string name, std::shared_ptr<Meeting> meeting, int rank, int size)
      : Communicator(std::move(name), rank, size), meeting_(std::move(meeting)) {}

 private:
  void do_barrier() override {
    meet({CollectiveKind::kBarrier, 0, {}, {}, 0});
    depart();
  }

  void do_broadcast(std::span<std::byte> buffer, int root) override {
    meet({CollectiveKind::kBroadcast, 0, buffer, {}, root});
    const Call& from = meeting_->call(root);
    check_same(root, from.root == root && from.send.size() == buffer.size());
    if (rank() != root) copy(from.send, buffer);
    depart();
  }

  void do_all_gather(std::span<const std::byte> send, std::span<std::byte> recv,
                     std::span<const size_t> recv_bytes) override {
    meet({CollectiveKind::kAllGather, 0, send, {recv_bytes.begin(), recv_bytes.end()}, 0});
    for (int peer = 0; peer < size(); ++peer) {
      const Call& from = meeting_->call(peer);
      check_same(peer, from.parts == meeting_->call(rank()).parts);
      copy(from.send, recv.first(from.send.size()));
      recv = recv.subspan(from.send.size());
    }
    depart();
  }

  void do_start_all_to_all(std::span<const std::byte> send, std::span<const size_t> send_bytes,
                           std::span<std::byte> recv, std::span<const size_t> recv_bytes) override {
    recv_ = recv;
    recv_bytes_.assign(recv_bytes.begin(), recv_bytes.end());
    show({CollectiveKind::kAllToAll, 0, send, {send_bytes.begin(), send_bytes.end()}, 0});
  }

  void do_wait() override {
    wait_for_all();
    std::span<std::byte> recv = recv_;
    for (int peer = 0; peer < size(); ++peer) {
      const Call& from = meeting_->call(peer);
      const size_t bytes = recv_bytes_[static_cast<size_t>(peer)];
      check_same(peer, from.parts[static_cast<size_t>(rank())] == bytes);
      size_t offset = 0;
      for (int before = 0; before < rank(); ++before) {
        offset += from.parts[static_cast<size_t>(before)];
      }
      copy(from.send.subspan(offset, bytes), recv.first(bytes));
      recv = recv.subspan(bytes);
    }
    depart();
  }

  std::unique_ptr<Communicator> do_split(const std::string& name,
                                         const std::vector<int>& members) override {
    const auto size = static_cast<int>(members.size());
    const auto self = std::find(members.begin(), members.end(), rank()) - members.begin();
    return std::make_unique<ThreadCommunicator>(
        name, meeting_->sub_meeting(record().sequence(), name, members), static_cast<int>(self),
        size);
  }

  void show(Call call) {
    call.sequence = record().sequence();
    meeting_->show(rank(), std::move(call));
  }

  void wait_for_all() {
    meeting_->wait_for_all(rank(), generation_++);
    const Call& mine = meeting_->call(rank());
    for (int peer = 0; peer < size(); ++peer) {
      const Call& other = meeting_->call(peer);
      check_same(peer, other.kind == mine.kind && other.sequence == mine.sequence);
    }
  }

  void meet(Call call) {
    show(std::move(call));
    wait_for_all();
  }

  void depart() { meeting_->depart(rank(), generation_++); }

  void check_same(int peer, bool same) const {
    const Call& mine = meeting_->call(rank());
    const Call& other = meeting_->call(peer);
    MOLORA_CHECK(same, "{}: rank {} is in {} #{}, rank {} in {} #{}, or their sizes differ", name(),
                 rank(), collective_name(mine.kind), mine.sequence, peer,
                 collective_name(other.kind), other.sequence);
  }

  static void copy(std::span<const std::byte> from, std::span<std::byte> to) {
    if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
  }

  std::shared_ptr<Meeting> meeting_;
  uint64_t generation_ = 0;  // of the meeting, as this rank has seen it
  std::span<std::byte> recv_;
  std::vector<size_t> recv_bytes_;
};

// Throws what the ranks failed with, if any did: the first failure that was not a peer's. With a
// time limit the places where the others waited say what the matter is.
void rethrow_own_failure(const std::vector<std::exception_ptr>& failures) {
  std::string of_time;
  std::string of_peers;
  for (const std::exception_ptr& failure : failures) {
    if (!failure) continue;
    try {
      std::rethrow_exception(failure);
    } catch (const TimeLimitError& error) {
      of_time += fmt::format("{}{}", of_time.empty() ? "" : "; ", error.what());
    } catch (const PeerError& error) {
      of_peers += fmt::format("; {}", error.what());
    }
  }
  if (!of_time.empty()) throw CommError(of_time + of_peers);
}

}  // namespace

void run_rank_threads(int num_ranks, const std::function<void(Communicator&)>& body,
                      const RankThreadOptions& options) {
  std::vector<int> everyone(static_cast<size_t>(num_ranks));
  std::iota(everyone.begin(), everyone.end(), 0);
  const auto meeting = std::make_shared<Meeting>("world", everyone, options.time_limit);
  std::vector<std::exception_ptr> failures(everyone.size());
  std::vector<std::thread> threads;
  threads.reserve(everyone.size());
  for (const int rank : everyone) {
    threads.emplace_back([&, rank] {
      try {
        ThreadCommunicator communicator("world", meeting, rank, num_ranks);
        body(communicator);
      } catch (...) {
        failures[static_cast<size_t>(rank)] = std::current_exception();
        meeting->fail();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  rethrow_own_failure(failures);
}

}  // namespace molora
