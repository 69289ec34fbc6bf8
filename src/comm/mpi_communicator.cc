#include "comm/mpi_communicator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <mpi.h>

#include "base/error.h"

namespace molora {

namespace {

constexpr size_t kMaxMessage = size_t{1} << 30;  // MPI counts are int
constexpr int kTag = 1;
constexpr int kSent = -1;  // in the place of a number of bytes: nothing is received

std::string mpi_error_text(int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) {
    return fmt::format("MPI error {}", code);
  }
  return {text.data(), static_cast<size_t>(length)};
}

// Owns an MPI communicator.
class MpiHandle {
 public:
  explicit MpiHandle(MPI_Comm parent) {
    if (const int code = MPI_Comm_dup(parent, &value_); code != MPI_SUCCESS) {
      throw CommError("MPI_Comm_dup: " + mpi_error_text(code));
    }
    MPI_Comm_set_errhandler(value_, MPI_ERRORS_RETURN);
  }
  // Over these ranks of `parent`; only they call it.
  MpiHandle(MPI_Comm parent, const std::vector<int>& members) {
    MPI_Group all = MPI_GROUP_NULL;
    MPI_Group some = MPI_GROUP_NULL;
    int code = MPI_Comm_group(parent, &all);
    if (code == MPI_SUCCESS) {
      code = MPI_Group_incl(all, static_cast<int>(members.size()), members.data(), &some);
    }
    if (code == MPI_SUCCESS) code = MPI_Comm_create_group(parent, some, kTag, &value_);
    if (some != MPI_GROUP_NULL) MPI_Group_free(&some);
    if (all != MPI_GROUP_NULL) MPI_Group_free(&all);
    if (code != MPI_SUCCESS) throw CommError("MPI_Comm_create_group: " + mpi_error_text(code));
    MPI_Comm_set_errhandler(value_, MPI_ERRORS_RETURN);
  }
  ~MpiHandle() { MPI_Comm_free(&value_); }
  MpiHandle(const MpiHandle&) = delete;
  MpiHandle& operator=(const MpiHandle&) = delete;
  MpiHandle(MpiHandle&&) = delete;
  MpiHandle& operator=(MpiHandle&&) = delete;

  MPI_Comm value() const { return value_; }
  int rank() const {
    int rank = 0;
    MPI_Comm_rank(value_, &rank);
    return rank;
  }
  int size() const {
    int size = 0;
    MPI_Comm_size(value_, &size);
    return size;
  }

 private:
  MPI_Comm value_ = MPI_COMM_NULL;
};

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(const std::string& name, std::unique_ptr<MpiHandle> handle)
      : Communicator(name, handle->rank(), handle->size()), handle_(std::move(handle)) {}

 private:
  void do_barrier() override { check(MPI_Barrier(handle_->value()), "barrier"); }

  void do_broadcast(std::span<std::byte> buffer, int root) override {
    while (!buffer.empty()) {
      const size_t bytes = std::min(buffer.size(), kMaxMessage);
      check(MPI_Bcast(buffer.data(), static_cast<int>(bytes), MPI_BYTE, root, handle_->value()),
            "broadcast");
      buffer = buffer.subspan(bytes);
    }
  }

  void do_all_gather(std::span<const std::byte> send, std::span<std::byte> recv,
                     std::span<const size_t> recv_bytes) override {
    for (int peer = 0; peer < size(); ++peer) {
      const size_t in = recv_bytes[static_cast<size_t>(peer)];
      exchange(peer, send, recv.first(in));
      recv = recv.subspan(in);
    }
    wait("all_gather");
  }

  void do_start_all_to_all(std::span<const std::byte> send, std::span<const size_t> send_bytes,
                           std::span<std::byte> recv, std::span<const size_t> recv_bytes) override {
    for (int peer = 0; peer < size(); ++peer) {
      const size_t out = send_bytes[static_cast<size_t>(peer)];
      const size_t in = recv_bytes[static_cast<size_t>(peer)];
      exchange(peer, send.first(out), recv.first(in));
      send = send.subspan(out);
      recv = recv.subspan(in);
    }
  }

