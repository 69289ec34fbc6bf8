#include "worker/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/expect_throw.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::variant<CommandLine, CommandLineText> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "molora");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data());
}

CommandLine line(std::vector<const char*> arguments) {
  return std::get<CommandLine>(parse(std::move(arguments)));
}

TEST(CommandLine, TrainTakesFilesOverridesRanksAndResume) {
  const CommandLine parsed = line({"train", "a.yaml", "b.yaml", "--set", "seed=3", "--set",
                                   "train.max_steps=5", "--ranks", "4", "--resume", "none"});
  const auto& train = std::get<TrainArguments>(parsed.command);
  EXPECT_THAT(train.config.files, ElementsAre("a.yaml", "b.yaml"));
  EXPECT_THAT(train.config.overrides, ElementsAre("seed=3", "train.max_steps=5"));
  EXPECT_EQ(train.resume, "none");
  EXPECT_FALSE(train.is_dry_run);
  EXPECT_EQ(train.progress, ProgressStyle::kAuto);
  EXPECT_EQ(parsed.launch.num_ranks, 4);
}

TEST(CommandLine, TrainTakesWhereItRuns) {
  const CommandLine parsed =
      line({"train", "a.yaml", "--hosts", "a:4,b:4", "--hostfile", "hosts", "--launcher", "mpirun",
            "--launcher-arg=--mca", "--launcher-arg", "x", "--print-command"});
  EXPECT_EQ(parsed.launch.hosts, "a:4,b:4");
  EXPECT_EQ(parsed.launch.hostfile, "hosts");
  EXPECT_EQ(parsed.launch.launcher, LaunchOptions::Launcher::kMpirun);
  EXPECT_THAT(parsed.launch.launcher_arguments, ElementsAre("--mca", "x"));
  EXPECT_TRUE(parsed.is_print_command);
  const CommandLine plain = line({"train", "a.yaml"});
  EXPECT_EQ(plain.launch.num_ranks, 0);
  EXPECT_EQ(plain.launch.launcher, LaunchOptions::Launcher::kAuto);
  EXPECT_FALSE(plain.is_print_command);
}

TEST(CommandLine, ServeTakesAdaptersWhereToListenAndLimits) {
  const CommandLine parsed = line({"serve",
                                   "runs/a",
                                   "runs/b",
                                   "--name",
                                   "c=runs/x",
                                   "--set",
                                   "model.path=m",
                                   "--host",
                                   "::1",
                                   "--port",
                                   "0",
                                   "--token-file",
                                   "t",
                                   "--base-name",
                                   "plain",
                                   "--max-batch",
                                   "4",
                                   "--max-waiting",
                                   "0",
                                   "--max-new-tokens",
                                   "7",
                                   "--max-request-bytes",
                                   "99",
                                   "--timeout",
                                   "5",
                                   "--grace",
                                   "0",
                                   "--max-choices",
                                   "2",
                                   "--ranks",
                                   "2"});
  const auto& serve = std::get<ServeArguments>(parsed.command);
  EXPECT_THAT(serve.paths, ElementsAre("runs/a", "runs/b"));
  EXPECT_THAT(serve.named_paths, ElementsAre("c=runs/x"));
  EXPECT_THAT(serve.overrides, ElementsAre("model.path=m"));
  EXPECT_EQ(serve.host, "::1");
  EXPECT_EQ(serve.port, 0);
  EXPECT_EQ(serve.token_file, "t");
  EXPECT_EQ(serve.base_name, "plain");
  EXPECT_EQ(serve.max_batch, 4);
  EXPECT_EQ(serve.max_waiting, 0);
  EXPECT_EQ(serve.max_choices, 2);
  EXPECT_EQ(serve.max_new_tokens, 7);
  EXPECT_EQ(serve.max_request_bytes, 99);
  EXPECT_EQ(serve.timeout_s, 5);
  EXPECT_EQ(serve.grace_s, 0);
  EXPECT_EQ(parsed.launch.num_ranks, 2);
  EXPECT_THROW_WITH((void)line({"serve", "a", "--token", "x", "--token-file", "y"}), ConfigError,
                    "--token");
  EXPECT_THROW_WITH((void)line({"serve", "a", "--max-batch", "0"}), ConfigError, "--max-batch");
}

