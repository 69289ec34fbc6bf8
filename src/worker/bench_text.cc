// What `molora bench` prints.
#include <algorithm>
#include <string>

#include <fmt/format.h>

#include "base/unit_text.h"
#include "worker/bench_report.h"

namespace molora {

namespace {

constexpr int kTopOperators = 8;

const char* plural(int64_t count) { return count == 1 ? "" : "s"; }

std::string rate_text(double flops_per_second) { return flops_text(flops_per_second) + "/s"; }

std::string row(const std::string& name, const std::string& value, const std::string& note = "") {
  return fmt::format("  {:<30}{:>12}{}{}\n", name, value, note.empty() ? "" : "  ", note);
}

std::string heading(const BenchCase& of, const BenchReport& report) {
  const int world = of.mesh.world();
  std::string text =
      fmt::format("{}, {}{}\n", of.model, of.precision,
                  of.has_random_weights ? ", random weights: the folder has none" : "");
  for (const std::string& line : of.adapters) text += fmt::format("  {}\n", line);
  text +=
      fmt::format("  {} rank{} of {} thread{}{}; times: {}\n", world, plural(world), of.num_threads,
                  plural(of.num_threads), world == 1 ? "" : ", " + mesh_text(of.mesh),
                  report.clock == WorkClock::kWall ? "wall clock" : "processor, of one thread");
  return text + fmt::format(
                    "  a step: {} random tokens ({} in the loss), sequences of {}; "
                    "{} micro-step{}\n",
                    grouped_digits(of.step_tokens), grouped_digits(of.step_supervised),
                    grouped_digits(of.input.row_tokens), of.input.micro_steps,
                    plural(of.input.micro_steps));
}

std::string speed_text(const BenchCase& of, const BenchReport& report) {
  const Spread spread = spread_of(of.step_seconds);
  std::string text = "\nspeed\n";
  text += row("a step", seconds_text(spread.median),
              fmt::format("{} to {}; half in {} to {}", seconds_text(spread.least),
                          seconds_text(spread.most), seconds_text(spread.first_quartile),
                          seconds_text(spread.third_quartile)));
  text += row("", "",
              fmt::format("median of {} step{} after {} to warm up", of.step_seconds.size(),
                          plural(std::ssize(of.step_seconds)), report.num_warmup));
  text += row("tokens a second", fmt::format("{:.4g}", of.tokens_per_second()));
  if (of.ranks.size() < 2) return text;
  std::vector<double> work;
  for (const RankSpeed& rank : of.ranks) work.push_back(rank.step_seconds - rank.waited_seconds);
  const auto slowest = std::max_element(work.begin(), work.end());
  const auto fastest = std::min_element(work.begin(), work.end());
  double sum = 0;
  for (const double seconds : work) sum += seconds;
  return text +
         row("own work of a rank", seconds_text(sum / static_cast<double>(work.size())),
             fmt::format("mean; slowest rank {}: {}, fastest rank {}: {}", slowest - work.begin(),
                         seconds_text(*slowest), fastest - work.begin(), seconds_text(*fastest)));
}

std::string useful_text(const BenchCase& of) {
  const UsefulFlops& flops = of.useful;
  std::string text =
      "\nuseful work of a rank's step (no embedding, nothing below the lowest adapter)\n";
  text += row("base, forward", flops_text(flops.base_forward), "2 P a token");
  text += row("base, input gradients", flops_text(flops.base_gradient), "2 P a token");
  text += row("head, for tokens in the loss", flops_text(flops.head));
  text += row("sum", flops_text(flops.base_and_head()),
              fmt::format("{} of the whole step", rate_text(flops.base_and_head() / of.step())));
  text += row("these products by themselves", rate_text(of.product_rate()),
              "same shapes, types and threads, between the steps");
  text += row("useful share", fmt::format("{:.1f} %", 100 * of.useful_share()),
              "of the step would do, at that rate");
  text += row("besides: attention", flops_text(flops.attention));
  return text + row("besides: adapters and routers", flops_text(flops.adapters));
}

std::string product_table(const BenchCase& of) {
  std::string text =
      fmt::format("\n  {:<30}{:>12}{:>12}{:>14}{:>12}\n", "product", "a step", "each", "rate", "");
  for (const ProductMeter::Measured& measured : of.products) {
    const StepProduct& product = measured.product;
    const bool is_forward = product.kind == ProductKind::kForward;
    const std::string shape =
        fmt::format("[{}, {}] x [{}, {}]", product.rows, is_forward ? product.in : product.out,
                    is_forward ? product.in : product.out, is_forward ? product.out : product.in);
    text += fmt::format(
        "  {:<30}{:>12}{:>12}{:>14}  {}\n", shape, product.count, seconds_text(measured.seconds),
        rate_text(measured.rate()),
        fmt::format("{}{}", product.is_head ? "head, " : "", is_forward ? "forward" : "gradient"));
  }
  return text;
}

std::string share_row(const std::string& name, double seconds, double step) {
  return fmt::format("  {:<30}{:>12}{:>9.1f} %\n", name, seconds_text(std::max(0.0, seconds)),
                     100 * seconds / step);
}

std::string breakdown_text(const BenchCase& of) {
  const Breakdown& sum = of.breakdown;
  std::string text =
      fmt::format("\nwhere a step goes{} ({} recorded; to record costs {:.1f} % more)\n",
                  of.ranks.size() > 1 ? ", mean of the ranks" : "", of.recorded_seconds.size(),
                  100 * of.observer_share());
  for (size_t i = 0; i < kNumWorkClasses; ++i) {
    const auto work = static_cast<WorkClass>(i);
    if (work == WorkClass::kOther || work == WorkClass::kBetween || sum.at(work) == 0) continue;
    text += share_row(work_class_name(work), sum.at(work), sum.seconds);
    if (work != WorkClass::kCollective) continue;
    for (const Axis axis : kAxes) {
      const double seconds = of.axis_seconds.at(static_cast<size_t>(axis));
      if (seconds == 0) continue;
      text +=
          share_row(fmt::format("  {}, waiting with it", axis_name(axis)), seconds, sum.seconds);
    }
  }
  text += share_row("sum of what has a name", sum.named_share() * sum.seconds, sum.seconds);
  if (sum.at(WorkClass::kOther) != 0) {
    text += share_row("rest: in unknown functions", sum.at(WorkClass::kOther), sum.seconds);
  }
  text += share_row("rest: between operators", sum.at(WorkClass::kBetween), sum.seconds);
  return text + share_row("step", sum.seconds, sum.seconds);
}

std::string operator_text(const BenchCase& of) {
  std::vector<std::pair<std::string, Breakdown::Operator>> all(of.breakdown.operators.begin(),
                                                               of.breakdown.operators.end());
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  std::string text = "\nthe operators that take most by themselves, all places together\n";
  for (size_t i = 0; i < std::min<size_t>(all.size(), kTopOperators); ++i) {
    const auto& [name, takes] = all[i];
    text +=
        fmt::format("  {:<46.46}{:>13}{:>9.1f} %{:>8} times\n", name, seconds_text(takes.seconds),
                    100 * takes.seconds / of.breakdown.seconds, takes.calls);
  }
  return text;
}

std::string traffic_text_of(const BenchCase& of) {
  if (of.traffic.total_bytes() == 0) return "";
  std::string text = "\nsent in a step, all ranks together\n";
  for (const Axis axis : kAxes) {
    const uint64_t bytes = of.traffic.bytes(axis);
    if (bytes == 0) continue;
    uint64_t calls = 0;
    for (size_t kind = 0; kind < kNumCollectiveKinds; ++kind) {
      calls += of.traffic.at(axis, static_cast<CollectiveKind>(kind)).calls;
    }
    text += row(axis_name(axis), bytes_text(static_cast<double>(bytes)),
                fmt::format("{} calls", calls));
  }
  return text + row("sum", bytes_text(static_cast<double>(of.traffic.total_bytes())));
}

std::string memory_text(const BenchCase& of) {
  const MemoryUse& use = of.memory;
  std::string text =
      fmt::format("\nmemory{}\n", of.ranks.size() > 1 ? " of the rank with most" : "");
  text += row("base", bytes_text(use.base), "frozen; read in place where the files allow it");
  text += row("adapter", bytes_text(use.adapter));
  text += row("gradients", bytes_text(use.gradients));
  text += row("AdamW moments", bytes_text(use.moments));
  text += row("activations, temporaries", bytes_text(use.activations), "at the most at once");
  if (use.held > 0) text += row("kept by the allocator", bytes_text(use.held), "for the next step");
  text +=
      row("program and libraries", bytes_text(use.program), "resident before the model was read");
  return text + row("resident", bytes_text(use.resident),
                    fmt::format("at the end; at the most {}", bytes_text(use.resident_peak)));
}

std::string ratio_text(const BenchReport& report) {
  return fmt::format(
      "\nB takes {:.3f} x the time of A ({:.3f} .. {:.3f} with 95 % certainty; {} pairs of "
      "steps)\n",
      report.ratio.ratio, report.ratio.low, report.ratio.high, report.first.step_seconds.size());
}

std::string case_text(const BenchCase& of, const BenchReport& report) {
  return heading(of, report) + speed_text(of, report) + useful_text(of) + product_table(of) +
         breakdown_text(of) + operator_text(of) + traffic_text_of(of) + memory_text(of);
}

}  // namespace

std::string bench_text(const BenchReport& report) {
  if (!report.second) return case_text(report.first, report);
  return "A  " + case_text(report.first, report) + "\nB  " + case_text(*report.second, report) +
         ratio_text(report);
}

}  // namespace molora
