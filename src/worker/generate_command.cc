// The generation command: answers of a run, a checkpoint or the base, without a task label.
#include <fstream>
#include <iostream>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "generate/generator.h"
#include "tokenizer/stream_decoder.h"
#include "worker/adapted_session.h"
#include "worker/commands.h"
#include "worker/compute_threads.h"
#include "worker/console.h"
#include "worker/together.h"

namespace molora {

namespace {

std::vector<std::string> read_lines(std::istream& stream) {
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

std::vector<std::string> read_prompts(const GenerateArguments& arguments) {
  if (!arguments.prompts.empty()) return arguments.prompts;
  std::vector<std::string> prompts;
  if (arguments.prompts_file.empty() || arguments.prompts_file == "-") {
    prompts = read_lines(std::cin);
  } else {
    std::ifstream file(arguments.prompts_file);
    if (!file) throw IoError(arguments.prompts_file + ": cannot be opened");
    prompts = read_lines(file);
  }
  if (prompts.empty()) throw ConfigError("there is no prompt: give --prompt TEXT, or one per line");
  return prompts;
}

std::vector<int32_t> encode_prompt(const std::string& prompt, const GenerateArguments& arguments,
                                   const ModelSession& session) {
  std::vector<int32_t> ids = arguments.is_raw
                                 ? session.tokenizer().encode_with_special(prompt)
                                 : session.chat_template().encode_prompt({{Role::kUser, prompt}});
  const int64_t limit = session.architecture().max_position;
  if (ids.empty() || static_cast<int64_t>(ids.size()) >= limit) {
    throw ConfigError(fmt::format("the prompt '{}...' has {} tokens; this model takes 1 to {}",
                                  prompt.substr(0, 40), ids.size(), limit - 1));
  }
  return ids;
}

// Prints the answers as they grow: the only one at once, of several each when its turn has come,
// so that lines never mix.
class AnswerPrinter {
 public:
  AnswerPrinter(const Tokenizer& tokenizer, const std::vector<std::string>& prompts)
      : prompts_(prompts) {
    for (size_t i = 0; i < prompts.size(); ++i) {
      decoders_.push_back(tokenizer.stream_decoder({.skip_special = true}));
    }
    waiting_.resize(prompts.size());
  }

  void token(size_t answer, int32_t id) {
    const std::string text = decoders_[answer]->feed(id);
    if (prompts_.size() == 1) {
      print(text);
    } else {
      waiting_[answer] += text;
    }
  }

  void finish(const std::vector<Generated>& answers) {
    for (size_t i = 0; i < prompts_.size(); ++i) {
      if (prompts_.size() > 1) print(fmt::format("### {}\n{}", prompts_[i], waiting_[i]));
      print(decoders_[i]->finish() + "\n");
      if (answers[i].end == GenerationEnd::kModelLimit) {
        spdlog::warn("the answer ends at the model's largest position");
      } else if (answers[i].end == GenerationEnd::kMaxNewTokens) {
        spdlog::info("the answer was cut at {} tokens (--max-new-tokens)", answers[i].ids.size());
      }
    }
  }

 private:
  const std::vector<std::string>& prompts_;
  std::vector<std::unique_ptr<StreamDecoder>> decoders_;
  std::vector<std::string> waiting_;
};

// Prompts and their tokens, the same on every rank; read by rank 0.
struct Prompts {
  std::vector<std::string> texts;
  std::vector<std::vector<int32_t>> encoded;
};

Prompts share_prompts(const GenerateArguments& arguments, const ModelSession& session,
                      Communicator& world) {
  const std::string text = on_rank_zero(world, [&] {
    nlohmann::json list = nlohmann::json::array();
    for (const std::string& prompt : read_prompts(arguments)) {
      list.push_back({{"text", prompt}, {"ids", encode_prompt(prompt, arguments, session)}});
    }
    return list.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  });
  Prompts prompts;
  for (const auto& prompt : nlohmann::json::parse(text)) {
    prompts.texts.push_back(prompt.at("text").get<std::string>());
    prompts.encoded.push_back(prompt.at("ids").get<std::vector<int32_t>>());
  }
  return prompts;
}

// Throws: ConfigError when a task is named and nothing asks for it, or the other way round.
int64_t task_number(const GenerateArguments& arguments, const ModelSession& session) {
  const int64_t task = session.model().adapters().task_number(arguments.task);
  if (task != kNoTask || arguments.task.empty()) return task;
  throw ConfigError(
      "--task is for adapters that route by task (adapter.router.input: task); this one reads the "
      "tokens alone: leave it out");
}

// One tp group answers; the others help where experts lie across them. Every rank of the group
// comes to the same tokens, rank 0 prints them.
void generate_answers(const GenerateArguments& arguments, const ModelSession& session,
                      Communicator& world) {
  const Prompts prompts = share_prompts(arguments, session, world);
  if (session.mesh().dp_rank() == 0) {
    GenerationOptions options;
    options.sampling = {arguments.temperature, arguments.top_k, arguments.top_p, arguments.seed};
    options.max_new_tokens = arguments.max_new_tokens;
    options.task = task_number(arguments, session);
    options.stop_ids = session.chat_template().stop_ids();
    const auto& eos = session.architecture().eos_ids;
    options.stop_ids.insert(options.stop_ids.end(), eos.begin(), eos.end());
    if (world.rank() == 0) {
      AnswerPrinter printer(session.tokenizer(), prompts.texts);
      printer.finish(generate(session.model(), prompts.encoded, options,
                              [&](size_t answer, int32_t id) { printer.token(answer, id); }));
    } else {
      (void)generate(session.model(), prompts.encoded, options);
    }
  }
  session.model().join_others();
}

}  // namespace

ExitCode run_generate(const GenerateArguments& arguments, Communicator& world) {
  set_compute_threads(world);
  AdaptedSession adapted(resolve_model(arguments.model, world), world);
  generate_answers(arguments, adapted.session(), world);
  return ExitCode::kDone;
}

}  // namespace molora
