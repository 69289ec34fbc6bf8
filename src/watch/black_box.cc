#include "watch/black_box.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <new>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"

namespace molora {

namespace {

constexpr size_t kNumPhases = 6;
constexpr size_t kMaxMembers = 16;  // of a group that is not evenly spaced

static_assert(std::atomic<uint64_t>::is_always_lock_free, "the box is shared between processes");

// The same clock in every process of a host.
int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

double seconds_since(int64_t then_ns) {
  return static_cast<double>(std::max<int64_t>(0, now_ns() - then_ns)) * 1e-9;
}

template <size_t N>
void put_text(std::array<char, N>& into, std::string_view text) {
  const size_t length = std::min(text.size(), N - 1);
  std::memcpy(into.data(), text.data(), length);
  into[length] = 0;
}

template <size_t N>
std::string get_text(const std::array<char, N>& from) {
  return {from.data(), ::strnlen(from.data(), N)};
}

// A place without pointers.
struct StoredPlace {
  int32_t layer = WorkPlace::kNoLayer;
  Direction direction = Direction::kNone;
  std::array<char, 27> part{};

  static StoredPlace of(const WorkPlace& place) {
    StoredPlace stored;
    stored.layer = place.layer;
    stored.direction = place.direction;
    put_text(stored.part, place.part);
    return stored;
  }
  std::string text() const {
    const std::string copy = get_text(part);
    return place_text({layer, direction, copy.c_str()});
  }
};

// A value that one writer replaces while others read: odd versions are being written.
template <typename Value>
class Versioned {
 public:
  void write(const Value& value) {
    const uint64_t version = version_.load(std::memory_order_relaxed);
    version_.store(version + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    std::memcpy(&value_, &value, sizeof(Value));
    version_.store(version + 2, std::memory_order_release);
  }
  // False when the writer was at it, or ended while it was.
  bool read(Value& into) const {
    for (int tries = 0; tries < 3; ++tries) {
      const uint64_t before = version_.load(std::memory_order_acquire);
      std::memcpy(&into, &value_, sizeof(Value));
      std::atomic_thread_fence(std::memory_order_acquire);
      if (before % 2 == 0 && version_.load(std::memory_order_relaxed) == before) return true;
    }
    return false;
  }

 private:
  std::atomic<uint64_t> version_{0};
  Value value_;
};

struct StoredCollective {
  uint64_t order = 0;
  uint64_t communicator = 0;
  uint64_t sequence = 0;
  uint64_t bytes_sent = 0;
  int64_t step = 0;
  int64_t entered_ns = 0;
  std::array<char, 16> operation{};
  StoredPlace place;
};

// Evenly spaced members, as all groups of a mesh are, or the first of others.
struct StoredCommunicator {
  uint64_t id = 0;
  std::array<char, 24> name{};
  uint32_t count = 0;
  std::array<int32_t, kMaxMembers> members{};
  int32_t stride = 0;  // 0: not evenly spaced
};

struct StoredFailure {
  FaultKind fault = FAULT_NONE;
  int32_t exit_code = 0;
  std::array<char, 4000> message{};
};

struct StoredRun {
  std::array<char, 1000> folder{};
  std::array<double, kNumPhases> deadlines{};
  double heartbeat_timeout = 0.0;
};

uint64_t hash_text(const std::string& text) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

int32_t even_stride(std::span<const int> ranks) {
  const int stride = ranks.size() > 1 ? ranks[1] - ranks[0] : 1;
  for (size_t i = 1; i < ranks.size(); ++i) {
    if (ranks[i] - ranks[i - 1] != stride) return 0;
  }
  return stride;
}

thread_local BlackBox* bound_box = nullptr;

}  // namespace

struct BlackBox::Shared {
  std::atomic<int32_t> rank{0};
  std::atomic<int32_t> world_size{1};
  std::atomic<int32_t> phase{PHASE_START};
  std::atomic<int64_t> step{0};
  std::atomic<int64_t> saved_step{0};
  std::atomic<uint64_t> progress{0};
  std::atomic<int64_t> progress_at_ns{0};
  std::atomic<uint64_t> num_collectives{0};
  std::atomic<uint64_t> num_collectives_left{0};  // = num_collectives outside of one
  std::atomic<uint64_t> num_communicators{0};
  std::atomic<bool> has_failure{false};
  Versioned<StoredPlace> place;
  Versioned<StoredRun> run;
  Versioned<StoredFailure> failure;
  std::array<StoredCommunicator, kMaxCommunicators> communicators{};
  std::array<Versioned<StoredCollective>, kCapacity> ring{};
};

std::unique_ptr<BlackBox> BlackBox::make() {
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw IoError(fmt::format("no {} bytes of shared memory for the flight record: {}",
                              sizeof(Shared), std::strerror(errno)));
  }
  auto* shared = new (memory) Shared;
  shared->progress_at_ns = now_ns();
  shared->place.write({});
  shared->run.write({});
  shared->failure.write({});
  return std::unique_ptr<BlackBox>(new BlackBox(shared));
}

BlackBox::~BlackBox() {
  if (bound_box == this) bound_box = nullptr;
  ::munmap(shared_, sizeof(Shared));
}

void BlackBox::set_rank(int rank, int world_size) {
  shared_->rank = rank;
  shared_->world_size = world_size;
}

void BlackBox::set_run(const std::filesystem::path& folder, const SupervisorConfig& config) {
  StoredRun run;
  put_text(run.folder, std::filesystem::absolute(folder).string());
  const DeadlineConfig& d = config.deadlines();
  run.deadlines = {double(d.start()),    double(d.load()), double(d.step()),
                   double(d.evaluate()), double(d.save()), double(d.finish())};
  run.heartbeat_timeout = config.heartbeat_timeout();
  shared_->run.write(run);
}

void BlackBox::enter_phase(Phase phase) {
  shared_->phase = phase;
  tick();
}

void BlackBox::set_step(int64_t steps_done) {
  shared_->step = steps_done;
  tick();
}

void BlackBox::set_saved_step(int64_t step) {
  shared_->saved_step = step;
  tick();
}

void BlackBox::tick() {
  shared_->progress_at_ns.store(now_ns(), std::memory_order_relaxed);
  shared_->progress.fetch_add(1, std::memory_order_relaxed);
}

void BlackBox::set_place(const WorkPlace& place) { shared_->place.write(StoredPlace::of(place)); }

uint64_t BlackBox::add_communicator(const std::string& name, std::span<const int> world_ranks) {
  const uint64_t index = shared_->num_communicators.load();
  const uint64_t kind = hash_text(fmt::format("{}/{}", name, fmt::join(world_ranks, ",")));
  StoredCommunicator entry;
  put_text(entry.name, name);
  entry.count = static_cast<uint32_t>(world_ranks.size());
  entry.stride = even_stride(world_ranks);
  for (size_t i = 0; i < std::min(world_ranks.size(), kMaxMembers); ++i) {
    entry.members[i] = world_ranks[i];
  }
  // Groups of the same name and members are told apart by the order of their first use.
  entry.id = kind;
  const auto known =
      std::span(shared_->communicators).first(std::min<uint64_t>(index, kMaxCommunicators));
  const auto is_taken = [&] {
    return std::any_of(known.begin(), known.end(), [&](const auto& c) { return c.id == entry.id; });
  };
  while (is_taken()) entry.id += 1;
  if (index < kMaxCommunicators) shared_->communicators[index] = entry;
  shared_->num_communicators = index + 1;
  return entry.id;
}

void BlackBox::enter_collective(uint64_t communicator, uint64_t sequence, const char* operation,
                                uint64_t bytes_sent) {
  StoredCollective entry;
  entry.order = shared_->num_collectives.load(std::memory_order_relaxed) + 1;
  entry.communicator = communicator;
  entry.sequence = sequence;
  entry.bytes_sent = bytes_sent;
  entry.step = shared_->step.load(std::memory_order_relaxed);
  entry.entered_ns = now_ns();
  put_text(entry.operation, operation);
  entry.place = StoredPlace::of(current_place());
  shared_->ring[(entry.order - 1) % kCapacity].write(entry);
  shared_->num_collectives.store(entry.order, std::memory_order_release);
  tick();
}

void BlackBox::leave_collective() {
  shared_->num_collectives_left.store(shared_->num_collectives.load(std::memory_order_relaxed),
                                      std::memory_order_release);
  tick();
}

void BlackBox::set_failure(FaultKind fault, int exit_code, const std::string& message) {
  if (shared_->has_failure.exchange(true)) return;
  StoredFailure failure;
  failure.fault = fault;
  failure.exit_code = exit_code;
  put_text(failure.message, message);
  shared_->failure.write(failure);
}

Phase BlackBox::phase() const { return static_cast<Phase>(shared_->phase.load()); }

// Of every beat and every phase: no groups, no more than the latest collective.
RankState BlackBox::state() const {
  RankRecord record;
  add_latest_events(1, record);
  RankState state;
  fill(state);
  if (record.events_size() > 0) *state.mutable_latest() = record.events(0);
  return state;
}

void BlackBox::fill(RankState& state) const {
  state.set_rank(static_cast<uint32_t>(shared_->rank.load()));
  state.set_world_size(static_cast<uint32_t>(shared_->world_size.load()));
  state.set_phase(phase());
  state.set_step(shared_->step);
  state.set_saved_step(shared_->saved_step);
  state.set_progress(shared_->progress);
  state.set_seconds_since_progress(seconds_since(shared_->progress_at_ns));
  StoredRun run;
  if (shared_->run.read(run)) state.set_deadline(run.deadlines.at(state.phase()));
  StoredPlace place;
  if (shared_->place.read(place)) state.set_place(place.text());
}

RankRecord BlackBox::record(size_t max_events) const {
  RankRecord record;
  fill(*record.mutable_state());
  const uint64_t known = std::min<uint64_t>(shared_->num_communicators, kMaxCommunicators);
  for (uint64_t i = 0; i < known; ++i) {
    const StoredCommunicator& entry = shared_->communicators[i];
    CommunicatorInfo& info = *record.add_communicators();
    info.set_id(entry.id);
    info.set_name(get_text(entry.name));
    const uint32_t count =
        entry.stride != 0 ? entry.count : std::min<uint32_t>(entry.count, kMaxMembers);
    for (uint32_t k = 0; k < count; ++k) {
      const int32_t rank = entry.stride != 0
                               ? entry.members[0] + static_cast<int32_t>(k) * entry.stride
                               : entry.members[k];
      info.add_ranks(static_cast<uint32_t>(rank));
    }
  }
  add_latest_events(max_events, record);
  if (record.events_size() > 0) {
    *record.mutable_state()->mutable_latest() = record.events(record.events_size() - 1);
  }
  return record;
}

void BlackBox::add_latest_events(size_t most, RankRecord& record) const {
  const uint64_t left = shared_->num_collectives_left;
  const uint64_t last = shared_->num_collectives;
  const uint64_t count = std::min({last, static_cast<uint64_t>(most), uint64_t{kCapacity}});
  for (uint64_t order = last - count + 1; order <= last; ++order) {
    StoredCollective entry;
    if (!shared_->ring[(order - 1) % kCapacity].read(entry) || entry.order != order) continue;
    CollectiveEvent& event = *record.add_events();
    event.set_order(order);
    event.set_communicator(entry.communicator);
    event.set_sequence(entry.sequence);
    event.set_operation(get_text(entry.operation));
    event.set_bytes_sent(entry.bytes_sent);
    event.set_place(entry.place.text());
    event.set_step(entry.step);
    event.set_seconds_ago(seconds_since(entry.entered_ns));
    event.set_is_over(order <= left);
  }
}

std::filesystem::path BlackBox::folder() const {
  StoredRun run;
  return shared_->run.read(run) ? get_text(run.folder) : std::string();
}

double BlackBox::heartbeat_timeout() const {
  StoredRun run;
  return shared_->run.read(run) ? run.heartbeat_timeout : 0.0;
}

Departure BlackBox::failure() const {
  Departure departure;
  StoredFailure failure;
  if (!shared_->has_failure || !shared_->failure.read(failure)) return departure;
  departure.set_fault(failure.fault);
  departure.set_exit_code(failure.exit_code);
  departure.set_message(get_text(failure.message));
  return departure;
}

BlackBox* thread_black_box() { return bound_box; }

void bind_black_box(BlackBox* box) { bound_box = box; }

PhaseScope::PhaseScope(Phase phase) : num_exceptions_(std::uncaught_exceptions()) {
  BlackBox* box = thread_black_box();
  before_ = box != nullptr ? box->phase() : PHASE_START;
  if (box != nullptr) box->enter_phase(phase);
}

PhaseScope::~PhaseScope() {
  if (std::uncaught_exceptions() > num_exceptions_) return;
  if (BlackBox* box = thread_black_box()) box->enter_phase(before_);
}

}  // namespace molora
