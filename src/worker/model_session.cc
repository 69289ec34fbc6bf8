#include "worker/model_session.h"

#include <algorithm>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/check.h"
#include "base/error.h"
#include "base/host_name.h"
#include "model/expert_compute.h"
#include "plan/layout.h"
#include "plan/plan_input.h"
#include "worker/together.h"

namespace molora {

namespace {

std::filesystem::path tokenizer_folder(const ModelConfig& config) {
  return config.tokenizer().empty() ? config.path() : config.tokenizer();
}

// A tokenizer that can produce ids the embedding lacks would crash the first lookup.
std::unique_ptr<Tokenizer> read_tokenizer(const ModelConfig& config,
                                          const Architecture& architecture) {
  const std::filesystem::path folder = tokenizer_folder(config);
  std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(folder);
  if (tokenizer->vocab_size() > architecture.vocab_size) {
    throw DataError(fmt::format(
        "{}: the tokenizer has ids up to {}, but the embedding of {} has {} rows; this is the "
        "tokenizer of another model (model.tokenizer)",
        folder.string(), tokenizer->vocab_size() - 1, config.path(), architecture.vocab_size));
  }
  return tokenizer;
}

// Positions beyond those that the model was trained with give numbers, but not sensible ones.
void check_length(const RunConfig& config, const Architecture& architecture) {
  if (config.data().max_length() <= architecture.max_position) return;
  throw ConfigError(fmt::format(
      "data.max_length is {}, but {} was made for at most {} positions (max_position_embeddings); "
      "set data.max_length to {} or less",
      config.data().max_length(), config.model().path(), architecture.max_position,
      architecture.max_position));
}

Architecture checked_architecture(const RunConfig& config) {
  const auto& ignored = config.model().ignore_config_fields();
  Architecture architecture =
      read_architecture(config.model().path(), {ignored.begin(), ignored.end()});
  check_length(config, architecture);
  return architecture;
}

bool has_weight_files(const std::filesystem::path& folder) {
  return std::filesystem::exists(folder / "model.safetensors") ||
         std::filesystem::exists(folder / "model.safetensors.index.json");
}

// This rank's place among the ranks of its machine.
struct MachineShare {
  std::vector<size_t> ranks;  // of the world, ascending
  int64_t index = 0;
};

MachineShare machine_share(Communicator& world) {
  const std::vector<std::string> hosts = all_gather_text(world, host_name());
  MachineShare share;
  for (size_t rank = 0; rank < hosts.size(); ++rank) {
    if (hosts[rank] != hosts[static_cast<size_t>(world.rank())]) continue;
    if (static_cast<int>(rank) < world.rank()) ++share.index;
    share.ranks.push_back(rank);
  }
  return share;
}

void check_same_weights(const std::vector<std::string>& fingerprints, const std::string& path) {
  for (size_t rank = 0; rank < fingerprints.size(); ++rank) {
    if (fingerprints[rank] == fingerprints[0]) continue;
    throw DataError(fmt::format(
        "{}: the machine of rank {} has other weights than that of rank 0 (fingerprint {} against "
        "{}); the folder must hold the same files on every machine",
        path, rank, fingerprints[rank], fingerprints[0]));
  }
}

}  // namespace

ExchangeChoice choose_modes(const RunConfig& config, const Architecture& architecture,
                            const MeshShape& mesh) {
  return choose_exchange(
      plan_input(config, architecture, mesh),
      {.asked = asked_modes(config.parallel(), config.adapter()), .speeds = LinkSpeeds::cpu()});
}

at::ScalarType compute_type(ModelConfig::Precision precision) {
  switch (precision) {
    case ModelConfig::bf16:
      return at::kBFloat16;
    case ModelConfig::fp64:
      return at::kDouble;
    default:
      return at::kFloat;
  }
}

std::optional<BlockFormat> block_format(ModelConfig::Quantization quantization) {
  switch (quantization) {
    case ModelConfig::int8:
      return BlockFormat::kInt8;
    case ModelConfig::nf4:
      return BlockFormat::kNf4;
    default:
      return std::nullopt;
  }
}

// One rank measures, so that all compute the same way.
ExpertWays agree_on_expert_ways(const RunConfig& config, const std::optional<ExpertWays>& saved,
                                const AdapterSet& adapters, at::Device device,
                                Communicator& world) {
  const std::string text = on_rank_zero(world, [&] {
    const ExpertChoice choice = choose_expert_ways(
        adapters,
        {.asked = config.adapter().expert_compute(),
         .saved = saved,
         .tokens = int64_t{config.train().micro_batch_size()} * config.data().max_length(),
         .type = compute_type(config.model().precision()),
         .device = device});
    for (const std::string& reason : choice.reasons) spdlog::info("{}", reason);
    return expert_ways_text(choice.ways, routed_kinds(adapters));
  });
  const std::optional<ExpertWays> ways = parse_expert_ways(text);
  MOLORA_CHECK(ways.has_value(), "{}", text);
  return *ways;
}

SessionParts read_session_parts(const RunConfig& config) {
  const ModelConfig& model = config.model();
  const Architecture architecture = checked_architecture(config);
  std::unique_ptr<Tokenizer> tokenizer = read_tokenizer(model, architecture);
  ChatTemplate chat_template(*tokenizer, config.data().chat_template(),
                             config.data().system_prompt(), config.data().label_mask());
  return {architecture, std::move(tokenizer), std::move(chat_template)};
}

ModelSession::ModelSession(const RunConfig& config, const std::optional<ExpertWays>& saved,
                           Communicator& world, SessionUse use)
    : base_path_(config.model().path()) {
  MeshShape shape;
  together(world, [&] {
    read_parts(config, use);
    shape = check_layout(config.parallel(), config.adapter(), architecture(), world.size());
    choice_ = choose_modes(config, architecture(), shape);
  });
  share_random_weights(world);
  device_.emplace(config, world);
  mesh_.emplace(device_->make_mesh(world, shape));
  layout_.emplace(
      ParallelLayout{*mesh_, config.parallel().sequence_parallel(), device_->is_gpu(), {}});
  if (has_random_weights_) {
    draw_weights(config);
  } else {
    load_weights(config, world);
  }
  together(world, [&] {
    const at::ScalarType type = weights_->get("model.norm.weight").scalar_type();
    adapters_.emplace(architecture(), config.adapter(), config.seed(),
                      type == at::kDouble ? at::kDouble : at::kFloat,
                      AdapterPlacement{shape, mesh_->world_rank(), choice_.modes},
                      device_->device());
    model_.emplace(architecture(), *weights_, *adapters_, *layout_);
  });
  if (world.rank() == 0) log_what_was_found(config);
  layout_->expert_ways = agree_on_expert_ways(config, saved, *adapters_, device_->device(), world);
}

std::string ModelSession::expert_compute() const {
  return expert_ways_text(layout_->expert_ways, routed_kinds(*adapters_));
}

void ModelSession::read_parts(const RunConfig& config, SessionUse use) {
  if (use == SessionUse::kText) {
    parts_.emplace(read_session_parts(config));
    architecture_ = parts_->architecture;
    return;
  }
  architecture_ = checked_architecture(config);
  has_random_weights_ = !has_weight_files(config.model().path());
}

// Weights that one machine lacks are random on all.
void ModelSession::share_random_weights(Communicator& world) {
  for (const std::string& text : all_gather_text(world, has_random_weights_ ? "random" : "")) {
    has_random_weights_ = has_random_weights_ || !text.empty();
  }
}

WeightStorage ModelSession::storage(const ModelConfig& config) const {
  return {compute_type(config.precision()), block_format(config.quantization()), device_->device()};
}

void ModelSession::draw_weights(const RunConfig& config) {
  weights_.emplace(architecture(), BaseWeights::Random{.storage = storage(config.model()),
                                                       .tp = mesh_->shape().tp,
                                                       .tp_rank = mesh_->tp_rank()});
}

void ModelSession::load_weights(const RunConfig& config, Communicator& world) {
  const MachineShare share = machine_share(world);
  std::optional<WeightFiles> files;
  std::string own_digests;
  together(world, [&] {
    files.emplace(config.model().path(), architecture());
    own_digests = files->check_contents(share.index, std::ssize(share.ranks));
  });
  const std::vector<std::string> all_digests = all_gather_text(world, own_digests);
  std::vector<std::string> of_this_machine;
  for (const size_t rank : share.ranks) of_this_machine.push_back(all_digests[rank]);
  std::string fingerprint;
  together(world, [&] { fingerprint = files->fingerprint(of_this_machine); });
  const std::vector<std::string> of_all = all_gather_text(world, fingerprint);
  together(world, [&] {
    check_same_weights(of_all, config.model().path());
    weights_.emplace(*files, storage(config.model()), mesh_->shape().tp, mesh_->tp_rank(),
                     fingerprint);
  });
}

void ModelSession::log_what_was_found(const RunConfig& config) const {
  const AdapterCounts counts = count_adapter_parameters(architecture(), config.adapter());
  spdlog::info("{}: {:.1f}M parameters in {} layers, fingerprint {}; {:.2f}M are trained on top",
               config.model().path(),
               static_cast<double>(count_base_parameters(architecture())) * 1e-6,
               architecture().num_layers, weights_->fingerprint(),
               static_cast<double>(counts.trained()) * 1e-6);
  if (config.model().quantization() != ModelConfig::none) {
    spdlog::info(
        "linears of the layers are kept as {}: {:.1f} MiB of the base in memory, {:.1f} MiB in its "
        "files",
        ModelConfig::Quantization_Name(config.model().quantization()),
        static_cast<double>(weights_->kept_bytes()) / (1 << 20),
        static_cast<double>(weights_->stored_bytes()) / (1 << 20));
  }
  if (mesh_->shape().world() == 1) return;
  spdlog::info("layout {}{}; each rank keeps {:.1f} MiB of the base", mesh_text(mesh_->shape()),
               layout_->has_sequence_parallel ? ", sequence parallel" : "",
               static_cast<double>(weights_->kept_bytes()) / (1 << 20));
  const auto asked = asked_modes(config.parallel(), config.adapter());
  for (const LinearGroup group : kLinearGroups) {
    const auto index = static_cast<size_t>(group);
    if (adapters_->num_routers() == 0) break;
    spdlog::info("exchange of {}: {} ({}{})", linear_group_name(group),
                 exchange_mode_name(choice_.modes.of(group)),
                 asked[index] ? "" : "auto: ", choice_.reasons[index]);
  }
}

}  // namespace molora
