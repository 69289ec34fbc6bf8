// How communicators come to be: unique ids, ncclCommInitRank and ncclCommSplit.
#include <array>
#include <cstring>
#include <mutex>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nccl.h>

#include "call.h"
#include "failure_plan.h"
#include "group.h"
#include "settings.h"

namespace molora::fake_nccl {

namespace {

constexpr const char* kIdPrefix = "fake-nccl:";

// Whether this process has not used the id for this rank yet.
bool is_first_use(const std::string& id, int rank) {
  static std::mutex& mutex = *new std::mutex;
  static auto& used = *new std::set<std::pair<std::string, int>>;
  const std::lock_guard lock(mutex);
  return used.insert({id, rank}).second;
}

ncclResult_t refused(const std::string& what) {
  say(fmt::format("RULE argument: {}: {}", current_call(), what));
  return ncclInvalidArgument;
}

bool is_config(const ncclConfig_t& config) {
  const ncclConfig_t fresh = NCCL_CONFIG_INITIALIZER;
  return config.size == fresh.size && config.magic == fresh.magic &&
         config.version == fresh.version;
}

// The name and blocking of a configuration; those that came before where it is silent.
ncclResult_t read_config(const ncclConfig_t* config, CommunicatorOptions& options) {
  if (config == nullptr) return ncclSuccess;
  if (!is_config(*config)) return refused("the config does not come from NCCL_CONFIG_INITIALIZER");
  if (config->commName != nullptr) options.name = config->commName;
  if (config->blocking != NCCL_CONFIG_UNDEF_INT) {
    if (config->blocking != 0 && config->blocking != 1) return refused("blocking is not 0 or 1");
    options.is_blocking = config->blocking == 1;
  }
  return ncclSuccess;
}

// The communicator itself, or nullptr when the system has no shared memory for it.
std::shared_ptr<Communicator> make(CommunicatorOptions options) {
  try {
    return std::make_shared<Communicator>(std::move(options));
  } catch (const std::runtime_error& error) {
    say(fmt::format("{}: {}", current_call(), error.what()));
    return nullptr;
  }
}

// Connects now, at the end of the group, or on a thread of its own (nonblocking).
ncclResult_t start(CommunicatorOptions options, ncclComm_t* handle) {
  // First of all: what is wrong in the environment must not leave anything behind.
  const FailureKind failure = planned_failure(options.name, options.rank, 0);
  if (failure == FailureKind::kInit) {
    say(fmt::format("rank {} of {} (comm {}): fails as FAKE_NCCL_FAIL plans (init)", options.rank,
                    options.size, options.name));
    return ncclSystemError;
  }
  const std::shared_ptr<Communicator> communicator = make(std::move(options));
  if (!communicator) return ncclSystemError;
  *handle = add_handle(communicator);
  register_use(*communicator);
  if (failure == FailureKind::kInProgressForever) {
    communicator->progress().stay_for_ever();
    return ncclInProgress;
  }
  if (!communicator->is_blocking()) {
    communicator->progress().begin_start();
    std::thread([communicator] {
      (void)communicator->connect();  // its error stays with the communicator
      communicator->progress().finish_start();
    }).detach();
    return ncclInProgress;
  }
  const auto connect = [communicator, handle] {
    const ncclResult_t result = communicator->connect();
    if (result != ncclSuccess) {
      unregister_use(*communicator);
      remove_handle(*handle, "refused");
      *handle = nullptr;
    }
    return result;
  };
  if (!Group::current().is_open()) return connect();
  Group::current().add(connect);
  return ncclSuccess;
}

ncclResult_t init(ncclComm_t* handle, const ncclUniqueId& id, CommunicatorOptions options,
                  const ncclConfig_t* config) {
  if (handle == nullptr) return refused("no place for the communicator");
  *handle = nullptr;
  if (options.size < 1 || options.size > kMaxRanks) {
    return refused(fmt::format("{} ranks, expected 1 to {}", options.size, kMaxRanks));
  }
  if (options.rank < 0 || options.rank >= options.size) {
    return refused(fmt::format("rank {} of {}", options.rank, options.size));
  }
  const std::string text(id.internal, strnlen(id.internal, sizeof id.internal));
  if (!text.starts_with(kIdPrefix)) return refused("the id does not come from ncclGetUniqueId");
  options.id = text.substr(std::strlen(kIdPrefix));
  options.name = options.id.substr(0, 8);
  const ncclResult_t configured = read_config(config, options);
  if (configured != ncclSuccess) return configured;
  if (!is_first_use(options.id, options.rank)) {
    say(
        fmt::format("rank {} of {} (comm {}): RULE same-id: {} with a unique id that this rank has "
                    "used before, expected a fresh one for each communicator",
                    options.rank, options.size, options.name, current_call()));
    return ncclInvalidUsage;
  }
  return start(std::move(options), handle);
}

// --- Split ---

struct Share {
  int color = 0;
  int key = 0;
};

// Tells all ranks this one's colour and key and gathers theirs. Empty when that failed.
std::vector<Share> exchange(Communicator& parent, const Share& mine) {
  RankSlot& slot = parent.slot();
  const uint64_t number = ++parent.num_splits;
  slot.split_color[number % 2] = mine.color;
  slot.split_key[number % 2] = mine.key;
  slot.splits.store(number);
  parent.segment().ring();
  const bool all = parent.wait_until(
      [&] {
        for (int rank = 0; rank < parent.size(); ++rank) {
          if (parent.segment().slot(rank).splits.load() < number) return false;
        }
        return true;
      },
      "ncclCommSplit");
  std::vector<Share> shares;
  for (int rank = 0; all && rank < parent.size(); ++rank) {
    const RankSlot& other = parent.segment().slot(rank);
    shares.push_back({other.split_color[number % 2], other.split_key[number % 2]});
  }
  return shares;
}

// The place of `rank` among those of its colour, by key and then by rank.
CommunicatorOptions place_of(const std::vector<Share>& shares, int rank) {
  const Share mine = shares.at(static_cast<size_t>(rank));
  CommunicatorOptions options;
  options.size = 0;
  for (int other = 0; other < static_cast<int>(shares.size()); ++other) {
    const Share share = shares.at(static_cast<size_t>(other));
    if (share.color != mine.color) continue;
    ++options.size;
    if (std::pair(share.key, other) < std::pair(mine.key, rank)) ++options.rank;
  }
  return options;
}

ncclResult_t split(const std::shared_ptr<Communicator>& parent, const Share& mine,
                   ncclComm_t* handle, CommunicatorOptions wanted) {
  const std::vector<Share> shares = exchange(*parent, mine);
  if (shares.empty()) return parent->error();
  if (mine.color == NCCL_SPLIT_NOCOLOR) return ncclSuccess;
  CommunicatorOptions options = place_of(shares, parent->rank());
  options.id =
      fmt::format("{:016x}{:016x}",
                  hash_of(fmt::format("{} {} {}", parent->id(), parent->num_splits, mine.color)),
                  hash_of(fmt::format("{} {} {}", mine.color, parent->num_splits, parent->id())));
  options.name = wanted.name.empty() ? options.id.substr(0, 8) : wanted.name;
  options.is_blocking = wanted.is_blocking;
  return start(std::move(options), handle);
}

}  // namespace

extern "C" {

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  current_call() = "ncclGetUniqueId";
  if (id == nullptr) return refused("no place for the id");
  sweep_segments();
  std::random_device random;
  const std::string text =
      fmt::format("{}{:08x}{:08x}{:08x}{:08x}", kIdPrefix, random(), random(), random(), random());
  std::memset(id, 0, sizeof *id);
  std::memcpy(id->internal, text.data(), text.size());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t* comm, int num_ranks, ncclUniqueId id, int rank) {
  current_call() = "ncclCommInitRank";
  return init(comm, id, {.rank = rank, .size = num_ranks}, nullptr);
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int num_ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  current_call() = "ncclCommInitRankConfig";
  return init(comm, id, {.rank = rank, .size = num_ranks}, config);
}

ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t* handle,
                           ncclConfig_t* config) {
  return call_on("ncclCommSplit", comm, [&](const std::shared_ptr<Communicator>& parent) {
    if (handle == nullptr) return refused("no place for the communicator");
    if (color < 0 && color != NCCL_SPLIT_NOCOLOR) return refused("a colour below 0");
    *handle = nullptr;
    CommunicatorOptions wanted;
    wanted.is_blocking = parent->is_blocking();
    const ncclResult_t configured = read_config(config, wanted);
    if (configured != ncclSuccess) return configured;
    if (parent->is_blocking()) return split(parent, {color, key}, handle, wanted);
    // As in NCCL, the new handle is there when the parent is no longer in progress.
    parent->progress().begin_start();
    std::thread([=] {
      cudaSetDevice(parent->device());
      (void)split(parent, {color, key}, handle, wanted);
      parent->progress().finish_start();
    }).detach();
    return ncclInProgress;
  });
}

}  // extern "C"

}  // namespace molora::fake_nccl
