// Collectives over NCCL: bytes between GPUs.
//
// Exchanges of parts of any length are grouped sends and receives; parts of no length are left out
// on both sides, which the lengths that both know of make sure of. What a rank keeps is copied.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <nccl.h>

#include "base/check.h"
#include "base/error.h"
#include "base/host_name.h"
#include "base/mutation.h"
#include "comm/mpi_env.h"
#include "comm/nccl_context.h"
#include "comm/nccl_state.h"

namespace molora {

namespace {

using Sizes = std::span<const size_t>;

// "tp" of "tp host".
std::string group_name(const Communicator& host) {
  constexpr std::string_view kHost = " host";
  std::string name = host.name();
  if (name.ends_with(kHost)) name.resize(name.size() - kHost.size());
  return name;
}

template <typename Byte>
std::vector<std::span<Byte>> parts_of(std::span<Byte> buffer, Sizes sizes) {
  std::vector<std::span<Byte>> parts;
  for (const size_t bytes : sizes) {
    parts.push_back(buffer.first(bytes));
    buffer = buffer.subspan(bytes);
  }
  return parts;
}

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::shared_ptr<NcclState> state, Communicator& host);
  ~NcclCommunicator() override {
    if (comm_ != nullptr) state_->remove(comm_);
    // Not before: it waits for the GPU, on which a collective may still wait for a lost rank.
    if (scratch_ != nullptr) cudaFree(scratch_);
  }
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;
  NcclCommunicator(NcclCommunicator&&) = delete;
  NcclCommunicator& operator=(NcclCommunicator&&) = delete;

 private:
  void do_barrier() override;
  void do_broadcast(std::span<std::byte> buffer, int root) override;
  void do_all_gather(std::span<const std::byte> send, std::span<std::byte> recv,
                     Sizes recv_bytes) override;
  void do_start_all_to_all(std::span<const std::byte> send, Sizes send_bytes,
                           std::span<std::byte> recv, Sizes recv_bytes) override;
  void do_start_equal_all_to_all(std::span<const std::byte> send,
                                 std::span<std::byte> recv) override;
  void do_wait() override;
  std::unique_ptr<Communicator> do_split(const std::string& name,
                                         const std::vector<int>&) override {
    MOLORA_CHECK(false, "{} is split on the host", name);
    return nullptr;
  }

  void connect(Communicator& host);
  void warm_up();
  void wait_on_host();  // for the latest collective
  NcclOperation operation(const char* name, size_t bytes) const;
  // Puts calls of NCCL on the stream, after the compute stream's work.
  template <typename Calls>
  void issue(const NcclOperation& operation, const Calls& calls);
  template <typename Calls>
  void issue_group(const NcclOperation& operation, const Calls& calls);
  void accept(ncclResult_t result, const NcclOperation& operation);
  void keep(std::span<const std::byte> from, std::span<std::byte> to);
  void exchange(int peer, std::span<const std::byte> out, std::span<std::byte> in,
                const NcclOperation& operation);

  std::shared_ptr<NcclState> state_;
  ncclComm_t comm_ = nullptr;
  cudaEvent_t done_ = nullptr;    // of the latest collective
  std::byte* scratch_ = nullptr;  // on the GPU: two bytes for each member and two more
};

NcclCommunicator::NcclCommunicator(std::shared_ptr<NcclState> state, Communicator& host)
    : Communicator(host, group_name(host)), state_(std::move(state)) {
  connect(host);
  const size_t bytes = 2 * static_cast<size_t>(size()) + 2;
  void* memory = nullptr;
  state_->check(cudaMalloc(&memory, bytes), "cudaMalloc");
  scratch_ = static_cast<std::byte*>(memory);
  warm_up();
}

// A fresh id for every group: an id that served once must not serve again.
void NcclCommunicator::connect(Communicator& host) {
  const NcclOperation starting = operation("start", 0);
  ncclUniqueId id{};
  if (rank() == 0) {
    if (const ncclResult_t result = ncclGetUniqueId(&id); result != ncclSuccess) {
      state_->fail(
          fmt::format("{}: no id from NCCL: {}", starting.group, ncclGetErrorString(result)));
    }
  }
  host.broadcast(std::as_writable_bytes(std::span(&id, 1)), 0);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.commName = name().c_str();
  const ncclResult_t result = ncclCommInitRankConfig(&comm_, size(), id, rank(), &config);
  if (comm_ == nullptr) {
    state_->fail(
        fmt::format("{}: NCCL could not start: {}", starting.group, ncclGetErrorString(result)));
  }
  state_->add(comm_);
  state_->settle(comm_, result, starting);
}

