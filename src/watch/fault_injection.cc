#include "watch/fault_injection.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/nearest_name.h"

namespace molora {

namespace {

// In the order of the enumerators.
const std::vector<std::string> kPhases = {"load",   "forward",  "backward", "sync",
                                          "update", "evaluate", "save"};
const std::vector<std::string> kKinds = {"kill", "stop",    "exit", "throw", "segfault",
                                         "nan",  "bitflip", "slow", "skip",  "memory"};
const std::vector<std::string> kKeys = {"step",    "rank", "phase",   "kind",
                                        "attempt", "code", "seconds", "mib"};

const std::string& phase_name(FaultPhase phase) { return kPhases.at(static_cast<size_t>(phase)); }
const std::string& kind_name(InjectedKind kind) { return kKinds.at(static_cast<size_t>(kind)); }

// --- Reading ---

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// The parts between separators, trimmed, without empty ones.
std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find(separator);
    const std::string_view part = trimmed(text.substr(0, end));
    if (!part.empty()) parts.push_back(part);
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// The words of one fault, and what is wrong with them.
class FaultReader {
 public:
  explicit FaultReader(std::string_view fault) : fault_(fault) {}

  InjectedFault read() {
    for (const std::string_view pair : split(fault_, ',')) {
      const size_t equals = pair.find('=');
      if (equals == std::string_view::npos) fail(pair, "expected name=value");
      const std::string key(trimmed(pair.substr(0, equals)));
      name_of(key, kKeys, "setting");
      if (std::find(given_.begin(), given_.end(), key) != given_.end()) fail(key, "is there twice");
      given_.push_back(key);
      set(key, std::string(trimmed(pair.substr(equals + 1))));
    }
    check();
    return read_;
  }

 private:
  [[noreturn]] void fail(std::string_view word, const std::string& why) const {
    throw ConfigError(fmt::format("MOLORA_FAULT, in '{}': '{}': {}", fault_, word, why));
  }

  // The position of `word` among `names`.
  size_t name_of(const std::string& word, const std::vector<std::string>& names,
                 const char* what) const {
    const auto found = std::find(names.begin(), names.end(), word);
    if (found != names.end()) return static_cast<size_t>(found - names.begin());
    const std::string near = nearest_name(word, names);
    fail(word, fmt::format("there is no such {}{}; there are {}", what,
                           near.empty() ? "" : fmt::format(", did you mean '{}'?", near),
                           fmt::join(names, ", ")));
  }

  template <typename Number>
  Number number(const std::string& word, Number least, Number most) const {
    Number value{};
    const char* end = word.data() + word.size();
    const auto [stop, error] = std::from_chars(word.data(), end, value);
    if (error != std::errc() || stop != end || !(value >= least && value <= most)) {
      fail(word, fmt::format("expected a number from {} to {}", least, most));
    }
    return value;
  }

