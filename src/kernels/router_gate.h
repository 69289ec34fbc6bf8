// How a router's logits become weights.
#pragma once

namespace molora {

enum class RouterGate {
  kTopkSoftmax,   // softmax over the chosen logits
  kSoftmaxTopk,   // the chosen shares of the softmax over all logits
  kDenseSoftmax,  // softmax over all logits; every expert is chosen
};

}  // namespace molora
