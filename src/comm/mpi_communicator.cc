#include "comm/mpi_communicator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <mpi.h>

#include "base/error.h"

namespace molora {

namespace {

constexpr size_t kMaxMessage = size_t{1} << 30;  // MPI counts are int
constexpr int kTag = 1;

std::string mpi_error_text(int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) {
    return fmt::format("MPI error {}", code);
  }
  return {text.data(), static_cast<size_t>(length)};
}

// Owns a duplicated MPI communicator.
class MpiHandle {
 public:
  explicit MpiHandle(MPI_Comm parent) {
    if (const int code = MPI_Comm_dup(parent, &value_); code != MPI_SUCCESS) {
      throw CommError("MPI_Comm_dup: " + mpi_error_text(code));
    }
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

  void do_all_gather(std::span<const std::byte> send, std::span<std::byte> recv) override {
    std::vector<MPI_Request> requests;
    for (int peer = 0; peer < size(); ++peer) {
      const auto part = recv.subspan(static_cast<size_t>(peer) * send.size(), send.size());
      exchange(peer, send, part, requests);
    }
    wait(requests, "all_gather");
  }

  void do_all_to_all(std::span<const std::byte> send, std::span<const size_t> send_bytes,
                     std::span<std::byte> recv, std::span<const size_t> recv_bytes) override {
    std::vector<MPI_Request> requests;
    for (int peer = 0; peer < size(); ++peer) {
      const size_t out = send_bytes[static_cast<size_t>(peer)];
      const size_t in = recv_bytes[static_cast<size_t>(peer)];
      exchange(peer, send.first(out), recv.first(in), requests);
      send = send.subspan(out);
      recv = recv.subspan(in);
    }
    wait(requests, "all_to_all");
  }

  // Starts sending `out` to `peer` and receiving `in` from it; empty parts are not sent at all.
  void exchange(int peer, std::span<const std::byte> out, std::span<std::byte> in,
                std::vector<MPI_Request>& requests) {
    if (peer == rank()) {
      if (!in.empty()) std::memcpy(in.data(), out.data(), in.size());
      return;
    }
    while (!in.empty()) {
      const size_t bytes = std::min(in.size(), kMaxMessage);
      check(MPI_Irecv(in.data(), static_cast<int>(bytes), MPI_BYTE, peer, kTag, handle_->value(),
                      &requests.emplace_back()),
            "receive");
      in = in.subspan(bytes);
    }
    while (!out.empty()) {
      const size_t bytes = std::min(out.size(), kMaxMessage);
      check(MPI_Isend(out.data(), static_cast<int>(bytes), MPI_BYTE, peer, kTag, handle_->value(),
                      &requests.emplace_back()),
            "send");
      out = out.subspan(bytes);
    }
  }

  void wait(std::vector<MPI_Request>& requests, const char* operation) {
    check(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE),
          operation);
  }

  void check(int code, const char* operation) const {
    if (code == MPI_SUCCESS) return;
    throw CommError(fmt::format(
        "rank {} of {} ({}): {} failed: {}. Last collectives: {}. Another rank was probably lost; "
        "look for the first error in the other ranks' output.",
        rank(), size(), name(), operation, mpi_error_text(code), record().summary(4)));
  }

  std::unique_ptr<MpiHandle> handle_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_world() {
  return std::make_unique<MpiCommunicator>("world", std::make_unique<MpiHandle>(MPI_COMM_WORLD));
}

}  // namespace molora
