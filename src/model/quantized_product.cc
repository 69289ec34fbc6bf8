#include "model/quantized_product.h"

#include <algorithm>

#include "base/check.h"

namespace molora {

namespace {

// A tile stays in the cache between its expansion and the product that reads it. Measured on 576 to
// 4,096 wide linears and 256 to 1,024 tokens: from 128 rows and columns on a product of tiles runs
// within 10 % of the whole one, and larger buffers cost more in page faults than they give.
constexpr int64_t kTileBytes = int64_t{2} << 20;
// Elsewhere a tile costs some kernels, each of which needs work for a whole GPU.
constexpr int64_t kTileBytesOfDevices = int64_t{16} << 20;
constexpr int64_t kFewest = 128;

int64_t tile_length(int64_t across, const Tensor& like) {
  const int64_t bytes = std::max<int64_t>(1, across * static_cast<int64_t>(like.element_size()));
  const int64_t tile = like.is_cpu() ? kTileBytes : kTileBytesOfDevices;
  return std::max(kFewest, tile / bytes / kFewest * kFewest);
}

}  // namespace

Tensor quantized_product(const Tensor& x_TD, const QuantizedMatrix& weight_OD,
                         const Tensor& bias_O) {
  const int64_t in = weight_OD.columns.length;
  const int64_t out = weight_OD.num_rows();
  MOLORA_CHECK_EQ(x_TD.size(1), in, "input width");
  Tensor out_TO = at::empty({x_TD.size(0), out}, x_TD.options());
  const int64_t tile = std::min(tile_length(in, x_TD), out);
  const Tensor buffer = at::empty({tile * in}, x_TD.options());
  for (int64_t row = 0; row < out; row += tile) {
    const int64_t rows = std::min(tile, out - row);
    const Tensor weight_oD = buffer.narrow(0, 0, rows * in).view({rows, in});
    dequantize(weight_OD, {row, rows, 0, in}, weight_oD);
    Tensor part_To = out_TO.narrow(1, row, rows);
    if (bias_O.defined()) {
      at::addmm_out(part_To, bias_O.narrow(0, row, rows), x_TD, weight_oD.t());
    } else {
      at::mm_out(part_To, x_TD, weight_oD.t());
    }
  }
  return out_TO;
}

void add_quantized_input_gradient(Tensor& d_x_TD, const Tensor& d_out_TO,
                                  const QuantizedMatrix& weight_OD) {
  const int64_t in = weight_OD.columns.length;
  const int64_t out = weight_OD.num_rows();
  MOLORA_CHECK_EQ(d_out_TO.size(1), out, "output width");
  const bool is_new = !d_x_TD.defined();
  if (is_new) d_x_TD = at::empty({d_out_TO.size(0), in}, d_out_TO.options());
  const int64_t block = block_width(weight_OD.format);
  const int64_t tile = std::max(block, tile_length(out, d_x_TD) / block * block);
  const Tensor buffer = at::empty({out * std::min(tile, in)}, d_out_TO.options());
  for (int64_t column = 0; column < in;) {
    // Tiles end with a block; the first block of a slice may have begun before it.
    const int64_t end = std::min(column == 0 ? tile - weight_OD.offset() : column + tile, in);
    const Tensor weight_Od = buffer.narrow(0, 0, out * (end - column)).view({out, end - column});
    dequantize(weight_OD, {0, out, column, end - column}, weight_Od);
    Tensor part_Td = d_x_TD.narrow(1, column, end - column);
    if (is_new) {
      at::mm_out(part_Td, d_out_TO, weight_Od);
    } else {
      part_Td.addmm_(d_out_TO, weight_Od);
    }
    column = end;
  }
}

}  // namespace molora
