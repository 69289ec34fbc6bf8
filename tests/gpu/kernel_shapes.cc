// Every kernel of the program on the GPU, without LibTorch and test frameworks: at a small size
// against the same body on the host, at the size of a 7B model against the clock.
//
// usage: kernel_shapes [small]      small: the first part alone
//
// Kernels without exp() must give the host's bits: sums have one order, products are not
// contracted.
#include <algorithm>
#include <memory>
#include <string_view>

#include "gpu/kernel_case.h"
#include "kernels/bodies/all_bodies.h"

namespace molora::testing {
namespace {

// Letters as in the bodies: T tokens, E experts, K per token, r LoRA rank, D hidden, P
// destinations.
struct Shape {
  CaseKind kind;
  int64_t tokens;
  int experts;
  int per_token;
  int64_t lora_rank;
  int64_t hidden;
  int64_t heads;
  int64_t head_size;
  int64_t destinations;
};
constexpr Shape kSmall = {CaseKind::kAgainstHost, 700, 8, 2, 16, 384, 3, 64, 4};
constexpr Shape kLarge = {CaseKind::kAgainstClock, 16384, 32, 2, 16, 4096, 32, 128, 8};

// exp() of the GPU and of the host differ in the last bits.
constexpr double kExp = 2e-6;
constexpr double kExpDouble = 1e-13;

double bytes_of(std::initializer_list<size_t> parts) {
  double sum = 0;
  for (const size_t part : parts) sum += static_cast<double>(part);
  return sum;
}

bool run_router(const Shape& s) {
  const int64_t all = s.tokens * s.experts;
  Numbers<float> logits(some_values<float>(all, 1));
  Numbers<int64_t> chosen(s.tokens * s.per_token);
  Numbers<float> weights(all);
  Numbers<float> d_weights(some_values<float>(all, 2));
  Numbers<float> d_logits(all);
  const auto groups = RowGroups<128>::for_columns(s.experts, kWarpLanes);
  const auto gate = RouterGate::kTopkSoftmax;
  bool is_right = run_case(
      {"router_choice_fp32", s.kind, 0, bytes_of({logits.bytes(), chosen.bytes()})},
      [&](Side at) {
        return ChooseExperts<float>{logits.on(at), chosen.on(at), s.tokens,
                                    s.experts,     s.per_token,   groups};
      },
      chosen);
  is_right &= run_case(
      {"router_weights_fp32", s.kind, kExp,
       bytes_of({logits.bytes(), chosen.bytes(), weights.bytes()})},
      [&](Side at) {
        return GateWeights<float>{logits.on(at), chosen.on(at), weights.on(at), s.tokens,
                                  s.experts,     s.per_token,   gate,           groups};
      },
      weights);
  is_right &= run_case(
      {"router_backward_fp32", s.kind, kExp,
       bytes_of({weights.bytes(), d_weights.bytes(), d_logits.bytes()})},
      [&](Side at) {
        return GateWeightsBackward<float>{
            logits.on(at), weights.on(at), d_weights.on(at), d_logits.on(at), s.tokens, s.experts,
            gate,          groups};
      },
      d_logits);
  const int64_t chunks = num_statistics_chunks(s.tokens);
  Numbers<double> sums(chunks * (s.experts + 1));
  Numbers<int64_t> counts(chunks * s.experts);
  is_right &= run_case(
      {"router_statistics_fp32", s.kind, kExpDouble, bytes_of({logits.bytes(), chosen.bytes()})},
      [&](Side at) {
        return SumTokensOfChunk<float>{logits.on(at), chosen.on(at), sums.on(at), counts.on(at),
                                       s.tokens,      s.experts,     s.per_token};
      },
      sums, counts);
  Numbers<int64_t> total_counts(s.experts);
  Numbers<double> total_shares(s.experts);
  Numbers<double> total_z(1);
  is_right &= run_case(
      {"router_totals", s.kind, kExpDouble, 0},
      [&](Side at) {
        return AddChunks{
            sums.on(at), counts.on(at), total_counts.on(at), total_shares.on(at), total_z.on(at),
            chunks,      s.experts};
      },
      total_counts, total_shares, total_z);
  return is_right;
}

struct BytesOfBool {
  std::unique_ptr<Numbers<uint8_t>> numbers;
  const bool* on(Side side) { return reinterpret_cast<const bool*>(numbers->on(side)); }
};

bool run_exchange(const Shape& s) {
  const int64_t pairs = s.tokens * s.destinations;
  std::vector<uint8_t> flags(static_cast<size_t>(pairs));
  for (size_t i = 0; i < flags.size(); ++i) flags[i] = i * 2654435761u % 7 < 2 ? 1 : 0;
  const auto rows = std::count(flags.begin(), flags.end(), uint8_t{1});
  BytesOfBool needed{std::make_unique<Numbers<uint8_t>>(flags)};
  const int64_t chunks = num_exchange_chunks(s.tokens);
  Numbers<int64_t> begins(s.destinations * chunks);
  Numbers<int64_t> counts(s.destinations);
  Numbers<int64_t> position(pairs);
  bool is_right = run_case(
      {"exchange_count", s.kind, 0, static_cast<double>(pairs)},
      [&](Side at) {
        return CountNeeded{needed.on(at), begins.on(at), s.tokens, s.destinations};
      },
      begins);
  // Works in place: once for both sides, and never against the clock.
  emulate(
      BeginDestinations{begins.on(Side::kHost), counts.on(Side::kHost), chunks, s.destinations});
  check(launch(
            BeginDestinations{begins.on(Side::kGpu), counts.on(Side::kGpu), chunks, s.destinations},
            nullptr),
        "launch");
  is_right &= run_case(
      {"exchange_place", s.kind, 0, bytes_of({position.bytes()})},
      [&](Side at) {
        return PlaceTokens{needed.on(at), begins.on(at), position.on(at), s.tokens, s.destinations};
      },
      position, begins, counts);
  using Combine = CombineRows<BFloat16, 8>;
  Numbers<BFloat16> results(some_values<BFloat16>(rows * s.hidden, 3));
  Numbers<BFloat16> combined(s.tokens * s.hidden);
  is_right &= run_case(
      {"rows_combine_bf16", s.kind, 0,
       bytes_of({results.bytes(), combined.bytes(), position.bytes()})},
      [&](Side at) {
        return Combine{reinterpret_cast<const Combine::Unit*>(results.on(at)),
                       position.on(at),
                       reinterpret_cast<Combine::Unit*>(combined.on(at)),
                       rows,
                       s.tokens,
                       s.destinations,
                       s.hidden / 8,
                       RowGroups<Combine::kThreads>::for_columns(s.hidden / 8)};
      },
      combined);
  return is_right;
}

bool run_gather(const Shape& s) {
  std::vector<uint16_t> values(static_cast<size_t>(s.tokens * s.hidden));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint16_t>(i * 40503u >> 3);
  Numbers<uint16_t> x(values);
  std::vector<int64_t> tokens;
  for (int64_t t = 0; t < s.tokens; ++t) tokens.push_back(t * 7919 % s.tokens);
  Numbers<int64_t> index(tokens);
  Numbers<uint16_t> gathered(s.tokens * s.hidden);
  const int64_t units = s.hidden * 2 / 16;
  using Gather = GatherRows<16>;
  const auto as_units = [](uint16_t* data) { return reinterpret_cast<Gather::Unit*>(data); };
  return run_case(
      {"rows_gather_bf16", s.kind, 0, bytes_of({x.bytes(), gathered.bytes(), index.bytes()})},
      [&](Side at) {
        return Gather{as_units(x.on(at)),
                      index.on(at),
                      as_units(gathered.on(at)),
                      s.tokens,
                      s.tokens,
                      units,
                      RowGroups<Gather::kThreads>::for_columns(units)};
      },
      gathered);
}

bool run_bottleneck(const Shape& s) {
  const int64_t gates = s.tokens * s.experts;
  Numbers<BFloat16> u(some_values<BFloat16>(gates * s.lora_rank, 4));
  Numbers<float> weights(some_values<float>(gates, 5));
  Numbers<BFloat16> h(gates * s.lora_rank);
  Numbers<BFloat16> d_u(gates * s.lora_rank);
  Numbers<float> d_weights(gates);
  using Forward = GateForward<BFloat16, float>;
  using Backward = GateBackward<BFloat16, float>;
  bool is_right = run_case(
      {"gate_forward_bf16", s.kind, 0, bytes_of({u.bytes(), h.bytes(), weights.bytes()})},
      [&](Side at) {
        return Forward{u.on(at),
                       weights.on(at),
                       h.on(at),
                       gates,
                       s.lora_rank,
                       2.0f,
                       RowGroups<Forward::kThreads>::for_columns(s.lora_rank)};
      },
      h);
  is_right &= run_case(
      {"gate_backward_bf16", s.kind, 0,
       bytes_of({u.bytes(), h.bytes(), d_u.bytes(), weights.bytes(), d_weights.bytes()})},
      [&](Side at) {
        return Backward{u.on(at),
                        weights.on(at),
                        h.on(at),
                        d_u.on(at),
                        d_weights.on(at),
                        gates,
                        s.lora_rank,
                        2.0f,
                        RowGroups<Backward::kThreads>::for_columns(s.lora_rank, kWarpLanes)};
      },
      d_u, d_weights);
  Numbers<BFloat16> x(some_values<BFloat16>(s.tokens * s.hidden, 6));
  Numbers<BFloat16> y(s.tokens * s.hidden);
  std::vector<int64_t> places(static_cast<size_t>(s.tokens));
  for (size_t t = 0; t < places.size(); ++t) places[t] = static_cast<int64_t>(t);
  Numbers<int64_t> positions(places);
  using Dropout = ApplyDropout<BFloat16>;
  is_right &= run_case(
      {"dropout_bf16", s.kind, 0, bytes_of({x.bytes(), y.bytes()})},
      [&](Side at) {
        return Dropout{x.on(at),
                       y.on(at),
                       positions.on(at),
                       positions.on(at),
                       s.tokens,
                       0,
                       s.hidden,
                       0x123456789abcdefu,
                       0x20000000u,
                       1.125f,
                       RowGroups<Dropout::kThreads>::for_columns(Dropout::blocks_of(0, s.hidden))};
      },
      y);
  return is_right;
}

bool run_decoder(const Shape& s) {
  const int64_t all = s.tokens * s.hidden;
  Numbers<BFloat16> x(some_values<BFloat16>(all, 7));
  Numbers<BFloat16> weight(some_values<BFloat16>(s.hidden, 8));
  Numbers<BFloat16> y(all);
  Numbers<float> scales(s.tokens);
  Numbers<BFloat16> d_x(all);
  bool is_right = run_case(
      {"rms_norm_bf16", s.kind, 0, bytes_of({x.bytes(), y.bytes()})},
      [&](Side at) {
        return RmsNorm<BFloat16, 256>{x.on(at), weight.on(at), y.on(at), scales.on(at),
                                      s.tokens, s.hidden,      1e-6f};
      },
      y, scales);
  is_right &= run_case(
      {"rms_norm_backward_bf16", s.kind, 0, bytes_of({x.bytes(), y.bytes(), d_x.bytes()})},
      [&](Side at) {
        return RmsNormBackward<BFloat16, 256>{x.on(at),   weight.on(at), scales.on(at), y.on(at),
                                              d_x.on(at), s.tokens,      s.hidden};
      },
      d_x);
  using Rotary = ApplyRotary<BFloat16, 8>;
  const int64_t half_units = s.head_size / 2 / 8;
  Numbers<BFloat16> q(some_values<BFloat16>(s.tokens * s.heads * s.head_size, 9));
  Numbers<BFloat16> turned(s.tokens * s.heads * s.head_size);
  Numbers<BFloat16> cos(some_values<BFloat16>(s.tokens * s.head_size, 10));
  Numbers<BFloat16> sin(some_values<BFloat16>(s.tokens * s.head_size, 11));
  const auto as_units = [](BFloat16* data) { return reinterpret_cast<Rotary::Unit*>(data); };
  is_right &= run_case(
      {"rotary_bf16", s.kind, 0, bytes_of({q.bytes(), turned.bytes(), cos.bytes(), sin.bytes()})},
      [&](Side at) {
        return Rotary{as_units(q.on(at)),
                      as_units(cos.on(at)),
                      as_units(sin.on(at)),
                      as_units(turned.on(at)),
                      s.tokens * s.heads,
                      s.heads,
                      half_units,
                      RotaryTurn::kForward,
                      RowGroups<Rotary::kThreads>::for_columns(half_units)};
      },
      turned);
  return is_right;
}

// Forty tensors at once, as many as a layer's adapters have.
bool run_adamw(const Shape& s) {
  constexpr int kRuns = 40;
  const int64_t each = s.hidden * s.lora_rank + 3;
  Numbers<float> value(some_values<float>(kRuns * each, 12));
  Numbers<float> first(some_values<float>(kRuns * each, 13));
  Numbers<float> gradient(some_values<float>(kRuns * each, 14));
  std::vector<float> squares = some_values<float>(kRuns * each, 15);
  for (float& square : squares) square *= square;
  Numbers<float> second(squares);
  return run_case(
      {"adamw_fp32", s.kind, 0, 7.0 * static_cast<double>(value.bytes())},
      [&](Side at) {
        UpdateRuns<float> table{};
        table.rates = {0.9999f, 0.1f, 0.999f, 0.001f, 0.5f, 1e-8f, -1e-3f};
        for (int64_t run = 0; run < kRuns; ++run) {
          const int64_t begin = run * each;
          table.add({value.on(at) + begin, first.on(at) + begin, second.on(at) + begin,
                     gradient.on(at) + begin, each});
        }
        return table;
      },
      value, first, second);
}

bool run_all(const Shape& shape) {
  bool is_right = run_router(shape);
  is_right &= run_gather(shape);
  is_right &= run_exchange(shape);
  is_right &= run_bottleneck(shape);
  is_right &= run_decoder(shape);
  is_right &= run_adamw(shape);
  return is_right;
}

}  // namespace
}  // namespace molora::testing

int main(int argc, char** argv) {
  using namespace molora::testing;
  const bool is_small = argc > 1 && std::string_view(argv[1]) == "small";
  if (argc > 2 || (argc == 2 && !is_small)) {
    std::fprintf(stderr, "usage: kernel_shapes [small]\n");
    return 64;
  }
  try {
    const bool is_right = run_all(kSmall);
    if (!is_small) run_all(kLarge);
    return is_right ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kernel_shapes: %s\n", error.what());
    return 1;
  }
}
