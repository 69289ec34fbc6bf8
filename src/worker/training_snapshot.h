// The tensors of a run under the names that checkpoints know them by.
#pragma once

#include "checkpoint/training_state.h"
#include "model/adapter.h"
#include "train/adamw.h"

namespace molora {

// Adapters as adapter/<parameter>; storage is shared, so that loading writes into them.
TrainingState adapter_state(const AdapterSet& adapters);

// The same with both moments as adamw.first/<parameter> and adamw.second/<parameter>, and a copy of
// the progress.
TrainingState training_state(const AdapterSet& adapters, const AdamW& optimizer,
                             const Progress& progress);

}  // namespace molora
