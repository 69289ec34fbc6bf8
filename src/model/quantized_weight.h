// The weight of a frozen linear, quantised as it is read from its file.
#pragma once

#include "model/stored_tensor.h"
#include "tensor/blockwise_quantization.h"

namespace molora {

// `box` of the tensor, on the CPU. The blocks are those of the tensor's whole rows: of columns that
// are left out, those that share a block with one of the box are read too. Nothing but what is kept
// and `buffer` takes memory. REQUIRES: as read_rows().
// Throws: DataError with file, tensor, row and column of a value that is not finite; IoError.
QuantizedMatrix load_quantized(const StoredTensor& tensor, const TensorBox& box, BlockFormat format,
                               const ReadBuffer& buffer);

}  // namespace molora
