// The rules that the schema states for single fields: bounds of numbers, and what must be set.
#pragma once

#include <string>

#include "config/faults.h"
#include "config/field_places.h"
#include "config/schema.h"

namespace molora {

// What a configuration is read for, which decides what it must say.
enum class ConfigUse {
  kTrain,  // everything that is `required`
  kModel,  // only model.*: commands that read a model and train nothing
};

// Why `value`, written as `text`, breaks the bounds of the field; empty when it keeps them.
std::string bounds_fault(const FieldDescriptor& field, double value, const std::string& text);

// Adds a fault for every required field that is not set or empty, unless a fault is known there.
void check_required(const RunConfig& config, ConfigUse use, const FieldPlaces& places,
                    Faults& faults);

}  // namespace molora
