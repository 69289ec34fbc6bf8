// Whether the files and folders that a configuration names exist; what is in them is not read.
#pragma once

#include <filesystem>
#include <string>

#include "config/faults.h"
#include "config/field_places.h"
#include "config/field_rules.h"
#include "run_config.pb.h"

namespace molora {

// Adds a fault for every path that the run would read and that is not there: model.path and
// model.tokenizer (folders) and, for training, data.*.path (files) and checkpoint.resume. Names the
// nearest existing neighbour.
void check_paths(const RunConfig& config, ConfigUse use, const FieldPlaces& places, Faults& faults);

// "; did you mean 'data/train.jsonl'?" when `path` does not exist but a neighbour of nearly the
// same name does; else empty.
std::string path_hint(const std::filesystem::path& path);

}  // namespace molora
