#include "profile/breakdown.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include "profile/work_recorder.h"
#include "watch/work_observer.h"

namespace molora {
namespace {

// A track by hand: each span with its parent, times in nanoseconds.
struct HandSpan {
  const char* name;
  int32_t parent;
  int64_t begin;
  int64_t end;
  SpanKind kind = SpanKind::kOperator;
  bool has_trained_factor = false;
  int64_t sequence_nr = -1;
};

WorkTrack track_of(const std::vector<HandSpan>& spans) {
  WorkTrack track;
  for (const HandSpan& from : spans) {
    Span& span = track.spans.emplace_back();
    span.name = from.name;
    span.parent = from.parent;
    span.begin_ns = from.begin;
    span.end_ns = from.end;
    span.kind = from.kind;
    span.has_trained_factor = from.has_trained_factor;
    span.sequence_nr = from.sequence_nr;
  }
  return track;
}

WorkRecording recording_of(const std::vector<HandSpan>& spans, int64_t begin, int64_t end) {
  WorkRecording recording;
  recording.begin_ns = begin;
  recording.end_ns = end;
  recording.tracks.push_back(track_of(spans));
  return recording;
}

WorkClass only_class(const HandSpan& span) { return classes_of(track_of({span})).front(); }

TEST(SelfTimes, AreWhatTheSpansInsideLeave) {
  const WorkTrack track =
      track_of({{"a", -1, 0, 100}, {"b", 0, 10, 60}, {"c", 1, 20, 30}, {"d", 0, 70, 75}});
  EXPECT_EQ(self_times_ns(track), (std::vector<int64_t>{45, 40, 10, 5}));
}

TEST(Breakdown, AddsUpToTheStep) {
  const Breakdown sum = breakdown_of(recording_of({{"molora::step.update", -1, 100, 300},
                                                   {"aten::mul", 0, 150, 250},
                                                   {"aten::mm", -1, 400, 900}},
                                                  0, 1000));
  EXPECT_DOUBLE_EQ(sum.seconds, 1e-6);
  EXPECT_DOUBLE_EQ(sum.at(WorkClass::kOptimizer), 200e-9);
  EXPECT_DOUBLE_EQ(sum.at(WorkClass::kBaseForward), 500e-9);
  EXPECT_DOUBLE_EQ(sum.at(WorkClass::kBetween), 300e-9);
  EXPECT_NEAR(sum.named_share(), 0.7, 1e-12);
  double all = 0;
  for (const double seconds : sum.by_class) all += seconds;
  EXPECT_DOUBLE_EQ(all, sum.seconds);
}

TEST(Breakdown, CountsCollectivesByGroup) {
  WorkRecording recording =
      recording_of({{"all_gather", -1, 0, 30, SpanKind::kCollective},
                    {"all_to_all", -1, 30, 50, SpanKind::kCollective},
                    {"wait for all_to_all", -1, 60, 100, SpanKind::kCollective}},
                   0, 100);
  recording.tracks[0].spans[0].group = "dp";
  recording.tracks[0].spans[1].group = "tp";
  recording.tracks[0].spans[2].group = "tp";
  const Breakdown sum = breakdown_of(recording);
  EXPECT_DOUBLE_EQ(sum.collectives.at("dp"), 30e-9);
  EXPECT_DOUBLE_EQ(sum.collectives.at("tp"), 60e-9);
  EXPECT_DOUBLE_EQ(sum.at(WorkClass::kCollective), 90e-9);
}

TEST(Breakdown, OfSeveralStepsIsTheirMean) {
  std::vector<WorkRecording> recordings;
  recordings.push_back(recording_of({{"aten::mul", -1, 0, 10}}, 0, 20));
  recordings.push_back(recording_of({{"aten::mul", -1, 0, 30}}, 0, 40));
  const Breakdown mean = mean_breakdown(recordings);
  EXPECT_DOUBLE_EQ(mean.seconds, 30e-9);
  EXPECT_DOUBLE_EQ(mean.at(WorkClass::kElementwise), 20e-9);
  EXPECT_EQ(mean.operators.at("aten::mul").calls, 1);
}

TEST(WorkClass, OfMarkedFunctionsIsThatOfTheirName) {
  EXPECT_EQ(only_class({"molora::frozen_product", -1, 0, 1}), WorkClass::kBaseForward);
  EXPECT_EQ(only_class({"molora::add_input_gradient", -1, 0, 1}), WorkClass::kBaseGradient);
  EXPECT_EQ(only_class({"molora::project_down", -1, 0, 1}), WorkClass::kAdapterForward);
  EXPECT_EQ(only_class({"molora::add_up_backward", -1, 0, 1}), WorkClass::kAdapterGradient);
  EXPECT_EQ(only_class({"molora::trained_product_backward", -1, 0, 1}),
            WorkClass::kAdapterGradient);
  EXPECT_EQ(only_class({"molora::route", -1, 0, 1}), WorkClass::kRouting);
  EXPECT_EQ(only_class({"molora::attend", -1, 0, 1}), WorkClass::kAttention);
  EXPECT_EQ(only_class({"molora::rms_norm_backward", -1, 0, 1}), WorkClass::kElementwise);
  EXPECT_EQ(only_class({"molora::step.batch", -1, 0, 1}), WorkClass::kData);
  EXPECT_EQ(only_class({"molora::something_new", -1, 0, 1}), WorkClass::kOther);
}

TEST(WorkClass, OfOperatorsIsThatOfTheMarkedFunctionAround) {
  EXPECT_EQ(classes_of(track_of({{"molora::route", -1, 0, 9}, {"aten::linear", 0, 1, 8}}))[1],
            WorkClass::kRouting);
  EXPECT_EQ(classes_of(track_of(
                {{"molora::step.loss", -1, 0, 9}, {"molora::frozen_product", 0, 1, 8}}))[1],
            WorkClass::kHead);
}

TEST(WorkClass, OfAMatrixProductIsThatOfItsSecondFactor) {
  EXPECT_EQ(only_class({"aten::linear", -1, 0, 1}), WorkClass::kBaseForward);
  EXPECT_EQ(only_class({"aten::addmm", -1, 0, 1, SpanKind::kOperator, true}),
            WorkClass::kAdapterForward);
}

TEST(WorkClass, OfABackwardNodeIsThatOfItsForwardOperator) {
  const std::vector<WorkClass> classes =
      classes_of(track_of({{"molora::step.forward", -1, 0, 50},
                           {"aten::linear", 0, 0, 10, SpanKind::kOperator, false, 4},
                           {"molora::attend", 0, 10, 20},
                           {"aten::transpose", 2, 11, 12, SpanKind::kOperator, false, 5},
                           {"aten::addmm", 0, 20, 30, SpanKind::kOperator, true, 6},
                           {"molora::step.backward", -1, 50, 99},
                           {"MmBackward0", 5, 60, 70, SpanKind::kBackwardNode, false, 4},
                           {"aten::mm", 6, 61, 69},
                           {"TransposeBackward0", 5, 70, 80, SpanKind::kBackwardNode, false, 5},
                           {"AddmmBackward0", 5, 80, 90, SpanKind::kBackwardNode, false, 6}}));
  EXPECT_EQ(classes[5], WorkClass::kBetween);
  EXPECT_EQ(classes[6], WorkClass::kBaseGradient);
  EXPECT_EQ(classes[7], WorkClass::kBaseGradient);
  EXPECT_EQ(classes[8], WorkClass::kAttention);
  EXPECT_EQ(classes[9], WorkClass::kAdapterGradient);
}

TEST(WorkClass, OfTheEngineIsThatOfTheNodeItWorksFor) {
  const std::vector<WorkClass> classes =
      classes_of(track_of({{"aten::linear", -1, 0, 10, SpanKind::kOperator, false, 4},
                           {"autograd::engine::evaluate_function: MmBackward0", -1, 10, 40},
                           {"MmBackward0", 1, 11, 30, SpanKind::kBackwardNode, false, 4},
                           {"aten::add_", 1, 31, 39}}));
  EXPECT_EQ(classes[1], WorkClass::kBaseGradient);
  EXPECT_EQ(classes[2], WorkClass::kBaseGradient);
  EXPECT_EQ(classes[3], WorkClass::kBaseGradient);
}

TEST(WorkClass, OfACollectiveIsThatWhereverItLies) {
  const std::vector<WorkClass> classes =
      classes_of(track_of({{"norms", -1, 0, 9, SpanKind::kPlace},
                           {"aten::sum", 0, 1, 2},
                           {"all_gather", 0, 3, 4, SpanKind::kCollective}}));
  EXPECT_EQ(classes[0], WorkClass::kOptimizer);
  EXPECT_EQ(classes[1], WorkClass::kOptimizer);
  EXPECT_EQ(classes[2], WorkClass::kCollective);
}

TEST(WorkClass, TellsBaseFromAdaptersInARealPass) {
  const at::Tensor x = at::ones({3, 4}).requires_grad_();
  const at::Tensor frozen = at::ones({5, 4});
  const at::Tensor trained = at::ones({4, 5}).requires_grad_();
  WorkRecorder recorder(WorkClock::kWall);
  recorder.start();
  (at::linear(x, frozen) + at::mm(x, trained)).sum().backward();
  const WorkRecording recording = recorder.stop();
  const std::vector<WorkClass> classes = classes_of(recording.tracks[0]);
  int64_t num_base = 0;
  int64_t num_adapter = 0;
  for (size_t i = 0; i < classes.size(); ++i) {
    const Span& span = recording.tracks[0].spans[i];
    if (std::string_view(span.name) != "aten::mm" || span.sequence_nr >= 0) continue;
    num_base += classes[i] == WorkClass::kBaseGradient ? 1 : 0;
    num_adapter += classes[i] == WorkClass::kAdapterGradient ? 1 : 0;
  }
  EXPECT_EQ(num_base, 1);     // d_out W
  EXPECT_EQ(num_adapter, 2);  // d_out A^T and x^T d_out
}

}  // namespace
}  // namespace molora
