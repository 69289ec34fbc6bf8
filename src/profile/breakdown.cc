#include "profile/breakdown.h"

#include <algorithm>

#include "base/check.h"

namespace molora {

namespace {

constexpr double kSecond = 1e-9;  // of a nanosecond

void add_span(const Span& span, WorkClass work, double self, Breakdown& sum) {
  sum.by_class.at(static_cast<size_t>(work)) += self;
  if (span.kind == SpanKind::kCollective) sum.collectives[span.group] += self;
  if (span.kind == SpanKind::kPlace) return;
  Breakdown::Operator& of = sum.operators[span.name];
  of.seconds += self;
  of.calls += 1;
  of.work = work;
}

}  // namespace

std::vector<int64_t> self_times_ns(const WorkTrack& track) {
  std::vector<int64_t> times;
  times.reserve(track.spans.size());
  for (const Span& span : track.spans) {
    times.push_back(span.duration_ns());
    if (span.parent != Span::kNoParent) {
      times[static_cast<size_t>(span.parent)] -= span.duration_ns();
    }
  }
  return times;
}

double Breakdown::named_share() const {
  return 1.0 - (at(WorkClass::kOther) + at(WorkClass::kBetween)) / seconds;
}

Breakdown breakdown_of(const WorkRecording& recording) {
  Breakdown sum;
  sum.seconds = static_cast<double>(recording.duration_ns()) * kSecond;
  double in_spans = 0;
  for (const WorkTrack& track : recording.tracks) {
    const std::vector<int64_t> self = self_times_ns(track);
    const std::vector<WorkClass> classes = classes_of(track);
    for (size_t i = 0; i < track.spans.size(); ++i) {
      const double seconds = static_cast<double>(self[i]) * kSecond;
      add_span(track.spans[i], classes[i], seconds, sum);
      in_spans += seconds;
    }
    sum.num_spans += std::ssize(track.spans);
  }
  sum.by_class.at(static_cast<size_t>(WorkClass::kBetween)) += sum.seconds - in_spans;
  return sum;
}

Breakdown mean_breakdown(const std::vector<WorkRecording>& recordings) {
  MOLORA_CHECK(!recordings.empty());
  const double share = 1.0 / static_cast<double>(recordings.size());
  Breakdown mean;
  for (const WorkRecording& recording : recordings) {
    const Breakdown one = breakdown_of(recording);
    mean.seconds += one.seconds * share;
    mean.num_spans += one.num_spans;
    for (size_t i = 0; i < kNumWorkClasses; ++i) mean.by_class.at(i) += one.by_class.at(i) * share;
    for (const auto& [group, seconds] : one.collectives) {
      mean.collectives[group] += seconds * share;
    }
    for (const auto& [name, of] : one.operators) {
      Breakdown::Operator& sum = mean.operators[name];
      sum.seconds += of.seconds * share;
      sum.calls += of.calls;
      sum.work = of.work;
    }
  }
  const auto count = std::ssize(recordings);
  mean.num_spans /= count;
  for (auto& [name, of] : mean.operators) of.calls /= count;
  return mean;
}

}  // namespace molora
