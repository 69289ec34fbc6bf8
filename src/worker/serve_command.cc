// The serving command: adapters of one base over HTTP, until a signal asks the server to stop.
#include <fstream>
#include <iterator>
#include <optional>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "serve/http_api.h"
#include "serve/model_steps.h"
#include "serve/scheduler.h"
#include "worker/commands.h"
#include "worker/compute_threads.h"
#include "worker/console.h"
#include "worker/served_models.h"
#include "worker/stop_request.h"
#include "worker/together.h"

namespace molora {

namespace {

// Connections that may be open besides those whose requests run or wait.
constexpr int64_t kSpareThreads = 32;

std::string read_token(const ServeArguments& arguments) {
  if (arguments.token_file.empty()) return arguments.token;
  std::ifstream file(arguments.token_file);
  if (!file) throw IoError(arguments.token_file + ": cannot be opened");
  std::string token{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const size_t last = token.find_last_not_of(" \t\r\n");
  if (last == std::string::npos) {
    throw ConfigError(arguments.token_file + ": expected a token, the file is empty");
  }
  return token.substr(0, last + 1);
}

HttpApiOptions api_options(const ServeArguments& arguments) {
  HttpApiOptions options;
  options.host = arguments.host;
  options.port = arguments.port;
  options.token = read_token(arguments);
  options.max_request_bytes = arguments.max_request_bytes;
  options.answer_time = std::chrono::seconds(arguments.timeout_s);
  options.limits = {arguments.max_new_tokens, arguments.max_choices};
  options.num_threads =
      static_cast<size_t>(arguments.max_batch + arguments.max_waiting + kSpareThreads);
  return options;
}

void tell_where(const ServeArguments& arguments, const std::vector<ServedModel>& models, int port) {
  std::vector<std::string> names;
  for (const ServedModel& model : models) names.push_back(model.name);
  const bool is_v6 = arguments.host.find(':') != std::string::npos;
  print(fmt::format("serving {} on http://{}:{}/v1\n", fmt::join(names, ", "),
                    is_v6 ? fmt::format("[{}]", arguments.host) : arguments.host, port));
}

// Whatever ends the serving: what is still under way is told, and no thread of the server goes on.
class ServingEnd {
 public:
  ServingEnd(Scheduler& scheduler, HttpApi& api) : scheduler_(scheduler), api_(api) {}
  ~ServingEnd() {
    scheduler_.fail_all(RequestError(503, "the server has stopped before the end of this answer",
                                     {"", "stopping"}));
    api_.finish();
  }
  ServingEnd(const ServingEnd&) = delete;
  ServingEnd& operator=(const ServingEnd&) = delete;
  ServingEnd(ServingEnd&&) = delete;
  ServingEnd& operator=(ServingEnd&&) = delete;

 private:
  Scheduler& scheduler_;
  HttpApi& api_;
};

// Asked once a step; says once that it was so.
bool is_asked_to_stop(bool& was_asked) {
  if (!was_asked && is_stop_requested()) {
    was_asked = true;
    spdlog::info("asked to stop: finishing what is under way, taking nothing new");
  }
  return was_asked;
}

void serve(const ServeArguments& arguments, const ServedModels& served, Communicator& world) {
  ModelSteps steps(served.networks(), world);
  std::optional<Scheduler> scheduler;
  std::optional<HttpApi> api;
  together(world, [&] {
    if (world.rank() != 0) return;
    scheduler.emplace(served.models().size(),
                      WorkLimits{arguments.max_batch, arguments.max_waiting});
    api.emplace(api_options(arguments), served.models(), *scheduler);
    tell_where(arguments, served.models(), api->start());
  });
  if (world.rank() != 0) return steps.follow();
  const ServingEnd end(*scheduler, *api);
  bool was_asked = false;
  steps.lead(*scheduler, {[&was_asked] { return is_asked_to_stop(was_asked); },
                          std::chrono::seconds(arguments.grace_s)});
}

// What needs no model to be refused.
void check(const ServeArguments& arguments) {
  (void)named_paths(arguments);
  check_address(api_options(arguments));
}

}  // namespace

ExitCode run_serve(const ServeArguments& arguments, Communicator& world) {
  install_stop_handlers(StopNotice::kSilent);
  set_compute_threads(world);
  together(world, [&] {
    if (world.rank() == 0) check(arguments);
  });
  const ServedModels served(arguments, world);
  serve(arguments, served, world);
  return ExitCode::kDone;
}

}  // namespace molora
