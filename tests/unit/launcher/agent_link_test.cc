// Both ends of the connection between an agent and its supervisor, over the loopback.
#include "launcher/agent/agent_link.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <functional>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "launcher/supervise/agent_server.h"
#include "support/captured_log.h"
#include "support/expect_throw.h"
#include "support/few_descriptors.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kToken[] = "0123456789abcdef";

AgentServer::Options server_options(int world_size = 2) {
  return {Reach::kThisHost, kToken, world_size, 30.0};
}

AgentHello hello_of(int rank, const std::string& token = kToken) {
  AgentHello hello;
  hello.set_token(token);
  hello.set_rank(static_cast<uint32_t>(rank));
  hello.set_host("b");
  return hello;
}

class Heard : public AgentEvents {
 public:
  void on_hello(const AgentHello& hello) override {
    hellos.push_back(static_cast<int>(hello.rank()));
  }
  void on_message(int rank, const FromAgent& message) override {
    lines.push_back(std::to_string(rank) + ":" + message.lines().text());
  }
  void on_gone(int rank) override { gone.push_back(rank); }

  std::vector<int> hellos;
  std::vector<std::string> lines;
  std::vector<int> gone;
};

// A server and links to it, all driven by one thread, with a clock that goes on by a tenth of a
// second a round.
class Network {
 public:
  explicit Network(int world_size = 2) : server(server_options(world_size)) {}

  AgentLink& join(const AgentHello& hello, const std::vector<std::string>& hosts = {"127.0.0.1"}) {
    links.push_back(
        std::make_unique<AgentLink>(SupervisorAddress{hosts, server.port()}, hello, now));
    return *links.back();
  }
  bool run_until(const std::function<bool()>& is_so) {
    for (int round = 0; round < 150 && !is_so(); ++round) {
      ::poll(nullptr, 0, 2);
      now += 0.1;
      server.step(heard, now);
      for (const auto& link : links) link->step(now);
      for (size_t i = 0; i < links.size(); ++i) {
        while (const auto message = links[i]->next()) orders.push_back(*message);
      }
    }
    return is_so();
  }

  double now = 0.0;
  AgentServer server;
  Heard heard;
  std::vector<std::unique_ptr<AgentLink>> links;
  std::vector<ToAgent> orders;
};

FromAgent line(const std::string& text) {
  FromAgent message;
  message.mutable_lines()->set_text(text);
  return message;
}

TEST(AgentLink, IsUpWhenTheSupervisorHasAnswered) {
  Network network;
  AgentLink& link = network.join(hello_of(1));
  EXPECT_FALSE(link.is_up());
  ASSERT_TRUE(network.run_until([&] { return link.is_up(); }));
  EXPECT_THAT(network.heard.hellos, ElementsAre(1));
  EXPECT_EQ(network.orders.at(0).heartbeat_timeout(), 30.0);
  EXPECT_EQ(network.server.num_connected(), 1);
}

TEST(AgentLink, SendsWhatWasSaidBeforeItWasUpInOrder) {
  Network network;
  AgentLink& link = network.join(hello_of(0));
  link.send(line("first"));
  link.send(line("second"));
  ASSERT_TRUE(network.run_until([&] { return network.heard.lines.size() == 2; }));
  EXPECT_THAT(network.heard.lines, ElementsAre("0:first", "0:second"));
}

TEST(AgentLink, GoesOnToTheNextAddressWhenNobodyIsAtTheFirst) {
  Network network;
  AgentLink& link = network.join(hello_of(0), {"127.0.0.99", "127.0.0.1"});
  EXPECT_TRUE(network.run_until([&] { return link.is_up(); }));
}

