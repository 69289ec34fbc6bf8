// An adapter besides the one of a session, over the same base: what serving several at once needs.
#pragma once

#include <optional>
#include <string>

#include "comm/communicator.h"
#include "worker/model_session.h"
#include "worker/resolved_config.h"

namespace molora {

// The parts refer to each other: neither copied nor moved.
class OtherAdapter {
 public:
  // Loads the adapter of `model`, or with no step folder one as at the beginning of training. The
  // layout is that of the session, which must outlive this object. Collective.
  // Throws: ConfigError when the adapter was trained on another base, or on this one in another
  // precision or quantisation: `session_config` has those that it is held in.
  OtherAdapter(const ResolvedModel& model, const ModelSession& session,
               const RunConfig& session_config, Communicator& world);
  ~OtherAdapter() = default;
  OtherAdapter(const OtherAdapter&) = delete;
  OtherAdapter& operator=(const OtherAdapter&) = delete;
  OtherAdapter(OtherAdapter&&) = delete;
  OtherAdapter& operator=(OtherAdapter&&) = delete;

  const Tokenizer& tokenizer() const { return *parts_->tokenizer; }
  const ChatTemplate& chat_template() const { return parts_->chat_template; }
  const CausalLM& model() const { return *model_; }

 private:
  std::optional<SessionParts> parts_;
  std::optional<ParallelLayout> layout_;
  std::optional<AdapterSet> adapters_;
  std::optional<CausalLM> model_;
};

// What is served when no adapter is: the base of `model`, with none of its linears adapted.
ResolvedModel without_adapter(const ResolvedModel& model);

}  // namespace molora
