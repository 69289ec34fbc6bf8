// The input of each step, made on a thread of its own while the step before computes: rows are
// looked up, dealt out and made tensors. Which rows a step gets is a function of its position
// alone, so that nothing depends on what was made ahead.
//
// One thread calls it; the RowFeeder is touched by one thread at a time. What is made ahead and
// never taken counts nowhere. The destructor waits for what is being made.
#pragma once

#include <cstdint>
#include <future>
#include <optional>

#include <ATen/ATen.h>

#include "train/micro_batch.h"
#include "train/row_feeder.h"

namespace molora {

class StepFeeder {
 public:
  struct Options {
    int dp_rank = 0;
    int dp = 1;
    int64_t micro_batch_size = 1;
    std::optional<RowPosition> end;  // of the data; none: as many rows as steps ask for
    at::Device device = at::kCPU;    // where the batches will be copied to
  };
  // `rows` is referred to, must outlive this object and is used by nobody else until then.
  StepFeeder(RowFeeder& rows, const Options& options) : rows_(rows), options_(options) {}

  // The input of the step whose rows begin at `position`, which is moved past them. Waits when it
  // is still being made, and makes it when it was not asked for ahead. Throws: what the row source
  // throws for these rows, here and not before.
  StepInput take(RowPosition& position);

  // Begins to make the input of the step that begins at `position`.
  void make_ahead(const RowPosition& position);

 private:
  struct Made {
    StepInput input;
    RowPosition next;
  };
  Made make(RowPosition position);

  RowFeeder& rows_;
  Options options_;
  RowPosition ahead_of_;     // where the input that is made ahead begins
  std::future<Made> ahead_;  // last: its end uses the others
};

}  // namespace molora
