// Fuzz target: what comes in over a connection of an agent, in pieces.
//
// The first byte says how long the pieces are. Only CommError may come out of it; what is accepted
// must be the same however it was cut, and the reader keeps no more than it was given. What the
// messages then do to the monitor must not break it either, and whatever lines they carry becomes
// visible UTF-8.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "launcher/supervise/monitor.h"
#include "launcher/supervise/visible_text.h"
#include "launcher/system/frame.h"
#include "supervision.pb.h"

namespace {

using namespace molora;

constexpr size_t kMaxBytes = 4096;

void require(bool promise, const char* what) {
  if (promise) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

// The messages until the end or the first that is refused.
std::vector<FromAgent> read_all(std::string_view bytes, size_t piece_bytes) {
  std::vector<FromAgent> messages;
  FrameReader reader(kMaxBytes);
  try {
    while (!bytes.empty()) {
      const std::string_view piece = bytes.substr(0, piece_bytes);
      reader.add(piece);
      bytes.remove_prefix(piece.size());
      for (FromAgent message; reader.next(message);) {
        require(message.ByteSizeLong() <= kMaxBytes, "no message is longer than allowed");
        messages.push_back(message);
      }
    }
  } catch (const CommError&) {
  }
  return messages;
}

// As the supervisor does with what two ranks send.
void watch(const std::vector<FromAgent>& messages) {
  Monitor::Options options;
  options.world_size = 2;
  options.heartbeat_timeout = 10.0;
  options.start_deadline = 100.0;
  options.compare = [](std::span<const RankRecord>, int) { return Divergence(); };
  Monitor monitor(options, 0.0);
  double now = 0.0;
  for (const FromAgent& message : messages) {
    const int rank = static_cast<int>(message.ByteSizeLong() % 2);
    now += 0.5;
    if (message.has_hello() && message.hello().rank() < 2) monitor.hello(message.hello(), now);
    if (message.has_state()) monitor.state(rank, message.state(), now);
    if (message.has_record()) monitor.record(rank, message.record(), now);
    if (message.has_departure()) monitor.departure(rank, message.departure(), now);
    if (message.has_lines()) {
      const std::string text = visible_text(message.lines().text());
      require(text == visible_text(text), "what is visible stays as it is");
    }
    monitor.tick(now);
  }
  for (int i = 0; i < 20; ++i) monitor.tick(now += 10.0);
  require(monitor.tick(now) == Monitor::Action::kEnd, "silence always ends it");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::vector<FromAgent> whole = read_all(bytes, bytes.size() + 1);
  const std::vector<FromAgent> pieces = read_all(bytes, size_t{data[0]} + 1);
  require(whole.size() == pieces.size(), "pieces make no difference");
  for (size_t i = 0; i < whole.size(); ++i) {
    require(whole[i].SerializeAsString() == pieces[i].SerializeAsString(),
            "pieces make no difference to what is said");
  }
  watch(whole);
  return 0;
}
