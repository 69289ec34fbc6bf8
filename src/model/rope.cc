#include "model/rope.h"

#include <cmath>
#include <numbers>

#include "kernels/rotary.h"

namespace molora {

namespace {

// Long wavelengths are stretched by `factor`, short ones kept, those between blended (Llama 3.1
// model card; transformers `_compute_llama3_parameters`).
Tensor scale_llama3(const Tensor& frequencies, const Rope::Llama3& scaling) {
  const double low_wavelength = scaling.original_max_position / scaling.low_freq_factor;
  const double high_wavelength = scaling.original_max_position / scaling.high_freq_factor;
  const Tensor wavelength = 2.0 * std::numbers::pi / frequencies;
  const Tensor stretched = frequencies / scaling.factor;
  const Tensor blend = (scaling.original_max_position / wavelength - scaling.low_freq_factor) /
                       (scaling.high_freq_factor - scaling.low_freq_factor);
  const Tensor blended = (1.0 - blend) * stretched + blend * frequencies;
  const Tensor is_long = wavelength > low_wavelength;
  const Tensor is_short = wavelength < high_wavelength;
  return at::where(is_long, stretched, at::where(is_short, frequencies, blended));
}

}  // namespace

Tensor rotary_frequencies(const Architecture& architecture, at::ScalarType type) {
  const at::ScalarType precision = type == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor exponents = at::arange(0, architecture.head_dim, 2, at::kLong).to(precision) /
                           static_cast<double>(architecture.head_dim);
  Tensor frequencies = 1.0 / at::pow(architecture.rope.theta, exponents);
  if (!architecture.rope.llama3) return frequencies;
  return scale_llama3(frequencies, *architecture.rope.llama3);
}

RotaryTables rotary_tables(const Tensor& frequencies, const Tensor& positions_T,
                           at::ScalarType type) {
  const Tensor positions = positions_T.to(frequencies.scalar_type());
  const Tensor angles = positions.unsqueeze(1) * frequencies.unsqueeze(0);
  const Tensor both_halves = at::cat({angles, angles}, 1);
  return {both_halves.cos().to(type), both_halves.sin().to(type)};
}

Tensor apply_rotary(const Tensor& x_THA, const RotaryTables& tables) {
  return apply_rotary(x_THA, tables.cos_TA, tables.sin_TA);
}

}  // namespace molora