// Connections between ranks are made when they are first used: here, within the limit, and not in
// the middle of the first step. What arrives is compared, so that a path that delivers nothing, or
// to the wrong rank, is found before it can do harm.
void NcclCommunicator::warm_up() {
  const auto members = static_cast<size_t>(size());
  std::vector<std::byte> sent(members + 1);
  for (size_t i = 0; i < members; ++i)
    sent[i] = static_cast<std::byte>(16 * rank() + static_cast<int>(i));
  sent[members] = static_cast<std::byte>(0xa0 + rank());
  // scratch: [members] to send, [1] to gather, [members + 1] received
  const std::span<std::byte> all(scratch_, 2 * members + 2);
  std::vector<std::byte> got(members);
  const auto try_out = [&](const char* name, int factor, const auto& collective) {
    collective();
    do_wait();
    wait_on_host();
    state_->check(
        cudaMemcpy(got.data(), all.subspan(members + 1).data(), members, cudaMemcpyDeviceToHost),
        "cudaMemcpy");
    for (size_t peer = 0; peer < members; ++peer) {
      const auto expected = static_cast<std::byte>(
          factor == 0 ? 0xa0 + static_cast<int>(peer) : factor * static_cast<int>(peer) + rank());
      if (got[peer] == expected) continue;
      state_->fail(
          fmt::format("{}: the first {} brought {:#04x} from rank {} instead of {:#04x}: a "
                      "link or a driver does not carry what it is given",
                      operation(name, 0).group, name, static_cast<int>(got[peer]), peer,
                      static_cast<int>(expected)));
    }
  };
  state_->check(cudaMemcpy(scratch_, sent.data(), members + 1, cudaMemcpyHostToDevice),
                "cudaMemcpy");
  const std::span<std::byte> received = all.subspan(members + 1, members);
  const std::vector<size_t> ones(members, 1);
  try_out("all_to_all", 16, [&] { do_start_all_to_all(all.first(members), ones, received, ones); });
  try_out("all_gather", 0, [&] { do_all_gather(all.subspan(members, 1), received, ones); });
}

NcclOperation NcclCommunicator::operation(const char* name, size_t bytes) const {
  return {name, fmt::format("rank {} of {} ({})", rank(), size(), this->name()),
          record().sequence(), bytes};
}

// Calls on a nonblocking communicator return before they are done, but have to be accepted before
// the next one.
void NcclCommunicator::accept(ncclResult_t result, const NcclOperation& operation) {
  state_->settle(comm_, result, operation);
}

template <typename Calls>
void NcclCommunicator::issue(const NcclOperation& operation, const Calls& calls) {
  const auto held = state_->lock();
  state_->follow_compute();
  calls();
  done_ = state_->note(operation);
}

template <typename Calls>
void NcclCommunicator::issue_group(const NcclOperation& operation, const Calls& calls) {
  issue(operation, [&] {
    ncclResult_t result = ncclGroupStart();
    if (result == ncclSuccess) {
      calls();
      result = ncclGroupEnd();
    }
    accept(result, operation);
  });
}

void NcclCommunicator::keep(std::span<const std::byte> from, std::span<std::byte> to) {
  if (from.empty() || MOLORA_MUTANT(kNcclOwnPartLost)) return;
  state_->check(cudaMemcpyAsync(to.data(), from.data(), from.size(), cudaMemcpyDeviceToDevice,
                                state_->stream()),
                "cudaMemcpyAsync");
}

// Within a group.
void NcclCommunicator::exchange(int peer, std::span<const std::byte> out, std::span<std::byte> in,
                                const NcclOperation& operation) {
  const auto check = [&](ncclResult_t result) {
    if (result == ncclSuccess || result == ncclInProgress) return;
    ncclGroupEnd();
    accept(result, operation);
  };
  if (!out.empty()) {
    check(ncclSend(out.data(), out.size(), ncclUint8, peer, comm_, state_->stream()));
  }
  if (!in.empty()) {
    check(ncclRecv(in.data(), in.size(), ncclUint8, peer, comm_, state_->stream()));
  }
}

// The host waits too.
void NcclCommunicator::do_barrier() {
  const auto members = static_cast<size_t>(size());
  const std::span<std::byte> all(scratch_, 2 * members + 2);
  do_all_gather(all.subspan(members, 1), all.subspan(members + 1, members),
                std::vector<size_t>(members, 1));
  wait_on_host();
}

void NcclCommunicator::do_broadcast(std::span<std::byte> buffer, int root) {
  if (buffer.empty()) return;
  const NcclOperation what = operation("broadcast", buffer.size());
  issue(what, [&] {
    accept(ncclBroadcast(buffer.data(), buffer.data(), buffer.size(), ncclUint8, root, comm_,
                         state_->stream()),
           what);
  });
  do_wait();
}

