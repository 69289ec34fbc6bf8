#include "launcher/supervise/attempt_end.h"

#include <signal.h>

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "watch/fault_kind.h"

namespace molora {

namespace {

bool is_crash_signal(int signal) {
  return signal == SIGSEGV || signal == SIGABRT || signal == SIGBUS || signal == SIGILL ||
         signal == SIGFPE || signal == SIGSYS;
}

bool is_good_code(int code) {
  return code == static_cast<int>(ExitCode::kDone) || code == static_cast<int>(ExitCode::kRequeue);
}

FaultKind fault_of_code(int code) {
  switch (static_cast<ExitCode>(code)) {
    case ExitCode::kDone:
    case ExitCode::kRequeue:
      return FAULT_NONE;
    case ExitCode::kConfig:
      return FAULT_CONFIG;
    case ExitCode::kMemory:
      return FAULT_MEMORY;
    case ExitCode::kStorage:
      return FAULT_STORAGE;
    case ExitCode::kPeer:
      return FAULT_LOST;
    case ExitCode::kInternal:
      break;
  }
  return FAULT_INTERNAL;
}

// Smaller ones are nearer to the cause; those of one class are told apart by time.
enum class Closeness { kOwnWord, kSeenFromOutside, kOthersAreLost, kEndedByOthers, kGood };

// What launchers end their ranks with, before they take KILL.
bool is_launcher_signal(int signal) {
  return signal == SIGTERM || signal == SIGINT || signal == SIGHUP;
}

Closeness closeness(const RankEnd& end) {
  if (end.kind != RankEnd::Kind::kLeft) return Closeness::kSeenFromOutside;
  const FaultKind fault = fault_of_departure(end.departure);
  const bool has_word = end.departure.fault() != FAULT_NONE || fault == FAULT_MEMORY;
  if (!has_word && is_launcher_signal(end.departure.signal())) return Closeness::kEndedByOthers;
  if (fault == FAULT_LOST && end.departure.signal() == 0) return Closeness::kOthersAreLost;
  if (fault != FAULT_NONE) return has_word ? Closeness::kOwnWord : Closeness::kSeenFromOutside;
  return is_early(end) ? Closeness::kSeenFromOutside : Closeness::kGood;
}

std::string who_text(const RankEnd& end) {
  return fmt::format("rank {} (host {})", end.rank, end.host);
}

// The first line, not too much of it.
std::string first_line(const std::string& message) {
  constexpr size_t kMaxChars = 500;
  std::string line = message.substr(0, message.find('\n'));
  if (line.size() > kMaxChars) line = line.substr(0, kMaxChars) + "...";
  return line;
}

std::string signal_text(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name != nullptr ? fmt::format("signal {} (SIG{})", signal, name)
                         : fmt::format("signal {}", signal);
}

std::string memory_text(const RankEnd& end) {
  const uint64_t bytes = std::max(end.departure.peak_memory_bytes(), end.last.peak_memory_bytes());
  return bytes == 0 ? std::string()
                    : fmt::format(" at {:.1f} GiB", static_cast<double>(bytes) / (1 << 30));
}

std::string departure_text(const RankEnd& end, int world_size) {
  const Departure& departure = end.departure;
  const std::string where = where_text(end.last);
  const std::string word =
      departure.message().empty() ? std::string() : ": " + first_line(departure.message());
  const FaultKind fault = fault_of_departure(departure);
  if (fault == FAULT_MEMORY) {
    return departure.is_out_of_memory() ? fmt::format("out of memory: the kernel killed {}{} {}",
                                                      who_text(end), memory_text(end), where)
                                        : fmt::format("out of memory: {} could not go on{} {}{}",
                                                      who_text(end), memory_text(end), where, word);
  }
  if (departure.fault() != FAULT_NONE) {
    return fmt::format("{}: {} {}{}", fault_text(fault), who_text(end), where, word);
  }
  if (departure.signal() != 0) {
    return fmt::format("{} {} {} {}", who_text(end),
                       fault == FAULT_CRASH ? "crashed with" : "was killed by",
                       signal_text(departure.signal()), where);
  }
  if (fault == FAULT_NONE) {
    return fmt::format("rank {} of {} (host {}) left with code {} {} while the others went on",
                       end.rank, world_size, end.host, departure.exit_code(), where);
  }
  return fmt::format("{} left with code {} {} without a word", who_text(end), departure.exit_code(),
                     where);
}

// Silence takes whole hosts, so all of the host's ranks that are silent are named.
std::string gone_text(std::span<const RankEnd> ends, const RankEnd& end) {
  std::vector<int> ranks;
  for (const RankEnd& other : ends) {
    if (other.host == end.host && other.kind == end.kind) ranks.push_back(other.rank);
  }
  const std::string who = fmt::format("{} (host {})", ranks_text(ranks), end.host);
  const char* verb = ranks.size() > 1 ? "have" : "has";
  if (end.kind == RankEnd::Kind::kSilent) {
    return fmt::format("{} {} not been heard of for {:.0f} s, {}", who, verb, end.seconds_silent,
                       where_text(end.last));
  }
  return fmt::format("{} {} vanished with its agent {}", who, verb, where_text(end.last));
}

// An exception that was caught has left its place; its step's latest collective is near.
std::string place_in_step(const RankState& state) {
  if (!state.place().empty()) return fmt::format(" ({})", state.place());
  const CollectiveEvent& latest = state.latest();
  if (latest.place().empty() || latest.step() != state.step()) return {};
  return fmt::format(" (after {}, {})", latest.operation(), latest.place());
}

void set_where(Reason& reason, const RankState& state) {
  reason.set_phase(state.phase());
  reason.set_step(state.phase() == PHASE_STEP ? state.step() + 1 : state.step());
  const bool has_left_place = state.place().empty() && state.latest().step() == state.step();
  const std::string& place = has_left_place ? state.latest().place() : state.place();
  if (!place.empty()) reason.set_place(place);
  if (state.has_latest()) {
    reason.set_operation(state.latest().operation());
    reason.set_sequence(state.latest().sequence());
  }
}

void set_fault(Reason& reason, FaultKind fault) {
  reason.set_fault(fault);
  reason.set_exit_code(static_cast<int>(exit_code_of(fault)));
}

}  // namespace

FaultKind fault_of_departure(const Departure& departure) {
  if (departure.fault() != FAULT_NONE) return departure.fault();
  if (departure.is_out_of_memory() && departure.signal() == SIGKILL) return FAULT_MEMORY;
  if (departure.signal() != 0) {
    return is_crash_signal(departure.signal()) ? FAULT_CRASH : FAULT_LOST;
  }
  return fault_of_code(departure.exit_code());
}

bool is_early(const RankEnd& end) {
  return end.kind == RankEnd::Kind::kLeft && end.departure.signal() == 0 &&
         end.departure.fault() == FAULT_NONE && is_good_code(end.departure.exit_code()) &&
         end.last.phase() != PHASE_FINISH;
}

std::optional<size_t> deciding_end(std::span<const RankEnd> ends) {
  // A rank that crashes while the others leave with 0 is the cause, not those.
  const bool has_crash = std::ranges::any_of(
      ends, [](const RankEnd& end) { return is_crash_signal(end.departure.signal()); });
  std::optional<size_t> best;
  const auto is_nearer = [&](const RankEnd& a, const RankEnd& b) {
    if (closeness(a) != closeness(b)) return closeness(a) < closeness(b);
    // Of ranks that have failed together one has the message.
    if (a.departure.message().empty() != b.departure.message().empty()) {
      return b.departure.message().empty();
    }
    return a.at < b.at;
  };
  for (size_t i = 0; i < ends.size(); ++i) {
    if (closeness(ends[i]) == Closeness::kGood || (has_crash && is_early(ends[i]))) continue;
    if (!best || is_nearer(ends[i], ends[*best])) best = i;
  }
  return best;
}

Reason reason_of_end(std::span<const RankEnd> ends, size_t deciding, int world_size) {
  const RankEnd& end = ends[deciding];
  Reason reason;
  set_where(reason, end.last);
  if (end.kind != RankEnd::Kind::kLeft) {
    set_fault(reason, FAULT_LOST);
    reason.set_sentence(gone_text(ends, end));
  } else {
    const FaultKind fault = fault_of_departure(end.departure);
    set_fault(reason, fault == FAULT_NONE ? FAULT_EARLY_EXIT : fault);
    reason.set_sentence(departure_text(end, world_size));
    // A rank that misses another one is not where it began.
    if (closeness(end) == Closeness::kOthersAreLost) return reason;
  }
  reason.set_rank(end.rank);
  reason.set_host(end.host);
  return reason;
}

Reason reason_of_hang(const Divergence& divergence, std::span<const RankState> states,
                      bool has_record) {
  Reason reason;
  const bool is_lost = divergence.rank.has_value() && !has_record;
  set_fault(reason, is_lost ? FAULT_LOST : FAULT_HANG);
  reason.set_sentence((is_lost ? "no answer: " : "hang: ") + divergence.sentence);
  const auto of_rank = std::ranges::find_if(states, [&](const RankState& state) {
    return divergence.rank && state.rank() == static_cast<uint32_t>(*divergence.rank);
  });
  if (of_rank != states.end()) set_where(reason, *of_rank);
  if (divergence.rank) reason.set_rank(*divergence.rank);
  if (!divergence.host.empty()) reason.set_host(divergence.host);
  if (!divergence.operation.empty()) {
    reason.set_operation(divergence.operation);
    reason.set_sequence(divergence.sequence);
    reason.set_communicator(divergence.communicator);
    reason.set_step(divergence.step);
  }
  if (!divergence.place.empty()) reason.set_place(divergence.place);
  return reason;
}

std::string advice(const Reason& reason) {
  const std::string log =
      reason.has_rank() ? fmt::format("logs/rank-{}.log", reason.rank()) : "logs/";
  switch (reason.fault()) {
    case FAULT_MEMORY:
      return "use more ranks, a smaller train.micro_batch_size or sequence_parallel";
    case FAULT_LOST:
      return reason.has_host()
                 ? fmt::format("see what host {} says (kernel log, network)", reason.host())
                 : "see the kernel logs and the network of the hosts";
    case FAULT_HANG:
      return fmt::format("see {}; raise supervisor.deadlines if it was only slow", log);
    case FAULT_INTERNAL:
    case FAULT_CRASH:
    case FAULT_EARLY_EXIT:
      return fmt::format("see {}", log);
    default:
      return {};
  }
}

std::string where_text(const RankState& state) {
  switch (state.phase()) {
    case PHASE_START:
      return "while starting";
    case PHASE_LOAD:
      return "while loading";
    case PHASE_STEP:
      return fmt::format("in step {}{}", state.step() + 1, place_in_step(state));
    case PHASE_EVALUATE:
      return fmt::format("while evaluating after step {}", state.step());
    case PHASE_SAVE:
      return fmt::format("while saving after step {}", state.step());
    case PHASE_FINISH:
      return "after the last step";
  }
  return {};
}

std::string ranks_text(std::span<const int> ranks) {
  constexpr size_t kMaxListed = 8;
  const auto listed = ranks.first(std::min(ranks.size(), kMaxListed));
  return fmt::format(
      "rank{} {}{}", ranks.size() == 1 ? "" : "s", fmt::join(listed, ", "),
      ranks.size() > kMaxListed ? fmt::format(" and {} more", ranks.size() - kMaxListed) : "");
}

}  // namespace molora
