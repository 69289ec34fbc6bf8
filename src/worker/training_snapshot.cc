#include "worker/training_snapshot.h"

namespace molora {

TrainingState adapter_state(const AdapterSet& adapters) {
  TrainingState state;
  for (const Parameter& parameter : adapters.parameters()) {
    state.adapter.push_back(whole_tensor("adapter/" + parameter.name, parameter.value.detach()));
  }
  return state;
}

TrainingState training_state(const AdapterSet& adapters, const AdamW& optimizer,
                             const Progress& progress) {
  TrainingState state = adapter_state(adapters);
  const auto& parameters = adapters.parameters();
  for (size_t i = 0; i < parameters.size(); ++i) {
    state.optimizer.push_back(
        whole_tensor("adamw.first/" + parameters[i].name, optimizer.first_moments()[i]));
    state.optimizer.push_back(
        whole_tensor("adamw.second/" + parameters[i].name, optimizer.second_moments()[i]));
  }
  state.progress = progress;
  return state;
}

}  // namespace molora
