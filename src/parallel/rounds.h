// Ranks whose forward passes exchange tokens or experts, kept in step while they have different
// amounts of work.
//
// In training every rank runs the same number of passes. In evaluation and generation it does not:
// a rank that is done goes on with passes without tokens until all are done.
#pragma once

#include "comm/communicator.h"

namespace molora {

class Rounds {
 public:
  // all: every rank that takes part; must outlive this object.
  explicit Rounds(Communicator& all) : all_(all) {}

  // Before a pass of this rank's own. Collective: the others call either function. One byte to each
  // other rank.
  void begin_with_work();

  // Of a rank that is done: whether another one is about to run a pass, in which this rank has to
  // take part. Collective as above.
  bool others_have_work();

 private:
  bool anyone_has_work(bool here);

  Communicator& all_;
};

}  // namespace molora
