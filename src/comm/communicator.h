// A fixed, ordered set of ranks that call the same collectives in the same order.
//
// Ordering:  every member issues the same sequence of calls with matching sizes; a mismatch is a
//            fault of the program that hangs or is refused, depending on the back end.
// Threads:   one thread issues the calls of a communicator.
// Buffers:   raw bytes; none may overlap another buffer of the same call. Blocking: a buffer may be
//            read or reused when the call returns.
// Failure:   after a CommError only destruction is allowed.
// Size one:  a communicator of one rank never reaches its back end; the wrappers below return at
//            once, so that no caller has a special case.
//
// Sums are not here: comm/fixed_order_sum.h builds them from these, in an order that does not
// depend on the back end.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/flight_record.h"

namespace molora {

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

  // Returns when every member has called it.
  void barrier();

  // Copies `buffer` of member `root` into `buffer` of all others. Bytes sent: size at the root.
  void broadcast(std::span<std::byte> buffer, int root);

  // Concatenates the members' `send`, in rank order, into `recv`.
  // REQUIRES: send.size() is the same everywhere, recv.size() == size() * send.size().
  void all_gather(std::span<const std::byte> send, std::span<std::byte> recv);

  // Member i receives, in rank order, the i-th part of every member's `send`.
  // REQUIRES: send_bytes and recv_bytes have size() entries that add up to the buffers;
  // send_bytes[i] here equals recv_bytes[rank()] at member i.
  void all_to_all(std::span<const std::byte> send, std::span<const size_t> send_bytes,
                  std::span<std::byte> recv, std::span<const size_t> recv_bytes);

 protected:
  Communicator(std::string name, int rank, int size);

 private:
  virtual void do_barrier() = 0;
  virtual void do_broadcast(std::span<std::byte> buffer, int root) = 0;
  virtual void do_all_gather(std::span<const std::byte> send, std::span<std::byte> recv) = 0;
  virtual void do_all_to_all(std::span<const std::byte> send, std::span<const size_t> send_bytes,
                             std::span<std::byte> recv, std::span<const size_t> recv_bytes) = 0;

  std::string name_;
  int rank_;
  int size_;
  FlightRecord record_;
};

// The world of a process that was not started under a launcher: one rank, no back end.
std::unique_ptr<Communicator> make_single_communicator(const std::string& name);

// Broadcasts a text of any length from `root`; every member returns it. Two collectives.
std::string broadcast_text(Communicator& communicator, const std::string& text, int root);

// Every member's text, in rank order. Two collectives.
std::vector<std::string> all_gather_text(Communicator& communicator, const std::string& text);

}  // namespace molora
