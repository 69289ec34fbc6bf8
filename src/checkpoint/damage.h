// One thing that is wrong with a checkpoint, and where.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace molora {

struct Damage {
  std::string file;    // within the step folder; "" when it is not one file
  std::string tensor;  // "" when it is not one tensor
  // The bytes [begin, end) of the file that it is in, as exactly as that can be known; begin ==
  // end: not a place in the file.
  uint64_t begin = 0;
  uint64_t end = 0;
  std::string what;
};

// "FOLDER/FILE: tensor NAME: bytes 8 to 16: WHAT", without the parts that are not known.
std::string damage_text(const std::filesystem::path& step_folder, const Damage& damage);

}  // namespace molora
