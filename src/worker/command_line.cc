#include "worker/command_line.h"

#include <map>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace molora {

namespace {

constexpr char kVersion[] = "molora " MOLORA_VERSION;

constexpr char kFooter[] =
    "Several machines: molora train config.yaml --hosts a:4,b:4, or in a Slurm job without "
    "--hosts;\n"
    "your own mpirun or srun works as well (cluster/README.md).\n"
    "Ctrl-C, or USR1, once: save and leave; Ctrl-C twice: leave at once.\n"
    "Exit codes: 0 done; 64 configuration or input wrong; 70 internal fault or crash; 71 out of\n"
    "memory; 74 storage; 75 stopped on request after a save (start again to go on); 76 a rank was\n"
    "lost or hung. reason.json in the run's folder says more.";

void add_model(CLI::App& command, ModelArguments& model) {
  command
      .add_option("model", model.paths,
                  "A run folder, a checkpoint (step-N folder), or configuration files (.yaml): the "
                  "base model")
      ->required();
  command
      .add_option("--set", model.overrides,
                  "Change a field of the configuration: --set data.max_length=512 (repeatable)")
      ->allow_extra_args(false);
  command.add_flag("--base", model.use_base, "Leave the checkpoint's adapter out");
}

void add_ranks(CLI::App& command, int& num_ranks, const std::string& meaning) {
  command.add_option("--ranks,-n", num_ranks, meaning)->check(CLI::Range(1, 65536));
}

using Launcher = LaunchOptions::Launcher;

void add_launch(CLI::App& command, LaunchOptions& launch, bool& is_print_command) {
  add_ranks(command, launch.num_ranks,
            "Ranks to start (default: one for each GPU; without GPUs one for each NUMA node, and "
            "what the layout needs)");
  command.add_option("--hosts", launch.hosts, "Where: a:4,b:4 (name:ranks) or a,b (default: here)");
  command.add_option("--hostfile", launch.hostfile,
                     "Where, from a file in Open MPI's form: name slots=N on each line");
  command
      .add_option("--launcher", launch.launcher,
                  "auto (default: srun in a Slurm job, mpirun elsewhere, neither for one rank "
                  "here), mpirun, srun, or none (this process is the only rank and nobody watches "
                  "it, for debuggers)")
      ->transform(
          CLI::CheckedTransformer(std::map<std::string, Launcher>{{"auto", Launcher::kAuto},
                                                                  {"mpirun", Launcher::kMpirun},
                                                                  {"srun", Launcher::kSrun},
                                                                  {"none", Launcher::kNone}}));
  command
      .add_option("--launcher-arg", launch.launcher_arguments,
                  "An argument for mpirun or srun itself: --launcher-arg=--verbose (repeatable)")
      ->allow_extra_args(false);
  command.add_flag("--print-command", is_print_command,
                   "Print the command that would start the ranks, and its environment with "
                   "reasons; start nothing");
}

void add_train(CLI::App& app, TrainArguments& train) {
  CLI::App& command = *app.add_subcommand("train", "Fine-tune a model, or go on with a run");
  command
      .add_option("config", train.config.files,
                  "Configuration files (.yaml); later ones override earlier ones")
      ->required();
  command
      .add_option("--set", train.config.overrides,
                  "Set a field: --set train.learning_rate=1e-4 (repeatable; wins over files)")
      ->allow_extra_args(false);
  command
      .add_option("--resume", train.resume,
                  "auto (go on when there is a checkpoint), none, or the path of a checkpoint")
      ->take_last();
  command.add_flag(
      "--allow-change", [&train](int64_t) { train.change_policy = ChangePolicy::kAllow; },
      "Go on from a checkpoint although fields that decide the trained numbers, or the data, "
      "changed since (molora config says which fields may change without this)");
  command.add_flag("--dry-run", train.is_dry_run,
                   "Check everything and print what would run: resolved configuration, parameter "
                   "counts, memory, steps");
  command
      .add_option(
          "--progress", train.progress,
          "bar (one line, redrawn), plain (log lines), relayed (for the supervisor, which draws "
          "it), or auto (default: a bar on a terminal)")
      ->take_last()
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, ProgressStyle>{{"auto", ProgressStyle::kAuto},
                                               {"bar", ProgressStyle::kBar},
                                               {"plain", ProgressStyle::kPlain},
                                               {"relayed", ProgressStyle::kRelayed}}));
}

