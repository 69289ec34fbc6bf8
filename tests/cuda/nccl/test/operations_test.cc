// Every operation with every element type, with 1 to 8 ranks, as processes and as threads.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <type_traits>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "ranks.h"

namespace molora::testing {
namespace {

template <typename T>
struct Type;
#define MOLORA_NCCL_TYPE(type, number)                \
  template <>                                         \
  struct Type<type> {                                 \
    static constexpr ncclDataType_t kNumber = number; \
  }
MOLORA_NCCL_TYPE(int8_t, ncclInt8);
MOLORA_NCCL_TYPE(uint8_t, ncclUint8);
MOLORA_NCCL_TYPE(int32_t, ncclInt32);
MOLORA_NCCL_TYPE(uint32_t, ncclUint32);
MOLORA_NCCL_TYPE(int64_t, ncclInt64);
MOLORA_NCCL_TYPE(uint64_t, ncclUint64);
MOLORA_NCCL_TYPE(__half, ncclFloat16);
MOLORA_NCCL_TYPE(float, ncclFloat32);
MOLORA_NCCL_TYPE(double, ncclFloat64);
MOLORA_NCCL_TYPE(__nv_bfloat16, ncclBfloat16);
MOLORA_NCCL_TYPE(__nv_fp8_e4m3, ncclFloat8e4m3);
MOLORA_NCCL_TYPE(__nv_fp8_e5m2, ncclFloat8e5m2);

// Small whole numbers, which every type holds exactly; their sums over 8 ranks too.
float value(int rank, size_t i) {
  return static_cast<float>((static_cast<size_t>(rank) * 3 + i) % 2);
}

template <typename T>
std::vector<T> values(size_t count, const std::function<float(size_t)>& of) {
  std::vector<T> result;
  for (size_t i = 0; i < count; ++i) result.push_back(T(of(i)));
  return result;
}

template <typename T>
void expect_values(const DeviceArray<T>& array, const Rank& rank, const char* what,
                   const std::function<float(size_t)>& of) {
  const std::vector<T> got = array.values(rank.stream);
  for (size_t i = 0; i < got.size(); ++i) {
    if (static_cast<float>(got[i]) == of(i)) continue;
    ADD_FAILURE() << what << ", type " << Type<T>::kNumber << ", rank " << rank.rank << " of "
                  << rank.size << ", element " << i << " of " << got.size() << ": "
                  << static_cast<float>(got[i]) << ", expected " << of(i);
    return;
  }
}

// One operation of `count` elements with this type and all that it needs.
template <typename T>
class OneType {
 public:
  OneType(const Rank& rank, ncclComm_t comm, size_t count)
      : rank_(rank), comm_(comm), count_(count), ranks_(static_cast<size_t>(rank.size)) {}

  void all() {
    reductions();
    reduce_scatter();
    broadcast();
    gathers();
    scatter();
    all_to_all();
    send_and_receive();
  }

 private:
  DeviceArray<T> mine(size_t count) const {
    return DeviceArray<T>(values<T>(count, [&](size_t i) { return value(rank_.rank, i); }));
  }
  float over_ranks(size_t i, const std::function<float(float, float)>& add) const {
    float result = value(0, i);
    for (int rank = 1; rank < rank_.size; ++rank) result = add(result, value(rank, i));
    return result;
  }

  void reductions() {
    const auto sum = [&](size_t i) { return over_ranks(i, std::plus<>()); };
    const auto check = [&](ncclRedOp_t op, const char* name, const auto& expected) {
      const DeviceArray<T> send = mine(count_);
      const DeviceArray<T> recv(count_, T(7.0f));
      ASSERT_EQ(ncclAllReduce(send.data(), recv.data(), count_, Type<T>::kNumber, op, comm_,
                              rank_.stream),
                ncclSuccess);
      expect_values(recv, rank_, name, expected);
    };
    check(ncclSum, "AllReduce sum", sum);
    check(ncclProd, "AllReduce prod", [&](size_t i) { return over_ranks(i, std::multiplies<>()); });
    check(ncclMax, "AllReduce max",
          [&](size_t i) { return over_ranks(i, [](float a, float b) { return std::max(a, b); }); });
    check(ncclMin, "AllReduce min",
          [&](size_t i) { return over_ranks(i, [](float a, float b) { return std::min(a, b); }); });
    if (rank_.size != 3) {  // else no type holds the average
      check(ncclAvg, "AllReduce avg", [&](size_t i) {
        const float average = sum(i) / static_cast<float>(ranks_);
        return std::is_integral_v<T> ? std::floor(average) : average;
      });
    }
    const DeviceArray<T> in_place = mine(count_);
    const int root = rank_.size - 1;
    ASSERT_EQ(ncclReduce(in_place.data(), in_place.data(), count_, Type<T>::kNumber, ncclSum, root,
                         comm_, rank_.stream),
              ncclSuccess);
    expect_values(in_place, rank_, "Reduce in place",
                  [&](size_t i) { return rank_.rank == root ? sum(i) : value(rank_.rank, i); });
  }

