// The pickle inside a file that PyTorch's torch.save() wrote: names of tensors and where they lie.
//
// Pickle is a small program that a reader runs, and may call any Python function. Here nothing is
// ever called: the few instructions of a plain dictionary of tensors are interpreted, the few names
// that stand for tensors are recognised by their spelling, and everything else is refused with its
// name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/dtype.h"
#include "io/safetensors.h"

namespace molora {

// A tensor of a dictionary {name: tensor}: a view of a storage, which is a record of the archive.
struct PickledTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::string storage;           // key of the storage: the record "data/<key>"
  int64_t storage_elements = 0;  // of the whole storage
  int64_t offset = 0;            // of the first element, in elements
  Shape shape;
  Shape strides;  // in elements

  // Whether its elements lie one after the other in the order of their indices.
  bool is_contiguous() const;
};

// The tensors of a pickled dict or OrderedDict, in its order. Every tensor lies within its storage.
// Throws: DataError that begins with `origin`: with the name of what is asked to be called, the
// instruction and its place, or the key whose value is no tensor.
std::vector<PickledTensor> parse_torch_pickle(std::span<const std::byte> pickle,
                                              const std::string& origin);

// The pickle of a dictionary of contiguous tensors, tensor i in the storage "i", as torch.load()
// reads it, also with weights_only=True.
struct PickleDeclaration {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};
std::string torch_pickle(const std::vector<PickleDeclaration>& tensors);

}  // namespace molora
