// Gradients summed over the ranks that hold the same parameters, and the updates shared out.
//
// Every parameter of a sync group has one owner among the group's members. Gradients travel to the
// owner and are added there in rank order, in the parameter's own type: a plain SUM, never an
// average, whose bits depend neither on the back end nor on how tensors are put together. Then
//   sharded optimizer (ZeRO-1, Rajbhandari et al. 2019, arXiv 1910.02054): the owner alone keeps
//   the
//     moments and computes the update; the updated values travel to the other members;
//   replicated optimizer: the sums travel to the other members, and every one updates.
// Both give the same bits: whole parameters are owned, so the same arithmetic runs on the same
// tensors.
//
// Collectives, in this order on every rank; n bytes of parameters in a group of p members:
//   sum             per sync group, one all-to-all        n (p - 1) / p on average
//                   replicated only: one all-gather       the owner's part x (p - 1)
//   square_norms    one sum of a double per parameter over all ranks
//   share_updates   sharded only: per sync group, one all-gather
#pragma once

#include <vector>

#include <ATen/ATen.h>

#include "comm/mesh.h"
#include "parallel/parameter.h"

namespace molora {

using at::Tensor;

enum class OptimizerPlacement { kReplicated, kSharded };

// Refers to mesh and parameters, which must outlive it.
class GradientSync {
 public:
  GradientSync(const Mesh& mesh, const std::vector<Parameter>& parameters,
               OptimizerPlacement placement);

  // The parameters that this rank updates, by index, ascending: all of them, or those it owns.
  const std::vector<size_t>& updated() const { return updated_; }

  std::vector<Parameter> updated_parameters() const;

  // gradients: of every parameter, same shapes. Returns the sums for updated(), in its order
  // (a group of one gives the gradients themselves). Collective.
  std::vector<Tensor> sum(const std::vector<Tensor>& gradients) const;

  // The sum of squares of each whole parameter's gradient, whatever way it is cut, each element
  // counted once; equal on every rank, to the bit for either placement. `sums`: as sum() gave them.
  // Collective.
  std::vector<double> square_norms(const std::vector<Tensor>& sums) const;

  // After an update of the parameters of updated(): every member gets the owner's values.
  // Collective.
  void share_updates() const;

 private:
  // Parameters of one sync group by owner, and where they stand in the group's flat buffer.
  struct Bucket {
    SyncGroup group;
    std::vector<std::vector<size_t>> by_owner;
    std::vector<int64_t> elements;  // by owner
  };
  Bucket make_bucket(SyncGroup group) const;
  Communicator& members(const Bucket& bucket) const { return mesh_.axis(sync_axis(bucket.group)); }
  Tensor flatten(const std::vector<size_t>& indices, const std::vector<Tensor>& tensors) const;
  bool is_owned(size_t index) const { return owned_[index]; }

  const Mesh& mesh_;
  const std::vector<Parameter>& parameters_;
  OptimizerPlacement placement_;
  std::vector<Bucket> buckets_;
  std::vector<bool> owned_;
  std::vector<size_t> updated_;
};

}  // namespace molora
