// NCCL with several ranks and nothing else of the program: every collective that molora uses,
// called as molora calls it, its result compared byte by byte; a rank that does not come; and
// bandwidths.
//
// usage: nccl_ranks RANKS GPUS [LARGEST]     LARGEST: bytes for each peer in the timings (default
// 64 MiB)
//
// Lines that begin with FIGURE are measurements: name, value, unit.
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "gpu/nccl_rank.h"
#include "gpu/rank_processes.h"

namespace molora::testing {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

// The byte number `i` of what `from` has for `to`.
uint8_t byte_of(int from, int to, size_t i) {
  return static_cast<uint8_t>(37 * from + 11 * to + static_cast<int>(i * 2654435761u >> 7));
}

std::vector<uint8_t> bytes_of(int from, int to, size_t count) {
  std::vector<uint8_t> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = byte_of(from, to, i);
  return values;
}

void append(std::vector<uint8_t>& to, const std::vector<uint8_t>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

void expect_same(const std::vector<uint8_t>& got, const std::vector<uint8_t>& expected,
                 const std::string& what) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (got[i] == expected[i]) continue;
    throw GpuError(what + ": byte " + std::to_string(i) + " is " + std::to_string(got[i]) +
                   " instead of " + std::to_string(expected[i]));
  }
}

constexpr int kAll = 100;  // for whom a part is that goes to everyone

void check_all_gather(NcclRank& comm, size_t count) {
  const auto size = static_cast<size_t>(comm.size());
  GpuBytes send(count);
  GpuBytes recv(count * size);
  send.write(bytes_of(comm.rank(), kAll, count), comm.stream());
  comm.all_gather(send.data(), recv.data(), count);
  comm.wait();
  std::vector<uint8_t> expected;
  for (int peer = 0; peer < comm.size(); ++peer) append(expected, bytes_of(peer, kAll, count));
  expect_same(recv.read(expected.size(), comm.stream()), expected, "all-gather");
}

void check_all_to_all(NcclRank& comm, size_t count) {
  const auto size = static_cast<size_t>(comm.size());
  GpuBytes send(count * size);
  GpuBytes recv(count * size);
  std::vector<uint8_t> sent;
  std::vector<uint8_t> expected;
  for (int peer = 0; peer < comm.size(); ++peer) {
    append(sent, bytes_of(comm.rank(), peer, count));
    append(expected, bytes_of(peer, comm.rank(), count));
  }
  send.write(sent, comm.stream());
  comm.all_to_all(send.data(), recv.data(), count);
  comm.wait();
  expect_same(recv.read(expected.size(), comm.stream()), expected, "all-to-all");
}

// Parts of other lengths for each pair, among them none at all.
size_t length_of(int from, int to, size_t count) {
  return (from + 2 * to) % 3 == 0 ? 0 : count + static_cast<size_t>(7 * from + to);
}

void check_exchange(NcclRank& comm, size_t count) {
  std::vector<uint8_t> sent;
  std::vector<uint8_t> expected;
  std::vector<size_t> send_bytes;
  std::vector<size_t> recv_bytes;
  for (int peer = 0; peer < comm.size(); ++peer) {
    send_bytes.push_back(length_of(comm.rank(), peer, count));
    recv_bytes.push_back(length_of(peer, comm.rank(), count));
    append(sent, bytes_of(comm.rank(), peer, send_bytes.back()));
    append(expected, bytes_of(peer, comm.rank(), recv_bytes.back()));
  }
  GpuBytes send(sent.size());
  GpuBytes recv(expected.size());
  send.write(sent, comm.stream());
  comm.exchange(send.data(), send_bytes, recv.data(), recv_bytes);
  comm.wait();
  expect_same(recv.read(expected.size(), comm.stream()), expected, "exchange of uneven parts");
}

void check_broadcast(NcclRank& comm, size_t count) {
  for (int root = 0; root < comm.size(); ++root) {
    GpuBytes buffer(count);
    buffer.write(bytes_of(comm.rank(), kAll, count), comm.stream());
    comm.broadcast(buffer.data(), count, root);
    comm.wait();
    expect_same(buffer.read(count, comm.stream()), bytes_of(root, kAll, count), "broadcast");
  }
}

void check_collectives(NcclRank& comm) {
  for (const size_t count : {size_t{1}, size_t{1000}, (size_t{1} << 18) + 3}) {
    check_all_gather(comm, count);
    check_all_to_all(comm, count);
    check_exchange(comm, count);
    check_broadcast(comm, count);
  }
}

ncclUniqueId id_from(const RankProcess& process, int index, bool makes_it) {
  if (makes_it && ncclGetUniqueId(&process.page->ids[index]) != ncclSuccess) {
    throw GpuError("ncclGetUniqueId failed");
  }
  process.page->meet();
  return process.page->ids[index];
}

// Time of one call in seconds, of several in a row. Collective.
template <typename Call>
double seconds_each(const RankProcess& process, NcclRank& comm, const Call& call) {
  constexpr int kCalls = 10;
  call();
  comm.wait();
  process.page->meet();
  const Clock::time_point begin = Clock::now();
  for (int i = 0; i < kCalls; ++i) call();
  comm.wait();
  return std::chrono::duration<double>(Clock::now() - begin).count() / kCalls;
}

