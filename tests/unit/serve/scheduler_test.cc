#include "serve/scheduler.h"

#include <future>
#include <thread>

#include <gtest/gtest.h>

namespace molora {
namespace {

using Clock = Scheduler::Clock;
using Keys = std::vector<uint64_t>;

PromptWork work_for(size_t model, int64_t num_choices = 1, size_t prompt_tokens = 2) {
  PromptWork work;
  work.model = model;
  work.prompt.assign(prompt_tokens, 5);
  work.num_choices = num_choices;
  return work;
}

StepPlan next(Scheduler& scheduler) {
  const auto plan = scheduler.next_step(Clock::now());
  EXPECT_TRUE(plan.has_value()) << "there is nothing to do";
  return plan.value_or(StepPlan{});
}

Keys keys_of(const StepPlan& plan) {
  Keys keys;
  for (const NewSequence& sequence : plan.added) keys.push_back(sequence.key);
  return keys;
}

int status_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const RequestError& error) {
    return error.status();
  }
  return 200;
}

TEST(Scheduler, StartsSequencesInOrderAsFarAsThereArePlaces) {
  Scheduler scheduler(1, {.max_running = 2});
  Scheduler::Ticket a(scheduler, work_for(0));
  Scheduler::Ticket b(scheduler, work_for(0, 2));
  const StepPlan plan = next(scheduler);
  EXPECT_EQ(keys_of(plan), (Keys{1, 2}));
  EXPECT_EQ(plan.added.at(0).prompt, (std::vector<int32_t>{5, 5}));
  EXPECT_EQ(scheduler.counts().waiting, 1);
  scheduler.deliver(0, {{1, std::nullopt, GenerationEnd::kStopToken}, {2, 7, std::nullopt}});
  const StepPlan then = next(scheduler);
  EXPECT_EQ(keys_of(then), (Keys{3}));
  EXPECT_EQ(then.added.at(0).draw, 1) << "the second choice of its request";
  EXPECT_TRUE(then.removed.empty()) << "what has ended has left the batch by itself";
}

TEST(Scheduler, TicketsGetTheirOwnEventsInOrder) {
  Scheduler scheduler(1, {});
  Scheduler::Ticket a(scheduler, work_for(0, 2));
  Scheduler::Ticket b(scheduler, work_for(0));
  (void)next(scheduler);
  scheduler.deliver(0, {{1, 10, std::nullopt}, {2, 20, std::nullopt}, {3, 30, std::nullopt}});
  scheduler.deliver(0, {{1, 11, GenerationEnd::kMaxNewTokens}});
  const auto events = a.wait(Clock::now());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].token, 10);
  EXPECT_EQ(events[1].token, 20);
  EXPECT_EQ(events[1].choice, 1u);
  EXPECT_EQ(events[2].token, 11);
  EXPECT_EQ(events[2].end, GenerationEnd::kMaxNewTokens);
  EXPECT_EQ(b.wait(Clock::now()).size(), 1u);
  EXPECT_TRUE(b.wait(Clock::now()).empty());
}

TEST(Scheduler, ModelsTakeTurns) {
  Scheduler scheduler(3, {});
  Scheduler::Ticket a(scheduler, work_for(0));
  Scheduler::Ticket b(scheduler, work_for(2));
  std::vector<size_t> turns;
  for (int i = 0; i < 6; ++i) {
    const StepPlan plan = next(scheduler);
    turns.push_back(plan.model);
    scheduler.deliver(plan.model, {});
  }
  EXPECT_EQ(turns, (std::vector<size_t>{2, 0, 2, 0, 2, 0})) << "model 1 has nothing to do";
}