TEST(CommandLine, BenchTakesWhatIsMeasuredAndHow) {
  const CommandLine parsed = line({"bench",
                                   "a.yaml",
                                   "--set",
                                   "seed=3",
                                   "--steps",
                                   "7",
                                   "--warmup",
                                   "1",
                                   "--supervised",
                                   "0.5",
                                   "--sequences-per-row",
                                   "4",
                                   "--clock",
                                   "cpu",
                                   "--against",
                                   "b.yaml",
                                   "--against-set",
                                   "seed=4",
                                   "--json",
                                   "out.json",
                                   "--trace",
                                   "t.json",
                                   "--ranks",
                                   "2"});
  const auto& bench = std::get<BenchArguments>(parsed.command);
  EXPECT_THAT(bench.config.files, ElementsAre("a.yaml"));
  EXPECT_THAT(bench.config.overrides, ElementsAre("seed=3"));
  EXPECT_EQ(bench.num_steps, 7);
  EXPECT_EQ(bench.num_warmup, 1);
  EXPECT_EQ(bench.supervised, 0.5);
  EXPECT_EQ(bench.sequences_per_row, 4);
  EXPECT_EQ(bench.clock, WorkClock::kThreadCpu);
  EXPECT_THAT(bench.against.files, ElementsAre("b.yaml"));
  EXPECT_THAT(bench.against.overrides, ElementsAre("seed=4"));
  EXPECT_EQ(bench.json_path, "out.json");
  EXPECT_EQ(bench.trace_path, "t.json");
  EXPECT_EQ(parsed.launch.num_ranks, 2);
}

TEST(CommandLine, BenchNeedsNoConfigurationToCalibrate) {
  const CommandLine parsed = line({"bench", "--calibrate", "here.yaml"});
  EXPECT_EQ(std::get<BenchArguments>(parsed.command).calibrate_path, "here.yaml");
}

TEST(CommandLine, TheLastResumeCounts) {
  const CommandLine parsed = line({"train", "a.yaml", "--resume", "none", "--resume", "auto"});
  EXPECT_EQ(std::get<TrainArguments>(parsed.command).resume, "auto");
}

TEST(CommandLine, TheLastProgressStyleCounts) {
  const CommandLine parsed = line({"train", "a.yaml", "--progress", "auto", "--progress", "bar"});
  EXPECT_EQ(std::get<TrainArguments>(parsed.command).progress, ProgressStyle::kBar);
}

TEST(CommandLine, AnOptionTakesOneValueAndFilesMayFollow) {
  const CommandLine parsed = line({"train", "--set", "seed=3", "a.yaml", "b.yaml"});
  const auto& train = std::get<TrainArguments>(parsed.command);
  EXPECT_THAT(train.config.files, ElementsAre("a.yaml", "b.yaml"));
  EXPECT_THAT(train.config.overrides, ElementsAre("seed=3"));
  const auto generate =
      std::get<GenerateArguments>(line({"generate", "-p", "one", "runs/x", "-p", "two"}).command);
  EXPECT_THAT(generate.model.paths, ElementsAre("runs/x"));
  EXPECT_THAT(generate.prompts, ElementsAre("one", "two"));
}

TEST(CommandLine, EvalComparesWithOneOrTwoWithEachOther) {
  const auto with = std::get<EvalArguments>(
      line({"eval", "runs/x", "--compare", "base", "--answers", "biased", "--parity"}).command);
  EXPECT_THAT(with.model.paths, ElementsAre("runs/x"));
  EXPECT_THAT(with.compare, ElementsAre("base"));
  EXPECT_EQ(with.answers, AnswerWay::kBiased);
  EXPECT_EQ(with.reading, AnswerReading::kParity);
  const auto two =
      std::get<EvalArguments>(line({"eval", "--compare", "a.jsonl", "b.jsonl"}).command);
  EXPECT_TRUE(two.model.paths.empty());
  EXPECT_THAT(two.compare, ElementsAre("a.jsonl", "b.jsonl"));
  EXPECT_EQ(two.answers, AnswerWay::kLikelihood);
  EXPECT_EQ(two.reading, AnswerReading::kStrict);
  EXPECT_THROW_WITH(line({"eval"}), ConfigError, "eval: name a run folder");
  EXPECT_THROW_WITH(line({"eval", "--compare", "a"}), ConfigError, "two things after --compare");
  EXPECT_THROW_WITH(line({"eval", "x", "--compare", "a", "b"}), ConfigError, "make three");
  EXPECT_THROW_WITH(line({"eval", "x", "--compare", "a", "--items", "i"}), ConfigError,
                    "--items writes one evaluation");
  EXPECT_THROW_WITH(line({"eval", "x", "--answers", "guess"}), ConfigError, "--answers");
}

