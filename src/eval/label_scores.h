// Precision, recall and F1 as scikit-learn defines them (with zero_division=0), from counts.
//
// Counts are doubles so that an item may count several times (a bootstrap resample) or not at all.
// A share whose denominator is zero is zero: of a label that nothing was predicted as, of one that
// never occurs, of empty sets.
#pragma once

#include <span>

namespace molora {

// Of one label, or of all items of sets together.
struct LabelCounts {
  double hits = 0.0;       // predicted, and right
  double predicted = 0.0;  // predicted at all
  double actual = 0.0;     // in the reference
};

struct Scores {
  double precision = 0.0;
  double recall = 0.0;
  double f1 = 0.0;
};

// hits / predicted, hits / actual, and 2 hits / (predicted + actual). Over the summed counts of
// sets this is the micro average.
Scores scores_of(const LabelCounts& counts);

// The mean over labels. Every entry counts, also one that never occurs: scikit-learn's `labels`.
// Its default leaves labels out that neither occur nor are predicted, and so must the caller.
Scores macro_scores(std::span<const LabelCounts> labels);

// The mean over labels, each with the weight of its actual occurrences.
Scores weighted_scores(std::span<const LabelCounts> labels);

}  // namespace molora
