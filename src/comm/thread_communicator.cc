#include "comm/thread_communicator.h"

#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
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
  std::vector<size_t> send_bytes;  // all_to_all only
  int root = 0;
};

// The meeting point of the threads.
class Meeting {
 public:
  explicit Meeting(int num_ranks) : calls_(static_cast<size_t>(num_ranks)), num_ranks_(num_ranks) {}

  // Shows `call` and waits until all ranks have shown theirs.
  void arrive(int rank, Call call) {
    std::unique_lock<std::mutex> lock(mutex_);
    calls_[static_cast<size_t>(rank)] = std::move(call);
    meet(lock);
  }
  // Waits until all ranks have read what they need.
  void depart() {
    std::unique_lock<std::mutex> lock(mutex_);
    meet(lock);
  }
  // Valid between arrive() and depart().
  const Call& call(int rank) const { return calls_[static_cast<size_t>(rank)]; }

  void fail() {
    const std::lock_guard<std::mutex> lock(mutex_);
    failed_ = true;
    changed_.notify_all();
  }

 private:
  void meet(std::unique_lock<std::mutex>& lock) {
    const uint64_t generation = generation_;
    if (++waiting_ == num_ranks_) {
      waiting_ = 0;
      ++generation_;
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return generation_ != generation || failed_; });
    }
    if (failed_ && generation_ == generation) throw CommError("another rank failed");
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Call> calls_;
  int num_ranks_;
  int waiting_ = 0;
  uint64_t generation_ = 0;
  bool failed_ = false;
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(Meeting& meeting, int rank, int size)
      : Communicator("threads", rank, size), meeting_(meeting) {}

 private:
  void do_barrier() override {
    arrive({CollectiveKind::kBarrier, 0, {}, {}, 0});
    meeting_.depart();
  }

  void do_broadcast(std::span<std::byte> buffer, int root) override {
    arrive({CollectiveKind::kBroadcast, 0, buffer, {}, root});
    const Call& from = meeting_.call(root);
    check_same(root, from.root == root && from.send.size() == buffer.size());
    if (rank() != root) copy(from.send, buffer);
    meeting_.depart();
  }

  void do_all_gather(std::span<const std::byte> send, std::span<std::byte> recv) override {
    arrive({CollectiveKind::kAllGather, 0, send, {}, 0});
    for (int peer = 0; peer < size(); ++peer) {
      const Call& from = meeting_.call(peer);
      check_same(peer, from.send.size() == send.size());
      copy(from.send, recv.subspan(static_cast<size_t>(peer) * send.size(), send.size()));
    }
    meeting_.depart();
  }

  void do_all_to_all(std::span<const std::byte> send, std::span<const size_t> send_bytes,
                     std::span<std::byte> recv, std::span<const size_t> recv_bytes) override {
    arrive({CollectiveKind::kAllToAll, 0, send, {send_bytes.begin(), send_bytes.end()}, 0});
    size_t at = 0;
    for (int peer = 0; peer < size(); ++peer) {
      const Call& from = meeting_.call(peer);
      const size_t bytes = recv_bytes[static_cast<size_t>(peer)];
      check_same(peer, from.send_bytes[static_cast<size_t>(rank())] == bytes);
      size_t offset = 0;
      for (int before = 0; before < rank(); ++before) {
        offset += from.send_bytes[static_cast<size_t>(before)];
      }
      copy(from.send.subspan(offset, bytes), recv.subspan(at, bytes));
      at += bytes;
    }
    meeting_.depart();
  }

  void arrive(Call call) {
    call.sequence = record().sequence();
    meeting_.arrive(rank(), call);
    for (int peer = 0; peer < size(); ++peer) {
      const Call& other = meeting_.call(peer);
      check_same(peer, other.kind == call.kind && other.sequence == call.sequence);
    }
  }

  void check_same(int peer, bool same) const {
    MOLORA_CHECK(same, "rank {} is in {} #{}, rank {} in {} #{}, or their sizes differ", rank(),
                 collective_name(meeting_.call(rank()).kind), meeting_.call(rank()).sequence, peer,
                 collective_name(meeting_.call(peer).kind), meeting_.call(peer).sequence);
  }

  static void copy(std::span<const std::byte> from, std::span<std::byte> to) {
    if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
  }

  Meeting& meeting_;
};

}  // namespace

void run_rank_threads(int num_ranks, const std::function<void(Communicator&)>& body) {
  Meeting meeting(num_ranks);
  const auto count = static_cast<size_t>(num_ranks);
  std::vector<std::exception_ptr> failures(count);
  std::vector<std::thread> threads;
  threads.reserve(count);
  for (int rank = 0; rank < num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        ThreadCommunicator communicator(meeting, rank, num_ranks);
        body(communicator);
      } catch (...) {
        failures[static_cast<size_t>(rank)] = std::current_exception();
        meeting.fail();
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