  void do_wait() override { wait("all_to_all"); }

  std::unique_ptr<Communicator> do_split(const std::string& name,
                                         const std::vector<int>& members) override {
    return std::make_unique<MpiCommunicator>(
        name, std::make_unique<MpiHandle>(handle_->value(), members));
  }

  // Starts sending `out` to `peer` and receiving `in` from it; empty parts are not sent at all.
  void exchange(int peer, std::span<const std::byte> out, std::span<std::byte> in) {
    if (peer == rank()) {
      if (!in.empty()) std::memcpy(in.data(), out.data(), in.size());
      return;
    }
    while (!in.empty()) {
      const size_t bytes = std::min(in.size(), kMaxMessage);
      check(MPI_Irecv(in.data(), static_cast<int>(bytes), MPI_BYTE, peer, kTag, handle_->value(),
                      &requests_.emplace_back()),
            "receive");
      expected_.push_back(static_cast<int>(bytes));
      in = in.subspan(bytes);
    }
    while (!out.empty()) {
      const size_t bytes = std::min(out.size(), kMaxMessage);
      check(MPI_Isend(out.data(), static_cast<int>(bytes), MPI_BYTE, peer, kTag, handle_->value(),
                      &requests_.emplace_back()),
            "send");
      expected_.push_back(kSent);
      out = out.subspan(bytes);
    }
  }

  // MPI takes a message shorter than the buffer for a whole one; here it means that the ranks are
  // not in the same collective.
  void wait(const char* operation) {
    std::vector<MPI_Status> statuses(requests_.size());
    const int code =
        MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), statuses.data());
    requests_.clear();
    const std::vector<int> expected = std::exchange(expected_, {});
    if (code == MPI_ERR_IN_STATUS) {
      for (const MPI_Status& status : statuses) check(status.MPI_ERROR, operation);
    }
    check(code, operation);
    for (size_t i = 0; i < statuses.size(); ++i) {
      int bytes = 0;
      if (expected[i] == kSent) continue;
      MPI_Get_count(&statuses[i], MPI_BYTE, &bytes);
      if (bytes != expected[i])
        refuse_length(operation, statuses[i].MPI_SOURCE, expected[i], bytes);
    }
  }

  [[noreturn]] void refuse_length(const char* operation, int peer, int expected, int got) const {
    throw CommError(fmt::format(
        "rank {} of {} ({}): {} #{} expected {} bytes from rank {} and got {}: the two are not in "
        "the same collective, one of them has left one out. Last collectives here: {}",
        rank(), size(), name(), operation, record().sequence(), expected, peer, got,
        record().summary(4)));
  }

  void check(int code, const char* operation) const {
    if (code == MPI_SUCCESS || code == MPI_ERR_PENDING) return;
    int kind = MPI_ERR_UNKNOWN;
    MPI_Error_class(code, &kind);
    if (kind == MPI_ERR_TRUNCATE) {
      throw CommError(fmt::format(
          "rank {} of {} ({}): {} #{} got more bytes than it expected: the ranks are not in the "
          "same collective, one of them has left one out. Last collectives here: {}",
          rank(), size(), name(), operation, record().sequence(), record().summary(4)));
    }
    throw CommError(fmt::format(
        "rank {} of {} ({}): {} failed: {}. Last collectives: {}. Another rank was probably lost; "
        "look for the first error in the other ranks' output.",
        rank(), size(), name(), operation, mpi_error_text(code), record().summary(4)));
  }

  std::unique_ptr<MpiHandle> handle_;
  // Of the collective that is under way: requests, and the bytes that each is to receive.
  std::vector<MPI_Request> requests_;
  std::vector<int> expected_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_world() {
  return std::make_unique<MpiCommunicator>("world", std::make_unique<MpiHandle>(MPI_COMM_WORLD));
}

}  // namespace molora