TEST(CommandLine, EvalAndGenerateTakeAModelAndTheirOptions) {
  const auto eval = std::get<EvalArguments>(
      line({"eval", "runs/x", "--data", "d.jsonl", "--generate", "8", "--base"}).command);
  EXPECT_THAT(eval.model.paths, ElementsAre("runs/x"));
  EXPECT_THAT(eval.data, ElementsAre("d.jsonl"));
  EXPECT_EQ(eval.max_new_tokens, 8);
  EXPECT_EQ(eval.max_samples_per_task, -1);
  EXPECT_TRUE(eval.model.use_base);
  const auto generate = std::get<GenerateArguments>(
      line({"generate", "runs/x", "-p", "a b", "-p", "c", "--temperature", "0.7", "--top-k", "40",
            "--top-p", "0.9", "--seed", "9"})
          .command);
  EXPECT_THAT(generate.prompts, ElementsAre("a b", "c"));
  EXPECT_EQ(generate.temperature, 0.7);
  EXPECT_EQ(generate.top_k, 40);
  EXPECT_EQ(generate.top_p, 0.9);
  EXPECT_EQ(generate.seed, 9u);
  EXPECT_EQ(generate.max_new_tokens, 256);
}

TEST(CommandLine, PlanTakesRanksThatItDoesNotStart) {
  const CommandLine parsed =
      line({"plan", "a.yaml", "b.yaml", "--set", "model.path=m", "--ranks", "64", "--tokens",
            "4096", "--memory", "72.5", "--speeds", "nvlink", "--json", "plan.json"});
  const auto& plan = std::get<PlanArguments>(parsed.command);
  EXPECT_THAT(plan.config.files, ElementsAre("a.yaml", "b.yaml"));
  EXPECT_THAT(plan.config.overrides, ElementsAre("model.path=m"));
  EXPECT_EQ(plan.num_ranks, 64);
  EXPECT_EQ(plan.tokens, 4096);
  EXPECT_EQ(plan.memory_gib, 72.5);
  EXPECT_EQ(plan.speeds, PlanSpeeds::kNvlink);
  EXPECT_EQ(plan.json_path, "plan.json");
  EXPECT_EQ(parsed.launch.num_ranks, 0);
}

TEST(CommandLine, PlanNeedsNoFile) {
  const auto plan = std::get<PlanArguments>(line({"plan", "-n", "2"}).command);
  EXPECT_THAT(plan.config.files, ::testing::IsEmpty());
  EXPECT_EQ(plan.tokens, 0);
  EXPECT_EQ(plan.memory_gib, 0);
  EXPECT_EQ(plan.speeds, PlanSpeeds::kCpu);
}

TEST(CommandLine, PlanSearchesForGpus) {
  const auto plan = std::get<PlanArguments>(line({"plan", "a.yaml", "--gpus", "64", "--gpu", "h100",
                                                  "--link", "nvlink+ib400", "--gpu-memory", "76.5"})
                                                .command);
  EXPECT_EQ(plan.num_ranks, 0);
  EXPECT_EQ(plan.num_gpus, 64);
  EXPECT_EQ(plan.gpu, "h100");
  EXPECT_EQ(plan.link, "nvlink+ib400");
  EXPECT_EQ(plan.gpu_memory_gib, 76.5);
}

TEST(CommandLine, ChangesAreAllowedOnlyWhenAskedFor) {
  const auto refused = std::get<TrainArguments>(line({"train", "a.yaml"}).command);
  EXPECT_EQ(refused.change_policy, ChangePolicy::kRefuse);
  const auto allowed =
      std::get<TrainArguments>(line({"train", "--allow-change", "a.yaml"}).command);
  EXPECT_EQ(allowed.change_policy, ChangePolicy::kAllow);
  EXPECT_THAT(allowed.config.files, ElementsAre("a.yaml"));
}

TEST(CommandLine, VerifyTakesAPath) {
  const auto verify =
      std::get<VerifyArguments>(line({"verify", "runs/x", "--json", "v.json"}).command);
  EXPECT_EQ(verify.path, "runs/x");
  EXPECT_EQ(verify.json_path, "v.json");
}