  void reduce_scatter() {
    const size_t first = static_cast<size_t>(rank_.rank) * count_;
    const auto expected = [&](size_t i) { return over_ranks(first + i, std::plus<>()); };
    const DeviceArray<T> send = mine(count_ * ranks_);
    const DeviceArray<T> recv(count_, T(7.0f));
    ASSERT_EQ(ncclReduceScatter(send.data(), recv.data(), count_, Type<T>::kNumber, ncclSum, comm_,
                                rank_.stream),
              ncclSuccess);
    expect_values(recv, rank_, "ReduceScatter", expected);
    ASSERT_EQ(ncclReduceScatter(send.data(), send.data() + first, count_, Type<T>::kNumber, ncclSum,
                                comm_, rank_.stream),
              ncclSuccess);
    expect_values(send, rank_, "ReduceScatter in place", [&](size_t i) {
      return i >= first && i < first + count_ ? expected(i - first) : value(rank_.rank, i);
    });
  }

  void broadcast() {
    const int root = rank_.size / 2;
    const DeviceArray<T> send = mine(count_);
    const DeviceArray<T> recv(count_, T(7.0f));
    ASSERT_EQ(ncclBroadcast(send.data(), recv.data(), count_, Type<T>::kNumber, root, comm_,
                            rank_.stream),
              ncclSuccess);
    expect_values(recv, rank_, "Broadcast", [&](size_t i) { return value(root, i); });
    ASSERT_EQ(ncclBcast(send.data(), count_, Type<T>::kNumber, root, comm_, rank_.stream),
              ncclSuccess);
    expect_values(send, rank_, "Bcast", [&](size_t i) { return value(root, i); });
  }

  void gathers() {
    const auto gathered = [&](size_t i) { return value(static_cast<int>(i / count_), i % count_); };
    const DeviceArray<T> send = mine(count_);
    const DeviceArray<T> recv(count_ * ranks_, T(7.0f));
    ASSERT_EQ(
        ncclAllGather(send.data(), recv.data(), count_, Type<T>::kNumber, comm_, rank_.stream),
        ncclSuccess);
    expect_values(recv, rank_, "AllGather", gathered);
    T* const place = recv.data() + static_cast<size_t>(rank_.rank) * count_;
    ASSERT_EQ(ncclAllGather(place, recv.data(), count_, Type<T>::kNumber, comm_, rank_.stream),
              ncclSuccess);
    expect_values(recv, rank_, "AllGather in place", gathered);
    const DeviceArray<T> at_root(count_ * ranks_, T(1.0f));
    ASSERT_EQ(
        ncclGather(send.data(), at_root.data(), count_, Type<T>::kNumber, 0, comm_, rank_.stream),
        ncclSuccess);
    expect_values(at_root, rank_, "Gather",
                  [&](size_t i) { return rank_.rank == 0 ? gathered(i) : 1.0f; });
  }

  void scatter() {
    const int root = rank_.size - 1;
    const DeviceArray<T> send = mine(count_ * ranks_);
    const DeviceArray<T> recv(count_, T(7.0f));
    ASSERT_EQ(
        ncclScatter(send.data(), recv.data(), count_, Type<T>::kNumber, root, comm_, rank_.stream),
        ncclSuccess);
    expect_values(recv, rank_, "Scatter", [&](size_t i) {
      return value(root, static_cast<size_t>(rank_.rank) * count_ + i);
    });
  }

