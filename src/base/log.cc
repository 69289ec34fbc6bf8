#include "base/log.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include "base/relay_mark.h"

namespace molora {

namespace {

// Writes to standard error through spdlog's own coloured sink, with the hooks around each line.
class HookedStderrSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  void set_hooks(const LogLineHooks& hooks) {
    const std::lock_guard<std::mutex> lock(mutex_);
    hooks_ = hooks;
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (hooks_.before != nullptr) hooks_.before(hooks_.owner);
    stderr_sink_.log(message);
    if (hooks_.after != nullptr) hooks_.after(hooks_.owner);
  }
  void flush_() override { stderr_sink_.flush(); }
  void set_pattern_(const std::string& pattern) override { stderr_sink_.set_pattern(pattern); }
  void set_formatter_(std::unique_ptr<spdlog::formatter> formatter) override {
    stderr_sink_.set_formatter(std::move(formatter));
  }

 private:
  spdlog::sinks::stderr_color_sink_st stderr_sink_;
  LogLineHooks hooks_;
};

}  // namespace

namespace {

spdlog::level::level_enum spoken_level(int world_rank, LogVerbosity verbosity) {
  switch (verbosity) {
    case LogVerbosity::kQuiet:
      return spdlog::level::warn;
    case LogVerbosity::kNormal:
      return world_rank == 0 ? spdlog::level::info : spdlog::level::warn;
    case LogVerbosity::kDebug:
      return spdlog::level::debug;
  }
  return spdlog::level::info;
}

// "\x1fq" in front of lines below a level: %* of the pattern.
class MarkFlag : public spdlog::custom_flag_formatter {
 public:
  explicit MarkFlag(spdlog::level::level_enum spoken) : spoken_(spoken) {}
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    if (message.level >= spoken_) return;
    out.append(std::string_view(kRelayedToFileOnly));
  }
  std::unique_ptr<spdlog::custom_flag_formatter> clone() const override {
    return std::make_unique<MarkFlag>(spoken_);
  }

 private:
  spdlog::level::level_enum spoken_;
};

}  // namespace

void setup_logging(int world_rank, int world_size, LogVerbosity verbosity, LogReader reader) {
  auto logger = std::make_shared<spdlog::logger>("molora", std::make_shared<HookedStderrSink>());
  const std::string rank = world_size > 1 ? fmt::format("[rank {}] ", world_rank) : std::string();
  const spdlog::level::level_enum spoken = spoken_level(world_rank, verbosity);
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<MarkFlag>('*', spoken);
  formatter->set_pattern(reader == LogReader::kSupervisor ? "%*%H:%M:%S %l " + rank + "%v"
                                                          : "%H:%M:%S %^%l%$ " + rank + "%v");
  logger->set_formatter(std::move(formatter));
  logger->set_level(reader == LogReader::kSupervisor ? std::min(spoken, spdlog::level::info)
                                                     : spoken);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void set_log_line_hooks(const LogLineHooks& hooks) {
  for (const spdlog::sink_ptr& sink : spdlog::default_logger()->sinks()) {
    if (auto* hooked = dynamic_cast<HookedStderrSink*>(sink.get())) hooked->set_hooks(hooks);
  }
}

}  // namespace molora