TEST(Scheduler, NoModelTakesMoreThanItsShareWhileOthersWait) {
  Scheduler scheduler(2, {.max_running = 4});
  Scheduler::Ticket many(scheduler, work_for(0, 8));
  EXPECT_EQ(next(scheduler).added.size(), 4u) << "alone it may have all places";
  Scheduler::Ticket few(scheduler, work_for(1, 3));
  scheduler.deliver(0, {{1, 0, GenerationEnd::kMaxNewTokens},
                        {2, 0, GenerationEnd::kMaxNewTokens},
                        {3, 0, GenerationEnd::kMaxNewTokens}});
  const StepPlan of_few = next(scheduler);
  EXPECT_EQ(of_few.model, 1u);
  EXPECT_EQ(of_few.added.size(), 2u);
  scheduler.deliver(1, {});
  const StepPlan of_many = next(scheduler);
  EXPECT_EQ(of_many.model, 0u);
  EXPECT_EQ(of_many.added.size(), 1u) << "2 of 4 places, the other 2 are the other's";
}

TEST(Scheduler, LongPromptsJoinOneAfterTheOther) {
  Scheduler scheduler(1, {.prompt_tokens_step = 10});
  Scheduler::Ticket a(scheduler, work_for(0, 1, 30));
  Scheduler::Ticket b(scheduler, work_for(0, 3, 4));
  EXPECT_EQ(next(scheduler).added.size(), 1u) << "one always may";
  scheduler.deliver(0, {});
  EXPECT_EQ(next(scheduler).added.size(), 2u);
  scheduler.deliver(0, {});
  EXPECT_EQ(next(scheduler).added.size(), 1u);
}

TEST(Scheduler, OneMoreThanMayWaitIsRefused) {
  Scheduler scheduler(1, {.max_running = 1, .max_waiting = 2});
  Scheduler::Ticket a(scheduler, work_for(0));
  (void)next(scheduler);
  Scheduler::Ticket b(scheduler, work_for(0));
  EXPECT_EQ(status_of([&] { Scheduler::Ticket c(scheduler, work_for(0, 2)); }), 429);
  Scheduler::Ticket d(scheduler, work_for(0));
  EXPECT_EQ(status_of([&] { Scheduler::Ticket e(scheduler, work_for(0)); }), 429);
  scheduler.deliver(0, {{1, 0, GenerationEnd::kMaxNewTokens}});
  EXPECT_EQ(status_of([&] { Scheduler::Ticket e(scheduler, work_for(0)); }), 200);
}

TEST(Scheduler, ATicketThatGoesFreesItsPlaces) {
  Scheduler scheduler(1, {.max_running = 1});
  {
    Scheduler::Ticket gone(scheduler, work_for(0, 3));
    (void)next(scheduler);
    scheduler.deliver(0, {{1, 10, std::nullopt}});
  }
  EXPECT_TRUE(scheduler.is_idle());
  EXPECT_EQ(scheduler.counts().abandoned, 3u);
  Scheduler::Ticket after(scheduler, work_for(0));
  const StepPlan plan = next(scheduler);
  EXPECT_EQ(plan.removed, (Keys{1}));
  EXPECT_EQ(keys_of(plan), (Keys{2}));
}

TEST(Scheduler, WhatLeavesAndEndsInTheSameStepIsRemovedOnce) {
  Scheduler scheduler(1, {});
  {
    Scheduler::Ticket gone(scheduler, work_for(0, 2));
    (void)next(scheduler);
  }
  scheduler.deliver(0, {{1, 10, GenerationEnd::kMaxNewTokens}, {2, 20, std::nullopt}});
  EXPECT_EQ(next(scheduler).removed, (Keys{2}));
  EXPECT_FALSE(scheduler.next_step(Clock::now()).has_value());
}

TEST(Scheduler, AWithdrawnChoiceIsNotToldAnyMore) {
  Scheduler scheduler(1, {});
  Scheduler::Ticket ticket(scheduler, work_for(0, 2));
  (void)next(scheduler);
  scheduler.deliver(0, {{1, 10, std::nullopt}, {2, 20, std::nullopt}});
  ticket.withdraw(0);
  const auto events = ticket.wait(Clock::now());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].token, 20);
  EXPECT_EQ(next(scheduler).removed, (Keys{1}));
  EXPECT_EQ(scheduler.counts().abandoned, 0u);
}