TEST(CommandLine, InspectTakesOneCheckpointOrTwo) {
  const auto one = std::get<InspectArguments>(line({"inspect", "runs/x"}).command);
  EXPECT_EQ(one.path, "runs/x");
  EXPECT_TRUE(one.other.empty());
  EXPECT_FALSE(one.lists_tensors);
  EXPECT_FALSE(one.shows_config);
  const auto two = std::get<InspectArguments>(
      line({"inspect", "a", "b", "--tensors", "--config", "--json", "i.json"}).command);
  EXPECT_EQ(two.path, "a");
  EXPECT_EQ(two.other, "b");
  EXPECT_TRUE(two.lists_tensors);
  EXPECT_TRUE(two.shows_config);
  EXPECT_EQ(two.json_path, "i.json");
}

TEST(CommandLine, ReportTakesRunsAndWatchTakesOne) {
  const auto report = std::get<ReportArguments>(
      line({"report", "runs/x", "runs/y", "-o", "p.html", "--tensorboard", "events"}).command);
  EXPECT_THAT(report.runs, ElementsAre("runs/x", "runs/y"));
  EXPECT_EQ(report.output, "p.html");
  EXPECT_EQ(report.tensorboard, "events");
  const auto watch = std::get<WatchArguments>(line({"watch", "runs/x", "--once"}).command);
  EXPECT_EQ(watch.run, "runs/x");
  EXPECT_TRUE(watch.is_once);
  EXPECT_THROW_WITH(parse({"report"}), ConfigError, "runs is required");
  EXPECT_THROW_WITH(parse({"watch", "x", "--every", "0"}), ConfigError, "--every");
}

TEST(CommandLine, VerbosityMayStandAnywhere) {
  EXPECT_EQ(line({"--quiet", "config"}).verbosity, LogVerbosity::kQuiet);
  EXPECT_EQ(line({"train", "a.yaml", "--debug"}).verbosity, LogVerbosity::kDebug);
}

TEST(CommandLine, HelpAndVersionAreTexts) {
  EXPECT_THAT(std::get<CommandLineText>(parse({"--help"})).text, HasSubstr("Exit codes: 0 done"));
  EXPECT_THAT(std::get<CommandLineText>(parse({"train", "--help"})).text, HasSubstr("--dry-run"));
  EXPECT_THAT(std::get<CommandLineText>(parse({"train", "--help"})).text,
              HasSubstr("--allow-change"));
  EXPECT_THAT(std::get<CommandLineText>(parse({"verify", "--help"})).text, HasSubstr("byte range"));
  EXPECT_THAT(std::get<CommandLineText>(parse({"inspect", "--help"})).text, HasSubstr("--tensors"));
  EXPECT_THAT(std::get<CommandLineText>(parse({"--version"})).text, HasSubstr("molora "));
}

TEST(CommandLine, WhatIsWrongIsNamed) {
  EXPECT_THROW_WITH(parse({}), ConfigError, "subcommand", "molora --help");
  EXPECT_THROW_WITH(parse({"train"}), ConfigError, "config");
  EXPECT_THROW_WITH(parse({"train", "a.yaml", "--rank", "2"}), ConfigError, "--rank");
  EXPECT_THROW_WITH(parse({"train", "a.yaml", "--ranks", "0"}), ConfigError, "--ranks");
  EXPECT_THROW_WITH(parse({"generate", "x", "--top-p", "1.5"}), ConfigError, "--top-p");
  EXPECT_THROW_WITH(parse({"verify"}), ConfigError, "path is required");
  EXPECT_THROW_WITH(parse({"inspect", "a", "b", "c"}), ConfigError, "c");
  EXPECT_THROW_WITH(parse({"plan", "a.yaml"}), ConfigError, "--ranks is required");
  EXPECT_THROW_WITH(parse({"plan", "-n", "2", "--tokens", "0"}), ConfigError, "--tokens");
  EXPECT_THROW_WITH(parse({"plan", "-n", "2", "--memory", "0"}), ConfigError, "--memory");
  EXPECT_THROW_WITH(parse({"plan", "-n", "2", "--speeds", "ib"}), ConfigError, "--speeds");
  EXPECT_THROW_WITH(parse({"plan", "--gpus", "8"}), ConfigError, "--gpus requires --gpu");
  EXPECT_THROW_WITH(parse({"plan", "-n", "2", "--gpu", "h100"}), ConfigError,
                    "--gpu requires --gpus");
  EXPECT_THROW_WITH(parse({"plan", "-n", "2", "--gpus", "8", "--gpu", "h100"}), ConfigError,
                    "--ranks excludes --gpus");
  EXPECT_THROW_WITH(parse({"plan", "--gpus", "8", "--gpu", "h100", "--gpu-memory", "0"}),
                    ConfigError, "--gpu-memory");
}

}  // namespace
}  // namespace molora
