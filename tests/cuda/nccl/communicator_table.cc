#include "communicator_table.h"

#include <mutex>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "report.h"

// What a handle points to: an address of its own, never freed.
struct ncclComm {
  int rank;
};

namespace molora::fake_nccl {

namespace {

struct Entry {
  std::shared_ptr<Communicator> communicator;  // nullptr when it is gone
  std::string headline;
  std::string how;
};

struct Table {
  std::mutex mutex;
  std::unordered_map<ncclComm_t, Entry> entries;
};

Table& table() {
  static Table& once = *new Table;
  return once;
}

}  // namespace

ncclComm_t add_handle(std::shared_ptr<Communicator> communicator) {
  auto* handle = new ncclComm{communicator->rank()};
  const std::lock_guard lock(table().mutex);
  std::string headline = fmt::format("rank {} of {} (comm {})", communicator->rank(),
                                     communicator->size(), communicator->name());
  table().entries[handle] = Entry{std::move(communicator), std::move(headline), {}};
  return handle;
}

std::shared_ptr<Communicator> find_handle(ncclComm_t handle) {
  const std::lock_guard lock(table().mutex);
  const auto found = table().entries.find(handle);
  if (found == table().entries.end()) {
    say(fmt::format("RULE dead-handle: {} with a handle ({}) that was never a communicator",
                    current_call(), fmt::ptr(handle)));
    return nullptr;
  }
  if (!found->second.communicator) {
    say(fmt::format("{}: RULE dead-handle: {} after it was {}", found->second.headline,
                    current_call(), found->second.how));
  }
  return found->second.communicator;
}

void remove_handle(ncclComm_t handle, const std::string& how) {
  const std::lock_guard lock(table().mutex);
  Entry& entry = table().entries.at(handle);
  entry.communicator = nullptr;
  entry.how = how;
}

}  // namespace molora::fake_nccl
