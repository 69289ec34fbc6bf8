// A map of experts' loads: each cell's colour tells the expert's share against an even one, as SVG
// in an HTML figure.
#pragma once

#include <string>
#include <vector>

namespace molora {

struct HeatMap {
  std::string id;
  std::string title;
  std::string note;
  std::string row_word;     // "layer": what a row is, for the values under the pointer
  std::string column_word;  // "expert"
  std::vector<std::string> row_labels;
  std::vector<std::string> column_labels;
  // [rows][columns]: share of the choices; NaN: not told.
  std::vector<std::vector<double>> shares;
  double even_share = 0.0;  // 1 / experts
};

// The figure. The share is written into cells that have room for it; a cell of an expert that was
// never chosen is crossed out.
std::string heat_map_html(const HeatMap& map);

// What the colours mean; once for all maps of a page.
std::string heat_legend_html();

// Which of the nine classes a share falls into by its ratio to the even one: 0 below a quarter, 4
// within a twentieth of even, 8 above four times.
int heat_class(double ratio);

}  // namespace molora