void NcclCommunicator::do_all_gather(std::span<const std::byte> send, std::span<std::byte> recv,
                                     Sizes recv_bytes) {
  if (recv.empty()) return;
  const NcclOperation what = operation("all_gather", send.size() * static_cast<size_t>(size() - 1));
  const bool is_even = std::all_of(recv_bytes.begin(), recv_bytes.end(),
                                   [&](size_t bytes) { return bytes == recv_bytes.front(); });
  if (is_even) {
    issue(what, [&] {
      accept(
          ncclAllGather(send.data(), recv.data(), send.size(), ncclUint8, comm_, state_->stream()),
          what);
    });
  } else {
    issue_group(what, [&] {
      const auto in = parts_of(recv, recv_bytes);
      for (int peer = 0; peer < size(); ++peer) {
        const std::span<std::byte> from_peer = in[static_cast<size_t>(peer)];
        if (peer == rank()) {
          keep(send, from_peer);
        } else {
          exchange(peer, send, from_peer, what);
        }
      }
    });
  }
  do_wait();
}

void NcclCommunicator::do_start_all_to_all(std::span<const std::byte> send, Sizes send_bytes,
                                           std::span<std::byte> recv, Sizes recv_bytes) {
  const NcclOperation what =
      operation("all_to_all", send.size() - send_bytes[static_cast<size_t>(rank())]);
  const auto out = parts_of(send, send_bytes);
  const auto in = parts_of(recv, recv_bytes);
  issue_group(what, [&] {
    for (int peer = 0; peer < size(); ++peer) {
      const auto part = static_cast<size_t>(peer);
      const size_t sent = MOLORA_MUTANT(kNcclPartsSwapped) ? out.size() - 1 - part : part;
      if (peer == rank()) {
        keep(out[sent], in[part]);
      } else {
        exchange(peer, out[sent], in[part], what);
      }
    }
  });
}

void NcclCommunicator::do_start_equal_all_to_all(std::span<const std::byte> send,
                                                 std::span<std::byte> recv) {
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 28, 0)
  const auto members = static_cast<size_t>(size());
  const size_t part = send.size() / members;
  const NcclOperation what = operation("all_to_all", send.size() - part);
  issue(what, [&] {
    if (part == 0) return;
    accept(ncclAlltoAll(send.data(), recv.data(), part, ncclUint8, comm_, state_->stream()), what);
  });
#else
  Communicator::do_start_equal_all_to_all(send, recv);
#endif
}

void NcclCommunicator::do_wait() { state_->lead_compute(done_); }

void NcclCommunicator::wait_on_host() {
  state_->wait_until([this] { return state_->is_reached(done_); });
}

class ProcessNcclContext final : public NcclContext {
 public:
  explicit ProcessNcclContext(Options options)
      : state_(std::make_shared<NcclState>(std::move(options))) {}

  std::unique_ptr<Communicator> make_communicator(Communicator& host) override {
    MOLORA_CHECK(host.size() > 1, "{} has one rank", host.name());
    check_gpus(host);
    return std::make_unique<NcclCommunicator>(state_, host);
  }

  void wait_until(const std::function<bool()>& is_done) override { state_->wait_until(is_done); }

 private:
  // NCCL itself says no more than "invalid usage". Whoever gives ranks host ids of their own
  // (NCCL_HOSTID) means it: tests of several ranks on one GPU do.
  void check_gpus(Communicator& host) const {
    const std::string mine =
        host_name() + " " + gpu_address(state_->gpu()) + " " + MpiEnvironment::nccl_host_id();
    const std::vector<std::string> all = all_gather_text(host, mine);
    for (size_t rank = 0; rank < all.size(); ++rank) {
      const auto first =
          static_cast<size_t>(std::find(all.begin(), all.end(), all[rank]) - all.begin());
      if (first == rank) continue;
      throw ConfigError(fmt::format(
          "ranks {} and {} of {} are on the same GPU ({}), which NCCL does not allow: start as "
          "many "
          "ranks on a machine as it has GPUs (`molora train` does so by itself), or give each rank "
          "its own by CUDA_VISIBLE_DEVICES",
          first, rank, host.name(), mine));
    }
  }

  std::shared_ptr<NcclState> state_;
};

}  // namespace

std::unique_ptr<NcclContext> NcclContext::make(Options options) {
  return std::make_unique<ProcessNcclContext>(std::move(options));
}

std::string gpu_address(int gpu) {
  std::array<char, 32> text{};
  const cudaError_t result = cudaDeviceGetPCIBusId(text.data(), static_cast<int>(text.size()), gpu);
  return result == cudaSuccess ? std::string(text.data()) : fmt::format("GPU {}", gpu);
}

}  // namespace molora