  void all_to_all() {
    const DeviceArray<T> send = mine(count_ * ranks_);
    const DeviceArray<T> recv(count_ * ranks_, T(7.0f));
    ASSERT_EQ(ncclAlltoAll(send.data(), recv.data(), count_, Type<T>::kNumber, comm_, rank_.stream),
              ncclSuccess);
    expect_values(recv, rank_, "AlltoAll", [&](size_t i) {
      return value(static_cast<int>(i / count_),
                   static_cast<size_t>(rank_.rank) * count_ + i % count_);
    });
  }

  // Everyone sends to everyone, itself included: two messages per pair in one group.
  void send_and_receive() {
    const DeviceArray<T> send = mine(2 * count_ * ranks_);
    const DeviceArray<T> recv(2 * count_ * ranks_, T(7.0f));
    ASSERT_EQ(ncclGroupStart(), ncclSuccess);
    for (int peer = 0; peer < rank_.size; ++peer) {
      for (size_t message = 0; message < 2; ++message) {
        const size_t offset = (2 * static_cast<size_t>(peer) + message) * count_;
        ASSERT_EQ(
            ncclSend(send.data() + offset, count_, Type<T>::kNumber, peer, comm_, rank_.stream),
            ncclSuccess);
        ASSERT_EQ(
            ncclRecv(recv.data() + offset, count_, Type<T>::kNumber, peer, comm_, rank_.stream),
            ncclSuccess);
      }
    }
    ASSERT_EQ(ncclGroupEnd(), ncclSuccess);
    expect_values(recv, rank_, "Send and Recv", [&](size_t i) {
      return value(static_cast<int>(i / (2 * count_)),
                   2 * static_cast<size_t>(rank_.rank) * count_ + i % (2 * count_));
    });
  }

  const Rank& rank_;
  ncclComm_t comm_;
  size_t count_;
  size_t ranks_;
};

template <typename... T>
void every_type(const Rank& rank, ncclComm_t comm, size_t count) {
  (OneType<T>(rank, comm, count).all(), ...);
}

void every_operation(Rank& rank) {
  ncclComm_t comm = init(rank);
  for (const size_t count : {size_t{0}, size_t{1}, size_t{37}}) {
    every_type<int8_t, uint8_t, int32_t, uint32_t, int64_t, uint64_t, __half, float, double,
               __nv_bfloat16, __nv_fp8_e4m3, __nv_fp8_e5m2>(rank, comm, count);
  }
  every_type<float>(rank, comm, 70'001);  // several rounds and pieces
  EXPECT_EQ(state_of(comm), ncclSuccess);
  EXPECT_EQ(ncclCommFinalize(comm), ncclSuccess);
  EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
}

class NcclOperations : public ::testing::TestWithParam<std::tuple<As, int>> {};

TEST_P(NcclOperations, GiveWhatNcclGives) {
  const auto [as, size] = GetParam();
  const auto ends = run_ranks(as, size, {}, every_operation);
  expect_all_good(ends);
  EXPECT_EQ(output_of(ends), "");
}

TEST_P(NcclOperations, GiveTheSameWithDelays) {
  const auto [as, size] = GetParam();
  const Environment slow = {{"FAKE_CUDA_SEED", "5"},
                            {"FAKE_NCCL_SEED", "7"},
                            {"FAKE_CUDA_MAX_DELAY_US", "50"},
                            {"FAKE_NCCL_MAX_DELAY_US", "50"}};
  expect_all_good(run_ranks(as, size, slow, [](Rank& rank) {
    ncclComm_t comm = init(rank);
    every_type<float, __nv_bfloat16>(rank, comm, 5);
    EXPECT_EQ(ncclCommDestroy(comm), ncclSuccess);
  }));
}

INSTANTIATE_TEST_SUITE_P(Ranks, NcclOperations,
                         ::testing::Combine(::testing::Values(As::kProcesses, As::kThreads),
                                            ::testing::Values(1, 2, 3, 4, 8)),
                         [](const auto& test) {
                           return std::to_string(std::get<1>(test.param)) +
                                  text_of(std::get<0>(test.param));
                         });

}  // namespace
}  // namespace molora::testing
