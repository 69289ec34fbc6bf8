#include "config/resume_changes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/schema.h"
#include "support/config_faults.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

using testing::config_from;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

TEST(ResumeChanges, AnEqualConfigurationChangesNothing) {
  const ResumeChanges changes =
      check_resume_changes(config_from(""), config_from(""), ChangePolicy::kRefuse);
  EXPECT_THAT(changes.free, IsEmpty());
  EXPECT_THAT(changes.guarded, IsEmpty());
}

TEST(ResumeChanges, FreeFieldsAreListedAndAllowed) {
  const ResumeChanges changes = check_resume_changes(
      config_from(""), config_from("output_dir: b\nparallel: {tensor_parallel: 2}"),
      ChangePolicy::kRefuse);
  EXPECT_THAT(changes.free, ElementsAre("output_dir: \"runs/default\" -> \"b\"",
                                        "parallel.tensor_parallel: 1 -> 2"));
  EXPECT_THAT(changes.guarded, IsEmpty());
}

TEST(ResumeChanges, EveryGuardedFieldIsNamedInOneRefusal) {
  const RunConfig stored = config_from("train: {learning_rate: 0.001}");
  const RunConfig wanted =
      config_from("seed: 5\noutput_dir: b\ntrain: {learning_rate: 0.002}\nadapter: {lora_rank: 8}");
  EXPECT_THROW_WITH((void)check_resume_changes(stored, wanted, ChangePolicy::kRefuse), ConfigError,
                    "in 3 fields that decide the trained numbers:\n"
                    "  seed: 1234 -> 5\n"
                    "  adapter.lora_rank: 16 -> 8\n"
                    "  train.learning_rate: 0.001 -> 0.002\n",
                    "--allow-change", "molora config");
  const ResumeChanges allowed = check_resume_changes(stored, wanted, ChangePolicy::kAllow);
  EXPECT_THAT(allowed.free, ElementsAre("output_dir: \"runs/default\" -> \"b\""));
  EXPECT_THAT(allowed.guarded, ElementsAre("seed: 1234 -> 5", "adapter.lora_rank: 16 -> 8",
                                           "train.learning_rate: 0.001 -> 0.002"));
}

TEST(ResumeChanges, OneFieldIsOneField) {
  EXPECT_THROW_WITH(
      (void)check_resume_changes(config_from(""), config_from("seed: 5"), ChangePolicy::kRefuse),
      ConfigError, "in a field that decides the trained numbers:\n  seed: 1234 -> 5\n");
}

// A checkpoint of an older program: fields that it did not know are not in its configuration.
TEST(ResumeChanges, AFieldThatTheCheckpointDidNotKnowHadItsDefault) {
  RunConfig old = config_from("");
  old.mutable_adapter()->clear_rslora();
  old.mutable_train()->clear_clip_norm();
  old.clear_parallel();
  EXPECT_THAT(check_resume_changes(old, config_from(""), ChangePolicy::kRefuse).free, IsEmpty());
  EXPECT_THROW_WITH(
      (void)check_resume_changes(old, config_from("train: {clip_norm: 2}"), ChangePolicy::kRefuse),
      ConfigError, "train.clip_norm: 1 -> 2");
}

// Every field that may change freely, so that a new one is a decision. Before adding one: would a
// run that changes it half-way end with the numbers of a run that had either value throughout, up
// to rounding, or does something else (the fingerprints of base and data, the rules of surgery)
// tell a change that matters?
TEST(ResumeChanges, TheFreeFieldsAreThese) {
  std::vector<std::string> free;
  for (const SchemaField& field : all_fields(*RunConfig::descriptor())) {
    const bool is_leaf = !is_message(*field.field);
    if (is_leaf && field.is_free_at_resume) free.push_back(field.path);
  }
  const std::vector<std::string> expected = {
      "output_dir",
      "model.path",       // fingerprint of the base
      "model.tokenizer",  // fingerprint of the data
      "model.ignore_config_fields",
      "adapter.router.health.every",
      "adapter.expert_compute",  // kept in the checkpoint unless named
      "data.train[].path",       // fingerprint of the data
      "data.train[].format",
      "data.train[].task",
      "data.eval[].path",
      "data.eval[].format",
      "data.eval[].task",
      "data.cache_dir",
      "train.micro_batch_size",
      "train.activation_checkpointing",
      "train.max_nonfinite_steps",
      "train.log_every",
      "train.trace_steps",
      "train.tensorboard",
      "train.offload_optimizer",
      "train.spike_factor",  // the trained numbers do not depend on it
      "eval.every",
      "eval.max_samples_per_task",
      "eval.at_start",
      "checkpoint.every",
      "checkpoint.keep_last",
      "checkpoint.keep_best",
      "checkpoint.resume",
      "checkpoint.every_minutes",
      "checkpoint.keep_every",
      "checkpoint.write_timeout",
      "checkpoint.surgery.drop_experts",  // surgery refuses what changes the forward pass
      "checkpoint.surgery.added_expert_bias",
      "checkpoint.surgery.may_change_forward",
      "parallel.tensor_parallel",
      "parallel.expert_parallel",
      "parallel.sequence_parallel",
      "parallel.exchange",
      "parallel.exchange_by_group.qkv",
      "parallel.exchange_by_group.o",
      "parallel.exchange_by_group.gate_up",
      "parallel.exchange_by_group.down",
      "parallel.shard_optimizer",
      "parallel.audit_every",
      "parallel.backend",
      "parallel.collective_timeout",
      "supervisor.max_restarts",
      "supervisor.restart_delay",
      "supervisor.max_restart_delay",
      "supervisor.wait_for_hosts",
      "supervisor.failures_of_host",
      "supervisor.heartbeat_timeout",
      "supervisor.straggler_factor",
      "supervisor.report_every",
      "supervisor.deadlines.start",
      "supervisor.deadlines.load",
      "supervisor.deadlines.step",
      "supervisor.deadlines.evaluate",
      "supervisor.deadlines.save",
      "supervisor.deadlines.finish",
      "device.kind",
      "device.kernels",
      "device.deterministic",
  };
  EXPECT_THAT(free, ElementsAreArray(expected));
}

}  // namespace
}  // namespace molora
