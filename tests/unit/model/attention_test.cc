#include "model/attention.h"

#include <cmath>

#include <gtest/gtest.h>

namespace molora {
namespace {

// The definition, one query at a time.
Tensor attend_by_definition(const Tensor& q, const Tensor& k, const Tensor& v,
                            const std::vector<int64_t>& starts, int64_t window) {
  const int64_t heads = q.size(1);
  const int64_t group = heads / k.size(1);
  Tensor out = at::zeros_like(q);
  for (size_t s = 0; s + 1 < starts.size(); ++s) {
    for (int64_t i = starts[s]; i < starts[s + 1]; ++i) {
      const int64_t first = window > 0 ? std::max(starts[s], i - window + 1) : starts[s];
      for (int64_t h = 0; h < heads; ++h) {
        const Tensor keys = k.slice(0, first, i + 1).select(1, h / group);
        const Tensor values = v.slice(0, first, i + 1).select(1, h / group);
        const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(2)));
        out[i][h] = at::softmax(keys.mv(q[i][h]) * scale, 0).matmul(values);
      }
    }
  }
  return out.flatten(1);
}

struct Inputs {
  Tensor q = at::randn({12, 4, 6}, at::kDouble);
  Tensor k = at::randn({12, 2, 6}, at::kDouble);
  Tensor v = at::randn({12, 2, 6}, at::kDouble);
};

TEST(Attention, EqualsItsDefinition) {
  const Inputs in;
  for (const std::vector<int64_t>& starts :
       {std::vector<int64_t>{0, 12}, {0, 5, 12}, {0, 1, 1, 12}, {0, 0, 12, 12}}) {
    for (const int64_t window : {0, 1, 3, 100}) {
      EXPECT_TRUE(at::allclose(attend(in.q, in.k, in.v, starts, window),
                               attend_by_definition(in.q, in.k, in.v, starts, window), 1e-10,
                               1e-12))
          << "window " << window << ", " << starts.size() - 1 << " sequences";
    }
  }
}

TEST(Attention, NoTokensGiveAnEmptyResult) {
  const Tensor none = at::zeros({0, 4, 6});
  EXPECT_EQ(attend(none, at::zeros({0, 2, 6}), at::zeros({0, 2, 6}), {0}, 0).size(0), 0);
}

// Fed in pieces of any size, the cached form gives what the whole sequence gives.
TEST(Attention, CachedPiecesEqualTheWhole) {
  const Inputs in;
  for (const int64_t window : {0, 3}) {
    const Tensor whole = attend(in.q, in.k, in.v, {0, 12}, window);
    for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{0, 12},
                                             {0, 5, 6, 7, 12},
                                             {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}) {
      KvCache cache(1, 1);
      std::vector<Tensor> parts;
      for (size_t i = 0; i + 1 < cuts.size(); ++i) {
        const auto cut = [&](const Tensor& x) { return x.slice(0, cuts[i], cuts[i + 1]); };
        parts.push_back(attend_cached(cut(in.q), cut(in.k), cut(in.v), {0, cuts[i + 1] - cuts[i]},
                                      window, 0, cache));
      }
      EXPECT_TRUE(at::allclose(at::cat(parts), whole, 1e-10, 1e-12)) << "window " << window;
    }
  }
}

TEST(KvCache, GrowsAndKeepsChosenSequences) {
  KvCache cache(2, 3);
  for (int64_t sequence = 0; sequence < 3; ++sequence) {
    for (int64_t layer = 0; layer < 2; ++layer) {
      const Tensor keys = at::full({100 + sequence, 1, 2}, static_cast<double>(sequence));
      cache.append(layer, sequence, keys, keys);
    }
  }
  cache.keep({2, 0});
  EXPECT_EQ(cache.num_sequences(), 2);
  EXPECT_EQ(cache.length(0), 102);
  const Tensor one = at::full({1, 1, 2}, 9.0);
  const KvCache::KeysValues all = cache.append(1, 0, one, one);
  EXPECT_EQ(all.keys_SHA.size(0), 103);
  EXPECT_EQ(all.keys_SHA[0][0][0].item<double>(), 2.0);
  EXPECT_EQ(all.values_SHA[102][0][0].item<double>(), 9.0);
}

TEST(KvCache, TakesNewSequencesBehindTheOthers) {
  KvCache cache(2, 0);
  const Tensor one = at::full({3, 1, 2}, 1.0);
  for (int64_t sequence = 0; sequence < 3; ++sequence) {
    cache.add_sequence();
    EXPECT_EQ(cache.num_sequences(), sequence + 1);
    EXPECT_EQ(cache.length(sequence), 0);
    for (int64_t layer = 0; layer < 2; ++layer) {
      cache.append(layer, sequence, one + static_cast<double>(sequence), one);
    }
  }
  cache.keep({1, 2});
  cache.add_sequence();
  EXPECT_EQ(cache.length(2), 0);
  const KvCache::KeysValues all = cache.append(1, 1, one, one);
  EXPECT_EQ(all.keys_SHA.size(0), 6);
  EXPECT_EQ(all.keys_SHA[0][0][0].item<double>(), 3.0) << "the keys of the third sequence";
}

}  // namespace
}  // namespace molora
