#include "profile/chrome_trace.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "profile/work_class.h"

namespace molora {

namespace {

std::string quoted(const std::string& text) { return nlohmann::json(text).dump(); }

double microseconds(int64_t ns) { return static_cast<double>(ns) * 1e-3; }

const char* category(SpanKind kind) {
  switch (kind) {
    case SpanKind::kOperator:
      return "operator";
    case SpanKind::kBackwardNode:
      return "backward";
    case SpanKind::kPlace:
      return "place";
    case SpanKind::kCollective:
      return "collective";
  }
  return "";
}

std::string shown_name(const Span& span) {
  if (span.kind == SpanKind::kCollective) return fmt::format("{} over {}", span.name, span.group);
  if (span.kind != SpanKind::kPlace || span.layer == WorkPlace::kNoLayer) return span.name;
  return place_text({span.layer, Direction::kNone, span.name});
}

std::string arguments(const Span& span, WorkClass work) {
  std::string text = fmt::format("\"class\":\"{}\"", work_class_key(work));
  if (span.kind == SpanKind::kCollective) text += fmt::format(",\"bytes\":{}", span.bytes);
  if (span.layer != WorkPlace::kNoLayer) text += fmt::format(",\"layer\":{}", span.layer);
  return text;
}

std::string metadata(const char* what, int rank, size_t thread, const std::string& name) {
  return fmt::format(R"({{"ph":"M","name":"{}","pid":{},"tid":{},"args":{{"name":{}}}}})", what,
                     rank, thread, quoted(name));
}

}  // namespace

std::string chrome_events(const WorkRecording& recording, const TraceRank& rank, int64_t step) {
  std::string text =
      metadata("process_name", rank.rank, 0, fmt::format("rank {} ({})", rank.rank, rank.host));
  text += fmt::format(R"(,
{{"ph":"X","name":"step {}","cat":"step","pid":{},"tid":0,"ts":{:.3f},"dur":{:.3f},"args":{{}}}})",
                      step, rank.rank, microseconds(recording.begin_ns + rank.offset_ns),
                      microseconds(recording.duration_ns()));
  for (size_t thread = 0; thread < recording.tracks.size(); ++thread) {
    const WorkTrack& track = recording.tracks[thread];
    text += ",\n" + metadata("thread_name", rank.rank, thread,
                             thread == 0 ? "training" : fmt::format("backward {}", thread));
    const std::vector<WorkClass> classes = classes_of(track);
    for (size_t i = 0; i < track.spans.size(); ++i) {
      const Span& span = track.spans[i];
      text += fmt::format(
          ",\n"
          R"({{"ph":"X","name":{},"cat":"{}","pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f},"args":{{{}}}}})",
          quoted(shown_name(span)), category(span.kind), rank.rank, thread,
          microseconds(span.begin_ns + rank.offset_ns), microseconds(span.duration_ns()),
          arguments(span, classes[i]));
    }
  }
  return text;
}

std::string chrome_trace_begin() { return "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"; }

std::string chrome_trace_end() { return "\n]}\n"; }

}  // namespace molora
