// The models that a server has: one base in memory, and adapters over it by name.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "serve/completion.h"
#include "worker/adapted_session.h"
#include "worker/commands.h"
#include "worker/other_adapter.h"

namespace molora {

struct NamedPath {
  std::string name;
  std::filesystem::path path;
};

// What is served under which name: the folder's (of a checkpoint RUN-step-N), or as --name says. A
// path of a configuration file is none of them: it stands for the base.
// Throws: ConfigError for a name that is given twice or is that of the base, and for no path at
// all.
std::vector<NamedPath> named_paths(const ServeArguments& arguments);

class ServedModels {
 public:
  // Collective. Throws: ConfigError when the adapters are not all of the same base.
  ServedModels(const ServeArguments& arguments, Communicator& world);

  // In the same order: the base first, then the adapters as named_paths() gives them.
  const std::vector<ServedModel>& models() const { return models_; }
  const std::vector<const CausalLM*>& networks() const { return networks_; }

 private:
  void add(const std::string& name, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
           const CausalLM& network);

  std::unique_ptr<AdaptedSession> session_;
  std::vector<std::unique_ptr<OtherAdapter>> others_;
  std::vector<ServedModel> models_;
  std::vector<const CausalLM*> networks_;
};

}  // namespace molora
