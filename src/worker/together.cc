#include "worker/together.h"

#include <exception>
#include <vector>

#include <fmt/format.h>

namespace molora {

namespace {

struct Failure {
  std::string code;  // of the exit, as text; "" when the work succeeded
  std::string message;
};

Failure attempt(const std::function<void()>& work) {
  try {
    work();
    return {};
  } catch (const Error& error) {
    return {std::to_string(static_cast<int>(error.exit_code())), error.what()};
  } catch (const std::exception& error) {
    return {std::to_string(static_cast<int>(ExitCode::kInternal)), error.what()};
  }
}

}  // namespace

void together(Communicator& world, const std::function<void()>& work) {
  if (world.size() == 1) {
    work();
    return;
  }
  const Failure mine = attempt(work);
  const std::vector<std::string> codes = all_gather_text(world, mine.code);
  std::vector<int> failed;
  for (int rank = 0; rank < world.size(); ++rank) {
    if (!codes[static_cast<size_t>(rank)].empty()) failed.push_back(rank);
  }
  if (failed.empty()) return;
  const int speaker = failed.front();
  const auto code = static_cast<ExitCode>(std::stoi(codes[static_cast<size_t>(speaker)]));
  if (world.rank() != speaker) throw FailedTogether(code, "");
  // The log line names the speaker; others are worth naming when they are some, not all.
  const bool are_some = failed.size() > 1 && static_cast<int>(failed.size()) < world.size();
  throw FailedTogether(
      code, are_some ? fmt::format("{} (on ranks {})", mine.message, fmt::join(failed, ", "))
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
