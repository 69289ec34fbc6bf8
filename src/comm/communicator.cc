#include "comm/communicator.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <numeric>
#include <utility>

#include <spdlog/spdlog.h>

#include "base/check.h"
#include "watch/black_box.h"
#include "watch/fault_injection.h"
#include "watch/work_observer.h"

namespace molora {

namespace {

void copy_bytes(std::span<const std::byte> from, std::span<std::byte> to) {
  MOLORA_CHECK_EQ(from.size(), to.size());
  if (!from.empty()) std::memcpy(to.data(), from.data(), from.size());
}

size_t total(std::span<const size_t> parts) {
  return std::accumulate(parts.begin(), parts.end(), size_t{0});
}

// A group of one: the wrappers never call these.
class SingleCommunicator final : public Communicator {
 public:
  explicit SingleCommunicator(const std::string& name) : Communicator(name, 0, 1) {}

 private:
  void do_barrier() override { MOLORA_CHECK(false); }
  void do_broadcast(std::span<std::byte>, int) override { MOLORA_CHECK(false); }
  void do_all_gather(std::span<const std::byte>, std::span<std::byte>,
                     std::span<const size_t>) override {
    MOLORA_CHECK(false);
  }
  void do_start_all_to_all(std::span<const std::byte>, std::span<const size_t>,
                           std::span<std::byte>, std::span<const size_t>) override {
    MOLORA_CHECK(false);
  }
  void do_wait() override { MOLORA_CHECK(false); }
  std::unique_ptr<Communicator> do_split(const std::string&, const std::vector<int>&) override {
    MOLORA_CHECK(false);
    return nullptr;
  }
};

}  // namespace

Communicator::Communicator(std::string name, int rank, int size)
    : name_(std::move(name)), rank_(rank), size_(size), world_ranks_(static_cast<size_t>(size)) {
  MOLORA_CHECK(size > 0 && rank >= 0 && rank < size, "rank {} of {}", rank, size);
  std::iota(world_ranks_.begin(), world_ranks_.end(), 0);
}

Communicator::Communicator(const Communicator& host, std::string name)
    : name_(std::move(name)),
      rank_(host.rank_),
      size_(host.size_),
      place_(BufferPlace::kDevice),
      world_ranks_(host.world_ranks_) {}

bool Communicator::enter(CollectiveKind kind, size_t bytes_sent) {
  MOLORA_CHECK(!is_exchanging_, "{} on {} before the exchange #{} was waited for",
               collective_name(kind), name_, record_.sequence());
  if (size_ > 1 && take_skip()) return false;
  record_.enter(kind, bytes_sent);
  if (BlackBox* box = thread_black_box(); box != nullptr && size_ > 1) {
    note_in(*box, kind, bytes_sent);
  }
  return true;
}

void Communicator::note_in(BlackBox& box, CollectiveKind kind, size_t bytes_sent) {
  if (noted_in_ != &box) {
    noted_as_ = box.add_communicator(name_, world_ranks_);
    noted_in_ = &box;
  }
  box.enter_collective(noted_as_, record_.sequence(), collective_name(kind), bytes_sent);
}

// On a device the collective has only been given to it; who waits for the device notes its end.
void Communicator::leave() {
  record_.leave();
  if (place_ == BufferPlace::kDevice) return;
  if (BlackBox* box = thread_black_box(); box != nullptr && size_ > 1) box->leave_collective();
}

void Communicator::barrier() {
  if (!enter(CollectiveKind::kBarrier, 0)) return;
  if (size_ > 1) {
    const CollectiveScope scope(name_, collective_name(CollectiveKind::kBarrier), 0);
    do_barrier();
  }
  leave();
}

void Communicator::broadcast(std::span<std::byte> buffer, int root) {
  MOLORA_CHECK(root >= 0 && root < size_, "root {} of {}", root, size_);
  const size_t sent = rank_ == root ? buffer.size() * static_cast<size_t>(size_ - 1) : 0;
  if (!enter(CollectiveKind::kBroadcast, sent)) return;
  if (size_ > 1) {
    const CollectiveScope scope(name_, collective_name(CollectiveKind::kBroadcast), sent);
    do_broadcast(buffer, root);
  }
  leave();
}

void Communicator::all_gather(std::span<const std::byte> send, std::span<std::byte> recv) {
  MOLORA_CHECK_EQ(recv.size(), send.size() * static_cast<size_t>(size_));
  all_gather(send, recv, std::vector<size_t>(static_cast<size_t>(size_), send.size()));
}

void Communicator::all_gather(std::span<const std::byte> send, std::span<std::byte> recv,
                              std::span<const size_t> recv_bytes) {
  MOLORA_CHECK_EQ(recv_bytes.size(), size_);
  MOLORA_CHECK_EQ(total(recv_bytes), recv.size());
  MOLORA_CHECK_EQ(recv_bytes[static_cast<size_t>(rank_)], send.size());
  const size_t sent = send.size() * static_cast<size_t>(size_ - 1);
  if (!enter(CollectiveKind::kAllGather, sent)) return;
  if (size_ > 1) {
    const CollectiveScope scope(name_, collective_name(CollectiveKind::kAllGather), sent);
    do_all_gather(send, recv, recv_bytes);
  } else {
    copy_bytes(send, recv);
  }
  leave();
}

void Communicator::all_to_all(std::span<const std::byte> send, std::span<const size_t> send_bytes,
                              std::span<std::byte> recv, std::span<const size_t> recv_bytes) {
  start_all_to_all(send, send_bytes, recv, recv_bytes)->wait();
}

std::unique_ptr<PendingExchange> Communicator::start_all_to_all(
    std::span<const std::byte> send, std::span<const size_t> send_bytes, std::span<std::byte> recv,
    std::span<const size_t> recv_bytes) {
  MOLORA_CHECK_EQ(send_bytes.size(), size_);
  MOLORA_CHECK_EQ(recv_bytes.size(), size_);
  MOLORA_CHECK_EQ(total(send_bytes), send.size());
  MOLORA_CHECK_EQ(total(recv_bytes), recv.size());
  const auto self = static_cast<size_t>(rank_);
  MOLORA_CHECK_EQ(send_bytes[self], recv_bytes[self], "bytes that rank {} keeps", rank_);
  start(send, recv, send.size() - send_bytes[self],
        [&] { do_start_all_to_all(send, send_bytes, recv, recv_bytes); });
  return std::make_unique<PendingExchange>(*this);
}

void Communicator::all_to_all(std::span<const std::byte> send, std::span<std::byte> recv) {
  MOLORA_CHECK_EQ(send.size(), recv.size());
  MOLORA_CHECK_EQ(send.size() % static_cast<size_t>(size_), 0U, "{} bytes for {} ranks",
                  send.size(), size_);
  start(send, recv, send.size() - send.size() / static_cast<size_t>(size_),
        [&] { do_start_equal_all_to_all(send, recv); });
  PendingExchange(*this).wait();
}

void Communicator::start(std::span<const std::byte> send, std::span<std::byte> recv,
                         size_t bytes_sent, const std::function<void()>& start_in_back_end) {
  is_left_out_ = !enter(CollectiveKind::kAllToAll, bytes_sent);
  if (is_left_out_) {
    // nothing
  } else if (size_ > 1) {
    const CollectiveScope scope(name_, collective_name(CollectiveKind::kAllToAll), bytes_sent);
    start_in_back_end();
  } else {
    copy_bytes(send, recv);
  }
  is_exchanging_ = true;
}

void Communicator::do_start_equal_all_to_all(std::span<const std::byte> send,
                                             std::span<std::byte> recv) {
  const auto members = static_cast<size_t>(size_);
  const std::vector<size_t> parts(members, send.size() / members);
  do_start_all_to_all(send, parts, recv, parts);
}

void Communicator::wait_for_exchange() {
  MOLORA_CHECK(is_exchanging_, "no exchange on {} to wait for", name_);
  record_.resume();
  is_exchanging_ = false;
  if (is_left_out_) return;
  if (size_ > 1) {
    const CollectiveScope scope(name_, "wait for all_to_all", 0);
    do_wait();
  }
  leave();
}

std::unique_ptr<Communicator> Communicator::split(const std::string& name, int group) {
  MOLORA_CHECK(place_ == BufferPlace::kHost, "{} has its buffers on a device", name_);
  std::vector<int> groups(static_cast<size_t>(size_));
  all_gather(std::as_bytes(std::span(&group, 1)), std::as_writable_bytes(std::span(groups)));
  std::vector<int> members;
  for (int member = 0; member < size_; ++member) {
    if (groups[static_cast<size_t>(member)] == group) members.push_back(member);
  }
  std::unique_ptr<Communicator> part =
      members.size() == 1 ? make_single_communicator(name) : do_split(name, members);
  for (size_t i = 0; i < members.size(); ++i) {
    part->world_ranks_[i] = world_ranks_[static_cast<size_t>(members[i])];
  }
  return part;
}

PendingExchange::~PendingExchange() {
  if (communicator_ == nullptr) return;
  try {
    wait();
  } catch (const std::exception& error) {
    spdlog::error("an exchange that nobody waited for failed: {}", error.what());
  }
}

void PendingExchange::wait() {
  MOLORA_CHECK(communicator_ != nullptr, "an exchange was waited for twice");
  Communicator* communicator = std::exchange(communicator_, nullptr);
  communicator->wait_for_exchange();
}

std::unique_ptr<Communicator> make_single_communicator(const std::string& name) {
  return std::make_unique<SingleCommunicator>(name);
}

std::string broadcast_text(Communicator& communicator, const std::string& text, int root) {
  uint64_t length = text.size();
  communicator.broadcast(std::as_writable_bytes(std::span(&length, 1)), root);
  std::string result = communicator.rank() == root ? text : std::string(length, '\0');
  communicator.broadcast(std::as_writable_bytes(std::span(result.data(), result.size())), root);
  return result;
}

std::vector<std::string> all_gather_text(Communicator& communicator, const std::string& text) {
  const auto members = static_cast<size_t>(communicator.size());
  const uint64_t length = text.size();
  std::vector<uint64_t> lengths(members);
  communicator.all_gather(std::as_bytes(std::span(&length, 1)),
                          std::as_writable_bytes(std::span(lengths)));
  // Equal blocks of the longest text: texts are short, and one collective is one collective.
  const uint64_t longest = *std::max_element(lengths.begin(), lengths.end());
  std::string block = text;
  block.resize(longest);
  std::string blocks(longest * members, '\0');
  communicator.all_gather(std::as_bytes(std::span(block.data(), block.size())),
                          std::as_writable_bytes(std::span(blocks.data(), blocks.size())));
  std::vector<std::string> texts;
  for (size_t i = 0; i < members; ++i) texts.push_back(blocks.substr(i * longest, lengths[i]));
  return texts;
}

}  // namespace molora
