// What `molora` can be asked to do; command_line.h reads the requests, each command has a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/communicator.h"
#include "config/resume_changes.h"
#include "eval/cblue_task.h"
#include "eval/item_record.h"
#include "export/export_format.h"
#include "profile/work_recorder.h"

namespace molora {

// Configuration files in order, and --set texts.
struct ConfigArguments {
  std::vector<std::filesystem::path> files;
  std::vector<std::string> overrides;
};

enum class ProgressStyle {
  kAuto,  // a bar when standard error is a terminal
  kBar,
  kPlain,
  kRelayed,  // for the supervisor, which draws it
};

struct TrainArguments {
  ConfigArguments config;
  std::string resume;  // overrides checkpoint.resume; "" leaves it
  ChangePolicy change_policy = ChangePolicy::kRefuse;
  bool is_dry_run = false;
  ProgressStyle progress = ProgressStyle::kAuto;
};

// Trains; or with is_dry_run prints what would be trained. Collective.
ExitCode run_train(const TrainArguments& arguments, Communicator& world);

// What eval and generate work on: a run folder, a checkpoint of one, or configuration files (the
// untrained adapter, which equals the base model).
struct ModelArguments {
  std::vector<std::filesystem::path> paths;
  std::vector<std::string> overrides;
  bool use_base = false;  // leave a checkpoint's adapter out
};

struct EvalArguments {
  ModelArguments model;
  std::vector<std::string> data;      // files in place of data.eval
  int64_t max_samples_per_task = -1;  // -1: eval.max_samples_per_task
  int64_t max_new_tokens = 0;         // above 0: also by generation
  AnswerWay answers = AnswerWay::kLikelihood;
  AnswerReading reading = AnswerReading::kStrict;
  std::string json_path;   // where to write the results; "" nowhere
  std::string items_path;  // where to write a line for each item; "" nowhere
  // What is compared: the second one (the first is `model`), or both. Each is a path as of a model,
  // "base" (the first without its adapter), or a file of items (.jsonl).
  std::vector<std::string> compare;
};

// Prints a table of held-out losses and accuracies, or compares two evaluations. Collective.
ExitCode run_eval(const EvalArguments& arguments, Communicator& world);

struct GenerateArguments {
  ModelArguments model;
  std::vector<std::string> prompts;  // empty: one per line of prompts_file
  std::string prompts_file;          // "" or "-": standard input
  bool is_raw = false;               // without the chat template
  std::string task;                  // of adapters that route by task
  int64_t max_new_tokens = 256;
  double temperature = 0.0;
  int64_t top_k = 0;
  double top_p = 1.0;
  uint64_t seed = 0;
};

// Prints answers. One rank does the work; on several the others wait. Collective.
ExitCode run_generate(const GenerateArguments& arguments, Communicator& world);

struct ServeArguments {
  std::vector<std::filesystem::path> paths;  // run folders or checkpoints of one base, or its .yaml
  std::vector<std::string> named_paths;      // NAME=PATH
  std::vector<std::string> overrides;        // of all their configurations
  std::string base_name = "base";            // what the base without an adapter is called
  std::string host = "127.0.0.1";
  int port = 8000;  // 0: any free one
  std::string token;
  std::string token_file;         // in place of it
  int64_t max_batch = 16;         // answers that are made at the same time
  int64_t max_waiting = 256;      // answers that wait for a place
  int64_t max_choices = 8;        // of one request
  int64_t max_new_tokens = 1024;  // of one answer, also of requests that give no number
  int64_t max_request_bytes = int64_t{4} << 20;
  int64_t timeout_s = 600;  // from a request to the end of its answer
  int64_t grace_s = 30;     // for what is under way when the server is asked to stop
};

// Serves adapters of one base over HTTP, in OpenAI's interface, until a signal asks it to stop.
// Rank 0 listens; every rank computes. Collective.
ExitCode run_serve(const ServeArguments& arguments, Communicator& world);

// Whose speeds the times of a plan are computed with.
enum class PlanSpeeds { kCpu, kNvlink };

struct PlanArguments {
  ConfigArguments config;
  int num_ranks = 0;   // that are planned for; none of them is started. 0: the best for num_gpus
  int64_t tokens = 0;  // of a micro-step on one data-parallel rank; 0: micro_batch_size full rows
  double memory_gib = 0;  // that weights and state of a rank may take; 0: no limit
  PlanSpeeds speeds = PlanSpeeds::kCpu;
  int num_gpus = 0;           // above 0: to search the best layout for
  std::string gpu;            // with num_gpus: the name of a machine, or the path of its file
  std::string link;           // "nvlink+ib400", nearest first; "": what the machine's file says
  double gpu_memory_gib = 0;  // 0: what the machine's file says
  std::string json_path;      // where to write the numbers; "" nowhere
};

// Prints what the layout of a configuration would send, hold and compute on so many ranks, or the
// best layout for so many GPUs; of the model it reads config.json alone. Collective; rank 0 does
// the work.
ExitCode run_plan(const PlanArguments& arguments, Communicator& world);

struct BenchArguments {
  ConfigArguments config;
  int64_t num_steps = 10;  // that are measured
  int64_t num_warmup = 2;
  double supervised = 1.0;  // share of the tokens that are in the loss
  int64_t sequences_per_row = 1;
  WorkClock clock = WorkClock::kWall;
  // What is measured in turns with it: files (none: the same) and changes (beside the same files:
  // on top of the others). Both empty: nothing.
  ConfigArguments against;
  std::string json_path;       // where to write the numbers; "" nowhere
  std::string trace_path;      // where to write a Chrome trace of a step; "" nowhere
  std::string calibrate_path;  // measure the machine instead, and write what was found here
};

// Runs training steps on random rows and prints how long they take and where the time goes. Writes
// nothing that it was not asked for. Collective.
ExitCode run_bench(const BenchArguments& arguments, Communicator& world);

struct VerifyArguments {
  // A run folder, its checkpoints folder, a step folder, or an exported folder.
  std::filesystem::path path;
  std::string json_path = {};               // where to write what was found; "" nowhere
  std::vector<std::string> overrides = {};  // of an exported folder's configuration
};

// Reads every byte of checkpoints and prints what is wrong with them, and which one a run would go
// on from; or loads an exported folder and compares its logits with those of the run. Collective.
// Returns kStorage when a checkpoint is damaged or there is none, or when the logits differ.
ExitCode run_verify(const VerifyArguments& arguments, Communicator& world);

struct InspectArguments {
  std::filesystem::path path;   // as of verify; of a run the newest whole checkpoint
  std::filesystem::path other;  // to compare with; "" none
  bool lists_tensors = false;   // one line for each tensor
  bool shows_config = false;
  std::string json_path;  // where to write the numbers; "" nowhere
};

// Prints what is in a checkpoint, or what is different in two. Needs neither model nor data.
// Collective; rank 0 does the work.
ExitCode run_inspect(const InspectArguments& arguments, Communicator& world);

// The type of the numbers of an export.
enum class ExportType {
  kDefault,  // fp32; of a merged folder the base's own
  kFp32,
  kBf16,
  kFp16,
};

struct ExportArguments {
  ModelArguments model;
  ExportFormat format = ExportFormat::kMing;
  std::filesystem::path output;  // a folder that is not there yet
  ExportType type = ExportType::kDefault;
  std::string base_name;          // what the files call the base model; "": model.path
  std::string task;               // of adapters that route by task: whose weights are merged
  int64_t approximate_rank = 0;   // above 0: a LoRA of this rank in the place of each mixture
  std::vector<std::string> data;  // text for that, in place of data.eval
  int64_t max_samples_per_task = 16;
  bool is_checked = true;  // a second process loads it and compares (main.cc starts it)
};

// Writes a trained adapter as the Python world keeps it. One rank.
ExitCode run_export(const ExportArguments& arguments, Communicator& world);

struct ReportArguments {
  std::vector<std::filesystem::path> runs;
  std::filesystem::path output;       // of the page; "": report.html in the first run's folder
  std::filesystem::path tensorboard;  // write event files into this folder; "": none
};

// Writes a page with pictures of runs, or event files. Needs neither model, data nor ranks.
ExitCode run_report(const ReportArguments& arguments);

struct WatchArguments {
  std::filesystem::path run;
  bool is_once = false;      // print what there is, and end
  double every_seconds = 1;  // between looks
};

// Shows a run as it goes on, until it is over. Needs neither model, data nor ranks.
ExitCode run_watch(const WatchArguments& arguments);

// Prints every field of the configuration with its meaning, default and constraints.
ExitCode run_config();

}  // namespace molora
