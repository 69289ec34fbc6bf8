// A fixed, ordered set of ranks that call the same collectives in the same order.
//
// Ordering:  every member issues the same sequence of calls with matching sizes; a mismatch is a
//            fault of the program that hangs or is refused, depending on the back end.
// Threads:   one thread issues the calls of a communicator.
// Buffers:   raw bytes; none may overlap another buffer of the same call. Where they lie and what a
//            call's return means: BufferPlace.
// Failure:   after a CommError only destruction is allowed.
// Size one:  a communicator of one rank never reaches its back end; the wrappers below return at
//            once, so that no caller has a special case.
//
// Sums are not here: comm/fixed_order_sum.h builds them from these, in an order that does not
// depend on the back end.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/flight_record.h"

namespace molora {

class BlackBox;
class PendingExchange;

enum class BufferPlace {
  // In host memory. Blocking: a buffer may be read or reused when the call returns.
  kHost,
  // In the memory of this rank's GPU. A call takes its place in the order of the work that the
  // calling thread gives the GPU: it sees what was given before, and what is given after the call
  // (of an exchange: after wait()) sees its results. The host goes on at once, but for barrier().
  kDevice,
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  Communicator(Communicator&&) = delete;
  Communicator& operator=(Communicator&&) = delete;

  int rank() const { return rank_; }  // of this process, in [0, size())
  int size() const { return size_; }
  // What this group is for ("world", "dp", ...); part of messages.
  const std::string& name() const { return name_; }
  const FlightRecord& record() const { return record_; }
  BufferPlace place() const { return place_; }

  // Returns when every member has called it.
  void barrier();

  // Copies `buffer` of member `root` into `buffer` of all others. Bytes sent: size at the root.
  void broadcast(std::span<std::byte> buffer, int root);

  // Concatenates the members' `send`, in rank order, into `recv`.
  // REQUIRES: send.size() is the same everywhere, recv.size() == size() * send.size().
  void all_gather(std::span<const std::byte> send, std::span<std::byte> recv);
  // The same with parts of different lengths. REQUIRES: recv_bytes has size() entries that add up
  // to recv.size(), equal everywhere; send.size() == recv_bytes[rank()].
  void all_gather(std::span<const std::byte> send, std::span<std::byte> recv,
                  std::span<const size_t> recv_bytes);

  // Member i receives, in rank order, the i-th part of every member's `send`.
  // REQUIRES: send_bytes and recv_bytes have size() entries that add up to the buffers;
  // send_bytes[i] here equals recv_bytes[rank()] at member i.
  void all_to_all(std::span<const std::byte> send, std::span<const size_t> send_bytes,
                  std::span<std::byte> recv, std::span<const size_t> recv_bytes);
  // The same with parts that all have one length. REQUIRES: the same size everywhere, of `send` and
  // `recv`, which size() divides.
  void all_to_all(std::span<const std::byte> send, std::span<std::byte> recv);

  // The first without waiting: buffers belong to the exchange until wait() of the result returns.
  // REQUIRES: nothing else is called on this communicator in between, and wait() is called on every
  // member.
  [[nodiscard]] std::unique_ptr<PendingExchange> start_all_to_all(
      std::span<const std::byte> send, std::span<const size_t> send_bytes,
      std::span<std::byte> recv, std::span<const size_t> recv_bytes);

  // One communicator for each value of `group`, over the members that gave it, in their order here.
  // Each member gets its own group's. Collective over all members. REQUIRES: host buffers; a
  // communicator of a GPU is made from the split one of the host (nccl_context.h).
  [[nodiscard]] std::unique_ptr<Communicator> split(const std::string& name, int group);

 protected:
  Communicator(std::string name, int rank, int size);
  // The same ranks as `host`'s, with buffers on the device.
  explicit Communicator(const Communicator& host, std::string name);

 private:
  friend class PendingExchange;
  virtual void do_barrier() = 0;
  virtual void do_broadcast(std::span<std::byte> buffer, int root) = 0;
  virtual void do_all_gather(std::span<const std::byte> send, std::span<std::byte> recv,
                             std::span<const size_t> recv_bytes) = 0;
  virtual void do_start_all_to_all(std::span<const std::byte> send,
                                   std::span<const size_t> send_bytes, std::span<std::byte> recv,
                                   std::span<const size_t> recv_bytes) = 0;
  // All parts of one length; a back end that has a faster way overrides it.
  virtual void do_start_equal_all_to_all(std::span<const std::byte> send,
                                         std::span<std::byte> recv);
  virtual void do_wait() = 0;  // for the exchange that was started
  // members: ranks here, ascending, this one among them; called by these alone.
  virtual std::unique_ptr<Communicator> do_split(const std::string& name,
                                                 const std::vector<int>& members) = 0;

  // False: an injected fault (watch/fault_injection.h) leaves this collective out.
  [[nodiscard]] bool enter(CollectiveKind kind, size_t bytes_sent);
  void leave();
  void start(std::span<const std::byte> send, std::span<std::byte> recv, size_t bytes_sent,
             const std::function<void()>& start_in_back_end);
  void note_in(BlackBox& box, CollectiveKind kind, size_t bytes_sent);
  void wait_for_exchange();

  std::string name_;
  int rank_;
  int size_;
  BufferPlace place_ = BufferPlace::kHost;
  std::vector<int> world_ranks_;  // of the members
  bool is_exchanging_ = false;
  bool is_left_out_ = false;  // the exchange that is under way
  FlightRecord record_;
  const BlackBox* noted_in_ = nullptr;  // knows this communicator as noted_as_
  uint64_t noted_as_ = 0;
};

// An all-to-all that was started and not yet waited for. Waits when destroyed (logging a failure),
// because the buffers must outlive it.
class PendingExchange {
 public:
  explicit PendingExchange(Communicator& communicator) : communicator_(&communicator) {}
  ~PendingExchange();
  PendingExchange(const PendingExchange&) = delete;
  PendingExchange& operator=(const PendingExchange&) = delete;
  PendingExchange(PendingExchange&&) = delete;
  PendingExchange& operator=(PendingExchange&&) = delete;

  // Returns when `recv` is filled and `send` may be reused. Once.
  void wait();

 private:
  Communicator* communicator_;
};

// The world of a process that was not started under a launcher: one rank, no back end.
std::unique_ptr<Communicator> make_single_communicator(const std::string& name);

// Broadcasts a text of any length from `root`; every member returns it. Two collectives.
std::string broadcast_text(Communicator& communicator, const std::string& text, int root);

// Every member's text, in rank order. Two collectives.
std::vector<std::string> all_gather_text(Communicator& communicator, const std::string& text);

}  // namespace molora
