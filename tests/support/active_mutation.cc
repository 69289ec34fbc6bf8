// Which planted fault is made now (base/mutation.h), in a program that is built with them.
#include <atomic>

#include "base/mutation.h"

namespace molora {

namespace {
std::atomic<Mutation> active{Mutation::kNone};
}  // namespace

Mutation active_mutation() { return active; }
void set_active_mutation(Mutation mutation) { active = mutation; }

}  // namespace molora
