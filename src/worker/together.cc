#include "worker/together.h"

#include <exception>
#include <vector>

#include <fmt/format.h>

#include "watch/fault_kind.h"

namespace molora {

namespace {

struct Failure {
  std::string fault;  // its FaultKind, as text; "" when the work succeeded
  std::string message;
};

Failure attempt(const std::function<void()>& work) {
  try {
    work();
    return {};
  } catch (const std::exception& error) {
    return {std::to_string(static_cast<int>(fault_of(error))), error.what()};
  }
}

}  // namespace

void together(Communicator& world, const std::function<void()>& work) {
  if (world.size() == 1) {
    work();
    return;
  }
  const Failure mine = attempt(work);
  const std::vector<std::string> faults = all_gather_text(world, mine.fault);
  std::vector<int> failed;
  for (int rank = 0; rank < world.size(); ++rank) {
    if (!faults[static_cast<size_t>(rank)].empty()) failed.push_back(rank);
  }
  if (failed.empty()) return;
  const int speaker = failed.front();
  const auto fault = static_cast<FaultKind>(std::stoi(faults[static_cast<size_t>(speaker)]));
  const ExitCode code = exit_code_of(fault);
  if (world.rank() != speaker) throw FailedTogether(fault, code, "");
  // The log line names the speaker; others are worth naming when they are some, not all.
  const bool are_some = failed.size() > 1 && static_cast<int>(failed.size()) < world.size();
  throw FailedTogether(fault, code,
                       are_some
                           ? fmt::format("{} (on ranks {})", mine.message, fmt::join(failed, ", "))
                           : mine.message);
}

std::string on_rank_zero(Communicator& world, const std::function<std::string()>& work) {
  std::string text;
  together(world, [&] {
    if (world.rank() == 0) text = work();
  });
  return broadcast_text(world, text, 0);
}

}  // namespace molora
