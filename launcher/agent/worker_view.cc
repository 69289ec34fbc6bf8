#include "launcher/agent/worker_view.h"

#include "base/host_name.h"

namespace molora {

namespace {

// A record of this many collectives is a few hundred KiB.
constexpr size_t kMaxEvents = 2048;

}  // namespace

WorkerView::WorkerView(const BlackBox& box, WorkerProcess& process, double now)
    : box_(box), process_(process), host_(host_name()), progress_at_(now) {}

RankState WorkerView::state(double now) {
  RankState state = box_.state();
  complete(state, now);
  return state;
}

RankRecord WorkerView::record(double now) {
  RankRecord record = box_.record(kMaxEvents);
  complete(*record.mutable_state(), now);
  return record;
}

Departure WorkerView::departure() const {
  Departure departure = box_.failure();
  const bool has_word = departure.fault() != FAULT_NONE;
  const int own_code = departure.exit_code();
  departure.MergeFrom(process_.departure());
  // Who fails and is killed before it could leave had its code all the same.
  if (has_word && !process_.departure().has_exit_code()) departure.set_exit_code(own_code);
  return departure;
}

void WorkerView::complete(RankState& state, double now) {
  process_.describe(state);
  state.set_host(host_);
  if (state.progress() != progress_) {
    progress_ = state.progress();
    progress_at_ = now;
  }
  state.set_seconds_since_progress(now - progress_at_);
}

}  // namespace molora