  void set(const std::string& key, const std::string& word) {
    if (key == "step") read_.step = number<int64_t>(word, 1, 1'000'000'000);
    if (key == "rank") read_.rank = number<int>(word, 0, 1'000'000);
    if (key == "phase") read_.phase = static_cast<FaultPhase>(name_of(word, kPhases, "phase"));
    if (key == "kind") read_.kind = static_cast<InjectedKind>(name_of(word, kKinds, "kind"));
    if (key == "attempt") read_.attempt = number<int>(word, 0, 1'000'000);
    if (key == "code") read_.code = number<int>(word, 0, 255);
    if (key == "seconds") read_.seconds = number<double>(word, 0.0, 1e6);
    if (key == "mib") read_.mib = number<uint64_t>(word, 1, uint64_t{1} << 30);
  }

  void check() const {
    const auto is_given = [this](const char* key) {
      return std::find(given_.begin(), given_.end(), key) != given_.end();
    };
    for (const char* key : {"kind", "phase", "rank"}) {
      if (!is_given(key)) fail(key, "is missing");
    }
    if (!is_given("step") && read_.phase != FaultPhase::kLoad) fail("step", "is missing");
    const bool is_of_gradient =
        read_.kind == InjectedKind::kNan || read_.kind == InjectedKind::kBitflip;
    if (is_of_gradient && read_.phase != FaultPhase::kBackward) {
      fail(kind_name(read_.kind), "gradients are there in phase backward only");
    }
    const std::pair<const char*, InjectedKind> kOfKind[] = {
        {"code", InjectedKind::kExit},
        {"seconds", InjectedKind::kSlow},
        {"mib", InjectedKind::kMemory},
    };
    for (const auto& [key, kind] : kOfKind) {
      if (is_given(key) && read_.kind != kind) {
        fail(key, fmt::format("goes with kind={} only", kind_name(kind)));
      }
    }
  }

  std::string_view fault_;
  InjectedFault read_;
  std::vector<std::string> given_;
};

std::string fault_text(const InjectedFault& fault) {
  if (fault.phase == FaultPhase::kLoad) return kind_name(fault.kind) + " in phase load";
  return fmt::format("{} in step {}, phase {}", kind_name(fault.kind), fault.step,
                     phase_name(fault.phase));
}

// --- Doing ---

// Of this thread, so that ranks which are threads have faults of their own.
thread_local std::vector<InjectedFault> armed;
thread_local std::optional<InjectedKind> gradient_fault;
thread_local bool own_skip = false;
thread_local bool* skip = &own_skip;
thread_local std::vector<std::unique_ptr<std::byte[]>> kept_memory;

void take_memory(uint64_t mib) {
  constexpr size_t kMib = size_t{1} << 20;
  for (uint64_t i = 0; i < mib; ++i) {
    kept_memory.push_back(std::make_unique_for_overwrite<std::byte[]>(kMib));
    std::memset(kept_memory.back().get(), 0x5a, kMib);
  }
}

void happen(const InjectedFault& fault) {
  spdlog::warn("MOLORA_FAULT: now {}", fault_text(fault));
  spdlog::default_logger()->flush();
  switch (fault.kind) {
    case InjectedKind::kKill:
      ::kill(::getpid(), SIGKILL);
      return;
    case InjectedKind::kStop:
      ::kill(::getpid(), SIGSTOP);
      return;
    case InjectedKind::kExit:
      ::_exit(fault.code);
    case InjectedKind::kThrow:
      throw InternalError("thrown on request (MOLORA_FAULT): " + fault_text(fault));
    case InjectedKind::kSegfault:
      std::raise(SIGSEGV);
      return;
    case InjectedKind::kNan:
    case InjectedKind::kBitflip:
      gradient_fault = fault.kind;
      return;
    case InjectedKind::kSlow:
      std::this_thread::sleep_for(std::chrono::duration<double>(fault.seconds));
      return;
    case InjectedKind::kSkip:
      *skip = true;
      return;
    case InjectedKind::kMemory:
      take_memory(fault.mib);
      return;
  }
}

}  // namespace

std::vector<InjectedFault> parse_faults(std::string_view text) {
  std::vector<InjectedFault> faults;
  for (const std::string_view fault : split(text, ';')) faults.push_back(FaultReader(fault).read());
  return faults;
}

void arm_faults(const std::vector<InjectedFault>& faults, int rank, int attempt) {
  armed.clear();
  gradient_fault.reset();
  *skip = false;
  for (const InjectedFault& fault : faults) {
    if (fault.rank != rank || (fault.attempt != 0 && fault.attempt != attempt)) continue;
    armed.push_back(fault);
    spdlog::warn("MOLORA_FAULT: rank {} is to have a fault: {}", rank, fault_text(fault));
  }
}

void fault_point(FaultPhase phase, int64_t step) {
  if (armed.empty()) return;
  for (;;) {
    const auto next = std::find_if(armed.begin(), armed.end(), [&](const InjectedFault& fault) {
      return fault.phase == phase && (phase == FaultPhase::kLoad || fault.step == step);
    });
    if (next == armed.end()) return;
    const InjectedFault fault = *next;
    armed.erase(next);
    happen(fault);
  }
}

std::optional<InjectedKind> take_gradient_fault() {
  return std::exchange(gradient_fault, std::nullopt);
}

bool take_skip() { return std::exchange(*skip, false); }

bool* thread_skip() { return skip; }

void bind_skip(bool* flag) { skip = flag; }

}  // namespace molora
