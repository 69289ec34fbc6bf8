// Encodes the lines of a file and prints how fast, for comparisons with other libraries.
//
// usage: tokenizer_bench TOKENIZER_FOLDER FILE [ROUNDS]
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<std::string> read_lines(const char* path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

int bench(const char* folder, const char* path, int rounds) {
  const auto load_start = std::chrono::steady_clock::now();
  const auto tokenizer = molora::load_tokenizer(folder);
  std::printf("load %.3f s\n", seconds_since(load_start));
  const std::vector<std::string> lines = read_lines(path);
  size_t bytes = 0;
  for (const std::string& line : lines) bytes += line.size();
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    size_t tokens = 0;
    for (const std::string& line : lines) tokens += tokenizer->encode(line).size();
    const double seconds = seconds_since(start);
    std::printf("encode %.2f MB/s, %zu tokens of %zu bytes\n",
                static_cast<double>(bytes) / 1e6 / seconds, tokens, bytes);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s TOKENIZER_FOLDER FILE [ROUNDS]\n", argv[0]);
    return 64;
  }
  try {
    return bench(argv[1], argv[2], argc > 3 ? std::stoi(argv[3]) : 3);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 70;
  }
}
