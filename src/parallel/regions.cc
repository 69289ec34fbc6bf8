#include "parallel/regions.h"

#include <numeric>

#include "base/check.h"
#include "base/mutation.h"
#include "parallel/linear_map.h"
#include "parallel/tensor_collectives.h"

namespace molora {

namespace {

Tensor own_rows(Communicator& tp, const Tensor& x_TD, const std::vector<int64_t>& rows) {
  int64_t begin = 0;
  for (int rank = 0; rank < tp.rank(); ++rank) begin += rows[static_cast<size_t>(rank)];
  return x_TD.slice(0, begin, begin + rows[static_cast<size_t>(tp.rank())]);
}

// These rows of this rank, and zeros in the place of other ranks' rows.
Tensor padded_rows(Communicator& tp, const Tensor& x_tD, const std::vector<int64_t>& rows) {
  std::vector<int64_t> shape = x_tD.sizes().vec();
  shape[0] = std::accumulate(rows.begin(), rows.end(), int64_t{0});
  Tensor padded = at::zeros(shape, x_tD.options());
  own_rows(tp, padded, rows).copy_(x_tD);
  return padded;
}

// Every rank's block flattened, one after the other, and their lengths: blocks have different
// shapes.
struct Blocks {
  std::vector<Tensor> parts;
  std::vector<int64_t> elements;

  void add(const Tensor& part) {
    parts.push_back(part.flatten());
    elements.push_back(part.numel());
  }
};

Tensor columns_to_rows_now(Communicator& tp, const Tensor& x_Td, const ColumnLayout& layout) {
  Blocks send;
  std::vector<int64_t> received;
  const int64_t own_tokens = layout.rows[static_cast<size_t>(tp.rank())];
  int64_t begin = 0;
  for (size_t rank = 0; rank < layout.rows.size(); ++rank) {
    send.add(x_Td.slice(0, begin, begin + layout.rows[rank]));
    received.push_back(own_tokens * layout.columns[rank].length);
    begin += layout.rows[rank];
  }
  const Tensor flat = all_to_all_rows(tp, at::cat(send.parts), send.elements, received);
  const at::ScalarType precision = flat.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  Tensor x_tD = at::zeros({own_tokens, layout.width}, flat.options().dtype(precision));
  int64_t at = 0;
  for (size_t rank = 0; rank < layout.rows.size(); ++rank) {
    const size_t of = MOLORA_MUTANT(kColumnsToTokensSwapped) ? layout.rows.size() - 1 - rank : rank;
    const Slice& columns = layout.columns[of];
    const Tensor block = flat.slice(0, at, at + received[rank]);
    Tensor place = x_tD.slice(1, columns.begin, columns.end());
    const Tensor shaped = block.view({own_tokens, layout.columns[rank].length});
    if (MOLORA_MUTANT(kReplicatedColumnsLast)) {
      place.copy_(shaped);
    } else {
      place += shaped;  // columns that several ranks hold: the sum over them
    }
    at += received[rank];
  }
  return x_tD.to(x_Td.scalar_type());
}

Tensor rows_to_columns_now(Communicator& tp, const Tensor& x_tD, const ColumnLayout& layout) {
  Blocks send;
  std::vector<int64_t> received;
  const Slice& own = layout.columns[static_cast<size_t>(tp.rank())];
  int64_t num_tokens = 0;
  for (size_t rank = 0; rank < layout.rows.size(); ++rank) {
    send.add(x_tD.slice(1, layout.columns[rank].begin, layout.columns[rank].end()));
    received.push_back(layout.rows[rank] * own.length);
    num_tokens += layout.rows[rank];
  }
  Tensor x_Td = all_to_all_rows(tp, at::cat(send.parts), send.elements, received)
                    .view({num_tokens, own.length});
  if (MOLORA_MUTANT(kTokensToColumnsSwapped)) return x_Td.flip(0);
  return x_Td;
}

}  // namespace

Tensor copy_to(Communicator& tp, const Tensor& x) {
  if (tp.size() == 1) return x;
  return apply_linear_map(x, {[](const Tensor& in) { return in; },
                              [&tp](const Tensor& gradient) {
                                if (MOLORA_MUTANT(kCopyWithoutSum)) return gradient;
                                return all_reduce_sum(tp, gradient);
                              }});
}

Tensor reduce_from(Communicator& tp, const Tensor& partial) {
  if (tp.size() == 1) return partial;
  return apply_linear_map(partial, {[&tp](const Tensor& in) {
                                      if (MOLORA_MUTANT(kReduceWithoutSum)) return in;
                                      return all_reduce_sum(tp, in);
                                    },
                                    [](const Tensor& gradient) { return gradient; }});
}

Tensor gather_rows(Communicator& tp, const Tensor& x_tD, const std::vector<int64_t>& rows) {
  if (tp.size() == 1) return x_tD;
  return apply_linear_map(x_tD, {[&tp, rows](const Tensor& in) {
                                   if (MOLORA_MUTANT(kGatherForwardOwnOnly))
                                     return padded_rows(tp, in, rows);
                                   return all_gather_rows(tp, in, rows);
                                 },
                                 [&tp, rows](const Tensor& gradient) {
                                   if (MOLORA_MUTANT(kGatherBackwardSplits))
                                     return own_rows(tp, gradient, rows).clone();
                                   return reduce_scatter_rows(tp, gradient, rows);
                                 }});
}

Tensor scatter_rows(Communicator& tp, const Tensor& partial_TD, const std::vector<int64_t>& rows) {
  if (tp.size() == 1) return partial_TD;
  return apply_linear_map(partial_TD, {[&tp, rows](const Tensor& in) {
                                         if (MOLORA_MUTANT(kScatterForwardSplits))
                                           return own_rows(tp, in, rows).clone();
                                         return reduce_scatter_rows(tp, in, rows);
                                       },
                                       [&tp, rows](const Tensor& gradient) {
                                         if (MOLORA_MUTANT(kScatterBackwardPads))
                                           return padded_rows(tp, gradient, rows);
                                         return all_gather_rows(tp, gradient, rows);
                                       }});
}

Tensor columns_to_rows(Communicator& tp, const Tensor& x_Td, const ColumnLayout& layout) {
  if (tp.size() == 1) return x_Td;
  return apply_linear_map(
      x_Td, {[&tp, layout](const Tensor& in) { return columns_to_rows_now(tp, in, layout); },
             [&tp, layout](const Tensor& in) { return rows_to_columns_now(tp, in, layout); }});
}

Tensor rows_to_columns(Communicator& tp, const Tensor& x_tD, const ColumnLayout& layout) {
  if (tp.size() == 1) return x_tD;
  return apply_linear_map(
      x_tD, {[&tp, layout](const Tensor& in) { return rows_to_columns_now(tp, in, layout); },
             [&tp, layout](const Tensor& in) { return columns_to_rows_now(tp, in, layout); }});
}

}  // namespace molora
