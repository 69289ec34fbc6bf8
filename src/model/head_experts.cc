#include "model/head_experts.h"

#include "base/check.h"

namespace molora {

namespace {

// The sub-tokens as tokens: those of one token lie side by side.
TokenIds ids_of_heads(const TokenIds& ids, const Slice& heads, int64_t all_heads) {
  const auto for_each_head = [&](const Tensor& of_T) {
    return of_T.repeat_interleave(heads.length);
  };
  const Tensor head_h = at::arange(heads.begin, heads.end(), ids.positions_T.options());
  const Tensor positions_Th = ids.positions_T.unsqueeze(1) * all_heads + head_h;
  return {for_each_head(ids.samples_T), positions_Th.flatten(), for_each_head(ids.tasks_T)};
}

}  // namespace

Tensor head_experts(const Tensor& x_Td, const LinearAdapter& adapter, const ForwardContext& context,
                    const RoutingContext& routing, const Slice& columns) {
  const AdapterSpec& spec = adapter.spec;
  const int64_t width = adapter.place.size.in / spec.heads;
  MOLORA_CHECK_EQ(columns.length, x_Td.size(1), "columns of {}", adapter.path);
  MOLORA_CHECK(columns.begin % width == 0 && columns.length % width == 0,
               "{}: heads cut by a rank's columns", adapter.path);
  const Slice heads = {columns.begin / width, columns.length / width};
  RoutingContext of_heads = routing;
  of_heads.ids = ids_of_heads(routing.ids, heads, spec.heads);
  const auto in_heads = [&](const Tensor& of_Td) {
    return of_Td.reshape({of_Td.size(0) * heads.length, width});
  };
  const Tensor weights_SE = route(in_heads(x_Td), adapter, of_heads).weights_TE;
  const std::optional<TokenDropout> dropout = token_dropout(adapter, context, routing.ids, columns);
  const Tensor read_Td = dropout ? under_dropout(x_Td, *dropout) : x_Td;
  const auto matrix = [&](const Tensor& of_Erc) {
    return of_Erc.flatten(0, 1).to(x_Td.scalar_type());
  };
  const Tensor u_SR = for_each_expert(at::linear(in_heads(read_Td), matrix(adapter.lora_A)), spec,
                                      spec.num_experts);
  return at::mm(apply_gates(u_SR, weights_SE, spec), matrix(adapter.lora_B))
      .view({x_Td.size(0), heads.length * (adapter.place.size.out / spec.heads)});
}

}  // namespace molora
