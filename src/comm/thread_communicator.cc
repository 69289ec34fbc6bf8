#include "comm/thread_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
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

// The meeting point of the threads of one group.
class Meeting {
 public:
  explicit Meeting(int num_ranks) : calls_(static_cast<size_t>(num_ranks)), num_ranks_(num_ranks) {}

  // Shows `call`; wait_for_all() returns when all ranks have shown theirs.
  void show(int rank, Call call) {
    const std::lock_guard<std::mutex> lock(mutex_);
    calls_[static_cast<size_t>(rank)] = std::move(call);
    arrive();
  }
  void wait_for_all(uint64_t generation) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return generation_ > generation || failed_; });
    if (generation_ <= generation) throw CommError("another rank failed");
  }
  // Waits until all ranks have read what they need.
  void depart(uint64_t generation) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      arrive();
    }
    wait_for_all(generation);
  }
  // Valid between wait_for_all() and depart().
  const Call& call(int rank) const { return calls_[static_cast<size_t>(rank)]; }

  // The meeting of the sub-group that is made by this rank's `sequence`-th collective and begins
  // with member `first`.
  std::shared_ptr<Meeting> sub_meeting(uint64_t sequence, int first, int num_ranks) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::shared_ptr<Meeting>& child = children_[{sequence, first}];
    if (child == nullptr) {
      child = std::make_shared<Meeting>(num_ranks);
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
  void arrive() {
    if (++waiting_ < num_ranks_) return;
    waiting_ = 0;
    ++generation_;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Call> calls_;
  std::map<std::pair<uint64_t, int>, std::shared_ptr<Meeting>> children_;
  int num_ranks_;
  int waiting_ = 0;
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
        name, meeting_->sub_meeting(record().sequence(), members.front(), size),
        static_cast<int>(self), size);
  }

  void show(Call call) {
    call.sequence = record().sequence();
    meeting_->show(rank(), std::move(call));
  }

  void wait_for_all() {
    meeting_->wait_for_all(generation_++);
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

  void depart() { meeting_->depart(generation_++); }

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

}  // namespace

void run_rank_threads(int num_ranks, const std::function<void(Communicator&)>& body) {
  const auto meeting = std::make_shared<Meeting>(num_ranks);
  const auto count = static_cast<size_t>(num_ranks);
  std::vector<std::exception_ptr> failures(count);
  std::vector<std::thread> threads;
  threads.reserve(count);
  for (int rank = 0; rank < num_ranks; ++rank) {
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

  std::exception_ptr of_a_peer;
  for (const std::exception_ptr& failure : failures) {
    if (!failure) continue;
    try {
      std::rethrow_exception(failure);
    } catch (const CommError&) {
      if (!of_a_peer) of_a_peer = failure;
    }
  }
  if (of_a_peer) std::rethrow_exception(of_a_peer);
}

}  // namespace molora
