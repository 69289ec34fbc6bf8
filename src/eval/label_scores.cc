#include "eval/label_scores.h"

namespace molora {

namespace {

double share(double part, double whole) { return whole > 0.0 ? part / whole : 0.0; }

void add(Scores& sum, const Scores& scores, double weight) {
  sum.precision += weight * scores.precision;
  sum.recall += weight * scores.recall;
  sum.f1 += weight * scores.f1;
}

Scores divided(const Scores& sum, double weight) {
  return {share(sum.precision, weight), share(sum.recall, weight), share(sum.f1, weight)};
}

}  // namespace

Scores scores_of(const LabelCounts& counts) {
  return {share(counts.hits, counts.predicted), share(counts.hits, counts.actual),
          share(2.0 * counts.hits, counts.predicted + counts.actual)};
}

Scores macro_scores(std::span<const LabelCounts> labels) {
  Scores sum;
  for (const LabelCounts& label : labels) add(sum, scores_of(label), 1.0);
  return divided(sum, static_cast<double>(labels.size()));
}

Scores weighted_scores(std::span<const LabelCounts> labels) {
  Scores sum;
  double actual = 0.0;
  for (const LabelCounts& label : labels) {
    add(sum, scores_of(label), label.actual);
    actual += label.actual;
  }
  return divided(sum, actual);
}

}  // namespace molora
