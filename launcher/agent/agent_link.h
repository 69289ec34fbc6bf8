// An agent's connection to its supervisor, without blocking.
//
// The supervisor's host has several addresses, of which this host may reach only some, or find
// somebody else behind them: they are tried in turn, and one counts when a message of the
// supervisor has come in. What is sent before that waits. A connection that was up and ends is
// lost for good: there is one supervisor for each start of the run.
#pragma once

#include <poll.h>

#include <optional>
#include <string>

#include "launcher/agent/rank_environment.h"
#include "launcher/system/file_descriptor.h"
#include "launcher/system/frame.h"
#include "supervision.pb.h"

namespace molora {

class AgentLink {
 public:
  AgentLink(SupervisorAddress address, const AgentHello& hello, double now);

  // What to poll for; fd is -1 when there is nothing.
  pollfd wanted() const;
  // Goes on with whatever is possible now; to be called after each poll and a few times a second.
  void step(double now);
  // The next message that has come in.
  std::optional<ToAgent> next();

  void send(const FromAgent& message);
  // Bytes that wait to be sent.
  size_t backlog() const { return writer_.size(); }
  bool is_up() const { return stage_ == Stage::kUp; }
  // Nothing more will be sent; the supervisor closes its end when it has read all.
  // REQUIRES: backlog() is 0.
  void close_output();

  // Whether the supervisor is gone: the connection has ended, nothing was heard for `timeout`
  // seconds, or none of the addresses has answered for as long.
  bool is_lost(double now, double timeout) const;
  // In words, for the log.
  std::string lost_text(double timeout) const;

 private:
  enum class Stage { kTrying, kConnecting, kProving, kUp, kEnded };
  void connect(double now);
  void finish_connect();
  void give_up_address();
  void read(double now);

  SupervisorAddress address_;
  AgentHello hello_;
  Stage stage_ = Stage::kTrying;
  size_t next_host_ = 0;
  double try_until_ = 0.0;  // of the address that is being tried
  double heard_at_;         // the latest message; at first, when we began
  double read_at_ = 0.0;    // the latest bytes, whoever sent them
  FileDescriptor socket_;
  FrameReader reader_;
  FrameWriter hello_writer_;
  FrameWriter writer_;
};

}  // namespace molora
