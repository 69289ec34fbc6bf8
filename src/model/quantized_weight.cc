#include "model/quantized_weight.h"

#include <optional>

#include <fmt/format.h>

#include "base/check.h"
#include "base/mutation.h"

namespace molora {

QuantizedMatrix load_quantized(const StoredTensor& tensor, const TensorBox& box, BlockFormat format,
                               const ReadBuffer& buffer) {
  MOLORA_CHECK_EQ(box.shape.size(), 2U, "dims of {}", tensor.entry.name);
  const ColumnRange columns{box.offset[1], box.shape[1]};
  const bool is_alone = MOLORA_MUTANT(kBlocksFromTheCut);
  const ColumnRange read =
      is_alone ? columns : whole_blocks(format, columns, tensor.entry.shape[1]);
  QuantizedMatrix matrix =
      empty_quantized(format, box.shape[0], is_alone ? ColumnRange{0, columns.length} : columns);
  const TensorBox read_box{{box.offset[0], read.begin}, {box.shape[0], read.length}};
  read_rows(tensor, read_box, buffer, [&](int64_t first, const Tensor& rows) {
    const std::optional<MatrixPlace> bad = quantize_rows(rows, matrix, first);
    if (!bad) return;
    throw_data_error(tensor, fmt::format("row {}, column {} holds {}, which cannot be quantised",
                                         box.offset[0] + first + bad->row, read.begin + bad->column,
                                         rows[bad->row][bad->column].item<double>()));
  });
  return matrix;
}

}  // namespace molora
