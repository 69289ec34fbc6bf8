#include "peer_transfer.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "activity.h"

namespace molora::fake_nccl {

namespace {

// The messages of one direction between this rank and one peer; the first is under way.
struct Line {
  std::deque<Operation> messages;
  size_t moved = 0;        // bytes of the first message
  bool has_begun = false;  // a piece of it has been written or read
};

class PeerTransfers {
 public:
  PeerTransfers(Communicator& communicator, const std::vector<Operation>& operations)
      : comm_(communicator) {
    std::string names;
    for (const Operation& operation : operations) {
      auto& lines = operation.kind == OperationKind::kSend ? sends_ : recvs_;
      lines[operation.root].messages.push_back(operation);
      names += (names.empty() ? "" : "; ") + text_of(operation);
    }
    text_ = names;
  }

  bool run() {
    RankSlot& mine = comm_.slot();
    mine.sends_to.store(mask_of(sends_));
    mine.recvs_from.store(mask_of(recvs_));
    const CurrentActivity activity(mine, Activity::kPeers, text_);
    comm_.segment().ring();
    while (!sends_.empty() || !recvs_.empty()) {
      if (!comm_.wait_until([&] { return move(); }, text_)) return false;
    }
    return true;
  }

 private:
  using Lines = std::map<int, Line>;

  static uint64_t mask_of(const Lines& lines) {
    uint64_t mask = 0;
    for (const auto& [peer, unused] : lines) mask |= uint64_t{1} << peer;
    return mask;
  }

  // Moves what can be moved; whether anything was.
  bool move() {
    bool has_moved = false;
    for (auto line = sends_.begin(); line != sends_.end();) {
      has_moved |= send_some(line->first, line->second);
      line = without_finished(sends_, line);
    }
    for (auto line = recvs_.begin(); line != recvs_.end();) {
      has_moved |= receive_some(line->first, line->second);
      line = without_finished(recvs_, line);
    }
    comm_.slot().sends_to.store(mask_of(sends_));
    if (has_moved) comm_.segment().ring();
    return has_moved;
  }

  static Lines::iterator without_finished(Lines& lines, Lines::iterator line) {
    return line->second.messages.empty() ? lines.erase(line) : std::next(line);
  }

  static size_t bytes(const Operation& message) { return message.count * bytes_of(message.type); }

  static void next_message(Line& line) {
    line.messages.pop_front();
    line.moved = 0;
    line.has_begun = false;
  }

  bool send_some(int peer, Line& line) {
    Channel& channel = comm_.segment().channel(comm_.rank(), peer);
    if (channel.written.load() != channel.read.load()) return false;  // not read yet
    const Operation& message = line.messages.front();
    const size_t size = std::min(kChannelBytes, bytes(message) - line.moved);
    if (line.has_begun && size == 0) {
      next_message(line);
      return true;
    }
    channel.count = message.count;
    channel.type = message.type;
    if (size > 0) {
      std::memcpy(comm_.segment().channel_data(comm_.rank(), peer),
                  static_cast<const std::byte*>(message.send) + line.moved, size);
    }
    line.moved += size;
    line.has_begun = true;
    channel.written.fetch_add(1);
    return true;
  }

  bool receive_some(int peer, Line& line) {
    Channel& channel = comm_.segment().channel(peer, comm_.rank());
    if (channel.written.load() == channel.read.load()) return false;  // nothing there
    const Operation& message = line.messages.front();
    if (!line.has_begun && !matches(peer, channel, message)) return false;
    const size_t size = std::min(kChannelBytes, bytes(message) - line.moved);
    if (size > 0) {
      std::memcpy(static_cast<std::byte*>(message.recv) + line.moved,
                  comm_.segment().channel_data(peer, comm_.rank()), size);
    }
    line.moved += size;
    line.has_begun = true;
    if (line.moved == bytes(message)) next_message(line);
    // Told before the piece is given back: who sees it read must not see this rank wait for more.
    if (line.messages.empty()) comm_.slot().recvs_from.fetch_and(~(uint64_t{1} << peer));
    channel.read.fetch_add(1);
    return true;
  }

  bool matches(int peer, const Channel& channel, const Operation& message) {
    if (channel.count == message.count && channel.type == message.type) return true;
    comm_.breach(comm_.rank(), "peers",
                 fmt::format("receives {} {} from rank {}, which sends {} {}", message.count,
                             name_of(message.type), peer, channel.count, name_of(channel.type)));
    return false;
  }

  Communicator& comm_;
  Lines sends_;  // by peer
  Lines recvs_;
  std::string text_;
};

}  // namespace

bool run_peer_transfers(Communicator& communicator, const std::vector<Operation>& operations) {
  return operations.empty() || PeerTransfers(communicator, operations).run();
}

}  // namespace molora::fake_nccl
