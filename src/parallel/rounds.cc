#include "parallel/rounds.h"

#include <algorithm>
#include <vector>

#include "base/mutation.h"

namespace molora {

void Rounds::begin_with_work() { (void)anyone_has_work(true); }

bool Rounds::others_have_work() { return anyone_has_work(false); }

bool Rounds::anyone_has_work(bool here) {
  if (MOLORA_MUTANT(kRoundsAlone)) return here;
  const auto mine = static_cast<std::byte>(here ? 1 : 0);
  std::vector<std::byte> everyone(static_cast<size_t>(all_.size()));
  all_.all_gather(std::span(&mine, 1), everyone);
  return std::any_of(everyone.begin(), everyone.end(),
                     [](std::byte flag) { return flag != std::byte{0}; });
}

}  // namespace molora
