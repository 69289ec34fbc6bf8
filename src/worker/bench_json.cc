// The numbers of `molora bench` for programs.
#include <algorithm>
#include <string>

#include "worker/bench_report.h"
#include "worker/traffic_meter.h"

namespace molora {

namespace {

nlohmann::json spread_json(const std::vector<double>& seconds) {
  const Spread spread = spread_of(seconds);
  return {{"min", spread.least},     {"first_quartile", spread.first_quartile},
          {"median", spread.median}, {"third_quartile", spread.third_quartile},
          {"max", spread.most},      {"steps", seconds}};
}

nlohmann::json products_json(const BenchCase& of) {
  nlohmann::json products = nlohmann::json::array();
  for (const ProductMeter::Measured& measured : of.products) {
    const StepProduct& product = measured.product;
    products.push_back(
        {{"kind", product.kind == ProductKind::kForward ? "forward" : "input_gradient"},
         {"rows", product.rows},
         {"in", product.in},
         {"out", product.out},
         {"count", product.count},
         {"is_head", product.is_head},
         {"seconds", measured.seconds},
         {"flops_per_second", measured.rate()}});
  }
  return products;
}

nlohmann::json breakdown_json(const BenchCase& of) {
  const Breakdown& sum = of.breakdown;
  nlohmann::json classes = nlohmann::json::object();
  for (size_t i = 0; i < kNumWorkClasses; ++i) {
    const auto work = static_cast<WorkClass>(i);
    classes[work_class_key(work)] = sum.at(work);
  }
  nlohmann::json axes = nlohmann::json::object();
  for (const Axis axis : kAxes) {
    const double seconds = of.axis_seconds.at(static_cast<size_t>(axis));
    if (seconds > 0) axes[axis_name(axis)] = seconds;
  }
  nlohmann::json operators = nlohmann::json::object();
  for (const auto& [name, takes] : sum.operators) {
    operators[name] = {
        {"seconds", takes.seconds}, {"calls", takes.calls}, {"class", work_class_key(takes.work)}};
  }
  return {{"step_seconds", sum.seconds}, {"named_share", sum.named_share()},
          {"seconds", classes},          {"collective_seconds", axes},
          {"operators", operators},      {"observer_share", of.observer_share()},
          {"spans", sum.num_spans},      {"recorded_step_seconds", of.recorded_seconds}};
}

nlohmann::json memory_json(const MemoryUse& use) {
  return {{"base", use.base},
          {"adapter", use.adapter},
          {"gradients", use.gradients},
          {"moments", use.moments},
          {"activations", use.activations},
          {"held", use.held},
          {"program", use.program},
          {"resident", use.resident},
          {"resident_peak", use.resident_peak}};
}

nlohmann::json case_json(const BenchCase& of) {
  nlohmann::json ranks = nlohmann::json::array();
  for (const RankSpeed& rank : of.ranks) {
    ranks.push_back({{"step_seconds", rank.step_seconds},
                     {"waited_seconds", rank.waited_seconds},
                     {"product_flops_per_second", rank.rate}});
  }
  return {{"model", of.model},
          {"precision", of.precision},
          {"random_weights", of.has_random_weights},
          {"layout", mesh_text(of.mesh)},
          {"threads", of.num_threads},
          {"step_tokens", of.step_tokens},
          {"step_supervised", of.step_supervised},
          {"micro_steps", of.input.micro_steps},
          {"sequence_tokens", of.input.row_tokens},
          {"step_seconds", spread_json(of.step_seconds)},
          {"tokens_per_second", of.tokens_per_second()},
          {"ranks", ranks},
          {"useful_flops",
           {{"base_forward", of.useful.base_forward},
            {"base_gradient", of.useful.base_gradient},
            {"head", of.useful.head},
            {"base_and_head", of.useful.base_and_head()},
            {"attention", of.useful.attention},
            {"adapters", of.useful.adapters}}},
          {"product_flops_per_second", of.product_rate()},
          {"useful_share", of.useful_share()},
          {"products", products_json(of)},
          {"breakdown", breakdown_json(of)},
          {"traffic_bytes", traffic_json(of.traffic)},
          {"memory_bytes", memory_json(of.memory)}};
}

}  // namespace

double BenchCase::product_rate() const {
  double sum = 0;
  for (const RankSpeed& rank : ranks) sum += rank.rate;
  return sum / static_cast<double>(ranks.size());
}

nlohmann::json bench_json(const BenchReport& report) {
  nlohmann::json json = {{"clock", report.clock == WorkClock::kWall ? "wall" : "cpu"},
                         {"warmup_steps", report.num_warmup},
                         {"first", case_json(report.first)}};
  if (!report.second) return json;
  json["second"] = case_json(*report.second);
  json["ratio"] = {{"second_over_first", report.ratio.ratio},
                   {"low", report.ratio.low},
                   {"high", report.ratio.high}};
  return json;
}

}  // namespace molora