void print_figures(const char* name, const RankProcess& process, size_t bytes, double time) {
  if (process.rank != 0) return;
  const double received = static_cast<double>(bytes) * (process.size - 1);
  std::printf("FIGURE %s.%d_ranks.%zu_bytes_each.time %.1f us\n", name, process.size, bytes,
              time * 1e6);
  std::printf("FIGURE %s.%d_ranks.%zu_bytes_each.received_by_a_rank %.3f GB/s\n", name,
              process.size, bytes, received / time / 1e9);
  std::fflush(stdout);  // this process is killed if another one fails
}

void measure(const RankProcess& process, NcclRank& comm, size_t largest) {
  GpuBytes send(largest * static_cast<size_t>(process.size));
  GpuBytes recv(largest * static_cast<size_t>(process.size));
  check(cudaMemset(send.data(), 1, largest * static_cast<size_t>(process.size)), "cudaMemset");
  check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  for (size_t bytes = 4096; bytes <= largest; bytes *= 16) {
    const std::vector<size_t> parts(static_cast<size_t>(process.size), bytes);
    print_figures("all_gather", process, bytes, seconds_each(process, comm, [&] {
                    comm.all_gather(send.data(), recv.data(), bytes);
                  }));
    print_figures("all_to_all", process, bytes, seconds_each(process, comm, [&] {
                    comm.all_to_all(send.data(), recv.data(), bytes);
                  }));
    print_figures("grouped_send_recv", process, bytes, seconds_each(process, comm, [&] {
                    comm.exchange(send.data(), parts, recv.data(), parts);
                  }));
  }
}

// The last rank does not come: the others notice, abort, and their GPU is free for other work.
void check_lost_rank(const RankProcess& process, NcclRank& comm) {
  constexpr seconds kLimit{3};
  GpuBytes send(1 << 20);
  GpuBytes recv((1 << 20) * static_cast<size_t>(process.size));
  send.write(bytes_of(process.rank, kAll, 1 << 20), comm.stream());
  // The first collective connects the ranks: NCCL keeps it "in progress" inside the call until all
  // have come.
  comm.all_gather(send.data(), recv.data(), 1 << 20);
  comm.wait();
  process.page->meet();
  if (process.rank + 1 < process.size) {
    comm.all_gather(send.data(), recv.data(), 1 << 20);
    bool is_noticed = false;
    try {
      comm.wait(kLimit);
    } catch (const GpuError&) {
      is_noticed = true;
    }
    if (!is_noticed) throw GpuError("an all-gather ended without its last rank");
    const Clock::time_point begin = Clock::now();
    comm.abort();
    check(cudaStreamSynchronize(comm.stream()), "cudaStreamSynchronize after the abort");
    if (Clock::now() - begin > seconds(30)) throw GpuError("the abort took more than 30 s");
    if (process.rank == 0) {
      std::printf("FIGURE abort.%d_ranks %.3f s\n", process.size,
                  std::chrono::duration<double>(Clock::now() - begin).count());
    }
    expect_same(send.read(1 << 20, comm.stream()), bytes_of(process.rank, kAll, 1 << 20),
                "memory after an abort");
  }
  process.page->meet();
  comm.abort();
}

int work(const RankProcess& process, size_t largest) {
  check(cudaSetDevice(process.gpu), "cudaSetDevice");
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  {
    NcclRank world(id_from(process, 0, process.rank == 0), process.rank, process.size, stream);
    check_collectives(world);
    // Two communicators on one GPU, in one order on one stream.
    if (process.size >= 4 && process.size % 2 == 0) {
      const int half = process.rank % 2;
      const ncclUniqueId id = id_from(process, 1 + half, process.rank < 2);
      NcclRank group(id, process.rank / 2, process.size / 2, stream);
      check_collectives(group);
      check_collectives(world);
    }
    if (process.size > 1) measure(process, world, largest);
    process.page->meet();
  }
  if (process.size > 1) {
    NcclRank lost(id_from(process, 3, process.rank == 0), process.rank, process.size, stream);
    check_lost_rank(process, lost);
  }
  check(cudaStreamDestroy(stream), "cudaStreamDestroy");
  return 0;
}

}  // namespace
}  // namespace molora::testing

int main(int argc, char** argv) {
  const int ranks = argc > 1 ? std::atoi(argv[1]) : 0;
  const int gpus = argc > 2 ? std::atoi(argv[2]) : 0;
  const size_t largest = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : size_t{64} << 20;
  if (ranks < 1 || gpus < 1 || largest < 4096) {
    std::fprintf(stderr, "usage: nccl_ranks RANKS GPUS [LARGEST, at least 4096]\n");
    return 64;
  }
  constexpr int kLimitSeconds = 180;
  const int failed = molora::testing::run_ranks(
      ranks, gpus, kLimitSeconds, [largest](const molora::testing::RankProcess& process) {
        return molora::testing::work(process, largest);
      });
  std::printf("%d of %d ranks failed\n", failed, ranks);
  return failed == 0 ? 0 : 1;
}
