// The command of a rank from the second start of its run on.
#pragma once

#include <string>
#include <vector>

namespace molora {

// Whether the run has saved one since its first start.
enum class Checkpoints { kNone, kOfThisRun };

// The words with `--resume auto` in the place of any other --resume. A run that was begun from the
// path of a checkpoint (by these words or `configured`, checkpoint.resume) and has saved none yet
// begins from there again.
std::vector<std::string> resumed_words(const std::vector<std::string>& words,
                                       const std::string& configured, Checkpoints checkpoints);

}  // namespace molora
