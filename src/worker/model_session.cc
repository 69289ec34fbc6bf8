#include "worker/model_session.h"

#include <algorithm>
#include <thread>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/host_name.h"
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

void check_same_weights(Communicator& world, const std::string& fingerprint,
                        const std::string& path) {
  const std::vector<std::string> all = all_gather_text(world, fingerprint);
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank] == all[0]) continue;
    throw DataError(fmt::format(
        "{}: rank {} read other weights than rank 0 (fingerprint {} against {}); the folder must "
        "hold the same files on every machine",
        path, rank, all[rank], all[0]));
  }
}

}  // namespace

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

void set_compute_threads(Communicator& world) {
  const std::vector<std::string> hosts = all_gather_text(world, host_name());
  const auto here = std::count(hosts.begin(), hosts.end(), host_name());
  const auto cores = static_cast<long>(std::max(1U, std::thread::hardware_concurrency()));
  at::set_num_threads(static_cast<int>(std::max(1L, cores / static_cast<long>(here))));
}

SessionParts read_session_parts(const RunConfig& config) {
  const ModelConfig& model = config.model();
  const Architecture architecture = read_architecture(
      model.path(), {model.ignore_config_fields().begin(), model.ignore_config_fields().end()});
  check_length(config, architecture);
  std::unique_ptr<Tokenizer> tokenizer = read_tokenizer(model, architecture);
  ChatTemplate chat_template(*tokenizer, config.data().chat_template(),
                             config.data().system_prompt(), config.data().label_mask());
  return {architecture, std::move(tokenizer), std::move(chat_template)};
}

ModelSession::ModelSession(const RunConfig& config, Communicator& world) {
  together(world, [&] { load(config); });
  check_same_weights(world, weights_->fingerprint(), config.model().path());
  if (world.rank() != 0) return;
  const AdapterCounts counts = count_adapter_parameters(architecture(), config.adapter());
  spdlog::info("{}: {:.1f}M parameters in {} layers, fingerprint {}; {:.2f}M are trained on top",
               config.model().path(),
               static_cast<double>(count_base_parameters(architecture())) * 1e-6,
               architecture().num_layers, weights_->fingerprint(),
               static_cast<double>(counts.total()) * 1e-6);
}

void ModelSession::load(const RunConfig& config) {
  parts_.emplace(read_session_parts(config));
  const at::ScalarType type = compute_type(config.model().precision());
  weights_.emplace(config.model().path(), parts_->architecture, type);
  adapters_.emplace(parts_->architecture, config.adapter(), config.seed(),
                    type == at::kDouble ? at::kDouble : at::kFloat);
  model_.emplace(parts_->architecture, *weights_, *adapters_);
}

}  // namespace molora
