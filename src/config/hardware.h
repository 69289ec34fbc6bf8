// The machines that the planner computes with: files of proto/hardware.proto, by name or by path.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "hardware.pb.h"

namespace molora {

// One file, every field that it sets checked by the rules of the schema.
// Throws: ConfigError with everything that is wrong, also when the file cannot be read.
Hardware read_hardware(const std::filesystem::path& file);

// The same from text; `origin` names it in messages.
Hardware parse_hardware(const std::string& text, const std::string& origin);

// A machine by the names that people use.
struct HardwareRequest {
  std::string gpu;    // a name (h100: FOLDER/h100.yaml) or a path
  std::string links;  // nearest first, "nvlink+ib400": links of the GPU's own file, names or paths;
                      // "": all of the GPU's own file
  double memory_bytes = 0;                     // above 0: instead of what the file says
  std::vector<std::filesystem::path> folders;  // of named files; the first that there is counts
};

// The GPU's figures with the links asked for.
// Throws: ConfigError that lists the known names, or says which figure the file lacks.
Hardware find_hardware(const HardwareRequest& request);

}  // namespace molora
