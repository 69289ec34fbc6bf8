// A base model with its adapters and tokenizer, loaded from a configuration: what train, eval and
// generate have in common.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "data/chat_template.h"
#include "model/decoder.h"
#include "model/expert_way.h"
#include "plan/choose_exchange.h"
#include "run_config.pb.h"
#include "tokenizer/tokenizer.h"
#include "worker/rank_device.h"

namespace molora {

// What is small: read and checked against each other before any weight is touched.
struct SessionParts {
  Architecture architecture;
  std::unique_ptr<Tokenizer> tokenizer;
  ChatTemplate chat_template;  // refers to the tokenizer
};
// Throws: DataError, ConfigError, IoError.
SessionParts read_session_parts(const RunConfig& config);

enum class SessionUse {
  kText,  // tokenizer and weights are needed
  // Speed is measured: no tokenizer, and random weights where the folder has none.
  kMeasure,
};

// The parts refer to each other: neither copied nor moved.
class ModelSession {
 public:
  // Checks that the layout can work before any weight is touched, then reads. Every rank reads its
  // slices of the files; the contents are checked once per machine, each of its ranks a share, and
  // all machines must have the same weights. Rank 0 logs what was found. Collective.
  // saved: which way a checkpoint's experts were computed, for adapter.expert_compute `auto`; else
  // rank 0 measures it.
  // Throws: ConfigError, DataError, IoError.
  ModelSession(const RunConfig& config, const std::optional<ExpertWays>& saved, Communicator& world,
               SessionUse use = SessionUse::kText);
  ~ModelSession() = default;
  ModelSession(const ModelSession&) = delete;
  ModelSession& operator=(const ModelSession&) = delete;
  ModelSession(ModelSession&&) = delete;
  ModelSession& operator=(ModelSession&&) = delete;

  const Architecture& architecture() const { return *architecture_; }
  // model.path.
  const std::string& base_path() const { return base_path_; }
  // REQUIRES of the next two: the session is one for text.
  const Tokenizer& tokenizer() const { return *parts_->tokenizer; }
  const ChatTemplate& chat_template() const { return parts_->chat_template; }
  const Mesh& mesh() const { return *mesh_; }
  const ExchangeModes& modes() const { return choice_.modes; }
  // As a checkpoint keeps it (LayoutRecord.expert_compute).
  std::string expert_compute() const;
  const BaseWeights& weights() const { return *weights_; }
  bool has_random_weights() const { return has_random_weights_; }
  at::Device device() const { return device_->device(); }
  AdapterSet& adapters() { return *adapters_; }
  const CausalLM& model() const { return *model_; }

 private:
  void read_parts(const RunConfig& config, SessionUse use);
  void load_weights(const RunConfig& config, Communicator& world);
  void share_random_weights(Communicator& world);
  void draw_weights(const RunConfig& config);
  WeightStorage storage(const ModelConfig& config) const;
  void log_what_was_found(const RunConfig& config) const;

  std::string base_path_;
  bool has_random_weights_ = false;
  std::optional<SessionParts> parts_;         // for text
  std::optional<Architecture> architecture_;  // that of the parts, where there are any
  ExchangeChoice choice_;
  std::optional<RankDevice> device_;
  std::optional<Mesh> mesh_;
  std::optional<ParallelLayout> layout_;
  std::optional<BaseWeights> weights_;
  std::optional<AdapterSet> adapters_;
  std::optional<CausalLM> model_;
};

// How experts are placed: as asked for and, for `auto`, as the planner predicts to be fastest. The
// same on every rank.
ExchangeChoice choose_modes(const RunConfig& config, const Architecture& architecture,
                            const MeshShape& mesh);

// Which way the experts are computed: rank 0 finds out (model/expert_compute.h) and logs why, all
// use it. Collective.
ExpertWays agree_on_expert_ways(const RunConfig& config, const std::optional<ExpertWays>& saved,
                                const AdapterSet& adapters, at::Device device, Communicator& world);

// The element type of model.precision.
at::ScalarType compute_type(ModelConfig::Precision precision);

// How model.quantization keeps the matrices of the layers' linears; nothing for none.
std::optional<BlockFormat> block_format(ModelConfig::Quantization quantization);

}  // namespace molora
