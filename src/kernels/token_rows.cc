#include "kernels/token_rows.h"

#include <ATen/core/grad_mode.h>

#include "base/check.h"
#include "kernels/bodies/combine_rows_body.h"
#include "kernels/bodies/exchange_index_body.h"
#include "kernels/bodies/gather_rows_body.h"
#include "kernels/kernel_choice.h"
#include "kernels/start_kernel.h"

namespace molora {

namespace {

template <int kUnitBytes>
void start_gather(const Tensor& x, const Tensor& index_S, const Tensor& rows, int64_t row_bytes) {
  using Body = GatherRows<kUnitBytes>;
  const int64_t units = row_bytes / kUnitBytes;
  start_kernel(
      Body{static_cast<const typename Body::Unit*>(x.data_ptr()), kernel_data<int64_t>(index_S),
           static_cast<typename Body::Unit*>(rows.data_ptr()), x.size(0), rows.size(0), units,
           RowGroups<Body::kThreads>::for_columns(units)},
      x.device());
}

// The widest unit that rows of this length, from these addresses on, are made of.
uintptr_t common_unit(const Tensor& x, const Tensor& rows, int64_t row_bytes) {
  const uintptr_t all = reinterpret_cast<uintptr_t>(x.data_ptr()) |
                        reinterpret_cast<uintptr_t>(rows.data_ptr()) |
                        static_cast<uintptr_t>(row_bytes);
  return all & (~all + 1);  // the lowest bit that is set
}

Tensor fused_gather(const Tensor& x_rows, const Tensor& index) {
  const Tensor x = x_rows.contiguous();
  const Tensor index_S = index.contiguous();
  Tensor rows = at::empty({index_S.size(0), x.size(1)}, x.options());
  const int64_t row_bytes = x.size(1) * static_cast<int64_t>(x.element_size());
  const uintptr_t unit = common_unit(x, rows, row_bytes);
  if (unit >= 16 || unit == 0) {
    start_gather<16>(x, index_S, rows, row_bytes);
  } else if (unit == 8) {
    start_gather<8>(x, index_S, rows, row_bytes);
  } else if (unit == 4) {
    start_gather<4>(x, index_S, rows, row_bytes);
  } else if (unit == 2) {
    start_gather<2>(x, index_S, rows, row_bytes);
  } else {
    start_gather<1>(x, index_S, rows, row_bytes);
  }
  return rows;
}

ExchangeIndex fused_exchange_index(const Tensor& needed) {
  const Tensor needed_TP = needed.contiguous();
  const int64_t tokens = needed_TP.size(0);
  const int64_t destinations = needed_TP.size(1);
  const int64_t chunks = num_exchange_chunks(tokens);
  const at::TensorOptions options = needed_TP.options().dtype(at::kLong);
  const Tensor begins = at::empty({destinations, chunks}, options);
  ExchangeIndex index = {at::empty({destinations}, options), at::empty_like(needed_TP, options)};
  const at::Device device = needed_TP.device();
  const auto* flags = kernel_data<bool>(needed_TP);
  start_kernel(CountNeeded{flags, kernel_data<int64_t>(begins), tokens, destinations}, device);
  start_kernel(BeginDestinations{kernel_data<int64_t>(begins), kernel_data<int64_t>(index.counts_P),
                                 chunks, destinations},
               device);
  start_kernel(PlaceTokens{flags, kernel_data<int64_t>(begins),
                           kernel_data<int64_t>(index.position_TP), tokens, destinations},
               device);
  return index;
}

SentRows fused_sent_rows(const Tensor& position, int64_t num_rows) {
  const Tensor position_TP = position.contiguous();
  SentRows rows = {at::empty({num_rows}, position_TP.options()),
                   at::empty({num_rows}, position_TP.options())};
  start_kernel(ListSentRows{kernel_data<int64_t>(position_TP), kernel_data<int64_t>(rows.tokens_S),
                            kernel_data<int64_t>(rows.destinations_S), position_TP.numel(),
                            position_TP.size(1), num_rows},
               position_TP.device());
  return rows;
}

template <typename Number, int kPack>
void start_combine(const Tensor& rows_SD, const Tensor& position_TP, const Tensor& sums_TD) {
  using Body = CombineRows<Number, kPack>;
  using Unit = typename Body::Unit;
  const int64_t units = rows_SD.size(1) / kPack;
  start_kernel(Body{static_cast<const Unit*>(rows_SD.data_ptr()), kernel_data<int64_t>(position_TP),
                    static_cast<Unit*>(sums_TD.data_ptr()), rows_SD.size(0), position_TP.size(0),
                    position_TP.size(1), units, RowGroups<Body::kThreads>::for_columns(units)},
               rows_SD.device());
}

Tensor fused_combine(const Tensor& rows, const Tensor& position) {
  const Tensor rows_SD = rows.contiguous();
  const Tensor position_TP = position.contiguous();
  Tensor sums_TD = at::empty({position_TP.size(0), rows_SD.size(1)}, rows_SD.options());
  for_number_type(rows_SD.scalar_type(), [&](auto tag) {
    using Number = typename decltype(tag)::Type;
    constexpr int kPack = kWidestPack<Number>;
    const int64_t width = rows_SD.size(1);
    if (fits_packs<kPack>(kernel_data<Number>(rows_SD), width) &&
        fits_packs<kPack>(kernel_data<Number>(sums_TD), width)) {
      start_combine<Number, kPack>(rows_SD, position_TP, sums_TD);
    } else {
      start_combine<Number, 1>(rows_SD, position_TP, sums_TD);
    }
  });
  return sums_TD;
}

}  // namespace

Tensor gather_rows(const Tensor& x, const Tensor& index_S) {
  const at::NoGradGuard no_grad;
  MOLORA_CHECK(x.dim() == 2 && index_S.dim() == 1, "{} and {} dimensions", x.dim(), index_S.dim());
  return fused_kernels_wanted(x) ? fused_gather(x, index_S) : x.index_select(0, index_S);
}

ExchangeIndex exchange_index(const Tensor& needed_TP) {
  MOLORA_CHECK(needed_TP.dim() == 2 && needed_TP.scalar_type() == at::kBool);
  if (fused_kernels_wanted(needed_TP)) return fused_exchange_index(needed_TP);
  const Tensor needed_PT = needed_TP.t().contiguous();
  const Tensor row_PT = (needed_PT.flatten().cumsum(0, at::kLong) - 1).view_as(needed_PT);
  return {needed_TP.sum(0, /*keepdim=*/false, at::kLong),
          at::where(needed_PT, row_PT, -1).t().contiguous()};
}

SentRows list_sent_rows(const Tensor& position_TP, int64_t num_rows) {
  if (fused_kernels_wanted(position_TP)) return fused_sent_rows(position_TP, num_rows);
  // Where a token does not go is written into one row too many.
  const Tensor rows_TP = at::where(position_TP < 0, num_rows, position_TP);
  const auto scattered = [&](const Tensor& numbers) {
    return at::empty({num_rows + 1}, position_TP.options())
        .scatter_(0, rows_TP.flatten(), numbers.expand_as(rows_TP).flatten())
        .slice(0, 0, num_rows);
  };
  return {scattered(at::arange(position_TP.size(0), position_TP.options()).unsqueeze(1)),
          scattered(at::arange(position_TP.size(1), position_TP.options()).unsqueeze(0))};
}

Tensor combine_rows(const Tensor& rows_SD, const Tensor& position_TP) {
  const at::NoGradGuard no_grad;
  MOLORA_CHECK(rows_SD.dim() == 2 && position_TP.dim() == 2);
  if (fused_kernels_wanted(rows_SD)) return fused_combine(rows_SD, position_TP);
  const at::ScalarType precision = rows_SD.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  Tensor sum_TD =
      at::zeros({position_TP.size(0), rows_SD.size(1)}, rows_SD.options().dtype(precision));
  if (rows_SD.size(0) == 0) return sum_TD.to(rows_SD.scalar_type());
  for (int64_t p = 0; p < position_TP.size(1); ++p) {
    const Tensor row_T = position_TP.select(1, p);
    const Tensor values_TD = rows_SD.index_select(0, row_T.clamp_min(0)).to(precision);
    sum_TD.add_(at::where((row_T >= 0).unsqueeze(1), values_TD, 0.0));
  }
  return sum_TD.to(rows_SD.scalar_type());
}

}  // namespace molora
