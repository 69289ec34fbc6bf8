// What every communicator must do, whatever carries its bytes. The body runs on each rank.
#pragma once

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/communicator.h"
#include "comm/fixed_order_sum.h"
#include "support/test_memory.h"

namespace molora::testing {

inline void check_broadcast(Communicator& comm, TestMemory& memory = host_memory()) {
  for (int root = 0; root < comm.size(); ++root) {
    Buffer<int> values(memory, std::vector<int>(5, comm.rank()));
    comm.broadcast(values.span(), root);
    EXPECT_EQ(values.values(), std::vector<int>(5, root));
  }
}

inline void check_all_gather(Communicator& comm, TestMemory& memory = host_memory()) {
  Buffer<int> mine(memory, {comm.rank(), comm.rank() * 10});
  Buffer<int> all(memory, 2 * static_cast<size_t>(comm.size()));
  comm.all_gather(mine.span(), all.span());
  const std::vector<int> got = all.values();
  for (int i = 0; i < comm.size(); ++i) {
    EXPECT_EQ(got[2 * static_cast<size_t>(i)], i);
    EXPECT_EQ(got[2 * static_cast<size_t>(i) + 1], 10 * i);
  }
}

// Rank r sends r + i + 1 bytes of value 16 r + i to rank i; pairs with (r + i) % 3 == 0 send
// nothing.
inline void check_all_to_all(Communicator& comm, TestMemory& memory = host_memory()) {
  const int rank = comm.rank();
  const auto count = [](int from, int to) {
    return (from + to) % 3 == 0 ? size_t{0} : static_cast<size_t>(from + to + 1);
  };
  std::vector<size_t> send_bytes;
  std::vector<size_t> recv_bytes;
  std::vector<uint8_t> send;
  std::vector<uint8_t> expected;
  for (int peer = 0; peer < comm.size(); ++peer) {
    send_bytes.push_back(count(rank, peer));
    recv_bytes.push_back(count(peer, rank));
    send.insert(send.end(), send_bytes.back(), static_cast<uint8_t>(16 * rank + peer));
    expected.insert(expected.end(), recv_bytes.back(), static_cast<uint8_t>(16 * peer + rank));
  }
  Buffer<uint8_t> sent(memory, send);
  Buffer<uint8_t> received(memory, expected.size());
  comm.all_to_all(sent.span(), send_bytes, received.span(), recv_bytes);
  EXPECT_EQ(received.values(), expected);
}

// Three numbers from each rank to each.
inline void check_equal_all_to_all(Communicator& comm, TestMemory& memory = host_memory()) {
  std::vector<int> send;
  std::vector<int> expected;
  for (int peer = 0; peer < comm.size(); ++peer) {
    for (int i = 0; i < 3; ++i) {
      send.push_back(1000 * comm.rank() + 10 * peer + i);
      expected.push_back(1000 * peer + 10 * comm.rank() + i);
    }
  }
  Buffer<int> sent(memory, send);
  Buffer<int> received(memory, expected.size());
  comm.all_to_all(sent.span(), received.span());
  EXPECT_EQ(received.values(), expected);
  EXPECT_THROW(comm.all_to_all(sent.span(), received.span().first(4)), InternalError);
}

// Rank r gives 2 r bytes of value r; rank 0 gives nothing.
inline void check_uneven_all_gather(Communicator& comm, TestMemory& memory = host_memory()) {
  std::vector<size_t> bytes;
  std::vector<uint8_t> expected;
  for (int peer = 0; peer < comm.size(); ++peer) {
    bytes.push_back(2 * static_cast<size_t>(peer));
    expected.insert(expected.end(), bytes.back(), static_cast<uint8_t>(peer));
  }
  Buffer<uint8_t> mine(memory, std::vector<uint8_t>(bytes[static_cast<size_t>(comm.rank())],
                                                    static_cast<uint8_t>(comm.rank())));
  Buffer<uint8_t> all(memory, expected.size());
  comm.all_gather(mine.span(), all.span(), bytes);
  EXPECT_EQ(all.values(), expected);
}

// An exchange may be under way while another communicator works, in the same order everywhere.
inline void check_started_exchange(Communicator& comm, Communicator& other,
                                   TestMemory& memory = host_memory()) {
  const auto size = static_cast<size_t>(comm.size());
  const std::vector<size_t> ones(size, 1);
  Buffer<uint8_t> send(memory, std::vector<uint8_t>(size, static_cast<uint8_t>(comm.rank())));
  Buffer<uint8_t> recv(memory, size);
  const auto pending = comm.start_all_to_all(send.span(), ones, recv.span(), ones);
  other.barrier();
  EXPECT_THROW(comm.barrier(), InternalError);
  pending->wait();
  EXPECT_THROW(pending->wait(), InternalError);
  const std::vector<uint8_t> got = recv.values();
  for (size_t i = 0; i < size; ++i) EXPECT_EQ(got[i], i);
}

// Even and odd ranks apart: each group keeps the order and works by itself.
inline void check_split(Communicator& comm) {
  const auto half = comm.split("half", comm.rank() % 2);
  EXPECT_EQ(half->rank(), comm.rank() / 2);
  EXPECT_EQ(half->size(), (comm.size() + 1 - comm.rank() % 2) / 2);
  EXPECT_EQ(half->name(), "half");
  const int mine = comm.rank();
  std::vector<int> members(static_cast<size_t>(half->size()));
  for (int repeat = 0; repeat <= comm.rank() % 2; ++repeat) {
    half->all_gather(std::as_bytes(std::span(&mine, 1)),
                     std::as_writable_bytes(std::span(members)));
  }
  for (size_t i = 0; i < members.size(); ++i) {
    EXPECT_EQ(members[i], 2 * static_cast<int>(i) + comm.rank() % 2);
  }
}

inline void check_empty_buffers(Communicator& comm) {
  const std::vector<size_t> none(static_cast<size_t>(comm.size()), 0);
  comm.all_to_all({}, none, {}, none);
  comm.all_gather({}, {});
  comm.broadcast({}, 0);
  comm.barrier();
  std::vector<float> no_values;
  fixed_order_sum(comm, std::span(no_values));
}

// The sum is ((x_0 + x_1) + x_2) + ..., bit for bit, however long the buffer is.
inline void check_fixed_order_sum(Communicator& comm) {
  const auto value = [](int rank, size_t i) {
    return static_cast<float>(1.0 / (1.0 + static_cast<double>(i) + 7.0 * rank)) *
           (rank % 2 == 0 ? 1.0e4f : -1.0f);
  };
  for (const size_t length : {size_t{1}, size_t{2}, size_t{3}, size_t{1000}, size_t{4097}}) {
    std::vector<float> values(length);
    for (size_t i = 0; i < length; ++i) values[i] = value(comm.rank(), i);
    fixed_order_sum(comm, std::span(values));
    for (size_t i = 0; i < length; ++i) {
      float expected = value(0, i);
      for (int rank = 1; rank < comm.size(); ++rank) expected += value(rank, i);
      ASSERT_EQ(values[i], expected) << "length " << length << " element " << i;
    }
  }
}

inline void check_texts(Communicator& comm) {
  EXPECT_EQ(broadcast_text(comm, comm.rank() == 0 ? "from zero" : "", 0), "from zero");
  const auto texts = all_gather_text(comm, std::string(static_cast<size_t>(comm.rank()), 'x'));
  ASSERT_EQ(texts.size(), static_cast<size_t>(comm.size()));
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(texts[i], std::string(i, 'x'));
}

inline void check_bytes_counted(Communicator& comm) {
  const uint64_t before = comm.record().bytes_sent(CollectiveKind::kAllGather);
  const std::vector<int> mine(3, 1);
  std::vector<int> all(3 * static_cast<size_t>(comm.size()));
  comm.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  EXPECT_EQ(comm.record().bytes_sent(CollectiveKind::kAllGather) - before,
            12u * static_cast<unsigned>(comm.size() - 1));
}

inline void check_communicator_contract(Communicator& comm) {
  check_broadcast(comm);
  check_all_gather(comm);
  check_all_to_all(comm);
  check_equal_all_to_all(comm);
  check_uneven_all_gather(comm);
  check_started_exchange(comm, *comm.split("other", 0));
  check_split(comm);
  check_empty_buffers(comm);
  check_fixed_order_sum(comm);
  check_texts(comm);
  check_bytes_counted(comm);
}

}  // namespace molora::testing