TEST(Scheduler, AClosedOneTakesNothingAndEndsWhatItHas) {
  Scheduler scheduler(1, {});
  Scheduler::Ticket ticket(scheduler, work_for(0));
  scheduler.close();
  EXPECT_TRUE(scheduler.is_closed());
  EXPECT_EQ(status_of([&] { Scheduler::Ticket late(scheduler, work_for(0)); }), 503);
  EXPECT_FALSE(scheduler.is_idle());
  EXPECT_EQ(next(scheduler).added.size(), 1u);
  scheduler.deliver(0, {{1, 10, GenerationEnd::kMaxNewTokens}});
  EXPECT_TRUE(scheduler.is_idle());
  EXPECT_EQ(ticket.wait(Clock::now()).size(), 1u);
}

TEST(Scheduler, AFailureReachesWhatRunsAndWhatWaits) {
  Scheduler scheduler(1, {.max_running = 1});
  Scheduler::Ticket running(scheduler, work_for(0));
  (void)next(scheduler);
  scheduler.deliver(0, {{1, 10, std::nullopt}});
  Scheduler::Ticket waiting(scheduler, work_for(0));
  scheduler.fail_all(RequestError(503, "over"));
  EXPECT_EQ(running.wait(Clock::now()).size(), 1u) << "what had come is told first";
  EXPECT_EQ(status_of([&] { (void)running.wait(Clock::now()); }), 503);
  EXPECT_EQ(status_of([&] { (void)waiting.wait(Clock::now()); }), 503);
  EXPECT_EQ(status_of([&] { Scheduler::Ticket late(scheduler, work_for(0)); }), 503);
}

TEST(Scheduler, WorkWakesTheThreadThatWaitsForIt) {
  Scheduler scheduler(1, {});
  const auto later = Clock::now() + std::chrono::hours(1);
  auto plan = std::async(std::launch::async, [&] { return scheduler.next_step(later); });
  Scheduler::Ticket ticket(scheduler, work_for(0));
  ASSERT_TRUE(plan.get().has_value());
  auto events = std::async(std::launch::async, [&] { return ticket.wait(later); });
  scheduler.deliver(0, {{1, 10, std::nullopt}});
  EXPECT_EQ(events.get().size(), 1u);
}

TEST(StepPlan, IsTheSameAfterTheWayOverTheWire) {
  StepPlan plan;
  plan.model = 3;
  plan.removed = {1, uint64_t{1} << 63};
  NewSequence sequence;
  sequence.key = UINT64_MAX;
  sequence.prompt = {1, 2, 151'643};
  sequence.options.sampling = {0.1, 7, 1.0 / 3.0, UINT64_MAX - 1};
  sequence.options.max_new_tokens = 9;
  sequence.options.stop_ids = {4, 5};
  sequence.draw = 2;
  plan.added = {sequence};
  const StepPlan read = plan_of_bytes(plan_bytes(plan));
  EXPECT_FALSE(read.is_last);
  EXPECT_EQ(read.model, plan.model);
  EXPECT_EQ(read.removed, plan.removed);
  ASSERT_EQ(read.added.size(), 1u);
  const NewSequence& got = read.added[0];
  EXPECT_EQ(got.key, sequence.key);
  EXPECT_EQ(got.prompt, sequence.prompt);
  EXPECT_EQ(got.options.sampling.temperature, 0.1);
  EXPECT_EQ(got.options.sampling.top_k, 7);
  EXPECT_EQ(got.options.sampling.top_p, 1.0 / 3.0);
  EXPECT_EQ(got.options.sampling.seed, UINT64_MAX - 1);
  EXPECT_EQ(got.options.max_new_tokens, 9);
  EXPECT_EQ(got.options.stop_ids, sequence.options.stop_ids);
  EXPECT_EQ(got.draw, 2);
  EXPECT_TRUE(plan_of_bytes(plan_bytes({.is_last = true})).is_last);
}

}  // namespace
}  // namespace molora