void add_eval(CLI::App& app, EvalArguments& eval) {
  CLI::App& command = *app.add_subcommand(
      "eval",
      "Held-out loss and scores per task, with intervals; or what is different in two models, and "
      "whether it is more than chance");
  add_model(command, eval.model);
  command.get_option("model")->required(false);
  command.add_option("--data", eval.data, "A file in place of data.eval (repeatable)")
      ->allow_extra_args(false);
  command.add_option("--max-samples-per-task", eval.max_samples_per_task,
                     "At most so many samples of each task (default: eval.max_samples_per_task; "
                     "0: all)");
  command.add_option("--generate", eval.max_new_tokens,
                     "Also answer by generating at most so many tokens (what benchmark tasks of "
                     "free text are scored by; with --answers generate 256 by default)");
  command
      .add_option("--answers", eval.answers,
                  "What counts as the answer to a question: likelihood (default: the likeliest "
                  "candidate), biased (one token, with 100 added to the logits of the option "
                  "letters) or generate (what the generated text says)")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, AnswerWay>{{"likelihood", AnswerWay::kLikelihood},
                                           {"biased", AnswerWay::kBiased},
                                           {"generate", AnswerWay::kGenerate}}));
  command.add_flag(
      "--parity", [&eval](int64_t) { eval.reading = AnswerReading::kParity; },
      "Count unreadable answers to CBLUE tasks as the reference evaluation does (an empty one as "
      "the first label), to compare with published scores");
  command
      .add_option("--compare", eval.compare,
                  "Compare with this model, or two with each other, on the same items: run "
                  "folders, checkpoints, 'base' (the first without its adapter), or files of "
                  "--items (.jsonl), which need no model")
      ->expected(1, 2);
  command.add_option("--json", eval.json_path, "Also write the results to this file");
  command.add_option(
      "--items", eval.items_path,
      "Also write a line for each item (.jsonl): what was answered, how it was read, "
      "what was expected, and the loss");
}

// What CLI11 cannot say of eval's arguments.
void check_eval(const EvalArguments& eval) {
  if (eval.model.paths.empty() && eval.compare.size() != 2) {
    throw ConfigError(
        "eval: name a run folder, a checkpoint or configuration files, or two things after "
        "--compare (molora eval --help tells what there is)");
  }
  if (!eval.model.paths.empty() && eval.compare.size() > 1) {
    throw ConfigError(fmt::format(
        "eval: {} and two things after --compare make three; put both after --compare, or one "
        "before it",
        eval.model.paths.front().string()));
  }
  if (!eval.compare.empty() && !eval.items_path.empty()) {
    throw ConfigError(
        "eval: --items writes one evaluation; write the items of both with a command each, then "
        "compare the files");
  }
}

void add_generate(CLI::App& app, GenerateArguments& generate) {
  CLI::App& command =
      *app.add_subcommand("generate", "Answer prompts; the routers need no task label");
  add_model(command, generate.model);
  command.add_option("--prompt,-p", generate.prompts, "A prompt (repeatable)")
      ->allow_extra_args(false);
  command.add_option("--prompts-file", generate.prompts_file,
                     "One prompt per line (default without --prompt: standard input)");
  command.add_flag("--raw", generate.is_raw, "Continue the text as it is, without chat template");
  command.add_option("--task", generate.task,
                     "Task of the prompts, for adapters that route by it (MOELoRA) alone");
  command.add_option("--max-new-tokens", generate.max_new_tokens, "At most so many (default 256)")
      ->check(CLI::PositiveNumber);
  command.add_option("--temperature", generate.temperature, "0 (default): greedy")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--top-k", generate.top_k, "Draw from the k likeliest tokens; 0: from all")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--top-p", generate.top_p, "... and from the likeliest with this probability")
      ->check(CLI::Range(0.0, 1.0));
  command.add_option("--seed", generate.seed, "Of the draws (default 0)");
}

