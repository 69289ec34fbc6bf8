#include "base/log.h"

#include <memory>
#include <mutex>
#include <string>

#include <fmt/format.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>

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

void setup_logging(int world_rank, int world_size, LogVerbosity verbosity) {
  auto logger = std::make_shared<spdlog::logger>("molora", std::make_shared<HookedStderrSink>());
  logger->set_pattern(world_size > 1 ? fmt::format("%H:%M:%S %^%l%$ [rank {}] %v", world_rank)
                                     : "%H:%M:%S %^%l%$ %v");
  switch (verbosity) {
    case LogVerbosity::kQuiet:
      logger->set_level(spdlog::level::warn);
      break;
    case LogVerbosity::kNormal:
      logger->set_level(world_rank == 0 ? spdlog::level::info : spdlog::level::warn);
      break;
    case LogVerbosity::kDebug:
      logger->set_level(spdlog::level::debug);
      break;
  }
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void set_log_line_hooks(const LogLineHooks& hooks) {
  for (const spdlog::sink_ptr& sink : spdlog::default_logger()->sinks()) {
    if (auto* hooked = dynamic_cast<HookedStderrSink*>(sink.get())) hooked->set_hooks(hooks);
  }
}

}  // namespace molora
