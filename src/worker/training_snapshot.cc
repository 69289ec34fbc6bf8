#include "worker/training_snapshot.h"

#include <map>

namespace molora {

namespace {

// `value`: this rank's slice, undefined when another rank has it.
TensorSlice slice_of(const std::string& kind, const Parameter& parameter, const Tensor& value) {
  return {kind + parameter.name, value.defined() ? value.detach() : value, parameter.global_shape,
          parameter.offset, parameter.value.scalar_type()};
}

}  // namespace

TrainingState adapter_state(const AdapterSet& adapters) {
  TrainingState state;
  for (const Parameter& parameter : adapters.parameters()) {
    state.adapter.push_back(slice_of("adapter/", parameter, parameter.value));
  }
  return state;
}

TrainingState training_state(const AdapterSet& adapters, const AdamW& optimizer,
                             const Progress& progress) {
  TrainingState state = adapter_state(adapters);
  std::map<std::string, size_t> updated_here;
  for (size_t i = 0; i < optimizer.parameters().size(); ++i) {
    updated_here[optimizer.parameters()[i].name] = i;
  }
  for (const Parameter& parameter : adapters.parameters()) {
    const auto found = updated_here.find(parameter.name);
    const bool is_here = found != updated_here.end();
    state.optimizer.push_back(slice_of(
        "adamw.first/", parameter, is_here ? optimizer.first_moments()[found->second] : Tensor()));
    state.optimizer.push_back(
        slice_of("adamw.second/", parameter,
                 is_here ? optimizer.second_moments()[found->second] : Tensor()));
  }
  state.progress = progress;
  return state;
}

}  // namespace molora
