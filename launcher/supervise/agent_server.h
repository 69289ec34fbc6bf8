// The supervisor's end of the connections to the agents, without blocking.
//
// Whoever connects has to show the token first, in a short message, and to be a rank of the job
// that is not there yet; others are cut off. Nothing that they send can do more than that.
#pragma once

#include <poll.h>

#include <memory>
#include <string>
#include <vector>

#include "launcher/system/file_descriptor.h"
#include "launcher/system/frame.h"
#include "supervision.pb.h"

namespace molora {

// What comes in from the agents. Ranks are below the world's size.
class AgentEvents {
 public:
  virtual ~AgentEvents() = default;
  AgentEvents(const AgentEvents&) = delete;
  AgentEvents& operator=(const AgentEvents&) = delete;
  AgentEvents(AgentEvents&&) = delete;
  AgentEvents& operator=(AgentEvents&&) = delete;

  virtual void on_hello(const AgentHello& hello) = 0;
  virtual void on_message(int rank, const FromAgent& message) = 0;
  // The connection has ended; nothing more comes from this rank.
  virtual void on_gone(int rank) = 0;

 protected:
  AgentEvents() = default;
};

enum class Reach { kThisHost, kAllHosts };

class AgentServer {
 public:
  struct Options {
    Reach reach = Reach::kThisHost;  // who can connect at all
    std::string token;
    int world_size = 1;
    double heartbeat_timeout = 0.0;  // told to the agents
  };
  // Listens on a free port. Throws: IoError.
  explicit AgentServer(Options options);
  ~AgentServer();
  AgentServer(const AgentServer&) = delete;
  AgentServer& operator=(const AgentServer&) = delete;
  AgentServer(AgentServer&&) = delete;
  AgentServer& operator=(AgentServer&&) = delete;

  int port() const { return port_; }
  const std::string& token() const { return options_.token; }
  void add_wanted(std::vector<pollfd>& wanted) const;
  // Reads and writes what is possible now. `now` in seconds.
  void step(AgentEvents& events, double now);

  // To the agent of one rank, if it is connected, or of all.
  void send(int rank, const ToAgent& message);
  void send_all(const ToAgent& message);
  // Ranks whose agents are connected.
  int num_connected() const;

 private:
  struct Connection;
  void accept_all(double now);
  void serve(Connection& connection, AgentEvents& events, double now);
  void greet(Connection& connection, const FromAgent& message, AgentEvents& events);
  bool is_connected(int rank) const;

  Options options_;
  FileDescriptor listener_;
  int port_ = 0;
  std::vector<std::unique_ptr<Connection>> connections_;
};

// 32 hexadecimal digits that nobody guesses.
std::string make_token();

}  // namespace molora