void add_serve_limits(CLI::App& command, ServeArguments& serve) {
  const auto add = [&command](const char* name, int64_t& value, const char* meaning, int64_t low,
                              int64_t high) {
    command.add_option(name, value, meaning)->check(CLI::Range(low, high))->capture_default_str();
  };
  add("--max-batch", serve.max_batch, "Answers that are made at the same time", 1, 256);
  add("--max-waiting", serve.max_waiting, "Answers that wait for a place; one more gets 429", 0,
      4096);
  add("--max-choices", serve.max_choices, "Answers to one request (its field n)", 1, 256);
  add("--max-new-tokens", serve.max_new_tokens,
      "Tokens of an answer, also where the request gives no number", 1, int64_t{1} << 20);
  add("--max-request-bytes", serve.max_request_bytes, "Bytes of a request's body", 1,
      int64_t{1} << 30);
  add("--timeout", serve.timeout_s, "Seconds from a request to the end of its answer", 1, 86'400);
  add("--grace", serve.grace_s, "Seconds for what is under way when the server is asked to stop", 0,
      86'400);
}

void add_serve(CLI::App& app, ServeArguments& serve) {
  CLI::App& command = *app.add_subcommand(
      "serve", "Answer over HTTP as OpenAI's interface does, with adapters of one base by name");
  command.add_option("model", serve.paths,
                     "Run folders or checkpoints (step-N folders) of one base, each served under "
                     "the name of its folder; or configuration files (.yaml): the base alone");
  command
      .add_option("--name", serve.named_paths,
                  "One more under a name: --name NAME=PATH (repeatable)")
      ->allow_extra_args(false);
  command.add_option("--base-name", serve.base_name, "Name of the base without an adapter")
      ->capture_default_str();
  command
      .add_option("--set", serve.overrides,
                  "Change a field of their configurations: --set model.precision=bf16 (repeatable)")
      ->allow_extra_args(false);
  command
      .add_option("--host", serve.host, "Address to listen on; one that others reach takes a token")
      ->capture_default_str();
  command.add_option("--port", serve.port, "Port; 0: any free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  auto* token = command.add_option("--token", serve.token,
                                   "Token that requests have to bring; others on this machine see "
                                   "it in the list of processes");
  command.add_option("--token-file", serve.token_file, "... from a file")->excludes(token);
  add_serve_limits(command, serve);
}

void add_plan_machine(CLI::App& command, PlanArguments& plan, CLI::Option& ranks) {
  auto* gpus =
      command
          .add_option("--gpus", plan.num_gpus,
                      "Search the fastest layout that fits for so many GPUs: expected tokens a "
                      "second, memory by class, what it beats and why, and the YAML to paste")
          ->check(CLI::Range(1, 65536))
          ->excludes(&ranks);
  auto* gpu = command
                  .add_option("--gpu", plan.gpu,
                              "Which: a name of configs/hardware (h100, a100-80g, cpu), or the "
                              "path of a file of that form")
                  ->needs(gpus);
  gpus->needs(gpu);
  command
      .add_option("--link", plan.link,
                  "What connects them, nearest first: nvlink+ib400 (default: what the GPU's file "
                  "says, which ends at its machine)")
      ->needs(gpus);
  command
      .add_option("--gpu-memory", plan.gpu_memory_gib,
                  "GiB of memory of a GPU instead of what its file says")
      ->check(CLI::PositiveNumber)
      ->needs(gpus);
}

void add_plan(CLI::App& app, PlanArguments& plan) {
  CLI::App& command = *app.add_subcommand(
      "plan", "What a layout would send, hold and compute, from the model's config.json alone");
  command.add_option("config", plan.config.files, "Configuration files (.yaml)");
  command
      .add_option("--set", plan.config.overrides,
                  "Set a field: --set model.path=configs/shapes/qwen1.5-7b, --set "
                  "parallel.tensor_parallel=4 (repeatable)")
      ->allow_extra_args(false);
  auto* ranks =
      command.add_option("--ranks,-n", plan.num_ranks, "Ranks to plan for; none is started")
          ->check(CLI::Range(1, 65536));
  add_plan_machine(command, plan, *ranks);
  command
      .add_option("--tokens", plan.tokens,
                  "Tokens of a micro-step on one data-parallel rank (default: "
                  "train.micro_batch_size rows of data.max_length)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32));
  command
      .add_option("--memory", plan.memory_gib,
                  "GiB that weights, adapters and their state may take on a rank; exchange: auto "
                  "keeps it if it can")
      ->check(CLI::PositiveNumber);
  command
      .add_option("--speeds", plan.speeds,
                  "Whose constants the times are computed with: cpu (default) or nvlink")
      ->transform(CLI::CheckedTransformer(std::map<std::string, PlanSpeeds>{
          {"cpu", PlanSpeeds::kCpu}, {"nvlink", PlanSpeeds::kNvlink}}));
  command.add_option("--json", plan.json_path, "Also write the numbers to this file");
}

void add_bench(CLI::App& app, BenchArguments& bench) {
  CLI::App& command = *app.add_subcommand(
      "bench",
      "How fast a training step is, what of it is useful work, and where the rest goes. Needs no "
      "data; where model.path has a config.json alone, random weights stand in");
  command.add_option("config", bench.config.files,
                     "Configuration files (.yaml); not needed with --calibrate");
  command
      .add_option("--set", bench.config.overrides,
                  "Set a field: --set data.max_length=512 (repeatable)")
      ->allow_extra_args(false);
  command.add_option("--steps", bench.num_steps, "Steps that are measured (default 10)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  command.add_option("--warmup", bench.num_warmup, "Steps before them (default 2)")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 20));
  command
      .add_option("--supervised", bench.supervised,
                  "Share of the tokens that are in the loss (default 1)")
      ->check(CLI::Range(0.0, 1.0));
  command
      .add_option("--sequences-per-row", bench.sequences_per_row,
                  "Sequences that share a row of data.max_length tokens (default 1)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  command
      .add_option("--clock", bench.clock,
                  "wall (default), or cpu: time on a processor, for a machine that is busy "
                  "otherwise; with one thread (OMP_NUM_THREADS=1)")
      ->transform(CLI::CheckedTransformer(std::map<std::string, WorkClock>{
          {"wall", WorkClock::kWall}, {"cpu", WorkClock::kThreadCpu}}));
  command
      .add_option("--against", bench.against.files,
                  "Another configuration, measured step by step in turns with the first")
      ->allow_extra_args(false);
  command
      .add_option("--against-set", bench.against.overrides,
                  "Set a field of the other one (repeatable); without --against it is the first "
                  "with these changes")
      ->allow_extra_args(false);
  command.add_option("--json", bench.json_path, "Also write the numbers to this file");
  command.add_option("--trace", bench.trace_path,
                     "Also write a Chrome trace of one step of all ranks (chrome://tracing, "
                     "ui.perfetto.dev) to this file");
  command.add_option("--calibrate", bench.calibrate_path,
                     "Measure this machine instead, with these ranks: rates of products, memory, "
                     "operators and collectives, for `molora plan --gpus`; into this file (YAML)");
}

constexpr char kCheckpointPath[] =
    "A run folder, its checkpoints folder, or one checkpoint (step-N folder)";

void add_verify(CLI::App& app, VerifyArguments& verify) {
  CLI::App& command = *app.add_subcommand("verify",
                                          "Read every byte of checkpoints and name what is "
                                          "damaged: file, tensor and byte range; or load "
                                          "an exported folder and compare its logits with the "
                                          "run's. Ends with 0 when all is well, else "
                                          "with 74");
  command
      .add_option("path", verify.path, fmt::format("{}, or an exported folder", kCheckpointPath))
      ->required();
  command
      .add_option("--set", verify.overrides,
                  "Of an exported folder: change a field of its configuration: --set "
                  "model.path=FOLDER (repeatable)")
      ->allow_extra_args(false);
  command.add_option("--json", verify.json_path, "Also write what was found to this file");
}

void add_export(CLI::App& app, ExportArguments& args) {
  CLI::App& command = *app.add_subcommand(
      "export",
      "Write a trained adapter in the files of the Python world; a second process then loads them "
      "and compares logits");
  add_model(command, args.model);
  command.add_option("--output,-o", args.output, "The folder to make; it must not be there")
      ->required();
  command
      .add_option(
          "--format", args.format,
          "ming (default: experts on the MLP, LoRA on the attention, as MING-MOE's code "
          "reads them), mixlora (whole MLPs as experts, for the packages mixlora and "
          "moe_peft), mola (experts only, for moe_peft), peft (plain LoRA), or merged (plain "
          "LoRA added to the weights)")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, ExportFormat>{{"ming", ExportFormat::kMing},
                                              {"mixlora", ExportFormat::kMixlora},
                                              {"mola", ExportFormat::kMola},
                                              {"peft", ExportFormat::kPeft},
                                              {"merged", ExportFormat::kMerged}}));
  command
      .add_option("--dtype", args.type,
                  "Type of the numbers: fp32 (default), bf16 or fp16; of a merged folder the "
                  "default is the base's own")
      ->transform(CLI::CheckedTransformer(std::map<std::string, ExportType>{
          {"fp32", ExportType::kFp32}, {"bf16", ExportType::kBf16}, {"fp16", ExportType::kFp16}}));
  command.add_option("--base-name", args.base_name,
                     "What the files call the base model (default: model.path)");
  command.add_option("--task", args.task,
                     "For merged, of an adapter that routes by task (MOELoRA): of which task");
  command
      .add_option(
          "--approximate", args.approximate_rank,
          "For peft and merged: in the place of each mixture the LoRA of this rank that is "
          "nearest to it, its experts weighed as the routers do on text; prints how far its "
          "predictions are off")
      ->check(CLI::Range(int64_t{1}, int64_t{65536}));
  command
      .add_option("--data", args.data, "Text for --approximate in place of data.eval (repeatable)")
      ->allow_extra_args(false);
  command
      .add_option("--max-samples-per-task", args.max_samples_per_task,
                  "At most so much of it (default 16; 0: all)")
      ->check(CLI::NonNegativeNumber);
  command.add_flag(
      "--no-check", [&args](int64_t) { args.is_checked = false; },
      "Leave the second process out (molora verify FOLDER does the same later)");
}

void add_inspect(CLI::App& app, InspectArguments& inspect) {
  CLI::App& command = *app.add_subcommand(
      "inspect",
      "What is in a checkpoint: progress, layout, norms, router loads; or what is different in "
      "two. Needs no model and no data");
  command
      .add_option("path", inspect.path,
                  fmt::format("{}; of a run the newest whole one", kCheckpointPath))
      ->required();
  command.add_option("other", inspect.other,
                     "Compare with this one; differences are relative to it");
  command.add_flag("--tensors", inspect.lists_tensors, "A line for each tensor");
  command.add_flag("--config", inspect.shows_config, "Also print the configuration (YAML)");
  command.add_option("--json", inspect.json_path, "Also write all numbers to this file");
}

void add_report(CLI::App& app, ReportArguments& report) {
  CLI::App& command = *app.add_subcommand(
      "report",
      "Pictures of a run, or of several side by side: one HTML page that needs nothing "
      "else");
  command.add_option("runs", report.runs, "Run folders")->required();
  command.add_option("--output,-o", report.output,
                     "The page (default: report.html in the first run's folder)");
  command.add_option("--tensorboard", report.tensorboard,
                     "Write TensorBoard event files into this folder instead (with --output: as "
                     "well)");
}

void add_watch(CLI::App& app, WatchArguments& watch) {
  CLI::App& command = *app.add_subcommand(
      "watch",
      "A run in the terminal while it goes on: progress, losses, speed, experts, faults. "
      "Ends with the run");
  command.add_option("run", watch.run, "The run's folder; it need not be there yet")->required();
  command.add_flag("--once", watch.is_once, "Print what there is, and end");
  command.add_option("--every", watch.every_seconds, "Seconds between looks (default 1)")
      ->check(CLI::Range(0.05, 3600.0));
}

}  // namespace

std::variant<CommandLine, CommandLineText> parse_command_line(int argc, const char* const* argv) {
  CLI::App app("molora: fine-tune large language models with mixtures of low-rank adapter experts",
               "molora");
  app.footer(kFooter);
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  app.fallthrough();
  bool is_quiet = false;
  bool is_debug = false;
  app.add_flag("--quiet", is_quiet, "Log warnings and errors only");
  app.add_flag("--debug", is_debug, "Log more, on every rank");

  TrainArguments train;
  EvalArguments eval;
  GenerateArguments generate;
  ServeArguments serve;
  PlanArguments plan;
  BenchArguments bench;
  VerifyArguments verify;
  InspectArguments inspect;
  ExportArguments export_arguments;
  ReportArguments report;
  WatchArguments watch;
  add_train(app, train);
  add_eval(app, eval);
  add_generate(app, generate);
  add_serve(app, serve);
  add_plan(app, plan);
  add_bench(app, bench);
  add_verify(app, verify);
  add_inspect(app, inspect);
  add_export(app, export_arguments);
  add_report(app, report);
  add_watch(app, watch);
  CommandLine line;
  for (const char* name : {"train", "bench"}) {
    add_launch(*app.get_subcommand(name), line.launch, line.is_print_command);
  }
  for (const char* name : {"eval", "generate", "serve"}) {
    add_ranks(*app.get_subcommand(name), line.launch.num_ranks,
              "Ranks to start on this machine (default 1)");
  }
  app.add_subcommand("config", "Print every field of the configuration with its meaning");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const auto chosen = app.get_subcommands();
    return CommandLineText{chosen.empty() ? app.help() : chosen.front()->help()};
  } catch (const CLI::CallForVersion&) {
    return CommandLineText{std::string(kVersion) + "\n"};
  } catch (const CLI::ParseError& error) {
    throw ConfigError(fmt::format("{} (molora --help tells what there is)", error.what()));
  }

  line.verbosity = is_debug   ? LogVerbosity::kDebug
                   : is_quiet ? LogVerbosity::kQuiet
                              : LogVerbosity::kNormal;
  if (app.got_subcommand("train")) line.command = train;
  if (app.got_subcommand("eval")) {
    check_eval(eval);
    line.command = eval;
  }
  if (app.got_subcommand("generate")) line.command = generate;
  if (app.got_subcommand("serve")) line.command = serve;
  if (app.got_subcommand("bench")) line.command = bench;
  if (app.got_subcommand("plan")) {
    if (plan.num_ranks == 0 && plan.num_gpus == 0) {
      throw ConfigError(
          "plan: --ranks is required, or --gpus with --gpu for the best layout (molora plan --help "
          "tells what there is)");
    }
    line.command = plan;
  }
  if (app.got_subcommand("verify")) line.command = verify;
  if (app.got_subcommand("inspect")) line.command = inspect;
  if (app.got_subcommand("export")) line.command = export_arguments;
  if (app.got_subcommand("report")) line.command = report;
  if (app.got_subcommand("watch")) line.command = watch;
  if (app.got_subcommand("config")) line.command = ConfigCommand();
  return line;
}

}  // namespace molora
