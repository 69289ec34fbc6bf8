#include "parallel/tensor_collectives.h"

#include <numeric>

#include "base/check.h"
#include "base/mutation.h"
#include "parallel/shard.h"

namespace molora {

namespace {

int64_t sum_of(const std::vector<int64_t>& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), int64_t{0});
}

int64_t row_elements(const Tensor& tensor) {
  int64_t elements = 1;
  for (int64_t d = 1; d < tensor.dim(); ++d) elements *= tensor.size(d);
  return elements;
}

std::vector<size_t> row_bytes(const Tensor& tensor, const std::vector<int64_t>& rows) {
  const auto bytes = static_cast<size_t>(row_elements(tensor)) * tensor.dtype().itemsize();
  std::vector<size_t> result;
  result.reserve(rows.size());
  for (const int64_t count : rows) result.push_back(static_cast<size_t>(count) * bytes);
  return result;
}

Tensor empty_rows(const Tensor& like, int64_t rows) {
  std::vector<int64_t> shape = like.sizes().vec();
  shape[0] = rows;
  return at::empty(shape, like.options().requires_grad(false));
}

at::ScalarType sum_type(const Tensor& tensor) {
  if (!at::isFloatingType(tensor.scalar_type())) return tensor.scalar_type();
  return tensor.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// The bytes of a dense tensor that lies where the communicator's buffers have to.
std::span<std::byte> buffer(const Communicator& communicator, const Tensor& tensor) {
  MOLORA_CHECK(tensor.is_contiguous());
  MOLORA_CHECK_EQ(tensor.is_cpu(), communicator.place() == BufferPlace::kHost,
                  "a tensor on {} for {}", tensor.device().str(), communicator.name());
  return {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()};
}

}  // namespace

Tensor all_gather_rows(Communicator& communicator, const Tensor& mine,
                       const std::vector<int64_t>& rows) {
  MOLORA_CHECK_EQ(mine.size(0), rows[static_cast<size_t>(communicator.rank())]);
  if (communicator.size() == 1) return mine;
  const Tensor send = mine.contiguous();
  Tensor all = empty_rows(send, sum_of(rows));
  communicator.all_gather(buffer(communicator, send), buffer(communicator, all),
                          row_bytes(send, rows));
  if (MOLORA_MUTANT(kGatheredRowsReversed)) return all.flip(0);
  return all;
}

Tensor reduce_scatter_rows(Communicator& communicator, const Tensor& partial,
                           const std::vector<int64_t>& rows) {
  MOLORA_CHECK_EQ(partial.size(0), sum_of(rows));
  if (communicator.size() == 1) return partial;
  const int64_t own = rows[static_cast<size_t>(communicator.rank())];
  const std::vector<int64_t> from_each(rows.size(), own);
  const Tensor parts = all_to_all_rows(communicator, partial, rows, from_each);
  Tensor sum = parts.slice(0, 0, own).to(sum_type(partial), /*non_blocking=*/false, /*copy=*/true);
  for (size_t member = 1; member < rows.size(); ++member) {
    if (MOLORA_MUTANT(kReducedRowsMissLast) && member + 1 == rows.size()) continue;
    const auto begin = static_cast<int64_t>(member) * own;
    sum += parts.slice(0, begin, begin + own);
  }
  return sum.to(partial.scalar_type());
}

Tensor all_reduce_sum(Communicator& communicator, const Tensor& partial) {
  if (communicator.size() == 1) return partial;
  const Tensor flat = partial.flatten();
  const std::vector<int64_t> parts = balanced_lengths(flat.size(0), communicator.size());
  const Tensor mine = reduce_scatter_rows(communicator, flat, parts);
  return all_gather_rows(communicator, mine, parts).view(partial.sizes());
}

Tensor all_to_all_rows(Communicator& communicator, const Tensor& send,
                       const std::vector<int64_t>& send_rows,
                       const std::vector<int64_t>& recv_rows) {
  PendingRows pending(communicator, send, send_rows, recv_rows);
  pending.wait();
  if (MOLORA_MUTANT(kExchangedRowsReversed)) return pending.received().flip(0);
  return pending.received();
}

Tensor all_to_all_equal(Communicator& communicator, const Tensor& send) {
  if (communicator.size() == 1) return send;
  const Tensor dense = send.contiguous();
  const Tensor received = at::empty_like(dense);
  communicator.all_to_all(buffer(communicator, dense), buffer(communicator, received));
  return received;
}

PendingRows::PendingRows(Communicator& communicator, const Tensor& send,
                         const std::vector<int64_t>& send_rows,
                         const std::vector<int64_t>& recv_rows) {
  MOLORA_CHECK_EQ(send.size(0), sum_of(send_rows));
  if (communicator.size() == 1) {
    received_ = send;
    return;
  }
  send_ = send.contiguous();
  received_ = empty_rows(send_, sum_of(recv_rows));
  pending_ =
      communicator.start_all_to_all(buffer(communicator, send_), row_bytes(send_, send_rows),
                                    buffer(communicator, received_), row_bytes(send_, recv_rows));
}

void PendingRows::wait() {
  if (pending_ == nullptr) return;
  pending_->wait();
  pending_.reset();
  send_.reset();
}

Tensor all_gather_columns(Communicator& communicator, const Tensor& mine,
                          const std::vector<int64_t>& columns) {
  if (communicator.size() == 1) return mine;
  // Rows of the transposed matrix are columns; [columns, n] is gathered and turned back.
  return all_gather_rows(communicator, mine.t(), columns).t();
}

}  // namespace molora
