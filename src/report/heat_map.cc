#include "report/heat_map.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "report/html_text.h"

namespace molora {

namespace {

// Ratios to the even share at which the classes meet; the upper ones are one over the lower.
constexpr std::array<double, 8> kBounds = {0.25, 0.5, 0.8, 0.95, 1 / 0.95, 1.25, 2, 4};
constexpr int kHead = 20;  // px for the labels of the columns

class Drawing {
 public:
  explicit Drawing(const HeatMap& map)
      : map_(map),
        num_columns_(map.column_labels.size()),
        has_numbers_(num_columns_ <= kMostNumbers && map.shares.size() <= kMostRows),
        row_height_(has_numbers_                     ? 20
                    : map.shares.size() <= kMostRows ? 14
                                                     : 7) {}

  std::string svg() const {
    std::string svg;
    for (size_t column = 0; column < num_columns_; ++column) svg += column_label(column);
    for (size_t row = 0; row < map_.shares.size(); ++row) {
      svg += row_label(row);
      for (size_t column = 0; column < map_.shares[row].size(); ++column) svg += cell(row, column);
    }
    return fmt::format(
        "<svg class=\"heat{}\" role=\"img\" aria-labelledby=\"{}-t {}-d\" height=\"{}\">\n<title "
        "id=\"{}-t\">{}</title><desc id=\"{}-d\">{}</desc>\n{}</svg>\n",
        has_long_labels() ? " long-labels" : "", map_.id, map_.id,
        kHead + row_height_ * map_.shares.size() + 2, map_.id, html_escaped(map_.title), map_.id,
        html_escaped(description()), svg);
  }

 private:
  static constexpr size_t kMostNumbers = 16;
  static constexpr size_t kMostRows = 48;

  double left(size_t column) const {
    return 100.0 * static_cast<double>(column) / static_cast<double>(num_columns_);
  }

  bool has_long_labels() const {
    return std::any_of(map_.row_labels.begin(), map_.row_labels.end(),
                       [](const std::string& label) { return label.size() > 8; });
  }

  std::string column_label(size_t column) const {
    const size_t most_labels = num_columns_ <= kMostNumbers ? kMostNumbers : 6;
    const size_t every = 1 + (num_columns_ - 1) / most_labels;
    if (column % every != 0) return {};
    return fmt::format(
        "<text class=\"tick\" x=\"{:.3f}%\" y=\"13\" text-anchor=\"middle\">{}</text>",
        left(column) + 50.0 / static_cast<double>(num_columns_),
        html_escaped(map_.column_labels[column]));
  }

  std::string row_label(size_t row) const {
    const size_t every = row_height_ >= 12 ? 1 : 2;
    if (row % every != 0) return {};
    constexpr size_t kMostLetters = 15;
    return fmt::format("<text class=\"tick\" x=\"-6\" y=\"{}\" text-anchor=\"end\">{}</text>",
                       kHead + row_height_ * row + row_height_ / 2 + 4,
                       html_escaped(shortened(map_.row_labels[row], kMostLetters)));
  }

  std::string cell(size_t row, size_t column) const {
    const double share = map_.shares[row][column];
    if (!std::isfinite(share)) return {};
    const double ratio = share / map_.even_share;
    const size_t top = kHead + row_height_ * row;
    const double width = 100.0 / static_cast<double>(num_columns_);
    std::string svg = fmt::format(
        "<g><title>{} {}, {} {}: {:.1f} % ({:.2f} times the even share)</title>"
        "<rect class=\"q{}\" x=\"{:.3f}%\" y=\"{}\" width=\"{:.3f}%\" height=\"{}\"/>",
        html_escaped(map_.row_word), html_escaped(map_.row_labels[row]),
        html_escaped(map_.column_word), html_escaped(map_.column_labels[column]), 100 * share,
        ratio, heat_class(ratio), left(column), top, width, row_height_);
    if (share == 0) {
      svg += fmt::format(
          "<line class=\"dead\" x1=\"{0:.3f}%\" x2=\"{1:.3f}%\" y1=\"{2}\" y2=\"{3}\"/>"
          "<line class=\"dead\" x1=\"{0:.3f}%\" x2=\"{1:.3f}%\" y1=\"{3}\" y2=\"{2}\"/>",
          left(column), left(column) + width, top, top + row_height_);
    } else if (has_numbers_) {
      svg += fmt::format(
          "<text class=\"q{}\" x=\"{:.3f}%\" y=\"{}\" text-anchor=\"middle\">{:.0f}</text>",
          heat_class(ratio), left(column) + width / 2, top + row_height_ / 2 + 4, 100 * share);
    }
    return svg + "</g>\n";
  }

  std::string description() const {
    double least = 1.0;
    double most = 0.0;
    size_t num_dead = 0;
    for (const auto& row : map_.shares) {
      for (const double share : row) {
        if (!std::isfinite(share)) continue;
        least = std::min(least, share);
        most = std::max(most, share);
        num_dead += share == 0 ? 1 : 0;
      }
    }
    return fmt::format(
        "{} rows ({}) and {} columns ({}); shares from {:.1f} % to {:.1f} %, {:.1f} % would be "
        "even; {} never chosen.",
        map_.shares.size(), map_.row_word, num_columns_, map_.column_word, 100 * least, 100 * most,
        100 * map_.even_share, num_dead);
  }

  const HeatMap& map_;
  size_t num_columns_;
  bool has_numbers_;
  size_t row_height_;
};

}  // namespace

int heat_class(double ratio) {
  return static_cast<int>(std::upper_bound(kBounds.begin(), kBounds.end(), ratio) -
                          kBounds.begin());
}

std::string heat_map_html(const HeatMap& map) {
  std::string html = fmt::format("<figure class=\"card\" id=\"{}\">\n<figcaption>{}</figcaption>\n",
                                 map.id, html_escaped(map.title));
  if (!map.note.empty()) html += "<p class=\"note\">" + html_escaped(map.note) + "</p>\n";
  if (map.shares.empty() || map.column_labels.empty()) {
    return html + "<p class=\"nothing\">No values.</p>\n</figure>\n";
  }
  return html + Drawing(map).svg() + "</figure>\n";
}

std::string heat_legend_html() {
  const std::array<const char*, 9> names = {"under 1/4",   "1/4 to 1/2", "1/2 to 0.8",
                                            "0.8 to 0.95", "even",       "1.05 to 1.25",
                                            "1.25 to 2",   "2 to 4",     "over 4"};
  std::string html =
      "<p class=\"legend heat-legend\">Share of the choices, in times of an even one: ";
  for (size_t i = 0; i < names.size(); ++i) {
    html += fmt::format(
        "<span><svg class=\"sample\" width=\"20\" height=\"14\" aria-hidden=\"true\"><rect "
        "class=\"q{}\" width=\"20\" height=\"14\"/></svg>{}</span> ",
        i, names[i]);
  }
  return html +
         "<span><svg class=\"sample\" width=\"20\" height=\"14\" aria-hidden=\"true\"><rect "
         "class=\"q0\" width=\"20\" height=\"14\"/><path class=\"dead\" d=\"M0 0L20 14M0 14L20 "
         "0\"/></svg>never chosen</span></p>\n";
}

}  // namespace molora