TEST(AgentLink, GoesOnToTheNextAddressWhenSomebodyElseIsAtTheFirst) {
  Network network;
  // On the same port, at another address of the loopback: accepts and says something else.
  const FileDescriptor other(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(network.server.port()));
  ::inet_pton(AF_INET, "127.0.0.2", &address.sin_addr);
  ASSERT_EQ(::bind(other.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(other.get(), 4), 0);
  AgentLink& link = network.join(hello_of(0), {"127.0.0.2", "127.0.0.1"});
  std::vector<FileDescriptor> guests;
  EXPECT_TRUE(network.run_until([&] {
    FileDescriptor guest(::accept(other.get(), nullptr, nullptr));
    if (guest) {
      EXPECT_EQ(::send(guest.get(), "220 mail\r\n", 10, MSG_NOSIGNAL), 10);
      guests.push_back(std::move(guest));
    }
    return link.is_up();
  }));
  EXPECT_FALSE(guests.empty());
}

TEST(AgentLink, IsLostWhenNobodyAnswersInTime) {
  Network network;
  AgentLink& link = network.join(hello_of(0), {"127.0.0.99"});
  EXPECT_FALSE(link.is_lost(network.now + 29.0, 30.0));
  EXPECT_TRUE(link.is_lost(network.now + 31.0, 30.0));
  EXPECT_THAT(link.lost_text(30.0), HasSubstr("could not be reached at 127.0.0.99:"));
  EXPECT_THAT(link.lost_text(30.0), HasSubstr("within 30 s"));
}

TEST(AgentLink, IsLostWhenTheSupervisorIsSilent) {
  Network network;
  AgentLink& link = network.join(hello_of(0));
  ASSERT_TRUE(network.run_until([&] { return link.is_up(); }));
  EXPECT_FALSE(link.is_lost(network.now + 5.0, 10.0));
  EXPECT_TRUE(link.is_lost(network.now + 11.0, 10.0));
  EXPECT_THAT(link.lost_text(10.0), HasSubstr("nothing was heard of the supervisor"));
}

TEST(AgentLink, IsLostAtOnceWhenTheSupervisorIsGone) {
  auto server = std::make_unique<AgentServer>(server_options());
  AgentLink link({{"127.0.0.1"}, server->port()}, hello_of(0), 0.0);
  Heard heard;
  for (int i = 0; i < 500 && !link.is_up(); ++i) {
    ::poll(nullptr, 0, 2);
    server->step(heard, 0.1);
    link.step(0.1);
    link.next();
  }
  ASSERT_TRUE(link.is_up());
  server.reset();
  ::poll(nullptr, 0, 20);
  link.step(0.2);
  EXPECT_TRUE(link.is_lost(0.2, 30.0));
  EXPECT_THAT(link.lost_text(30.0), HasSubstr("is gone"));
}

TEST(AgentLink, NothingOfALongMessageIsLostAtAnOrderlyEnd) {
  Network network;
  AgentLink& link = network.join(hello_of(0));
  link.send(line(std::string(5 << 20, 'x')));
  ASSERT_TRUE(network.run_until([&] { return link.is_up() && link.backlog() == 0; }));
  network.server.send_all(ToAgent());  // something that the agent does not read any more
  link.close_output();
  ASSERT_TRUE(network.run_until([&] { return !network.heard.gone.empty(); }));
  ASSERT_EQ(network.heard.lines.size(), 1u);
  EXPECT_EQ(network.heard.lines[0].size(), 2u + (5u << 20));
}

TEST(AgentServer, TalksToOneRankOrToAll) {
  Network network;
  network.join(hello_of(0));
  network.join(hello_of(1));
  ASSERT_TRUE(network.run_until([&] { return network.orders.size() == 2; }));
  ToAgent order;
  order.set_signal(10);
  network.server.send(1, order);
  ASSERT_TRUE(network.run_until([&] { return network.orders.size() == 3; }));
  EXPECT_EQ(network.orders.back().signal(), 10);
  network.server.send_all(order);
  EXPECT_TRUE(network.run_until([&] { return network.orders.size() == 5; }));
}

TEST(AgentServer, DoesNotHearStrangers) {
  for (const AgentHello& stranger :
       {hello_of(0, "0123456789abcdeF"), hello_of(0, ""), hello_of(2)}) {
    Network network;
    AgentLink& link = network.join(stranger);
    link.send(line("let me in"));
    EXPECT_FALSE(network.run_until([&] { return link.is_up(); }));
    EXPECT_THAT(network.heard.hellos, IsEmpty());
    EXPECT_THAT(network.heard.lines, IsEmpty());
    EXPECT_THAT(network.heard.gone, IsEmpty());
  }
}

TEST(AgentServer, HasEachRankOnlyOnce) {
  Network network;
  AgentLink& first = network.join(hello_of(1));
  ASSERT_TRUE(network.run_until([&] { return first.is_up(); }));
  AgentLink& second = network.join(hello_of(1));
  EXPECT_FALSE(network.run_until([&] { return second.is_up(); }));
  EXPECT_FALSE(first.is_lost(network.now, 1000.0));
  EXPECT_THAT(network.heard.hellos, ElementsAre(1));
}

TEST(AgentServer, CutsOffWhoSaysNothingOrTooMuch) {
  const testing::CapturedLog log;
  Network network;
  for (const std::string& words : {std::string(), std::string("\xff\xff\xff\xff all of it", 14)}) {
    FileDescriptor guest(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(network.server.port()));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::connect(guest.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::poll(nullptr, 0, 10);
    EXPECT_EQ(::send(guest.get(), words.data(), words.size(), 0),
              static_cast<ssize_t>(words.size()));
    std::string answer;
    EXPECT_TRUE(
        network.run_until([&] { return read_some(guest.get(), answer) == ReadResult::kEnd; }));
    EXPECT_EQ(answer, "");
  }
  EXPECT_THAT(log.text(), HasSubstr("cut off: a message of 4294967295 bytes"));
}

TEST(AgentServer, NamesTheSystemsReasonWhenItCannotListen) {
  const testing::NoDescriptors none;
  EXPECT_THROW_WITH(AgentServer{server_options()}, IoError, "no port to listen on",
                    "Too many open files");
}

TEST(Token, IsLongAndNeverTheSame) {
  EXPECT_EQ(make_token().size(), 32u);
  EXPECT_NE(make_token(), make_token());
}

}  // namespace
}  // namespace molora
